/* SPDX-License-Identifier: Apache-2.0
 *
 * The state directory is ours alone, and its small files are there whole or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/notify.h"
#include "daemon/state.h"

static char folder[64], path[96];

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-state.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    rmdir(path);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

static void test_made_once(void **state) {
    struct err err = ERR_INIT;
    struct stat st;
    int fd;
    (void)state;
    assert_true(state_open(path, &fd, &err));
    close(fd);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(state_open(path, &fd, &err));
    close(fd);
    assert_int_equal(chmod(path, 0750), 0);
    assert_false(state_open(path, &fd, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    err = ERR_INIT;
    assert_false(state_open("/no/such/folder", &fd, &err));
    assert_int_equal(err.code, ERR_CONFIG);
}

static void test_files(void **state) {
    struct err err = ERR_INIT;
    struct stat st;
    char text[16] = "";
    int fd;
    (void)state;
    assert_true(state_open(path, &fd, &err));
    assert_false(state_has(fd, "token"));
    assert_true(state_announce(fd, "token", &err));
    assert_true(state_announced(fd, "token"));
    assert_false(state_has(fd, "token"));
    assert_true(state_write(fd, "token", "secret\n", &err));
    assert_false(state_announced(fd, "token"));
    assert_true(state_has(fd, "token"));
    assert_int_equal(fstatat(fd, "token", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    int file = openat(fd, "token", O_RDONLY);
    assert_int_equal(read(file, text, sizeof text), 7);
    close(file);
    assert_string_equal(text, "secret\n");
    state_remove(fd, "token");
    assert_false(state_has(fd, "token"));
    close(fd);
}

static void test_notify(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[16] = "", name[128];
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_send("READY=1"); /* nobody is there, nothing happens */
    snprintf(address.sun_path, sizeof address.sun_path, "%s/n", folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    notify_send("READY=1");
    assert_int_equal(recv(fd, text, sizeof text - 1, 0), 7);
    assert_string_equal(text, "READY=1");
    close(fd);
    unlink(address.sun_path);
    /* Of the abstract kind. */
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    int length = snprintf(name, sizeof name, "@sluice-test-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length)),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    notify_send("STOPPING=1");
    assert_int_equal(recv(fd, text, sizeof text - 1, 0), 10);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_notify, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

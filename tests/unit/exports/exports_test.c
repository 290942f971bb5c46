/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports between a fake runner and a fake sluice-data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "certificates.h"
#include "exports/exports.h"
#include "fake_data.h"
#include "fake_runners.h"

static const struct sluice_uuid pool_id = {{1}}, volume_id = {{2}};
static const struct exports_spec spec = {
    .attachment = {{3}}, .pool = {{1}}, .volume = {{2}}, .name = "v", .local = true};

struct bench {
    uv_loop_t loop;
    char directory[32];
    struct runners *runners;
    struct runner *runner;
    struct exports *exports;
    bool ready, stopped, closed;
    uint32_t added, removed;
    enum err_code code;
    char text[ERR_TEXT_MAX];    /* why it was not added */
    char trouble[ERR_TEXT_MAX]; /* the last */
    char path[EXPORTS_PATH_MAX], address[DATA_ADDRESS_MAX + 1];
    struct exports_tls tls;
};

static void on_ready(void *owner, uint32_t held) {
    (void)held;
    ((struct bench *)owner)->ready = true;
}

static void on_state(void *owner, struct runner *runner, enum runner_state state,
                     const struct err *cause) {
    struct bench *bench = owner;
    (void)cause;
    if (state == RUNNER_SERVING && bench->exports != NULL)
        exports_pool_serving(bench->exports, &pool_id, runner);
}

static void on_added(void *arg, const struct exports_added *added, const struct err *err) {
    struct bench *bench = arg;
    bench->added++;
    bench->code = err->code;
    snprintf(bench->text, sizeof bench->text, "%s", err->text);
    assert_int_equal(added != NULL, err->code == ERR_NONE);
    const char *path = added != NULL ? added->path : NULL;
    const char *address = added != NULL ? added->address : NULL;
    snprintf(bench->path, sizeof bench->path, "%s", path != NULL ? path : "");
    snprintf(bench->address, sizeof bench->address, "%s", address != NULL ? address : "");
}
static void on_removed(void *arg) {
    ((struct bench *)arg)->removed++;
}
static void on_stopped(void *owner, struct runner *runner) {
    ((struct bench *)owner)->stopped = true;
    runner_release(runner);
}
static void on_closed(void *owner) {
    ((struct bench *)owner)->closed = true;
}

/* Nothing here waits for anything but the next turn. */
static void turns(struct bench *bench) {
    for (int i = 0; i < 20; i++)
        uv_run(&bench->loop, UV_RUN_NOWAIT);
}

static void on_trouble(void *owner, const char *text) {
    struct bench *bench = owner;
    snprintf(bench->trouble, sizeof bench->trouble, "%s", text);
}

static void begin(struct bench *bench, bool held) {
    static const struct runner_events events = {.on_state = on_state};
    const struct runners_options options = {.on_ready = on_ready, .owner = bench};
    struct runner_spec runner_spec = {.label = "pool p", .has_pool = true};
    struct err err = ERR_INIT;
    fake_runners_reset();
    fake_data_reset(!held, held);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    snprintf(bench->directory, sizeof bench->directory, "exports-test-XXXXXX");
    assert_non_null(mkdtemp(bench->directory));
    assert_true(runners_open(&bench->loop, -1, &options, &bench->runners, &err));
    const struct exports_options exports_options = {.directory = bench->directory,
                                                    .incarnation = 7,
                                                    .tls = bench->tls,
                                                    .on_trouble = on_trouble,
                                                    .owner = bench};
    assert_true(
        exports_open(&bench->loop, bench->runners, &exports_options, &bench->exports, &err));
    assert_true(runner_start(bench->runners, &runner_spec, &events, bench, &bench->runner, &err));
    turns(bench);
}

static void end(struct bench *bench) {
    exports_close(bench->exports, on_closed, bench);
    turns(bench);
    assert_true(bench->closed);
    bench->exports = NULL;
    runner_stop(bench->runner, on_stopped);
    turns(bench);
    assert_true(bench->stopped);
    runners_close(bench->runners);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    assert_int_equal(rmdir(bench->directory), 0); /* no socket stays */
}

static void serves_replaces_and_removes(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, false);
    exports_recovered(bench.exports);
    exports_add(bench.exports, &spec, on_added, &bench);
    turns(&bench);
    assert_int_equal(bench.added, 1);
    assert_int_equal(bench.code, ERR_NONE);
    assert_int_equal(fake_data_said(DATA_EXPORT), 1);
    uint64_t epoch = fake_data_opened()->epoch, generation = fake_data_generation();
    assert_int_equal(exports_count(bench.exports, &pool_id), 1);

    runner_restart(bench.runner);
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_RING_LOST), 1);
    assert_true(fake_data_generation() > generation);
    assert_true(fake_data_opened()->epoch > epoch);
    assert_int_equal(fake_data_said(DATA_EXPORT), 1); /* it has it yet */

    fake_data_end();
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_EXPORT), 2);
    assert_int_equal(fake_runners_calls(WIRE_DATA_CLOSE), 1); /* before another ring */

    exports_remove(bench.exports, &spec.attachment, on_removed, &bench);
    turns(&bench);
    assert_int_equal(bench.removed, 1);
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 1);
    assert_int_equal(fake_runners_calls(WIRE_DATA_CLOSE), 2);
    end(&bench);
}

static void a_ring_that_stands_still_puts_its_runner_in_doubt(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, false);
    exports_recovered(bench.exports);
    exports_add(bench.exports, &spec, on_added, &bench);
    turns(&bench);
    struct data_still still = {
        .pool = pool_id, .generation = fake_data_generation() - 1, .still_ms = 150};
    fake_data_say(DATA_RING_STILL, &still); /* of one that is gone */
    assert_int_equal(fake_runners_doubted_ms(), 0);
    still.generation++;
    still.pool.bytes[0]++; /* of a pool that nobody knows */
    fake_data_say(DATA_RING_STILL, &still);
    assert_int_equal(fake_runners_doubted_ms(), 0);
    still.pool = pool_id;
    fake_data_say(DATA_RING_STILL, &still);
    assert_int_equal(fake_runners_doubted_ms(), 150);
    end(&bench);
}

static void what_nobody_knows_ends(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, true);
    exports_recovered(bench.exports);
    fake_data_begin(true);
    struct data_has has = {.attachment = {{9}}, .volume = volume_id, .pool = pool_id};
    fake_data_say(DATA_HAS, &has);
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 0);
    fake_data_say(DATA_SYNCED, &(struct data_nothing){0});
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 1);
    fake_data_say(DATA_UNEXPORTED, &(struct data_unexport){.attachment = {{9}}});
    assert_int_equal(exports_count(bench.exports, &pool_id), 0);
    end(&bench);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static struct certificate server, other;
static char folder[] = "exports-test-tls-XXXXXX";
static char certificate_path[64], key_path[64], other_path[64];

static void write_file(char path[64], const char *name, const char *bytes, size_t length) {
    snprintf(path, 64, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    close(fd);
}

static int write_files(void **state) {
    (void)state;
    certificate_make(&server, "server");
    certificate_make(&other, "other");
    assert_non_null(mkdtemp(folder));
    write_file(certificate_path, "certificate", server.pem, server.pem_size);
    write_file(key_path, "key", server.key, server.key_size);
    write_file(other_path, "other", other.key, other.key_size);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    unlink(certificate_path);
    unlink(key_path);
    unlink(other_path);
    return rmdir(folder);
}

static struct exports_tls tls_at(const char *listen) {
    return (struct exports_tls){.listen = listen, .certificate = certificate_path, .key = key_path};
}

static struct exports_spec remote(void) {
    struct exports_spec wanted = spec;
    wanted.local = false;
    wanted.digest_count = 1;
    return wanted;
}

/* A socket that listens on a free port of the loopback. */
static int occupy(char ret[32]) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0);
    assert_true(listen(fd, 1) == 0 && getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    snprintf(ret, 32, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static void serves_over_tls(void **state) {
    (void)state;
    struct bench bench = {.tls = tls_at("127.0.0.1:0")};
    struct exports_spec wanted = remote();
    begin(&bench, false);
    exports_recovered(bench.exports);
    turns(&bench);
    /* The port is answered before there is anything to be had. */
    assert_string_equal(fake_data_listens(), "127.0.0.1:0");
    exports_add(bench.exports, &wanted, on_added, &bench);
    turns(&bench);
    assert_int_equal(bench.code, ERR_NONE);
    assert_int_equal(fake_data_said(DATA_EXPORT), 0);
    assert_int_equal(fake_data_said(DATA_EXPORT_TLS), 1);
    assert_string_equal(bench.path, "");
    assert_memory_equal(bench.address, "127.0.0.1:", 10);
    assert_string_not_equal(bench.address, "127.0.0.1:0");
    /* A successor is told of the same socket. */
    fake_data_end();
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_LISTEN), 2);
    assert_int_equal(fake_data_said(DATA_EXPORT_TLS), 2);
    wanted.local = true;
    wanted.attachment.bytes[0] = 4;
    exports_add(bench.exports, &wanted, on_added, &bench);
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_EXPORT), 1);
    assert_string_not_equal(bench.path, "");
    assert_string_not_equal(bench.address, "");
    end(&bench);
}

static void takes_over_the_socket(void **state) {
    (void)state;
    char address[32];
    int fd = occupy(address);
    struct bench bench = {.tls = tls_at(address)};
    struct exports_spec wanted = remote();
    bench.tls.address = "gateway.example";
    begin(&bench, true);
    exports_add(bench.exports, &wanted, NULL, NULL);
    exports_recovered(bench.exports);
    fake_data_begin(true);
    struct data_listen listens = {.address = address};
    fake_data_say_with(DATA_LISTENS, &listens, fd);
    fake_data_say(DATA_SYNCED, &(struct data_nothing){0});
    assert_int_equal(fake_data_said(DATA_UNLISTEN), 0);
    assert_string_equal(fake_data_listens(), address);
    assert_string_equal(bench.trouble, ""); /* it never tried to have one of its own */
    close(fd);
    end(&bench);
}

static void another_address_needs_another_socket(void **state) {
    (void)state;
    char address[32];
    int fd = occupy(address);
    struct bench bench = {.tls = tls_at("127.0.0.1:0")};
    begin(&bench, true);
    exports_recovered(bench.exports);
    fake_data_begin(true);
    struct data_listen listens = {.address = address};
    fake_data_say_with(DATA_LISTENS, &listens, fd);
    assert_int_equal(fake_data_said(DATA_UNLISTEN), 1);
    fake_data_say(DATA_SYNCED, &(struct data_nothing){0});
    assert_string_equal(fake_data_listens(), "127.0.0.1:0");
    close(fd);
    end(&bench);
}

static void waits_for_its_port(void **state) {
    (void)state;
    char address[32];
    int fd = occupy(address);
    struct bench bench = {.tls = tls_at(address)};
    struct exports_spec wanted = remote();
    begin(&bench, false);
    exports_recovered(bench.exports);
    exports_add(bench.exports, &wanted, on_added, &bench);
    turns(&bench);
    assert_int_equal(bench.code, ERR_SYSTEM);
    assert_non_null(strstr(bench.text, address));
    assert_non_null(strstr(bench.trouble, "nbd-listen"));
    assert_int_equal(fake_data_said(DATA_LISTEN), 0);
    close(fd);
    uint64_t until_ms = clock_mono_ms() + 20000;
    while (fake_data_said(DATA_LISTEN) == 0 && clock_mono_ms() < until_ms)
        uv_run(&bench.loop, UV_RUN_ONCE);
    assert_string_equal(fake_data_listens(), address);
    exports_add(bench.exports, &wanted, on_added, &bench);
    turns(&bench);
    assert_int_equal(bench.code, ERR_NONE);
    assert_string_equal(bench.address, address);
    end(&bench);
}

/* What is wrong with it is said by its name, and costs nobody else anything. */
static void names_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        struct exports_tls tls;
        const char *says;
    } cases[] = {
        {{"localhost", certificate_path, key_path, NULL}, "nbd-listen"},
        {{"127.0.0.1:70000", certificate_path, key_path, NULL}, "nbd-listen"},
        {{"0.0.0.0:0", certificate_path, key_path, NULL}, "nbd-address"},
        {{"[::]:0", certificate_path, key_path, ""}, "nbd-address"},
        {{"127.0.0.1:0", certificate_path, key_path, "a host"}, "nbd-address"},
        {{"127.0.0.1:0", NULL, key_path, NULL}, "nbd-certificate"},
        {{"127.0.0.1:0", "/nowhere", key_path, NULL}, "nbd-certificate"},
        {{"127.0.0.1:0", "/", key_path, NULL}, "nbd-certificate"},
        {{"127.0.0.1:0", certificate_path, "", NULL}, "nbd-key"},
        {{"127.0.0.1:0", certificate_path, other_path, NULL}, "nbd-key"},
        {{"127.0.0.1:0", key_path, key_path, NULL}, "nbd-certificate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench = {.tls = cases[i].tls};
        struct exports_spec wanted = remote();
        begin(&bench, false);
        assert_non_null(strstr(bench.trouble, cases[i].says));
        exports_recovered(bench.exports);
        exports_add(bench.exports, &wanted, on_added, &bench);
        turns(&bench);
        assert_int_equal(bench.code, ERR_CONFIG);
        assert_non_null(strstr(bench.text, cases[i].says));
        exports_remove(bench.exports, &wanted.attachment, on_removed, &bench);
        turns(&bench);
        exports_add(bench.exports, &spec, on_added, &bench);
        turns(&bench);
        assert_int_equal(bench.code, ERR_NONE);
        end(&bench);
    }
    struct bench bench = {.tls = tls_at("127.0.0.1:0")};
    assert_int_equal(chmod(key_path, 0604), 0);
    begin(&bench, false);
    assert_non_null(strstr(bench.trouble, "chmod"));
    assert_int_equal(chmod(key_path, 0600), 0);
    end(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_replaces_and_removes),
        cmocka_unit_test(what_nobody_knows_ends),
        cmocka_unit_test(serves_over_tls),
        cmocka_unit_test(takes_over_the_socket),
        cmocka_unit_test(another_address_needs_another_socket),
        cmocka_unit_test(waits_for_its_port),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(a_ring_that_stands_still_puts_its_runner_in_doubt),
    };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}

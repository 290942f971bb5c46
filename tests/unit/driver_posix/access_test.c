/* SPDX-License-Identifier: Apache-2.0
 *
 * access_test.c: a grant lets one user in and nobody else; a revoke waits for who is in.
 *
 * Works below the system's directory for temporary files, because other users must reach it. Takes
 * root, to become those users.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define GUEST 47110
#define STRANGER 47111

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static struct sluice_uuid volume;

static int make(void **state) {
    struct sluice_volume told;
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid pool_id = host_id(1);
    (void)state;
    volume = host_id(10);
    tree_make_in("/tmp", directory);
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &pool_id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

static int32_t give(uint32_t attachment, const struct sluice_uuid *snapshot, uint32_t uid,
                    uint32_t mode, struct sluice_connection *ret) {
    const struct sluice_property identities[] = {
        {.name = "user", .text = "guest", .kind = SLUICE_PROPERTY_STRING},
        {.name = "uid", .integer = uid, .kind = SLUICE_PROPERTY_NUMBER},
    };
    const struct sluice_properties bag = {identities, 2};
    struct sluice_access_grant args = {
        .size = sizeof args,
        .mode = mode,
        .attachment = host_id(attachment),
        .volume = volume,
        .host = "h",
        .identities = &bag,
    };
    if (snapshot != NULL) {
        args.snapshot = *snapshot;
    }
    ret->size = sizeof *ret;
    return pool.table->access_grant(pool.pool, HOST_CALL(&pool), &args, ret);
}

static int32_t take(uint32_t attachment) {
    const struct sluice_uuid id = host_id(attachment);
    return pool.table->access_revoke(pool.pool, HOST_CALL(&pool), &id, &volume);
}

static const char *path_of(const struct sluice_connection *connection) {
    static char path[SLUICE_PATH_MAX];
    assert_int_equal(sscanf(connection->lines, "path=%1023[^\n]", path), 1);
    return path;
}

/* 0 or the errno with which `uid` opens the path. */
static int open_as(uint32_t uid, const char *path, int flags) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setgid(uid) != 0 || setuid(uid) != 0) {
            _exit(255);
        }
        _exit(open(path, flags | O_CLOEXEC) >= 0 ? 0 : errno);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 255);
    return WEXITSTATUS(status);
}

static bool needs_root(void) {
    if (geteuid() == 0) {
        return false;
    }
    print_message("skipped: becoming other users takes root\n");
    skip();
    return true;
}

static void lets_one_user_in(void **state) {
    (void)state;
    struct sluice_connection connection;
    struct sluice_connection again;
    if (needs_root()) {
        return;
    }
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &connection), SLUICE_OK);
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &again), SLUICE_OK);
    assert_string_equal(again.lines, connection.lines);
    assert_string_equal(connection.protocol, "local");
    assert_non_null(strstr(connection.lines, "\nuid=47110\n"));
    assert_non_null(strstr(connection.lines, "\nuser=guest\n"));
    assert_non_null(strstr(connection.note, "Root"));
    const char *path = path_of(&connection);
    assert_int_equal(open_as(GUEST, path, O_RDWR), 0);
    assert_int_equal(open_as(STRANGER, path, O_RDONLY), EACCES);
    /* The record beside it and the list of volumes stay the driver's. */
    char beside[SLUICE_PATH_MAX + 16];
    snprintf(beside, sizeof beside, "%s/volumes", directory);
    assert_int_equal(open_as(GUEST, beside, O_RDONLY), EACCES);
    snprintf(beside, sizeof beside, "%s/../volume.meta", path);
    assert_int_equal(open_as(GUEST, beside, O_RDONLY), ENOTDIR);
    assert_int_equal(take(50), SLUICE_OK);
    assert_int_equal(take(50), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), EACCES);
    struct stat seen;
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_mode & 07777, 0600);
}

static void keeps_modes_and_users_apart(void **state) {
    (void)state;
    struct sluice_connection connection;
    if (needs_root()) {
        return;
    }
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_ONLY, &connection), SLUICE_OK);
    const char *path = path_of(&connection);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), 0);
    assert_int_equal(open_as(GUEST, path, O_RDWR), EACCES);
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &connection), SLUICE_EXISTS);
    assert_int_equal(give(51, NULL, STRANGER, SLUICE_ACCESS_READ_WRITE, &connection), SLUICE_OK);
    assert_int_equal(open_as(STRANGER, path, O_RDWR), 0);
    assert_int_equal(open_as(GUEST, path, O_RDWR), EACCES);
    /* Two attachments of one user: the right goes with the last that gives it. */
    assert_int_equal(give(52, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &connection), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDWR), 0);
    assert_int_equal(take(52), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDWR), EACCES);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), 0);
    assert_int_equal(take(50), SLUICE_OK);
    assert_int_equal(take(51), SLUICE_OK);
    assert_int_equal(open_as(STRANGER, path, O_RDONLY), EACCES);
}

static void revoking_waits_for_who_has_it_open(void **state) {
    (void)state;
    struct sluice_connection connection;
    int opened[2];
    char byte;
    int status;
    if (needs_root()) {
        return;
    }
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &connection), SLUICE_OK);
    const char *path = path_of(&connection);
    assert_int_equal(pipe(opened), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setgid(GUEST) == 0 && setuid(GUEST) == 0 && open(path, O_RDWR | O_CLOEXEC) >= 0) {
            status = (int)write(opened[1], "x", 1);
        }
        pause();
        _exit(0);
    }
    assert_int_equal(read(opened[0], &byte, 1), 1);
    /* While a host has it open for writing nothing copies it. */
    const struct sluice_uuid snapshot = host_id(20);
    struct sluice_snapshot taken;
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_BUSY);
    assert_int_equal(take(50), SLUICE_PENDING);
    assert_int_equal(take(50), SLUICE_PENDING);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), EACCES);
    /* Granting something else meanwhile does not bring the right back. */
    assert_int_equal(give(51, NULL, STRANGER, SLUICE_ACCESS_READ_ONLY, &connection), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), EACCES);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(take(50), SLUICE_OK);
    assert_int_equal(take(51), SLUICE_OK);
    close(opened[0]);
    close(opened[1]);
}

static void snapshots_are_granted_read_only(void **state) {
    (void)state;
    struct sluice_connection connection;
    struct sluice_snapshot taken;
    const struct sluice_uuid snapshot = host_id(20);
    if (needs_root()) {
        return;
    }
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(give(50, &snapshot, GUEST, SLUICE_ACCESS_READ_WRITE, &connection),
                     SLUICE_INVALID);
    assert_int_equal(give(50, &snapshot, GUEST, SLUICE_ACCESS_READ_ONLY, &connection), SLUICE_OK);
    const char *path = path_of(&connection);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), 0);
    assert_int_equal(open_as(GUEST, path, O_RDWR), EACCES);
    assert_int_equal(open_as(STRANGER, path, O_RDONLY), EACCES);
    /* The volume goes, the snapshot and its grant stay. */
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), 0);
    assert_int_equal(take(50), SLUICE_OK);
    assert_int_equal(open_as(GUEST, path, O_RDONLY), EACCES);
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    assert_int_equal(take(50), SLUICE_OK);
    char listed[TREE_LIST];
    tree_list(directory, listed);
    assert_string_equal(listed, "sluice.pool\nvolumes/\n");
}

static void a_revert_keeps_the_right(void **state) {
    (void)state;
    struct sluice_connection before;
    struct sluice_connection after;
    struct sluice_snapshot taken;
    struct sluice_volume told;
    const struct sluice_uuid snapshot = host_id(20);
    const struct sluice_uuid operation = host_id(21);
    if (needs_root()) {
        return;
    }
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &before), SLUICE_OK);
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &operation, &told), SLUICE_OK);
    assert_int_equal(give(50, NULL, GUEST, SLUICE_ACCESS_READ_WRITE, &after), SLUICE_OK);
    assert_string_not_equal(after.lines, before.lines);
    assert_int_equal(open_as(GUEST, path_of(&after), O_RDWR), 0);
    assert_int_equal(open_as(STRANGER, path_of(&after), O_RDWR), EACCES);
    assert_int_equal(take(50), SLUICE_OK);
}

static void refuses_who_has_no_uid(void **state) {
    (void)state;
    const struct sluice_property identities[][1] = {
        {{.name = "user", .text = "guest", .kind = SLUICE_PROPERTY_STRING}},
        {{.name = "uid", .integer = -1, .kind = SLUICE_PROPERTY_NUMBER}},
        {{.name = "uid", .text = "12x", .kind = SLUICE_PROPERTY_STRING}},
        {{.name = "uid", .integer = UINT32_MAX, .kind = SLUICE_PROPERTY_NUMBER}},
    };
    for (size_t i = 0; i < sizeof identities / sizeof identities[0]; i++) {
        const struct sluice_properties bag = {identities[i], 1};
        const struct sluice_access_grant args = {
            .size = sizeof args,
            .mode = SLUICE_ACCESS_READ_WRITE,
            .attachment = host_id(50),
            .volume = volume,
            .identities = &bag,
        };
        struct sluice_connection connection = {.size = sizeof connection};
        assert_int_equal(pool.table->access_grant(pool.pool, HOST_CALL(&pool), &args, &connection),
                         SLUICE_INVALID);
        assert_non_null(strstr(pool.call.text, "uid"));
    }
}

static void has_a_limit_of_grants(void **state) {
    (void)state;
    struct sluice_connection connection;
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(
            give(100 + i, NULL, 1000 + (i * 37) % 64, SLUICE_ACCESS_READ_ONLY, &connection),
            SLUICE_OK);
    }
    assert_int_equal(give(200, NULL, 2000, SLUICE_ACCESS_READ_ONLY, &connection), SLUICE_LIMIT);
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(take(100 + i), SLUICE_OK);
    }
    assert_int_equal(give(200, NULL, 2000, SLUICE_ACCESS_READ_ONLY, &connection), SLUICE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lets_one_user_in, make, drop),
        cmocka_unit_test_setup_teardown(keeps_modes_and_users_apart, make, drop),
        cmocka_unit_test_setup_teardown(revoking_waits_for_who_has_it_open, make, drop),
        cmocka_unit_test_setup_teardown(snapshots_are_granted_read_only, make, drop),
        cmocka_unit_test_setup_teardown(a_revert_keeps_the_right, make, drop),
        cmocka_unit_test_setup_teardown(refuses_who_has_no_uid, make, drop),
        cmocka_unit_test_setup_teardown(has_a_limit_of_grants, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

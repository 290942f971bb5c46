/* SPDX-License-Identifier: Apache-2.0
 *
 * mount_test.c: a pool that is the top of a small file system: full, read-only, unmounted below it.
 *
 * Needs SLUICE_TEST_DIR to be a mount point of its own (run_on.sh), which the last test takes away.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)

static struct host host;
static char top[TREE_PATH];

static int start(void **state) {
    const char *given = getenv("SLUICE_TEST_DIR");
    (void)state;
    assert_non_null(given);
    snprintf(top, sizeof top, "%s", given);
    host_start(&host, DRIVER);
    return 0;
}

static int stop(void **state) {
    (void)state;
    host_stop(&host);
    return 0;
}

static int32_t open_pool(struct host_pool *pool, uint32_t flags) {
    const struct host_property bag[] = {
        {"path", top, 0}, {"overcommit_percent", NULL, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    return host_open(pool, &host, &id, flags, bag);
}

static void a_full_file_system_is_called_full(void **state) {
    (void)state;
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid snapshot = host_id(11);
    const struct sluice_uuid other = host_id(12);
    struct host_pool pool;
    struct host_data data;
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_snapshot taken;
    struct sluice_capacity capacity = {.size = sizeof capacity};
    char before[TREE_LIST];
    char after[TREE_LIST];
    uint8_t *bytes = malloc(MIB);
    assert_non_null(bytes);
    memset(bytes, 3, MIB);
    assert_int_equal(open_pool(&pool, SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_in_range(capacity.total, 8 * MIB, 48 * MIB);
    assert_int_equal(host_create(&pool, &volume, "v", 64 * MIB, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 1, false), SLUICE_OK);
    uint64_t written = 0;
    int32_t status = SLUICE_OK;
    for (; status == SLUICE_OK && written < 64 * MIB; written += MIB) {
        status = host_write(&data, written, bytes, MIB, 0);
    }
    assert_int_equal(status, SLUICE_NO_SPACE);
    status = SLUICE_OK;
    for (; status == SLUICE_OK && written < 64 * MIB; written += 4096) {
        status = host_write(&data, written, bytes, 4096, 0);
    }
    assert_int_equal(status, SLUICE_NO_SPACE);
    host_data_close(&data);
    /* A snapshot finds no room for its record, nor a copy for its image: they say so and leave
     * nothing. */
    tree_list(top, before);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_NO_SPACE);
    assert_non_null(strstr(pool.call.text, "full"));
    assert_int_equal(host_copy(&pool, &other, "c", 64 * MIB, &volume, &told), SLUICE_NO_SPACE);
    tree_list(top, after);
    assert_string_equal(after, before);
    /* Deleting works on a full file system. */
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(pool.table->pool_probe(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    host_close(&pool);
    free(bytes);
}

static void a_read_only_file_system_is_called_that(void **state) {
    (void)state;
    const struct sluice_uuid volume = host_id(20);
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    assert_int_equal(open_pool(&pool, SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(mount(NULL, top, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_READ_ONLY);
    assert_int_equal(pool.table->pool_probe(pool.pool, HOST_CALL(&pool)), SLUICE_READ_ONLY);
    assert_int_equal(mount(NULL, top, NULL, MS_REMOUNT, NULL), 0);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    host_close(&pool);
}

/* The last: afterwards nothing is mounted any more. */
static void nothing_happens_below_an_unmounted_file_system(void **state) {
    (void)state;
    const struct sluice_uuid volume = host_id(20);
    const struct sluice_uuid other = host_id(21);
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    char reference[SLUICE_PATH_MAX];
    char listed[TREE_LIST];
    assert_int_equal(open_pool(&pool, 0), SLUICE_OK);
    assert_int_equal(umount2(top, MNT_DETACH), 0);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_VANISHED);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume),
                     SLUICE_VANISHED);
    assert_int_equal(host_create(&pool, &other, "v", MIB, &told), SLUICE_VANISHED);
    assert_int_equal(pool.table->volume_unmanage(pool.pool, HOST_CALL(&pool), &volume, reference),
                     SLUICE_VANISHED);
    assert_int_equal(pool.table->pool_release(pool.pool, HOST_CALL(&pool)), SLUICE_VANISHED);
    host_close(&pool);
    assert_int_equal(open_pool(&pool, 0), SLUICE_VANISHED);
    tree_list(top, listed);
    assert_string_equal(listed, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_file_system_is_called_full),
        cmocka_unit_test(a_read_only_file_system_is_called_that),
        cmocka_unit_test(nothing_happens_below_an_unmounted_file_system),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

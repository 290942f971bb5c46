/* SPDX-License-Identifier: Apache-2.0
 *
 * disks_test.c: the ram driver's control and data calls, without a backing directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "conform/model.h"
#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)

static struct host host;

static int start(void **state) {
    (void)state;
    host_start(&host, DRIVER);
    return 0;
}

static int stop(void **state) {
    (void)state;
    host_stop(&host);
    return 0;
}

static struct host_pool open_pool(int64_t capacity) {
    const struct host_property bag[] = {{"capacity_bytes", NULL, capacity}, {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    struct host_pool pool;
    assert_int_equal(host_open(&pool, &host, &id, 0, bag), SLUICE_OK);
    return pool;
}

static void says_what_it_can(void **state) {
    (void)state;
    struct host_pool pool = open_pool(MIB);
    assert_true(pool.limits.caps & SLUICE_CAP_MASK(SNAPSHOT_LIVE));
    assert_false(pool.limits.caps & SLUICE_CAP_MASK(TOKEN_CONSTANT));
    assert_string_equal(pool.limits.formats, "raw");
    assert_int_equal(pool.table->pool_probe(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    assert_int_equal(pool.table->pool_release(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    host_close(&pool);
}

static void agrees_with_the_model(void **state) {
    (void)state;
    struct rng rng = rng_of_environment();
    struct host_pool pool = open_pool(INT64_C(1) << 30);
    model_run(&pool, &rng, 1000);
    host_close(&pool);
}

static void shares_blocks_and_counts_them_once(void **state) {
    (void)state;
    struct host_pool pool = open_pool((int64_t)(2 * MIB));
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid snapshot = host_id(11);
    const struct sluice_uuid clone = host_id(12);
    struct sluice_capacity capacity = {.size = sizeof capacity};
    struct sluice_volume told;
    struct sluice_snapshot taken;
    struct host_data data;
    uint8_t *bytes = calloc(1, MIB);
    memset(bytes, 7, MIB);
    /* A terabyte that is all hole costs nothing, nor do its snapshots and clones. */
    assert_int_equal(host_create(&pool, &volume, "v", MIB * MIB, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, MIB * MIB - MIB, bytes, MIB, 0), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(taken.used_bytes, MIB);
    assert_int_equal(host_clone(&pool, &clone, "c", MIB * MIB, &volume, &snapshot, &told),
                     SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.used, MIB);
    assert_int_equal(capacity.total, 2 * MIB);
    /* Writing over half of it unshares that half; then the pool is full at the next MiB. */
    assert_int_equal(host_write(&data, MIB * MIB - MIB, bytes, MIB / 2, 0), SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.used, MIB + MIB / 2);
    assert_int_equal(host_write(&data, 0, bytes, MIB, 0), SLUICE_NO_SPACE);
    assert_int_equal(host_trim(&data, 0, MIB), SLUICE_OK);
    host_data_close(&data);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &clone), SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.used, 0);
    assert_int_equal(capacity.provisioned, 0);
    free(bytes);
    host_close(&pool);
}

static void fences_lower_epochs(void **state) {
    (void)state;
    struct host_pool pool = open_pool(INT64_C(1) << 30);
    const struct sluice_uuid volume = host_id(20);
    struct sluice_volume told = {.size = sizeof told};
    struct host_data old;
    struct host_data new;
    struct host_data other;
    char byte = 1;
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&old, &pool, &volume, NULL, 5, false), SLUICE_OK);
    assert_int_equal(host_write(&old, 0, &byte, 1, 0), SLUICE_OK);
    assert_int_equal(host_data_open(&new, &pool, &volume, NULL, 6, false), SLUICE_OK);
    byte = 2;
    assert_int_equal(host_write(&old, 0, &byte, 1, 0), SLUICE_STALE);
    assert_int_equal(host_zero(&old, 0, 1, 0), SLUICE_STALE);
    assert_int_equal(host_flush(&old), SLUICE_STALE);
    assert_int_equal(host_data_open(&other, &pool, &volume, NULL, 5, false), SLUICE_STALE);
    assert_int_equal(host_read(&new, 0, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 1);
    assert_int_equal(new.token, old.token);
    /* What is open is not deleted, reverted or cut. */
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_BUSY);
    assert_int_equal(pool.table->volume_resize(pool.pool, HOST_CALL(&pool), &volume, 512, &told),
                     SLUICE_BUSY);
    host_data_close(&old);
    host_data_close(&new);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    host_close(&pool);
}

static void refuses_what_makes_no_sense(void **state) {
    (void)state;
    struct host_pool pool = open_pool(INT64_C(1) << 30);
    const struct sluice_uuid volume = host_id(30);
    const struct sluice_uuid other = host_id(31);
    struct sluice_volume told;
    struct host_data data;
    uint32_t count;
    char name[SLUICE_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    name[SLUICE_NAME_MAX] = '\0';
    assert_int_equal(host_create(&pool, &volume, "v", 511, &told), SLUICE_INVALID);
    assert_int_equal(host_create(&pool, &volume, "v", 0, &told), SLUICE_INVALID);
    assert_int_equal(host_create(&pool, &volume, "v", MIB * MIB * 32, &told), SLUICE_LIMIT);
    assert_int_equal(host_create(&pool, &volume, name, MIB, &told), SLUICE_LIMIT);
    assert_true(pool.call.text[0] != '\0');
    assert_int_equal(host_clone(&pool, &volume, "v", MIB, &other, &other, &told), SLUICE_NOT_FOUND);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "w", MIB, &told), SLUICE_EXISTS);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 1, true), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, name, 1, 0), SLUICE_READ_ONLY);
    assert_int_equal(host_read(&data, MIB, name, 1), SLUICE_INVALID);
    assert_int_equal(host_read(&data, UINT64_MAX, name, 1), SLUICE_INVALID);
    assert_int_equal(host_read(&data, MIB, name, 0), SLUICE_OK);
    assert_int_equal(host_extents(&data, 0, MIB + 1, NULL, 0, &count), SLUICE_INVALID);
    host_data_close(&data);
    host_close(&pool);
}

/* The figure that the benchmark of the boundary rests on: the driver must not be what is measured.
 */
static void answers_control_calls_at_once(void **state) {
    (void)state;
    enum { VOLUMES = 20000 };
    struct host_pool pool = open_pool(INT64_C(1) << 30);
    struct sluice_volume told = {.size = sizeof told};
    struct timespec begin;
    struct timespec end;
    for (uint32_t i = 0; i < VOLUMES; i++) {
        const struct sluice_uuid id = host_id(1000 + i);
        assert_int_equal(host_create(&pool, &id, "v", MIB, &told), SLUICE_OK);
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint32_t i = 0; i < VOLUMES; i++) {
        const struct sluice_uuid id = host_id(1000 + i);
        assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &id, &told),
                         SLUICE_OK);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    print_message("volume_get among %d volumes: %.2f us\n", VOLUMES, seconds / VOLUMES * 1e6);
    assert_true(seconds / VOLUMES < 100e-6); /* far off means that a search became linear */
    host_close(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_what_it_can, start, stop),
        cmocka_unit_test_setup_teardown(agrees_with_the_model, start, stop),
        cmocka_unit_test_setup_teardown(shares_blocks_and_counts_them_once, start, stop),
        cmocka_unit_test_setup_teardown(fences_lower_epochs, start, stop),
        cmocka_unit_test_setup_teardown(refuses_what_makes_no_sense, start, stop),
        cmocka_unit_test_setup_teardown(answers_control_calls_at_once, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

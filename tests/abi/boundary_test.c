/* SPDX-License-Identifier: Apache-2.0
 *
 * boundary_test.c: drivers that are older, newer, wrong, and the one of the guide.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "driver_host.h"

static void an_old_driver_still_loads(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    const struct sluice_uuid id = host_id(1);
    struct sluice_volume told;
    struct sluice_capacity capacity = {.size = sizeof capacity};
    host_start(&host, DRIVERS "/old_storage.so");
    const struct sluice_storage *table = &host.boundary.storage;
    assert_true(table->size < sizeof *table);
    assert_null(table->volume_resize);
    assert_null(table->snapshot_create);
    assert_null(table->data_cancel);
    assert_int_equal(host_open(&pool, &host, &id, 0, NULL), SLUICE_OK);
    assert_int_equal(pool.limits.volume_size_min, 4096);
    assert_int_equal(pool.limits.volume_size_max, 0);
    assert_int_equal(pool.limits.caps, 0);
    memset(&told, 0, sizeof told);
    told.size = sizeof told;
    assert_int_equal(table->volume_get(pool.pool, HOST_CALL(&pool), &id, &told), SLUICE_OK);
    assert_int_equal(told.size_bytes, 4096);
    assert_string_equal(told.name, "");
    assert_int_equal(table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_UNSUPPORTED);
    assert_string_equal(pool.call.text, "an old driver has no sums");
    host_close(&pool);
    host_stop(&host);
}

static void an_old_table_ends_where_it_says(void **state) {
    (void)state;
    struct host host;
    host_start(&host, DRIVERS "/old_network.so");
    assert_int_equal(host.boundary.driver.category, SLUICE_CATEGORY_NETWORK);
    assert_null(host.boundary.driver.configure);
    assert_null(host.boundary.driver.health);
    assert_null(host.boundary.driver.table);
    assert_null(host.boundary.storage.pool_open);
    host_stop(&host);
}

static void a_newer_driver_loads_too(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    const struct sluice_uuid id = host_id(1);
    host_start(&host, DRIVERS "/newer.so");
    assert_true(host.boundary.driver.size > sizeof host.boundary.driver);
    assert_int_equal(host_open(&pool, &host, &id, 0, NULL), SLUICE_OK);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &id), SLUICE_OK);
    host_close(&pool);
    host_stop(&host);
}

static void wrong_drivers_are_refused_with_a_reason(void **state) {
    (void)state;
    static const struct {
        const char *library;
        const char *reason;
    } wrong[] = {
        {"other_abi.so", "ABI 0.2"},     {"no_table.so", "no table"},
        {"small.so", "too small"},       {"no_create.so", "lacks a required member"},
        {"no_start.so", "are required"}, {"odd_threads.so", "thread model"},
        {"none.so", "none.so"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct boundary boundary;
        char path[SLUICE_PATH_MAX];
        char why[SLUICE_TEXT_MAX];
        snprintf(path, sizeof path, "%s/%s", DRIVERS, wrong[i].library);
        assert_false(boundary_load(path, &boundary, why));
        if (strstr(why, wrong[i].reason) == NULL) {
            fail_msg("%s: %s", wrong[i].library, why);
        }
    }
}

/* The first listing of GUIDE.md, as it stands there. */
static void the_driver_of_the_guide_works(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    struct sluice_volume told;
    struct sluice_volume page[3];
    struct sluice_list list = {.size = sizeof list, .capacity = 3, .entries = page};
    struct sluice_capacity capacity = {.size = sizeof capacity};
    const struct sluice_uuid id = host_id(1);
    host_start(&host, DRIVERS "/notebook.so");
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, NULL), SLUICE_OK);
    assert_int_equal(pool.table->pool_probe(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    for (uint32_t i = 64; i > 0; i--) {
        const struct sluice_uuid volume = host_id(i);
        assert_int_equal(host_create(&pool, &volume, "v", 512 * i, &told), SLUICE_OK);
        assert_int_equal(host_create(&pool, &volume, "v", 512 * i, &told), SLUICE_OK);
        assert_int_equal(told.size_bytes, 512 * i);
        assert_int_equal(host_create(&pool, &volume, "w", 512 * i, &told), SLUICE_EXISTS);
    }
    const struct sluice_uuid more = host_id(65);
    assert_int_equal(host_create(&pool, &more, "v", 512, &told), SLUICE_LIMIT);
    const struct sluice_uuid gone = host_id(3);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &gone), SLUICE_OK);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &gone), SLUICE_OK);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &gone, &told),
                     SLUICE_NOT_FOUND);
    uint32_t seen = 0;
    uint32_t next = 1;
    do {
        assert_int_equal(pool.table->volume_list(pool.pool, HOST_CALL(&pool), &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            next += next == 3;
            const struct sluice_uuid expected = host_id(next++);
            assert_memory_equal(&page[i].volume, &expected, sizeof expected);
            list.after = page[i].volume;
        }
        seen += list.count;
    } while (list.count == list.capacity);
    assert_int_equal(seen, 63);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.provisioned, 512 * (64 * 65 / 2 - 3));
    assert_int_equal(pool.table->pool_release(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    host_close(&pool);
    host_stop(&host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_driver_still_loads),
        cmocka_unit_test(an_old_table_ends_where_it_says),
        cmocka_unit_test(a_newer_driver_loads_too),
        cmocka_unit_test(wrong_drivers_are_refused_with_a_reason),
        cmocka_unit_test(the_driver_of_the_guide_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

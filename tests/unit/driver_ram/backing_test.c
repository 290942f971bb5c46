/* SPDX-License-Identifier: Apache-2.0
 *
 * backing_test.c: what of a ram pool outlives its process, with a backing directory and without.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conform/model.h"
#include "driver_host.h"
#include "tree.h"

#define SIZE (UINT64_C(1) << 20)

static char directory[TREE_PATH];

static int make(void **state) {
    (void)state;
    tree_make(directory);
    return 0;
}

static int drop(void **state) {
    (void)state;
    tree_remove(directory);
    return 0;
}

static int32_t open_pool(struct host_pool *pool, struct host *host, uint32_t id, uint32_t flags) {
    const struct host_property bag[] = {{"backing", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid uuid = host_id(id);
    return host_open(pool, host, &uuid, flags, bag);
}

/* Runs `what` in a process of its own that then dies without a word. */
static void in_a_process_that_dies(void (*what)(void)) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        what();
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void write_and_flush_half(void) {
    struct host host;
    struct host_pool pool;
    struct host_data data;
    struct sluice_volume told;
    struct sluice_snapshot taken;
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid snapshot = host_id(11);
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(&pool, &host, 1, SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "kept", SIZE, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 7, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, "flushed", 7, 0), SLUICE_OK);
    assert_int_equal(host_write(&data, SIZE / 2, "zeroed!", 7, 0), SLUICE_OK);
    assert_int_equal(host_flush(&data), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(host_zero(&data, SIZE / 2, SIZE / 2, SLUICE_IO_FUA), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, "lost...", 7, 0), SLUICE_OK);
}

static void loses_what_was_not_flushed(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    struct host_data data;
    char bytes[7];
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid snapshot = host_id(11);
    in_a_process_that_dies(write_and_flush_half);
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(&pool, &host, 1, 0), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 6, false), SLUICE_STALE);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 8, false), SLUICE_OK);
    assert_int_equal(host_read(&data, 0, bytes, 7), SLUICE_OK);
    assert_memory_equal(bytes, "flushed", 7);
    assert_int_equal(host_read(&data, SIZE / 2, bytes, 7), SLUICE_OK);
    assert_memory_equal(bytes, "\0\0\0\0\0\0\0", 7);
    host_data_close(&data);
    assert_int_equal(host_data_open(&data, &pool, &volume, &snapshot, 8, true), SLUICE_OK);
    assert_int_equal(host_read(&data, SIZE / 2, bytes, 7), SLUICE_OK);
    assert_memory_equal(bytes, "zeroed!", 7);
    host_data_close(&data);
    host_close(&pool);
    host_stop(&host);
}

static void another_incarnation_has_another_token(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    struct host_data data;
    uint64_t tokens[2];
    const struct sluice_uuid volume = host_id(10);
    in_a_process_that_dies(write_and_flush_half);
    for (int i = 0; i < 2; i++) {
        host_start(&host, DRIVER);
        assert_int_equal(open_pool(&pool, &host, 1, 0), SLUICE_OK);
        assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 8, false), SLUICE_OK);
        tokens[i] = data.opened.token;
        assert_int_equal(host_flush(&data), SLUICE_OK);
        assert_int_equal(data.token, tokens[i]);
        host_data_close(&data);
        host_close(&pool);
        host_stop(&host);
    }
    assert_true(tokens[0] != tokens[1]);
}

static void knows_its_directory_by_the_marker(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    const struct sluice_uuid volume = host_id(10);
    char marker[TREE_PATH + 16];
    snprintf(marker, sizeof marker, "%s/sluice.pool", directory);
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(&pool, &host, 1, 0), SLUICE_VANISHED);
    assert_int_equal(open_pool(&pool, &host, 1, SLUICE_POOL_CLAIM), SLUICE_OK);
    host_close(&pool);
    assert_int_equal(open_pool(&pool, &host, 2, SLUICE_POOL_CLAIM), SLUICE_FOREIGN);
    assert_int_equal(open_pool(&pool, &host, 2, SLUICE_POOL_TAKE_OVER), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
    assert_int_equal(unlink(marker), 0);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_VANISHED);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume),
                     SLUICE_VANISHED);
    assert_int_equal(pool.table->pool_release(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    host_close(&pool);
    host_stop(&host);
}

static void agrees_with_the_model_and_with_its_successor(void **state) {
    (void)state;
    struct rng rng = rng_of_environment();
    struct host host;
    struct host_pool pool;
    struct sluice_capacity before = {.size = sizeof before};
    struct sluice_capacity after = {.size = sizeof after};
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(&pool, &host, 1, SLUICE_POOL_CLAIM), SLUICE_OK);
    model_run(&pool, &rng, 400);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &before), SLUICE_OK);
    host_close(&pool);
    assert_int_equal(open_pool(&pool, &host, 1, 0), SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &after), SLUICE_OK);
    assert_int_equal(after.provisioned, before.provisioned);
    host_close(&pool);
    host_stop(&host);
}

static void make_a_volume_in_memory(void) {
    struct host host;
    struct host_pool pool;
    struct sluice_volume told;
    const struct sluice_uuid id = host_id(1);
    const struct sluice_uuid volume = host_id(10);
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, NULL), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
}

static void without_a_directory_all_is_gone(void **state) {
    (void)state;
    struct host host;
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    const struct sluice_uuid id = host_id(1);
    const struct sluice_uuid volume = host_id(10);
    in_a_process_that_dies(make_a_volume_in_memory);
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &id, 0, NULL), SLUICE_OK);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_NOT_FOUND);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
    host_close(&pool);
    host_stop(&host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loses_what_was_not_flushed, make, drop),
        cmocka_unit_test_setup_teardown(another_incarnation_has_another_token, make, drop),
        cmocka_unit_test_setup_teardown(knows_its_directory_by_the_marker, make, drop),
        cmocka_unit_test_setup_teardown(agrees_with_the_model_and_with_its_successor, make, drop),
        cmocka_unit_test_setup_teardown(without_a_directory_all_is_gone, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * control_test.c: the posix driver's control calls.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conform/model.h"
#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)

static struct host host;
static char directory[TREE_PATH];

static int make(void **state) {
    (void)state;
    tree_make(directory);
    host_start(&host, DRIVER);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

static int32_t try_pool(struct host_pool *pool, uint32_t id, uint32_t flags) {
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid uuid = host_id(id);
    return host_open(pool, &host, &uuid, flags, bag);
}

static struct host_pool open_pool(void) {
    struct host_pool pool;
    assert_int_equal(try_pool(&pool, 1, SLUICE_POOL_CLAIM), SLUICE_OK);
    return pool;
}

static void write_text(struct host_pool *pool, const struct sluice_uuid *volume, const char *text) {
    static uint64_t epoch;
    struct host_data data;
    assert_int_equal(host_data_open(&data, pool, volume, NULL, ++epoch, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, text, strlen(text) + 1, 0), SLUICE_OK);
    host_data_close(&data);
}

static void agrees_with_the_model(void **state) {
    (void)state;
    struct rng rng = rng_of_environment();
    struct host_pool pool = open_pool();
    struct sluice_capacity before = {.size = sizeof before};
    struct sluice_capacity after = {.size = sizeof after};
    model_run(&pool, &rng, 400);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &before), SLUICE_OK);
    host_close(&pool);
    assert_int_equal(try_pool(&pool, 1, 0), SLUICE_OK);
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &after), SLUICE_OK);
    assert_int_equal(after.provisioned, before.provisioned);
    host_close(&pool);
}

static void leaves_nothing_behind(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_volume told;
    struct sluice_snapshot taken;
    char before[TREE_LIST];
    char after[TREE_LIST];
    tree_list(directory, before);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(
        pool.table->snapshot_get(pool.pool, HOST_CALL(&pool), &volume, &snapshot, &taken),
        SLUICE_OK);
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    tree_list(directory, after);
    assert_string_equal(after, before);
    assert_string_equal(after, "sluice.pool\nvolumes/\n");
    host_close(&pool);
}

static void knows_its_directory_by_the_marker(void **state) {
    (void)state;
    struct host_pool pool;
    struct host_pool other;
    const struct sluice_uuid volume = host_id(10);
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &told};
    assert_int_equal(try_pool(&pool, 1, 0), SLUICE_VANISHED);
    assert_false(tree_exists(directory, "volumes"));
    assert_int_equal(try_pool(&pool, 1, SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(try_pool(&other, 2, SLUICE_POOL_CLAIM), SLUICE_FOREIGN);
    assert_non_null(strstr(other.call.text, "01930000-0000-7000-8000-000000000001"));
    assert_int_equal(try_pool(&other, 2, SLUICE_POOL_TAKE_OVER), SLUICE_OK);
    /* The one that it was taken from sees so at its next call. */
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_FOREIGN);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume),
                     SLUICE_FOREIGN);
    host_close(&pool);
    assert_int_equal(other.table->volume_get(other.pool, HOST_CALL(&other), &volume, &told),
                     SLUICE_OK);
    assert_int_equal(other.table->pool_release(other.pool, HOST_CALL(&other)), SLUICE_OK);
    assert_int_equal(other.table->pool_release(other.pool, HOST_CALL(&other)), SLUICE_OK);
    assert_int_equal(other.table->volume_delete(other.pool, HOST_CALL(&other), &volume),
                     SLUICE_VANISHED);
    assert_int_equal(other.table->volume_list(other.pool, HOST_CALL(&other), &list),
                     SLUICE_VANISHED);
    host_close(&other);
}

static void refuses_a_directory_that_was_replaced(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    struct sluice_volume told = {.size = sizeof told};
    char moved[TREE_PATH + 8];
    snprintf(moved, sizeof moved, "%s.moved", directory);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(rename(directory, moved), 0);
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume),
                     SLUICE_VANISHED);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_VANISHED);
    assert_int_equal(pool.table->pool_probe(pool.pool, HOST_CALL(&pool)), SLUICE_VANISHED);
    char listed[TREE_LIST];
    tree_list(directory, listed);
    assert_string_equal(listed, "");
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(rename(moved, directory), 0);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_OK);
    host_close(&pool);
}

static void never_follows_a_link_out_of_the_pool(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    struct sluice_volume told = {.size = sizeof told};
    char outside[TREE_PATH];
    char inside[TREE_PATH + 64];
    tree_make(outside);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    snprintf(inside, sizeof inside, "%s/volumes/01930000-0000-7000-8000-00000000000b", directory);
    assert_int_equal(symlink(outside, inside), 0);
    const struct sluice_uuid link = host_id(11);
    assert_int_equal(host_create(&pool, &link, "l", MIB, &told), SLUICE_CORRUPT);
    char listed[TREE_LIST];
    tree_list(outside, listed);
    assert_string_equal(listed, "");
    assert_int_equal(unlink(inside), 0);
    host_close(&pool);
    tree_remove(outside);
}

static void adopts_and_lets_go(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    const struct sluice_uuid again = host_id(11);
    struct sluice_volume told = {.size = sizeof told};
    struct host_data data;
    char reference[SLUICE_PATH_MAX];
    char image[1024] = "an image that was there before";
    char bytes[sizeof image];
    tree_write(directory, "old.img", image, sizeof image);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(
            pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "old.img", "old", &told),
            SLUICE_OK);
        assert_int_equal(told.size_bytes, sizeof image);
        assert_string_equal(told.name, "old");
    }
    assert_false(tree_exists(directory, "old.img"));
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "other.img", "old", &told),
        SLUICE_EXISTS);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 1, true), SLUICE_OK);
    assert_int_equal(host_read(&data, 0, bytes, sizeof bytes), SLUICE_OK);
    assert_memory_equal(bytes, image, sizeof image);
    assert_int_equal(pool.table->volume_unmanage(pool.pool, HOST_CALL(&pool), &volume, reference),
                     SLUICE_BUSY);
    host_data_close(&data);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(
            pool.table->volume_unmanage(pool.pool, HOST_CALL(&pool), &volume, reference),
            SLUICE_OK);
        assert_string_equal(reference, "unmanaged/01930000-0000-7000-8000-00000000000a.raw");
        assert_true(tree_exists(directory, reference));
    }
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_NOT_FOUND);
    /* What was let go can be adopted again, under another id. */
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &again, reference, "again", &told),
        SLUICE_OK);
    host_close(&pool);
}

static void refuses_to_adopt_what_it_must_not(void **state) {
    (void)state;
    static const char *const references[] = {"/etc/passwd", "../x", "a/../../x", "",   "volumes/x",
                                             "sluice.pool", "a//b", "a/",        "./a"};
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    struct sluice_volume told = {.size = sizeof told};
    char path[TREE_PATH + 16];
    char before[TREE_LIST];
    char after[TREE_LIST];
    for (size_t i = 0; i < sizeof references / sizeof references[0]; i++) {
        assert_int_equal(pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume,
                                                  references[i], "n", &told),
                         SLUICE_INVALID);
    }
    tree_write(directory, "odd.img", "odd", 3);
    snprintf(path, sizeof path, "%s/link.img", directory);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/folder", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    tree_list(directory, before);
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "odd.img", "n", &told),
        SLUICE_INVALID);
    assert_non_null(strstr(pool.call.text, "truncate"));
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "link.img", "n", &told),
        SLUICE_CORRUPT);
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "folder", "n", &told),
        SLUICE_INVALID);
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &volume, "none.img", "n", &told),
        SLUICE_NOT_FOUND);
    tree_list(directory, after);
    assert_string_equal(after, before);
    host_close(&pool);
}

static void keeps_to_the_overcommit_limit(void **state) {
    (void)state;
    const struct host_property bag[] = {{"path", directory, 0},
                                        {"capacity_bytes", NULL, (int64_t)MIB},
                                        {"overcommit_percent", NULL, 200},
                                        {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    const struct sluice_uuid volumes[] = {host_id(10), host_id(11)};
    const struct sluice_uuid snapshot = host_id(12);
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_snapshot taken;
    struct sluice_capacity capacity = {.size = sizeof capacity};
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volumes[0], "a", MIB, &told), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volumes[1], "b", MIB + 512, &told), SLUICE_LIMIT);
    assert_non_null(strstr(pool.call.text, "overcommit_percent"));
    assert_int_equal(host_create(&pool, &volumes[1], "b", MIB - 512, &told), SLUICE_OK);
    assert_int_equal(
        pool.table->volume_resize(pool.pool, HOST_CALL(&pool), &volumes[1], MIB + 512, &told),
        SLUICE_LIMIT);
    assert_int_equal(
        pool.table->volume_resize(pool.pool, HOST_CALL(&pool), &volumes[1], MIB, &told), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volumes[0], &snapshot, "s", &taken), SLUICE_LIMIT);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volumes[1]),
                     SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volumes[0], &snapshot, "s", &taken), SLUICE_OK);
    write_text(&pool, &volumes[0], "something");
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.total, MIB);
    assert_int_equal(capacity.provisioned, 2 * MIB);
    assert_in_range(capacity.used, 512, MIB / 2);
    host_close(&pool);
}

static void sees_damage_and_can_still_delete(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10);
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &told};
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    tree_write(directory, "volumes/01930000-0000-7000-8000-00000000000a/volume.meta", "junk", 4);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_CORRUPT);
    assert_int_equal(pool.table->volume_list(pool.pool, HOST_CALL(&pool), &list), SLUICE_OK);
    assert_int_equal(list.count, 1);
    assert_true(told.used_bytes == UINT64_MAX);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_CORRUPT);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    host_close(&pool);
}

static void preallocates_when_told_to(void **state) {
    (void)state;
    const struct host_property bag[] = {
        {"path", directory, 0}, {"preallocate", NULL, 1}, {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    const struct sluice_uuid volume = host_id(10);
    struct host_pool pool;
    struct sluice_volume told = {.size = sizeof told};
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_false(pool.limits.caps & SLUICE_CAP_MASK(THIN));
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_true(told.used_bytes >= MIB);
    assert_int_equal(
        pool.table->volume_resize(pool.pool, HOST_CALL(&pool), &volume, 2 * MIB, &told), SLUICE_OK);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                     SLUICE_OK);
    assert_true(told.used_bytes >= 2 * MIB);
    host_close(&pool);
}

#define WORKERS 4
#define ROUNDS 12

/* What a worker does with its own volume; NULL when all of it went well. */
static void *make_and_unmake(void *argument) {
    struct host_pool pool = *(struct host_pool *)argument; /* with a call of its own */
    static uint32_t next = 100;
    for (int i = 0; i < ROUNDS; i++) {
        const struct sluice_uuid volume = host_id(__atomic_fetch_add(&next, 3, __ATOMIC_RELAXED));
        struct sluice_uuid snapshot = volume;
        struct sluice_uuid clone = volume;
        struct sluice_volume told;
        struct sluice_snapshot taken;
        snapshot.bytes[15]++;
        clone.bytes[15] += 2;
        if (host_create(&pool, &volume, "v", MIB, &told) != SLUICE_OK ||
            host_snapshot(&pool, &volume, &snapshot, "s", &taken) != SLUICE_OK ||
            host_clone(&pool, &clone, "c", MIB, &volume, &snapshot, &told) != SLUICE_OK ||
            pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume) != SLUICE_OK ||
            pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &clone) != SLUICE_OK ||
            pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot) !=
                SLUICE_OK) {
            return argument;
        }
    }
    return NULL;
}

static void calls_on_different_volumes_overlap(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    pthread_t threads[WORKERS];
    struct sluice_capacity capacity = {.size = sizeof capacity};
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_unmake, &pool), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.provisioned, 0);
    char listed[TREE_LIST];
    tree_list(directory, listed);
    assert_string_equal(listed, "sluice.pool\nvolumes/\n");
    host_close(&pool);
}

static void says_what_is_wrong_with_the_path(void **state) {
    (void)state;
    const struct sluice_uuid id = host_id(1);
    struct host_pool pool;
    const struct host_property relative[] = {{"path", "here", 0}, {NULL, NULL, 0}};
    const struct host_property missing[] = {{"path", "/nowhere/at/all", 0}, {NULL, NULL, 0}};
    const struct host_property file[] = {{"path", "/etc/passwd", 0}, {NULL, NULL, 0}};
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, relative), SLUICE_INVALID);
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, missing), SLUICE_VANISHED);
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, file), SLUICE_VANISHED);
    assert_true(pool.call.text[0] != '\0');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(agrees_with_the_model, make, drop),
        cmocka_unit_test_setup_teardown(leaves_nothing_behind, make, drop),
        cmocka_unit_test_setup_teardown(knows_its_directory_by_the_marker, make, drop),
        cmocka_unit_test_setup_teardown(refuses_a_directory_that_was_replaced, make, drop),
        cmocka_unit_test_setup_teardown(never_follows_a_link_out_of_the_pool, make, drop),
        cmocka_unit_test_setup_teardown(adopts_and_lets_go, make, drop),
        cmocka_unit_test_setup_teardown(refuses_to_adopt_what_it_must_not, make, drop),
        cmocka_unit_test_setup_teardown(keeps_to_the_overcommit_limit, make, drop),
        cmocka_unit_test_setup_teardown(sees_damage_and_can_still_delete, make, drop),
        cmocka_unit_test_setup_teardown(preallocates_when_told_to, make, drop),
        cmocka_unit_test_setup_teardown(calls_on_different_volumes_overlap, make, drop),
        cmocka_unit_test_setup_teardown(says_what_is_wrong_with_the_path, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * data_test.c: the posix driver's data calls: epochs and locks, bounds, zeroes, many at once.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static const struct sluice_uuid *volume;

static int make(void **state) {
    static struct sluice_uuid id;
    struct sluice_volume told;
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid pool_id = host_id(1);
    (void)state;
    id = host_id(10);
    volume = &id;
    tree_make(directory);
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &pool_id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_int_equal(host_create(&pool, volume, "v", 4 * MIB, &told), SLUICE_OK);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

static void one_writer_at_a_time(void **state) {
    (void)state;
    struct host_data first;
    struct host_data second;
    const struct sluice_uuid snapshot = host_id(20);
    const struct sluice_uuid copy = host_id(21);
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_snapshot taken;
    assert_int_equal(host_data_open(&first, &pool, volume, NULL, 3, false), SLUICE_OK);
    assert_int_equal(host_data_open(&second, &pool, volume, NULL, 4, false), SLUICE_BUSY);
    assert_int_equal(host_data_open(&second, &pool, volume, NULL, 4, true), SLUICE_BUSY);
    assert_int_equal(host_snapshot(&pool, volume, &snapshot, "s", &taken), SLUICE_BUSY);
    assert_int_equal(host_copy(&pool, &copy, "c", 4 * MIB, volume, &told), SLUICE_BUSY);
    assert_int_equal(pool.table->volume_resize(pool.pool, HOST_CALL(&pool), volume, MIB, &told),
                     SLUICE_BUSY);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), volume), SLUICE_BUSY);
    assert_int_equal(pool.table->volume_resize(pool.pool, HOST_CALL(&pool), volume, 8 * MIB, &told),
                     SLUICE_OK);
    host_data_close(&first);
    assert_int_equal(host_data_open(&second, &pool, volume, NULL, 2, false), SLUICE_STALE);
    assert_int_equal(host_data_open(&second, &pool, volume, NULL, 3, false), SLUICE_OK);
    assert_int_equal(second.opened.size_bytes, 8 * MIB);
    assert_int_equal(second.opened.token, 1);
    host_data_close(&second);
    /* Readers do not exclude each other nor a snapshot. */
    assert_int_equal(host_data_open(&first, &pool, volume, NULL, 5, true), SLUICE_OK);
    assert_int_equal(host_data_open(&second, &pool, volume, NULL, 5, true), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, volume, &snapshot, "s", &taken), SLUICE_OK);
    host_data_close(&first);
    host_data_close(&second);
    assert_int_equal(host_data_open(&first, &pool, volume, &snapshot, 0, false), SLUICE_INVALID);
}

/* A predecessor that hangs keeps the lock; one that died does not, and what it acknowledged stays.
 */
static void a_successor_waits_for_the_end_of_its_predecessor(void **state) {
    (void)state;
    struct host_data data;
    int opened[2];
    int status;
    char byte;
    assert_int_equal(pipe(opened), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (host_data_open(&data, &pool, volume, NULL, 8, false) == SLUICE_OK &&
            host_write(&data, 0, "acknowledged", 12, 0) == SLUICE_OK) {
            status = (int)write(opened[1], "x", 1);
        }
        pause();
        _exit(0);
    }
    assert_int_equal(read(opened[0], &byte, 1), 1);
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 9, false), SLUICE_BUSY);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    char bytes[12];
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 7, false), SLUICE_STALE);
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 9, false), SLUICE_OK);
    assert_int_equal(host_read(&data, 0, bytes, sizeof bytes), SLUICE_OK);
    assert_memory_equal(bytes, "acknowledged", sizeof bytes);
    host_data_close(&data);
    close(opened[0]);
    close(opened[1]);
}

static void keeps_within_the_volume(void **state) {
    (void)state;
    struct host_data data;
    char bytes[8] = {0};
    struct sluice_extent extent;
    uint32_t count;
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 4 * MIB - 4, bytes, 8, 0), SLUICE_INVALID);
    assert_int_equal(host_write(&data, UINT64_MAX - 3, bytes, 8, 0), SLUICE_INVALID);
    assert_int_equal(host_read(&data, 4 * MIB, bytes, 1), SLUICE_INVALID);
    assert_int_equal(host_zero(&data, 4 * MIB, 1, 0), SLUICE_INVALID);
    assert_int_equal(host_trim(&data, 0, 4 * MIB + 1), SLUICE_INVALID);
    assert_int_equal(host_extents(&data, 0, 4 * MIB + 1, &extent, 1, &count), SLUICE_INVALID);
    assert_int_equal(host_read(&data, 4 * MIB, bytes, 0), SLUICE_OK);
    assert_int_equal(host_trim(&data, 4 * MIB, 0), SLUICE_OK);
    host_data_close(&data);
}

static void zeroes_and_extents_are_true(void **state) {
    (void)state;
    struct host_data data;
    struct sluice_extent extents[8];
    struct sluice_volume told = {.size = sizeof told};
    uint32_t count;
    uint8_t *bytes = malloc(MIB);
    assert_non_null(bytes);
    memset(bytes, 9, MIB);
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, MIB, bytes, MIB, SLUICE_IO_FUA), SLUICE_OK);
    assert_int_equal(host_extents(&data, 0, 4 * MIB, extents, 8, &count), SLUICE_OK);
    assert_int_equal(count, 3);
    assert_int_equal(extents[0].flags, SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO);
    assert_int_equal(extents[1].offset, MIB);
    assert_int_equal(extents[1].length, MIB);
    assert_int_equal(extents[1].flags, 0);
    assert_int_equal(extents[2].length, 2 * MIB);
    /* Fewer than there are: the next question goes on from there. */
    assert_int_equal(host_extents(&data, 0, 4 * MIB, extents, 1, &count), SLUICE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(host_zero(&data, MIB, MIB, SLUICE_IO_FAST_ZERO), SLUICE_OK);
    assert_int_equal(host_read(&data, MIB, bytes, MIB), SLUICE_OK);
    for (size_t i = 0; i < MIB; i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), volume, &told), SLUICE_OK);
    assert_true(told.used_bytes < MIB);
    assert_int_equal(host_zero(&data, 0, MIB, SLUICE_IO_NO_HOLE), SLUICE_OK);
    assert_int_equal(host_flush(&data), SLUICE_OK);
    assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), volume, &told), SLUICE_OK);
    assert_true(told.used_bytes >= MIB);
    host_data_close(&data);
    free(bytes);
}

#define WRITERS 4
#define ROUNDS 50

static struct host_data shared;

static void *write_own_part(void *argument) {
    uint64_t part = (uint64_t)(uintptr_t)argument;
    uint8_t bytes[4096];
    uint8_t again[4096];
    bool good = true;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t offset = part * MIB + i * sizeof bytes;
        memset(bytes, (int)(part * 50 + i), sizeof bytes);
        good = good && host_write(&shared, offset, bytes, sizeof bytes, 0) == SLUICE_OK &&
               host_read(&shared, offset, again, sizeof again) == SLUICE_OK &&
               memcmp(bytes, again, sizeof bytes) == 0;
    }
    return good ? NULL : argument;
}

static void calls_on_one_handle_overlap(void **state) {
    (void)state;
    pthread_t threads[WRITERS];
    assert_int_equal(host_data_open(&shared, &pool, volume, NULL, 1, false), SLUICE_OK);
    for (uintptr_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_own_part, (void *)i), 0);
    }
    for (uintptr_t i = 0; i < WRITERS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    host_data_close(&shared);
}

static void *read_own_part(void *argument) {
    uint64_t part = (uint64_t)(uintptr_t)argument;
    uint8_t bytes[4096];
    bool good = true;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        memset(bytes, 0xff, sizeof bytes);
        good =
            good &&
            host_read(&shared, part * MIB + i * sizeof bytes, bytes, sizeof bytes) == SLUICE_OK &&
            bytes[0] == (uint8_t)(part * 50 + i) && bytes[sizeof bytes - 1] == bytes[0];
    }
    return good ? NULL : argument;
}

static void drop_from_cache(void) {
    char path[TREE_PATH + 96];
    snprintf(path, sizeof path, "%s/volumes/01930000-0000-7000-8000-00000000000a/g000001.raw",
             directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
}

/* Cold reads, and one part of them cold: workers read what the cache does not have. */
static void what_is_not_in_the_cache_is_read_too(void **state) {
    (void)state;
    pthread_t threads[WRITERS];
    uint8_t *bytes = malloc(MIB);
    assert_non_null(bytes);
    assert_int_equal(host_data_open(&shared, &pool, volume, NULL, 1, false), SLUICE_OK);
    for (uint64_t part = 0; part < WRITERS; part++) {
        for (uint64_t i = 0; i < ROUNDS; i++) {
            memset(bytes, (int)(part * 50 + i), 4096);
            assert_int_equal(host_write(&shared, part * MIB + i * 4096, bytes, 4096, 0), SLUICE_OK);
        }
    }
    assert_int_equal(host_flush(&shared), SLUICE_OK);
    for (int round = 0; round < 5; round++) {
        drop_from_cache();
        for (uintptr_t i = 0; i < WRITERS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, read_own_part, (void *)i), 0);
        }
        for (uintptr_t i = 0; i < WRITERS; i++) {
            void *wrong;
            assert_int_equal(pthread_join(threads[i], &wrong), 0);
            assert_null(wrong);
        }
    }
    drop_from_cache();
    assert_int_equal(host_read(&shared, 8192, bytes, 4096), SLUICE_OK);
    assert_int_equal(host_read(&shared, 0, bytes, MIB), SLUICE_OK);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(bytes[i * 4096 + 17], i);
    }
    assert_int_equal(host_write(&shared, 0, bytes, MIB, SLUICE_IO_FUA), SLUICE_OK);
    host_data_close(&shared);
    free(bytes);
}

/* A host that was let at the file can cut it; the volume keeps the size it is meant to have. */
static void a_cut_file_reads_as_zeroes_and_grows_back(void **state) {
    (void)state;
    struct host_data data;
    char path[TREE_PATH + 96];
    char bytes[16] = "0123456789abcde";
    snprintf(path, sizeof path, "%s/volumes/01930000-0000-7000-8000-00000000000a/g000001.raw",
             directory);
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, bytes, sizeof bytes, 0), SLUICE_OK);
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(host_read(&data, 0, bytes, sizeof bytes), SLUICE_OK);
    assert_memory_equal(bytes, "01234567\0\0\0\0\0\0\0\0", sizeof bytes);
    host_data_close(&data);
    assert_int_equal(host_data_open(&data, &pool, volume, NULL, 2, false), SLUICE_OK);
    assert_int_equal(data.opened.size_bytes, 4 * MIB);
    host_data_close(&data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(lseek(fd, 0, SEEK_END), 4 * MIB);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_writer_at_a_time, make, drop),
        cmocka_unit_test_setup_teardown(a_successor_waits_for_the_end_of_its_predecessor, make,
                                        drop),
        cmocka_unit_test_setup_teardown(keeps_within_the_volume, make, drop),
        cmocka_unit_test_setup_teardown(zeroes_and_extents_are_true, make, drop),
        cmocka_unit_test_setup_teardown(calls_on_one_handle_overlap, make, drop),
        cmocka_unit_test_setup_teardown(what_is_not_in_the_cache_is_read_too, make, drop),
        cmocka_unit_test_setup_teardown(a_cut_file_reads_as_zeroes_and_grows_back, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

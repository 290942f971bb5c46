/* SPDX-License-Identifier: Apache-2.0
 *
 * copy_test.c: snapshots, clones and reverts of larger disks: holes kept, progress, cancel.
 *
 * Slices are cut to nothing (SLUICE_POSIX_SLICE_NS), so that every copy takes many of them.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (1024 * MIB)
#define PIECES 6

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static struct sluice_uuid volume;
static uint8_t piece[2 * MIB];
static bool shares_blocks; /* the file system clones ranges */

static bool can_clone(void) {
    char path[TREE_PATH + 16];
    struct file_clone_range range = {.src_length = 4096};
    snprintf(path, sizeof path, "%s/from", directory);
    int from = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(path, sizeof path, "%s/to", directory);
    int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(from, 4096), 0);
    range.src_fd = from;
    bool can = ioctl(to, FICLONERANGE, &range) == 0;
    close(from);
    close(to);
    unlink(path);
    snprintf(path, sizeof path, "%s/from", directory);
    unlink(path);
    return can;
}

/* Pieces of random bytes with large holes between; the last one ends with the disk. */
static uint64_t place(uint32_t i) {
    return i == PIECES - 1 ? SIZE - sizeof piece : i * (170 * MIB) + i * 512;
}

static void write_pieces(uint64_t epoch, uint8_t flip) {
    struct host_data data;
    uint8_t *bytes = malloc(sizeof piece);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof piece; i++) {
        bytes[i] = piece[i] ^ flip;
    }
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, epoch, false), SLUICE_OK);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(host_write(&data, place(i), bytes, sizeof piece, 0), SLUICE_OK);
    }
    host_data_close(&data);
    free(bytes);
}

static void compare_pieces(const struct sluice_uuid *id, const struct sluice_uuid *snapshot,
                           uint8_t flip) {
    struct host_data data;
    uint8_t *bytes = malloc(sizeof piece + 1024);
    assert_non_null(bytes);
    assert_int_equal(host_data_open(&data, &pool, id, snapshot, 100, true), SLUICE_OK);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(host_read(&data, place(i), bytes, sizeof piece), SLUICE_OK);
        for (size_t at = 0; at < sizeof piece; at++) {
            if (bytes[at] != (piece[at] ^ flip)) {
                fail_msg("piece %u differs at %zu", i, at);
            }
        }
    }
    assert_int_equal(host_read(&data, sizeof piece, bytes, 1024), SLUICE_OK);
    assert_int_equal(bytes[0], 0);
    host_data_close(&data);
    free(bytes);
}

static int make(void **state) {
    struct sluice_volume told;
    const struct host_property bag[] = {
        {"path", directory, 0}, {"overcommit_percent", NULL, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid pool_id = host_id(1);
    struct rng rng = {.state = 12345};
    (void)state;
    setenv("SLUICE_POSIX_SLICE_NS", "0", 1);
    rng_fill(&rng, piece, sizeof piece);
    volume = host_id(10);
    tree_make(directory);
    shares_blocks = can_clone();
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &pool_id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
    write_pieces(1, 0);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

static uint64_t used_by_file_system(void) {
    struct sluice_capacity capacity = {.size = sizeof capacity};
    sync();
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    return capacity.used;
}

static void copies_keep_holes_and_bytes(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    const struct sluice_uuid clone = host_id(12);
    const struct sluice_uuid copy = host_id(13);
    const struct sluice_uuid operation = host_id(14);
    struct sluice_volume told;
    struct sluice_snapshot taken;
    uint64_t before = used_by_file_system();
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_true(pool.call.pending > 0);
    assert_true(taken.used_bytes <= PIECES * sizeof piece + 4 * MIB);
    uint64_t after = used_by_file_system();
    print_message("%s; a snapshot took %lld KiB\n",
                  shares_blocks ? "blocks are shared" : "blocks are copied",
                  (long long)(after - before) / 1024);
    if (shares_blocks && getenv("SLUICE_TEST_DIR") != NULL) { /* nobody else writes there */
        assert_true(after < before + sizeof piece);
    }
    write_pieces(2, 0x55);
    compare_pieces(&volume, &snapshot, 0);
    assert_int_equal(host_clone(&pool, &clone, "c", SIZE + MIB, &volume, &snapshot, &told),
                     SLUICE_OK);
    assert_int_equal(told.size_bytes, SIZE + MIB);
    compare_pieces(&clone, NULL, 0);
    assert_int_equal(host_copy(&pool, &copy, "d", SIZE, &volume, &told), SLUICE_OK);
    compare_pieces(&copy, NULL, 0x55);
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &operation, &told), SLUICE_OK);
    assert_true(pool.call.pending > 0);
    compare_pieces(&volume, NULL, 0);
}

static void progress_goes_up_and_delete_cancels(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_snapshot taken = {.size = sizeof taken};
    struct host_data data;
    char before[TREE_LIST];
    char after[TREE_LIST];
    uint64_t done = 0;
    int32_t status;
    /* One that is made and deleted leaves the directory "snapshots", as any later one finds it. */
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    tree_list(directory, before);
    assert_int_equal(
        pool.table->snapshot_create(pool.pool, HOST_CALL(&pool), &volume, &snapshot, "s", &taken),
        SLUICE_PENDING);
    assert_int_equal(pool.call.total, SIZE);
    /* What is being copied is not written meanwhile, and what is half made is not there. */
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 9, false), SLUICE_BUSY);
    assert_int_equal(
        pool.table->snapshot_get(pool.pool, HOST_CALL(&pool), &volume, &snapshot, &taken),
        SLUICE_NOT_FOUND);
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    tree_list(directory, after);
    assert_string_equal(after, before);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, 9, false), SLUICE_OK);
    host_data_close(&data);
    HOST_CALL(&pool);
    while ((status = pool.table->snapshot_create(pool.pool, &pool.call, &volume, &snapshot, "s",
                                                 &taken)) == SLUICE_PENDING) {
        assert_true(pool.call.done > done);
        done = pool.call.done;
    }
    assert_int_equal(status, SLUICE_OK);
    compare_pieces(&volume, &snapshot, 0);
}

/* More copies at once than the driver keeps: those that were dropped start again, all end. */
static void many_copies_at_once_all_end(void **state) {
    (void)state;
    enum { COPIES = 80 };
    const struct sluice_uuid small = host_id(20);
    struct sluice_volume told;
    struct sluice_snapshot taken = {.size = sizeof taken};
    struct host_data data;
    bool ended[COPIES] = {false};
    uint32_t left = COPIES;
    assert_int_equal(host_create(&pool, &small, "small", 200 * MIB, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &small, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, piece, 4096, 0), SLUICE_OK);
    assert_int_equal(host_write(&data, 150 * MIB, piece, 4096, 0), SLUICE_OK);
    host_data_close(&data);
    /* Begin all; then end one after the other, as a gateway with bounded work would. */
    for (uint32_t i = 0; i < COPIES; i++) {
        const struct sluice_uuid id = host_id(1000 + i);
        int32_t status =
            pool.table->snapshot_create(pool.pool, HOST_CALL(&pool), &small, &id, "s", &taken);
        ended[i] = status == SLUICE_OK;
        left -= ended[i];
        assert_true(ended[i] || status == SLUICE_PENDING);
    }
    assert_true(left > 0);
    for (uint32_t i = 0; i < COPIES; i++) {
        const struct sluice_uuid id = host_id(1000 + i);
        assert_int_equal(host_snapshot(&pool, &small, &id, "s", &taken), SLUICE_OK);
    }
    struct sluice_capacity capacity = {.size = sizeof capacity};
    assert_int_equal(pool.table->pool_stat(pool.pool, HOST_CALL(&pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.provisioned, SIZE + (COPIES + 1) * 200 * MIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(copies_keep_holes_and_bytes, make, drop),
        cmocka_unit_test_setup_teardown(progress_goes_up_and_delete_cancels, make, drop),
        cmocka_unit_test_setup_teardown(many_copies_at_once_all_end, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

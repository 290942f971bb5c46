/* SPDX-License-Identifier: Apache-2.0
 *
 * chain_test.c: chains of images on a real file system: what they cost, what merging and flattening
 * leave, and what is read meanwhile. qemu-img is the referee, where it is installed.
 *
 * Slices are cut short (SLUICE_SHARE_SLICE_NS), so that merging takes many of them.
 */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (16 * MIB)
#define PIECE UINT64_C(65536)
#define CHAIN_MAX 8
#define WAIT_MS 20000

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static struct sluice_uuid volume;
static uint64_t epoch;
static uint8_t piece[PIECE];

static int32_t open_pool(uint32_t flags) {
    const struct host_property bag[] = {{"path", directory, 0},
                                        {"overcommit_percent", NULL, 0},
                                        {"chain_max", NULL, CHAIN_MAX},
                                        {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    return host_open(&pool, &host, &id, flags, bag);
}

static int make(void **state) {
    struct sluice_volume told;
    (void)state;
    setenv("SLUICE_SHARE_SLICE_NS", "0", 1);
    volume = host_id(10);
    epoch = 1;
    tree_make(directory);
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

/* Piece `at` of an open volume is `sign` all over. */
static void put(struct host_data *data, uint64_t at, char sign) {
    memset(piece, sign, sizeof piece);
    assert_int_equal(host_write(data, at * PIECE, piece, sizeof piece, 0), SLUICE_OK);
}

static void fill(const struct sluice_uuid *id, uint64_t from, uint64_t count, char sign) {
    struct host_data data;
    assert_int_equal(host_data_open(&data, &pool, id, NULL, ++epoch, false), SLUICE_OK);
    for (uint64_t at = from; at < from + count; at++) {
        put(&data, at, sign);
    }
    host_data_close(&data);
}

static char sign_at(struct host_data *data, uint64_t at) {
    char bytes[512];
    assert_int_equal(host_read(data, at * PIECE + 1024, bytes, sizeof bytes), SLUICE_OK);
    for (size_t i = 1; i < sizeof bytes; i++) {
        assert_int_equal(bytes[i], bytes[0]);
    }
    return bytes[0];
}

static void assert_signs(const struct sluice_uuid *id, const struct sluice_uuid *snapshot,
                         const char *signs) {
    struct host_data data;
    assert_int_equal(host_data_open(&data, &pool, id, snapshot, epoch, true), SLUICE_OK);
    for (uint64_t at = 0; signs[at] != '\0'; at++) {
        assert_int_equal(sign_at(&data, at), signs[at] == '.' ? 0 : signs[at]);
    }
    host_data_close(&data);
}

static void take(uint32_t id) {
    const struct sluice_uuid snapshot = host_id(id);
    struct sluice_snapshot taken;
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
}

static int32_t drop_snapshot(uint32_t id) {
    const struct sluice_uuid snapshot = host_id(id);
    int32_t status;
    HOST_ASK(&pool, status, pool.table->snapshot_delete(pool.pool, &pool.call, &volume, &snapshot));
    return status;
}

static uint32_t count_images(void) {
    static char names[TREE_LIST];
    uint32_t count = 0;
    tree_list(directory, names);
    for (const char *at = names; (at = strstr(at, "/g0")) != NULL; at++) {
        count += strncmp(at + strcspn(at, "."), ".meta", 5) != 0;
    }
    return count;
}

static void wait_for_images(uint32_t wanted) {
    const struct timespec pause = {.tv_nsec = 2000000};
    for (int i = 0; i < WAIT_MS / 2 && count_images() != wanted; i++) {
        nanosleep(&pause, NULL);
    }
    assert_int_equal(count_images(), wanted);
}

static int check_one(const char *path, const struct stat *seen, int type, struct FTW *where) {
    const char *const words[] = {"qemu-img", "check", "-q", "-U", "-f", "qcow2", path, NULL};
    size_t length = strlen(path);
    pid_t child;
    int status;
    (void)seen;
    (void)where;
    if (type != FTW_F || length < 6 || strcmp(path + length - 6, ".qcow2") != 0 ||
        posix_spawnp(&child, words[0], NULL, NULL, (char **)(uintptr_t)words, environ) != 0) {
        return 0; /* another file, or there is no referee here */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Every qcow2 file is whole, says qemu-img. */
static void referee(void) {
    assert_int_equal(nftw(directory, check_one, 16, FTW_PHYS), 0);
}

static void a_snapshot_copies_nothing(void **state) {
    (void)state;
    const struct sluice_uuid clone = host_id(20);
    const struct sluice_uuid copy = host_id(21);
    struct sluice_volume told;
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_snapshot taken;
    fill(&volume, 0, 100, 'a');
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    assert_int_equal(pool.call.pending, 0);
    assert_true(taken.used_bytes >= 100 * PIECE);
    fill(&volume, 1, 1, 'b');
    assert_int_equal(host_clone(&pool, &clone, "c", SIZE + MIB, &volume, &snapshot, &told),
                     SLUICE_OK);
    assert_true(told.used_bytes < 10 * PIECE);
    assert_int_equal(host_copy(&pool, &copy, "d", SIZE, &volume, &told), SLUICE_OK);
    assert_true(told.used_bytes < 10 * PIECE);
    fill(&copy, 2, 1, 'd');
    assert_signs(&volume, NULL, "aba");
    assert_signs(&volume, &snapshot, "aaa");
    assert_signs(&clone, NULL, "aaa");
    assert_signs(&copy, NULL, "abd");
    referee();
}

/* A copy of what was not written since it was copied last freezes nothing anew. */
static void copies_of_one_source_do_not_make_it_deep(void **state) {
    (void)state;
    struct sluice_volume told;
    fill(&volume, 0, 1, 'a');
    for (uint32_t i = 0; i < 3 * CHAIN_MAX; i++) {
        const struct sluice_uuid copy = host_id(100 + i);
        assert_int_equal(host_copy(&pool, &copy, "c", SIZE, &volume, &told), SLUICE_OK);
    }
    assert_int_equal(count_images(), 2 + 3 * CHAIN_MAX);
    for (uint32_t i = 0; i < 3 * CHAIN_MAX; i++) {
        const struct sluice_uuid copy = host_id(100 + i);
        assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &copy), SLUICE_OK);
    }
    wait_for_images(1); /* the frozen one is merged into the only one that needs it */
    assert_signs(&volume, NULL, "a.");
    referee();
}

static void a_deleted_snapshot_is_merged(void **state) {
    (void)state;
    const struct sluice_uuid last = host_id(13);
    fill(&volume, 0, 3, 'a');
    take(11);
    fill(&volume, 1, 40, 'b');
    take(12);
    fill(&volume, 2, 1, 'c');
    take(13);
    assert_int_equal(count_images(), 4);
    assert_int_equal(drop_snapshot(12), SLUICE_OK); /* in the middle */
    assert_true(pool.call.pending > 0);
    assert_true(pool.call.total == SIZE && pool.call.done > 0);
    assert_int_equal(count_images(), 3);
    assert_signs(&volume, NULL, "abcbb");
    assert_signs(&volume, &last, "abcbb");
    referee();
    assert_int_equal(drop_snapshot(11), SLUICE_OK); /* the raw one at the bottom */
    assert_int_equal(count_images(), 2);
    assert_int_equal(drop_snapshot(13), SLUICE_OK);
    assert_int_equal(count_images(), 1);
    assert_signs(&volume, NULL, "abcbb");
    assert_int_equal(drop_snapshot(13), SLUICE_OK);
    referee();
}

/* Cloned twice it stays without a name, until one clone is left. */
static void what_several_need_stays_until_one_does(void **state) {
    (void)state;
    const struct sluice_uuid clones[] = {host_id(20), host_id(21)};
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_volume told;
    fill(&volume, 0, 5, 'a');
    take(11);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(host_clone(&pool, &clones[i], "c", SIZE, &volume, &snapshot, &told),
                         SLUICE_OK);
    }
    fill(&clones[1], 1, 1, 'c');
    assert_int_equal(drop_snapshot(11), SLUICE_OK);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    assert_int_equal(count_images(), 3);
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &clones[0]), SLUICE_OK);
    wait_for_images(1);
    assert_signs(&clones[1], NULL, "aca");
    char names[TREE_LIST];
    tree_list(directory, names); /* of the volume that was deleted nothing is left */
    assert_null(strstr(names, "00000000000a"));
    referee();
}

/* ---- while a volume is open ----------------------------------------------------------------- */

static atomic_bool stopping;
static atomic_uint rounds;

/* Reads what never changes and writes what does, all the while. */
static void *use(void *argument) {
    struct host_data *data = argument;
    uint8_t *bytes = malloc(PIECE);
    for (uint32_t round = 0; bytes != NULL && !atomic_load(&stopping); round++) {
        memset(bytes, (int)('A' + round % 26), PIECE);
        if (host_write(data, (200 + round % 16) * PIECE, bytes, PIECE, 0) != SLUICE_OK ||
            host_read(data, (200 + round % 16) * PIECE, bytes, PIECE) != SLUICE_OK ||
            bytes[77] != 'A' + round % 26 ||
            host_read(data, (round % 100) * PIECE, bytes, PIECE) != SLUICE_OK || bytes[5] != 'a' ||
            bytes[PIECE - 1] != 'a') {
            free(bytes);
            return argument;
        }
        atomic_fetch_add(&rounds, 1);
    }
    free(bytes);
    return NULL;
}

static void merging_below_an_open_volume_disturbs_nobody(void **state) {
    (void)state;
    struct host_data data;
    pthread_t thread;
    void *wrong;
    fill(&volume, 0, 100, 'a');
    take(11);
    fill(&volume, 50, 20, 'a');
    take(12);
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, false), SLUICE_OK);
    atomic_store(&stopping, false);
    assert_int_equal(pthread_create(&thread, NULL, use, &data), 0);
    assert_int_equal(drop_snapshot(11), SLUICE_OK); /* into a frozen one */
    assert_int_equal(drop_snapshot(12), SLUICE_OK); /* takes more than the active one: later */
    assert_int_equal(count_images(), 2);
    uint32_t before = atomic_load(&rounds);
    while (atomic_load(&rounds) < before + 100) {
        sched_yield();
    }
    atomic_store(&stopping, true);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(host_flush(&data), SLUICE_OK);
    host_data_close(&data);
    wait_for_images(1);
    assert_signs(&volume, NULL, "aaaaaaaaaaaa");
    referee();
}

/* What lies below is the smaller one: it is pulled through the disk that has the volume open. */
static void a_small_image_is_pulled_into_an_open_volume(void **state) {
    (void)state;
    struct host_data data;
    pthread_t thread;
    void *wrong;
    fill(&volume, 0, 1, 'a');
    take(11);
    fill(&volume, 1, 99, 'a');
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, false), SLUICE_OK);
    atomic_store(&stopping, false);
    assert_int_equal(pthread_create(&thread, NULL, use, &data), 0);
    assert_int_equal(drop_snapshot(11), SLUICE_OK);
    assert_int_equal(count_images(), 1);
    atomic_store(&stopping, true);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    host_data_close(&data);
    assert_signs(&volume, NULL, "aaaaaaaaaaaa");
    referee();
}

/* ---- pushing down --------------------------------------------------------------------------- */

static int32_t resize_to(uint64_t bytes) {
    struct sluice_volume told = {.size = sizeof told};
    return pool.table->volume_resize(pool.pool, HOST_CALL(&pool), &volume, bytes, &told);
}

static void zero_piece(uint64_t at) {
    struct host_data data;
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, false), SLUICE_OK);
    assert_int_equal(host_zero(&data, at * PIECE, PIECE, 0), SLUICE_OK);
    host_data_close(&data);
}

/* The active image and what it lies on; whichever takes more, the volume reads the same after. */
static void both_directions_leave_the_same_bytes(void **state) {
    (void)state;
    static uint8_t before[2][SIZE];
    struct host_data data;
    for (int direction = 0; direction < 2; direction++) {
        for (int way = 0; way < 3; way++) {
            const uint64_t size = way == 0 ? SIZE : way == 1 ? SIZE / 2 : SIZE - MIB;
            fill(&volume, 0, direction == 0 ? 90 : 5, 'a');
            take(11);
            if (way > 0) {
                assert_int_equal(resize_to(SIZE / 2), SLUICE_OK);
                assert_int_equal(resize_to(size), SLUICE_OK);
            }
            fill(&volume, 1, direction == 0 ? 4 : 90, 'b');
            zero_piece(0);
            assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, true), SLUICE_OK);
            assert_int_equal(data.opened.size_bytes, size);
            assert_int_equal(host_read(&data, 0, before[0], size), SLUICE_OK);
            host_data_close(&data);
            assert_int_equal(drop_snapshot(11), SLUICE_OK);
            wait_for_images(1);
            assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, true), SLUICE_OK);
            assert_int_equal(data.opened.size_bytes, size);
            assert_int_equal(host_read(&data, 0, before[1], size), SLUICE_OK);
            host_data_close(&data);
            assert_memory_equal(before[0], before[1], size);
            referee();
            assert_int_equal(resize_to(SIZE), SLUICE_OK);
        }
    }
}

static uint64_t bytes_written(void) {
    char line[128];
    unsigned long long bytes = 0;
    FILE *io = fopen("/proc/self/io", "r");
    assert_non_null(io);
    while (fgets(line, sizeof line, io) != NULL && sscanf(line, "wchar: %llu", &bytes) != 1) {
    }
    fclose(io);
    return bytes;
}

/* A backup's snapshot of a large volume goes by moving what was written since. */
static void a_small_overlay_costs_what_it_holds(void **state) {
    (void)state;
    const uint64_t large = UINT64_C(1) << 30;
    char path[TREE_PATH + 96];
    static char names[TREE_LIST];
    assert_int_equal(resize_to(large), SLUICE_OK);
    fill(&volume, 0, 1, 'a');
    snprintf(path, sizeof path, "%s/volumes/01930000-0000-7000-8000-00000000000a/g000001.raw",
             directory);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint64_t taken = large; /* or what a small file system has */
    while (posix_fallocate(fd, 0, (off_t)taken) != 0) {
        taken /= 4;
        assert_true(taken > 16 * MIB);
    }
    close(fd);
    take(11);
    fill(&volume, 100, MIB / PIECE, 'b');
    uint64_t before = bytes_written();
    assert_int_equal(drop_snapshot(11), SLUICE_OK);
    uint64_t moved = bytes_written() - before;
    print_message("deleting the snapshot wrote %llu bytes\n", (unsigned long long)moved);
    assert_true(moved >= MIB && moved < 2 * MIB);
    tree_list(directory, names);
    assert_non_null(strstr(names, "g000001.raw")); /* the raw base is the volume again */
    assert_int_equal(count_images(), 1);
    assert_signs(&volume, NULL, "a...");
}

/* A frozen image gives its snapshot's name and its child to the image below. */
static void a_frozen_image_is_pushed_down(void **state) {
    (void)state;
    const struct sluice_uuid last = host_id(12);
    struct host_data data;
    fill(&volume, 0, 90, 'a');
    take(11);
    fill(&volume, 1, 3, 'b');
    take(12);
    fill(&volume, 2, 1, 'c');
    assert_int_equal(host_data_open(&data, &pool, &volume, NULL, ++epoch, false), SLUICE_OK);
    assert_int_equal(sign_at(&data, 3), 'b');
    assert_int_equal(drop_snapshot(11), SLUICE_OK); /* while the volume is open */
    assert_int_equal(count_images(), 2);
    for (uint64_t at = 0; at < 5; at++) {
        assert_int_equal(sign_at(&data, at), "abcba"[at]);
    }
    put(&data, 4, 'd');
    host_data_close(&data);
    assert_signs(&volume, &last, "abbbaa");
    assert_signs(&volume, NULL, "abcbda");
    host_close(&pool);
    assert_int_equal(open_pool(0), SLUICE_OK);
    assert_signs(&volume, &last, "abbbaa");
    assert_signs(&volume, NULL, "abcbda");
    referee();
}

/* What was pushed is old when the volume was written in between. */
static void a_push_that_is_interrupted_by_writing_begins_again(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    fill(&volume, 0, 200, 'a');
    take(11);
    fill(&volume, 0, 60, 'b');
    char signs[] = "bbbb";
    int32_t status = SLUICE_PENDING;
    for (char sign = 'c'; status == SLUICE_PENDING && sign < 'h'; sign++) {
        status = pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot);
        fill(&volume, 0, 2, sign);
        memset(signs, sign, 2);
    }
    assert_true(signs[0] > 'c'); /* there was something left to push when it was written */
    assert_int_equal(drop_snapshot(11), SLUICE_OK);
    wait_for_images(1);
    assert_signs(&volume, NULL, signs);
    referee();
}

static void long_chains_are_flattened(void **state) {
    (void)state;
    const struct timespec pause = {.tv_nsec = 5000000};
    struct sluice_snapshot taken;
    const char signs[] = "abcdefghijklmnopqrst";
    for (uint32_t i = 0; i < 20; i++) {
        const struct sluice_uuid snapshot = host_id(100 + i);
        int32_t status = SLUICE_LIMIT;
        fill(&volume, i, 1, signs[i]);
        for (int tries = 0; status == SLUICE_LIMIT && tries < WAIT_MS / 5; tries++) {
            status = host_snapshot(&pool, &volume, &snapshot, "s", &taken);
            if (status == SLUICE_LIMIT) {
                assert_non_null(strstr(pool.call.text, "flattened"));
                nanosleep(&pause, NULL);
            }
        }
        assert_int_equal(status, SLUICE_OK);
    }
    assert_signs(&volume, NULL, signs);
    for (uint32_t i = 0; i < 20; i++) {
        const struct sluice_uuid snapshot = host_id(100 + i);
        char expected[sizeof signs];
        memset(expected, '.', sizeof expected - 1);
        memcpy(expected, signs, i + 1);
        expected[sizeof expected - 1] = '\0';
        assert_signs(&volume, &snapshot, expected);
    }
    referee();
}

static void a_revert_that_was_made_is_not_made_again(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    const struct sluice_uuid operation = host_id(30);
    struct sluice_volume told;
    fill(&volume, 0, 1, 'a');
    take(11);
    fill(&volume, 0, 1, 'b');
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &operation, &told), SLUICE_OK);
    assert_signs(&volume, NULL, "a");
    fill(&volume, 0, 1, 'c');
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &operation, &told), SLUICE_OK);
    assert_signs(&volume, NULL, "c");
}

/* ---- from the share alone ------------------------------------------------------------------- */

static void a_lost_record_is_written_again(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_snapshot taken = {.size = sizeof taken};
    char path[TREE_PATH + 96];
    fill(&volume, 0, 2, 'a');
    take(11);
    fill(&volume, 1, 1, 'b');
    snprintf(path, sizeof path, "%s/volumes/01930000-0000-7000-8000-00000000000a/volume.meta",
             directory);
    for (int damaged = 0; damaged < 2; damaged++) {
        host_close(&pool);
        assert_int_equal(unlink(path), 0);
        if (damaged) {
            tree_write(directory, "volumes/01930000-0000-7000-8000-00000000000a/volume.meta",
                       "junk", 4);
        }
        assert_int_equal(open_pool(0), SLUICE_OK);
        assert_int_equal(pool.table->volume_get(pool.pool, HOST_CALL(&pool), &volume, &told),
                         SLUICE_OK);
        assert_string_equal(told.name, "v");
        assert_int_equal(told.size_bytes, SIZE);
        assert_int_equal(
            pool.table->snapshot_get(pool.pool, HOST_CALL(&pool), &volume, &snapshot, &taken),
            SLUICE_OK);
        assert_string_equal(taken.name, "s");
        assert_signs(&volume, NULL, "ab.");
        assert_signs(&volume, &snapshot, "aa.");
    }
}

static void lets_go_of_a_clone_whole(void **state) {
    (void)state;
    const struct sluice_uuid snapshot = host_id(11);
    const struct sluice_uuid clone = host_id(20);
    struct sluice_volume told = {.size = sizeof told};
    char reference[SLUICE_PATH_MAX];
    int32_t status;
    fill(&volume, 0, 40, 'a');
    take(11);
    assert_int_equal(host_clone(&pool, &clone, "c", SIZE, &volume, &snapshot, &told), SLUICE_OK);
    fill(&clone, 1, 1, 'c');
    HOST_ASK(&pool, status, pool.table->volume_unmanage(pool.pool, &pool.call, &clone, reference));
    assert_int_equal(status, SLUICE_OK);
    assert_true(pool.call.pending > 0);
    assert_string_equal(reference, "unmanaged/01930000-0000-7000-8000-000000000014.qcow2");
    referee();
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &clone, reference, "c", &told),
        SLUICE_OK);
    assert_string_equal(told.format, "qcow2");
    assert_signs(&clone, NULL, "acaa");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_snapshot_copies_nothing, make, drop),
        cmocka_unit_test_setup_teardown(copies_of_one_source_do_not_make_it_deep, make, drop),
        cmocka_unit_test_setup_teardown(a_deleted_snapshot_is_merged, make, drop),
        cmocka_unit_test_setup_teardown(what_several_need_stays_until_one_does, make, drop),
        cmocka_unit_test_setup_teardown(merging_below_an_open_volume_disturbs_nobody, make, drop),
        cmocka_unit_test_setup_teardown(a_small_image_is_pulled_into_an_open_volume, make, drop),
        cmocka_unit_test_setup_teardown(both_directions_leave_the_same_bytes, make, drop),
        cmocka_unit_test_setup_teardown(a_small_overlay_costs_what_it_holds, make, drop),
        cmocka_unit_test_setup_teardown(a_frozen_image_is_pushed_down, make, drop),
        cmocka_unit_test_setup_teardown(a_push_that_is_interrupted_by_writing_begins_again, make,
                                        drop),
        cmocka_unit_test_setup_teardown(long_chains_are_flattened, make, drop),
        cmocka_unit_test_setup_teardown(a_revert_that_was_made_is_not_made_again, make, drop),
        cmocka_unit_test_setup_teardown(a_lost_record_is_written_again, make, drop),
        cmocka_unit_test_setup_teardown(lets_go_of_a_clone_whole, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

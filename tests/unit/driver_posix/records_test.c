/* SPDX-License-Identifier: Apache-2.0
 *
 * records_test.c: records that somebody invented, below a pool.
 *
 * Whoever can write a share from elsewhere can write records that are whole and lie. Opening the
 * pool ends soon, removes nothing that is not understood, and serves what is well; what is asked of
 * the volumes that lie ends with an answer.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "share/layout.h"
#include "share/meta.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE MIB
#define LONG 1000 /* images above each other: far more than a chain has */
#define JUNK 2000 /* names that are none */
#define SOON_S 20 /* on a machine that is busy, with sanitizers */
#define FIRST 100 /* of the ids of volumes that lie */

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static struct sluice_uuid good;

static int32_t open_pool(uint32_t flags) {
    const struct sluice_uuid pool_id = host_id(1);
    const struct host_property bag[] = {
        {"path", directory, 0}, {"overcommit_percent", NULL, 0}, {NULL, NULL, 0}};
    return host_open(&pool, &host, &pool_id, flags, bag);
}

static int make(void **state) {
    struct sluice_volume told;
    struct host_data data;
    (void)state;
    good = host_id(10);
    tree_make(directory);
    host_start(&host, DRIVER);
    assert_int_equal(open_pool(SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(host_create(&pool, &good, "v", SIZE, &told), SLUICE_OK);
    assert_int_equal(host_data_open(&data, &pool, &good, NULL, 1, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, "good", 4, 0), SLUICE_OK);
    host_data_close(&data);
    host_close(&pool);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

/* ---- who writes records --------------------------------------------------------------------- */

static void put(const char *path, const void *bytes, size_t length) {
    char whole[TREE_PATH + SHARE_PATH_MAX];
    snprintf(whole, sizeof whole, "%s/%s", directory, path);
    int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

/* A share that records can only be stored on. */
static int32_t store(struct share_fs *fs, struct sluice_call *call, const char *path,
                     const void *bytes, size_t length, bool replace) {
    (void)fs;
    (void)call;
    (void)replace;
    put(path, bytes, length);
    return SLUICE_OK;
}

static const struct share_fs_ops share_ops = {.store = store};
static struct share_fs share = {.ops = &share_ops};

static void make_directory(const struct sluice_uuid *id) {
    char path[SHARE_PATH_MAX];
    char whole[TREE_PATH + SHARE_PATH_MAX];
    layout_volume(id, path);
    snprintf(whole, sizeof whole, "%s/%s", directory, path);
    assert_true(mkdir(whole, 0700) == 0);
}

static void put_image(const struct sluice_uuid *id, const struct sluice_uuid *parent) {
    char path[SHARE_PATH_MAX];
    struct manifest manifest = {.volume = *id,
                                .generation = 1,
                                .format = IMAGE_FORMAT_QCOW2,
                                .size_bytes = SIZE,
                                .name = "liar",
                                .parent_volume = *parent,
                                .parent_generation = 1,
                                .parent_format = IMAGE_FORMAT_QCOW2};
    assert_int_equal(manifest_store(&share, NULL, &manifest), SLUICE_OK);
    layout_image(id, 1, IMAGE_FORMAT_QCOW2, path);
    put(path, "no image", 8);
}

static void put_volume(const struct sluice_uuid *id, uint64_t size_bytes, const char *name,
                       uint32_t snapshots) {
    struct volume_meta meta = {.id = *id,
                               .size_bytes = size_bytes,
                               .created_bytes = size_bytes,
                               .active = 1,
                               .next = 2,
                               .format = IMAGE_FORMAT_QCOW2};
    snprintf(meta.name, sizeof meta.name, "%s", name);
    for (uint32_t i = 0; i < snapshots; i++) {
        const struct snapshot_meta twin = {
            .id = host_id(11), .generation = 1, .size_bytes = size_bytes, .format = 1};
        assert_int_equal(volume_meta_add(&meta, &twin), SLUICE_OK);
    }
    assert_int_equal(volume_meta_store(&share, NULL, &meta), SLUICE_OK);
    volume_meta_release(&meta);
}

/* ---- what must hold ------------------------------------------------------------------------- */

/* Opens soon, and the good volume is well. */
static void opens_soon(void) {
    char bytes[4];
    struct timespec begun;
    struct timespec ended;
    struct host_data data;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    assert_int_equal(open_pool(0), SLUICE_OK);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - begun.tv_sec < SOON_S);
    assert_int_equal(host_data_open(&data, &pool, &good, NULL, 2, true), SLUICE_OK);
    assert_int_equal(host_read(&data, 0, bytes, sizeof bytes), SLUICE_OK);
    assert_memory_equal(bytes, "good", sizeof bytes);
    host_data_close(&data);
}

/* Everything is asked of the volume; that there is an answer is what is tried. */
static void ask_everything_of(const struct sluice_uuid *id) {
    const struct sluice_uuid other = host_id(90);
    const struct sluice_uuid snapshot = host_id(11);
    struct sluice_volume told;
    struct sluice_snapshot taken;
    struct host_data data;
    host_get(&pool, id, &told);
    assert_int_not_equal(host_data_open(&data, &pool, id, NULL, 2, false), SLUICE_OK);
    assert_int_not_equal(host_data_open(&data, &pool, id, &snapshot, 2, true), SLUICE_OK);
    assert_int_not_equal(host_snapshot(&pool, id, &other, "s", &taken), SLUICE_OK);
    assert_int_not_equal(host_copy(&pool, &other, "c", SIZE, id, &told), SLUICE_OK);
    assert_int_not_equal(host_resize(&pool, id, 2 * SIZE, &told), SLUICE_OK);
    host_revert(&pool, id, &snapshot, &other, &told);
    host_snapshot_delete(&pool, id, &snapshot);
}

static void chains_without_end(void **state) {
    (void)state;
    for (uint32_t i = 0; i < LONG; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        const struct sluice_uuid below = host_id(FIRST + i + 1);
        make_directory(&id);
        put_image(&id, i + 1 < LONG ? &below : &good);
        put_volume(&id, SIZE, "liar", 0);
    }
    opens_soon();
    const struct sluice_uuid top = host_id(FIRST);
    const struct sluice_uuid middle = host_id(FIRST + LONG / 2);
    ask_everything_of(&top);
    ask_everything_of(&middle);
    for (uint32_t i = 0; i < LONG; i++) { /* nothing of what is not understood is gone */
        char path[SHARE_PATH_MAX];
        const struct sluice_uuid id = host_id(FIRST + i);
        layout_image(&id, 1, IMAGE_FORMAT_QCOW2, path);
        assert_true(tree_exists(directory, path));
    }
}

static void circles(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        const struct sluice_uuid below = host_id(FIRST + (i + 1) % 3);
        make_directory(&id);
        put_image(&id, &below);
        put_volume(&id, SIZE, "liar", 0);
    }
    const struct sluice_uuid self = host_id(FIRST + 3);
    make_directory(&self);
    put_image(&self, &self);
    opens_soon();
    for (uint32_t i = 0; i < 4; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        ask_everything_of(&id);
    }
}

static void sizes_names_and_twins(void **state) {
    static const struct {
        uint64_t size_bytes;
        const char *name;
        uint32_t snapshots;
    } lies[] = {{UINT64_C(1) << 63, "large", 0},
                {(UINT64_C(1) << 63) - 512, "large", 0},
                {SIZE, "../../../etc/passwd", 0},
                {SIZE, "line\nactive=7\nend=00000000", 0},
                {SIZE, "twins", 256},
                {0, "", 2}};
    (void)state;
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        make_directory(&id);
        put_image(&id, &good);
        put_volume(&id, lies[i].size_bytes, lies[i].name, lies[i].snapshots);
    }
    opens_soon();
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        ask_everything_of(&id);
    }
}

static void garbage(void **state) {
    static char bytes[16384];
    struct rng rng = rng_of_environment();
    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        char path[SHARE_PATH_MAX];
        const struct sluice_uuid id = host_id(FIRST + i);
        make_directory(&id);
        put_image(&id, &good);
        for (size_t k = 0; k < sizeof bytes; k++) {
            bytes[k] = (char)rng_next(&rng);
        }
        layout_file(&id, i % 2 == 0 ? LAYOUT_VOLUME_META : LAYOUT_ACCESS_META, path);
        put(path, bytes, sizeof bytes);
        layout_manifest(&id, 2, path);
        put(path, bytes, i);
    }
    for (uint32_t i = 0; i < JUNK; i++) {
        char path[SHARE_PATH_MAX];
        snprintf(path, sizeof path, LAYOUT_VOLUMES "/junk-%u", i);
        put(path, "x", 1);
    }
    opens_soon();
    for (uint32_t i = 0; i < 20; i++) {
        const struct sluice_uuid id = host_id(FIRST + i);
        ask_everything_of(&id);
    }
    assert_true(tree_exists(directory, LAYOUT_VOLUMES "/junk-0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chains_without_end, make, drop),
        cmocka_unit_test_setup_teardown(circles, make, drop),
        cmocka_unit_test_setup_teardown(sizes_names_and_twins, make, drop),
        cmocka_unit_test_setup_teardown(garbage, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

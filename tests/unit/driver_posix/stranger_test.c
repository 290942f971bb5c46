/* SPDX-License-Identifier: Apache-2.0
 *
 * stranger_test.c: what a host that had a volume for writing may have left in its image.
 *
 * Such a host owns every byte of the file. Whatever it wrote there, no other volume's bytes may
 * be read through it, nothing may be opened that its head names, nothing may take for ever, and
 * the volume can still be deleted. The secret of all tests is another volume full of 'S'.
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
#include "image/image.h"
#include "image/qcow2_layout.h"
#include "image_file/real_file.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (4 * MIB)
#define PIECE UINT64_C(65536)
#define NAME_AT 448 /* of a parent, in the first sector, behind all that is there */
#define ROUNDS 150  /* of random bytes: some seconds */

static struct host host;
static struct host_pool pool;
static char directory[TREE_PATH];
static struct sluice_uuid volume;
static struct sluice_uuid secret;
static struct sluice_uuid snapshot;
static uint64_t epoch;

static void fill(const struct sluice_uuid *id, char sign) {
    struct host_data data;
    static uint8_t piece[PIECE];
    memset(piece, sign, sizeof piece);
    assert_int_equal(host_data_open(&data, &pool, id, NULL, ++epoch, false), SLUICE_OK);
    for (uint64_t at = 0; at < SIZE; at += 4 * PIECE) {
        assert_int_equal(host_write(&data, at, piece, sizeof piece, 0), SLUICE_OK);
    }
    host_data_close(&data);
}

/* A volume of two images, g1 raw and g2 qcow2, and the secret one of one. */
static int make(void **state) {
    struct sluice_volume told;
    struct sluice_snapshot taken;
    const struct sluice_uuid pool_id = host_id(1);
    (void)state;
    volume = host_id(10);
    secret = host_id(20);
    snapshot = host_id(11);
    epoch = 1;
    tree_make(directory);
    const struct host_property bag[] = {
        {"path", directory, 0}, {"overcommit_percent", NULL, 0}, {NULL, NULL, 0}};
    host_start(&host, DRIVER);
    assert_int_equal(host_open(&pool, &host, &pool_id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    assert_int_equal(host_create(&pool, &volume, "v", SIZE, &told), SLUICE_OK);
    assert_int_equal(host_create(&pool, &secret, "s", SIZE, &told), SLUICE_OK);
    fill(&volume, 'v');
    fill(&secret, 'S');
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "n", &taken), SLUICE_OK);
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_close(&pool);
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

/* ---- the host ------------------------------------------------------------------------------- */

static void text_of(const struct sluice_uuid *id, char *ret_text) {
    size_t at = 0;
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        const char *dash = i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
        at += (size_t)snprintf(ret_text + at, 4, "%s%02x", dash, id->bytes[i]);
    }
}

static void path_of(const struct sluice_uuid *id, const char *name, char *ret_path) {
    char text[64];
    text_of(id, text);
    snprintf(ret_path, 1024, "%s/volumes/%s/%s", directory, text, name);
}

static int open_image_of_volume(const char *name) {
    char path[1024];
    path_of(&volume, name, path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void put32(uint64_t at, uint32_t value) {
    uint8_t bytes[4];
    int fd = open_image_of_volume("g000002.qcow2");
    qcow2_store32(bytes, value);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, (off_t)at), sizeof bytes);
    close(fd);
}

static void put64(uint64_t at, uint64_t value) {
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

/* No extension says the parent's format: qcow2's own tools would look at the bytes. */
static void name_parent(const char *name) {
    int fd = open_image_of_volume("g000002.qcow2");
    const uint8_t end[QCOW2_EXTENSION_HEAD_BYTES] = {0};
    assert_int_equal(pwrite(fd, end, sizeof end, QCOW2_V3_HEADER_BYTES_MADE), sizeof end);
    assert_int_equal(pwrite(fd, name, strlen(name), NAME_AT), strlen(name));
    close(fd);
    put64(QCOW2_AT_BACKING_OFFSET, name[0] != '\0' ? NAME_AT : 0);
    put32(QCOW2_AT_BACKING_SIZE, (uint32_t)strlen(name));
}

/* ---- what must hold ------------------------------------------------------------------------- */

/* Nothing that can be read of the volume is the secret. The status of opening it. */
static int32_t read_all(const struct sluice_uuid *id, bool read_only) {
    struct host_data data;
    static uint8_t bytes[SIZE];
    int32_t status = host_data_open(&data, &pool, id, NULL, ++epoch, read_only);
    if (status != SLUICE_OK) {
        return status;
    }
    for (uint64_t at = 0; at < SIZE; at += PIECE) {
        if (host_read(&data, at, bytes, PIECE) == SLUICE_OK) {
            assert_null(memchr(bytes, 'S', PIECE));
        }
    }
    host_data_close(&data);
    return status;
}

/* The gateway does with the volume what it does with any, and at last it is deleted. */
static void use_and_delete(void) {
    const struct sluice_uuid ids[] = {host_id(30), host_id(31), host_id(32)};
    struct sluice_volume told;
    struct sluice_snapshot taken;
    read_all(&volume, true);
    read_all(&volume, false);
    if (host_copy(&pool, &ids[0], "c", SIZE, &volume, &told) == SLUICE_OK) {
        read_all(&ids[0], true);
        assert_int_equal(host_delete(&pool, &ids[0]), SLUICE_OK);
    }
    if (host_snapshot(&pool, &volume, &ids[1], "t", &taken) == SLUICE_OK) {
        host_snapshot_delete(&pool, &volume, &ids[1]);
    }
    host_resize(&pool, &volume, SIZE + MIB, &told);
    host_snapshot_delete(&pool, &volume, &snapshot);
    read_all(&volume, true);
    assert_int_equal(host_delete(&pool, &volume), SLUICE_OK);
    assert_int_equal(host_get(&pool, &volume, &told), SLUICE_NOT_FOUND);
}

static void a_parent_that_the_host_names_is_not_believed(void **state) {
    (void)state;
    char other[64];
    char names[8][128] = {"",
                          "/etc/passwd",
                          "../../../../../../etc/passwd",
                          "g000002.qcow2",
                          "json:{\"driver\":\"raw\",\"file.filename\":\"/etc/passwd\"}",
                          "nbd://127.0.0.1/x",
                          "g000099.raw"};
    const struct sluice_uuid again = host_id(40);
    struct sluice_volume told;
    struct sluice_snapshot taken;
    text_of(&secret, other);
    snprintf(names[0], sizeof names[0], "../%s/g000001.raw", other);
    snprintf(names[7], sizeof names[7], "../%s/g000001.qcow2", other);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        name_parent(names[i]);
        assert_int_equal(read_all(&volume, true), SLUICE_CORRUPT);
        assert_non_null(strstr(pool.call.text, "parent"));
        assert_int_equal(read_all(&volume, false), SLUICE_CORRUPT);
        assert_int_equal(host_snapshot(&pool, &volume, &again, "t", &taken), SLUICE_CORRUPT);
        assert_int_equal(host_copy(&pool, &again, "c", SIZE, &volume, &told), SLUICE_CORRUPT);
        assert_int_equal(host_resize(&pool, &volume, SIZE + MIB, &told), SLUICE_CORRUPT);
        /* The snapshot's image was never the host's: what is of it is well. */
        assert_int_equal(host_clone(&pool, &again, "k", SIZE, &volume, &snapshot, &told),
                         SLUICE_OK);
        assert_int_equal(read_all(&again, true), SLUICE_OK);
        assert_int_equal(host_delete(&pool, &again), SLUICE_OK);
    }
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &again, &told), SLUICE_OK);
    assert_int_equal(read_all(&volume, false), SLUICE_OK);
    assert_int_equal(host_delete(&pool, &volume), SLUICE_OK);
}

/* The next host would follow the name by itself, and guess the format of what it finds. */
static void the_next_host_does_not_get_it(void **state) {
    (void)state;
    const struct sluice_property identities[] = {
        {.name = "uid", .integer = 47110, .kind = SLUICE_PROPERTY_NUMBER}};
    const struct sluice_properties bag = {identities, 1};
    const struct sluice_access_grant args = {.size = sizeof args,
                                             .mode = SLUICE_ACCESS_READ_WRITE,
                                             .attachment = host_id(50),
                                             .volume = volume,
                                             .host = "h",
                                             .identities = &bag};
    struct sluice_connection connection = {.size = sizeof connection};
    assert_int_equal(host_grant(&pool, &args, &connection), SLUICE_OK);
    assert_int_equal(host_revoke(&pool, &args.attachment, &volume), SLUICE_OK);
    name_parent("/etc/passwd");
    assert_int_equal(host_grant(&pool, &args, &connection), SLUICE_CORRUPT);
    name_parent("g000001.raw"); /* the right one, whose format it no longer says */
    assert_int_equal(host_grant(&pool, &args, &connection), SLUICE_CORRUPT);
    assert_non_null(strstr(pool.call.text, "format"));
    put64(QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DATA_FILE);
    assert_int_equal(host_grant(&pool, &args, &connection), SLUICE_UNSUPPORTED);
}

/* The same after the pool was opened anew, when all that is known comes from the share. */
static void nor_after_a_restart(void **state) {
    (void)state;
    char name[128];
    char other[64];
    const struct sluice_uuid pool_id = host_id(1);
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    text_of(&secret, other);
    snprintf(name, sizeof name, "../%s/g000001.raw", other);
    name_parent(name);
    host_close(&pool);
    assert_int_equal(host_open(&pool, &host, &pool_id, 0, bag), SLUICE_OK);
    assert_int_equal(read_all(&volume, true), SLUICE_CORRUPT);
    assert_int_equal(host_delete(&pool, &volume), SLUICE_OK);
    assert_int_equal(read_all(&volume, true), SLUICE_NOT_FOUND);
}

static uint64_t used_by_image(void) {
    char path[1024];
    struct stat seen;
    path_of(&volume, "g000002.qcow2", path);
    assert_int_equal(stat(path, &seen), 0);
    return (uint64_t)seen.st_blocks * 512;
}

/* A valid image of 64 TiB, which costs the host a MiB: a merge would fill it with zeroes. */
static void grow_by_host(void) {
    char path[1024];
    struct image *image;
    struct image *parent;
    struct image_error error;
    path_of(&volume, "g000002.qcow2", path);
    struct image_file *file = real_file_open(path);
    path_of(&volume, "g000001.raw", path);
    struct image_file *below = real_file_open(path);
    assert_int_equal(image_open(file, IMAGE_FORMAT_QCOW2, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_open(below, IMAGE_FORMAT_RAW, 0, 0, &parent, &error), SLUICE_OK);
    assert_int_equal(image_attach_parent(image, parent, &error), SLUICE_OK);
    assert_int_equal(image_resize(image, IMAGE_SIZE_MAX, &error), SLUICE_OK);
    image_close(image);
    image_close(parent);
    file->ops->close(file);
    below->ops->close(below);
}

static void nor_a_size(void **state) {
    (void)state;
    struct timespec begun;
    struct timespec ended;
    struct sluice_volume told;
    uint64_t before = used_by_image();
    grow_by_host();
    assert_int_equal(read_all(&volume, true), SLUICE_OK);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    assert_int_equal(host_snapshot_delete(&pool, &volume, &snapshot), SLUICE_OK);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - begun.tv_sec < 10);
    assert_int_equal(host_get(&pool, &volume, &told), SLUICE_OK);
    assert_int_equal(told.size_bytes, SIZE);
    assert_true(used_by_image() <= before + SIZE + 4 * MIB); /* what is merged, and a table */
    assert_int_equal(read_all(&volume, false), SLUICE_OK);
    use_and_delete();
}

static void what_is_refused_can_be_deleted(void **state) {
    static const struct {
        uint64_t at;
        uint64_t value;
    } fields[] = {
        {QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY},
        {QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_CORRUPT},
        {QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DATA_FILE},
        {QCOW2_AT_INCOMPATIBLE, UINT64_MAX},
        {QCOW2_AT_L1_OFFSET, 0},
        {QCOW2_AT_L1_OFFSET, PIECE},
        {QCOW2_AT_L1_OFFSET, UINT64_MAX - PIECE + 1},
        {QCOW2_AT_REFTABLE_OFFSET, UINT64_MAX - PIECE + 1},
        {QCOW2_AT_REFTABLE_OFFSET, 0},
        {QCOW2_AT_SIZE, UINT64_MAX},
        {QCOW2_AT_SIZE, 0},
        {QCOW2_AT_SIZE, 511},
        {QCOW2_AT_SNAPSHOTS - 4, UINT64_MAX},
        {QCOW2_AT_CLUSTER_BITS - 4, 9},
        {QCOW2_AT_CLUSTER_BITS - 4, 21},
        {QCOW2_AT_REFCOUNT_ORDER - 4, 0},
        {QCOW2_AT_HEADER_LENGTH - 4, UINT64_MAX},
        {0, 0},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put64(fields[i].at, fields[i].value);
        use_and_delete();
        drop(state);
        make(state);
    }
}

static void a_raw_image_that_looks_like_another_is_raw(void **state) {
    (void)state;
    char head[512] = {0};
    char back[512];
    char path[1024];
    struct host_data data;
    struct sluice_snapshot taken;
    const struct sluice_uuid next = host_id(12);
    qcow2_store32((uint8_t *)head, QCOW2_MAGIC);
    qcow2_store32((uint8_t *)head + QCOW2_AT_VERSION, 3);
    path_of(&secret, "g000001.raw", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
    close(fd);
    assert_int_equal(host_snapshot(&pool, &secret, &next, "t", &taken), SLUICE_OK);
    for (int of_snapshot = 0; of_snapshot < 2; of_snapshot++) {
        assert_int_equal(
            host_data_open(&data, &pool, &secret, of_snapshot ? &next : NULL, ++epoch, true),
            SLUICE_OK);
        assert_int_equal(host_read(&data, 0, back, sizeof back), SLUICE_OK);
        assert_memory_equal(back, head, sizeof head);
        host_data_close(&data);
    }
}

static void a_raw_image_of_another_length_is_as_long_as_the_volume(void **state) {
    (void)state;
    char path[1024];
    struct sluice_snapshot taken;
    const struct sluice_uuid next[] = {host_id(12), host_id(13)};
    path_of(&secret, "g000001.raw", path);
    assert_int_equal(truncate(path, (off_t)(UINT64_C(1) << 40)), 0);
    assert_int_equal(host_snapshot(&pool, &secret, &next[0], "t", &taken), SLUICE_OK);
    assert_int_equal(taken.size_bytes, SIZE);
    struct stat seen;
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_size, SIZE);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(read_all(&secret, true), SLUICE_OK); /* what is missing is zeroes */
}

/* Anything at all, mostly in the head and the tables behind it. */
static void whatever_it_wrote_nothing_else_is_read(void **state) {
    struct rng rng = rng_of_environment();
    for (int round = 0; round < ROUNDS; round++) {
        int fd = open_image_of_volume("g000002.qcow2");
        uint64_t end = (uint64_t)lseek(fd, 0, SEEK_END);
        uint64_t reach = rng_below(&rng, 3) == 0 ? end : QCOW2_V3_HEADER_BYTES_MADE;
        for (uint64_t i = 1 + rng_below(&rng, 4); i > 0; i--) {
            uint8_t bytes[8];
            qcow2_store64(bytes,
                          rng_below(&rng, 2) == 0 ? rng_below(&rng, 64) * PIECE : rng_next(&rng));
            size_t length = 1 + rng_below(&rng, sizeof bytes);
            uint64_t at = rng_below(&rng, reach);
            assert_true(pwrite(fd, bytes, length, (off_t)at) == (ssize_t)length);
        }
        close(fd);
        use_and_delete();
        drop(state);
        make(state);
    }
}

/* Somebody with rights in the directory: a name that opens only when another comes. */
static void what_is_no_file_is_not_waited_for(void **state) {
    static const char *const names[] = {"g000002.qcow2", "volume.meta", "g000002.meta",
                                        "access.meta"};
    const struct sluice_uuid pool_id = host_id(1);
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1024];
        struct host_data data;
        const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
        path_of(&volume, names[i], path);
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        host_close(&pool);
        assert_int_equal(host_open(&pool, &host, &pool_id, 0, bag), SLUICE_OK);
        read_all(&volume, false);
        assert_int_equal(host_data_open(&data, &pool, &secret, NULL, ++epoch, true), SLUICE_OK);
        host_data_close(&data);
        assert_int_equal(unlink(path), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_parent_that_the_host_names_is_not_believed, make, drop),
        cmocka_unit_test_setup_teardown(nor_after_a_restart, make, drop),
        cmocka_unit_test_setup_teardown(the_next_host_does_not_get_it, make, drop),
        cmocka_unit_test_setup_teardown(nor_a_size, make, drop),
        cmocka_unit_test_setup_teardown(what_is_refused_can_be_deleted, make, drop),
        cmocka_unit_test_setup_teardown(a_raw_image_that_looks_like_another_is_raw, make, drop),
        cmocka_unit_test_setup_teardown(a_raw_image_of_another_length_is_as_long_as_the_volume,
                                        make, drop),
        cmocka_unit_test_setup_teardown(whatever_it_wrote_nothing_else_is_read, make, drop),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_not_waited_for, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

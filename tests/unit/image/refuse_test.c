/* SPDX-License-Identifier: Apache-2.0
 *
 * refuse_test.c: what image_create, image_open and image_attach_parent do not take, and that each
 * of them says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/image.h"
#include "image/qcow2_layout.h"
#include "image_file/memory_file.h"

#define MIB (UINT64_C(1) << 20)

static struct memory_file *make(uint64_t size, uint32_t cluster) {
    struct memory_file *memory = memory_file_create();
    struct image_error error = {""};
    struct image_create args = {
        .format = IMAGE_FORMAT_QCOW2, .cluster_bytes = cluster, .size_bytes = size};
    assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_OK);
    return memory;
}

static void heads_that_make_no_sense(void **state) {
    (void)state;
    static const struct {
        uint32_t at;
        uint32_t width;
        uint64_t value;
        int32_t status;
        const char *text;
    } heads[] = {
        {QCOW2_AT_MAGIC, 4, 0, SLUICE_CORRUPT, "no qcow2"},
        {QCOW2_AT_VERSION, 4, 4, SLUICE_UNSUPPORTED, "version 4"},
        {QCOW2_AT_CLUSTER_BITS, 4, 8, SLUICE_UNSUPPORTED, "2^8"},
        {QCOW2_AT_CLUSTER_BITS, 4, 40, SLUICE_UNSUPPORTED, "2^40"},
        {QCOW2_AT_SIZE, 8, UINT64_MAX, SLUICE_LIMIT, "bytes"},
        {QCOW2_AT_SIZE, 8, 1024 * MIB, SLUICE_CORRUPT, "too short"},
        {QCOW2_AT_CRYPT_METHOD, 4, 2, SLUICE_UNSUPPORTED, "encrypted"},
        {QCOW2_AT_L1_SIZE, 4, UINT32_MAX, SLUICE_LIMIT, "top tables"},
        {QCOW2_AT_L1_SIZE, 4, 0, SLUICE_CORRUPT, "too short"},
        {QCOW2_AT_L1_OFFSET, 8, 12345, SLUICE_CORRUPT, "L1"},
        {QCOW2_AT_L1_OFFSET, 8, UINT64_MAX - 65535, SLUICE_CORRUPT, "L1"},
        {QCOW2_AT_REFTABLE_OFFSET, 8, 0, SLUICE_CORRUPT, "refcount table"},
        {QCOW2_AT_REFTABLE_OFFSET, 8, UINT64_C(1) << 60, SLUICE_CORRUPT, "refcount table"},
        {QCOW2_AT_REFTABLE_CLUSTERS, 4, 0, SLUICE_CORRUPT, "refcount table"},
        {QCOW2_AT_REFTABLE_CLUSTERS, 4, UINT32_MAX, SLUICE_LIMIT, "top tables"},
        {QCOW2_AT_SNAPSHOTS, 4, 1, SLUICE_UNSUPPORTED, "snapshots"},
        {QCOW2_AT_INCOMPATIBLE, 8, 1 << 1, SLUICE_CORRUPT, "marked"},
        {QCOW2_AT_INCOMPATIBLE, 8, 1 << 2, SLUICE_UNSUPPORTED, "data_file"},
        {QCOW2_AT_INCOMPATIBLE, 8, 1 << 3, SLUICE_UNSUPPORTED, "zstd"},
        {QCOW2_AT_INCOMPATIBLE, 8, 1 << 4, SLUICE_UNSUPPORTED, "extended_l2"},
        {QCOW2_AT_INCOMPATIBLE, 8, UINT64_C(1) << 33, SLUICE_UNSUPPORTED, "0x200000000"},
        {QCOW2_AT_REFCOUNT_ORDER, 4, 7, SLUICE_CORRUPT, "makes no sense"},
        {QCOW2_AT_HEADER_LENGTH, 4, 80, SLUICE_CORRUPT, "makes no sense"},
        {QCOW2_AT_HEADER_LENGTH, 4, UINT32_MAX, SLUICE_CORRUPT, "makes no sense"},
        {QCOW2_AT_BACKING_OFFSET, 8, 65536, SLUICE_CORRUPT, "parent"},
        {QCOW2_V3_HEADER_BYTES_MADE + 4, 4, UINT32_MAX, SLUICE_OK, NULL}, /* of the end mark */
        {QCOW2_V3_HEADER_BYTES_MADE, 8, UINT64_MAX, SLUICE_CORRUPT, "extension"},
        {QCOW2_AT_AUTOCLEAR, 8, UINT64_MAX, SLUICE_OK, NULL},
        {QCOW2_AT_COMPATIBLE, 8, UINT64_MAX, SLUICE_OK, NULL},
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct memory_file *memory = make(8 * MIB, 0);
        struct image_file *file = memory_file_open(memory);
        uint8_t bytes[8];
        qcow2_store64(bytes, heads[i].value << (heads[i].width == 4 ? 32 : 0));
        assert_int_equal(file->ops->write(file, heads[i].at, bytes, heads[i].width), SLUICE_OK);
        struct image_error error = {""};
        struct image *image = NULL;
        int32_t status = image_open(file, IMAGE_FORMAT_QCOW2, 0, 0, &image, &error);
        if (status != heads[i].status)
            fail_msg("row %zu answers %d: %s", i, status, error.text);
        if (status == SLUICE_OK)
            image_close(image);
        else if (strstr(error.text, heads[i].text) == NULL)
            fail_msg("row %zu says: %s", i, error.text);
        memory_file_destroy(memory);
    }
}

static void what_is_marked_is_read_only(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, 0);
    struct image_file *file = memory_file_open(memory);
    uint8_t bytes[8];
    qcow2_store64(bytes, QCOW2_INCOMPATIBLE_CORRUPT);
    assert_int_equal(file->ops->write(file, QCOW2_AT_INCOMPATIBLE, bytes, 8), SLUICE_OK);
    struct image_error error = {""};
    struct image *image;
    assert_int_equal(image_open(file, 0, IMAGE_OPEN_READ_ONLY, 0, &image, &error), SLUICE_OK);
    uint8_t byte = 1;
    assert_int_equal(image_read(image, 5, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 0);
    assert_int_equal(image_write(image, 5, &byte, 1), SLUICE_READ_ONLY);
    assert_int_equal(image_resize(image, MIB, &error), SLUICE_READ_ONLY);
    assert_int_equal(image_set_parent(image, "p", IMAGE_FORMAT_RAW, NULL, &error),
                     SLUICE_READ_ONLY);
    struct image_report report;
    assert_int_equal(image_check(image, true, &report, &error), SLUICE_READ_ONLY);
    image_close(image);
    memory_file_destroy(memory);
}

/* Two clusters of the disk at one place: found, not repaired, and nothing is written any more. */
static void two_owners_are_left_alone(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, 0);
    struct image_file *file = memory_file_open(memory);
    struct image_error error = {""};
    struct image *image;
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 0, "a", 1), SLUICE_OK);
    assert_int_equal(image_write(image, 65536, "b", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    image_close(image);
    const uint8_t *head = memory_file_bytes(memory);
    uint64_t l1 = qcow2_load64(head + QCOW2_AT_L1_OFFSET);
    uint64_t l2 = qcow2_load64(head + l1) & QCOW2_OFFSET_MASK;
    uint8_t entry[8];
    memcpy(entry, head + l2, 8);
    assert_int_equal(file->ops->write(file, l2 + 8, entry, 8), SLUICE_OK);
    assert_int_equal(image_open(file, 0, IMAGE_OPEN_CHECK, 0, &image, &error), SLUICE_OK);
    struct image_report report;
    assert_int_equal(image_check(image, true, &report, &error), SLUICE_OK);
    assert_true(report.broken_clusters > 0);
    assert_int_equal(report.repaired, 0);
    assert_non_null(strstr(report.first, "2 owners"));
    assert_int_equal(image_write(image, 0, "c", 1), SLUICE_READ_ONLY);
    image_close(image);
    memory_file_destroy(memory);
}

/* An L2 table that is counted twice has another owner: it is not written. */
static void a_shared_table_is_not_written(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, 0);
    struct image_file *file = memory_file_open(memory);
    struct image_error error = {""};
    struct image *image;
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 0, "a", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    image_close(image);
    const uint8_t *head = memory_file_bytes(memory);
    uint64_t l1 = qcow2_load64(head + QCOW2_AT_L1_OFFSET);
    uint64_t l2 = qcow2_load64(head + l1) & QCOW2_OFFSET_MASK;
    uint64_t reftable = qcow2_load64(head + QCOW2_AT_REFTABLE_OFFSET);
    uint64_t counts = qcow2_load64(head + reftable) + l2 / 65536 * 2;
    uint8_t entry[8];
    qcow2_store64(entry, l2);
    assert_int_equal(file->ops->write(file, l1, entry, 8), SLUICE_OK);
    /* The flag alone is missing: it is put back. */
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 65536, "b", 1), SLUICE_OK);
    image_close(image);
    assert_int_equal(file->ops->write(file, counts, "\0\2", 2), SLUICE_OK);
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 65536, "b", 1), SLUICE_CORRUPT);
    uint8_t byte;
    assert_int_equal(image_read(image, 0, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 'a');
    image_close(image);
    memory_file_destroy(memory);
}

/* What a crash leaks is found and given back. */
static void leaks_are_given_back(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, 0);
    struct image_error error = {""};
    struct image *image;
    memory_file_record(memory);
    assert_int_equal(image_open(memory_file_open(memory), 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 0, "a", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    struct memory_file *left = memory_file_cut(memory, memory_file_events(memory), 0);
    image_close(image);
    assert_int_equal(image_open(memory_file_open(left), 0, 0, 0, &image, &error), SLUICE_OK);
    struct image_report report;
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_int_equal(report.broken_clusters, 0);
    uint64_t leaked = report.leaked_clusters;
    assert_true(leaked > 0 && leaked <= 16);
    assert_int_equal(image_check(image, true, &report, &error), SLUICE_OK);
    assert_int_equal(report.repaired, leaked);
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_int_equal(report.leaked_clusters, 0);
    image_close(image);
    memory_file_destroy(left);
    memory_file_destroy(memory);
}

static void images_that_are_not_made(void **state) {
    (void)state;
    static char long_name[IMAGE_NAME_MAX + 1];
    memset(long_name, 'n', sizeof long_name - 1);
    static const struct {
        struct image_create args;
        int32_t status;
    } refused[] = {
        {{.format = 7, .size_bytes = 512}, SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 513}, SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = IMAGE_SIZE_MAX + 512}, SLUICE_LIMIT},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512, .cluster_bytes = 256}, SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512, .cluster_bytes = 5000}, SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512, .cluster_bytes = 4u << 20},
         SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = IMAGE_SIZE_MAX, .cluster_bytes = 4096},
         SLUICE_LIMIT},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512, .parent_name = "p"}, SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512, .parent_name = "", .parent_format = 1},
         SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2,
          .size_bytes = 512,
          .parent_name = long_name,
          .parent_format = 1},
         SLUICE_INVALID},
        {{.format = IMAGE_FORMAT_QCOW2,
          .size_bytes = 512,
          .cluster_bytes = 512,
          .parent_name = long_name + 24,
          .parent_format = 1},
         SLUICE_LIMIT},
        {{.format = IMAGE_FORMAT_RAW, .size_bytes = 512, .parent_name = "p", .parent_format = 1},
         SLUICE_INVALID},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct memory_file *memory = memory_file_create();
        struct image_error error = {""};
        int32_t status = image_create(memory_file_open(memory), &refused[i].args, &error);
        if (status != refused[i].status || error.text[0] == '\0')
            fail_msg("row %zu answers %d: %s", i, status, error.text);
        assert_int_equal(memory_file_changes(memory), 0);
        memory_file_destroy(memory);
    }
    struct memory_file *memory = memory_file_of("x", 1);
    struct image_error error = {""};
    struct image_create args = {.format = IMAGE_FORMAT_QCOW2, .size_bytes = 512};
    assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_INVALID);
    memory_file_destroy(memory);
}

/* The longest name and the largest disk are made, and cost little. */
static void the_largest_are_made(void **state) {
    (void)state;
    static char name[IMAGE_NAME_MAX];
    memset(name, 'n', sizeof name - 1);
    struct memory_file *memory = memory_file_create();
    struct image_error error = {""};
    struct image_create args = {.format = IMAGE_FORMAT_QCOW2,
                                .size_bytes = IMAGE_SIZE_MAX,
                                .parent_name = name,
                                .parent_format = IMAGE_FORMAT_RAW};
    assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_OK);
    assert_true(memory_file_size(memory) < 2 * MIB);
    struct image *image;
    assert_int_equal(image_open(memory_file_open(memory), 0, IMAGE_OPEN_CHECK, 0, &image, &error),
                     SLUICE_OK);
    assert_string_equal(image_parent_name(image, NULL), name);
    /* Without its parent nothing is read or written. */
    uint8_t byte;
    assert_int_equal(image_read(image, IMAGE_SIZE_MAX - 1, &byte, 1), SLUICE_INVALID);
    assert_int_equal(image_write(image, 0, &byte, 1), SLUICE_INVALID);
    struct image_run run;
    image_map(image, 0, 512, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    image_close(image);
    memory_file_destroy(memory);
}

static void chains_that_are_too_long(void **state) {
    (void)state;
    struct memory_file *memory[IMAGE_CHAIN_MAX + 1];
    struct image *image[IMAGE_CHAIN_MAX + 1];
    struct image_error error = {""};
    for (uint32_t i = 0; i <= IMAGE_CHAIN_MAX; i++) {
        memory[i] = memory_file_create();
        struct image_create args = {.format = IMAGE_FORMAT_QCOW2,
                                    .size_bytes = MIB,
                                    .parent_name = i == 0 ? NULL : "p",
                                    .parent_format = i == 0 ? 0 : IMAGE_FORMAT_QCOW2};
        assert_int_equal(image_create(memory_file_open(memory[i]), &args, &error), SLUICE_OK);
        assert_int_equal(image_open(memory_file_open(memory[i]), 0, 0, 1, &image[i], &error),
                         SLUICE_OK);
        if (i > 0)
            assert_int_equal(image_attach_parent(image[i], image[i - 1], &error),
                             i < IMAGE_CHAIN_MAX ? SLUICE_OK : SLUICE_LIMIT);
    }
    assert_non_null(strstr(error.text, "64"));
    assert_int_equal(image_write(image[0], 70000, "x", 1), SLUICE_OK);
    uint8_t byte = 0;
    assert_int_equal(image_read(image[IMAGE_CHAIN_MAX - 1], 70000, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 'x');
    for (uint32_t i = IMAGE_CHAIN_MAX + 1; i-- > 0;) {
        image_close(image[i]);
        memory_file_destroy(memory[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_that_make_no_sense),
        cmocka_unit_test(what_is_marked_is_read_only),
        cmocka_unit_test(two_owners_are_left_alone),
        cmocka_unit_test(leaks_are_given_back),
        cmocka_unit_test(a_shared_table_is_not_written),
        cmocka_unit_test(images_that_are_not_made),
        cmocka_unit_test(the_largest_are_made),
        cmocka_unit_test(chains_that_are_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * record_test.c: records, and names: each has one spelling, and damage is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memory_share/memory_share.h"
#include "share/layout.h"
#include "share/meta.h"
#include "share/record.h"

static struct memory_share share;

static int make(void **state) {
    (void)state;
    memory_share_init(&share);
    return 0;
}

static int drop(void **state) {
    (void)state;
    memory_share_release(&share);
    return 0;
}

static void records_keep_any_name(void **state) {
    (void)state;
    char value[64];
    struct record record;
    const struct sluice_uuid id = {{1, 2, 3}};
    struct sluice_uuid same;
    uint64_t number;
    record_begin(&record, "test");
    record_put(&record, "name", "a=b\nc%d \x7f\xc3\xa9");
    record_put(&record, "empty", "");
    record_put_number(&record, "number", UINT64_MAX);
    record_put_uuid(&record, "id", &id);
    assert_int_equal(record_store(&record, &share.fs, NULL, "r", false), SLUICE_OK);
    assert_int_equal(record_store(&record, &share.fs, NULL, "r", false), SLUICE_EXISTS);
    assert_int_equal(record_store(&record, &share.fs, NULL, "r", true), SLUICE_OK);
    record_release(&record);
    assert_int_equal(record_load(&record, &share.fs, NULL, "r", "test"), SLUICE_OK);
    assert_true(record_get(&record, "name", value, sizeof value));
    assert_string_equal(value, "a=b\nc%d \x7f\xc3\xa9");
    assert_true(record_get(&record, "empty", value, sizeof value));
    assert_string_equal(value, "");
    assert_true(record_get_number(&record, "number", &number));
    assert_true(number == UINT64_MAX);
    assert_true(record_get_uuid(&record, "id", &same));
    assert_memory_equal(&same, &id, sizeof id);
    assert_false(record_get(&record, "name", value, 4));
    assert_false(record_get(&record, "missing", value, sizeof value));
    record_release(&record);
    assert_int_equal(record_load(&record, &share.fs, NULL, "r", "other"), SLUICE_CORRUPT);
    record_release(&record);
    assert_int_equal(record_load(&record, &share.fs, NULL, "none", "test"), SLUICE_NOT_FOUND);
    record_release(&record);
}

static void any_flipped_bit_is_seen(void **state) {
    (void)state;
    char bytes[256];
    size_t length;
    struct record record;
    record_begin(&record, "test");
    record_put(&record, "name", "value");
    assert_int_equal(record_store(&record, &share.fs, NULL, "r", false), SLUICE_OK);
    record_release(&record);
    assert_int_equal(share.fs.ops->load(&share.fs, NULL, "r", bytes, sizeof bytes, &length),
                     SLUICE_OK);
    for (size_t i = 0; i < length * 8; i++) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(share.fs.ops->store(&share.fs, NULL, "r", bytes, length, true), SLUICE_OK);
        assert_int_not_equal(record_load(&record, &share.fs, NULL, "r", "test"), SLUICE_OK);
        record_release(&record);
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(share.fs.ops->store(&share.fs, NULL, "r", bytes, i, true), SLUICE_OK);
        assert_int_equal(record_load(&record, &share.fs, NULL, "r", "test"), SLUICE_CORRUPT);
        record_release(&record);
    }
}

static void a_record_has_a_limit(void **state) {
    (void)state;
    struct record record;
    char value[1000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    record_begin(&record, "test");
    for (int i = 0; i < RECORD_MAX / 1000 + 1; i++) {
        record_put(&record, "key", value);
    }
    assert_int_equal(record_store(&record, &share.fs, NULL, "r", false), SLUICE_LIMIT);
    record_release(&record);
}

/* As many snapshots as a volume may have, with the worst names there are. */
static void the_largest_volume_fits_its_record(void **state) {
    (void)state;
    const struct sluice_uuid id = {{1}};
    struct volume_meta meta = {.id = id, .active = 1, .next = 2, .format = IMAGE_FORMAT_RAW};
    struct volume_meta same;
    struct snapshot_meta snapshot = {
        .generation = UINT64_MAX, .size_bytes = IMAGE_SIZE_MAX, .format = IMAGE_FORMAT_QCOW2};
    memset(snapshot.name, '\n', sizeof snapshot.name - 1);
    memset(meta.name, '%', sizeof meta.name - 1);
    memset(meta.adopted, '\n', sizeof meta.adopted - 1);
    for (uint32_t i = 0; i < SHARE_SNAPSHOTS_MAX; i++) {
        snapshot.id.bytes[0] = (uint8_t)i;
        assert_int_equal(volume_meta_add(&meta, &snapshot), SLUICE_OK);
    }
    assert_int_equal(volume_meta_add(&meta, &snapshot), SLUICE_LIMIT);
    share.fs.ops->make_directory(&share.fs, NULL, "volumes");
    share.fs.ops->make_directory(&share.fs, NULL, "volumes/01000000-0000-0000-0000-000000000000");
    assert_int_equal(volume_meta_store(&share.fs, NULL, &meta), SLUICE_OK);
    assert_int_equal(volume_meta_load(&share.fs, NULL, &id, &same), SLUICE_OK);
    assert_int_equal(same.snapshot_count, SHARE_SNAPSHOTS_MAX);
    assert_memory_equal(same.snapshots, meta.snapshots,
                        SHARE_SNAPSHOTS_MAX * sizeof *meta.snapshots);
    volume_meta_release(&same);
    volume_meta_release(&meta);
}

static void ids_are_read_strictly(void **state) {
    (void)state;
    struct sluice_uuid id;
    char text[UUID_TEXT];
    assert_false(uuid_parse("0123456789ab-cdef", &id));
    assert_false(uuid_parse("01930000-0000-7000-8000-00000000000A", &id));
    assert_false(uuid_parse("01930000-0000-7000-8000-0000000000010", &id));
    assert_false(uuid_parse("019300000000-7000-8000--000000000001", &id));
    assert_true(uuid_parse("01930000-0000-7000-8000-0000000000ab", &id));
    uuid_text(&id, text);
    assert_string_equal(text, "01930000-0000-7000-8000-0000000000ab");
}

static void names_have_one_spelling(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "g7.raw",  "g0000007.raw", "g000007.img", "g000000.raw",  "h000007.raw",
        "g000007", "g000007.raw/", "g-00007.raw", "g000007.raw ", "g00000x.raw",
        ""};
    static const char *const parents[] = {"/etc/passwd",
                                          "../../x/g000007.raw",
                                          "../01000000-0000-0000-0000-000000000000/../g000007.raw",
                                          "json:{}",
                                          "../g000007.raw",
                                          "./g000007.raw",
                                          "nbd://host",
                                          "../01000000-0000-0000-0000-00000000000/g000007.raw"};
    const struct sluice_uuid of = {{2}};
    const struct sluice_uuid other = {{1}};
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format;
    char name[LAYOUT_PARENT];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(layout_is_image(wrong[i], &generation, &format));
    }
    for (size_t i = 0; i < sizeof parents / sizeof parents[0]; i++) {
        assert_false(layout_is_parent(&of, parents[i], &volume, &generation, &format));
    }
    layout_parent(&of, &other, 7, IMAGE_FORMAT_RAW, name);
    assert_string_equal(name, "../01000000-0000-0000-0000-000000000000/g000007.raw");
    assert_true(layout_is_parent(&of, name, &volume, &generation, &format));
    assert_memory_equal(&volume, &other, sizeof other);
    assert_int_equal(generation, 7);
    layout_parent(&of, &of, 12345678, IMAGE_FORMAT_QCOW2, name);
    assert_string_equal(name, "g12345678.qcow2");
    assert_true(layout_is_parent(&of, name, &volume, &generation, &format));
    assert_memory_equal(&volume, &of, sizeof of);
    assert_int_equal(format, IMAGE_FORMAT_QCOW2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_keep_any_name, make, drop),
        cmocka_unit_test_setup_teardown(any_flipped_bit_is_seen, make, drop),
        cmocka_unit_test_setup_teardown(a_record_has_a_limit, make, drop),
        cmocka_unit_test_setup_teardown(the_largest_volume_fits_its_record, make, drop),
        cmocka_unit_test(ids_are_read_strictly),
        cmocka_unit_test(names_have_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

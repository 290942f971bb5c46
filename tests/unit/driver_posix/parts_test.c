/* SPDX-License-Identifier: Apache-2.0
 *
 * parts_test.c: the small parts of the posix driver: access lists, records, ids.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "acl.h"
#include "layout.h"
#include "record.h"
#include "tree.h"

/* What `setfacl -m u:1001:rw,u:70000:r` on a file of mode 0600 gives, as getfattr shows it. */
static void encodes_access_lists_as_the_kernel_does(void **state) {
    (void)state;
    static const uint8_t expected[] = {
        2,    0, 0, 0,                         /* version */
        0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* owner rw- */
        0x02, 0, 6, 0, 0xe9, 0x03, 0x00, 0x00, /* user 1001 rw- */
        0x02, 0, 4, 0, 0x70, 0x11, 0x01, 0x00, /* user 70000 r-- */
        0x04, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* owning group --- */
        0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* mask rw- */
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* others --- */
    };
    const struct acl_user users[] = {{1001, ACL_READ | ACL_WRITE}, {70000, ACL_READ}};
    uint8_t bytes[ACL_BYTES(2)];
    assert_int_equal(acl_encode(ACL_READ | ACL_WRITE, users, 2, bytes), sizeof expected);
    assert_memory_equal(bytes, expected, sizeof expected);
    assert_int_equal(acl_encode(7, NULL, 0, bytes), 4 + 3 * 8);
}

static void records_keep_any_name(void **state) {
    (void)state;
    char directory[TREE_PATH];
    char value[64];
    struct record record;
    struct sluice_uuid id = {{1, 2, 3}};
    struct sluice_uuid same;
    uint64_t number;
    tree_make(directory);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    record_begin(&record, "test");
    record_put(&record, "name", "a=b\nc%d \x7f\xc3\xa9");
    record_put(&record, "empty", "");
    record_put_number(&record, "number", UINT64_MAX);
    record_put_uuid(&record, "id", &id);
    assert_int_equal(record_store(&record, fd, "r", false), 0);
    assert_int_equal(record_store(&record, fd, "r", false), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(record_store(&record, fd, "r", true), 0);
    assert_false(tree_exists(directory, "r.new"));

    assert_int_equal(record_load(&record, fd, "r", "test"), 0);
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
    assert_int_equal(record_load(&record, fd, "r", "other"), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(record_load(&record, fd, "none", "test"), -1);
    assert_int_equal(errno, ENOENT);
    close(fd);
    tree_remove(directory);
}

static void any_flipped_bit_is_seen(void **state) {
    (void)state;
    char directory[TREE_PATH];
    char bytes[256];
    struct record record;
    tree_make(directory);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    record_begin(&record, "test");
    record_put(&record, "name", "value");
    assert_int_equal(record_store(&record, fd, "r", false), 0);
    int file = openat(fd, "r", O_RDONLY | O_CLOEXEC);
    size_t length = (size_t)read(file, bytes, sizeof bytes);
    close(file);
    for (size_t i = 0; i < length * 8; i++) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        tree_write(directory, "r", bytes, length);
        assert_int_equal(record_load(&record, fd, "r", "test"), -1);
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    for (size_t i = 0; i < length; i++) {
        tree_write(directory, "r", bytes, i);
        assert_int_equal(record_load(&record, fd, "r", "test"), -1);
    }
    close(fd);
    tree_remove(directory);
}

static void a_record_has_a_limit(void **state) {
    (void)state;
    struct record record;
    char value[1000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    record_begin(&record, "test");
    for (int i = 0; i < 20; i++) {
        record_put(&record, "key", value);
    }
    assert_int_equal(record_store(&record, AT_FDCWD, "r", false), -1);
    assert_int_equal(errno, E2BIG);
}

static void ids_are_read_strictly(void **state) {
    (void)state;
    struct sluice_uuid id;
    char text[UUID_TEXT];
    assert_true(uuid_parse("0123456789ab-cdef", &id) == false);
    assert_false(uuid_parse("01930000-0000-7000-8000-00000000000A", &id));
    assert_false(uuid_parse("01930000-0000-7000-8000-0000000000010", &id));
    assert_false(uuid_parse("019300000000-7000-8000--000000000001", &id));
    assert_true(uuid_parse("01930000-0000-7000-8000-0000000000ab", &id));
    uuid_text(&id, text);
    assert_string_equal(text, "01930000-0000-7000-8000-0000000000ab");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_access_lists_as_the_kernel_does),
        cmocka_unit_test(records_keep_any_name),
        cmocka_unit_test(any_flipped_bit_is_seen),
        cmocka_unit_test(a_record_has_a_limit),
        cmocka_unit_test(ids_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

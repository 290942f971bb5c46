/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers stop at their maximum, readers at their end; integers are little-endian.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void little_endian(void **state) {
    (void)state;
    static const uint8_t expected[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                       0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
    struct buf buf;
    buf_init(&buf, 64);
    buf_put_u8(&buf, 0x01);
    buf_put_u16(&buf, 0x0203);
    buf_put_u32(&buf, 0x04050607);
    buf_put_u64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
    assert_int_equal(buf.length, sizeof expected);
    assert_memory_equal(buf.at, expected, sizeof expected);
    struct reader reader;
    reader_init(&reader, buf.at, buf.length);
    assert_int_equal(reader_u8(&reader), 0x01);
    assert_int_equal(reader_u16(&reader), 0x0203);
    assert_int_equal(reader_u32(&reader), 0x04050607);
    assert_false(reader_done(&reader));
    assert_true(reader_u64(&reader) == UINT64_C(0x08090a0b0c0d0e0f));
    assert_true(reader_done(&reader));
    buf_release(&buf);
    buf_release(NULL);
}

static void stops_at_max(void **state) {
    (void)state;
    struct buf buf;
    for (size_t max = 0; max < 600; max++) {
        buf_init(&buf, max);
        for (size_t i = 0; i < max; i++)
            buf_put_u8(&buf, (uint8_t)i);
        assert_false(buf.overflow);
        assert_int_equal(buf.length, max);
        buf_put_u8(&buf, 0);
        assert_true(buf.overflow);
        assert_int_equal(buf.length, max);
        /* Once it has overflowed nothing is added, not even what would fit: there would be a hole.
         */
        buf_clear(&buf);
        assert_false(buf.overflow);
        buf_put(&buf, NULL, 0);
        buf_put_u64(&buf, 1);
        assert_int_equal(buf.overflow, max < 8);
        buf_put_u8(&buf, 1);
        assert_int_equal(buf.length, max < 8 ? 0 : max < 9 ? 8 : 9);
        buf_release(&buf);
    }
    buf_init(&buf, SIZE_MAX);
    buf_put_u8(&buf, 1);
    buf_put(&buf, "", SIZE_MAX);
    assert_true(buf.overflow);
    buf_release(&buf);
    buf_init(&buf, SIZE_MAX);
    buf_put_blob(&buf, "", (size_t)UINT32_MAX + 1);
    assert_true(buf.overflow);
    assert_int_equal(buf.length, 0);
    buf_release(&buf);
}

static void formats(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_string_equal(buf_text(&buf), "");
    buf_printf(&buf, "%s", "12345");
    buf_printf(&buf, "%d", 67890);
    assert_false(buf.overflow);
    assert_int_equal(buf.length, 10);
    assert_string_equal(buf_text(&buf), "1234567890");
    assert_int_equal(buf.length, 10);
    buf_printf(&buf, "%s", "");
    assert_false(buf.overflow);
    buf_printf(&buf, "x");
    assert_true(buf.overflow);
    buf_printf(&buf, "%s", "");
    assert_string_equal(buf_text(&buf), "1234567890");
    buf_release(&buf);
    assert_string_equal(buf_text(&buf), "");
    buf_release(&buf);
    /* The NUL needs memory just where the capacity ends. */
    buf_init(&buf, 1024);
    buf_printf(&buf, "%256d", 1);
    assert_int_equal(strlen(buf_text(&buf)), 256);
    buf_release(&buf);
}

static void blobs_and_texts(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1024);
    buf_put_text(&buf, "abc");
    buf_put_text(&buf, NULL);
    buf_put_blob(&buf, "\0\1", 2);
    struct reader reader;
    size_t length;
    reader_init(&reader, buf.at, buf.length);
    const uint8_t *at = reader_blob(&reader, 3, &length);
    assert_int_equal(length, 3);
    assert_memory_equal(at, "abc", 3);
    at = reader_blob(&reader, 0, &length);
    assert_non_null(at);
    assert_int_equal(length, 0);
    at = reader_blob(&reader, 1, &length);
    assert_null(at);
    assert_int_equal(length, 0);
    assert_true(reader.bad);
    assert_false(reader_done(&reader));
    buf_release(&buf);
}

/* Each cut of a message: what is whole is read, and what is not is zero and marks the reader. The
 * copy has exactly the size of the cut, so that a sanitizer sees a read behind it. */
static void every_cut(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1024);
    buf_put_u16(&buf, 7);
    buf_put_text(&buf, "hello");
    buf_put_u64(&buf, 9);
    for (size_t cut = 0; cut < buf.length; cut++) {
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy + 1, buf.at, cut);
        struct reader reader;
        size_t length = 99;
        reader_init(&reader, copy + 1, cut);
        uint16_t first = reader_u16(&reader);
        assert_int_equal(first, cut >= 2 ? 7 : 0);
        const uint8_t *text = reader_blob(&reader, 100, &length);
        assert_int_equal(length, cut >= 11 ? 5 : 0);
        assert_int_equal(text != NULL, cut >= 11);
        assert_int_equal(reader_u64(&reader), 0);
        assert_true(reader.bad);
        assert_false(reader_done(&reader));
        /* Bad stays bad, also for what would fit. */
        assert_null(reader_take(&reader, 0));
        free(copy);
    }
    buf_release(&buf);
}

static void huge_lengths(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
    struct reader reader;
    size_t length = 5;
    reader_init(&reader, bytes, sizeof bytes);
    assert_null(reader_blob(&reader, SIZE_MAX, &length));
    assert_int_equal(length, 0);
    assert_true(reader.bad);
    reader_init(&reader, bytes, sizeof bytes);
    assert_null(reader_take(&reader, SIZE_MAX));
    reader_init(&reader, NULL, 0);
    assert_true(reader_done(&reader));
    assert_non_null(reader_take(&reader, 0));
    assert_int_equal(reader_u8(&reader), 0);
    assert_true(reader.bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_endian), cmocka_unit_test(stops_at_max),
        cmocka_unit_test(formats),       cmocka_unit_test(blobs_and_texts),
        cmocka_unit_test(every_cut),     cmocka_unit_test(huge_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

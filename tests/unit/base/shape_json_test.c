/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON form of shapes: what it looks like, and that it is JSON whatever the texts hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/num.h"
#include "base/shape.h"

#define ALL_FIELDS(F, T)             \
    F(T, BYTES, first_secret, 8, "") \
    F(T, BOOL, on, 0, "")            \
    F(T, U32, small, 0, "")          \
    F(T, U64, large, 0, "")          \
    F(T, I64, signed_one, 0, "")     \
    F(T, TIME, made, 0, "")          \
    F(T, UUID, id, 0, "")            \
    F(T, TEXT, name, 64, "")         \
    F(T, PAIRS, labels, 3, "")       \
    F(T, TEXTS, lines, 3, "")        \
    F(T, BYTES, secret, 8, "")
SHAPE_STRUCT(all, ALL_FIELDS)
SHAPE_DEFINE(all, 1, ALL_FIELDS)

#define SECRET_FIELDS(F, T) F(T, BYTES, secret, 8, "")
SHAPE_STRUCT(secret, SECRET_FIELDS)
SHAPE_DEFINE(secret, 1, SECRET_FIELDS)

static void whole(void **state) {
    (void)state;
    struct text_pair pairs[] = {{"env", "prod"}, {"tier\"", "1"}};
    const char *lines[] = {"a", "b"};
    struct all all = {
        .first_secret = {(const uint8_t *)"hidden", 6},
        .on = true,
        .small = 4294967295u,
        .large = UINT64_MAX,
        .signed_one = INT64_MIN,
        .made = 951782400001,
        .id = {{0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3, 0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07,
                0x39, 0x8f}},
        .name = "n",
        .labels = {pairs, 2},
        .lines = {lines, 2},
        .secret = {(const uint8_t *)"hidden", 6},
    };
    struct buf buf;
    buf_init(&buf, 4096);
    shape_json(&all_shape, &all, false, &buf);
    assert_string_equal(
        buf_text(&buf),
        "{\"on\":true,\"small\":4294967295,\"large\":18446744073709551615,"
        "\"signed_one\":-9223372036854775808,\"made\":\"2000-02-29T00:00:00.001Z\","
        "\"id\":\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\",\"name\":\"n\","
        "\"labels\":{\"env\":\"prod\",\"tier\\\"\":\"1\"},\"lines\":[\"a\",\"b\"]}");
    assert_false(buf.overflow);
    buf_release(&buf);
}

static void nothing_in_it(void **state) {
    (void)state;
    struct all all = {0};
    struct buf buf;
    buf_init(&buf, 4096);
    shape_json(&all_shape, &all, true, &buf);
    buf_printf(&buf, ",\"more\":1}");
    assert_string_equal(buf_text(&buf),
                        "{\"on\":false,\"small\":0,\"large\":0,\"signed_one\":0,\"made\":null,"
                        "\"id\":null,\"name\":\"\",\"labels\":{},\"lines\":[],\"more\":1}");
    struct secret secret = {0};
    buf_clear(&buf);
    shape_json(&secret_shape, &secret, false, &buf);
    assert_string_equal(buf_text(&buf), "{}");
    buf_release(&buf);
}

static void texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *json;
    } rows[] = {
        {NULL, "\"\""},
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
        {"Gr\xc3\xbc\xc3\x9f"
         "e \xf0\x9f\x98\x80",
         "\"Gr\xc3\xbc\xc3\x9f"
         "e \xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         "\"a\\ufffdb\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xe2\x82"
         "a",
         "\"\\ufffd\\ufffda\""},
    };
    struct buf buf;
    buf_init(&buf, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_clear(&buf);
        json_text(&buf, rows[i].text);
        assert_string_equal(buf_text(&buf), rows[i].json);
    }
    buf_release(&buf);
}

/* Every text of two bytes: the result is UTF-8, quoted, without a bare control character. */
static void any_two_bytes(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 64);
    for (unsigned pair = 0; pair < 65536; pair++) {
        char text[] = {(char)(pair >> 8), (char)(pair & 0xff), '\0'};
        buf_clear(&buf);
        json_text(&buf, text);
        const char *json = buf_text(&buf);
        size_t length = strlen(json);
        assert_true(text_is_utf8(json, length));
        assert_true(length >= 2 && json[0] == '"' && json[length - 1] == '"');
        for (size_t i = 0; i < length; i++)
            assert_true((unsigned char)json[i] >= 0x20);
    }
    buf_release(&buf);
}

static void stops_at_max(void **state) {
    (void)state;
    struct all all = {.name = "\x01\x01\x01\x01"};
    struct buf buf;
    buf_init(&buf, 4096);
    shape_json(&all_shape, &all, false, &buf);
    size_t needed = buf.length;
    buf_release(&buf);
    for (size_t max = 0; max <= needed; max++) {
        buf_init(&buf, max);
        shape_json(&all_shape, &all, false, &buf);
        assert_int_equal(buf.overflow, max < needed);
        assert_true(buf.length <= max);
        buf_release(&buf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),         cmocka_unit_test(nothing_in_it), cmocka_unit_test(texts),
        cmocka_unit_test(any_two_bytes), cmocka_unit_test(stops_at_max),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers at their ends, and text that is or is not what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static void arithmetic(void **state) {
    (void)state;
    uint64_t value = 77;
    assert_true(num_add_u64(UINT64_MAX - 1, 1, &value));
    assert_true(value == UINT64_MAX);
    value = 77;
    assert_false(num_add_u64(UINT64_MAX, 1, &value));
    assert_false(num_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &value));
    assert_false(num_round_up_u64(UINT64_MAX - 2, 4096, &value));
    assert_int_equal(value, 77);
    assert_true(num_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 31, &value));
    assert_true(value == UINT64_C(1) << 63);
    assert_true(num_round_up_u64(0, 512, &value));
    assert_int_equal(value, 0);
    assert_true(num_round_up_u64(1, 512, &value));
    assert_int_equal(value, 512);
    assert_true(num_round_up_u64(512, 512, &value));
    assert_int_equal(value, 512);
    assert_true(num_round_up_u64(10, 3, &value));
    assert_int_equal(value, 12);
    assert_true(num_round_up_u64(UINT64_MAX, 1, &value));
    assert_true(value == UINT64_MAX);
}

static void parse_u64(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "-1",
                                        "-0",
                                        "0x1",
                                        "1e3",
                                        "1.0",
                                        "18446744073709551616",
                                        "99999999999999999999999",
                                        "1\n",
                                        "\xd9\xa1"};
    uint64_t value = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(num_parse_u64(wrong[i], &value));
    assert_int_equal(value, 77);
    assert_true(num_parse_u64("0", &value));
    assert_int_equal(value, 0);
    assert_true(num_parse_u64("007", &value));
    assert_int_equal(value, 7);
    assert_true(num_parse_u64("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
}

static void parse_i64(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "-",
                                        "--1",
                                        "+1",
                                        "- 1",
                                        "1-",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "-99999999999999999999"};
    int64_t value = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(num_parse_i64(wrong[i], &value));
    assert_int_equal(value, 77);
    assert_true(num_parse_i64("9223372036854775807", &value));
    assert_true(value == INT64_MAX);
    assert_true(num_parse_i64("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(num_parse_i64("-0", &value));
    assert_true(value == 0);
    assert_true(num_parse_i64("-1", &value));
    assert_true(value == -1);
}

static void parse_size(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "K",
                                        "1k",
                                        "1KB",
                                        "1Ki",
                                        "1KiBs",
                                        "1 K",
                                        "-1K",
                                        "1.5G",
                                        "1KK",
                                        "1E",
                                        "1iB",
                                        "16384P",
                                        "18014398509481984K",
                                        "18446744073709551616"};
    uint64_t value = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(num_parse_size(wrong[i], &value));
    assert_int_equal(value, 77);
    static const struct {
        const char *text;
        uint64_t bytes;
    } right[] = {{"0", 0},
                 {"512", 512},
                 {"1K", 1024},
                 {"1KiB", 1024},
                 {"3M", UINT64_C(3) << 20},
                 {"10GiB", UINT64_C(10) << 30},
                 {"2T", UINT64_C(2) << 40},
                 {"16383P", UINT64_C(16383) << 50},
                 {"1PiB", UINT64_C(1) << 50}};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        assert_true(num_parse_size(right[i].text, &value));
        assert_true(value == right[i].bytes);
    }
}

static void format_size(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},
                {1023, "1023 B"},
                {1024, "1 KiB"},
                {1536, "1.5 KiB"},
                {1048575, "1023.9 KiB"},
                {1048576, "1 MiB"},
                {UINT64_C(10) << 30, "10 GiB"},
                {(UINT64_C(10) << 30) - 1, "9.9 GiB"},
                {UINT64_MAX, "16383.9 PiB"}};
    char text[32];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        num_format_size(rows[i].bytes, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
    memset(text, 'x', sizeof text);
    num_format_size(1536, text, 4);
    assert_string_equal(text, "1.5");
    assert_int_equal(text[4], 'x');
}

static void utf8(void **state) {
    (void)state;
    static const char *const right[] = {"",
                                        "plain",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf"};
    static const char *const wrong[] = {
        "\x80",             /* a continuation alone */
        "\xc0\xaf",         /* overlong, two bytes */
        "\xc1\xbf",         /* overlong, two bytes */
        "\xe0\x9f\xbf",     /* overlong, three bytes */
        "\xf0\x8f\xbf\xbf", /* overlong, four bytes */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* above U+10FFFF */
        "\xf5\x80\x80\x80", /* no such first byte */
        "\xff",             /* no such first byte */
        "\xc2",             /* cut */
        "\xe2\x82",         /* cut */
        "\xf0\x90\x80",     /* cut */
        "\xc2\x41",         /* continuation missing */
        "\xe2\x82\x41",     /* continuation missing */
        "\xf0\x90\x41\x80", /* continuation missing */
        "ok then \xfe",
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        assert_true(text_is_utf8(right[i], strlen(right[i])));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(text_is_utf8(wrong[i], strlen(wrong[i])));
    assert_false(text_is_utf8("a\0b", 3));
    /* A length that ends inside a character, in memory that ends there too. */
    for (size_t cut = 1; cut < 4; cut++) {
        char *copy = malloc(cut);
        assert_non_null(copy);
        memcpy(copy, "\xf0\x9f\x98\x80", cut);
        assert_false(text_is_utf8(copy, cut));
        assert_int_equal(text_character(copy, cut), 0);
        free(copy);
    }
    assert_int_equal(text_character("", 0), 0);
    assert_int_equal(text_character("", 1), 0);
    assert_int_equal(text_character("\xe2\x82\xac!", 4), 3);
}

static void copy(void **state) {
    (void)state;
    static const char euros[] = "a\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 3, 4 and 1 bytes */
    static const size_t kept[] = {0, 0, 1, 1, 1, 4, 4, 4, 4, 8, 9};
    for (size_t capacity = 1; capacity < sizeof kept / sizeof kept[0]; capacity++) {
        char *ret = malloc(capacity);
        assert_non_null(ret);
        assert_int_equal(text_copy(ret, capacity, euros), capacity > strlen(euros));
        assert_int_equal(strlen(ret), kept[capacity]);
        assert_memory_equal(ret, euros, kept[capacity]);
        free(ret);
    }
    /* Text that is no UTF-8 is not eaten up by the search for a character's start. */
    char few[8];
    assert_false(text_copy(few, sizeof few, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"));
    assert_int_equal(strlen(few), 4);
}

static void names(void **state) {
    (void)state;
    static const char *const right[] = {"a",   "vol 1",   "Gr\xc3\xbc\xc3\x9f", "...",
                                        ".a",  "a.b",     "\xf0\x9f\x98\x80",   "-",
                                        "a..", "\xc2\xa0"};
    static const char *const wrong[] = {"",      ".",    "..",         " a",       "a ",
                                        " ",     "a/b",  "/",          "a\nb",     "a\tb",
                                        "a\x7f", "\x80", "a\xc2\x85z", "\xc2\x9f", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        assert_true(text_is_name(right[i], 255));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(text_is_name(wrong[i], 255));
    assert_true(text_is_name("abc", 3));
    assert_false(text_is_name("abcd", 3));
    assert_false(text_is_name("ab\xc3\xbc", 3));
}

static void hex(void **state) {
    (void)state;
    char text[9];
    text_hex("\x00\x7f\x80\xff", 4, text);
    assert_string_equal(text, "007f80ff");
    text_hex("", 0, text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic), cmocka_unit_test(parse_u64),   cmocka_unit_test(parse_i64),
        cmocka_unit_test(parse_size), cmocka_unit_test(format_size), cmocka_unit_test(utf8),
        cmocka_unit_test(copy),       cmocka_unit_test(names),       cmocka_unit_test(hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

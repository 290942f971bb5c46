/* SPDX-License-Identifier: Apache-2.0
 *
 * Targets are taken apart, decoded once, and refused when anything about them is doubtful.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/target.h"

static struct target target;

static enum err_code parse(const char *raw) {
    struct err err = ERR_INIT;
    bool worked = target_parse(raw, &target, &err);
    assert_int_equal(worked, err.code == ERR_NONE);
    return err.code;
}

static void test_segments_and_query(void **state) {
    (void)state;
    assert_int_equal(parse("/v1/volumes/fast%3Adisk%201?label=a%3Db&label=c=d+e&x&after="),
                     ERR_NONE);
    assert_int_equal(target.segment_count, 3);
    assert_string_equal(target.segments[0], "v1");
    assert_string_equal(target.segments[2], "fast:disk 1");
    assert_int_equal(target.query_count, 4);
    assert_string_equal(target.query[0].name, "label");
    assert_string_equal(target.query[0].value, "a=b");
    assert_string_equal(target.query[1].value, "c=d e");
    assert_string_equal(target.query[2].name, "x");
    assert_string_equal(target.query[2].value, "");
    assert_string_equal(target.query[3].value, "");
}

static void test_a_slash_that_was_encoded_parts_nothing(void **state) {
    (void)state;
    assert_int_equal(parse("/v1/pools/a%2Fb"), ERR_NONE);
    assert_int_equal(target.segment_count, 3);
    assert_string_equal(target.segments[2], "a/b");
    assert_int_equal(parse("/v1/pools/%252F"), ERR_NONE);
    assert_string_equal(target.segments[2], "%2F");
}

static void test_empty_segments_are_kept(void **state) {
    (void)state;
    assert_int_equal(parse("/v1//pools/"), ERR_NONE);
    assert_int_equal(target.segment_count, 4);
    assert_string_equal(target.segments[1], "");
    assert_string_equal(target.segments[3], "");
    assert_int_equal(parse("/?&&a=1&"), ERR_NONE);
    assert_int_equal(target.query_count, 1);
}

static void test_absolute_form(void **state) {
    (void)state;
    assert_int_equal(parse("HTTP://localhost:80/v1/pools"), ERR_NONE);
    assert_string_equal(target.authority, "localhost:80");
    assert_int_equal(target.segment_count, 2);
    assert_int_equal(parse("/v1"), ERR_NONE);
    assert_null(target.authority);
}

static void test_refused(void **state) {
    static const struct {
        const char *raw;
        enum err_code code;
    } rows[] = {
        {"", ERR_BAD_REQUEST},
        {"*", ERR_BAD_REQUEST},
        {"v1/pools", ERR_BAD_REQUEST},
        {"https://x/v1", ERR_BAD_REQUEST},
        {"http://x", ERR_BAD_REQUEST},
        {"/v1/po ols", ERR_BAD_REQUEST},
        {"/v1/pools#x", ERR_BAD_REQUEST},
        {"/v1/%", ERR_BAD_REQUEST},
        {"/v1/%4", ERR_BAD_REQUEST},
        {"/v1/%4g", ERR_BAD_REQUEST},
        {"/v1/%00", ERR_BAD_REQUEST},
        {"/v1/%0a", ERR_BAD_REQUEST},
        {"/v1/%7F", ERR_BAD_REQUEST},
        {"/v1/\x80", ERR_BAD_REQUEST},
        {"/v1/%ff", ERR_BAD_REQUEST},
        {"/v1/%c0%80", ERR_BAD_REQUEST},
        {"/v1/%ed%a0%80", ERR_BAD_REQUEST},
        {"/v1?a=%zz", ERR_BAD_REQUEST},
        {"/v1?%c3=1", ERR_BAD_REQUEST},
        {"/1/2/3/4/5/6/7/8/9", ERR_NO_ROUTE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i].raw), rows[i].code);
        assert_int_equal(target.segment_count, 0);
        assert_int_equal(target.query_count, 0);
    }
}

static void test_limits(void **state) {
    static char raw[TARGET_MAX + 2];
    (void)state;
    memset(raw, 'a', sizeof raw - 1);
    raw[0] = '/';
    assert_int_equal(parse(raw), ERR_HEADERS_TOO_LARGE);
    raw[TARGET_MAX - 1] = '\0';
    assert_int_equal(parse(raw), ERR_NONE);
    assert_int_equal(strlen(target.segments[0]), TARGET_MAX - 2);

    /* As many parameters without '=' as there may be, which is what needs most room. */
    memset(raw, 'a', sizeof raw - 1);
    memcpy(raw, "/?", 2);
    for (size_t i = 2; i < 2 + 2 * TARGET_QUERY_MAX; i += 2)
        memcpy(raw + i, "b&", 2);
    raw[1 + 2 * TARGET_QUERY_MAX] = '\0';
    assert_int_equal(parse(raw), ERR_NONE);
    assert_int_equal(target.query_count, TARGET_QUERY_MAX);
    memcpy(raw + 1 + 2 * TARGET_QUERY_MAX, "&c", 3);
    assert_int_equal(parse(raw), ERR_BAD_REQUEST);

    memset(raw, 'a', TARGET_MAX - 1);
    memcpy(raw, "/?", 2);
    for (size_t i = 2; i < 2 + 2 * (TARGET_QUERY_MAX - 1); i += 2)
        memcpy(raw + i, "b&", 2);
    raw[TARGET_MAX - 1] = '\0';
    assert_int_equal(parse(raw), ERR_NONE);
    assert_int_equal(target.query_count, TARGET_QUERY_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_and_query),
        cmocka_unit_test(test_a_slash_that_was_encoded_parts_nothing),
        cmocka_unit_test(test_empty_segments_are_kept),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Versions and ranges: what is one, how they compare, where a text goes wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lifecycle/version.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static struct version version_of(const char *text) {
    struct version version;
    struct err err = ERR_INIT;
    if (!version_parse(text, &version, &err))
        fail_msg("%s: %s", text, err.text);
    return version;
}

static void good_versions(void **state) {
    (void)state;
    static const char *const texts[] = {
        "0.0.0",         "1.2.3",         "4294967295.4294967295.4294967295",
        "1.0.0-alpha",   "1.0.0-alpha.1", "1.0.0-0.3.7",
        "1.0.0-x-y-z.-", "1.0.0-0a",      "1.0.0-1234567890123456789012345678901",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct version version = version_of(texts[i]);
        char text[VERSION_TEXT_MAX + 1];
        assert_string_equal(version_format(&version, text), texts[i]);
    }
}

/* Each with the character at which it goes wrong. */
static void bad_versions(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned at;
    } rows[] = {
        {"", 1},
        {"1", 2},
        {"1.2", 4},
        {"1.2.", 5},
        {"1.2.3.4", 6},
        {"01.2.3", 1},
        {"1.02.3", 3},
        {"1.2.03", 5},
        {"v1.2.3", 1},
        {"1.2.x", 5},
        {"-1.2.3", 1},
        {" 1.2.3", 1},
        {"1.2.3 ", 6},
        {"1.2.3-", 7},
        {"1.2.3-a..b", 9},
        {"1.2.3-a.01", 9},
        {"1.2.3-ä", 7},
        {"1.2.3+4", 6},
        {"1.2.3-rc.1+4", 11},
        {"4294967296.0.0", 1},
        {"1.2.99999999999999999999999", 5},
        {"1.0.0-12345678901234567890123456789012", 7},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct version version = {.major = 77};
        struct err err = ERR_INIT;
        char place[32];
        snprintf(place, sizeof place, "at character %u:", rows[i].at);
        if (version_parse(rows[i].text, &version, &err) || strstr(err.text, place) != err.text)
            fail_msg("\"%s\": \"%s\" and not \"%s\"", rows[i].text, err.text, place);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(version.major, 77);
    }
}

/* The example of semver.org section 11, and more; ascending. */
static void comparison(void **state) {
    (void)state;
    static const char *const ascending[] = {
        "0.0.0",      "0.9.10",       "0.10.0-9",       "0.10.0-10",       "0.10.0",
        "1.0.0-2",    "1.0.0-10",     "1.0.0-alpha",    "1.0.0-alpha.1",   "1.0.0-alpha.beta",
        "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",  "1.0.0-beta.11.1", "1.0.0-beta1",
        "1.0.0-rc.1", "1.0.0",        "1.0.1",          "1.9.0",           "1.10.0",
        "2.0.0",      "10.0.0",       "4294967295.0.0",
    };
    for (size_t i = 0; i < COUNT(ascending); i++)
        for (size_t j = 0; j < COUNT(ascending); j++) {
            struct version a = version_of(ascending[i]);
            struct version b = version_of(ascending[j]);
            int order = version_compare(&a, &b);
            if ((order < 0) != (i < j) || (order == 0) != (i == j))
                fail_msg("%s against %s: %d", ascending[i], ascending[j], order);
        }
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *range;
        const char *version;
        bool in;
    } rows[] = {
        {"*", "0.0.0", true},
        {" * ", "99.0.0", true},
        {"*", "1.0.0-rc.1", false},
        {">=1.0 <2", "1.0.0", true},
        {">=1.0 <2", "1.99.99", true},
        {">=1.0 <2", "0.9.9", false},
        {">=1.0 <2", "2.0.0", false},
        {">=1.0 <2", "2.0.0-rc.1", false},
        {"  >=1.0   <2  ", "1.5.0", true},
        {">=1", "3.0.0", true},
        {">1.0.0", "1.0.0", false},
        {">1.0.0", "1.0.1", true},
        {"<=1.0.0", "1.0.0", true},
        {"<=1.0.0", "1.0.1", false},
        {"=1.2.3", "1.2.3", true},
        {"=1.2.3", "1.2.4", false},
        {"1.2.3", "1.2.3", true},
        {"1.2.3", "1.2.3-rc.1", false},
        {"1.2.3-rc.1", "1.2.3-rc.1", true},
        {">=1.2.3-rc.1", "1.2.3-rc.2", true},
        {">=1.2.3-rc.1", "1.2.3-alpha", false},
        {">=1.2.3-rc.1", "1.2.3", true},
        {">=1.2.3-rc.1", "1.2.4-rc.2", false},
        {">=1.2.3-rc.1 <2", "1.2.3-rc.9", true},
        {">=1 <2 <1.5.0", "1.6.0", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct version_range range;
        struct version version = version_of(rows[i].version);
        struct err err = ERR_INIT;
        if (!version_range_parse(rows[i].range, &range, &err))
            fail_msg("%s: %s", rows[i].range, err.text);
        if (version_in_range(&version, &range) != rows[i].in)
            fail_msg("%s in \"%s\" is not %d", rows[i].version, rows[i].range, rows[i].in);
    }
}

static void bad_ranges(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned at;
    } rows[] = {
        {"", 1},          {"   ", 4},      {">=", 3},     {">= 1.0.0", 3},
        {"1", 1},         {"=1.0", 1},     {">1", 1},     {"<=2.0", 1},
        {"* 1.0.0", 3},   {">=1.0,<2", 6}, {">=1 ~2", 5}, {"=>1.0", 2},
        {">=1.0.0 x", 9}, {">=1 *", 5},    {"^1.0.0", 1}, {"<1 <1 <1 <1 <1 <1 <1 <1 <1", 25},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct version_range range = {.count = 77};
        struct err err = ERR_INIT;
        char place[32];
        snprintf(place, sizeof place, "at character %u:", rows[i].at);
        if (version_range_parse(rows[i].text, &range, &err) || strstr(err.text, place) != err.text)
            fail_msg("\"%s\": \"%s\" and not \"%s\"", rows[i].text, err.text, place);
        assert_int_equal(range.count, 77);
    }
    char longest[VERSION_RANGE_TEXT_MAX + 2];
    memset(longest, ' ', sizeof longest);
    longest[0] = '*';
    longest[VERSION_RANGE_TEXT_MAX] = '\0';
    struct version_range range;
    struct err err = ERR_INIT;
    assert_true(version_range_parse(longest, &range, &err));
    longest[VERSION_RANGE_TEXT_MAX] = ' ';
    longest[VERSION_RANGE_TEXT_MAX + 1] = '\0';
    assert_false(version_range_parse(longest, &range, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_versions), cmocka_unit_test(bad_versions),
        cmocka_unit_test(comparison),    cmocka_unit_test(ranges),
        cmocka_unit_test(bad_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

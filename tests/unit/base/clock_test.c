/* SPDX-License-Identifier: Apache-2.0
 *
 * Dates, compared with the C library's calendar, and texts that are no dates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static void clocks_run(void **state) {
    (void)state;
    uint64_t mono = clock_mono_ns();
    assert_true(clock_mono_ns() >= mono);
    assert_true(clock_mono_ms() >= mono / 1000000);
    /* After 2025 and not in nanoseconds. */
    assert_in_range(clock_wall_ms(), UINT64_C(1735689600000), UINT64_C(1735689600000) * 100);
}

static void format(void **state) {
    (void)state;
    char text[CLOCK_TEXT_SIZE];
    assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format(951782400001, text), "2000-02-29T00:00:00.001Z");
    assert_string_equal(clock_format(UINT64_C(253402300799999), text), "9999-12-31T23:59:59.999Z");
    assert_string_equal(clock_format(UINT64_MAX, text), "9999-12-31T23:59:59.999Z");
}

/* About every 11 hours for 400 years and then coarser to the year 9999. */
static void agrees_with_the_calendar(void **state) {
    (void)state;
    int64_t step = 39119;
    for (int64_t seconds = 0; seconds < INT64_C(253402300800); seconds += step) {
        char text[CLOCK_TEXT_SIZE];
        char expected[CLOCK_TEXT_SIZE];
        time_t when = (time_t)seconds;
        struct tm parts;
        gmtime_r(&when, &parts);
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.042Z", &parts);
        assert_string_equal(clock_format((uint64_t)seconds * 1000 + 42, text), expected);
        int64_t parsed = -1;
        assert_true(clock_parse(text, &parsed));
        assert_true(parsed == seconds);
        if (seconds > INT64_C(12622780800))
            step = 3911903;
    }
}

static void parse(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:30:00-00:30", 0},
        {"1985-04-12T23:20:50.52Z", 482196050},
        {"1996-12-19T16:39:57-08:00", 851042397},
        {"1990-12-31T23:59:60Z", 662688000},
        {"2000-02-29", 951782400},
        {"0001-01-01", INT64_C(-62135596800)},
        {"0000-03-01T00:00:00.123456789123456789Z", INT64_C(-62162035200)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t seconds = 77;
        assert_true(clock_parse(rows[i].text, &seconds));
        assert_true(seconds == rows[i].seconds);
    }
}

static void parse_refuses(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "now",
        "1970",
        "1970-1-1",
        "1970-00-01",
        "1970-13-01",
        "1970-01-00",
        "1970-01-32",
        "1970-04-31",
        "1970-02-29",
        "1900-02-29",
        "2100-02-29",
        "1970-01-01T",
        "1970-01-01T00:00",
        "1970-01-01T00:00:00",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00,5Z",
        "1970-01-01T00:00:00+1:00",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+00:60",
        "1970-01-01T00:00:00+0000",
        "1970-01-01T00:00:00Zx",
        "1970-01-01 ",
        "-970-01-01",
        " 1970-01-01",
        "1970-01-01x00:00:00Z",
    };
    int64_t seconds = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(clock_parse(wrong[i], &seconds));
    assert_int_equal(seconds, 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_run),
        cmocka_unit_test(format),
        cmocka_unit_test(agrees_with_the_calendar),
        cmocka_unit_test(parse),
        cmocka_unit_test(parse_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

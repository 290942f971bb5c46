/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c: clock_gettime, and RFC 3339 (section 5.6) by our own arithmetic: no time zone files, no
 * locale. Days are counted with eras of 400 years, which always have 146097 days.
 */
#include "base/clock.h"

#include <string.h>
#include <time.h>

#include "base/check.h"

#define DAYS_AN_ERA 146097
#define DAYS_TO_1970 719468 /* from 0000-03-01 */
#define SECONDS_A_DAY 86400
#define YEAR_9999_MS UINT64_C(253402300799999) /* RFC 3339 has four digits for the year */

static uint64_t clock_read_ns(clockid_t clock) {
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void) {
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void) {
    return clock_mono_ns() / 1000000u;
}

uint64_t clock_wall_ms(void) {
    return clock_read_ns(CLOCK_REALTIME) / 1000000u;
}

/* The last `count` digits; printf takes ten times as long, and every object has two times. */
static void put_digits(char *at, unsigned count, unsigned number) {
    for (; count > 0; number /= 10)
        at[--count] = (char)('0' + number % 10);
}

const char *clock_format(uint64_t wall_ms, char ret[CLOCK_TEXT_SIZE]) {
    if (wall_ms > YEAR_9999_MS)
        wall_ms = YEAR_9999_MS;
    unsigned ms = (unsigned)(wall_ms % 1000);
    uint64_t seconds = wall_ms / 1000;
    unsigned second_of_day = (unsigned)(seconds % SECONDS_A_DAY);
    unsigned days = (unsigned)(seconds / SECONDS_A_DAY) + DAYS_TO_1970;
    unsigned era = days / DAYS_AN_ERA;
    unsigned day_of_era = days % DAYS_AN_ERA;
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    unsigned year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
    memcpy(ret, "0000-00-00T00:00:00.000Z", 25);
    put_digits(ret, 4, year % 10000);
    put_digits(ret + 5, 2, month);
    put_digits(ret + 8, 2, day);
    put_digits(ret + 11, 2, second_of_day / 3600);
    put_digits(ret + 14, 2, second_of_day / 60 % 60);
    put_digits(ret + 17, 2, second_of_day % 60);
    put_digits(ret + 20, 3, ms);
    return ret;
}

static int64_t days_since_1970(unsigned year, unsigned month, unsigned day) {
    int64_t y = (int64_t)year - (month <= 2 ? 1 : 0);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_AN_ERA + day_of_era - DAYS_TO_1970;
}

/* Exactly `count` digits; moves the mark behind them. */
static bool take_number(const char **at, unsigned count, unsigned *ret) {
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++) {
        char c = (*at)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (unsigned)(c - '0');
    }
    *at += count;
    *ret = value;
    return true;
}

static bool take_char(const char **at, const char *allowed) {
    if (**at == '\0' || strchr(allowed, **at) == NULL)
        return false;
    (*at)++;
    return true;
}

static bool take_date(const char **at, int64_t *ret_days) {
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day;
    if (!take_number(at, 4, &year) || !take_char(at, "-") || !take_number(at, 2, &month) ||
        !take_char(at, "-") || !take_number(at, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (month == 2 && leap ? 1u : 0u))
        return false;
    *ret_days = days_since_1970(year, month, day);
    return true;
}

/* "Z" or "+hh:mm" or "-hh:mm", in seconds east of UTC. */
static bool take_zone(const char **at, int64_t *ret_seconds) {
    *ret_seconds = 0;
    if (take_char(at, "Zz"))
        return true;
    bool west = **at == '-';
    unsigned hours, minutes;
    if (!take_char(at, "+-") || !take_number(at, 2, &hours) || !take_char(at, ":") ||
        !take_number(at, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    int64_t seconds = (int64_t)hours * 3600 + (int64_t)minutes * 60;
    *ret_seconds = west ? -seconds : seconds;
    return true;
}

bool clock_parse(const char *text, int64_t *ret_seconds) {
    const char *at = text;
    int64_t days, zone;
    unsigned hour, minute, second;
    if (!take_date(&at, &days))
        return false;
    if (*at == '\0') {
        *ret_seconds = days * SECONDS_A_DAY;
        return true;
    }
    if (!take_char(&at, "Tt ") || !take_number(&at, 2, &hour) || !take_char(&at, ":") ||
        !take_number(&at, 2, &minute) || !take_char(&at, ":") || !take_number(&at, 2, &second))
        return false;
    /* 60 is a leap second; like everybody else, we count it as the next minute's first. */
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    if (take_char(&at, ".")) {
        unsigned digit;
        if (!take_number(&at, 1, &digit))
            return false;
        while (take_number(&at, 1, &digit))
            continue;
    }
    if (!take_zone(&at, &zone) || *at != '\0')
        return false;
    *ret_seconds =
        days * SECONDS_A_DAY + (int64_t)hour * 3600 + (int64_t)minute * 60 + second - zone;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * version.c: semantic versions (semver.org 2.0.0, sections 2, 9 and 11) and their ranges.
 */
#include "lifecycle/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where parsing is; the place in errors is counted from `start`. */
struct scan {
    const char *start;
    const char *at;
    struct err *err;
};

static bool wrong(const struct scan *scan, const char *what) {
    return err_set(scan->err, ERR_INVALID, "at character %zu: %s",
                   (size_t)(scan->at - scan->start) + 1, what);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_identifier(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

static bool take_number(struct scan *scan, uint32_t *ret) {
    if (!is_digit(*scan->at))
        return wrong(scan, "a number is missing; a version is major.minor.patch, such as 1.0.0");
    if (scan->at[0] == '0' && is_digit(scan->at[1]))
        return wrong(scan, "a number must not begin with 0");
    uint64_t value = 0;
    const char *at = scan->at;
    for (; is_digit(*at); at++) {
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > UINT32_MAX)
            return wrong(scan, "the number is above 4294967295");
    }
    scan->at = at;
    *ret = (uint32_t)value;
    return true;
}

/* Identifiers separated by dots, behind the '-'. */
static bool take_pre(struct scan *scan, char ret[VERSION_PRE_MAX + 1]) {
    const char *begin = scan->at;
    for (;;) {
        const char *identifier = scan->at;
        bool digits = true;
        while (is_identifier(*scan->at)) {
            digits = digits && is_digit(*scan->at);
            scan->at++;
        }
        if (scan->at == identifier)
            return wrong(scan, "an identifier of letters, digits and '-' is missing");
        if (digits && identifier[0] == '0' && scan->at - identifier > 1) {
            scan->at = identifier;
            return wrong(scan, "a number must not begin with 0");
        }
        if (*scan->at != '.')
            break;
        scan->at++;
    }
    size_t length = (size_t)(scan->at - begin);
    if (length > VERSION_PRE_MAX) {
        scan->at = begin;
        return wrong(scan, "the pre-release is longer than 31 bytes");
    }
    memcpy(ret, begin, length);
    ret[length] = '\0';
    return true;
}

/* Takes major[.minor[.patch[-pre]]] and says how many numbers there were. */
static bool take_version(struct scan *scan, struct version *ret, unsigned *ret_numbers) {
    struct version version = {0};
    uint32_t *const numbers[] = {&version.major, &version.minor, &version.patch};
    unsigned count = 0;
    for (;;) {
        if (!take_number(scan, numbers[count]))
            return false;
        count++;
        if (count == 3 || *scan->at != '.')
            break;
        scan->at++;
    }
    if (count == 3 && *scan->at == '-') {
        scan->at++;
        if (!take_pre(scan, version.pre))
            return false;
    }
    if (*scan->at == '+')
        return wrong(scan, "build metadata is not part of a version here; leave it out");
    *ret = version;
    *ret_numbers = count;
    return true;
}

bool version_parse(const char *text, struct version *ret, struct err *err) {
    struct scan scan = {text, text, err};
    struct version version;
    unsigned numbers;
    if (!take_version(&scan, &version, &numbers))
        return false;
    if (numbers < 3)
        return wrong(&scan, "a version is major.minor.patch; a number is missing here");
    if (*scan.at != '\0')
        return wrong(&scan, "there is something behind the version");
    *ret = version;
    return true;
}

static const struct {
    const char *text;
    enum version_operator comparison;
    bool may_be_cut; /* there is only one thing that it can mean */
} operators[] = {
    {">=", VERSION_GE, true}, {"<=", VERSION_LE, false}, {">", VERSION_GT, false},
    {"<", VERSION_LT, true},  {"=", VERSION_EQ, false},  {"", VERSION_EQ, false},
};

static bool take_comparator(struct scan *scan, struct version_comparator *ret) {
    size_t i = 0; /* the last row matches everything */
    while (strncmp(scan->at, operators[i].text, strlen(operators[i].text)) != 0)
        i++;
    const char *begin = scan->at;
    scan->at += strlen(operators[i].text);
    unsigned numbers;
    if (!take_version(scan, &ret->version, &numbers))
        return false;
    if (numbers < 3 && !operators[i].may_be_cut) {
        scan->at = begin;
        return wrong(scan, "only >= and < take a version that is cut; write major.minor.patch");
    }
    ret->comparison = operators[i].comparison;
    if (*scan->at != ' ' && *scan->at != '\0')
        return wrong(scan, "comparators are separated by spaces");
    return true;
}

static void skip_spaces(struct scan *scan) {
    while (*scan->at == ' ')
        scan->at++;
}

bool version_range_parse(const char *text, struct version_range *ret, struct err *err) {
    struct scan scan = {text, text, err};
    struct version_range range = {0};
    if (strlen(text) > VERSION_RANGE_TEXT_MAX)
        return wrong(&scan, "the range is longer than 127 bytes");
    skip_spaces(&scan);
    if (*scan.at == '\0')
        return wrong(&scan, "the range is empty; \"*\" takes every version");
    if (*scan.at == '*') {
        scan.at++;
        skip_spaces(&scan);
        if (*scan.at != '\0')
            return wrong(&scan, "\"*\" stands alone");
        *ret = range;
        return true;
    }
    while (*scan.at != '\0') {
        if (range.count == VERSION_COMPARATORS_MAX)
            return wrong(&scan, "there are more than 8 comparators");
        if (!take_comparator(&scan, &range.at[range.count]))
            return false;
        range.count++;
        skip_spaces(&scan);
    }
    *ret = range;
    return true;
}

static int compare_numbers(uint32_t a, uint32_t b) {
    return a < b ? -1 : a > b;
}

/* The next identifier of a pre-release, and what comes after its dot (NULL: nothing). */
static size_t identifier(const char **at) {
    const char *begin = *at;
    size_t length = strcspn(begin, ".");
    *at = begin[length] == '.' ? begin + length + 1 : NULL;
    return length;
}

static bool all_digits(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_digit(text[i]))
            return false;
    return true;
}

/* Numbers by value (they have no leading zeroes, so the longer one is greater), before words, which
 * compare by byte. */
static int compare_identifiers(const char *a, size_t a_length, const char *b, size_t b_length) {
    bool a_number = all_digits(a, a_length);
    bool b_number = all_digits(b, b_length);
    if (a_number != b_number)
        return a_number ? -1 : 1;
    if (a_number && a_length != b_length)
        return a_length < b_length ? -1 : 1;
    size_t shorter = a_length < b_length ? a_length : b_length;
    int order = memcmp(a, b, shorter);
    if (order != 0)
        return order;
    return a_length < b_length ? -1 : a_length > b_length;
}

static int compare_pre(const char *a, const char *b) {
    if (*a == '\0' || *b == '\0') /* a release comes after all its pre-releases */
        return (*a == '\0') - (*b == '\0');
    while (a != NULL && b != NULL) {
        const char *a_begin = a;
        const char *b_begin = b;
        size_t a_length = identifier(&a);
        size_t b_length = identifier(&b);
        int order = compare_identifiers(a_begin, a_length, b_begin, b_length);
        if (order != 0)
            return order;
    }
    return (a != NULL) - (b != NULL);
}

static int compare_release(const struct version *a, const struct version *b) {
    int order = compare_numbers(a->major, b->major);
    if (order == 0)
        order = compare_numbers(a->minor, b->minor);
    return order != 0 ? order : compare_numbers(a->patch, b->patch);
}

int version_compare(const struct version *a, const struct version *b) {
    int order = compare_release(a, b);
    return order != 0 ? order : compare_pre(a->pre, b->pre);
}

static bool comparator_holds(const struct version *version,
                             const struct version_comparator *comparator) {
    int order = version_compare(version, &comparator->version);
    switch (comparator->comparison) {
    case VERSION_GE:
        return order >= 0;
    case VERSION_GT:
        return order > 0;
    case VERSION_LE:
        return order <= 0;
    case VERSION_LT:
        return order < 0;
    case VERSION_EQ:
        return order == 0;
    }
    return false;
}

bool version_in_range(const struct version *version, const struct version_range *range) {
    bool named = false; /* a pre-release of these very numbers */
    for (uint32_t i = 0; i < range->count; i++) {
        const struct version_comparator *comparator = &range->at[i];
        if (!comparator_holds(version, comparator))
            return false;
        if (comparator->version.pre[0] != '\0' &&
            compare_release(version, &comparator->version) == 0)
            named = true;
    }
    return named || version->pre[0] == '\0';
}

const char *version_format(const struct version *version, char ret[VERSION_TEXT_MAX + 1]) {
    snprintf(ret, VERSION_TEXT_MAX + 1, "%" PRIu32 ".%" PRIu32 ".%" PRIu32 "%s%s", version->major,
             version->minor, version->patch, version->pre[0] != '\0' ? "-" : "", version->pre);
    return ret;
}

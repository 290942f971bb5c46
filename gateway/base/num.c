/* SPDX-License-Identifier: Apache-2.0
 *
 * num.c: checked arithmetic, strict parsing, and UTF-8 (RFC 3629 section 4).
 */
#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

bool num_add_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

bool num_mul_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

bool num_round_up_u64(uint64_t value, uint64_t step, uint64_t *ret) {
    CHECK(step != 0);
    uint64_t over = value % step;
    if (over == 0) {
        *ret = value;
        return true;
    }
    return num_add_u64(value, step - over, ret);
}

/* Reads digits (at least one) and says where they end. */
static bool take_digits(const char *text, uint64_t *ret, const char **ret_end) {
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (!num_mul_u64(value, 10, &value) || !num_add_u64(value, (uint64_t)(*at - '0'), &value))
            return false;
    if (at == text)
        return false;
    *ret = value;
    *ret_end = at;
    return true;
}

bool num_parse_u64(const char *text, uint64_t *ret) {
    uint64_t value;
    const char *end;
    if (!take_digits(text, &value, &end) || *end != '\0')
        return false;
    *ret = value;
    return true;
}

bool num_parse_i64(const char *text, int64_t *ret) {
    bool negative = *text == '-';
    uint64_t value;
    if (!num_parse_u64(text + negative, &value))
        return false;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    if (!negative)
        *ret = (int64_t)value;
    else
        *ret = value == 0 ? 0 : -(int64_t)(value - 1) - 1;
    return true;
}

static const char units[] = "KMGTP";

bool num_parse_size(const char *text, uint64_t *ret) {
    uint64_t value;
    const char *end;
    if (!take_digits(text, &value, &end))
        return false;
    if (*end != '\0') {
        const char *unit = strchr(units, *end);
        if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))
            return false;
        if (!num_mul_u64(value, UINT64_C(1) << (10 * (unit - units + 1)), &value))
            return false;
    }
    *ret = value;
    return true;
}

void num_format_size(uint64_t bytes, char *ret, size_t capacity) {
    if (bytes < 1024) {
        snprintf(ret, capacity, "%" PRIu64 " B", bytes);
        return;
    }
    unsigned power = 1;
    while (power < sizeof units - 1 && bytes >> (10 * (power + 1)) != 0)
        power++;
    uint64_t whole = bytes >> (10 * power);
    uint64_t rest = bytes & ((UINT64_C(1) << (10 * power)) - 1);
    /* Tenths, rounded down: what is shown is never more than there is. */
    uint64_t tenths = (rest >> (10 * (power - 1))) * 10 / 1024;
    if (tenths == 0)
        snprintf(ret, capacity, "%" PRIu64 " %ciB", whole, units[power - 1]);
    else
        snprintf(ret, capacity, "%" PRIu64 ".%" PRIu64 " %ciB", whole, tenths, units[power - 1]);
}

size_t text_character(const char *start, size_t left) {
    const unsigned char *text = (const unsigned char *)start;
    if (left == 0)
        return 0;
    unsigned char first = text[0];
    if (first < 0x80)
        return first != 0 ? 1 : 0;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < length)
        return 0;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    return length;
}

bool text_is_utf8(const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        size_t step = text_character(text + i, length - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

bool text_copy(char *ret, size_t capacity, const char *text) {
    CHECK(capacity > 0);
    size_t length = strlen(text);
    bool fits = length < capacity;
    if (!fits)
        length = capacity - 1;
    /* A character whose continuation bytes are cut off goes as a whole: there are at most three. */
    for (int i = 0; !fits && i < 3 && length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;
         i++)
        length--;
    memmove(ret, text, length);
    ret[length] = '\0';
    return fits;
}

bool text_is_name(const char *text, size_t max) {
    size_t length = strnlen(text, max + 1);
    if (length == 0 || length > max || !text_is_utf8(text, length))
        return false;
    if (text[0] == ' ' || text[length - 1] == ' ' || strcmp(text, ".") == 0 ||
        strcmp(text, "..") == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f || c == '/')
            return false;
        /* U+0080 to U+009F are control characters too. */
        if (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0)
            return false;
    }
    return true;
}

void text_hex(const void *bytes, size_t length, char *ret) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = bytes;
    for (size_t i = 0; i < length; i++) {
        ret[2 * i] = digits[at[i] >> 4];
        ret[2 * i + 1] = digits[at[i] & 15];
    }
    ret[2 * length] = '\0';
}

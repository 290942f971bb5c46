/* SPDX-License-Identifier: Apache-2.0
 *
 * uuid.c: UUIDv7 (RFC 9562 section 5.7, monotonic by method 1 of section 6.2).
 *
 * Layout: 48 bits of milliseconds, version 7, 12 bits of counter, variant 2, 62 random bits.
 */
#include "base/uuid.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/clock.h"

#define COUNTER_MAX 0xfffu

static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_ms;
static unsigned last_counter;

/* When the clock goes back or the counter is used up, time is borrowed from the future: order
 * inside the process matters more than a few milliseconds. */
static void stamp_next(uint64_t *ret_ms, unsigned *ret_counter) {
    uint64_t now = clock_wall_ms();
    CHECK(pthread_mutex_lock(&last_lock) == 0);
    if (now > last_ms) {
        last_ms = now;
        last_counter = 0;
    } else if (last_counter < COUNTER_MAX) {
        last_counter++;
    } else {
        last_ms++;
        last_counter = 0;
    }
    *ret_ms = last_ms;
    *ret_counter = last_counter;
    CHECK(pthread_mutex_unlock(&last_lock) == 0);
}

struct sluice_uuid uuid_new(void) {
    struct sluice_uuid id;
    /* 16 bytes or less are never cut short once the pool is up, and a signal cannot interrupt. */
    CHECK(getrandom(id.bytes, sizeof id.bytes, 0) == (ssize_t)sizeof id.bytes);
    uint64_t ms;
    unsigned counter;
    stamp_next(&ms, &counter);
    for (unsigned i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (8 * (5 - i)));
    id.bytes[6] = (uint8_t)(0x70 | counter >> 8);
    id.bytes[7] = (uint8_t)(counter & 0xff);
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

bool uuid_is_zero(const struct sluice_uuid *id) {
    static const struct sluice_uuid zero;
    return uuid_equal(id, &zero);
}

bool uuid_equal(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return uuid_compare(a, b) == 0;
}

int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static bool hyphen_before(unsigned byte) {
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

const char *uuid_format(const struct sluice_uuid *id, char ret[UUID_TEXT_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    char *at = ret;
    for (unsigned i = 0; i < sizeof id->bytes; i++) {
        if (hyphen_before(i))
            *at++ = '-';
        *at++ = digits[id->bytes[i] >> 4];
        *at++ = digits[id->bytes[i] & 15];
    }
    *at = '\0';
    return ret;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool uuid_parse(const char *text, struct sluice_uuid *ret) {
    struct sluice_uuid id;
    for (unsigned i = 0; i < sizeof id.bytes; i++) {
        if (hyphen_before(i) && *text++ != '-')
            return false;
        int high = digit_value(text[0]);
        int low = high < 0 ? -1 : digit_value(text[1]); /* text[1] may lie behind the NUL */
        if (low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text != '\0')
        return false;
    *ret = id;
    return true;
}

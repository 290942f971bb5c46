/* SPDX-License-Identifier: Apache-2.0
 *
 * num.h: numbers that cannot go wrong silently, and text that is what it says.
 */
#ifndef SLUICE_BASE_NUM_H
#define SLUICE_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool num_add_u64(uint64_t a, uint64_t b, uint64_t *ret); /* false on overflow, *ret untouched */
bool num_mul_u64(uint64_t a, uint64_t b, uint64_t *ret);
/* The smallest multiple of `step` (not 0) that is at least value; false on overflow. */
bool num_round_up_u64(uint64_t value, uint64_t step, uint64_t *ret);

/* Decimal digits only, the whole text, no sign for u64, no spaces, no overflow. */
bool num_parse_u64(const char *text, uint64_t *ret);
bool num_parse_i64(const char *text, int64_t *ret);
/* Bytes: digits and an optional K M G T P (powers of 1024, also KiB ... PiB). */
bool num_parse_size(const char *text, uint64_t *ret);
/* 1536 -> "1.5 KiB". */
void num_format_size(uint64_t bytes, char *ret, size_t capacity);

/* Bytes of the well-formed UTF-8 character at text, of which `left` may be read; 0: there is none
 * (malformed, cut, NUL, or nothing left). */
size_t text_character(const char *text, size_t left);
/* Well-formed UTF-8 (RFC 3629) without NUL. */
bool text_is_utf8(const char *text, size_t length);
/* Copies at most capacity-1 bytes, cut at a whole character, always NUL-terminated; returns whether
 * all of it fitted. */
bool text_copy(char *ret, size_t capacity, const char *text);
/* A name of an object: 1 to max bytes of UTF-8, no control characters, no '/', no leading or
 * trailing space, not "." or "..". */
bool text_is_name(const char *text, size_t max);
/* Hex, lower case; ret holds 2 * length + 1. */
void text_hex(const void *bytes, size_t length, char *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * buf.h: a byte buffer with a named maximum, and a bounded reader.
 *
 * Writing past `max` (or running out of memory) sets `overflow` and drops the bytes; whoever wrote
 * looks at the flag once at the end. Integers are little-endian. A reader never runs past its end:
 * a short read sets `bad` and gives zeroes, and whoever read looks at reader_done once.
 */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *at;
    size_t length;
    size_t capacity;
    size_t max;
    bool overflow;
};

void buf_init(struct buf *buf, size_t max);
void buf_release(struct buf *buf);
void buf_clear(struct buf *buf); /* length 0, memory kept, overflow forgotten */
void buf_put(struct buf *buf, const void *bytes, size_t length);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value);
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);
/* u32 length, bytes */
void buf_put_blob(struct buf *buf, const void *bytes, size_t length);
void buf_put_text(struct buf *buf, const char *text); /* as blob, without the NUL; NULL: empty */
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The bytes as text: adds a NUL that is not counted in length. "" when there is no memory. */
const char *buf_text(struct buf *buf);

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

void reader_init(struct reader *reader, const void *bytes, size_t length);
uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
/* Points into the input. NULL and *ret_length 0 when bad. */
const uint8_t *reader_take(struct reader *reader, size_t length);
const uint8_t *reader_blob(struct reader *reader, size_t max, size_t *ret_length);
/* All was read and nothing was bad. */
bool reader_done(const struct reader *reader);

#endif

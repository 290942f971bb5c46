/* SPDX-License-Identifier: Apache-2.0
 *
 * buf.c: growing by doubling up to the maximum; reading by byte, so that no alignment is assumed.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define CAPACITY_MIN 256 /* the first allocation: most messages fit */

void buf_init(struct buf *buf, size_t max) {
    *buf = (struct buf){.max = max};
}

void buf_release(struct buf *buf) {
    if (buf == NULL)
        return;
    free(buf->at);
    buf_init(buf, buf->max);
}

void buf_clear(struct buf *buf) {
    buf->length = 0;
    buf->overflow = false;
}

/* Memory for `room` bytes in all. The maximum is judged by the caller: buf_text needs one more. */
static bool reserve(struct buf *buf, size_t room) {
    if (room <= buf->capacity)
        return true;
    size_t capacity = buf->capacity < CAPACITY_MIN ? CAPACITY_MIN : buf->capacity;
    while (capacity < room) {
        if (capacity > SIZE_MAX / 2) {
            capacity = room;
            break;
        }
        capacity *= 2;
    }
    uint8_t *at = realloc(buf->at, capacity);
    if (at == NULL)
        return false;
    buf->at = at;
    buf->capacity = capacity;
    return true;
}

/* Where `length` more bytes go, or NULL with the flag set. */
static uint8_t *extend(struct buf *buf, size_t length) {
    if (buf->overflow)
        return NULL;
    if (length > buf->max || buf->length > buf->max - length ||
        !reserve(buf, buf->length + length)) {
        buf->overflow = true;
        return NULL;
    }
    uint8_t *at = buf->at + buf->length;
    buf->length += length;
    return at;
}

void buf_put(struct buf *buf, const void *bytes, size_t length) {
    if (length == 0)
        return;
    CHECK(bytes != NULL);
    uint8_t *at = extend(buf, length);
    if (at != NULL)
        memcpy(at, bytes, length);
}

static void put_integer(struct buf *buf, uint64_t value, size_t width) {
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buf_put(buf, bytes, width);
}

void buf_put_u8(struct buf *buf, uint8_t value) {
    put_integer(buf, value, 1);
}

void buf_put_u16(struct buf *buf, uint16_t value) {
    put_integer(buf, value, 2);
}

void buf_put_u32(struct buf *buf, uint32_t value) {
    put_integer(buf, value, 4);
}

void buf_put_u64(struct buf *buf, uint64_t value) {
    put_integer(buf, value, 8);
}

void buf_put_blob(struct buf *buf, const void *bytes, size_t length) {
    if (length > UINT32_MAX) {
        buf->overflow = true;
        return;
    }
    buf_put_u32(buf, (uint32_t)length);
    buf_put(buf, bytes, length);
}

void buf_put_text(struct buf *buf, const char *text) {
    buf_put_blob(buf, text, text != NULL ? strlen(text) : 0);
}

void buf_printf(struct buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf writes a NUL behind the text, which needs memory but is not counted. */
    if (length < 0 || (size_t)length > buf->max || buf->length > buf->max - (size_t)length ||
        !reserve(buf, buf->length + (size_t)length + 1)) {
        buf->overflow = true;
    } else if (!buf->overflow) {
        vsnprintf((char *)buf->at + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

const char *buf_text(struct buf *buf) {
    if (buf->length == SIZE_MAX || !reserve(buf, buf->length + 1))
        return "";
    buf->at[buf->length] = '\0';
    return (const char *)buf->at;
}

void reader_init(struct reader *reader, const void *bytes, size_t length) {
    CHECK(bytes != NULL || length == 0);
    *reader = (struct reader){.at = bytes, .left = length};
}

const uint8_t *reader_take(struct reader *reader, size_t length) {
    /* An empty input has no address; what is taken from it still needs one that is not NULL. */
    static const uint8_t nothing[1];
    if (reader->bad || reader->left < length) {
        reader->bad = true;
        return NULL;
    }
    if (length == 0)
        return reader->at != NULL ? reader->at : nothing;
    const uint8_t *at = reader->at;
    reader->at += length;
    reader->left -= length;
    return at;
}

static uint64_t read_integer(struct reader *reader, size_t width) {
    const uint8_t *at = reader_take(reader, width);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < width; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

uint8_t reader_u8(struct reader *reader) {
    return (uint8_t)read_integer(reader, 1);
}

uint16_t reader_u16(struct reader *reader) {
    return (uint16_t)read_integer(reader, 2);
}

uint32_t reader_u32(struct reader *reader) {
    return (uint32_t)read_integer(reader, 4);
}

uint64_t reader_u64(struct reader *reader) {
    return read_integer(reader, 8);
}

const uint8_t *reader_blob(struct reader *reader, size_t max, size_t *ret_length) {
    *ret_length = 0;
    uint32_t length = reader_u32(reader);
    if (length > max)
        reader->bad = true;
    const uint8_t *at = reader_take(reader, length);
    if (at != NULL)
        *ret_length = length;
    return at;
}

bool reader_done(const struct reader *reader) {
    return !reader->bad && reader->left == 0;
}

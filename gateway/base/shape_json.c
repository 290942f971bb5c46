/* SPDX-License-Identifier: Apache-2.0
 *
 * shape_json.c: the JSON form of a shape (RFC 8259). Only rendering: what comes in is parsed and
 * validated elsewhere, field by field.
 */
#include "base/shape.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"

static void put_literal(struct buf *buf, const char *text) {
    buf_put(buf, text, strlen(text));
}

static void put_escape(struct buf *buf, char c) {
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = strchr(plain, c);
    if (found != NULL && c != '\0')
        buf_put(buf, (const char[]){'\\', letters[found - plain]}, 2);
    else
        buf_printf(buf, "\\u%04x", (unsigned)(unsigned char)c);
}

/* ASCII that stands for itself in JSON: nearly all that there is. */
static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Bytes that are no UTF-8 become U+FFFD: what we send is always JSON, whatever it came from. */
void json_text(struct buf *buf, const char *text) {
    size_t left = text != NULL ? strlen(text) : 0;
    put_literal(buf, "\"");
    while (left > 0) {
        size_t run = 0;
        size_t length = 2;
        while (length > 1) {
            while (run < left && is_plain((unsigned char)text[run]))
                run++;
            length = text_character(text + run, left - run);
            if (length > 1)
                run += length;
        }
        buf_put(buf, text, run);
        text += run;
        left -= run;
        if (left == 0)
            break;
        if (length == 0)
            put_literal(buf, "\\ufffd");
        else
            put_escape(buf, *text);
        text++;
        left--;
    }
    put_literal(buf, "\"");
}

void json_pairs(struct buf *buf, const struct text_pairs *pairs) {
    put_literal(buf, "{");
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (i > 0)
            put_literal(buf, ",");
        json_text(buf, pairs->at[i].name);
        put_literal(buf, ":");
        json_text(buf, pairs->at[i].value);
    }
    put_literal(buf, "}");
}

static void put_texts(struct buf *buf, const struct text_list *list) {
    put_literal(buf, "[");
    for (uint32_t i = 0; i < list->count; i++) {
        if (i > 0)
            put_literal(buf, ",");
        json_text(buf, list->at[i]);
    }
    put_literal(buf, "]");
}

static void put_time(struct buf *buf, uint64_t wall_ms) {
    char text[CLOCK_TEXT_SIZE];
    if (wall_ms == 0)
        put_literal(buf, "null");
    else
        json_text(buf, clock_format(wall_ms, text));
}

static void put_uuid(struct buf *buf, const struct sluice_uuid *id) {
    char text[UUID_TEXT_SIZE];
    if (uuid_is_zero(id))
        put_literal(buf, "null");
    else
        json_text(buf, uuid_format(id, text));
}

/* Every object that the API shows has several; printf would take most of the time. */
static void put_number(struct buf *buf, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    buf_put(buf, digits + at, sizeof digits - at);
}

/* Names of fields are C's own: there is nothing to escape. */
static void put_name(struct buf *buf, const char *before, const char *name) {
    put_literal(buf, before);
    put_literal(buf, "\"");
    put_literal(buf, name);
    put_literal(buf, "\":");
}

static void put_value(const struct shape_field *field, const void *member, struct buf *buf) {
    switch (field->kind) {
    case SHAPE_BOOL:
        put_literal(buf, *(const bool *)member ? "true" : "false");
        break;
    case SHAPE_U32:
        put_number(buf, *(const uint32_t *)member);
        break;
    case SHAPE_U64:
        put_number(buf, *(const uint64_t *)member);
        break;
    case SHAPE_I64:
        buf_printf(buf, "%" PRId64, *(const int64_t *)member);
        break;
    case SHAPE_TIME:
        put_time(buf, *(const uint64_t *)member);
        break;
    case SHAPE_UUID:
        put_uuid(buf, member);
        break;
    case SHAPE_TEXT:
        json_text(buf, *(const char *const *)member);
        break;
    case SHAPE_PAIRS:
        json_pairs(buf, member);
        break;
    case SHAPE_TEXTS:
        put_texts(buf, member);
        break;
    case SHAPE_BYTES:
        break;
    }
}

void shape_json(const struct shape *shape, const void *object, bool open, struct buf *buf) {
    const char *before = "{";
    for (uint16_t i = 0; i < shape->count; i++) {
        const struct shape_field *field = &shape->fields[i];
        if (field->kind == SHAPE_BYTES)
            continue;
        put_name(buf, before, field->name);
        put_value(field, (const char *)object + field->offset, buf);
        before = ",";
    }
    if (*before == '{')
        put_literal(buf, "{");
    if (!open)
        put_literal(buf, "}");
}

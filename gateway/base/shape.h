/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.h: a struct described by a table, so that one description serves the runner protocol, the
 * catalogue's records and the API's JSON.
 *
 * A shape is made from a field list:
 *
 *     #define VOLUME_FIELDS(F, T)                  \
 *         F(T, UUID, id, 0, "...")                 \
 *         F(T, TEXT, name, 255, "...")             \
 *         F(T, U64, size_bytes, 0, "...")
 *     SHAPE_STRUCT(volume, VOLUME_FIELDS)          in the header: struct volume { ... };
 *     SHAPE_DEFINE(volume, 1, VOLUME_FIELDS)       in the source: const struct shape volume_shape
 *
 * The third column is the maximum: bytes of a TEXT or BYTES, entries of a list. Fields are only
 * appended: decoding a record of an older version leaves the missing fields zero, of a newer one
 * skips what is beyond; appending a field raises the version, so the same version with another
 * count of fields is malformed. An encoded object is u16 version, u16 count of fields, then each
 * field as the kinds say, little-endian. Decoded text lives in the arena (TEXT is never NULL
 * afterwards).
 */
#ifndef SLUICE_BASE_SHAPE_H
#define SLUICE_BASE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include <sluice/types.h>

struct text_pair {
    const char *name;
    const char *value;
};

struct text_pairs { /* a map: names unique, kept in ascending order */
    struct text_pair *at;
    uint32_t count;
};

struct text_list {
    const char **at;
    uint32_t count;
};

struct blob {
    const uint8_t *at;
    uint32_t length;
};

enum shape_kind {
    SHAPE_BOOL,  /* bool: u8, 0 or 1 */
    SHAPE_U32,   /* uint32_t */
    SHAPE_U64,   /* uint64_t */
    SHAPE_I64,   /* int64_t */
    SHAPE_TIME,  /* uint64_t: wall clock in ms; RFC 3339 in JSON, null when 0 */
    SHAPE_UUID,  /* struct sluice_uuid; null in JSON when zero */
    SHAPE_TEXT,  /* const char *: u32 length, UTF-8 */
    SHAPE_PAIRS, /* struct text_pairs: u32 count, texts; an object in JSON */
    SHAPE_TEXTS, /* struct text_list: u32 count, texts; an array in JSON */
    SHAPE_BYTES, /* struct blob: u32 length, bytes; never in JSON */
};

struct shape_field {
    const char *name;
    const char *doc;
    enum shape_kind kind;
    uint32_t offset;
    uint32_t max;
};

struct shape {
    const char *name;
    uint16_t version;
    uint16_t count;
    size_t size;
    const struct shape_field *fields;
};

#define SHAPE_TYPE_BOOL bool
#define SHAPE_TYPE_U32 uint32_t
#define SHAPE_TYPE_U64 uint64_t
#define SHAPE_TYPE_I64 int64_t
#define SHAPE_TYPE_TIME uint64_t
#define SHAPE_TYPE_UUID struct sluice_uuid
#define SHAPE_TYPE_TEXT const char *
#define SHAPE_TYPE_PAIRS struct text_pairs
#define SHAPE_TYPE_TEXTS struct text_list
#define SHAPE_TYPE_BYTES struct blob

#define SHAPE_MEMBER(type, kind, name, max, doc) SHAPE_TYPE_##kind name;
#define SHAPE_STRUCT(type, FIELDS) \
    struct type {                  \
        FIELDS(SHAPE_MEMBER, type) \
    };                             \
    extern const struct shape type##_shape;

#define SHAPE_ROW(type, kind, name, max, doc) \
    {#name, doc, SHAPE_##kind, offsetof(struct type, name), max},
#define SHAPE_DEFINE(type, version_number, FIELDS)                               \
    static const struct shape_field type##_fields[] = {FIELDS(SHAPE_ROW, type)}; \
    const struct shape type##_shape = {                                          \
        .name = #type,                                                           \
        .version = version_number,                                               \
        .count = sizeof type##_fields / sizeof type##_fields[0],                 \
        .size = sizeof(struct type),                                             \
        .fields = type##_fields,                                                 \
    };

/* Appends the encoding of *object. A value beyond its max is our bug (CHECK). */
void shape_encode(const struct shape *shape, const void *object, struct buf *buf);

/* Fills *ret_object (shape->size bytes) from all of `bytes`. false: malformed, beyond a max, not
 * UTF-8, left-over bytes, arena full; *ret_object is then untouched. Never crashes on any input. */
bool shape_decode(const struct shape *shape, const void *bytes, size_t length, struct arena *arena,
                  void *ret_object, struct err *err);

/* Copies into the arena whatever *object points to. false: arena full. */
bool shape_copy(const struct shape *shape, const void *object, struct arena *arena,
                void *ret_object);

/* Appends *object as a JSON object (no spaces, keys in field order, BYTES left out); with
 * `open` true the closing brace is left out, so that more members can follow. */
void shape_json(const struct shape *shape, const void *object, bool open, struct buf *buf);

/* Pieces of JSON for those who add members by hand. */
void json_text(struct buf *buf, const char *text); /* quoted, escaped */
void json_pairs(struct buf *buf, const struct text_pairs *pairs);

/* Puts names in ascending order (by byte); false when a name is there twice. */
bool pairs_sort(struct text_pairs *pairs);
/* The value of `name`, or NULL. */
const char *pairs_get(const struct text_pairs *pairs, const char *name);

#endif

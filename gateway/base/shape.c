/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.c: the binary form of a shape (described in shape.h) and deep copies.
 */
#include "base/shape.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

/* Bytes that an empty entry takes; bounds the array of a list by the bytes that are really there.
 */
#define TEXT_ENTRY_MIN 4
#define PAIR_ENTRY_MIN 8

static const void *member_at(const struct shape_field *field, const void *object) {
    return (const char *)object + field->offset;
}

static void *member_of(const struct shape_field *field, void *object) {
    return (char *)object + field->offset;
}

static bool pairs_ascend(const struct text_pairs *pairs) {
    for (uint32_t i = 1; i < pairs->count; i++)
        if (strcmp(pairs->at[i - 1].name, pairs->at[i].name) >= 0)
            return false;
    return true;
}

static void encode_text(const struct shape_field *field, const char *text, struct buf *buf) {
    CHECK(text == NULL || strlen(text) <= field->max);
    buf_put_text(buf, text);
}

static void encode_pairs(const struct shape_field *field, const struct text_pairs *pairs,
                         struct buf *buf) {
    CHECK(pairs->count <= field->max && pairs_ascend(pairs));
    buf_put_u32(buf, pairs->count);
    for (uint32_t i = 0; i < pairs->count; i++) {
        buf_put_text(buf, pairs->at[i].name);
        buf_put_text(buf, pairs->at[i].value);
    }
}

static void encode_texts(const struct shape_field *field, const struct text_list *list,
                         struct buf *buf) {
    CHECK(list->count <= field->max);
    buf_put_u32(buf, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        buf_put_text(buf, list->at[i]);
}

static void encode_bytes(const struct shape_field *field, const struct blob *blob,
                         struct buf *buf) {
    CHECK(blob->length <= field->max);
    buf_put_blob(buf, blob->at, blob->length);
}

void shape_encode(const struct shape *shape, const void *object, struct buf *buf) {
    buf_put_u16(buf, shape->version);
    buf_put_u16(buf, shape->count);
    for (uint16_t i = 0; i < shape->count; i++) {
        const struct shape_field *field = &shape->fields[i];
        const void *member = member_at(field, object);
        switch (field->kind) {
        case SHAPE_BOOL:
            buf_put_u8(buf, *(const bool *)member ? 1 : 0);
            break;
        case SHAPE_U32:
            buf_put_u32(buf, *(const uint32_t *)member);
            break;
        case SHAPE_U64:
        case SHAPE_TIME:
            buf_put_u64(buf, *(const uint64_t *)member);
            break;
        case SHAPE_I64:
            buf_put_u64(buf, (uint64_t) * (const int64_t *)member);
            break;
        case SHAPE_UUID:
            buf_put(buf, member, sizeof(struct sluice_uuid));
            break;
        case SHAPE_TEXT:
            encode_text(field, *(const char *const *)member, buf);
            break;
        case SHAPE_PAIRS:
            encode_pairs(field, member, buf);
            break;
        case SHAPE_TEXTS:
            encode_texts(field, member, buf);
            break;
        case SHAPE_BYTES:
            encode_bytes(field, member, buf);
            break;
        }
    }
}

/* Decoders answer NULL or a reason in words. */
static const char *const arena_full = "there is no memory for it";
static const char *const cut_short = "the bytes end too early";
static const char *const beyond_max = "it is beyond its maximum";
static const char *const not_utf8 = "it is not UTF-8";

static const char *decode_text(struct reader *reader, size_t max, struct arena *arena,
                               const char **ret) {
    size_t length = reader_u32(reader);
    if (reader->bad)
        return cut_short;
    if (length > max)
        return beyond_max;
    const uint8_t *at = reader_take(reader, length);
    if (at == NULL)
        return cut_short;
    if (!text_is_utf8((const char *)at, length))
        return not_utf8;
    *ret = arena_strndup(arena, (const char *)at, length);
    return *ret != NULL ? NULL : arena_full;
}

/* The count of a list, and room for it. */
static const char *decode_count(struct reader *reader, size_t max, size_t entry_min,
                                uint32_t *ret) {
    uint32_t count = reader_u32(reader);
    if (reader->bad)
        return cut_short;
    if (count > max)
        return beyond_max;
    if (count > reader->left / entry_min)
        return cut_short;
    *ret = count;
    return NULL;
}

static const char *decode_pairs(struct reader *reader, size_t max, struct arena *arena,
                                struct text_pairs *pairs) {
    uint32_t count;
    const char *wrong = decode_count(reader, max, PAIR_ENTRY_MIN, &count);
    if (wrong != NULL || count == 0)
        return wrong;
    pairs->at = arena_array(arena, count, sizeof pairs->at[0]);
    if (pairs->at == NULL)
        return arena_full;
    for (pairs->count = 0; pairs->count < count; pairs->count++) {
        struct text_pair *pair = &pairs->at[pairs->count];
        wrong = decode_text(reader, SIZE_MAX, arena, &pair->name);
        if (wrong == NULL)
            wrong = decode_text(reader, SIZE_MAX, arena, &pair->value);
        if (wrong != NULL)
            return wrong;
    }
    return pairs_ascend(pairs) ? NULL : "its names are not in ascending order";
}

static const char *decode_texts(struct reader *reader, size_t max, struct arena *arena,
                                struct text_list *list) {
    uint32_t count;
    const char *wrong = decode_count(reader, max, TEXT_ENTRY_MIN, &count);
    if (wrong != NULL || count == 0)
        return wrong;
    list->at = arena_array(arena, count, sizeof list->at[0]);
    if (list->at == NULL)
        return arena_full;
    for (list->count = 0; list->count < count; list->count++) {
        wrong = decode_text(reader, SIZE_MAX, arena, &list->at[list->count]);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static const char *decode_bytes(struct reader *reader, size_t max, struct arena *arena,
                                struct blob *blob) {
    size_t length = reader_u32(reader);
    if (reader->bad)
        return cut_short;
    if (length > max)
        return beyond_max;
    const uint8_t *at = reader_take(reader, length);
    if (at == NULL)
        return cut_short;
    uint8_t *copy = arena_alloc(arena, length);
    if (copy == NULL)
        return arena_full;
    memcpy(copy, at, length);
    *blob = (struct blob){.at = copy, .length = (uint32_t)length};
    return NULL;
}

static const char *decode_field(const struct shape_field *field, struct reader *reader,
                                struct arena *arena, void *member) {
    switch (field->kind) {
    case SHAPE_BOOL: {
        uint8_t value = reader_u8(reader);
        if (value > 1)
            return "it is neither 0 nor 1";
        *(bool *)member = value == 1;
        break;
    }
    case SHAPE_U32:
        *(uint32_t *)member = reader_u32(reader);
        break;
    case SHAPE_U64:
    case SHAPE_TIME:
        *(uint64_t *)member = reader_u64(reader);
        break;
    case SHAPE_I64:
        *(int64_t *)member = (int64_t)reader_u64(reader);
        break;
    case SHAPE_UUID: {
        const uint8_t *at = reader_take(reader, sizeof(struct sluice_uuid));
        if (at != NULL)
            memcpy(member, at, sizeof(struct sluice_uuid));
        break;
    }
    case SHAPE_TEXT:
        return decode_text(reader, field->max, arena, member);
    case SHAPE_PAIRS:
        return decode_pairs(reader, field->max, arena, member);
    case SHAPE_TEXTS:
        return decode_texts(reader, field->max, arena, member);
    case SHAPE_BYTES:
        return decode_bytes(reader, field->max, arena, member);
    }
    return reader->bad ? cut_short : NULL;
}

/* What an older version does not have; all else is zero already. */
static void default_field(const struct shape_field *field, void *member) {
    if (field->kind == SHAPE_TEXT)
        *(const char **)member = "";
}

/* Fields are only appended, and appending raises the version. */
static bool header_fits(const struct shape *shape, uint16_t version, uint16_t count) {
    if (version < shape->version)
        return count <= shape->count;
    if (version > shape->version)
        return count >= shape->count;
    return count == shape->count;
}

bool shape_decode(const struct shape *shape, const void *bytes, size_t length, struct arena *arena,
                  void *ret_object, struct err *err) {
    struct reader reader;
    reader_init(&reader, bytes, length);
    uint16_t version = reader_u16(&reader);
    uint16_t count = reader_u16(&reader);
    if (reader.bad || !header_fits(shape, version, count))
        return err_set(err, ERR_CORRUPT, "%s: no such version and count of fields", shape->name);
    char *object = arena_alloc(arena, shape->size);
    if (object == NULL)
        return err_set(err, ERR_NO_MEMORY, "%s: %s", shape->name, arena_full);
    for (uint16_t i = 0; i < shape->count; i++) {
        const struct shape_field *field = &shape->fields[i];
        void *member = member_of(field, object);
        const char *wrong = NULL;
        if (i < count)
            wrong = decode_field(field, &reader, arena, member);
        else
            default_field(field, member);
        if (wrong != NULL)
            return err_set(err, wrong == arena_full ? ERR_NO_MEMORY : ERR_CORRUPT, "%s.%s: %s",
                           shape->name, field->name, wrong);
    }
    if (count <= shape->count && !reader_done(&reader))
        return err_set(err, ERR_CORRUPT, "%s: bytes are left over", shape->name);
    memcpy(ret_object, object, shape->size);
    return true;
}

static bool copy_text(struct arena *arena, const char **text) {
    *text = arena_strdup(arena, *text != NULL ? *text : "");
    return *text != NULL;
}

static bool copy_pairs(struct arena *arena, struct text_pairs *pairs) {
    const struct text_pair *from = pairs->at;
    pairs->at = NULL;
    if (pairs->count == 0)
        return true;
    pairs->at = arena_array(arena, pairs->count, sizeof pairs->at[0]);
    if (pairs->at == NULL)
        return false;
    for (uint32_t i = 0; i < pairs->count; i++) {
        pairs->at[i] = from[i];
        if (!copy_text(arena, &pairs->at[i].name) || !copy_text(arena, &pairs->at[i].value))
            return false;
    }
    return true;
}

static bool copy_texts(struct arena *arena, struct text_list *list) {
    const char **from = list->at;
    list->at = NULL;
    if (list->count == 0)
        return true;
    list->at = arena_array(arena, list->count, sizeof list->at[0]);
    if (list->at == NULL)
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        list->at[i] = from[i];
        if (!copy_text(arena, &list->at[i]))
            return false;
    }
    return true;
}

static bool copy_bytes(struct arena *arena, struct blob *blob) {
    uint8_t *copy = arena_alloc(arena, blob->length);
    if (copy == NULL)
        return false;
    if (blob->length > 0)
        memcpy(copy, blob->at, blob->length);
    blob->at = copy;
    return true;
}

static bool copy_field(const struct shape_field *field, struct arena *arena, void *member) {
    switch (field->kind) {
    case SHAPE_TEXT:
        return copy_text(arena, member);
    case SHAPE_PAIRS:
        return copy_pairs(arena, member);
    case SHAPE_TEXTS:
        return copy_texts(arena, member);
    case SHAPE_BYTES:
        return copy_bytes(arena, member);
    default:
        return true;
    }
}

bool shape_copy(const struct shape *shape, const void *object, struct arena *arena,
                void *ret_object) {
    char *copy = arena_alloc(arena, shape->size);
    if (copy == NULL)
        return false;
    memcpy(copy, object, shape->size);
    for (uint16_t i = 0; i < shape->count; i++)
        if (!copy_field(&shape->fields[i], arena, member_of(&shape->fields[i], copy)))
            return false;
    memcpy(ret_object, copy, shape->size);
    return true;
}

static int pair_order(const void *a, const void *b) {
    return strcmp(((const struct text_pair *)a)->name, ((const struct text_pair *)b)->name);
}

bool pairs_sort(struct text_pairs *pairs) {
    if (pairs->count > 1)
        qsort(pairs->at, pairs->count, sizeof pairs->at[0], pair_order);
    return pairs_ascend(pairs);
}

const char *pairs_get(const struct text_pairs *pairs, const char *name) {
    uint32_t low = 0;
    uint32_t high = pairs->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(name, pairs->at[middle].name);
        if (order == 0)
            return pairs->at[middle].value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

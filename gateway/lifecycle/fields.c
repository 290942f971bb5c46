/* SPDX-License-Identifier: Apache-2.0
 *
 * fields.c: what all maps of driver.yaml have in common.
 */
#include "lifecycle/fields.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "lifecycle/nearest.h"

bool reading_full(const struct reading *reading) {
    return err_set(reading->err, ERR_NO_MEMORY, "%s: there is no memory for it", reading->file);
}

static bool unknown_key(const struct reading *reading, const struct node *node, const char *what,
                        const struct field *fields, size_t count) {
    char key[NEAREST_WORD_MAX + 1]; /* cut at a character: hostile ones are long */
    text_copy(key, sizeof key, node->key);
    struct nearest nearest;
    nearest_start(&nearest, node->key);
    for (size_t i = 0; i < count; i++)
        nearest_offer(&nearest, fields[i].name);
    if (nearest.best != NULL)
        return node_key_wrong(node, reading->file, reading->err,
                              "%s has no key \"%s\"; did you mean \"%s\"?", what, key,
                              nearest.best);
    return node_key_wrong(node, reading->file, reading->err, "%s has no key \"%s\"; leave it out",
                          what, key);
}

bool fields_read(const struct reading *reading, const struct node *node, const char *what,
                 const struct field *fields, size_t count, void *into) {
    CHECK(count <= FIELDS_MAX);
    if (node->kind != NODE_MAP)
        return node_wrong(node, reading->file, reading->err, "%s must be a map of keys and values",
                          what);
    uint32_t seen = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        size_t i = 0;
        while (i < count && strcmp(fields[i].name, child->key) != 0)
            i++;
        if (i == count)
            return unknown_key(reading, child, what, fields, count);
        if (!fields[i].read(reading, child, &fields[i], (char *)into + fields[i].offset))
            return false;
        seen |= UINT32_C(1) << i;
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && (seen & UINT32_C(1) << i) == 0)
            return node_wrong(node, reading->file, reading->err, "%s needs the key \"%s\"; add it",
                              what, fields[i].name);
    return true;
}

bool field_scalar(const struct reading *reading, const struct node *node, const char *name) {
    if (node->kind != NODE_TEXT)
        return node_wrong(node, reading->file, reading->err, "%s must be a single value", name);
    if (node->empty)
        return node_wrong(node, reading->file, reading->err,
                          "%s has no value; give one or leave the key out", name);
    return true;
}

bool field_text(const struct reading *reading, const struct node *node, const struct field *field,
                void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    size_t length = strlen(node->text);
    if (length < field->low || length > field->high)
        return node_wrong(node, reading->file, reading->err,
                          "%s has %zu bytes; it must have %" PRIu64 " to %" PRIu64, field->name,
                          length, field->low, field->high);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)node->text[i] < ' ' || node->text[i] == 0x7f)
            return node_wrong(node, reading->file, reading->err,
                              "%s holds a control character; write it in one line", field->name);
    const char *text = arena_strdup(reading->arena, node->text);
    if (text == NULL)
        return reading_full(reading);
    *(const char **)into = text;
    return true;
}

bool field_u32(const struct reading *reading, const struct node *node, const struct field *field,
               void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    uint64_t value;
    if (!num_parse_u64(node->text, &value) || value < field->low || value > field->high)
        return node_wrong(node, reading->file, reading->err,
                          "%s must be a whole number from %" PRIu64 " to %" PRIu64, field->name,
                          field->low, field->high);
    *(uint32_t *)into = (uint32_t)value;
    return true;
}

bool field_bool(const struct reading *reading, const struct node *node, const struct field *field,
                void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    bool yes = strcmp(node->text, "true") == 0;
    if (!yes && strcmp(node->text, "false") != 0)
        return node_wrong(node, reading->file, reading->err, "%s must be true or false",
                          field->name);
    *(bool *)into = yes;
    return true;
}

bool fields_list(const struct reading *reading, const struct node *node, const struct field *field,
                 uint32_t max, size_t size, field_fn *read, void **ret_at, uint32_t *ret_count) {
    if (node->kind != NODE_LIST)
        return node_wrong(node, reading->file, reading->err,
                          "%s must be a list; write [] where there is nothing in it", field->name);
    if (node->count > max)
        return node_wrong(node, reading->file, reading->err,
                          "%s has %u entries; at most %u are taken", field->name, node->count, max);
    char *entries = NULL;
    if (node->count > 0) {
        entries = arena_array(reading->arena, node->count, size);
        if (entries == NULL)
            return reading_full(reading);
    }
    char *entry = entries;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        if (!read(reading, child, field, entry))
            return false;
        entry += size;
    }
    *ret_at = entries;
    *ret_count = node->count;
    return true;
}

bool text_is_word(const char *text, size_t max, char more) {
    if (text[0] < 'a' || text[0] > 'z')
        return false;
    size_t length = 1;
    for (; text[length] != '\0'; length++) {
        char c = text[length];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != more)
            return false;
    }
    return length <= max;
}

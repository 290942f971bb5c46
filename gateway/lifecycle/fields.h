/* SPDX-License-Identifier: Apache-2.0
 *
 * fields.h: a map of a document, read into a struct by a table of the keys it may have.
 *
 * A row names a key, whether it must be there, the function that reads its value, where in the
 * struct it goes, and a range whose meaning is the function's. Unknown keys are refused with the
 * nearest known one. All errors are MANIFEST with file, line and column; texts and arrays are put
 * into the arena.
 */
#ifndef SLUICE_LIFECYCLE_FIELDS_H
#define SLUICE_LIFECYCLE_FIELDS_H

#include <stddef.h>

#include "lifecycle/document.h"

#define FIELDS_MAX 24 /* rows of one table; a bit each in fields_read */

struct reading {
    const char *file;
    struct arena *arena;
    struct err *err;
};

struct field;
typedef bool field_fn(const struct reading *reading, const struct node *node,
                      const struct field *field, void *into);

struct field {
    const char *name;
    bool required;
    field_fn *read; /* `into` is the struct's start plus the offset */
    size_t offset;
    uint64_t low, high;
};

/* `what` is what errors call the map: "a property". */
bool fields_read(const struct reading *reading, const struct node *node, const char *what,
                 const struct field *fields, size_t count, void *into);

/* const char *: low to high bytes, no control characters. */
field_fn field_text;
/* uint32_t: low to high. */
field_fn field_u32;
/* bool: true or false. */
field_fn field_bool;
/* Any one line of text, without a range. */
bool field_scalar(const struct reading *reading, const struct node *node, const char *name);

/* Reads a list of at most `max` entries of `size` bytes with `read` (whose field is `field`). */
bool fields_list(const struct reading *reading, const struct node *node, const struct field *field,
                 uint32_t max, size_t size, field_fn *read, void **ret_at, uint32_t *ret_count);

/* first: [a-z]; others: [a-z0-9] and `more`; 1 to max bytes. */
bool text_is_word(const char *text, size_t max, char more);

/* Says that the arena is full. */
bool reading_full(const struct reading *reading);

#endif

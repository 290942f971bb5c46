/* SPDX-License-Identifier: Apache-2.0
 *
 * descriptor.h: what a driver says about one property of a bag, and the test of one value.
 *
 * Descriptors come from driver.yaml (manifest.h) and live in the manifest's arena. They are never
 * changed after that; any thread may read them.
 */
#ifndef SLUICE_LIFECYCLE_DESCRIPTOR_H
#define SLUICE_LIFECYCLE_DESCRIPTOR_H

#include "base/arena.h"
#include "base/shape.h"

#define DESCRIPTORS_MAX 128        /* of one bag: WIRE_PROPERTIES_MAX travel to the driver */
#define DESCRIPTOR_NAME_MAX 63     /* bytes */
#define DESCRIPTOR_KEY_MAX 127     /* bytes of a label or description key */
#define DESCRIPTOR_LENGTH_MAX 8191 /* bytes of a value; what the API takes */
#define DESCRIPTOR_LENGTH_DEFAULT 1023
#define DESCRIPTOR_CHOICES_MAX 64
#define DESCRIPTOR_WRONG_MAX 256 /* bytes of a sentence about a value, NUL included */

struct descriptor {
    const char *name;        /* [a-z][a-z0-9_]{0,62} */
    const char *label;       /* key of messages.h, "" when there is none */
    const char *description; /* likewise */
    enum sluice_property_kind kind;
    bool required;
    bool secret;
    bool has_minimum, has_maximum;
    int64_t minimum, maximum;   /* numbers only */
    uint32_t max_length;        /* bytes of UTF-8, not characters; strings only */
    const char *default_text;   /* NULL: none */
    const char *const *choices; /* one_of, as text; NULL when any value will do */
    uint32_t choice_count;
};

struct descriptors {
    const struct descriptor *at;
    uint32_t count;
};

/* "string", "number", "boolean", "date". */
const char *property_kind_name(enum sluice_property_kind kind);
bool property_kind_parse(const char *name, enum sluice_property_kind *ret);

/* NULL: no such property. */
const struct descriptor *descriptor_find(const struct descriptors *descriptors, const char *name);

/* Judges a value that is not empty. NULL: it is fine, and *ret_typed is what the wire wants
 * ("s:text", "n:42", "b:1", "d:2026-01-31"), in the arena (NULL there: no memory). Otherwise a
 * sentence in `ret_wrong` that never holds the value, since it may be a secret. */
const char *descriptor_judge(const struct descriptor *descriptor, const char *text,
                             struct arena *arena, char ret_wrong[DESCRIPTOR_WRONG_MAX],
                             const char **ret_typed);

#endif

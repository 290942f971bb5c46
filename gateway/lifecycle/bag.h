/* SPDX-License-Identifier: Apache-2.0
 *
 * bag.h: property bags: what a user gave, judged by descriptors, becomes what a driver gets.
 *
 * A value that is empty is one that was not given. Every violation is collected, so that a user
 * mends all of them at once; a violation names its property and never holds a value.
 *
 * A struct bag holds typed pairs as the wire wants them, a kind letter, a colon and the text:
 * "s:text", "n:42", "b:1", "d:2026-01-31" (enum sluice_property_kind). Defaults are filled in. The
 * secret ones are apart, since they are stored sealed.
 *
 * Everything returned lives in the arena given (or points to the descriptors' texts).
 */
#ifndef SLUICE_LIFECYCLE_BAG_H
#define SLUICE_LIFECYCLE_BAG_H

#include "base/buf.h"
#include "base/err.h"
#include "lifecycle/descriptor.h"
#include "lifecycle/messages.h"

#define BAG_VIOLATIONS_MAX 16 /* told at once; who has more has misunderstood something else */
#define BAG_RENDER_MAX (1024 * 1024) /* bytes that bag_render_json may need: max of its buf */

/* What the giver knows of a value: a command line knows nothing, JSON knows the kind. */
enum bag_kind { BAG_TEXT, BAG_STRING, BAG_NUMBER, BAG_BOOLEAN };

struct bag_value {
    const char *name;
    const char *text; /* of a number its digits, of a boolean "true" or "false" */
    enum bag_kind kind;
};

struct bag_violation {
    char field[DESCRIPTOR_NAME_MAX + 1]; /* name of the property, cut where it is too long */
    char text[DESCRIPTOR_WRONG_MAX];
};

struct bag_violations {
    uint32_t count;
    bool more; /* there were more than BAG_VIOLATIONS_MAX */
    struct bag_violation at[BAG_VIOLATIONS_MAX];
};

struct bag {
    struct text_pairs plain;
    struct text_pairs secret;
};

/* VALIDATION: *ret_violations says what is wrong, and err repeats the first one. NO_MEMORY: the
 * arena is full. *ret_violations is always set; *ret only on success. */
bool bag_validate(const struct descriptors *descriptors, const struct bag_value *values,
                  uint32_t count, struct arena *arena, struct bag *ret,
                  struct bag_violations *ret_violations, struct err *err);
/* The same for values of kind BAG_TEXT. */
bool bag_validate_pairs(const struct descriptors *descriptors, const struct text_pairs *pairs,
                        struct arena *arena, struct bag *ret, struct bag_violations *ret_violations,
                        struct err *err);
/* Applies changes to a bag (typed pairs, as struct bag has them) and judges the whole: an empty
 * value removes, so that the default holds again. With no changes it tells whether a bag suits
 * other descriptors, those of the next version. */
bool bag_update(const struct descriptors *descriptors, const struct bag *old,
                const struct text_pairs *changes, struct arena *arena, struct bag *ret,
                struct bag_violations *ret_violations, struct err *err);
/* Plain and secret together, as the driver gets them. false: no memory. */
bool bag_join(const struct bag *bag, struct arena *arena, struct text_pairs *ret);

/* The text of a typed value: "42" of "n:42", "true" of "b:1". */
const char *bag_text(const char *typed);
/* Appends the descriptors as a JSON array, labels and descriptions in the language of messages:
 * [{"name","type","required","secret","default"?,"label","description","max_length"?,"minimum"?,
 * "maximum"?,"one_of"?}]. Enough for a form that validates before it sends. */
void bag_render_json(const struct descriptors *descriptors, const struct messages *messages,
                     struct buf *buf);

#endif

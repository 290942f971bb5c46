/* SPDX-License-Identifier: Apache-2.0
 *
 * validate.h: what every request may and may not say. All report by op_violation and return false.
 */
#ifndef SLUICE_CORE_VALIDATE_H
#define SLUICE_CORE_VALIDATE_H

#include "core/engine.h"

#define LABEL_NAME_MAX 63
#define LABEL_VALUE_MAX 255

/* 1 to `max` bytes, no control characters, no '/', ':' or '@' (they separate names in references).
 */
bool valid_name(struct op *op, const char *field, const char *name, size_t max, struct err *err);
/* Names of 1 to 63 bytes of [A-Za-z0-9._/-], values of up to 255 bytes. */
bool valid_labels(struct op *op, const struct text_pairs *labels, struct err *err);
/* base with the changes applied: an empty value removes. LIMIT beyond `max` entries. */
bool pairs_merge(struct arena *arena, const struct text_pairs *base,
                 const struct text_pairs *changes, uint32_t max, struct text_pairs *ret,
                 struct err *err);
/* A copy in ascending order of name. */
bool pairs_keep(struct arena *arena, const struct text_pairs *pairs, struct text_pairs *ret);
/* PRECONDITION when the request named a revision and it is another one. */
bool revision_matches(struct op *op, uint64_t revision, struct err *err);

#endif

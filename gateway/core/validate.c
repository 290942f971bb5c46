/* SPDX-License-Identifier: Apache-2.0 */
#include "core/validate.h"

#include <string.h>

#include "base/num.h"
#include "core/engine_state.h"

bool valid_name(struct op *op, const char *field, const char *name, size_t max, struct err *err) {
    if (!text_is_name(name, max))
        return op_violation(op, err, field,
                            "must be 1 to %zu bytes of UTF-8 without control characters, '/' or "
                            "spaces at its ends",
                            max);
    if (strpbrk(name, ":@") != NULL)
        return op_violation(op, err, field, "must not contain ':' or '@'");
    return true;
}

static bool label_name_fits(const char *name) {
    size_t length =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-");
    return length > 0 && length <= LABEL_NAME_MAX && name[length] == '\0';
}

bool valid_labels(struct op *op, const struct text_pairs *labels, struct err *err) {
    for (uint32_t i = 0; i < labels->count; i++) {
        if (!label_name_fits(labels->at[i].name))
            return op_violation(op, err, "labels",
                                "the name of a label is 1 to %d of A-Z a-z 0-9 . _ / -",
                                LABEL_NAME_MAX);
        size_t length = strlen(labels->at[i].value);
        if (length > LABEL_VALUE_MAX || !text_is_utf8(labels->at[i].value, length))
            return op_violation(op, err, "labels", "the value of %s is longer than %d bytes",
                                labels->at[i].name, LABEL_VALUE_MAX);
    }
    return true;
}

bool pairs_keep(struct arena *arena, const struct text_pairs *pairs, struct text_pairs *ret) {
    struct text_pair *at = arena_array(arena, pairs->count + 1, sizeof *at);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < pairs->count; i++) {
        at[i].name = arena_strdup(arena, pairs->at[i].name);
        at[i].value = arena_strdup(arena, pairs->at[i].value);
        if (at[i].name == NULL || at[i].value == NULL)
            return false;
    }
    *ret = (struct text_pairs){at, pairs->count};
    return pairs_sort(ret);
}

bool pairs_merge(struct arena *arena, const struct text_pairs *base,
                 const struct text_pairs *changes, uint32_t max, struct text_pairs *ret,
                 struct err *err) {
    struct text_pair *at = arena_array(arena, base->count + changes->count + 1, sizeof *at);
    if (at == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the change");
    struct text_pairs merged = {at, 0};
    for (uint32_t i = 0; i < base->count; i++)
        if (pairs_get(changes, base->at[i].name) == NULL)
            at[merged.count++] = base->at[i];
    for (uint32_t i = 0; i < changes->count; i++)
        if (changes->at[i].value[0] != '\0')
            at[merged.count++] = changes->at[i];
    if (merged.count > max)
        return err_set(err, ERR_LIMIT, "more than %u entries", max);
    return pairs_keep(arena, &merged, ret) || err_set(err, ERR_NO_MEMORY, "no memory");
}

bool revision_matches(struct op *op, uint64_t revision, struct err *err) {
    if (op->state->if_match == 0 || op->state->if_match == revision)
        return true;
    return err_set(err, ERR_PRECONDITION,
                   "the object is at revision %llu now, not %llu: read it again",
                   (unsigned long long)revision, (unsigned long long)op->state->if_match);
}

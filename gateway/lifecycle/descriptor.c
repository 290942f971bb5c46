/* SPDX-License-Identifier: Apache-2.0
 *
 * descriptor.c: one value against one descriptor.
 */
#include "lifecycle/descriptor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"

static const struct {
    enum sluice_property_kind kind;
    const char *name;
} kinds[] = {
    {SLUICE_PROPERTY_STRING, "string"},
    {SLUICE_PROPERTY_NUMBER, "number"},
    {SLUICE_PROPERTY_BOOLEAN, "boolean"},
    {SLUICE_PROPERTY_DATE, "date"},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

const char *property_kind_name(enum sluice_property_kind kind) {
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "unknown";
}

bool property_kind_parse(const char *name, enum sluice_property_kind *ret) {
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *ret = kinds[i].kind;
            return true;
        }
    return false;
}

const struct descriptor *descriptor_find(const struct descriptors *descriptors, const char *name) {
    for (uint32_t i = 0; i < descriptors->count; i++)
        if (strcmp(descriptors->at[i].name, name) == 0)
            return &descriptors->at[i];
    return NULL;
}

static const char *not_a_number(const struct descriptor *descriptor, char *ret_wrong) {
    if (descriptor->has_minimum && descriptor->has_maximum)
        snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX,
                 "must be a whole number from %" PRId64 " to %" PRId64, descriptor->minimum,
                 descriptor->maximum);
    else if (descriptor->has_minimum)
        snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX, "must be a whole number of at least %" PRId64,
                 descriptor->minimum);
    else if (descriptor->has_maximum)
        snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX, "must be a whole number of at most %" PRId64,
                 descriptor->maximum);
    else
        snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX, "must be a whole number of 64 bits");
    return ret_wrong;
}

static const char *not_a_choice(const struct descriptor *descriptor, char *ret_wrong) {
    size_t used = (size_t)snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX, "must be one of");
    for (uint32_t i = 0; i < descriptor->choice_count; i++) {
        const char *choice = descriptor->choices[i];
        if (used + strlen(choice) + sizeof ": , ..." > DESCRIPTOR_WRONG_MAX) {
            snprintf(ret_wrong + used, DESCRIPTOR_WRONG_MAX - used, ", ...");
            break;
        }
        used += (size_t)snprintf(ret_wrong + used, DESCRIPTOR_WRONG_MAX - used, "%s %s",
                                 i == 0 ? ":" : ",", choice);
    }
    return ret_wrong;
}

/* NULL: `text` is one of the choices, or there are none. */
static const char *judge_choice(const struct descriptor *descriptor, const char *text,
                                char *ret_wrong) {
    if (descriptor->choices == NULL)
        return NULL;
    for (uint32_t i = 0; i < descriptor->choice_count; i++)
        if (strcmp(descriptor->choices[i], text) == 0)
            return NULL;
    return not_a_choice(descriptor, ret_wrong);
}

static const char *judge_string(const struct descriptor *descriptor, const char *text,
                                struct arena *arena, char *ret_wrong, const char **ret_typed) {
    size_t length = strnlen(text, (size_t)descriptor->max_length + 1);
    if (length > descriptor->max_length) {
        snprintf(ret_wrong, DESCRIPTOR_WRONG_MAX, "must have at most %u bytes",
                 descriptor->max_length);
        return ret_wrong;
    }
    if (!text_is_utf8(text, length))
        return "must be UTF-8";
    const char *wrong = judge_choice(descriptor, text, ret_wrong);
    if (wrong == NULL)
        *ret_typed = arena_printf(arena, "s:%s", text);
    return wrong;
}

static const char *judge_number(const struct descriptor *descriptor, const char *text,
                                struct arena *arena, char *ret_wrong, const char **ret_typed) {
    int64_t value;
    if (!num_parse_i64(text, &value) || (descriptor->has_minimum && value < descriptor->minimum) ||
        (descriptor->has_maximum && value > descriptor->maximum))
        return not_a_number(descriptor, ret_wrong);
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    const char *wrong = judge_choice(descriptor, digits, ret_wrong);
    if (wrong == NULL)
        *ret_typed = arena_printf(arena, "n:%s", digits);
    return wrong;
}

static const char *judge_boolean(const char *text, struct arena *arena, const char **ret_typed) {
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return "must be true or false";
    *ret_typed = arena_strdup(arena, yes ? "b:1" : "b:0");
    return NULL;
}

static const char *judge_date(const struct descriptor *descriptor, const char *text,
                              struct arena *arena, char *ret_wrong, const char **ret_typed) {
    int64_t seconds;
    if (!clock_parse(text, &seconds))
        return "must be a date such as 2026-01-31 or 2026-01-31T12:00:00Z";
    const char *wrong = judge_choice(descriptor, text, ret_wrong);
    if (wrong == NULL)
        *ret_typed = arena_printf(arena, "d:%s", text);
    return wrong;
}

const char *descriptor_judge(const struct descriptor *descriptor, const char *text,
                             struct arena *arena, char ret_wrong[DESCRIPTOR_WRONG_MAX],
                             const char **ret_typed) {
    switch (descriptor->kind) {
    case SLUICE_PROPERTY_STRING:
        return judge_string(descriptor, text, arena, ret_wrong, ret_typed);
    case SLUICE_PROPERTY_NUMBER:
        return judge_number(descriptor, text, arena, ret_wrong, ret_typed);
    case SLUICE_PROPERTY_BOOLEAN:
        return judge_boolean(text, arena, ret_typed);
    case SLUICE_PROPERTY_DATE:
        return judge_date(descriptor, text, arena, ret_wrong, ret_typed);
    }
    return "is of a kind that is not known here";
}

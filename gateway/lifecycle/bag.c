/* SPDX-License-Identifier: Apache-2.0
 *
 * bag.c: judging bags, and showing what they may hold.
 */
#include "lifecycle/bag.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "lifecycle/nearest.h"

struct judging {
    const struct descriptors *descriptors;
    struct arena *arena;
    struct bag_violations *violations;
    const char *given[DESCRIPTORS_MAX]; /* typed; by descriptor */
    bool seen[DESCRIPTORS_MAX];
    bool full;
};

static void violate(struct judging *judging, const char *field, const char *text) {
    struct bag_violations *violations = judging->violations;
    if (violations->count == BAG_VIOLATIONS_MAX) {
        violations->more = true;
        return;
    }
    struct bag_violation *violation = &violations->at[violations->count++];
    text_copy(violation->field, sizeof violation->field, field);
    text_copy(violation->text, sizeof violation->text, text);
}

static void unknown_name(struct judging *judging, const char *name) {
    struct nearest nearest;
    nearest_start(&nearest, name);
    for (uint32_t i = 0; i < judging->descriptors->count; i++)
        nearest_offer(&nearest, judging->descriptors->at[i].name);
    char text[DESCRIPTOR_WRONG_MAX];
    snprintf(text, sizeof text, "is not known to the driver%s%s%s",
             nearest.best != NULL ? "; did you mean " : "",
             nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "?" : "");
    violate(judging, name, text);
}

/* NULL: what JSON says about the kind fits, or nothing was said. */
static const char *judge_kind(enum bag_kind given, enum sluice_property_kind wanted) {
    if (given == BAG_TEXT)
        return NULL;
    switch (wanted) {
    case SLUICE_PROPERTY_NUMBER:
        return given == BAG_NUMBER ? NULL : "must be a number";
    case SLUICE_PROPERTY_BOOLEAN:
        return given == BAG_BOOLEAN ? NULL : "must be true or false, without quotes";
    case SLUICE_PROPERTY_STRING:
        return given == BAG_STRING ? NULL : "must be a string";
    case SLUICE_PROPERTY_DATE:
        return given == BAG_STRING ? NULL : "must be a date in a string";
    }
    return NULL;
}

static void judge_given(struct judging *judging, const struct bag_value *value) {
    const struct descriptor *descriptor = descriptor_find(judging->descriptors, value->name);
    if (descriptor == NULL) {
        unknown_name(judging, value->name);
        return;
    }
    size_t i = (size_t)(descriptor - judging->descriptors->at);
    if (judging->seen[i]) {
        violate(judging, value->name, "is given twice");
        return;
    }
    if (value->text[0] == '\0') /* as if it were not given; the same name again is no repetition */
        return;
    judging->seen[i] = true;
    char sentence[DESCRIPTOR_WRONG_MAX];
    const char *wrong = judge_kind(value->kind, descriptor->kind);
    if (wrong == NULL)
        wrong =
            descriptor_judge(descriptor, value->text, judging->arena, sentence, &judging->given[i]);
    if (wrong != NULL)
        violate(judging, value->name, wrong);
    else if (judging->given[i] == NULL)
        judging->full = true;
}

static void judge_missing(struct judging *judging, uint32_t i) {
    const struct descriptor *descriptor = &judging->descriptors->at[i];
    if (judging->seen[i])
        return;
    if (descriptor->required) {
        violate(judging, descriptor->name, "is required");
        return;
    }
    if (descriptor->default_text == NULL)
        return;
    char sentence[DESCRIPTOR_WRONG_MAX];
    const char *wrong = descriptor_judge(descriptor, descriptor->default_text, judging->arena,
                                         sentence, &judging->given[i]);
    CHECK(wrong == NULL); /* manifest_parse judged it */
    if (judging->given[i] == NULL)
        judging->full = true;
}

/* Divides what was given; false: no memory. */
static bool divide(const struct judging *judging, struct bag *ret) {
    uint32_t count = judging->descriptors->count;
    struct bag bag = {0};
    bag.plain.at = arena_array(judging->arena, (size_t)count + 1, sizeof bag.plain.at[0]);
    bag.secret.at = arena_array(judging->arena, (size_t)count + 1, sizeof bag.secret.at[0]);
    if (bag.plain.at == NULL || bag.secret.at == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (judging->given[i] == NULL)
            continue;
        const struct descriptor *descriptor = &judging->descriptors->at[i];
        struct text_pairs *pairs = descriptor->secret ? &bag.secret : &bag.plain;
        pairs->at[pairs->count++] = (struct text_pair){descriptor->name, judging->given[i]};
    }
    CHECK(pairs_sort(&bag.plain) && pairs_sort(&bag.secret));
    *ret = bag;
    return true;
}

static bool no_memory(struct err *err) {
    return err_set(err, ERR_NO_MEMORY, "the properties: there is no memory for them");
}

bool bag_validate(const struct descriptors *descriptors, const struct bag_value *values,
                  uint32_t count, struct arena *arena, struct bag *ret,
                  struct bag_violations *ret_violations, struct err *err) {
    CHECK(descriptors->count <= DESCRIPTORS_MAX);
    *ret_violations = (struct bag_violations){0};
    struct judging judging = {
        .descriptors = descriptors, .arena = arena, .violations = ret_violations};
    for (uint32_t i = 0; i < count && !ret_violations->more; i++)
        judge_given(&judging, &values[i]);
    for (uint32_t i = 0; i < descriptors->count; i++)
        judge_missing(&judging, i);
    if (ret_violations->count > 0) {
        const struct bag_violation *first = &ret_violations->at[0];
        uint32_t others = ret_violations->count - 1;
        if (others == 0)
            return err_set(err, ERR_VALIDATION, "%s %s", first->field, first->text);
        return err_set(err, ERR_VALIDATION, "%s %s, and %u other%s%s", first->field, first->text,
                       others, others == 1 ? "" : "s", ret_violations->more ? " at least" : "");
    }
    return (!judging.full && divide(&judging, ret)) || no_memory(err);
}

bool bag_validate_pairs(const struct descriptors *descriptors, const struct text_pairs *pairs,
                        struct arena *arena, struct bag *ret, struct bag_violations *ret_violations,
                        struct err *err) {
    static const struct bag nothing;
    return bag_update(descriptors, &nothing, pairs, arena, ret, ret_violations, err);
}

static bool is_changed(const struct text_pairs *changes, const char *name) {
    for (uint32_t i = 0; i < changes->count; i++) /* not every caller has sorted them */
        if (strcmp(changes->at[i].name, name) == 0)
            return true;
    return false;
}

static uint32_t take_old(const struct text_pairs *old, const struct text_pairs *changes,
                         struct bag_value *ret) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < old->count; i++)
        if (!is_changed(changes, old->at[i].name))
            ret[count++] =
                (struct bag_value){old->at[i].name, bag_text(old->at[i].value), BAG_TEXT};
    return count;
}

bool bag_update(const struct descriptors *descriptors, const struct bag *old,
                const struct text_pairs *changes, struct arena *arena, struct bag *ret,
                struct bag_violations *ret_violations, struct err *err) {
    *ret_violations = (struct bag_violations){0};
    size_t room = (size_t)old->plain.count + old->secret.count + changes->count;
    struct bag_value *values = arena_array(arena, room + 1, sizeof values[0]);
    if (values == NULL)
        return no_memory(err);
    uint32_t count = take_old(&old->plain, changes, values);
    count += take_old(&old->secret, changes, values + count);
    for (uint32_t i = 0; i < changes->count; i++) {
        const struct text_pair *change = &changes->at[i];
        bool removes = change->value[0] == '\0' && (pairs_get(&old->plain, change->name) != NULL ||
                                                    pairs_get(&old->secret, change->name) != NULL);
        if (!removes) /* also of a name that this version does not know any more */
            values[count++] = (struct bag_value){change->name, change->value, BAG_TEXT};
    }
    return bag_validate(descriptors, values, count, arena, ret, ret_violations, err);
}

bool bag_join(const struct bag *bag, struct arena *arena, struct text_pairs *ret) {
    size_t count = (size_t)bag->plain.count + bag->secret.count;
    struct text_pairs joined = {.at = arena_array(arena, count + 1, sizeof joined.at[0])};
    if (joined.at == NULL)
        return false;
    for (uint32_t i = 0; i < bag->plain.count; i++)
        joined.at[joined.count++] = bag->plain.at[i];
    for (uint32_t i = 0; i < bag->secret.count; i++)
        joined.at[joined.count++] = bag->secret.at[i];
    (void)pairs_sort(&joined); /* a bag has each name once */
    *ret = joined;
    return true;
}

const char *bag_text(const char *typed) {
    CHECK(typed[0] != '\0' && typed[1] == ':');
    if (typed[0] == 'b')
        return typed[2] == '1' ? "true" : "false";
    return typed + 2;
}

static void member(struct buf *buf, const char *name, const char *text) {
    buf_printf(buf, ",\"%s\":", name);
    json_text(buf, text);
}

static void render(const struct descriptor *descriptor, const struct messages *messages,
                   struct buf *buf) {
    buf_printf(buf, "{\"name\":");
    json_text(buf, descriptor->name);
    member(buf, "type", property_kind_name(descriptor->kind));
    buf_printf(buf, ",\"required\":%s", descriptor->required ? "true" : "false");
    buf_printf(buf, ",\"secret\":%s", descriptor->secret ? "true" : "false");
    if (descriptor->default_text != NULL)
        member(buf, "default", descriptor->default_text);
    member(buf, "label",
           messages_get(messages,
                        descriptor->label[0] != '\0' ? descriptor->label : descriptor->name));
    member(buf, "description", messages_get(messages, descriptor->description));
    if (descriptor->kind == SLUICE_PROPERTY_STRING)
        buf_printf(buf, ",\"max_length\":%u", descriptor->max_length);
    if (descriptor->has_minimum)
        buf_printf(buf, ",\"minimum\":%" PRId64, descriptor->minimum);
    if (descriptor->has_maximum)
        buf_printf(buf, ",\"maximum\":%" PRId64, descriptor->maximum);
    if (descriptor->choices != NULL) {
        buf_printf(buf, ",\"one_of\":[");
        for (uint32_t i = 0; i < descriptor->choice_count; i++) {
            if (i > 0)
                buf_put_u8(buf, ',');
            json_text(buf, descriptor->choices[i]);
        }
        buf_put_u8(buf, ']');
    }
    buf_put_u8(buf, '}');
}

void bag_render_json(const struct descriptors *descriptors, const struct messages *messages,
                     struct buf *buf) {
    buf_put_u8(buf, '[');
    for (uint32_t i = 0; i < descriptors->count; i++) {
        if (i > 0)
            buf_put_u8(buf, ',');
        render(&descriptors->at[i], messages, buf);
    }
    buf_put_u8(buf, ']');
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * properties.c: descriptors, each judged as a whole once it is read.
 */
#include "lifecycle/properties.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

static bool read_name(const struct reading *reading, const struct node *node,
                      const struct field *field, void *into) {
    if (!field_text(reading, node, field, into))
        return false;
    if (!text_is_word(node->text, DESCRIPTOR_NAME_MAX, '_'))
        return node_wrong(node, reading->file, reading->err,
                          "a property's name is a lower-case letter and then lower-case letters, "
                          "digits and '_'");
    return true;
}

static bool read_kind(const struct reading *reading, const struct node *node,
                      const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    if (!property_kind_parse(node->text, into))
        return node_wrong(node, reading->file, reading->err,
                          "%s must be string, number, boolean or date", field->name);
    return true;
}

static bool read_i64(const struct reading *reading, const struct node *node,
                     const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    if (!num_parse_i64(node->text, into))
        return node_wrong(node, reading->file, reading->err, "%s must be a whole number of 64 bits",
                          field->name);
    return true;
}

static bool read_minimum(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct descriptor *descriptor = into;
    descriptor->has_minimum = true;
    return read_i64(reading, node, field, &descriptor->minimum);
}

static bool read_maximum(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct descriptor *descriptor = into;
    descriptor->has_maximum = true;
    return read_i64(reading, node, field, &descriptor->maximum);
}

static bool read_choices(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct descriptor *descriptor = into;
    void *choices;
    if (!fields_list(reading, node, field, DESCRIPTOR_CHOICES_MAX, sizeof(char *), field_text,
                     &choices, &descriptor->choice_count))
        return false;
    if (descriptor->choice_count == 0)
        return node_wrong(node, reading->file, reading->err,
                          "%s is empty; name the values or leave it out", field->name);
    descriptor->choices = choices;
    return true;
}

#define AT(member) offsetof(struct descriptor, member)
static const struct field descriptor_fields[] = {
    {"name", true, read_name, AT(name), 1, DESCRIPTOR_NAME_MAX},
    {"label", false, field_text, AT(label), 1, DESCRIPTOR_KEY_MAX},
    {"description", false, field_text, AT(description), 1, DESCRIPTOR_KEY_MAX},
    {"type", true, read_kind, AT(kind), 0, 0},
    {"required", false, field_bool, AT(required), 0, 0},
    {"secret", false, field_bool, AT(secret), 0, 0},
    {"minimum", false, read_minimum, 0, 0, 0},
    {"maximum", false, read_maximum, 0, 0, 0},
    {"max_length", false, field_u32, AT(max_length), 1, DESCRIPTOR_LENGTH_MAX},
    {"default", false, field_text, AT(default_text), 1, DESCRIPTOR_LENGTH_MAX},
    {"one_of", false, read_choices, 0, 1, DESCRIPTOR_LENGTH_MAX},
};
#undef AT

/* Keys that mean nothing together. The place is the later key's, NULL is none. */
static bool judge_keys(const struct reading *reading, const struct node *node,
                       const struct descriptor *descriptor) {
    const struct {
        const char *key;
        bool wrong;
        const char *why;
    } rules[] = {
        {"minimum", descriptor->kind != SLUICE_PROPERTY_NUMBER, "is for numbers"},
        {"maximum", descriptor->kind != SLUICE_PROPERTY_NUMBER, "is for numbers"},
        {"maximum",
         descriptor->has_minimum && descriptor->has_maximum &&
             descriptor->minimum > descriptor->maximum,
         "is below the minimum"},
        {"max_length", descriptor->kind != SLUICE_PROPERTY_STRING, "is for strings"},
        {"one_of", descriptor->kind == SLUICE_PROPERTY_BOOLEAN, "is not for booleans"},
        {"default", descriptor->secret, "of a secret would be known to everybody"},
        {"default", descriptor->required, "is never used where the property is required"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct node *child = node_get(node, rules[i].key);
        if (child != NULL && rules[i].wrong)
            return node_key_wrong(child, reading->file, reading->err,
                                  "%s %s; leave it out or mend it", rules[i].key, rules[i].why);
    }
    return true;
}

/* Writes a value as the judge would, so that later comparisons are by text: 007 is 7. */
static bool judge_value(const struct reading *reading, const struct node *node,
                        const struct descriptor *descriptor, const char *what,
                        const char **ret_text) {
    char sentence[DESCRIPTOR_WRONG_MAX];
    const char *typed = NULL;
    const char *wrong = descriptor_judge(descriptor, *ret_text, reading->arena, sentence, &typed);
    if (wrong != NULL)
        return node_wrong(node, reading->file, reading->err, "%s %s", what, wrong);
    if (typed == NULL)
        return reading_full(reading);
    if (descriptor->kind != SLUICE_PROPERTY_BOOLEAN)
        *ret_text = typed + 2;
    return true;
}

static bool judge_values(const struct reading *reading, const struct node *node,
                         struct descriptor *descriptor) {
    const struct node *one_of = node_get(node, "one_of");
    if (one_of != NULL) {
        struct descriptor any = *descriptor;
        any.choices = NULL;
        const char **choice = (const char **)descriptor->choices;
        for (const struct node *child = one_of->first; child != NULL; child = child->next)
            if (!judge_value(reading, child, &any, "one_of", choice++))
                return false;
    }
    const struct node *given = node_get(node, "default");
    return given == NULL ||
           judge_value(reading, given, descriptor, "default", &descriptor->default_text);
}

static bool read_descriptor(const struct reading *reading, const struct node *node,
                            const struct field *field, void *into) {
    (void)field;
    struct descriptor *descriptor = into;
    *descriptor = (struct descriptor){
        .label = "", .description = "", .max_length = DESCRIPTOR_LENGTH_DEFAULT};
    return fields_read(reading, node, "a property", descriptor_fields,
                       sizeof descriptor_fields / sizeof descriptor_fields[0], descriptor) &&
           judge_keys(reading, node, descriptor) && judge_values(reading, node, descriptor);
}

bool field_descriptors(const struct reading *reading, const struct node *node,
                       const struct field *field, void *into) {
    void *at;
    struct descriptors read = {0};
    if (!fields_list(reading, node, field, DESCRIPTORS_MAX, sizeof(struct descriptor),
                     read_descriptor, &at, &read.count))
        return false;
    read.at = at;
    uint32_t i = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next, i++)
        if (descriptor_find(&read, read.at[i].name) != &read.at[i])
            return node_wrong(child, reading->file, reading->err,
                              "there is a property \"%s\" already; rename one", read.at[i].name);
    *(struct descriptors *)into = read;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * decode.c: JSON and query text to values, values to parameters.
 */
#include "http/decode.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

#define NUMBER_TEXT_SIZE 32 /* of a double with 17 digits, or of 64 bits */

void violations_add(struct violations *violations, const char *field, const char *format, ...) {
    if (violations->count == CORE_VIOLATIONS_MAX)
        return;
    struct core_violation *violation = &violations->at[violations->count++];
    text_copy(violation->field, sizeof violation->field, field);
    va_list args;
    va_start(args, format);
    vsnprintf(violation->text, sizeof violation->text, format, args);
    va_end(args);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Deeper than the maximum? Brackets in strings do not count. What is not JSON is left to the
 * parser. */
static bool too_deep(const char *text, size_t length) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DECODE_DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* jansson's own text quotes what is near, which may be a secret. */
static const char *json_cause(const json_error_t *error) {
    switch (json_error_code(error)) {
    case json_error_premature_end_of_input:
        return "the text ends too early";
    case json_error_end_of_input_expected:
        return "something follows the value";
    case json_error_invalid_utf8:
        return "it is not UTF-8";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a string has a NUL";
    case json_error_duplicate_key:
        return "a name is there twice";
    case json_error_numeric_overflow:
        return "a number is too large";
    case json_error_stack_overflow:
        return "it is nested too deeply";
    default:
        return "it is not JSON";
    }
}

bool decode_json(const void *bytes, size_t length, json_t **ret, struct err *err) {
    json_error_t error = {0};
    json_t *body;
    if (too_deep(bytes, length))
        return err_set(err, ERR_BAD_REQUEST, "the body is nested deeper than %d", DECODE_DEPTH_MAX);
    /* jansson reads over some of them. */
    if (length > 0 && memchr(bytes, '\0', length) != NULL)
        return err_set(err, ERR_BAD_REQUEST, "the body has a NUL");
    if (length == 0)
        body = json_object();
    else
        body = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
    if (body == NULL && (length == 0 || json_error_code(&error) == json_error_out_of_memory))
        return err_set(err, ERR_NO_MEMORY, "reading the body");
    if (body == NULL)
        return err_set(err, ERR_BAD_REQUEST, "the body, line %d, column %d: %s", error.line,
                       error.column, json_cause(&error));
    if (!json_is_object(body)) {
        json_decref(body);
        return err_set(err, ERR_BAD_REQUEST, "the body is not a JSON object");
    }
    *ret = body;
    return true;
}

/* ---- values that both forms share ------------------------------------------------------------ */

static bool is_one_of(const struct route_field *field, const char *text) {
    for (const char *const *one = field->one_of; one != NULL && *one != NULL; one++)
        if (strcmp(*one, text) == 0)
            return true;
    return field->one_of == NULL;
}

static void tell_choices(const struct route_field *field, struct violations *violations) {
    char list[192] = "";
    for (const char *const *one = field->one_of; *one != NULL; one++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", *one);
    }
    violations_add(violations, field->name, "must be one of: %s", list);
}

static void take_text(const struct route_field *field, const char *text, size_t length,
                      struct arena *arena, struct violations *violations, struct value *ret) {
    if (length < field->min)
        violations_add(violations, field->name, "must have at least %" PRIu64 " bytes", field->min);
    else if (length > field->max)
        violations_add(violations, field->name, "must have at most %" PRIu64 " bytes", field->max);
    else if (!is_one_of(field, text))
        tell_choices(field, violations);
    else if ((ret->text = arena_strndup(arena, text, length)) == NULL)
        violations_add(violations, field->name, "is too much together with the rest");
}

static void take_number(const struct route_field *field, uint64_t number,
                        struct violations *violations, struct value *ret) {
    if (number < field->min || number > field->max)
        violations_add(violations, field->name, "must be from %" PRIu64 " to %" PRIu64, field->min,
                       field->max);
    else
        ret->number = number;
}

static void add_pair(const struct route_field *field, const char *name, size_t name_length,
                     const char *text, size_t length, struct arena *arena,
                     struct violations *violations, struct value *ret) {
    char where[sizeof(((struct core_violation *)0)->field)];
    snprintf(where, sizeof where - 4, "%s.%.*s", field->name, (int)name_length, name);
    if (!text_is_utf8(where, strlen(where))) /* cut inside a character */
        snprintf(where, sizeof where, "%s", field->name);
    if (name_length == 0 || name_length > field->name_max) {
        violations_add(violations, where, "the name must have 1 to %" PRIu64 " bytes",
                       field->name_max);
        return;
    }
    if (length > field->value_max) {
        violations_add(violations, where, "must have at most %" PRIu64 " bytes", field->value_max);
        return;
    }
    struct text_pair *pair = &ret->pairs.at[ret->pairs.count];
    pair->name = arena_strndup(arena, name, name_length);
    pair->value = arena_strndup(arena, text, length);
    if (pair->name == NULL || pair->value == NULL)
        violations_add(violations, where, "is too much together with the rest");
    else
        ret->pairs.count++;
}

/* ---- the body -------------------------------------------------------------------------------- */

static void take_json_pair(const struct route_field *field, const char *name, json_t *json,
                           struct arena *arena, struct violations *violations, struct value *ret) {
    char number[NUMBER_TEXT_SIZE];
    const char *text = number;
    size_t length;
    if (json_is_string(json)) {
        text = json_string_value(json);
        length = json_string_length(json);
    } else if (json_is_integer(json) && !field->text_only) {
        length = (size_t)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT,
                                  json_integer_value(json));
    } else if (json_is_real(json) && !field->text_only) {
        length = (size_t)snprintf(number, sizeof number, "%.17g", json_real_value(json));
    } else if (json_is_boolean(json) && !field->text_only) {
        text = json_is_true(json) ? "true" : "false";
        length = strlen(text);
    } else {
        char where[sizeof(((struct core_violation *)0)->field)];
        char whole[512];
        snprintf(whole, sizeof whole, "%s.%.300s", field->name, name);
        text_copy(where, sizeof where, whole);
        violations_add(violations, where,
                       field->text_only ? "must be a string"
                                        : "must be a string, a number or a boolean");
        return;
    }
    add_pair(field, name, strlen(name), text, length, arena, violations, ret);
}

static void take_json_pairs(const struct route_field *field, json_t *json, struct arena *arena,
                            struct violations *violations, struct value *ret) {
    size_t count = json_object_size(json);
    if (count > field->max) {
        violations_add(violations, field->name, "must have at most %" PRIu64 " entries",
                       field->max);
        return;
    }
    ret->pairs.at = arena_array(arena, count + 1, sizeof *ret->pairs.at);
    if (ret->pairs.at == NULL) {
        violations_add(violations, field->name, "is too much together with the rest");
        return;
    }
    const char *name;
    json_t *member;
    json_object_foreach(json, name, member)
        take_json_pair(field, name, member, arena, violations, ret);
    CHECK(pairs_sort(&ret->pairs)); /* the parser refused names that are there twice */
}

static void take_json(const struct route_field *field, json_t *json, struct arena *arena,
                      struct violations *violations, struct value *ret) {
    ret->given = true;
    switch (field->kind) {
    case ROUTE_TEXT:
        if (json_is_string(json))
            take_text(field, json_string_value(json), json_string_length(json), arena, violations,
                      ret);
        else
            violations_add(violations, field->name, "must be a string");
        break;
    case ROUTE_NUMBER:
    case ROUTE_SIZE:
        if (!json_is_integer(json))
            violations_add(violations, field->name, "must be an integer");
        else if (json_integer_value(json) < 0)
            violations_add(violations, field->name, "must not be negative");
        else
            take_number(field, (uint64_t)json_integer_value(json), violations, ret);
        break;
    case ROUTE_BOOLEAN:
        if (json_is_boolean(json))
            ret->boolean = json_is_true(json);
        else
            violations_add(violations, field->name, "must be true or false");
        break;
    case ROUTE_PAIRS:
        if (json_is_object(json))
            take_json_pairs(field, json, arena, violations, ret);
        else
            violations_add(violations, field->name, "must be an object");
        break;
    case ROUTE_OBJECT:
    case ROUTE_ARRAY:
        CHECK(!"such fields are only in answers");
    }
}

static size_t find_index(const struct route_field *fields, size_t count, const char *name) {
    size_t i = 0;
    while (i < count && strcmp(fields[i].name, name) != 0)
        i++;
    return i;
}

static void tell_missing(const struct route_field *fields, size_t count,
                         struct violations *violations, const struct value *values) {
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && !values[i].given)
            violations_add(violations, fields[i].name, "is required");
}

void decode_body(const struct route_field *fields, size_t count, json_t *body, struct arena *arena,
                 struct violations *violations, struct value ret[DECODE_FIELDS_MAX]) {
    CHECK(count <= DECODE_FIELDS_MAX);
    memset(ret, 0, sizeof *ret * DECODE_FIELDS_MAX);
    const char *name;
    json_t *member;
    json_object_foreach(body, name, member) {
        size_t i = find_index(fields, count, name);
        if (i < count)
            take_json(&fields[i], member, arena, violations, &ret[i]);
        else
            violations_add(violations, name, "there is no such field");
    }
    tell_missing(fields, count, violations, ret);
}

/* ---- the query ------------------------------------------------------------------------------- */

static void take_query_pair(const struct route_field *field, const char *text, struct arena *arena,
                            struct violations *violations, struct value *ret) {
    const char *equals = strchr(text, '=');
    if (equals == NULL) {
        violations_add(violations, field->name, "must be name=value");
        return;
    }
    if (ret->pairs.at == NULL)
        ret->pairs.at = arena_array(arena, TARGET_QUERY_MAX, sizeof *ret->pairs.at);
    if (ret->pairs.at == NULL || ret->pairs.count == field->max) {
        violations_add(violations, field->name, "must have at most %" PRIu64 " entries",
                       field->max);
        return;
    }
    add_pair(field, text, (size_t)(equals - text), equals + 1, strlen(equals + 1), arena,
             violations, ret);
}

static void take_query(const struct route_field *field, const char *text, struct arena *arena,
                       struct violations *violations, struct value *ret) {
    uint64_t number;
    if (ret->given && field->kind != ROUTE_PAIRS) {
        violations_add(violations, field->name, "is there twice");
        return;
    }
    ret->given = true;
    switch (field->kind) {
    case ROUTE_TEXT:
        take_text(field, text, strlen(text), arena, violations, ret);
        break;
    case ROUTE_NUMBER:
    case ROUTE_SIZE:
        if (num_parse_u64(text, &number))
            take_number(field, number, violations, ret);
        else
            violations_add(violations, field->name, "must be an integer");
        break;
    case ROUTE_BOOLEAN:
        ret->boolean = strcmp(text, "true") == 0;
        if (!ret->boolean && strcmp(text, "false") != 0)
            violations_add(violations, field->name, "must be true or false");
        break;
    case ROUTE_PAIRS:
        take_query_pair(field, text, arena, violations, ret);
        break;
    case ROUTE_OBJECT:
    case ROUTE_ARRAY:
        CHECK(!"such fields are only in answers");
    }
}

void decode_query(const struct route_field *fields, size_t count, const struct target *target,
                  struct arena *arena, struct violations *violations,
                  struct value ret[DECODE_FIELDS_MAX]) {
    CHECK(count <= DECODE_FIELDS_MAX);
    memset(ret, 0, sizeof *ret * DECODE_FIELDS_MAX);
    for (size_t at = 0; at < target->query_count; at++) {
        size_t i = find_index(fields, count, target->query[at].name);
        if (i < count)
            take_query(&fields[i], target->query[at].value, arena, violations, &ret[i]);
        else
            violations_add(violations, target->query[at].name, "there is no such parameter");
    }
    for (size_t i = 0; i < count; i++)
        if (!pairs_sort(&ret[i].pairs))
            violations_add(violations, fields[i].name, "a name is there twice");
    tell_missing(fields, count, violations, ret);
}

/* ---- into the parameters --------------------------------------------------------------------- */

void decode_defaults(const struct shape *shape, void *params) {
    for (uint16_t i = 0; i < shape->count; i++)
        if (shape->fields[i].kind == SHAPE_TEXT)
            *(const char **)((char *)params + shape->fields[i].offset) = "";
}

static void store(const struct shape_field *field, const struct value *value, void *member) {
    switch (field->kind) {
    case SHAPE_TEXT:
        *(const char **)member = value->text;
        break;
    case SHAPE_U64:
        *(uint64_t *)member = value->number;
        break;
    case SHAPE_U32:
        *(uint32_t *)member = (uint32_t)value->number; /* the route's max is within 32 bits */
        break;
    case SHAPE_BOOL:
        *(bool *)member = value->boolean;
        break;
    case SHAPE_PAIRS:
        *(struct text_pairs *)member = value->pairs;
        break;
    default:
        CHECK(!"parameters have no fields of this kind");
    }
}

void decode_store(const struct shape *shape, const struct route_field *fields, size_t count,
                  const struct value *values, void *params) {
    for (size_t i = 0; i < count; i++) {
        if (!values[i].given)
            continue;
        for (uint16_t at = 0; at < shape->count; at++)
            if (strcmp(shape->fields[at].name, fields[i].name) == 0)
                store(&shape->fields[at], &values[i], (char *)params + shape->fields[at].offset);
    }
}

const struct value *decode_find(const struct route_field *fields, size_t count,
                                const struct value *values, const char *name) {
    size_t i = find_index(fields, count, name);
    return i < count ? &values[i] : NULL;
}

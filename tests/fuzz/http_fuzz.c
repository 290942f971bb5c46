/* SPDX-License-Identifier: Apache-2.0
 *
 * http_fuzz.c: any bytes as a request target, and as the body of any route.
 * fuzz: http core routes
 *
 * What is taken must hold what the tables promise; what is refused has a reason. The first byte
 * chooses: a target, or the route whose body it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "http/decode.h"
#include "http/target.h"

#define ARENA_MAX 1048576 /* as the server gives a request */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct target target;
static struct violations violations;
static struct value values[DECODE_FIELDS_MAX];

static void check_text(const char *text) {
    CHECK(text_is_utf8(text, strlen(text)));
    for (; *text != '\0'; text++)
        CHECK((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_values(const struct route_field *fields, size_t count) {
    for (uint32_t i = 0; i < violations.count; i++)
        CHECK(text_is_utf8(violations.at[i].field, strlen(violations.at[i].field)) &&
              violations.at[i].text[0] != '\0');
    for (size_t i = 0; violations.count == 0 && i < count; i++) {
        const struct value *value = &values[i];
        CHECK(value->given || !fields[i].required);
        if (value->text != NULL)
            CHECK(strlen(value->text) >= fields[i].min && strlen(value->text) <= fields[i].max);
        CHECK(fields[i].kind != ROUTE_PAIRS || value->pairs.count <= fields[i].max);
        for (uint32_t at = 0; at < value->pairs.count; at++)
            CHECK(strlen(value->pairs.at[at].name) <= fields[i].name_max &&
                  strlen(value->pairs.at[at].value) <= fields[i].value_max);
        if (value->given && (fields[i].kind == ROUTE_NUMBER || fields[i].kind == ROUTE_SIZE))
            CHECK(value->number >= fields[i].min && value->number <= fields[i].max);
    }
}

static void fuzz_target(const struct route *route, const uint8_t *bytes, size_t size,
                        struct arena *arena) {
    struct err err = ERR_INIT;
    char *raw = calloc(1, size + 1);
    CHECK(raw != NULL);
    memcpy(raw, bytes, size);
    if (target_parse(raw, &target, &err)) {
        for (size_t i = 0; i < target.segment_count; i++)
            check_text(target.segments[i]);
        for (size_t i = 0; i < target.query_count; i++) {
            check_text(target.query[i].name);
            check_text(target.query[i].value);
        }
        decode_query(route->query, route->query_count, &target, arena, &violations, values);
        check_values(route->query, route->query_count);
    } else {
        CHECK(err.text[0] != '\0');
    }
    free(raw);
}

static void fuzz_body(const struct route *route, const uint8_t *bytes, size_t size,
                      struct arena *arena) {
    struct err err = ERR_INIT;
    json_t *body;
    if (!decode_json(bytes, size, &body, &err)) {
        CHECK(err.code == ERR_BAD_REQUEST && err.text[0] != '\0');
        return;
    }
    decode_body(route->body, route->body_count, body, arena, &violations, values);
    json_decref(body);
    check_values(route->body, route->body_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 1)
        return 0;
    const struct route *route = &routes[(bytes[0] >> 1) % route_count];
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    violations.count = 0;
    if ((bytes[0] & 1) != 0)
        fuzz_target(route, bytes + 1, size - 1, &arena);
    else
        fuzz_body(route, bytes + 1, size - 1, &arena);
    arena_release(&arena);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * decode.h: from what a client wrote to what the core takes.
 *
 * The rim: bodies and query parameters are judged field by field, by the route's table, and all
 * that is wrong is told at once. Values live in the arena. Texts of violations never repeat a
 * value: it may be a secret.
 */
#ifndef SLUICE_HTTP_DECODE_H
#define SLUICE_HTTP_DECODE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "core/core.h"
#include "http/target.h"
#include "routes/routes.h"

#define DECODE_DEPTH_MAX 16  /* nothing in the API is deeper than 2; the parser recurses */
#define DECODE_FIELDS_MAX 16 /* of one route's body or query; the largest has 8 */

struct violations {
    uint32_t count; /* at most CORE_VIOLATIONS_MAX: more are not told */
    struct core_violation at[CORE_VIOLATIONS_MAX];
};

struct value {
    bool given;
    bool boolean;
    uint64_t number;
    const char *text; /* NULL: not given */
    struct text_pairs pairs;
};

void violations_add(struct violations *violations, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One JSON object, UTF-8, no name twice, at most DECODE_DEPTH_MAX deep; nothing at all is {}. Else
 * BAD_REQUEST with line and column. *ret belongs to the caller (json_decref). */
bool decode_json(const void *bytes, size_t length, json_t **ret, struct err *err);

/* ret[i] is for fields[i]. What is missing, unknown or unacceptable is added to the violations. */
void decode_body(const struct route_field *fields, size_t count, json_t *body, struct arena *arena,
                 struct violations *violations, struct value ret[DECODE_FIELDS_MAX]);
void decode_query(const struct route_field *fields, size_t count, const struct target *target,
                  struct arena *arena, struct violations *violations,
                  struct value ret[DECODE_FIELDS_MAX]);

/* Puts values into the members of the same name; texts that are not given become "". */
void decode_store(const struct shape *shape, const struct route_field *fields, size_t count,
                  const struct value *values, void *params);
void decode_defaults(const struct shape *shape, void *params);

/* The value of a name, NULL when there is no such field. */
const struct value *decode_find(const struct route_field *fields, size_t count,
                                const struct value *values, const char *name);

#endif

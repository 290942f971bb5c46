/* SPDX-License-Identifier: Apache-2.0
 *
 * api_page.c: docs/API.md.
 */
#include <ctype.h>
#include <string.h>

#include "pages.h"
#include "routes/routes.h"

static void put_type(FILE *out, const struct route_field *field) {
    static const char *const names[] = {
        [ROUTE_TEXT] = "text",       [ROUTE_NUMBER] = "number", [ROUTE_SIZE] = "bytes",
        [ROUTE_BOOLEAN] = "boolean", [ROUTE_PAIRS] = "map",     [ROUTE_OBJECT] = "object",
        [ROUTE_ARRAY] = "array"};
    if (field->kind == ROUTE_ARRAY && field->items[0] != '\0')
        fprintf(out, "array of %s", field->items);
    else if (field->format[0] != '\0')
        fputs(strcmp(field->format, "uuid") == 0 ? "UUID" : "time", out);
    else
        fputs(names[field->kind], out);
    if (field->nullable)
        fputs(" or null", out);
}

static void put_limits(FILE *out, const struct route_field *field) {
    unsigned long long min = field->min, max = field->max;
    if (field->one_of != NULL) {
        for (size_t i = 0; field->one_of[i] != NULL; i++)
            fprintf(out, "%s`%s`", i > 0 ? ", " : "", field->one_of[i]);
    } else if (field->kind == ROUTE_TEXT && max > 0 && min > 0) {
        fprintf(out, "%llu to %llu bytes", min, max);
    } else if (field->kind == ROUTE_TEXT && max > 0) {
        fprintf(out, "at most %llu bytes", max);
    } else if (field->kind == ROUTE_PAIRS) {
        fprintf(out, "at most %llu; names %llu, values %llu bytes", max,
                (unsigned long long)field->name_max, (unsigned long long)field->value_max);
    } else if ((field->kind == ROUTE_NUMBER || field->kind == ROUTE_SIZE) && max > UINT32_MAX) {
        fprintf(out, "from %llu", min);
    } else if (field->kind == ROUTE_NUMBER || field->kind == ROUTE_SIZE) {
        fprintf(out, "%llu to %llu", min, max);
    }
    if (field->when_absent[0] != '\0')
        fprintf(out, "; %s when left out", field->when_absent);
}

static void put_fields(FILE *out, const char *head, const struct route_field *fields,
                       size_t count) {
    if (count == 0)
        return;
    fprintf(out, "\n| %s | type | limits | |\n|---|---|---|---|\n", head);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "| %s%s%s | ", fields[i].required ? "**" : "", fields[i].name,
                fields[i].required ? "**" : "");
        put_type(out, &fields[i]);
        fputs(" | ", out);
        put_limits(out, &fields[i]);
        fputs(" | ", out);
        put_cell(out, fields[i].description);
        if (fields[i].example[0] != '\0') {
            fputs(" (`", out);
            put_cell(out, fields[i].example);
            fputs("`)", out);
        }
        fputs(" |\n", out);
    }
}

/* Anchors of headings are in lower case. */
static void put_link(FILE *out, const char *status, const char *schema) {
    fprintf(out, "%s with [%s](#", status, schema);
    for (; *schema != '\0'; schema++)
        fputc(tolower((unsigned char)*schema), out);
    fputc(')', out);
}

static void put_answer(FILE *out, const struct route *route) {
    fputs("\nAnswers ", out);
    if (route->deletes)
        fputs("204", out);
    else if (route->answer[0] != '\0')
        put_link(out, route->creates ? "201" : "200", route->answer);
    else if (route->action == ROUTE_OTHER && strcmp(route->method, "POST") == 0)
        fputs("202 with the [Operation](#operation)", out);
    else
        fputs("200 with text", out);
    if (route->action == ROUTE_SUBMIT)
        fputs(", or 202 with the [Operation](#operation) that goes on", out);
    fputs(".\n", out);
}

static void put_route(FILE *out, const struct route *route) {
    fprintf(out, "\n### `%s %s`\n\n%s.", route->method, route->path, route->summary);
    if (route->description[0] != '\0')
        fprintf(out, " %s", route->description);
    fputc('\n', out);
    if (route->permission[0] != '\0')
        fprintf(out, "Permission `%s`.", route->permission);
    else
        fputs("Everybody may ask.", out);
    if (route->operation[0] != '\0')
        fprintf(out, " Operation `%s`.", route->operation);
    if (route->cli_count > 0)
        fprintf(out, " Command `sluice %s`.", route->cli[0].words);
    fputc('\n', out);
    put_fields(out, "in the path", route->target, route->target != NULL);
    put_fields(out, "in the query", route->query, route->query_count);
    put_fields(out, "in the body", route->body, route->body_count);
    put_answer(out, route);
}

static bool is_answered(const struct route_schema *schema) {
    for (size_t i = 0; i < route_count; i++)
        if (routes[i].body == schema->fields)
            return false;
    return true;
}

static const char conventions[] =
    "\n## Headers\n\n"
    "| header | |\n|---|---|\n"
    "| `Authorization: Bearer TOKEN` | Who asks. Over the Unix socket the peer's user id counts "
    "when "
    "there is none. |\n"
    "| `Idempotency-Key` | With a change: 1 to 255 bytes of visible ASCII, remembered for 24 "
    "hours. "
    "The same key with the same request is the same change; with another request it is 422. |\n"
    "| `If-Match` | With a change: the object must still have this ETag, else 412. |\n"
    "| `Prefer: wait=N` | With a change, or with the GET of an operation: answer when the "
    "operation "
    "has ended, or after N seconds (60 at most). |\n"
    "| `Last-Event-ID` | With the stream of events: go on after this number. |\n"
    "| `ETag` | Of an answer: the object's revision. |\n"
    "| `Location` | Of an answer: URL of the new object, or of the operation that goes on. |\n"
    "| `Sluice-Operation` | Of an answer: id of the operation that made the change. |\n"
    "\n## Problems\n\n"
    "What is no success is answered with problem details (RFC 9457, `application/problem+json`), "
    "see "
    "[Problem](#problem). The codes are in [ERRORS.md](ERRORS.md). A change whose operation failed "
    "within the wait is answered with the problem of the operation, whose id is its `operation`.\n"
    "\n## Pages\n\n"
    "A list is answered in pages: `{\"items\":[...],\"next\":\"...\"}`. `next` is the `after` of "
    "the "
    "next page, and empty at the end. A page may be shorter than `limit` and still have a next "
    "one.\n";

void page_api(FILE *out) {
    fprintf(out, "# The HTTP API\n\n%s\n\n", route_description);
    fputs("What is required is set in **bold**.\n", out);
    fputs(conventions, out);
    for (size_t i = 0; i < route_tag_count; i++) {
        const char *name = route_tags[i].name;
        fprintf(out, "\n## %c%s\n\n%s\n", toupper((unsigned char)name[0]), name + 1,
                route_tags[i].description);
        for (size_t j = 0; j < route_count; j++)
            if (strcmp(routes[j].tag, name) == 0)
                put_route(out, &routes[j]);
    }
    fputs("\n## What is answered\n", out);
    for (size_t i = 0; i < route_schema_count; i++) {
        const struct route_schema *schema = &route_schemas[i];
        if (!is_answered(schema))
            continue;
        fprintf(out, "\n### %s\n", schema->name);
        put_fields(out, "member", schema->fields, schema->count);
        if (schema->open)
            fputs("\nMore members may come.\n", out);
    }
}

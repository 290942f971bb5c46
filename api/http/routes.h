/* SPDX-License-Identifier: Apache-2.0
 *
 * routes.h: openapi.yaml as tables, for the server, the command line and the documentation.
 *
 * routes.c is generated at build time by generate.c from openapi.yaml, the one description of the
 * HTTP API. What OpenAPI has no word for stands there as x- members, named with each field below.
 * No text here is NULL: what is not there is "". Everything is constant and may be read from any
 * thread.
 */
#ifndef SLUICE_API_HTTP_ROUTES_H
#define SLUICE_API_HTTP_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a value is written. In a body: JSON's own types. In a query and on the command line: text. */
enum route_kind {
    ROUTE_TEXT,    /* string; min, max: bytes */
    ROUTE_NUMBER,  /* integer; min, max */
    ROUTE_SIZE,    /* integer of bytes (x-size: true); the command line takes 10G too */
    ROUTE_BOOLEAN, /* boolean; in a query true or false */
    ROUTE_PAIRS,   /* object of strings, numbers and booleans; max: entries; in a query name=value,
                      the parameter repeated */
    ROUTE_OBJECT,  /* object of anything; only in answers */
    ROUTE_ARRAY,   /* array of `items`; only in answers */
};

struct route_field {
    const char *name;
    const char *description;
    enum route_kind kind;
    bool required;
    bool secret;    /* x-secret: may hold secrets: never echoed nor put into shell history */
    bool nullable;  /* may be null; only in answers */
    bool derived;   /* x-derived: not of the record, may be absent; only in answers */
    bool text_only; /* PAIRS: values are strings */
    uint64_t min, max;
    uint64_t name_max, value_max; /* PAIRS: bytes of an entry's name and of its value as text */
    const char *const *one_of;    /* enum: NULL-terminated, or NULL */
    const char *format;           /* "uuid", "date-time" or "" */
    const char *when_absent;      /* default, as text */
    const char *example;          /* as text; of texts, numbers and booleans only */
    const char *items;            /* ARRAY: name of the schema of its elements */
};

struct route_schema {
    const char *name;
    bool open; /* additionalProperties: more members may come */
    const struct route_field *fields;
    size_t count;
};

enum route_action {               /* x-action */
                    ROUTE_LIST,   /* core_list of `noun` */
                    ROUTE_GET,    /* core_get of `noun` */
                    ROUTE_SUBMIT, /* core_submit of `operation` */
                    ROUTE_OTHER,  /* a handler of its own, found by id */
};

/* A command: x-cli: [{words: volume clone, positional: source_snapshot name, ...}]. The first one
 * of a route is its plain form. What stands in for the path parameter comes first, then
 * `positional`. */
struct route_cli {
    const char *words;
    const char *summary;    /* the route's own unless given */
    const char *positional; /* members given by position, in order, space-separated */
    const char *columns;    /* of its table, space-separated; "": name and value, a line each */
};

struct route {
    const char *id;     /* operationId */
    const char *tag;    /* the one of `tags` */
    const char *method; /* GET, POST, PATCH, DELETE */
    const char *path;   /* /v1/volumes/{volume}/resize */
    const char *summary;
    const char *description;
    const char *permission; /* x-permission; "" for none (healthz) */
    enum route_action action;
    const char *noun;                 /* x-noun: singular, or "" */
    const char *operation;            /* x-operation: "volume.resize", or "" */
    bool creates;                     /* answers 201 with the new object */
    bool deletes;                     /* answers 204 */
    const struct route_field *target; /* the path parameter, or NULL */
    const struct route_field *query;  /* query parameters */
    size_t query_count;
    const struct route_field *body; /* members of the JSON body, flat; NULL: it takes no body */
    size_t body_count;
    const char *answer; /* name of the schema of 200 or 201, or "" */
    const struct route_cli *cli;
    size_t cli_count; /* 0: not on the command line by table */
};

struct route_tag {
    const char *name;
    const char *description;
};

extern const struct route routes[];
extern const size_t route_count;
extern const struct route_schema route_schemas[];
extern const size_t route_schema_count;
extern const struct route_tag route_tags[];
extern const size_t route_tag_count;
extern const char route_description[]; /* of the whole API */

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * routes.h: openapi.yaml as tables, for the server and for the command line.
 *
 * routes.c is generated at build time by generate.c from openapi.yaml, the one description of the HTTP
 * API. What OpenAPI has no word for stands there as x- members, named with each field below.
 * Everything is constant and may be read from any thread.
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
    ROUTE_BOOLEAN, /* boolean */
    ROUTE_PAIRS,   /* object of strings, numbers and booleans; max: entries */
};

struct route_field {
    const char *name;
    const char *description;
    enum route_kind kind;
    bool required;
    bool secret;  /* x-secret: may hold secrets: never echoed nor put into shell history */
    uint64_t min, max;
    const char *const *one_of; /* enum: NULL-terminated, or NULL */
};

enum route_action { /* x-action */
    ROUTE_LIST,   /* core_list of `noun` */
    ROUTE_GET,    /* core_get of `noun` */
    ROUTE_SUBMIT, /* core_submit of `operation` */
    ROUTE_OTHER,  /* a handler of its own, found by id */
};

struct route {
    const char *id;          /* operationId */
    const char *method;      /* GET, POST, PATCH, DELETE */
    const char *path;        /* /v1/volumes/{volume}/resize */
    const char *summary;
    const char *permission;  /* x-permission; "" for none (healthz) */
    enum route_action action;
    const char *noun;        /* x-noun: singular, or "" */
    const char *operation;   /* x-operation: "volume.resize", or "" */
    bool creates;            /* answers 201 with the new object */
    bool deletes;            /* answers 204 */
    const struct route_field *query; /* query parameters */
    size_t query_count;
    const struct route_field *body;  /* members of the JSON body, flat */
    size_t body_count;
    /* The command line: x-cli: {words: "volume resize", target: "VOLUME", columns: "id name ..."} */
    const char *cli_words;   /* "" : not on the command line by table */
    const char *cli_target;  /* what stands in for the path parameter, or "" */
    const char *cli_positional; /* body members given by position, in order, space-separated, or "" */
    const char *cli_columns; /* columns of its table, space-separated, or "" */
};

extern const struct route routes[];
extern const size_t route_count;

#endif

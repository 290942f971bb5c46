/* SPDX-License-Identifier: Apache-2.0
 *
 * router.h: which route a method and path are, by the table of api/http.
 *
 * The table is resolved once: names become roles, nouns, kinds and functions. That every name is
 * known, and that every field of a route is a field of its operation's parameters, is checked then
 * (CHECK: both tables are ours). A literal segment goes before a parameter.
 */
#ifndef SLUICE_HTTP_ROUTER_H
#define SLUICE_HTTP_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/core.h"
#include "http/target.h"
#include "routes/routes.h"

#define ROUTER_PATHS_MAX 128 /* the table has about 45 */
#define ROUTER_TEXT_MAX 64   /* a path of the table */
#define ROUTER_ALLOW_MAX 64  /* "GET, HEAD, POST, PATCH, DELETE, OPTIONS" and its NUL */

enum method { METHOD_GET, METHOD_POST, METHOD_PATCH, METHOD_DELETE, METHODS };

struct request;
typedef void endpoint_fn(struct request *request);

struct endpoint {
    const struct route *route; /* NULL: the path does not take the method */
    enum core_role role;       /* that it takes; ROLE_NONE: anybody */
    enum core_noun noun;
    enum core_kind kind;
    endpoint_fn *run;
};

struct router_path {
    char text[ROUTER_TEXT_MAX];                /* cut at its slashes */
    const char *segments[TARGET_SEGMENTS_MAX]; /* NULL: a parameter */
    size_t segment_count;
    size_t parameter; /* its index, SIZE_MAX when there is none: a route has one at most */
    struct endpoint endpoints[METHODS];
    char allow[ROUTER_ALLOW_MAX];
};

struct router {
    struct router_path paths[ROUTER_PATHS_MAX];
    size_t count;
};

/* `find` gives the function of a route, NULL when there is none. */
void router_init(struct router *router, endpoint_fn *(*find)(const struct route *route));
/* NULL: no route has this path. */
const struct router_path *router_match(const struct router *router, const struct target *target);
/* HEAD is GET. METHODS: not one of the API's. */
enum method router_method(const char *name);

#endif

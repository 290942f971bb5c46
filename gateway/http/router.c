/* SPDX-License-Identifier: Apache-2.0
 *
 * router.c: some forty paths, compared one by one: it is less than a microsecond.
 */
#include "http/router.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

static const char *const method_names[METHODS] = {"GET", "POST", "PATCH", "DELETE"};

enum method router_method(const char *name) {
    if (strcmp(name, "HEAD") == 0)
        return METHOD_GET;
    unsigned method = 0;
    while (method < METHODS && strcmp(method_names[method], name) != 0)
        method++;
    return method;
}

static void split(struct router_path *path, const char *text) {
    CHECK(text[0] == '/' && text_copy(path->text, sizeof path->text, text + 1));
    path->parameter = SIZE_MAX;
    for (char *at = path->text; at != NULL;) {
        char *slash = strchr(at, '/');
        if (slash != NULL)
            *slash++ = '\0';
        CHECK(path->segment_count < TARGET_SEGMENTS_MAX);
        if (*at == '{') {
            CHECK(path->parameter == SIZE_MAX);
            path->parameter = path->segment_count;
        }
        path->segments[path->segment_count++] = *at == '{' ? NULL : at;
        at = slash;
    }
}

static const struct shape_field *find_field(const struct shape *shape, const char *name) {
    for (uint16_t i = 0; i < shape->count; i++)
        if (strcmp(shape->fields[i].name, name) == 0)
            return &shape->fields[i];
    return NULL;
}

/* What the API takes, the operation knows; the path's parameter is the operation's target. */
static void check_submit(const struct router_path *path, const struct endpoint *endpoint) {
    const struct route *route = endpoint->route;
    const struct shape *shape = core_kind_params(endpoint->kind);
    CHECK(shape != NULL);
    CHECK((path->parameter != SIZE_MAX) == (find_field(shape, "target") != NULL));
    for (size_t i = 0; i < route->body_count; i++)
        CHECK(find_field(shape, route->body[i].name) != NULL);
    for (size_t i = 0; i < route->query_count; i++)
        CHECK(find_field(shape, route->query[i].name) != NULL);
}

static void resolve(const struct router_path *path, struct endpoint *endpoint,
                    const struct route *route, endpoint_fn *(*find)(const struct route *route)) {
    *endpoint = (struct endpoint){
        .route = route,
        .role = ROLE_NONE,
        .noun = core_noun_find(route->noun),
        .kind = core_kind_find(route->operation),
        .run = find(route),
    };
    CHECK(endpoint->run != NULL);
    if (*route->permission != '\0') {
        endpoint->role = core_permission_role(route->permission);
        CHECK(endpoint->role != ROLE_NONE);
    }
    if (route->action == ROUTE_LIST || route->action == ROUTE_GET)
        CHECK(endpoint->noun < CORE_NOUNS);
    if (route->action == ROUTE_GET)
        CHECK(path->parameter != SIZE_MAX);
    if (route->action == ROUTE_SUBMIT)
        check_submit(path, endpoint);
}

static void describe(struct router_path *path) {
    size_t used = 0;
    for (unsigned method = 0; method < METHODS; method++)
        if (path->endpoints[method].route != NULL)
            used += (size_t)snprintf(path->allow + used, sizeof path->allow - used, "%s%s, ",
                                     method_names[method], method == METHOD_GET ? ", HEAD" : "");
    snprintf(path->allow + used, sizeof path->allow - used, "OPTIONS");
}

void router_init(struct router *router, endpoint_fn *(*find)(const struct route *route)) {
    memset(router, 0, sizeof *router);
    const char *texts[ROUTER_PATHS_MAX];
    for (size_t i = 0; i < route_count; i++) {
        size_t at = 0;
        while (at < router->count && strcmp(texts[at], routes[i].path) != 0)
            at++;
        struct router_path *path = &router->paths[at];
        if (at == router->count) {
            CHECK(router->count < ROUTER_PATHS_MAX);
            texts[router->count++] = routes[i].path;
            split(path, routes[i].path);
        }
        enum method method = router_method(routes[i].method);
        CHECK(method < METHODS && path->endpoints[method].route == NULL);
        resolve(path, &path->endpoints[method], &routes[i], find);
    }
    for (size_t i = 0; i < router->count; i++)
        describe(&router->paths[i]);
}

static bool matches(const struct router_path *path, const struct target *target) {
    if (path->segment_count != target->segment_count)
        return false;
    for (size_t i = 0; i < path->segment_count; i++) {
        if (path->segments[i] == NULL) {
            if (*target->segments[i] == '\0')
                return false;
        } else if (strcmp(path->segments[i], target->segments[i]) != 0) {
            return false;
        }
    }
    return true;
}

const struct router_path *router_match(const struct router *router, const struct target *target) {
    const struct router_path *found = NULL;
    for (size_t i = 0; i < router->count; i++) {
        const struct router_path *path = &router->paths[i];
        if (!matches(path, target))
            continue;
        if (path->parameter == SIZE_MAX)
            return path;
        found = path;
    }
    return found;
}

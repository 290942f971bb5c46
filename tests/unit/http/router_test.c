/* SPDX-License-Identifier: Apache-2.0
 *
 * Every route of the table is found by its path, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/router.h"

static struct router router;
static struct target target;

static void nothing(struct request *request) {
    (void)request;
}

static endpoint_fn *find(const struct route *route) {
    (void)route;
    return nothing;
}

static int set_up(void **state) {
    (void)state;
    router_init(&router, find);
    return 0;
}

static const struct router_path *match(const char *raw) {
    struct err err = ERR_INIT;
    assert_true(target_parse(raw, &target, &err));
    return router_match(&router, &target);
}

static void test_every_route_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        char raw[TARGET_MAX];
        const struct route *route = &routes[i];
        const char *open = strchr(route->path, '{');
        snprintf(raw, sizeof raw, "%.*s%s%s",
                 (int)(open != NULL ? (size_t)(open - route->path) : strlen(route->path)),
                 route->path, open != NULL ? "some:thing" : "",
                 open != NULL ? strchr(open, '}') + 1 : "");
        const struct router_path *path = match(raw);
        assert_non_null(path);
        const struct endpoint *endpoint = &path->endpoints[router_method(route->method)];
        assert_ptr_equal(endpoint->route, route);
        assert_ptr_equal(endpoint->run, nothing);
        assert_int_equal(endpoint->role == ROLE_NONE, route->permission[0] == '\0');
        assert_non_null(strstr(path->allow, route->method));
        if (open != NULL)
            assert_string_equal(target.segments[path->parameter], "some:thing");
    }
}

static void test_a_literal_goes_before_a_parameter(void **state) {
    (void)state;
    assert_string_equal(match("/v1/drivers/plan")->endpoints[METHOD_GET].route->id, "planDrivers");
    assert_string_equal(match("/v1/drivers/ram@1.0.0")->endpoints[METHOD_GET].route->id,
                        "getDriver");
}

static void test_allow(void **state) {
    (void)state;
    assert_string_equal(match("/v1/volumes/x")->allow, "GET, HEAD, PATCH, DELETE, OPTIONS");
    assert_string_equal(match("/v1/volumes")->allow, "GET, HEAD, POST, OPTIONS");
    assert_string_equal(match("/v1/volumes/x/resize")->allow, "POST, OPTIONS");
}

static void test_nothing_else_is_found(void **state) {
    static const char *const raws[] = {
        "/",
        "/v1",
        "/v1/",
        "/v1/volumes/",
        "/v1//volumes",
        "/v2/volumes",
        "/V1/volumes",
        "/v1/Volumes",
        "/v1/volumes/x/y",
        "/v1/volumes/x/resize/",
        "/v1/volumes//resize",
        "/v1%2Fvolumes",
        "/metrics/",
        "//metrics",
        "/v1/volumes/x/y/z",
    };
    (void)state;
    for (size_t i = 0; i < sizeof raws / sizeof raws[0]; i++)
        assert_null(match(raws[i]));
    struct err err = ERR_INIT;
    assert_false(target_parse("*", &target, &err));
    assert_null(router_match(&router, &target));
}

static void test_methods(void **state) {
    (void)state;
    assert_int_equal(router_method("GET"), METHOD_GET);
    assert_int_equal(router_method("HEAD"), METHOD_GET);
    assert_int_equal(router_method("DELETE"), METHOD_DELETE);
    assert_int_equal(router_method("get"), METHODS);
    assert_int_equal(router_method("PUT"), METHODS);
    assert_int_equal(router_method(""), METHODS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route_is_found),
        cmocka_unit_test(test_a_literal_goes_before_a_parameter),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_nothing_else_is_found),
        cmocka_unit_test(test_methods),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

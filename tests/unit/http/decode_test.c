/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rim takes and refuses: JSON, fields, queries, and the way into parameters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/records.h"
#include "http/decode.h"

static struct arena arena;
static struct violations violations;
static struct value values[DECODE_FIELDS_MAX];

static int set_up(void **state) {
    (void)state;
    arena_init(&arena, 1 << 20);
    violations.count = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static const struct route *find(const char *id) {
    for (size_t i = 0; i < route_count; i++)
        if (strcmp(routes[i].id, id) == 0)
            return &routes[i];
    fail_msg("no route %s", id);
    return NULL;
}

static enum err_code json(const void *text, size_t length) {
    struct err err = ERR_INIT;
    json_t *body = NULL;
    if (decode_json(text, length, &body, &err))
        json_decref(body);
    else
        assert_null(body);
    return err.code;
}

static void test_bodies_that_are_no_objects(void **state) {
    static const char *const rows[] = {
        "[]",
        "1",
        "\"x\"",
        "null",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":1,}",
        "{\"a\":1}{",
        "{\"a\":1} x",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1e999}",
        "{\"a\":NaN}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc0\x80\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":18446744073709551616}",
        "{\"a\":\"\\x\"}",
        "\xef\xbb\xbf{}",
        " ",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(json(rows[i], strlen(rows[i])), ERR_BAD_REQUEST);
    assert_int_equal(json("{\"a\":1\0}", 8), ERR_BAD_REQUEST);
    assert_int_equal(json("{}", 2), ERR_NONE);
    assert_int_equal(json("", 0), ERR_NONE);
    assert_int_equal(json(NULL, 0), ERR_NONE);
}

static void test_depth(void **state) {
    static const char in_a_string[] = "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[\"}";
    char text[4096] = "{\"a\":";
    size_t length = strlen(text);
    (void)state;
    memset(text + length, '[', DECODE_DEPTH_MAX - 1);
    length += DECODE_DEPTH_MAX - 1;
    memset(text + length, ']', DECODE_DEPTH_MAX - 1);
    length += DECODE_DEPTH_MAX - 1;
    text[length++] = '}';
    assert_int_equal(json(text, length), ERR_NONE);
    assert_int_equal(json(in_a_string, strlen(in_a_string)), ERR_NONE);
    memset(text + 5, '[', 2000);
    assert_int_equal(json(text, 2005), ERR_BAD_REQUEST);
}

static void test_the_cause_does_not_repeat_the_body(void **state) {
    static const char text[] = "{\"password\":\"hunter2\" x}";
    struct err err = ERR_INIT;
    json_t *body;
    (void)state;
    assert_false(decode_json(text, strlen(text), &body, &err));
    assert_null(strstr(err.text, "hunter2"));
    assert_non_null(strstr(err.text, "line 1"));
}

static void body(const char *id, const char *text) {
    const struct route *route = find(id);
    struct err err = ERR_INIT;
    json_t *object;
    violations.count = 0;
    assert_true(decode_json(text, strlen(text), &object, &err));
    decode_body(route->body, route->body_count, object, &arena, &violations, values);
    json_decref(object);
}

static void test_fields(void **state) {
    static const struct {
        const char *id, *text, *field;
    } rows[] = {
        {"createVolume", "{}", "name"},
        {"createVolume", "{\"name\":\"\"}", "name"},
        {"createVolume", "{\"name\":1}", "name"},
        {"createVolume", "{\"name\":null}", "name"},
        {"createVolume", "{\"name\":\"a\",\"size_bytes\":-1}", "size_bytes"},
        {"createVolume", "{\"name\":\"a\",\"size_bytes\":1.0}", "size_bytes"},
        {"createVolume", "{\"name\":\"a\",\"size_bytes\":\"1\"}", "size_bytes"},
        {"createVolume", "{\"name\":\"a\",\"size_bytes\":true}", "size_bytes"},
        {"createVolume", "{\"name\":\"a\",\"format\":\"vmdk\"}", "format"},
        {"createVolume", "{\"name\":\"a\",\"labels\":[]}", "labels"},
        {"createVolume", "{\"name\":\"a\",\"labels\":{\"x\":1}}", "labels.x"},
        {"createVolume", "{\"name\":\"a\",\"labels\":{\"x\":{}}}", "labels.x"},
        {"createVolume", "{\"name\":\"a\",\"labels\":{\"\":\"y\"}}", "labels."},
        {"createVolume", "{\"name\":\"a\",\"nmae\":\"b\"}", "nmae"},
        {"createPool", "{\"name\":\"a\",\"driver\":\"d\",\"uid\":4294967296}", "uid"},
        {"createPool", "{\"name\":\"a\",\"driver\":\"d\",\"take_over\":1}", "take_over"},
        {"createPool", "{\"name\":\"a\",\"driver\":\"d\",\"properties\":{\"p\":[]}}",
         "properties.p"},
        {"resizeVolume", "{\"size_bytes\":0}", "size_bytes"},
        {"createToken", "{\"name\":\"a\",\"role\":\"root\"}", "role"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        body(rows[i].id, rows[i].text);
        assert_int_equal(violations.count, 1);
        assert_string_equal(violations.at[0].field, rows[i].field);
        assert_string_not_equal(violations.at[0].text, "");
    }
}

static void test_all_that_is_wrong_is_told(void **state) {
    (void)state;
    body("createVolume", "{\"size_bytes\":\"x\",\"labels\":3,\"foo\":1}");
    assert_int_equal(violations.count, 4); /* and the name is missing */
    char text[4096] = "{\"name\":\"a\"";
    size_t length = strlen(text);
    for (int i = 0; i < 40; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, ",\"x%d\":1", i);
    snprintf(text + length, sizeof text - length, "}");
    body("createVolume", text);
    assert_int_equal(violations.count, CORE_VIOLATIONS_MAX);
}

static void test_lengths(void **state) {
    char text[2048];
    char name[600];
    (void)state;
    memset(name, 'n', sizeof name);
    snprintf(text, sizeof text, "{\"name\":\"%.255s\",\"labels\":{\"%.63s\":\"%.255s\"}}", name,
             name, name);
    body("createVolume", text);
    assert_int_equal(violations.count, 0);
    snprintf(text, sizeof text,
             "{\"name\":\"%.256s\",\"labels\":{\"%.64s\":\"\",\"b\":\"%.256s\"}}", name, name,
             name);
    body("createVolume", text);
    assert_int_equal(violations.count, 3);
    char labels[4096] = "{\"name\":\"a\",\"labels\":{\"x\":\"\"";
    size_t length = strlen(labels);
    for (int i = 0; i < 32; i++)
        length += (size_t)snprintf(labels + length, sizeof labels - length, ",\"l%d\":\"\"", i);
    snprintf(labels + length, sizeof labels - length, "}}");
    body("createVolume", labels);
    assert_int_equal(violations.count, 1);
}

static void test_into_parameters(void **state) {
    const struct route *route = find("createPool");
    struct pool_create_params params;
    (void)state;
    body("createPool", "{\"name\":\"p\\u00e4\",\"driver\":\"ram\",\"uid\":7,\"take_over\":true,"
                       "\"properties\":{\"z\":true,\"a\":12,\"m\":\"t\",\"f\":0.5}}");
    assert_int_equal(violations.count, 0);
    memset(&params, 0, sizeof params);
    decode_defaults(&pool_create_params_shape, &params);
    decode_store(&pool_create_params_shape, route->body, route->body_count, values, &params);
    assert_string_equal(params.name, "p\xc3\xa4");
    assert_string_equal(params.driver_version, "");
    assert_int_equal(params.uid, 7);
    assert_true(params.take_over);
    assert_int_equal(params.properties.count, 4);
    assert_string_equal(params.properties.at[0].name, "a");
    assert_string_equal(pairs_get(&params.properties, "a"), "12");
    assert_string_equal(pairs_get(&params.properties, "f"), "0.5");
    assert_string_equal(pairs_get(&params.properties, "z"), "true");
    assert_int_equal(params.labels.count, 0);
}

static void query(const char *id, const char *raw) {
    static struct target target;
    const struct route *route = find(id);
    struct err err = ERR_INIT;
    violations.count = 0;
    assert_true(target_parse(raw, &target, &err));
    decode_query(route->query, route->query_count, &target, &arena, &violations, values);
}

static void test_queries(void **state) {
    static const struct {
        const char *raw, *field;
    } rows[] = {
        {"/?limit=0", "limit"},
        {"/?limit=501", "limit"},
        {"/?limit=1x", "limit"},
        {"/?limit=", "limit"},
        {"/?limit=-1", "limit"},
        {"/?limit=1&limit=1", "limit"},
        {"/?foo=1", "foo"},
        {"/?label=a", "label"},
        {"/?label==b", "label."},
        {"/?label=a=1&label=a=2", "label"},
        {"/?limit=99999999999999999999", "limit"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        query("listVolumes", rows[i].raw);
        assert_int_equal(violations.count, 1);
        assert_string_equal(violations.at[0].field, rows[i].field);
    }
    const struct route *route = find("listVolumes");
    query("listVolumes", "/?label=b=1&label=a=2=3&limit=500&name=x+y");
    assert_int_equal(violations.count, 0);
    const struct value *labels = decode_find(route->query, route->query_count, values, "label");
    assert_int_equal(labels->pairs.count, 2);
    assert_string_equal(labels->pairs.at[0].name, "a");
    assert_string_equal(labels->pairs.at[0].value, "2=3");
    assert_int_equal(decode_find(route->query, route->query_count, values, "limit")->number, 500);
    assert_string_equal(decode_find(route->query, route->query_count, values, "name")->text, "x y");
    assert_null(decode_find(route->query, route->query_count, values, "state")->text);
    assert_null(decode_find(route->query, route->query_count, values, "kind"));
    query("deletePool", "/?forget=true");
    assert_int_equal(violations.count, 0);
    assert_true(values[0].boolean);
    query("deletePool", "/?forget=yes");
    assert_int_equal(violations.count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bodies_that_are_no_objects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_depth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_cause_does_not_repeat_the_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fields, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_that_is_wrong_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_into_parameters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queries, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

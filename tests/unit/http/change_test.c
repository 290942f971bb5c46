/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers of a change, and the hash that tells one request from another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/change.h"

static void test_wait(void **state) {
    (void)state;
    assert_int_equal(change_wait_s(NULL), 0);
    assert_int_equal(change_wait_s(""), 0);
    assert_int_equal(change_wait_s("wait=7"), 7);
    assert_int_equal(change_wait_s("respond-async, wait=7"), 7);
    assert_int_equal(change_wait_s("return=minimal; foo, Wait=12"), 12);
    assert_int_equal(change_wait_s("wait=61"), HTTP_WAIT_MAX_S);
    assert_int_equal(change_wait_s("wait=99999999999999999999"), HTTP_WAIT_MAX_S);
    assert_int_equal(change_wait_s("wait=-1"), 0);
    assert_int_equal(change_wait_s("wait="), 0);
    assert_int_equal(change_wait_s("await=9"), 0);
    assert_int_equal(change_wait_s(",;, ,"), 0);
}

static void test_if_match(void **state) {
    static const char *const refused[] = {"7",
                                          "\"\"",
                                          "\"",
                                          "\"0\"",
                                          "\"x\"",
                                          "\"7",
                                          "7\"",
                                          "W/\"7\"",
                                          "\"7\", \"8\"",
                                          "",
                                          "\"18446744073709551616\"",
                                          "\" 7\""};
    uint64_t revision = 1;
    (void)state;
    struct err err = ERR_INIT;
    assert_true(change_if_match(NULL, &revision, &err));
    assert_int_equal(revision, 0);
    assert_true(change_if_match("*", &revision, &err));
    assert_int_equal(revision, 0);
    assert_true(change_if_match("\"7\"", &revision, &err));
    assert_int_equal(revision, 7);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        err = ERR_INIT;
        assert_false(change_if_match(refused[i], &revision, &err));
        assert_int_equal(err.code, ERR_PRECONDITION);
    }
}

static struct target target;

static void hash(const char *method, const char *raw, const char *text, unsigned char ret[32]) {
    struct err err = ERR_INIT;
    json_t *body;
    assert_true(target_parse(raw, &target, &err));
    assert_true(decode_json(text, strlen(text), &body, &err));
    change_hash(method, &target, body, ret);
    json_decref(body);
}

static void test_hash(void **state) {
    static const struct {
        const char *method, *raw, *body;
    } others[] = {
        {"PATCH", "/v1/volumes", "{\"a\":1,\"b\":\"x\"}"},
        {"POST", "/v1/volume/s", "{\"a\":1,\"b\":\"x\"}"},
        {"POST", "/v1/volumes?a", "{\"a\":1,\"b\":\"x\"}"},
        {"POST", "/v1/volumes", "{\"a\":1,\"b\":\"y\"}"},
        {"POST", "/v1/volumes", "{\"a\":\"1\",\"b\":\"x\"}"},
        {"POST", "/v1/volumes", "{\"a\":1}"},
    };
    unsigned char one[32], other[32];
    (void)state;
    hash("POST", "/v1/volumes", "{\"a\":1,\"b\":\"x\"}", one);
    hash("POST", "/v1/%76olumes", "{ \"b\" : \"\\u0078\", \"a\":1 }", other);
    assert_memory_equal(one, other, 32);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        hash(others[i].method, others[i].raw, others[i].body, other);
        assert_memory_not_equal(one, other, 32);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_if_match),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables, lines, escapes and the progress line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/progress.h"
#include "cli/render.h"

static void expect_clean(const char *text, const char *clean, size_t columns) {
    struct buf buf;
    buf_init(&buf, 4096);
    assert_int_equal(render_clean(&buf, text), columns);
    assert_string_equal(buf_text(&buf), clean);
    buf_release(&buf);
}

static void test_clean(void **state) {
    (void)state;
    expect_clean("plain", "plain", 5);
    expect_clean("\033[2J", "\\x1b[2J", 7);
    expect_clean("a\nb\x7f", "a\\x0ab\\x7f", 10);
    expect_clean("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", 4);
    expect_clean("\xc2\x9b", "\\u{9b}", 6);       /* CSI in one character */
    expect_clean("\xe2\x80\xae", "\\u{202e}", 8); /* right-to-left override */
    expect_clean("\xe2\x81\xa6", "\\u{2066}", 8); /* isolate */
    expect_clean("\xff\xc3", "\\xff\\xc3", 8);    /* no UTF-8 */
    expect_clean("\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe", 1);
}

/* What render_answer prints of some JSON. */
static char *printed(const char *schema, const char *columns, const char *text, bool quiet) {
    char *out = NULL;
    size_t length = 0;
    json_error_t error;
    json_t *answer = json_loads(text, 0, &error);
    assert_non_null(answer);
    FILE *file = open_memstream(&out, &length);
    render_answer(file, render_schema(schema), columns, answer, quiet);
    fclose(file);
    json_decref(answer);
    return out;
}

static void expect(const char *schema, const char *columns, const char *text, const char *wanted) {
    char *out = printed(schema, columns, text, false);
    assert_string_equal(out, wanted);
    free(out);
}

static void test_table(void **state) {
    (void)state;
    expect(
        "VolumePage", "name size_bytes labels id",
        "{\"items\":["
        "{\"name\":\"a\",\"size_bytes\":1536,\"labels\":{\"x\":\"1\",\"y\":\"2\"},\"id\":\"i1\"},"
        "{\"name\":\"l\\u00f6nger\\u001b\",\"size_bytes\":10737418240,\"labels\":{},\"id\":\"i2\"}"
        "],\"next\":\"\"}",
        "NAME           SIZE  LABELS   ID\n"
        "a           1.5 KiB  x=1,y=2  i1\n"
        "l\xc3\xb6nger\\x1b   10 GiB           i2\n");
    expect("Volume", "name state", "{\"name\":\"a\",\"state\":\"available\"}",
           "NAME  STATE\na     available\n");
    expect("VolumePage", "name state", "{\"items\":[],\"next\":\"\"}", "NAME  STATE\n");
    expect("DriverPlan", "position driver", "{\"steps\":[{\"position\":1,\"driver\":\"net\"}]}",
           "POSITION  DRIVER\n       1  net\n");
}

static void test_lines(void **state) {
    (void)state;
    setenv("TZ", "UTC", 1);
    expect("Pool", "",
           "{\"name\":\"p\",\"created_at\":\"2026-11-24T10:20:30.123Z\",\"updated_at\":null,"
           "\"runner\":{\"pid\":7,\"sandbox\":{\"seccomp\":true}},\"caps\":[\"clone\"]}",
           "name                  p\n"
           "created_at            2026-11-24 10:20:30\n"
           "updated_at            \n"
           "runner.pid            7\n"
           "runner.sandbox.seccomp  yes\n"
           "caps.1                clone\n");
}

static void test_quiet(void **state) {
    (void)state;
    char *out = printed("VolumePage", "name",
                        "{\"items\":[{\"id\":\"i1\"},{\"id\":\"i2\"}],\"next\":\"\"}", true);
    assert_string_equal(out, "i1\ni2\n");
    free(out);
    out = printed("Driver", "name", "{\"name\":\"ram\",\"version\":\"0.1.0\"}", true);
    assert_string_equal(out, "ram@0.1.0\n");
    free(out);
}

static void expect_line(const char *text, size_t columns, const char *wanted) {
    struct buf line;
    json_t *operation = json_loads(text, 0, NULL);
    assert_non_null(operation);
    buf_init(&line, 65536);
    progress_line(&line, operation, columns);
    assert_string_equal(buf_text(&line), wanted);
    buf_release(&line);
    json_decref(operation);
}

static void test_progress(void **state) {
    (void)state;
    expect_line("{\"kind\":\"volume.create\",\"object_name\":\"d1\",\"state\":\"running\","
                "\"done_bytes\":536870912,\"total_bytes\":1073741824,\"rate_bytes_s\":104857600,"
                "\"eta_s\":125}",
                200,
                "volume.create d1 [######------]  50%  512 MiB of 1 GiB  100 MiB/s  "
                "ETA 2 min 5 s");
    expect_line("{\"kind\":\"volume.delete\",\"object_name\":\"d1\",\"state\":\"undoing\","
                "\"step\":\"driver\",\"waiting_for\":\"the\\u001bbackend\"}",
                200, "volume.delete d1 (undoing)  waiting: the\\x1bbackend");
    /* More done than there is to do is shown as all, and a narrow terminal gets no second line. */
    expect_line("{\"kind\":\"a\",\"object_name\":\"b\",\"state\":\"running\","
                "\"done_bytes\":9,\"total_bytes\":3,\"eta_s\":null}",
                18, "a b [############]");
}

static void test_ended(void **state) {
    (void)state;
    static const struct {
        const char *state;
        bool ended;
    } rows[] = {{"running", false},
                {"undoing", false},
                {"done", true},
                {"failed", true},
                {"cancelled", true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *operation = json_pack("{s:s}", "state", rows[i].state);
        assert_int_equal(progress_has_ended(operation), rows[i].ended);
        json_decref(operation);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean), cmocka_unit_test(test_table),    cmocka_unit_test(test_lines),
        cmocka_unit_test(test_quiet), cmocka_unit_test(test_progress), cmocka_unit_test(test_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

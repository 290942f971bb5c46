/* SPDX-License-Identifier: Apache-2.0
 *
 * The stream of server-sent events, in pieces of every size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/events.h"

static char seen[4096];

static void on_event(void *arg, const char *id, const char *type, const char *json) {
    (void)arg;
    size_t length = strlen(seen);
    snprintf(seen + length, sizeof seen - length, "<%s|%s|%s>", id, type, json);
}

static const char *parsed(const char *text, size_t piece) {
    struct event_stream stream;
    seen[0] = '\0';
    event_stream_init(&stream, on_event, NULL);
    for (size_t at = 0, length = strlen(text); at < length; at += piece)
        event_stream_take(&stream, text + at, length - at < piece ? length - at : piece);
    event_stream_release(&stream);
    return seen;
}

static void test_pieces(void **state) {
    (void)state;
    static const char text[] = ":\n\nid: 7\nevent: a.b\ndata: {\"x\":1}\n\n"
                               "id: 8\r\ndata:one\r\ndata: two\r\n\r\n"
                               ": beat\n\nid: 9\rdata: z\r\rretry: 5\nunknown\n\n"
                               "id: 10\ndata: not whole\n";
    for (size_t piece = 1; piece < sizeof text; piece++)
        assert_string_equal(parsed(text, piece), "<7|a.b|{\"x\":1}><8||one\ntwo><9||z>");
}

static void test_half_event_is_forgotten(void **state) {
    (void)state;
    static const char before[] = "id: 1\ndata: a\n\nid: 2\nevent: x\ndata: b";
    static const char after[] = "id: 2\ndata: b\n\n";
    struct event_stream stream;
    seen[0] = '\0';
    event_stream_init(&stream, on_event, NULL);
    event_stream_take(&stream, before, strlen(before));
    event_stream_reset(&stream);
    assert_string_equal(stream.id, "1"); /* with which the next connection asks */
    event_stream_take(&stream, after, strlen(after));
    assert_string_equal(seen, "<1||a><2||b>");
    event_stream_release(&stream);
}

static void test_too_long(void **state) {
    (void)state;
    static const char tail[] = "\n\nid: 4\ndata: c\n\n";
    struct event_stream stream;
    char *long_text = malloc(EVENT_MAX + 100);
    assert_non_null(long_text);
    memset(long_text, 'x', EVENT_MAX + 100);
    seen[0] = '\0';
    event_stream_init(&stream, on_event, NULL);
    event_stream_take(&stream, "data: ", 6);
    event_stream_take(&stream, long_text, EVENT_MAX + 100);
    event_stream_take(&stream, tail, strlen(tail));
    assert_string_equal(seen, "<4||c>");
    assert_int_equal(stream.events, 1);
    event_stream_release(&stream);
    free(long_text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_half_event_is_forgotten),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

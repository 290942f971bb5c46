/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors: the first cause wins, text is cut at a character, rows are found, drivers cannot speak in
 * the gateway's name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include <sluice/types.h>

static void first_cause_wins(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    assert_false(err_set(&err, ERR_NO_SPACE, "%d bytes are missing", 12));
    assert_false(err_set(&err, ERR_IO, "later"));
    assert_false(err_errno(&err, ERR_SYSTEM, EIO, "later still"));
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_string_equal(err.text, "12 bytes are missing");
    assert_false(err_set(NULL, ERR_IO, "nobody wants to know"));
    assert_false(err_errno(NULL, ERR_IO, EIO, "nobody wants to know"));
}

static void errno_is_told(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    assert_false(err_errno(&err, ERR_SYSTEM, ENOENT, "opening %s", "key"));
    assert_int_equal(err.code, ERR_SYSTEM);
    assert_string_equal(err.text, "opening key: No such file or directory");
}

static void context_goes_in_front(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    err_context(&err, "nothing is wrong");
    assert_string_equal(err.text, "");
    err_set(&err, ERR_IO, "short read");
    err_context(&err, "block %d", 3);
    err_context(&err, "pool p");
    assert_string_equal(err.text, "pool p: block 3: short read");
    assert_int_equal(err.code, ERR_IO);
    err_context(NULL, "nobody");
}

/* Each length of a run of three-byte characters, around and far beyond the maximum. */
static void cut_at_a_character(void **state) {
    (void)state;
    char long_text[4 * ERR_TEXT_MAX];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_text, 'a', shift);
        size_t length = shift;
        for (; length + 4 < sizeof long_text; length += 3)
            memcpy(long_text + length, "\xe2\x82\xac", 3);
        long_text[length] = '\0';
        struct err err = ERR_INIT;
        err_set(&err, ERR_IO, "%s", long_text);
        assert_true(text_is_utf8(err.text, strlen(err.text)));
        assert_true(strlen(err.text) > ERR_TEXT_MAX - 4);
        assert_true(strlen(err.text) < ERR_TEXT_MAX);
        err_context(&err, "a%s", long_text);
        assert_true(text_is_utf8(err.text, strlen(err.text)));
        err = ERR_INIT;
        err_errno(&err, ERR_IO, EIO, "%s", long_text);
        assert_true(text_is_utf8(err.text, strlen(err.text)));
        /* Just too long for err_vset's own room: that cut falls into a character as well. */
        long_text[2 * ERR_TEXT_MAX + 1] = '\0';
        err = ERR_INIT;
        err_set(&err, ERR_IO, "%s", long_text);
        assert_true(text_is_utf8(err.text, strlen(err.text)));
    }
}

static void rows(void **state) {
    (void)state;
    assert_string_equal(err_slug(ERR_NOT_FOUND), "not-found");
    assert_int_equal(err_http(ERR_NOT_FOUND), 404);
    assert_int_equal(err_advice(ERR_BUSY), ERR_ADVICE_RETRY);
    assert_string_equal(err_advice_name(ERR_ADVICE_RETRY), "retry");
    assert_string_equal(err_advice_name(ERR_ADVICE_FIX), "fix");
    assert_string_equal(err_advice_name(ERR_ADVICE_GIVE_UP), "give-up");
    assert_string_equal(err_slug((enum err_code)4242), err_slug(ERR_INTERNAL));
    assert_string_equal(err_title((enum err_code)4242), err_title(ERR_INTERNAL));
    assert_int_equal(err_http((enum err_code) - 1), err_http(ERR_INTERNAL));
    assert_string_equal(err_slug(ERR_NONE), "none");
}

/* Slugs become URLs and numbers go over the wire: neither may be there twice. */
static void rows_are_unique_and_sane(void **state) {
    (void)state;
    static const struct {
        int number;
        int http;
        const char *slug;
        const char *title;
    } table[] = {
#define ERR(name, number, http, advice, slug, title) {number, http, slug, title},
#include "base/err.def"
#undef ERR
    };
    size_t count = sizeof table / sizeof table[0];
    for (size_t i = 0; i < count; i++) {
        assert_in_range(table[i].http, 400, 599);
        assert_true(table[i].number > 1);
        assert_true(strlen(table[i].title) > 0);
        for (const char *c = table[i].slug; *c != '\0'; c++)
            assert_true((*c >= 'a' && *c <= 'z') || *c == '-');
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(table[i].number, table[j].number);
            assert_string_not_equal(table[i].slug, table[j].slug);
        }
        assert_string_equal(err_slug((enum err_code)table[i].number), table[i].slug);
        assert_string_equal(err_title((enum err_code)table[i].number), table[i].title);
    }
}

static void from_status(void **state) {
    (void)state;
    assert_int_equal(err_from_status(SLUICE_OK), ERR_NONE);
    assert_int_equal(err_from_status(SLUICE_BUSY), ERR_BUSY);
    assert_int_equal(err_from_status(SLUICE_INTERNAL), ERR_INTERNAL);
    assert_int_equal(err_from_status(SLUICE_PENDING), ERR_INTERNAL);
    assert_int_equal(err_from_status(-1), ERR_INTERNAL);
    assert_int_equal(err_from_status(99999), ERR_INTERNAL);
    assert_int_equal(err_from_status(ERR_UNAUTHENTICATED), ERR_INTERNAL);
#define SLUICE_STATUS(name, number, advice, sentence)                             \
    if (number > SLUICE_PENDING) {                                                \
        char expected[] = #advice;                                                \
        const char *given = err_advice_name(err_advice(err_from_status(number))); \
        assert_int_equal(expected[0] + ('a' - 'A'), given[0]);                    \
    }
#include <sluice/status.def>
#undef SLUICE_STATUS
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_cause_wins),
        cmocka_unit_test(errno_is_told),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(cut_at_a_character),
        cmocka_unit_test(rows),
        cmocka_unit_test(rows_are_unique_and_sane),
        cmocka_unit_test(from_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

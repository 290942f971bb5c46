/* SPDX-License-Identifier: Apache-2.0
 *
 * The name that somebody probably meant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "lifecycle/nearest.h"

static const char *among(const char *word, const char *const *names, size_t count) {
    struct nearest nearest;
    nearest_start(&nearest, word);
    for (size_t i = 0; i < count; i++)
        nearest_offer(&nearest, names[i]);
    return nearest.best;
}

static void finds(void **state) {
    (void)state;
    static const char *const names[] = {"path", "paths", "capacity_bytes", "preallocate", "a"};
    static const struct {
        const char *word, *best;
    } rows[] = {
        {"path", "path"},
        {"pth", "path"},
        {"pathss", "paths"},
        {"psth", "path"},
        {"capacity", NULL},
        {"capacity_byte", "capacity_bytes"},
        {"Preallocate", "preallocate"},
        {"prealocate", "preallocate"},
        {"b", "a"},
        {"xyz", NULL},
        {"overcommit", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *best = among(rows[i].word, names, sizeof names / sizeof names[0]);
        if (rows[i].best == NULL)
            assert_null(best);
        else
            assert_string_equal(best, rows[i].best);
    }
}

static void the_first_of_equals(void **state) {
    (void)state;
    static const char *const names[] = {"abd", "abc", "abe"};
    assert_string_equal(among("abx", names, 3), "abd");
    assert_string_equal(among("abc", names, 3), "abc");
}

static void long_words(void **state) {
    (void)state;
    char word[1000], name[1000];
    memset(word, 'x', sizeof word);
    memset(name, 'x', sizeof name);
    word[sizeof word - 1] = '\0';
    name[NEAREST_WORD_MAX + 5] = '\0';
    const char *const names[] = {name};
    assert_ptr_equal(among(word, names, 1), name); /* what is compared is equal */
    assert_null(among("", names, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds),
        cmocka_unit_test(the_first_of_equals),
        cmocka_unit_test(long_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * One value against one descriptor, at the ends of each kind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "lifecycle/descriptor.h"

static const char *const words[] = {"fast", "safe"};
static const char *const numbers[] = {"1", "-3"};

static const struct descriptor text = {
    .name = "text", .kind = SLUICE_PROPERTY_STRING, .max_length = 4};
static const struct descriptor word = {.name = "word",
                                       .kind = SLUICE_PROPERTY_STRING,
                                       .max_length = 100,
                                       .choices = words,
                                       .choice_count = 2};
static const struct descriptor number = {.name = "number", .kind = SLUICE_PROPERTY_NUMBER};
static const struct descriptor between = {.name = "between",
                                          .kind = SLUICE_PROPERTY_NUMBER,
                                          .has_minimum = true,
                                          .has_maximum = true,
                                          .minimum = -10,
                                          .maximum = 10};
static const struct descriptor chosen = {
    .name = "chosen", .kind = SLUICE_PROPERTY_NUMBER, .choices = numbers, .choice_count = 2};
static const struct descriptor flag = {.name = "flag", .kind = SLUICE_PROPERTY_BOOLEAN};
static const struct descriptor date = {.name = "date", .kind = SLUICE_PROPERTY_DATE};

static void judged(void **state) {
    (void)state;
    static const struct {
        const struct descriptor *descriptor;
        const char *text;
        const char *typed; /* NULL: refused */
        const char *says;
    } rows[] = {
        {&text, "abcd", "s:abcd", NULL},
        {&text, "ab\xc3\xa4", "s:ab\xc3\xa4", NULL},
        {&text, "abc\xc3\xa4", NULL, "must have at most 4 bytes"},
        {&text, "abcde", NULL, "must have at most 4 bytes"},
        {&text, "a\xff", NULL, "must be UTF-8"},
        {&text, "a\nb", "s:a\nb", NULL},
        {&word, "safe", "s:safe", NULL},
        {&word, "saf", NULL, "must be one of: fast, safe"},
        {&number, "0", "n:0", NULL},
        {&number, "9223372036854775807", "n:9223372036854775807", NULL},
        {&number, "-9223372036854775808", "n:-9223372036854775808", NULL},
        {&number, "9223372036854775808", NULL, "must be a whole number of 64 bits"},
        {&number, "007", "n:7", NULL},
        {&number, "1.0", NULL, "must be a whole number of 64 bits"},
        {&number, "1e3", NULL, "must be a whole number of 64 bits"},
        {&number, " 1", NULL, "must be a whole number of 64 bits"},
        {&number, "0x10", NULL, "must be a whole number of 64 bits"},
        {&between, "-10", "n:-10", NULL},
        {&between, "10", "n:10", NULL},
        {&between, "-11", NULL, "must be a whole number from -10 to 10"},
        {&between, "11", NULL, "must be a whole number from -10 to 10"},
        {&chosen, "-03", "n:-3", NULL},
        {&chosen, "3", NULL, "must be one of: 1, -3"},
        {&flag, "true", "b:1", NULL},
        {&flag, "false", "b:0", NULL},
        {&flag, "True", NULL, "must be true or false"},
        {&flag, "1", NULL, "must be true or false"},
        {&date, "2026-01-31", "d:2026-01-31", NULL},
        {&date, "2026-01-31T12:00:00Z", "d:2026-01-31T12:00:00Z", NULL},
        {&date, "2026-01-31T12:00:00.5+02:00", "d:2026-01-31T12:00:00.5+02:00", NULL},
        {&date, "2026-02-30", NULL, "must be a date such as"},
        {&date, "31.1.2026", NULL, "must be a date such as"},
    };
    struct arena arena;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char sentence[DESCRIPTOR_WRONG_MAX];
        const char *typed = NULL;
        const char *wrong =
            descriptor_judge(rows[i].descriptor, rows[i].text, &arena, sentence, &typed);
        if (rows[i].typed != NULL) {
            assert_null(wrong);
            assert_string_equal(typed, rows[i].typed);
        } else {
            assert_null(typed);
            if (wrong == NULL || strstr(wrong, rows[i].says) != wrong)
                fail_msg("%s \"%s\": %s", rows[i].descriptor->name, rows[i].text,
                         wrong != NULL ? wrong : "taken");
        }
    }
    arena_release(&arena);
}

static void many_choices_are_cut(void **state) {
    (void)state;
    const char *choices[DESCRIPTOR_CHOICES_MAX];
    for (int i = 0; i < DESCRIPTOR_CHOICES_MAX; i++)
        choices[i] = "a-rather-long-choice";
    struct descriptor many = word;
    many.choices = choices;
    many.choice_count = DESCRIPTOR_CHOICES_MAX;
    struct arena arena;
    arena_init(&arena, 4096);
    char sentence[DESCRIPTOR_WRONG_MAX];
    const char *typed = NULL;
    const char *wrong = descriptor_judge(&many, "x", &arena, sentence, &typed);
    assert_non_null(wrong);
    assert_string_equal(wrong + strlen(wrong) - 5, ", ...");
    arena_release(&arena);
}

static void no_memory(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    char sentence[DESCRIPTOR_WRONG_MAX];
    const struct descriptor *const all[] = {&text, &number, &flag, &date};
    const char *const values[] = {"a", "1", "true", "2026-01-31"};
    for (size_t i = 0; i < 4; i++) {
        const char *typed = "";
        assert_null(descriptor_judge(all[i], values[i], &arena, sentence, &typed));
        assert_null(typed);
    }
    arena_release(&arena);
}

static void kinds(void **state) {
    (void)state;
    for (int i = SLUICE_PROPERTY_STRING; i <= SLUICE_PROPERTY_DATE; i++) {
        enum sluice_property_kind kind;
        assert_true(property_kind_parse(property_kind_name((enum sluice_property_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    enum sluice_property_kind kind = SLUICE_PROPERTY_DATE;
    assert_false(property_kind_parse("unknown", &kind));
    assert_int_equal(kind, SLUICE_PROPERTY_DATE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judged),
        cmocka_unit_test(many_choices_are_cut),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

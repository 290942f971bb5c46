/* SPDX-License-Identifier: Apache-2.0
 *
 * options_test.c: the command line of sluice-super.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "super/message.h"
#include "super/options.h"

static struct super_options options;
static struct err err;

#define PARSE(...) parse((char *[]){"sluice-super", __VA_ARGS__, NULL})
static bool parse(char **argv) {
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    err = ERR_INIT;
    return super_options_parse(argc, argv, &options, &err);
}

static void programs_stand_beside(void **state) {
    (void)state;
    char *argv[] = {"sluice-super", NULL};
    assert_true(parse(argv));
    assert_int_equal(options.sluiced[0], '/');
    assert_string_equal(strrchr(options.sluiced, '/'), "/sluiced");
    assert_string_equal(strrchr(options.runner, '/'), "/sluice-runner");
    assert_ptr_equal(options.arguments[0], options.sluiced);
    assert_null(options.arguments[1]);
    assert_int_equal(options.uid_low, SUPER_UID_LOW);
    assert_int_equal(options.uid_high, SUPER_UID_HIGH);
}

static void takes_all(void **state) {
    (void)state;
    assert_true(PARSE("--sluiced", "/bin/../bin/sh", "--runner", "/bin/cat", "--uid-range",
                      "500-600", "--", "--config", "--runner"));
    assert_null(strstr(options.sluiced, ".."));
    assert_int_equal(options.sluiced[0], '/');
    assert_int_equal(options.uid_low, 500);
    assert_int_equal(options.uid_high, 600);
    assert_string_equal(options.arguments[1], "--config");
    assert_string_equal(options.arguments[2], "--runner");
    assert_null(options.arguments[3]);
    assert_true(PARSE("--help"));
    assert_true(options.help);
}

static void refuses(void **state) {
    (void)state;
    assert_false(PARSE("--sluiced"));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_false(PARSE("--runner", "/there/is/no/such/file"));
    assert_false(PARSE("--what", "ever"));
    assert_false(PARSE("argument"));
    static char *const ranges[] = {"",
                                   "5",
                                   "-",
                                   "5-",
                                   "-5",
                                   "0-5",
                                   "600-500",
                                   "5-6-7",
                                   "a-b",
                                   " 5-6",
                                   "5- 6",
                                   "5-4294967295",
                                   "5-4294967294",
                                   "5-99999999999999999999",
                                   "00000000000000000005-6"};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        assert_false(PARSE("--uid-range", ranges[i]));
    assert_false(PARSE("--uid-range"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_stand_beside),
        cmocka_unit_test(takes_all),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

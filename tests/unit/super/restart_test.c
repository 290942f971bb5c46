/* SPDX-License-Identifier: Apache-2.0
 *
 * restart_test.c: back-off, what forgets it, and when it is given up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "super/restart.h"

static void doubles_to_the_last(void **state) {
    (void)state;
    struct super_restart restart = {0};
    static const uint32_t wanted[] = {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        uint32_t delay_ms = 0;
        assert_true(super_restart_next(&restart, SUPER_RESTART_SHORT_MS, &delay_ms));
        assert_int_equal(delay_ms, wanted[i]);
        assert_int_equal(restart.count, i + 1);
    }
}

static void a_long_life_forgets(void **state) {
    (void)state;
    struct super_restart restart = {0};
    uint32_t delay_ms;
    for (int i = 0; i < 5; i++)
        assert_true(super_restart_next(&restart, 0, &delay_ms));
    assert_true(super_restart_next(&restart, SUPER_RESTART_PROVEN_MS - 1, &delay_ms));
    assert_int_equal(delay_ms, 1600);
    assert_true(super_restart_next(&restart, SUPER_RESTART_PROVEN_MS, &delay_ms));
    assert_int_equal(delay_ms, SUPER_RESTART_FIRST_MS);
}

static void gives_up_after_many_short_lives(void **state) {
    (void)state;
    struct super_restart restart = {0};
    uint32_t delay_ms;
    for (int i = 1; i < SUPER_RESTART_SHORT_MAX; i++)
        assert_true(super_restart_next(&restart, SUPER_RESTART_SHORT_MS - 1, &delay_ms));
    struct super_restart other = restart;
    assert_false(super_restart_next(&restart, SUPER_RESTART_SHORT_MS - 1, &delay_ms));
    assert_true(super_restart_next(&other, SUPER_RESTART_SHORT_MS, &delay_ms));
    for (int i = 1; i < SUPER_RESTART_SHORT_MAX; i++)
        assert_true(super_restart_next(&other, 0, &delay_ms));
    assert_false(super_restart_next(&other, 0, &delay_ms));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_to_the_last),
        cmocka_unit_test(a_long_life_forgets),
        cmocka_unit_test(gives_up_after_many_short_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

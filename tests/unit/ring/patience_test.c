/* SPDX-License-Identifier: Apache-2.0
 *
 * patience_test.c: when a side of a ring looks before it sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ring/patience.h"

#define BUDGET_NS 50000

static void looks_again_after_each_success(void **state) {
    (void)state;
    struct patience patience = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(patience_lasts(&patience, 1));
        patience_note(&patience, true, 1000);
    }
}

/* Of so many waits that all last longer than the budget. */
static uint32_t looks_in_vain(struct patience *patience, uint32_t waits) {
    uint32_t looks = 0;
    for (uint32_t i = 0; i < waits; i++) {
        if (!patience_lasts(patience, 1))
            continue;
        looks++;
        patience_note(patience, false, BUDGET_NS);
    }
    return looks;
}

static void a_slow_backend_costs_one_look_in_64(void **state) {
    (void)state;
    struct patience patience = {0};
    assert_true(looks_in_vain(&patience, 200) >= PATIENCE_MISSES);
    assert_int_equal(looks_in_vain(&patience, 64 * 100), 100);
}

static void one_success_is_enough_to_come_back(void **state) {
    (void)state;
    struct patience patience = {0};
    looks_in_vain(&patience, 1000);
    uint32_t waits = 0;
    while (!patience_lasts(&patience, 1))
        waits++;
    assert_in_range(waits, 0, 63);
    patience_note(&patience, true, 1000);
    assert_true(patience_lasts(&patience, 1));
    patience_note(&patience, false, BUDGET_NS);
    assert_false(patience_lasts(&patience, 1));
    assert_true(patience_lasts(&patience, 1));
}

static void many_calls_are_not_looked_for(void **state) {
    (void)state;
    struct patience patience = {0};
    for (int i = 0; i < 1000; i++)
        assert_false(patience_lasts(&patience, PATIENCE_CALLS + 1));
    assert_true(patience_lasts(&patience, PATIENCE_CALLS)); /* and that was held against nobody */
}

/* What came was paid for with the time of somebody who wants the processor too. */
static void who_was_pushed_aside_sleeps_for_a_while(void **state) {
    (void)state;
    struct patience patience = {0};
    assert_true(patience_lasts(&patience, 1));
    patience_note(&patience, true, PATIENCE_CROWDED_NS);
    for (int i = 0; i < 63; i++)
        assert_false(patience_lasts(&patience, 1));
    assert_true(patience_lasts(&patience, 1));
    patience_note(&patience, true, PATIENCE_CROWDED_NS - 1);
    assert_true(patience_lasts(&patience, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_again_after_each_success),
        cmocka_unit_test(a_slow_backend_costs_one_look_in_64),
        cmocka_unit_test(one_success_is_enough_to_come_back),
        cmocka_unit_test(who_was_pushed_aside_sleeps_for_a_while),
        cmocka_unit_test(many_calls_are_not_looked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * limit.h by a clock that the test moves: so many units a second pass, whatever the step of the
 * clock is; a burst is a tenth of a second's worth; what is larger than the bucket passes, and is
 * paid for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/limit.h"

#define SECOND UINT64_C(1000000000)

/* Takes `unit` as often as it may from now_ns to until_ns, looking every step_ns. */
static uint64_t take_all(struct limit *limit, uint64_t unit, uint64_t now_ns, uint64_t until_ns,
                         uint64_t step_ns) {
    uint64_t taken = 0;
    for (; now_ns <= until_ns; now_ns += step_ns)
        while (limit_wait_ns(limit, now_ns) == 0) {
            limit_take(limit, unit);
            taken += unit;
            if (limit->rate == 0)
                return taken;
        }
    return taken;
}

static void test_rates(void **state) {
    (void)state;
    static const uint64_t rates[] = {1, 7, 100, 400, 5000, 1000000, UINT64_C(1) << 30};
    static const uint64_t steps_ns[] = {1000, 50000, 1000000, 30000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        for (size_t j = 0; j < sizeof steps_ns / sizeof steps_ns[0]; j++) {
            uint64_t unit = rates[i] / 1000 + 1;
            struct limit limit;
            limit_init(&limit, rates[i], 5 * SECOND);
            uint64_t taken = take_all(&limit, unit, 5 * SECOND, 7 * SECOND, steps_ns[j]);
            /* Two seconds, the burst, and one unit that may go into debt. */
            uint64_t most = 2 * rates[i] + rates[i] / 10 + 1 + unit;
            assert_in_range(taken, 2 * rates[i], most);
        }
}

static void test_waiting(void **state) {
    (void)state;
    struct limit limit;
    limit_init(&limit, 100, SECOND);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(limit_wait_ns(&limit, SECOND), 0);
        limit_take(&limit, 1);
    }
    uint64_t wait_ns = limit_wait_ns(&limit, SECOND);
    assert_in_range(wait_ns, 1, SECOND / 100);
    /* Who waits as long as it was told may pass; asking costs nothing. */
    assert_int_equal(limit_wait_ns(&limit, SECOND), wait_ns);
    assert_int_equal(limit_wait_ns(&limit, SECOND + wait_ns), 0);
}

static void test_larger_than_the_bucket(void **state) {
    (void)state;
    struct limit limit;
    limit_init(&limit, 1000, 0);
    assert_int_equal(limit_wait_ns(&limit, 0), 0);
    limit_take(&limit, 5000);
    uint64_t wait_ns = limit_wait_ns(&limit, 0);
    assert_in_range(wait_ns, 4 * SECOND, 5 * SECOND);
    assert_true(limit_wait_ns(&limit, 4 * SECOND) > 0);
    assert_int_equal(limit_wait_ns(&limit, wait_ns), 0);
}

static void test_a_long_pause_saves_no_more_than_a_burst(void **state) {
    (void)state;
    struct limit limit;
    limit_init(&limit, LIMIT_RATE_MAX, 0);
    uint64_t now_ns = 365 * 24 * 3600 * SECOND;
    assert_int_equal(limit_wait_ns(&limit, now_ns), 0);
    limit_take(&limit, LIMIT_RATE_MAX / 10 + 1);
    assert_true(limit_wait_ns(&limit, now_ns) > 0);
}

static void test_none(void **state) {
    (void)state;
    struct limit limit;
    limit_init(&limit, 0, 0);
    limit_take(&limit, UINT64_MAX);
    assert_int_equal(limit_wait_ns(&limit, 0), 0);
    limit_init(&limit, LIMIT_RATE_MAX + 1, 0);
    assert_int_equal(limit.rate, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_larger_than_the_bucket),
        cmocka_unit_test(test_a_long_pause_saves_no_more_than_a_burst),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Drivers: started and stopped in order, by somebody and by the gateway, at the same time too.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

/* A driver of that label comes to that state; others serve. */
static struct fake_case {
    const char *label;
    struct fake_fate fate;
} exception;

static void exceptional(void *arg, const struct runner_spec *spec, struct fake_fate *ret) {
    (void)arg;
    if (strcmp(spec->label, exception.label) == 0)
        *ret = exception.fate;
}

static void except(const char *label, enum runner_state state, enum err_code cause) {
    exception = (struct fake_case){label, {state, cause}};
    fake_runners_fate(exceptional, NULL);
}

static void scan(struct bench *bench) {
    struct driver_scan_params params = {0};
    assert_int_equal(bench_do(bench, KIND_driver_scan, &params), ERR_NONE);
}

static void assert_driver(struct bench *bench, const char *reference, const char *state) {
    char text[64];
    snprintf(text, sizeof text, "\"state\":\"%s\"", state);
    bench_assert_has(bench, CORE_DRIVER, reference, text);
}

/* base <- middle <- top, all networks, which keep their processes. */
static void make_three(struct bench *bench) {
    bench_make_archive(bench, "base", "1.0.0", "network", "");
    bench_make_archive(bench, "middle", "1.0.0", "network", "{name: base, version: \">=1.0 <2\"}");
    bench_make_archive(bench, "top", "1.0.0", "network", "{name: middle, version: \"*\"}");
}

static void test_stop_is_the_reverse_of_start(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    bench_make_pool(bench, "q");
    bench_make_pool(bench, "p");
    bench_stop(bench);
    fake_runners_reset();
    bench_start(bench);
    bench_make_volume(bench, "p", "a");
    bench_stop(bench);
    assert_string_equal(fake_runners_story(),
                        "+driver base 1.0.0 +driver middle 1.0.0 +driver top 1.0.0 "
                        "+driver mem 1.0.0 -driver mem 1.0.0 +pool p +pool q "
                        "-pool p -pool q -driver top 1.0.0 -driver middle 1.0.0 "
                        "-driver base 1.0.0");
}

static void test_what_others_require_is_not_stopped(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    scan(bench);
    bench_make_pool(bench, "p");
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "base@1.0.0"), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "mem@1.0.0"), ERR_STATE);
    /* Suspended, it still requires. */
    assert_int_equal(bench_do_to(bench, KIND_driver_suspend, "top@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "middle@1.0.0"), ERR_STATE);
    /* Where another version serves as well, one may go. */
    bench_make_archive(bench, "base", "1.2.0", "network", "");
    scan(bench);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "base@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "base@1.2.0"), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "top@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "middle@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "base@1.2.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "top@1.0.0"), ERR_DEPENDENCY);
}

static void test_a_wish_is_kept(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    scan(bench);
    bench_make_pool(bench, "p");
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "top@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_suspend, "mem@1.0.0"), ERR_NONE);
    struct volume_create_params volume = bench_volume("p", "a");
    for (int i = 0; i < 2; i++) {
        assert_driver(bench, "top@1.0.0", "stopped");
        assert_driver(bench, "mem@1.0.0", "suspended");
        assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_STATE);
        bench_stop(bench);
        bench_start(bench);
    }
    assert_int_equal(bench_do_to(bench, KIND_driver_resume, "mem@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "top@1.0.0"), ERR_NONE);
    assert_driver(bench, "top@1.0.0", "running");
}

static void test_a_stopped_driver_starts_no_pool(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    assert_int_equal(bench_do_to(bench, KIND_pool_drain, "p"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "mem@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_pool_enable, "p"), ERR_STATE);
    assert_int_equal(fake_runners_alive(), 0);
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "mem@1.0.0"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_pool_enable, "p"), ERR_NONE);
}

/* Somebody who starts a pool and somebody who stops its driver cannot both be right. */
static void test_a_pool_and_the_stop_of_its_driver_exclude_each_other(void **state) {
    struct bench *bench = *state;
    struct asked create, stop;
    struct pool_create_params pool = bench_pool("p");
    struct target_params target = {.target = "mem@1.0.0"};
    for (int first = 0; first < 2; first++) {
        if (first == 0)
            bench_submit(bench, KIND_pool_create, &pool, NULL, 0, &create);
        bench_submit(bench, KIND_driver_stop, &target, NULL, 0, &stop);
        if (first == 1)
            bench_submit(bench, KIND_pool_create, &pool, NULL, 0, &create);
        bench_run_until(bench, &create.accepted);
        bench_run_until(bench, &stop.accepted);
        assert_int_equal((first == 0 ? &stop : &create)->answer.err.code, ERR_BUSY);
        assert_int_equal(bench_outcome(bench, first == 0 ? &create : &stop).err.code, ERR_NONE);
        struct pool_delete_params gone = {.target = "p"};
        if (first == 0)
            assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    }
}

/* ---- at the same time ----------------------------------------------------------------------- */

/* The gateway waits for the driver, and so does somebody who asked: both hear of it. */
static void test_two_may_wait_for_the_same_driver(void **state) {
    struct bench *bench = *state;
    bench_make_archive(bench, "slow", "1.0.0", "network", "");
    except("driver slow 1.0.0", RUNNER_STARTING, ERR_NONE);
    struct driver_scan_params params = {0};
    struct target_params target = {.target = "slow@1.0.0"};
    struct asked scanning = bench_ask(bench, KIND_driver_scan, &params);
    bench_turns(bench, 10);
    assert_driver(bench, "slow@1.0.0", "starting");
    struct asked starting = bench_ask(bench, KIND_driver_start, &target);
    bench_turns(bench, 10);
    bench_assert_state(bench, &starting, "running");
    except("", RUNNER_SERVING, ERR_NONE);
    fake_runners_again();
    assert_int_equal(bench_outcome(bench, &starting).err.code, ERR_NONE);
    assert_int_equal(bench_outcome(bench, &scanning).err.code, ERR_NONE);
    assert_driver(bench, "slow@1.0.0", "running");
}

static void test_a_driver_may_be_stopped_while_it_starts(void **state) {
    struct bench *bench = *state;
    bench_make_archive(bench, "slow", "1.0.0", "network", "");
    bench_make_archive(bench, "zzz", "1.0.0", "network", "");
    except("driver slow 1.0.0", RUNNER_STARTING, ERR_NONE);
    struct driver_scan_params params = {0};
    struct asked scanning = bench_ask(bench, KIND_driver_scan, &params);
    bench_turns(bench, 10);
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "slow@1.0.0"), ERR_NONE);
    assert_driver(bench, "slow@1.0.0", "stopped");
    assert_int_equal(bench_outcome(bench, &scanning).err.code, ERR_NONE);
    assert_driver(bench, "zzz@1.0.0", "running");
}

static void test_a_slow_driver_holds_nobody_up(void **state) {
    struct bench *bench = *state;
    bench_make_archive(bench, "slow", "1.0.0", "network", "");
    bench_make_pool(bench, "p");
    bench_stop(bench);
    except("driver slow 1.0.0", RUNNER_STARTING, ERR_NONE);
    bench_start(bench); /* after DRIVER_SETTLE_MS */
    assert_driver(bench, "slow@1.0.0", "starting");
    bench_make_volume(bench, "p", "a");
    except("", RUNNER_SERVING, ERR_NONE);
    fake_runners_again();
    bench_turns(bench, 5);
    assert_driver(bench, "slow@1.0.0", "running");
}

static void test_closing_while_a_driver_starts(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    except("driver middle 1.0.0", RUNNER_STARTING, ERR_NONE);
    struct driver_scan_params params = {0};
    struct target_params target = {.target = "middle@1.0.0"};
    (void)bench_ask(bench, KIND_driver_scan, &params);
    bench_turns(bench, 10);
    (void)bench_ask(bench, KIND_driver_start, &target);
    bench_stop(bench);
    fake_runners_fate(NULL, NULL);
    bench_start(bench);
    assert_driver(bench, "top@1.0.0", "running");
}

/* ---- trouble -------------------------------------------------------------------------------- */

static void test_what_fails_says_why_and_takes_its_followers_along(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    except("driver base 1.0.0", RUNNER_QUARANTINED, ERR_ABI);
    scan(bench);
    assert_driver(bench, "base@1.0.0", "failed");
    bench_assert_has(bench, CORE_DRIVER, "base@1.0.0", "as the test says");
    assert_driver(bench, "middle@1.0.0", "installed");
    assert_driver(bench, "top@1.0.0", "installed");
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "base@1.0.0"), ERR_ABI);
    fake_runners_fate(NULL, NULL);
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "base@1.0.0"), ERR_NONE);
    scan(bench);
    assert_driver(bench, "top@1.0.0", "running");
}

static void test_a_running_driver_may_fail(void **state) {
    struct bench *bench = *state;
    make_three(bench);
    scan(bench);
    assert_int_equal(bench_do_to(bench, KIND_driver_suspend, "middle@1.0.0"), ERR_NONE);
    fake_runners_state(RUNNER_QUARANTINED, ERR_QUARANTINED);
    fake_runners_again();
    bench_turns(bench, 10);
    assert_driver(bench, "top@1.0.0", "failed");
    assert_driver(bench, "middle@1.0.0", "failed");
    assert_int_equal(fake_runners_alive(), 0);
}

static void test_archives_come_and_go(void **state) {
    struct bench *bench = *state;
    bench_make_archive(bench, "other", "2.0.0", "storage", "");
    scan(bench);
    assert_driver(bench, "other@2.0.0", "running");
    bench_remove_archive(bench, "other", "2.0.0");
    scan(bench);
    assert_driver(bench, "other@2.0.0", "running"); /* what runs, runs on */
    assert_int_equal(bench_do_to(bench, KIND_driver_stop, "other@2.0.0"), ERR_NONE);
    scan(bench);
    assert_driver(bench, "other@2.0.0", "removed");
    bench_stop(bench);
    bench_start(bench);
    bench_assert_absent(bench, CORE_DRIVER, "other@2.0.0");
    bench_make_archive(bench, "other", "2.0.0", "storage", "");
    scan(bench);
    assert_driver(bench, "other@2.0.0", "running");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_stop_is_the_reverse_of_start),
        BENCH(test_what_others_require_is_not_stopped),
        BENCH(test_a_wish_is_kept),
        BENCH(test_a_stopped_driver_starts_no_pool),
        BENCH(test_a_pool_and_the_stop_of_its_driver_exclude_each_other),
        BENCH(test_two_may_wait_for_the_same_driver),
        BENCH(test_a_driver_may_be_stopped_while_it_starts),
        BENCH(test_a_slow_driver_holds_nobody_up),
        BENCH(test_closing_while_a_driver_starts),
        BENCH(test_what_fails_says_why_and_takes_its_followers_along),
        BENCH(test_a_running_driver_may_fail),
        BENCH(test_archives_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

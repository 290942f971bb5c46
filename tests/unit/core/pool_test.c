/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools: made, changed, moved, drained, deleted; and backends and drivers that hang or go away.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include <sluice/driver.h>

static enum wire_number held;
static void hold(void *arg, enum wire_number number, const void *args, struct fake_answer *ret) {
    (void)arg, (void)args;
    ret->never = number == held;
}

static void hold_calls(enum wire_number number) {
    held = number;
    fake_runners_answer(hold, NULL);
}

static bool no_call_of_held(struct bench *bench) {
    (void)bench;
    return fake_runners_calls(held) == 0;
}

static struct pool_update_params change_size(const char *pool, struct text_pair *pair,
                                             const char *value) {
    *pair = (struct text_pair){"size", value};
    return (struct pool_update_params){.target = pool, .properties = {pair, 1}};
}

/* ---- made ----------------------------------------------------------------------------------- */

static void test_a_pool_that_hangs_in_opening_is_cancelled(void **state) {
    struct bench *bench = *state;
    fake_runners_state(RUNNER_STARTING, ERR_NONE);
    struct pool_create_params pool = bench_pool("p");
    struct asked asked = bench_ask(bench, KIND_pool_create, &pool);
    bench_turns(bench, 10);
    bench_assert_state(bench, &asked, "running");
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    /* Nobody serves: after a while the claim is left as it is. */
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_absent(bench, CORE_POOL, "p");
    assert_int_equal(fake_runners_alive(), 0);
}

static void test_a_pool_that_hangs_in_its_probe_is_cancelled(void **state) {
    struct bench *bench = *state;
    hold_calls(WIRE_POOL_PROBE);
    struct pool_create_params pool = bench_pool("p");
    struct asked asked = bench_ask(bench, KIND_pool_create, &pool);
    bench_run_while(bench, no_call_of_held);
    assert_int_equal(fake_runners_open_flags("pool p"), SLUICE_POOL_CLAIM);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_absent(bench, CORE_POOL, "p");
    assert_int_equal(fake_runners_calls(WIRE_POOL_RELEASE), 1);
    assert_int_equal(fake_runners_alive(), 0);
    assert_string_equal(fake_runners_story(),
                        "+driver mem 1.0.0 -driver mem 1.0.0 +pool p -pool p +pool p -pool p");
}

static void test_a_release_that_hangs_does_not_keep_the_pool(void **state) {
    struct bench *bench = *state;
    hold_calls(WIRE_POOL_PROBE);
    struct pool_create_params pool = bench_pool("p");
    struct asked asked = bench_ask(bench, KIND_pool_create, &pool);
    bench_run_while(bench, no_call_of_held);
    held = WIRE_POOL_RELEASE;
    assert_true(fake_runners_end_call(WIRE_POOL_PROBE, ERR_IO));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_IO);
    bench_assert_absent(bench, CORE_POOL, "p");
    assert_int_equal(fake_runners_alive(), 0);
}

static void test_once_made_a_pool_does_not_claim_again(void **state) {
    struct bench *bench = *state;
    struct pool_create_params pool = bench_pool("p");
    pool.take_over = true;
    assert_int_equal(bench_do(bench, KIND_pool_create, &pool), ERR_NONE);
    assert_int_equal(fake_runners_open_flags("pool p"), 0);
}

#define POOLS 20
static void test_pools_have_accounts_of_their_own(void **state) {
    struct bench *bench = *state;
    struct asked asked[POOLS];
    for (int i = 0; i < POOLS; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        struct pool_create_params pool = bench_pool(name);
        bench_submit(bench, KIND_pool_create, &pool, NULL, 0, &asked[i]);
    }
    bool taken[101] = {false};
    for (int i = 0; i < POOLS; i++) {
        char name[8];
        uint32_t uid = 60000;
        bench_run_until(bench, &asked[i].accepted);
        assert_int_equal(bench_outcome(bench, &asked[i]).err.code, ERR_NONE);
        snprintf(name, sizeof name, "p%d", i);
        for (; uid <= 60100; uid++) {
            char text[32];
            snprintf(text, sizeof text, "\"uid\":%u", uid);
            if (bench_has(bench, CORE_POOL, name, text))
                break;
        }
        assert_true(uid < 60100 && !taken[uid - 60000]); /* the last one is the drivers' */
        taken[uid - 60000] = true;
    }
}

/* ---- changed -------------------------------------------------------------------------------- */

static void test_new_properties_open_the_backend_anew(void **state) {
    struct bench *bench = *state;
    struct text_pair pair;
    bench_make_pool(bench, "p");
    struct pool_update_params update = change_size("p", &pair, "7");
    assert_int_equal(bench_do(bench, KIND_pool_update, &update), ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"size\":\"7\"");
    assert_int_equal(fake_runners_restarts(), 1);
    struct pool_update_params labels = {.target = "p", .labels = {&pair, 1}};
    assert_int_equal(bench_do(bench, KIND_pool_update, &labels), ERR_NONE);
    assert_int_equal(fake_runners_restarts(), 1);
}

static void test_properties_that_do_not_open_are_taken_back(void **state) {
    struct bench *bench = *state;
    struct text_pair pair;
    bench_make_pool(bench, "p");
    struct pool_update_params update = change_size("p", &pair, "7");
    assert_int_equal(bench_do(bench, KIND_pool_update, &update), ERR_NONE);
    update = change_size("p", &pair, "8");
    fake_runners_state(RUNNER_DOWN, ERR_ACCESS);
    assert_int_equal(bench_do(bench, KIND_pool_update, &update), ERR_ACCESS);
    bench_assert_has(bench, CORE_POOL, "p", "\"size\":\"7\"");
    fake_runners_state(RUNNER_SERVING, ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_pool_restart, "p"), ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"health\":\"serving\"");
}

static void test_a_change_that_hangs_is_cancelled(void **state) {
    struct bench *bench = *state;
    struct text_pair pair;
    bench_make_pool(bench, "p");
    fake_runners_state(RUNNER_STARTING, ERR_NONE);
    struct pool_update_params update = change_size("p", &pair, "7");
    struct asked asked = bench_ask(bench, KIND_pool_update, &update);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    bench_turns(bench, 10);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    assert_false(bench_has(bench, CORE_POOL, "p", "\"size\":\"7\""));
}

static void test_an_upgrade_moves_the_pool(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_make_archive(bench, "mem", "1.1.0", "storage", "");
    struct pool_upgrade_params upgrade = {.target = "p", .driver_version = ">=1.1"};
    assert_int_equal(bench_do(bench, KIND_pool_upgrade, &upgrade), ERR_DEPENDENCY);
    struct driver_scan_params scan = {0};
    assert_int_equal(bench_do(bench, KIND_driver_scan, &scan), ERR_NONE);
    assert_int_equal(bench_do(bench, KIND_pool_upgrade, &upgrade), ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"driver_version\":\"1.1.0\"");
    assert_string_equal(fake_runners_version("pool p"), "1.1.0");
    upgrade.driver_version = "=1.0.0";
    fake_runners_state(RUNNER_QUARANTINED, ERR_QUARANTINED);
    assert_int_equal(bench_do(bench, KIND_pool_upgrade, &upgrade), ERR_QUARANTINED);
    bench_assert_has(bench, CORE_POOL, "p", "\"driver_version\":\"1.1.0\"");
    assert_string_equal(fake_runners_version("pool p"), "1.1.0");
}

/* ---- drivers that go away ------------------------------------------------------------------- */

static void test_a_pool_whose_driver_went_away_is_upgraded(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_make_archive(bench, "mem", "1.1.0", "storage", "");
    bench_stop(bench);
    bench_remove_archive(bench, "mem", "1.0.0");
    bench_start(bench); /* it does start */
    bench_assert_has(bench, CORE_POOL, "p", "\"health\":\"down\"");
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_POOL_DOWN);
    assert_int_equal(bench_do_to(bench, KIND_driver_start, "mem@1.0.0"), ERR_NOT_FOUND);
    struct pool_upgrade_params upgrade = {.target = "p", .driver_version = ""};
    assert_int_equal(bench_do(bench, KIND_pool_upgrade, &upgrade), ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"health\":\"serving\"");
    bench_make_volume(bench, "p", "a");
}

static void test_a_driver_that_comes_back_finds_its_pool(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    for (int round = 0; round < 2; round++) {
        bench_stop(bench);
        bench_remove_archive(bench, "mem", "1.0.0");
        bench_start(bench);
        bench_assert_has(bench, CORE_POOL, "p", "\"health\":\"down\"");
        bench_make_archive(bench, "mem", "1.0.0", "storage", "");
        struct driver_scan_params scan = {0};
        assert_int_equal(bench_do(bench, KIND_driver_scan, &scan), ERR_NONE);
        bench_assert_has(bench, CORE_DRIVER, "mem@1.0.0", "\"state\":\"running\"");
    }
    char name[8] = "a";
    bench_turns(bench, 10);
    bench_make_volume(bench, "p", name);
}

/* ---- ended ---------------------------------------------------------------------------------- */

static void test_disabled_drained_enabled(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    assert_int_equal(bench_do_to(bench, KIND_pool_disable, "p"), ERR_NONE);
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_pool_drain, "p"), ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"drained\"");
    assert_int_equal(fake_runners_alive(), 0);
    bench_stop(bench);
    bench_start(bench);
    assert_int_equal(fake_runners_alive(), 0);
    fake_runners_state(RUNNER_DOWN, ERR_VANISHED);
    assert_int_equal(bench_do_to(bench, KIND_pool_enable, "p"), ERR_VANISHED);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"drained\"");
    assert_int_equal(fake_runners_alive(), 0);
    fake_runners_state(RUNNER_SERVING, ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_pool_enable, "p"), ERR_NONE);
    bench_make_volume(bench, "p", "a");
}

static void test_draining_waits_and_can_be_cancelled(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    hold_calls(WIRE_VOLUME_CREATE);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked work = bench_ask(bench, KIND_volume_create, &volume);
    struct target_params target = {.target = "p"};
    struct asked drain = bench_ask(bench, KIND_pool_drain, &target);
    bench_turns(bench, 20);
    bench_assert_state(bench, &drain, "running");
    assert_int_equal(bench_cancel(bench, &drain), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &drain).err.code, ERR_CANCELLED);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"enabled\"");
    drain = bench_ask(bench, KIND_pool_drain, &target);
    bench_stop(bench); /* and both go on */
    bench_start(bench);
    bench_run_while(bench, no_call_of_held);
    while (!fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE))
        bench_turns(bench, 1);
    assert_int_equal(bench_outcome(bench, &work).err.code, ERR_NONE);
    assert_int_equal(bench_outcome(bench, &drain).err.code, ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"drained\"");
}

static bool not_serving(struct bench *bench) {
    return !bench_has(bench, CORE_POOL, "p", "\"health\":\"serving\"");
}

static void test_a_delete_that_hangs_gives_the_pool_back(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    hold_calls(WIRE_POOL_RELEASE);
    struct pool_delete_params gone = {.target = "p"};
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_STALLED);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"enabled\"");
    fake_runners_answer(NULL, NULL);
    bench_run_while(bench, not_serving);
    bench_make_volume(bench, "p", "a");
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_pool_drain, "p"), ERR_NONE);
    /* One that does not even open. */
    fake_runners_state(RUNNER_STARTING, ERR_NONE);
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_STALLED);
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"drained\"");
    bench_turns(bench, 10);
    assert_int_equal(fake_runners_alive(), 0);
    gone.forget = true;
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    bench_assert_absent(bench, CORE_POOL, "p");
}

static void test_a_restart_at_each_state_of_a_pool(void **state) {
    struct bench *bench = *state;
    hold_calls(WIRE_POOL_PROBE);
    struct pool_create_params pool = bench_pool("p");
    struct asked asked = bench_ask(bench, KIND_pool_create, &pool);
    bench_run_while(bench, no_call_of_held);
    bench_stop(bench);
    fake_runners_answer(NULL, NULL);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    struct text_pair pair;
    struct pool_update_params update = change_size("p", &pair, "7");
    fake_runners_state(RUNNER_STARTING, ERR_NONE);
    asked = bench_ask(bench, KIND_pool_update, &update);
    bench_turns(bench, 5);
    bench_stop(bench);
    fake_runners_state(RUNNER_SERVING, ERR_NONE);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    bench_assert_has(bench, CORE_POOL, "p", "\"size\":\"7\"");
    hold_calls(WIRE_POOL_RELEASE);
    struct pool_delete_params gone = {.target = "p"};
    asked = bench_ask(bench, KIND_pool_delete, &gone);
    bench_run_while(bench, no_call_of_held);
    bench_stop(bench);
    fake_runners_answer(NULL, NULL);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    bench_assert_absent(bench, CORE_POOL, "p");
}

/* ---- told ----------------------------------------------------------------------------------- */

static void count_health(void *arg, uint64_t number, const char *type, const char *json) {
    (void)number, (void)json;
    *(uint32_t *)arg += strcmp(type, "pool.health") == 0;
}

static void test_a_driver_cannot_fill_the_catalogue(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    for (int i = 0; i < 5000; i++)
        fake_runners_tell("pool p", 2, "I feel unwell");
    bench_make_volume(bench, "p", "a");
    uint32_t count = 0;
    uint64_t last;
    struct err err = ERR_INIT;
    assert_true(core_events(bench->core, 0, 10000, count_health, &count, &last, &err));
    assert_in_range(count, 1, 60);
}

static void test_accounts_are_given_in_turn(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_assert_has(bench, CORE_POOL, "p", "\"uid\":60000");
    struct pool_delete_params gone = {.target = "p"};
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    bench_make_pool(bench, "q");
    bench_assert_has(bench, CORE_POOL, "q", "\"uid\":60001");
    bench_stop(bench);
    bench_start(bench);
    struct pool_create_params params = bench_pool("asked-for");
    params.uid = 60007;
    assert_int_equal(bench_do(bench, KIND_pool_create, &params), ERR_NONE);
    bench_make_pool(bench, "r");
    bench_assert_has(bench, CORE_POOL, "r", "\"uid\":60002");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_a_pool_that_hangs_in_opening_is_cancelled),
        BENCH(test_a_pool_that_hangs_in_its_probe_is_cancelled),
        BENCH(test_a_release_that_hangs_does_not_keep_the_pool),
        BENCH(test_once_made_a_pool_does_not_claim_again),
        BENCH(test_pools_have_accounts_of_their_own),
        BENCH(test_new_properties_open_the_backend_anew),
        BENCH(test_properties_that_do_not_open_are_taken_back),
        BENCH(test_a_change_that_hangs_is_cancelled),
        BENCH(test_an_upgrade_moves_the_pool),
        BENCH(test_a_pool_whose_driver_went_away_is_upgraded),
        BENCH(test_a_driver_that_comes_back_finds_its_pool),
        BENCH(test_disabled_drained_enabled),
        BENCH(test_draining_waits_and_can_be_cancelled),
        BENCH(test_a_delete_that_hangs_gives_the_pool_back),
        BENCH(test_a_restart_at_each_state_of_a_pool),
        BENCH(test_a_driver_cannot_fill_the_catalogue),
        BENCH(test_accounts_are_given_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

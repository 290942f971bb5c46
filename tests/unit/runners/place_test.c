/* SPDX-License-Identifier: Apache-2.0
 *
 * place_test.c: states, deaths, back-off, quarantine, poison, stop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

#define RUNNER_ANSWERED 80 /* three times that is more than a turn takes, less than the window */

static const struct runner_policy quick = {.backoff_first_ms = 10, .backoff_last_ms = 40};

static void expect_states(const struct world *world, const enum runner_state *states, int count) {
    assert_int_equal(world->state_count, count);
    for (int i = 0; i < count; i++)
        assert_string_equal(runner_state_name(world->states[i]), runner_state_name(states[i]));
}

static void serves_and_stops(void **state) {
    (void)state;
    struct world world;
    struct asked good, bad, pending, late;
    world_begin(&world, NULL);
    world_start(&world);
    assert_int_equal(world_state(&world), RUNNER_STARTING);
    world_ask(&world, "early", &good); /* waits until somebody serves */
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_ask(&world, "fail", &bad);
    world_ask(&world, "pend", &pending);
    UNTIL(&world, pending.answers == 1);
    assert_int_equal(good.answers, 1);
    assert_int_equal(good.reply.err.code, ERR_NONE);
    assert_true(good.had_result);
    assert_int_equal(bad.answers, 1);
    assert_int_equal(bad.reply.err.code, ERR_NO_SPACE);
    assert_string_equal(bad.reply.err.text, "the disk is full");
    assert_false(bad.had_result);
    assert_true(pending.reply.pending);
    assert_int_equal(pending.reply.retry_after_ms, 10);
    assert_int_equal(pending.reply.done, 5);
    assert_int_equal(pending.reply.total, 9);

    struct runner_status status = world_status(&world);
    assert_true(status.pid > 0);
    assert_int_equal(status.calls, 0);
    assert_int_equal(status.calls_total, 3);
    assert_int_equal(status.deaths, 0);
    assert_non_null(status.loaded);
    assert_int_equal(status.loaded->threads, SLUICE_THREADS_SERIAL);
    assert_non_null(status.pool);
    assert_int_equal(status.pool->caps, 5);
    pid_t pid = status.pid;

    world.release_when_stopped = false;
    world_stop(&world);
    assert_int_equal(world_state(&world), RUNNER_STOPPING);
    world_ask(&world, "late", &late);
    UNTIL(&world, world.stopped == 1);
    UNTIL(&world, late.answers == 1);
    assert_int_equal(late.reply.err.code, ERR_STOPPING);
    assert_true(play_ends(pid));
    static const enum runner_state states[] = {RUNNER_OPENING, RUNNER_SERVING, RUNNER_STOPPING,
                                               RUNNER_STOPPED};
    expect_states(&world, states, 4);
    runner_release(world.runner);
    world.runner = NULL;
    world_end(&world);
}

static void a_driver_without_a_pool_serves_when_loaded(void **state) {
    (void)state;
    struct world world;
    struct asked asked = {.world = &world, .no_volume = true};
    world_begin(&world, NULL);
    world.no_pool = true;
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    runner_call(world.runner, WIRE_CONFIGURE, &(struct wire_configure){0}, world_on_reply, &asked);
    UNTIL(&world, asked.answers == 1);
    assert_int_equal(asked.reply.err.code, ERR_NONE);
    assert_true(asked.had_result);
    assert_null(world_status(&world).pool);
    world_end(&world);
}

static void calls_go_to_the_successor_in_order(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "die-once", "c", "d", "answer-and-die-once", "e"};
    enum { COUNT = sizeof names / sizeof names[0] };
    struct world world;
    struct asked asked[COUNT];
    char calls[512];
    world_begin(&world, &quick);
    world_start(&world);
    for (int i = 0; i < COUNT; i++)
        world_ask(&world, names[i], &asked[i]);
    UNTIL(&world, asked[COUNT - 1].answers == 1);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(asked[i].answers, 1);
        assert_int_equal(asked[i].reply.err.code, ERR_NONE);
        assert_int_equal(asked[i].order, asked[0].order + i);
    }
    assert_int_equal(world_status(&world).deaths, 1);
    assert_string_equal(world_status(&world).last_words, "process 1\nended by die\n");
    world_read(&world, "calls", calls, sizeof calls);
    assert_string_equal(calls, "1:a\n1:b\n1:die-once\n"
                               "2:die-once\n2:c\n2:d\n2:answer-and-die-once\n2:e\n");
    world_end(&world);
}

/* More answers than one turn takes are in the socket when the process is gone; with a call that it
 * did not read, which resets the socket, and without. */
static void answered_before_the_end(bool reset) {
    enum { COUNT = 3 * RUNNER_ANSWERED };
    static struct asked asked[COUNT];
    struct asked last;
    struct world world;
    char calls[8192];
    world_begin(&world, &quick);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    pid_t pid = world_status(&world).pid;
    kill(pid, SIGSTOP);
    for (int i = 0; i < COUNT; i++)
        world_ask(&world, i == COUNT - 1 ? "answer-and-die-once" : "ok", &asked[i]);
    if (reset)
        world_ask(&world, "last", &last);
    kill(pid, SIGCONT);
    struct pollfd exited = {.fd = world.play.fd, .events = POLLIN};
    assert_true(play_ends(pid));
    assert_int_equal(poll(&exited, 1, PLAY_DEADLINE_MS), 1); /* nothing was read meanwhile */
    if (!reset)
        world_ask(&world, "last", &last);
    UNTIL(&world, last.answers == 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(asked[i].answers, 1);
    assert_int_equal(world_status(&world).deaths, 1);
    world_read(&world, "calls", calls, sizeof calls);
    assert_string_equal(strstr(calls, "1:answer"), "1:answer-and-die-once\n2:last\n");
    world_end(&world);
}

static void an_answer_before_the_end_counts(void **state) {
    (void)state;
    answered_before_the_end(true);
    answered_before_the_end(false);
}

/* Three deaths poison the call that was inside, and no other that was inside with it. */
static void the_call_that_kills_is_poison(void **state) {
    (void)state;
    struct world world;
    struct asked before, held, killer, after;
    world_begin(&world, &quick);
    world_start(&world);
    world_ask(&world, "before", &before);
    world_ask(&world, "hold-once", &held);
    world_ask(&world, "die", &killer);
    world_ask(&world, "after", &after);
    UNTIL(&world, after.answers == 1);
    assert_int_equal(killer.answers, 1);
    assert_int_equal(killer.reply.err.code, ERR_POISONED);
    assert_non_null(strstr(killer.reply.err.text, "ended by die"));
    assert_int_equal(before.reply.err.code, ERR_NONE);
    assert_int_equal(held.answers, 1);
    assert_int_equal(held.reply.err.code, ERR_NONE);
    assert_int_equal(after.reply.err.code, ERR_NONE);
    assert_int_equal(world_status(&world).deaths, RUNNER_POISON_DEATHS);
    assert_int_equal(world_starts(&world), RUNNER_POISON_DEATHS + 1);
    world_end(&world);
}

static void too_many_deaths_are_quarantined(void **state) {
    (void)state;
    struct world world;
    struct asked waiting, refused;
    world_begin(&world, &quick);
    world.script = "die";
    world_start(&world);
    world_ask(&world, "waiting", &waiting);
    UNTIL(&world, world_state(&world) == RUNNER_QUARANTINED);
    assert_int_equal(world_starts(&world), RUNNER_DEATHS_MAX);
    UNTIL(&world, waiting.answers == 1);
    assert_int_equal(waiting.reply.err.code, ERR_QUARANTINED);
    assert_int_equal(world.cause.code, ERR_RUNNER_LOST);
    assert_non_null(strstr(world.cause.text, "status 3"));
    assert_non_null(strstr(world.cause.text, "ended by load"));
    world_ask(&world, "refused", &refused);
    UNTIL(&world, refused.answers == 1);
    assert_int_equal(refused.reply.err.code, ERR_QUARANTINED);
    assert_non_null(strstr(refused.reply.err.text, "ended by load"));

    runner_retry(world.runner);
    assert_int_equal(world_state(&world), RUNNER_STARTING);
    UNTIL(&world, world_state(&world) == RUNNER_QUARANTINED);
    assert_int_equal(world_starts(&world), 2 * RUNNER_DEATHS_MAX);

    world.script = "serve";
    struct runner_spec spec = world_spec(&world);
    struct err err = ERR_INIT;
    assert_true(runner_respec(world.runner, &spec, &err));
    runner_retry(world.runner);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    assert_int_equal(world_status(&world).cause.code, ERR_NONE);
    world_end(&world);
}

static void back_off_doubles_and_success_forgets_it(void **state) {
    (void)state;
    static const struct runner_policy policy = {.backoff_first_ms = 400, .backoff_last_ms = 1200};
    static const uint64_t wanted[] = {400, 800, 1200, 1200};
    struct world world;
    struct asked asked, killer;
    uint64_t delays[4];
    int count = 0;
    world_begin(&world, &policy);
    world.script = "die";
    world_start(&world);
    UNTIL(&world, world_status(&world).deaths == 4);
    for (int i = 0; i < world.state_count; i++)
        if (world.states[i] == RUNNER_BACKING_OFF && count < 4)
            delays[count++] = world.delays_ms[i];
    assert_int_equal(count, 4);
    for (int i = 0; i < count; i++)
        assert_in_range(delays[i], wanted[i] * 6 / 10, wanted[i]);

    world.script = "serve";
    struct runner_spec spec = world_spec(&world);
    assert_true(runner_respec(world.runner, &spec, NULL));
    runner_retry(world.runner);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_ask(&world, "ok", &asked);
    UNTIL(&world, asked.answers == 1);
    world.state_count = 0;
    world_ask(&world, "die", &killer);
    UNTIL(&world, world_status(&world).deaths == 5);
    assert_int_equal(world.states[0], RUNNER_BACKING_OFF);
    assert_int_equal(world.delays_ms[0], 0);
    world_end(&world);
}

static void what_cannot_be_loaded_is_not_tried_again(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, &quick);
    world.script = "refuse-fix";
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_QUARANTINED);
    assert_int_equal(world_starts(&world), 1);
    assert_int_equal(world.cause.code, ERR_INVALID);
    assert_string_equal(world.cause.text, "not like that");

    world.script = "refuse-retry";
    struct runner_spec spec = world_spec(&world);
    assert_true(runner_respec(world.runner, &spec, NULL));
    world.state_count = 0;
    runner_retry(world.runner);
    UNTIL(&world, world_status(&world).deaths == 3);
    assert_int_equal(world.cause.code, ERR_UNREACHABLE);
    assert_int_equal(world.states[1], RUNNER_BACKING_OFF);
    world_end(&world);
}

static void a_stranger_is_not_tried_again(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, &quick);
    world_put(&world, "stranger");
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_QUARANTINED);
    assert_int_equal(world.cause.code, ERR_ABI);
    assert_int_equal(world_starts(&world), 1);
    world_end(&world);
}

static void who_says_nothing_is_replaced(void **state) {
    (void)state;
    static const struct runner_policy policy = {
        .hello_ms = 700, .load_ms = 700, .backoff_first_ms = 10, .backoff_last_ms = 40};
    struct world world;
    world_begin(&world, &policy);
    world_put(&world, "mute");
    world_start(&world);
    UNTIL(&world, world_status(&world).deaths == 1);
    assert_non_null(strstr(world.cause.text, "HELLO"));
    world.script = "hang";
    struct runner_spec spec = world_spec(&world);
    assert_true(runner_respec(world.runner, &spec, NULL));
    world_remove(&world, "mute");
    UNTIL(&world, strstr(world.cause.text, "LOADED") != NULL);
    world_end(&world);
}

static void a_pool_that_does_not_open_is_tried_again(void **state) {
    (void)state;
    static const struct runner_policy policy = {.reopen_first_ms = 300, .reopen_last_ms = 400};
    static const enum runner_state states[] = {RUNNER_OPENING, RUNNER_DOWN,    RUNNER_OPENING,
                                               RUNNER_DOWN,    RUNNER_OPENING, RUNNER_SERVING};
    struct world world;
    struct asked waiting, refused;
    world_begin(&world, &policy);
    world.script = "closed";
    world_start(&world);
    world_ask(&world, "waiting", &waiting);
    UNTIL(&world, world_state(&world) == RUNNER_DOWN);
    world_ask(&world, "refused", &refused);
    UNTIL(&world, waiting.answers == 1 && refused.answers == 1);
    assert_int_equal(waiting.reply.err.code, ERR_POOL_DOWN);
    assert_int_equal(refused.reply.err.code, ERR_POOL_DOWN);
    assert_string_equal(refused.reply.err.text, "somebody else's");
    assert_int_equal(world_status(&world).cause.code, ERR_FOREIGN);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    expect_states(&world, states, 6);
    assert_in_range(world.delays_ms[1], 150, 300);
    assert_int_equal(world_starts(&world), 1);
    world_end(&world);
}

static void retry_does_not_wait(void **state) {
    (void)state;
    static const struct runner_policy policy = {
        .reopen_first_ms = 3600000, .reopen_last_ms = 3600000, .backoff_first_ms = 3600000};
    struct world world;
    world_begin(&world, &policy);
    world.script = "closed";
    world_start(&world);
    for (int i = 0; i < 2; i++) {
        UNTIL(&world, world_state(&world) == RUNNER_DOWN);
        runner_retry(world.runner);
        assert_int_equal(world_state(&world), RUNNER_OPENING);
    }
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    kill(world_status(&world).pid, SIGKILL);
    UNTIL(&world, world_state(&world) == RUNNER_BACKING_OFF);
    assert_non_null(strstr(world.cause.text, "signal 9"));
    runner_retry(world.runner);
    assert_int_equal(world_state(&world), RUNNER_STARTING);
    UNTIL(&world, world_state(&world) == RUNNER_DOWN);
    world_end(&world);
}

static void an_opening_that_is_stalled_can_be_retried(void **state) {
    (void)state;
    static const struct runner_policy policy = {.stalled_ms = 100, .stop_ms = 3000};
    struct world world;
    world_begin(&world, &policy);
    world.script = "hold-open-once";
    world_start(&world);
    UNTIL(&world, world_status(&world).stalled);
    assert_int_equal(world_state(&world), RUNNER_OPENING);
    runner_retry(world.runner);
    assert_int_equal(world_state(&world), RUNNER_STARTING);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    assert_int_equal(world_starts(&world), 2);
    assert_int_equal(world_status(&world).deaths, 0);
    world_end(&world);
}

static void restart_carries_calls_over(void **state) {
    (void)state;
    struct world world;
    struct asked held, next;
    char calls[512];
    world_begin(&world, NULL);
    world_start(&world);
    world_ask(&world, "hold-once", &held);
    UNTIL(&world, (world_read(&world, "calls", calls, sizeof calls), calls[0] != '\0'));
    int before = world_status(&world).pid;
    world.version = "2.0.0";
    struct runner_spec spec = world_spec(&world);
    assert_true(runner_respec(world.runner, &spec, NULL));
    world.inside = true;
    runner_restart(world.runner);
    world.inside = false;
    assert_int_equal(world_state(&world), RUNNER_STARTING);
    world_ask(&world, "next", &next);
    UNTIL(&world, next.answers == 1);
    assert_int_equal(held.answers, 1);
    assert_int_equal(held.reply.err.code, ERR_NONE);
    struct runner_status status = world_status(&world);
    assert_int_not_equal(status.pid, before);
    assert_int_equal(status.deaths, 0);
    world_read(&world, "calls", calls, sizeof calls);
    assert_string_equal(calls, "1:hold-once\n2:hold-once\n2:next\n");
    world_end(&world);
}

static void what_is_given_up_is_not_sent_again(void **state) {
    (void)state;
    struct world world;
    struct asked held, other;
    char calls[512];
    world_begin(&world, NULL);
    world_start(&world);
    world_ask(&world, "hold", &held);
    world_ask(&world, "hold-once", &other);
    UNTIL(&world,
          (world_read(&world, "calls", calls, sizeof calls), strstr(calls, "hold-once\n") != NULL));
    runner_give_up(world.runner, &world); /* nobody's call */
    assert_int_equal(world_state(&world), RUNNER_SERVING);
    runner_give_up(world.runner, &held);
    UNTIL(&world, held.answers == 1 && other.answers == 1);
    assert_int_equal(held.reply.err.code, ERR_STALLED);
    assert_int_equal(other.reply.err.code, ERR_NONE);
    assert_int_equal(world_status(&world).deaths, 0);
    world_read(&world, "calls", calls, sizeof calls);
    assert_string_equal(calls, "1:hold\n1:hold-once\n2:hold-once\n");
    world_end(&world);
}

static void who_does_not_stop_is_killed(void **state) {
    (void)state;
    static const struct runner_policy policy = {.stop_ms = 200};
    struct world world;
    struct asked held;
    char calls[64];
    world_begin(&world, &policy);
    world.script = "stubborn";
    world_start(&world);
    world_ask(&world, "hold", &held);
    UNTIL(&world, (world_read(&world, "calls", calls, sizeof calls), calls[0] != '\0'));
    pid_t pid = world_status(&world).pid;
    world_stop(&world);
    world_stop(&world); /* asked twice, told once */
    UNTIL(&world, world.runner == NULL);
    assert_int_equal(world.stopped, 1);
    assert_int_equal(held.answers, 1);
    assert_int_equal(held.reply.err.code, ERR_STOPPING);
    assert_true(play_ends(pid));
    world_end(&world);
}

static void can_be_stopped_at_any_time(void **state) {
    (void)state;
    static const enum runner_state when[] = {RUNNER_STARTING,    RUNNER_OPENING,
                                             RUNNER_SERVING,     RUNNER_DOWN,
                                             RUNNER_BACKING_OFF, RUNNER_QUARANTINED};
    static const char *const scripts[] = {"serve", "hold-open-once", "serve", "closed",
                                          "die",   "refuse-fix"};
    static const struct runner_policy policy = {.backoff_first_ms = 3600000, .stop_ms = 3000};
    struct world world;
    world_begin(&world, &policy);
    for (size_t i = 0; i < sizeof when / sizeof when[0]; i++) {
        world_remove(&world, "starts");
        world.script = scripts[i];
        world.stopped = 0;
        world_start(&world);
        UNTIL(&world, world_state(&world) == when[i]);
        world_stop(&world);
        UNTIL(&world, world.stopped == 1);
        assert_null(world.runner);
    }
    world_end(&world);
}

/* A place is given up while its spawn is under way, and its tag is wanted again at once. */
static void a_tag_has_one_process(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, NULL);
    for (int i = 0; i < 5; i++) {
        world_start(&world);
        uv_run(&world.loop, UV_RUN_NOWAIT);
        world_stop(&world);
        UNTIL(&world, world.runner == NULL);
    }
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_end(&world);
}

static void what_waits_is_bounded(void **state) {
    (void)state;
    static const struct runner_policy policy = {.queue_max = 4};
    struct world world;
    struct asked asked[6];
    world_begin(&world, &policy);
    world_start(&world);
    for (int i = 0; i < 6; i++)
        world_ask(&world, "ok", &asked[i]);
    for (int i = 0; i < 6; i++) {
        UNTIL(&world, asked[i].answers == 1);
        assert_int_equal(asked[i].reply.err.code, i < 4 ? ERR_NONE : ERR_TOO_MANY);
    }
    world_end(&world);
}

static void a_spec_that_does_not_fit_is_refused(void **state) {
    (void)state;
    static char value[4000];
    struct text_pair pairs[20];
    char names[20][4];
    struct world world;
    struct err err = ERR_INIT;
    world_begin(&world, NULL);
    memset(value, 'x', sizeof value - 1);
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof names[i], "%02d", i);
        pairs[i] = (struct text_pair){names[i], value};
    }
    struct runner_spec spec = world_spec(&world);
    spec.open.properties = (struct text_pairs){pairs, 20};
    static const struct runner_events events = {world_on_state, NULL, NULL};
    struct runner *runner = NULL;
    assert_false(runner_start(world.runners, &spec, &events, &world, &runner, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_null(runner);
    world_end(&world);
}

static void without_super_nothing_starts_and_all_stops(void **state) {
    (void)state;
    struct world world;
    struct asked held;
    world_begin(&world, &quick);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_ask(&world, "hold", &held);
    kill(world.play.super, SIGKILL);
    UNTIL(&world, world.lost);
    assert_int_equal(world_state(&world), RUNNER_QUARANTINED);
    UNTIL(&world, held.answers == 1);
    assert_int_equal(world.cause.code, ERR_SYSTEM);
    runner_retry(world.runner);
    UNTIL(&world, world_state(&world) == RUNNER_QUARANTINED);
    world_stop(&world);
    UNTIL(&world, world.runner == NULL);
    play_wait_super(&world.play);
    world_end(&world);
}

static void quitting_ends_super(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, NULL);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    pid_t pid = world_status(&world).pid;
    runners_quit(world.runners);
    int status = 0;
    assert_int_equal(send(world.play.line, &status, sizeof status, 0), sizeof status);
    assert_true(play_ends(pid));
    status = play_wait_super(&world.play);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(world.play.fd); /* so that only the gateway holds sluiced's end */
    world.play.fd = -1;
    UNTIL(&world, world.lost);
    world_end(&world);
}

int main(int argc, char **argv) {
    play_roles(argc, argv, actor_main);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_and_stops),
        cmocka_unit_test(a_driver_without_a_pool_serves_when_loaded),
        cmocka_unit_test(calls_go_to_the_successor_in_order),
        cmocka_unit_test(an_answer_before_the_end_counts),
        cmocka_unit_test(the_call_that_kills_is_poison),
        cmocka_unit_test(too_many_deaths_are_quarantined),
        cmocka_unit_test(back_off_doubles_and_success_forgets_it),
        cmocka_unit_test(what_cannot_be_loaded_is_not_tried_again),
        cmocka_unit_test(a_stranger_is_not_tried_again),
        cmocka_unit_test(who_says_nothing_is_replaced),
        cmocka_unit_test(a_pool_that_does_not_open_is_tried_again),
        cmocka_unit_test(retry_does_not_wait),
        cmocka_unit_test(an_opening_that_is_stalled_can_be_retried),
        cmocka_unit_test(restart_carries_calls_over),
        cmocka_unit_test(what_is_given_up_is_not_sent_again),
        cmocka_unit_test(who_does_not_stop_is_killed),
        cmocka_unit_test(can_be_stopped_at_any_time),
        cmocka_unit_test(a_tag_has_one_process),
        cmocka_unit_test(what_waits_is_bounded),
        cmocka_unit_test(a_spec_that_does_not_fit_is_refused),
        cmocka_unit_test(without_super_nothing_starts_and_all_stops),
        cmocka_unit_test(quitting_ends_super),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * session_test.c: breaches, heartbeat, full sockets, what a driver tells on its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

static const struct runner_policy quick = {.backoff_first_ms = 10, .backoff_last_ms = 40};

static void breaches_are_fatal_to_the_runner_only(void **state) {
    (void)state;
    static const char *const words[] = {"unknown-id-once", "malformed-once",  "garbage-once",
                                        "long-once",       "descriptor-once", "hello-once",
                                        "pong-once",       "flood-once"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct world world;
        struct asked asked;
        world_begin(&world, &quick);
        world_start(&world);
        world_ask(&world, words[i], &asked);
        UNTIL(&world, asked.answers == 1);
        assert_int_equal(asked.reply.err.code, ERR_NONE); /* of the second process */
        assert_int_equal(world_status(&world).deaths, 1);
        assert_int_equal(world.cause.code, ERR_PROTOCOL);
        assert_int_equal(world_starts(&world), 2);
        world_end(&world);
    }
}

static void hanging_up_is_a_death(void **state) {
    (void)state;
    struct world world;
    struct asked asked;
    world_begin(&world, &quick);
    world_start(&world);
    world_ask(&world, "hang-up-once", &asked);
    UNTIL(&world, asked.answers == 1);
    assert_int_equal(world_status(&world).deaths, 1);
    assert_int_equal(world.cause.code, ERR_RUNNER_LOST);
    world_end(&world);
}

static void who_has_no_heartbeat_is_killed(void **state) {
    (void)state;
    static const struct runner_policy policy = {.ping_ms = 50,
                                                .idle_ping_ms = 100,
                                                .silent_ms = 400,
                                                .backoff_first_ms = 10,
                                                .backoff_last_ms = 40};
    struct world world;
    struct asked asked, first;
    world_begin(&world, &policy);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_ask(&world, "ok", &first);
    world_ask(&world, "hang-once", &asked);
    UNTIL(&world, asked.answers == 1);
    assert_int_equal(asked.reply.err.code, ERR_NONE);
    assert_int_equal(world_status(&world).deaths, 1);
    assert_non_null(strstr(world.cause.text, "no sign of life"));
    /* Nobody asks anything of this one, and still it is missed. */
    kill(world_status(&world).pid, SIGSTOP);
    UNTIL(&world, world_status(&world).deaths == 2);
    world_end(&world);
}

static void slow_is_not_dead(void **state) {
    (void)state;
    static const struct runner_policy policy = {
        .ping_ms = 30, .silent_ms = 2000, .stalled_ms = 200};
    struct world world;
    struct asked held, release;
    world_begin(&world, &policy);
    world_start(&world);
    world_ask(&world, "hold", &held);
    UNTIL(&world, world_status(&world).stalled);
    UNTIL(&world, world_status(&world).resident_bytes == 4096);
    assert_int_equal(world_state(&world), RUNNER_SERVING);
    assert_int_equal(world_status(&world).calls, 1);
    world_ask(&world, "release", &release);
    UNTIL(&world, held.answers == 1 && release.answers == 1);
    assert_false(world_status(&world).stalled);
    assert_int_equal(world_status(&world).deaths, 0);
    world_end(&world);
}

/* Its ring stands still: whoever was stopped is not waited for, whoever answers lives. */
static void who_is_doubted_and_stopped_is_killed(void **state) {
    (void)state;
    static const struct runner_policy policy = {
        .idle_ping_ms = 60000, .silent_ms = 60000, .stalled_ms = 300, .backoff_first_ms = 10};
    struct world world;
    world_begin(&world, &policy);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    runner_doubt(world.runner, 100);
    assert_false(world_status(&world).stalled);
    runner_doubt(world.runner, 400);
    assert_true(world_status(&world).stalled);
    UNTIL(&world, world_status(&world).resident_bytes == 4096); /* it was asked, and answered */
    assert_int_equal(world_status(&world).deaths, 0);
    kill(world_status(&world).pid, SIGSTOP);
    uint64_t begun_ms = clock_mono_ms();
    /* As it is said again and again: the signal may take a moment to arrive. */
    UNTIL(&world, (runner_doubt(world.runner, 100), world_status(&world).deaths == 1));
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    assert_in_range(clock_mono_ms() - begun_ms, 0, 20000); /* of a minute */
    assert_non_null(strstr(world.cause.text, "stopped by a signal"));
    assert_false(world_status(&world).stalled);
    world_end(&world);
}

static void who_is_doubted_answers_sooner(void **state) {
    (void)state;
    static const struct runner_policy policy = {.ping_ms = 60000,
                                                .idle_ping_ms = 60000,
                                                .silent_ms = 60000,
                                                .doubted_ms = 300,
                                                .backoff_first_ms = 10};
    struct world world;
    struct asked asked;
    world_begin(&world, &policy);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    world_ask(&world, "hang-once", &asked); /* it runs, and reads nothing */
    uint64_t begun_ms = clock_mono_ms();
    runner_doubt(world.runner, 100);
    UNTIL(&world, asked.answers == 1);
    assert_in_range(clock_mono_ms() - begun_ms, 300, 10000);
    assert_int_equal(asked.reply.err.code, ERR_NONE);
    assert_int_equal(world_status(&world).deaths, 1);
    assert_non_null(strstr(world.cause.text, "no sign of life for 300 ms"));
    world_end(&world);
}

/* When it is the gateway that stands still, no runner pays for it. */
static void our_own_pause_kills_nobody(void **state) {
    (void)state;
    static const struct runner_policy policy = {
        .ping_ms = 20, .idle_ping_ms = 20, .silent_ms = 250};
    struct world world;
    world_begin(&world, &policy);
    world_start(&world);
    UNTIL(&world, world_status(&world).resident_bytes == 4096);
    pid_t pid = world_status(&world).pid;
    for (int i = 0; i < 3; i++) {
        kill(pid, SIGSTOP); /* it does not answer the PING of this turn */
        poll(NULL, 0, 30);
        uv_run(&world.loop, UV_RUN_NOWAIT);
        if (i == 0)
            kill(pid, SIGCONT); /* it answers while we stand still */
        poll(NULL, 0, 1500);
        kill(pid, SIGCONT); /* or everything stood still, as when a machine is paused */
        uint64_t until_ms = clock_mono_ms() + 100;
        UNTIL(&world, clock_mono_ms() > until_ms);
        assert_int_equal(world_status(&world).deaths, 0);
        assert_int_equal(world_status(&world).pid, pid);
    }
    world_end(&world);
}

static void a_full_socket_is_waited_for(void **state) {
    (void)state;
    enum { COUNT = 64, PAIRS = 12 };
    static char value[4000];
    static struct asked asked[COUNT];
    struct text_pair pairs[PAIRS];
    char names[PAIRS][4];
    struct world world;
    world_begin(&world, NULL);
    memset(value, 'x', sizeof value - 1);
    for (int i = 0; i < PAIRS; i++) {
        snprintf(names[i], sizeof names[i], "%02d", i);
        pairs[i] = (struct text_pair){names[i], value};
    }
    struct wire_configure args = {.settings = {pairs, PAIRS}};
    world.no_pool = true;
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    kill(world_status(&world).pid, SIGSTOP);
    for (int i = 0; i < COUNT; i++) {
        asked[i] = (struct asked){.world = &world, .no_volume = true};
        runner_call(world.runner, WIRE_CONFIGURE, &args, world_on_reply, &asked[i]);
    }
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(world_status(&world).calls, COUNT);
    kill(world_status(&world).pid, SIGCONT);
    UNTIL(&world, asked[COUNT - 1].answers == 1);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(asked[i].answers, 1);
        assert_int_equal(asked[i].order, asked[0].order + i);
    }
    assert_int_equal(world_status(&world).deaths, 0);
    world_end(&world);
}

static void more_than_the_window_goes_through(void **state) {
    (void)state;
    enum { COUNT = 3 * WIRE_CALLS_MAX };
    static struct asked asked[COUNT];
    struct world world;
    world_begin(&world, NULL);
    world_start(&world);
    for (int i = 0; i < COUNT; i++)
        world_ask(&world, "ok", &asked[i]);
    UNTIL(&world, asked[COUNT - 1].answers == 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(asked[i].order, asked[0].order + i);
    assert_int_equal(world_status(&world).calls, 0);
    world_end(&world);
}

static void what_a_driver_tells_is_clean(void **state) {
    (void)state;
    struct world world;
    struct asked asked;
    world_begin(&world, NULL);
    world_start(&world);
    world_ask(&world, "tell", &asked);
    UNTIL(&world, asked.answers == 1);
    assert_int_equal(world.log_level, SLUICE_LOG_WARNING);
    assert_string_equal(world.log, "one two ");
    assert_int_equal(world.event.event, 1);
    assert_int_equal(world.event.value, 7);
    assert_true(uuid_equal(&world.event.volume, &world.volume));
    assert_string_equal(world.event_text, "e f");
    world_end(&world);
}

int main(int argc, char **argv) {
    play_roles(argc, argv, actor_main);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breaches_are_fatal_to_the_runner_only),
        cmocka_unit_test(hanging_up_is_a_death),
        cmocka_unit_test(who_has_no_heartbeat_is_killed),
        cmocka_unit_test(slow_is_not_dead),
        cmocka_unit_test(who_is_doubted_and_stopped_is_killed),
        cmocka_unit_test(who_is_doubted_answers_sooner),
        cmocka_unit_test(our_own_pause_kills_nobody),
        cmocka_unit_test(a_full_socket_is_waited_for),
        cmocka_unit_test(more_than_the_window_goes_through),
        cmocka_unit_test(what_a_driver_tells_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

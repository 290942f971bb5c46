/* SPDX-License-Identifier: Apache-2.0
 *
 * held_test.c: a gateway dies, and its successor finds the runners.
 *
 * The first gateway is a child of the test that ends without a word, as by SIGKILL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

/* A gateway that gets a runner into `wanted`, asks `name` (NULL: nothing) and is gone. Returns the
 * pid of the runner. */
static pid_t first_gateway(struct world *world, enum runner_state wanted, const char *name) {
    int line[2];
    assert_int_equal(pipe(line), 0);
    fflush(NULL);
    pid_t gateway = fork();
    if (gateway == 0) {
        static struct asked asked;
        char calls[256] = "";
        world_open(world, 1, NULL);
        world_start(world);
        UNTIL(world, world_state(world) == wanted);
        if (name != NULL) {
            world_ask(world, name, &asked);
            UNTIL(world, (world_read(world, "calls", calls, sizeof calls), calls[0] != '\0'));
        }
        pid_t pid = world_status(world).pid;
        _exit(write(line[1], &pid, sizeof pid) == sizeof pid ? 0 : 1);
    }
    pid_t pid = 0;
    close(line[1]);
    assert_int_equal(read(line[0], &pid, sizeof pid), sizeof pid);
    close(line[0]);
    int status;
    assert_int_equal(waitpid(gateway, &status, 0), gateway);
    assert_int_equal(status, 0);
    return pid;
}

static void next_sluiced(struct world *world) {
    kill(world->play.sluiced, SIGKILL);
    play_accept(&world->play);
}

static void adopted_without_a_restart(void **state) {
    (void)state;
    struct world world;
    struct asked release, next;
    world_prepare(&world);
    pid_t pid = first_gateway(&world, RUNNER_SERVING, "hold");
    next_sluiced(&world);
    world_open(&world, 2, NULL);
    assert_int_equal(world.held, 1);
    world_start(&world);
    runners_reap_unclaimed(world.runners); /* it is claimed from now on, not from a later turn */
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    struct runner_status status = world_status(&world);
    assert_int_equal(status.pid, pid);
    assert_int_equal(status.deaths, 0);
    assert_non_null(status.loaded);
    assert_non_null(status.pool);
    assert_int_equal(status.pool->caps, 5);
    /* The answer to the call of the first gateway comes now, and is nobody's. */
    world_ask(&world, "release", &release);
    world_ask(&world, "next", &next);
    UNTIL(&world, release.answers == 1 && next.answers == 1);
    assert_int_equal(world_status(&world).deaths, 0);
    assert_int_equal(world_starts(&world), 1);
    runners_reap_unclaimed(world.runners);
    world_ask(&world, "last", &next);
    UNTIL(&world, next.answers == 1);
    world_end(&world);
}

static void loaded_but_not_open_is_opened(void **state) {
    (void)state;
    struct world world;
    world_prepare(&world);
    world.script = "closed";
    pid_t pid = first_gateway(&world, RUNNER_DOWN, NULL);
    next_sluiced(&world);
    static const struct runner_policy policy = {.reopen_first_ms = 50};
    world_open(&world, 2, &policy);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    assert_int_equal(world_status(&world).pid, pid);
    assert_int_equal(world_starts(&world), 1);
    world_end(&world);
}

static void another_version_is_replaced(void **state) {
    (void)state;
    struct world world;
    struct asked asked;
    world_prepare(&world);
    pid_t pid = first_gateway(&world, RUNNER_SERVING, NULL);
    next_sluiced(&world);
    world_open(&world, 2, NULL);
    world.version = "1.0.1";
    world_start(&world);
    world_ask(&world, "ok", &asked);
    UNTIL(&world, asked.answers == 1);
    assert_int_not_equal(world_status(&world).pid, pid);
    assert_int_equal(world_status(&world).deaths, 0);
    assert_int_equal(world_starts(&world), 2);
    world_end(&world);
}

static void another_account_is_replaced(void **state) {
    (void)state;
    static const struct runner_events events = {world_on_state, NULL, NULL};
    struct world world;
    world_prepare(&world);
    pid_t pid = first_gateway(&world, RUNNER_SERVING, NULL);
    next_sluiced(&world);
    world_open(&world, 2, NULL);
    struct runner_spec spec = world_spec(&world);
    struct err err = ERR_INIT;
    spec.uid = spec.gid = WORLD_ACCOUNT + 1;
    world_remove(&world, "starts"); /* it is the other account's */
    assert_true(runner_start(world.runners, &spec, &events, &world, &world.runner, &err));
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    assert_true(play_ends(pid));
    assert_int_not_equal(world_status(&world).pid, pid);
    world_end(&world);
}

static void nobodys_runners_are_stopped(void **state) {
    (void)state;
    static const struct runner_policy policy = {.stop_ms = 200};
    static const char *const scripts[] = {"serve", "stubborn"};
    for (size_t i = 0; i < 2; i++) {
        struct world world;
        world_prepare(&world);
        world.script = scripts[i];
        pid_t pid = first_gateway(&world, RUNNER_SERVING, NULL);
        next_sluiced(&world);
        world_open(&world, 2, &policy);
        runners_reap_unclaimed(world.runners);
        /* Whoever wants its tag now waits for its end. */
        world.script = "serve";
        world_start(&world);
        UNTIL(&world, world_state(&world) == RUNNER_SERVING);
        assert_true(play_ends(pid));
        assert_int_not_equal(world_status(&world).pid, pid);
        assert_int_equal(world_starts(&world), 2);
        world_end(&world);
    }
}

static void a_death_in_between_leaves_its_words(void **state) {
    (void)state;
    struct world world;
    world_prepare(&world);
    pid_t pid = first_gateway(&world, RUNNER_SERVING, "say");
    kill(world.play.super, SIGSTOP); /* so that it finds both dead */
    kill(world.play.sluiced, SIGKILL);
    kill(pid, SIGKILL);
    assert_true(play_ends(world.play.sluiced) && play_ends(pid));
    kill(world.play.super, SIGCONT);
    play_accept(&world.play);
    world_open(&world, 2, NULL);
    assert_int_equal(world.held, 0);
    world_start(&world);
    UNTIL(&world, world_state(&world) == RUNNER_SERVING);
    UNTIL(&world, world_status(&world).last_words[0] != '\0');
    assert_string_equal(world_status(&world).last_words, "process 1 speaks\n");
    assert_int_equal(world_starts(&world), 2);
    world_end(&world);
}

int main(int argc, char **argv) {
    play_roles(argc, argv, actor_main);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adopted_without_a_restart),
        cmocka_unit_test(loaded_but_not_open_is_opened),
        cmocka_unit_test(another_version_is_replaced),
        cmocka_unit_test(another_account_is_replaced),
        cmocka_unit_test(nobodys_runners_are_stopped),
        cmocka_unit_test(a_death_in_between_leaves_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

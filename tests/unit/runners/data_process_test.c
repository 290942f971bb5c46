/* SPDX-License-Identifier: Apache-2.0
 *
 * data_process_test.c: sluice-data, played by this program, is started, missed, replaced, taken
 * over and stopped.
 *
 * What the played one does is said by the generation of a RING_LOST message; RING_WANTED it answers
 * with RING_BROKEN of the same generation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

#include "runners/data_process.h"

enum deed { DIE = 1, HANG, GARBAGE, HELLO_AGAIN, HANG_UP };

#define FLOOD (2 * DATA_PROCESS_QUEUE_MAX) /* more than wait, and than the socket takes */

/* ---- as sluice-data --------------------------------------------------------------------------
 */

static void tell(enum data_number number, const void *body) {
    struct buf packet;
    buf_init(&packet, WIRE_PACKET_MAX);
    data_encode(number, body, &packet);
    if (send(SUPER_RUNNER_FD, packet.at, packet.length, MSG_NOSIGNAL) < 0)
        _exit(4);
    buf_release(&packet);
}

static void say_hello(void) {
    struct data_hello hello = {.protocol = WIRE_PROTOCOL, .build = "played"};
    tell(DATA_HELLO, &hello);
}

static void act(enum deed deed) {
    switch (deed) {
    case DIE:
        dprintf(STDERR_FILENO, "its last words\n");
        _exit(3);
    case HANG:
        for (;;)
            pause();
    case GARBAGE:
        if (send(SUPER_RUNNER_FD, "garbage", 7, MSG_NOSIGNAL) < 0)
            _exit(4);
        break;
    case HELLO_AGAIN:
        say_hello();
        break;
    case HANG_UP:
        shutdown(SUPER_RUNNER_FD, SHUT_RDWR);
        for (;;)
            pause();
    }
}

static int play_data(void) {
    static struct actor actor; /* for its folder */
    static uint8_t bytes[WIRE_PACKET_MAX];
    struct arena arena;
    ssize_t length = readlink("/proc/self/exe", actor.folder, sizeof actor.folder - 1);
    if (length <= 0)
        return 4;
    *strrchr(actor.folder, '/') = '\0';
    arena_init(&arena, WIRE_ARENA_MAX);
    actor_note(&actor, "starts", ".");
    while (actor_has(&actor, "mute"))
        pause();
    say_hello();
    while ((length = recv(SUPER_RUNNER_FD, bytes, sizeof bytes, 0)) > 0) {
        enum data_number number;
        const void *body;
        struct err err = ERR_INIT;
        arena_reset(&arena);
        if (!data_decode(bytes, (size_t)length, 0, DATA_SENDER_GATEWAY, &arena, &number, &body,
                         &err))
            return 5;
        if (number == DATA_PING) {
            struct data_pong pong = {
                .number = ((const struct data_ping *)body)->number, .calls = 4711, .exports = 1};
            tell(DATA_PONG, &pong);
        } else if (number == DATA_SYNC) {
            say_hello();
            tell(DATA_SYNCED, &(struct data_nothing){0});
        } else if (number == DATA_RING_WANTED) {
            struct data_ring broken = {.generation =
                                           ((const struct data_wanted *)body)->generation};
            tell(DATA_RING_BROKEN, &broken);
        } else if (number == DATA_RING_LOST) {
            act((enum deed)((const struct data_ring *)body)->generation);
        }
    }
    return 0;
}

/* ---- as the gateway --------------------------------------------------------------------------
 */

struct seen {
    struct data_process *process;
    int begins, held, ends, stops, synced;
    uint64_t generation; /* of the last RING_BROKEN */
    struct err cause;
};

static void on_begin(void *owner, bool held) {
    struct seen *seen = owner;
    seen->begins++;
    seen->held += held;
}

static void on_message(void *owner, enum data_number number, const void *body, const int *fds,
                       uint32_t fd_count) {
    struct seen *seen = owner;
    (void)fds;
    assert_int_equal(fd_count, 0);
    if (number == DATA_SYNCED)
        seen->synced++;
    if (number == DATA_RING_BROKEN)
        seen->generation = ((const struct data_ring *)body)->generation;
}

static void on_end(void *owner, const struct err *cause) {
    struct seen *seen = owner;
    seen->ends++;
    seen->cause = *cause;
}

static void on_stopped(void *owner) {
    ((struct seen *)owner)->stops++;
}

static const struct runner_policy quick = {.hello_ms = 2000,
                                           .ping_ms = 30,
                                           .idle_ping_ms = 30,
                                           .silent_ms = 2000,
                                           .backoff_first_ms = 10,
                                           .backoff_last_ms = 40};

static void open_process(struct world *world, struct seen *seen) {
    static const struct data_process_events events = {on_begin, on_message, on_end};
    struct err err = ERR_INIT;
    *seen = (struct seen){.cause = ERR_INIT};
    assert_true(
        data_process_open(world->runners, WORLD_ACCOUNT, &events, seen, &seen->process, &err));
}

static void begin(struct world *world, struct seen *seen) {
    world_begin(world, &quick);
    open_process(world, seen);
    assert_false(data_process_is_held(seen->process));
    data_process_want(seen->process);
    UNTIL(world, seen->begins == 1 || seen->ends > 0);
}

static void end(struct world *world, struct seen *seen) {
    data_process_stop(seen->process, on_stopped);
    UNTIL(world, seen->stops == 1);
    data_process_close(seen->process);
    world_end(world);
}

static struct data_process_status status_of(const struct seen *seen) {
    struct data_process_status status;
    data_process_status(seen->process, &status);
    return status;
}

static void want_ring(struct seen *seen, uint64_t generation) {
    struct data_wanted body = {.generation = generation};
    data_process_send(seen->process, DATA_RING_WANTED, &body, NULL, 0);
}

static void say_lost(struct seen *seen, uint64_t generation) {
    struct data_ring body = {.generation = generation};
    data_process_send(seen->process, DATA_RING_LOST, &body, NULL, 0);
}

static void talks_and_stops(void **state) {
    (void)state;
    struct world world;
    struct seen seen;
    begin(&world, &seen);
    assert_int_equal(seen.held, 0);
    want_ring(&seen, 12);
    UNTIL(&world, seen.generation == 12);
    UNTIL(&world, status_of(&seen).pong.calls == 4711);
    assert_true(status_of(&seen).pid > 0);
    data_process_want(seen.process); /* there is one */
    end(&world, &seen);
    assert_int_equal(seen.begins, 1);
    assert_int_equal(seen.ends, 0); /* it was asked to end */
}

static void every_end_is_followed_by_another(void **state) {
    (void)state;
    static const struct {
        enum deed deed;
        enum err_code code;
        const char *text;
    } ends[] = {{DIE, ERR_RUNNER_LOST, "its last words"},
                {HANG, ERR_STALLED, "heartbeat"},
                {GARBAGE, ERR_PROTOCOL, "broke the protocol"},
                {HELLO_AGAIN, ERR_PROTOCOL, "HELLO without SYNC"},
                {HANG_UP, ERR_RUNNER_LOST, "signal 9"}};
    struct world world;
    struct seen seen;
    begin(&world, &seen);
    for (int i = 0; i < (int)(sizeof ends / sizeof ends[0]); i++) {
        int pid = status_of(&seen).pid;
        say_lost(&seen, ends[i].deed);
        UNTIL(&world, seen.ends == i + 1);
        assert_int_equal(seen.cause.code, ends[i].code);
        assert_non_null(strstr(seen.cause.text, ends[i].text));
        say_lost(&seen, DIE); /* to nobody: it reaches no successor either */
        UNTIL(&world, seen.begins == i + 2);
        assert_int_not_equal(status_of(&seen).pid, pid);
        assert_int_equal((int)status_of(&seen).deaths, i + 1);
    }
    want_ring(&seen, 5);
    UNTIL(&world, seen.generation == 5);
    end(&world, &seen);
}

static void who_takes_nothing_is_given_up(void **state) {
    (void)state;
    struct world world;
    struct seen seen;
    begin(&world, &seen);
    say_lost(&seen, HANG);
    for (uint32_t i = 0; i < FLOOD; i++)
        want_ring(&seen, i);
    UNTIL(&world, seen.ends == 1);
    assert_int_equal(seen.cause.code, ERR_RUNNER_LOST);
    assert_non_null(strstr(seen.cause.text, "does not take"));
    UNTIL(&world, seen.begins == 2);
    end(&world, &seen);
}

static void who_says_no_hello_is_killed_until_one_does(void **state) {
    (void)state;
    struct world world;
    struct seen seen;
    world_begin(&world, &quick);
    world_put(&world, "mute");
    open_process(&world, &seen);
    data_process_want(seen.process);
    UNTIL(&world, seen.ends == 2);
    assert_int_equal(seen.begins, 0);
    assert_non_null(strstr(seen.cause.text, "HELLO"));
    world_remove(&world, "mute");
    UNTIL(&world, seen.begins == 1);
    end(&world, &seen);
}

static void the_next_gateway_takes_it_over(void **state) {
    (void)state;
    struct world world;
    struct seen seen;
    begin(&world, &seen);
    int pid = status_of(&seen).pid;
    data_process_close(seen.process);
    world_close(&world);
    kill(world.play.sluiced, SIGKILL);
    play_accept(&world.play);
    world.ready = false;
    world_open(&world, 2, &quick);
    assert_int_equal(world.held, 1);
    open_process(&world, &seen);
    assert_true(data_process_is_held(seen.process));
    UNTIL(&world, seen.synced == 1);
    assert_int_equal(seen.begins, 1);
    assert_int_equal(seen.held, 1);
    assert_int_equal(status_of(&seen).pid, pid);
    end(&world, &seen);
}

int main(int argc, char **argv) {
    if (strcmp(argv[0], "sluice-data") == 0)
        return play_data();
    play_roles(argc, argv, actor_main);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks_and_stops),
        cmocka_unit_test(every_end_is_followed_by_another),
        cmocka_unit_test(who_takes_nothing_is_given_up),
        cmocka_unit_test(who_says_no_hello_is_killed_until_one_does),
        cmocka_unit_test(the_next_gateway_takes_it_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

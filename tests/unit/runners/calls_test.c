/* SPDX-License-Identifier: Apache-2.0
 *
 * calls_test.c: the queue of a place by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include <string.h>

#include "runners/calls.h"

#define SUSPECT 2
#define POISON 3

struct told {
    int count;
    struct err err;
};

static struct call_shelf shelf;
static struct call_queue queue;
static struct told told[1024];

static void on_reply(void *arg, const struct runner_reply *reply) {
    struct told *one = arg;
    one->count++;
    one->err = reply->err;
}

static int set_up(void **state) {
    (void)state;
    memset(told, 0, sizeof told);
    call_shelf_init(&shelf, 7);
    call_queue_init(&queue);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    call_queue_end(&queue, &shelf, true, ERR_STOPPING, "");
    call_tell_ended(&shelf);
    call_shelf_release(&shelf);
    return 0;
}

static struct call *add(int i) {
    struct call *call = call_take(&shelf, WIRE_NOTHING, on_reply, &told[i]);
    call_queue_add(&queue, call);
    return call;
}

/* Sends all that may be sent at that time; how many. */
static int send_all(uint64_t now_ms, uint64_t patience_ms) {
    struct call *call;
    int count = 0;
    while ((call = call_queue_next(&queue, SUSPECT, patience_ms)) != NULL) {
        call_queue_sent(&queue, call, now_ms);
        count++;
    }
    return count;
}

static void die(void) {
    call_queue_replay(&queue, &shelf, true, POISON, "it died");
    call_tell_ended(&shelf);
}

static void answer(struct call *call) {
    assert_ptr_equal(call_queue_answered(&queue, call->id), call);
    call_give(&shelf, call);
}

static void ids_are_of_this_incarnation(void **state) {
    (void)state;
    struct call *first = add(0), *second = add(1);
    assert_int_equal(first->id >> 32, 7);
    assert_int_not_equal(first->id, second->id);
    assert_null(call_queue_answered(&queue, first->id)); /* it was not sent */
    shelf.last_id = UINT32_MAX;
    assert_int_equal((uint32_t)call_next_id(&shelf), 1);
}

static void the_window_is_bounded(void **state) {
    (void)state;
    for (int i = 0; i < WIRE_CALLS_MAX + 10; i++)
        add(i);
    assert_int_equal(send_all(1, 0), WIRE_CALLS_MAX);
    struct call *middle = TAILQ_NEXT(TAILQ_FIRST(&queue.sent), entry);
    answer(middle);
    assert_int_equal(send_all(1, 0), 1);
    assert_int_equal(queue.sent_count, WIRE_CALLS_MAX);
    assert_int_equal(queue.unsent_count, 9);
}

static void replay_keeps_the_order(void **state) {
    (void)state;
    struct call *calls[5];
    for (int i = 0; i < 3; i++)
        calls[i] = add(i);
    assert_int_equal(send_all(1, 0), 3);
    calls[3] = add(3);
    calls[4] = add(4);
    die();
    assert_int_equal(queue.unsent_count, 5);
    assert_int_equal(queue.sent_count, 0);
    int i = 0;
    struct call *call;
    TAILQ_FOREACH(call, &queue.unsent, entry) {
        assert_ptr_equal(call, calls[i]);
        assert_int_equal(call->deaths, i < 3 ? 1 : 0);
        i++;
    }
    assert_int_equal(i, 5);
    /* A replacement that somebody asked for is no death. */
    assert_int_equal(send_all(2, 0), 5);
    call_queue_replay(&queue, &shelf, false, POISON, "");
    assert_int_equal(calls[0]->deaths, 1);
}

static void calls_of_one_process_end_with_it(void **state) {
    (void)state;
    struct call *sent = add(0), *stays = add(1), *unsent = add(2);
    sent->once = unsent->once = true;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    sent->fds[0] = pipe_fds[1];
    sent->fd_count = 1;
    call_queue_sent(&queue, sent, 1);
    /* By intention or by death: the successor never sees them, and their descriptors are closed. */
    call_queue_replay(&queue, &shelf, false, POISON, "");
    call_tell_ended(&shelf);
    assert_ptr_equal(TAILQ_FIRST(&queue.unsent), stays);
    assert_int_equal(queue.unsent_count, 1);
    assert_int_equal(queue.sent_count, 0);
    char byte;
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
}

static void only_the_one_inside_alone_is_poisoned(void **state) {
    (void)state;
    struct call *innocent = add(0);
    add(1); /* kills */
    struct call *last = add(2);
    assert_int_equal(send_all(1, 0), 3);
    die();
    assert_int_equal(send_all(2, 0), 3);
    die();
    /* Now each is under suspicion, and goes alone. */
    assert_int_equal(send_all(3, 0), 1);
    answer(innocent);
    assert_int_equal(send_all(4, 0), 1);
    die();
    assert_int_equal(told[1].count, 1);
    assert_int_equal(told[1].err.code, ERR_POISONED);
    assert_string_equal(told[1].err.text, "it died");
    assert_int_equal(told[0].count + told[2].count, 0);
    assert_int_equal(send_all(5, 0), 1);
    answer(last);
}

static void a_suspect_waits_for_the_others(void **state) {
    (void)state;
    add(0);
    assert_int_equal(send_all(1, 0), 1);
    die();
    assert_int_equal(send_all(1, 0), 1);
    die();
    struct call *suspect = TAILQ_FIRST(&queue.unsent);
    struct call *other = call_take(&shelf, WIRE_NOTHING, on_reply, &told[1]);
    TAILQ_INSERT_HEAD(&queue.unsent, other, entry);
    queue.unsent_count++;
    assert_int_equal(send_all(100, 50), 1);
    assert_ptr_equal(TAILQ_FIRST(&queue.sent), other);
    answer(other);
    assert_int_equal(send_all(101, 51), 1);
    assert_ptr_equal(TAILQ_FIRST(&queue.sent), suspect);
    /* One that hangs does not hold up the others for ever. */
    add(2);
    assert_int_equal(send_all(150, 100), 0);
    assert_int_equal(send_all(151, 101), 1);
}

static void ended_calls_are_told_once(void **state) {
    (void)state;
    add(0);
    assert_int_equal(send_all(1, 0), 1);
    add(1);
    call_queue_end(&queue, &shelf, false, ERR_POOL_DOWN, "down");
    assert_int_equal(told[1].count, 0); /* from the loop only */
    call_tell_ended(&shelf);
    call_tell_ended(&shelf);
    assert_int_equal(told[1].count, 1);
    assert_int_equal(told[1].err.code, ERR_POOL_DOWN);
    assert_int_equal(told[0].count, 0);
    call_queue_end(&queue, &shelf, true, ERR_STOPPING, "stop");
    call_tell_ended(&shelf);
    assert_int_equal(told[0].count, 1);
    assert_int_equal(told[0].err.code, ERR_STOPPING);
}

static void objects_are_used_again(void **state) {
    (void)state;
    struct call *call = add(0);
    buf_put(&call->packet, "x", 1);
    assert_int_equal(send_all(1, 0), 1);
    answer(call);
    struct call *again = add(1);
    assert_ptr_equal(again, call);
    assert_int_equal(again->packet.length, 0);
    assert_int_equal(again->deaths, 0);
    for (int i = 0; i < CALLS_FREE_MAX + 50; i++)
        add(2);
    call_queue_end(&queue, &shelf, true, ERR_STOPPING, "");
    call_tell_ended(&shelf);
    assert_int_equal(shelf.free_count, CALLS_FREE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ids_are_of_this_incarnation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_window_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replay_keeps_the_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_of_one_process_end_with_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_one_inside_alone_is_poisoned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_suspect_waits_for_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ended_calls_are_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_are_used_again, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * watches_test.c: what is told of a watched descriptor, when, and that nothing is told afterwards.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "runner/watches.h"

#define DEADLINE_MS 20000

static struct watches watches;
static int near_fd, far_fd; /* a socket pair: near_fd is watched */
static bool sooner;

struct told {
    uint32_t ready;
    uint32_t times;
    struct sluice_watch *end; /* ended from within on_ready */
};

static void tell(void *argument, uint32_t ready) {
    struct told *told = argument;
    told->ready = ready;
    told->times++;
    if (told->end != NULL)
        watches_remove(&watches, told->end);
    told->end = NULL;
}

static int begin(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    int pair[2];
    if (!watches_init(&watches, &err) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    near_fd = pair[0];
    far_fd = pair[1];
    return 0;
}

static int finish(void **state) {
    (void)state;
    watches_release(&watches);
    close(near_fd);
    close(far_fd);
    return 0;
}

static struct sluice_watch *watch(uint32_t ready, uint32_t timeout_ms, struct told *told) {
    return watches_add(&watches, near_fd, ready, timeout_ms, tell, told, &sooner);
}

static void tells_what_is_asked_for(void **state) {
    (void)state;
    struct told told = {0};
    struct sluice_watch *one = watch(SLUICE_READY_READ, 0, &told);
    assert_non_null(one);
    assert_false(watches_serve(&watches, 0));
    assert_int_equal(write(far_fd, "x", 1), 1);
    assert_true(watches_serve(&watches, 0));
    assert_int_equal(told.ready, SLUICE_READY_READ);
    watches_change(&watches, one, SLUICE_READY_READ | SLUICE_READY_WRITE, 0, &sooner);
    assert_true(watches_serve(&watches, 0));
    assert_int_equal(told.ready, SLUICE_READY_READ | SLUICE_READY_WRITE);
    watches_change(&watches, one, 0, 0, &sooner);
    assert_false(watches_serve(&watches, 0));
    assert_int_equal(told.times, 2);
    assert_int_equal(watches_timeout_ms(&watches), -1);
    watches_remove(&watches, one);
}

static void tells_of_the_other_end_unasked(void **state) {
    (void)state;
    struct told told = {0};
    struct sluice_watch *one = watch(0, 0, &told);
    close(far_fd);
    assert_true(watches_serve(&watches, 0));
    assert_int_equal(told.ready, SLUICE_READY_HANGUP);
    watches_remove(&watches, one);
    far_fd = dup(near_fd);
}

static void time_begins_anew_with_each_call(void **state) {
    (void)state;
    struct told told = {0};
    struct sluice_watch *one = watch(SLUICE_READY_READ, 60000, &told);
    assert_true(sooner);
    assert_in_range(watches_timeout_ms(&watches), 50000, 60000);
    watches_change(&watches, one, SLUICE_READY_READ, 90000, &sooner);
    assert_false(sooner);
    watches_change(&watches, one, SLUICE_READY_READ, 20, &sooner);
    assert_true(sooner);
    uint64_t begun_ms = clock_mono_ms();
    while (told.times == 0 && clock_mono_ms() - begun_ms < DEADLINE_MS)
        watches_serve(&watches, watches_timeout_ms(&watches));
    assert_int_equal(told.ready, SLUICE_READY_TIMEOUT);
    assert_true(clock_mono_ms() - begun_ms >= 20);
    assert_in_range(watches_timeout_ms(&watches), 1, 20); /* the next one */
    watches_change(&watches, one, SLUICE_READY_READ, 0, &sooner);
    /* One look in vain, then nothing is waited for. */
    while (watches_timeout_ms(&watches) >= 0 && clock_mono_ms() - begun_ms < DEADLINE_MS)
        watches_serve(&watches, watches_timeout_ms(&watches));
    assert_int_equal(told.times, 1);
    watches_remove(&watches, one);
}

static void may_be_ended_from_within(void **state) {
    (void)state;
    struct told told = {0};
    assert_int_equal(write(far_fd, "x", 1), 1);
    told.end = watch(SLUICE_READY_READ, 5, &told);
    assert_true(watches_serve(&watches, 0));
    assert_false(watches_serve(&watches, 20));
    assert_int_equal(told.times, 1);
}

/* epoll has told of both when the first one ends the second, whose place is taken again. */
static void what_ended_meanwhile_is_not_told(void **state) {
    (void)state;
    struct told first = {0};
    struct told second = {0};
    struct told third = {0};
    int other = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sluice_watch *one = watch(SLUICE_READY_WRITE, 0, &first);
    struct sluice_watch *two =
        watches_add(&watches, other, SLUICE_READY_READ, 0, tell, &second, &sooner);
    first.end = two;
    second.end = one;
    assert_true(watches_serve(&watches, 0));
    assert_int_equal(first.times + second.times, 1);
    struct sluice_watch *left = first.times == 1 ? one : two;
    first.times = second.times = 0;
    int silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sluice_watch *again =
        watches_add(&watches, silent, SLUICE_READY_READ, 0, tell, &third, &sooner);
    assert_true(watches_serve(&watches, 0));
    assert_int_equal(first.times + second.times, 1);
    assert_int_equal(third.times, 0);
    watches_remove(&watches, left);
    watches_remove(&watches, again);
    close(other);
    close(silent);
}

static void there_is_a_limit(void **state) {
    (void)state;
    static struct sluice_watch *all[SLUICE_WATCHES_MAX];
    static int fds[SLUICE_WATCHES_MAX];
    struct told told = {0};
    uint32_t count = 0;
    while (count < SLUICE_WATCHES_MAX) {
        fds[count] = dup(near_fd);
        if (fds[count] < 0)
            break; /* the limit of open files comes first */
        all[count] = watches_add(&watches, fds[count], SLUICE_READY_READ, 0, tell, &told, &sooner);
        assert_non_null(all[count]);
        count++;
    }
    if (count == SLUICE_WATCHES_MAX)
        assert_null(watch(SLUICE_READY_READ, 0, &told));
    for (uint32_t i = 0; i < count; i++) {
        watches_remove(&watches, all[i]);
        close(fds[i]);
    }
}

/* ---- two threads ---------------------------------------------------------------------------- */

static _Atomic bool inside;
static _Atomic bool may_return;
static _Atomic bool returned;

static void stay(void *argument, uint32_t ready) {
    (void)argument;
    (void)ready;
    atomic_store(&inside, true);
    while (!atomic_load(&may_return))
        usleep(1000);
    atomic_store(&returned, true);
}

static void *serve(void *unused) {
    (void)unused;
    while (!watches_serve(&watches, 100))
        ;
    return NULL;
}

static void *let_return(void *unused) {
    (void)unused;
    usleep(20000); /* so that the one who ends it is waiting by then; either way it must hold */
    atomic_store(&may_return, true);
    return NULL;
}

static void its_end_waits_for_the_call(void **state) {
    (void)state;
    pthread_t server, releaser;
    struct sluice_watch *one =
        watches_add(&watches, near_fd, SLUICE_READY_WRITE, 0, stay, NULL, &sooner);
    assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
    while (!atomic_load(&inside))
        usleep(1000);
    assert_int_equal(pthread_create(&releaser, NULL, let_return, NULL), 0);
    watches_remove(&watches, one);
    assert_true(atomic_load(&returned));
    pthread_join(server, NULL);
    pthread_join(releaser, NULL);
}

int main(void) {
#define EACH(test) cmocka_unit_test_setup_teardown(test, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(tells_what_is_asked_for),          EACH(tells_of_the_other_end_unasked),
        EACH(time_begins_anew_with_each_call),  EACH(may_be_ended_from_within),
        EACH(what_ended_meanwhile_is_not_told), EACH(there_is_a_limit),
        EACH(its_end_waits_for_the_call),
    };
#undef EACH
    return cmocka_run_group_tests(tests, NULL, NULL);
}

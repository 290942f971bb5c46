/* SPDX-License-Identifier: Apache-2.0
 *
 * watches_test.c: descriptors that a driver has watched, on its own thread and in turns.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "conform/watch.h"
#include "conform/watches.h"

#define PATIENCE_MS 10000

struct seen {
    struct watches *watches;
    struct sluice_watch *watch;
    int fd;
    _Atomic uint32_t ready;
    _Atomic uint32_t calls;
    bool ends_itself;
};

static void on_ready(void *argument, uint32_t ready) {
    struct seen *seen = argument;
    char byte;
    if ((ready & SLUICE_READY_READ) != 0) {
        assert_int_equal(read(seen->fd, &byte, 1), 1);
    }
    seen->ready |= ready;
    seen->calls++;
    if (seen->ends_itself) {
        watches_remove(seen->watches, seen->watch);
    }
}

static void wait_for(struct seen *seen, uint32_t ready) {
    uint64_t begun_ms = watch_now_ms();
    while ((seen->ready & ready) != ready) {
        assert_true(watch_now_ms() - begun_ms < PATIENCE_MS);
        if (seen->watches->has_thread) {
            usleep(1000);
        } else {
            watches_turn(seen->watches, 50);
        }
    }
}

static void serves(bool by_a_thread) {
    struct watches watches;
    int ends[2];
    assert_true(watches_open(&watches));
    assert_true(!by_a_thread || watches_serve(&watches));
    assert_int_equal(pipe(ends), 0);
    struct seen seen = {.watches = &watches, .fd = ends[0]};
    seen.watch = watches_add(&watches, ends[0], SLUICE_READY_READ, 0, on_ready, &seen);
    assert_non_null(seen.watch);
    assert_int_equal(write(ends[1], "x", 1), 1);
    wait_for(&seen, SLUICE_READY_READ);
    assert_int_equal(seen.calls, 1);
    watches_change(&watches, seen.watch, SLUICE_READY_READ, 1);
    wait_for(&seen, SLUICE_READY_TIMEOUT);
    watches_change(&watches, seen.watch, 0, 0);
    assert_int_equal(close(ends[1]), 0);
    wait_for(&seen, SLUICE_READY_HANGUP);
    watches_remove(&watches, seen.watch);
    uint32_t calls = seen.calls;
    if (!by_a_thread) {
        watches_turn(&watches, 0);
    }
    assert_int_equal(watches_close(&watches), 0);
    assert_int_equal(seen.calls, calls);
    assert_int_equal(close(ends[0]), 0);
}

static void a_thread_serves(void **state) {
    (void)state;
    serves(true);
}

static void turns_serve(void **state) {
    (void)state;
    serves(false);
}

static void one_that_ends_itself_is_not_called_again(void **state) {
    (void)state;
    struct watches watches;
    int ends[2];
    assert_true(watches_open(&watches));
    assert_int_equal(pipe(ends), 0);
    struct seen seen = {.watches = &watches, .fd = ends[0], .ends_itself = true};
    seen.watch = watches_add(&watches, ends[0], SLUICE_READY_READ, 0, on_ready, &seen);
    assert_int_equal(write(ends[1], "xx", 2), 2);
    wait_for(&seen, SLUICE_READY_READ);
    watches_turn(&watches, 0);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(watches_close(&watches), 0);
    close(ends[0]);
    close(ends[1]);
}

static void what_is_left_is_counted(void **state) {
    (void)state;
    struct watches watches;
    struct seen seen = {.watches = &watches};
    assert_true(watches_open(&watches));
    for (uint32_t i = 0; i < SLUICE_WATCHES_MAX; i++) {
        assert_non_null(watches_add(&watches, STDIN_FILENO, 0, 0, on_ready, &seen));
    }
    assert_null(watches_add(&watches, STDIN_FILENO, 0, 0, on_ready, &seen));
    assert_int_equal(watches_close(&watches), SLUICE_WATCHES_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_serves),
        cmocka_unit_test(turns_serve),
        cmocka_unit_test(one_that_ends_itself_is_not_called_again),
        cmocka_unit_test(what_is_left_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

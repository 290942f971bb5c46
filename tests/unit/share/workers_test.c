/* SPDX-License-Identifier: Apache-2.0
 *
 * workers_test.c: every task that was taken runs once, owners are waited for, and what there is no
 * room for is given back.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "share/workers.h"

#define TASKS 20000
#define DEADLINE_S 20

struct owner {
    uint32_t pending;
    _Atomic uint32_t runs;
    _Atomic uint32_t together;
    _Atomic uint32_t most;
    pthread_mutex_t gate;
};

static struct workers workers;
static struct owner owner;

static int setup(void **state) {
    (void)state;
    workers_init(&workers, WORKERS_MAX);
    owner = (struct owner){.pending = 0};
    pthread_mutex_init(&owner.gate, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    workers_release(&workers);
    pthread_mutex_destroy(&owner.gate);
    return 0;
}

static void count(void *argument, struct sluice_io *io) {
    struct owner *of = argument;
    uint32_t now = atomic_fetch_add(&of->together, 1) + 1;
    uint32_t most = atomic_load(&of->most);
    while (now > most && !atomic_compare_exchange_weak(&of->most, &most, now)) {
    }
    pthread_mutex_lock(&of->gate);
    pthread_mutex_unlock(&of->gate);
    (void)io;
    atomic_fetch_add(&of->runs, 1);
    atomic_fetch_sub(&of->together, 1);
}

static bool submit(struct sluice_io *io) {
    const struct worker_task task = {
        .run = count, .owner = &owner, .pending = &owner.pending, .io = io};
    return workers_submit(&workers, &task);
}

static void each_task_runs_once(void **state) {
    struct sluice_io io = {.size = sizeof io};
    uint32_t taken = 0;
    time_t deadline = time(NULL) + DEADLINE_S;
    (void)state;
    while (taken < TASKS && time(NULL) < deadline) {
        taken += submit(&io);
    }
    workers_wait(&workers, &owner.pending);
    assert_int_equal(owner.pending, 0);
    assert_int_equal(atomic_load(&owner.runs), taken);
    assert_int_equal(taken, TASKS);
}

/* With the gate shut the threads are all busy, then the queue fills, then nothing is taken. */
static void threads_and_queue_have_an_end(void **state) {
    struct sluice_io io = {.size = sizeof io};
    uint32_t taken = 0;
    time_t deadline = time(NULL) + DEADLINE_S;
    (void)state;
    pthread_mutex_lock(&owner.gate);
    while (taken < WORKERS_MAX + WORKERS_QUEUE_MAX && time(NULL) < deadline) {
        taken += submit(&io);
    }
    assert_int_equal(taken, WORKERS_MAX + WORKERS_QUEUE_MAX);
    while (atomic_load(&owner.together) < WORKERS_MAX && time(NULL) < deadline) {
        sched_yield();
    }
    assert_int_equal(atomic_load(&owner.together), WORKERS_MAX);
    assert_false(submit(&io));
    pthread_mutex_unlock(&owner.gate);
    workers_wait(&workers, &owner.pending);
    assert_int_equal(atomic_load(&owner.runs), taken);
    assert_int_equal(atomic_load(&owner.most), WORKERS_MAX);
}

static void there_are_no_more_threads_than_asked_for(void **state) {
    struct sluice_io io = {.size = sizeof io};
    time_t deadline = time(NULL) + DEADLINE_S;
    uint32_t taken = 0;
    (void)state;
    workers_release(&workers);
    workers_init(&workers, 2);
    while (taken < TASKS && time(NULL) < deadline) {
        taken += submit(&io);
    }
    workers_wait(&workers, &owner.pending);
    assert_int_equal(atomic_load(&owner.runs), TASKS);
    assert_in_range(atomic_load(&owner.most), 1, 2);
    assert_in_range(workers.thread_count, 1, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_task_runs_once, setup, teardown),
        cmocka_unit_test_setup_teardown(there_are_no_more_threads_than_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_and_queue_have_an_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

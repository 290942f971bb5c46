/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread models: what overlaps, what never does, and in which order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runner/dispatch.h"

#define DEADLINE_MS 10000
#define JOBS 64

struct test_job {
    struct job job;
    unsigned number;
    _Atomic bool began;
    _Atomic bool may_end;
    _Atomic bool ended;
    pthread_t thread;
};

static struct dispatch dispatch;
static struct test_job jobs[JOBS];
static _Atomic unsigned finished;
static _Atomic unsigned order_length;
static unsigned order[JOBS];

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void wait_for(_Atomic bool *condition) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (!atomic_load(condition)) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("waited in vain");
        nap();
    }
}

static void wait_finished(unsigned count) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (atomic_load(&finished) < count) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("%u of %u finished", atomic_load(&finished), count);
        nap();
    }
}

static void run(struct job *job) {
    struct test_job *test = (struct test_job *)(void *)job;
    test->thread = pthread_self();
    order[atomic_fetch_add(&order_length, 1)] = test->number;
    atomic_store(&test->began, true);
    wait_for(&test->may_end);
    atomic_store(&test->ended, true);
}

static void on_finished(struct job *job) {
    (void)job;
    atomic_fetch_add(&finished, 1);
}

static void prepare(unsigned number, enum wire_serial serial, uint8_t volume, bool may_end) {
    jobs[number] = (struct test_job){.number = number};
    jobs[number].job = (struct job){.run = run, .finished = on_finished, .serial = serial};
    if (volume != 0) {
        jobs[number].job.volume_count = 1;
        jobs[number].job.volumes[0].bytes[0] = volume;
    }
    atomic_store(&jobs[number].may_end, may_end);
}

static void submit(unsigned number, enum wire_serial serial, uint8_t volume) {
    prepare(number, serial, volume, false);
    dispatch_submit(&dispatch, &jobs[number].job);
}

static void let_end(unsigned number) {
    atomic_store(&jobs[number].may_end, true);
}

static void open_with(uint32_t model) {
    struct err err = ERR_INIT;
    atomic_store(&finished, 0);
    atomic_store(&order_length, 0);
    assert_true(dispatch_open(&dispatch, model, &err));
}

/* A job that would begin if it could has had the chance to when one that was submitted after it and
 * may begin has begun. */
static void different_volumes_overlap_and_the_same_does_not(void **state) {
    (void)state;
    static const uint32_t models[] = {SLUICE_THREADS_PER_VOLUME, SLUICE_THREADS_PARALLEL};
    for (size_t i = 0; i < 2; i++) {
        open_with(models[i]);
        submit(0, WIRE_SERIAL_VOLUME, 1);
        submit(1, WIRE_SERIAL_VOLUME, 1);
        submit(2, WIRE_SERIAL_VOLUME, 2);
        submit(3, WIRE_SERIAL_NONE, 0);
        wait_for(&jobs[0].began);
        wait_for(&jobs[2].began);
        wait_for(&jobs[3].began);
        assert_false(atomic_load(&jobs[1].began));
        uint32_t count;
        uint32_t oldest_ms;
        dispatch_running(&dispatch, &count, &oldest_ms);
        assert_int_equal(count, 3);
        let_end(0);
        wait_for(&jobs[1].began);
        assert_true(atomic_load(&jobs[0].ended));
        for (unsigned k = 1; k < 4; k++)
            let_end(k);
        wait_finished(4);
        dispatch_close(&dispatch);
    }
}

static void a_source_counts_as_named(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_PER_VOLUME);
    submit(0, WIRE_SERIAL_VOLUME, 1);
    prepare(1, WIRE_SERIAL_VOLUME, 2, false);
    jobs[1].job.volume_count = 2;
    jobs[1].job.volumes[1].bytes[0] = 1;
    dispatch_submit(&dispatch, &jobs[1].job);
    submit(2, WIRE_SERIAL_VOLUME, 2); /* behind 1, which waits for 0 */
    submit(3, WIRE_SERIAL_VOLUME, 3);
    wait_for(&jobs[3].began);
    assert_false(atomic_load(&jobs[1].began));
    assert_false(atomic_load(&jobs[2].began));
    for (unsigned k = 0; k < 4; k++)
        let_end(k);
    wait_finished(4);
    assert_true(order[2] == 1 && order[3] == 2);
    dispatch_close(&dispatch);
}

static void a_job_of_the_pool_runs_alone(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_PARALLEL);
    submit(0, WIRE_SERIAL_VOLUME, 1);
    submit(1, WIRE_SERIAL_POOL, 0);
    submit(2, WIRE_SERIAL_VOLUME, 2);
    submit(3, WIRE_SERIAL_NONE, 0);
    wait_for(&jobs[0].began);
    uint32_t count;
    uint32_t oldest_ms;
    dispatch_running(&dispatch, &count, &oldest_ms);
    assert_int_equal(count, 1);
    let_end(0);
    wait_for(&jobs[1].began);
    dispatch_running(&dispatch, &count, &oldest_ms);
    assert_true(atomic_load(&jobs[0].ended));
    assert_false(atomic_load(&jobs[2].began));
    assert_false(atomic_load(&jobs[3].began));
    let_end(1);
    wait_for(&jobs[2].began);
    wait_for(&jobs[3].began);
    let_end(2);
    let_end(3);
    wait_finished(4);
    dispatch_close(&dispatch);
}

static void no_more_run_than_there_are_workers(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_PARALLEL);
    for (unsigned i = 0; i < DISPATCH_WORKERS_MAX + 4; i++)
        submit(i, WIRE_SERIAL_VOLUME, (uint8_t)(i + 1));
    for (unsigned i = 0; i < DISPATCH_WORKERS_MAX; i++)
        wait_for(&jobs[i].began);
    uint32_t count;
    uint32_t oldest_ms;
    dispatch_running(&dispatch, &count, &oldest_ms);
    assert_int_equal(count, DISPATCH_WORKERS_MAX);
    for (unsigned i = 0; i < DISPATCH_WORKERS_MAX + 4; i++)
        let_end(i);
    wait_finished(DISPATCH_WORKERS_MAX + 4);
    assert_int_equal(dispatch.worker_count, DISPATCH_WORKERS_MAX);
    dispatch_close(&dispatch);
}

static void serial_is_one_thread_in_order(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_SERIAL);
    for (unsigned i = 0; i < JOBS; i++) {
        prepare(i, i % 3 == 0 ? WIRE_SERIAL_NONE : WIRE_SERIAL_VOLUME, (uint8_t)(i % 3), true);
        dispatch_submit(&dispatch, &jobs[i].job);
    }
    wait_finished(JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(order[i], i);
        assert_true(pthread_equal(jobs[i].thread, jobs[0].thread));
    }
    assert_false(pthread_equal(jobs[0].thread, pthread_self()));
    dispatch_close(&dispatch);
}

static void loop_is_the_thread_that_submits(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_LOOP);
    prepare(0, WIRE_SERIAL_VOLUME, 1, true);
    dispatch_submit(&dispatch, &jobs[0].job);
    assert_int_equal(atomic_load(&finished), 1);
    assert_true(pthread_equal(jobs[0].thread, pthread_self()));
    assert_int_equal(dispatch.worker_count, 0);
    dispatch_close(&dispatch);
}

static bool wants_even(const struct job *job) {
    return ((const struct test_job *)(const void *)job)->number % 2 == 0;
}

static void what_has_not_begun_can_be_taken_back(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_SERIAL);
    submit(0, WIRE_SERIAL_NONE, 0);
    wait_for(&jobs[0].began);
    for (unsigned i = 1; i < 6; i++)
        submit(i, WIRE_SERIAL_NONE, 0);
    dispatch_discard(&dispatch, wants_even);
    assert_int_equal(atomic_load(&finished), 3); /* 1, 3 and 5, without having run */
    submit(6, WIRE_SERIAL_NONE, 0);              /* behind a list whose end was taken away */
    for (unsigned i = 0; i < 7; i++)
        let_end(i);
    wait_finished(7);
    assert_int_equal(atomic_load(&order_length), 4);
    assert_true(order[1] == 2 && order[2] == 4 && order[3] == 6);
    dispatch_close(&dispatch);
}

static void the_oldest_is_known(void **state) {
    (void)state;
    open_with(SLUICE_THREADS_PARALLEL);
    uint32_t count;
    uint32_t oldest_ms;
    dispatch_running(&dispatch, &count, &oldest_ms);
    assert_int_equal(count, 0);
    assert_int_equal(oldest_ms, 0);
    submit(0, WIRE_SERIAL_NONE, 0);
    wait_for(&jobs[0].began);
    uint64_t since_ms = clock_mono_ms();
    while (clock_mono_ms() < since_ms + 21) /* both are cut to whole milliseconds */
        nap();
    dispatch_running(&dispatch, &count, &oldest_ms);
    assert_int_equal(count, 1);
    assert_true(oldest_ms >= 20 && oldest_ms < DEADLINE_MS);
    let_end(0);
    wait_finished(1);
    dispatch_close(&dispatch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(different_volumes_overlap_and_the_same_does_not),
        cmocka_unit_test(a_source_counts_as_named),
        cmocka_unit_test(a_job_of_the_pool_runs_alone),
        cmocka_unit_test(no_more_run_than_there_are_workers),
        cmocka_unit_test(serial_is_one_thread_in_order),
        cmocka_unit_test(loop_is_the_thread_that_submits),
        cmocka_unit_test(what_has_not_begun_can_be_taken_back),
        cmocka_unit_test(the_oldest_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

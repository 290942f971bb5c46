/* SPDX-License-Identifier: Apache-2.0
 *
 * data_test.c: the data side with a driver that keeps its calls until the test completes them: what
 * may overlap, completions that are late, double or wrong, rings that are replaced, closing.
 */
#include "peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "ring/ring.h"
#include "runner/data.h"

#define KEPT_MAX 512

static struct services services;
static struct data *data;
static struct driver driver;
static struct sluice_pool limits;
static struct ring ring;
static struct wire_data_opened opened[2];
static _Atomic unsigned errors_logged;
static _Atomic unsigned wakes;

/* Calls inside the driver. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sluice_io *kept[KEPT_MAX];
static void *kept_handle[KEPT_MAX];
static uint32_t kept_count;
static _Atomic bool at_once;
static _Atomic unsigned closes;
static uint32_t opens;
static int32_t open_status;

static void on_log(void *owner, const struct wire_log *line) {
    (void)owner;
    atomic_fetch_add(&errors_logged, line->level == SLUICE_LOG_ERROR);
}

static void on_event(void *owner, const struct wire_event *event) {
    (void)owner;
    (void)event;
}

static void on_complete(void *owner, struct sluice_io *io, int32_t status, uint64_t token) {
    (void)owner;
    data_complete(data, io, status, token);
}

static void on_wake(void *owner) {
    (void)owner;
    atomic_fetch_add(&wakes, 1);
}

static void complete(struct sluice_io *io, int32_t status) {
    services.table.complete(&services.table, io, status, 77);
}

static int32_t drv_open(void *pool, struct sluice_call *call, const struct sluice_data_open *args,
                        struct sluice_data_opened *ret) {
    (void)pool;
    (void)call;
    (void)args;
    ret->io_align = 512;
    ret->size_bytes = 1 << 20;
    ret->token = 77;
    ret->handle = (void *)(uintptr_t)++opens;
    return open_status;
}

static void drv_close(void *handle) {
    (void)handle;
    atomic_fetch_add(&closes, 1);
}

static void drv_io(void *handle, struct sluice_io *io) {
    if (atomic_load(&at_once)) {
        complete(io, SLUICE_OK);
        return;
    }
    pthread_mutex_lock(&mutex);
    kept[kept_count] = io;
    kept_handle[kept_count++] = handle;
    pthread_mutex_unlock(&mutex);
}

static uint32_t inside(void) {
    pthread_mutex_lock(&mutex);
    uint32_t count = kept_count;
    pthread_mutex_unlock(&mutex);
    return count;
}

static void inside_reaches(uint32_t wanted) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (inside() != wanted && clock_mono_ms() < deadline_ms)
        sched_yield();
    assert_int_equal(inside(), wanted);
}

static struct sluice_io *release_first(void) {
    pthread_mutex_lock(&mutex);
    assert_int_not_equal(kept_count, 0);
    struct sluice_io *io = kept[0];
    kept_count--;
    memmove(kept, kept + 1, kept_count * sizeof kept[0]);
    memmove(kept_handle, kept_handle + 1, kept_count * sizeof kept_handle[0]);
    pthread_mutex_unlock(&mutex);
    return io;
}

static void attach(struct ring *of_data) {
    struct err err = ERR_INIT;
    assert_true(ring_create(of_data, &err));
    int copies[3] = {fcntl(of_data->memory_fd, F_DUPFD_CLOEXEC, 0),
                     fcntl(of_data->wake_runner, F_DUPFD_CLOEXEC, 0),
                     fcntl(of_data->wake_data, F_DUPFD_CLOEXEC, 0)};
    if (!data_attach(data, copies, &err))
        fail_msg("%s", err.text);
}

static uint32_t open_volume(uint8_t byte, uint64_t epoch, struct wire_data_opened *ret) {
    struct wire_data_open args = {.volume = id_of(byte), .epoch = epoch};
    struct sluice_call call;
    struct err err = ERR_INIT;
    services_call_init(&call);
    return (uint32_t)data_open_volume(data, NULL, &call, &args, ret, &err);
}

static void begin(uint32_t model, uint32_t in_flight_max) {
    services_init(&services, &(struct services_sink){
                                 .log = on_log, .event = on_event, .complete = on_complete});
    driver = (struct driver){.has_storage = true};
    driver.base.threads = model;
    driver.storage.data_open = drv_open;
    driver.storage.data_close = drv_close;
    driver.storage.data_read = drv_io;
    driver.storage.data_write = drv_io;
    driver.storage.data_flush = drv_io;
    driver.storage.data_extents = drv_io;
    limits = (struct sluice_pool){.in_flight_max = in_flight_max, .io_max = 8192};
    kept_count = 0;
    opens = 0;
    open_status = SLUICE_OK;
    atomic_store(&at_once, false);
    atomic_store(&closes, 0);
    atomic_store(&errors_logged, 0);
    data = data_create(&services, on_wake, NULL);
    assert_non_null(data);
    data_load(data, &driver);
    data_start(data, &limits);
    attach(&ring);
    assert_int_equal(open_volume(1, 1, &opened[0]), SLUICE_OK);
    assert_int_equal(open_volume(2, 1, &opened[1]), SLUICE_OK);
}

static void finish(void) {
    data_stop(data);
    data_destroy(data);
    ring_release(&ring);
    services_release(&services);
}

static void submit(uint64_t tag, uint16_t verb, uint32_t handle) {
    ring_submit(&ring, &(struct ring_submission){.tag = tag,
                                                 .verb = verb,
                                                 .handle = handle,
                                                 .length = verb == RING_FLUSH ? 0 : 4096});
    ring_publish(&ring);
}

static struct ring_completion next(void) {
    struct ring_completion completion;
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (!ring_next_completion(&ring, &completion)) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("no completion");
        sched_yield();
    }
    return completion;
}

static bool nothing_for_a_while(void) {
    uint64_t deadline_ms = clock_mono_ms() + 20;
    while (clock_mono_ms() < deadline_ms)
        if (ring_ready(&ring))
            return false;
    return true;
}

static void completions_come_in_any_order_from_any_thread(void **state) {
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 128);
    for (uint64_t tag = 0; tag < 3; tag++)
        submit(tag, RING_READ, opened[0].handle);
    inside_reaches(3);
    uint32_t running, oldest_ms;
    data_running(data, &running, &oldest_ms);
    assert_int_equal(running, 3);
    struct sluice_io *first = release_first();
    struct sluice_io *second = release_first();
    complete(second, SLUICE_OK);
    assert_int_equal(next().tag, 1);
    complete(first, SLUICE_NO_SPACE);
    struct ring_completion completion = next();
    assert_int_equal(completion.tag, 0);
    assert_int_equal(completion.status, SLUICE_NO_SPACE);
    complete(release_first(), 4711); /* no such status */
    assert_int_equal(next().status, SLUICE_INTERNAL);
    submit(9, RING_FLUSH, opened[0].handle);
    inside_reaches(1);
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().token, 77);
    finish();
    assert_int_equal(atomic_load(&closes), 2);
}

static void a_second_completion_is_ignored(void **state) {
    struct sluice_io not_ours = {.size = sizeof not_ours};
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 128);
    submit(1, RING_READ, opened[0].handle);
    submit(2, RING_READ, opened[0].handle);
    inside_reaches(2);
    struct sluice_io *first = release_first();
    complete(first, SLUICE_OK);
    complete(first, SLUICE_OK);
    complete(&not_ours, SLUICE_OK);
    complete((struct sluice_io *)(void *)((char *)first + 8), SLUICE_OK);
    assert_int_equal(atomic_load(&errors_logged), 3);
    assert_int_equal(next().tag, 1);
    assert_true(nothing_for_a_while());
    /* The place is not used again soon, so a late one still meets a free place. */
    atomic_store(&at_once, true);
    for (uint64_t tag = 10; tag < 210; tag++) {
        submit(tag, RING_READ, opened[0].handle);
        assert_int_equal(next().tag, tag);
    }
    complete(first, SLUICE_OK);
    assert_int_equal(atomic_load(&errors_logged), 4);
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().tag, 2);
    finish();
}

static void no_more_are_inside_than_the_pool_takes(void **state) {
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 5);
    for (uint64_t tag = 0; tag < 50; tag++)
        submit(tag, RING_READ, opened[tag % 2].handle);
    for (uint64_t tag = 0; tag < 50; tag++) {
        inside_reaches(tag <= 45 ? 5 : (uint32_t)(50 - tag));
        complete(release_first(), SLUICE_OK);
        assert_int_equal(next().tag, tag);
    }
    finish();
}

static void calls_of_one_volume_do_not_overlap(void **state) {
    (void)state;
    begin(SLUICE_THREADS_PER_VOLUME, 128);
    for (uint64_t tag = 0; tag < 6; tag++)
        submit(tag, RING_READ, opened[tag < 4 ? 0 : 1].handle);
    inside_reaches(2); /* one of each */
    assert_ptr_not_equal(kept_handle[0], kept_handle[1]);
    for (int i = 0; i < 6; i++) {
        complete(release_first(), SLUICE_OK);
        next();
        inside_reaches(i < 3 ? 2 : i < 5 ? 1 : 0);
    }
    finish();
}

static void *hold_volume(void *argument) {
    struct sluice_uuid volume = id_of(1);
    data_hold(data, &volume, 1);
    atomic_store((_Atomic bool *)argument, true);
    return NULL;
}

static void a_control_call_holds_data_calls_of_its_volume(void **state) {
    _Atomic bool held = false;
    pthread_t thread;
    struct sluice_uuid volume = id_of(1);
    (void)state;
    begin(SLUICE_THREADS_PER_VOLUME, 128);
    submit(1, RING_READ, opened[0].handle);
    inside_reaches(1);
    assert_int_equal(pthread_create(&thread, NULL, hold_volume, &held), 0);
    assert_true(nothing_for_a_while());
    assert_false(atomic_load(&held));
    complete(release_first(), SLUICE_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&held));
    assert_int_equal(next().tag, 1);
    submit(2, RING_READ, opened[0].handle);
    submit(3, RING_READ, opened[1].handle);
    inside_reaches(1);
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().tag, 3);
    assert_int_equal(inside(), 0);
    data_unhold(data, &volume, 1);
    inside_reaches(1);
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().tag, 2);
    finish();
}

static void turns_on_a_thread_of_others_are_short(void **state) {
    (void)state;
    begin(SLUICE_THREADS_LOOP, 128);
    atomic_store(&at_once, true);
    for (uint64_t tag = 0; tag < RING_ENTRIES; tag++)
        submit(tag, RING_READ, opened[0].handle);
    assert_true(data_turn(data, clock_mono_ns())); /* there is more, but the time is over */
    assert_false(data_turn(data, UINT64_MAX));
    for (uint64_t tag = 0; tag < RING_ENTRIES; tag++)
        assert_int_equal(next().tag, tag);
    /* A call that is under way at close: PENDING instead of a loop that waits. */
    atomic_store(&at_once, false);
    submit(1, RING_READ, opened[0].handle);
    assert_false(data_turn(data, UINT64_MAX));
    struct wire_data_close close = {.handle = opened[0].handle};
    assert_int_equal(data_close_volume(data, &close), SLUICE_PENDING);
    submit(2, RING_READ, opened[0].handle);
    assert_false(data_turn(data, UINT64_MAX));
    assert_int_equal(next().status, SLUICE_NOT_FOUND);
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().tag, 1);
    assert_int_equal(data_close_volume(data, &close), SLUICE_OK);
    assert_int_equal(atomic_load(&closes), 1);
    finish();
}

/* What the driver still has of a ring that was replaced is completed into nothing, and its pages
 * are there until then. */
static void calls_of_a_former_ring_end_in_nothing(void **state) {
    struct ring former;
    struct err err = ERR_INIT;
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 3);
    for (uint64_t tag = 0; tag < 4; tag++)
        submit(tag, RING_READ, opened[0].handle);
    inside_reaches(3);
    former = ring;
    attach(&ring);
    submit(5, RING_READ, opened[0].handle);
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (atomic_load(&ring.shared->submission_head.head) == 0 && clock_mono_ms() < deadline_ms)
        sched_yield(); /* until it has been taken over */
    for (int i = 0; i < 3; i++) {
        struct sluice_io *late = release_first();
        memset(late->buffer, i, 4096);
        complete(late, SLUICE_OK);
        inside_reaches(3 - (uint32_t)i); /* tag 5 has begun; what waited of the former never does */
    }
    complete(release_first(), SLUICE_OK);
    assert_int_equal(next().tag, 5);
    assert_true(nothing_for_a_while());
    assert_false(ring_ready(&former));
    ring_release(&former);
    /* Hanging calls of former rings: not any number of them. */
    submit(6, RING_READ, opened[0].handle);
    inside_reaches(1);
    struct ring more[2];
    attach(&more[0]);
    ring_submit(&more[0], &(struct ring_submission){
                              .verb = RING_READ, .handle = opened[0].handle, .length = 4096});
    ring_publish(&more[0]);
    inside_reaches(2);
    attach(&more[1]);
    ring_submit(&more[1], &(struct ring_submission){
                              .verb = RING_READ, .handle = opened[0].handle, .length = 4096});
    ring_publish(&more[1]);
    inside_reaches(3);
    int copies[3] = {fcntl(ring.memory_fd, F_DUPFD_CLOEXEC, 0),
                     fcntl(ring.wake_runner, F_DUPFD_CLOEXEC, 0),
                     fcntl(ring.wake_data, F_DUPFD_CLOEXEC, 0)};
    assert_false(data_attach(data, copies, &err));
    assert_int_equal(err.code, ERR_BUSY);
    while (inside() > 0)
        complete(release_first(), SLUICE_OK);
    finish();
    ring_release(&more[0]);
    ring_release(&more[1]);
}

static void extents_that_cannot_be_true_are_internal(void **state) {
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 128);
    for (int lie = 0; lie < 5; lie++) {
        submit(1, RING_EXTENTS, opened[0].handle);
        inside_reaches(1);
        struct sluice_io *io = release_first();
        assert_int_equal(io->extents_capacity, RING_EXTENTS_MAX);
        io->extents_count = 2;
        io->extents[0] = (struct sluice_extent){.offset = 0, .length = 512, .flags = 3};
        io->extents[1] = (struct sluice_extent){.offset = 512, .length = 512};
        if (lie == 1)
            io->extents[1].offset = 513;
        if (lie == 2)
            io->extents[1].length = 4096;
        if (lie == 3)
            io->extents_count = RING_EXTENTS_MAX + 1;
        if (lie == 4)
            io->extents_count = 0;
        complete(io, SLUICE_OK);
        struct ring_completion completion = next();
        assert_int_equal(completion.status, lie == 0 ? SLUICE_OK : SLUICE_INTERNAL);
        assert_int_equal(completion.count, lie == 0 ? 2 : 0);
        const struct ring_extent *extents = ring_payload(&ring, 0, RING_PAGE);
        assert_int_equal(extents[0].length, 512);
        assert_int_equal(extents[0].flags, 3);
    }
    finish();
}

static void an_open_is_an_open(void **state) {
    struct wire_data_opened again;
    (void)state;
    begin(SLUICE_THREADS_PARALLEL, 128);
    assert_int_equal(open_volume(1, 1, &again), SLUICE_OK);
    assert_int_equal(again.handle, opened[0].handle);
    assert_int_equal(opens, 2);
    assert_int_equal(open_volume(1, 0, &again), SLUICE_STALE);
    assert_int_equal(open_volume(1, 2, &again), SLUICE_OK);
    assert_int_not_equal(again.handle, opened[0].handle);
    assert_int_equal(atomic_load(&closes), 1);
    /* The former one's calls have to end first. */
    submit(1, RING_READ, again.handle);
    inside_reaches(1);
    struct wire_data_opened third;
    assert_int_equal(open_volume(1, 3, &third), SLUICE_PENDING);
    complete(release_first(), SLUICE_OK);
    next();
    assert_int_equal(open_volume(1, 3, &third), SLUICE_OK);
    open_status = SLUICE_BUSY;
    assert_int_equal(open_volume(3, 3, &third), SLUICE_BUSY);
    finish();
    assert_int_equal(atomic_load(&closes), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completions_come_in_any_order_from_any_thread),
        cmocka_unit_test(a_second_completion_is_ignored),
        cmocka_unit_test(no_more_are_inside_than_the_pool_takes),
        cmocka_unit_test(calls_of_one_volume_do_not_overlap),
        cmocka_unit_test(a_control_call_holds_data_calls_of_its_volume),
        cmocka_unit_test(turns_on_a_thread_of_others_are_short),
        cmocka_unit_test(calls_of_a_former_ring_end_in_nothing),
        cmocka_unit_test(extents_that_cannot_be_true_are_internal),
        cmocka_unit_test(an_open_is_an_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

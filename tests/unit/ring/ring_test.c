/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_test.c: both sides of a ring: order, fullness, wrapping, sleep between two processes, and an
 * other side that writes anything anywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "ring/ring.h"
#include <signal.h>
#include <sluice/driver.h>

#define CALLS 1000000
#define SLEEPING_CALLS 20000
#define DEADLINE_MS 60000
#define SCRIBBLES 2000

static struct ring of_data;
static struct ring of_runner;

static int copy_of(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void open_other(void) {
    struct err err = ERR_INIT;
    if (!ring_open(copy_of(of_data.memory_fd), copy_of(of_data.wake_runner),
                   copy_of(of_data.wake_data), &of_runner, &err))
        fail_msg("%s", err.text);
}

static int setup(void **state) {
    struct err err = ERR_INIT;
    (void)state;
    if (!ring_create(&of_data, &err))
        fail_msg("%s", err.text);
    open_other();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ring_release(&of_runner);
    ring_release(&of_data);
    return 0;
}

static void submit(uint64_t tag) {
    ring_submit(&of_data, &(struct ring_submission){.tag = tag, .verb = RING_FLUSH});
}

static void complete(uint64_t tag) {
    ring_complete(&of_runner, &(struct ring_completion){.tag = tag, .token = ~tag});
}

static void entries_come_in_order_and_only_after_publish(void **state) {
    struct ring_submission submission;
    struct ring_completion completion;
    (void)state;
    submit(1);
    submit(2);
    assert_false(ring_ready(&of_runner));
    assert_false(ring_next_submission(&of_runner, &submission));
    ring_publish(&of_data);
    assert_true(ring_ready(&of_runner));
    for (uint64_t tag = 1; tag <= 2; tag++) {
        assert_true(ring_next_submission(&of_runner, &submission));
        assert_int_equal(submission.tag, tag);
        complete(tag);
    }
    assert_false(ring_next_submission(&of_runner, &submission));
    ring_publish(&of_runner);
    for (uint64_t tag = 1; tag <= 2; tag++) {
        assert_true(ring_next_completion(&of_data, &completion));
        assert_int_equal(completion.tag, tag);
        assert_int_equal(completion.token, ~tag);
    }
    assert_false(ring_next_completion(&of_data, &completion));
}

/* A call keeps its room until its completion was taken. */
static void a_full_ring_has_no_room(void **state) {
    struct ring_submission submission;
    struct ring_completion completion;
    (void)state;
    for (uint32_t i = 0; i < RING_ENTRIES; i++) {
        assert_int_equal(ring_room(&of_data), RING_ENTRIES - i);
        submit(i);
    }
    assert_int_equal(ring_room(&of_data), 0);
    ring_publish(&of_data);
    for (uint32_t i = 0; i < RING_ENTRIES; i++) {
        assert_true(ring_next_submission(&of_runner, &submission));
        complete(submission.tag);
    }
    assert_int_equal(ring_room(&of_runner), 0);
    assert_int_equal(ring_room(&of_data), 0);
    ring_publish(&of_runner);
    assert_true(ring_next_completion(&of_data, &completion));
    assert_int_equal(ring_room(&of_data), 1);
    assert_int_equal(ring_room(&of_runner), 1);
}

/* Both sides as they are after 2^32 - 100 calls. */
static void counters_wrap(void **state) {
    const uint32_t start = UINT32_MAX - 99;
    struct ring_shared *shared = of_data.shared;
    (void)state;
    atomic_store(&shared->submission_tail.tail, start);
    atomic_store(&shared->submission_head.head, start);
    atomic_store(&shared->completion_tail.tail, start);
    atomic_store(&shared->completion_head.head, start);
    struct ring *const sides[] = {&of_data, &of_runner};
    for (int i = 0; i < 2; i++) {
        sides[i]->submitted = sides[i]->submission_seen = start;
        sides[i]->completed = sides[i]->completion_seen = start;
    }
    struct ring_submission submission;
    struct ring_completion completion;
    for (uint64_t round = 0; round < 10; round++) {
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(ring_room(&of_data), RING_ENTRIES - i);
            submit(round * 100 + i);
        }
        ring_publish(&of_data);
        for (uint64_t i = 0; i < 100; i++) {
            assert_true(ring_next_submission(&of_runner, &submission));
            assert_int_equal(submission.tag, round * 100 + i);
            assert_int_not_equal(ring_room(&of_runner), 0);
            complete(submission.tag);
        }
        ring_publish(&of_runner);
        for (uint64_t i = 0; i < 100; i++) {
            assert_true(ring_next_completion(&of_data, &completion));
            assert_int_equal(completion.tag, round * 100 + i);
        }
    }
    assert_false(ring_broken(&of_data));
    assert_false(ring_broken(&of_runner));
}

/* ---- two processes -------------------------------------------------------------------------- */

/* false: the deadline passed while it slept. */
static bool wait_for_entry(struct ring *ring, uint64_t budget_ns, uint64_t deadline_ms) {
    while (!ring_spin(ring, budget_ns)) {
        if (!ring_asleep(ring))
            continue;
        struct pollfd wake = {.fd = ring->side == RING_DATA ? ring->wake_data : ring->wake_runner,
                              .events = POLLIN};
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= deadline_ms || poll(&wake, 1, (int)(deadline_ms - now_ms)) != 1)
            return false;
        ring_awake(ring);
    }
    return true;
}

static _Noreturn void answer_all(uint64_t calls, uint64_t budget_ns, uint64_t deadline_ms) {
    struct ring_submission submission;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint64_t done = 0; done < calls;) {
        if (!wait_for_entry(&of_runner, budget_ns, deadline_ms))
            _exit(2);
        while (ring_next_submission(&of_runner, &submission)) {
            if (submission.tag != done || ring_room(&of_runner) == 0)
                _exit(3);
            complete(done++);
        }
        if (ring_broken(&of_runner))
            _exit(4);
        ring_publish(&of_runner);
    }
    _exit(0);
}

static void call_and_answer(uint64_t calls, uint32_t depth, uint64_t budget_ns) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        answer_all(calls, budget_ns, deadline_ms);
    struct ring_completion completion;
    uint64_t begun = 0;
    for (uint64_t ended = 0; ended < calls;) {
        while (begun < calls && begun - ended < depth)
            submit(begun++);
        ring_publish(&of_data);
        if (!wait_for_entry(&of_data, budget_ns, deadline_ms))
            fail_msg("asleep for ever after %llu calls", (unsigned long long)ended);
        while (ring_next_completion(&of_data, &completion))
            assert_int_equal(completion.tag, ended++);
        assert_false(ring_broken(&of_data));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_million_calls_and_no_wake_up_is_lost(void **state) {
    (void)state;
    call_and_answer(CALLS, 32, RING_SPIN_NS);
}

/* Without spinning each side sleeps all the time. */
static void one_call_at_a_time_between_sleepers(void **state) {
    (void)state;
    call_and_answer(SLEEPING_CALLS, 1, 0);
}

static void a_depth_that_varies_between_sleepers(void **state) {
    (void)state;
    call_and_answer(CALLS / 4, 7, 0);
}

static void sluice_data_says_how_long_both_sides_look(void **state) {
    (void)state;
    assert_int_equal(of_data.spin_ns, RING_SPIN_NS);
    assert_int_equal(of_runner.spin_ns, RING_SPIN_NS);
    ring_release(&of_runner);
    ring_set_spin(&of_data, 0);
    open_other();
    assert_int_equal(of_data.spin_ns, 0);
    assert_int_equal(of_runner.spin_ns, 0);
    /* Nobody is made to look longer than that is good for, whatever the memory says. */
    ring_release(&of_runner);
    of_data.shared->head.spin_ns = UINT32_MAX;
    open_other();
    assert_int_equal(of_runner.spin_ns, RING_SPIN_NS);
}

/* Edge-triggered, with a count that nobody takes back: every sleep still ends. */
static void who_waits_for_edges_is_told_each_time(void **state) {
    (void)state;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    struct ring_completion completion;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    assert_return_code(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, of_data.wake_data, &event), errno);
    for (uint64_t i = 0; i < 100; i++) {
        submit(i);
        ring_publish(&of_data);
        struct ring_submission submission;
        assert_true(ring_next_submission(&of_runner, &submission));
        assert_true(ring_asleep(&of_data));
        assert_int_equal(epoll_wait(epoll_fd, &event, 1, 0), 0);
        complete(i);
        ring_publish(&of_runner);
        assert_int_equal(epoll_wait(epoll_fd, &event, 1, 0), 1);
        ring_awake_at_edge(&of_data);
        assert_true(ring_next_completion(&of_data, &completion));
    }
    close(epoll_fd);
}

/* ---- an other side that means harm ---------------------------------------------------------- */

static void scribble(void) {
    uint32_t *word = (void *)of_data.shared;
    size_t words = offsetof(struct ring_shared, pages) / sizeof *word;
    if (random() % 2 == 0)
        words = offsetof(struct ring_shared, submissions) / sizeof *word;
    for (int i = 0; i < 64; i++)
        word[(size_t)random() % words] =
            random() % 4 == 0 ? (uint32_t)random() % 512 : (uint32_t)random();
}

/* More than a ring can have before it must have been found broken. */
static void use(struct ring *ring) {
    struct ring_submission submission;
    struct ring_completion completion;
    uint32_t taken = 0;
    ring_spin(ring, 1000);
    if (ring_asleep(ring))
        ring_awake(ring);
    if (ring->side == RING_DATA) {
        while (ring_next_completion(ring, &completion))
            assert_in_range(++taken, 1, 2 * RING_ENTRIES);
        while (ring_room(ring) > 0 && ring->unpublished < 8)
            submit(taken);
    } else {
        while (ring_next_submission(ring, &submission)) {
            assert_in_range(++taken, 1, 2 * RING_ENTRIES);
            if (ring_submission_valid(&submission) &&
                (submission.verb == RING_READ || submission.verb == RING_WRITE)) {
                uint8_t *payload = ring_payload(ring, submission.page, submission.length);
                assert_non_null(payload);
                assert_in_range(payload - ring->shared->pages[0], 0,
                                (uint64_t)RING_PAGES * RING_PAGE - submission.length);
            }
        }
        while (ring_room(ring) > 0 && ring->unpublished < 8)
            complete(taken);
    }
    ring_publish(ring);
}

static void whatever_the_memory_says_it_ends_well(void **state) {
    uint32_t broken = 0;
    (void)state;
    srandom(11);
    for (int i = 0; i < SCRIBBLES; i++) {
        struct ring *ring = i % 2 == 0 ? &of_data : &of_runner;
        scribble();
        use(ring);
        if (!ring_broken(ring))
            continue;
        broken++;
        assert_int_equal(ring_room(ring), 0);
        assert_false(ring_ready(ring));
        atomic_store(&ring->broken, false); /* the test goes on with it nevertheless */
    }
    assert_in_range(broken, 1, SCRIBBLES);
}

static void lies_are_found(void **state) {
    struct ring_submission submission;
    struct ring_completion completion;
    (void)state;
    submit(1);
    ring_publish(&of_data);
    /* More completions than calls. */
    atomic_store(&of_data.shared->completion_tail.tail, 2);
    assert_false(ring_next_completion(&of_data, &completion));
    assert_true(ring_broken(&of_data));
    /* More submissions than there are places. */
    atomic_store(&of_data.shared->submission_tail.tail, RING_ENTRIES + 1);
    assert_false(ring_next_submission(&of_runner, &submission));
    assert_true(ring_broken(&of_runner));
    assert_int_equal(ring_room(&of_runner), 0);
}

static void a_head_that_runs_ahead_is_a_lie(void **state) {
    (void)state;
    complete(1);
    ring_publish(&of_runner);
    complete(2);
    atomic_store(&of_data.shared->completion_head.head, 2); /* the second was not shown yet */
    assert_int_equal(ring_room(&of_runner), 0);
    assert_true(ring_broken(&of_runner));
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static int memory(size_t size, int seals) {
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void is_refused(int fd) {
    struct err err = ERR_INIT;
    struct ring ring;
    assert_false(ring_open(fd, copy_of(0), copy_of(0), &ring, &err));
    assert_int_equal(err.code, ERR_PROTOCOL);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
}

static void unsealed_memory_is_refused(void **state) {
    const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    (void)state;
    is_refused(memory(sizeof(struct ring_shared), F_SEAL_SHRINK));
    is_refused(memory(sizeof(struct ring_shared), F_SEAL_GROW));
    is_refused(memory(sizeof(struct ring_shared), F_SEAL_SHRINK | F_SEAL_GROW));
    is_refused(memory(sizeof(struct ring_shared) - 1, all));
    is_refused(memory(sizeof(struct ring_shared) + 4096, all));
    is_refused(memory(sizeof(struct ring_shared), all)); /* no magic */
    is_refused(open("/dev/null", O_RDWR | O_CLOEXEC));
}

static void flags_and_ranges_are_checked(void **state) {
    struct ring_submission good = {.verb = RING_WRITE, .length = 4096};
    struct ring_submission bad;
    (void)state;
    assert_true(ring_submission_valid(&good));
    good.flags = SLUICE_IO_FUA;
    assert_true(ring_submission_valid(&good));
    bad = good;
    bad.flags = SLUICE_IO_FAST_ZERO;
    assert_false(ring_submission_valid(&bad));
    bad = good;
    bad.offset = UINT64_MAX - 4096;
    assert_true(ring_submission_valid(&bad));
    bad.offset++;
    assert_false(ring_submission_valid(&bad));
    bad = (struct ring_submission){.verb = RING_FLUSH, .length = 1};
    assert_false(ring_submission_valid(&bad));
    bad = (struct ring_submission){.verb = RING_EXTENTS, .length = UINT64_MAX, .page = RING_PAGES};
    assert_false(ring_submission_valid(&bad));
    bad.page--;
    assert_true(ring_submission_valid(&bad));
    bad = (struct ring_submission){.verb = RING_TRIM, .length = UINT64_MAX, .page = UINT32_MAX};
    assert_true(ring_submission_valid(&bad));
    assert_null(ring_payload(&of_data, RING_PAGES, 0));
    assert_null(ring_payload(&of_data, RING_PAGES - 1, RING_PAGE + 1));
    assert_null(ring_payload(&of_data, 0, UINT64_MAX));
}

/* A runner that says it sleeps, never takes a wake-up, fills what it has and makes it blocking: the
 * trusted side publishes and looks and is never kept. */
static void a_runner_cannot_make_us_wait(void **state) {
    (void)state;
    static const int blocking = 0;
    assert_return_code(fcntl(of_runner.wake_runner, F_SETFL, blocking), errno);
    assert_return_code(fcntl(of_runner.wake_data, F_SETFL, blocking), errno);
    uint64_t bytes[512] = {1};
    while (send(of_runner.wake_runner, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    uint64_t most = UINT64_MAX - 1;
    assert_int_equal(write(of_runner.wake_data, &most, sizeof most), sizeof most);
    alarm(10); /* it ends the test */
    for (uint32_t i = 0; i < SLEEPING_CALLS; i++) {
        atomic_store(&of_runner.shared->runner.asleep, 1);
        struct ring_submission call = {.verb = RING_FLUSH, .tag = i};
        ring_submit(&of_data, &call);
        ring_publish(&of_data);
        assert_int_equal(atomic_load(&of_runner.shared->runner.asleep), 0); /* it was to be woken */
        assert_true(ring_next_submission(&of_runner, &call));
        struct ring_completion done = {.tag = i};
        ring_complete(&of_runner, &done);
        ring_publish(&of_runner);
        assert_true(ring_next_completion(&of_data, &done));
        ring_awake(&of_data);
    }
    ring_awake(&of_data); /* with nothing to take back */
    alarm(0);
    /* Where the runner hangs up, that ends nothing either. */
    assert_return_code(shutdown(of_runner.wake_runner, SHUT_RDWR), errno);
    atomic_store(&of_runner.shared->runner.asleep, 1);
    ring_submit(&of_data, &(struct ring_submission){.verb = RING_FLUSH});
    ring_publish(&of_data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(entries_come_in_order_and_only_after_publish),
        TEST(a_full_ring_has_no_room),
        TEST(counters_wrap),
        TEST(a_million_calls_and_no_wake_up_is_lost),
        TEST(one_call_at_a_time_between_sleepers),
        TEST(a_depth_that_varies_between_sleepers),
        TEST(sluice_data_says_how_long_both_sides_look),
        TEST(who_waits_for_edges_is_told_each_time),
        TEST(whatever_the_memory_says_it_ends_well),
        TEST(lies_are_found),
        TEST(a_head_that_runs_ahead_is_a_lie),
        TEST(unsealed_memory_is_refused),
        TEST(a_runner_cannot_make_us_wait),
        TEST(flags_and_ranges_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

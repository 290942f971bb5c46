/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c: see ring.h. The memory-ordering argument stands in docs/notes (the data plane); the test
 * sleep_model_test.c explores it.
 */
#include "ring/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include <sluice/driver.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LOOKS_PER_YIELD 16 /* about as long as the system call that they save */
#define CPU_UNKNOWN UINT32_MAX

_Static_assert((RING_ENTRIES & (RING_ENTRIES - 1)) == 0, "indexes wrap by a mask");
_Static_assert(RING_EXTENTS_MAX * sizeof(struct ring_extent) <= RING_PAGE, "one page is enough");

/* ---- life ----------------------------------------------------------------------------------- */

static bool map(struct ring *ring, struct err *err) {
    /* Pages come when they are touched: all of them at once would keep a thread that serves other
     * rings for ten milliseconds, and an idle ring would cost all of its memory. */
    void *at = mmap(NULL, sizeof(struct ring_shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                    ring->memory_fd, 0);
    if (at == MAP_FAILED)
        return err_errno(err, ERR_SYSTEM, errno, "mapping a ring");
    ring->shared = at;
    return true;
}

static bool make_memory(struct ring *ring, struct err *err) {
    ring->memory_fd = memfd_create("sluice-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ring->memory_fd < 0 || ftruncate(ring->memory_fd, sizeof(struct ring_shared)) != 0 ||
        fcntl(ring->memory_fd, F_ADD_SEALS, SEALS) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "making a ring");
    if (!map(ring, err))
        return false;
    ring->shared->head.magic = RING_MAGIC;
    ring->shared->head.version = RING_VERSION;
    ring->shared->head.entries = RING_ENTRIES;
    ring->shared->head.pages = RING_PAGES;
    ring_set_spin(ring, RING_SPIN_NS);
    atomic_store_explicit(&ring->shared->runner.cpu, CPU_UNKNOWN, memory_order_relaxed);
    atomic_store_explicit(&ring->shared->data.cpu, CPU_UNKNOWN, memory_order_relaxed);
    return true;
}

bool ring_create(struct ring *ret, struct err *err) {
    struct ring ring = {
        .side = RING_DATA, .memory_fd = -1, .wake_runner = -1, .wake_data = -1, .to_runner = -1};
    if (!make_memory(&ring, err))
        goto fail;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        err_errno(err, ERR_SYSTEM, errno, "making a ring's socket");
        goto fail;
    }
    ring.to_runner = pair[0];
    ring.wake_runner = pair[1];
    ring.wake_data = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring.wake_data < 0) {
        err_errno(err, ERR_SYSTEM, errno, "making a ring's eventfd");
        goto fail;
    }
    *ret = ring;
    return true;
fail:
    ring_release(&ring);
    return false;
}

void ring_set_spin(struct ring *ring, uint64_t spin_ns) {
    CHECK(ring->side == RING_DATA);
    ring->spin_ns = spin_ns < RING_SPIN_NS ? spin_ns : RING_SPIN_NS;
    ring->shared->head.spin_ns = (uint32_t)ring->spin_ns;
}

/* A file that can shrink would end its reader by SIGBUS. */
static bool is_sealed(int memory_fd, struct err *err) {
    int seals = fcntl(memory_fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return err_set(err, ERR_PROTOCOL, "the ring's memory is not sealed");
    struct stat stat;
    if (fstat(memory_fd, &stat) != 0 || stat.st_size != (off_t)sizeof(struct ring_shared))
        return err_set(err, ERR_PROTOCOL, "the ring's memory has the wrong size");
    return true;
}

static bool is_ours(const struct ring_shared *shared, struct err *err) {
    if (shared->head.magic == RING_MAGIC && shared->head.version == RING_VERSION &&
        shared->head.entries == RING_ENTRIES && shared->head.pages == RING_PAGES)
        return true;
    return err_set(err, ERR_PROTOCOL, "the ring is of another version");
}

bool ring_open(int memory_fd, int wake_runner, int wake_data, struct ring *ret, struct err *err) {
    struct ring ring = {.side = RING_RUNNER,
                        .memory_fd = memory_fd,
                        .wake_runner = wake_runner,
                        .wake_data = wake_data,
                        .to_runner = -1};
    if (!is_sealed(memory_fd, err) || !map(&ring, err) || !is_ours(ring.shared, err)) {
        ring_release(&ring);
        return false;
    }
    uint64_t spin_ns = *(const volatile uint32_t *)&ring.shared->head.spin_ns;
    ring.spin_ns = spin_ns < RING_SPIN_NS ? spin_ns : RING_SPIN_NS;
    *ret = ring;
    return true;
}

static void close_one(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ring_release(struct ring *ring) {
    if (ring->shared != NULL)
        munmap(ring->shared, sizeof *ring->shared);
    ring->shared = NULL;
    close_one(&ring->memory_fd);
    close_one(&ring->wake_runner);
    close_one(&ring->wake_data);
    close_one(&ring->to_runner);
}

/* ---- what this side writes and what it reads ------------------------------------------------ */

static void set_broken(struct ring *ring) {
    atomic_store_explicit(&ring->broken, true, memory_order_relaxed);
}

/* Where this side shows what it produced, and where the other side shows what it took of it. */
static _Atomic uint32_t *own_tail(const struct ring *ring) {
    struct ring_shared *shared = ring->shared;
    return ring->side == RING_DATA ? &shared->submission_tail.tail : &shared->completion_tail.tail;
}

static _Atomic uint32_t *their_head(const struct ring *ring) {
    struct ring_shared *shared = ring->shared;
    return ring->side == RING_DATA ? &shared->submission_head.head : &shared->completion_head.head;
}

static _Atomic uint32_t *their_tail(const struct ring *ring) {
    struct ring_shared *shared = ring->shared;
    return ring->side == RING_DATA ? &shared->completion_tail.tail : &shared->submission_tail.tail;
}

static _Atomic uint32_t *own_head(const struct ring *ring) {
    struct ring_shared *shared = ring->shared;
    return ring->side == RING_DATA ? &shared->completion_head.head : &shared->submission_head.head;
}

static _Atomic uint32_t *own_asleep(const struct ring *ring) {
    return ring->side == RING_DATA ? &ring->shared->data.asleep : &ring->shared->runner.asleep;
}

static _Atomic uint32_t *their_asleep(const struct ring *ring) {
    return ring->side == RING_DATA ? &ring->shared->runner.asleep : &ring->shared->data.asleep;
}

static _Atomic uint32_t *own_cpu(const struct ring *ring) {
    return ring->side == RING_DATA ? &ring->shared->data.cpu : &ring->shared->runner.cpu;
}

static _Atomic uint32_t *their_cpu(const struct ring *ring) {
    return ring->side == RING_DATA ? &ring->shared->runner.cpu : &ring->shared->data.cpu;
}

/* Tells where this thread runs, with a store only when that changed. */
static uint32_t show_cpu(struct ring *ring) {
    int number = sched_getcpu();
    uint32_t cpu = number >= 0 ? (uint32_t)number : CPU_UNKNOWN;
    if (atomic_load_explicit(own_cpu(ring), memory_order_relaxed) != cpu)
        atomic_store_explicit(own_cpu(ring), cpu, memory_order_relaxed);
    return cpu;
}

/* ---- producer ------------------------------------------------------------------------------- */

uint32_t ring_room(struct ring *ring) {
    bool data = ring->side == RING_DATA;
    uint32_t tail = data ? ring->submitted : ring->completed;
    uint32_t *seen = data ? &ring->submission_seen : &ring->completion_seen;
    if (ring_broken(ring))
        return 0;
    uint32_t head = atomic_load_explicit(their_head(ring), memory_order_acquire);
    /* It goes forward, and not beyond what was shown. */
    if (head - *seen > tail - ring->unpublished - *seen) {
        set_broken(ring);
        return 0;
    }
    *seen = head;
    uint32_t in_use = tail - head;
    uint32_t unanswered = data ? ring->submitted - ring->completion_seen : 0;
    return RING_ENTRIES - (in_use > unanswered ? in_use : unanswered);
}

/* There must be room: that is the caller's to see to. A ring that is broken takes nothing. */
static bool takes(struct ring *ring, uint32_t in_use) {
    if (in_use < RING_ENTRIES)
        return true;
    CHECK(ring_room(ring) > 0 || ring_broken(ring));
    return !ring_broken(ring);
}

void ring_submit(struct ring *ring, const struct ring_submission *submission) {
    CHECK(ring->side == RING_DATA);
    if (!takes(ring, ring->submitted - ring->submission_seen))
        return;
    ring->shared->submissions[ring->submitted % RING_ENTRIES] = *submission;
    ring->submitted++;
    ring->unpublished++;
}

void ring_complete(struct ring *ring, const struct ring_completion *completion) {
    CHECK(ring->side == RING_RUNNER);
    if (!takes(ring, ring->completed - ring->completion_seen))
        return;
    ring->shared->completions[ring->completed % RING_ENTRIES] = *completion;
    ring->completed++;
    ring->unpublished++;
}

/* The runner could make an eventfd's shared description a blocking one and fill it, and there is no
 * write to one that does not wait whatever its flags are. So the trusted side sends to a socket, of
 * which the runner has another end: a send that shall not wait does not. */
static void wake(const struct ring *ring) {
    uint64_t one = 1;
    ssize_t written = ring->side == RING_DATA
                          ? send(ring->to_runner, &one, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : write(ring->wake_data, &one, sizeof one);
    (void)written; /* full: then it is readable, and that is all that is wanted */
}

void ring_publish(struct ring *ring) {
    if (ring->unpublished == 0)
        return;
    ring->unpublished = 0;
    atomic_store_explicit(own_tail(ring),
                          ring->side == RING_DATA ? ring->submitted : ring->completed,
                          memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(their_asleep(ring), memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(their_asleep(ring), 0, memory_order_relaxed) != 0)
        wake(ring);
}

/* ---- consumer ------------------------------------------------------------------------------- */

/* Is the entry at *own there? `seen` is the largest tail that was believed. */
static bool is_there(struct ring *ring, uint32_t own, uint32_t *seen) {
    if (*seen != own)
        return !ring_broken(ring);
    if (ring_broken(ring))
        return false;
    uint32_t tail = atomic_load_explicit(their_tail(ring), memory_order_acquire);
    uint32_t most = ring->side == RING_DATA ? ring->submitted - own : RING_ENTRIES;
    if (tail - own > most) { /* nobody completes what was not submitted */
        set_broken(ring);
        return false;
    }
    *seen = tail;
    return tail != own;
}

/* Copies once, with accesses that the compiler neither repeats nor leaves out: what is looked at
 * afterwards cannot change any more. */
static void copy_out(void *to, const void *from, size_t size) {
    const volatile uint64_t *words = from;
    uint64_t copy[sizeof(struct ring_submission) / sizeof(uint64_t)];
    for (size_t i = 0; i < size / sizeof copy[0]; i++)
        copy[i] = words[i];
    memcpy(to, copy, size);
}

bool ring_next_submission(struct ring *ring, struct ring_submission *ret) {
    CHECK(ring->side == RING_RUNNER);
    if (!is_there(ring, ring->submission_seen, &ring->submitted))
        return false;
    copy_out(ret, &ring->shared->submissions[ring->submission_seen % RING_ENTRIES], sizeof *ret);
    atomic_store_explicit(own_head(ring), ++ring->submission_seen, memory_order_release);
    return true;
}

bool ring_next_completion(struct ring *ring, struct ring_completion *ret) {
    CHECK(ring->side == RING_DATA);
    if (!is_there(ring, ring->completion_seen, &ring->completed))
        return false;
    copy_out(ret, &ring->shared->completions[ring->completion_seen % RING_ENTRIES], sizeof *ret);
    atomic_store_explicit(own_head(ring), ++ring->completion_seen, memory_order_release);
    return true;
}

bool ring_ready(const struct ring *ring) {
    uint32_t own = ring->side == RING_DATA ? ring->completion_seen : ring->submission_seen;
    return !ring_broken(ring) &&
           atomic_load_explicit(their_tail(ring), memory_order_acquire) != own;
}

static void pause_a_little(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

bool ring_spin(struct ring *ring, uint64_t budget_ns) {
    uint32_t cpu = show_cpu(ring);
    if (ring_ready(ring))
        return true;
    if (budget_ns == 0 || ring_broken(ring))
        return false;
    uint64_t until_ns = clock_mono_ns() + budget_ns;
    /* On one processor the other side cannot run while this one looks. */
    while (atomic_load_explicit(their_cpu(ring), memory_order_relaxed) != cpu) {
        for (int i = 0; i < LOOKS_PER_YIELD; i++) {
            if (ring_ready(ring))
                return true;
            pause_a_little();
        }
        if (clock_mono_ns() >= until_ns)
            return false;
        sched_yield();
        cpu = show_cpu(ring);
    }
    return ring_ready(ring);
}

bool ring_asleep(struct ring *ring) {
    atomic_store_explicit(own_asleep(ring), 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!ring_ready(ring))
        return true;
    atomic_store_explicit(own_asleep(ring), 0, memory_order_relaxed);
    return false;
}

void ring_awake_at_edge(struct ring *ring) {
    atomic_store_explicit(own_asleep(ring), 0, memory_order_relaxed);
}

/* Neither waits: RWF_NOWAIT, because the other side may have made the shared description of the
 * eventfd a blocking one. What is left in the socket wakes once more than it had to. */
void ring_awake(struct ring *ring) {
    uint64_t count[8];
    struct iovec part = {.iov_base = count, .iov_len = sizeof count};
    ring_awake_at_edge(ring);
    ssize_t taken = ring->side == RING_DATA
                        ? preadv2(ring->wake_data, &part, 1, -1, RWF_NOWAIT)
                        : recv(ring->wake_runner, count, sizeof count, MSG_DONTWAIT);
    (void)taken; /* nothing there: nobody had to write */
}

/* ---- descriptors and payload ---------------------------------------------------------------- */

void *ring_payload(const struct ring *ring, uint32_t page, uint64_t length) {
    if (page >= RING_PAGES || length > (uint64_t)(RING_PAGES - page) * RING_PAGE)
        return NULL;
    return ring->shared->pages[page];
}

static bool is_inside(uint32_t page, uint64_t length) {
    return page < RING_PAGES && length <= (uint64_t)(RING_PAGES - page) * RING_PAGE;
}

bool ring_submission_valid(const struct ring_submission *submission) {
    uint16_t allowed;
    uint64_t payload = 0;
    bool bounded = true;
    switch (submission->verb) {
    case RING_READ:
        allowed = 0;
        payload = submission->length;
        break;
    case RING_WRITE:
        allowed = SLUICE_IO_FUA;
        payload = submission->length;
        break;
    case RING_FLUSH:
        allowed = 0;
        bounded = submission->length == 0 && submission->offset == 0;
        break;
    case RING_WRITE_ZEROES:
        allowed = SLUICE_IO_FUA | SLUICE_IO_FAST_ZERO | SLUICE_IO_NO_HOLE;
        break;
    case RING_TRIM:
        allowed = SLUICE_IO_FUA;
        break;
    case RING_EXTENTS:
        allowed = 0;
        payload = RING_EXTENTS_MAX * sizeof(struct ring_extent);
        break;
    default:
        return false;
    }
    return bounded && (submission->flags & ~allowed) == 0 && payload <= RING_CALL_MAX &&
           submission->length <= UINT64_MAX - submission->offset &&
           (payload == 0 || is_inside(submission->page, payload));
}

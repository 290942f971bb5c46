/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h: data calls between sluice-data and a runner, through shared memory.
 *
 * One ring is one sealed memfd, and to wake each other a socket (the runner) and an eventfd
 * (sluice-data): descriptors one way (submissions, written by
 * sluice-data), descriptors the other (completions, written by the runner), and payload pages. Each
 * direction has one producer thread and one consumer thread. The memory is hostile ground for both
 * sides: the other one may write anything anywhere at any time. So a descriptor is copied, then
 * validated; indexes of the other side are clamped to what can be true, and a ring that says what
 * cannot be true is broken (ring_broken) and never used again. Payload pages are handed out by
 * sluice-data from a map that only it sees.
 *
 * Sleep protocol, for both directions (docs/notes, memory ordering):
 *   consumer: sleep = 1; seq_cst fence; look at the ring again; nothing: wait to be woken
 *   producer: publish the tail (release); seq_cst fence; sleep was 1? exchange it to 0: wake it
 * Before it sleeps a consumer may look for up to `spin_ns` of the ring, yielding, unless the other
 * side was last seen on the same processor (and see patience.h). sluice-data says how long that is;
 * never more than RING_SPIN_NS.
 *
 * Life cycle: sluice-data calls ring_create, hands copies of the three descriptors on, and unmaps
 * with ring_release after the runner is known to be gone or detached. The runner calls ring_open
 * on the descriptors it was given.
 */
#ifndef SLUICE_RING_RING_H
#define SLUICE_RING_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RING_MAGIC 0x676e6972u
#define RING_VERSION 1
#define RING_ENTRIES 256            /* each way; a power of two */
#define RING_PAGE 4096              /* bytes */
#define RING_PAGES 8192             /* 32 MiB of payload: 32 calls of the largest size */
#define RING_CALL_MAX (1024 * 1024) /* bytes of payload of one call */
#define RING_EXTENTS_MAX 128        /* entries that an EXTENTS call answers */
#define RING_SPIN_NS 50000          /* what waking a halted processor costs */

enum ring_verb {
    RING_READ = 1,
    RING_WRITE = 2,
    RING_FLUSH = 3,
    RING_WRITE_ZEROES = 4,
    RING_TRIM = 5,
    RING_EXTENTS = 6, /* answers ring_extents in its pages */
};

/* 64 bytes. flags: enum sluice_io_flag. page, for verbs with payload: its first page; the payload
 * is contiguous. */
struct ring_submission {
    uint64_t tag; /* sluice-data's own; comes back */
    uint16_t verb;
    uint16_t flags;
    uint32_t handle; /* of DATA_OPEN */
    uint64_t offset; /* bytes */
    uint64_t length; /* bytes */
    uint32_t page;
    uint32_t reserved[7];
};
_Static_assert(sizeof(struct ring_submission) == 64, "one cache line");

/* 32 bytes. */
struct ring_completion {
    uint64_t tag;
    int32_t status; /* enum sluice_status */
    uint32_t count; /* of extents */
    uint64_t token;
    uint64_t reserved;
};
_Static_assert(sizeof(struct ring_completion) == 32, "half a cache line");

struct ring_extent { /* in the pages of an EXTENTS call */
    uint64_t length;
    uint64_t flags; /* enum sluice_extent_flag */
};

/* What is shared. Each line that one side writes is alone on its cache lines. */
struct ring_shared {
    struct {
        uint32_t magic, version, entries, pages;
        uint32_t spin_ns;
    } head __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t tail; /* next to be written, counts up for ever */
    } submission_tail __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t head; /* next to be read */
    } submission_head __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t tail;
    } completion_tail __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t head;
    } completion_head __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t asleep;
        _Atomic uint32_t cpu; /* where it was last seen; UINT32_MAX: not known */
    } runner __attribute__((aligned(128)));
    struct {
        _Atomic uint32_t asleep;
        _Atomic uint32_t cpu;
    } data __attribute__((aligned(128)));
    struct ring_submission submissions[RING_ENTRIES] __attribute__((aligned(4096)));
    struct ring_completion completions[RING_ENTRIES];
    uint8_t pages[RING_PAGES][RING_PAGE] __attribute__((aligned(4096)));
};

enum ring_side { RING_DATA, RING_RUNNER };

struct ring {
    struct ring_shared *shared;
    enum ring_side side;
    int memory_fd;       /* sealed against growing, shrinking and further seals */
    int wake_runner;     /* the runner's end of a socket: readable when it is to wake up */
    int wake_data;       /* eventfd: written by the runner */
    int to_runner;       /* sluice-data's end; the runner has none */
    uint64_t spin_ns;    /* the most that a wait may be looked through; RING_SPIN_NS at first */
    _Atomic bool broken; /* set by either thread, never cleared */
    /* This side's own copies: what the other side says is never taken as a base. */
    uint32_t submitted, submission_seen;
    uint32_t completed, completion_seen;
    uint32_t unpublished; /* entries written since the last ring_publish */
};

/* The other side said what cannot be true. Look here when ring_next_... or ring_room gave nothing.
 */
static inline bool ring_broken(const struct ring *ring) {
    return atomic_load_explicit(&ring->broken, memory_order_relaxed);
}

/* sluice-data's side: makes the three descriptors and touches every page, so that no first touch
 * costs a call. */
bool ring_create(struct ring *ret, struct err *err);
/* For both sides, before the descriptors are handed on. 0: nobody looks. More than RING_SPIN_NS is
 * that. */
void ring_set_spin(struct ring *ring, uint64_t spin_ns);
/* The runner's side. Owns the descriptors from here on, also on failure. Checks seals, size, magic.
 */
bool ring_open(int memory_fd, int wake_runner, int wake_data, struct ring *ret, struct err *err);
void ring_release(struct ring *ring); /* unmaps, closes */

/* ---- producer ------------------------------------------------------------------------------- */

/* Room for how many entries; 0 when the other side does not read (or lies about it). sluice-data
 * has at most RING_ENTRIES calls that it took no completion of, so that a completion always has
 * room: a runner that finds more is told a lie. */
uint32_t ring_room(struct ring *ring);
/* Writes one entry; it is seen after ring_publish. There must be room; a broken ring
 * takes nothing. */
void ring_submit(struct ring *ring, const struct ring_submission *submission);
void ring_complete(struct ring *ring, const struct ring_completion *completion);
/* Shows what was written, wakes the other side if it sleeps: one wake-up a batch. */
void ring_publish(struct ring *ring);

/* ---- consumer ------------------------------------------------------------------------------- */

/* Copies the next entry. false: there is none, or the ring is broken. */
bool ring_next_submission(struct ring *ring, struct ring_submission *ret);
bool ring_next_completion(struct ring *ring, struct ring_completion *ret);
/* Is there something, without taking it? */
bool ring_ready(const struct ring *ring);
/* Is a copied submission one that can be carried out as far as the ring goes: a verb, flags that it
 * may have, a length that it may have, payload inside the ring, no overflow? Whether it lies inside
 * the volume is the caller's to check. */
bool ring_submission_valid(const struct ring_submission *submission);
/* Looks until there is something or the budget is spent; false: nothing came. Publishes the
 * processor, does not look at all when both sides are on one. budget_ns 0: one look. */
bool ring_spin(struct ring *ring, uint64_t budget_ns);
/* Announces sleep and looks once more. true: sleep by waiting for the descriptor, then ring_awake;
 * false: there is something. */
bool ring_asleep(struct ring *ring);
void ring_awake(struct ring *ring); /* takes back what woke it */
/* The same for who waits by EPOLLET: there each write is told once, and no count need be taken. */
void ring_awake_at_edge(struct ring *ring);

/* Payload: `length` bytes from the start of `page` on. NULL: not inside the ring (a hostile index).
 */
void *ring_payload(const struct ring *ring, uint32_t page, uint64_t length);

/* ---- pages: sluice-data's private map ------------------------------------------------------- */

struct ring_pages {
    uint64_t used[RING_PAGES / 64];
    uint32_t free;
    uint32_t next; /* where the search begins */
};
void ring_pages_init(struct ring_pages *pages);
/* Contiguous room for `length` bytes (1 to RING_CALL_MAX). false: none now. */
bool ring_pages_take(struct ring_pages *pages, uint64_t length, uint32_t *ret_page);
void ring_pages_give(struct ring_pages *pages, uint32_t page, uint64_t length);

#endif

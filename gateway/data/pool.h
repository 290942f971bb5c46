/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: what the calls of one pool share: its ring, the ring's pages, and the table of calls.
 *
 * A pool lives from the first message that names it to the end of the process. Its ring is replaced
 * whenever its runner is: the memory of the old one stays mapped until the successor's is there, so
 * payload can go on arriving and leaving meanwhile; then the pages in use are copied to the same
 * places of the new one. The gateway chooses the generation, which counts up.
 *
 *   NEW -RING_WANTED-> SERVING -RING_LOST-> LOST -RING_WANTED-> SERVING ...
 *   SERVING -the runner says what cannot be true-> BROKEN -RING_LOST-> LOST
 *
 * What is taken is bounded: calls by the table, payload by the ring's pages. A part of both is kept
 * back, so that replay never waits for clients. A holder (a connection) may take a call while it
 * has less than half of what is still free: the more holders, the less for each, and never nothing.
 */
#ifndef SLUICE_DATA_POOL_H
#define SLUICE_DATA_POOL_H

#include "base/err.h"
#include "data/call.h"
#include "ring/ring.h"
#include <sluice/types.h>

#define POOL_CALLS 1024u
#define POOL_CALLS_KEPT_BACK (RING_ENTRIES + 64u) /* a full ring of replay, and own flushes */
#define POOL_REPLAY_REGIONS 4u                    /* of RING_CALL_MAX each: keeps a runner busy */
#define POOL_IN_FLIGHT_MAX RING_ENTRIES           /* so completions always find room */
#define POOL_DEATHS_MAX 3                         /* of runners; then the call is the cause */
/* A ring in which nothing moves for that long makes us ask for its runner: longer than what disks
 * and neighbours on the processor take at their worst, and the most that a stopped runner shall
 * cost. A backend that is slower is asked for once a second, which costs nobody anything. */
#define POOL_STILL_NS UINT64_C(150000000)
#define POOL_STILL_AGAIN_NS UINT64_C(1000000000)

enum pool_state { POOL_NEW, POOL_SERVING, POOL_BROKEN, POOL_LOST };

struct data_figures { /* for PONG */
    uint64_t calls;
    uint64_t replayed;
    uint64_t bytes_read;
    uint64_t bytes_written;
    uint64_t tls_failed;
    uint64_t names_refused;
    uint64_t strangers_ended;
};

TAILQ_HEAD(volume_list, volume);

struct pool {
    struct sluice_uuid id;
    enum pool_state state;
    bool mapped;                 /* the ring has memory, also one that is lost */
    bool cautious;               /* there may be suspects */
    bool alone;                  /* a suspect is in the ring: nothing else */
    bool freed;                  /* a call was given back: those who wait may look again */
    bool watched;                /* by the loop: wake_data */
    bool asleep;                 /* the loop announced it to the ring */
    bool says_made, says_broken; /* RING_MADE, RING_BROKEN are to be said */
    bool says_still;             /* RING_STILL is */
    uint64_t generation;
    struct ring ring;
    struct ring_pages pages;
    struct call *calls;
    struct call_list free;
    uint32_t free_calls;
    uint32_t in_flight;
    uint32_t replays; /* of them */
    uint32_t region_pages[POOL_REPLAY_REGIONS];
    uint32_t region, region_used;
    uint64_t now_ns;      /* of this turn of the loop */
    uint64_t deadline_ns; /* some volume wants to be pumped then; 0: none */
    uint64_t moved_ns;    /* a call ended then, or the first was sent */
    uint64_t still_ns;    /* with calls in the ring: RING_STILL is due then */
    struct volume_list volumes;
    struct volume_list ready; /* to be pumped */
    struct data_figures *figures;
};

bool pool_init(struct pool *pool, const struct sluice_uuid *id, struct data_figures *figures,
               struct err *err);
void pool_release(struct pool *pool);
/* At the end of the process: gives up its volumes with all that is under way. */
void pool_abandon(struct pool *pool);

/* A ring for the pool's next runner. A generation that is there or older: nothing changes. */
bool pool_ring_wanted(struct pool *pool, uint64_t generation, uint32_t spin_ns, struct err *err);
/* The runner of that generation will never again do anything. */
void pool_ring_lost(struct pool *pool, uint64_t generation);

struct holder { /* what one connection has of the pool */
    uint64_t bytes;
    uint32_t calls;
};
/* A call in state FILLING, with pages for `length` bytes of payload (0: none) or, when there are
 * not so many in one piece, for fewer: a multiple of `least`. NULL: not now. */
struct call *pool_take_call(struct pool *pool, uint64_t length, uint64_t least,
                            struct holder *holder);
/* Gives back a call of pool_take_call, FILLING or DONE; no holder: it left before. */
void pool_give_call(struct pool *pool, struct call *call, struct holder *holder);
/* From what is kept back, for replay; payload in a region. */
struct call *pool_take_replay(struct pool *pool, uint64_t length);
struct call *pool_take_flush(struct pool *pool);
void pool_free_call(struct pool *pool, struct call *call); /* of the latter two */
void *pool_payload(const struct pool *pool, const struct call *call);

/* For volumes: may another call be sent? `suspect`: it may have ended its runners. */
bool pool_may_send(struct pool *pool, bool suspect);
void pool_send(struct pool *pool, struct call *call, uint32_t handle, bool suspect);
void pool_wake_at(struct pool *pool, uint64_t at_ns);

/* Takes the completions that are there. true: there were some. */
bool pool_drain(struct pool *pool);
/* After pool_drain: says so when it is still for too long. */
void pool_judge(struct pool *pool, uint64_t now_ns);
/* Sends what the volumes have, publishes it once. */
void pool_pump(struct pool *pool, uint64_t now_ns);

#endif

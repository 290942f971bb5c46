/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.h: one volume (or snapshot) that is served: the order of its calls, and what is kept for
 * its successors.
 *
 * Calls are sent in the order of arrival. What keeps this true across deaths of runners:
 *   - Two calls that change the same bytes are never in the ring at once: so the order in which
 * they take effect is the order of acknowledgement, and can be repeated.
 *   - After VOLUME_OPEN first the kept writes go, in order of acknowledgement, from the oldest
 * whose token is not the volume's; then calls that were sent before, in order of arrival, none
 * beside one that touches the same bytes; new ones when all of those are answered.
 *   - A token that changes while the runner lives does the same without a death.
 *   - A flush is answered when everything acknowledged before it is stable, under one token.
 * A kept write that cannot be replayed is lost for good: the volume FAILED, and all its calls are
 * answered IO until it is no longer exported. Nobody shall read what was overwritten.
 *
 *   AWAY -VOLUME_OPEN-> DRAINING -nothing in the ring-> REPLAYING -> OPEN
 *   OPEN -another token-> DRAINING; any -RING_LOST-> AWAY; REPLAYING -> FAILED
 */
#ifndef SLUICE_DATA_VOLUME_H
#define SLUICE_DATA_VOLUME_H

#include "data/kept.h"
#include "data/pool.h"

#define VOLUME_RETRY_NS UINT64_C(200000000) /* between two tries of a replay or an own flush */
#define VOLUME_RETRIES_MAX 150              /* half a minute: then the backend will not come back */
#define VOLUME_FLUSHES_MAX 8                /* of one flush that finds another token each time */

enum volume_state { VOLUME_AWAY, VOLUME_DRAINING, VOLUME_REPLAYING, VOLUME_OPEN, VOLUME_FAILED };

struct volume {
    TAILQ_ENTRY(volume) of_pool;
    TAILQ_ENTRY(volume) of_ready;
    bool is_ready;
    struct sluice_uuid id;
    struct sluice_uuid snapshot; /* or zero */
    struct pool *pool;
    enum volume_state state;
    bool keeps;       /* acknowledged writes have to be kept */
    bool wants_flush; /* everything kept is to be made stable now */
    uint32_t exports; /* that use it */
    uint32_t handle;
    uint64_t epoch;
    uint64_t token;
    uint64_t size_bytes;
    struct call_list queue; /* in order of arrival */
    struct call_list sent;
    uint64_t arrivals;
    uint32_t again;    /* calls that were sent before and are not answered */
    uint32_t suspects; /* calls that had two runners die */
    struct kept kept;
    uint64_t promised_bytes; /* of calls in the ring that will have to be kept */
    uint32_t promised;
    uint64_t replay_next;
    uint32_t replays; /* in the ring */
    uint32_t replay_deaths;
    uint32_t replay_tries;
    bool replay_trouble; /* one was answered with an error: let the others end, then again */
    uint64_t replay_at_ns;
    struct call *own_flush;
    uint64_t own_flush_at_ns;
    int32_t own_flush_status;
};

struct volume *volume_create(struct pool *pool, const struct sluice_uuid *id,
                             const struct sluice_uuid *snapshot, uint64_t size_bytes, bool keeps);
/* No call of it may be left. */
void volume_destroy(struct volume *volume);

/* What VOLUME_OPEN says. The same or an older epoch, or another generation: nothing changes. */
void volume_open(struct volume *volume, uint64_t generation, uint32_t handle, uint64_t epoch,
                 uint64_t token, uint64_t size_bytes);

/* Takes a call of pool_take_call whose payload is there; it ends by on_done. */
void volume_submit(struct volume *volume, struct call *call);
/* Ends a call that waits; false: it is in the ring, and ends by itself. */
bool volume_cancel(struct volume *volume, struct call *call);
/* Asks for a flush of what is kept; true: nothing is, or nothing can be done about it. */
bool volume_settle(struct volume *volume);

/* For the pool. */
void volume_touch(struct volume *volume); /* pump it in this turn */
bool volume_pump(struct volume *volume);  /* false: it waits for the ring; pump it again */
void volume_on_completion(struct volume *volume, struct call *call,
                          const struct ring_completion *completion);
void volume_on_broken(struct volume *volume);
void volume_on_lost(struct volume *volume);
bool volume_is_suspect(const struct volume *volume);

/* replay.c: kept writes to the successor. */
enum replay_step { REPLAY_WAITS, REPLAY_BLOCKED, REPLAY_DONE };
void replay_start(struct volume *volume);
enum replay_step replay_go_on(struct volume *volume);
void replay_on_completion(struct volume *volume, struct call *call, int32_t status, uint64_t token);
void replay_on_lost(struct volume *volume, struct call *call);

#endif

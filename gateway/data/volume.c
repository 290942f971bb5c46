/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.c: see volume.h.
 */
#include "data/volume.h"

#include <stdlib.h>

#include "base/check.h"
#include <sluice/driver.h>

struct volume *volume_create(struct pool *pool, const struct sluice_uuid *id,
                             const struct sluice_uuid *snapshot, uint64_t size_bytes, bool keeps) {
    struct volume *volume = calloc(1, sizeof *volume);
    if (volume == NULL)
        return NULL;
    volume->id = *id;
    volume->snapshot = *snapshot;
    volume->pool = pool;
    volume->size_bytes = size_bytes;
    volume->keeps = keeps;
    TAILQ_INIT(&volume->queue);
    TAILQ_INIT(&volume->sent);
    kept_init(&volume->kept);
    TAILQ_INSERT_TAIL(&pool->volumes, volume, of_pool);
    return volume;
}

void volume_destroy(struct volume *volume) {
    CHECK(TAILQ_EMPTY(&volume->queue));
    if (volume->is_ready)
        TAILQ_REMOVE(&volume->pool->ready, volume, of_ready);
    TAILQ_REMOVE(&volume->pool->volumes, volume, of_pool);
    kept_release(&volume->kept);
    free(volume);
}

void volume_touch(struct volume *volume) {
    if (volume->is_ready)
        return;
    volume->is_ready = true;
    TAILQ_INSERT_TAIL(&volume->pool->ready, volume, of_ready);
}

bool volume_is_suspect(const struct volume *volume) {
    return volume->suspects > 0 || volume->replay_deaths + 1 >= POOL_DEATHS_MAX;
}

void volume_open(struct volume *volume, uint64_t generation, uint32_t handle, uint64_t epoch,
                 uint64_t token, uint64_t size_bytes) {
    const struct pool *pool = volume->pool;
    if (pool->state != POOL_SERVING || generation != pool->generation || epoch <= volume->epoch)
        return;
    volume->handle = handle;
    volume->epoch = epoch;
    volume->token = token;
    volume->size_bytes = size_bytes;
    if (volume->state != VOLUME_FAILED)
        volume->state = VOLUME_DRAINING;
    volume_touch(volume);
}

/* ---- the ends of a call --------------------------------------------------------------------- */

static void finish(struct volume *volume, struct call *call, int32_t status) {
    if (call->again)
        volume->again--;
    if (call->deaths + 1 >= POOL_DEATHS_MAX)
        volume->suspects--;
    call->again = false;
    call->deaths = 0;
    call->status = status;
    call->state = CALL_DONE;
    call->on_done(call);
}

/* Back to its place in the order of arrival. */
static void send_again(struct volume *volume, struct call *call) {
    if (!call->again)
        volume->again++;
    call->again = true;
    call->state = CALL_QUEUED;
    struct call *behind;
    TAILQ_FOREACH(behind, &volume->queue, link)
    if (behind->arrival > call->arrival)
        break;
    if (behind != NULL)
        TAILQ_INSERT_BEFORE(behind, call, link);
    else
        TAILQ_INSERT_TAIL(&volume->queue, call, link);
}

void volume_submit(struct volume *volume, struct call *call) {
    CHECK(call->state == CALL_FILLING);
    call->volume = volume;
    call->arrival = ++volume->arrivals;
    call->state = CALL_QUEUED;
    TAILQ_INSERT_TAIL(&volume->queue, call, link);
    volume_touch(volume);
}

bool volume_cancel(struct volume *volume, struct call *call) {
    if (call->state != CALL_QUEUED)
        return false;
    TAILQ_REMOVE(&volume->queue, call, link);
    finish(volume, call, SLUICE_CANCELLED);
    volume_touch(volume);
    return true;
}

/* ---- sending -------------------------------------------------------------------------------- */

static bool must_wait_for(const struct volume *volume, const struct call *call) {
    bool changes = call_changes(call);
    if (!changes && volume->again == 0)
        return false;
    const struct call *sent;
    TAILQ_FOREACH(sent, &volume->sent, link) {
        bool both = changes && call_changes(sent);
        bool either = volume->again > 0 && (changes || call_changes(sent));
        if ((both || either) && call_overlaps(sent, call->offset, call->length))
            return true;
    }
    return false;
}

static void promise(struct volume *volume, const struct call *call, bool made) {
    if (!volume->keeps || !call_changes(call))
        return;
    uint64_t bytes = call->verb == RING_WRITE ? call->length : 0;
    volume->promised += made ? 1 : -1u;
    volume->promised_bytes += made ? bytes : -bytes;
}

static bool can_be_kept(const struct volume *volume, const struct call *call) {
    if (!volume->keeps || !call_changes(call))
        return true;
    uint64_t bytes = call->verb == RING_WRITE ? call->length : 0;
    return kept_has_room(&volume->kept, volume->promised_bytes + bytes, volume->promised);
}

static void send_call(struct volume *volume, struct call *call, bool suspect) {
    TAILQ_REMOVE(&volume->queue, call, link);
    TAILQ_INSERT_TAIL(&volume->sent, call, link);
    call->epoch = volume->epoch;
    call->kept_mark = volume->kept.next - 1;
    promise(volume, call, true);
    pool_send(volume->pool, call, volume->handle, suspect);
}

/* false: it waits for the ring. */
static bool send_queue(struct volume *volume) {
    struct call *call;
    while ((call = TAILQ_FIRST(&volume->queue)) != NULL) {
        if ((!call->again && volume->again > 0) || must_wait_for(volume, call))
            return true;
        if (!can_be_kept(volume, call)) {
            if (volume->own_flush_status == SLUICE_OK)
                return true;
            /* What is kept cannot be made stable, so nothing more can be promised. */
            TAILQ_REMOVE(&volume->queue, call, link);
            finish(volume, call, volume->own_flush_status);
            continue;
        }
        bool suspect = volume_is_suspect(volume);
        if (!pool_may_send(volume->pool, suspect))
            return false;
        send_call(volume, call, suspect);
    }
    return true;
}

/* false: it waits for the ring. With nothing of its own in there no completion would ask again. */
static bool own_flush_start(struct volume *volume) {
    struct pool *pool = volume->pool;
    bool wanted =
        kept_is_half_full(&volume->kept) || (volume->wants_flush && kept_count(&volume->kept) > 0);
    if (!wanted || volume->own_flush != NULL)
        return true;
    if (volume->own_flush_at_ns > pool->now_ns) {
        pool_wake_at(pool, volume->own_flush_at_ns);
        return true;
    }
    struct call *call = pool_may_send(pool, false) ? pool_take_flush(pool) : NULL;
    if (call == NULL)
        return false;
    call->verb = RING_FLUSH;
    call->volume = volume;
    call->epoch = volume->epoch;
    call->kept_mark = volume->kept.next - 1;
    volume->own_flush = call;
    TAILQ_INSERT_TAIL(&volume->sent, call, link);
    pool_send(pool, call, volume->handle, false);
    return true;
}

static void on_own_flush_done(struct volume *volume, int32_t status) {
    struct call *call = volume->own_flush;
    volume->own_flush = NULL;
    volume->own_flush_status = status;
    if (status != SLUICE_OK)
        volume->own_flush_at_ns = volume->pool->now_ns + VOLUME_RETRY_NS;
    call->state = CALL_DONE;
    pool_free_call(volume->pool, call);
}

static void fail_queue(struct volume *volume) {
    struct call *call;
    while ((call = TAILQ_FIRST(&volume->queue)) != NULL) {
        TAILQ_REMOVE(&volume->queue, call, link);
        finish(volume, call, SLUICE_IO);
    }
}

bool volume_pump(struct volume *volume) {
    if (volume->state == VOLUME_DRAINING && TAILQ_EMPTY(&volume->sent))
        replay_start(volume);
    if (volume->state == VOLUME_REPLAYING) {
        enum replay_step step = replay_go_on(volume);
        if (step == REPLAY_BLOCKED)
            return false;
    }
    if (volume->state == VOLUME_FAILED)
        fail_queue(volume);
    if (volume->state != VOLUME_OPEN)
        return true;
    bool all = send_queue(volume);
    return own_flush_start(volume) && all;
}

bool volume_settle(struct volume *volume) {
    if (kept_count(&volume->kept) == 0 || volume->state == VOLUME_FAILED)
        return true;
    volume->wants_flush = true;
    volume_touch(volume);
    return false;
}

/* ---- completions ---------------------------------------------------------------------------- */

static void note_token(struct volume *volume, uint64_t token) {
    if (token == volume->token)
        return;
    volume->token = token;
    if (volume->state == VOLUME_OPEN && kept_first_other(&volume->kept, token) != 0)
        volume->state = VOLUME_DRAINING;
}

/* The status that the client gets: what cannot be kept is not acknowledged. */
static int32_t keep(struct volume *volume, const struct call *call, uint64_t token) {
    /* A stable write needs no keeping, unless replay would put something older over it. */
    if ((call->flags & SLUICE_IO_FUA) != 0 &&
        !kept_overlaps(&volume->kept, call->offset, call->length))
        return SLUICE_OK;
    struct kept_entry entry = {
        .token = token,
        .offset = call->offset,
        .length = call->length,
        .verb = call->verb,
        .flags = call->flags,
    };
    const void *payload = call->verb == RING_WRITE ? pool_payload(volume->pool, call) : NULL;
    return kept_add(&volume->kept, &entry, payload) ? SLUICE_OK : SLUICE_NO_MEMORY;
}

/* Did the flush cover all that was acknowledged before it? */
static bool covered(struct volume *volume, const struct call *call, uint64_t token) {
    kept_forget(&volume->kept, call->kept_mark, token);
    volume->own_flush_status = SLUICE_OK;
    return kept_count(&volume->kept) == 0 || volume->kept.first > call->kept_mark;
}

static void count_bytes(const struct volume *volume, const struct call *call) {
    if (call->verb == RING_READ)
        volume->pool->figures->bytes_read += call->length;
    if (call->verb == RING_WRITE)
        volume->pool->figures->bytes_written += call->length;
}

void volume_on_completion(struct volume *volume, struct call *call,
                          const struct ring_completion *completion) {
    int32_t status = completion->status;
    if (status < 0 || status == SLUICE_PENDING || status > SLUICE_INTERNAL)
        status = SLUICE_IO; /* that is no end of a data call */
    TAILQ_REMOVE(&volume->sent, call, link);
    if (!TAILQ_EMPTY(&volume->queue) || volume->state != VOLUME_OPEN || volume->keeps)
        volume_touch(volume);
    if (call->replays) {
        replay_on_completion(volume, call, status, completion->token);
        return;
    }
    promise(volume, call, false);
    bool own = call == volume->own_flush;
    if (status == SLUICE_STALE && call->epoch < volume->epoch) {
        /* It was overtaken by a VOLUME_OPEN. */
        if (own)
            on_own_flush_done(volume, SLUICE_OK);
        else
            send_again(volume, call);
        return;
    }
    if (status == SLUICE_OK && volume->keeps && (call_changes(call) || call->verb == RING_FLUSH)) {
        note_token(volume, completion->token);
        if (call_changes(call))
            status = keep(volume, call, completion->token);
        else if (!covered(volume, call, completion->token) && !own) {
            if (++call->flushes <= VOLUME_FLUSHES_MAX) {
                send_again(volume, call);
                return;
            }
            status = SLUICE_IO;
        }
    }
    if (own) {
        on_own_flush_done(volume, status);
        return;
    }
    if (status == SLUICE_OK)
        count_bytes(volume, call);
    call->count = completion->count;
    finish(volume, call, status);
}

/* ---- ends of rings -------------------------------------------------------------------------- */

void volume_on_broken(struct volume *volume) {
    if (volume->state != VOLUME_FAILED)
        volume->state = VOLUME_AWAY;
}

static void on_call_lost(struct volume *volume, struct call *call) {
    promise(volume, call, false);
    if (++call->deaths + 1 == POOL_DEATHS_MAX)
        volume->suspects++;
    if (call->deaths >= POOL_DEATHS_MAX)
        finish(volume, call, SLUICE_IO);
    else
        send_again(volume, call);
}

void volume_on_lost(struct volume *volume) {
    volume_on_broken(volume);
    struct pool *pool = volume->pool;
    struct call *call;
    while ((call = TAILQ_LAST(&volume->sent, call_list)) != NULL) {
        TAILQ_REMOVE(&volume->sent, call, link);
        pool->in_flight--;
        if (call->replays) {
            pool->replays--;
            replay_on_lost(volume, call);
        } else if (call == volume->own_flush) {
            on_own_flush_done(volume, SLUICE_OK);
        } else {
            on_call_lost(volume, call);
        }
    }
    volume_touch(volume);
}

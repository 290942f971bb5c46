/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: see pool.h.
 */
#include "data/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "data/volume.h"

bool pool_init(struct pool *pool, const struct sluice_uuid *id, struct data_figures *figures,
               struct err *err) {
    memset(pool, 0, sizeof *pool);
    pool->calls = calloc(POOL_CALLS, sizeof *pool->calls);
    if (pool->calls == NULL)
        return err_set(err, ERR_NO_MEMORY, "a table of calls");
    pool->id = *id;
    pool->figures = figures;
    TAILQ_INIT(&pool->free);
    TAILQ_INIT(&pool->volumes);
    TAILQ_INIT(&pool->ready);
    for (uint32_t i = 0; i < POOL_CALLS; i++) {
        pool->calls[i].index = i;
        TAILQ_INSERT_TAIL(&pool->free, &pool->calls[i], link);
    }
    pool->free_calls = POOL_CALLS;
    ring_pages_init(&pool->pages);
    for (uint32_t i = 0; i < POOL_REPLAY_REGIONS; i++)
        CHECK(ring_pages_take(&pool->pages, RING_CALL_MAX, &pool->region_pages[i]));
    return true;
}

void pool_release(struct pool *pool) {
    if (pool->mapped)
        ring_release(&pool->ring);
    pool->mapped = false;
    free(pool->calls);
    pool->calls = NULL;
}

void pool_abandon(struct pool *pool) {
    struct volume *volume;
    while ((volume = TAILQ_FIRST(&pool->volumes)) != NULL) {
        TAILQ_INIT(&volume->queue);
        volume_destroy(volume);
    }
}

/* ---- rings ---------------------------------------------------------------------------------- */

static bool is_of_replay(const struct pool *pool, uint32_t page) {
    for (uint32_t i = 0; i < POOL_REPLAY_REGIONS; i++)
        if (page - pool->region_pages[i] < RING_CALL_MAX / RING_PAGE)
            return true;
    return false;
}

/* Payload that waits for a runner, or for a client to read it. Replay is made anew from what is
 * kept. */
static void copy_pages(const struct pool *pool, const struct ring *to) {
    for (uint32_t page = 0; page < RING_PAGES; page++)
        if ((pool->pages.used[page / 64] >> (page % 64) & 1) != 0 && !is_of_replay(pool, page))
            memcpy(ring_payload(to, page, RING_PAGE), ring_payload(&pool->ring, page, RING_PAGE),
                   RING_PAGE);
}

bool pool_ring_wanted(struct pool *pool, uint64_t generation, uint32_t spin_ns, struct err *err) {
    if (generation < pool->generation)
        return true;
    if (generation == pool->generation) {
        pool->says_made = pool->state == POOL_SERVING;
        return true;
    }
    pool_ring_lost(pool, pool->generation);
    struct ring ring;
    if (!ring_create(&ring, err))
        return false;
    ring_set_spin(&ring, spin_ns);
    if (pool->mapped) {
        copy_pages(pool, &ring);
        ring_release(&pool->ring);
    }
    pool->ring = ring;
    pool->mapped = true;
    pool->generation = generation;
    pool->state = POOL_SERVING;
    pool->says_made = true;
    pool->freed = true; /* there are pages now */
    return true;
}

void pool_ring_lost(struct pool *pool, uint64_t generation) {
    if (generation != pool->generation ||
        (pool->state != POOL_SERVING && pool->state != POOL_BROKEN))
        return;
    /* What it completed before its end is true. */
    if (pool->state == POOL_SERVING)
        pool_drain(pool);
    pool->state = POOL_LOST;
    pool->says_made = false;
    pool->says_broken = false;
    pool->says_still = false;
    struct volume *volume;
    TAILQ_FOREACH(volume, &pool->volumes, of_pool)
    volume_on_lost(volume);
    CHECK(pool->in_flight == 0 && pool->replays == 0);
    pool->alone = false;
    pool->cautious = true;
}

static void set_broken(struct pool *pool) {
    pool->state = POOL_BROKEN;
    pool->says_broken = true;
    struct volume *volume;
    TAILQ_FOREACH(volume, &pool->volumes, of_pool)
    volume_on_broken(volume);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static struct call *take(struct pool *pool) {
    struct call *call = TAILQ_FIRST(&pool->free);
    CHECK(call != NULL && call->state == CALL_FREE);
    TAILQ_REMOVE(&pool->free, call, link);
    pool->free_calls--;
    call->state = CALL_FILLING;
    return call;
}

static bool may_hold(const struct pool *pool, uint64_t length, const struct holder *holder) {
    if (pool->free_calls <= POOL_CALLS_KEPT_BACK)
        return false;
    if (holder->calls == 0)
        return true;
    uint64_t free_bytes = (uint64_t)pool->pages.free * RING_PAGE;
    return holder->calls < (pool->free_calls - POOL_CALLS_KEPT_BACK) / 2 + 1 &&
           holder->bytes + length <= free_bytes / 2;
}

struct call *pool_take_call(struct pool *pool, uint64_t length, uint64_t least,
                            struct holder *holder) {
    if (!may_hold(pool, length, holder) || (length > 0 && !pool->mapped))
        return NULL;
    uint32_t page = 0;
    while (length > 0 && !ring_pages_take(&pool->pages, length, &page)) {
        length = length / 2 / least * least;
        if (length == 0)
            return NULL;
    }
    struct call *call = take(pool);
    call->length = length;
    call->has_pages = length > 0;
    call->page = page;
    call->page_bytes = (uint32_t)length;
    holder->calls++;
    holder->bytes += length;
    return call;
}

void pool_give_call(struct pool *pool, struct call *call, struct holder *holder) {
    if (holder != NULL) {
        holder->calls--;
        holder->bytes -= call->has_pages ? call->page_bytes : 0;
    }
    pool_free_call(pool, call);
}

struct call *pool_take_replay(struct pool *pool, uint64_t length) {
    if (pool->free_calls == 0)
        return NULL;
    if (pool->replays == 0)
        pool->region = pool->region_used = 0;
    if (length > RING_CALL_MAX - pool->region_used) {
        if (pool->region + 1 == POOL_REPLAY_REGIONS)
            return NULL;
        pool->region++;
        pool->region_used = 0;
    }
    struct call *call = take(pool);
    call->replays = true;
    call->page = pool->region_pages[pool->region] + pool->region_used / RING_PAGE;
    call->page_bytes = (uint32_t)length;
    pool->region_used += (uint32_t)((length + RING_PAGE - 1) / RING_PAGE * RING_PAGE);
    return call;
}

struct call *pool_take_flush(struct pool *pool) {
    return pool->free_calls > 0 ? take(pool) : NULL;
}

void pool_free_call(struct pool *pool, struct call *call) {
    CHECK(call->state == CALL_FILLING || call->state == CALL_DONE);
    if (call->has_pages)
        ring_pages_give(&pool->pages, call->page, call->page_bytes);
    uint32_t index = call->index;
    uint32_t number = call->number;
    memset(call, 0, sizeof *call);
    call->index = index;
    call->number = number;
    /* At the front: its memory is warm. */
    TAILQ_INSERT_HEAD(&pool->free, call, link);
    pool->free_calls++;
    pool->freed = true;
}

void *pool_payload(const struct pool *pool, const struct call *call) {
    return ring_payload(&pool->ring, call->page, call->page_bytes);
}

/* ---- sending -------------------------------------------------------------------------------- */

static bool has_suspects(struct pool *pool) {
    if (!pool->cautious)
        return false;
    struct volume *volume;
    bool found = false;
    bool later = false;
    TAILQ_FOREACH(volume, &pool->volumes, of_pool) {
        if (!volume_is_suspect(volume))
            continue;
        if (volume->state == VOLUME_AWAY || volume->state == VOLUME_FAILED)
            later = true;
        else
            found = true;
    }
    pool->cautious = found || later;
    return found;
}

bool pool_may_send(struct pool *pool, bool suspect) {
    if (pool->state != POOL_SERVING || pool->alone || pool->in_flight == POOL_IN_FLIGHT_MAX)
        return false;
    if (suspect ? pool->in_flight > 0 : has_suspects(pool))
        return false;
    return ring_room(&pool->ring) > 0;
}

static void moved(struct pool *pool) {
    pool->moved_ns = pool->now_ns;
    pool->still_ns = pool->now_ns + POOL_STILL_NS;
}

void pool_send(struct pool *pool, struct call *call, uint32_t handle, bool suspect) {
    call->number++;
    call->state = CALL_SENT;
    ring_submit(&pool->ring, &(struct ring_submission){
                                 .tag = (uint64_t)call->number << 32 | call->index,
                                 .verb = call->verb,
                                 .flags = call->flags,
                                 .handle = handle,
                                 .offset = call->verb == RING_FLUSH ? 0 : call->offset,
                                 .length = call->verb == RING_FLUSH ? 0 : call->length,
                                 .page = call->page,
                             });
    if (pool->in_flight++ == 0)
        moved(pool);
    pool->alone = suspect;
    if (call->replays)
        pool->replays++;
    if (call->again || call->replays)
        pool->figures->replayed++;
}

void pool_wake_at(struct pool *pool, uint64_t at_ns) {
    if (pool->deadline_ns == 0 || at_ns < pool->deadline_ns)
        pool->deadline_ns = at_ns;
}

/* ---- the turn of the loop ------------------------------------------------------------------- */

/* NULL: the runner says what cannot be true. */
static struct call *call_of(const struct pool *pool, const struct ring_completion *completion) {
    uint32_t index = (uint32_t)completion->tag;
    if (index >= POOL_CALLS)
        return NULL;
    struct call *call = &pool->calls[index];
    if (call->state != CALL_SENT || call->number != completion->tag >> 32)
        return NULL;
    if (call->verb == RING_EXTENTS && completion->count > RING_EXTENTS_MAX)
        return NULL;
    return call;
}

bool pool_drain(struct pool *pool) {
    if (pool->state != POOL_SERVING)
        return false;
    struct ring_completion completion;
    bool any = false;
    while (ring_next_completion(&pool->ring, &completion)) {
        struct call *call = call_of(pool, &completion);
        if (call == NULL) {
            set_broken(pool);
            return true;
        }
        any = true;
        pool->in_flight--;
        pool->alone = false;
        if (call->replays)
            pool->replays--;
        pool->figures->calls++;
        volume_on_completion(call->volume, call, &completion);
    }
    if (any)
        moved(pool);
    if (ring_broken(&pool->ring))
        set_broken(pool);
    return any;
}

void pool_judge(struct pool *pool, uint64_t now_ns) {
    if (pool->in_flight == 0 || pool->state != POOL_SERVING || now_ns < pool->still_ns)
        return;
    pool->says_still = true;
    pool->still_ns = now_ns + POOL_STILL_AGAIN_NS;
}

void pool_pump(struct pool *pool, uint64_t now_ns) {
    pool->now_ns = now_ns;
    struct volume *volume;
    if (pool->deadline_ns != 0 && now_ns >= pool->deadline_ns) {
        pool->deadline_ns = 0;
        TAILQ_FOREACH(volume, &pool->volumes, of_pool)
        volume_touch(volume);
    }
    struct volume_list again;
    TAILQ_INIT(&again);
    while ((volume = TAILQ_FIRST(&pool->ready)) != NULL) {
        TAILQ_REMOVE(&pool->ready, volume, of_ready);
        volume->is_ready = false;
        if (!volume_pump(volume)) {
            volume->is_ready = true;
            TAILQ_INSERT_TAIL(&again, volume, of_ready);
        }
    }
    TAILQ_CONCAT(&pool->ready, &again, of_ready);
    if (pool->state == POOL_SERVING) {
        ring_publish(&pool->ring);
        if (ring_broken(&pool->ring))
            set_broken(pool);
    }
}

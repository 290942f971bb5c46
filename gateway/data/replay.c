/* SPDX-License-Identifier: Apache-2.0
 *
 * replay.c: kept writes go to the successor of the runner that acknowledged them; see volume.h.
 *
 * Several are in the ring at once as long as they do not touch the same bytes; a replay call has in
 * kept_mark the number of its entry, which gets the token of its completion.
 */
#include "data/volume.h"

#include <string.h>

#include "base/check.h"

void replay_start(struct volume *volume) {
    volume->replay_next = kept_first_other(&volume->kept, volume->token);
    volume->replay_trouble = false;
    volume->state = volume->replay_next == 0 ? VOLUME_OPEN : VOLUME_REPLAYING;
}

static bool touches_what_is_sent(const struct volume *volume, const struct kept_entry *entry) {
    const struct call *sent;
    TAILQ_FOREACH(sent, &volume->sent, link)
    if (call_overlaps(sent, entry->offset, entry->length))
        return true;
    return false;
}

static bool send_entry(struct volume *volume, uint64_t number, bool suspect) {
    const struct kept_entry *entry = kept_entry(&volume->kept, number);
    struct call *call =
        pool_take_replay(volume->pool, entry->verb == RING_WRITE ? entry->length : 0);
    if (call == NULL)
        return false;
    call->volume = volume;
    call->verb = entry->verb;
    call->flags = entry->flags;
    call->offset = entry->offset;
    call->length = entry->length;
    call->epoch = volume->epoch;
    call->kept_mark = number;
    if (entry->verb == RING_WRITE)
        memcpy(pool_payload(volume->pool, call), kept_payload(&volume->kept, entry), entry->length);
    TAILQ_INSERT_TAIL(&volume->sent, call, link);
    volume->replays++;
    pool_send(volume->pool, call, volume->handle, suspect);
    return true;
}

static enum replay_step ended_a_round(struct volume *volume) {
    if (volume->replay_trouble) {
        volume->replay_at_ns = volume->pool->now_ns + VOLUME_RETRY_NS;
        pool_wake_at(volume->pool, volume->replay_at_ns);
        replay_start(volume);
        return REPLAY_WAITS;
    }
    replay_start(volume); /* the token may have changed meanwhile */
    if (volume->state == VOLUME_REPLAYING) {
        volume_touch(volume);
        return REPLAY_WAITS;
    }
    volume->replay_deaths = 0;
    volume->replay_tries = 0;
    return REPLAY_DONE;
}

enum replay_step replay_go_on(struct volume *volume) {
    struct pool *pool = volume->pool;
    if (volume->replay_at_ns > pool->now_ns) {
        pool_wake_at(pool, volume->replay_at_ns);
        return REPLAY_WAITS;
    }
    while (!volume->replay_trouble && volume->replay_next < volume->kept.next) {
        bool suspect = volume_is_suspect(volume);
        if (touches_what_is_sent(volume, kept_entry(&volume->kept, volume->replay_next)))
            return REPLAY_WAITS;
        if (!pool_may_send(pool, suspect) || !send_entry(volume, volume->replay_next, suspect))
            return REPLAY_BLOCKED;
        volume->replay_next++;
    }
    return volume->replays > 0 ? REPLAY_WAITS : ended_a_round(volume);
}

static bool may_pass_by_itself(int32_t status) {
    return status == SLUICE_BUSY || status == SLUICE_UNREACHABLE || status == SLUICE_TIMEOUT ||
           status == SLUICE_NO_MEMORY;
}

void replay_on_completion(struct volume *volume, struct call *call, int32_t status,
                          uint64_t token) {
    volume->replays--;
    uint64_t number = call->kept_mark;
    bool outdated = status == SLUICE_STALE && call->epoch < volume->epoch;
    call->state = CALL_DONE;
    pool_free_call(volume->pool, call);
    if (status == SLUICE_OK) {
        kept_entry(&volume->kept, number)->token = token;
        volume->token = token;
        return;
    }
    volume->replay_trouble = true;
    if (!outdated && (!may_pass_by_itself(status) || ++volume->replay_tries > VOLUME_RETRIES_MAX))
        volume->state = VOLUME_FAILED;
}

void replay_on_lost(struct volume *volume, struct call *call) {
    volume->replays--;
    call->state = CALL_DONE;
    pool_free_call(volume->pool, call);
    if (volume->replays == 0 && ++volume->replay_deaths >= POOL_DEATHS_MAX)
        volume->state = VOLUME_FAILED;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * serve.c: from a runner that serves and a sluice-data that listens to volumes that are read and
 * written.
 *
 *   ring      NONE -> ASKED -> ATTACHING -> ATTACHED; back to NONE when the runner has ended, or
 *             when it has closed all that it had open for a sluice-data that has ended
 *   volume    SHUT -> OPENING -> OPEN -> CLOSING -> SHUT, or gone
 *
 * An answer finds what it is about again by ids, generation and epoch: what it was asked for may be
 * over when it comes.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/uuid.h"
#include "exports/state.h"
#include <sluice/driver.h>

struct ask { /* a call that owes an answer */
    struct exports *exports;
    struct sluice_uuid pool, volume, snapshot;
    uint64_t generation, epoch;
};

static void ask(struct export_pool *pool, enum wire_number number, const void *args, const int *fds,
                uint32_t fd_count, const struct export_volume *volume, runner_reply_fn *on_reply) {
    struct ask *ask = calloc(1, sizeof *ask);
    CHECK(ask != NULL); /* as a call itself: without a hundred bytes there is no way to go on */
    *ask = (struct ask){.exports = pool->exports, .pool = pool->id, .generation = pool->generation};
    if (volume != NULL) {
        ask->volume = volume->volume;
        ask->snapshot = volume->snapshot;
        ask->epoch = volume->epoch;
    }
    pool->exports->asks++;
    runner_call_once(pool->runner, number, args, fds, fd_count, on_reply, ask);
}

/* The volume in the state that the question was asked in; NULL: that is over. */
static struct export_volume *asked_volume(const struct ask *ask, enum volume_state state) {
    struct export_pool *pool = pool_of(ask->exports, &ask->pool);
    struct export_volume *volume =
        pool != NULL ? volume_of(pool, &ask->volume, &ask->snapshot) : NULL;
    return volume != NULL && volume->state == state && volume->epoch == ask->epoch ? volume : NULL;
}

/* It has ended or does not serve: its successor will be asked. */
static bool no_runner(const struct err *err) {
    return err->code == ERR_RUNNER_LOST || err->code == ERR_POOL_DOWN;
}

static void answered(struct ask *ask) {
    struct exports *exports = ask->exports;
    free(ask);
    exports->asks--;
    exports_settle(exports);
}

static void volume_close_start(struct export_volume *volume);

static void on_again(uv_timer_t *timer) {
    struct exports *exports = timer->data;
    struct export_pool *pool;
    struct export_volume *volume, *next;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    if (exports->live && exports->synced)
        door_tell(exports);
    LIST_FOREACH(pool, &exports->pools, entry) {
        for (volume = LIST_FIRST(&pool->volumes); volume != NULL; volume = next) {
            next = LIST_NEXT(volume, entry);
            bool again = volume->again;
            volume->again = false;
            if (again && volume->state == VOLUME_CLOSING)
                volume_close_start(volume);
        }
    }
    pools_step(exports);
}

void exports_again(struct exports *exports, uint32_t after_ms) {
    if (exports->closing || (uv_is_active((uv_handle_t *)&exports->again) &&
                             uv_timer_get_due_in(&exports->again) <= after_ms))
        return;
    uv_update_time(exports->loop);
    uv_timer_start(&exports->again, on_again, after_ms, 0);
}

static void volume_again(struct export_volume *volume, uint32_t after_ms) {
    volume->again = true;
    exports_again(volume->pool->exports, after_ms);
}

/* ---- answers to those who wait -----------------------------------------------------------------
 */

static void answer(struct export *export, const struct err *err) {
    exports_add_fn *on_added = export->on_added;
    const struct exports *exports = export->volume->pool->exports;
    char path[EXPORTS_PATH_MAX];
    struct exports_added added = {.size_bytes = export->volume->size_bytes};
    if (on_added == NULL)
        return;
    export->on_added = NULL;
    if (export->local) {
        socket_path(exports, &export->attachment, path);
        added.path = path;
    }
    if (export->digest_count > 0) {
        added.address = exports->door.told;
        if (err->code == ERR_NONE && exports->door.socket < 0)
            err = &exports->door.err;
    }
    on_added(export->added_arg, err->code == ERR_NONE ? &added : NULL, err);
}

static void volume_answer(struct export_volume *volume, const struct err *err) {
    struct export *export, *next;
    for (export = LIST_FIRST(&volume->exports); export != NULL; export = next) {
        next = LIST_NEXT(export, entry);
        answer(export, err);
    }
}

void pool_answer(struct export_pool *pool, const struct err *err) {
    struct export_volume *volume, *next;
    for (volume = LIST_FIRST(&pool->volumes); volume != NULL; volume = next) {
        next = LIST_NEXT(volume, entry);
        volume_answer(volume, err);
    }
}

/* ---- volumes -----------------------------------------------------------------------------------
 */

static void volume_over(struct export_volume *volume) {
    exports_remove_fn *on_closed = volume->on_closed;
    void *arg = volume->closed_arg;
    struct export_pool *pool = volume->pool;
    volume->state = VOLUME_SHUT;
    volume->on_closed = NULL;
    if (LIST_EMPTY(&volume->exports))
        volume_free(volume);
    if (on_closed != NULL)
        on_closed(arg);
    pool_step(pool);
}

/* Whatever the answer is, the runner has the volume open no more: it closed it, or it has ended. */
static void on_volume_closed(void *arg, const struct runner_reply *reply) {
    struct ask *ask = arg;
    struct export_volume *volume = asked_volume(ask, VOLUME_CLOSING);
    if (reply->err.code != ERR_NONE && !no_runner(&reply->err))
        exports_trouble(ask->exports, "a volume was not closed well: %s", reply->err.text);
    if (volume != NULL && reply->err.code == ERR_NONE && reply->pending)
        volume_again(volume, reply->retry_after_ms + 1);
    else if (volume != NULL && !ask->exports->closed)
        volume_over(volume);
    answered(ask);
}

static void volume_close_start(struct export_volume *volume) {
    struct wire_data_close args = {.volume = volume->volume, .handle = volume->handle};
    volume->state = VOLUME_CLOSING;
    if (volume->pool->runner == NULL)
        volume_over(volume);
    else
        ask(volume->pool, WIRE_DATA_CLOSE, &args, NULL, 0, volume, on_volume_closed);
}

/* sluice-data is told of exports first, so that the volume is known when it is opened. */
static void tell_exports(struct export_volume *volume) {
    struct exports *exports = volume->pool->exports;
    struct runner_status status;
    struct export *export, *next;
    runner_status(volume->pool->runner, &status);
    const struct wire_pool *opened = status.pool;
    for (export = LIST_FIRST(&volume->exports); export != NULL; export = next) {
        next = LIST_NEXT(export, entry);
        struct err err = ERR_INIT;
        if (export->told || export->removing || !export->wanted || opened == NULL)
            continue;
        int fd = export->local ? socket_listen(exports, &export->attachment, &err) : -1;
        if (export->local && fd < 0) {
            exports_trouble(exports, "%s", err.text);
            exports_again(exports, EXPORTS_AGAIN_MS);
            answer(export, &err);
            continue;
        }
        struct data_export body = {
            .attachment = export->attachment,
            .volume = volume->volume,
            .snapshot = volume->snapshot,
            .pool = volume->pool->id,
            .name = export->name,
            .size_bytes = volume->size_bytes,
            .io_align = volume->io_align,
            .io_max = opened->io_max,
            .read_only = volume->read_only,
            .token_constant = opened->caps >> SLUICE_CAP_TOKEN_CONSTANT & 1,
            .trims = opened->caps >> SLUICE_CAP_TRIM & 1,
            .zeroes_fast = opened->caps >> SLUICE_CAP_ZERO_FAST & 1,
            .extents = opened->caps >> SLUICE_CAP_EXTENTS & 1,
            .uid = export->uid,
            .iops_max = export->iops_max,
            .bytes_s_max = export->bytes_s_max,
            .certificates = {export->digests[0], export->digest_count * DATA_DIGEST_SIZE},
        };
        if (export->local)
            data_process_send(exports->process, DATA_EXPORT, &body, &fd, 1);
        else
            data_process_send(exports->process, DATA_EXPORT_TLS, &body, NULL, 0);
        export->told = true;
        if (fd >= 0)
            close(fd);
    }
}

static void tell_open(const struct export_volume *volume) {
    struct data_volume_open body = {
        .volume = volume->volume,
        .snapshot = volume->snapshot,
        .pool = volume->pool->id,
        .generation = volume->pool->generation,
        .handle = volume->handle,
        .epoch = volume->epoch,
        .token = volume->token,
        .size_bytes = volume->size_bytes,
    };
    data_process_send(volume->pool->exports->process, DATA_VOLUME_OPEN, &body, NULL, 0);
}

static void answer_served(struct export_volume *volume) {
    const struct err none = ERR_INIT;
    struct export *export, *next;
    for (export = LIST_FIRST(&volume->exports); export != NULL; export = next) {
        next = LIST_NEXT(export, entry);
        if (export->told && !export->removing)
            answer(export, &none);
    }
}

static void on_open_failed(struct export_volume *volume, const struct err *err) {
    struct exports *exports = volume->pool->exports;
    volume->state = VOLUME_SHUT;
    if (no_runner(err)) {
        volume->deaths += err->code == ERR_RUNNER_LOST;
        if (volume->deaths < EXPORTS_OPEN_DEATHS)
            return; /* its successor is asked */
    }
    struct err told = *err;
    if (no_runner(err)) {
        told = (struct err)ERR_INIT;
        err_set(&told, ERR_POISONED, "opening the volume ended %d runners in a row",
                EXPORTS_OPEN_DEATHS);
    }
    exports_trouble(exports, "a volume is not opened: %s", told.text);
    volume_again(volume, EXPORTS_AGAIN_MS);
    volume_answer(volume, &told);
}

static void on_volume_opened(void *arg, const struct runner_reply *reply) {
    struct ask *ask = arg;
    struct export_volume *volume = asked_volume(ask, VOLUME_OPENING);
    if (volume == NULL || ask->exports->closed) {
        answered(ask);
        return;
    }
    struct export_pool *pool = volume->pool;
    if (reply->err.code != ERR_NONE || reply->pending) {
        if (reply->err.code != ERR_NONE) {
            on_open_failed(volume, &reply->err);
        } else { /* calls of the opening before are still inside */
            volume->state = VOLUME_SHUT;
            volume_again(volume, reply->retry_after_ms + 1);
        }
        if (LIST_EMPTY(&volume->exports))
            volume_over(volume);
        else
            pool_step(pool);
        answered(ask);
        return;
    }
    const struct wire_data_opened *opened = reply->result;
    volume->state = VOLUME_OPEN;
    volume->deaths = 0;
    volume->handle = opened->handle;
    volume->io_align = opened->io_align;
    volume->size_bytes = opened->size_bytes;
    volume->token = opened->token;
    if (pool->ring != RING_ATTACHED || pool->generation != ask->generation) {
        volume_close_start(volume); /* the ring it is for is gone */
    } else {
        tell_exports(volume);
        tell_open(volume);
        answer_served(volume);
        pool_step(pool);
    }
    answered(ask);
}

static void volume_open_start(struct export_volume *volume) {
    struct exports *exports = volume->pool->exports;
    volume->state = VOLUME_OPENING;
    volume->epoch = ++exports->last_epoch;
    struct wire_data_open args = {.volume = volume->volume,
                                  .snapshot = volume->snapshot,
                                  .read_only = volume->read_only,
                                  .epoch = volume->epoch};
    ask(volume->pool, WIRE_DATA_OPEN, &args, NULL, 0, volume, on_volume_opened);
}

static bool has_untold(const struct export_volume *volume) {
    const struct export *export;
    LIST_FOREACH(export, &volume->exports, entry)
    if (export->wanted && !export->told && !export->removing)
        return true;
    return false;
}

static bool is_wanted(const struct export_volume *volume) {
    const struct export *export;
    LIST_FOREACH(export, &volume->exports, entry)
    if (export->wanted && !export->removing)
        return true;
    return false;
}

static void volume_step(struct export_volume *volume) {
    if (volume->state == VOLUME_SHUT && is_wanted(volume) && !volume->again &&
        volume->deaths < EXPORTS_OPEN_DEATHS) {
        volume_open_start(volume);
    } else if (volume->state == VOLUME_OPEN && has_untold(volume)) {
        tell_exports(volume);
        tell_open(volume);
        answer_served(volume);
    } else if (volume->state == VOLUME_OPEN) {
        answer_served(volume);
    }
}

void export_gone(struct export *export) {
    struct export_volume *volume = export->volume;
    struct export_pool *pool = volume->pool;
    exports_remove_fn *on_removed = export->on_removed;
    void *arg = export->removed_arg;
    export_free(export);
    if (!LIST_EMPTY(&volume->exports)) {
        if (on_removed != NULL)
            on_removed(arg);
        return;
    }
    volume->on_closed = on_removed;
    volume->closed_arg = arg;
    if (volume->state == VOLUME_SHUT)
        volume_over(volume);
    else if (volume->state == VOLUME_OPEN)
        volume_close_start(volume);
    else
        pool_step(pool); /* OPENING and CLOSING: when that is answered */
}

/* ---- rings -------------------------------------------------------------------------------------
 */

static void tell_ring(const struct export_pool *pool, enum data_number number,
                      uint64_t generation) {
    struct data_ring body = {.pool = pool->id, .generation = generation};
    data_process_send(pool->exports->process, number, &body, NULL, 0);
}

static void want_ring(const struct export_pool *pool) {
    struct data_wanted body = {.pool = pool->id,
                               .generation = pool->generation,
                               .spin_ns = pool->exports->options.spin_ns};
    data_process_send(pool->exports->process, DATA_RING_WANTED, &body, NULL, 0);
}

void pool_ring_lost(struct export_pool *pool) {
    struct export_volume *volume;
    if (pool->ring != RING_NONE)
        tell_ring(pool, DATA_RING_LOST, pool->generation);
    pool->ring = RING_NONE;
    LIST_FOREACH(volume, &pool->volumes, entry) {
        if (volume->state == VOLUME_OPEN) /* the others have an answer coming */
            volume->state = VOLUME_SHUT;
    }
}

void pool_ends_lost(struct export_pool *pool) {
    struct export_volume *volume, *next;
    pool->ring = RING_NONE;
    pool->has_ring = 0;
    for (volume = LIST_FIRST(&pool->volumes); volume != NULL; volume = next) {
        next = LIST_NEXT(volume, entry);
        if (volume->state == VOLUME_OPEN)
            volume_close_start(volume);
    }
}

static void on_attached(void *arg, const struct runner_reply *reply) {
    struct ask *ask = arg;
    struct export_pool *pool = pool_of(ask->exports, &ask->pool);
    if (pool != NULL && pool->ring == RING_ATTACHING && pool->generation == ask->generation &&
        !ask->exports->closed) {
        if (reply->err.code == ERR_NONE && !reply->pending) {
            pool->ring = RING_ATTACHED;
            pool_step(pool);
        } else if (!no_runner(&reply->err)) {
            exports_trouble(ask->exports, "a runner does not take its ring: %s", reply->err.text);
            pool_ring_lost(pool);
            pool_answer(pool, &reply->err);
            exports_again(ask->exports, EXPORTS_AGAIN_MS);
        } /* else its successor will serve */
    }
    answered(ask);
}

void pool_ring_made(struct export_pool *pool, uint64_t generation, const int fds[RUNNER_FDS_MAX]) {
    if (pool->ring != RING_ASKED || pool->generation != generation || pool->runner == NULL)
        return; /* it was for a runner that has ended */
    struct wire_ring_attach args = {.generation = generation};
    pool->ring = RING_ATTACHING;
    ask(pool, WIRE_RING_ATTACH, &args, fds, RUNNER_FDS_MAX, NULL, on_attached);
}

/* What both ends had when we took over goes on, where they had the same. */
static void take_over_ring(struct export_pool *pool) {
    struct export_volume *volume;
    bool same = pool->has_ring == pool->runner_ring;
    if (same) {
        pool->ring = RING_ATTACHED;
        pool->generation = pool->has_ring;
    } else {
        tell_ring(pool, DATA_RING_LOST, pool->has_ring);
    }
    LIST_FOREACH(volume, &pool->volumes, entry) {
        if (same && volume->has_ring == pool->has_ring && volume->state == VOLUME_SHUT)
            volume->state = VOLUME_OPEN;
        volume->has_ring = 0;
    }
    pool->has_ring = 0;
}

static bool needs_ring(const struct export_pool *pool) {
    const struct export_volume *volume;
    bool needed = false;
    LIST_FOREACH(volume, &pool->volumes, entry) {
        /* What the runner has open was opened for the ring before. */
        if (volume->state != VOLUME_SHUT)
            return false;
        needed = needed || is_wanted(volume);
    }
    return needed;
}

static bool serves(const struct export_pool *pool) {
    struct runner_status status;
    if (pool->runner == NULL)
        return false;
    runner_status(pool->runner, &status);
    return status.state == RUNNER_SERVING;
}

void pool_step(struct export_pool *pool) {
    struct exports *exports = pool->exports;
    struct export_volume *volume, *next;
    if (!exports->live || !exports->synced || !exports->recovered || exports->closing ||
        !serves(pool))
        return;
    if (pool->ring == RING_NONE && pool->has_ring != 0)
        take_over_ring(pool);
    if (pool->ring == RING_NONE && needs_ring(pool)) {
        pool->generation = ++exports->last_generation;
        pool->ring = RING_ASKED;
        want_ring(pool);
        return;
    }
    if (pool->ring != RING_ATTACHED)
        return;
    for (volume = LIST_FIRST(&pool->volumes); volume != NULL; volume = next) {
        next = LIST_NEXT(volume, entry);
        if (LIST_EMPTY(&volume->exports) && volume->state == VOLUME_OPEN)
            volume_close_start(volume);
        else
            volume_step(volume);
    }
}

void pools_step(struct exports *exports) {
    struct export_pool *pool;
    LIST_FOREACH(pool, &exports->pools, entry)
    pool_step(pool);
}

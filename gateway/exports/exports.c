/* SPDX-License-Identifier: Apache-2.0
 *
 * exports.c: life, what is asked for from outside, and what sluice-data says.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"
#include "base/uuid.h"
#include "exports/state.h"

static void unexport(struct export *export) {
    struct exports *exports = export->volume->pool->exports;
    struct data_unexport body = {.attachment = export->attachment};
    data_process_send(exports->process, DATA_UNEXPORT, &body, NULL, 0);
}

/* ---- a sluice-data that was taken over ---------------------------------------------------------
 */

static void on_has(struct exports *exports, const struct data_has *has) {
    struct export *export = export_of(exports, &has->attachment);
    struct export_pool *pool = NULL;
    struct export_volume *volume = NULL;
    if (export == NULL) {
        pool = pool_made(exports, &has->pool);
        volume = pool != NULL ? volume_made(pool, &has->volume, &has->snapshot) : NULL;
        export = volume != NULL ? export_made(volume, &has->attachment) : NULL;
    }
    if (export == NULL) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_PROTOCOL, "sluice-data has more than it can have");
        data_process_blame(exports->process, &err);
        return;
    }
    volume = export->volume;
    pool = volume->pool;
    export->told = true;
    if (has->generation == 0)
        return;
    volume->has_ring = has->generation;
    volume->handle = has->handle;
    volume->epoch = has->epoch;
    volume->size_bytes = has->size_bytes;
    if (has->generation > pool->has_ring)
        pool->has_ring = has->generation;
}

/* What there is and what there should be are known: they are made the same. */
static void reconcile(struct exports *exports) {
    struct export_pool *pool;
    struct export_volume *volume, *next_volume;
    struct export *export, *next;
    if (!exports->synced || !exports->recovered || exports->closing)
        return;
    pools_step(exports); /* rings first: what is closed then is closed through them */
    LIST_FOREACH(pool, &exports->pools, entry) {
        for (volume = LIST_FIRST(&pool->volumes); volume != NULL; volume = next_volume) {
            next_volume = LIST_NEXT(volume, entry);
            for (export = LIST_FIRST(&volume->exports); export != NULL; export = next) {
                bool last = LIST_NEXT(export, entry) == NULL;
                next = LIST_NEXT(export, entry);
                if (export->wanted && !export->removing)
                    continue;
                export->removing = true;
                socket_remove(exports, &export->attachment);
                if (export->told)
                    unexport(export);
                else
                    export_gone(export);
                if (last)
                    break; /* the volume may be gone */
            }
        }
    }
    sockets_sweep(exports);
}

/* ---- sluice-data -------------------------------------------------------------------------------
 */

static void on_begin(void *owner, bool held) {
    struct exports *exports = owner;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    exports->live = true;
    if (held)
        return; /* HAS comes */
    exports->synced = true;
    door_tell(exports);
    reconcile(exports);
}

static bool has_door(const struct exports *exports) {
    return exports->door.listen[0] != '\0';
}

static void close_go_on(struct exports *exports);

static void on_unexported(struct exports *exports, const struct data_unexport *body) {
    struct export *export = export_of(exports, &body->attachment);
    if (export == NULL || !export->removing)
        return; /* said twice, so answered twice */
    export_gone(export);
    if (exports->closing)
        close_go_on(exports);
}

static void on_ring_broken(struct exports *exports, const struct data_ring *body) {
    struct export_pool *pool = pool_of(exports, &body->pool);
    struct err cause = ERR_INIT;
    if (pool == NULL || pool->runner == NULL || pool->ring == RING_NONE ||
        pool->generation != body->generation)
        return;
    err_set(&cause, ERR_PROTOCOL, "the runner said in its ring what cannot be true");
    runner_blame(pool->runner, &cause);
}

static void on_ring_still(struct exports *exports, const struct data_still *body) {
    const struct export_pool *pool = pool_of(exports, &body->pool);
    if (pool != NULL && pool->runner != NULL && pool->ring != RING_NONE &&
        pool->generation == body->generation)
        runner_doubt(pool->runner, body->still_ms);
}

static void on_message(void *owner, enum data_number number, const void *body, const int *fds,
                       uint32_t fd_count) {
    struct exports *exports = owner;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    if (number == DATA_HAS && !exports->synced) {
        on_has(exports, body);
    } else if (number == DATA_SYNCED && !exports->synced) {
        exports->synced = true;
        door_tell(exports);
        reconcile(exports);
    } else if (number == DATA_LISTENS && !exports->synced) {
        door_adopt(exports, body, fds[0]);
    } else if (number == DATA_UNEXPORTED) {
        on_unexported(exports, body);
    } else if (number == DATA_RING_BROKEN) {
        on_ring_broken(exports, body);
    } else if (number == DATA_RING_STILL) {
        on_ring_still(exports, body);
    } else if (number == DATA_RING_MADE) {
        const struct data_ring *ring = body;
        struct export_pool *pool = pool_of(exports, &ring->pool);
        if (pool != NULL && exports->synced && !exports->closing)
            pool_ring_made(pool, ring->generation, fds);
    } else {
        struct err err = ERR_INIT;
        err_set(&err, ERR_PROTOCOL, "sluice-data said what was not asked for");
        data_process_blame(exports->process, &err);
    }
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
}

/* A removed export may take its volume with it, so each round begins at the front. */
static struct export *next_removed(const struct exports *exports) {
    struct export_pool *pool;
    struct export_volume *volume;
    struct export *export;
    LIST_FOREACH(pool, &exports->pools, entry)
    LIST_FOREACH(volume, &pool->volumes, entry)
    LIST_FOREACH(export, &volume->exports, entry)
    if (export->removing || !export->wanted)
        return export;
    return NULL;
}

static void on_end(void *owner, const struct err *cause) {
    struct exports *exports = owner;
    struct export_pool *pool;
    struct export_volume *volume;
    struct export *export;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    if (exports->count > 0)
        exports_trouble(exports, "sluice-data ended, and with it the connections of clients: %s",
                        cause->text);
    exports->live = false;
    exports->door.said = false;
    exports->synced = true; /* what it had is gone */
    LIST_FOREACH(pool, &exports->pools, entry) {
        LIST_FOREACH(volume, &pool->volumes, entry) {
            volume->has_ring = 0;
            LIST_FOREACH(export, &volume->exports, entry)
            export->told = false;
        }
        pool_ends_lost(pool);
        pool_answer(pool, cause);
    }
    while ((export = next_removed(exports)) != NULL)
        export_gone(export);
    if (exports->closing)
        close_go_on(exports);
    else if (exports->count > 0 || has_door(exports))
        data_process_want(exports->process);
}

/* ---- from outside ------------------------------------------------------------------------------
 */

static bool same_place(const struct export *export, const struct exports_spec *spec) {
    return uuid_equal(&export->volume->volume, &spec->volume) &&
           uuid_equal(&export->volume->snapshot, &spec->snapshot) &&
           uuid_equal(&export->volume->pool->id, &spec->pool);
}

static struct export *take_spec(struct exports *exports, const struct exports_spec *spec,
                                struct err *err) {
    struct export *export = export_of(exports, &spec->attachment);
    if (export != NULL && (export->removing || !same_place(export, spec))) {
        err_set(err, ERR_BUSY, "the attachment is still being taken back");
        return NULL;
    }
    if (export == NULL) {
        struct export_pool *pool = pool_made(exports, &spec->pool);
        struct export_volume *volume =
            pool != NULL ? volume_made(pool, &spec->volume, &spec->snapshot) : NULL;
        export = volume != NULL ? export_made(volume, &spec->attachment) : NULL;
        if (export == NULL) {
            if (volume != NULL && LIST_EMPTY(&volume->exports) && volume->state == VOLUME_SHUT)
                volume_free(volume);
            err_set(err, ERR_TOO_MANY, "there are %u attachments over NBD already", exports->count);
            return NULL;
        }
    }
    text_copy(export->name, sizeof export->name, spec->name);
    export->local = spec->local;
    export->uid = spec->uid;
    export->digest_count = spec->digest_count;
    memcpy(export->digests, spec->digests, sizeof export->digests);
    export->iops_max = spec->iops_max;
    export->bytes_s_max = spec->bytes_s_max;
    export->wanted = true;
    export->volume->read_only = spec->read_only;
    export->volume->deaths = 0;
    export->volume->again = false;
    return export;
}

void exports_add(struct exports *exports, const struct exports_spec *spec, exports_add_fn *on_added,
                 void *arg) {
    struct err err = ERR_INIT;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    struct export *export = take_spec(exports, spec, &err);
    if (export == NULL) {
        if (on_added != NULL)
            on_added(arg, NULL, &err);
        return;
    }
    export->on_added = on_added;
    export->added_arg = arg;
    data_process_want(exports->process);
    pool_step(export->volume->pool);
}

void exports_remove(struct exports *exports, const struct sluice_uuid *attachment,
                    exports_remove_fn *on_removed, void *arg) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    struct export *export = export_of(exports, attachment);
    if (export == NULL) {
        /* Also before SYNCED: what is said to be there then, and known to nobody, ends. */
        socket_remove(exports, attachment);
        on_removed(arg);
        return;
    }
    export->on_added = NULL;
    export->on_removed = on_removed;
    export->removed_arg = arg;
    if (export->removing)
        return;
    export->removing = true;
    socket_remove(exports, attachment);
    if (!exports->synced)
        return; /* reconcile */
    if (export->told)
        unexport(export);
    else
        export_gone(export);
}

void exports_pool_serving(struct exports *exports, const struct sluice_uuid *id,
                          struct runner *runner) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    struct runner_status status;
    struct export_pool *pool = pool_made(exports, id);
    if (pool == NULL) {
        exports_trouble(exports, "no memory for a pool's ring");
        return;
    }
    runner_status(runner, &status);
    pool_ring_lost(pool);
    pool->runner = runner;
    pool->runner_ring = status.ring;
    pool_step(pool);
}

void exports_pool_down(struct exports *exports, const struct sluice_uuid *id,
                       const struct err *cause) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    struct export_pool *pool = pool_of(exports, id);
    if (pool != NULL)
        pool_answer(pool, cause);
}

void exports_pool_gone(struct exports *exports, const struct sluice_uuid *id) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    struct export_pool *pool = pool_of(exports, id);
    if (pool == NULL)
        return;
    struct err err = ERR_INIT;
    err_set(&err, ERR_POOL_DOWN, "the pool's runner has ended");
    pool_ring_lost(pool);
    pool->runner = NULL;
    pool->runner_ring = 0;
    pool_answer(pool, &err);
    if (LIST_EMPTY(&pool->volumes)) {
        LIST_REMOVE(pool, entry);
        free(pool);
    }
}

uint32_t exports_count(const struct exports *exports, const struct sluice_uuid *id) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    const struct export_pool *pool = pool_of(exports, id);
    const struct export_volume *volume;
    const struct export *export;
    uint32_t count = 0;
    if (pool == NULL)
        return 0;
    LIST_FOREACH(volume, &pool->volumes, entry)
    LIST_FOREACH(export, &volume->exports, entry)
    count++;
    return count;
}

void exports_figures(const struct exports *exports, struct exports_figures *ret) {
    struct data_process_status status;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    data_process_status(exports->process, &status);
    *ret = (struct exports_figures){
        .running = exports->live, .deaths = status.deaths, .pong = status.pong};
}

/* ---- life --------------------------------------------------------------------------------------
 */

bool exports_open(struct uv_loop_s *loop, struct runners *runners,
                  const struct exports_options *options, struct exports **ret, struct err *err) {
    static const struct data_process_events events = {on_begin, on_message, on_end};
    if (strlen(options->directory) > EXPORTS_DIRECTORY_MAX)
        return err_set(err, ERR_CONFIG, "the directory of NBD sockets has more than %d bytes",
                       EXPORTS_DIRECTORY_MAX);
    struct exports *exports = calloc(1, sizeof *exports);
    if (exports == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for exports");
    exports->magic = EXPORTS_MAGIC;
    exports->loop = loop;
    exports->options = *options;
    exports->last_epoch = exports->last_generation = options->incarnation << 32;
    text_copy(exports->directory, sizeof exports->directory, options->directory);
    exports->options.directory = exports->directory;
    LIST_INIT(&exports->pools);
    if (!sockets_prepare(exports, err) ||
        !data_process_open(runners, options->uid, &events, exports, &exports->process, err)) {
        free(exports);
        return false;
    }
    uv_timer_init(loop, &exports->again);
    exports->again.data = exports;
    exports->synced = !data_process_is_held(exports->process);
    door_open(exports, !exports->synced);
    *ret = exports;
    return true;
}

void exports_recovered(struct exports *exports) {
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    exports->recovered = true;
    /* A port that is listened on is answered, also when there is nothing to be had there. */
    if (has_door(exports))
        data_process_want(exports->process);
    reconcile(exports);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct exports *exports = handle->data;
    exports->again.data = NULL;
    exports_settle(exports);
}

/* Freed when nothing points here any more: the timer, and calls that owe an answer. */
void exports_settle(struct exports *exports) {
    if (exports->again.data != NULL || exports->asks > 0)
        return;
    pools_free(exports);
    exports->magic = 0;
    free(exports);
}

static void on_data_stopped(void *owner) {
    struct exports *exports = owner;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    data_process_close(exports->process);
    exports->process = NULL;
    door_close(exports);
    exports->closed = true;
    uv_close((uv_handle_t *)&exports->again, on_timer_closed);
    exports->on_closed(exports->closed_owner);
}

static void close_go_on(struct exports *exports) {
    const struct export_pool *pool;
    const struct export_volume *volume;
    const struct export *export;
    if (exports->stopping)
        return;
    LIST_FOREACH(pool, &exports->pools, entry)
    LIST_FOREACH(volume, &pool->volumes, entry)
    LIST_FOREACH(export, &volume->exports, entry)
    if (exports->live && export->told)
        return; /* UNEXPORTED comes, or the time is over */
    exports->stopping = true;
    uv_timer_stop(&exports->again);
    data_process_stop(exports->process, on_data_stopped);
}

static void on_close_late(uv_timer_t *timer) {
    struct exports *exports = timer->data;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    exports->live = false; /* for what does not end */
    close_go_on(exports);
}

void exports_close(struct exports *exports, void (*on_closed)(void *owner), void *owner) {
    struct export_pool *pool;
    struct export_volume *volume;
    struct export *export;
    CHECK_MAGIC(exports, EXPORTS_MAGIC);
    exports->closing = true;
    exports->on_closed = on_closed;
    exports->closed_owner = owner;
    uv_timer_start(&exports->again, on_close_late, EXPORTS_CLOSE_MS, 0);
    LIST_FOREACH(pool, &exports->pools, entry)
    LIST_FOREACH(volume, &pool->volumes, entry)
    LIST_FOREACH(export, &volume->exports, entry) {
        export->on_added = NULL;
        export->on_removed = NULL;
        export->removing = true;
        socket_remove(exports, &export->attachment);
        if (export->told)
            unexport(export);
    }
    close_go_on(exports);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * of_pool_end.c: a pool that takes no work, is drained, or goes.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/engine_state.h"
#include "core/kinds.h"
#include "core/of_pool.h"
#include "core/pool.h"
#include "core/state.h"
#include <sluice/driver.h>

/* ---- disable -------------------------------------------------------------------------------- */

static bool change_state(struct op *op, struct catalog_txn *txn, const struct pool_record *before,
                         uint64_t revision, const char *state) {
    struct pool_record after = *before;
    after.state = state;
    after.updated_at = clock_wall_ms();
    store_change(txn, CORE_POOL, before, revision, &after);
    op_after_end(op, pool_catch_up);
    return true;
}

bool pool_disable_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    if (!pool_target(op, params->target, &record, &revision, err))
        return false;
    if (strcmp(record.state, "enabled") != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    return change_state(op, txn, &record, revision, "disabled");
}
NO_STEPS(pool_disable)

/* ---- drain ---------------------------------------------------------------------------------- */

/* Clients of the gateway would wait for a runner that does not come. */
static bool serves_attachments(const struct op *op, const struct pool_record *record,
                               struct err *err) {
    const struct exports *exports = op->core->exports;
    uint32_t count = exports != NULL ? exports_count(exports, &record->id) : 0;
    if (count == 0)
        return false;
    err_set(err, ERR_STATE, "pool %s serves %u attachments over NBD: delete them first",
            record->name, count);
    return true;
}

bool pool_drain_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    if (!pool_target(op, params->target, &record, &revision, err) ||
        !pool_keep_before(op, &record, err))
        return false;
    if (strcmp(record.state, "enabled") != 0 && strcmp(record.state, "disabled") != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    if (serves_attachments(op, &record, err))
        return false;
    return change_state(op, txn, &record, revision, "disabled");
}

void pool_drain_wait_run(struct op *op) {
    pool_catch_up(op); /* from here on it takes nothing new */
    uint32_t count = engine_lockers(op->core->engine, LOCK_WORK, &op->record.object);
    if (count == 0) {
        op_step_done(op, NULL);
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "%u running operations", count);
    op_again(op, 50, 0, 0, text);
}

static void stop_runner(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool == NULL)
        op_step_done(op, NULL);
    else
        pool_until_stopped(op, pool);
}

void pool_drain_stop_run(struct op *op) {
    stop_runner(op);
}
bool pool_drain_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_set_state(op, txn, "drained", err);
}
bool pool_drain_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, pool_after_undo);
    return pool_put_before(op, txn, err);
}
void pool_drain_recall(struct op *op) {
    pool_recall(op);
}

/* ---- delete --------------------------------------------------------------------------------- */

static bool on_any(void *arg, const struct catalog_entry *entry) {
    (void)entry;
    *(bool *)arg = true;
    return false;
}

static bool has_objects(struct op *op, enum core_noun noun, struct err *err) {
    struct key prefix;
    bool any = false;
    key_index(&prefix, noun, STORE_BY_POOL, &op->record.object);
    return !catalog_scan(op->core->catalog, prefix.at, prefix.length, NULL, 0, false, on_any, &any,
                         err) ||
           any;
}

bool pool_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_delete_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    if (!pool_target(op, params->target, &record, &revision, err) ||
        !pool_keep_before(op, &record, err))
        return false;
    if (strcmp(record.state, "creating") == 0 || strcmp(record.state, "deleting") == 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    if (!params->forget) {
        static const enum core_noun nouns[] = {CORE_VOLUME, CORE_SNAPSHOT, CORE_ATTACHMENT};
        for (size_t i = 0; i < sizeof nouns / sizeof nouns[0]; i++)
            if (has_objects(op, nouns[i], err))
                return err_set(
                    err, ERR_STATE,
                    "pool %s has %ss: delete or unmanage them first, or say forget to drop "
                    "them from the catalogue only",
                    record.name, core_noun_name(nouns[i]));
        if (!op_lock(op, LOCK_WORK, &record.id, true, err))
            return false;
    }
    return change_state(op, txn, &record, revision, "deleting");
}

/* Forgetting goes object by object, so that no transaction grows with the pool; when nothing is
 * left the step is done, and a restart in between goes on with what is left. */
struct first {
    struct sluice_uuid id;
    bool found;
};

static bool on_first(void *arg, const struct catalog_entry *entry) {
    struct first *first = arg;
    memcpy(first->id.bytes, entry->key + entry->key_length - sizeof first->id.bytes,
           sizeof first->id.bytes);
    first->found = true;
    return false;
}

static void on_forgotten(void *arg, uint64_t revision, const struct err *err) {
    struct op *op = arg;
    (void)revision;
    if (err->code != ERR_NONE && err->code != ERR_CONFLICT)
        op_step_done(op, err);
    else
        op_again(op, 0, 0, 0, "objects to be forgotten");
}

static void on_forgotten_export(void *arg) {
    (void)arg; /* its end is waited for by nobody: the runner's is */
}

static bool forget_one(struct op *op, enum core_noun noun, struct err *err) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
        struct attachment_record attachment;
    } record;
    struct first first = {.found = false};
    struct key prefix;
    key_index(&prefix, noun, STORE_BY_POOL, &op->record.object);
    if (!catalog_scan(op->core->catalog, prefix.at, prefix.length, NULL, 0, false, on_first, &first,
                      err) ||
        !first.found)
        return false;
    struct arena arena;
    uint64_t revision;
    arena_init(&arena, ENGINE_OP_MEMORY);
    bool ok = store_get(op->core->catalog, noun, &first.id, &arena, &record, &revision, err);
    if (ok) {
        struct catalog_txn *txn = catalog_begin(op->core->catalog);
        catalog_finishing(txn);
        if (noun == CORE_ATTACHMENT && record.attachment.served && op->core->exports != NULL)
            exports_remove(op->core->exports, &first.id, on_forgotten_export, NULL);
        ok = object_remove(op, txn, noun, &record, revision, err);
        if (ok)
            catalog_submit(txn, on_forgotten, op);
        else
            catalog_drop(txn);
    }
    arena_release(&arena);
    return ok;
}

static void forget_objects(struct op *op) {
    static const enum core_noun nouns[] = {CORE_ATTACHMENT, CORE_SNAPSHOT, CORE_VOLUME};
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    if (pool != NULL) {
        struct err why = ERR_INIT;
        err_set(&why, ERR_CANCELLED, "the pool was forgotten");
        engine_abandon(op->core->engine, pool, op, &why);
    }
    if (engine_lockers(op->core->engine, LOCK_WORK, &op->record.object) > 0) {
        /* Those that are inside the driver end with its runner. */
        if (pool != NULL)
            pool_stop(pool);
        op_again(op, 50, 0, 0, "operations that end");
        return;
    }
    for (size_t i = 0; i < sizeof nouns / sizeof nouns[0]; i++)
        if (forget_one(op, nouns[i], &err))
            return;
    op_step_done(op, err.code != ERR_NONE ? &err : NULL);
}

#define NOT_RELEASED "the backend cannot be given back (say forget to drop the pool all the same)"
#define RELEASE_MARGIN_MS                                                   \
    100 /* beyond the retry limit, so that a late answer is not tried again \
         */

static void release_when_serving(struct op *op) {
    static const struct wire_nothing nothing;
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    enum pool_standing standing = pool_standing(pool, &err);
    if (standing == POOL_UNDECIDED)
        return;
    pool_unwait(pool);
    if (standing == POOL_SERVES) {
        op_call(op, pool->runner, WIRE_POOL_RELEASE, &nothing, NULL);
        return;
    }
    err_context(&err, NOT_RELEASED);
    op_step_done(op, &err);
}

/* Neither the backend nor the driver may keep the operation, and with it the pool, for ever. */
static void on_release_late(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    err_set(&err, ERR_STALLED, NOT_RELEASED ": it does not answer");
    if (pool->waiter == op) {
        pool_unwait(pool);
        op_step_done(op, &err);
    } else {
        op_blame(op, err.code, err.text);
        pool_stop(pool); /* which ends the call */
    }
}

void pool_delete_release_run(struct op *op) {
    const struct pool_delete_params *params = op->params;
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    pool_catch_up(op);
    if (params->forget) {
        forget_objects(op);
    } else if (pool == NULL) {
        op_step_done(op, NULL);
    } else if (pool->runner == NULL && !pool_start(pool, SLUICE_POOL_CLAIM, &err)) {
        /* CLAIM: released before a crash, it has no marker, and that is no reason to fail. */
        err_context(&err, NOT_RELEASED);
        op_step_done(op, &err);
    } else {
        pool_wait(pool, op, release_when_serving);
        op_deadline(op, op->core->options.retry_limit_ms + RELEASE_MARGIN_MS, on_release_late);
        release_when_serving(op);
    }
}

void pool_delete_stop_run(struct op *op) {
    stop_runner(op);
}

static void after_delete(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL)
        pool_remove(pool);
}

bool pool_delete_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct pool_record record;
    uint64_t revision;
    if (!object_again(op, CORE_POOL, &record, &revision, err))
        return false;
    store_remove(txn, CORE_POOL, &record, revision);
    op_after_end(op, after_delete);
    return true;
}

bool pool_delete_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, pool_after_undo);
    return pool_put_before(op, txn, err);
}
void pool_delete_recall(struct op *op) {
    const struct pool_delete_params *params = op->params;
    pool_recall(op);
    if (!params->forget) /* others may still be at work in what is forgotten */
        (void)op_lock(op, LOCK_WORK, &op->record.object, true, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * of_pool.c: creating, changing and moving pools. Disabling, draining and deleting: of_pool_end.c.
 *
 * Operations about a pool hold its lock alone, so at most one of them waits for its runner. Changes
 * of a pool's record are in the first commit, with the old record kept in the operation; undoing
 * puts the old one back.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/driver.h"
#include "core/kinds.h"
#include "core/of_pool.h"
#include "core/pool.h"
#include "core/pool_bag.h"
#include "core/state.h"
#include "core/validate.h"
#include <sluice/driver.h>

/* How long taking back a claim waits for the backend; then the marker is left, and the next one who
 * wants the backend says take_over. */
#define RELEASE_WAIT_MS 5000

/* ---- what they share ------------------------------------------------------------------------ */

bool pool_target(struct op *op, const char *reference, struct pool_record *ret,
                 uint64_t *ret_revision, struct err *err) {
    return target_read(op, CORE_POOL, reference, ret, ret_revision, err) &&
           op_lock(op, LOCK_OBJECT, &ret->id, true, err) && (op->record.pool = ret->id, true);
}

bool pool_keep_before(struct op *op, const struct pool_record *before, struct err *err) {
    struct buf bytes;
    buf_init(&bytes, 65536);
    shape_encode(&pool_record_shape, before, &bytes);
    void *copy = bytes.overflow ? NULL : arena_alloc(&op->arena, bytes.length);
    if (copy != NULL) {
        memcpy(copy, bytes.at, bytes.length);
        op->record.before = (struct blob){copy, (uint32_t)bytes.length};
    }
    buf_release(&bytes);
    return copy != NULL || err_set(err, ERR_LIMIT, "the pool's properties are too large");
}

bool pool_put_before(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct pool_record now, before;
    uint64_t revision;
    if (!object_again(op, CORE_POOL, &now, &revision, err) ||
        !shape_decode(&pool_record_shape, op->record.before.at, op->record.before.length,
                      &op->step_arena, &before, err))
        return false;
    store_change(txn, CORE_POOL, &now, revision, &before);
    return true;
}

void pool_catch_up(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL)
        (void)pool_reload(pool, NULL);
}

bool pool_set_state(struct op *op, struct catalog_txn *txn, const char *state, struct err *err) {
    struct pool_record before, after;
    uint64_t revision;
    if (!object_again(op, CORE_POOL, &before, &revision, err))
        return false;
    after = before;
    after.state = state;
    after.updated_at = clock_wall_ms();
    store_change(txn, CORE_POOL, &before, revision, &after);
    op_after_end(op, pool_catch_up);
    return true;
}

void pool_recall(struct op *op) {
    (void)op_lock(op, LOCK_OBJECT, &op->record.object, true, NULL);
    op_after_end(op, pool_catch_up);
}

/* The pool of the operation, or an answer that it is not there. */
static struct pool *own_pool(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool == NULL) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_NOT_FOUND, "the pool is not there any more");
        op_step_done(op, &err);
    }
    return pool;
}

static void on_serving_or_not(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    enum pool_standing standing = pool_standing(pool, &err);
    if (standing == POOL_UNDECIDED)
        return;
    pool_unwait(pool);
    op_step_done(op, standing == POOL_SERVES ? NULL : &err);
}

void pool_until_serving(struct op *op, struct pool *pool) {
    pool_wait(pool, op, on_serving_or_not);
    on_serving_or_not(op);
}

static void on_stopped_or_not(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool->runner != NULL)
        return;
    pool_unwait(pool);
    op_step_done(op, NULL);
}

void pool_until_stopped(struct op *op, struct pool *pool) {
    pool_wait(pool, op, on_stopped_or_not);
    pool_stop(pool);
    on_stopped_or_not(op);
}

/* ---- create --------------------------------------------------------------------------------- */

static bool choose_uid(struct op *op, uint32_t wanted, uint32_t *ret, struct err *err) {
    const struct core_options *options = &op->core->options;
    uint32_t low = wanted != 0 ? wanted : options->uid_low;
    uint32_t high = wanted != 0 ? wanted : options->uid_high;
    if (low < options->uid_low || high > options->uid_high)
        return op_violation(op, err, "uid", "must lie between %u and %u", options->uid_low,
                            options->uid_high);
    for (uint32_t uid = low; uid <= high; uid++) {
        /* Two pools that are being created must not choose the same: the choice is locked. */
        struct sluice_uuid lock = {{0}};
        memcpy(lock.bytes, &uid, sizeof uid);
        if (!pools_uid_taken(op->core, uid) && op_lock(op, LOCK_OBJECT, &lock, true, NULL)) {
            *ret = uid;
            return true;
        }
    }
    if (wanted != 0)
        return op_violation(op, err, "uid", "another pool has this account");
    return err_set(err, ERR_LIMIT, "every account from %u to %u has a pool: widen the range",
                   options->uid_low, options->uid_high);
}

bool pool_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_create_params *asked = op->params;
    struct pool_create_params *kept = arena_alloc(&op->arena, sizeof *kept);
    struct pool_record record = {
        .id = uuid_new(),
        .name = asked->name,
        .state = "creating",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    if (kept == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    if (!valid_name(op, "name", asked->name, RECORD_NAME_MAX, err) ||
        !valid_labels(op, &asked->labels, err) || !name_free(op, CORE_POOL, NULL, asked->name, err))
        return false;
    if (pools_count(op->core) >= POOLS_MAX)
        return err_set(err, ERR_LIMIT, "there are %d pools, and that is the limit", POOLS_MAX);
    struct driver *driver = driver_choose(op->core, asked->driver, asked->driver_version, err);
    if (driver == NULL || !pool_bag_set(op, driver, &asked->properties, &record, err) ||
        !choose_uid(op, asked->uid, &record.uid, err))
        return false;
    record.driver = driver_name(driver);
    record.driver_version = driver_version(driver);
    op_set_object(op, &record.id, asked->name);
    op->record.pool = record.id;
    if (!pairs_keep(&op->arena, &asked->labels, &record.labels) ||
        !op_lock(op, LOCK_OBJECT, &record.id, true, err))
        return err_set(err, ERR_NO_MEMORY, "no memory");
    *kept = *asked; /* what is stored of the request has no secrets */
    kept->properties = record.properties;
    op->params = kept;
    store_add(txn, CORE_POOL, &record);
    return true;
}

static uint32_t claim_flags(const struct op *op) {
    const struct pool_create_params *params = op->params;
    return SLUICE_POOL_CLAIM | (params->take_over ? SLUICE_POOL_TAKE_OVER : 0u);
}

/* The pool in memory, made from the record that the first commit wrote. */
static struct pool *created_pool(struct op *op, struct err *err) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct pool_record record;
    uint64_t revision;
    if (pool != NULL)
        return pool;
    return object_again(op, CORE_POOL, &record, &revision, err) ? pool_add(op->core, &record, err)
                                                                : NULL;
}

void pool_create_open_run(struct op *op) {
    struct err err = ERR_INIT;
    struct pool *pool = created_pool(op, &err);
    if (pool == NULL || (pool->runner == NULL && !pool_start(pool, claim_flags(op), &err))) {
        op_step_done(op, &err);
        return;
    }
    pool_until_serving(op, pool);
}

static void on_released(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    pool_until_stopped(op, pool);
}

static void on_release_answered(void *arg, const struct runner_reply *reply) {
    (void)reply; /* a marker that stays is named by the next one who opens the backend */
    on_released(arg);
}

static void release_or_wait(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct err err = ERR_INIT;
    enum pool_standing standing = pool_standing(pool, &err);
    uint64_t *deadline_ms = op->scratch;
    if (standing == POOL_UNDECIDED && clock_mono_ms() < *deadline_ms)
        return;
    pool_unwait(pool);
    if (standing == POOL_SERVES) {
        struct wire_nothing nothing = {0};
        runner_call(pool->runner, WIRE_POOL_RELEASE, &nothing, on_release_answered, op);
    } else {
        on_released(op);
    }
}

void pool_create_open_undo(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    uint64_t *deadline_ms = arena_alloc(&op->arena, sizeof *deadline_ms);
    if (pool == NULL || deadline_ms == NULL ||
        (pool->runner == NULL && !pool_start(pool, claim_flags(op), NULL))) {
        op_step_done(op, NULL);
        return;
    }
    *deadline_ms = clock_mono_ms() + RELEASE_WAIT_MS;
    op->scratch = deadline_ms;
    pool_wait(pool, op, release_or_wait);
    release_or_wait(op);
}

void pool_create_probe_run(struct op *op) {
    struct pool *pool = own_pool(op);
    struct wire_nothing nothing = {0};
    if (pool != NULL)
        op_call(op, pool->runner, WIRE_POOL_PROBE, &nothing, NULL);
}

static void on_created(struct op *op) {
    pool_catch_up(op);
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL) /* from now on a backend without our marker is not ours */
        (void)pool_respec(pool, 0, NULL);
}

bool pool_create_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    bool ok = pool_set_state(op, txn, "enabled", err);
    op_after_end(op, on_created);
    return ok;
}

static void on_uncreated(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL)
        pool_remove(pool);
}

bool pool_create_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct pool_record record;
    uint64_t revision;
    op_after_end(op, on_uncreated);
    if (!object_again(op, CORE_POOL, &record, &revision, err))
        return false;
    store_remove(txn, CORE_POOL, &record, revision);
    return true;
}

void pool_create_recall(struct op *op) {
    pool_recall(op);
}

/* ---- update and upgrade: another bag, another version, the same pool ----------------------------
 */

bool pool_update_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_update_params *asked = op->params;
    struct pool_update_params *kept = arena_alloc(&op->arena, sizeof *kept);
    struct pool_record before, after;
    uint64_t revision;
    if (kept == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    if (!pool_target(op, asked->target, &before, &revision, err) ||
        !valid_labels(op, &asked->labels, err) || !pool_keep_before(op, &before, err))
        return false;
    if (strcmp(before.state, "creating") == 0 || strcmp(before.state, "deleting") == 0)
        return err_set(err, ERR_STATE, "pool %s is %s", before.name, before.state);
    after = before;
    after.updated_at = clock_wall_ms();
    if (!pairs_merge(&op->arena, &before.labels, &asked->labels, RECORD_LABELS_MAX, &after.labels,
                     err))
        return false;
    if (asked->properties.count > 0) {
        struct driver *driver = driver_find(op->core, before.driver, before.driver_version);
        if (driver == NULL)
            return err_set(err, ERR_DEPENDENCY, "driver %s %s is not there", before.driver,
                           before.driver_version);
        if (!pool_bag_change(op, driver, &asked->properties, &after, err))
            return false;
    }
    *kept = *asked;
    kept->properties = (struct text_pairs){0};
    op->params = kept;
    store_change(txn, CORE_POOL, &before, revision, &after);
    return true;
}

/* Ends the process of before and starts one with the record as it is now; work waits meanwhile. */
static void run_anew(struct op *op, struct pool *pool) {
    struct err err = ERR_INIT;
    if (pool->runner == NULL) { /* drained: seen when it is enabled */
        op_step_done(op, NULL);
        return;
    }
    if (!pool_respec(pool, 0, &err)) {
        op_step_done(op, &err);
        return;
    }
    if (op->scratch == NULL) { /* once: asked again, it only waits */
        op->scratch = pool;
        runner_restart(pool->runner);
    }
    pool_until_serving(op, pool);
}

static bool same_bag(struct op *op, const struct pool_record *now) {
    struct pool_record before;
    return shape_decode(&pool_record_shape, op->record.before.at, op->record.before.length,
                        &op->step_arena, &before, NULL) &&
           now->updated_at != 0 && pool_bag_same(&before, now) &&
           strcmp(before.driver_version, now->driver_version) == 0;
}

static void take_on(struct op *op) {
    struct pool *pool = own_pool(op);
    struct err err = ERR_INIT;
    if (pool == NULL)
        return;
    if (!pool_reload(pool, &err))
        op_step_done(op, &err);
    else if (same_bag(op, &pool->record))
        op_step_done(op, NULL);
    else
        run_anew(op, pool);
}

static void take_back(struct op *op) {
    struct pool *pool = own_pool(op);
    struct err err = ERR_INIT;
    struct pool_record before;
    if (pool == NULL)
        return;
    if (!shape_decode(&pool_record_shape, op->record.before.at, op->record.before.length,
                      &op->step_arena, &before, &err) ||
        !pool_set_record(pool, &before, &err)) {
        op_step_done(op, &err);
        return;
    }
    if (pool->runner == NULL || !pool_respec(pool, 0, NULL)) {
        op_step_done(op, NULL);
        return;
    }
    runner_restart(pool->runner); /* whether it serves again is the pool's state to tell */
    op_step_done(op, NULL);
}

void pool_update_reopen_run(struct op *op) {
    take_on(op);
}
void pool_update_reopen_undo(struct op *op) {
    take_back(op);
}
bool pool_update_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)txn, (void)err;
    op_after_end(op, pool_catch_up);
    return true;
}
bool pool_update_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, pool_catch_up);
    return pool_put_before(op, txn, err);
}
void pool_update_recall(struct op *op) {
    pool_recall(op);
}

bool pool_upgrade_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_upgrade_params *params = op->params;
    struct pool_record before, after;
    uint64_t revision;
    if (!pool_target(op, params->target, &before, &revision, err) ||
        !pool_keep_before(op, &before, err))
        return false;
    if (strcmp(before.state, "creating") == 0 || strcmp(before.state, "deleting") == 0)
        return err_set(err, ERR_STATE, "pool %s is %s", before.name, before.state);
    struct driver *driver = driver_choose(op->core, before.driver, params->driver_version, err);
    if (driver == NULL)
        return false;
    if (strcmp(driver_version(driver), before.driver_version) == 0)
        return err_set(err, ERR_STATE, "pool %s runs %s %s already", before.name, before.driver,
                       before.driver_version);
    if (!driver_reads_formats_of(driver,
                                 driver_find(op->core, before.driver, before.driver_version), err))
        return false;
    after = before;
    after.driver_version = driver_version(driver);
    after.updated_at = clock_wall_ms();
    if (!pool_bag_change(op, driver, &(struct text_pairs){0}, &after, err))
        return false;
    store_change(txn, CORE_POOL, &before, revision, &after);
    return true;
}

void pool_upgrade_change_run(struct op *op) {
    take_on(op);
}
void pool_upgrade_change_undo(struct op *op) {
    take_back(op);
}
bool pool_upgrade_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_update_finish(op, txn, err);
}
bool pool_upgrade_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_update_undone(op, txn, err);
}
void pool_upgrade_recall(struct op *op) {
    pool_recall(op);
}

/* ---- enable and restart --------------------------------------------------------------------- */

bool pool_enable_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    (void)txn;
    if (!pool_target(op, params->target, &record, &revision, err))
        return false;
    if (strcmp(record.state, "disabled") != 0 && strcmp(record.state, "drained") != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    return true;
}

void pool_enable_open_run(struct op *op) {
    struct pool *pool = own_pool(op);
    struct err err = ERR_INIT;
    if (pool == NULL)
        return;
    if (pool->runner == NULL && !pool_start(pool, 0, &err))
        op_step_done(op, &err);
    else
        pool_until_serving(op, pool);
}

void pool_enable_open_undo(struct op *op) {
    struct pool *pool = own_pool(op);
    if (pool == NULL)
        return;
    if (strcmp(pool->record.state, "drained") == 0)
        pool_until_stopped(op, pool);
    else
        op_step_done(op, NULL);
}

bool pool_enable_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_set_state(op, txn, "enabled", err);
}
bool pool_enable_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)op, (void)txn, (void)err;
    return true;
}
void pool_enable_recall(struct op *op) {
    pool_recall(op);
}

bool pool_restart_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    (void)txn;
    if (!pool_target(op, params->target, &record, &revision, err))
        return false;
    if (strcmp(record.state, "enabled") != 0 && strcmp(record.state, "disabled") != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    return true;
}

void pool_restart_restart_run(struct op *op) {
    struct pool *pool = own_pool(op);
    struct err err = ERR_INIT;
    if (pool == NULL)
        return;
    if (pool->runner == NULL) {
        if (!pool_start(pool, 0, &err)) {
            op_step_done(op, &err);
            return;
        }
    } else if (op->scratch == NULL) { /* once: asked again, it only waits */
        struct runner_status status;
        runner_status(pool->runner, &status);
        if (status.state == RUNNER_SERVING)
            runner_restart(pool->runner);
        else
            runner_retry(pool->runner);
    }
    op->scratch = pool;
    pool_until_serving(op, pool);
}

bool pool_restart_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)op, (void)txn, (void)err;
    return true;
}
bool pool_restart_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_restart_finish(op, txn, err);
}
void pool_restart_recall(struct op *op) {
    pool_recall(op);
}

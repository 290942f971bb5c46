/* SPDX-License-Identifier: Apache-2.0
 *
 * of_pool.c: changing, moving and restarting pools. The others: of_pool_create.c, of_pool_end.c.
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

void pool_after_undo(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    pool_catch_up(op);
    if (pool != NULL)
        pool_settle(pool);
}

/* Nobody stops the driver while an operation starts a runner with it. */
static bool lock_driver(struct op *op, const char *name, const char *version, struct err *err) {
    const struct driver *driver = driver_find(op->core, name, version);
    return driver == NULL || op_lock(op, LOCK_OBJECT, driver_tag(driver), false, err);
}

void pool_recall(struct op *op) {
    (void)op_lock(op, LOCK_OBJECT, &op->record.object, true, NULL);
    op_after_end(op, pool_catch_up);
    const struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL)
        (void)lock_driver(op, pool->record.driver, pool->record.driver_version, NULL);
}

struct pool *pool_own(struct op *op) {
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
    bool given_up = op_cancelling(op) && !op_undoing(op);
    if (standing == POOL_UNDECIDED && !given_up)
        return;
    if (given_up)
        err_set(&err, ERR_CANCELLED, "nobody waits for the pool any more");
    pool_unwait(pool);
    op_step_done(op, &err);
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
    if (!lock_driver(op, before.driver, before.driver_version, err))
        return false;
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
    bool had_runner = pool->runner != NULL;
    if (pool->runner == NULL && strcmp(pool->record.state, "drained") == 0) {
        op_step_done(op, NULL); /* it is seen when it is enabled */
        return;
    }
    if (pool->runner == NULL ? !pool_start(pool, 0, &err)
                             : pool_is_ending(pool, &err) || !pool_respec(pool, 0, &err)) {
        op_step_done(op, &err);
        return;
    }
    /* Once: asked again, it only waits. What was started just now is what it shall be. */
    if (op->scratch == NULL && had_runner)
        runner_restart(pool->runner);
    op->scratch = pool;
    pool_until_serving(op, pool);
}

static bool same_bag(struct op *op, const struct pool_record *now) {
    struct pool_record before;
    return shape_decode(&pool_record_shape, op->record.before.at, op->record.before.length,
                        &op->step_arena, &before, NULL) &&
           pool_bag_same(&before, now) && strcmp(before.driver_version, now->driver_version) == 0;
}

static void take_on(struct op *op) {
    struct pool *pool = pool_own(op);
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
    struct pool *pool = pool_own(op);
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
    /* Whether it serves again is the pool's state to tell. */
    if (!pool_is_ending(pool, NULL) && pool_respec(pool, 0, NULL))
        runner_restart(pool->runner);
    else
        pool_stop(pool); /* it must not go on as what it is not any more */
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
    op_after_end(op, pool_after_undo);
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
    if (!lock_driver(op, before.driver, driver_version(driver), err))
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

/* The pool in one of two states, and its driver kept. */
static bool pool_in_state(struct op *op, const char *one, const char *other, struct err *err) {
    const struct target_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    if (!pool_target(op, params->target, &record, &revision, err))
        return false;
    if (strcmp(record.state, one) != 0 && strcmp(record.state, other) != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", record.name, record.state);
    return lock_driver(op, record.driver, record.driver_version, err);
}

bool pool_enable_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)txn;
    return pool_in_state(op, "disabled", "drained", err);
}

void pool_enable_open_run(struct op *op) {
    struct pool *pool = pool_own(op);
    struct err err = ERR_INIT;
    if (pool == NULL)
        return;
    if (pool->runner == NULL && !pool_start(pool, 0, &err))
        op_step_done(op, &err);
    else
        pool_until_serving(op, pool);
}

void pool_enable_open_undo(struct op *op) {
    struct pool *pool = pool_own(op);
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
    (void)txn;
    return pool_in_state(op, "enabled", "disabled", err);
}

void pool_restart_restart_run(struct op *op) {
    struct pool *pool = pool_own(op);
    struct err err = ERR_INIT;
    if (pool == NULL)
        return;
    if (pool->runner == NULL) {
        if (!pool_start(pool, 0, &err)) {
            op_step_done(op, &err);
            return;
        }
    } else if (pool_is_ending(pool, &err)) {
        op_step_done(op, &err);
        return;
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

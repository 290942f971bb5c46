/* SPDX-License-Identifier: Apache-2.0
 *
 * of_driver.c: the operations of drivers. Their object has no id: its name is NAME@VERSION.
 */
#include <stdio.h>
#include <string.h>

#include "core/driver_state.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/pool.h"
#include "core/state.h"

/* ---- what they share ------------------------------------------------------------------------ */

static bool driver_target(struct op *op, struct err *err) {
    const struct target_params *params = op->params;
    op->driver = driver_by_reference(op->core, params->target, err);
    if (op->driver == NULL)
        return false;
    op->record.object_name = params->target;
    return op_lock(op, LOCK_OBJECT, driver_tag(op->driver), true, err);
}

static void recall_driver(struct op *op) {
    op->driver = driver_by_reference(op->core, op->record.object_name, NULL);
    if (op->driver != NULL)
        (void)op_lock(op, LOCK_OBJECT, driver_tag(op->driver), true, NULL);
}

/* What the operation is about went away with the archive while the gateway was down. */
static bool driver_there(struct op *op) {
    if (op->driver != NULL)
        return true;
    struct err err = ERR_INIT;
    err_set(&err, ERR_NOT_FOUND, "there is no driver %s any more", op->record.object_name);
    op_step_done(op, &err);
    return false;
}

static bool nothing_to_write(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)op, (void)txn, (void)err; /* transitions are written as they happen */
    return true;
}

/* ---- scan ----------------------------------------------------------------------------------- */

bool driver_scan_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    static const struct sluice_uuid all; /* one at a time */
    (void)txn;
    op->record.object_name = "";
    return op_lock(op, LOCK_SCAN, &all, true, err);
}

static void on_all_started(void *arg) {
    op_step_done(arg, NULL);
}

void driver_scan_discover_run(struct op *op) {
    struct err err = ERR_INIT;
    if (!drivers_scan(op->core, &err)) {
        op_step_done(op, &err);
        return;
    }
    drivers_start(op->core, on_all_started, op);
}

static void after_scan(struct op *op) {
    pools_start(op->core);
}

bool driver_scan_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, after_scan);
    return nothing_to_write(op, txn, err);
}
bool driver_scan_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return nothing_to_write(op, txn, err);
}
void driver_scan_recall(struct op *op) {
    static const struct sluice_uuid all;
    (void)op_lock(op, LOCK_SCAN, &all, true, NULL);
}

/* ---- start ---------------------------------------------------------------------------------- */

bool driver_start_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)txn;
    if (!driver_target(op, err))
        return false;
    enum driver_state state = driver_state(op->driver);
    if (state == DRIVER_RUNNING || state == DRIVER_SUSPENDED || state == DRIVER_REMOVED)
        return err_set(err, ERR_STATE, "driver %s is %s", op->record.object_name,
                       driver_state_name(state));
    return true;
}

static void on_settled(void *arg) {
    struct op *op = arg;
    struct err err = ERR_INIT;
    enum driver_state state = driver_state(op->driver);
    if (state != DRIVER_RUNNING) {
        const struct err *cause = driver_cause(op->driver);
        err_set(&err, cause->code != ERR_NONE ? cause->code : ERR_STATE, "driver %s is %s: %s",
                op->record.object_name, driver_state_name(state),
                cause->code != ERR_NONE ? cause->text : "it did not start");
        /* What failed once is looked at again when somebody asks again, not by itself. */
        if (err_advice(err.code) == ERR_ADVICE_RETRY)
            err.code = ERR_STATE;
    }
    op_step_done(op, &err);
}

void driver_start_start_run(struct op *op) {
    if (!driver_there(op))
        return;
    struct arena arena;
    struct order order;
    struct err err = ERR_INIT;
    driver_want(op->driver, "running");
    if (driver_state(op->driver) == DRIVER_RUNNING) {
        op_step_done(op, NULL);
        return;
    }
    if (driver_state(op->driver) == DRIVER_FAILED)
        driver_must_move(op->driver, DRIVER_EVENT_RETRY);
    arena_init(&arena, ORDER_ARENA_MAX);
    if (drivers_order(op->core->drivers, &arena, &order, &err))
        for (uint32_t i = 0; i < order.count; i++)
            if (op->core->drivers->at[order.rows[i].driver] == op->driver)
                driver_advance(op->driver, &order.rows[i]);
    arena_release(&arena);
    driver_start(op->driver, on_settled, op);
}

static void after_start(struct op *op) {
    pools_start(op->core);
}

bool driver_start_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, after_start);
    return nothing_to_write(op, txn, err);
}
bool driver_start_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return nothing_to_write(op, txn, err);
}
void driver_start_recall(struct op *op) {
    recall_driver(op);
}

/* ---- stop ----------------------------------------------------------------------------------- */

static bool runs(const struct driver *driver) {
    enum driver_state state = driver_state(driver);
    return state == DRIVER_STARTING || state == DRIVER_RUNNING || state == DRIVER_SUSPENDED;
}

/* Would the requirement be met if `but` did not run? */
static bool met_without(const struct drivers *drivers, const struct manifest_requirement *required,
                        const struct driver *but) {
    for (uint32_t i = 0; i < drivers->count; i++) {
        const struct driver *driver = drivers->at[i];
        if (driver != but && runs(driver) && driver->has_manifest &&
            strcmp(driver->name, required->name) == 0 &&
            version_in_range(&driver->manifest.version, &required->range))
            return true;
    }
    return false;
}

static bool nobody_needs(struct op *op, struct err *err) {
    const struct drivers *drivers = op->core->drivers;
    for (const struct pool *pool = pools_next(op->core, NULL); pool != NULL;
         pool = pools_next(op->core, pool))
        if (pool->driver == op->driver && pool->runner != NULL)
            return err_set(err, ERR_STATE, "pool %s runs on driver %s: drain it first",
                           pool->record.name, op->record.object_name);
    for (uint32_t i = 0; i < drivers->count; i++) {
        const struct driver *other = drivers->at[i];
        if (other == op->driver || !other->has_manifest || !runs(other))
            continue;
        for (uint32_t k = 0; k < other->manifest.require_count; k++) {
            const struct manifest_requirement *required = &other->manifest.requires[k];
            if (strcmp(required->name, op->driver->name) == 0 &&
                !met_without(drivers, required, op->driver))
                return err_set(err, ERR_STATE, "driver %s@%s requires %s: stop it first",
                               other->name, other->version, op->record.object_name);
        }
    }
    return true;
}

bool driver_stop_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    (void)txn;
    if (!driver_target(op, err))
        return false;
    enum driver_state next;
    if (driver_state(op->driver) != DRIVER_STOPPING &&
        !driver_next(driver_state(op->driver), DRIVER_EVENT_STOP, &next, err))
        return false;
    return nobody_needs(op, err);
}

static void on_halted(void *arg) {
    op_step_done(arg, NULL);
}

void driver_stop_stop_run(struct op *op) {
    struct err err = ERR_INIT;
    if (!driver_there(op))
        return;
    if (!nobody_needs(op, &err)) { /* somebody came after it was asked for */
        op_step_done(op, &err);
        return;
    }
    driver_want(op->driver, "stopped");
    driver_stop(op->driver, on_halted, op);
}
bool driver_stop_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return nothing_to_write(op, txn, err);
}
bool driver_stop_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return nothing_to_write(op, txn, err);
}
void driver_stop_recall(struct op *op) {
    recall_driver(op);
}

/* ---- suspend and resume --------------------------------------------------------------------- */

static void suspend_now(struct op *op) {
    driver_want(op->driver, "suspended");
    (void)driver_move(op->driver, DRIVER_EVENT_SUSPEND, NULL);
}
static void resume_now(struct op *op) {
    driver_want(op->driver, "running");
    (void)driver_move(op->driver, DRIVER_EVENT_RESUME, NULL);
}

/* A gateway that dies between the commit and the move finds the wish at its next start. */
static bool will_want(struct op *op, struct catalog_txn *txn, enum driver_event event,
                      const char *wanted, struct err *err) {
    enum driver_state next;
    if (!driver_target(op, err) || !driver_next(driver_state(op->driver), event, &next, err))
        return false;
    driver_will_want(op->driver, txn, wanted);
    return true;
}

bool driver_suspend_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, suspend_now);
    return will_want(op, txn, DRIVER_EVENT_SUSPEND, "suspended", err);
}
NO_STEPS(driver_suspend)

bool driver_resume_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    op_after_end(op, resume_now);
    return will_want(op, txn, DRIVER_EVENT_RESUME, "running", err);
}
NO_STEPS(driver_resume)

/* SPDX-License-Identifier: Apache-2.0
 *
 * of_pool_create.c: creating a pool: an account, a runner, the claim on the backend, a probe; and
 * taking that back.
 */
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/driver.h"
#include "core/kinds.h"
#include "core/of_pool.h"
#include "core/pool.h"
#include "core/pool_bag.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"
#include <sluice/driver.h>

/* How long taking back a claim waits for the backend; then the marker is left, and the next one who
 * wants the backend says take_over. */
#define RELEASE_WAIT_MS 5000

/* The account that was given last; of no use where the range was changed. */
static uint32_t last_uid(struct op *op) {
    struct key key;
    struct catalog_value value;
    uint32_t uid = 0;
    key_gateway(&key, "last-uid");
    if (catalog_get(op->core->catalog, key.at, key.length, &value, NULL) &&
        value.length == sizeof uid)
        memcpy(&uid, value.at, sizeof uid);
    return uid;
}

/* Two pools that are being created must not choose the same: the choice is locked. */
static bool take_uid(struct op *op, uint32_t uid) {
    struct sluice_uuid lock = {{0}};
    memcpy(lock.bytes, &uid, sizeof uid);
    return !pools_uid_taken(op->core, uid) && op_lock(op, LOCK_UID, &lock, true, NULL);
}

static void set_last_uid(struct catalog_txn *txn, uint32_t uid) {
    struct key key;
    key_gateway(&key, "last-uid");
    catalog_put(txn, key.at, key.length, &uid, sizeof uid);
}

/* In turn, so that a late process of a forgotten pool does not meet the files of the next one. */
static bool choose_uid(struct op *op, struct catalog_txn *txn, uint32_t wanted, uint32_t *ret,
                       struct err *err) {
    const struct core_options *options = &op->core->options;
    uint32_t low = options->uid_low, count = options->uid_high - low + 1;
    uint32_t last = last_uid(op);
    if (wanted != 0 && (wanted < low || wanted > options->uid_high))
        return op_violation(op, err, "uid", "must lie between %u and %u", low, options->uid_high);
    uint32_t first = wanted != 0                               ? wanted
                     : last >= low && last < options->uid_high ? last + 1
                                                               : low;
    for (uint32_t i = 0; i < (wanted != 0 ? 1 : count); i++) {
        uint32_t uid = low + (first - low + i) % count;
        if (!take_uid(op, uid))
            continue;
        if (wanted == 0)
            set_last_uid(txn, uid);
        *ret = uid;
        return true;
    }
    if (wanted != 0)
        return op_violation(op, err, "uid", "another pool has this account");
    return err_set(err, ERR_LIMIT, "every account from %u to %u has a pool: widen the range", low,
                   options->uid_high);
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
        !choose_uid(op, txn, asked->uid, &record.uid, err))
        return false;
    if (!op_lock(op, LOCK_OBJECT, driver_tag(driver), false, err))
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

/* ---- taking the claim back: serve, release, stop; by asking again, since nothing else tells that
 * time has passed --------------------------------------------------------------------------------
 */

struct releasing {
    uint64_t deadline_ms;
    bool over; /* released, or given up */
};

static void on_release_answered(void *arg, const struct runner_reply *reply) {
    struct op *op = arg;
    struct releasing *releasing = op->scratch;
    (void)reply; /* a marker that stays is named by the next one who opens the backend */
    releasing->over = true;
    op_again(op, 0, 0, 0, NULL);
}

/* Ends the call too. */
static void on_release_late(struct op *op) {
    pool_stop(pool_find(op->core, &op->record.object));
}

/* Without CLAIM: what is not ours is not to be released. */
static void release_or_wait(struct op *op, struct pool *pool, struct releasing *releasing) {
    static const struct wire_nothing nothing;
    if (pool->runner == NULL) {
        releasing->over = !pool_start(pool, 0, NULL);
        releasing->deadline_ms = clock_mono_ms() + RELEASE_WAIT_MS;
    }
    enum pool_standing standing = pool_standing(pool, NULL);
    if (standing == POOL_SERVES) {
        runner_call(pool->runner, WIRE_POOL_RELEASE, &nothing, on_release_answered, op);
        op_deadline(op, RELEASE_WAIT_MS, on_release_late);
        return;
    }
    if (!pool_is_ending(pool, NULL) &&
        (standing == POOL_FAILS || clock_mono_ms() >= releasing->deadline_ms))
        releasing->over = true;
    op_again(op, 100, 0, 0, "the backend, to give it back");
}

void pool_create_open_undo(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    struct releasing *releasing = op->scratch;
    if (releasing == NULL) {
        op->scratch = releasing = arena_alloc(&op->arena, sizeof *releasing);
        if (releasing != NULL)
            releasing->deadline_ms = clock_mono_ms() + RELEASE_WAIT_MS;
    }
    if (pool == NULL || releasing == NULL)
        op_step_done(op, NULL);
    else if (releasing->over)
        pool_until_stopped(op, pool);
    else
        release_or_wait(op, pool, releasing);
}

/* ---- the probe, and the end ----------------------------------------------------------------- */

/* A driver that hangs in it is ended with its runner. */
static void on_probe_cancelled(struct op *op) {
    struct pool *pool = pool_find(op->core, &op->record.object);
    if (pool != NULL)
        pool_stop(pool);
}

void pool_create_probe_run(struct op *op) {
    static const struct wire_nothing nothing;
    struct pool *pool = pool_own(op);
    if (pool == NULL)
        return;
    op_when_cancelled(op, on_probe_cancelled);
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

/* Its runner has ended. What was wrong named the account ("chown it to uid 70003"), and who mended
 * that and asks again is to meet the same one. */
bool pool_create_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_create_params *params = op->params;
    struct pool_record record;
    uint64_t revision;
    op_after_end(op, on_uncreated);
    if (!object_again(op, CORE_POOL, &record, &revision, err))
        return false;
    if (params->uid == 0 && last_uid(op) == record.uid)
        set_last_uid(txn, record.uid - 1);
    store_remove(txn, CORE_POOL, &record, revision);
    return true;
}

void pool_create_recall(struct op *op) {
    pool_recall(op);
}

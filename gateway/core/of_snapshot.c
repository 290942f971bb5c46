/* SPDX-License-Identifier: Apache-2.0
 *
 * of_snapshot.c: the operations of snapshots.
 */
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/validate.h"
#include <sluice/driver.h>

/* ---- create --------------------------------------------------------------------------------- */

static bool volume_can_be_taken(struct op *op, const struct volume_record *volume,
                                struct err *err) {
    if (!object_available(CORE_VOLUME, volume->name, volume->state, err))
        return false;
    if (!pool_can(op->pool, SLUICE_CAP_SNAPSHOT, "take snapshots", err))
        return false;
    if (!attached_permit(op, volume, ATTACHED_SNAPSHOT, err))
        return false;
    uint64_t max = pool_opened(op->pool)->snapshots_max;
    if (max > 0 && volume->snapshots >= max)
        return err_set(err, ERR_LIMIT, "volume %s has %u snapshots, and that is the limit",
                       volume->name, volume->snapshots);
    return true;
}

bool snapshot_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct snapshot_create_params *params = op->params;
    struct volume_record volume;
    uint64_t revision;
    struct sluice_uuid id = uuid_new();
    if (!object_read(op, CORE_VOLUME, params->volume, &volume, &revision, err) ||
        !op_set_pool(op, &volume.pool, err) || !op_lock(op, LOCK_OBJECT, &volume.id, true, err) ||
        !volume_can_be_taken(op, &volume, err) ||
        !valid_name(op, "name", params->name, RECORD_NAME_MAX, err) ||
        !valid_labels(op, &params->labels, err) ||
        !name_free(op, CORE_SNAPSHOT, &volume.id, params->name, err))
        return false;
    struct snapshot_record record = {
        .id = id,
        .pool = volume.pool,
        .volume = volume.id,
        .name = params->name,
        .state = "creating",
        .size_bytes = volume.size_bytes,
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    op_set_object(op, &id, params->name);
    if (!pairs_keep(&op->arena, &params->labels, &record.labels) ||
        !op_lock(op, LOCK_OBJECT, &id, true, err))
        return err_set(err, ERR_NO_MEMORY, "no memory");
    store_add(txn, CORE_SNAPSHOT, &record);
    return count_change(op, txn, CORE_VOLUME, &volume.id, offsetof(struct volume_record, snapshots),
                        1, err);
}

static bool read_self(struct op *op, struct snapshot_record *ret, uint64_t *ret_revision) {
    struct err err = ERR_INIT;
    if (object_again(op, CORE_SNAPSHOT, ret, ret_revision, &err))
        return true;
    op_step_done(op, &err);
    return false;
}

static void keep_snapshot(struct op *op, const void *result) {
    const struct wire_snapshot *snapshot = result;
    op->size_bytes = snapshot->size_bytes;
    op->used_bytes = snapshot->used_bytes;
    op_step_done(op, NULL);
}

void snapshot_create_driver_run(struct op *op) {
    struct snapshot_record record;
    uint64_t revision;
    if (!read_self(op, &record, &revision))
        return;
    struct wire_snapshot_create args = {
        .volume = record.volume, .snapshot = record.id, .name = record.name};
    op_call(op, pool_runner(op->pool), WIRE_SNAPSHOT_CREATE, &args, keep_snapshot);
}

static void driver_delete(struct op *op) {
    struct snapshot_record record;
    uint64_t revision;
    if (!read_self(op, &record, &revision))
        return;
    struct wire_snapshot_id args = {.volume = record.volume, .snapshot = record.id};
    op_call(op, pool_runner(op->pool), WIRE_SNAPSHOT_DELETE, &args, NULL);
}

void snapshot_create_driver_undo(struct op *op) {
    driver_delete(op);
}

static bool snapshot_becomes(struct op *op, struct catalog_txn *txn, const char *state,
                             struct err *err) {
    struct snapshot_record before, after;
    uint64_t revision;
    if (!object_again(op, CORE_SNAPSHOT, &before, &revision, err))
        return false;
    after = before;
    after.state = state;
    after.updated_at = clock_wall_ms();
    if (op->size_bytes != 0) {
        after.size_bytes = op->size_bytes;
        after.used_bytes = op->used_bytes != UINT64_MAX ? op->used_bytes : 0;
    }
    store_change(txn, CORE_SNAPSHOT, &before, revision, &after);
    return true;
}

static bool snapshot_goes(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct snapshot_record record;
    uint64_t revision;
    struct err trouble = ERR_INIT;
    if (!object_again(op, CORE_SNAPSHOT, &record, &revision, &trouble))
        return trouble.code == ERR_NOT_FOUND || err_set(err, trouble.code, "%s", trouble.text);
    return object_remove(op, txn, CORE_SNAPSHOT, &record, revision, err);
}

bool snapshot_create_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return snapshot_becomes(op, txn, "available", err);
}
bool snapshot_create_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return snapshot_goes(op, txn, err);
}

static void recall_snapshot(struct op *op) {
    op_recall_pool(op);
    (void)op_lock(op, LOCK_OBJECT, &op->record.object, true, NULL);
    struct snapshot_record record;
    uint64_t revision;
    if (object_again(op, CORE_SNAPSHOT, &record, &revision, NULL))
        (void)op_lock(op, LOCK_OBJECT, &record.volume, true, NULL);
}
void snapshot_create_recall(struct op *op) {
    recall_snapshot(op);
}

/* ---- update --------------------------------------------------------------------------------- */

bool snapshot_update_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct labels_update_params *params = op->params;
    struct snapshot_record before, after;
    uint64_t revision;
    if (!target_read(op, CORE_SNAPSHOT, params->target, &before, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &before.id, true, err))
        return false;
    after = before;
    after.updated_at = clock_wall_ms();
    if (!object_relabel(op, CORE_SNAPSHOT, &before.volume, params, &after.name, &after.labels, err))
        return false;
    op->record.pool = before.pool;
    store_change(txn, CORE_SNAPSHOT, &before, revision, &after);
    return true;
}
NO_STEPS(snapshot_update)

/* ---- delete --------------------------------------------------------------------------------- */

bool snapshot_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct snapshot_record record, after;
    uint64_t revision;
    if (!target_read(op, CORE_SNAPSHOT, params->target, &record, &revision, err) ||
        !op_set_pool(op, &record.pool, err) || !op_lock(op, LOCK_OBJECT, &record.id, true, err) ||
        !op_lock(op, LOCK_OBJECT, &record.volume, true, err))
        return false;
    if (strcmp(record.state, STATE_MISSING) != 0 &&
        !object_available(CORE_SNAPSHOT, record.name, record.state, err))
        return false;
    if (!op_keep_state(op, record.state, err) ||
        !attached_permit_snapshot(op, &record, ATTACHED_SNAPSHOT_DELETE, err))
        return false;
    after = record;
    after.state = "deleting";
    store_change(txn, CORE_SNAPSHOT, &record, revision, &after);
    return true;
}

void snapshot_delete_driver_run(struct op *op) {
    driver_delete(op);
}
bool snapshot_delete_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return snapshot_goes(op, txn, err);
}
bool snapshot_delete_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    op->size_bytes = 0;
    return snapshot_becomes(op, txn, op_kept_state(op), err);
}
void snapshot_delete_recall(struct op *op) {
    recall_snapshot(op);
}

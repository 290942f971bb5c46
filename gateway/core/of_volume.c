/* SPDX-License-Identifier: Apache-2.0
 *
 * of_volume.c: the operations of volumes that are there, or are taken over. Making one:
 * of_volume_create.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/of_volume.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/validate.h"
#include <sluice/driver.h>

/* ---- what they share ------------------------------------------------------------------------ */

/* The volume that the request names, for this operation alone, and available. */
static bool volume_alone(struct op *op, const char *reference, struct volume_record *ret,
                         uint64_t *ret_revision, struct err *err) {
    return target_read(op, CORE_VOLUME, reference, ret, ret_revision, err) &&
           op_set_pool(op, &ret->pool, err) && op_lock(op, LOCK_OBJECT, &ret->id, true, err);
}

static bool volume_target(struct op *op, const char *reference, struct volume_record *ret,
                          uint64_t *ret_revision, struct err *err) {
    return volume_alone(op, reference, ret, ret_revision, err) &&
           object_available(CORE_VOLUME, ret->name, ret->state, err);
}

/* The same, to be given up: missing will do. */
static bool volume_to_go(struct op *op, const char *reference, struct volume_record *ret,
                         uint64_t *ret_revision, struct err *err) {
    return volume_alone(op, reference, ret, ret_revision, err) &&
           (strcmp(ret->state, STATE_MISSING) == 0 ||
            object_available(CORE_VOLUME, ret->name, ret->state, err)) &&
           op_keep_state(op, ret->state, err);
}

void volume_recall(struct op *op) {
    op_recall_pool(op);
    (void)op_lock(op, LOCK_OBJECT, &op->record.object, true, NULL);
}

void volume_keep(struct op *op, const void *result) {
    const struct wire_volume *volume = result;
    op->size_bytes = volume->size_bytes;
    op->used_bytes = volume->used_bytes;
    op->format = arena_strdup(&op->arena, volume->format);
    op_step_done(op, NULL);
}

static bool volume_becomes(struct op *op, struct catalog_txn *txn, const char *state,
                           struct err *err) {
    struct volume_record before, after;
    uint64_t revision;
    if (!object_again(op, CORE_VOLUME, &before, &revision, err))
        return false;
    after = before;
    after.state = state;
    after.updated_at = clock_wall_ms();
    if (op->size_bytes != 0)
        after.size_bytes = op->size_bytes;
    if (op->used_bytes != UINT64_MAX)
        after.used_bytes = op->used_bytes;
    if (op->format != NULL && op->format[0] != '\0')
        after.format = op->format;
    store_change(txn, CORE_VOLUME, &before, revision, &after);
    return true;
}

bool volume_becomes_available(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_becomes(op, txn, "available", err);
}

bool volume_goes(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct volume_record record;
    uint64_t revision;
    struct err trouble = ERR_INIT;
    if (object_again(op, CORE_VOLUME, &record, &revision, &trouble))
        store_remove(txn, CORE_VOLUME, &record, revision);
    else if (trouble.code != ERR_NOT_FOUND)
        return err_set(err, trouble.code, "%s", trouble.text);
    return true;
}

/* After a failure the volume is what it was. */
static bool volume_stays(struct op *op, struct catalog_txn *txn, struct err *err) {
    op->size_bytes = 0;
    op->used_bytes = UINT64_MAX;
    op->format = NULL;
    return volume_becomes(op, txn, op_kept_state(op), err);
}

static void volume_state(struct catalog_txn *txn, const struct volume_record *before,
                         uint64_t revision, const char *state) {
    struct volume_record after = *before;
    after.state = state;
    store_change(txn, CORE_VOLUME, before, revision, &after);
}

bool volume_size_fits(struct op *op, uint64_t *size, struct err *err) {
    const struct wire_pool *limits = pool_opened(op->pool);
    uint64_t step = limits->volume_size_step > 0 ? limits->volume_size_step : 1;
    if (!num_round_up_u64(*size, step, size))
        return op_violation(op, err, "size_bytes", "too large");
    if (*size == 0 || *size < limits->volume_size_min)
        return op_violation(
            op, err, "size_bytes", "the pool's smallest volume is %llu bytes",
            (unsigned long long)(limits->volume_size_min > 0 ? limits->volume_size_min : step));
    if (limits->volume_size_max > 0 && *size > limits->volume_size_max)
        return op_violation(op, err, "size_bytes", "the pool's largest volume is %llu bytes",
                            (unsigned long long)limits->volume_size_max);
    return true;
}

bool volume_fresh_name(struct op *op, const struct sluice_uuid *pool, const char *name,
                       const struct text_pairs *labels, struct err *err) {
    const struct wire_pool *limits = pool_opened(op->pool);
    size_t max = limits->name_max > 0 && limits->name_max < RECORD_NAME_MAX ? limits->name_max
                                                                            : RECORD_NAME_MAX;
    return valid_name(op, "name", name, max, err) && valid_labels(op, labels, err) &&
           name_free(op, CORE_VOLUME, pool, name, err);
}

/* ---- update --------------------------------------------------------------------------------- */

bool volume_update_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct labels_update_params *params = op->params;
    struct volume_record before, after;
    uint64_t revision;
    if (!target_read(op, CORE_VOLUME, params->target, &before, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &before.id, true, err))
        return false;
    after = before;
    after.updated_at = clock_wall_ms();
    if (!object_relabel(op, CORE_VOLUME, &before.pool, params, &after.name, &after.labels, err))
        return false;
    op->record.pool = before.pool;
    store_change(txn, CORE_VOLUME, &before, revision, &after);
    return true;
}
NO_STEPS(volume_update)

/* ---- resize --------------------------------------------------------------------------------- */

bool volume_resize_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct volume_resize_params *params = op->params;
    struct volume_record record;
    uint64_t revision, size = params->size_bytes;
    if (!volume_target(op, params->target, &record, &revision, err) ||
        !volume_size_fits(op, &size, err))
        return false;
    if (size < record.size_bytes) {
        if (!params->shrink)
            return op_violation(
                op, err, "size_bytes",
                "less than the %llu bytes it has: say shrink when what is beyond may "
                "be lost",
                (unsigned long long)record.size_bytes);
        if (!attached_permit(op, &record, ATTACHED_SHRINK, err) ||
            !pool_can(op->pool, SLUICE_CAP_SHRINK, "make volumes smaller", err))
            return false;
    } else if (!attached_permit(op, &record, ATTACHED_GROW, err) ||
               !pool_can(op->pool, SLUICE_CAP_GROW, "make volumes larger", err)) {
        return false;
    }
    volume_state(txn, &record, revision, "resizing");
    return true;
}

void volume_resize_driver_run(struct op *op) {
    const struct volume_resize_params *params = op->params;
    const struct wire_pool *limits = pool_opened(op->pool);
    struct wire_volume_resize args = {.volume = op->record.object,
                                      .size_bytes = params->size_bytes};
    if (limits != NULL && limits->volume_size_step > 1)
        (void)num_round_up_u64(args.size_bytes, limits->volume_size_step, &args.size_bytes);
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_RESIZE, &args, volume_keep);
}

bool volume_resize_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_becomes_available(op, txn, err);
}
bool volume_resize_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_stays(op, txn, err);
}
void volume_resize_recall(struct op *op) {
    volume_recall(op);
}

/* ---- revert --------------------------------------------------------------------------------- */

bool volume_revert_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct volume_revert_params *params = op->params;
    struct volume_record record;
    struct snapshot_record snapshot;
    uint64_t revision, snapshot_revision;
    if (!volume_target(op, params->target, &record, &revision, err))
        return false;
    char path[600];
    snprintf(path, sizeof path, "%s", params->snapshot);
    struct sluice_uuid id;
    /* The name alone is enough: it is one of this volume's. */
    if (strpbrk(path, "@:") == NULL && !uuid_parse(path, &id) &&
        store_find(op->core->catalog, CORE_SNAPSHOT, &record.id, path, &id, NULL))
        uuid_format(&id, path);
    if (!object_read(op, CORE_SNAPSHOT, path, &snapshot, &snapshot_revision, err) ||
        !op_lock(op, LOCK_OBJECT, &snapshot.id, false, err))
        return false;
    if (!uuid_equal(&snapshot.volume, &record.id))
        return op_violation(op, err, "snapshot", "%s is a snapshot of another volume",
                            snapshot.name);
    if (!object_available(CORE_SNAPSHOT, snapshot.name, snapshot.state, err) ||
        !attached_permit(op, &record, ATTACHED_REVERT, err) ||
        !pool_can(op->pool, SLUICE_CAP_REVERT, "revert volumes", err))
        return false;
    struct volume_revert_params *kept = arena_alloc(&op->arena, sizeof *kept);
    char text[UUID_TEXT_SIZE];
    if (kept == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    *kept = *params;
    kept->snapshot = arena_strdup(&op->arena, uuid_format(&snapshot.id, text));
    op->params = kept;
    volume_state(txn, &record, revision, "reverting");
    return kept->snapshot != NULL;
}

void volume_revert_driver_run(struct op *op) {
    const struct volume_revert_params *params = op->params;
    struct wire_volume_revert args = {.volume = op->record.object, .operation = op->record.id};
    (void)uuid_parse(params->snapshot, &args.snapshot);
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_REVERT, &args, volume_keep);
}

bool volume_revert_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_becomes_available(op, txn, err);
}
bool volume_revert_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_stays(op, txn, err);
}
void volume_revert_recall(struct op *op) {
    volume_recall(op);
    struct sluice_uuid snapshot;
    if (uuid_parse(((const struct volume_revert_params *)op->params)->snapshot, &snapshot))
        (void)op_lock(op, LOCK_OBJECT, &snapshot, false, NULL);
}

/* ---- delete --------------------------------------------------------------------------------- */

bool volume_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct volume_record record;
    uint64_t revision;
    if (!volume_to_go(op, params->target, &record, &revision, err) ||
        !attached_permit(op, &record, ATTACHED_DELETE, err))
        return false;
    volume_state(txn, &record, revision, "deleting");
    return true;
}

void volume_delete_driver_run(struct op *op) {
    struct wire_volume_id args = {.volume = op->record.object};
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_DELETE, &args, NULL);
}

bool volume_delete_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_goes(op, txn, err);
}
bool volume_delete_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_stays(op, txn, err);
}
void volume_delete_recall(struct op *op) {
    volume_recall(op);
}

/* ---- adopt and unmanage --------------------------------------------------------------------- */

bool volume_adopt_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct volume_adopt_params *params = op->params;
    struct sluice_uuid pool, id = uuid_new();
    if (!core_resolve(op->core, CORE_POOL, params->pool, &pool, err) ||
        !op_set_pool(op, &pool, err) ||
        !volume_fresh_name(op, &pool, params->name, &params->labels, err) ||
        !pool_can(op->pool, SLUICE_CAP_ADOPT, "take over volumes", err))
        return false;
    if (params->reference[0] == '\0')
        return op_violation(op, err, "reference", "must say what to take over");
    struct volume_record record = {
        .id = id,
        .pool = pool,
        .name = params->name,
        .state = "creating",
        .format = "",
        .source_kind = "none",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    op_set_object(op, &id, params->name);
    if (!pairs_keep(&op->arena, &params->labels, &record.labels) ||
        !op_lock(op, LOCK_OBJECT, &id, true, err))
        return err_set(err, ERR_NO_MEMORY, "no memory");
    store_add(txn, CORE_VOLUME, &record);
    return true;
}

void volume_adopt_driver_run(struct op *op) {
    const struct volume_adopt_params *params = op->params;
    struct wire_volume_adopt args = {
        .volume = op->record.object, .reference = params->reference, .name = params->name};
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_ADOPT, &args, volume_keep);
}

static void keep_reference(struct op *op, const void *result) {
    const struct wire_reference *reference = result;
    op->note = arena_strdup(&op->arena, reference->reference);
    op_step_done(op, NULL);
}

static void let_go(struct op *op) {
    struct wire_volume_id args = {.volume = op->record.object};
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_UNMANAGE, &args, keep_reference);
}

void volume_adopt_driver_undo(struct op *op) {
    let_go(op);
}
bool volume_adopt_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_becomes_available(op, txn, err);
}
bool volume_adopt_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_goes(op, txn, err);
}
void volume_adopt_recall(struct op *op) {
    volume_recall(op);
}

bool volume_unmanage_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct volume_record record;
    uint64_t revision;
    if (!volume_to_go(op, params->target, &record, &revision, err) ||
        !(strcmp(record.state, STATE_MISSING) == 0 ||
          pool_can(op->pool, SLUICE_CAP_ADOPT, "let volumes go", err)) ||
        !attached_permit(op, &record, ATTACHED_UNMANAGE, err))
        return false;
    if (record.snapshots > 0)
        return err_set(err, ERR_STATE, "volume %s has %u snapshots: delete them first", record.name,
                       record.snapshots);
    volume_state(txn, &record, revision, "deleting");
    return true;
}

/* What is missing is only forgotten: there is nothing to be let go. */
void volume_unmanage_driver_run(struct op *op) {
    if (strcmp(op_kept_state(op), STATE_MISSING) == 0)
        op_step_done(op, NULL);
    else
        let_go(op);
}
bool volume_unmanage_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    if (!volume_goes(op, txn, err))
        return false;
    op_event(op, txn, "volume.left", op->note != NULL ? op->note : "");
    return true;
}
bool volume_unmanage_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_stays(op, txn, err);
}
void volume_unmanage_recall(struct op *op) {
    volume_recall(op);
}

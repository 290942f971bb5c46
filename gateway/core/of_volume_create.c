/* SPDX-License-Identifier: Apache-2.0
 *
 * of_volume_create.c: making a volume from nothing, a snapshot or a volume.
 *
 * The source is locked, shared, until the copy is made: it can be read by other copies and
 * snapshots meanwhile, and not be attached, changed or deleted.
 */
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/of_volume.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/validate.h"
#include <sluice/driver.h>

/* Is `word` one of the space-separated words? An empty word becomes the first. */
static bool one_of_words(struct arena *arena, const char *words, const char **word) {
    size_t length = strlen(*word);
    if (length == 0) {
        *word = arena_strndup(arena, words, strcspn(words, " "));
        return *word != NULL;
    }
    for (const char *at = words; *at != '\0';) {
        size_t span = strcspn(at, " ");
        if (span == length && memcmp(at, *word, length) == 0)
            return true;
        at += span + (at[span] == ' ');
    }
    return false;
}

static bool source_snapshot(struct op *op, const struct volume_create_params *params,
                            struct volume_record *record, struct err *err) {
    struct snapshot_record snapshot;
    uint64_t revision;
    if (!object_read(op, CORE_SNAPSHOT, params->source_snapshot, &snapshot, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &snapshot.id, false, err))
        return false;
    if (!uuid_equal(&snapshot.pool, &op->record.pool))
        return err_set(err, ERR_UNSUPPORTED, "snapshot %s is in another pool", snapshot.name);
    if (!object_available(CORE_SNAPSHOT, snapshot.name, snapshot.state, err))
        return false;
    record->source_kind = "snapshot";
    record->source = snapshot.id;
    if (record->size_bytes == 0)
        record->size_bytes = snapshot.size_bytes;
    if (record->size_bytes < snapshot.size_bytes)
        return op_violation(op, err, "size_bytes", "smaller than the snapshot's %llu bytes",
                            (unsigned long long)snapshot.size_bytes);
    return pool_can(op->pool, SLUICE_CAP_CLONE, "make volumes from snapshots", err);
}

static bool source_volume(struct op *op, const struct volume_create_params *params,
                          struct volume_record *record, struct err *err) {
    struct volume_record source;
    uint64_t revision;
    if (!object_read(op, CORE_VOLUME, params->source_volume, &source, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &source.id, false, err))
        return false;
    if (!uuid_equal(&source.pool, &op->record.pool))
        return err_set(err, ERR_UNSUPPORTED, "volume %s is in another pool", source.name);
    if (!object_available(CORE_VOLUME, source.name, source.state, err))
        return false;
    if (!attached_permit(op, &source, ATTACHED_COPY, err))
        return false;
    record->source_kind = "volume";
    record->source = source.id;
    if (record->size_bytes == 0)
        record->size_bytes = source.size_bytes;
    if (record->size_bytes < source.size_bytes)
        return op_violation(op, err, "size_bytes", "smaller than the source's %llu bytes",
                            (unsigned long long)source.size_bytes);
    return pool_can(op->pool, SLUICE_CAP_CLONE, "copy volumes", err);
}

/* The pool that the request names, or that of its source. */
static bool pool_of_request(struct op *op, const struct volume_create_params *params,
                            struct sluice_uuid *ret, struct err *err) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } source;
    uint64_t revision;
    if (params->pool[0] != '\0')
        return core_resolve(op->core, CORE_POOL, params->pool, ret, err);
    if (params->source_snapshot[0] != '\0') {
        if (!object_read(op, CORE_SNAPSHOT, params->source_snapshot, &source, &revision, err))
            return false;
        *ret = source.snapshot.pool;
        return true;
    }
    if (params->source_volume[0] != '\0') {
        if (!object_read(op, CORE_VOLUME, params->source_volume, &source, &revision, err))
            return false;
        *ret = source.volume.pool;
        return true;
    }
    return op_violation(op, err, "pool", "say in which pool, or from which source");
}

bool volume_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct volume_create_params *params = op->params;
    struct sluice_uuid pool, id = uuid_new();
    if (!pool_of_request(op, params, &pool, err) || !op_set_pool(op, &pool, err) ||
        !volume_fresh_name(op, &pool, params->name, &params->labels, err))
        return false;
    struct volume_record record = {
        .id = id,
        .pool = pool,
        .name = params->name,
        .state = "creating",
        .size_bytes = params->size_bytes,
        .format = params->format,
        .source_kind = "none",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    if (params->source_snapshot[0] != '\0' && params->source_volume[0] != '\0')
        return op_violation(op, err, "source_volume", "give one source, not two");
    if (params->source_snapshot[0] != '\0' && !source_snapshot(op, params, &record, err))
        return false;
    if (params->source_volume[0] != '\0' && !source_volume(op, params, &record, err))
        return false;
    if (!one_of_words(&op->arena, pool_opened(op->pool)->formats, &record.format))
        return op_violation(op, err, "format", "the pool makes: %s",
                            pool_opened(op->pool)->formats);
    if (!volume_size_fits(op, &record.size_bytes, err) ||
        !pairs_keep(&op->arena, &params->labels, &record.labels))
        return err_set(err, ERR_NO_MEMORY, "no memory for the volume");
    op_set_object(op, &id, params->name);
    if (!op_lock(op, LOCK_OBJECT, &id, true, err))
        return false;
    store_add(txn, CORE_VOLUME, &record);
    return true;
}

void volume_create_recall(struct op *op) {
    volume_recall(op);
    struct volume_record record;
    uint64_t revision;
    if (object_again(op, CORE_VOLUME, &record, &revision, NULL) && !uuid_is_zero(&record.source))
        (void)op_lock(op, LOCK_OBJECT, &record.source, false, NULL);
}

void volume_create_driver_run(struct op *op) {
    struct volume_record record;
    struct snapshot_record snapshot;
    uint64_t revision;
    struct err err = ERR_INIT;
    if (!object_again(op, CORE_VOLUME, &record, &revision, &err)) {
        op_step_done(op, &err);
        return;
    }
    struct wire_volume_create args = {
        .volume = record.id,
        .source = record.source,
        .size_bytes = record.size_bytes,
        .name = record.name,
        .format = record.format,
    };
    if (strcmp(record.source_kind, "volume") == 0) {
        args.source_kind = SLUICE_SOURCE_VOLUME;
    } else if (strcmp(record.source_kind, "snapshot") == 0) {
        args.source_kind = SLUICE_SOURCE_SNAPSHOT;
        if (!store_get(op->core->catalog, CORE_SNAPSHOT, &record.source, &op->step_arena, &snapshot,
                       NULL, &err)) {
            op_step_done(op, &err);
            return;
        }
        args.source_volume = snapshot.volume;
    }
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_CREATE, &args, volume_keep);
}

void volume_create_driver_undo(struct op *op) {
    struct wire_volume_id args = {.volume = op->record.object};
    op_call(op, pool_runner(op->pool), WIRE_VOLUME_DELETE, &args, NULL);
}

bool volume_create_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_becomes_available(op, txn, err);
}
bool volume_create_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return volume_goes(op, txn, err);
}

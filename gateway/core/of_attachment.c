/* SPDX-License-Identifier: Apache-2.0
 *
 * of_attachment.c: the operations of attachments: one volume or snapshot, one host, one right.
 */
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/attachments.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"
#include <sluice/driver.h>

#define CONNECTION_LINES_MAX 16

/* ---- create --------------------------------------------------------------------------------- */

/* Who is attached to a volume, or to one of its snapshots. */
struct others {
    struct op *op;
    const struct attachment_record *wanted;
    uint32_t writers;
    bool same_host;
    struct err err;
};

static bool on_attachment_of_volume(void *arg, const struct catalog_entry *entry) {
    struct others *others = arg;
    struct sluice_uuid id;
    struct attachment_record other;
    memcpy(id.bytes, entry->key + entry->key_length - sizeof id.bytes, sizeof id.bytes);
    arena_reset(&others->op->step_arena);
    bool ok = store_get(others->op->core->catalog, CORE_ATTACHMENT, &id, &others->op->step_arena,
                        &other, NULL, &others->err);
    if (ok && uuid_equal(&other.snapshot, &others->wanted->snapshot)) {
        others->writers += strcmp(other.mode, "read-write") == 0;
        others->same_host = others->same_host || uuid_equal(&other.host, &others->wanted->host);
    }
    return ok;
}

/* A host has one attachment of a thing at most: taking one of two back would take its access. */
static bool others_permit(struct op *op, const struct attachment_record *record, const char *name,
                          uint32_t *ret_writers, struct err *err) {
    struct others others = {.op = op, .wanted = record};
    struct key prefix;
    key_index(&prefix, CORE_ATTACHMENT, STORE_BY_VOLUME, &record->volume);
    if (!catalog_scan(op->core->catalog, prefix.at, prefix.length, NULL, 0, false,
                      on_attachment_of_volume, &others, err))
        return false;
    *ret_writers = others.writers;
    if (others.err.code != ERR_NONE)
        return err_set(err, others.err.code, "%s", others.err.text);
    if (others.same_host)
        return err_set(err, ERR_EXISTS, "%s is attached to this host already", name);
    return true;
}

/* Two hosts may attach a snapshot at the same time, one host may not do so twice. */
static bool lock_pair(struct op *op, const struct attachment_record *record, struct err *err) {
    struct sluice_uuid pair;
    for (size_t i = 0; i < sizeof pair.bytes; i++)
        pair.bytes[i] = record->snapshot.bytes[i] ^ record->host.bytes[i];
    return op_lock(op, LOCK_PAIR, &pair, true, err);
}

static bool of_snapshot(struct op *op, const struct attachment_create_params *params,
                        struct attachment_record *record, struct err *err) {
    struct snapshot_record snapshot;
    uint64_t revision;
    if (!object_read(op, CORE_SNAPSHOT, params->snapshot, &snapshot, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &snapshot.id, false, err))
        return false;
    if (strcmp(snapshot.state, "available") != 0)
        return err_set(err, ERR_STATE, "snapshot %s is %s", snapshot.name, snapshot.state);
    if (strcmp(record->mode, "read-only") != 0)
        return op_violation(op, err, "mode", "a snapshot is attached read-only");
    record->pool = snapshot.pool;
    record->volume = snapshot.volume;
    record->snapshot = snapshot.id;
    op_set_object(op, &record->id, snapshot.name);
    uint32_t writers;
    return lock_pair(op, record, err) && others_permit(op, record, snapshot.name, &writers, err);
}

/* Any number of readers, or one writer. */
static bool of_volume(struct op *op, const struct attachment_create_params *params,
                      struct attachment_record *record, struct err *err) {
    struct volume_record volume;
    uint64_t revision;
    if (!object_read(op, CORE_VOLUME, params->volume, &volume, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &volume.id, true, err))
        return false;
    if (strcmp(volume.state, "available") != 0)
        return err_set(err, ERR_STATE, "volume %s is %s", volume.name, volume.state);
    record->pool = volume.pool;
    record->volume = volume.id;
    uint32_t writers;
    if (!others_permit(op, record, volume.name, &writers, err))
        return false;
    bool writes = strcmp(record->mode, "read-write") == 0;
    if (writers > 0 || (writes && volume.attachments > 0))
        return err_set(
            err, ERR_STATE,
            "volume %s is attached %s: any number of hosts may read it, or one may write",
            volume.name, writers > 0 ? "read-write" : "to readers");
    op_set_object(op, &record->id, volume.name);
    return true;
}

bool attachment_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct attachment_create_params *params = op->params;
    bool snapshot = params->snapshot[0] != '\0';
    if (snapshot == (params->volume[0] != '\0'))
        return op_violation(op, err, "volume", "give a volume or a snapshot");
    struct host_record host;
    uint64_t revision;
    if (!object_read(op, CORE_HOST, params->host, &host, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &host.id, false, err))
        return false;
    struct attachment_record record = {
        .id = uuid_new(),
        .host = host.id,
        .mode = params->mode[0] != '\0' ? params->mode
                : snapshot              ? "read-only"
                                        : "read-write",
        .state = "attaching",
        .protocol = "",
        .note = "",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
        .served = strcmp(params->protocol, ATTACHMENT_NBD) == 0,
        .iops_max = params->iops_max,
        .bytes_s_max = params->bytes_s_max,
    };
    struct attachment_ways ways;
    if (record.served)
        record.protocol = ATTACHMENT_NBD;
    else if (params->protocol[0] != '\0')
        return op_violation(op, err, "protocol", "nbd, or left out for the driver's own");
    else if (record.iops_max != 0 || record.bytes_s_max != 0)
        return op_violation(op, err, record.iops_max != 0 ? "iops_max" : "bytes_s_max",
                            "only nbd has limits");
    if (record.served && op->core->no_exports.code != ERR_NONE)
        return err_set(err, op->core->no_exports.code, "%s (option nbd-dir)",
                       op->core->no_exports.text);
    if (record.served && !attachment_ways(op->core, &host, &ways, err))
        return false;
    if (strcmp(record.mode, "read-only") != 0 && strcmp(record.mode, "read-write") != 0)
        return op_violation(op, err, "mode", "read-only or read-write");
    if (!(snapshot ? of_snapshot(op, params, &record, err) : of_volume(op, params, &record, err)) ||
        !op_set_pool(op, &record.pool, err) ||
        !(record.served ? pool_can(op->pool, SLUICE_CAP_DATA, "serve block I/O", err)
                        : pool_can(op->pool, SLUICE_CAP_GRANT, "give hosts access", err)) ||
        !op_lock(op, LOCK_OBJECT, &record.id, true, err))
        return false;
    store_add(txn, CORE_ATTACHMENT, &record);
    if (snapshot && !count_change(op, txn, CORE_SNAPSHOT, &record.snapshot,
                                  offsetof(struct snapshot_record, attachments), 1, err))
        return false;
    if (!snapshot && !count_change(op, txn, CORE_VOLUME, &record.volume,
                                   offsetof(struct volume_record, attachments), 1, err))
        return false;
    return count_change(op, txn, CORE_HOST, &host.id, offsetof(struct host_record, attachments), 1,
                        err);
}

static bool read_self(struct op *op, struct attachment_record *ret) {
    struct err err = ERR_INIT;
    uint64_t revision;
    if (object_again(op, CORE_ATTACHMENT, ret, &revision, &err))
        return true;
    op_step_done(op, &err);
    return false;
}

static bool is_named(const struct text_pairs *pairs, const char *name) {
    for (uint32_t i = 0; i < pairs->count; i++)
        if (strcmp(pairs->at[i].name, name) == 0)
            return true;
    return false;
}

/* "name=value" lines of a driver, as pairs; lines that are none, or name what was named already,
 * are left out. */
static void keep_connection(struct op *op, const void *result) {
    const struct wire_connection *connection = result;
    struct text_pair *at = arena_array(&op->arena, CONNECTION_LINES_MAX, sizeof *at);
    struct text_pairs pairs = {at, 0};
    for (const char *line = connection->lines; at != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        const char *equals = memchr(line, '=', length);
        if (equals != NULL && equals > line && pairs.count < CONNECTION_LINES_MAX) {
            struct text_pair *pair = &at[pairs.count];
            pair->name = arena_strndup(&op->arena, line, (size_t)(equals - line));
            pair->value =
                arena_strndup(&op->arena, equals + 1, length - (size_t)(equals - line) - 1);
            if (pair->name != NULL && pair->value != NULL && !is_named(&pairs, pair->name))
                pairs.count++;
        }
        line += length + (line[length] == '\n');
    }
    op->protocol = arena_strdup(&op->arena, connection->protocol);
    op->note = arena_strdup(&op->arena, connection->note);
    if (at == NULL || op->protocol == NULL || op->note == NULL ||
        !pairs_keep(&op->arena, &pairs, &op->connection)) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_NO_MEMORY, "no memory for the connection");
        op_step_done(op, &err);
        return;
    }
    op_step_done(op, NULL);
}

/* The host's identities, typed: what is a number goes as one. */
static bool typed(struct arena *arena, const struct text_pairs *identities,
                  struct text_pairs *ret) {
    if (!pairs_keep(arena, identities, ret))
        return false;
    for (uint32_t i = 0; i < ret->count; i++) {
        int64_t number;
        const char *kind = num_parse_i64(ret->at[i].value, &number) ? "n" : "s";
        ret->at[i].value = arena_printf(arena, "%s:%s", kind, ret->at[i].value);
        if (ret->at[i].value == NULL)
            return false;
    }
    return true;
}

void attachment_create_grant_run(struct op *op) {
    struct attachment_record record;
    struct host_record host;
    struct err err = ERR_INIT;
    if (!read_self(op, &record))
        return;
    struct wire_access_grant args = {
        .attachment = record.id,
        .volume = record.volume,
        .snapshot = record.snapshot,
        .mode = strcmp(record.mode, "read-write") == 0 ? SLUICE_ACCESS_READ_WRITE
                                                       : SLUICE_ACCESS_READ_ONLY,
    };
    if (!store_get(op->core->catalog, CORE_HOST, &record.host, &op->step_arena, &host, NULL,
                   &err)) {
        op_step_done(op, &err);
        return;
    }
    if (record.served) {
        attachment_export_run(op, &record, &host);
        return;
    }
    args.host = host.name;
    if (!typed(&op->step_arena, &host.identities, &args.identities)) {
        err_set(&err, ERR_NO_MEMORY, "no memory for the identities");
        op_step_done(op, &err);
        return;
    }
    op_call(op, pool_runner(op->pool), WIRE_ACCESS_GRANT, &args, keep_connection);
}

static void take_back(struct op *op) {
    struct attachment_record record;
    if (!read_self(op, &record))
        return;
    if (record.served) {
        attachment_unexport_run(op, &record.id);
        return;
    }
    struct wire_access_revoke args = {.attachment = record.id, .volume = record.volume};
    op_call(op, pool_runner(op->pool), WIRE_ACCESS_REVOKE, &args, NULL);
}

void attachment_create_grant_undo(struct op *op) {
    take_back(op);
}

bool attachment_create_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct attachment_record before, after;
    uint64_t revision;
    if (!object_again(op, CORE_ATTACHMENT, &before, &revision, err))
        return false;
    after = before;
    after.state = "attached";
    after.updated_at = clock_wall_ms();
    after.protocol = op->protocol;
    after.note = op->note;
    after.connection = op->connection;
    store_change(txn, CORE_ATTACHMENT, &before, revision, &after);
    return true;
}

static bool attachment_goes(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct attachment_record record;
    uint64_t revision;
    struct err trouble = ERR_INIT;
    if (!object_again(op, CORE_ATTACHMENT, &record, &revision, &trouble))
        return trouble.code == ERR_NOT_FOUND || err_set(err, trouble.code, "%s", trouble.text);
    return object_remove(op, txn, CORE_ATTACHMENT, &record, revision, err);
}

bool attachment_create_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return attachment_goes(op, txn, err);
}

static void recall_attachment(struct op *op) {
    op_recall_pool(op);
    (void)op_lock(op, LOCK_OBJECT, &op->record.object, true, NULL);
    struct attachment_record record;
    uint64_t revision;
    if (!object_again(op, CORE_ATTACHMENT, &record, &revision, NULL))
        return;
    (void)op_lock(op, LOCK_OBJECT, &record.host, false, NULL);
    if (uuid_is_zero(&record.snapshot))
        (void)op_lock(op, LOCK_OBJECT, &record.volume, true, NULL);
    else
        (void)op_lock(op, LOCK_OBJECT, &record.snapshot, false, NULL);
    if (!uuid_is_zero(&record.snapshot))
        (void)lock_pair(op, &record, NULL);
}
void attachment_create_recall(struct op *op) {
    recall_attachment(op);
}

/* ---- delete --------------------------------------------------------------------------------- */

/* An attachment has no name; for people it is called by what it opens, as it was when it was made.
 */
static void name_by_disk(struct op *op, const struct attachment_record *attachment) {
    struct snapshot_record snapshot;
    struct volume_record volume;
    if (!uuid_is_zero(&attachment->snapshot)) {
        if (store_get(op->core->catalog, CORE_SNAPSHOT, &attachment->snapshot, &op->arena,
                      &snapshot, NULL, NULL))
            op_set_object(op, &attachment->id, snapshot.name);
    } else if (store_get(op->core->catalog, CORE_VOLUME, &attachment->volume, &op->arena, &volume,
                         NULL, NULL)) {
        op_set_object(op, &attachment->id, volume.name);
    }
}

bool attachment_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct attachment_record before, after;
    uint64_t revision;
    if (!target_read(op, CORE_ATTACHMENT, params->target, &before, &revision, err) ||
        !op_set_pool(op, &before.pool, err) || !op_lock(op, LOCK_OBJECT, &before.id, true, err))
        return false;
    /* The volume too: nothing else may be done with it while somebody may still hold it open. */
    if (!(uuid_is_zero(&before.snapshot) ? op_lock(op, LOCK_OBJECT, &before.volume, true, err)
                                         : op_lock(op, LOCK_OBJECT, &before.snapshot, false, err)))
        return false;
    if (strcmp(before.state, "attached") != 0)
        return err_set(err, ERR_STATE, "the attachment is %s", before.state);
    name_by_disk(op, &before);
    after = before;
    after.state = "revoking";
    after.updated_at = clock_wall_ms();
    store_change(txn, CORE_ATTACHMENT, &before, revision, &after);
    return true;
}

void attachment_delete_revoke_run(struct op *op) {
    take_back(op);
}

bool attachment_delete_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return attachment_goes(op, txn, err);
}

/* The right may be half taken back: a driver's is granted again by nobody, so the attachment stays
 * and can be deleted again. */
bool attachment_delete_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct attachment_record before, after;
    uint64_t revision;
    if (!object_again(op, CORE_ATTACHMENT, &before, &revision, err))
        return false;
    after = before;
    after.state = "attached";
    after.updated_at = clock_wall_ms();
    store_change(txn, CORE_ATTACHMENT, &before, revision, &after);
    if (before.served) /* what the gateway gives it can give again */
        attachment_export_again(op->core, &before, &op->step_arena);
    return true;
}
void attachment_delete_recall(struct op *op) {
    recall_attachment(op);
}

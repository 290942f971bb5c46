/* SPDX-License-Identifier: Apache-2.0
 *
 * of_attachment.c: the operations of attachments: one volume or snapshot, one host, one right.
 */
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/attachments.h"
#include "core/expiry.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"
#include <sluice/driver.h>

#define CONNECTION_LINES_MAX 16

/* ---- create --------------------------------------------------------------------------------- */

/* Two hosts may attach a snapshot at the same time, one host may not do so twice. */
static bool lock_pair(struct op *op, const struct attachment_record *record, struct err *err) {
    struct sluice_uuid pair;
    for (size_t i = 0; i < sizeof pair.bytes; i++)
        pair.bytes[i] = record->snapshot.bytes[i] ^ record->host.bytes[i];
    return op_lock(op, LOCK_PAIR, &pair, true, err);
}

static bool of_snapshot(struct op *op, const struct attachment_create_params *params,
                        const struct host_record *host, struct attachment_record *record,
                        struct err *err) {
    struct snapshot_record snapshot;
    uint64_t revision;
    if (!object_read(op, CORE_SNAPSHOT, params->snapshot, &snapshot, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &snapshot.id, false, err))
        return false;
    if (!object_available(CORE_SNAPSHOT, snapshot.name, snapshot.state, err))
        return false;
    if (attached_writes(record))
        return op_violation(op, err, "mode", "a snapshot is attached read-only");
    record->pool = snapshot.pool;
    record->volume = snapshot.volume;
    record->snapshot = snapshot.id;
    op_set_object(op, &record->id, snapshot.name);
    return lock_pair(op, record, err) && attached_permit_host(op, record, host, snapshot.name, err);
}

static bool of_volume(struct op *op, const struct attachment_create_params *params,
                      const struct host_record *host, struct attachment_record *record,
                      struct err *err) {
    struct volume_record volume;
    uint64_t revision;
    if (!object_read(op, CORE_VOLUME, params->volume, &volume, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &volume.id, true, err))
        return false;
    if (!object_available(CORE_VOLUME, volume.name, volume.state, err))
        return false;
    record->pool = volume.pool;
    record->volume = volume.id;
    if (!attached_permit_host(op, record, host, volume.name, err))
        return false;
    op_set_object(op, &record->id, volume.name);
    return true;
}

/* The mode that is asked for, and what goes with it. */
static bool set_mode(struct op *op, const struct attachment_create_params *params,
                     const struct host_record *host, struct attachment_record *record,
                     struct err *err) {
    bool migrates = strcmp(record->mode, MODE_MIGRATE) == 0;
    if (!attached_mode_known(record->mode))
        return op_violation(op, err, "mode", "read-only, read-write, rw-migrate or rw-cluster");
    if (strcmp(record->mode, MODE_CLUSTER) == 0 && host->group[0] == '\0')
        return op_violation(op, err, "mode",
                            "host %s is in no group: rw-cluster is for the hosts of one",
                            host->name);
    if (!migrates && params->expires_in_s != 0)
        return op_violation(op, err, "expires_in_s", "only with mode rw-migrate");
    if (params->expires_in_s > EXPIRY_MAX_S)
        return op_violation(op, err, "expires_in_s", "%d seconds at most", EXPIRY_MAX_S);
    if (migrates)
        record->expires_at =
            clock_wall_ms() +
            1000ull * (params->expires_in_s != 0 ? params->expires_in_s : EXPIRY_DEFAULT_S);
    return true;
}

/* Who serves it, and what only that one can do. */
static bool set_protocol(struct op *op, const struct attachment_create_params *params,
                         const struct host_record *host, struct attachment_record *record,
                         struct err *err) {
    struct attachment_ways ways;
    if (record->served)
        record->protocol = ATTACHMENT_NBD;
    else if (params->protocol[0] != '\0')
        return op_violation(op, err, "protocol", "nbd, or left out for the driver's own");
    else if (record->iops_max != 0 || record->bytes_s_max != 0)
        return op_violation(op, err, record->iops_max != 0 ? "iops_max" : "bytes_s_max",
                            "only nbd has limits");
    if (!record->served)
        return true;
    if (op->core->no_exports.code != ERR_NONE)
        return err_set(err, op->core->no_exports.code, "%s (option nbd-dir)",
                       op->core->no_exports.text);
    return attachment_ways(op->core, host, &ways, err);
}

/* One more attachment of what it is of, and of the host. */
static bool count_all(struct op *op, struct catalog_txn *txn,
                      const struct attachment_record *record, struct err *err) {
    bool snapshot = !uuid_is_zero(&record->snapshot);
    return count_change(op, txn, snapshot ? CORE_SNAPSHOT : CORE_VOLUME,
                        snapshot ? &record->snapshot : &record->volume,
                        snapshot ? offsetof(struct snapshot_record, attachments)
                                 : offsetof(struct volume_record, attachments),
                        1, err) &&
           count_change(op, txn, CORE_HOST, &record->host,
                        offsetof(struct host_record, attachments), 1, err);
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
                : snapshot              ? MODE_READ_ONLY
                                        : MODE_READ_WRITE,
        .state = "attaching",
        .protocol = "",
        .note = "",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
        .served = strcmp(params->protocol, ATTACHMENT_NBD) == 0,
        .iops_max = params->iops_max,
        .bytes_s_max = params->bytes_s_max,
    };
    if (!set_protocol(op, params, &host, &record, err) ||
        !set_mode(op, params, &host, &record, err) ||
        !(snapshot ? of_snapshot(op, params, &host, &record, err)
                   : of_volume(op, params, &host, &record, err)) ||
        !op_set_pool(op, &record.pool, err) ||
        !(record.served ? pool_can(op->pool, SLUICE_CAP_DATA, "serve block I/O", err)
                        : pool_can(op->pool, SLUICE_CAP_GRANT, "give hosts access", err)) ||
        !op_lock(op, LOCK_OBJECT, &record.id, true, err))
        return false;
    store_add(txn, CORE_ATTACHMENT, &record);
    return count_all(op, txn, &record, err);
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
        .mode = attached_writes(&record) ? SLUICE_ACCESS_READ_WRITE : SLUICE_ACCESS_READ_ONLY,
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

/* A volume that is not there any more, on a backend that proves to be the right one, is held by
 * nobody. */
static void on_revoked(struct op *op, const struct runner_reply *reply) {
    if (reply->pending)
        op_again(op, reply->retry_after_ms, reply->done, reply->total, NULL);
    else
        op_step_done(op, reply->err.code == ERR_NOT_FOUND ? NULL : &reply->err);
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
    op_ask(op, pool_runner(op->pool), WIRE_ACCESS_REVOKE, &args, on_revoked);
}

void attachment_create_grant_undo(struct op *op) {
    take_back(op);
}

static void remember_expiry(struct op *op) {
    struct attachment_record record;
    uint64_t revision;
    if (object_again(op, CORE_ATTACHMENT, &record, &revision, NULL))
        expiry_add(op->core, &record);
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
    op_event(op, txn, "attachment.granted", op->note);
    op_after_end(op, remember_expiry);
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

/* The machine has moved: the host that it moved to has the volume from now on. */
static bool migrant_stays(struct op *op, struct catalog_txn *txn, struct err *err) {
    struct attachment_record gone, before, after;
    uint64_t revision;
    struct err trouble = ERR_INIT;
    if (!object_again(op, CORE_ATTACHMENT, &gone, &revision, &trouble))
        return trouble.code == ERR_NOT_FOUND || err_set(err, trouble.code, "%s", trouble.text);
    if (strcmp(gone.mode, MODE_READ_WRITE) != 0 || !uuid_is_zero(&gone.snapshot))
        return true;
    if (!attached_migrating(op, &gone.volume, &before, &revision, &trouble))
        return trouble.code == ERR_NONE || err_set(err, trouble.code, "%s", trouble.text);
    after = before;
    after.mode = MODE_READ_WRITE;
    after.expires_at = 0;
    after.updated_at = clock_wall_ms();
    store_change(txn, CORE_ATTACHMENT, &before, revision, &after);
    return true;
}

bool attachment_delete_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    return migrant_stays(op, txn, err) && attachment_goes(op, txn, err);
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

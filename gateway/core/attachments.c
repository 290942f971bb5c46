/* SPDX-License-Identifier: Apache-2.0
 *
 * attachments.c: between the catalogue and gateway/exports.
 */
#include "core/attachments.h"

#include <string.h>

#include "base/num.h"
#include "base/uuid.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"
#include <sluice/services.h>

#define RECORD_MEMORY (256 * 1024)

bool attachment_peer(const struct host_record *host, uint32_t *ret, struct err *err) {
    uint64_t uid;
    for (uint32_t i = 0; i < host->identities.count; i++) {
        const struct text_pair *identity = &host->identities.at[i];
        if (strcmp(identity->name, "uid") == 0 && num_parse_u64(identity->value, &uid) &&
            uid < UINT32_MAX) {
            *ret = (uint32_t)uid;
            return true;
        }
    }
    return err_set(err, ERR_STATE,
                   "host %s has no identity uid, which says who may connect: add it first",
                   host->name);
}

/* The name that clients see; the volume or snapshot may be gone by its record already. */
static const char *name_of(struct core *core, const struct attachment_record *record,
                           struct arena *arena) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } of;
    bool is_volume = uuid_is_zero(&record->snapshot);
    if (!store_get(core->catalog, is_volume ? CORE_VOLUME : CORE_SNAPSHOT,
                   is_volume ? &record->volume : &record->snapshot, arena, &of, NULL, NULL))
        return "";
    return is_volume ? of.volume.name : of.snapshot.name;
}

static void make_spec(const struct attachment_record *record, const char *name, uint32_t uid,
                      struct exports_spec *ret) {
    *ret = (struct exports_spec){
        .attachment = record->id,
        .pool = record->pool,
        .volume = record->volume,
        .snapshot = record->snapshot,
        .name = name,
        .read_only = strcmp(record->mode, "read-write") != 0,
        .uid = uid,
        .iops_max = record->iops_max,
        .bytes_s_max = record->bytes_s_max,
    };
}

/* ---- at the start ---------------------------------------------------------------------------- */

/* Those that are being taken back too: they are there until that is done. */
static bool export_one(struct core *core, const struct attachment_record *record,
                       struct arena *arena, struct err *err) {
    struct host_record host;
    struct exports_spec spec;
    uint32_t uid;
    if (!record->served || strcmp(record->state, "attaching") == 0)
        return true; /* its operation goes on */
    if (!store_get(core->catalog, CORE_HOST, &record->host, arena, &host, NULL, err) ||
        !attachment_peer(&host, &uid, err))
        return false;
    make_spec(record, name_of(core, record, arena), uid, &spec);
    exports_add(core->exports, &spec, NULL, NULL);
    return true;
}

void attachment_export_again(struct core *core, const struct attachment_record *record,
                             struct arena *arena) {
    struct err err = ERR_INIT;
    if (core->exports != NULL && !export_one(core, record, arena, &err) &&
        core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "an attachment is not served",
                             err.text);
}

static bool on_attachment(void *arg, const struct catalog_entry *entry) {
    struct core *core = arg;
    struct arena arena;
    struct attachment_record record;
    arena_init(&arena, RECORD_MEMORY);
    if (shape_decode(&attachment_record_shape, entry->value.at, entry->value.length, &arena,
                     &record, NULL))
        attachment_export_again(core, &record, &arena);
    else if (core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "catalogue",
                             "an attachment's record cannot be read and is not served");
    arena_release(&arena);
    return true;
}

bool attachments_export(struct core *core, struct err *err) {
    struct key prefix;
    key_objects(&prefix, CORE_ATTACHMENT);
    return catalog_scan(core->catalog, prefix.at, prefix.length, NULL, 0, false, on_attachment,
                        core, err);
}

bool attachments_permit(const struct core *core, const struct volume_record *volume,
                        const char *what, struct err *err) {
    if (core->exports == NULL || !exports_serve_volume(core->exports, &volume->pool, &volume->id))
        return true;
    return err_set(err, ERR_STATE,
                   "volume %s is served over NBD: delete its attachments, %s, and attach again",
                   volume->name, what);
}

/* ---- by operations --------------------------------------------------------------------------- */

/* Pairs are in the order of their names. */
static bool keep_connection(struct op *op, const struct exports_added *added, uint32_t uid) {
    struct text_pair pairs[] = {
        {"path", added->path},
        {"size_bytes", arena_printf(&op->arena, "%llu", (unsigned long long)added->size_bytes)},
        {"uri", arena_printf(&op->arena, "nbd+unix:///?socket=%s", added->path)},
    };
    struct text_pairs all = {pairs, sizeof pairs / sizeof pairs[0]};
    op->protocol = ATTACHMENT_NBD;
    op->note = arena_printf(&op->arena,
                            "Enforced: on this machine alone, for user %u and root; one writer, "
                            "and the mode. Requests survive the driver.",
                            uid);
    return pairs[1].value != NULL && pairs[2].value != NULL && op->note != NULL &&
           pairs_keep(&op->arena, &all, &op->connection);
}

struct peer {
    uint32_t uid;
};

static void on_added(void *arg, const struct exports_added *added, const struct err *err) {
    struct op *op = arg;
    struct err trouble = *err;
    const struct peer *peer = op->scratch;
    if (trouble.code == ERR_NONE && !keep_connection(op, added, peer->uid))
        err_set(&trouble, ERR_NO_MEMORY, "no memory for the connection");
    op_step_done(op, &trouble);
}

static bool export_start(struct op *op, const struct attachment_record *record,
                         const struct host_record *host, struct err *err) {
    struct exports_spec spec;
    struct peer *peer = op->scratch;
    if (peer == NULL)
        op->scratch = peer = arena_alloc(&op->arena, sizeof *peer);
    if (peer == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the connection");
    if (!attachment_peer(host, &peer->uid, err))
        return false;
    if (op->core->no_exports.code != ERR_NONE)
        return err_set(err, op->core->no_exports.code, "%s", op->core->no_exports.text);
    make_spec(record, name_of(op->core, record, &op->step_arena), peer->uid, &spec);
    if (op->core->exports != NULL) /* else we stop, and it goes on at the next start */
        exports_add(op->core->exports, &spec, on_added, op);
    return true;
}

void attachment_export_run(struct op *op, const struct attachment_record *record,
                           const struct host_record *host) {
    struct err err = ERR_INIT;
    if (!export_start(op, record, host, &err))
        op_step_done(op, &err);
}

static void on_removed(void *arg) {
    op_step_done(arg, NULL);
}

void attachment_unexport_run(struct op *op, const struct sluice_uuid *attachment) {
    if (op->core->exports != NULL)
        exports_remove(op->core->exports, attachment, on_removed, op);
    else if (op->core->no_exports.code != ERR_NONE)
        op_step_done(op, NULL); /* it is not served */
}

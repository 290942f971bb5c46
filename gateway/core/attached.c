/* SPDX-License-Identifier: Apache-2.0 */
#include "core/attached.h"

#include <string.h>

#include "base/uuid.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"
#include <sluice/driver.h>

#define LOOK_MEMORY (64 * 1024) /* one attachment and its host */

enum cell { CELL_YES, CELL_NO, CELL_LIVE, CELL_RAW, CELL_ONE, CELL_GROUP };
enum way { NBD_READ, NBD_WRITE, DIRECT_READ, DIRECT_WRITE, WAYS };

static const struct row {
    unsigned char cells[WAYS];
    const char *what;
} rows[] = {
#define ATTACHED(ID, operation, nbd_read, nbd_write, direct_read, direct_write, what) \
    {{CELL_##nbd_read, CELL_##nbd_write, CELL_##direct_read, CELL_##direct_write}, what},
#include "core/attached.def"
#undef ATTACHED
};

bool attached_mode_known(const char *mode) {
    return strcmp(mode, MODE_READ_ONLY) == 0 || strcmp(mode, MODE_READ_WRITE) == 0 ||
           strcmp(mode, MODE_MIGRATE) == 0 || strcmp(mode, MODE_CLUSTER) == 0;
}

bool attached_writes(const struct attachment_record *attachment) {
    return strcmp(attachment->mode, MODE_READ_ONLY) != 0;
}

/* The act that making this attachment is, by its mode and by who serves it. */
static enum attached_act act_of(const struct attachment_record *wanted) {
    bool nbd = wanted->served;
    if (strcmp(wanted->mode, MODE_MIGRATE) == 0)
        return nbd ? ATTACHED_NBD_MIGRATE : ATTACHED_DIRECT_MIGRATE;
    if (strcmp(wanted->mode, MODE_CLUSTER) == 0)
        return nbd ? ATTACHED_NBD_CLUSTER : ATTACHED_DIRECT_CLUSTER;
    if (attached_writes(wanted))
        return nbd ? ATTACHED_NBD_WRITE : ATTACHED_DIRECT_WRITE;
    return nbd ? ATTACHED_NBD_READ : ATTACHED_DIRECT_READ;
}

static enum way way_of(const struct attachment_record *attachment) {
    bool writes = attached_writes(attachment);
    return attachment->served ? (writes ? NBD_WRITE : NBD_READ)
                              : (writes ? DIRECT_WRITE : DIRECT_READ);
}

/* ---- looking at each ------------------------------------------------------------------------ */

struct look {
    struct op *op;
    struct sluice_uuid volume, snapshot; /* snapshot zero: attachments of the volume itself */
    enum attached_act act;
    const char *name;               /* of what is attached */
    const char *format;             /* of the volume, where a connection does not say */
    const struct host_record *host; /* who wants to be attached as well; NULL: nobody */
    uint32_t seen, looked;
    struct err err;
    struct arena arena;
};

/* As the host sees it: a driver may put an overlay of another format above. */
static bool is_raw(const struct look *look, const struct attachment_record *attachment) {
    const char *format = pairs_get(&attachment->connection, "format");
    return strcmp(format != NULL ? format : look->format, "raw") == 0;
}

static bool cell_permits(const struct look *look, const struct attachment_record *attachment,
                         const struct host_record *host) {
    switch ((enum cell)rows[look->act].cells[way_of(attachment)]) {
    case CELL_YES:
        return true;
    case CELL_LIVE:
        return (pool_opened(look->op->pool)->caps & SLUICE_CAP_MASK(SNAPSHOT_LIVE)) != 0;
    case CELL_RAW:
        return is_raw(look, attachment);
    case CELL_ONE:
        return look->seen == 0 && strcmp(attachment->mode, MODE_READ_WRITE) == 0;
    case CELL_GROUP:
        return strcmp(attachment->mode, MODE_CLUSTER) == 0 &&
               strcmp(host->group, look->host->group) == 0;
    default:
        return false;
    }
}

static const char *way_out(const struct look *look, const struct attachment_record *attachment) {
    switch (look->act) {
    case ATTACHED_NBD_WRITE:
    case ATTACHED_DIRECT_WRITE:
        return attached_writes(attachment)
                   ? "delete that attachment first; a machine that moves is attached in mode "
                     "rw-migrate, hosts of a cluster all in mode rw-cluster"
                   : "delete the attachments that read first";
    case ATTACHED_NBD_MIGRATE:
    case ATTACHED_DIRECT_MIGRATE:
        return "rw-migrate goes beside one host that is attached read-write by the same protocol, "
               "and nobody else";
    case ATTACHED_NBD_CLUSTER:
    case ATTACHED_DIRECT_CLUSTER:
        return "all hosts of a cluster are attached in mode rw-cluster by the same protocol, and "
               "are of one group";
    default:
        return "delete that attachment first, and attach again afterwards";
    }
}

static void refuse(struct look *look, const struct attachment_record *attachment,
                   const struct host_record *host) {
    char text[UUID_TEXT_SIZE];
    err_set(&look->err, ERR_STATE,
            "%s is attached %s to host %s by %s (attachment %s), which %s: so nobody can %s now: "
            "%s",
            look->name, attachment->mode, host->name,
            attachment->protocol[0] != '\0' ? attachment->protocol : "the driver's protocol",
            uuid_format(&attachment->id, text),
            attachment->served ? "the gateway serves" : "opens the file behind the gateway's back",
            rows[look->act].what, way_out(look, attachment));
}

static bool on_attachment(void *arg, const struct catalog_entry *entry) {
    struct look *look = arg;
    struct catalog *catalog = look->op->core->catalog;
    struct sluice_uuid id;
    struct attachment_record other;
    struct host_record host;
    memcpy(id.bytes, entry->key + entry->key_length - sizeof id.bytes, sizeof id.bytes);
    arena_reset(&look->arena);
    if (++look->looked > ATTACHED_MAX)
        return !err_set(&look->err, ERR_LIMIT, "%s has more than %d attachments", look->name,
                        ATTACHED_MAX) &&
               false;
    if (!store_get(catalog, CORE_ATTACHMENT, &id, &look->arena, &other, NULL, &look->err))
        return false;
    if (!uuid_equal(&other.snapshot, &look->snapshot))
        return true;
    if (!store_get(catalog, CORE_HOST, &other.host, &look->arena, &host, NULL, &look->err))
        return false;
    if (look->host != NULL && uuid_equal(&host.id, &look->host->id))
        err_set(&look->err, ERR_EXISTS, "%s is attached to host %s already", look->name, host.name);
    else if (!cell_permits(look, &other, &host))
        refuse(look, &other, &host);
    look->seen++;
    return look->err.code == ERR_NONE;
}

static bool look_at_all(struct look *look, struct err *err) {
    struct key prefix;
    key_index(&prefix, CORE_ATTACHMENT, STORE_BY_VOLUME, &look->volume);
    arena_init(&look->arena, LOOK_MEMORY);
    bool ok = catalog_scan(look->op->core->catalog, prefix.at, prefix.length, NULL, 0, false,
                           on_attachment, look, err);
    arena_release(&look->arena);
    if (ok && look->err.code != ERR_NONE)
        ok = err_set(err, look->err.code, "%s", look->err.text);
    return ok;
}

/* ---- what is asked -------------------------------------------------------------------------- */

bool attached_permit(struct op *op, const struct volume_record *volume, enum attached_act act,
                     struct err *err) {
    struct look look = {.op = op,
                        .volume = volume->id,
                        .act = act,
                        .name = arena_printf(&op->arena, "volume %s", volume->name),
                        .format = volume->format};
    if (look.name == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    return volume->attachments == 0 || look_at_all(&look, err);
}

bool attached_permit_snapshot(struct op *op, const struct snapshot_record *snapshot,
                              enum attached_act act, struct err *err) {
    struct look look = {.op = op,
                        .volume = snapshot->volume,
                        .snapshot = snapshot->id,
                        .act = act,
                        .name = arena_printf(&op->arena, "snapshot %s", snapshot->name),
                        .format = ""};
    if (look.name == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    return snapshot->attachments == 0 || look_at_all(&look, err);
}

bool attached_permit_host(struct op *op, const struct attachment_record *wanted,
                          const struct host_record *host, const char *name, struct err *err) {
    struct look look = {
        .op = op,
        .volume = wanted->volume,
        .snapshot = wanted->snapshot,
        .act = act_of(wanted),
        .name = arena_printf(&op->arena, "%s %s",
                             uuid_is_zero(&wanted->snapshot) ? "volume" : "snapshot", name),
        .format = "",
        .host = host};
    if (look.name == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    if (!look_at_all(&look, err))
        return false;
    if (look.seen == 0 && strcmp(wanted->mode, MODE_MIGRATE) == 0)
        return err_set(err, ERR_STATE,
                       "%s is attached to nobody, so there is no host to migrate from: attach it "
                       "read-write",
                       look.name);
    return true;
}

struct migrating {
    struct op *op;
    struct attachment_record *record;
    uint64_t *revision;
    bool found;
    struct err err;
};

static bool on_perhaps_migrating(void *arg, const struct catalog_entry *entry) {
    struct migrating *migrating = arg;
    struct sluice_uuid id;
    memcpy(id.bytes, entry->key + entry->key_length - sizeof id.bytes, sizeof id.bytes);
    migrating->found =
        store_get(migrating->op->core->catalog, CORE_ATTACHMENT, &id, &migrating->op->step_arena,
                  migrating->record, migrating->revision, &migrating->err) &&
        strcmp(migrating->record->mode, MODE_MIGRATE) == 0;
    return !migrating->found && migrating->err.code == ERR_NONE;
}

bool attached_migrating(struct op *op, const struct sluice_uuid *volume,
                        struct attachment_record *ret, uint64_t *ret_revision, struct err *err) {
    struct migrating migrating = {.op = op, .record = ret, .revision = ret_revision};
    struct key prefix;
    key_index(&prefix, CORE_ATTACHMENT, STORE_BY_VOLUME, volume);
    if (!catalog_scan(op->core->catalog, prefix.at, prefix.length, NULL, 0, false,
                      on_perhaps_migrating, &migrating, err))
        return false;
    if (migrating.err.code != ERR_NONE)
        return err_set(err, migrating.err.code, "%s", migrating.err.text);
    return migrating.found;
}

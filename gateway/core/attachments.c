/* SPDX-License-Identifier: Apache-2.0
 *
 * attachments.c: between the catalogue and gateway/exports.
 */
#include "core/attachments.h"

#include <string.h>

#include "base/num.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"
#include <sluice/services.h>

#define RECORD_MEMORY (256 * 1024)

static const char *identity_of(const struct host_record *host, const char *name) {
    const char *value = pairs_get(&host->identities, name);
    return value != NULL ? value : "";
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 64 hexadecimal digits, with or without colons between the bytes; returns what follows, or NULL.
 */
static const char *take_digest(const char *text, uint8_t ret[DATA_DIGEST_SIZE]) {
    for (int i = 0; i < DATA_DIGEST_SIZE; i++) {
        if (i > 0 && *text == ':')
            text++;
        int high = digit_of(text[0]);
        int low = high >= 0 ? digit_of(text[1]) : -1;
        if (low < 0)
            return NULL;
        ret[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return text;
}

static bool take_digests(const char *text, struct attachment_ways *ret) {
    while (text != NULL && ret->digest_count < DATA_DIGESTS_MAX) {
        text = take_digest(text, ret->digests[ret->digest_count++]);
        if (text != NULL && *text == '\0')
            return true;
        text = text != NULL && *text == ',' ? text + 1 : NULL;
    }
    return false;
}

bool attachment_ways(const struct core *core, const struct host_record *host,
                     struct attachment_ways *ret, struct err *err) {
    const char *certificate = identity_of(host, "certificate");
    bool tls = core->options.nbd_listen != NULL && *core->options.nbd_listen != '\0';
    uint64_t uid;
    *ret = (struct attachment_ways){0};
    if (num_parse_u64(identity_of(host, "uid"), &uid) && uid < UINT32_MAX) {
        ret->local = true;
        ret->uid = (uint32_t)uid;
    }
    if (tls && *certificate != '\0' && !take_digests(certificate, ret))
        return err_set(err, ERR_STATE,
                       "the identity certificate of host %s is not the SHA-256 of its client "
                       "certificate: 64 hexadecimal digits, or up to %d of these with commas",
                       host->name, DATA_DIGESTS_MAX);
    if (ret->local || ret->digest_count > 0)
        return true;
    if (*certificate != '\0')
        return err_set(err, ERR_STATE,
                       "host %s can only come over TLS, by its certificate: set nbd-listen, or "
                       "give the host an identity uid",
                       host->name);
    return err_set(err, ERR_STATE,
                   "host %s has no identity that says who may connect: give it uid (an account on "
                   "this machine)%s certificate (over TLS: the SHA-256 of its client certificate)",
                   host->name, tls ? " or" : " or, with nbd-listen set,");
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

static void make_spec(const struct attachment_record *record, const char *name,
                      const struct attachment_ways *ways, struct exports_spec *ret) {
    *ret = (struct exports_spec){
        .attachment = record->id,
        .pool = record->pool,
        .volume = record->volume,
        .snapshot = record->snapshot,
        .name = name,
        .read_only = !attached_writes(record),
        .local = ways->local,
        .uid = ways->uid,
        .digest_count = ways->digest_count,
        .iops_max = record->iops_max,
        .bytes_s_max = record->bytes_s_max,
    };
    memcpy(ret->digests, ways->digests, sizeof ret->digests);
}

/* ---- at the start ---------------------------------------------------------------------------- */

/* A certificate that nobody looked at before TLS was configured costs a host its TLS alone. */
static bool find_ways_again(const struct core *core, const struct host_record *host,
                            struct attachment_ways *ret, struct err *err) {
    struct err trouble = ERR_INIT;
    if (attachment_ways(core, host, ret, &trouble))
        return true;
    ret->digest_count = 0;
    return ret->local || err_set(err, trouble.code, "%s", trouble.text);
}

/* Those that are being taken back too: they are there until that is done. */
static bool export_one(struct core *core, const struct attachment_record *record,
                       struct arena *arena, struct err *err) {
    struct host_record host;
    struct exports_spec spec;
    struct attachment_ways ways;
    if (!record->served || strcmp(record->state, "attaching") == 0)
        return true; /* its operation goes on */
    if (!store_get(core->catalog, CORE_HOST, &record->host, arena, &host, NULL, err) ||
        !find_ways_again(core, &host, &ways, err))
        return false;
    make_spec(record, name_of(core, record, arena), &ways, &spec);
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

/* ---- by operations --------------------------------------------------------------------------- */

/* Digests in one form, whatever the host's identity has. */
static const char *format_digests(struct arena *arena, const struct attachment_ways *ways) {
    static const char digits[] = "0123456789abcdef";
    char *text = arena_alloc(arena, ways->digest_count * (2 * DATA_DIGEST_SIZE + 1));
    char *at = text;
    for (uint32_t i = 0; text != NULL && i < ways->digest_count; i++) {
        for (int byte = 0; byte < DATA_DIGEST_SIZE; byte++) {
            *at++ = digits[ways->digests[i][byte] >> 4];
            *at++ = digits[ways->digests[i][byte] & 15];
        }
        *at++ = i + 1 < ways->digest_count ? ',' : '\0';
    }
    return text;
}

static const char *make_note(struct arena *arena, const struct attachment_ways *ways) {
    static const char tail[] = "and the mode. Requests survive the driver.";
    static const char over_tls[] = "over TLS for who has the key of the certificate";
    if (!ways->local)
        return arena_printf(arena, "Enforced: %s, %s", over_tls, tail);
    if (ways->digest_count == 0)
        return arena_printf(arena, "Enforced: on this machine alone, for user %u and root, %s",
                            ways->uid, tail);
    return arena_printf(arena, "Enforced: on this machine for user %u and root, %s, %s", ways->uid,
                        over_tls, tail);
}

/* As a value in a URI's query (RFC 3986, 2.1 and 3.4): all but what is never special becomes %XX. A
 * folder may have any name. */
static const char *escape_path(struct arena *arena, const char *path) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    static const char digits[] = "0123456789ABCDEF";
    char *to = arena_alloc(arena, 3 * strlen(path) + 1);
    if (to == NULL)
        return NULL;
    char *at = to;
    for (; *path != '\0'; path++) {
        if (strchr(plain, *path) != NULL) {
            *at++ = *path;
            continue;
        }
        *at++ = '%';
        *at++ = digits[(unsigned char)*path >> 4];
        *at++ = digits[(unsigned char)*path & 15];
    }
    *at = '\0';
    return to;
}

static const char *unix_uri(struct arena *arena, const char *path) {
    const char *escaped = escape_path(arena, path);
    return escaped != NULL ? arena_printf(arena, "nbd+unix:///?socket=%s", escaped) : NULL;
}

/* Pairs are in the order of their names. `uri` is the nearest way, `tls_uri` the one over TLS. */
static bool keep_connection(struct op *op, const struct exports_added *added,
                            const struct attachment_ways *ways) {
    struct text_pair pairs[5];
    struct text_pairs all = {pairs, 0};
    struct arena *arena = &op->arena;
    const char *tls_uri = NULL;
    const char *uri = NULL;
    if (added->address != NULL) {
        char id[UUID_TEXT_SIZE];
        tls_uri = arena_printf(arena, "nbds://%s/%s", added->address,
                               uuid_format(&op->record.object, id));
        pairs[all.count++] = (struct text_pair){"certificate", format_digests(arena, ways)};
    }
    if (added->path != NULL)
        pairs[all.count++] = (struct text_pair){"path", added->path};
    pairs[all.count++] = (struct text_pair){
        "size_bytes", arena_printf(arena, "%llu", (unsigned long long)added->size_bytes)};
    if (added->address != NULL)
        pairs[all.count++] = (struct text_pair){"tls_uri", tls_uri};
    uri = added->path == NULL ? tls_uri : unix_uri(arena, added->path);
    pairs[all.count++] = (struct text_pair){"uri", uri};
    for (uint32_t i = 0; i < all.count; i++)
        if (pairs[i].value == NULL)
            return false;
    op->protocol = ATTACHMENT_NBD;
    op->note = make_note(arena, ways);
    return op->note != NULL && pairs_keep(arena, &all, &op->connection);
}

static void on_added(void *arg, const struct exports_added *added, const struct err *err) {
    struct op *op = arg;
    struct err trouble = *err;
    const struct attachment_ways *ways = op->scratch;
    if (trouble.code == ERR_NONE && !keep_connection(op, added, ways))
        err_set(&trouble, ERR_NO_MEMORY, "no memory for the connection");
    op_step_done(op, &trouble);
}

static bool export_start(struct op *op, const struct attachment_record *record,
                         const struct host_record *host, struct err *err) {
    struct exports_spec spec;
    struct attachment_ways *ways = op->scratch;
    if (ways == NULL)
        op->scratch = ways = arena_alloc(&op->arena, sizeof *ways);
    if (ways == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the connection");
    if (!attachment_ways(op->core, host, ways, err))
        return false;
    if (op->core->no_exports.code != ERR_NONE)
        return err_set(err, op->core->no_exports.code, "%s", op->core->no_exports.text);
    make_spec(record, name_of(op->core, record, &op->step_arena), ways, &spec);
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "core/objects.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/validate.h"

bool object_read(struct op *op, enum core_noun noun, const char *reference, void *ret_record,
                 uint64_t *ret_revision, struct err *err) {
    struct sluice_uuid id;
    return core_resolve(op->core, noun, reference, &id, err) &&
           store_get(op->core->catalog, noun, &id, &op->arena, ret_record, ret_revision, err);
}

static const char *record_name(enum core_noun noun, const void *record) {
    switch (noun) {
    case CORE_POOL:
        return ((const struct pool_record *)record)->name;
    case CORE_VOLUME:
        return ((const struct volume_record *)record)->name;
    case CORE_SNAPSHOT:
        return ((const struct snapshot_record *)record)->name;
    case CORE_HOST:
        return ((const struct host_record *)record)->name;
    case CORE_TOKEN:
        return ((const struct token_record *)record)->name;
    default:
        return "";
    }
}

bool target_read(struct op *op, enum core_noun noun, const char *reference, void *ret_record,
                 uint64_t *ret_revision, struct err *err) {
    struct sluice_uuid id;
    if (!core_resolve(op->core, noun, reference, &id, err) ||
        !store_get(op->core->catalog, noun, &id, &op->arena, ret_record, ret_revision, err))
        return false;
    op_set_object(op, &id, record_name(noun, ret_record));
    return revision_matches(op, *ret_revision, err);
}

bool object_again(struct op *op, enum core_noun noun, void *ret_record, uint64_t *ret_revision,
                  struct err *err) {
    return store_get(op->core->catalog, noun, &op->record.object, &op->step_arena, ret_record,
                     ret_revision, err);
}

bool object_available(enum core_noun noun, const char *name, const char *state, struct err *err) {
    if (strcmp(state, "available") == 0)
        return true;
    if (strcmp(state, STATE_MISSING) == 0)
        return err_set(err, ERR_STATE,
                       "%s %s is missing: its backend does not have it; it is available again when "
                       "the backend has it again, or can be deleted%s",
                       core_noun_name(noun), name,
                       noun == CORE_VOLUME ? ", or unmanaged, which only forgets it" : "");
    return err_set(err, ERR_STATE, "%s %s is %s", core_noun_name(noun), name, state);
}

bool op_keep_state(struct op *op, const char *state, struct err *err) {
    const char *kept = arena_strdup(&op->arena, state);
    if (kept == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    op->record.before = (struct blob){(const uint8_t *)kept, (uint32_t)strlen(kept)};
    return true;
}

const char *op_kept_state(const struct op *op) {
    const struct blob *kept = &op->record.before;
    bool missing =
        kept->length == strlen(STATE_MISSING) && memcmp(kept->at, STATE_MISSING, kept->length) == 0;
    return missing ? STATE_MISSING : "available";
}

void op_set_object(struct op *op, const struct sluice_uuid *id, const char *name) {
    op->record.object = *id;
    op->record.object_name = arena_strdup(&op->arena, name);
    if (op->record.object_name == NULL)
        op->record.object_name = "";
}

bool op_set_pool(struct op *op, const struct sluice_uuid *id, struct err *err) {
    struct pool *pool = pool_find(op->core, id);
    if (pool == NULL) {
        char text[UUID_TEXT_SIZE];
        return err_set(err, ERR_NOT_FOUND, "there is no pool %s", uuid_format(id, text));
    }
    if (!pool_takes_work(pool, err) || !op_lock(op, LOCK_WORK, id, false, err))
        return false;
    op->pool = pool;
    op->record.pool = *id;
    return true;
}

void op_recall_pool(struct op *op) {
    op->pool = pool_find(op->core, &op->record.pool);
    (void)op_lock(op, LOCK_WORK, &op->record.pool, false, NULL);
}

bool count_change(struct op *op, struct catalog_txn *txn, enum core_noun noun,
                  const struct sluice_uuid *id, size_t member, int by, struct err *err) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
        struct host_record host;
    } before, after;
    uint64_t revision;
    struct err trouble = ERR_INIT;
    if (!store_get(op->core->catalog, noun, id, &op->step_arena, &before, &revision, &trouble))
        return trouble.code == ERR_NOT_FOUND || err_set(err, trouble.code, "%s", trouble.text);
    after = before;
    uint32_t *count = (uint32_t *)((char *)&after + member);
    *count += (uint32_t)by;
    store_change(txn, noun, &before, revision, &after);
    return true;
}

static bool uncount_attachment(struct op *op, struct catalog_txn *txn,
                               const struct attachment_record *record, struct err *err) {
    bool ok = uuid_is_zero(&record->snapshot)
                  ? count_change(op, txn, CORE_VOLUME, &record->volume,
                                 offsetof(struct volume_record, attachments), -1, err)
                  : count_change(op, txn, CORE_SNAPSHOT, &record->snapshot,
                                 offsetof(struct snapshot_record, attachments), -1, err);
    return ok && count_change(op, txn, CORE_HOST, &record->host,
                              offsetof(struct host_record, attachments), -1, err);
}

bool object_remove(struct op *op, struct catalog_txn *txn, enum core_noun noun, const void *record,
                   uint64_t revision, struct err *err) {
    store_remove(txn, noun, record, revision);
    if (noun == CORE_ATTACHMENT)
        return uncount_attachment(op, txn, record, err);
    if (noun == CORE_SNAPSHOT)
        return count_change(op, txn, CORE_VOLUME, &((const struct snapshot_record *)record)->volume,
                            offsetof(struct volume_record, snapshots), -1, err);
    return true;
}

bool name_free(struct op *op, enum core_noun noun, const struct sluice_uuid *scope,
               const char *name, struct err *err) {
    struct sluice_uuid other;
    struct err trouble = ERR_INIT;
    if (!store_find(op->core->catalog, noun, scope, name, &other, &trouble))
        return trouble.code == ERR_NONE || err_set(err, trouble.code, "%s", trouble.text);
    char text[UUID_TEXT_SIZE];
    return err_set(err, ERR_EXISTS, "there is a %s named %s already: %s", core_noun_name(noun),
                   name, uuid_format(&other, text));
}

bool object_relabel(struct op *op, enum core_noun noun, const struct sluice_uuid *scope,
                    const struct labels_update_params *params, const char **name,
                    struct text_pairs *labels, struct err *err) {
    const struct text_pairs before = *labels;
    if (!valid_labels(op, &params->labels, err))
        return false;
    if (params->name[0] != '\0' && strcmp(params->name, *name) != 0) {
        if (!valid_name(op, "name", params->name, RECORD_NAME_MAX, err) ||
            !name_free(op, noun, scope, params->name, err))
            return false;
        *name = params->name;
    }
    return pairs_merge(&op->arena, &before, &params->labels, RECORD_LABELS_MAX, labels, err);
}

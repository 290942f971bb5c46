/* SPDX-License-Identifier: Apache-2.0
 *
 * of_host.c: the operations of hosts.
 */
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/validate.h"

#define IDENTITY_NAME_MAX 31
#define IDENTITY_VALUE_MAX 511
#define NO_GROUP "-" /* in a change: out of its group; an empty text leaves it as it is */

static bool valid_identities(struct op *op, const struct text_pairs *identities, struct err *err) {
    for (uint32_t i = 0; i < identities->count; i++) {
        const char *name = identities->at[i].name, *value = identities->at[i].value;
        size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_");
        if (length == 0 || length > IDENTITY_NAME_MAX || name[length] != '\0')
            return op_violation(
                op, err, "identities",
                "the kind of an identity is 1 to %d of a-z 0-9 - _ (user, uid, iqn)",
                IDENTITY_NAME_MAX);
        if (strlen(value) > IDENTITY_VALUE_MAX || !text_is_utf8(value, strlen(value)))
            return op_violation(op, err, "identities", "the value of %s is longer than %d bytes",
                                name, IDENTITY_VALUE_MAX);
    }
    return true;
}

/* Like a label's value: for people and programs to choose. */
static bool valid_group(struct op *op, const char *group, struct err *err) {
    return group[0] == '\0' || valid_name(op, "group", group, RECORD_NAME_MAX, err);
}

bool host_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct host_create_params *params = op->params;
    struct sluice_uuid id = uuid_new();
    if (!valid_name(op, "name", params->name, RECORD_NAME_MAX, err) ||
        !valid_labels(op, &params->labels, err) ||
        !valid_identities(op, &params->identities, err) || !valid_group(op, params->group, err) ||
        !name_free(op, CORE_HOST, NULL, params->name, err))
        return false;
    struct host_record record = {
        .id = id,
        .name = params->name,
        .group = params->group,
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    if (!pairs_keep(&op->arena, &params->labels, &record.labels) ||
        !pairs_keep(&op->arena, &params->identities, &record.identities))
        return err_set(err, ERR_NO_MEMORY, "no memory");
    op_set_object(op, &id, params->name);
    store_add(txn, CORE_HOST, &record);
    return true;
}
NO_STEPS(host_create)

bool host_update_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct host_update_params *params = op->params;
    struct host_record before, after;
    uint64_t revision;
    if (!target_read(op, CORE_HOST, params->target, &before, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &before.id, true, err) ||
        !valid_labels(op, &params->labels, err) ||
        !valid_identities(op, &params->identities, err) || !valid_group(op, params->group, err))
        return false;
    if ((params->identities.count > 0 || params->group[0] != '\0') && before.attachments > 0)
        return err_set(err, ERR_STATE,
                       "host %s has %u attachments under its present identities and group: delete "
                       "them first",
                       before.name, before.attachments);
    after = before;
    if (params->group[0] != '\0')
        after.group = strcmp(params->group, NO_GROUP) != 0 ? params->group : "";
    after.updated_at = clock_wall_ms();
    if (!pairs_merge(&op->arena, &before.labels, &params->labels, RECORD_LABELS_MAX, &after.labels,
                     err) ||
        !pairs_merge(&op->arena, &before.identities, &params->identities, RECORD_IDENTITIES_MAX,
                     &after.identities, err))
        return false;
    store_change(txn, CORE_HOST, &before, revision, &after);
    return true;
}
NO_STEPS(host_update)

bool host_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct host_record record;
    uint64_t revision;
    if (!target_read(op, CORE_HOST, params->target, &record, &revision, err) ||
        !op_lock(op, LOCK_OBJECT, &record.id, true, err))
        return false;
    if (record.attachments > 0)
        return err_set(err, ERR_STATE, "host %s has %u attachments: delete them first", record.name,
                       record.attachments);
    store_remove(txn, CORE_HOST, &record, revision);
    return true;
}
NO_STEPS(host_delete)

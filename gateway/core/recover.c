/* SPDX-License-Identifier: Apache-2.0
 *
 * recover.c: the engine's life, and the operations that had not ended when the gateway did.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/uuid.h"
#include "core/engine_state.h"
#include "core/state.h"
#include "core/store.h"

bool engine_open(struct core *core, struct engine **ret, struct err *err) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the engine");
    engine->core = core;
    *ret = engine;
    return true;
}

struct found {
    struct sluice_uuid *at;
    uint32_t count;
};

static bool on_active(void *arg, const struct catalog_entry *entry) {
    struct found *found = arg;
    size_t prefix = strlen(KEY_ACTIVE);
    if (entry->key_length == prefix + sizeof found->at[0].bytes)
        memcpy(found->at[found->count++].bytes, entry->key + prefix, sizeof found->at[0].bytes);
    return found->count < ENGINE_OPERATIONS_MAX;
}

/* An operation of a kind that this version does not know, or whose parameters do not decode, is
 * left in the catalogue for a version that can: ending it would be a guess. */
static bool load(struct op *op, const struct sluice_uuid *id, struct err *err) {
    if (!store_get(op->core->catalog, CORE_OPERATION, id, &op->arena, &op->record, NULL, err))
        return false;
    op->kind = core_kind_find(op->record.kind);
    if (op->kind == CORE_KINDS)
        return err_set(err, ERR_CORRUPT, "operation of an unknown kind %s", op->record.kind);
    op->row = kind_row(op->kind);
    if (op->row->step_count == 0)
        return err_set(err, ERR_CORRUPT, "%s has no steps to run", op->record.kind);
    const struct shape *shape = core_kind_params(op->kind);
    void *params = arena_alloc(&op->arena, shape->size);
    if (params == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for an operation");
    op->params = params;
    return shape_decode(shape, op->record.params.at, op->record.params.length, &op->arena, params,
                        err);
}

static bool recover(struct engine *engine, const struct sluice_uuid *id, struct err *err) {
    struct op *op = op_create(engine, KIND_volume_create);
    if (op == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for an operation");
    if (!load(op, id, err)) {
        char text[UUID_TEXT_SIZE];
        err_context(err, "operation %s", uuid_format(id, text));
        op_destroy(op);
        return false;
    }
    op->state->undoing = strcmp(op->record.state, "undoing") == 0;
    op->row->recall(op);
    op_list(op);
    engine_begin(op);
    return true;
}

bool engine_recover(struct engine *engine, struct err *err) {
    struct found found = {calloc(ENGINE_OPERATIONS_MAX, sizeof *found.at), 0};
    if (found.at == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for recovery");
    bool ok = catalog_scan(engine->core->catalog, KEY_ACTIVE, strlen(KEY_ACTIVE), NULL, 0, false,
                           on_active, &found, err);
    for (uint32_t i = 0; ok && i < found.count; i++)
        ok = recover(engine, &found.at[i], err);
    free(found.at);
    return ok;
}

/* Operations are not ended: the next start finds them. Only the memory goes. */
void engine_close(struct engine *engine) {
    if (engine == NULL)
        return;
    engine->closing = true;
    struct op_state *state, *next;
    HASH_ITER(hh, engine->running, state, next) op_destroy(state->op);
    CHECK(engine->submitting == 0);
    free(engine);
}

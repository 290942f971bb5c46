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
#include <sluice/types.h>

bool engine_open(struct core *core, struct engine **ret, struct err *err) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the engine");
    engine->core = core;
    LIST_INIT(&engine->submissions);
    *ret = engine;
    return true;
}

struct found {
    struct sluice_uuid *at;
    size_t count, capacity;
    bool no_memory;
};

static bool on_active(void *arg, const struct catalog_entry *entry) {
    struct found *found = arg;
    size_t prefix = strlen(KEY_ACTIVE);
    if (entry->key_length != prefix + sizeof found->at[0].bytes)
        return true;
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct sluice_uuid *at = realloc(found->at, capacity * sizeof *at);
        found->no_memory = at == NULL;
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    memcpy(found->at[found->count++].bytes, entry->key + prefix, sizeof found->at[0].bytes);
    return true;
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

static bool recall(struct engine *engine, const struct sluice_uuid *id, struct err *err) {
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
    return true;
}

static void tell_left(struct core *core, const struct err *err) {
    if (core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "recovery", err->text);
}

/* All of them have their locks before the first of them goes on. */
bool engine_recover(struct engine *engine, struct err *err) {
    struct found found = {0};
    bool ok = catalog_scan(engine->core->catalog, KEY_ACTIVE, strlen(KEY_ACTIVE), NULL, 0, false,
                           on_active, &found, err);
    if (found.no_memory)
        ok = err_set(err, ERR_NO_MEMORY, "no memory for recovery");
    for (size_t i = 0; ok && i < found.count; i++) {
        struct err trouble = ERR_INIT;
        if (recall(engine, &found.at[i], &trouble))
            continue;
        tell_left(engine->core, &trouble);
        ok = trouble.code != ERR_NO_MEMORY || err_set(err, trouble.code, "%s", trouble.text);
    }
    for (size_t i = 0; ok && i < found.count; i++) {
        struct op *op = engine_find(engine, &found.at[i]);
        if (op != NULL)
            engine_begin(op);
    }
    free(found.at);
    return ok;
}

/* Operations are not ended: the next start finds them. Only the memory goes. */
void engine_close(struct engine *engine) {
    if (engine == NULL)
        return;
    struct op_state *state, *next;
    HASH_ITER(hh, engine->running, state, next) op_destroy(state->op);
    watches_drop(engine);
    CHECK(LIST_EMPTY(&engine->submissions) && engine->accepting == 0 && engine->locks == NULL);
    free(engine);
}

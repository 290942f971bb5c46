/* SPDX-License-Identifier: Apache-2.0
 *
 * locks.c: which operations may run at the same time. A lock refuses, it never waits: whoever asked
 * hears at once who is in the way.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/uuid.h"
#include "core/engine_state.h"

struct lock_key {
    struct sluice_uuid id;
    uint32_t space;
};

struct op_lock_entry {
    struct lock_key key;
    UT_hash_handle hh;
    uint32_t shared;
    struct op *exclusive;
    struct op *latest; /* one of the holders, to be named */
};

static struct op_lock_entry *find(struct engine *engine, enum lock_space space,
                                  const struct sluice_uuid *id) {
    struct lock_key key;
    memset(&key, 0, sizeof key);
    key.id = *id;
    key.space = space;
    struct op_lock_entry *entry;
    HASH_FIND(hh, engine->locks, &key, sizeof key, entry);
    return entry;
}

static bool refuse(const struct op_lock_entry *entry, struct err *err) {
    const struct op *holder = entry->exclusive != NULL ? entry->exclusive : entry->latest;
    if (holder == NULL)
        return err_set(err, ERR_BUSY, "%u operations are running on it: wait for them",
                       entry->shared);
    char text[UUID_TEXT_SIZE];
    return err_set(err, ERR_BUSY, "operation %s (%s) is running on %s: wait for it, or cancel it",
                   uuid_format(&holder->record.id, text), holder->row->name,
                   holder->record.object_name);
}

/* Its index among the operation's locks, or lock_count. */
static uint32_t held_by(const struct op *op, const struct op_lock_entry *entry) {
    uint32_t i = 0;
    while (i < op->state->lock_count && op->state->locks[i].entry != entry)
        i++;
    return i;
}

/* Who holds it already has it; a shared one becomes exclusive where nobody shares it. */
static bool lock_again(struct op *op, struct op_lock_entry *entry, uint32_t index, bool exclusive,
                       struct err *err) {
    if (!exclusive || op->state->locks[index].exclusive)
        return true;
    if (entry->shared > 1)
        return refuse(entry, err);
    entry->shared = 0;
    entry->exclusive = op;
    op->state->locks[index].exclusive = true;
    return true;
}

bool op_lock(struct op *op, enum lock_space space, const struct sluice_uuid *id, bool exclusive,
             struct err *err) {
    struct engine *engine = op->state->engine;
    struct op_lock_entry *entry = find(engine, space, id);
    uint32_t index = entry != NULL ? held_by(op, entry) : op->state->lock_count;
    if (index < op->state->lock_count)
        return lock_again(op, entry, index, exclusive, err);
    if (entry != NULL && (entry->exclusive != NULL || (exclusive && entry->shared > 0)))
        return refuse(entry, err);
    CHECK(op->state->lock_count < OP_LOCKS_MAX);
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry);
        if (entry == NULL)
            return err_set(err, ERR_NO_MEMORY, "no memory for a lock");
        entry->key.id = *id;
        entry->key.space = space;
        HASH_ADD(hh, engine->locks, key, sizeof entry->key, entry);
    }
    if (exclusive)
        entry->exclusive = op;
    else
        entry->shared++;
    entry->latest = op;
    op->state->locks[op->state->lock_count].entry = entry;
    op->state->locks[op->state->lock_count].exclusive = exclusive;
    op->state->lock_count++;
    return true;
}

void locks_release(struct engine *engine, struct op *op) {
    for (uint32_t i = 0; i < op->state->lock_count; i++) {
        struct op_lock_entry *entry = op->state->locks[i].entry;
        if (op->state->locks[i].exclusive)
            entry->exclusive = NULL;
        else
            entry->shared--;
        if (entry->exclusive == NULL && entry->shared == 0) {
            HASH_DEL(engine->locks, entry);
            free(entry);
        } else if (entry->latest == op) {
            entry->latest = entry->exclusive;
        }
    }
    op->state->lock_count = 0;
}

uint32_t engine_lockers(struct engine *engine, enum lock_space space,
                        const struct sluice_uuid *id) {
    const struct op_lock_entry *entry = find(engine, space, id);
    return entry == NULL ? 0 : entry->shared;
}

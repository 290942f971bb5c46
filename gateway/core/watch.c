/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c: who waits for the end of an operation, and how it ended.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/check.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/engine_state.h"
#include "core/state.h"
#include "core/store.h"

struct core_watch {
    TAILQ_ENTRY(core_watch) entries;
    struct engine *engine;
    struct sluice_uuid operation;
    void (*on_ended)(void *arg);
    void *arg;
    struct watch_entry *entry; /* NULL once fired */
    uv_timer_t timer;
    bool gone; /* unwatched or fired: only the timer's close is awaited */
};

struct watch_entry {
    struct sluice_uuid operation;
    UT_hash_handle hh;
    TAILQ_HEAD(, core_watch) watches;
};

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void forget(struct core_watch *watch) {
    if (watch->entry != NULL) {
        TAILQ_REMOVE(&watch->entry->watches, watch, entries);
        if (TAILQ_EMPTY(&watch->entry->watches)) {
            HASH_DEL(watch->engine->watches, watch->entry);
            free(watch->entry);
        }
        watch->entry = NULL;
    }
}

static void on_fire(uv_timer_t *timer) {
    struct core_watch *watch = timer->data;
    void (*on_ended)(void *) = watch->on_ended;
    void *arg = watch->arg;
    watch->gone = true;
    uv_close((uv_handle_t *)timer, on_closed);
    on_ended(arg);
}

static struct watch_entry *entry_for(struct engine *engine, const struct sluice_uuid *operation) {
    struct watch_entry *entry;
    HASH_FIND(hh, engine->watches, operation, sizeof *operation, entry);
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry);
        if (entry == NULL)
            return NULL;
        entry->operation = *operation;
        TAILQ_INIT(&entry->watches);
        HASH_ADD(hh, engine->watches, operation, sizeof entry->operation, entry);
    }
    return entry;
}

struct core_watch *core_watch_operation(struct core *core, const struct sluice_uuid *operation,
                                        void (*on_ended)(void *arg), void *arg) {
    struct core_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    watch->engine = core->engine;
    watch->operation = *operation;
    watch->on_ended = on_ended;
    watch->arg = arg;
    uv_timer_init(core->loop, &watch->timer);
    watch->timer.data = watch;
    if (engine_find(core->engine, operation) != NULL)
        watch->entry = entry_for(core->engine, operation);
    if (watch->entry != NULL)
        TAILQ_INSERT_TAIL(&watch->entry->watches, watch, entries);
    else
        uv_timer_start(&watch->timer, on_fire, 0, 0);
    return watch;
}

void core_unwatch(struct core_watch *watch) {
    if (watch == NULL || watch->gone)
        return;
    watch->gone = true;
    forget(watch);
    uv_close((uv_handle_t *)&watch->timer, on_closed);
}

void watches_fire(struct engine *engine, const struct sluice_uuid *operation) {
    struct watch_entry *entry;
    HASH_FIND(hh, engine->watches, operation, sizeof *operation, entry);
    if (entry == NULL)
        return;
    HASH_DEL(engine->watches, entry);
    struct core_watch *watch;
    while ((watch = TAILQ_FIRST(&entry->watches)) != NULL) {
        TAILQ_REMOVE(&entry->watches, watch, entries);
        watch->entry = NULL;
        uv_timer_start(&watch->timer, on_fire, 0, 0);
    }
    free(entry);
}

void watches_drop(struct engine *engine) {
    struct watch_entry *entry, *next;
    HASH_ITER(hh, engine->watches, entry, next) {
        struct core_watch *watch;
        while ((watch = TAILQ_FIRST(&entry->watches)) != NULL) {
            TAILQ_REMOVE(&entry->watches, watch, entries);
            watch->entry = NULL;
        }
        HASH_DEL(engine->watches, entry);
        free(entry);
    }
}

bool core_outcome(struct core *core, const struct sluice_uuid *operation, struct core_outcome *ret,
                  struct err *err) {
    struct arena arena;
    arena_init(&arena, ENGINE_OP_MEMORY);
    struct operation_record record;
    bool ok = store_get(core->catalog, CORE_OPERATION, operation, &arena, &record, NULL, err);
    if (ok) {
        memset(ret, 0, sizeof *ret);
        /* Readers may see the last commit before its callback: until then the operation still holds
         * its locks, and who heard that it has ended would be refused for what it does next. */
        ret->ended = record.ended_at != 0 && engine_find(core->engine, operation) == NULL;
        ret->kind = core_kind_find(record.kind);
        ret->noun = core_noun_find(record.noun);
        ret->object = record.object;
        text_copy(ret->object_name, sizeof ret->object_name, record.object_name);
        if (record.error != ERR_NONE)
            err_set(&ret->err, (enum err_code)record.error, "%s", record.error_text);
    }
    arena_release(&arena);
    return ok;
}

/* NULL: it has ended, or is not there; err says so. */
static struct op *find_running(struct core *core, const char *operation, struct err *err) {
    struct sluice_uuid id;
    struct core_outcome outcome;
    if (!core_resolve(core, CORE_OPERATION, operation, &id, err))
        return NULL;
    struct op *op = engine_find(core->engine, &id);
    if (op == NULL && core_outcome(core, &id, &outcome, err))
        err_set(err, ERR_STATE, "the operation has ended");
    return op;
}

bool core_cancel(struct core *core, const char *operation, const struct core_principal *principal,
                 struct err *err) {
    struct op *op = find_running(core, operation, err);
    if (op == NULL || op->state->cancelling)
        return op != NULL;
    if (!op_cancellable(op))
        return err_set(
            err, ERR_STATE,
            "%s cannot be taken back any more: it runs to its end; one that does not get "
            "on can be abandoned",
            op->row->name);
    op->state->cancelling = true;
    text_copy(op->state->cancelled_by, sizeof op->state->cancelled_by, principal->name);
    op_wake(op);
    return true;
}

bool core_abandon(struct core *core, const char *operation, const struct core_principal *principal,
                  struct err *err) {
    struct op *op = find_running(core, operation, err);
    if (op == NULL)
        return false;
    if (op_give_up(op, principal->name))
        return true;
    return err_set(err, ERR_STATE,
                   "%s waits for neither its driver nor another try now: look again, or restart "
                   "the pool",
                   op->row->name);
}

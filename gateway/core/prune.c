/* SPDX-License-Identifier: Apache-2.0 */
#include "core/prune.h"

#include <string.h>

#include "base/clock.h"
#include "core/records.h"
#include "core/state.h"
#include "core/store.h"

#define PRUNE_EVERY_MS 15000
#define PRUNE_LOOKS 2000  /* records looked at in one go */
#define PRUNE_DELETES 100 /* in one transaction, below CATALOG_CHANGES_MAX */
#define KEEP_KEYS_S (24 * 3600)
#define KEEP_DEFAULT_S (7 * 24 * 3600)

struct pruning {
    struct catalog_txn *txn;
    const struct shape *shape;
    size_t time_offset; /* of the TIME that decides; 0 in it: not to be pruned */
    uint64_t before_ms;
    uint32_t looks, deletes;
    bool in_order_of_age, stopped;
    struct key *cursor; /* where a prefix that is not in order of age was left; NULL otherwise */
};

static bool on_record(void *arg, const struct catalog_entry *entry) {
    struct pruning *pruning = arg;
    if (pruning->looks++ >= PRUNE_LOOKS || pruning->deletes >= PRUNE_DELETES) {
        pruning->stopped = true;
        return false;
    }
    if (pruning->cursor != NULL) {
        memcpy(pruning->cursor->at, entry->key, entry->key_length);
        pruning->cursor->length = entry->key_length;
    }
    union {
        struct key_record key;
        struct operation_record operation;
        struct event_record event;
    } record;
    struct arena arena;
    arena_init(&arena, 512 * 1024);
    uint64_t at = 0;
    if (shape_decode(pruning->shape, entry->value.at, entry->value.length, &arena, &record, NULL))
        memcpy(&at, (const char *)&record + pruning->time_offset, sizeof at);
    arena_release(&arena);
    if (at != 0 && at < pruning->before_ms) {
        catalog_delete(pruning->txn, entry->key, entry->key_length);
        pruning->deletes++;
        return true;
    }
    return at == 0 || !pruning->in_order_of_age;
}

static void on_pruned(void *arg, uint64_t revision, const struct err *err) {
    (void)arg, (void)revision, (void)err; /* what was not deleted now is found again */
}

static void prune(struct core *core, const char *prefix, const struct shape *shape,
                  size_t time_offset, uint64_t keep_s, struct key *cursor) {
    uint64_t now = clock_wall_ms();
    struct pruning pruning = {
        .txn = catalog_begin(core->catalog),
        .shape = shape,
        .time_offset = time_offset,
        .before_ms = now > keep_s * 1000 ? now - keep_s * 1000 : 0,
        .in_order_of_age = cursor == NULL,
        .cursor = cursor,
    };
    catalog_finishing(pruning.txn);
    bool resumed = cursor != NULL && cursor->length > 0;
    (void)catalog_scan(core->catalog, prefix, strlen(prefix), resumed ? cursor->at : NULL,
                       resumed ? cursor->length : 0, false, on_record, &pruning, NULL);
    if (cursor != NULL && !pruning.stopped)
        cursor->length = 0; /* all were seen: from the beginning next time */
    if (pruning.deletes > 0)
        catalog_submit(pruning.txn, on_pruned, NULL);
    else
        catalog_drop(pruning.txn);
}

static void on_prune(uv_timer_t *timer) {
    struct core *core = timer->data;
    const struct core_options *options = &core->options;
    prune(core, KEY_IDEMPOTENCY, &key_record_shape, offsetof(struct key_record, created_at),
          KEEP_KEYS_S, &core->prune_cursor);
    prune(core, "o/", &operation_record_shape, offsetof(struct operation_record, ended_at),
          options->keep_operations_s != 0 ? options->keep_operations_s : KEEP_DEFAULT_S, NULL);
    prune(core, KEY_EVENTS, &event_record_shape, offsetof(struct event_record, at),
          options->keep_events_s != 0 ? options->keep_events_s : KEEP_DEFAULT_S, NULL);
}

void prune_start(struct core *core) {
    uv_timer_start(&core->prune_timer, on_prune, PRUNE_EVERY_MS, PRUNE_EVERY_MS);
    uv_unref((uv_handle_t *)&core->prune_timer);
}

void prune_stop(struct core *core) {
    uv_timer_stop(&core->prune_timer);
}

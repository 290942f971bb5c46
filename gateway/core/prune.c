/* SPDX-License-Identifier: Apache-2.0 */
#include "core/prune.h"

#include <string.h>

#include "base/clock.h"
#include "core/records.h"
#include "core/state.h"
#include "core/store.h"

#define PRUNE_EVERY_MS 15000
/* Where more is left: soon, or a busy gateway would fill faster than it is pruned. */
#define PRUNE_AGAIN_MS 50
#define PRUNE_LOOKS 2000  /* records looked at in one go: a few milliseconds */
#define PRUNE_DELETES 100 /* in one transaction, below CATALOG_CHANGES_MAX */
#define KEEP_KEYS_S (24 * 3600)
/* An operation is kept longer than any key that names it, however little the configuration says. */
#define KEEP_OPERATIONS_MIN_S (KEEP_KEYS_S + 3600)
#define KEEP_DEFAULT_S (7 * 24 * 3600)
#define PRUNE_RECORD_MEMORY (512 * 1024)

/* What is pruned, and by which members of it. */
static const struct pruned {
    const char *prefix;
    const struct shape *shape;
    size_t time;  /* TIME: kept so long after that; 0 in it: kept */
    size_t young; /* TIME in order of the keys: when even that is young, all that follow are */
} rows[PRUNE_KINDS] = {
    {KEY_IDEMPOTENCY, &key_record_shape, offsetof(struct key_record, created_at), SIZE_MAX},
    {"o/", &operation_record_shape, offsetof(struct operation_record, ended_at),
     offsetof(struct operation_record, created_at)},
    {KEY_EVENTS, &event_record_shape, offsetof(struct event_record, at),
     offsetof(struct event_record, at)},
};

union record {
    struct key_record key;
    struct operation_record operation;
    struct event_record event;
};

struct pruning {
    const struct pruned *row;
    struct catalog_txn *txn;
    uint64_t before_ms;
    uint32_t looks, deletes;
    bool stopped; /* there may be more */
    struct key *cursor;
    struct arena arena;
};

static uint64_t time_at(const union record *record, size_t offset) {
    uint64_t time;
    memcpy(&time, (const char *)record + offset, sizeof time);
    return time;
}

static bool on_record(void *arg, const struct catalog_entry *entry) {
    struct pruning *pruning = arg;
    const struct pruned *row = pruning->row;
    union record record;
    if (pruning->looks++ >= PRUNE_LOOKS || pruning->deletes >= PRUNE_DELETES) {
        pruning->stopped = true;
        return false;
    }
    memcpy(pruning->cursor->at, entry->key, entry->key_length);
    pruning->cursor->length = entry->key_length;
    arena_reset(&pruning->arena);
    if (!shape_decode(row->shape, entry->value.at, entry->value.length, &pruning->arena, &record,
                      NULL))
        return true; /* of a newer version: not ours to judge */
    uint64_t at = time_at(&record, row->time);
    if (at != 0 && at < pruning->before_ms) {
        catalog_delete(pruning->txn, entry->key, entry->key_length);
        pruning->deletes++;
        return true;
    }
    return row->young == SIZE_MAX || time_at(&record, row->young) < pruning->before_ms;
}

static void on_pruned(void *arg, uint64_t revision, const struct err *err) {
    (void)arg, (void)revision, (void)err; /* what was not deleted now is found again */
}

/* true: there is more. */
static bool prune(struct core *core, const struct pruned *row, uint64_t keep_s,
                  struct key *cursor) {
    uint64_t now = clock_wall_ms();
    struct pruning pruning = {
        .row = row,
        .txn = catalog_begin(core->catalog),
        .before_ms = now > keep_s * 1000 ? now - keep_s * 1000 : 0,
        .cursor = cursor,
    };
    struct key after = *cursor;
    arena_init(&pruning.arena, PRUNE_RECORD_MEMORY);
    catalog_finishing(pruning.txn);
    (void)catalog_scan(core->catalog, row->prefix, strlen(row->prefix),
                       after.length > 0 ? after.at : NULL, after.length, false, on_record, &pruning,
                       NULL);
    arena_release(&pruning.arena);
    if (!pruning.stopped)
        cursor->length = 0; /* all were seen: from the beginning next time */
    if (pruning.deletes > 0)
        catalog_submit(pruning.txn, on_pruned, NULL);
    else
        catalog_drop(pruning.txn);
    return pruning.stopped;
}

static uint64_t or_default(uint32_t seconds) {
    return seconds != 0 ? seconds : KEEP_DEFAULT_S;
}

static void on_prune(uv_timer_t *timer) {
    struct core *core = timer->data;
    uint64_t operations_s = or_default(core->options.keep_operations_s);
    const uint64_t keep_s[PRUNE_KINDS] = {
        KEEP_KEYS_S,
        operations_s > KEEP_OPERATIONS_MIN_S ? operations_s : KEEP_OPERATIONS_MIN_S,
        or_default(core->options.keep_events_s),
    };
    bool more = false;
    for (size_t i = 0; i < PRUNE_KINDS; i++)
        more = prune(core, &rows[i], keep_s[i], &core->prune_cursors[i]) || more;
    uv_timer_start(timer, on_prune, more ? PRUNE_AGAIN_MS : PRUNE_EVERY_MS, 0);
}

void prune_start(struct core *core) {
    uv_timer_start(&core->prune_timer, on_prune, PRUNE_EVERY_MS, 0);
    uv_unref((uv_handle_t *)&core->prune_timer);
}

void prune_stop(struct core *core) {
    uv_timer_stop(&core->prune_timer);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * of_rebuild.c: making the catalogue say what a pool's backend has.
 *
 * Each run of a step is one page (reconcile.h): its differences are asked for once more by id, one
 * after the other, and what still differs is committed, REBUILD_BATCH at a time. The place in the
 * lists is kept in memory only; after a restart the walk begins again and finds less to do.
 *
 * What makes it right beside work that goes on stands in
 * docs/notes/2026-11-24-both-sides-of-a-pool.md: a record changes only if it is the one that was
 * read before the backend was asked.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/pool.h"
#include "core/reconcile.h"
#include "core/state.h"
#include <sluice/driver.h>

/* A record, its name, its index, its missing entry, its volume's count and an event each, below
 * CATALOG_CHANGES_MAX. */
#define REBUILD_BATCH 16
#define REBUILD_TRIES 20 /* conflicts of a commit: each is somebody else's change */

struct confirmed {
    const struct difference *difference;
    struct wire_volume volume; /* or */
    struct wire_snapshot snapshot;
    const char *name; /* that it gets */
};

struct rebuilding {
    enum core_noun noun;
    struct sluice_uuid only; /* zero: all volumes */
    struct sluice_uuid after;
    struct reconciled page;
    uint32_t next; /* of the page's differences */
    struct confirmed batch[REBUILD_BATCH];
    uint32_t batched, tries;
    uint32_t taken_in, missing, back;
    bool absent; /* `only` is on neither side; snapshots of it may be */
};

static void look_at_next(struct op *op);

static void end_with(struct op *op, enum err_code code, const char *text) {
    struct err err = ERR_INIT;
    err_set(&err, code, "%s", text);
    op_step_done(op, &err);
}

/* ---- the change ----------------------------------------------------------------------------- */

static bool name_in_batch(const struct rebuilding *rebuilding, const struct confirmed *of,
                          const char *name) {
    for (const struct confirmed *other = rebuilding->batch; other != of; other++)
        if (other->name != NULL && strcmp(other->name, name) == 0 &&
            uuid_equal(&other->difference->volume, &of->difference->volume))
            return true;
    return false;
}

static bool name_is_free(struct op *op, const struct rebuilding *rebuilding,
                         const struct confirmed *confirmed, const char *name) {
    const struct sluice_uuid *scope =
        rebuilding->noun == CORE_VOLUME ? &op->record.object : &confirmed->difference->volume;
    struct sluice_uuid other;
    return text_is_name(name, RECORD_NAME_MAX) && strpbrk(name, ":@") == NULL &&
           !store_find(op->core->catalog, rebuilding->noun, scope, name, &other, NULL) &&
           !name_in_batch(rebuilding, confirmed, name);
}

/* Its own where that is free, else one that nothing else can have. */
static void choose_name(struct op *op, struct catalog_txn *txn, const struct rebuilding *rebuilding,
                        struct confirmed *confirmed) {
    const char *own =
        rebuilding->noun == CORE_VOLUME ? confirmed->volume.name : confirmed->snapshot.name;
    char id[UUID_TEXT_SIZE], head[128];
    confirmed->name = own;
    if (name_is_free(op, rebuilding, confirmed, own))
        return;
    uuid_format(&confirmed->difference->id, id);
    text_copy(head, sizeof head, own);
    const char *longer = head[0] != '\0' ? arena_printf(&op->step_arena, "%s-%s", head, id) : NULL;
    confirmed->name = longer != NULL && name_is_free(op, rebuilding, confirmed, longer)
                          ? longer
                          : arena_strdup(&op->step_arena, id);
    if (confirmed->name == NULL)
        return;
    char text[ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s %s is named %s here: \"%s\" is taken, or is no name",
             core_noun_name(rebuilding->noun), id, confirmed->name, head);
    op_event(op, txn, "pool.rebuild.renamed", text);
}

static void add_volume(struct op *op, struct catalog_txn *txn, const struct confirmed *confirmed) {
    const struct wire_volume *volume = &confirmed->volume;
    const struct volume_record record = {
        .id = volume->volume,
        .pool = op->record.object,
        .name = confirmed->name,
        .state = "available",
        .size_bytes = volume->size_bytes,
        .used_bytes = volume->used_bytes != UINT64_MAX ? volume->used_bytes : 0,
        .format = volume->format,
        .source_kind = "none",
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    store_add(txn, CORE_VOLUME, &record);
}

static void add_snapshot(struct op *op, struct catalog_txn *txn,
                         const struct confirmed *confirmed) {
    const struct wire_snapshot *snapshot = &confirmed->snapshot;
    const struct snapshot_record record = {
        .id = snapshot->snapshot,
        .pool = op->record.object,
        .volume = snapshot->volume,
        .name = confirmed->name,
        .state = "available",
        .size_bytes = snapshot->size_bytes,
        .used_bytes = snapshot->used_bytes != UINT64_MAX ? snapshot->used_bytes : 0,
        .created_at = clock_wall_ms(),
        .updated_at = clock_wall_ms(),
    };
    store_add(txn, CORE_SNAPSHOT, &record);
}

/* true: the catalogue has the id meanwhile, or in another pool, which is told. */
static bool is_taken(struct op *op, struct catalog_txn *txn, enum core_noun noun,
                     const struct sluice_uuid *id) {
    struct difference now;
    struct sluice_uuid pool = {{0}};
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } record;
    char text[ERR_TEXT_MAX], id_text[UUID_TEXT_SIZE], pool_text[UUID_TEXT_SIZE];
    if (!reconcile_one(op->core, noun, id, true, &op->step_arena, &now, NULL))
        return true;
    if (now.kind == DIFFERENCE_UNKNOWN)
        return false;
    if (store_get(op->core->catalog, noun, id, &op->step_arena, &record, NULL, NULL))
        pool = noun == CORE_VOLUME ? record.volume.pool : record.snapshot.pool;
    if (!uuid_equal(&pool, &op->record.object)) {
        snprintf(text, sizeof text,
                 "%s %s is in pool %s of the catalogue already, and is left there",
                 core_noun_name(noun), uuid_format(id, id_text), uuid_format(&pool, pool_text));
        op_event(op, txn, "pool.rebuild.elsewhere", text);
    }
    return true;
}

/* The other state, if the record is still the one that was read before the backend was asked. */
static bool change_state(struct op *op, struct catalog_txn *txn, enum core_noun noun,
                         const struct difference *difference, const char *state) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } before, after;
    uint64_t revision;
    char text[ERR_TEXT_MAX];
    if (!store_get(op->core->catalog, noun, &difference->id, &op->step_arena, &before, &revision,
                   NULL) ||
        revision != difference->revision)
        return false;
    after = before;
    if (noun == CORE_VOLUME) {
        after.volume.state = state;
        after.volume.updated_at = clock_wall_ms();
    } else {
        after.snapshot.state = state;
        after.snapshot.updated_at = clock_wall_ms();
    }
    store_change(txn, noun, &before, revision, &after);
    char id[UUID_TEXT_SIZE];
    snprintf(text, sizeof text, "%s %s (%s) %s", core_noun_name(noun), difference->name,
             uuid_format(&difference->id, id),
             strcmp(state, STATE_MISSING) == 0 ? "is not on the backend any more"
                                               : "is on the backend again");
    op_event(op, txn, strcmp(state, STATE_MISSING) == 0 ? "pool.missing" : "pool.back", text);
    return true;
}

/* How many snapshots of that volume the batch takes in, from its entry `first` on; 0: an earlier
 * entry has counted them. */
static int taken_of_volume(const struct rebuilding *rebuilding, uint32_t first) {
    const struct sluice_uuid *volume = &rebuilding->batch[first].snapshot.volume;
    int count = 0;
    for (uint32_t i = 0; i < rebuilding->batched; i++) {
        const struct confirmed *other = &rebuilding->batch[i];
        if (other->name == NULL || !uuid_equal(&other->snapshot.volume, volume))
            continue;
        if (i < first)
            return 0;
        count++;
    }
    return count;
}

/* A record changes once in a transaction, so each volume's snapshots are counted together. */
static bool count_snapshots(struct op *op, struct catalog_txn *txn,
                            const struct rebuilding *rebuilding, struct err *err) {
    for (uint32_t i = 0; i < rebuilding->batched; i++) {
        const struct confirmed *confirmed = &rebuilding->batch[i];
        int count = confirmed->name != NULL ? taken_of_volume(rebuilding, i) : 0;
        if (count > 0 && !count_change(op, txn, CORE_VOLUME, &confirmed->snapshot.volume,
                                       offsetof(struct volume_record, snapshots), count, err))
            return false;
    }
    return true;
}

static void on_committed(void *arg, uint64_t revision, const struct err *err);

static void commit(struct op *op) {
    struct rebuilding *rebuilding = op->scratch;
    struct err err = ERR_INIT;
    struct catalog_txn *txn = catalog_begin(op->core->catalog);
    for (uint32_t i = 0; i < rebuilding->batched; i++) {
        struct confirmed *confirmed = &rebuilding->batch[i];
        const struct difference *difference = confirmed->difference;
        confirmed->name = NULL;
        if (difference->kind == DIFFERENCE_LOST) {
            (void)change_state(op, txn, rebuilding->noun, difference, STATE_MISSING);
        } else if (difference->kind == DIFFERENCE_BACK) {
            (void)change_state(op, txn, rebuilding->noun, difference, "available");
        } else if (!is_taken(op, txn, rebuilding->noun, &difference->id)) {
            choose_name(op, txn, rebuilding, confirmed);
            if (confirmed->name == NULL)
                err_set(&err, ERR_NO_MEMORY, "no memory for a page of volumes");
            else if (rebuilding->noun == CORE_VOLUME)
                add_volume(op, txn, confirmed);
            else
                add_snapshot(op, txn, confirmed);
        }
    }
    if (rebuilding->noun == CORE_SNAPSHOT && err.code == ERR_NONE)
        (void)count_snapshots(op, txn, rebuilding, &err);
    if (err.code == ERR_NONE) {
        catalog_submit(txn, on_committed, op);
        return;
    }
    catalog_drop(txn);
    op_step_done(op, &err);
}

static void count_batch(struct rebuilding *rebuilding) {
    for (uint32_t i = 0; i < rebuilding->batched; i++) {
        enum difference_kind kind = rebuilding->batch[i].difference->kind;
        rebuilding->missing += kind == DIFFERENCE_LOST;
        rebuilding->back += kind == DIFFERENCE_BACK;
        rebuilding->taken_in += rebuilding->batch[i].name != NULL;
    }
    rebuilding->batched = 0;
    rebuilding->tries = 0;
}

static void on_committed(void *arg, uint64_t revision, const struct err *err) {
    struct op *op = arg;
    struct rebuilding *rebuilding = op->scratch;
    (void)revision;
    if (err->code == ERR_CONFLICT && ++rebuilding->tries < REBUILD_TRIES) {
        commit(op);
    } else if (err->code != ERR_NONE) {
        op_step_done(op, err);
    } else {
        count_batch(rebuilding);
        look_at_next(op);
    }
}

/* ---- asking once more ----------------------------------------------------------------------- */

/* What the driver says of the id that it was asked for. */
static bool keep_result(struct op *op, enum core_noun noun, const void *result,
                        struct confirmed *confirmed, struct err *err) {
    const struct difference *difference = confirmed->difference;
    bool volume = noun == CORE_VOLUME;
    if (!(volume ? shape_copy(&wire_volume_shape, result, &op->step_arena, &confirmed->volume)
                 : shape_copy(&wire_snapshot_shape, result, &op->step_arena, &confirmed->snapshot)))
        return err_set(err, ERR_NO_MEMORY, "no memory for a page of %ss", core_noun_name(noun));
    if (volume ? uuid_equal(&confirmed->volume.volume, &difference->id)
               : uuid_equal(&confirmed->snapshot.snapshot, &difference->id) &&
                     uuid_equal(&confirmed->snapshot.volume, &difference->volume))
        return true;
    return err_set(err, ERR_PROTOCOL, "the driver answers for another %s than it was asked for",
                   core_noun_name(noun));
}

static void on_asked(struct op *op, const struct runner_reply *reply) {
    struct rebuilding *rebuilding = op->scratch;
    const struct difference *difference = &rebuilding->page.at[rebuilding->next - 1];
    struct confirmed *confirmed = &rebuilding->batch[rebuilding->batched];
    bool there = reply->err.code == ERR_NONE;
    if (!there && reply->err.code != ERR_NOT_FOUND) {
        op_step_done(op, &reply->err);
        return;
    }
    if (reply->pending) { /* the page is made again */
        op_again(op, reply->retry_after_ms, reply->done, reply->total, NULL);
        return;
    }
    if (there != (difference->kind != DIFFERENCE_LOST)) {
        look_at_next(op); /* it was true only for a moment */
        return;
    }
    *confirmed = (struct confirmed){.difference = difference};
    struct err err = ERR_INIT;
    if (there && !keep_result(op, rebuilding->noun, reply->result, confirmed, &err)) {
        op_step_done(op, &err);
        return;
    }
    rebuilding->batched++;
    look_at_next(op);
}

static void ask_for(struct op *op, const struct difference *difference) {
    const struct rebuilding *rebuilding = op->scratch;
    if (rebuilding->noun == CORE_VOLUME) {
        const struct wire_volume_id args = {.volume = difference->id};
        op_ask(op, pool_runner(op->pool), WIRE_VOLUME_GET, &args, on_asked);
    } else {
        const struct wire_snapshot_id args = {.volume = difference->volume,
                                              .snapshot = difference->id};
        op_ask(op, pool_runner(op->pool), WIRE_SNAPSHOT_GET, &args, on_asked);
    }
}

/* Goes on behind what was looked at last. Each call of it comes from the loop. */
static void look_at_next(struct op *op) {
    struct rebuilding *rebuilding = op->scratch;
    struct reconciled *page = &rebuilding->page;
    while (rebuilding->next < page->count && page->at[rebuilding->next].kind == DIFFERENCE_MISSING)
        rebuilding->next++;
    bool more = rebuilding->next < page->count;
    if (rebuilding->batched == REBUILD_BATCH || (!more && rebuilding->batched > 0)) {
        commit(op);
    } else if (more) {
        ask_for(op, &page->at[rebuilding->next++]);
    } else if (page->last && rebuilding->absent && rebuilding->noun == CORE_SNAPSHOT &&
               uuid_is_zero(&rebuilding->after) && page->count + page->catalogued == 0) {
        end_with(op, ERR_NOT_FOUND, "neither the backend nor the catalogue has such a volume");
    } else if (page->last) {
        op_step_done(op, NULL);
    } else {
        rebuilding->after = page->upto;
        op_again(op, 0, 0, 0, NULL);
    }
}

/* ---- pages ---------------------------------------------------------------------------------- */

static struct rebuilding *walk_of(struct op *op, enum core_noun noun) {
    const struct pool_rebuild_params *params = op->params;
    struct rebuilding *rebuilding = op->scratch;
    if (rebuilding == NULL) {
        op->scratch = rebuilding = arena_alloc(&op->arena, sizeof *rebuilding);
        if (rebuilding == NULL) {
            end_with(op, ERR_NO_MEMORY, "no memory for a page of volumes");
            return NULL;
        }
        memset(rebuilding, 0, sizeof *rebuilding);
        rebuilding->noun = noun;
        if (params->volume[0] != '\0')
            (void)uuid_parse(params->volume, &rebuilding->only);
    }
    if (rebuilding->noun != noun) {
        rebuilding->noun = noun;
        rebuilding->after = (struct sluice_uuid){{0}};
    }
    rebuilding->next = rebuilding->batched = rebuilding->tries = 0;
    rebuilding->page.count = rebuilding->page.catalogued = 0;
    return rebuilding;
}

static void on_list(struct op *op, const void *result) {
    struct rebuilding *rebuilding = op->scratch;
    struct err err = ERR_INIT;
    const struct sluice_uuid *only = uuid_is_zero(&rebuilding->only) ? NULL : &rebuilding->only;
    if (reconcile_page(op->core, rebuilding->noun, &op->record.object, only, &rebuilding->after,
                       result, &op->step_arena, &rebuilding->page, &err))
        look_at_next(op);
    else
        op_step_done(op, &err);
}

static void ask_list(struct op *op, const struct rebuilding *rebuilding, enum wire_number number) {
    const struct wire_list args = {
        .after = rebuilding->after, .volume = rebuilding->only, .capacity = WIRE_PAGE_ENTRIES};
    op_call(op, pool_runner(op->pool), number, &args, on_list);
}

/* One volume by its id: whatever the backend says of it is news, or it is not there. */
static void on_only(struct op *op, const struct runner_reply *reply) {
    struct rebuilding *rebuilding = op->scratch;
    struct err err = ERR_INIT;
    struct difference *difference = &rebuilding->page.at[0];
    bool there = reply->err.code == ERR_NONE;
    if (!there && reply->err.code != ERR_NOT_FOUND) {
        op_step_done(op, &reply->err);
        return;
    }
    if (!reconcile_one(op->core, CORE_VOLUME, &rebuilding->only, there, &op->step_arena, difference,
                       &err)) {
        op_step_done(op, &err);
    } else {
        rebuilding->absent = !there && difference->revision == 0;
        rebuilding->page.count = difference->kind != DIFFERENCE_NONE;
        rebuilding->page.last = true;
        look_at_next(op);
    }
}

void pool_rebuild_volumes_run(struct op *op) {
    struct rebuilding *rebuilding = walk_of(op, CORE_VOLUME);
    if (rebuilding == NULL)
        return;
    if (uuid_is_zero(&rebuilding->only)) {
        ask_list(op, rebuilding, WIRE_VOLUME_LIST);
        return;
    }
    const struct wire_volume_id args = {.volume = rebuilding->only};
    op_ask(op, pool_runner(op->pool), WIRE_VOLUME_GET, &args, on_only);
}

void pool_rebuild_snapshots_run(struct op *op) {
    struct rebuilding *rebuilding = walk_of(op, CORE_SNAPSHOT);
    if (rebuilding == NULL)
        return;
    if (pool_can(op->pool, SLUICE_CAP_SNAPSHOT, "", NULL))
        ask_list(op, rebuilding, WIRE_SNAPSHOT_LIST);
    else
        op_step_done(op, NULL);
}

/* ---- the operation -------------------------------------------------------------------------- */

bool pool_rebuild_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct pool_rebuild_params *params = op->params;
    struct pool_record record;
    struct sluice_uuid volume;
    uint64_t revision;
    (void)txn;
    if (params->volume[0] != '\0' && !uuid_parse(params->volume, &volume))
        return op_violation(op, err, "volume", "the id of a volume, as the comparison shows it");
    return target_read(op, CORE_POOL, params->target, &record, &revision, err) &&
           op_set_pool(op, &record.id, err);
}

bool pool_rebuild_finish(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct rebuilding *rebuilding = op->scratch;
    char text[128];
    (void)err;
    if (rebuilding == NULL)
        return true;
    snprintf(text, sizeof text, "taken in: %u, missing: %u, back: %u", rebuilding->taken_in,
             rebuilding->missing, rebuilding->back);
    op_event(op, txn, "pool.rebuilt", text);
    return true;
}

bool pool_rebuild_undone(struct op *op, struct catalog_txn *txn, struct err *err) {
    return pool_rebuild_finish(op, txn, err); /* what was taken in is there, and stays */
}

void pool_rebuild_recall(struct op *op) {
    op_recall_pool(op);
}

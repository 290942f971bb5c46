/* SPDX-License-Identifier: Apache-2.0
 *
 * compare.c: what is asked of a pool's driver for a reader: capacity, and whether backend and
 * catalogue tell the same story.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/uuid.h"
#include "core/pool.h"
#include "core/reconcile.h"
#include "core/records.h"
#include "core/state.h"
#include "core/store.h"
#include <sluice/driver.h>

#define COMPARE_NAMED_MAX 1000 /* differences that are listed; more are only counted */
#define COMPARE_JSON_MAX (4 * 1024 * 1024)
#define COMPARE_PAGE_MEMORY (1024 * 1024) /* a page of the driver and as many records */

struct asking {
    struct core *core;
    struct sluice_uuid pool;
    core_json_fn *done;
    void *arg;
    struct buf json;
    /* compare */
    enum core_noun noun;      /* volumes first, then snapshots */
    struct sluice_uuid after; /* the last id that was compared */
    struct buf unknown, missing;
    uint32_t unknown_count, missing_count, volumes, snapshots;
};

static void finish(struct asking *asking, const struct err *err) {
    static const struct err none = {.code = ERR_NONE};
    asking->done(asking->arg, &asking->json, err != NULL ? err : &none);
    buf_release(&asking->json);
    buf_release(&asking->unknown);
    buf_release(&asking->missing);
    free(asking);
}

/* The pool with a runner that may answer; otherwise the callback is made at once with the reason.
 */
static struct asking *begin(struct core *core, const char *reference, core_json_fn *done, void *arg,
                            struct pool **ret_pool) {
    struct asking *asking = calloc(1, sizeof *asking);
    CHECK(asking != NULL);
    *asking = (struct asking){.core = core, .done = done, .arg = arg};
    buf_init(&asking->json, COMPARE_JSON_MAX);
    buf_init(&asking->unknown, COMPARE_JSON_MAX / 2);
    buf_init(&asking->missing, COMPARE_JSON_MAX / 2);
    struct err err = ERR_INIT;
    *ret_pool = NULL;
    if (core_resolve(core, CORE_POOL, reference, &asking->pool, &err)) {
        *ret_pool = pool_find(core, &asking->pool);
        if (*ret_pool == NULL)
            err_set(&err, ERR_NOT_FOUND, "there is no pool %s", reference);
        else if ((*ret_pool)->runner == NULL)
            err_set(&err, ERR_POOL_DOWN, "pool %s has no runner: enable it first",
                    (*ret_pool)->record.name);
    }
    if (err.code == ERR_NONE)
        return asking;
    finish(asking, &err);
    return NULL;
}

/* ---- capacity ------------------------------------------------------------------------------- */

static void on_capacity(void *arg, const struct runner_reply *reply) {
    struct asking *asking = arg;
    if (reply->err.code != ERR_NONE || reply->result == NULL) {
        finish(asking, &reply->err);
        return;
    }
    const struct wire_capacity *capacity = reply->result;
    buf_printf(&asking->json,
               "{\"total_bytes\":%llu,\"used_bytes\":%llu,\"provisioned_bytes\":%llu}",
               (unsigned long long)capacity->total, (unsigned long long)capacity->used,
               (unsigned long long)capacity->provisioned);
    finish(asking, NULL);
}

void core_capacity(struct core *core, const char *reference, core_json_fn *done, void *arg) {
    struct pool *pool;
    struct asking *asking = begin(core, reference, done, arg, &pool);
    struct wire_nothing nothing = {0};
    if (asking != NULL)
        runner_call(pool->runner, WIRE_POOL_STAT, &nothing, on_capacity, asking);
}

/* ---- compare -------------------------------------------------------------------------------- */

static void on_page(void *arg, const struct runner_reply *reply);

static void ask_page(struct asking *asking) {
    struct pool *pool = pool_find(asking->core, &asking->pool);
    struct err err = ERR_INIT;
    if (pool == NULL || pool->runner == NULL) {
        err_set(&err, ERR_POOL_DOWN, "the pool stopped meanwhile");
        finish(asking, &err);
        return;
    }
    struct wire_list args = {.after = asking->after, .capacity = WIRE_PAGE_ENTRIES};
    runner_call(pool->runner, asking->noun == CORE_VOLUME ? WIRE_VOLUME_LIST : WIRE_SNAPSHOT_LIST,
                &args, on_page, asking);
}

static void name_one(struct asking *asking, struct buf *list, uint32_t *count,
                     const struct difference *difference) {
    char text[UUID_TEXT_SIZE];
    if ((*count)++ >= COMPARE_NAMED_MAX)
        return;
    buf_printf(list, "%s{\"noun\":\"%s\",\"id\":\"%s\",\"name\":", *count > 1 ? "," : "",
               core_noun_name(asking->noun), uuid_format(&difference->id, text));
    json_text(list, difference->name);
    buf_printf(list, ",\"size_bytes\":%llu}", (unsigned long long)difference->size_bytes);
}

static void compared(struct asking *asking) {
    buf_printf(&asking->json,
               "{\"volumes\":%u,\"snapshots\":%u,\"unknown_count\":%u,\"missing_count\":%u,"
               "\"unknown\":[",
               asking->volumes, asking->snapshots, asking->unknown_count, asking->missing_count);
    buf_put(&asking->json, asking->unknown.at, asking->unknown.length);
    buf_printf(&asking->json, "],\"missing\":[");
    buf_put(&asking->json, asking->missing.at, asking->missing.length);
    buf_printf(&asking->json, "]}");
    finish(asking, NULL);
}

static void note_page(struct asking *asking, const struct reconciled *page) {
    for (uint32_t i = 0; i < page->count; i++) {
        const struct difference *difference = &page->at[i];
        if (difference->kind == DIFFERENCE_UNKNOWN)
            name_one(asking, &asking->unknown, &asking->unknown_count, difference);
        else if (difference->kind != DIFFERENCE_BACK)
            name_one(asking, &asking->missing, &asking->missing_count, difference);
    }
    *(asking->noun == CORE_VOLUME ? &asking->volumes : &asking->snapshots) += page->catalogued;
    asking->after = page->upto;
}

static bool has_snapshots(struct asking *asking) {
    const struct pool *pool = pool_find(asking->core, &asking->pool);
    return pool != NULL && pool_can(pool, SLUICE_CAP_SNAPSHOT, "", NULL);
}

static void on_page(void *arg, const struct runner_reply *reply) {
    struct asking *asking = arg;
    struct err err = ERR_INIT;
    struct reconciled page;
    struct arena arena;
    if (reply->err.code != ERR_NONE || reply->result == NULL) {
        finish(asking, &reply->err);
        return;
    }
    arena_init(&arena, COMPARE_PAGE_MEMORY);
    bool ok = reconcile_page(asking->core, asking->noun, &asking->pool, NULL, &asking->after,
                             reply->result, &arena, &page, &err);
    if (ok)
        note_page(asking, &page);
    arena_release(&arena);
    if (!ok) {
        finish(asking, &err);
    } else if (!page.last) {
        ask_page(asking);
    } else if (asking->noun == CORE_VOLUME && has_snapshots(asking)) {
        asking->noun = CORE_SNAPSHOT;
        asking->after = (struct sluice_uuid){{0}};
        ask_page(asking);
    } else {
        compared(asking);
    }
}

void core_compare(struct core *core, const char *reference, core_json_fn *done, void *arg) {
    struct pool *pool;
    struct asking *asking = begin(core, reference, done, arg, &pool);
    if (asking != NULL) {
        asking->noun = CORE_VOLUME;
        ask_page(asking);
    }
}

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
#include "core/records.h"
#include "core/state.h"
#include "core/store.h"

#define COMPARE_NAMED_MAX 1000 /* differences that are listed; more are only counted */
#define COMPARE_JSON_MAX (4 * 1024 * 1024)

struct asking {
    struct core *core;
    struct sluice_uuid pool;
    core_json_fn *done;
    void *arg;
    struct buf json;
    /* compare */
    struct sluice_uuid after; /* last volume id that either side has shown */
    struct buf unknown, missing;
    uint32_t unknown_count, missing_count, seen;
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

/* ---- compare: both sides in ascending order of id, merged ----------------------------------- */

static void name_one(struct buf *list, uint32_t *count, const struct sluice_uuid *id,
                     const char *name, uint64_t size_bytes) {
    char text[UUID_TEXT_SIZE];
    if ((*count)++ >= COMPARE_NAMED_MAX)
        return;
    buf_printf(list, "%s{\"id\":\"%s\",\"name\":", *count > 1 ? "," : "", uuid_format(id, text));
    json_text(list, name);
    buf_printf(list, ",\"size_bytes\":%llu}", (unsigned long long)size_bytes);
}

/* The catalogue's volumes of the pool after `after`, up to and with `upto` (NULL: all). */
struct walking {
    struct asking *asking;
    const struct sluice_uuid *upto;
    bool met; /* upto itself is there */
};

static bool on_catalogued(void *arg, const struct catalog_entry *entry) {
    struct walking *walking = arg;
    struct sluice_uuid id;
    memcpy(id.bytes, entry->key + entry->key_length - sizeof id.bytes, sizeof id.bytes);
    int order = walking->upto != NULL ? uuid_compare(&id, walking->upto) : -1;
    if (order > 0)
        return false;
    walking->asking->seen++;
    if (order == 0) {
        walking->met = true;
        return false;
    }
    struct arena arena;
    struct volume_record record;
    arena_init(&arena, 65536);
    if (store_get(walking->asking->core->catalog, CORE_VOLUME, &id, &arena, &record, NULL, NULL) &&
        strcmp(record.state, "available") == 0)
        name_one(&walking->asking->missing, &walking->asking->missing_count, &id, record.name,
                 record.size_bytes);
    arena_release(&arena);
    return true;
}

static bool walk_to(struct asking *asking, const struct sluice_uuid *upto, struct err *err) {
    struct walking walking = {.asking = asking, .upto = upto};
    struct key prefix;
    key_index(&prefix, CORE_VOLUME, STORE_BY_POOL, &asking->pool);
    struct key from = prefix;
    key_add_id(&from, &asking->after);
    (void)catalog_scan(asking->core->catalog, prefix.at, prefix.length, from.at, from.length, false,
                       on_catalogued, &walking, err);
    return walking.met;
}

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
    runner_call(pool->runner, WIRE_VOLUME_LIST, &args, on_page, asking);
}

static void compared(struct asking *asking) {
    buf_printf(&asking->json,
               "{\"volumes\":%u,\"unknown_count\":%u,\"missing_count\":%u,\"unknown\":[",
               asking->seen, asking->unknown_count, asking->missing_count);
    buf_put(&asking->json, asking->unknown.at, asking->unknown.length);
    buf_printf(&asking->json, "],\"missing\":[");
    buf_put(&asking->json, asking->missing.at, asking->missing.length);
    buf_printf(&asking->json, "]}");
    finish(asking, NULL);
}

static void on_page(void *arg, const struct runner_reply *reply) {
    struct asking *asking = arg;
    struct err err = ERR_INIT;
    if (reply->err.code != ERR_NONE || reply->result == NULL) {
        finish(asking, &reply->err);
        return;
    }
    const struct wire_page *page = reply->result;
    struct reader reader;
    struct arena arena;
    arena_init(&arena, 256 * 1024);
    reader_init(&reader, page->entries.at, page->entries.length);
    for (uint32_t i = 0; i < page->count && err.code == ERR_NONE; i++) {
        size_t length;
        const uint8_t *bytes = reader_blob(&reader, 4096, &length);
        struct wire_volume volume;
        if (bytes == NULL ||
            !shape_decode(&wire_volume_shape, bytes, length, &arena, &volume, &err)) {
            err_set(&err, ERR_PROTOCOL, "the driver's list of volumes cannot be read");
            break;
        }
        if (uuid_compare(&volume.volume, &asking->after) <= 0) {
            err_set(&err, ERR_PROTOCOL, "the driver's list of volumes is not in order of id");
            break;
        }
        if (!walk_to(asking, &volume.volume, &err) && err.code == ERR_NONE)
            name_one(&asking->unknown, &asking->unknown_count, &volume.volume, volume.name,
                     volume.size_bytes);
        asking->after = volume.volume;
    }
    bool last = page->count == 0;
    arena_release(&arena);
    if (err.code != ERR_NONE) {
        finish(asking, &err);
    } else if (!last) {
        ask_page(asking);
    } else {
        (void)walk_to(asking, NULL, &err);
        compared(asking);
    }
}

void core_compare(struct core *core, const char *reference, core_json_fn *done, void *arg) {
    struct pool *pool;
    struct asking *asking = begin(core, reference, done, arg, &pool);
    if (asking != NULL)
        ask_page(asking);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: the set of pools, in ascending order of name, and whether they take work.
 */
#include "core/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/driver.h"
#include "core/state.h"
#include "core/store.h"
#include <sluice/driver.h>

#define POOL_RECORD_MEMORY (256 * 1024)

struct pools {
    struct pool *by_id;
};

/* ---- the set -------------------------------------------------------------------------------- */

struct pool *pool_find(struct core *core, const struct sluice_uuid *id) {
    struct pool *pool;
    HASH_FIND(hh, core->pools->by_id, id, sizeof *id, pool);
    return pool;
}

uint32_t pools_count(const struct core *core) {
    return HASH_COUNT(core->pools->by_id);
}

static int by_name(const struct pool *a, const struct pool *b) {
    return strcmp(a->record.name, b->record.name);
}

struct pool *pools_next(const struct core *core, const struct pool *after) {
    return after != NULL ? after->hh.next : core->pools->by_id;
}

bool pools_uid_taken(const struct core *core, uint32_t uid) {
    struct pool *pool, *next;
    HASH_ITER(hh, core->pools->by_id, pool, next) {
        if (pool->record.uid == uid)
            return true;
    }
    return uid == core_data_uid(core) || drivers_uid_taken(core, uid);
}

bool pool_set_record(struct pool *pool, const struct pool_record *record, struct err *err) {
    struct arena arena;
    struct pool_record copy;
    arena_init(&arena, POOL_RECORD_MEMORY);
    if (!shape_copy(&pool_record_shape, record, &arena, &copy)) {
        arena_release(&arena);
        return err_set(err, ERR_NO_MEMORY, "no memory for a pool");
    }
    arena_release(&pool->arena);
    pool->arena = arena;
    pool->record = copy;
    pool->driver = driver_find(pool->core, copy.driver, copy.driver_version);
    return true;
}

struct pool *pool_add(struct core *core, const struct pool_record *record, struct err *err) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        err_set(err, ERR_NO_MEMORY, "no memory for a pool");
        return NULL;
    }
    pool->core = core;
    pool->id = record->id;
    pool->last_state = RUNNER_STOPPED;
    arena_init(&pool->arena, POOL_RECORD_MEMORY);
    if (!pool_set_record(pool, record, err)) {
        free(pool);
        return NULL;
    }
    HASH_ADD_INORDER(hh, core->pools->by_id, id, sizeof pool->id, pool, by_name);
    return pool;
}

void pool_remove(struct pool *pool) {
    CHECK(pool->runner == NULL && pool->work == 0);
    HASH_DEL(pool->core->pools->by_id, pool);
    arena_release(&pool->arena);
    free(pool);
}

bool pool_reload(struct pool *pool, struct err *err) {
    struct arena arena;
    struct pool_record record;
    arena_init(&arena, POOL_RECORD_MEMORY);
    bool ok = store_get(pool->core->catalog, CORE_POOL, &pool->id, &arena, &record, NULL, err) &&
              pool_set_record(pool, &record, err);
    arena_release(&arena);
    return ok;
}

static bool on_pool(void *arg, const struct catalog_entry *entry) {
    struct core *core = arg;
    struct arena arena;
    struct pool_record record;
    arena_init(&arena, POOL_RECORD_MEMORY);
    bool ok = shape_decode(&pool_record_shape, entry->value.at, entry->value.length, &arena,
                           &record, NULL) &&
              pool_add(core, &record, NULL) != NULL;
    if (!ok && core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "catalogue",
                             "a pool's record cannot be read and is left out");
    arena_release(&arena);
    return true;
}

bool pools_open(struct core *core, struct err *err) {
    core->pools = calloc(1, sizeof *core->pools);
    if (core->pools == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for pools");
    struct key prefix;
    key_objects(&prefix, CORE_POOL);
    return catalog_scan(core->catalog, prefix.at, prefix.length, NULL, 0, false, on_pool, core,
                        err);
}

void pools_close(struct core *core) {
    if (core->pools == NULL)
        return;
    struct pool *pool, *next;
    HASH_ITER(hh, core->pools->by_id, pool, next) {
        pool->work = 0;
        pool_remove(pool);
    }
    free(core->pools);
    core->pools = NULL;
}

/* ---- work ----------------------------------------------------------------------------------- */

void pool_work_began(struct pool *pool) {
    pool->work++;
}

void pool_work_ended(struct pool *pool) {
    CHECK(pool->work > 0);
    pool->work--;
}

struct runner *pool_runner(const struct pool *pool) {
    return pool != NULL ? pool->runner : NULL;
}

const struct wire_pool *pool_opened(const struct pool *pool) {
    struct runner_status status;
    if (pool == NULL || pool->runner == NULL)
        return NULL;
    runner_status(pool->runner, &status);
    return status.pool;
}

static bool driver_takes_work(const struct pool *pool, struct err *err) {
    if (pool->driver == NULL)
        return err_set(err, ERR_POOL_DOWN, "the pool's driver %s %s is not there",
                       pool->record.driver, pool->record.driver_version);
    enum driver_state state = driver_state(pool->driver);
    if (state == DRIVER_SUSPENDED)
        return err_set(err, ERR_STATE, "the pool's driver is suspended: resume it first");
    if (state == DRIVER_STOPPED || state == DRIVER_STOPPING)
        return err_set(err, ERR_STATE, "the pool's driver is %s: start it first",
                       driver_state_name(state));
    return true;
}

bool pool_takes_work(const struct pool *pool, struct err *err) {
    if (strcmp(pool->record.state, "enabled") != 0)
        return err_set(err, ERR_STATE, "pool %s is %s", pool->record.name, pool->record.state);
    if (!driver_takes_work(pool, err))
        return false;
    struct err cause = ERR_INIT;
    if (pool_standing(pool, &cause) == POOL_FAILS) {
        struct runner_status status = {.state = RUNNER_STOPPED};
        if (pool->runner != NULL)
            runner_status(pool->runner, &status);
        return err_set(err, status.state == RUNNER_QUARANTINED ? ERR_QUARANTINED : ERR_POOL_DOWN,
                       "pool %s: %s", pool->record.name, cause.text);
    }
    if (pool_opened(pool) == NULL)
        return err_set(err, ERR_POOL_DOWN, "pool %s is still being opened", pool->record.name);
    return true;
}

bool pool_can(const struct pool *pool, unsigned cap, const char *what, struct err *err) {
    const struct wire_pool *opened = pool_opened(pool);
    if (opened != NULL && opened->caps >> cap & 1)
        return true;
    return err_set(err, ERR_UNSUPPORTED, "driver %s cannot %s in pool %s", pool->record.driver,
                   what, pool->record.name);
}

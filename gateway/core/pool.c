/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: the set of pools, in ascending order of name, and each one's runner.
 */
#include "core/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/driver.h"
#include "core/engine.h"
#include "core/events.h"
#include "core/pool_bag.h"
#include "core/state.h"
#include "core/store.h"
#include "lifecycle/bag.h"
#include "lifecycle/sandbox.h"
#include <sluice/driver.h>

#define POOL_RECORD_MEMORY (256 * 1024)
#define POOL_SPEC_MEMORY (2 * 1024 * 1024)

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

static bool shall_run(const struct pool *pool) {
    return strcmp(pool->record.state, "enabled") == 0 ||
           strcmp(pool->record.state, "disabled") == 0;
}

void pools_start(struct core *core) {
    for (struct pool *pool = pools_next(core, NULL); pool != NULL; pool = pools_next(core, pool))
        if (shall_run(pool) && pool->runner == NULL)
            (void)pool_start(pool, 0, NULL); /* pool->cause says why not */
}

bool pool_is_ending(const struct pool *pool, struct err *err) {
    struct runner_status status = {.state = RUNNER_SERVING};
    if (pool->runner != NULL)
        runner_status(pool->runner, &status);
    if (status.state != RUNNER_STOPPING && status.state != RUNNER_STOPPED)
        return false;
    err_set(err, ERR_POOL_DOWN, "the pool's runner is ending");
    return true;
}

void pool_settle(struct pool *pool) {
    if (pool->runner == NULL) {
        if (shall_run(pool))
            (void)pool_start(pool, 0, NULL);
        return;
    }
    if (!shall_run(pool))
        pool_stop(pool);
    else if (pool_is_ending(pool, NULL))
        pool->start_again = true;
}

/* ---- the runner ----------------------------------------------------------------------------- */

static void tell(struct pool *pool, const char *what, const char *text) {
    char type[64];
    snprintf(type, sizeof type, "pool.%s", what);
    struct event_record event = {
        .type = type,
        .noun = core_noun_name(CORE_POOL),
        .object = pool->id,
        .object_name = pool->record.name,
        .pool = pool->id,
        .principal = "",
        .text = text,
        .at = clock_wall_ms(),
    };
    events_tell(pool->core, &event);
}

static bool worth_telling(const struct pool *pool, enum runner_state state,
                          const struct err *cause) {
    if (state != RUNNER_SERVING && state != RUNNER_DOWN && state != RUNNER_BACKING_OFF &&
        state != RUNNER_QUARANTINED)
        return false;
    return state != pool->last_state || strcmp(cause->text, pool->last_cause) != 0;
}

static void wake_waiter(struct pool *pool) {
    if (pool->waiter != NULL)
        pool->on_change(pool->waiter);
}

static void on_state(void *owner, struct runner *runner, enum runner_state state,
                     const struct err *cause) {
    struct pool *pool = owner;
    struct exports *exports = pool->core->exports;
    if (exports != NULL && state == RUNNER_SERVING)
        exports_pool_serving(exports, &pool->id, runner);
    else if (exports != NULL && (state == RUNNER_DOWN || state == RUNNER_QUARANTINED))
        exports_pool_down(exports, &pool->id, cause);
    if (worth_telling(pool, state, cause)) {
        tell(pool, runner_state_name(state), cause->code != ERR_NONE ? cause->text : "");
        pool->last_state = state;
        text_copy(pool->last_cause, sizeof pool->last_cause, cause->text);
    }
    wake_waiter(pool);
}

static bool may_tell(struct pool *pool) {
    uint64_t now_ms = clock_mono_ms();
    if (pool->told_since_ms == 0 || now_ms - pool->told_since_ms >= 60000) {
        pool->told_since_ms = now_ms;
        pool->told = 0;
    }
    if (++pool->told == POOL_TOLD_MAX + 1 && pool->core->options.on_log != NULL)
        pool->core->options.on_log(pool->core->owner, SLUICE_LOG_WARNING, pool->record.name,
                                   "the driver tells more events than are kept in a minute");
    return pool->told <= POOL_TOLD_MAX;
}

static void on_event(void *owner, struct runner *runner, const struct wire_event *event) {
    static const char *const names[] = {"", "capacity", "health", "access-lost"};
    struct pool *pool = owner;
    (void)runner;
    if (event->event < sizeof names / sizeof names[0] && event->event != 0 && may_tell(pool))
        tell(pool, names[event->event], event->text);
}

static void on_log(void *owner, struct runner *runner, uint32_t level, const char *text) {
    struct pool *pool = owner;
    (void)runner;
    if (pool->core->options.on_log != NULL)
        pool->core->options.on_log(pool->core->owner, level, pool->record.name, text);
}

/* The driver, which may have come or gone since the record was read. */
static bool find_driver(struct pool *pool, struct err *err) {
    pool->driver = driver_find(pool->core, pool->record.driver, pool->record.driver_version);
    if (pool->driver == NULL || driver_manifest(pool->driver) == NULL)
        return err_set(err, ERR_DEPENDENCY,
                       "driver %s %s is not there: install it, or upgrade the pool",
                       pool->record.driver, pool->record.driver_version);
    enum driver_state state = driver_state(pool->driver);
    if (state == DRIVER_STOPPED || state == DRIVER_STOPPING)
        return err_set(err, ERR_STATE, "the pool's driver is %s: start it first",
                       driver_state_name(state));
    return true;
}

/* Builds what the runner shall be; everything in it lives in the arena or in the pool. */
static bool make_spec(struct pool *pool, uint32_t open_flags, struct arena *arena,
                      struct runner_spec *ret, struct err *err) {
    struct text_pairs typed;
    struct bag bag = {0};
    struct text_list paths;
    if (!find_driver(pool, err))
        return false;
    const struct manifest *manifest = driver_manifest(pool->driver);
    if (!pool_bag_open(pool->core, pool->driver, &pool->record, arena, &typed, err))
        return false;
    bag.plain = typed;
    if (!sandbox_paths(manifest, &bag, arena, &paths, err))
        return false;
    *ret = (struct runner_spec){
        .tag = pool->id,
        .label = arena_printf(arena, "pool %s", pool->record.name),
        .uid = pool->record.uid,
        .gid = pool->record.uid,
        .load =
            {
                .directory = driver_directory(pool->driver),
                .library = manifest->library,
                .name = manifest->name,
                .version = manifest->version_text,
                .category = manifest->category,
                .paths = paths,
                .memory_mib = manifest->memory_mib,
                .open_files = manifest->open_files,
                .network = manifest->network,
            },
        .has_pool = true,
        .open =
            {
                .pool = pool->id,
                .gateway = pool->core->gateway,
                .name = pool->record.name,
                .flags = open_flags,
                .properties = typed,
            },
    };
    return ret->label != NULL || err_set(err, ERR_NO_MEMORY, "no memory for a runner");
}

bool pool_start(struct pool *pool, uint32_t open_flags, struct err *err) {
    static const struct runner_events events = {on_state, on_event, on_log};
    pool->start_again = false;
    struct arena arena;
    struct runner_spec spec;
    if (pool->core->stopping)
        return err_set(err, ERR_STOPPING, "the gateway is stopping");
    arena_init(&arena, POOL_SPEC_MEMORY);
    pool->cause = ERR_INIT;
    bool ok = make_spec(pool, open_flags, &arena, &spec, &pool->cause) &&
              runner_start(pool->core->runners, &spec, &events, pool, &pool->runner, &pool->cause);
    arena_release(&arena);
    if (ok)
        return true;
    tell(pool, "down", pool->cause.text);
    return err_set(err, pool->cause.code, "%s", pool->cause.text);
}

bool pool_respec(struct pool *pool, uint32_t open_flags, struct err *err) {
    struct arena arena;
    struct runner_spec spec;
    if (pool->runner == NULL)
        return err_set(err, ERR_POOL_DOWN, "the pool has no runner");
    arena_init(&arena, POOL_SPEC_MEMORY);
    bool ok =
        make_spec(pool, open_flags, &arena, &spec, err) && runner_respec(pool->runner, &spec, err);
    arena_release(&arena);
    return ok;
}

static void on_stopped(void *owner, struct runner *runner) {
    struct pool *pool = owner;
    if (pool->core->exports != NULL)
        exports_pool_gone(pool->core->exports, &pool->id);
    runner_release(runner);
    pool->runner = NULL;
    pool->last_state = RUNNER_STOPPED;
    if (pool->start_again)
        (void)pool_start(pool, 0, NULL);
    wake_waiter(pool);
}

void pool_stop(struct pool *pool) {
    pool->start_again = false;
    if (pool->runner != NULL && !pool_is_ending(pool, NULL))
        runner_stop(pool->runner, on_stopped);
}

void pool_wait(struct pool *pool, struct op *op, void (*on_change)(struct op *op)) {
    CHECK(pool->waiter == NULL || pool->waiter == op);
    pool->waiter = op;
    pool->on_change = on_change;
    op_when_cancelled(op, on_change);
}

void pool_unwait(struct pool *pool) {
    pool->waiter = NULL;
}

enum pool_standing pool_standing(const struct pool *pool, struct err *err) {
    struct runner_status status;
    if (pool->runner == NULL) {
        err_set(err, pool->cause.code != ERR_NONE ? pool->cause.code : ERR_POOL_DOWN, "%s",
                pool->cause.code != ERR_NONE ? pool->cause.text : "the pool has no runner");
        return POOL_FAILS;
    }
    runner_status(pool->runner, &status);
    switch (status.state) {
    case RUNNER_SERVING:
        return POOL_SERVES;
    case RUNNER_DOWN:
    case RUNNER_QUARANTINED:
        err_set(err, status.cause.code != ERR_NONE ? status.cause.code : ERR_POOL_DOWN, "%s",
                status.cause.text);
        return POOL_FAILS;
    case RUNNER_STOPPING:
    case RUNNER_STOPPED:
        err_set(err, ERR_POOL_DOWN, "the pool's runner is ending");
        return POOL_FAILS;
    default:
        return POOL_UNDECIDED;
    }
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

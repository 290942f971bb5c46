/* SPDX-License-Identifier: Apache-2.0
 *
 * pool_runner.c: each pool's runner: what it shall be, starting and stopping it, what it tells.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "core/driver.h"
#include "core/engine.h"
#include "core/events.h"
#include "core/pool.h"
#include "core/pool_bag.h"
#include "core/state.h"
#include "lifecycle/bag.h"
#include "lifecycle/sandbox.h"
#include <sluice/driver.h>

#define POOL_SPEC_MEMORY (2 * 1024 * 1024)

/* ---- what it tells -------------------------------------------------------------------------- */

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

/* ---- what it is ----------------------------------------------------------------------------- */

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

bool pool_is_ending(const struct pool *pool, struct err *err) {
    struct runner_status status = {.state = RUNNER_SERVING};
    if (pool->runner != NULL)
        runner_status(pool->runner, &status);
    if (status.state != RUNNER_STOPPING && status.state != RUNNER_STOPPED)
        return false;
    err_set(err, ERR_POOL_DOWN, "the pool's runner is ending");
    return true;
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

/* ---- as the record says --------------------------------------------------------------------- */

static bool shall_run(const struct pool *pool) {
    return strcmp(pool->record.state, "enabled") == 0 ||
           strcmp(pool->record.state, "disabled") == 0;
}

void pools_start(struct core *core) {
    for (struct pool *pool = pools_next(core, NULL); pool != NULL; pool = pools_next(core, pool))
        if (shall_run(pool) && pool->runner == NULL)
            (void)pool_start(pool, 0, NULL); /* pool->cause says why not */
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

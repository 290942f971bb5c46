/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_scan.c: which drivers there are, and starting and stopping all of them in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "catalog/seal.h"
#include "core/driver_state.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"
#include "lifecycle/discover.h"

/* ---- the set -------------------------------------------------------------------------------- */

struct driver *driver_add(struct drivers *drivers, const char *name, const char *version) {
    if (drivers->count >= DRIVERS_MAX)
        return NULL;
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL)
        return NULL;
    driver->core = drivers->core;
    arena_init(&driver->arena, MANIFEST_ARENA_MAX);
    text_copy(driver->name, sizeof driver->name, name);
    text_copy(driver->version, sizeof driver->version, version);
    driver->state = DRIVER_DISCOVERED;
    driver->changed_at = clock_wall_ms();
    driver_want(driver, "running");
    char full_name[140];
    unsigned char hash[32];
    int length = snprintf(full_name, sizeof full_name, "driver %s@%s", name, version);
    seal_sha256(full_name, (size_t)length, hash);
    memcpy(driver->tag.bytes, hash, sizeof driver->tag.bytes);
    drivers->at[drivers->count++] = driver;
    return driver;
}

static void forget(struct drivers *drivers, uint32_t index) {
    struct driver *driver = drivers->at[index];
    CHECK(driver->runner == NULL);
    arena_release(&driver->arena);
    free(driver);
    drivers->at[index] = drivers->at[--drivers->count];
}

bool drivers_order(struct drivers *drivers, struct arena *arena, struct order *ret,
                   struct err *err) {
    struct order_driver *given = arena_array(arena, drivers->count + 1, sizeof *given);
    uint32_t *which = arena_array(arena, drivers->count + 1, sizeof *which);
    uint32_t count = 0;
    if (given == NULL || which == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the order");
    for (uint32_t i = 0; i < drivers->count; i++) {
        const struct driver *driver = drivers->at[i];
        if (!driver->has_manifest)
            continue; /* nothing is known that could be ordered */
        bool runs = driver->state == DRIVER_STARTING || driver->state == DRIVER_RUNNING ||
                    driver->state == DRIVER_SUSPENDED;
        which[count] = i;
        given[count++] = (struct order_driver){
            .manifest = &driver->manifest,
            .directory = driver->directory,
            .broken = driver->broken.code != ERR_NONE  ? &driver->broken
                      : driver->state == DRIVER_FAILED ? &driver->cause
                                                       : NULL,
            .running = runs,
            .held = !runs && strcmp(driver->wanted, "stopped") == 0,
        };
    }
    if (!order_compute(given, count, arena, ret, err))
        return false;
    for (uint32_t i = 0; i < ret->count; i++)
        ret->rows[i].driver = which[ret->rows[i].driver];
    return true;
}

/* ---- what the directories hold -------------------------------------------------------------- */

static bool busy(const struct driver *driver) {
    return driver->state == DRIVER_STARTING || driver->state == DRIVER_RUNNING ||
           driver->state == DRIVER_SUSPENDED || driver->state == DRIVER_STOPPING;
}

static void read_archive(struct driver *driver, const struct discovery_entry *entry) {
    arena_reset(&driver->arena);
    text_copy(driver->directory, sizeof driver->directory, entry->directory);
    text_copy(driver->category, sizeof driver->category, category_name(entry->manifest->category));
    struct err err = ERR_INIT;
    driver->has_manifest = manifest_load(entry->directory, &driver->arena, &driver->manifest, &err);
    driver->broken = entry->err.code != ERR_NONE ? entry->err : err;
}

static uint32_t index_of(const struct drivers *drivers, const struct driver *driver) {
    uint32_t index = 0;
    while (drivers->at[index] != driver)
        index++;
    return index;
}

static struct driver *find_or_add(struct drivers *drivers, const char *name, const char *version) {
    struct driver *driver = driver_find(drivers->core, name, version);
    return driver != NULL ? driver : driver_add(drivers, name, version);
}

/* What failed or went away is looked at as if for the first time. */
static void look_again(struct driver *driver) {
    if (driver->state == DRIVER_FAILED || driver->state == DRIVER_REMOVED) {
        driver->state = DRIVER_DISCOVERED;
        driver->cause = ERR_INIT;
    }
}

/* An archive that cannot be read has no name but its folder's, by custom NAME-VERSION. */
static void split_folder(const char *folder, char *ret_name, size_t capacity,
                         const char **ret_version) {
    struct version version;
    *ret_version = "unknown";
    text_copy(ret_name, capacity, folder);
    for (char *dash = strchr(ret_name, '-'); dash != NULL; dash = strchr(dash + 1, '-'))
        if (dash > ret_name && version_parse(dash + 1, &version, NULL)) {
            *ret_version = dash + 1;
            *dash = '\0';
            return;
        }
}

static bool is_configured(const struct core *core, const char *directory) {
    for (uint32_t i = 0; i < core->options.driver_directory_count; i++)
        if (strcmp(core->options.driver_directories[i], directory) == 0)
            return true;
    return false;
}

static void found_unreadable(struct drivers *drivers, const struct discovery_entry *entry,
                             bool *seen) {
    struct core *core = drivers->core;
    char name[64];
    const char *version;
    const char *slash = strrchr(entry->directory, '/');
    if (core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_WARNING, "driver scan", entry->err.text);
    if (is_configured(core, entry->directory))
        return; /* the directory of all archives, not one */
    split_folder(slash != NULL ? slash + 1 : entry->directory, name, sizeof name, &version);
    struct driver *driver = find_or_add(drivers, name, version);
    if (driver == NULL || seen[index_of(drivers, driver)])
        return;
    seen[index_of(drivers, driver)] = true;
    if (busy(driver))
        return; /* it runs on as it was read */
    text_copy(driver->directory, sizeof driver->directory, entry->directory);
    driver->has_manifest = false;
    driver->broken = entry->err;
    look_again(driver);
}

static void found(struct drivers *drivers, const struct discovery_entry *entry, bool *seen) {
    if (entry->manifest == NULL) {
        found_unreadable(drivers, entry, seen);
        return;
    }
    struct driver *driver =
        find_or_add(drivers, entry->manifest->name, entry->manifest->version_text);
    if (driver == NULL)
        return;
    bool again = seen[index_of(drivers, driver)];
    seen[index_of(drivers, driver)] = true;
    if (busy(driver) && driver->has_manifest)
        return; /* what runs is what was read when it was started */
    if (again && strcmp(driver->directory, entry->directory) != 0) {
        err_set(&driver->broken, ERR_DEPENDENCY,
                "both %s and %s say they are %s %s: remove one of them", driver->directory,
                entry->directory, driver->name, driver->version);
        return;
    }
    driver->broken = ERR_INIT;
    read_archive(driver, entry);
    look_again(driver);
}

static bool has_pools(const struct driver *driver) {
    for (const struct pool *pool = pools_next(driver->core, NULL); pool != NULL;
         pool = pools_next(driver->core, pool))
        if (pool->driver == driver)
            return true;
    return false;
}

static void gone(struct driver *driver) {
    if (busy(driver) || driver->state == DRIVER_REMOVED || has_pools(driver))
        return; /* it runs on; the next start of the gateway will miss it */
    driver->has_manifest = false;
    (void)driver_move(driver, DRIVER_EVENT_REMOVE, NULL);
}

bool drivers_scan(struct core *core, struct err *err) {
    struct drivers *drivers = core->drivers;
    struct arena arena;
    struct discovery discovery;
    arena_init(&arena, DISCOVER_ARENA_MAX);
    bool *seen = arena_array(&arena, DRIVERS_MAX, sizeof *seen);
    bool ok =
        seen != NULL && discover(core->options.driver_directories,
                                 core->options.driver_directory_count, &arena, &discovery, err);
    for (uint32_t i = 0; ok && i < discovery.count; i++)
        found(drivers, &discovery.at[i], seen);
    for (uint32_t i = 0; ok && i < drivers->count; i++)
        if (!seen[i])
            gone(drivers->at[i]);
    arena_release(&arena);
    return ok || err_set(err, ERR_NO_MEMORY, "no memory for a scan");
}

/* ---- what the catalogue remembers ----------------------------------------------------------- */

static bool on_remembered(void *arg, const struct catalog_entry *entry) {
    struct drivers *drivers = arg;
    struct arena arena;
    arena_init(&arena, 16384);
    struct driver_record record;
    if (shape_decode(&driver_record_shape, entry->value.at, entry->value.length, &arena, &record,
                     NULL)) {
        struct driver *driver = driver_add(drivers, record.name, record.version);
        if (driver != NULL) {
            text_copy(driver->category, sizeof driver->category, record.category);
            text_copy(driver->directory, sizeof driver->directory, record.directory);
            driver_want(driver, record.wanted);
            driver->changed_at = record.changed_at;
            if (!driver_state_parse(record.state, &driver->state))
                driver->state = DRIVER_DISCOVERED;
        }
    }
    arena_release(&arena);
    return true;
}

/* The processes of before are not this gateway's: what ran has to be started. */
static void after_restart(struct driver *driver) {
    if (busy(driver))
        driver_must_move(driver, DRIVER_EVENT_LOST);
    if (driver->state == DRIVER_FAILED)
        driver_must_move(driver, DRIVER_EVENT_RETRY);
}

bool drivers_open(struct core *core, struct err *err) {
    struct drivers *drivers = calloc(1, sizeof *drivers);
    if (drivers == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for drivers");
    drivers->core = core;
    core->drivers = drivers;
    uv_timer_init(core->loop, &drivers->timer);
    drivers->timer.data = drivers;
    struct key prefix;
    key_objects(&prefix, CORE_DRIVER);
    if (!catalog_scan(core->catalog, prefix.at, prefix.length, NULL, 0, false, on_remembered,
                      drivers, err))
        return false;
    for (uint32_t i = 0; i < drivers->count; i++)
        after_restart(drivers->at[i]);
    return drivers_scan(core, err);
}

static void on_timer_closed(uv_handle_t *handle) {
    free(handle->data);
}

void drivers_close(struct core *core) {
    struct drivers *drivers = core->drivers;
    if (drivers == NULL)
        return;
    while (drivers->count > 0)
        forget(drivers, drivers->count - 1);
    core->drivers = NULL;
    uv_close((uv_handle_t *)&drivers->timer, on_timer_closed);
}

/* ---- all of them, in order ------------------------------------------------------------------ */

void driver_advance(struct driver *driver, const struct order_row *row) {
    if (driver->state == DRIVER_DISCOVERED || driver->state == DRIVER_STOPPED) {
        if (driver->broken.code != ERR_NONE) {
            driver->cause = driver->broken;
            if (driver->state == DRIVER_DISCOVERED)
                driver_must_move(driver, DRIVER_EVENT_FAIL);
            return;
        }
    }
    if (row->action == ORDER_HELD)
        return;
    if (driver->state == DRIVER_DISCOVERED)
        driver_must_move(driver, DRIVER_EVENT_VERIFY);
    if (driver->state == DRIVER_VERIFIED)
        driver_must_move(driver, DRIVER_EVENT_INSTALL);
    if (row->action == ORDER_BLOCKED) {
        driver->cause = row->cause;
        if (driver->state == DRIVER_RESOLVED)
            driver_must_move(driver, DRIVER_EVENT_UNRESOLVE);
        return;
    }
    if (driver->state == DRIVER_INSTALLED || driver->state == DRIVER_STOPPED)
        driver_must_move(driver, DRIVER_EVENT_RESOLVE);
}

static void next_in_queue(struct drivers *drivers);

/* A driver that did not start takes with it those that wait for it. */
static void drop_blocked(struct drivers *drivers) {
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    if (drivers_order(drivers, &arena, &order, NULL)) {
        for (uint32_t i = 0; i < order.count; i++) {
            struct driver *driver = drivers->at[order.rows[i].driver];
            if (order.rows[i].action == ORDER_BLOCKED && driver->state == DRIVER_RESOLVED)
                driver_advance(driver, &order.rows[i]);
        }
    }
    arena_release(&arena);
}

static void on_settled_in_queue(void *arg) {
    struct drivers *drivers = arg;
    struct driver *driver = drivers->queue[drivers->queue_at];
    if (driver->state == DRIVER_RUNNING && strcmp(driver->wanted, "suspended") == 0)
        driver_must_move(driver, DRIVER_EVENT_SUSPEND);
    if (driver->state == DRIVER_FAILED)
        drop_blocked(drivers);
    drivers->queue_at++;
    next_in_queue(drivers);
}

static void on_too_slow(uv_timer_t *timer) {
    struct drivers *drivers = timer->data;
    drivers->queue[drivers->queue_at]->on_settled = NULL; /* it goes on without being waited for */
    drivers->queue_at++;
    next_in_queue(drivers);
}

static void on_queue_done(uv_timer_t *timer) {
    struct drivers *drivers = timer->data;
    void (*on_done)(void *) = drivers->on_done;
    drivers->on_done = NULL;
    if (on_done != NULL)
        on_done(drivers->done_arg);
}

static void next_in_queue(struct drivers *drivers) {
    while (drivers->queue_at < drivers->queue_length &&
           drivers->queue[drivers->queue_at]->state != DRIVER_RESOLVED)
        drivers->queue_at++;
    if (drivers->queue_at >= drivers->queue_length) {
        uv_timer_start(&drivers->timer, on_queue_done, 0, 0);
        return;
    }
    uv_timer_start(&drivers->timer, on_too_slow, DRIVER_SETTLE_MS, 0);
    driver_start(drivers->queue[drivers->queue_at], on_settled_in_queue, drivers);
}

/* Those of which nothing is known that could be ordered. */
static void fail_unreadable(struct drivers *drivers) {
    enum driver_state next;
    for (uint32_t i = 0; i < drivers->count; i++) {
        struct driver *driver = drivers->at[i];
        if (driver->has_manifest || driver->broken.code == ERR_NONE || busy(driver))
            continue;
        driver->cause = driver->broken;
        if (driver->state != DRIVER_FAILED &&
            driver_next(driver->state, DRIVER_EVENT_FAIL, &next, NULL))
            driver_must_move(driver, DRIVER_EVENT_FAIL);
    }
}

void drivers_start(struct core *core, void (*on_done)(void *arg), void *arg) {
    struct drivers *drivers = core->drivers;
    CHECK(drivers->on_done == NULL);
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    drivers->on_done = on_done;
    drivers->done_arg = arg;
    drivers->queue_at = drivers->queue_length = 0;
    fail_unreadable(drivers);
    if (drivers_order(drivers, &arena, &order, NULL)) {
        for (uint32_t i = 0; i < order.count; i++) {
            struct driver *driver = drivers->at[order.rows[i].driver];
            driver_advance(driver, &order.rows[i]);
            if (driver->state == DRIVER_RESOLVED)
                drivers->queue[drivers->queue_length++] = driver;
        }
    }
    arena_release(&arena);
    next_in_queue(drivers);
}

static int by_rank_down(const void *a, const void *b) {
    const struct driver *const *one = a, *const *other = b;
    return (*one)->rank < (*other)->rank ? 1 : (*one)->rank > (*other)->rank ? -1 : 0;
}

static void on_one_stopped(void *owner, struct runner *runner);

/* The gateway ends: processes go, states stay as they are, and the next start finds them LOST. */
static void stop_next(struct drivers *drivers) {
    while (drivers->queue_at < drivers->queue_length) {
        struct driver *driver = drivers->queue[drivers->queue_at];
        if (driver->runner != NULL) {
            runner_stop(driver->runner, on_one_stopped);
            return;
        }
        drivers->queue_at++;
    }
    uv_timer_start(&drivers->timer, on_queue_done, 0, 0);
}

static void on_one_stopped(void *owner, struct runner *runner) {
    struct driver *driver = owner;
    runner_release(runner);
    driver->runner = NULL;
    stop_next(driver->core->drivers);
}

void drivers_stop(struct core *core, void (*on_done)(void *arg), void *arg) {
    struct drivers *drivers = core->drivers;
    drivers->on_done = on_done;
    drivers->done_arg = arg;
    drivers->queue_at = 0;
    drivers->queue_length = drivers->count;
    memcpy(drivers->queue, drivers->at, drivers->count * sizeof drivers->at[0]);
    qsort(drivers->queue, drivers->count, sizeof drivers->queue[0], by_rank_down);
    stop_next(drivers);
}

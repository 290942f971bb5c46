/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_scan.c: which drivers there are: what the catalogue remembers and the directories hold.
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

static struct driver *add_driver(struct drivers *drivers, const char *name, const char *version) {
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

/* ---- what the directories hold -------------------------------------------------------------- */

bool driver_is_busy(const struct driver *driver) {
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
    return driver != NULL ? driver : add_driver(drivers, name, version);
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
    if (!text_is_name(name, sizeof name - 1))
        return; /* nobody could ask for it */
    struct driver *driver = find_or_add(drivers, name, version);
    if (driver == NULL || seen[index_of(drivers, driver)])
        return;
    seen[index_of(drivers, driver)] = true;
    if (driver_is_busy(driver))
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
    if (driver_is_busy(driver) && driver->has_manifest)
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
    if (driver_is_busy(driver) || driver->state == DRIVER_REMOVED)
        return; /* it runs on; the next start of the gateway will miss it */
    driver->has_manifest = false;
    driver->broken = ERR_INIT;
    err_set(&driver->broken, ERR_NOT_FOUND, "its archive is not there any more");
    if (has_pools(driver))
        return; /* its pools wait for it to come back */
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
    struct driver *driver = NULL;
    enum driver_state state = DRIVER_DISCOVERED;
    if (shape_decode(&driver_record_shape, entry->value.at, entry->value.length, &arena, &record,
                     NULL)) {
        (void)driver_state_parse(record.state, &state);
        if (state != DRIVER_REMOVED) /* those would only take the room of others */
            driver = add_driver(drivers, record.name, record.version);
    }
    if (driver != NULL) {
        text_copy(driver->category, sizeof driver->category, record.category);
        text_copy(driver->directory, sizeof driver->directory, record.directory);
        driver_want(driver, record.wanted);
        driver->changed_at = record.changed_at;
        driver->state = state;
    }
    arena_release(&arena);
    return true;
}

/* The processes of before are not this gateway's: what ran has to be started. */
static void after_restart(struct driver *driver) {
    if (driver_is_busy(driver))
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
    return true;
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

/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.c: one driver: its transitions and its process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "catalog/seal.h"
#include "core/driver_state.h"
#include "core/events.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"

/* ---- what is asked of a driver -------------------------------------------------------------- */

const char *driver_name(const struct driver *driver) {
    return driver->name;
}
const char *driver_version(const struct driver *driver) {
    return driver->version;
}
const char *driver_directory(const struct driver *driver) {
    return driver->directory;
}
const struct manifest *driver_manifest(const struct driver *driver) {
    return driver->has_manifest ? &driver->manifest : NULL;
}
enum driver_state driver_state(const struct driver *driver) {
    return driver->state;
}
const struct sluice_uuid *driver_tag(const struct driver *driver) {
    return &driver->tag;
}
const struct err *driver_cause(const struct driver *driver) {
    return &driver->cause;
}
void driver_want(struct driver *driver, const char *wanted) {
    text_copy(driver->wanted, sizeof driver->wanted, wanted);
}

struct driver *driver_find(struct core *core, const char *name, const char *version) {
    for (uint32_t i = 0; i < core->drivers->count; i++) {
        struct driver *driver = core->drivers->at[i];
        if (strcmp(driver->name, name) == 0 && strcmp(driver->version, version) == 0)
            return driver;
    }
    return NULL;
}

struct driver *driver_by_reference(struct core *core, const char *reference, struct err *err) {
    char name[64];
    const char *at = strchr(reference, '@');
    if (at != NULL && (size_t)(at - reference) < sizeof name) {
        memcpy(name, reference, (size_t)(at - reference));
        name[at - reference] = '\0';
        struct driver *driver = driver_find(core, name, at + 1);
        if (driver != NULL)
            return driver;
    }
    err_set(err, ERR_NOT_FOUND, "there is no driver %s: name it as NAME@VERSION", reference);
    return NULL;
}

static void say_what_there_is(struct core *core, const char *name, const char *range,
                              struct err *err) {
    char there[256] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < core->drivers->count && used < sizeof there - 1; i++) {
        const struct driver *driver = core->drivers->at[i];
        if (strcmp(driver->name, name) != 0)
            continue;
        int length = snprintf(there + used, sizeof there - used, "%s%s is %s", used > 0 ? ", " : "",
                              driver->version, driver_state_name(driver->state));
        used += length > 0 ? (size_t)length : 0;
    }
    if (there[0] == '\0')
        err_set(err, ERR_NOT_FOUND,
                "there is no driver %s: sluice driver list shows those there are", name);
    else
        err_set(err, ERR_DEPENDENCY, "no version of driver %s in \"%s\" is running: %s", name,
                range[0] != '\0' ? range : "*", there);
}

struct driver *driver_choose(struct core *core, const char *name, const char *range_text,
                             struct err *err) {
    struct version_range range;
    if (!version_range_parse(range_text[0] != '\0' ? range_text : "*", &range, err)) {
        err_context(err, "driver_version");
        return NULL;
    }
    struct driver *best = NULL;
    for (uint32_t i = 0; i < core->drivers->count; i++) {
        struct driver *driver = core->drivers->at[i];
        if (strcmp(driver->name, name) == 0 && driver->state == DRIVER_RUNNING &&
            driver->has_manifest && version_in_range(&driver->manifest.version, &range) &&
            (best == NULL ||
             version_compare(&driver->manifest.version, &best->manifest.version) > 0))
            best = driver;
    }
    if (best == NULL)
        say_what_there_is(core, name, range_text, err);
    else if (best->manifest.category != SLUICE_CATEGORY_STORAGE) {
        err_set(err, ERR_UNSUPPORTED, "driver %s is no storage driver: it has no pools", name);
        best = NULL;
    }
    return best;
}

bool drivers_uid_taken(const struct core *core, uint32_t uid) {
    for (uint32_t i = 0; i < core->drivers->count; i++)
        if (core->drivers->at[i]->runner != NULL && core->drivers->at[i]->uid == uid)
            return true;
    return uid == core->options.uid_high; /* kept for loading storage drivers once */
}

bool driver_reads_formats_of(const struct driver *driver, const struct driver *other,
                             struct err *err) {
    if (other == NULL || !other->has_manifest)
        return true; /* nothing is known of what it wrote: opening the pool will tell */
    const struct manifest_formats *writes = &other->manifest.writes;
    const struct manifest_formats *reads = &driver->manifest.reads;
    for (uint32_t i = 0; i < writes->count; i++) {
        bool found = false;
        for (uint32_t k = 0; k < reads->count; k++)
            found = found || reads->at[k] == writes->at[i];
        if (!found)
            return err_set(err, ERR_STATE, "%s %s writes format %u, which %s does not read",
                           other->name, other->version, writes->at[i], driver->version);
    }
    return true;
}

/* ---- transitions ---------------------------------------------------------------------------- */

static void on_persisted(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct core *core = arg;
    if (err->code != ERR_NONE && core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "catalogue", err->text);
}

static void record_put(struct driver *driver, struct catalog_txn *txn, const char *wanted) {
    struct driver_record record = {
        .name = driver->name,
        .version = driver->version,
        .category = driver->category,
        .state = driver_state_name(driver->state),
        .wanted = wanted,
        .cause = driver->cause.code != ERR_NONE ? driver->cause.text : "",
        .directory = driver->directory,
        .changed_at = driver->changed_at,
    };
    struct buf bytes;
    buf_init(&bytes, 8192);
    shape_encode(&driver_record_shape, &record, &bytes);
    CHECK(!bytes.overflow);
    struct key key;
    key_driver(&key, driver->name, driver->version);
    catalog_put(txn, key.at, key.length, bytes.at, bytes.length);
    buf_release(&bytes);
}

void driver_will_want(struct driver *driver, struct catalog_txn *txn, const char *wanted) {
    record_put(driver, txn, wanted);
}

static void persist(struct driver *driver, enum driver_event event) {
    char full_name[140], type[64];
    const char *cause = driver->cause.code != ERR_NONE ? driver->cause.text : "";
    snprintf(full_name, sizeof full_name, "%s@%s", driver->name, driver->version);
    snprintf(type, sizeof type, "driver.%s", driver_state_name(driver->state));
    struct event_record told = {
        .type = type,
        .noun = core_noun_name(CORE_DRIVER),
        .object_name = full_name,
        .principal = "",
        .text = cause[0] != '\0' ? cause : driver_event_name(event),
        .at = driver->changed_at,
    };
    struct catalog_txn *txn = catalog_begin(driver->core->catalog);
    record_put(driver, txn, driver->wanted);
    events_append(txn, &told);
    catalog_finishing(txn);
    catalog_submit(txn, on_persisted, driver->core);
}

bool driver_move(struct driver *driver, enum driver_event event, struct err *err) {
    if (!driver_next(driver->state, event, &driver->state, err))
        return false;
    if (event != DRIVER_EVENT_FAIL && event != DRIVER_EVENT_UNRESOLVE)
        driver->cause = ERR_INIT;
    driver->changed_at = clock_wall_ms();
    persist(driver, event);
    return true;
}

void driver_must_move(struct driver *driver, enum driver_event event) {
    CHECK(driver_move(driver, event, NULL));
}

/* ---- a driver's process --------------------------------------------------------------------- */

static void settled(struct driver *driver) {
    void (*on_settled)(void *) = driver->on_settled;
    driver->on_settled = NULL;
    driver_settled(driver);
    if (on_settled != NULL)
        on_settled(driver->settled_arg);
}

static bool keeps_process(const struct driver *driver) {
    return driver->manifest.category != SLUICE_CATEGORY_STORAGE;
}

static void on_runner_stopped(void *owner, struct runner *runner) {
    struct driver *driver = owner;
    runner_release(runner);
    driver->runner = NULL;
    driver->uid = 0;
    if (driver->state == DRIVER_STOPPING)
        driver_must_move(driver, DRIVER_EVENT_HALTED);
    else if (driver->state == DRIVER_STARTING && driver->cause.code != ERR_NONE)
        driver_must_move(driver, DRIVER_EVENT_FAIL);
    else if (driver->state == DRIVER_STARTING)
        driver_must_move(driver, DRIVER_EVENT_STARTED);
    settled(driver);
}

static void on_loaded(struct driver *driver) {
    if (driver->state != DRIVER_STARTING)
        return;
    if (keeps_process(driver)) {
        driver_must_move(driver, DRIVER_EVENT_STARTED);
        settled(driver);
    } else {
        runner_stop(driver->runner, on_runner_stopped);
    }
}

static void on_runner_state(void *owner, struct runner *runner, enum runner_state state,
                            const struct err *cause) {
    struct driver *driver = owner;
    if (state == RUNNER_SERVING) {
        on_loaded(driver);
    } else if (driver->state == DRIVER_STARTING && cause->code != ERR_NONE &&
               (state == RUNNER_DOWN || state == RUNNER_QUARANTINED ||
                cause->code != ERR_RUNNER_LOST)) {
        /* A driver that says no, or dies each time, is not tried for ever. */
        if (driver->cause.code != ERR_NONE)
            return;
        driver->cause = *cause;
        runner_stop(runner, on_runner_stopped);
    } else if ((driver->state == DRIVER_RUNNING || driver->state == DRIVER_SUSPENDED) &&
               state == RUNNER_QUARANTINED) {
        driver->cause = *cause;
        driver_must_move(driver, DRIVER_EVENT_FAIL);
        runner_stop(runner, on_runner_stopped);
    }
}

static void on_runner_log(void *owner, struct runner *runner, uint32_t level, const char *text) {
    struct driver *driver = owner;
    (void)runner;
    if (driver->core->options.on_log != NULL)
        driver->core->options.on_log(driver->core->owner, level, driver->name, text);
}

static uint32_t choose_uid(const struct driver *driver) {
    struct core *core = driver->core;
    if (!keeps_process(driver))
        return core->options.uid_high;
    for (uint32_t uid = core->options.uid_high - 1; uid > core->options.uid_low; uid--)
        if (!drivers_uid_taken(core, uid) && !pools_uid_taken(core, uid))
            return uid;
    return core->options.uid_high;
}

static bool spawn(struct driver *driver) {
    static const struct runner_events events = {on_runner_state, NULL, on_runner_log};
    char label[160];
    snprintf(label, sizeof label, "driver %s %s", driver->name, driver->version);
    driver->uid = choose_uid(driver);
    struct runner_spec spec = {
        .tag = driver->tag,
        .label = label,
        .uid = driver->uid,
        .gid = driver->uid,
        .load =
            {
                .directory = driver->directory,
                .library = driver->manifest.library,
                .name = driver->name,
                .version = driver->version,
                .category = driver->manifest.category,
                .memory_mib = driver->manifest.memory_mib,
                .open_files = driver->manifest.open_files,
                .network = driver->manifest.network,
            },
    };
    return runner_start(driver->core->runners, &spec, &events, driver, &driver->runner,
                        &driver->cause);
}

static void await(struct driver *driver, void (*on_settled)(void *arg), void *arg) {
    if (on_settled == NULL)
        return;
    CHECK(driver->on_settled == NULL); /* its lock lets one operation be about it */
    driver->on_settled = on_settled;
    driver->settled_arg = arg;
}

void driver_start(struct driver *driver, void (*on_settled)(void *arg), void *arg) {
    await(driver, on_settled, arg);
    if (driver->state == DRIVER_STARTING || driver->core->stopping)
        return;
    if (!driver->has_manifest && driver->state != DRIVER_STOPPING) {
        driver->cause = driver->broken;
        (void)driver_move(driver, DRIVER_EVENT_FAIL, NULL); /* where it has not failed already */
    }
    if (driver->state != DRIVER_RESOLVED) {
        settled(driver); /* its state and cause say why it does not start */
        return;
    }
    driver_must_move(driver, DRIVER_EVENT_START);
    driver->rank = ++driver->core->drivers->rank;
    if (!spawn(driver)) {
        driver_must_move(driver, DRIVER_EVENT_FAIL);
        settled(driver);
    }
}

void driver_stop(struct driver *driver, void (*on_settled)(void *arg), void *arg) {
    await(driver, on_settled, arg);
    if (driver->state != DRIVER_STOPPING && !driver_move(driver, DRIVER_EVENT_STOP, NULL)) {
        settled(driver);
        return;
    }
    if (driver->runner != NULL) {
        runner_stop(driver->runner, on_runner_stopped);
        return;
    }
    if (driver->state == DRIVER_STOPPING)
        driver_must_move(driver, DRIVER_EVENT_HALTED);
    settled(driver);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * core.c: ordered start, reverse stop.
 *
 *   catalogue and key; this gateway's id and incarnation (committed); supervisor's link; held
 * runners known; drivers in order; pools by name; operations that had not ended; ready
 */
#include "core/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "catalog/migrate.h"
#include "core/attachments.h"
#include "core/driver.h"
#include "core/engine_state.h"
#include "core/events.h"
#include "core/expiry.h"
#include "core/missing.h"
#include "core/pool.h"
#include "core/prune.h"
#include "core/state.h"
#include "core/store.h"

#define RETRY_LIMIT_DEFAULT_MS 30000
static const struct catalog_migration migrations[] = {
    {1, "the first layout", NULL},
};

static void fatal(struct core *core, const struct err *err) {
    core->stopping = true;
    core->on_fatal(core->owner, err);
}

/* ---- start ---------------------------------------------------------------------------------- */

static void on_ready(struct core *core) {
    struct err err = ERR_INIT;
    if (!attachments_export(core, &err)) {
        fatal(core, &err);
        return;
    }
    pools_start(core);
    if (!engine_recover(core->engine, &err)) {
        fatal(core, &err);
        return;
    }
    if (core->exports != NULL)
        exports_recovered(core->exports);
    runners_reap_unclaimed(core->runners);
    prune_start(core);
    core->ready = true;
    expiry_start(core);
    missing_start(core);
    core->on_ready(core->owner);
}

static void on_drivers_started(void *arg) {
    struct core *core = arg;
    if (!core->stopping)
        on_ready(core);
}

uint32_t core_data_uid(const struct core *core) {
    const struct core_options *options = &core->options;
    return options->uid_high > options->uid_low ? options->uid_high - 1 : options->uid_high;
}

static void on_exports_trouble(void *owner, const char *text) {
    struct core *core = owner;
    if (core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_WARNING, "exports", text);
}

/* Without a directory for their sockets volumes are not served, and everything else goes on. */
static void open_exports(struct core *core) {
    const struct exports_options options = {
        .directory = core->options.nbd_directory,
        .incarnation = core->incarnation,
        .uid = core_data_uid(core),
        .spin_ns = core->options.nbd_spin_ns,
        .tls = {.listen = core->options.nbd_listen,
                .certificate = core->options.nbd_certificate,
                .key = core->options.nbd_key,
                .address = core->options.nbd_address},
        .on_trouble = on_exports_trouble,
        .owner = core,
    };
    core->no_exports = ERR_INIT;
    if (!exports_open(core->loop, core->runners, &options, &core->exports, &core->no_exports))
        on_exports_trouble(core, core->no_exports.text);
}

static void on_runners_ready(void *owner, uint32_t held) {
    struct core *core = owner;
    struct err err = ERR_INIT;
    (void)held;
    if (core->stopping)
        return;
    if (!drivers_open(core, &err) || !pools_open(core, &err) || !drivers_scan(core, &err)) {
        fatal(core, &err);
        return;
    }
    open_exports(core);
    drivers_start(core, on_drivers_started, core);
}

static void on_super_lost(void *owner) {
    struct core *core = owner;
    struct err err = ERR_INIT;
    err_set(&err, ERR_SYSTEM, "sluice-super is gone");
    if (!core->stopping)
        fatal(core, &err);
}

static void on_identified(void *arg, uint64_t revision, const struct err *err) {
    struct core *core = arg;
    struct err trouble = *err;
    (void)revision;
    const struct runners_options options = {
        .incarnation = core->incarnation,
        .on_ready = on_runners_ready,
        .on_lost = on_super_lost,
        .owner = core,
    };
    if (core->stopping)
        return;
    int super_fd = core->options.super_fd;
    if (trouble.code == ERR_NONE) {
        core->options.super_fd = -1; /* the supervision's own now */
        (void)runners_open(core->loop, super_fd, &options, &core->runners, &trouble);
    }
    if (trouble.code != ERR_NONE)
        fatal(core, &trouble);
}

/* Who this gateway is stays for ever; how often it was started tells its calls from those of
 * before. */
static bool identify(struct core *core, struct err *err) {
    struct key id_key, count_key;
    struct catalog_value value;
    struct catalog_txn *txn = catalog_begin(core->catalog);
    key_gateway(&id_key, "id");
    key_gateway(&count_key, "incarnation");
    core->gateway = uuid_new();
    if (catalog_get(core->catalog, id_key.at, id_key.length, &value, err) &&
        value.length == sizeof core->gateway)
        memcpy(core->gateway.bytes, value.at, sizeof core->gateway.bytes);
    else
        catalog_put(txn, id_key.at, id_key.length, core->gateway.bytes, sizeof core->gateway.bytes);
    if (err->code == ERR_NONE &&
        catalog_get(core->catalog, count_key.at, count_key.length, &value, err) &&
        value.length == sizeof core->incarnation)
        memcpy(&core->incarnation, value.at, sizeof core->incarnation);
    if (err->code != ERR_NONE) {
        catalog_drop(txn);
        return false;
    }
    core->incarnation++;
    catalog_put(txn, count_key.at, count_key.length, &core->incarnation, sizeof core->incarnation);
    catalog_finishing(txn);
    catalog_submit(txn, on_identified, core);
    return true;
}

static bool open_store(struct core *core, struct err *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/key", core->options.state_directory);
    const struct catalog_options options = {
        .directory = core->options.state_directory,
        .map_bytes = core->options.map_bytes,
    };
    return catalog_open(core->loop, &options, &core->catalog, err) &&
           catalog_migrate(core->catalog, migrations, sizeof migrations / sizeof migrations[0],
                           err) &&
           seal_open(path, &core->seal, err);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct core *core = handle->data;
    void (*on_closed)(void *) = core->on_closed;
    void *owner = core->owner;
    free(core);
    if (on_closed != NULL)
        on_closed(owner);
}

static void on_missing_timer_closed(uv_handle_t *handle) {
    struct core *core = handle->data;
    uv_close((uv_handle_t *)&core->prune_timer, on_timer_closed);
}

static void on_expiry_timer_closed(uv_handle_t *handle) {
    struct core *core = handle->data;
    uv_close((uv_handle_t *)&core->missing_timer, on_missing_timer_closed);
}

static void release(struct core *core) {
    if (core->options.super_fd >= 0)
        close(core->options.super_fd);
    seal_close(core->seal);
    catalog_close(core->catalog);
    expiry_close(core);
    uv_close((uv_handle_t *)&core->expiry_timer, on_expiry_timer_closed);
}

bool core_open(struct uv_loop_s *loop, const struct core_options *options,
               void (*ready)(void *owner), void (*on_fatal)(void *owner, const struct err *err),
               void *owner, struct core **ret, struct err *err) {
    struct core *core = calloc(1, sizeof *core);
    if (core == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the core");
    core->magic = CORE_MAGIC;
    core->loop = loop;
    core->options = *options;
    text_copy(core->nbd_directory, sizeof core->nbd_directory,
              options->nbd_directory != NULL ? options->nbd_directory : "");
    core->options.nbd_directory = core->nbd_directory;
    if (core->options.retry_limit_ms == 0)
        core->options.retry_limit_ms = RETRY_LIMIT_DEFAULT_MS;
    core->on_ready = ready;
    core->on_fatal = on_fatal;
    core->owner = owner;
    core->started_ms = clock_wall_ms();
    uv_timer_init(loop, &core->prune_timer);
    core->prune_timer.data = core;
    uv_timer_init(loop, &core->expiry_timer);
    core->expiry_timer.data = core;
    uv_timer_init(loop, &core->missing_timer);
    core->missing_timer.data = core;
    LIST_INIT(&core->expiring);
    if (!open_store(core, err) || !events_open(core, &core->events, err) ||
        !engine_open(core, &core->engine, err) || !identify(core, err)) {
        events_close(core->events);
        engine_close(core->engine);
        release(core);
        return false;
    }
    *ret = core;
    return true;
}

bool core_ready(const struct core *core) {
    return core->ready;
}

/* ---- stop: exports, all pools at once, drivers in reverse of their start -------------------- */

/* What was submitted is committed and answered first, while all that its callbacks look at is still
 * there. */
static void close_all(struct core *core) {
    if (core->runners != NULL) {
        runners_quit(core->runners);
        runners_close(core->runners);
        core->runners = NULL;
    }
    catalog_wait(core->catalog);
    submissions_end(core->engine);
    catalog_close(core->catalog);
    core->catalog = NULL;
    engine_close(core->engine);
    pools_close(core);
    drivers_close(core);
    events_close(core->events);
    release(core);
}

static void on_drivers_stopped(void *arg) {
    close_all(arg);
}

/* Goes on once no pool has a runner. */
static void pools_stopped(struct core *core) {
    for (struct pool *pool = core->pools != NULL ? pools_next(core, NULL) : NULL; pool != NULL;
         pool = pools_next(core, pool))
        if (pool->runner != NULL)
            return;
    if (core->drivers != NULL)
        drivers_stop(core, on_drivers_stopped, core);
    else
        close_all(core);
}

static void on_pool_stopped(void *owner, struct runner *runner) {
    struct pool *pool = owner;
    runner_release(runner);
    pool->runner = NULL;
    pools_stopped(pool->core);
}

/* All at once: they do not know each other, and each may take its whole deadline. */
static void stop_pools(struct core *core) {
    for (struct pool *pool = core->pools != NULL ? pools_next(core, NULL) : NULL; pool != NULL;
         pool = pools_next(core, pool))
        if (pool->runner != NULL)
            runner_stop(pool->runner, on_pool_stopped);
    pools_stopped(core);
}

static void on_exports_closed(void *owner) {
    stop_pools(owner);
}

void core_close(struct core *core, void (*on_closed)(void *owner), void *owner) {
    CHECK_MAGIC(core, CORE_MAGIC);
    core->on_closed = on_closed;
    core->owner = owner;
    core->stopping = true;
    core->ready = false;
    prune_stop(core);
    expiry_stop(core);
    missing_stop(core);
    struct exports *exports = core->exports;
    core->exports = NULL;
    if (exports != NULL)
        exports_close(exports, on_exports_closed, core);
    else
        stop_pools(core);
}

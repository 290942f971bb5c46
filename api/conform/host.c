/* SPDX-License-Identifier: Apache-2.0
 *
 * host.c: see host.h: services, pools and control calls. Data calls are in host_data.c.
 */
#include "conform/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MOST_MS 200 /* what the gateway waits where a call says nothing */
#define RETRY_LOOP_MS \
    1 /* at once, but the driver waits for a descriptor, which only a turn tells */
#define RETRY_UNSAID_MS 2 /* asking sooner does no harm, and tests are many */

const char *status_name(int32_t status) {
    switch (status) {
#define SLUICE_STATUS(name, number, advice, sentence) \
    case number:                                      \
        return #name;
#include <sluice/status.def>
#undef SLUICE_STATUS
    default:
        return NULL;
    }
}

/* ---- the services ------------------------------------------------------------------------- */

static void say(const struct sluice_services *services, uint32_t level, const char *text) {
    struct host *host = services->runner;
    (void)level;
    (void)text;
    __atomic_add_fetch(&host->logged, 1, __ATOMIC_RELAXED);
}

static int32_t fail_call(const struct sluice_services *services, struct sluice_call *call,
                         int32_t status, const char *text) {
    (void)services;
    if (call->text[0] == '\0') {
        snprintf(call->text, sizeof call->text, "%s", text);
        call->status = status;
    }
    return status;
}

static void progress(const struct sluice_services *services, struct sluice_call *call,
                     uint64_t done, uint64_t total) {
    (void)services;
    if (done != call->done || total != call->total) {
        call->moved_ms = watch_now_ms();
    }
    call->done = done;
    call->total = total;
}

static bool is_ours(const struct host *host, const struct sluice_io *io) {
    uintptr_t first = (uintptr_t)host->ios;
    uintptr_t at = (uintptr_t)io;
    return at >= first && at < first + HOST_IOS_MAX * sizeof *host->ios &&
           (at - first) % sizeof *host->ios == 0;
}

static void complete(const struct sluice_services *services, struct sluice_io *io, int32_t status,
                     uint64_t token) {
    struct host *host = services->runner;
    struct host_io *own = (struct host_io *)io; /* its first member */
    pthread_mutex_lock(&host->lock);
    if (is_ours(host, io) && own->running) {
        own->running = false;
        own->status = status;
        own->token = token;
    } else {
        host->wrong++;
    }
    pthread_cond_broadcast(&host->ended);
    pthread_mutex_unlock(&host->lock);
    if (!host->watches.has_thread) {
        watches_ring(&host->watches); /* who waits makes turns */
    }
}

static void event(const struct sluice_services *services, uint32_t which,
                  const struct sluice_uuid *volume, int64_t value, const char *text) {
    struct host *host = services->runner;
    (void)which;
    (void)volume;
    (void)value;
    (void)text;
    __atomic_add_fetch(&host->events, 1, __ATOMIC_RELAXED);
}

static struct sluice_watch *add_watch(const struct sluice_services *services, int fd,
                                      uint32_t ready, uint32_t timeout_ms,
                                      sluice_on_ready *on_ready, void *argument) {
    struct host *host = services->runner;
    return watches_add(&host->watches, fd, ready, timeout_ms, on_ready, argument);
}

static void change_watch(const struct sluice_services *services, struct sluice_watch *watch,
                         uint32_t ready, uint32_t timeout_ms) {
    struct host *host = services->runner;
    watches_change(&host->watches, watch, ready, timeout_ms);
}

static void end_watch(const struct sluice_services *services, struct sluice_watch *watch) {
    struct host *host = services->runner;
    watches_remove(&host->watches, watch);
}

void host_begin(struct host *host, const char *library, struct watch *watch, uint32_t deadline_s) {
    char why[SLUICE_TEXT_MAX];
    struct sluice_call call = {.status = SLUICE_OK};
    const struct sluice_properties none = {NULL, 0};
    memset(host, 0, sizeof *host);
    host->watch = watch;
    host->deadline_s = deadline_s;
    host->ios = calloc(HOST_IOS_MAX, sizeof *host->ios);
    EXPECT(LOAD, host->ios != NULL, "there is no memory for the kit itself");
    pthread_mutex_init(&host->lock, NULL);
    pthread_cond_init(&host->ended, NULL);
    watch_begin(watch, "sluice_driver");
    EXPECT(LOAD, boundary_load(library, &host->boundary, why), "%s: %s", library, why);
    watch_end(watch);
    host->services = (struct sluice_services){
        .size = sizeof host->services,
        .version = SLUICE_ABI,
        .runner = host,
        .log = say,
        .fail = fail_call,
        .progress = progress,
        .complete = complete,
        .event = event,
        .watch = add_watch,
        .watch_change = change_watch,
        .unwatch = end_watch,
    };
    bool served =
        watches_open(&host->watches) &&
        (host->boundary.driver.threads == SLUICE_THREADS_LOOP || watches_serve(&host->watches));
    EXPECT(LOAD, served, "the kit itself gets no thread or no descriptor");
    watch_begin(watch, "start");
    int32_t status = host->boundary.driver.start(&host->services, &call, &none, &host->driver);
    watch_end(watch);
    EXPECT(START, status == SLUICE_OK, "start answered %d (\"%s\")", status, call.text);
}

void host_pause(struct host *host, uint32_t wait_ms) {
    uint64_t until_ms = watch_now_ms() + wait_ms;
    if (host->watches.has_thread) {
        if (wait_ms > 0) {
            usleep(1000 * wait_ms);
        }
        return;
    }
    for (uint64_t now_ms = until_ms - wait_ms; now_ms <= until_ms; now_ms = watch_now_ms()) {
        watches_turn(&host->watches, (int)(until_ms - now_ms));
        if (now_ms == until_ms) {
            return;
        }
    }
}

void host_check(struct host *host) {
    pthread_mutex_lock(&host->lock);
    uint32_t wrong = host->wrong;
    pthread_mutex_unlock(&host->lock);
    EXPECT(COMPLETE, wrong == 0, "complete() was called %u times for calls that were not under way",
           wrong);
}

void host_end(struct host *host) {
    watch_begin(host->watch, "stop");
    host->boundary.driver.stop(host->driver);
    watch_end(host->watch);
    host_check(host);
    uint32_t left = watches_close(&host->watches);
    EXPECT(WATCHES, left == 0, "after stop %u descriptors are still watched", left);
    boundary_unload(&host->boundary);
    pthread_cond_destroy(&host->ended);
    pthread_mutex_destroy(&host->lock);
    free(host->ios);
}

/* ---- pools and control calls -------------------------------------------------------------- */

#define ID_FIXED 12 /* bytes of an id that are the same in all of them */

struct sluice_uuid host_id(uint32_t number) {
    struct sluice_uuid id = {{0x01, 0x93, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++) {
        id.bytes[15 - i] = (uint8_t)(number >> 8 * i);
    }
    return id;
}

bool host_is_id(const struct sluice_uuid *id) {
    const struct sluice_uuid one = host_id(0);
    return memcmp(id, &one, ID_FIXED) == 0;
}

struct sluice_call *host_call(struct host_pool *pool, const char *name) {
    pool->call = (struct sluice_call){.status = SLUICE_OK, .moved_ms = watch_now_ms()};
    pool->asked = name;
    return &pool->call;
}

void host_enter(struct host_pool *pool) {
    if (pool->asked != NULL) {
        watch_begin(pool->host->watch, pool->asked);
    }
}

/* What holds for every answer. */
static void judge(const struct host_pool *pool, int32_t status) {
    EXPECT(STATUS, status_name(status) != NULL, "%s answered %d", pool->asked, status);
    if (status != SLUICE_OK) {
        EXPECT(TEXT, pool->call.text[0] != '\0', "%s answered %s and did not say why", pool->asked,
               status_name(status));
    }
}

bool host_goes_on(struct host_pool *pool, int32_t status, uint32_t retry_after_ms) {
    const char *name = pool->asked != NULL ? pool->asked : "the call";
    if (pool->asked != NULL) {
        watch_end(pool->host->watch);
    }
    if (status != SLUICE_PENDING) {
        if (pool->asked != NULL) {
            judge(pool, status);
        }
        return false;
    }
    uint64_t still_ms = watch_now_ms() - pool->call.moved_ms;
    pool->call.pending++;
    EXPECT(PROGRESS, still_ms < UINT64_C(1000) * pool->host->deadline_s,
           "%s answered PENDING %u times, for %llu s without progress", name, pool->call.pending,
           (unsigned long long)(still_ms / 1000));
    uint32_t wait_ms = retry_after_ms < RETRY_MOST_MS ? retry_after_ms : RETRY_MOST_MS;
    if (wait_ms == 0 && !pool->host->watches.has_thread) {
        wait_ms = RETRY_LOOP_MS;
    }
    host_pause(pool->host, wait_ms);
    return true;
}

int32_t host_open_pool(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                       uint32_t flags, const struct sluice_properties *properties) {
    int32_t status;
    const struct sluice_pool_open args = {
        .size = sizeof args,
        .flags = flags,
        .pool = *id,
        .gateway = host_id(1000000),
        .name = "conform",
        .properties = properties,
    };
    *pool = (struct host_pool){
        .host = host, .table = &host->boundary.storage, .limits.size = sizeof pool->limits};
    HOST_ASK_AS(
        pool, "pool_open", status, RETRY_UNSAID_MS,
        pool->table->pool_open(host->driver, &pool->call, &args, &pool->limits, &pool->pool));
    return status;
}

void host_close(struct host_pool *pool) {
    watch_begin(pool->host->watch, "pool_close");
    pool->table->pool_close(pool->pool);
    watch_end(pool->host->watch);
    pool->pool = NULL;
}

int32_t host_stat(struct host_pool *pool, struct sluice_capacity *ret) {
    int32_t status;
    *ret = (struct sluice_capacity){.size = sizeof *ret};
    HOST_ASK_AS(pool, "pool_stat", status, RETRY_UNSAID_MS,
                pool->table->pool_stat(pool->pool, &pool->call, ret));
    return status;
}

int32_t host_probe(struct host_pool *pool) {
    int32_t status;
    HOST_ASK_AS(pool, "pool_probe", status, RETRY_UNSAID_MS,
                pool->table->pool_probe(pool->pool, &pool->call));
    return status;
}

int32_t host_release(struct host_pool *pool) {
    int32_t status;
    HOST_ASK_AS(pool, "pool_release", status, RETRY_UNSAID_MS,
                pool->table->pool_release(pool->pool, &pool->call));
    return status;
}

/* ---- volumes ------------------------------------------------------------------------------ */

/* A result as the gateway hands it over: zero but for its size. */
static void clear_volume(struct sluice_volume *ret) {
    memset(ret, 0, sizeof *ret);
    ret->size = sizeof *ret;
}

static void check_volume(const struct host_pool *pool, const struct sluice_volume *told,
                         const struct sluice_uuid *id) {
    EXPECT(RESULT, told->size == sizeof *told, "%s changed its result's size to %u", pool->asked,
           told->size);
    EXPECT(RESULT, memcmp(&told->volume, id, sizeof *id) == 0,
           "%s answered OK, but its result tells another id", pool->asked);
    EXPECT(RESULT, memchr(told->name, '\0', sizeof told->name) != NULL, "%s: the name has no end",
           pool->asked);
    EXPECT(RESULT, told->format[0] != '\0' && memchr(told->format, '\0', sizeof told->format),
           "%s: the result tells no format", pool->asked);
}

int32_t host_create_as(struct host_pool *pool, const struct sluice_volume_create *args,
                       struct sluice_volume *ret) {
    int32_t status;
    clear_volume(ret);
    watch_add(pool->host->watch, WATCH_VOLUME, &args->volume, &args->volume);
    HOST_ASK_AS(pool, "volume_create", status, ret->retry_after_ms,
                pool->table->volume_create(pool->pool, &pool->call, args, ret));
    if (status == SLUICE_OK) {
        check_volume(pool, ret, &args->volume);
    }
    return status;
}

int32_t host_create_once(struct host_pool *pool, const struct sluice_volume_create *args,
                         struct sluice_volume *ret) {
    clear_volume(ret);
    watch_add(pool->host->watch, WATCH_VOLUME, &args->volume, &args->volume);
    host_call(pool, "volume_create");
    host_enter(pool);
    int32_t status = pool->table->volume_create(pool->pool, &pool->call, args, ret);
    host_goes_on(pool, status, 0);
    return status;
}

int32_t host_create(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                    uint64_t size_bytes, struct sluice_volume *ret) {
    const struct sluice_volume_create args = {
        .size = sizeof args,
        .source_kind = SLUICE_SOURCE_NONE,
        .volume = *volume,
        .size_bytes = size_bytes,
        .name = name,
        .format = "raw",
    };
    return host_create_as(pool, &args, ret);
}

int32_t host_clone(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                   uint64_t size_bytes, const struct sluice_uuid *of,
                   const struct sluice_uuid *snapshot, struct sluice_volume *ret) {
    const struct sluice_volume_create args = {
        .size = sizeof args,
        .source_kind = SLUICE_SOURCE_SNAPSHOT,
        .volume = *volume,
        .source = *snapshot,
        .source_volume = *of,
        .size_bytes = size_bytes,
        .name = name,
        .format = "raw",
    };
    return host_create_as(pool, &args, ret);
}

int32_t host_copy(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                  uint64_t size_bytes, const struct sluice_uuid *of, struct sluice_volume *ret) {
    const struct sluice_volume_create args = {
        .size = sizeof args,
        .source_kind = SLUICE_SOURCE_VOLUME,
        .volume = *volume,
        .source = *of,
        .size_bytes = size_bytes,
        .name = name,
        .format = "raw",
    };
    return host_create_as(pool, &args, ret);
}

int32_t host_delete(struct host_pool *pool, const struct sluice_uuid *volume) {
    int32_t status;
    HOST_ASK_AS(pool, "volume_delete", status, RETRY_UNSAID_MS,
                pool->table->volume_delete(pool->pool, &pool->call, volume));
    return status;
}

int32_t host_get(struct host_pool *pool, const struct sluice_uuid *volume,
                 struct sluice_volume *ret) {
    int32_t status;
    clear_volume(ret);
    HOST_ASK_AS(pool, "volume_get", status, ret->retry_after_ms,
                pool->table->volume_get(pool->pool, &pool->call, volume, ret));
    if (status == SLUICE_OK) {
        check_volume(pool, ret, volume);
    }
    return status;
}

int32_t host_list(struct host_pool *pool, struct sluice_list *list) {
    int32_t status;
    HOST_ASK_AS(pool, "volume_list", status, RETRY_UNSAID_MS,
                pool->table->volume_list(pool->pool, &pool->call, list));
    EXPECT(LIST, status != SLUICE_OK || list->count <= list->capacity,
           "volume_list tells %u entries where %u have room", list->count, list->capacity);
    return status;
}

int32_t host_resize(struct host_pool *pool, const struct sluice_uuid *volume, uint64_t size_bytes,
                    struct sluice_volume *ret) {
    int32_t status;
    clear_volume(ret);
    HOST_ASK_AS(pool, "volume_resize", status, ret->retry_after_ms,
                pool->table->volume_resize(pool->pool, &pool->call, volume, size_bytes, ret));
    if (status == SLUICE_OK) {
        check_volume(pool, ret, volume);
    }
    return status;
}

int32_t host_revert(struct host_pool *pool, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                    struct sluice_volume *ret) {
    int32_t status;
    clear_volume(ret);
    HOST_ASK_AS(
        pool, "volume_revert", status, ret->retry_after_ms,
        pool->table->volume_revert(pool->pool, &pool->call, volume, snapshot, operation, ret));
    if (status == SLUICE_OK) {
        check_volume(pool, ret, volume);
    }
    return status;
}

int32_t host_adopt(struct host_pool *pool, const struct sluice_uuid *volume, const char *reference,
                   const char *name, struct sluice_volume *ret) {
    int32_t status;
    clear_volume(ret);
    watch_add(pool->host->watch, WATCH_VOLUME, volume, volume);
    HOST_ASK_AS(pool, "volume_adopt", status, ret->retry_after_ms,
                pool->table->volume_adopt(pool->pool, &pool->call, volume, reference, name, ret));
    if (status == SLUICE_OK) {
        check_volume(pool, ret, volume);
    }
    return status;
}

int32_t host_unmanage(struct host_pool *pool, const struct sluice_uuid *volume,
                      char *ret_reference) {
    int32_t status;
    memset(ret_reference, 0, SLUICE_PATH_MAX);
    HOST_ASK_AS(pool, "volume_unmanage", status, RETRY_UNSAID_MS,
                pool->table->volume_unmanage(pool->pool, &pool->call, volume, ret_reference));
    return status;
}

/* ---- snapshots ---------------------------------------------------------------------------- */

static void clear_snapshot(struct sluice_snapshot *ret) {
    memset(ret, 0, sizeof *ret);
    ret->size = sizeof *ret;
}

static void check_snapshot(const struct host_pool *pool, const struct sluice_snapshot *told,
                           const struct sluice_uuid *volume, const struct sluice_uuid *id) {
    EXPECT(RESULT, told->size == sizeof *told, "%s changed its result's size to %u", pool->asked,
           told->size);
    EXPECT(RESULT,
           memcmp(&told->snapshot, id, sizeof *id) == 0 &&
               memcmp(&told->volume, volume, sizeof *volume) == 0,
           "%s answered OK, but its result tells another id or volume", pool->asked);
    EXPECT(RESULT, memchr(told->name, '\0', sizeof told->name) != NULL, "%s: the name has no end",
           pool->asked);
}

int32_t host_snapshot(struct host_pool *pool, const struct sluice_uuid *volume,
                      const struct sluice_uuid *snapshot, const char *name,
                      struct sluice_snapshot *ret) {
    int32_t status;
    clear_snapshot(ret);
    watch_add(pool->host->watch, WATCH_SNAPSHOT, volume, snapshot);
    HOST_ASK_AS(pool, "snapshot_create", status, ret->retry_after_ms,
                pool->table->snapshot_create(pool->pool, &pool->call, volume, snapshot, name, ret));
    if (status == SLUICE_OK) {
        check_snapshot(pool, ret, volume, snapshot);
    }
    return status;
}

int32_t host_snapshot_delete(struct host_pool *pool, const struct sluice_uuid *volume,
                             const struct sluice_uuid *snapshot) {
    int32_t status;
    HOST_ASK_AS(pool, "snapshot_delete", status, RETRY_UNSAID_MS,
                pool->table->snapshot_delete(pool->pool, &pool->call, volume, snapshot));
    return status;
}

int32_t host_snapshot_get(struct host_pool *pool, const struct sluice_uuid *volume,
                          const struct sluice_uuid *snapshot, struct sluice_snapshot *ret) {
    int32_t status;
    clear_snapshot(ret);
    HOST_ASK_AS(pool, "snapshot_get", status, ret->retry_after_ms,
                pool->table->snapshot_get(pool->pool, &pool->call, volume, snapshot, ret));
    if (status == SLUICE_OK) {
        check_snapshot(pool, ret, volume, snapshot);
    }
    return status;
}

int32_t host_snapshot_list(struct host_pool *pool, struct sluice_list *list) {
    int32_t status;
    HOST_ASK_AS(pool, "snapshot_list", status, RETRY_UNSAID_MS,
                pool->table->snapshot_list(pool->pool, &pool->call, list));
    EXPECT(LIST, status != SLUICE_OK || list->count <= list->capacity,
           "snapshot_list tells %u entries where %u have room", list->count, list->capacity);
    return status;
}

/* ---- access ------------------------------------------------------------------------------- */

int32_t host_grant(struct host_pool *pool, const struct sluice_access_grant *args,
                   struct sluice_connection *ret) {
    int32_t status;
    memset(ret, 0, sizeof *ret);
    ret->size = sizeof *ret;
    watch_add(pool->host->watch, WATCH_GRANT, &args->volume, &args->attachment);
    HOST_ASK_AS(pool, "access_grant", status, ret->retry_after_ms,
                pool->table->access_grant(pool->pool, &pool->call, args, ret));
    return status;
}

int32_t host_revoke(struct host_pool *pool, const struct sluice_uuid *attachment,
                    const struct sluice_uuid *volume) {
    int32_t status;
    HOST_ASK_AS(pool, "access_revoke", status, RETRY_UNSAID_MS,
                pool->table->access_revoke(pool->pool, &pool->call, attachment, volume));
    return status;
}

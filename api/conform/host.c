/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_host.c: see driver_host.h.
 */
#include "driver_host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the services ------------------------------------------------------------------------- */

/* A data call and who waits for it. */
struct waiting {
    struct sluice_io io;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t completions;
    int32_t status;
    uint64_t token;
};

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
    call->done = done;
    call->total = total;
}

static void complete(const struct sluice_services *services, struct sluice_io *io, int32_t status,
                     uint64_t token) {
    struct waiting *waiting = (struct waiting *)((char *)io - offsetof(struct waiting, io));
    (void)services;
    pthread_mutex_lock(&waiting->lock);
    waiting->completions++;
    waiting->status = status;
    waiting->token = token;
    pthread_cond_signal(&waiting->ended);
    pthread_mutex_unlock(&waiting->lock);
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

/* ---- watches: a thread that polls --------------------------------------------------------- */

struct sluice_watch {
    int fd;
    uint32_t ready;
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    sluice_on_ready *on_ready;
    void *argument;
    bool ended;
    struct sluice_watch *next;
};

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void begin_time(struct sluice_watch *watch) {
    watch->deadline_ms = watch->timeout_ms > 0 ? now_ms() + watch->timeout_ms : UINT64_MAX;
}

static void wake(struct host *host) {
    assert_int_equal(eventfd_write(host->bell, 1), 0);
}

static struct sluice_watch *add_watch(const struct sluice_services *services, int fd,
                                      uint32_t ready, uint32_t timeout_ms,
                                      sluice_on_ready *on_ready, void *argument) {
    struct host *host = services->runner;
    struct sluice_watch *watch = calloc(1, sizeof *watch);
    assert_non_null(watch);
    *watch = (struct sluice_watch){.fd = fd,
                                   .ready = ready,
                                   .timeout_ms = timeout_ms,
                                   .on_ready = on_ready,
                                   .argument = argument};
    begin_time(watch);
    pthread_mutex_lock(&host->lock);
    watch->next = host->watches;
    host->watches = watch;
    pthread_mutex_unlock(&host->lock);
    wake(host);
    return watch;
}

static void change_watch(const struct sluice_services *services, struct sluice_watch *watch,
                         uint32_t ready, uint32_t timeout_ms) {
    struct host *host = services->runner;
    pthread_mutex_lock(&host->lock);
    watch->ready = ready;
    watch->timeout_ms = timeout_ms;
    begin_time(watch);
    pthread_mutex_unlock(&host->lock);
    wake(host);
}

static void end_watch(const struct sluice_services *services, struct sluice_watch *watch) {
    struct host *host = services->runner;
    pthread_mutex_lock(&host->lock);
    watch->ended = true; /* the thread frees it */
    while (host->calling == watch && !pthread_equal(host->thread, pthread_self())) {
        pthread_cond_wait(&host->returned, &host->lock);
    }
    pthread_mutex_unlock(&host->lock);
    wake(host);
}

static void free_ended(struct host *host) {
    for (struct sluice_watch **link = &host->watches; *link != NULL;) {
        struct sluice_watch *watch = *link;
        if (!watch->ended) {
            link = &watch->next;
            continue;
        }
        *link = watch->next;
        free(watch);
    }
}

/* Calls what is ready; the lock is held, but not meanwhile. */
static void call_watch(struct host *host, struct sluice_watch *watch, short events) {
    uint32_t ready = ((events & POLLIN) != 0 ? SLUICE_READY_READ : 0) |
                     ((events & POLLOUT) != 0 ? SLUICE_READY_WRITE : 0);
    ready &= watch->ready;
    ready |= (events & (POLLHUP | POLLERR)) != 0 ? SLUICE_READY_HANGUP : 0;
    ready |= ready == 0 && now_ms() >= watch->deadline_ms ? SLUICE_READY_TIMEOUT : 0;
    if (watch->ended || ready == 0) {
        return;
    }
    begin_time(watch);
    host->calling = watch;
    pthread_mutex_unlock(&host->lock);
    watch->on_ready(watch->argument, ready);
    pthread_mutex_lock(&host->lock);
    host->calling = NULL;
    pthread_cond_broadcast(&host->returned);
}

static void *serve_watches(void *argument) {
    struct host *host = argument;
    static struct pollfd fds[1 + SLUICE_WATCHES_MAX];
    static struct sluice_watch *of[1 + SLUICE_WATCHES_MAX];
    pthread_mutex_lock(&host->lock);
    while (!host->ending) {
        free_ended(host);
        nfds_t count = 1;
        uint64_t first_ms = UINT64_MAX;
        fds[0] = (struct pollfd){.fd = host->bell, .events = POLLIN};
        for (struct sluice_watch *watch = host->watches; watch != NULL; watch = watch->next) {
            short events = (short)(((watch->ready & SLUICE_READY_READ) != 0 ? POLLIN : 0) |
                                   ((watch->ready & SLUICE_READY_WRITE) != 0 ? POLLOUT : 0));
            of[count] = watch;
            fds[count++] = (struct pollfd){.fd = watch->fd, .events = events};
            first_ms = watch->deadline_ms < first_ms ? watch->deadline_ms : first_ms;
        }
        uint64_t now = now_ms();
        int wait_ms = first_ms == UINT64_MAX ? -1 : first_ms <= now ? 0 : (int)(first_ms - now);
        pthread_mutex_unlock(&host->lock);
        poll(fds, count, wait_ms);
        eventfd_t bell;
        if ((fds[0].revents & POLLIN) != 0) {
            assert_int_equal(eventfd_read(host->bell, &bell), 0);
        }
        pthread_mutex_lock(&host->lock);
        for (nfds_t i = 1; i < count; i++) {
            call_watch(host, of[i], fds[i].revents);
        }
    }
    free_ended(host);
    pthread_mutex_unlock(&host->lock);
    return NULL;
}

void host_start(struct host *host, const char *library) {
    char why[SLUICE_TEXT_MAX];
    struct sluice_call call = {.status = SLUICE_OK};
    struct sluice_properties none = {NULL, 0};
    memset(host, 0, sizeof *host);
    if (!boundary_load(library, &host->boundary, why)) {
        fail_msg("%s: %s", library, why);
    }
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
    host->bell = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&host->lock, NULL);
    pthread_cond_init(&host->returned, NULL);
    assert_int_equal(pthread_create(&host->thread, NULL, serve_watches, host), 0);
    assert_int_equal(host->boundary.driver.start(&host->services, &call, &none, &host->driver),
                     SLUICE_OK);
}

void host_stop(struct host *host) {
    host->boundary.driver.stop(host->driver);
    pthread_mutex_lock(&host->lock);
    host->ending = true;
    pthread_mutex_unlock(&host->lock);
    wake(host);
    pthread_join(host->thread, NULL);
    assert_null(host->watches);
    pthread_cond_destroy(&host->returned);
    pthread_mutex_destroy(&host->lock);
    close(host->bell);
    boundary_unload(&host->boundary);
}

/* ---- pools and control calls -------------------------------------------------------------- */

struct sluice_uuid host_id(uint32_t number) {
    struct sluice_uuid id = {{0x01, 0x93, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++) {
        id.bytes[15 - i] = (uint8_t)(number >> 8 * i);
    }
    return id;
}

struct sluice_call *host_call(struct host_pool *pool) {
    pool->call = (struct sluice_call){.status = SLUICE_OK};
    return &pool->call;
}

int32_t host_open(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                  uint32_t flags, const struct host_property *bag) {
    struct sluice_property properties[HOST_PROPERTIES_MAX];
    struct sluice_properties all = {properties, 0};
    for (; bag != NULL && bag->name != NULL && all.count < HOST_PROPERTIES_MAX; bag++) {
        properties[all.count++] = (struct sluice_property){
            .name = bag->name,
            .text = bag->text,
            .integer = bag->number,
            .kind = bag->text != NULL ? SLUICE_PROPERTY_STRING : SLUICE_PROPERTY_NUMBER,
        };
    }
    struct sluice_pool_open args = {
        .size = sizeof args,
        .flags = flags,
        .pool = *id,
        .gateway = host_id(1000000),
        .name = "test",
        .properties = &all,
    };
    *pool = (struct host_pool){
        .host = host, .table = &host->boundary.storage, .limits.size = sizeof pool->limits};
    return pool->table->pool_open(host->driver, &pool->call, &args, &pool->limits, &pool->pool);
}

void host_close(struct host_pool *pool) {
    pool->table->pool_close(pool->pool);
    pool->pool = NULL;
}

bool host_goes_on(struct host_pool *pool, int32_t status) {
    if (status != SLUICE_PENDING) {
        return false;
    }
    /* Each answer is a slice of work or a wait of the driver's; so many are a driver that hangs. */
    if (++pool->call.pending > 100000) {
        fail_msg("PENDING without end");
    }
    return true;
}

static int32_t create(struct host_pool *pool, const struct sluice_volume_create *args,
                      struct sluice_volume *ret) {
    int32_t status;
    ret->size = sizeof *ret;
    HOST_ASK(pool, status, pool->table->volume_create(pool->pool, &pool->call, args, ret));
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
    return create(pool, &args, ret);
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
    return create(pool, &args, ret);
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
    return create(pool, &args, ret);
}

int32_t host_snapshot(struct host_pool *pool, const struct sluice_uuid *volume,
                      const struct sluice_uuid *snapshot, const char *name,
                      struct sluice_snapshot *ret) {
    int32_t status;
    ret->size = sizeof *ret;
    HOST_ASK(pool, status,
             pool->table->snapshot_create(pool->pool, &pool->call, volume, snapshot, name, ret));
    return status;
}

int32_t host_revert(struct host_pool *pool, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                    struct sluice_volume *ret) {
    int32_t status;
    ret->size = sizeof *ret;
    HOST_ASK(pool, status,
             pool->table->volume_revert(pool->pool, &pool->call, volume, snapshot, operation, ret));
    return status;
}

/* ---- data --------------------------------------------------------------------------------- */

int32_t host_data_open(struct host_data *data, struct host_pool *pool,
                       const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                       uint64_t epoch, bool read_only) {
    struct sluice_data_open args = {
        .size = sizeof args,
        .read_only = read_only,
        .volume = *volume,
        .epoch = epoch,
    };
    if (snapshot != NULL) {
        args.snapshot = *snapshot;
    }
    *data = (struct host_data){.pool = pool, .opened.size = sizeof data->opened};
    return pool->table->data_open(pool->pool, host_call(pool), &args, &data->opened);
}

void host_data_close(struct host_data *data) {
    data->pool->table->data_close(data->opened.handle);
    data->opened.handle = NULL;
}

typedef void data_call(void *handle, struct sluice_io *io);

/* Makes the call and waits; *io comes back as the driver left it. */
static int32_t run(struct host_data *data, data_call *call, struct sluice_io *io) {
    struct waiting waiting = {
        .io = *io, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct timespec deadline;
    waiting.io.size = sizeof waiting.io;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += HOST_DEADLINE_S;
    call(data->opened.handle, &waiting.io);
    pthread_mutex_lock(&waiting.lock);
    int late = 0;
    while (waiting.completions == 0 && late == 0) {
        late = pthread_cond_timedwait(&waiting.ended, &waiting.lock, &deadline);
    }
    pthread_mutex_unlock(&waiting.lock);
    if (waiting.completions != 1) {
        fail_msg("a data call was completed %u times", waiting.completions);
    }
    pthread_cond_destroy(&waiting.ended);
    pthread_mutex_destroy(&waiting.lock);
    __atomic_store_n(&data->token, waiting.token, __ATOMIC_RELAXED); /* several threads may run */
    *io = waiting.io;
    return waiting.status;
}

int32_t host_read(struct host_data *data, uint64_t offset, void *ret_bytes, uint64_t length) {
    struct sluice_io io = {.offset = offset, .length = length, .buffer = ret_bytes};
    return run(data, data->pool->table->data_read, &io);
}

int32_t host_write(struct host_data *data, uint64_t offset, const void *bytes, uint64_t length,
                   uint32_t flags) {
    /* A copy, because a driver may only read what it is given but the member is not const. */
    void *payload = malloc(length > 0 ? length : 1);
    assert_non_null(payload);
    memcpy(payload, bytes, length);
    struct sluice_io io = {.flags = flags, .offset = offset, .length = length, .buffer = payload};
    int32_t status = run(data, data->pool->table->data_write, &io);
    assert_memory_equal(payload, bytes, length);
    free(payload);
    return status;
}

int32_t host_zero(struct host_data *data, uint64_t offset, uint64_t length, uint32_t flags) {
    struct sluice_io io = {.flags = flags, .offset = offset, .length = length};
    return run(data, data->pool->table->data_write_zeroes, &io);
}

int32_t host_trim(struct host_data *data, uint64_t offset, uint64_t length) {
    struct sluice_io io = {.offset = offset, .length = length};
    return run(data, data->pool->table->data_trim, &io);
}

int32_t host_flush(struct host_data *data) {
    struct sluice_io io = {.offset = 0};
    return run(data, data->pool->table->data_flush, &io);
}

int32_t host_extents(struct host_data *data, uint64_t offset, uint64_t length,
                     struct sluice_extent *ret_extents, uint32_t capacity, uint32_t *ret_count) {
    struct sluice_io io = {
        .offset = offset, .length = length, .extents = ret_extents, .extents_capacity = capacity};
    int32_t status = run(data, data->pool->table->data_extents, &io);
    *ret_count = io.extents_count;
    return status;
}

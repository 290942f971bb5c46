/* SPDX-License-Identifier: Apache-2.0
 *
 * host_data.c: see host.h: data calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conform/host.h"

#define PATIENCE_MS 20 /* between two questions that were answered BUSY */

#define TURN_MS 100 /* a look at the deadline; complete() ends the wait */

typedef void data_call(void *handle, struct sluice_io *io);

static data_call *member(const struct sluice_storage *table, enum host_verb verb,
                         const char **ret_name) {
    switch (verb) {
    case HOST_READ:
        *ret_name = "data_read";
        return table->data_read;
    case HOST_WRITE:
        *ret_name = "data_write";
        return table->data_write;
    case HOST_FLUSH:
        *ret_name = "data_flush";
        return table->data_flush;
    case HOST_ZEROES:
        *ret_name = "data_write_zeroes";
        return table->data_write_zeroes;
    case HOST_TRIM:
        *ret_name = "data_trim";
        return table->data_trim;
    case HOST_EXTENTS:
        *ret_name = "data_extents";
        return table->data_extents;
    }
    abort();
}

int32_t host_data_open(struct host_data *data, struct host_pool *pool,
                       const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                       uint64_t epoch, bool read_only) {
    int32_t status;
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
    HOST_ASK_AS(pool, "data_open", status, PATIENCE_MS,
                pool->table->data_open(pool->pool, &pool->call, &args, &data->opened));
    data->token = data->opened.token;
    return status;
}

int32_t host_data_open_patiently(struct host_data *data, struct host_pool *pool,
                                 const struct sluice_uuid *volume,
                                 const struct sluice_uuid *snapshot, uint64_t epoch,
                                 bool read_only) {
    uint64_t begun_ms = watch_now_ms();
    for (;;) {
        int32_t status = host_data_open(data, pool, volume, snapshot, epoch, read_only);
        bool again = status == SLUICE_BUSY || status == SLUICE_UNREACHABLE ||
                     status == SLUICE_TIMEOUT || status == SLUICE_NO_MEMORY;
        if (!again || watch_now_ms() - begun_ms > UINT64_C(1000) * pool->host->deadline_s) {
            return status;
        }
        host_pause(pool->host, PATIENCE_MS);
    }
}

void host_data_close(struct host_data *data) {
    watch_begin(data->pool->host->watch, "data_close");
    data->pool->table->data_close(data->opened.handle);
    watch_end(data->pool->host->watch);
    data->opened.handle = NULL;
    host_check(data->pool->host);
}

struct host_io *host_submit(struct host_data *data, enum host_verb verb,
                            const struct sluice_io *what) {
    struct host *host = data->pool->host;
    const char *name;
    data_call *call = member(data->pool->table, verb, &name);
    pthread_mutex_lock(&host->lock);
    struct host_io *io = &host->ios[host->next];
    for (uint32_t tried = 0; io->running && tried < HOST_IOS_MAX; tried++) {
        host->next = (host->next + 1) % HOST_IOS_MAX;
        io = &host->ios[host->next];
    }
    host->next = (host->next + 1) % HOST_IOS_MAX;
    bool free_one = !io->running;
    if (free_one) {
        *io = (struct host_io){.io = *what, .running = true};
        io->io.size = sizeof io->io;
    }
    pthread_mutex_unlock(&host->lock);
    EXPECT(COMPLETE, free_one, "%d data calls are under way and none is completed", HOST_IOS_MAX);
    watch_begin(host->watch, name);
    call(data->opened.handle, &io->io);
    watch_end(host->watch);
    return io;
}

int32_t host_wait(struct host_data *data, struct host_io *io, struct sluice_io *ret_io) {
    struct host *host = data->pool->host;
    struct timespec deadline;
    uint64_t until_ms = watch_now_ms() + UINT64_C(1000) * host->deadline_s;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += host->deadline_s;
    pthread_mutex_lock(&host->lock);
    int late = 0;
    while (io->running && late == 0 && host->watches.has_thread) {
        late = pthread_cond_timedwait(&host->ended, &host->lock, &deadline);
    }
    while (io->running && !host->watches.has_thread && watch_now_ms() < until_ms) {
        pthread_mutex_unlock(&host->lock);
        watches_turn(&host->watches, TURN_MS);
        pthread_mutex_lock(&host->lock);
    }
    bool running = io->running;
    int32_t status = io->status;
    if (!running && ret_io != NULL) {
        *ret_io = io->io;
    }
    uint64_t token = io->token;
    pthread_mutex_unlock(&host->lock);
    EXPECT(COMPLETE, !running, "a data call at %llu of %llu bytes was not completed within %u s",
           (unsigned long long)io->io.offset, (unsigned long long)io->io.length, host->deadline_s);
    EXPECT(STATUS, status_name(status) != NULL && status != SLUICE_PENDING,
           "a data call was completed with %d", status);
    __atomic_store_n(&data->token, token, __ATOMIC_RELAXED); /* several threads may run */
    host_check(host);
    return status;
}

void host_cancel(struct host_data *data, struct host_io *io) {
    struct host *host = data->pool->host;
    pthread_mutex_lock(&host->lock);
    bool running = io->running;
    pthread_mutex_unlock(&host->lock);
    /* It may end meanwhile: a place is not used again before all others were, so that is harmless
     * here as it is in a runner. */
    if (running) {
        watch_begin(host->watch, "data_cancel");
        data->pool->table->data_cancel(data->opened.handle, &io->io);
        watch_end(host->watch);
    }
}

static int32_t run(struct host_data *data, enum host_verb verb, const struct sluice_io *what,
                   struct sluice_io *ret_io) {
    return host_wait(data, host_submit(data, verb, what), ret_io);
}

int32_t host_read(struct host_data *data, uint64_t offset, void *ret_bytes, uint64_t length) {
    const struct sluice_io io = {.offset = offset, .length = length, .buffer = ret_bytes};
    return run(data, HOST_READ, &io, NULL);
}

int32_t host_write(struct host_data *data, uint64_t offset, const void *bytes, uint64_t length,
                   uint32_t flags) {
    /* A copy, because a driver may only read what it is given but the member is not const. */
    void *payload = malloc(length > 0 ? length : 1);
    EXPECT(HOLD_STILL, payload != NULL, "there is no memory for the kit itself");
    memcpy(payload, bytes, length);
    const struct sluice_io io = {
        .flags = flags, .offset = offset, .length = length, .buffer = payload};
    int32_t status = run(data, HOST_WRITE, &io, NULL);
    EXPECT(HOLD_STILL, memcmp(payload, bytes, length) == 0, "data_write changed its payload");
    free(payload);
    return status;
}

int32_t host_zero(struct host_data *data, uint64_t offset, uint64_t length, uint32_t flags) {
    const struct sluice_io io = {.flags = flags, .offset = offset, .length = length};
    return run(data, HOST_ZEROES, &io, NULL);
}

int32_t host_trim(struct host_data *data, uint64_t offset, uint64_t length) {
    const struct sluice_io io = {.offset = offset, .length = length};
    return run(data, HOST_TRIM, &io, NULL);
}

int32_t host_flush(struct host_data *data) {
    const struct sluice_io io = {.offset = 0};
    return run(data, HOST_FLUSH, &io, NULL);
}

int32_t host_extents(struct host_data *data, uint64_t offset, uint64_t length,
                     struct sluice_extent *ret_extents, uint32_t capacity, uint32_t *ret_count) {
    const struct sluice_io io = {
        .offset = offset, .length = length, .extents = ret_extents, .extents_capacity = capacity};
    struct sluice_io told = io;
    int32_t status = run(data, HOST_EXTENTS, &io, &told);
    *ret_count = told.extents_count;
    return status;
}

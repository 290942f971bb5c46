/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: life, rings, and the control calls of the data side.
 */
#include "runner/data.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "runner/data_state.h"
#include "runner/dispatch.h"
#include "runner/words.h"

#define IO_ALIGN_MAX (1u << 20)

/* ---- life ----------------------------------------------------------------------------------- */

struct data *data_create(struct services *services, void (*wake)(void *owner), void *owner) {
    struct data *data = calloc(1, sizeof *data); /* pages that nothing uses are never touched */
    if (data == NULL)
        return NULL;
    data->services = services;
    data->wake = wake;
    data->owner = owner;
    data->kick = -1;
    CHECK(pthread_mutex_init(&data->mutex, NULL) == 0);
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&data->ended, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    data->free.end = &data->free.head;
    data->waiting.end = &data->waiting.head;
    for (uint32_t i = 0; i < DATA_PLACES; i++)
        places_push(&data->free, &data->places[i]);
    return data;
}

void data_destroy(struct data *data) {
    if (data == NULL)
        return;
    CHECK(data->running == 0 && !data->has_thread);
    if (data->kick >= 0)
        close(data->kick);
    pthread_cond_destroy(&data->ended);
    pthread_mutex_destroy(&data->mutex);
    free(data);
}

void data_start(struct data *data, const struct driver *driver, const struct sluice_pool *limits) {
    data->driver = driver;
    data->limits = limits;
}

bool data_has_thread(const struct data *data) {
    return data_model(data) == SLUICE_THREADS_PER_VOLUME ||
           data_model(data) == SLUICE_THREADS_PARALLEL;
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void kick_thread(void *owner) {
    struct data *data = owner;
    uint64_t one = 1;
    ssize_t written = write(data->kick, &one, sizeof one);
    (void)written; /* full: it is readable */
}

/* Until the current ring or a kick wakes us. */
static void thread_sleep(struct data *data) {
    struct pollfd fds[2] = {{.fd = data->kick, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (data->asleep)
        fds[1].fd = data->current->ring.wake_runner;
    if (poll(fds, 2, -1) > 0 && fds[0].revents != 0) {
        uint64_t count;
        ssize_t taken = read(data->kick, &count, sizeof count);
        (void)taken;
    }
}

static void *thread_main(void *argument) {
    struct data *data = argument;
    words_enter_thread();
    for (;;) {
        bool more = data_turn(data, clock_mono_ns() + DATA_TURN_MS * UINT64_C(1000000));
        pthread_mutex_lock(&data->mutex);
        bool stopping = data->stopping;
        pthread_mutex_unlock(&data->mutex);
        if (stopping)
            break;
        if (!more)
            thread_sleep(data);
    }
    words_leave_thread();
    return NULL;
}

static bool thread_start(struct data *data, struct err *err) {
    if (data->has_thread || !data_has_thread(data))
        return true;
    data->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (data->kick < 0)
        return err_errno(err, ERR_SYSTEM, errno, "an eventfd for data calls");
    data->wake = kick_thread;
    data->owner = data;
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    pthread_attr_setstacksize(&attributes, DISPATCH_STACK_BYTES);
    int wrong = pthread_create(&data->thread, &attributes, thread_main, data);
    pthread_attr_destroy(&attributes);
    if (wrong != 0) {
        close(data->kick);
        data->kick = -1;
        return err_errno(err, ERR_SYSTEM, wrong, "a thread for data calls");
    }
    data->has_thread = true;
    return true;
}

/* ---- rings ---------------------------------------------------------------------------------- */

static struct data_ring *free_ring(struct data *data) {
    for (uint32_t i = 0; i < DATA_RINGS_MAX; i++)
        if (!data->rings[i].used)
            return &data->rings[i];
    return NULL;
}

bool data_attach(struct data *data, const int descriptors[3], struct err *err) {
    struct ring ring;
    if (!ring_open(descriptors[0], descriptors[1], descriptors[2], &ring, err))
        return false;
    pthread_mutex_lock(&data->mutex);
    data_retire(data, data->next); /* one that no turn took over in time */
    data->next = NULL;
    struct data_ring *place = free_ring(data);
    bool good = (place != NULL && !data->stopping) ||
                err_set(err, ERR_BUSY, "calls of former rings have not ended");
    good = good && thread_start(data, err);
    if (good) {
        *place = (struct data_ring){.ring = ring, .used = true};
        data->next = place;
        data->kicked = false; /* this one counts in any case */
        data_kick(data);
    }
    pthread_mutex_unlock(&data->mutex);
    if (!good)
        ring_release(&ring);
    return good;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static struct timespec deadline_in(uint32_t ms) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_nsec + (uint64_t)ms * 1000000;
    return (struct timespec){.tv_sec = now.tv_sec + (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

/* Answers what waits of this open, which closes, and waits for the rest; false: not in time. */
static bool drain(struct data *data, struct data_open *open) {
    open->closing = true;
    for (struct place_io **link = &data->waiting.head; *link != NULL;) {
        struct place_io *place = *link;
        if (place->open != open) {
            link = &place->next;
            continue;
        }
        data_answer(place->ring, place->submission.tag, SLUICE_CANCELLED, 0);
        ring_publish(&place->ring->ring);
        place_forget(data, link);
    }
    struct timespec deadline = deadline_in(DATA_OPEN_WAIT_MS);
    bool in_time = data_model(data) != SLUICE_THREADS_LOOP;
    while (open->taken > 0 && in_time)
        in_time = pthread_cond_timedwait(&data->ended, &data->mutex, &deadline) != ETIMEDOUT;
    return open->taken == 0;
}

/* Closes an open that closes and has no calls; gives the mutex up meanwhile. */
static void close_drained(struct data *data, struct data_open *open) {
    void *of_driver = open->of_driver;
    pthread_mutex_unlock(&data->mutex);
    if (data->driver->storage.data_close != NULL)
        data->driver->storage.data_close(of_driver);
    pthread_mutex_lock(&data->mutex);
    data_table_remove(open);
}

void data_hold(struct data *data, const struct sluice_uuid *volumes, uint32_t count) {
    if (data->driver == NULL || data_model(data) != SLUICE_THREADS_PER_VOLUME)
        return;
    pthread_mutex_lock(&data->mutex);
    for (uint32_t i = 0; i < count; i++) {
        struct data_volume *volume = data_table_volume(&data->table, &volumes[i]);
        if (volume == NULL)
            continue;
        volume->holds++;
        while (volume->running > 0)
            pthread_cond_wait(&data->ended, &data->mutex);
    }
    pthread_mutex_unlock(&data->mutex);
}

void data_unhold(struct data *data, const struct sluice_uuid *volumes, uint32_t count) {
    if (data->driver == NULL || data_model(data) != SLUICE_THREADS_PER_VOLUME)
        return;
    pthread_mutex_lock(&data->mutex);
    for (uint32_t i = 0; i < count; i++) {
        struct data_volume *volume = data_table_volume(&data->table, &volumes[i]);
        /* The call may have opened it, or have closed and opened it again: then nobody holds it. */
        if (volume != NULL && volume->holds > 0)
            volume->holds--;
    }
    if (data->waiting.head != NULL)
        data_kick(data);
    pthread_mutex_unlock(&data->mutex);
}

/* ---- open and close ------------------------------------------------------------------------- */

static void answer_open(const struct data *data, const struct data_open *open,
                        struct wire_data_opened *ret) {
    *ret = (struct wire_data_opened){
        .handle = data_table_handle(&data->table, open),
        .io_align = open->io_align,
        .size_bytes = open->size_bytes,
        .token = open->token,
    };
}

static bool is_of(const struct data_open *open, const struct wire_data_open *args) {
    return open->used && uuid_equal(&open->volume->volume, &args->volume) &&
           uuid_equal(&open->snapshot, &args->snapshot);
}

/* Looks at what is open already. OK with *ret_open: that is it; OK without: nothing is in the way.
 */
static int32_t clear_the_way(struct data *data, const struct wire_data_open *args,
                             struct data_open **ret_open) {
    *ret_open = NULL;
    for (uint32_t i = 0; i < data->table.end; i++) {
        struct data_open *open = &data->table.opens[i];
        if (!is_of(open, args))
            continue;
        if (open->epoch > args->epoch)
            return SLUICE_STALE;
        if (open->epoch == args->epoch && !open->closing) {
            if (open->read_only != args->read_only)
                continue;
            *ret_open = open;
            return SLUICE_OK;
        }
        if (!drain(data, open))
            return SLUICE_PENDING;
        close_drained(data, open);
    }
    return SLUICE_OK;
}

static bool is_answer_good(const struct sluice_data_opened *opened, struct err *err) {
    uint32_t align = opened->io_align;
    if (align == 0 || align > IO_ALIGN_MAX || (align & (align - 1)) != 0)
        return err_set(err, ERR_INTERNAL, "opened a volume with the alignment %u", align);
    return true;
}

static int32_t open_new(struct data *data, void *pool, struct sluice_call *call,
                        const struct wire_data_open *args, struct wire_data_opened *ret,
                        struct err *err) {
    struct sluice_data_open ask = {
        .size = sizeof ask,
        .read_only = args->read_only,
        .volume = args->volume,
        .snapshot = args->snapshot,
        .epoch = args->epoch,
    };
    struct sluice_data_opened opened = {.size = sizeof opened};
    int32_t status = data->driver->storage.data_open(pool, call, &ask, &opened);
    if (status != SLUICE_OK)
        return status;
    pthread_mutex_lock(&data->mutex);
    struct data_open *open =
        is_answer_good(&opened, err) ? data_table_add(&data->table, &args->volume) : NULL;
    if (open != NULL) {
        open->snapshot = args->snapshot;
        open->read_only = args->read_only;
        open->epoch = args->epoch;
        open->size_bytes = opened.size_bytes;
        open->io_align = opened.io_align;
        open->token = opened.token;
        open->of_driver = opened.handle;
        answer_open(data, open, ret);
    }
    pthread_mutex_unlock(&data->mutex);
    if (open != NULL)
        return SLUICE_OK;
    if (data->driver->storage.data_close != NULL)
        data->driver->storage.data_close(opened.handle);
    err_set(err, ERR_LIMIT, "%d volumes are open already", DATA_OPENS_MAX);
    return err->code == ERR_LIMIT ? SLUICE_LIMIT : SLUICE_INTERNAL;
}

int32_t data_open_volume(struct data *data, void *pool, struct sluice_call *call,
                         const struct wire_data_open *args, struct wire_data_opened *ret,
                         struct err *err) {
    struct data_open *there;
    pthread_mutex_lock(&data->mutex);
    int32_t status = clear_the_way(data, args, &there);
    if (status == SLUICE_OK && there != NULL)
        answer_open(data, there, ret);
    pthread_mutex_unlock(&data->mutex);
    return status != SLUICE_OK || there != NULL ? status
                                                : open_new(data, pool, call, args, ret, err);
}

int32_t data_close_volume(struct data *data, const struct wire_data_close *args) {
    int32_t status = SLUICE_OK;
    pthread_mutex_lock(&data->mutex);
    for (uint32_t i = 0; status == SLUICE_OK && i < data->table.end; i++) {
        struct data_open *open = &data->table.opens[i];
        if (!open->used || data_table_handle(&data->table, open) != args->handle)
            continue;
        if (drain(data, open))
            close_drained(data, open);
        else
            status = SLUICE_PENDING;
    }
    pthread_mutex_unlock(&data->mutex);
    return status;
}

/* ---- the end -------------------------------------------------------------------------------- */

void data_stop(struct data *data) {
    pthread_mutex_lock(&data->mutex);
    data->stopping = true;
    if (data->has_thread)
        kick_thread(data);
    pthread_mutex_unlock(&data->mutex);
    if (data->has_thread)
        pthread_join(data->thread, NULL);
    data->has_thread = false;
    pthread_mutex_lock(&data->mutex);
    for (uint32_t i = 0; i < DATA_RINGS_MAX; i++)
        if (data->rings[i].used)
            data_retire(data, &data->rings[i]);
    data->current = NULL;
    data->next = NULL;
    while (data->running > 0)
        pthread_cond_wait(&data->ended, &data->mutex);
    for (uint32_t i = 0; i < data->table.end; i++)
        if (data->table.opens[i].used)
            close_drained(data, &data->table.opens[i]);
    pthread_mutex_unlock(&data->mutex);
}

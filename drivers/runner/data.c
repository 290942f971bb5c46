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
#define STOP_LOOK_MS 10 /* a call may also end without a watch */

/* ---- life ----------------------------------------------------------------------------------- */

struct data *data_create(struct services *services, void (*wake)(void *owner), void *owner) {
    struct data *data = calloc(1, sizeof *data); /* pages that nothing uses are never touched */
    if (data == NULL)
        return NULL;
    data->services = services;
    data->wake = wake;
    data->owner = owner;
    data->kick = -1;
    struct err err = ERR_INIT;
    if (!watches_init(&data->watches, &err)) {
        free(data);
        return NULL;
    }
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
    data_end(data);
    CHECK(data->running == 0);
    if (data->kick >= 0)
        close(data->kick);
    watches_release(&data->watches);
    pthread_cond_destroy(&data->ended);
    pthread_mutex_destroy(&data->mutex);
    free(data);
}

void data_load(struct data *data, const struct driver *driver) {
    data->driver = driver;
}

void data_start(struct data *data, const struct sluice_pool *limits) {
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

/* Until a kick, a watch or, where we make the turns, the current ring wakes us. */
static void thread_sleep(struct data *data, bool turns) {
    struct pollfd fds[] = {{.fd = data->kick, .events = POLLIN},
                           {.fd = -1, .events = POLLIN},
                           {.fd = -1, .events = POLLIN}};
    if (turns && data->asleep)
        fds[1].fd = data->current->ring.wake_runner;
    int timeout_ms = watches_timeout_ms(&data->watches);
    if (atomic_load(&data->watches.count) > 0)
        fds[2].fd = watches_fd(&data->watches);
    if (poll(fds, sizeof fds / sizeof fds[0], timeout_ms) > 0 && fds[0].revents != 0) {
        uint64_t count;
        ssize_t taken = read(data->kick, &count, sizeof count);
        (void)taken;
    }
}

/* What data_stop waits for: from here on no turn of ours touches a ring. false: the thread ends. */
static bool thread_goes_on(struct data *data) {
    pthread_mutex_lock(&data->mutex);
    if (data->stopping && !data->quiet) {
        data->quiet = true;
        if (data_has_thread(data))
            data->asleep = false;
        pthread_cond_broadcast(&data->ended);
    }
    bool goes_on = !data->ending;
    pthread_mutex_unlock(&data->mutex);
    return goes_on;
}

static void *thread_main(void *argument) {
    struct data *data = argument;
    bool turns = data_has_thread(data);
    words_enter_thread();
    while (thread_goes_on(data)) {
        bool more = turns && !data->quiet
                        ? data_turn(data, clock_mono_ns() + DATA_TURN_MS * UINT64_C(1000000))
                        : watches_serve(&data->watches, 0);
        if (!more)
            thread_sleep(data, turns);
    }
    words_leave_thread();
    return NULL;
}

static bool thread_start(struct data *data, struct err *err) {
    if (data->has_thread)
        return true;
    data->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (data->kick < 0)
        return err_errno(err, ERR_SYSTEM, errno, "an eventfd for data calls");
    if (data_has_thread(data)) {
        data->wake = kick_thread;
        data->owner = data;
    }
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
    good = good && (!data_has_thread(data) || thread_start(data, err));
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

/* ---- watches -------------------------------------------------------------------------------- */

/* Somebody serves it from now on. */
static bool watches_have_thread(struct data *data) {
    struct err err = ERR_INIT;
    if (data->driver == NULL)
        return false;
    if (data_model(data) == SLUICE_THREADS_LOOP)
        return true;
    pthread_mutex_lock(&data->mutex);
    bool good = !data->ending && thread_start(data, &err);
    pthread_mutex_unlock(&data->mutex);
    return good;
}

/* Who serves the watches sleeps too long otherwise. */
static void watches_wake(struct data *data, bool sooner) {
    if (!sooner)
        return;
    pthread_mutex_lock(&data->mutex);
    if (data->has_thread)
        kick_thread(data);
    else
        data->wake(data->owner);
    pthread_mutex_unlock(&data->mutex);
}

struct sluice_watch *data_watch(struct data *data, int fd, uint32_t ready, uint32_t timeout_ms,
                                sluice_on_ready *on_ready, void *argument) {
    bool sooner = false;
    if (!watches_have_thread(data))
        return NULL;
    struct sluice_watch *watch =
        watches_add(&data->watches, fd, ready, timeout_ms, on_ready, argument, &sooner);
    /* The first one: whoever sleeps does not look at watches yet. */
    watches_wake(data, sooner || (watch != NULL && atomic_load(&data->watches.count) == 1));
    return watch;
}

void data_watch_change(struct data *data, struct sluice_watch *watch, uint32_t ready,
                       uint32_t timeout_ms) {
    bool sooner = false;
    watches_change(&data->watches, watch, ready, timeout_ms, &sooner);
    watches_wake(data, sooner);
}

void data_unwatch(struct data *data, struct sluice_watch *watch) {
    watches_remove(&data->watches, watch);
}

struct watches *data_watches(struct data *data) {
    return &data->watches;
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

/* For a call to end. In the model LOOP this is the loop's thread: nobody else serves the watches
 * that the end may come by. */
static void wait_for_end(struct data *data) {
    if (data_model(data) != SLUICE_THREADS_LOOP || atomic_load(&data->watches.count) == 0) {
        pthread_cond_wait(&data->ended, &data->mutex);
        return;
    }
    pthread_mutex_unlock(&data->mutex);
    watches_serve(&data->watches, STOP_LOOK_MS);
    pthread_mutex_lock(&data->mutex);
}

void data_stop(struct data *data) {
    pthread_mutex_lock(&data->mutex);
    data->stopping = true;
    if (data->has_thread)
        kick_thread(data);
    while (data->has_thread && !data->quiet)
        pthread_cond_wait(&data->ended, &data->mutex);
    for (uint32_t i = 0; i < DATA_RINGS_MAX; i++)
        if (data->rings[i].used)
            data_retire(data, &data->rings[i]);
    data->current = NULL;
    data->next = NULL;
    while (data->running > 0)
        wait_for_end(data);
    for (uint32_t i = 0; i < data->table.end; i++)
        if (data->table.opens[i].used)
            close_drained(data, &data->table.opens[i]);
    pthread_mutex_unlock(&data->mutex);
}

void data_end(struct data *data) {
    pthread_mutex_lock(&data->mutex);
    bool has_thread = data->has_thread;
    data->stopping = true;
    data->ending = true;
    if (has_thread)
        kick_thread(data);
    pthread_mutex_unlock(&data->mutex);
    if (!has_thread)
        return;
    pthread_join(data->thread, NULL);
    pthread_mutex_lock(&data->mutex);
    data->has_thread = false;
    pthread_mutex_unlock(&data->mutex);
}

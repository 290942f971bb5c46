/* SPDX-License-Identifier: Apache-2.0
 *
 * data_io.c: turns, calls and completions.
 */
#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "runner/data_state.h"
#include "runner/words.h"

#define BATCH 64 /* submissions between two looks at other things */
/* Completions wait for the end of the batch, but not behind calls that take long. */
#define PUBLISH_NS 30000
#define EXTENT_FLAGS (SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO)

typedef void io_fn(void *handle, struct sluice_io *io);

static const char *const verb_names[] = {
    [RING_READ] = "data_read",   [RING_WRITE] = "data_write",
    [RING_FLUSH] = "data_flush", [RING_WRITE_ZEROES] = "data_write_zeroes",
    [RING_TRIM] = "data_trim",   [RING_EXTENTS] = "data_extents",
};

static io_fn *member_of(const struct driver *driver, uint16_t verb) {
    switch (verb) {
    case RING_READ:
        return driver->storage.data_read;
    case RING_WRITE:
        return driver->storage.data_write;
    case RING_FLUSH:
        return driver->storage.data_flush;
    case RING_WRITE_ZEROES:
        return driver->storage.data_write_zeroes;
    case RING_TRIM:
        return driver->storage.data_trim;
    default:
        return driver->storage.data_extents;
    }
}

static bool has_payload(uint16_t verb) {
    return verb == RING_READ || verb == RING_WRITE;
}

static bool changes(uint16_t verb) {
    return verb == RING_WRITE || verb == RING_WRITE_ZEROES || verb == RING_TRIM;
}

uint32_t data_model(const struct data *data) {
    return data->driver->base.threads;
}

/* ---- places --------------------------------------------------------------------------------- */

void places_push(struct place_list *list, struct place_io *place) {
    place->next = NULL;
    *list->end = place;
    list->end = &place->next;
}

static struct place_io *unlink_place(struct place_list *list, struct place_io **link) {
    struct place_io *place = *link;
    *link = place->next;
    if (*link == NULL)
        list->end = link;
    return place;
}

static void place_free(struct data *data, struct place_io *place) {
    place->state = PLACE_FREE;
    place->open->taken--;
    place->ring->taken--;
    data_retire(data, place->ring->retired ? place->ring : NULL);
    places_push(&data->free, place);
}

void place_forget(struct data *data, struct place_io **link) {
    place_free(data, unlink_place(&data->waiting, link));
}

void data_retire(struct data *data, struct data_ring *ring) {
    if (ring == NULL)
        return;
    ring->retired = true;
    /* What waits will never be asked about. */
    for (struct place_io **link = &data->waiting.head; *link != NULL;) {
        if ((*link)->ring != ring) {
            link = &(*link)->next;
            continue;
        }
        struct place_io *place = unlink_place(&data->waiting, link);
        place->state = PLACE_FREE;
        place->open->taken--;
        ring->taken--;
        places_push(&data->free, place);
    }
    if (ring->used && ring->taken == 0) {
        ring_release(&ring->ring);
        ring->used = false;
    }
}

void data_kick(struct data *data) {
    if (data->kicked)
        return;
    data->kicked = true;
    data->wake(data->owner);
}

void data_answer(struct data_ring *ring, uint64_t tag, int32_t status, uint64_t token) {
    ring_complete(&ring->ring,
                  &(struct ring_completion){.tag = tag, .status = status, .token = token});
}

/* ---- completion ----------------------------------------------------------------------------- */

/* The extents that the driver wrote, into the call's page. false: they cannot be true. */
static bool put_extents(const struct place_io *place, const struct sluice_extent *from,
                        uint32_t count) {
    const struct ring_submission *call = &place->submission;
    if (count == 0 || count > RING_EXTENTS_MAX)
        return false;
    struct ring_extent *to =
        ring_payload(&place->ring->ring, call->page, (uint64_t)count * sizeof *to);
    uint64_t offset = call->offset;
    uint64_t end = call->offset + call->length;
    for (uint32_t i = 0; i < count; i++) {
        if (from[i].offset != offset || from[i].length == 0 || from[i].length > end - offset)
            return false;
        to[i] =
            (struct ring_extent){.length = from[i].length, .flags = from[i].flags & EXTENT_FLAGS};
        offset += from[i].length;
    }
    return true;
}

static bool is_status(int32_t status) {
    switch (status) {
#define SLUICE_STATUS(name, number, advice, sentence) case number:
#include <sluice/status.def>
#undef SLUICE_STATUS
        return status != SLUICE_PENDING;
    default:
        return false;
    }
}

/* What the call comes to in the ring. NULL, or what the driver did wrong. */
static const char *judge(struct data *data, struct place_io *place, int32_t status, uint64_t token,
                         struct ring_completion *ret) {
    const struct ring_submission *call = &place->submission;
    const char *wrong = NULL;
    *ret = (struct ring_completion){.tag = call->tag, .status = status};
    if (call->verb == RING_FLUSH || changes(call->verb))
        ret->token = token;
    if (!is_status(status))
        wrong = "the driver completed a data call with a status that there is not";
    if (call->verb == RING_EXTENTS && status == SLUICE_OK && !place->ring->retired) {
        ret->count = place->io.extents_count;
        if (!put_extents(place, data->extents[place - data->places], ret->count))
            wrong = "the driver's extents cannot be true";
    }
    if (wrong != NULL) {
        ret->status = SLUICE_INTERNAL;
        ret->count = 0;
    }
    return wrong;
}

static bool is_turning(const struct data *data) {
    return data->in_turn && pthread_equal(data->turning, pthread_self());
}

static void complain(struct data *data, const char *text) {
    data->services->table.log(&data->services->table, SLUICE_LOG_ERROR, text);
}

static struct place_io *place_of(struct data *data, struct sluice_io *io) {
    uintptr_t offset = (uintptr_t)io - (uintptr_t)data->places;
    bool good = offset < sizeof data->places && offset % sizeof data->places[0] == 0;
    return good ? &data->places[offset / sizeof data->places[0]] : NULL;
}

_Static_assert(offsetof(struct place_io, io) == 0, "found by the address of its io");

void data_complete(struct data *data, struct sluice_io *io, int32_t status, uint64_t token) {
    struct place_io *place = place_of(data, io);
    pthread_mutex_lock(&data->mutex);
    if (place == NULL || place->state != PLACE_RUNNING) {
        data->wrong_completions++;
        pthread_mutex_unlock(&data->mutex);
        complain(data, "the driver completed a data call that is not under way; ignored");
        return;
    }
    struct data_ring *ring = place->ring;
    struct ring_completion completion;
    const char *wrong = judge(data, place, status, token, &completion);
    if (!ring->retired) {
        ring_complete(&ring->ring, &completion);
        if (!is_turning(data))
            ring_publish(&ring->ring);
    }
    data->running--;
    place->open->volume->running--;
    place_free(data, place);
    if (data->waiting.head != NULL && !is_turning(data))
        data_kick(data);
    pthread_cond_broadcast(&data->ended);
    pthread_mutex_unlock(&data->mutex);
    if (wrong != NULL)
        complain(data, wrong);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static uint32_t running_max(const struct data *data) {
    uint32_t most = data_model(data) == SLUICE_THREADS_SERIAL ? 1 : data->limits->in_flight_max;
    return most == 0 || most > RING_ENTRIES ? RING_ENTRIES : most;
}

static bool may_begin(const struct data *data, const struct data_volume *volume) {
    bool busy = data_model(data) == SLUICE_THREADS_PER_VOLUME && volume->running > 0;
    return data->running < running_max(data) && volume->holds == 0 && !busy;
}

/* Makes the call; the mutex is held, but not while the driver has it. */
static void call_make(struct data *data, struct place_io *place) {
    struct data_open *open = place->open;
    io_fn *member = member_of(data->driver, place->submission.verb);
    const char *name = verb_names[place->submission.verb];
    uint64_t tag = place->submission.tag;
    place->state = PLACE_RUNNING;
    place->begun_ns = clock_mono_ns();
    data->running++;
    open->volume->running++;
    if (place->begun_ns - data->published_ns > PUBLISH_NS) {
        ring_publish(&place->ring->ring);
        data->published_ns = place->begun_ns;
    }
    void *of_driver = open->of_driver;
    pthread_mutex_unlock(&data->mutex);
    words_set_call(name, tag);
    member(of_driver, &place->io);
    words_set_call(NULL, 0);
    pthread_mutex_lock(&data->mutex);
    while (data_model(data) == SLUICE_THREADS_SERIAL && data->running > 0)
        pthread_cond_wait(&data->ended, &data->mutex);
}

/* Begins what waited and may begin now, in the order of arrival. */
static void begin_waiting(struct data *data) {
    for (struct place_io **link = &data->waiting.head;
         *link != NULL && data->running < running_max(data);) {
        if (!may_begin(data, (*link)->open->volume)) {
            link = &(*link)->next;
            continue;
        }
        call_make(data, unlink_place(&data->waiting, link));
        link = &data->waiting.head; /* the list may have changed meanwhile */
    }
}

/* Why a submission is not for the driver; OK also for one that asks for nothing. */
static int32_t refusal(struct data *data, const struct ring_submission *call,
                       struct data_open **ret_open) {
    struct data_open *open = data_table_find(&data->table, call->handle);
    if (!ring_submission_valid(call))
        return SLUICE_INVALID;
    if (open == NULL)
        return SLUICE_NOT_FOUND;
    if (call->offset + call->length > open->size_bytes ||
        (call->offset | call->length) % open->io_align != 0)
        return SLUICE_INVALID;
    uint32_t io_max = data->limits->io_max;
    if (has_payload(call->verb) && io_max != 0 && call->length > io_max)
        return SLUICE_LIMIT;
    if (changes(call->verb) && open->read_only)
        return SLUICE_READ_ONLY;
    if (member_of(data->driver, call->verb) == NULL)
        return SLUICE_UNSUPPORTED;
    *ret_open = open;
    return SLUICE_OK;
}

static struct place_io *place_take(struct data *data, struct data_ring *ring,
                                   struct data_open *open, const struct ring_submission *call) {
    CHECK(data->free.head != NULL); /* there are more than all rings can ask for */
    struct place_io *place = unlink_place(&data->free, &data->free.head);
    place->state = PLACE_WAITING;
    place->ring = ring;
    place->open = open;
    place->submission = *call;
    place->io = (struct sluice_io){
        .size = sizeof place->io,
        .flags = call->flags,
        .offset = call->offset,
        .length = call->length,
    };
    if (has_payload(call->verb))
        place->io.buffer = ring_payload(&ring->ring, call->page, call->length);
    if (call->verb == RING_EXTENTS) {
        place->io.extents = data->extents[place - data->places];
        place->io.extents_capacity = RING_EXTENTS_MAX;
    }
    ring->taken++;
    open->taken++;
    return place;
}

/* One submission. false: there are more calls than there may be. */
static bool take(struct data *data, struct data_ring *ring, const struct ring_submission *call) {
    struct data_open *open = NULL;
    if (ring_room(&ring->ring) <= ring->taken)
        return false;
    int32_t status = refusal(data, call, &open);
    if (open == NULL || (call->length == 0 && call->verb != RING_FLUSH)) {
        data_answer(ring, call->tag, status, open != NULL ? open->token : 0);
        return true;
    }
    struct place_io *place = place_take(data, ring, open, call);
    if (data->waiting.head == NULL && may_begin(data, open->volume))
        call_make(data, place);
    else
        places_push(&data->waiting, place);
    return true;
}

/* ---- turns ---------------------------------------------------------------------------------- */

static void take_over(struct data *data) {
    if (data->next == NULL)
        return;
    data_retire(data, data->current);
    data->current = data->next;
    data->next = NULL;
    data->asleep = false;
}

static uint32_t take_batch(struct data *data, struct data_ring *ring) {
    struct ring_submission call;
    uint32_t count = 0;
    bool good = true;
    while (good && !data->stopping && count < BATCH && ring_next_submission(&ring->ring, &call)) {
        good = take(data, ring, &call);
        count++;
    }
    ring_publish(&ring->ring);
    data->published_ns = clock_mono_ns();
    if (good && !ring_broken(&ring->ring))
        return count;
    words_say("sluice-runner: a ring says what cannot be true; it is not used any more");
    data_retire(data, ring);
    data->current = NULL;
    return 0;
}

/* A round of a turn, with the mutex held. false: there is no ring. */
static bool turn_round(struct data *data, uint32_t *ret_taken, bool *ret_waiting) {
    data->kicked = false;
    take_over(data);
    if (data->current == NULL || data->stopping)
        return false;
    if (data->asleep)
        ring_awake(&data->current->ring);
    data->asleep = false;
    begin_waiting(data);
    *ret_taken = take_batch(data, data->current);
    *ret_waiting = data->waiting.head != NULL || data->running > 0;
    return data->current != NULL;
}

/* Looks for the next call. */
static bool spin(struct data *data, bool waiting) {
    struct ring *ring = &data->current->ring;
    /* Who waits for a call to end is woken by its end: no time to spend here. And calls that others
     * carry out need the processor more than looking does. */
    if (waiting || ring->spin_ns == 0 || !patience_lasts(&data->patience, data->batch))
        return ring_spin(ring, 0);
    uint64_t begun_ns = clock_mono_ns();
    bool came = ring_spin(ring, ring->spin_ns);
    uint64_t took_ns = clock_mono_ns() - begun_ns;
    /* It came back at once: both sides are on one processor. That says nothing about the client. */
    if (came || took_ns >= ring->spin_ns)
        patience_note(&data->patience, came, took_ns);
    return came;
}

static bool turn(struct data *data, uint64_t until_ns) {
    bool serves = data_has_thread(data);
    for (;;) {
        uint32_t taken;
        bool waiting;
        /* Before the round, which publishes what ends by it. */
        bool told = serves && watches_serve(&data->watches, 0);
        pthread_mutex_lock(&data->mutex);
        bool good = turn_round(data, &taken, &waiting);
        pthread_mutex_unlock(&data->mutex);
        if (!good)
            return false;
        if (taken > 0 && clock_mono_ns() >= until_ns)
            return true;
        if (taken > 0)
            data->batch = taken;
        if (taken > 0 || told || spin(data, waiting))
            continue;
        if (ring_asleep(&data->current->ring)) {
            data->asleep = true;
            return false;
        }
    }
}

bool data_turn(struct data *data, uint64_t until_ns) {
    pthread_mutex_lock(&data->mutex);
    data->in_turn = true;
    data->turning = pthread_self();
    pthread_mutex_unlock(&data->mutex);
    bool more = turn(data, until_ns);
    pthread_mutex_lock(&data->mutex);
    data->in_turn = false;
    pthread_mutex_unlock(&data->mutex);
    return more;
}

void data_running(struct data *data, uint32_t *ret_count, uint32_t *ret_oldest_ms) {
    uint64_t now_ns = clock_mono_ns();
    uint64_t oldest_ns = now_ns;
    pthread_mutex_lock(&data->mutex);
    *ret_count = data->running;
    for (uint32_t i = 0; data->running > 0 && i < DATA_PLACES; i++)
        if (data->places[i].state == PLACE_RUNNING && data->places[i].begun_ns < oldest_ns)
            oldest_ns = data->places[i].begun_ns;
    pthread_mutex_unlock(&data->mutex);
    uint64_t oldest_ms = (now_ns - oldest_ns) / 1000000;
    *ret_oldest_ms = oldest_ms < UINT32_MAX ? (uint32_t)oldest_ms : UINT32_MAX;
}

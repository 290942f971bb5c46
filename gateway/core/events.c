/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c: writing, reading, and who is woken.
 */
#include "core/events.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/check.h"
#include "core/state.h"
#include "core/store.h"

#define EVENT_BYTES_MAX 4096

struct core_subscription {
    TAILQ_ENTRY(core_subscription) entries;
    struct events *events;
    void (*wake)(void *arg);
    void *arg;
    bool due;
};

struct events {
    struct core *core;
    TAILQ_HEAD(, core_subscription) subscriptions;
    uint32_t count;
    uint64_t last; /* number of the newest event that is durable */
    uv_timer_t wake_timer;
};

/* ---- writing -------------------------------------------------------------------------------- */

void events_append(struct catalog_txn *txn, const struct event_record *event) {
    struct buf bytes;
    buf_init(&bytes, EVENT_BYTES_MAX);
    shape_encode(&event_record_shape, event, &bytes);
    CHECK(!bytes.overflow);
    catalog_append(txn, KEY_EVENTS, strlen(KEY_EVENTS), bytes.at, bytes.length);
    buf_release(&bytes);
}

static void on_told(void *arg, uint64_t revision, const struct err *err) {
    /* An event on its own that could not be written is lost: nothing was promised about it. */
    (void)arg, (void)revision, (void)err;
}

void events_tell(struct core *core, const struct event_record *event) {
    struct catalog_txn *txn = catalog_begin(core->catalog);
    events_append(txn, event);
    catalog_submit(txn, on_told, NULL);
}

/* ---- reading -------------------------------------------------------------------------------- */

static uint64_t number_of(const struct catalog_entry *entry) {
    uint64_t number = 0;
    if (entry->key_length != strlen(KEY_EVENTS) + 8)
        return 0;
    for (size_t i = 0; i < 8; i++)
        number = number << 8 | entry->key[strlen(KEY_EVENTS) + i];
    return number;
}

static void event_key(struct key *ret, uint64_t number) {
    ret->length = strlen(KEY_EVENTS) + 8;
    memcpy(ret->at, KEY_EVENTS, strlen(KEY_EVENTS));
    for (size_t i = 0; i < 8; i++)
        ret->at[strlen(KEY_EVENTS) + i] = (uint8_t)(number >> (56 - 8 * i));
}

struct reading {
    uint32_t left;
    uint64_t after;
    bool first;
    bool gone;
    core_event_fn *each;
    void *arg;
    struct arena arena;
    struct buf json;
};

static bool on_event(void *arg, const struct catalog_entry *entry) {
    struct reading *reading = arg;
    uint64_t number = number_of(entry);
    if (reading->first && reading->after != 0 && number > reading->after + 1) {
        reading->gone = true;
        return false;
    }
    reading->first = false;
    if (reading->left == 0)
        return false;
    struct event_record event;
    arena_reset(&reading->arena);
    if (shape_decode(&event_record_shape, entry->value.at, entry->value.length, &reading->arena,
                     &event, NULL)) {
        buf_clear(&reading->json);
        buf_printf(&reading->json, "{\"number\":%llu,", (unsigned long long)number);
        struct buf members;
        buf_init(&members, EVENT_BYTES_MAX * 8);
        shape_json(&event_record_shape, &event, false, &members);
        if (members.length > 1)
            buf_put(&reading->json, members.at + 1, members.length - 1);
        buf_release(&members);
        reading->left--;
        reading->each(reading->arg, number, event.type, buf_text(&reading->json));
    }
    return true;
}

bool core_events(struct core *core, uint64_t after, uint32_t limit, core_event_fn *each, void *arg,
                 uint64_t *ret_last, struct err *err) {
    struct reading reading = {
        .left = limit, .after = after, .first = true, .each = each, .arg = arg};
    arena_init(&reading.arena, EVENT_BYTES_MAX * 4);
    buf_init(&reading.json, EVENT_BYTES_MAX * 8);
    struct key key;
    event_key(&key, after);
    bool ok = catalog_scan(core->catalog, KEY_EVENTS, strlen(KEY_EVENTS), key.at, key.length, false,
                           on_event, &reading, err);
    arena_release(&reading.arena);
    buf_release(&reading.json);
    *ret_last = core->events->last;
    if (ok && reading.gone)
        return err_set(
            err, ERR_GONE,
            "the events after number %llu have been pruned: read the objects anew and go "
            "on from the newest event",
            (unsigned long long)after);
    return ok;
}

/* ---- subscriptions -------------------------------------------------------------------------- */

static struct core_subscription *next_due(const struct events *events) {
    struct core_subscription *subscription;
    TAILQ_FOREACH(subscription, &events->subscriptions, entries) {
        if (subscription->due)
            return subscription;
    }
    return NULL;
}

static void on_wake(uv_timer_t *timer) {
    struct events *events = timer->data;
    struct core_subscription *subscription;
    TAILQ_FOREACH(subscription, &events->subscriptions, entries)
    subscription->due = true;
    /* From the beginning each time: who is woken may end any of them. */
    while ((subscription = next_due(events)) != NULL) {
        subscription->due = false;
        subscription->wake(subscription->arg);
    }
}

static void on_written(void *arg, const struct catalog_entry *entry, bool deleted) {
    struct events *events = arg;
    if (deleted)
        return;
    uint64_t number = number_of(entry);
    if (number > events->last)
        events->last = number;
    if (events->count > 0 && !uv_is_active((uv_handle_t *)&events->wake_timer))
        uv_timer_start(&events->wake_timer, on_wake, 0, 0);
}

struct core_subscription *core_subscribe(struct core *core, void (*wake)(void *arg), void *arg) {
    struct events *events = core->events;
    if (events->count >= EVENTS_SUBSCRIBERS_MAX)
        return NULL;
    struct core_subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription == NULL)
        return NULL;
    *subscription = (struct core_subscription){.events = events, .wake = wake, .arg = arg};
    TAILQ_INSERT_TAIL(&events->subscriptions, subscription, entries);
    events->count++;
    return subscription;
}

void core_unsubscribe(struct core_subscription *subscription) {
    if (subscription == NULL)
        return;
    TAILQ_REMOVE(&subscription->events->subscriptions, subscription, entries);
    subscription->events->count--;
    free(subscription);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool on_newest(void *arg, const struct catalog_entry *entry) {
    struct events *events = arg;
    events->last = number_of(entry);
    return false;
}

bool events_open(struct core *core, struct events **ret, struct err *err) {
    struct events *events = calloc(1, sizeof *events);
    if (events == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for events");
    events->core = core;
    TAILQ_INIT(&events->subscriptions);
    if (!catalog_scan(core->catalog, KEY_EVENTS, strlen(KEY_EVENTS), NULL, 0, true, on_newest,
                      events, err)) {
        free(events);
        return false;
    }
    uv_timer_init(core->loop, &events->wake_timer);
    events->wake_timer.data = events;
    catalog_watch(core->catalog, KEY_EVENTS, strlen(KEY_EVENTS), on_written, events);
    *ret = events;
    return true;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct events *events = handle->data;
    while (!TAILQ_EMPTY(&events->subscriptions))
        core_unsubscribe(TAILQ_FIRST(&events->subscriptions));
    free(events);
}

void events_close(struct events *events) {
    if (events != NULL)
        uv_close((uv_handle_t *)&events->wake_timer, on_timer_closed);
}

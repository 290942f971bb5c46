/* SPDX-License-Identifier: Apache-2.0
 *
 * watches.c: see watches.h.
 */
#include "runner/watches.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

#define WATCH_MAGIC 0x77617463
#define NEVER_NS UINT64_MAX
#define NS_PER_MS UINT64_C(1000000)
#define EVENTS 16 /* told between two looks at the ring */

struct sluice_watch {
    uint32_t magic;
    uint32_t place;
    int fd;
    uint32_t ready; /* what is waited for */
    uint32_t timeout_ms;
    uint64_t deadline_ns;
    sluice_on_ready *on_ready;
    void *argument;
};

bool watches_init(struct watches *watches, struct err *err) {
    *watches = (struct watches){.next_ns = NEVER_NS};
    watches->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (watches->epoll < 0)
        return err_errno(err, ERR_SYSTEM, errno, "an epoll descriptor for watches");
    CHECK(pthread_mutex_init(&watches->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&watches->returned, NULL) == 0);
    return true;
}

void watches_release(struct watches *watches) {
    for (uint32_t i = 0; i < SLUICE_WATCHES_MAX; i++)
        free(watches->at[i]);
    close(watches->epoll);
    pthread_cond_destroy(&watches->returned);
    pthread_mutex_destroy(&watches->mutex);
}

int watches_fd(const struct watches *watches) {
    return watches->epoll;
}

int watches_timeout_ms(struct watches *watches) {
    if (atomic_load(&watches->count) == 0)
        return -1;
    pthread_mutex_lock(&watches->mutex);
    uint64_t next_ns = watches->next_ns;
    pthread_mutex_unlock(&watches->mutex);
    if (next_ns == NEVER_NS)
        return -1;
    uint64_t now_ns = clock_mono_ns();
    uint64_t left_ms = next_ns > now_ns ? (next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

/* ---- the driver's side ---------------------------------------------------------------------- */

static uint32_t epoll_events(uint32_t ready) {
    return ((ready & SLUICE_READY_READ) != 0 ? EPOLLIN : 0) |
           ((ready & SLUICE_READY_WRITE) != 0 ? EPOLLOUT : 0);
}

static bool epoll_tell(const struct watches *watches, const struct sluice_watch *watch, int how) {
    uint64_t name = (uint64_t)watches->generations[watch->place] << 32 | watch->place;
    struct epoll_event event = {.events = epoll_events(watch->ready), .data.u64 = name};
    return epoll_ctl(watches->epoll, how, watch->fd, &event) == 0;
}

/* The time begins anew; true: it is over before that of all others. */
static bool deadline_begin(struct watches *watches, struct sluice_watch *watch, uint64_t now_ns) {
    watch->deadline_ns = watch->timeout_ms > 0 ? now_ns + watch->timeout_ms * NS_PER_MS : NEVER_NS;
    if (watch->deadline_ns >= watches->next_ns)
        return false;
    watches->next_ns = watch->deadline_ns;
    return true;
}

static bool place_find(const struct watches *watches, uint32_t *ret_place) {
    for (uint32_t i = 0; i < SLUICE_WATCHES_MAX; i++) {
        if (watches->at[i] == NULL) {
            *ret_place = i;
            return true;
        }
    }
    return false;
}

struct sluice_watch *watches_add(struct watches *watches, int fd, uint32_t ready,
                                 uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument,
                                 bool *ret_sooner) {
    struct sluice_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    *watch = (struct sluice_watch){.magic = WATCH_MAGIC,
                                   .fd = fd,
                                   .ready = ready,
                                   .timeout_ms = timeout_ms,
                                   .on_ready = on_ready,
                                   .argument = argument};
    pthread_mutex_lock(&watches->mutex);
    bool good = place_find(watches, &watch->place) && epoll_tell(watches, watch, EPOLL_CTL_ADD);
    if (good) {
        watches->at[watch->place] = watch;
        atomic_fetch_add(&watches->count, 1);
        *ret_sooner = deadline_begin(watches, watch, clock_mono_ns());
    }
    pthread_mutex_unlock(&watches->mutex);
    if (good)
        return watch;
    free(watch);
    return NULL;
}

void watches_change(struct watches *watches, struct sluice_watch *watch, uint32_t ready,
                    uint32_t timeout_ms, bool *ret_sooner) {
    CHECK_MAGIC(watch, WATCH_MAGIC);
    uint64_t now_ns = clock_mono_ns();
    pthread_mutex_lock(&watches->mutex);
    bool other = watch->ready != ready;
    watch->ready = ready;
    watch->timeout_ms = timeout_ms;
    if (other)
        epoll_tell(watches, watch, EPOLL_CTL_MOD);
    *ret_sooner = deadline_begin(watches, watch, now_ns);
    pthread_mutex_unlock(&watches->mutex);
}

void watches_remove(struct watches *watches, struct sluice_watch *watch) {
    CHECK_MAGIC(watch, WATCH_MAGIC);
    pthread_mutex_lock(&watches->mutex);
    epoll_tell(watches, watch, EPOLL_CTL_DEL);
    watches->at[watch->place] = NULL;
    watches->generations[watch->place]++;
    atomic_fetch_sub(&watches->count, 1);
    while (watches->calling == watch && !pthread_equal(watches->caller, pthread_self()))
        pthread_cond_wait(&watches->returned, &watches->mutex);
    if (watches->calling == watch)
        watches->calling = NULL;
    pthread_mutex_unlock(&watches->mutex);
    watch->magic = 0;
    free(watch);
}

/* ---- serving -------------------------------------------------------------------------------- */

/* Calls on_ready; the mutex is held, but not meanwhile. */
static void call(struct watches *watches, struct sluice_watch *watch, uint32_t ready,
                 uint64_t now_ns) {
    CHECK(watches->calling == NULL);
    sluice_on_ready *on_ready = watch->on_ready;
    void *argument = watch->argument;
    deadline_begin(watches, watch, now_ns);
    watches->calling = watch;
    watches->caller = pthread_self();
    pthread_mutex_unlock(&watches->mutex);
    on_ready(argument, ready);
    pthread_mutex_lock(&watches->mutex);
    watches->calling = NULL;
    pthread_cond_broadcast(&watches->returned);
}

static bool call_ready(struct watches *watches, const struct epoll_event *event, uint64_t now_ns) {
    uint32_t place = (uint32_t)event->data.u64;
    struct sluice_watch *watch = watches->at[place];
    if (watch == NULL || watches->generations[place] != event->data.u64 >> 32)
        return false;
    uint32_t ready = ((event->events & EPOLLIN) != 0 ? SLUICE_READY_READ : 0) |
                     ((event->events & EPOLLOUT) != 0 ? SLUICE_READY_WRITE : 0) |
                     ((event->events & (EPOLLHUP | EPOLLERR)) != 0 ? SLUICE_READY_HANGUP : 0);
    /* It may have been changed since epoll looked. */
    ready &= watch->ready | SLUICE_READY_HANGUP;
    if (ready == 0)
        return false;
    call(watches, watch, ready, now_ns);
    return true;
}

static bool call_late(struct watches *watches, uint64_t now_ns) {
    bool some = false;
    if (now_ns < watches->next_ns)
        return false;
    watches->next_ns = NEVER_NS;
    for (uint32_t i = 0; i < SLUICE_WATCHES_MAX; i++) {
        struct sluice_watch *watch = watches->at[i];
        if (watch == NULL)
            continue;
        if (watch->deadline_ns <= now_ns) {
            call(watches, watch, SLUICE_READY_TIMEOUT, now_ns);
            some = true;
        } else if (watch->deadline_ns < watches->next_ns) {
            watches->next_ns = watch->deadline_ns;
        }
    }
    return some;
}

bool watches_serve(struct watches *watches, int wait_ms) {
    if (atomic_load(&watches->count) == 0)
        return false;
    struct epoll_event events[EVENTS];
    int count = epoll_wait(watches->epoll, events, EVENTS, wait_ms);
    uint64_t now_ns = clock_mono_ns();
    bool some = false;
    pthread_mutex_lock(&watches->mutex);
    for (int i = 0; i < count; i++)
        some = call_ready(watches, &events[i], now_ns) || some;
    some = call_late(watches, now_ns) || some;
    pthread_mutex_unlock(&watches->mutex);
    return some;
}

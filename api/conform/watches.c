/* SPDX-License-Identifier: Apache-2.0
 *
 * watches.c: see watches.h.
 */
#include "conform/watches.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "conform/watch.h"

struct sluice_watch {
    int fd;
    uint32_t ready;
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    sluice_on_ready *on_ready;
    void *argument;
    bool ended; /* the next turn frees it */
    struct sluice_watch *next;
};

static void begin_time(struct sluice_watch *watch) {
    watch->deadline_ms = watch->timeout_ms > 0 ? watch_now_ms() + watch->timeout_ms : UINT64_MAX;
}

void watches_ring(struct watches *watches) {
    /* It fails only where it has been rung 2^64 times. */
    (void)eventfd_write(watches->bell, 1);
}

bool watches_open(struct watches *watches) {
    *watches = (struct watches){.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_mutex_init(&watches->lock, NULL);
    pthread_cond_init(&watches->returned, NULL);
    return watches->bell >= 0;
}

struct sluice_watch *watches_add(struct watches *watches, int fd, uint32_t ready,
                                 uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument) {
    struct sluice_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return NULL;
    }
    *watch = (struct sluice_watch){.fd = fd,
                                   .ready = ready,
                                   .timeout_ms = timeout_ms,
                                   .on_ready = on_ready,
                                   .argument = argument};
    begin_time(watch);
    pthread_mutex_lock(&watches->lock);
    bool room = watches->count < SLUICE_WATCHES_MAX;
    if (room) {
        watch->next = watches->first;
        watches->first = watch;
        watches->count++;
    }
    pthread_mutex_unlock(&watches->lock);
    if (!room) {
        free(watch);
        return NULL;
    }
    watches_ring(watches);
    return watch;
}

void watches_change(struct watches *watches, struct sluice_watch *watch, uint32_t ready,
                    uint32_t timeout_ms) {
    pthread_mutex_lock(&watches->lock);
    watch->ready = ready;
    watch->timeout_ms = timeout_ms;
    begin_time(watch);
    pthread_mutex_unlock(&watches->lock);
    watches_ring(watches);
}

void watches_remove(struct watches *watches, struct sluice_watch *watch) {
    pthread_mutex_lock(&watches->lock);
    watch->ended = true;
    while (watches->calling == watch && !pthread_equal(watches->caller, pthread_self())) {
        pthread_cond_wait(&watches->returned, &watches->lock);
    }
    pthread_mutex_unlock(&watches->lock);
    watches_ring(watches);
}

static void free_ended(struct watches *watches) {
    for (struct sluice_watch **link = &watches->first; *link != NULL;) {
        struct sluice_watch *watch = *link;
        if (!watch->ended) {
            link = &watch->next;
            continue;
        }
        *link = watch->next;
        watches->count--;
        free(watch);
    }
}

/* Calls what is ready; the lock is held, but not meanwhile. */
static void call_watch(struct watches *watches, struct sluice_watch *watch, short events) {
    uint32_t ready = ((events & POLLIN) != 0 ? SLUICE_READY_READ : 0) |
                     ((events & POLLOUT) != 0 ? SLUICE_READY_WRITE : 0);
    ready &= watch->ready;
    ready |= (events & (POLLHUP | POLLERR)) != 0 ? SLUICE_READY_HANGUP : 0;
    ready |= ready == 0 && watch_now_ms() >= watch->deadline_ms ? SLUICE_READY_TIMEOUT : 0;
    if (watch->ended || ready == 0) {
        return;
    }
    begin_time(watch);
    watches->calling = watch;
    watches->caller = pthread_self();
    pthread_mutex_unlock(&watches->lock);
    watch->on_ready(watch->argument, ready);
    pthread_mutex_lock(&watches->lock);
    watches->calling = NULL;
    pthread_cond_broadcast(&watches->returned);
}

void watches_turn(struct watches *watches, int wait_ms) {
    struct pollfd fds[1 + SLUICE_WATCHES_MAX];
    struct sluice_watch *of[1 + SLUICE_WATCHES_MAX];
    nfds_t count = 1;
    uint64_t first_ms = UINT64_MAX;
    pthread_mutex_lock(&watches->lock);
    free_ended(watches);
    fds[0] = (struct pollfd){.fd = watches->bell, .events = POLLIN};
    for (struct sluice_watch *watch = watches->first; watch != NULL; watch = watch->next) {
        short events = (short)(((watch->ready & SLUICE_READY_READ) != 0 ? POLLIN : 0) |
                               ((watch->ready & SLUICE_READY_WRITE) != 0 ? POLLOUT : 0));
        of[count] = watch;
        fds[count++] = (struct pollfd){.fd = watch->fd, .events = events};
        first_ms = watch->deadline_ms < first_ms ? watch->deadline_ms : first_ms;
    }
    pthread_mutex_unlock(&watches->lock);
    if (first_ms != UINT64_MAX) {
        uint64_t now_ms = watch_now_ms();
        int until_ms = first_ms <= now_ms ? 0 : (int)(first_ms - now_ms);
        wait_ms = wait_ms < 0 || until_ms < wait_ms ? until_ms : wait_ms;
    }
    poll(fds, count, wait_ms);
    eventfd_t rung;
    if ((fds[0].revents & POLLIN) != 0) {
        (void)eventfd_read(watches->bell, &rung);
    }
    pthread_mutex_lock(&watches->lock);
    for (nfds_t i = 1; i < count; i++) {
        call_watch(watches, of[i], fds[i].revents);
    }
    free_ended(watches);
    pthread_mutex_unlock(&watches->lock);
}

static bool is_ending(struct watches *watches) {
    pthread_mutex_lock(&watches->lock);
    bool ending = watches->ending;
    pthread_mutex_unlock(&watches->lock);
    return ending;
}

static void *serve(void *argument) {
    struct watches *watches = argument;
    while (!is_ending(watches)) {
        watches_turn(watches, -1);
    }
    return NULL;
}

bool watches_serve(struct watches *watches) {
    watches->has_thread = pthread_create(&watches->thread, NULL, serve, watches) == 0;
    return watches->has_thread;
}

uint32_t watches_close(struct watches *watches) {
    pthread_mutex_lock(&watches->lock);
    watches->ending = true;
    pthread_mutex_unlock(&watches->lock);
    if (watches->has_thread) {
        watches_ring(watches);
        pthread_join(watches->thread, NULL);
    }
    free_ended(watches);
    uint32_t left = watches->count;
    while (watches->first != NULL) {
        struct sluice_watch *watch = watches->first;
        watches->first = watch->next;
        free(watch);
    }
    pthread_cond_destroy(&watches->returned);
    pthread_mutex_destroy(&watches->lock);
    close(watches->bell);
    return left;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * watches.h: descriptors that a driver wants watched (sluice/services.h), without a runner.
 *
 * In the thread model LOOP everything is called on one thread, so who waits for something makes
 * turns meanwhile (watches_turn). In the other models a thread of its own does (watches_serve).
 *
 * Life cycle: watches_open, watches_serve where a thread shall do it, any number of watches,
 * watches_close. Threads: any, but turns by one at a time. Limits: SLUICE_WATCHES_MAX watches;
 * beyond it watches_add answers NULL, as a runner does.
 */
#ifndef SLUICE_CONFORM_WATCHES_H
#define SLUICE_CONFORM_WATCHES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/services.h>

struct watches {
    int bell; /* eventfd: something has changed, or somebody waits no more */
    bool has_thread;
    pthread_t thread;     /* of watches_serve */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t returned;
    bool ending;
    uint32_t count;
    struct sluice_watch *first;
    struct sluice_watch *calling;
    pthread_t caller; /* whose turn it is */
};

/* false: errno says why. */
bool watches_open(struct watches *watches);
bool watches_serve(struct watches *watches);
/* How many were still watched: a driver ends all of its own. */
uint32_t watches_close(struct watches *watches);

struct sluice_watch *watches_add(struct watches *watches, int fd, uint32_t ready,
                                 uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument);
void watches_change(struct watches *watches, struct sluice_watch *watch, uint32_t ready,
                    uint32_t timeout_ms);
void watches_remove(struct watches *watches, struct sluice_watch *watch);

/* Waits at most so long (-1: until something happens), and calls what is ready. */
void watches_turn(struct watches *watches, int wait_ms);
/* Ends the wait of a turn that is under way. */
void watches_ring(struct watches *watches);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * watches.h: descriptors that a driver has watched: which are ready, and whose time is over.
 *
 * One epoll descriptor holds them all, so that whoever serves them waits for one more descriptor
 * (watches_fd) and watches_timeout_ms. A watch is a place of a table and a count of how often the
 * place was used: what epoll tells of a watch that ended meanwhile is not believed.
 *
 * Invariants: one on_ready at a time, never under the lock; after watches_remove has returned the
 * function is not running, unless it is the one that called. `next_ns` is never later than the
 * earliest deadline; it may be earlier, which costs one look in vain.
 *
 * Life cycle: watches_init, any of the others, watches_release when nobody serves any more; what a
 * driver has not ended by then is freed. Threads: watches_serve from one thread at a time, the rest
 * from any.
 */
#ifndef SLUICE_RUNNER_WATCHES_H
#define SLUICE_RUNNER_WATCHES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include <sluice/services.h>

struct watches {
    int epoll;
    _Atomic uint32_t count; /* looked at without the lock: most drivers watch nothing */
    pthread_mutex_t mutex;  /* of all below */
    pthread_cond_t returned;
    struct sluice_watch *calling; /* whose on_ready runs, on the thread `caller` */
    pthread_t caller;
    uint64_t next_ns;
    uint32_t generations[SLUICE_WATCHES_MAX];
    struct sluice_watch *at[SLUICE_WATCHES_MAX];
};

bool watches_init(struct watches *watches, struct err *err);
void watches_release(struct watches *watches);
/* Readable when something is ready. */
int watches_fd(const struct watches *watches);
/* Until the next time-out; -1: there is none. */
int watches_timeout_ms(struct watches *watches);
/* Tells what is ready and whose time is over, waiting for it up to wait_ms. true: something was
 * told. */
bool watches_serve(struct watches *watches, int wait_ms);

/* The services of that name. *ret_sooner: who sleeps until watches_timeout_ms has to be woken. */
struct sluice_watch *watches_add(struct watches *watches, int fd, uint32_t ready,
                                 uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument,
                                 bool *ret_sooner);
void watches_change(struct watches *watches, struct sluice_watch *watch, uint32_t ready,
                    uint32_t timeout_ms, bool *ret_sooner);
void watches_remove(struct watches *watches, struct sluice_watch *watch);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * workers.h: threads for data calls that would block: reads that miss the page cache, flushes.
 *
 * Threads are started when there is more to do than idle ones can take, and stay until the end.
 * What the queue has no room for, or no thread can be started for, is the caller's to do at once.
 *
 * Life cycle: workers_init, workers_submit, workers_wait for each owner, workers_release when
 * nothing is queued. A task may complete its io, after which its owner may be asked to go:
 * workers_wait holds it until the worker has let go. Threads: any.
 */
#ifndef SHARE_WORKERS_H
#define SHARE_WORKERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/driver.h>

#define WORKERS_MAX 16        /* waiting for the disk together; more gained nothing */
#define WORKERS_QUEUE_MAX 256 /* the pool's in_flight_max */
/* Stacks count as memory of the driver (RLIMIT_DATA). */
#define WORKERS_STACK_BYTES (256 * 1024)

typedef void worker_run(void *owner, struct sluice_io *io);

struct worker_task {
    worker_run *run;
    void *owner;
    uint32_t *pending; /* the owner's: tasks that are queued or run */
    struct sluice_io *io;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t done;
    pthread_t threads[WORKERS_MAX];
    uint32_t thread_max;
    uint32_t thread_count;
    uint32_t idle;
    uint32_t first; /* of the queue */
    uint32_t queued;
    bool stopping;
    struct worker_task queue[WORKERS_QUEUE_MAX];
};

/* At most `threads` of them, 1 to WORKERS_MAX. */
void workers_init(struct workers *workers, uint32_t threads);
void workers_release(struct workers *workers);
/* false: not taken. */
bool workers_submit(struct workers *workers, const struct worker_task *task);
/* Until *pending is 0. */
void workers_wait(struct workers *workers, const uint32_t *pending);

#endif

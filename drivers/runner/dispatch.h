/* SPDX-License-Identifier: Apache-2.0
 *
 * dispatch.h: which call runs when, and on which thread: the thread models enforced.
 *
 *   LOOP         on the thread that submits, at once
 *   SERIAL       on one worker, one after the other in the order of submission
 *   PER_VOLUME,  on up to DISPATCH_WORKERS_MAX workers. Control calls are all that travels here,
 *   PARALLEL     and for those both models are the same:
 *                  - jobs that name a common volume never overlap and keep their order;
 *                  - a job of serial POOL runs alone: what came before it has ended, what comes
 *                    after it waits;
 *                  - all others may overlap.
 *
 * Life cycle: dispatch_open, dispatch_submit any number of times, dispatch_close when idle. A job
 * belongs to the dispatch from submit until its `finished` is called, which may free it.
 * Threads: all functions from the loop's thread; `run` and `finished` on the thread of the job.
 */
#ifndef SLUICE_RUNNER_DISPATCH_H
#define SLUICE_RUNNER_DISPATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/message.h"

/* Enough to keep a backend busy with control calls, few enough to stay small when all block. */
#define DISPATCH_WORKERS_MAX 8
/* Client libraries are written for the default of 8 MiB and use a fraction; stacks count as memory
 * of the driver (RLIMIT_DATA). */
#define DISPATCH_STACK_BYTES (2 << 20)
#define DISPATCH_VOLUMES_MAX \
    3 /* a call names at most a volume, its source, and its source's volume */

struct job {
    struct job *next;
    void (*run)(struct job *job);
    void (*finished)(struct job *job); /* last; no longer counted as running */
    enum wire_serial serial;
    uint32_t volume_count;
    struct sluice_uuid volumes[DISPATCH_VOLUMES_MAX];
    uint64_t begun_ns; /* set when it runs */
};

struct dispatch {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    uint32_t model; /* enum sluice_thread_model */
    uint32_t workers_max;
    uint32_t worker_count;
    uint32_t idle;
    pthread_t workers[DISPATCH_WORKERS_MAX];
    struct job *waiting; /* in order of submission */
    struct job **waiting_end;
    struct job *running; /* in no order */
    bool stopping;
};

/* Starts the first worker, where the model has workers: SYSTEM when that fails. */
bool dispatch_open(struct dispatch *dispatch, uint32_t model, struct err *err);
/* Nothing may be waiting or running. */
void dispatch_close(struct dispatch *dispatch);

void dispatch_submit(struct dispatch *dispatch, struct job *job);
/* Takes back the jobs that have not begun and for which `wanted` says false; each is handed to its
 * `finished` without having run. */
void dispatch_discard(struct dispatch *dispatch, bool (*wanted)(const struct job *job));
/* Jobs that run now, and the age of the oldest. */
void dispatch_running(struct dispatch *dispatch, uint32_t *ret_count, uint32_t *ret_oldest_ms);

#endif

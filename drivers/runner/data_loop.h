/* SPDX-License-Identifier: Apache-2.0
 *
 * data_loop.h: turns of data calls where the thread model wants them on a thread that has other
 * things to do: LOOP on the loop's own, SERIAL as a job of the one worker.
 *
 * In the model LOOP the loop also serves what the driver has watched.
 *
 * The loop watches the ring's descriptor; a turn ends after DATA_TURN_MS at the latest, and the
 * next one comes after the loop looked at everything else, so that the heartbeat is not late.
 *
 * Life cycle: data_loop_init, data_loop_serve, data_loop_watch with each ring, data_loop_close
 * before the loop's end. Threads: the loop's, but data_loop_wake from any.
 */
#ifndef SLUICE_RUNNER_DATA_LOOP_H
#define SLUICE_RUNNER_DATA_LOOP_H

#include <uv.h>

#include "runner/data.h"
#include "runner/dispatch.h"

struct data_watch;

struct data_loop {
    uint32_t magic;
    struct data *data;
    struct dispatch *dispatch;
    bool serial;
    uv_async_t async; /* another turn is wanted, or the job has ended */
    struct data_watch *watch;
    struct watches *watches; /* NULL: somebody else serves them */
    uv_poll_t watches_poll;
    uv_timer_t watches_timer;
    struct job job;
    bool busy;    /* the job is under way */
    bool wanted;  /* another turn after it */
    bool stopped; /* no turn any more */
    _Atomic bool ended;
    _Atomic bool more; /* the job's turn was cut short */
};

void data_loop_init(struct data_loop *loop, uv_loop_t *uv, struct dispatch *dispatch);
/* From now on the driver's watches are served here. */
void data_loop_serve(struct data_loop *loop, struct watches *watches);
/* Watches a copy of the descriptor (wake_runner) instead of the one before, and makes a turn.
 * false: no descriptor or no memory. */
bool data_loop_watch(struct data_loop *loop, struct data *data, bool serial, int wake_runner);
/* data_create's `wake`; owner is the struct data_loop. */
void data_loop_wake(void *owner);
/* No turn begins any more. */
void data_loop_stop(struct data_loop *loop);
void data_loop_close(struct data_loop *loop);

#endif

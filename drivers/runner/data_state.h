/* SPDX-License-Identifier: Apache-2.0
 *
 * data_state.h: what the sources of the data side share: data.c (life and control calls) and
 * data_io.c (turns, calls, completions).
 */
#ifndef SLUICE_RUNNER_DATA_STATE_H
#define SLUICE_RUNNER_DATA_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ring/patience.h"
#include "ring/ring.h"
#include "runner/data.h"
#include "runner/data_table.h"
#include "runner/watches.h"

/* All calls that all rings can have under way, and as many again as one ring has, so that a place
 * rests before it is used again. */
#define DATA_PLACES ((DATA_RINGS_MAX + 1) * RING_ENTRIES)

enum place_state { PLACE_FREE, PLACE_WAITING, PLACE_RUNNING };

/* A ring, and how many of its calls are under way or waiting. */
struct data_ring {
    struct ring ring;
    bool used;
    bool retired; /* no turn looks at it; unmapped when `taken` is 0 */
    uint32_t taken;
};

/* One call. The driver may write what it likes into `io`. */
struct place_io {
    struct sluice_io io;
    enum place_state state;
    struct place_io *next;
    struct data_ring *ring;
    struct data_open *open;
    uint64_t begun_ns;
    struct ring_submission submission;
};

struct place_list {
    struct place_io *head;
    struct place_io **end;
};

struct data {
    struct services *services;
    void (*wake)(void *owner);
    void *owner;
    const struct driver *driver;
    const struct sluice_pool *limits;

    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t ended;  /* a call has ended */
    bool stopping;         /* no turn begins any more */
    bool quiet;            /* our thread has seen that */
    bool ending;           /* our thread shall end */
    bool has_thread;
    pthread_t thread;
    int kick;    /* eventfd: wakes our thread */
    bool kicked; /* since the turn began its round */

    bool in_turn;
    pthread_t turning;
    struct data_ring *current; /* changed by the turn only */
    struct data_ring *next;    /* to be taken over */
    uint64_t published_ns;
    struct patience patience; /* the turn's */
    uint32_t batch;           /* calls that the last round with any took */
    uint32_t running;
    uint64_t wrong_completions;
    struct place_list free;
    struct place_list waiting;
    struct watches watches; /* has a lock of its own */

    bool asleep; /* the turn's own: the current ring's sleep is announced */

    struct data_ring rings[DATA_RINGS_MAX];
    struct data_table table;
    struct place_io places[DATA_PLACES];
    struct sluice_extent extents[DATA_PLACES][RING_EXTENTS_MAX];
};

/* data_io.c; the mutex is held. */
void places_push(struct place_list *list, struct place_io *place);
/* Takes `place` out of the waiting ones, whose predecessor's link is `link`, and forgets it. */
void place_forget(struct data *data, struct place_io **link);
void data_kick(struct data *data);
/* Completes a call that never got into the driver. */
void data_answer(struct data_ring *ring, uint64_t tag, int32_t status, uint64_t token);
/* Lets go of a ring as soon as nothing of it is under way. */
void data_retire(struct data *data, struct data_ring *ring);
uint32_t data_model(const struct data *data); /* enum sluice_thread_model */

#endif

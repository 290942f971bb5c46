/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h: data calls: from the ring into the driver and back.
 *
 * Life cycle: data_create, data_load before the driver is started, data_start once its pool is
 * known, data_attach any number of times, data_open_volume and data_close_volume, data_stop before
 * the pool is closed, data_end before the driver is stopped, data_destroy.
 *
 * A ring is taken over by whoever makes the turns, when it begins the next one. The ring before it
 * is kept until its calls have ended, as the driver writes into its pages; they complete into
 * nothing.
 *
 * A call is a place of a fixed array for its life: complete() of something else, or once more, is
 * counted, logged and ignored. Places are used again in the order in which they became free, so
 * that a late second completion most likely meets a free one.
 *
 * Threads. Turns are made by one thread at a time:
 *   LOOP                  the loop's thread (data_loop.h)
 *   SERIAL                a job of the dispatch, one call at a time to its end
 *   PER_VOLUME, PARALLEL  a thread of our own
 * Descriptors that the driver has watched are served by the loop's thread in the model LOOP, else
 * by the thread of our own, which in the model SERIAL does nothing else. It is there from the first
 * ring or watch that needs it to data_end. data_attach from the loop's thread; data_complete from
 * any; the rest from the thread of a control call. One mutex keeps all but the consumer's side of
 * the ring.
 */
#ifndef SLUICE_RUNNER_DATA_H
#define SLUICE_RUNNER_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "runner/driver.h"
#include "runner/services.h"
#include "runner/watches.h"
#include "wire/message.h"

#define DATA_RINGS_MAX 3      /* the present one, and two whose calls hang */
#define DATA_TURN_MS 5        /* a turn on a thread that has other things to do */
#define DATA_OPEN_WAIT_MS 500 /* for calls to end, before a control call answers PENDING */
#define DATA_RETRY_MS 20

struct data;

/* NULL: no memory. `services` reports what a driver does wrong. `wake` asks for another turn, where
 * it is not our own thread that makes them: from any thread, with the mutex held. */
struct data *data_create(struct services *services, void (*wake)(void *owner), void *owner);
/* Nothing may be under way. Accepts NULL. */
void data_destroy(struct data *data);
/* The driver, which lives until data_end. */
void data_load(struct data *data, const struct driver *driver);
/* Its limits now that its pool is open; they live until data_stop. */
void data_start(struct data *data, const struct sluice_pool *limits);
/* Owns the three descriptors (memory, wake_runner, wake_data), also on failure. BUSY: calls of too
 * many former rings hang. */
bool data_attach(struct data *data, const int descriptors[3], struct err *err);

/* SLUICE_OK with *ret, or the driver's status. An open like one that there is: that one again. One
 * with a higher epoch closes the former one first, one with a lower one is STALE. PENDING: calls of
 * the former one have not ended. Code set in err: the driver lied, or the table is full. */
int32_t data_open_volume(struct data *data, void *pool, struct sluice_call *call,
                         const struct wire_data_open *args, struct wire_data_opened *ret,
                         struct err *err);
/* OK or PENDING. */
int32_t data_close_volume(struct data *data, const struct wire_data_close *args);
/* Around a control call that names volumes, where the thread model forbids that data calls on them
 * overlap it. Waits for those under way. */
void data_hold(struct data *data, const struct sluice_uuid *volumes, uint32_t count);
void data_unhold(struct data *data, const struct sluice_uuid *volumes, uint32_t count);
/* Ends the turns, waits for calls under way, closes all handles, lets go of the rings. Watches are
 * still served. */
void data_stop(struct data *data);
/* No watch is served any more. */
void data_end(struct data *data);

/* The services of these names. */
struct sluice_watch *data_watch(struct data *data, int fd, uint32_t ready, uint32_t timeout_ms,
                                sluice_on_ready *on_ready, void *argument);
void data_watch_change(struct data *data, struct sluice_watch *watch, uint32_t ready,
                       uint32_t timeout_ms);
void data_unwatch(struct data *data, struct sluice_watch *watch);
/* Where the loop serves them: what it waits for, and when it looks at the latest. */
struct watches *data_watches(struct data *data);

/* Does a thread of its own make the turns? */
bool data_has_thread(const struct data *data);
/* One turn: takes and makes calls until there is nothing for a while, or `until_ns`
 * (clock_mono_ns) has come. true: there is more to do at once. false: the descriptor will tell. */
bool data_turn(struct data *data, uint64_t until_ns);
/* complete() of the services. */
void data_complete(struct data *data, struct sluice_io *io, int32_t status, uint64_t token);
/* Calls inside the driver now, and the age of the oldest. */
void data_running(struct data *data, uint32_t *ret_count, uint32_t *ret_oldest_ms);

#endif

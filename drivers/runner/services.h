/* SPDX-License-Identifier: Apache-2.0
 *
 * services.h: the table of services as a driver sees it, and what the runner keeps behind it.
 *
 * Whatever comes in is bounded here: text is cut, made UTF-8 and cleaned of control characters;
 * log lines and events pass a rate limit, and what does not pass is counted. The sink gets only
 * what is fit for the wire.
 *
 * Threads: everything a driver reaches may be called from any of its threads; the sink too is
 * called from there.
 */
#ifndef SLUICE_RUNNER_SERVICES_H
#define SLUICE_RUNNER_SERVICES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/message.h"
#include <sluice/driver.h>

/* Log lines and events each. A burst is what a pool with many volumes says when its backend goes.
 */
#define SERVICES_RATE_PER_S 100
#define SERVICES_BURST 200

/* One control call while the driver's function runs. `text` is empty until fail() was called. */
struct sluice_call {
    uint32_t magic;
    char text[SLUICE_TEXT_MAX];
    uint64_t done;
    uint64_t total;
};
void services_call_init(struct sluice_call *call);

struct services_sink {
    void (*log)(void *owner, const struct wire_log *line);
    void (*event)(void *owner, const struct wire_event *event);
    /* NULL: no data call is ever made, and a completion ends the process. */
    void (*complete)(void *owner, struct sluice_io *io, int32_t status, uint64_t token);
    /* As in the table; NULL: nothing can be watched. */
    struct sluice_watch *(*watch)(void *owner, int fd, uint32_t ready, uint32_t timeout_ms,
                                  sluice_on_ready *on_ready, void *argument);
    void (*watch_change)(void *owner, struct sluice_watch *watch, uint32_t ready,
                         uint32_t timeout_ms);
    void (*unwatch)(void *owner, struct sluice_watch *watch);
    void *owner;
};

struct services_rate {
    uint64_t tokens; /* in thousandths */
    uint64_t at_ms;
};

struct services {
    struct sluice_services table; /* what start() gets */
    struct services_sink sink;
    pthread_mutex_t mutex; /* of all below, and of the calls */
    struct services_rate logs;
    struct services_rate events;
    uint64_t dropped;
};

void services_init(struct services *services, const struct services_sink *sink);
void services_release(struct services *services);
/* Log lines and events that the limit has cost so far. */
uint64_t services_dropped(struct services *services);
/* Copies the call's text and progress as they are now. */
void services_call_read(struct services *services, const struct sluice_call *call,
                        char ret_text[SLUICE_TEXT_MAX], uint64_t *ret_done, uint64_t *ret_total);

/* `text` (NULL: nothing; at most SLUICE_TEXT_MAX bytes are looked at) as one clean line. */
void services_clean(char ret[SLUICE_TEXT_MAX], const char *text);

#endif

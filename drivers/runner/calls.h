/* SPDX-License-Identifier: Apache-2.0
 *
 * calls.h: one call of the gateway made to the driver, by the table of calls.
 *
 * calls_make takes decoded arguments, calls the member that the table names, checks the answer and
 * encodes it into a reply. A member that the driver does not have answers UNSUPPORTED; an answer
 * that cannot be true answers INTERNAL and says what the driver did.
 *
 * Threads: calls_make from any thread; dispatch.h sees to what may overlap. Of the place's members
 * only POOL_OPEN changes any, and nothing else runs meanwhile.
 */
#ifndef SLUICE_RUNNER_CALLS_H
#define SLUICE_RUNNER_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "runner/data.h"
#include "runner/dispatch.h"
#include "runner/driver.h"
#include "runner/services.h"
#include "wire/message.h"

/* What the gateway waits before it asks again where a driver does not say; and what it waits at
 * most, so that a driver cannot put a volume to sleep for ever. */
#define CALLS_RETRY_MS 200
#define CALLS_RETRY_MAX_MS 60000
/* What a call takes beside its message: a page of structs, texts. */
#define CALLS_ARENA_MAX (WIRE_ARENA_MAX + 131072)

/* The driver as it was started, and its pool. */
struct place {
    struct driver driver;
    struct services *services;
    struct data *data; /* NULL: no data calls */
    void *instance;    /* start's ret_driver */
    bool is_open;
    void *pool;
    struct sluice_uuid pool_id;
    struct sluice_pool limits;
    uint8_t opened[1024]; /* wire_pool of `limits`, encoded */
    uint32_t opened_length;
};

/* What one call needs; kept from call to call. */
struct call_memory {
    struct arena arena;
    struct sluice_call call;
    struct buf entries; /* of a page */
    struct buf result;
    char text[SLUICE_TEXT_MAX];
};
void calls_memory_init(struct call_memory *memory);
void calls_memory_release(struct call_memory *memory);
/* Forgets what was in it, gives back what was unusually large. */
void calls_memory_reset(struct call_memory *memory);

/* `packet` is a call that was decoded into memory->arena. *ret points into `memory`. */
void calls_make(struct place *place, const struct wire_packet *packet, struct call_memory *memory,
                struct wire_reply *ret);
/* start() with LOAD's settings; the status, and why in err. */
bool calls_start(struct place *place, const struct text_pairs *settings, struct call_memory *memory,
                 struct err *err);
/* Ends data calls, pool_close where it is open, then stop(). */
void calls_stop(struct place *place);

/* The volumes that a call names, for job.volumes. */
void calls_volumes(const struct wire_packet *packet, struct job *ret_job);

#endif

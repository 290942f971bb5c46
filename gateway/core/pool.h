/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: pools as they run: a record, a driver version, a runner.
 *
 * A struct pool exists from the acceptance of its creation (or the start of the gateway) until it
 * is deleted. Its record is a copy of the catalogue's, brought up to date by the operation that
 * changed it, once durable. Its runner exists while the pool is enabled, disabled or being created;
 * a drained pool has none. Loop thread only.
 */
#ifndef SLUICE_CORE_POOL_H
#define SLUICE_CORE_POOL_H

#include <uthash.h>

#include "core/core.h"
#include "core/records.h"
#include "runners/runners.h"

#define POOLS_MAX 480 /* sluice-super holds SUPER_CHILDREN_MAX runners, some are drivers' */

struct op;
struct driver;
struct pools;

struct pool {
    struct core *core;
    UT_hash_handle hh; /* by record.id */
    struct sluice_uuid id;
    struct arena arena; /* of the record */
    struct pool_record record;
    struct driver *driver; /* NULL: not there (any more) */
    struct runner *runner; /* NULL: drained, or it could not be started: cause says why */
    struct err cause;
    uint32_t work;     /* running operations that are not about the pool itself */
    struct op *waiter; /* the one operation about the pool itself, while it waits */
    void (*on_change)(struct op *op);
    bool start_again;             /* once the runner that is being stopped has ended */
    enum runner_state last_state; /* told by an event */
    char last_cause[ERR_TEXT_MAX];
    uint64_t told_since_ms; /* what its driver tells is counted by the minute */
    uint32_t told;
};

/* Events of a driver that are kept in a minute; it could fill the catalogue with them otherwise. */
#define POOL_TOLD_MAX 60

bool pools_open(struct core *core, struct err *err);
void pools_close(struct core *core); /* every runner has been released */
/* Starts the runner of every pool that shall have one and has none, by name. */
void pools_start(struct core *core);
/* Starts or stops the pool's runner, as its record says. */
void pool_settle(struct pool *pool);
uint32_t pools_count(const struct core *core);
/* In ascending order of name; NULL after the last. `after` NULL: the first. */
struct pool *pools_next(const struct core *core, const struct pool *after);

struct pool *pool_find(struct core *core, const struct sluice_uuid *id);
/* A pool that is being created. NULL: no memory. */
struct pool *pool_add(struct core *core, const struct pool_record *record, struct err *err);
void pool_remove(struct pool *pool); /* without a runner */
/* The record as the catalogue has it now. */
bool pool_reload(struct pool *pool, struct err *err);
/* Another record, in memory only: the one of before, while a change is taken back. */
bool pool_set_record(struct pool *pool, const struct pool_record *record, struct err *err);
bool pools_uid_taken(const struct core *core, uint32_t uid);

/* Starts the runner; flags as enum sluice_pool_open_flag. false also where its driver was stopped,
 * or the gateway stops. */
bool pool_start(struct pool *pool, uint32_t open_flags, struct err *err);
/* What the runner shall be from its next process on: after the record or the driver changed. */
bool pool_respec(struct pool *pool, uint32_t open_flags, struct err *err);
/* Its runner is being stopped: POOL_DOWN. It cannot be restarted then. */
bool pool_is_ending(const struct pool *pool, struct err *err);
/* Ends the runner; the waiter's on_change is called when it has ended. */
void pool_stop(struct pool *pool);
/* Calls on_change at every change of the runner's state, and when the operation is cancelled, until
 * pool_unwait. */
void pool_wait(struct pool *pool, struct op *op, void (*on_change)(struct op *op));
void pool_unwait(struct pool *pool);
/* Serves, does not (err says why), or neither is known yet. */
enum pool_standing { POOL_SERVES, POOL_FAILS, POOL_UNDECIDED };
enum pool_standing pool_standing(const struct pool *pool, struct err *err);

void pool_work_began(struct pool *pool);
void pool_work_ended(struct pool *pool);

/* New work may be asked for: enabled, its driver running, its runner not known to be down. */
bool pool_takes_work(const struct pool *pool, struct err *err);
/* What the backend states; NULL before it was opened once. */
const struct wire_pool *pool_opened(const struct pool *pool);
/* UNSUPPORTED, saying that the driver of this pool cannot do `what`. */
bool pool_can(const struct pool *pool, unsigned cap, const char *what, struct err *err);
struct runner *pool_runner(const struct pool *pool);

#endif

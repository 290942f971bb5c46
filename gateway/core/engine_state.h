/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_state.h: what the engine's own sources (engine.c, accept.c, recover.c, locks.c) share.
 */
#ifndef SLUICE_CORE_ENGINE_STATE_H
#define SLUICE_CORE_ENGINE_STATE_H

#include <uthash.h>

#include "core/engine.h"

struct op_lock_entry; /* locks.c */

struct op_state {
    struct engine *engine;
    struct op *op;
    struct sluice_uuid id; /* hash key */
    UT_hash_handle hh;
    uv_timer_t timer;
    uint32_t step;
    bool listed, counted;
    bool undoing; /* direction */
    bool turned;  /* and that is on disk */
    bool in_step; /* run or undo owes an answer */
    bool calling; /* the driver does */
    bool asked_again;
    bool ending; /* all steps are done, the last commit is due */
    bool cancelling;
    bool abandoned;
    char cancelled_by[128];
    uint32_t tries, commit_tries;
    uint64_t step_began_ms;
    uint64_t done_bytes, total_bytes, rate, rate_done, rate_at_ms;
    const char *waiting_for;
    char waiting_text[ERR_TEXT_MAX];
    void (*on_ok)(struct op *op, const void *result);
    void (*after_end)(struct op *op); /* a kind's, once the last commit is durable */
    struct {
        struct op_lock_entry *entry;
        bool exclusive;
    } locks[OP_LOCKS_MAX];
    uint32_t lock_count;
    /* While it is accepted (accept.c). */
    struct core_violation *violations;
    uint32_t violation_count;
    uint64_t if_match;
};

struct watch_entry;
struct submission;

struct engine {
    struct core *core;
    struct op_state *running;
    uint32_t running_count;
    struct op_lock_entry *locks;
    struct watch_entry *watches;
    struct submission *keys; /* under way, by idempotency key (accept.c) */
    uint32_t submitting;     /* accepted callbacks that are owed */
    uint64_t ended[3];       /* done, failed, cancelled since the start */
    bool closing;
};

struct op *op_create(struct engine *engine, enum core_kind kind);
void op_destroy(struct op *op);
void op_list(struct op *op);
bool op_fault(const struct op *op, const char *step, const char *place);
void op_wake(struct op *op);
bool op_cancellable(const struct op *op);
/* Starts the steps. */
void engine_begin(struct op *op);

/* The operation's record as it is now. */
void record_write(struct op *op, struct catalog_txn *txn);
void record_end(struct op *op, struct catalog_txn *txn, const char *state);

void locks_release(struct engine *engine, struct op *op);
void watches_fire(struct engine *engine, const struct sluice_uuid *operation);

#endif

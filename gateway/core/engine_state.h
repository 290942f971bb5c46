/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_state.h: what the engine's own sources share: accept.c, engine.c, engine_end.c, recover.c,
 * locks.c, watch.c.
 */
#ifndef SLUICE_CORE_ENGINE_STATE_H
#define SLUICE_CORE_ENGINE_STATE_H

#include <sys/queue.h>
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
    bool accepting; /* its first commit is under way (accept.c) */
    bool listed, counted;
    bool undoing;          /* direction */
    bool turned;           /* and that is on disk */
    bool in_step;          /* run or undo owes an answer */
    bool calling;          /* the driver does */
    struct runner *called; /* while it does */
    bool committing;       /* the catalogue does: the turn, or the last commit */
    bool asked_again;
    bool ending; /* all steps are done, the last commit is due */
    bool cancelling;
    bool abandoned;
    bool given_up; /* what it waits for is not waited for any more */
    char cancelled_by[128], given_up_by[128];
    uint32_t tries, commit_tries;
    uint64_t step_began_ms;
    uint64_t done_bytes, total_bytes, rate, rate_done, rate_at_ms;
    const char *waiting_for;
    char waiting_text[ERR_TEXT_MAX];
    void (*on_ok)(struct op *op, const void *result);
    void (*on_answer)(struct op *op, const struct runner_reply *reply); /* op_ask's, or NULL */
    void (*late)(struct op *op);      /* the step's deadline, while the timer runs in a step */
    void (*cancelled)(struct op *op); /* the step wants to hear of it */
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
LIST_HEAD(submission_list, submission);

enum engine_end { ENGINE_DONE, ENGINE_FAILED, ENGINE_CANCELLED, ENGINE_ENDS };

struct engine {
    struct core *core;
    struct op_state *running;
    uint32_t running_count;
    struct op_lock_entry *locks;
    struct watch_entry *watches;
    struct submission *keys;            /* under way, by idempotency key (accept.c) */
    struct submission_list submissions; /* accepted callbacks that are owed */
    uint32_t accepting;                 /* operations whose first commit is under way */
    uint64_t ended[ENGINE_ENDS];        /* since the start */
};

struct op *op_create(struct engine *engine, enum core_kind kind);
void op_destroy(struct op *op);
void op_list(struct op *op);
bool op_fault(const struct op *op, const char *step, const char *place);
/* What waits for its next try tries now; a step that waits for something else hears of the cancel.
 */
void op_wake(struct op *op);
bool op_cancellable(const struct op *op);
/* Ends the wait for the driver's answer, or for the next try: the step has failed then, and an undo
 * is left as it is. false: that is not what it waits for. */
bool op_give_up(struct op *op, const char *by);
/* Starts the steps. */
void engine_begin(struct op *op);

/* ---- engine.c and engine_end.c of each other ------------------------------------------------ */

/* Goes on with whatever is due, in a later turn of the loop. */
void op_next_turn(struct op *op, uint32_t after_ms);
/* The same after a while that grows with each try; `why` is for people. */
void op_try_later(struct op *op, const char *why);
/* The first cause wins. */
void op_fail_with(struct op *op, const struct err *err);
/* From here on the steps are undone, once that is on disk. */
void op_turn(struct op *op);
/* The last commit. */
void op_end(struct op *op);

/* The operation's record as it is now. */
void record_write(struct op *op, struct catalog_txn *txn);
void record_end(struct op *op, struct catalog_txn *txn, const char *state);
/* Counts how it ended, by its record. */
void engine_count(struct op *op);

/* Whoever still waits for on_accepted gets it now; the catalogue holds nothing of theirs. */
void submissions_end(struct engine *engine);
void locks_release(struct engine *engine, struct op *op);
void watches_fire(struct engine *engine, const struct sluice_uuid *operation);
void watches_drop(struct engine *engine); /* nobody is called any more */

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.h: runs operations: durable, idempotent, re-runnable steps, done or undone.
 *
 * The life of an operation:
 *
 *     submit, prepare, first commit: accepted
 *       steps, forward; finish, last commit: done
 *       a step failed for good, or cancel; the turn is committed
 *         undo, backward; undone, last commit: failed or cancelled
 *
 * Invariants:
 *   - Nothing outside the catalogue is touched before the first commit is durable.
 *   - After a restart an operation that is not ended runs again from its first step, or, when it
 * had been turned, from its last undo. So each run and each undo is idempotent.
 *   - A run or undo answers exactly once, by op_step_done; it may do so before it returns.
 *   - prepare, finish and undone only read, and add to the transaction: they may be called again
 *     when a commit met a conflict.
 *   - A cancel that was accepted is kept, unless the operation has nothing that could be taken back
 *     and its last step was done first.
 *   - While the gateway stops nothing new is begun: the next start goes on with it.
 *   - Locks are taken in prepare, held until the operation has ended, and not kept on disk: after a
 *     restart prepare's locks are taken again by `recall`.
 * Loop thread only.
 */
#ifndef SLUICE_CORE_ENGINE_H
#define SLUICE_CORE_ENGINE_H

#include <uv.h>

#include "catalog/catalog.h"
#include "core/core.h"
#include "core/records.h"
#include "runners/runners.h"

#define ENGINE_OPERATIONS_MAX 4096     /* running at once; more is TOO_MANY */
#define ENGINE_OP_MEMORY (1024 * 1024) /* the largest request four times over */
#define OP_LOCKS_MAX 6

struct engine;
struct op;
struct pool;
struct driver;

/* What a lock is on. WORK: a pool, shared by each operation on its objects. UID: an account. PAIR:
 * a snapshot and a host. SCAN: the directories of drivers. */
enum lock_space { LOCK_OBJECT, LOCK_WORK, LOCK_UID, LOCK_PAIR, LOCK_SCAN };

struct kind_row {
    const char *name;
    /* Validates, fills op->record's object, names and pool, takes locks, adds to the transaction.
     */
    bool (*prepare)(struct op *op, struct catalog_txn *txn, struct err *err);
    /* The object's last change; NULL for kinds without steps. */
    bool (*finish)(struct op *op, struct catalog_txn *txn, struct err *err);
    bool (*undone)(struct op *op, struct catalog_txn *txn, struct err *err);
    /* After a restart: finds op->pool, op->driver and takes the locks again, without refusing. */
    void (*recall)(struct op *op);
    const struct step_row *steps;
    size_t step_count;
};

enum step_undo { STEP_UNDO, STEP_NONE, STEP_FINAL };
struct step_row {
    const char *name;
    void (*run)(struct op *op);
    void (*undo)(struct op *op);
    enum step_undo how;
};
/* kinds.c expands it from operation.def. */
const struct kind_row *kind_row(enum core_kind kind);

/* What a kind's functions may use of an operation. */
struct op {
    struct core *core;
    enum core_kind kind;
    const struct kind_row *row;
    struct operation_record record; /* lives in the arena */
    const void *params;             /* in the arena; secrets sealed away already */
    struct arena arena;             /* as long as the operation */
    struct arena step_arena;        /* emptied before each run, undo, finish and undone */
    struct pool *pool;              /* set by prepare or recall; its work is counted */
    struct driver *driver;          /* likewise */
    const char *secret;             /* for the one who asked, not stored */
    void *scratch;                  /* a kind's own, in the arena, lost at a restart */

    /* Results that steps leave for finish. */
    uint64_t size_bytes, used_bytes;
    const char *format;
    const char *protocol, *note;
    struct text_pairs connection;

    /* The engine's. */
    struct op_state *state;
};

/* ---- for kinds ------------------------------------------------------------------------------ */

/* err NULL or NONE: the run or undo is done. */
void op_step_done(struct op *op, const struct err *err);
/* Run the same step (or undo) again after a while, at most OP_AGAIN_MAX_MS; bytes are progress,
 * waiting_for is for people. */
#define OP_AGAIN_MAX_MS 60000 /* whatever a driver says: a mistake of it must not stop for ever */
void op_again(struct op *op, uint32_t after_ms, uint64_t done, uint64_t total,
              const char *waiting_for);
/* Calls the pool's driver. A PENDING answer asks again by running the step again; an error ends the
 * step; OK calls on_ok (result of the call's shape), which ends it, or ends it when on_ok is NULL.
 */
void op_call(struct op *op, struct runner *runner, enum wire_number number, const void *args,
             void (*on_ok)(struct op *op, const void *result));
/* The same, where an error is an answer too: on_answer ends the step, whatever came. */
void op_ask(struct op *op, struct runner *runner, enum wire_number number, const void *args,
            void (*on_answer)(struct op *op, const struct runner_reply *reply));
/* Called once the operation's last commit (of a kind without steps: its only one) is durable, done
 * or undone. Set in prepare, recall, finish or undone. */
void op_after_end(struct op *op, void (*after_end)(struct op *op));
/* For a step that waits without a way to be called again: `late` is called once when it has not
 * answered by then, and brings the answer about (or sets another deadline). */
void op_deadline(struct op *op, uint32_t after_ms, void (*late)(struct op *op));
/* Called when the operation is cancelled while this step owes its answer; brings it about. */
void op_when_cancelled(struct op *op, void (*cancelled)(struct op *op));
/* The cause that counts, before the step's own error says something less useful. */
void op_blame(struct op *op, enum err_code code, const char *text);
bool op_undoing(const struct op *op);
bool op_cancelling(const struct op *op);

/* A lock until the operation ends. false: BUSY, naming who holds it. */
bool op_lock(struct op *op, enum lock_space space, const struct sluice_uuid *id, bool exclusive,
             struct err *err);
/* How many operations hold a shared lock. */
uint32_t engine_lockers(struct engine *engine, enum lock_space space, const struct sluice_uuid *id);

/* A field of the request that is not acceptable; prepare then returns false with VALIDATION. */
bool op_violation(struct op *op, struct err *err, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* An event in the same transaction. */
void op_event(struct op *op, struct catalog_txn *txn, const char *type, const char *text);

/* ---- for the core --------------------------------------------------------------------------- */

bool engine_open(struct core *core, struct engine **ret, struct err *err);
/* Reads the operations that had not ended and makes them run, once pools exist. One that cannot be
 * read is said to the log and left for a version that can. */
bool engine_recover(struct engine *engine, struct err *err);
void engine_close(struct engine *engine); /* what runs is left for the next start */
/* NULL: not running. */
struct op *engine_find(struct engine *engine, const struct sluice_uuid *operation);

struct op_progress {
    uint32_t step;
    const char *step_name;
    uint64_t done_bytes, total_bytes;
    uint64_t rate_bytes_s; /* over the last seconds */
    uint64_t eta_s;        /* UINT64_MAX: not known */
    const char *waiting_for;
    uint32_t tries;
};
void op_progress(const struct op *op, struct op_progress *ret);
/* Ends every operation of a pool as failed, without asking anybody (pool delete with forget). One
 * that the driver has a call of ends when that is answered. */
void engine_abandon(struct engine *engine, const struct pool *pool, const struct op *but,
                    const struct err *why);

#endif

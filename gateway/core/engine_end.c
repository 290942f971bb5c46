/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_end.c: how operations end: by their last commit, or because their pool was forgotten; and
 * how far they are until then.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/engine_state.h"
#include "core/state.h"
#include "core/store.h"

/* Conflicts of a last commit. Each is another operation's change of the same record (attachments of
 * one host that end at the same time), and no more than that are under way. */
#define COMMIT_TRIES ENGINE_OPERATIONS_MAX

/* ---- the last commit ------------------------------------------------------------------------ */

void engine_count(struct op *op) {
    enum engine_end end = strcmp(op->record.state, "done") == 0        ? ENGINE_DONE
                          : strcmp(op->record.state, "cancelled") == 0 ? ENGINE_CANCELLED
                                                                       : ENGINE_FAILED;
    op->state->engine->ended[end]++;
}

static void on_end_committed(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct op *op = arg;
    op->state->committing = false;
    if (err->code == ERR_CONFLICT && op->state->commit_tries < COMMIT_TRIES) {
        op->state->commit_tries++;
        op_next_turn(op, 0);
        return;
    }
    if (err->code != ERR_NONE) {
        op_try_later(op, err->text);
        return;
    }
    engine_count(op);
    (void)op_fault(op, NULL, op->state->undoing ? "undone" : "finished");
    if (op->state->after_end != NULL)
        op->state->after_end(op);
    watches_fire(op->state->engine, &op->record.id);
    op_destroy(op);
}

void record_end(struct op *op, struct catalog_txn *txn, const char *state) {
    op->record.state = state;
    op->record.ended_at = clock_wall_ms();
    struct key key;
    key_active(&key, &op->record.id);
    catalog_delete(txn, key.at, key.length);
    record_write(op, txn);
}

static const char *end_state(struct op *op) {
    if (op->state->undoing)
        return op->record.error == ERR_CANCELLED ? "cancelled" : "failed";
    op->record.error = ERR_NONE; /* what was blamed for being late came all the same */
    op->record.error_text = "";
    return "done";
}

/* false: it is tried again, or turned round. */
static bool last_change(struct op *op, struct catalog_txn *txn) {
    struct err err = ERR_INIT;
    if (op->state->abandoned)
        return true; /* its objects are forgotten with the pool */
    if (op->state->undoing ? op->row->undone(op, txn, &err) : op->row->finish(op, txn, &err))
        return true;
    if (op->state->undoing || err_advice(err.code) == ERR_ADVICE_RETRY) {
        op_try_later(op, err.text);
    } else {
        op_fail_with(op, &err);
        op_turn(op);
    }
    return false;
}

void op_end(struct op *op) {
    struct op_state *state = op->state;
    if (!state->undoing && state->commit_tries == 0)
        (void)op_fault(op, NULL, "finishing");
    struct catalog_txn *txn = catalog_begin(op->core->catalog);
    catalog_finishing(txn);
    arena_reset(&op->step_arena);
    if (!last_change(op, txn)) {
        catalog_drop(txn);
        return;
    }
    record_end(op, txn, end_state(op));
    char type[64];
    snprintf(type, sizeof type, "%s.%s", op->row->name, op->record.state);
    op_event(op, txn, type, op->record.error_text);
    state->committing = true;
    catalog_submit(txn, on_end_committed, op);
}

void engine_abandon(struct engine *engine, const struct pool *pool, const struct op *but,
                    const struct err *why) {
    struct op_state *state, *next;
    HASH_ITER(hh, engine->running, state, next) {
        struct op *op = state->op;
        if (op->pool != pool || op == but || state->abandoned)
            continue;
        op_fail_with(op, why);
        state->abandoned = true;
        state->undoing = state->turned = true;
        state->step = 0;
        if (state->in_step || state->committing)
            continue; /* the answer, or the commit, finds it abandoned */
        state->ending = true;
        op_next_turn(op, 0);
    }
}

/* ---- how far it is -------------------------------------------------------------------------- */

bool op_cancellable(const struct op *op) {
    for (size_t i = 0; i < op->row->step_count; i++)
        if (op->row->steps[i].how == STEP_FINAL && op->state->step >= i)
            return false;
    return op->row->step_count > 0 && !op->state->ending && !op->state->undoing;
}

void op_progress(const struct op *op, struct op_progress *ret) {
    const struct op_state *state = op->state;
    *ret = (struct op_progress){
        .step = state->step,
        .step_name = op->row->step_count > 0 ? op->row->steps[state->step].name : "",
        .done_bytes = state->done_bytes,
        .total_bytes = state->total_bytes,
        .rate_bytes_s = state->rate,
        .eta_s = state->rate > 0 && state->total_bytes >= state->done_bytes
                     ? (state->total_bytes - state->done_bytes) / state->rate
                     : UINT64_MAX,
        .waiting_for = state->waiting_for,
        .tries = state->tries,
    };
}

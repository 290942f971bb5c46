/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/engine_state.h"
#include "core/events.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"

static void step_enter(struct op *op);
static void step_failed(struct op *op, const struct err *err);
static void end_begin(struct op *op);

#define COMMIT_TRIES 20 /* conflicts of a last commit: attachments of one host at the same time */

/* ---- an operation in memory ----------------------------------------------------------------- */

struct op *op_create(struct engine *engine, enum core_kind kind) {
    struct op *op = calloc(1, sizeof *op);
    struct op_state *state = calloc(1, sizeof *state);
    if (op == NULL || state == NULL) {
        free(op);
        free(state);
        return NULL;
    }
    op->core = engine->core;
    op->kind = kind;
    op->row = kind_row(kind);
    op->state = state;
    state->engine = engine;
    state->op = op;
    arena_init(&op->arena, ENGINE_OP_MEMORY);
    arena_init(&op->step_arena, ENGINE_OP_MEMORY);
    uv_timer_init(engine->core->loop, &state->timer);
    state->timer.data = op;
    return op;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct op *op = handle->data;
    arena_release(&op->arena);
    arena_release(&op->step_arena);
    free(op->state);
    free(op);
}

void op_destroy(struct op *op) {
    struct engine *engine = op->state->engine;
    locks_release(engine, op);
    if (op->state->listed) {
        HASH_DEL(engine->running, op->state);
        engine->running_count--;
        op->state->listed = false;
    }
    if (op->pool != NULL && op->state->counted)
        pool_work_ended(op->pool);
    uv_close((uv_handle_t *)&op->state->timer, on_timer_closed);
}

void op_list(struct op *op) {
    struct engine *engine = op->state->engine;
    op->state->id = op->record.id;
    HASH_ADD(hh, engine->running, id, sizeof op->state->id, op->state);
    engine->running_count++;
    op->state->listed = true;
    if (op->pool != NULL) {
        pool_work_began(op->pool);
        op->state->counted = true;
    }
}

struct op *engine_find(struct engine *engine, const struct sluice_uuid *operation) {
    struct op_state *state;
    HASH_FIND(hh, engine->running, operation, sizeof *operation, state);
    return state != NULL ? state->op : NULL;
}

uint32_t engine_running(const struct engine *engine) {
    return engine->running_count;
}

void op_after_end(struct op *op, void (*after_end)(struct op *op)) {
    op->state->after_end = after_end;
}

bool op_undoing(const struct op *op) {
    return op->state->undoing;
}
bool op_cancelling(const struct op *op) {
    return op->state->cancelling;
}

/* One place where a fault point's name is put together; only test builds look at it. */
bool op_fault(const struct op *op, const char *step, const char *place) {
#ifdef SLUICE_WITH_FAULTS
    char name[128];
    snprintf(name, sizeof name, "core.%s%s%s.%s", op->row->name, step != NULL ? "." : "",
             step != NULL ? step : "", place);
    return FAULT(name);
#else
    (void)op, (void)step, (void)place;
    return false;
#endif
}

/* A test wants the step to fail for good here: before it runs, or although it has run. */
static bool step_fault(const struct op *op, const char *place, struct err *err) {
    return op_fault(op, op->row->steps[op->state->step].name, place) &&
           !err_set(err, ERR_INTERNAL, "a test made %s fail here", op->row->name);
}

void op_event(struct op *op, struct catalog_txn *txn, const char *type, const char *text) {
    struct event_record event = {
        .type = type,
        .noun = op->record.noun,
        .object = op->record.object,
        .object_name = op->record.object_name,
        .pool = op->record.pool,
        .operation = op->record.id,
        .principal = op->record.principal,
        .text = text,
        .at = clock_wall_ms(),
    };
    events_append(txn, &event);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static bool retry_worth(const struct op *op, const struct err *err) {
    const struct op_state *state = op->state;
    if (err_advice(err->code) != ERR_ADVICE_RETRY)
        return state->undoing;
    if (state->undoing)
        return true;
    if (state->cancelling)
        return false;
    return clock_mono_ms() - state->step_began_ms < op->core->options.retry_limit_ms;
}

/* Says what the operation waits for, for people. */
static void wait_for(struct op_state *state, const char *text) {
    text_copy(state->waiting_text, sizeof state->waiting_text, text);
    state->waiting_for = state->waiting_text;
}

static uint32_t retry_after_ms(struct op_state *state) {
    uint32_t wait = 100u << (state->tries < 7 ? state->tries : 7);
    state->tries++;
    return wait;
}

/* The next step waits for the next turn, so that steps which answer before they return do not grow
 * the stack with their number. */
static void on_turn(uv_timer_t *timer) {
    struct op *op = timer->data;
    if (op->state->ending)
        end_begin(op);
    else
        step_enter(op);
}

static void next_turn(struct op *op, uint32_t after_ms) {
    uv_timer_start(&op->state->timer, on_turn, after_ms, 0);
}

static void on_turned(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct op *op = arg;
    if (err->code != ERR_NONE) {
        op->state->waiting_for = "the catalogue";
        next_turn(op, retry_after_ms(op->state));
        return;
    }
    op->state->turned = true;
    op->state->tries = 0;
    (void)op_fault(op, NULL, "turned");
    step_enter(op);
}

/* The operation is turned round for good once that is on disk. */
static void turn(struct op *op) {
    struct op_state *state = op->state;
    state->undoing = true;
    state->tries = 0;
    op->record.state = "undoing";
    struct catalog_txn *txn = catalog_begin(op->core->catalog);
    catalog_finishing(txn);
    record_write(op, txn);
    catalog_submit(txn, on_turned, op);
}

static void fail_with(struct op *op, const struct err *err) {
    if (op->record.error != ERR_NONE)
        return; /* the first cause wins */
    op->record.error = (uint32_t)err->code;
    op->record.error_text = arena_strdup(&op->arena, err->text);
    if (op->record.error_text == NULL)
        op->record.error_text = "";
}

static void step_enter(struct op *op) {
    struct op_state *state = op->state;
    if (state->undoing && !state->turned) {
        turn(op); /* the commit of the turn failed before */
        return;
    }
    if (state->cancelling && !state->undoing) {
        struct err cancelled = ERR_INIT;
        err_set(&cancelled, ERR_CANCELLED, "cancelled by %s", state->cancelled_by);
        fail_with(op, &cancelled);
        turn(op);
        return;
    }
    const struct step_row *step = &op->row->steps[state->step];
    if (state->tries == 0 && !state->asked_again) {
        struct err fault = ERR_INIT;
        state->step_began_ms = clock_mono_ms();
        if (step_fault(op, state->undoing ? "undo_before" : "before", &fault)) {
            step_failed(op, &fault);
            return;
        }
    }
    arena_reset(&op->step_arena);
    state->in_step = true;
    if (!state->undoing)
        step->run(op);
    else if (step->how == STEP_UNDO)
        step->undo(op);
    else
        op_step_done(op, NULL);
}

static void step_failed(struct op *op, const struct err *err) {
    struct op_state *state = op->state;
    if (retry_worth(op, err)) {
        wait_for(state, err->text);
        next_turn(op, retry_after_ms(state));
        return;
    }
    fail_with(op, err);
    if (!state->undoing)
        turn(op);
}

static void step_ended(struct op *op) {
    struct op_state *state = op->state;
    const struct step_row *step = &op->row->steps[state->step];
    struct err fault = ERR_INIT;
    if ((!state->undoing || step->how == STEP_UNDO) &&
        step_fault(op, state->undoing ? "undo_after" : "after", &fault)) {
        step_failed(op, &fault);
        return;
    }
    state->tries = 0;
    state->asked_again = false;
    state->waiting_for = NULL;
    state->done_bytes = state->total_bytes = 0;
    bool last = state->undoing ? state->step == 0 : state->step + 1 == op->row->step_count;
    if (last) {
        state->ending = true;
        end_begin(op);
    } else {
        state->step += state->undoing ? -1u : 1u;
        next_turn(op, 0);
    }
}

void op_step_done(struct op *op, const struct err *err) {
    CHECK(op->state->in_step);
    op->state->in_step = false;
    if (op->core->stopping)
        return; /* it goes on at the next start */
    if (op->state->undoing && err != NULL && err->code == ERR_NOT_FOUND)
        err = NULL; /* what is to be taken back is not there */
    if (err != NULL && err->code != ERR_NONE && !op->state->abandoned)
        step_failed(op, err);
    else
        step_ended(op);
}

static void note_progress(struct op_state *state, uint64_t done, uint64_t total) {
    uint64_t now = clock_mono_ms();
    if (state->rate_at_ms == 0 || done < state->rate_done) {
        state->rate_at_ms = now;
        state->rate_done = done;
    } else if (now - state->rate_at_ms >= 1000) {
        state->rate = (done - state->rate_done) * 1000 / (now - state->rate_at_ms);
        state->rate_at_ms = now;
        state->rate_done = done;
    }
    state->done_bytes = done;
    state->total_bytes = total;
}

void op_again(struct op *op, uint32_t after_ms, uint64_t done, uint64_t total,
              const char *waiting_for) {
    CHECK(op->state->in_step);
    op->state->in_step = false;
    op->state->asked_again = true;
    op->state->tries = 0; /* it moves: only what stands still runs out of time */
    op->state->step_began_ms = clock_mono_ms();
    op->state->waiting_for = NULL;
    if (waiting_for != NULL)
        wait_for(op->state, waiting_for);
    note_progress(op->state, done, total);
    /* Never 0: libuv runs a timer that is due at once in the same round, and would not poll. */
    next_turn(op, after_ms > 0 ? after_ms : 1);
}

static void on_reply(void *arg, const struct runner_reply *reply) {
    struct op *op = arg;
    op->state->calling = false;
    if (op->state->abandoned) {
        op_step_done(op, NULL);
        return;
    }
    if (reply->err.code != ERR_NONE)
        op_step_done(op, &reply->err);
    else if (reply->pending)
        op_again(op, reply->retry_after_ms, reply->done, reply->total, NULL);
    else if (op->state->on_ok != NULL)
        op->state->on_ok(op, reply->result);
    else
        op_step_done(op, NULL);
}

void op_call(struct op *op, struct runner *runner, enum wire_number number, const void *args,
             void (*on_ok)(struct op *op, const void *result)) {
    if (runner == NULL) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_POOL_DOWN, "the pool has no runner now");
        op_step_done(op, &err);
        return;
    }
    op->state->on_ok = on_ok;
    op->state->calling = true;
    runner_call(runner, number, args, on_reply, op);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void tell_watchers(struct op *op) {
    struct engine *engine = op->state->engine;
    watches_fire(engine, &op->record.id);
}

static void on_end_committed(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct op *op = arg;
    if (err->code == ERR_CONFLICT && op->state->commit_tries < COMMIT_TRIES) {
        op->state->commit_tries++;
        next_turn(op, 0);
        return;
    }
    if (err->code != ERR_NONE) {
        wait_for(op->state, err->text);
        next_turn(op, retry_after_ms(op->state));
        return;
    }
    (void)op_fault(op, NULL, op->state->undoing ? "undone" : "finished");
    if (op->state->after_end != NULL)
        op->state->after_end(op);
    tell_watchers(op);
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

static const char *end_state(const struct op *op) {
    if (!op->state->undoing)
        return "done";
    return op->record.error == ERR_CANCELLED ? "cancelled" : "failed";
}

static void end_begin(struct op *op) {
    struct op_state *state = op->state;
    struct catalog_txn *txn = catalog_begin(op->core->catalog);
    catalog_finishing(txn);
    arena_reset(&op->step_arena);
    struct err err = ERR_INIT;
    bool (*last)(struct op *, struct catalog_txn *, struct err *) = state->abandoned ? NULL
                                                                    : state->undoing
                                                                        ? op->row->undone
                                                                        : op->row->finish;
    if (!state->undoing && state->commit_tries == 0)
        (void)op_fault(op, NULL, "finishing");
    if (last != NULL && !last(op, txn, &err)) {
        catalog_drop(txn);
        if (state->undoing || err_advice(err.code) == ERR_ADVICE_RETRY) {
            wait_for(state, err.text);
            next_turn(op, retry_after_ms(state));
        } else {
            state->ending = false;
            fail_with(op, &err);
            turn(op);
        }
        return;
    }
    record_end(op, txn, end_state(op));
    char type[64];
    snprintf(type, sizeof type, "%s.%s", op->row->name, op->record.state);
    op_event(op, txn, type, op->record.error_text);
    catalog_submit(txn, on_end_committed, op);
}

/* ---- begin ---------------------------------------------------------------------------------- */

void engine_begin(struct op *op) {
    op->state->step = op->state->undoing ? (uint32_t)op->row->step_count - 1 : 0;
    op->state->turned = op->state->undoing;
    step_enter(op);
}

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

void op_wake(struct op *op) {
    if (uv_is_active((uv_handle_t *)&op->state->timer))
        next_turn(op, 0);
}

void engine_abandon(struct engine *engine, const struct pool *pool, const struct op *but,
                    const struct err *why) {
    struct op_state *state, *next;
    HASH_ITER(hh, engine->running, state, next) {
        struct op *op = state->op;
        if (op->pool != pool || op == but || state->ending)
            continue;
        fail_with(op, why);
        state->abandoned = true;
        state->undoing = state->turned = true;
        state->step = 0;
        state->ending = !state->calling && !state->in_step;
        op_wake(op);
    }
}

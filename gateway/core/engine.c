/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static void step_given_up(struct op *op);

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
    if (op->state->accepting)
        engine->accepting--;
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
    if (op->state->accepting)
        engine->accepting--;
    op->state->accepting = false;
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

void op_when_cancelled(struct op *op, void (*cancelled)(struct op *op)) {
    op->state->cancelled = cancelled;
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
    char cut[ERR_TEXT_MAX]; /* a driver's text may be longer than an event's */
    text_copy(cut, sizeof cut, text);
    struct event_record event = {
        .type = type,
        .noun = op->record.noun,
        .object = op->record.object,
        .object_name = op->record.object_name,
        .pool = op->record.pool,
        .operation = op->record.id,
        .principal = op->record.principal,
        .text = cut,
        .at = clock_wall_ms(),
    };
    events_append(txn, &event);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void wait_for(struct op *op, const char *text) {
    text_copy(op->state->waiting_text, sizeof op->state->waiting_text, text);
    op->state->waiting_for = op->state->waiting_text;
}

static uint32_t retry_after_ms(struct op *op) {
    struct op_state *state = op->state;
    uint32_t wait = 100u << (state->tries < 7 ? state->tries : 7);
    state->tries++;
    return wait;
}

/* The next step waits for the next turn, so that steps which answer before they return do not grow
 * the stack with their number. */
static void on_turn(uv_timer_t *timer) {
    struct op *op = timer->data;
    if (op->core->stopping)
        return; /* the next start goes on with it */
    if (op->state->ending)
        op_end(op);
    else if (op->state->given_up)
        step_given_up(op);
    else
        step_enter(op);
}

void op_next_turn(struct op *op, uint32_t after_ms) {
    uv_timer_start(&op->state->timer, on_turn, after_ms, 0);
}

void op_try_later(struct op *op, const char *why) {
    wait_for(op, why);
    op_next_turn(op, retry_after_ms(op));
}

static void on_late(uv_timer_t *timer) {
    struct op *op = timer->data;
    CHECK(op->state->in_step);
    if (!op->core->stopping)
        op->state->late(op);
}

void op_deadline(struct op *op, uint32_t after_ms, void (*late)(struct op *op)) {
    CHECK(op->state->in_step);
    op->state->late = late;
    uv_timer_start(&op->state->timer, on_late, after_ms, 0);
}

static void progress_reset(struct op_state *state) {
    state->tries = 0;
    state->asked_again = false;
    state->waiting_for = NULL;
    state->done_bytes = state->total_bytes = 0;
    state->rate = state->rate_done = state->rate_at_ms = 0;
}

static void on_turned(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct op *op = arg;
    op->state->committing = false;
    if (op->state->abandoned) {
        op->state->ending = true;
        op_next_turn(op, 0);
        return;
    }
    if (err->code != ERR_NONE) {
        op_try_later(op, err->text);
        return;
    }
    op->state->turned = true;
    op->state->tries = 0;
    (void)op_fault(op, NULL, "turned");
    step_enter(op);
}

void op_turn(struct op *op) {
    struct op_state *state = op->state;
    progress_reset(state);
    state->undoing = true;
    state->ending = false;
    state->committing = true;
    op->record.state = "undoing";
    struct catalog_txn *txn = catalog_begin(op->core->catalog);
    catalog_finishing(txn);
    record_write(op, txn);
    catalog_submit(txn, on_turned, op);
}

void op_fail_with(struct op *op, const struct err *err) {
    if (op->record.error != ERR_NONE)
        return;
    op->record.error = (uint32_t)err->code;
    op->record.error_text = arena_strdup(&op->arena, err->text);
    if (op->record.error_text == NULL)
        op->record.error_text = "";
}

void op_blame(struct op *op, enum err_code code, const char *text) {
    struct err err = ERR_INIT;
    err_set(&err, code, "%s", text);
    op_fail_with(op, &err);
}

/* What a cancelled operation failed of is that it was cancelled, whatever else went wrong. */
static void turn_cancelled(struct op *op) {
    struct err cancelled = ERR_INIT;
    err_set(&cancelled, ERR_CANCELLED, "cancelled by %s", op->state->cancelled_by);
    op_fail_with(op, &cancelled);
    op_turn(op);
}

static void step_enter(struct op *op) {
    struct op_state *state = op->state;
    if (op->core->stopping)
        return;
    if (state->undoing && !state->turned) {
        op_turn(op); /* the commit of the turn failed before */
        return;
    }
    if (state->cancelling && !state->undoing) {
        turn_cancelled(op);
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

/* What is being undone is tried until it is. */
static bool retry_worth(const struct op *op, const struct err *err) {
    if (op->state->undoing)
        return true;
    return err_advice(err->code) == ERR_ADVICE_RETRY &&
           clock_mono_ms() - op->state->step_began_ms < op->core->options.retry_limit_ms;
}

static void step_failed(struct op *op, const struct err *err) {
    if (op->state->cancelling && !op->state->undoing) {
        turn_cancelled(op);
    } else if (retry_worth(op, err)) {
        op_try_later(op, err->text);
    } else {
        op_fail_with(op, err);
        op_turn(op);
    }
}

static bool has_something_to_undo(const struct op *op) {
    for (size_t i = 0; i < op->row->step_count; i++)
        if (op->row->steps[i].how == STEP_UNDO)
            return true;
    return false;
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
    progress_reset(state);
    bool last = state->undoing ? state->step == 0 : state->step + 1 == op->row->step_count;
    if (last && state->cancelling && !state->undoing && has_something_to_undo(op)) {
        turn_cancelled(op);
    } else if (last) {
        state->ending = true;
        op_end(op);
    } else {
        state->step += state->undoing ? -1u : 1u;
        op_next_turn(op, 0);
    }
}

/* An operator gave up what is under way: forward, it has failed; back, it stays as it is. */
static void step_given_up(struct op *op) {
    struct err err = ERR_INIT;
    op->state->given_up = false;
    err_set(&err, ERR_STALLED, "%s gave up waiting for it", op->state->given_up_by);
    if (op->state->undoing) {
        step_ended(op);
    } else {
        op_fail_with(op, &err);
        op_turn(op);
    }
}

/* The answer is there: nothing of the step may call any more. */
static void step_over(struct op *op) {
    CHECK(op->state->in_step);
    op->state->in_step = false;
    op->state->cancelled = NULL;
    uv_timer_stop(&op->state->timer);
}

void op_step_done(struct op *op, const struct err *err) {
    step_over(op);
    if (op->core->stopping)
        return; /* it goes on at the next start */
    if (op->state->abandoned) {
        op->state->ending = true;
        op_next_turn(op, 0);
        return;
    }
    if (op->state->given_up) {
        step_given_up(op);
        return;
    }
    if (op->state->undoing && err != NULL && err->code == ERR_NOT_FOUND)
        err = NULL; /* what is to be taken back is not there */
    if (err != NULL && err->code != ERR_NONE)
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
    step_over(op);
    op->state->asked_again = true;
    op->state->tries = 0; /* it moves: only what stands still runs out of time */
    op->state->step_began_ms = clock_mono_ms();
    op->state->waiting_for = NULL;
    if (waiting_for != NULL)
        wait_for(op, waiting_for);
    note_progress(op->state, done, total);
    if (op->state->cancelling && !op->state->undoing)
        after_ms = 0; /* it is turned round instead */
    else if (after_ms > OP_AGAIN_MAX_MS)
        after_ms = OP_AGAIN_MAX_MS;
    /* Never 0: libuv runs a timer that is due at once in the same round, and would not poll. */
    op_next_turn(op, after_ms > 0 ? after_ms : 1);
}

static void on_reply(void *arg, const struct runner_reply *reply) {
    struct op *op = arg;
    op->state->calling = false;
    if (op->state->abandoned || op->state->given_up)
        op_step_done(op, &reply->err);
    else if (op->state->on_answer != NULL)
        op->state->on_answer(op, reply);
    else if (reply->err.code != ERR_NONE)
        op_step_done(op, &reply->err);
    else if (reply->pending)
        op_again(op, reply->retry_after_ms, reply->done, reply->total, NULL);
    else if (op->state->on_ok != NULL)
        op->state->on_ok(op, reply->result);
    else
        op_step_done(op, NULL);
}

static void call(struct op *op, struct runner *runner, enum wire_number number, const void *args) {
    if (runner == NULL) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_POOL_DOWN, "the pool has no runner now");
        op_step_done(op, &err);
        return;
    }
    op->state->calling = true;
    op->state->called = runner;
    runner_call(runner, number, args, on_reply, op);
}

void op_call(struct op *op, struct runner *runner, enum wire_number number, const void *args,
             void (*on_ok)(struct op *op, const void *result)) {
    op->state->on_ok = on_ok;
    op->state->on_answer = NULL;
    call(op, runner, number, args);
}

void op_ask(struct op *op, struct runner *runner, enum wire_number number, const void *args,
            void (*on_answer)(struct op *op, const struct runner_reply *reply)) {
    op->state->on_answer = on_answer;
    call(op, runner, number, args);
}

void op_wake(struct op *op) {
    if (op->state->in_step) {
        if (op->state->cancelled != NULL && op->state->cancelling)
            op->state->cancelled(op);
    } else if (uv_is_active((uv_handle_t *)&op->state->timer)) {
        op_next_turn(op, 0);
    }
}

/* A step that waits for neither its driver nor its next try waits for what the gateway itself
 * brings about, and ends with it. */
bool op_give_up(struct op *op, const char *by) {
    struct op_state *state = op->state;
    bool waiting = !state->in_step && !state->committing && !state->ending &&
                   (!state->undoing || state->turned);
    if (!state->calling && !waiting)
        return false;
    state->given_up = true;
    text_copy(state->given_up_by, sizeof state->given_up_by, by);
    if (state->calling)
        runner_give_up(state->called, op);
    else
        op_next_turn(op, 0);
    return true;
}

void engine_begin(struct op *op) {
    op->state->step = op->state->undoing ? (uint32_t)op->row->step_count - 1 : 0;
    op->state->turned = op->state->undoing;
    step_enter(op);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * accept.c: from a request to an operation whose first commit is durable.
 *
 * Idempotency key, request hash, operation and object are one transaction. When it meets a conflict
 * everything is looked at again: the key may be known now (then its operation is the answer), or
 * the name taken (then that is said), or somebody else's change came between (then it is tried
 * again).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "catalog/seal.h"
#include "core/engine_state.h"
#include "core/events.h"
#include "core/state.h"
#include "core/store.h"

/* Each try is one more that came between: as many attachments of one host can be asked for at the
 * same time. */
#define ACCEPT_TRIES ENGINE_OPERATIONS_MAX

struct submission {
    LIST_ENTRY(submission) entries;
    struct core *core;
    struct op *op;
    struct arena arena;
    enum core_kind kind;
    void *params;
    struct core_principal principal;
    bool has_key;
    unsigned char key_hash[32];
    unsigned char request_hash[32];
    uint64_t if_match;
    uint32_t tries;
    void (*on_accepted)(void *arg, const struct core_accepted *accepted);
    void *arg;
    struct core_accepted accepted;
    struct core_violation violations[CORE_VIOLATIONS_MAX];
    uv_timer_t timer; /* answers that are known at once wait for the next turn */
    /* One submission with a key goes to the catalogue at a time; the others with the same key wait
     * behind it and then look again. */
    bool leads;
    UT_hash_handle hh;
    struct submission *next_waiting;
};

static void attempt(struct submission *submission);

bool op_violation(struct op *op, struct err *err, const char *field, const char *format, ...) {
    struct op_state *state = op->state;
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (state->violations != NULL && state->violation_count < CORE_VIOLATIONS_MAX) {
        struct core_violation *violation = &state->violations[state->violation_count++];
        snprintf(violation->field, sizeof violation->field, "%s", field);
        snprintf(violation->text, sizeof violation->text, "%s", text);
    }
    return err_set(err, ERR_VALIDATION, "%s: %s", field, text);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void on_submission_closed(uv_handle_t *handle) {
    struct submission *submission = handle->data;
    arena_release(&submission->arena);
    free(submission);
}

static void stop_leading(struct submission *submission) {
    if (!submission->leads)
        return;
    HASH_DEL(submission->core->engine->keys, submission);
    submission->leads = false;
    struct submission *waiting = submission->next_waiting;
    while (waiting != NULL) {
        struct submission *next = waiting->next_waiting;
        waiting->next_waiting = NULL;
        attempt(waiting);
        waiting = next;
    }
}

/* true: another one with the same key is under way, and this one waits behind it. */
static bool wait_behind_leader(struct submission *submission) {
    struct submission *leader;
    HASH_FIND(hh, submission->core->engine->keys, submission->key_hash, sizeof submission->key_hash,
              leader);
    if (leader == submission)
        return false;
    if (leader != NULL) {
        submission->next_waiting = leader->next_waiting;
        leader->next_waiting = submission;
        return true;
    }
    HASH_ADD(hh, submission->core->engine->keys, key_hash, sizeof submission->key_hash, submission);
    submission->leads = true;
    return false;
}

static void answer(struct submission *submission) {
    stop_leading(submission);
    LIST_REMOVE(submission, entries);
    submission->on_accepted(submission->arg, &submission->accepted);
    uv_close((uv_handle_t *)&submission->timer, on_submission_closed);
}

void submissions_end(struct engine *engine) {
    struct submission *submission;
    while (!LIST_EMPTY(&engine->submissions)) {
        /* The others wait behind one of these. */
        LIST_FOREACH(submission, &engine->submissions, entries) {
            if (uv_is_active((uv_handle_t *)&submission->timer))
                break;
        }
        CHECK(submission != NULL);
        uv_timer_stop(&submission->timer);
        answer(submission);
    }
}

static void on_answer_turn(uv_timer_t *timer) {
    answer(timer->data);
}

static void answer_next_turn(struct submission *submission) {
    stop_leading(submission);
    uv_timer_start(&submission->timer, on_answer_turn, 0, 0);
}

static void refuse(struct submission *submission, const struct err *err) {
    struct op *op = submission->op;
    submission->accepted.err = *err;
    if (op != NULL) {
        submission->accepted.violation_count = op->state->violation_count;
        submission->accepted.violations = submission->violations;
        op_destroy(op);
        submission->op = NULL;
    }
    answer_next_turn(submission);
}

/* ---- idempotency keys ----------------------------------------------------------------------- */

/* An operation is kept longer than the key that names it, unless its pruning ran ahead. */
static bool operation_is_there(struct submission *submission, const struct sluice_uuid *operation,
                               struct err *err) {
    struct key key;
    struct catalog_value value;
    key_object(&key, CORE_OPERATION, operation);
    return catalog_get(submission->core->catalog, key.at, key.length, &value, err) ||
           err_set(err, ERR_GONE,
                   "the operation that came of this Idempotency-Key has been pruned");
}

/* true: the key is known, and accepted or err says what that means. */
static bool key_known(struct submission *submission, struct err *err) {
    struct key key;
    key_idempotency(&key, submission->key_hash);
    struct catalog_value value;
    if (!catalog_get(submission->core->catalog, key.at, key.length, &value, err))
        return err->code != ERR_NONE;
    struct key_record record;
    if (!shape_decode(&key_record_shape, value.at, value.length, &submission->arena, &record, err))
        return true;
    if (record.request_hash.length != 32 ||
        !seal_same(record.request_hash.at, submission->request_hash, 32)) {
        err_set(err, ERR_KEY_REUSED,
                "this Idempotency-Key came with another request before: use a new key for a new "
                "request");
        return true;
    }
    if (operation_is_there(submission, &record.operation, err)) {
        submission->accepted.operation = record.operation;
        submission->accepted.replayed = true;
    }
    return true;
}

static void key_put(struct submission *submission, struct catalog_txn *txn) {
    struct key_record record = {
        .request_hash = {submission->request_hash, 32},
        .operation = submission->op->record.id,
        .created_at = clock_wall_ms(),
    };
    struct buf bytes;
    buf_init(&bytes, 256);
    shape_encode(&key_record_shape, &record, &bytes);
    struct key key;
    key_idempotency(&key, submission->key_hash);
    catalog_expect(txn, key.at, key.length, 0);
    catalog_put(txn, key.at, key.length, bytes.at, bytes.length);
    buf_release(&bytes);
}

/* ---- the first commit ----------------------------------------------------------------------- */

void record_write(struct op *op, struct catalog_txn *txn) {
    struct buf bytes;
    buf_init(&bytes, CATALOG_VALUE_MAX);
    shape_encode(&operation_record_shape, &op->record, &bytes);
    CHECK(!bytes.overflow);
    struct key key;
    key_object(&key, CORE_OPERATION, &op->record.id);
    catalog_put(txn, key.at, key.length, bytes.at, bytes.length);
    buf_release(&bytes);
}

static bool params_keep(struct op *op) {
    struct buf bytes;
    buf_init(&bytes, CATALOG_VALUE_MAX);
    shape_encode(core_kind_params(op->kind), op->params, &bytes);
    char *copy = bytes.overflow ? NULL : arena_alloc(&op->arena, bytes.length);
    if (copy != NULL) {
        memcpy(copy, bytes.at, bytes.length);
        op->record.params = (struct blob){(const uint8_t *)copy, (uint32_t)bytes.length};
    }
    buf_release(&bytes);
    return copy != NULL;
}

static void on_accept_committed(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct submission *submission = arg;
    struct op *op = submission->op;
    if (err->code == ERR_CONFLICT && submission->tries < ACCEPT_TRIES) {
        op_destroy(op);
        submission->op = NULL;
        attempt(submission);
        return;
    }
    if (err->code != ERR_NONE) {
        refuse(submission, err);
        return;
    }
    (void)op_fault(op, NULL, "accepted");
    submission->accepted.operation = op->record.id;
    submission->accepted.secret = op->secret;
    bool has_steps = op->row->step_count > 0;
    if (has_steps)
        op_list(op);
    else
        engine_count(op);
    if (!has_steps && op->state->after_end != NULL)
        op->state->after_end(op); /* before the answer, which shows what came of it */
    answer(submission);
    if (has_steps)
        engine_begin(op);
    else
        op_destroy(op);
}

static bool op_prepare(struct submission *submission, struct catalog_txn *txn, struct err *err) {
    struct op *op = submission->op;
    op->record = (struct operation_record){
        .id = uuid_new(),
        .kind = op->row->name,
        .state = "running",
        .noun = core_noun_name(core_kind_noun(op->kind)),
        .object_name = "",
        .principal = arena_strdup(&op->arena, submission->principal.name),
        .error_text = "",
        .created_at = clock_wall_ms(),
    };
    void *params = arena_alloc(&op->arena, core_kind_params(op->kind)->size);
    if (params == NULL || op->record.principal == NULL ||
        !shape_copy(core_kind_params(op->kind), submission->params, &op->arena, params))
        return err_set(err, ERR_NO_MEMORY, "no memory for the request");
    op->params = params;
    op->state->violations = submission->violations;
    op->state->if_match = submission->if_match;
    bool ok = op->row->prepare(op, txn, err);
    op->state->violations = NULL; /* the submission goes before the operation */
    if (!ok)
        return err_set(err, ERR_NO_MEMORY, "no memory for the request"); /* unless it said why */
    if (!params_keep(op))
        return err_set(err, ERR_LIMIT, "the request is too large");
    return true;
}

/* Looks, prepares and submits; everything may have changed since the last attempt. */
static void attempt(struct submission *submission) {
    struct core *core = submission->core;
    struct err err = ERR_INIT;
    if (submission->has_key && wait_behind_leader(submission))
        return;
    submission->tries++;
    submission->accepted.violation_count = 0;
    if (submission->has_key && key_known(submission, &err)) {
        if (err.code != ERR_NONE)
            refuse(submission, &err);
        else
            answer_next_turn(submission);
        return;
    }
    if (core->stopping)
        err_set(&err, ERR_STOPPING, "the gateway is stopping");
    else if (core->engine->running_count + core->engine->accepting >= ENGINE_OPERATIONS_MAX)
        err_set(&err, ERR_TOO_MANY, "%u operations are running: wait for some to end",
                core->engine->running_count);
    submission->op = err.code == ERR_NONE ? op_create(core->engine, submission->kind) : NULL;
    if (submission->op == NULL) {
        err_set(&err, ERR_NO_MEMORY, "no memory for an operation");
        refuse(submission, &err);
        return;
    }
    struct catalog_txn *txn = catalog_begin(core->catalog);
    struct op *op = submission->op;
    op->state->accepting = true;
    core->engine->accepting++;
    if (!op_prepare(submission, txn, &err)) {
        catalog_drop(txn);
        refuse(submission, &err);
        return;
    }
    if (submission->has_key)
        key_put(submission, txn);
    if (op->row->step_count == 0) {
        record_end(op, txn, "done");
        char type[64];
        snprintf(type, sizeof type, "%s.done", op->row->name);
        op_event(op, txn, type, "");
    } else {
        struct key key;
        key_active(&key, &op->record.id);
        catalog_put(txn, key.at, key.length, "", 0);
        record_write(op, txn);
    }
    catalog_submit(txn, on_accept_committed, submission);
}

static void hash_key(const struct core_submission *from, unsigned char ret[32]) {
    char text[512];
    int length = snprintf(text, sizeof text, "%s\n%s", from->principal->name, from->key);
    CHECK(length > 0 && (size_t)length < sizeof text); /* keys are measured at the rim */
    seal_sha256(text, (size_t)length, ret);
}

void core_submit(struct core *core, const struct core_submission *from,
                 void (*on_accepted)(void *arg, const struct core_accepted *accepted), void *arg) {
    CHECK_MAGIC(core, CORE_MAGIC);
    struct submission *submission = calloc(1, sizeof *submission);
    CHECK(submission != NULL); /* a kilobyte: without it nothing can be answered either */
    submission->core = core;
    submission->kind = from->kind;
    submission->principal = *from->principal;
    submission->if_match = from->if_match;
    submission->on_accepted = on_accepted;
    submission->arg = arg;
    memcpy(submission->request_hash, from->request_hash, 32);
    arena_init(&submission->arena, ENGINE_OP_MEMORY);
    uv_timer_init(core->loop, &submission->timer);
    submission->timer.data = submission;
    LIST_INSERT_HEAD(&core->engine->submissions, submission, entries);
    const struct shape *shape = core_kind_params(from->kind);
    submission->params = arena_alloc(&submission->arena, shape->size);
    if (submission->params == NULL ||
        !shape_copy(shape, from->params, &submission->arena, submission->params)) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_NO_MEMORY, "no memory for the request");
        refuse(submission, &err);
        return;
    }
    if (from->key != NULL) {
        submission->has_key = true;
        hash_key(from, submission->key_hash);
    }
    attempt(submission);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: handlers by message number; wire_decode has refused whatever the state does not
 * permit.
 *
 * Whatever a process does wrong ends in breach(): it is killed, and that is all that happens to us.
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "runners/place.h"

#define TEXT_MAX 512 /* of a log line, or of what a driver says about an error, with its NUL */

static void breach(struct runner *runner, const char *what) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_PROTOCOL, "the runner broke the protocol: %s", what);
    place_lose(runner, &err);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

/* The scratch buffer is wiped: LOAD and POOL_OPEN carry secrets. */
static enum process_sent send_message(struct runner *runner, uint16_t number, uint64_t id,
                                      const void *body) {
    struct buf *scratch = &runner->runners->scratch;
    buf_clear(scratch);
    wire_encode(number, id, body, scratch);
    enum process_sent sent = PROCESS_GONE;
    if (!scratch->overflow)
        sent = process_link_send(runner->link, scratch->at, scratch->length, NULL, 0);
    if (scratch->at != NULL)
        explicit_bzero(scratch->at, scratch->capacity);
    return sent;
}

/* For messages that a process has to get before anything else can go on. */
static bool must_send(struct runner *runner, uint16_t number, uint64_t id, const void *body) {
    if (send_message(runner, number, id, body) == PROCESS_SENT)
        return true;
    struct err err = ERR_INIT;
    err_set(&err, ERR_RUNNER_LOST, "the runner does not take %s", wire_row(number)->name);
    place_lose(runner, &err);
    return false;
}

/* Somebody waits from now on, so the next beat comes within the short period. */
static void quicken(struct runner *runner, uint64_t now_ms) {
    uint64_t soon_ms = now_ms + runner->runners->options.policy.ping_ms;
    if (runner->ping_due_ms <= soon_ms)
        return;
    runner->ping_due_ms = soon_ms;
    place_wake(runner, soon_ms);
}

void session_pump(struct runner *runner) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    struct call *call;
    if (runner->state != RUNNER_SERVING || runner->phase != PROCESS_LIVE ||
        (runner->session & S_CLOSING) != 0)
        return;
    uint64_t now_ms = clock_mono_ms();
    uint64_t patience_ms = now_ms > policy->stalled_ms ? now_ms - policy->stalled_ms : 0;
    while ((call = call_queue_next(&runner->calls, policy->poison_deaths - 1, patience_ms)) !=
           NULL) {
        if (process_link_send(runner->link, call->packet.at, call->packet.length, call->fds,
                              call->fd_count) != PROCESS_SENT)
            return;
        call_queue_sent(&runner->calls, call, now_ms);
        quicken(runner, now_ms);
    }
}

void session_open_pool(struct runner *runner) {
    uint64_t now_ms = clock_mono_ms();
    runner->open_id = call_next_id(&runner->runners->shelf);
    runner->open_ms = now_ms;
    runner->retry_ms = 0;
    if (must_send(runner, WIRE_POOL_OPEN, runner->open_id, &runner->spec->open))
        quicken(runner, now_ms);
}

bool session_stop(struct runner *runner) {
    static const struct wire_stop stop;
    unsigned takes_stop = wire_row(WIRE_STOP)->states;
    if (runner->resuming || (runner->session & ~takes_stop) != 0 ||
        send_message(runner, WIRE_STOP, 0, &stop) != PROCESS_SENT)
        return false;
    /* What it sent before it took the STOP is under way and permitted. */
    runner->session |= S_CLOSING;
    return true;
}

/* ---- heartbeat --------------------------------------------------------------------------------
 */

static bool beats(const struct runner *runner) {
    return runner->phase == PROCESS_LIVE && !runner->resuming &&
           (runner->session == S_LOADED || runner->session == S_OPEN);
}

static uint32_t silence_ms(const struct runner *runner) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    return runner->doubted && policy->doubted_ms < policy->silent_ms ? policy->doubted_ms
                                                                     : policy->silent_ms;
}

uint64_t session_beat_at(const struct runner *runner) {
    if (!beats(runner))
        return 0;
    return runner->ping_ms != 0 ? runner->ping_ms + silence_ms(runner) : runner->ping_due_ms;
}

void session_doubt(struct runner *runner, uint64_t now_ms) {
    runner->doubted = true;
    if (runner->ping_ms == 0)
        runner->ping_due_ms = now_ms;
}

static void send_ping(struct runner *runner) {
    struct wire_ping ping = {.number = runner->ping_number};
    runner->ping_unsent = send_message(runner, WIRE_PING, 0, &ping) != PROCESS_SENT;
}

bool session_beat(struct runner *runner, uint64_t now_ms, struct err *err) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    if (!beats(runner))
        return true;
    if (runner->ping_ms != 0) {
        if (now_ms - runner->ping_ms < silence_ms(runner))
            return true;
        return err_set(err, ERR_RUNNER_LOST, "the runner gave no sign of life for %u ms",
                       silence_ms(runner));
    }
    if (now_ms < runner->ping_due_ms)
        return true;
    /* One that the socket does not take counts too: a runner that reads nothing is not alive. */
    runner->ping_number++;
    runner->ping_ms = now_ms;
    send_ping(runner);
    bool waited_for = runner->calls.sent_count > 0 || runner->open_id != 0;
    runner->ping_due_ms = now_ms + (waited_for ? policy->ping_ms : policy->idle_ping_ms);
    return true;
}

static void on_pong(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_pong *pong = packet->body;
    if (runner->ping_ms == 0 || runner->ping_unsent || pong->number != runner->ping_number) {
        if ((runner->session & S_CLOSING) == 0)
            breach(runner, "a PONG without a PING");
        return;
    }
    runner->ping_ms = 0;
    runner->doubted = false;
    runner->resident = pong->resident;
    uint64_t now_ms = clock_mono_ms();
    if (runner->ping_due_ms < now_ms)
        runner->ping_due_ms = now_ms;
}

/* ---- handshake --------------------------------------------------------------------------------
 */

static void load(struct runner *runner) {
    if (!must_send(runner, WIRE_LOAD, 0, &runner->spec->load))
        return;
    runner->session = S_LOADING;
    runner->deadline_ms = clock_mono_ms() + runner->runners->options.policy.load_ms;
}

static void on_hello(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_hello *hello = packet->body;
    runner->session = S_READY;
    if (hello->protocol == WIRE_PROTOCOL) {
        load(runner);
        return;
    }
    struct err err = ERR_INIT;
    err_set(&err, ERR_ABI, "the runner (%s) speaks protocol %u, the gateway %u", hello->build,
            hello->protocol, WIRE_PROTOCOL);
    runner->hopeless = true;
    place_lose(runner, &err);
}

static void serve(struct runner *runner) {
    runner->serving_ms = clock_mono_ms();
    runner->reopen_ms = 0;
    place_move(runner, MOVE_SERVE, NULL);
}

/* The driver is started. */
static void go_on_loaded(struct runner *runner, const struct wire_loaded *loaded) {
    arena_reset(&runner->loaded_arena);
    runner->has_loaded =
        shape_copy(&wire_loaded_shape, loaded, &runner->loaded_arena, &runner->loaded);
    runner->deadline_ms = 0;
    runner->ping_due_ms = clock_mono_ms() + runner->runners->options.policy.ping_ms;
    if (!runner->spec->has_pool) {
        serve(runner);
    } else if (runner->session == S_LOADED) {
        place_move(runner, MOVE_LOADED, NULL);
        session_open_pool(runner);
    }
}

static void on_loaded(struct runner *runner, const struct wire_packet *packet) {
    runner->session = S_LOADED;
    go_on_loaded(runner, packet->body);
}

/* Which codes a runner may refuse with: a driver's, and those of its own work. */
static enum err_code refusal_code(uint32_t status) {
    switch (status) {
    case ERR_ABI:
    case ERR_MANIFEST:
    case ERR_SYSTEM:
        return (enum err_code)status;
    case SLUICE_OK:
        return ERR_INTERNAL;
    default:
        return err_from_status(status > INT32_MAX ? INT32_MAX : (int)status);
    }
}

static void on_refused(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_refused *refused = packet->body;
    char text[TEXT_MAX];
    place_clean(text, sizeof text, (const uint8_t *)refused->text, strlen(refused->text), false);
    runner->death = ERR_INIT;
    err_set(&runner->death, refusal_code(refused->status), "%s", text);
    runner->hopeless = err_advice(runner->death.code) == ERR_ADVICE_FIX;
    runner->session = S_CLOSING;
    runner->deadline_ms = clock_mono_ms() + runner->runners->options.policy.stop_ms;
}

static bool keep_pool(struct runner *runner, const uint8_t *bytes, size_t length) {
    struct wire_pool pool;
    if (!shape_decode(&wire_pool_shape, bytes, length, &runner->runners->arena, &pool, NULL))
        return false;
    arena_reset(&runner->pool_arena);
    runner->has_pool = shape_copy(&wire_pool_shape, &pool, &runner->pool_arena, &runner->pool);
    return true;
}

/* Is it what the place wants, in a state that can be gone on from? */
static bool is_wanted(const struct runner *runner, const struct wire_resumed *resumed) {
    const struct spec *spec = runner->spec;
    const char *name = spec->load.name != NULL ? spec->load.name : "";
    const char *version = spec->load.version != NULL ? spec->load.version : "";
    if (resumed->state == S_READY)
        return true;
    if (strcmp(resumed->name, name) != 0 || strcmp(resumed->version, version) != 0)
        return false;
    if (resumed->state == S_OPEN)
        return spec->has_pool && uuid_equal(&resumed->pool, &spec->open.pool);
    return resumed->state == S_LOADED;
}

static void on_resumed(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_resumed *resumed = packet->body;
    struct arena *arena = &runner->runners->arena;
    struct wire_loaded loaded;
    if (resumed->incarnation != runner->runners->options.incarnation)
        return; /* a predecessor of ours had asked and is gone */
    runner->resuming = false;
    runner->session = resumed->state;
    runner->ring = resumed->ring;
    if (!is_wanted(runner, resumed)) {
        runner->replace = true;
        place_stop_process(runner);
        return;
    }
    if (resumed->state == S_READY) {
        load(runner);
        return;
    }
    if (!shape_decode(&wire_loaded_shape, resumed->loaded.at, resumed->loaded.length, arena,
                      &loaded, NULL) ||
        (resumed->state == S_OPEN &&
         !keep_pool(runner, resumed->opened.at, resumed->opened.length))) {
        breach(runner, "what RESUMED carries is malformed");
        return;
    }
    go_on_loaded(runner, &loaded);
    if (resumed->state == S_OPEN)
        serve(runner);
}

static void on_bye(struct runner *runner, const struct wire_packet *packet) {
    (void)runner, (void)packet; /* its exit is what counts, and has a deadline already */
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void set_reply_error(struct err *err, const struct wire_reply *reply) {
    char text[TEXT_MAX];
    place_clean(text, sizeof text, (const uint8_t *)reply->text, strlen(reply->text), false);
    err_set(err, err_from_status(reply->status > INT32_MAX ? INT32_MAX : (int)reply->status), "%s",
            text);
}

static void on_pool_answered(struct runner *runner, const struct wire_reply *reply) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    uint64_t now_ms = clock_mono_ms();
    struct err cause = ERR_INIT;
    runner->open_id = 0;
    if (reply->status == SLUICE_OK) {
        if (!keep_pool(runner, reply->result.at, reply->result.length)) {
            breach(runner, "the answer to POOL_OPEN is malformed");
            return;
        }
        runner->session = wire_next_state(runner->session, WIRE_REPLY, WIRE_POOL_OPEN, SLUICE_OK);
        serve(runner);
        return;
    }
    if (reply->status == SLUICE_PENDING) {
        runner->retry_ms = now_ms + reply->retry_after_ms + 1;
        return;
    }
    set_reply_error(&cause, reply);
    uint32_t delay_ms = runner->reopen_ms != 0 ? runner->reopen_ms : policy->reopen_first_ms;
    runner->reopen_ms =
        delay_ms <= policy->reopen_last_ms / 2 ? delay_ms * 2 : policy->reopen_last_ms;
    place_move(runner, MOVE_CLOSED, &cause);
    runner->retry_ms = now_ms + delay_ms;
    place_end_waiting(runner);
}

/* NULL: the answer is malformed. */
static const void *decode_result(struct runner *runner, const struct call *call,
                                 const struct wire_reply *reply) {
    const struct shape *shape = wire_row(call->number)->result;
    void *result = arena_alloc(&runner->runners->arena, shape->size);
    if (result == NULL || !shape_decode(shape, reply->result.at, reply->result.length,
                                        &runner->runners->arena, result, NULL))
        return NULL;
    return result;
}

static void on_reply(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_reply *reply = packet->body;
    struct call_shelf *shelf = &runner->runners->shelf;
    struct runner_reply told = {.err = ERR_INIT};
    if (packet->call_id >> 32 != shelf->incarnation)
        return; /* to a call of a predecessor of ours, which is gone and asks no more */
    bool open_may_answer = runner->open_id != 0 && packet->call_id == runner->open_id;
    if (open_may_answer && (runner->session & S_CLOSING) == 0) {
        on_pool_answered(runner, reply);
        return;
    }
    struct call *call =
        open_may_answer ? NULL : call_queue_answered(&runner->calls, packet->call_id);
    if (call == NULL) {
        if (!open_may_answer)
            breach(runner, "an answer to no call");
        return;
    }
    if (reply->status == SLUICE_OK) {
        told.result = decode_result(runner, call, reply);
        if (told.result == NULL) {
            /* It was inside when the runner went wrong, so it is as if it had not been answered. */
            TAILQ_INSERT_HEAD(&runner->calls.sent, call, entry);
            runner->calls.sent_count++;
            breach(runner, "the result of an answer is malformed");
            return;
        }
    } else if (reply->status == SLUICE_PENDING) {
        told.pending = true;
        told.retry_after_ms = reply->retry_after_ms;
        told.done = reply->done;
        told.total = reply->total;
    } else {
        set_reply_error(&told.err, reply);
    }
    /* Taking a ring proves nothing: the calls that come through it may be what ends runners. */
    if (call->number != WIRE_RING_ATTACH)
        runner->answered = true;
    call->on_reply(call->arg, &told);
    call_give(shelf, call);
}

/* ---- unasked ----------------------------------------------------------------------------------
 */

static bool within_limit(struct runner *runner) {
    uint64_t now_ms = clock_mono_ms();
    if (now_ms - runner->unasked_ms >= 1000) {
        runner->unasked_ms = now_ms;
        runner->unasked = 0;
    }
    if (++runner->unasked <= runner->runners->options.policy.unasked_max)
        return true;
    breach(runner, "a flood of log lines and events");
    return false;
}

static void on_event(struct runner *runner, const struct wire_packet *packet) {
    struct wire_event event = *(const struct wire_event *)packet->body;
    char text[TEXT_MAX];
    if (!within_limit(runner) || runner->events->on_event == NULL)
        return;
    place_clean(text, sizeof text, (const uint8_t *)event.text, strlen(event.text), false);
    event.text = text;
    runner->events->on_event(runner->owner, runner, &event);
}

static void on_log(struct runner *runner, const struct wire_packet *packet) {
    const struct wire_log *line = packet->body;
    char text[TEXT_MAX];
    if (!within_limit(runner) || runner->events->on_log == NULL)
        return;
    place_clean(text, sizeof text, (const uint8_t *)line->text, strlen(line->text), false);
    runner->events->on_log(runner->owner, runner, line->level, text);
}

/* ---- packets ----------------------------------------------------------------------------------
 */

static void (*const handlers[WIRE_NUMBERS])(struct runner *, const struct wire_packet *) = {
    [WIRE_HELLO] = on_hello,     [WIRE_LOADED] = on_loaded, [WIRE_REFUSED] = on_refused,
    [WIRE_RESUMED] = on_resumed, [WIRE_PONG] = on_pong,     [WIRE_REPLY] = on_reply,
    [WIRE_EVENT] = on_event,     [WIRE_LOG] = on_log,       [WIRE_BYE] = on_bye,
};

static void on_packet(void *owner, const uint8_t *bytes, size_t length, const int *fds,
                      uint32_t fd_count) {
    struct runner *runner = owner;
    (void)fds, (void)fd_count; /* none are let through */
    struct wire_packet packet;
    struct err err = ERR_INIT;
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    arena_reset(&runner->runners->arena);
    if (!wire_decode(bytes, length, WIRE_RUNNER, runner->resuming ? S_ANY : runner->session,
                     &runner->runners->arena, &packet, &err)) {
        breach(runner, err.text);
    } else if (!runner->resuming) {
        CHECK(handlers[packet.number] != NULL);
        if (packet.number == WIRE_RESUMED)
            breach(runner, "RESUMED without RESUME");
        else
            handlers[packet.number](runner, &packet);
    } else if (packet.number == WIRE_RESUMED) {
        on_resumed(runner, &packet);
    } /* else it was for our predecessor */
    place_settle(runner);
}

static void on_writable(void *owner) {
    struct runner *runner = owner;
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    if (runner->ping_unsent && beats(runner))
        send_ping(runner);
    place_settle(runner);
}

static void on_end(void *owner, const char *what) {
    struct runner *runner = owner;
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    if (what != NULL)
        breach(runner, what);
    else
        place_lose(runner, NULL);
    place_settle(runner);
}

/* ---- life -------------------------------------------------------------------------------------
 */

bool session_open(struct runner *runner, int fd, bool resume, struct err *err) {
    static const struct process_link_events events = {on_packet, on_writable, on_end};
    struct runners *runners = runner->runners;
    if (!process_link_open(runners->loop, fd, runners->packet, sizeof runners->packet, 0, &events,
                           runner, &runner->link, err))
        return false;
    runner->session = S_NEW;
    runner->resuming = resume;
    runner->deadline_ms = clock_mono_ms() + runners->options.policy.hello_ms;
    if (!resume)
        return true;
    struct wire_resume body = {.incarnation = runners->options.incarnation};
    return must_send(runner, WIRE_RESUME, 0, &body) ||
           err_set(err, ERR_RUNNER_LOST, "the runner does not take RESUME");
}

void session_close(struct runner *runner) {
    process_link_close(runner->link);
    runner->link = NULL;
    runner->resuming = false;
    runner->deadline_ms = 0;
    runner->serving_ms = 0;
    runner->ring = 0;
    runner->open_id = 0;
    runner->ping_ms = 0;
    runner->ping_unsent = false;
    runner->doubted = false;
    runner->still_ms = runner->still_told_ms = 0;
    runner->resident = 0;
}

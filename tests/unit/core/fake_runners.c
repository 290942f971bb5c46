/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_runners.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/check.h"
#include <sluice/types.h>

struct runners {
    uv_loop_t *loop;
    struct runners_options options;
    uv_timer_t timer;
};

struct fake_call {
    TAILQ_ENTRY(fake_call) entries;
    enum wire_number number;
    struct fake_answer answer;
    runner_reply_fn *on_reply;
    void *arg;
};

struct runner {
    struct runners *runners;
    struct runner_events events;
    void *owner;
    enum runner_state state;
    struct err cause;
    void (*on_stopped)(void *owner, struct runner *runner);
    uv_timer_t timer;
    TAILQ_HEAD(, fake_call) calls;
    bool announced;
};

static struct {
    fake_answer_fn *answer;
    void *arg;
    enum runner_state state;
    enum err_code cause;
    uint32_t calls[256];
    uint32_t restarts;
} fake = {.state = RUNNER_SERVING};

static const struct wire_pool opened = {
    .caps = UINT64_MAX,
    .volume_size_step = 4096,
    .formats = "raw native",
    .protocols = "local",
};

void fake_runners_answer(fake_answer_fn *answer, void *arg) {
    fake.answer = answer;
    fake.arg = arg;
}
void fake_runners_state(enum runner_state state, enum err_code cause) {
    fake.state = state;
    fake.cause = cause;
}
uint32_t fake_runners_calls(enum wire_number number) {
    return fake.calls[number];
}
uint32_t fake_runners_restarts(void) {
    return fake.restarts;
}
void fake_runners_reset(void) {
    memset(&fake, 0, sizeof fake);
    fake.state = RUNNER_SERVING;
}

/* ---- the supervisor ------------------------------------------------------------------------- */

static void on_ready(uv_timer_t *timer) {
    struct runners *runners = timer->data;
    runners->options.on_ready(runners->options.owner, 0);
}

bool runners_open(struct uv_loop_s *loop, int super_fd, const struct runners_options *options,
                  struct runners **ret, struct err *err) {
    (void)super_fd, (void)err;
    struct runners *runners = calloc(1, sizeof *runners);
    runners->loop = loop;
    runners->options = *options;
    uv_timer_init(loop, &runners->timer);
    runners->timer.data = runners;
    uv_timer_start(&runners->timer, on_ready, 0, 0);
    *ret = runners;
    return true;
}

static void on_runners_closed(uv_handle_t *handle) {
    free(handle->data);
}
void runners_close(struct runners *runners) {
    uv_close((uv_handle_t *)&runners->timer, on_runners_closed);
}
void runners_reap_unclaimed(struct runners *runners) {
    (void)runners;
}
void runners_quit(struct runners *runners) {
    (void)runners;
}

/* ---- one place ------------------------------------------------------------------------------ */

static void on_turn(uv_timer_t *timer);
static void later(struct runner *runner) {
    uv_timer_start(&runner->timer, on_turn, 0, 0);
}

static void answer_one(struct runner *runner, struct fake_call *call) {
    uint64_t zeroes[2048 / sizeof(uint64_t)] = {0};
    struct runner_reply reply = {.err = ERR_INIT};
    if (call->answer.code != ERR_NONE)
        err_set(&reply.err, call->answer.code, "as the test says");
    reply.pending = call->answer.pending;
    reply.done = call->answer.done;
    reply.total = call->answer.total;
    reply.result = call->answer.result;
    const struct wire_row *row = wire_row((uint16_t)call->number);
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, 65536);
    buf_init(&bytes, 65536);
    if (reply.result == NULL) { /* text is never NULL in what a decoder gave */
        shape_encode(row->result, zeroes, &bytes);
        CHECK(shape_decode(row->result, bytes.at, bytes.length, &arena, zeroes, NULL));
        reply.result = zeroes;
    }
    TAILQ_REMOVE(&runner->calls, call, entries);
    call->on_reply(call->arg, &reply);
    free(call);
    buf_release(&bytes);
    arena_release(&arena);
}

static void on_turn(uv_timer_t *timer) {
    struct runner *runner = timer->data;
    if (!runner->announced && runner->state != RUNNER_STOPPING) {
        runner->announced = true;
        runner->state = fake.state;
        runner->cause = ERR_INIT;
        if (fake.cause != ERR_NONE)
            err_set(&runner->cause, fake.cause, "as the test says");
        runner->events.on_state(runner->owner, runner, runner->state, &runner->cause);
    }
    struct fake_call *call, *next;
    for (call = TAILQ_FIRST(&runner->calls); call != NULL; call = next) {
        next = TAILQ_NEXT(call, entries);
        if (runner->state == RUNNER_STOPPING)
            call->answer = (struct fake_answer){.code = ERR_STOPPING};
        if (!call->answer.never)
            answer_one(runner, call);
    }
    if (runner->state == RUNNER_STOPPING) {
        runner->state = RUNNER_STOPPED;
        runner->on_stopped(runner->owner, runner);
    }
}

bool runner_start(struct runners *runners, const struct runner_spec *spec,
                  const struct runner_events *events, void *owner, struct runner **ret,
                  struct err *err) {
    (void)spec, (void)err;
    struct runner *runner = calloc(1, sizeof *runner);
    runner->runners = runners;
    runner->events = *events;
    runner->owner = owner;
    runner->state = RUNNER_STARTING;
    TAILQ_INIT(&runner->calls);
    uv_timer_init(runners->loop, &runner->timer);
    runner->timer.data = runner;
    later(runner);
    *ret = runner;
    return true;
}

bool runner_respec(struct runner *runner, const struct runner_spec *spec, struct err *err) {
    (void)runner, (void)spec, (void)err;
    return true;
}

void runner_restart(struct runner *runner) {
    fake.restarts++;
    runner->announced = false;
    runner->state = RUNNER_STARTING;
    later(runner);
}
void runner_retry(struct runner *runner) {
    runner_restart(runner);
}

void runner_stop(struct runner *runner, void (*on_stopped)(void *owner, struct runner *runner)) {
    runner->on_stopped = on_stopped;
    runner->state = RUNNER_STOPPING;
    later(runner);
}

static void on_runner_closed(uv_handle_t *handle) {
    free(handle->data);
}
void runner_release(struct runner *runner) {
    if (runner == NULL)
        return;
    CHECK(runner->state == RUNNER_STOPPED && TAILQ_EMPTY(&runner->calls));
    uv_close((uv_handle_t *)&runner->timer, on_runner_closed);
}

void runner_call(struct runner *runner, enum wire_number number, const void *args,
                 runner_reply_fn *on_reply, void *arg) {
    struct fake_call *call = calloc(1, sizeof *call);
    call->number = number;
    call->on_reply = on_reply;
    call->arg = arg;
    fake.calls[number]++;
    if (fake.answer != NULL)
        fake.answer(fake.arg, number, args, &call->answer);
    TAILQ_INSERT_TAIL(&runner->calls, call, entries);
    later(runner);
}

void runner_call_once(struct runner *runner, enum wire_number number, const void *args,
                      const int *fds, uint32_t fd_count, runner_reply_fn *on_reply, void *arg) {
    (void)fds;
    CHECK(fd_count == (number == WIRE_RING_ATTACH ? RUNNER_FDS_MAX : 0));
    runner_call(runner, number, args, on_reply, arg);
}
void runner_blame(struct runner *runner, const struct err *cause) {
    (void)cause;
    runner_restart(runner);
}

struct uv_loop_s *fake_runners_loop(struct runners *runners) {
    return runners->loop;
}

void runner_status(const struct runner *runner, struct runner_status *ret) {
    *ret = (struct runner_status){
        .state = runner->state,
        .cause = runner->cause,
        .last_words = "",
        .pool = runner->announced ? &opened : NULL,
    };
}

const char *runner_state_name(enum runner_state state) {
    return state == RUNNER_SERVING ? "serving" : "other";
}

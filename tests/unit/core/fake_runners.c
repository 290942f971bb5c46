/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_runners.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/check.h"
#include <sluice/types.h>

#define STORY_MAX 8192

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
    TAILQ_ENTRY(runner) entries;
    struct runners *runners;
    struct runner_events events;
    void *owner;
    char label[300], version[64];
    uint32_t open_flags;
    bool has_pool;
    struct fake_fate fate;
    enum runner_state state;
    struct err cause;
    void (*on_stopped)(void *owner, struct runner *runner);
    uv_timer_t timer;
    TAILQ_HEAD(, fake_call) calls;
    bool opened;
};

static TAILQ_HEAD(, runner) alive = TAILQ_HEAD_INITIALIZER(alive);

static struct {
    fake_answer_fn *answer;
    void *answer_arg;
    fake_fate_fn *fate;
    void *fate_arg;
    struct fake_fate all;
    uint32_t calls[WIRE_NUMBERS];
    uint32_t restarts, doubted_ms;
    char story[STORY_MAX];
} fake = {.all = {.state = RUNNER_SERVING}};

static struct wire_pool opened = {
    .caps = UINT64_MAX,
    .volume_size_step = 4096,
    .formats = "raw native",
    .protocols = "local",
};

static void on_turn(uv_timer_t *timer);
static void later(struct runner *runner) {
    uv_timer_start(&runner->timer, on_turn, 0, 0);
}

/* ---- for tests ------------------------------------------------------------------------------ */

void fake_runners_answer(fake_answer_fn *answer, void *arg) {
    fake.answer = answer;
    fake.answer_arg = arg;
}
void fake_runners_fate(fake_fate_fn *fate, void *arg) {
    fake.fate = fate;
    fake.fate_arg = arg;
}
void fake_runners_state(enum runner_state state, enum err_code cause) {
    fake.all = (struct fake_fate){state, cause};
}
uint32_t fake_runners_calls(enum wire_number number) {
    return fake.calls[number];
}
uint32_t fake_runners_restarts(void) {
    return fake.restarts;
}
const char *fake_runners_story(void) {
    return fake.story;
}
void fake_runners_caps(uint64_t caps) {
    opened.caps = caps;
}
void fake_runners_reset(void) {
    memset(&fake, 0, sizeof fake);
    opened.caps = UINT64_MAX;
    fake.all.state = RUNNER_SERVING;
}

uint32_t fake_runners_alive(void) {
    uint32_t count = 0;
    const struct runner *runner;
    TAILQ_FOREACH(runner, &alive, entries)
    count++;
    return count;
}

static struct runner *find(const char *label) {
    struct runner *runner;
    TAILQ_FOREACH(runner, &alive, entries) {
        if (strcmp(runner->label, label) == 0)
            return runner;
    }
    return NULL;
}

int64_t fake_runners_open_flags(const char *label) {
    const struct runner *runner = find(label);
    return runner != NULL ? (int64_t)runner->open_flags : -1;
}
const char *fake_runners_version(const char *label) {
    const struct runner *runner = find(label);
    return runner != NULL ? runner->version : "";
}

void fake_runners_tell(const char *label, uint32_t event, const char *text) {
    struct runner *runner = find(label);
    struct wire_event told = {.event = event, .text = text};
    CHECK(runner != NULL);
    runner->events.on_event(runner->owner, runner, &told);
}

bool fake_runners_end_call(enum wire_number number, enum err_code code) {
    struct runner *runner;
    TAILQ_FOREACH(runner, &alive, entries) {
        struct fake_call *call;
        TAILQ_FOREACH(call, &runner->calls, entries) {
            if (call->number != number || !call->answer.never)
                continue;
            call->answer = (struct fake_answer){.code = code};
            later(runner);
            return true;
        }
    }
    return false;
}

static void tell_story(char sign, const struct runner *runner) {
    size_t used = strlen(fake.story);
    snprintf(fake.story + used, sizeof fake.story - used, "%s%c%s", used > 0 ? " " : "", sign,
             runner->label);
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
    CHECK(runners != NULL);
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
    CHECK(TAILQ_EMPTY(&alive));
    uv_close((uv_handle_t *)&runners->timer, on_runners_closed);
}
void runners_reap_unclaimed(struct runners *runners) {
    CHECK(runners != NULL);
}
void runners_quit(struct runners *runners) {
    CHECK(runners != NULL);
}

/* ---- one place ------------------------------------------------------------------------------ */

static void take_spec(struct runner *runner, const struct runner_spec *spec) {
    snprintf(runner->label, sizeof runner->label, "%s", spec->label);
    snprintf(runner->version, sizeof runner->version, "%s", spec->load.version);
    runner->open_flags = spec->open.flags;
    runner->has_pool = spec->has_pool;
}

/* A new process. */
static void begin(struct runner *runner) {
    const struct runner_spec spec = {
        .label = runner->label,
        .has_pool = runner->has_pool,
        .load.version = runner->version,
        .open.flags = runner->open_flags,
    };
    runner->fate = fake.all;
    if (fake.fate != NULL)
        fake.fate(fake.fate_arg, &spec, &runner->fate);
    runner->state = RUNNER_STARTING;
    later(runner);
}

void fake_runners_again(void) {
    struct runner *runner;
    TAILQ_FOREACH(runner, &alive, entries) {
        if (runner->state != RUNNER_STOPPING)
            begin(runner);
    }
}

static void answer_one(struct runner *runner, struct fake_call *call) {
    uint64_t zeroes[2048 / sizeof(uint64_t)] = {0};
    struct runner_reply reply = {.err = ERR_INIT};
    if (call->answer.code != ERR_NONE)
        err_set(&reply.err, call->answer.code, "as the test says");
    reply.pending = call->answer.pending;
    reply.retry_after_ms = call->answer.retry_after_ms;
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
    if (reply.pending || reply.err.code != ERR_NONE)
        reply.result = NULL;
    TAILQ_REMOVE(&runner->calls, call, entries);
    call->on_reply(call->arg, &reply);
    free(call);
    buf_release(&bytes);
    arena_release(&arena);
}

static void announce(struct runner *runner) {
    if (runner->state != RUNNER_STARTING || runner->fate.state == RUNNER_STARTING)
        return;
    runner->state = runner->fate.state;
    runner->cause = ERR_INIT;
    if (runner->fate.cause != ERR_NONE)
        err_set(&runner->cause, runner->fate.cause, "as the test says");
    runner->opened = runner->opened || (runner->has_pool && runner->state == RUNNER_SERVING);
    struct err cause = runner->cause;
    runner->events.on_state(runner->owner, runner, runner->state, &cause);
}

static void answer_calls(struct runner *runner) {
    struct fake_call *call, *next;
    for (call = TAILQ_FIRST(&runner->calls); call != NULL; call = next) {
        next = TAILQ_NEXT(call, entries);
        if (runner->state == RUNNER_STOPPING)
            call->answer = (struct fake_answer){.code = ERR_STOPPING};
        else if (runner->state == RUNNER_DOWN)
            call->answer = (struct fake_answer){.code = ERR_POOL_DOWN};
        else if (runner->state == RUNNER_QUARANTINED)
            call->answer = (struct fake_answer){.code = ERR_QUARANTINED};
        else if (runner->state != RUNNER_SERVING)
            continue;
        if (!call->answer.never)
            answer_one(runner, call);
    }
}

static void on_turn(uv_timer_t *timer) {
    struct runner *runner = timer->data;
    announce(runner);
    answer_calls(runner);
    if (runner->state == RUNNER_STOPPING) {
        CHECK(TAILQ_EMPTY(&runner->calls));
        runner->state = RUNNER_STOPPED;
        tell_story('-', runner);
        runner->on_stopped(runner->owner, runner);
    }
}

bool runner_start(struct runners *runners, const struct runner_spec *spec,
                  const struct runner_events *events, void *owner, struct runner **ret,
                  struct err *err) {
    (void)err;
    CHECK(runners != NULL && find(spec->label) == NULL); /* one process a place */
    struct runner *runner = calloc(1, sizeof *runner);
    CHECK(runner != NULL);
    runner->runners = runners;
    runner->events = *events;
    runner->owner = owner;
    take_spec(runner, spec);
    tell_story('+', runner);
    TAILQ_INIT(&runner->calls);
    TAILQ_INSERT_TAIL(&alive, runner, entries);
    uv_timer_init(runners->loop, &runner->timer);
    runner->timer.data = runner;
    begin(runner);
    *ret = runner;
    return true;
}

bool runner_respec(struct runner *runner, const struct runner_spec *spec, struct err *err) {
    (void)err;
    take_spec(runner, spec);
    return true;
}

void runner_restart(struct runner *runner) {
    CHECK(runner->state != RUNNER_STOPPING && runner->state != RUNNER_STOPPED);
    fake.restarts++;
    struct fake_call *call; /* carried over, and asked again */
    TAILQ_FOREACH(call, &runner->calls, entries)
    call->answer.never = false;
    begin(runner);
}
void runner_retry(struct runner *runner) {
    runner_restart(runner);
}

void runner_stop(struct runner *runner, void (*on_stopped)(void *owner, struct runner *runner)) {
    CHECK(runner->state != RUNNER_STOPPED);
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
    TAILQ_REMOVE(&alive, runner, entries);
    uv_close((uv_handle_t *)&runner->timer, on_runner_closed);
}

void runner_call(struct runner *runner, enum wire_number number, const void *args,
                 runner_reply_fn *on_reply, void *arg) {
    CHECK(runner->state != RUNNER_STOPPED);
    struct fake_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->number = number;
    call->on_reply = on_reply;
    call->arg = arg;
    fake.calls[number]++;
    if (fake.answer != NULL)
        fake.answer(fake.answer_arg, number, args, &call->answer);
    TAILQ_INSERT_TAIL(&runner->calls, call, entries);
    later(runner);
}

void runner_call_once(struct runner *runner, enum wire_number number, const void *args,
                      const int *fds, uint32_t fd_count, runner_reply_fn *on_reply, void *arg) {
    (void)fds;
    CHECK(fd_count == (number == WIRE_RING_ATTACH ? RUNNER_FDS_MAX : 0));
    runner_call(runner, number, args, on_reply, arg);
}
void runner_give_up(struct runner *runner, const void *arg) {
    struct fake_call *call;
    TAILQ_FOREACH(call, &runner->calls, entries) {
        if (call->arg == arg)
            call->answer = (struct fake_answer){.code = ERR_STALLED};
    }
    fake.restarts++;
    begin(runner);
}
void runner_blame(struct runner *runner, const struct err *cause) {
    (void)cause;
    runner_restart(runner);
}
void runner_doubt(struct runner *runner, uint32_t still_ms) {
    (void)runner;
    fake.doubted_ms = still_ms;
}
uint32_t fake_runners_doubted_ms(void) {
    return fake.doubted_ms;
}

struct uv_loop_s *fake_runners_loop(struct runners *runners) {
    return runners->loop;
}

void runner_status(const struct runner *runner, struct runner_status *ret) {
    *ret = (struct runner_status){
        .state = runner->state,
        .cause = runner->cause,
        .last_words = "",
        .pool = runner->opened ? &opened : NULL,
    };
}

static const char *const names[] = {
#define RUNNER_STATE(NAME, name, sentence) [RUNNER_##NAME] = name,
#include "runners/state.def"
#undef RUNNER_STATE
};
const char *runner_state_name(enum runner_state state) {
    return names[state];
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * runner.c: one place from outside. What is called here changes the place at once and leaves every
 * callback to the loop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "runners/place.h"

void spec_free(struct spec *spec) {
    if (spec == NULL)
        return;
    arena_release(&spec->arena);
    free(spec);
}

static struct spec *copy_spec(struct runners *runners, const struct runner_spec *spec,
                              struct err *err) {
    struct spec *copy = calloc(1, sizeof *copy);
    if (copy == NULL) {
        err_set(err, ERR_NO_MEMORY, "no memory for a runner");
        return NULL;
    }
    arena_init(&copy->arena, SPEC_ARENA_MAX);
    copy->tag = spec->tag;
    text_copy(copy->label, sizeof copy->label, spec->label != NULL ? spec->label : "");
    copy->uid = spec->uid;
    copy->gid = spec->gid;
    copy->has_pool = spec->has_pool;
    struct buf *scratch = &runners->scratch;
    buf_clear(scratch);
    bool fits = shape_copy(&wire_load_shape, &spec->load, &copy->arena, &copy->load) &&
                (!spec->has_pool ||
                 shape_copy(&wire_pool_open_shape, &spec->open, &copy->arena, &copy->open));
    if (fits) {
        wire_encode(WIRE_LOAD, 0, &copy->load, scratch);
        fits = !scratch->overflow;
        buf_clear(scratch);
    }
    if (fits && spec->has_pool) {
        wire_encode(WIRE_POOL_OPEN, 1, &copy->open, scratch);
        fits = !scratch->overflow;
    }
    if (scratch->at != NULL)
        explicit_bzero(scratch->at, scratch->capacity);
    if (fits)
        return copy;
    err_set(err, ERR_LIMIT, "%s: its properties do not fit into a message of %d bytes", copy->label,
            WIRE_PACKET_MAX);
    spec_free(copy);
    return NULL;
}

bool runner_start(struct runners *runners, const struct runner_spec *spec,
                  const struct runner_events *events, void *owner, struct runner **ret,
                  struct err *err) {
    CHECK(runners->ready && events->on_state != NULL);
    if (runners->count >= SUPER_CHILDREN_MAX)
        return err_set(err, ERR_TOO_MANY, "there are %d runners already", SUPER_CHILDREN_MAX);
    struct runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a runner");
    runner->spec = copy_spec(runners, spec, err);
    if (runner->spec == NULL) {
        free(runner);
        return false;
    }
    runner->magic = RUNNER_MAGIC;
    runner->runners = runners;
    runner->events = events;
    runner->owner = owner;
    runner->state = RUNNER_STARTING;
    arena_init(&runner->loaded_arena, WIRE_ARENA_MAX);
    arena_init(&runner->pool_arena, WIRE_ARENA_MAX);
    call_queue_init(&runner->calls);
    uv_timer_init(runners->loop, &runner->timer);
    runner->timer.data = runner;
    LIST_INSERT_HEAD(&runners->places, runner, entry);
    runners->count++;
    struct obituary *obituary;
    SLIST_FOREACH(obituary, &runners->obituaries, entry)
    if (uuid_equal(&obituary->tag, &spec->tag))
        place_clean(runner->last_words, sizeof runner->last_words, obituary->words,
                    obituary->length, true);
    runners_settle_soon(runner);
    *ret = runner;
    return true;
}

bool runner_respec(struct runner *runner, const struct runner_spec *spec, struct err *err) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    CHECK(uuid_equal(&spec->tag, &runner->spec->tag));
    struct spec *copy = copy_spec(runner->runners, spec, err);
    if (copy == NULL)
        return false;
    spec_free(runner->next_spec);
    runner->next_spec = copy;
    return true;
}

static void forget_deaths(struct runner *runner) {
    runner->deaths_in_row = 0;
    runner->backoff_ms = 0;
    runner->reopen_ms = 0;
}

void runner_restart(struct runner *runner) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    if (place_is_ending(runner))
        return;
    forget_deaths(runner);
    place_move(runner, MOVE_AGAIN, NULL);
    runner->replace = true;
    place_stop_process(runner);
    runners_settle_soon(runner);
}

/* Its ring, as far as is known. */
static bool is_still(const struct runner *runner, uint64_t now_ms) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    return runner->still_told_ms != 0 && now_ms - runner->still_told_ms < policy->still_ms &&
           now_ms - runner->still_ms >= policy->stalled_ms;
}

static bool is_stalled(const struct runner *runner) {
    const struct call *oldest = TAILQ_FIRST(&runner->calls.sent);
    uint64_t now_ms = clock_mono_ms();
    if (runner->phase == PROCESS_LIVE && is_still(runner, now_ms))
        return true;
    uint64_t since_ms = runner->open_id != 0 ? runner->open_ms
                        : oldest != NULL     ? oldest->sent_ms
                                             : 0;
    return runner->phase == PROCESS_LIVE && since_ms != 0 &&
           now_ms - since_ms >= runner->runners->options.policy.stalled_ms;
}

void runner_retry(struct runner *runner) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    forget_deaths(runner);
    if (runner->state == RUNNER_OPENING && is_stalled(runner)) {
        runner_restart(runner);
    } else if (runner->state == RUNNER_QUARANTINED || runner->state == RUNNER_BACKING_OFF) {
        place_move(runner, MOVE_AGAIN, NULL);
        runner->replace = true; /* in case its process has not ended yet */
    } else if (runner->state == RUNNER_DOWN) {
        runner->retry_ms = clock_mono_ms();
        place_retry(runner);
    }
    runners_settle_soon(runner);
}

void runner_stop(struct runner *runner, void (*on_stopped)(void *owner, struct runner *runner)) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    runner->on_stopped = on_stopped;
    if (!place_is_ending(runner)) {
        place_move(runner, MOVE_STOP, NULL);
        place_end_waiting(runner);
        place_stop_process(runner);
    }
    runners_settle_soon(runner);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct runner *runner = handle->data;
    spec_free(runner->spec);
    spec_free(runner->next_spec);
    arena_release(&runner->loaded_arena);
    arena_release(&runner->pool_arena);
    runner->magic = 0;
    free(runner);
}

void runner_release(struct runner *runner) {
    if (runner == NULL)
        return;
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    CHECK(runner->state == RUNNER_STOPPED && runner->phase == PROCESS_NONE);
    LIST_REMOVE(runner, entry);
    runner->runners->count--;
    uv_close((uv_handle_t *)&runner->timer, on_timer_closed);
}

static bool is_call(const struct runner *runner, enum wire_number number) {
    const struct wire_row *row = wire_row((uint16_t)number);
    return row != NULL && row->result != NULL && number != WIRE_POOL_OPEN &&
           (row->states & (runner->spec->has_pool ? S_OPEN : S_LOADED)) != 0;
}

void runner_call(struct runner *runner, enum wire_number number, const void *args,
                 runner_reply_fn *on_reply, void *arg) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    CHECK(is_call(runner, number));
    struct call_shelf *shelf = &runner->runners->shelf;
    struct call *call = call_take(shelf, (uint16_t)number, on_reply, arg);
    enum err_code refusal = place_refusal(runner);
    runner->calls_total++;
    if (refusal != ERR_NONE) {
        call_end(shelf, call, refusal, place_refusal_text(runner));
    } else if (runner->calls.unsent_count >= runner->runners->options.policy.queue_max) {
        call_end(shelf, call, ERR_TOO_MANY, "too many calls wait for the runner");
    } else {
        wire_encode((uint16_t)number, call->id, args, &call->packet);
        if (!call->packet.overflow) {
            call_queue_add(&runner->calls, call);
            session_pump(runner);
            return;
        }
        call_end(shelf, call, ERR_LIMIT, "the arguments of the call are too large");
    }
    runners_tell_soon(runner->runners);
}

static bool keep_descriptors(struct call *call, const int *fds, uint32_t fd_count) {
    for (; call->fd_count < fd_count; call->fd_count++) {
        call->fds[call->fd_count] = fcntl(fds[call->fd_count], F_DUPFD_CLOEXEC, 0);
        if (call->fds[call->fd_count] < 0)
            return false;
    }
    return true;
}

void runner_call_once(struct runner *runner, enum wire_number number, const void *args,
                      const int *fds, uint32_t fd_count, runner_reply_fn *on_reply, void *arg) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    CHECK(is_call(runner, number) && fd_count <= RUNNER_FDS_MAX);
    struct call_shelf *shelf = &runner->runners->shelf;
    struct call *call = call_take(shelf, (uint16_t)number, on_reply, arg);
    call->once = true;
    runner->calls_total++;
    if (runner->state != RUNNER_SERVING || runner->phase != PROCESS_LIVE ||
        (runner->session & S_CLOSING) != 0) {
        call_end(shelf, call, ERR_POOL_DOWN, "no runner serves now");
    } else if (!keep_descriptors(call, fds, fd_count)) {
        call_end(shelf, call, ERR_NO_MEMORY, "no descriptors left");
    } else {
        wire_encode((uint16_t)number, call->id, args, &call->packet);
        if (!call->packet.overflow) {
            call_queue_add(&runner->calls, call);
            session_pump(runner);
            return;
        }
        call_end(shelf, call, ERR_LIMIT, "the arguments of the call are too large");
    }
    runners_tell_soon(runner->runners);
}

void runner_give_up(struct runner *runner, const void *arg) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    struct call_shelf *shelf = &runner->runners->shelf;
    bool inside;
    struct call *call = call_queue_take(&runner->calls, arg, &inside);
    if (call == NULL)
        return; /* its answer is on its way to the callback */
    call_end(shelf, call, ERR_STALLED, "nobody waits for the driver's answer any more");
    runners_tell_soon(runner->runners);
    if (inside && !place_is_ending(runner) && runner->phase == PROCESS_LIVE) {
        forget_deaths(runner);
        place_move(runner, MOVE_AGAIN, NULL);
        runner->replace = true;
        place_lose(runner, NULL);
    }
    runners_settle_soon(runner);
}

void runner_blame(struct runner *runner, const struct err *cause) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    place_lose(runner, cause);
    runners_settle_soon(runner);
}

/* By a signal, as /proc says; false as well when it says nothing. One that is being traced is not
 * meant: somebody looks at it, and has the heartbeat's time. */
static bool is_stopped(int pid) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return false;
    text[length] = '\0';
    /* "PID (NAME) STATE ...", and a name may contain anything. */
    const char *behind = strrchr(text, ')');
    return behind != NULL && strncmp(behind, ") T", 3) == 0;
}

void runner_doubt(struct runner *runner, uint32_t still_ms) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    if (runner->phase != PROCESS_LIVE || (runner->session & S_CLOSING) != 0)
        return;
    uint64_t now_ms = clock_mono_ms();
    runner->still_told_ms = now_ms;
    runner->still_ms = now_ms > still_ms ? now_ms - still_ms : 0;
    if (is_stopped(runner->pid)) {
        struct err cause = ERR_INIT;
        err_set(&cause, ERR_RUNNER_LOST, "the runner was stopped by a signal while calls waited");
        place_lose(runner, &cause);
    } else {
        session_doubt(runner, now_ms);
    }
    runners_settle_soon(runner);
}

void runner_status(const struct runner *runner, struct runner_status *ret) {
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    *ret = (struct runner_status){
        .state = runner->state,
        .cause = runner->cause,
        .pid = runner->pid,
        .stalled = is_stalled(runner),
        .calls = runner->calls.sent_count + runner->calls.unsent_count,
        .deaths = runner->deaths,
        .ring = runner->ring,
        .resident_bytes = runner->resident,
        .calls_total = runner->calls_total,
        .retry_at_ms = runner->retry_ms,
        .last_words = runner->last_words,
        .loaded = runner->has_loaded ? &runner->loaded : NULL,
        .pool = runner->has_pool ? &runner->pool : NULL,
    };
}

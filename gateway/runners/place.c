/* SPDX-License-Identifier: Apache-2.0
 *
 * place.c: the machine of one place. What a process says is session.c's.
 */
#include "runners/place.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"

#define LAST_LINE_MAX 200 /* of its last words, in the cause of a death */

/* ---- states -----------------------------------------------------------------------------------
 */

static const char *const state_names[] = {
#define RUNNER_STATE(NAME, name, sentence) [RUNNER_##NAME] = name,
#include "runners/state.def"
};

#define IN(NAME) (1u << RUNNER_##NAME)
static const struct {
    unsigned from;
    enum runner_state to;
    const char *name;
} moves[] = {
#define RUNNER_MOVE(NAME, origin, target, sentence) \
    [MOVE_##NAME] = {.from = origin, .to = RUNNER_##target, .name = #NAME},
#include "runners/state.def"
};

const char *runner_state_name(enum runner_state state) {
    return (unsigned)state < sizeof state_names / sizeof state_names[0] ? state_names[state]
                                                                        : "unknown";
}

void place_move(struct runner *runner, enum runner_move move, const struct err *cause) {
    CHECK((moves[move].from & 1u << runner->state) != 0);
    runner->state = moves[move].to;
    runner->untold = true;
    runner->retry_ms = 0;
    if (cause != NULL)
        runner->cause = *cause;
    else if (runner->state == RUNNER_SERVING || runner->state == RUNNER_STOPPED)
        runner->cause = ERR_INIT;
}

bool place_is_ending(const struct runner *runner) {
    return runner->state == RUNNER_STOPPING || runner->state == RUNNER_STOPPED;
}

enum err_code place_refusal(const struct runner *runner) {
    switch (runner->state) {
    case RUNNER_DOWN:
        return ERR_POOL_DOWN;
    case RUNNER_QUARANTINED:
        return ERR_QUARANTINED;
    case RUNNER_STOPPING:
    case RUNNER_STOPPED:
        return ERR_STOPPING;
    default:
        return ERR_NONE;
    }
}

const char *place_refusal_text(const struct runner *runner) {
    return place_is_ending(runner) ? "the runner is being stopped" : runner->cause.text;
}

void place_end_waiting(struct runner *runner) {
    call_queue_end(&runner->calls, &runner->runners->shelf, false, place_refusal(runner),
                   place_refusal_text(runner));
    runners_tell_soon(runner->runners);
}

/* ---- the timer --------------------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer);

void place_wake(struct runner *runner, uint64_t at_ms) {
    if (at_ms == 0 || (runner->timer_ms != 0 && runner->timer_ms <= at_ms))
        return; /* one that fires too early looks and sets itself anew */
    uint64_t now_ms = clock_mono_ms();
    runner->timer_ms = at_ms;
    uv_update_time(runner->runners->loop);
    uv_timer_start(&runner->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static void set_timer(struct runner *runner) {
    place_wake(runner, runner->deadline_ms);
    place_wake(runner, runner->retry_ms);
    place_wake(runner, session_beat_at(runner));
}

/* ---- processes --------------------------------------------------------------------------------
 */

static void adopt(struct runner *runner, struct process *process) {
    struct err err = ERR_INIT;
    int fd = process->fd;
    process->fd = -1;
    process->runner = runner;
    runner->slot = runners_slot(runner->runners, process);
    runner->pid = process->pid;
    runner->phase = PROCESS_LIVE;
    if (!session_open(runner, fd, true, &err))
        place_lose(runner, &err);
}

static void lost_super(struct runner *runner) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_SYSTEM, "sluice-super is gone, so no process can be started");
    place_move(runner, MOVE_GAVE_UP, &err);
    place_end_waiting(runner);
}

static void want_process(struct runner *runner) {
    struct runners *runners = runner->runners;
    CHECK(runner->phase == PROCESS_NONE);
    runner->replace = false;
    runner->hopeless = false;
    runner->death = ERR_INIT;
    if (runner->next_spec != NULL) {
        spec_free(runner->spec);
        runner->spec = runner->next_spec;
        runner->next_spec = NULL;
    }
    if (runners->lost) {
        lost_super(runner);
        return;
    }
    const struct spec *spec = runner->spec;
    struct process *process = runners_find(runners, &spec->tag);
    if (process == NULL) {
        runner->phase = PROCESS_ASKED;
        runner->request = super_link_spawn(runners->super, SUPER_PROGRAM_RUNNER, &spec->tag,
                                           spec->uid, spec->gid);
    } else if (process->fd >= 0 && !process->unwanted && process->uid == spec->uid &&
               process->gid == spec->gid) {
        adopt(runner, process);
    } else {
        /* It has the tag and cannot be ours: it ends before ours begins. */
        CHECK(process->runner == NULL);
        runner->phase = PROCESS_WAITING;
        if (!process->unwanted)
            runners_disown(runners, runners_slot(runners, process));
    }
}

/* Long service counts as success, even if no call was made. */
static void end_session(struct runner *runner) {
    if (runner->serving_ms != 0 &&
        clock_mono_ms() - runner->serving_ms >= runner->runners->options.policy.proven_ms)
        runner->answered = true;
    session_close(runner);
}

void place_lose(struct runner *runner, const struct err *cause) {
    if (runner->phase != PROCESS_LIVE)
        return;
    if (cause != NULL)
        err_set(&runner->death, cause->code, "%s", cause->text);
    end_session(runner);
    super_link_kill(runner->runners->super, runner->slot, runner->pid, SIGKILL);
    runner->phase = PROCESS_DYING;
    runner->deadline_ms = clock_mono_ms() + runner->runners->options.policy.dying_ms;
}

void place_stop_process(struct runner *runner) {
    if (runner->phase != PROCESS_LIVE || (runner->session & S_CLOSING) != 0)
        return;
    if (session_stop(runner))
        runner->deadline_ms = clock_mono_ms() + runner->runners->options.policy.stop_ms;
    else
        place_lose(runner, NULL);
}

/* ---- deaths -----------------------------------------------------------------------------------
 */

void place_clean(char *ret, size_t size, const uint8_t *bytes, size_t length, bool lines) {
    const char *at = (const char *)bytes;
    size_t used = 0;
    while (length > 0) {
        size_t step = text_character(at, length);
        size_t take = step != 0 ? step : 1;
        unsigned char first = (unsigned char)at[0];
        bool control = step == 0 || first < 0x20 || first == 0x7f ||
                       (step == 2 && first == 0xc2 && (unsigned char)at[1] < 0xa0);
        if (lines && first == '\n')
            control = false;
        if (used + (control ? 1 : take) >= size)
            break;
        if (control)
            ret[used++] = step == 0 ? '?' : ' ';
        else
            for (size_t i = 0; i < take; i++)
                ret[used++] = at[i];
        at += take;
        length -= take;
    }
    ret[used] = '\0';
}

static const char *last_line(const char *words, char ret[LAST_LINE_MAX + 1]) {
    size_t end = strlen(words);
    while (end > 0 && (words[end - 1] == '\n' || words[end - 1] == ' '))
        end--;
    size_t start = end;
    while (start > 0 && words[start - 1] != '\n')
        start--;
    char line[SUPER_WORDS_MAX + 1];
    memcpy(line, words + start, end - start);
    line[end - start] = '\0';
    text_copy(ret, LAST_LINE_MAX + 1, line);
    return ret;
}

/* What ended it: what we know, or what its status says; and its last line. */
static void describe_death(const struct runner *runner, int status, struct err *ret) {
    char line[LAST_LINE_MAX + 1];
    const char *said = last_line(runner->last_words, line);
    const char *colon = said[0] != '\0' ? "; it said: " : "";
    *ret = runner->death;
    if (ret->code != ERR_NONE)
        return;
    if (WIFSIGNALED(status))
        err_set(ret, ERR_RUNNER_LOST, "the runner was ended by signal %d (%s)%s%s",
                WTERMSIG(status), strsignal(WTERMSIG(status)), colon, said);
    else
        err_set(ret, ERR_RUNNER_LOST, "the runner exited with status %d%s%s", WEXITSTATUS(status),
                colon, said);
}

static void back_off_or_give_up(struct runner *runner, const struct err *cause) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    uint32_t delay_ms = 0;
    runner->deaths++;
    if (runner->answered) {
        runner->answered = false;
        runner->deaths_in_row = 0;
        runner->backoff_ms = 0;
    } else {
        delay_ms = runner->backoff_ms != 0 ? runner->backoff_ms : policy->backoff_first_ms;
        runner->backoff_ms =
            delay_ms <= policy->backoff_last_ms / 2 ? delay_ms * 2 : policy->backoff_last_ms;
    }
    runner->deaths_in_row++;
    if (runner->hopeless || runner->deaths_in_row >= policy->deaths_max) {
        place_move(runner, MOVE_GAVE_UP, cause);
        place_end_waiting(runner);
        return;
    }
    place_move(runner, MOVE_DIED, cause);
    runner->retry_ms = clock_mono_ms() + delay_ms;
}

/* The process has ended, or never was; place_settle goes on. */
static void on_process_over(struct runner *runner, const struct err *cause) {
    const struct runner_policy *policy = &runner->runners->options.policy;
    bool died = !runner->replace && !place_is_ending(runner);
    end_session(runner);
    runner->phase = PROCESS_NONE;
    runner->pid = 0;
    call_queue_replay(&runner->calls, &runner->runners->shelf, died, policy->poison_deaths,
                      cause->text);
    runners_tell_soon(runner->runners);
    if (died)
        back_off_or_give_up(runner, cause);
    else if (!place_is_ending(runner) && runner->state != RUNNER_STARTING)
        place_move(runner, MOVE_AGAIN, NULL);
}

void place_on_exited(struct runner *runner, int status, const uint8_t *words, uint32_t length) {
    struct err cause = ERR_INIT;
    /* What it had answered before it ended is answered. */
    if (runner->link != NULL)
        process_link_receive(runner->link, RUNNER_DRAIN_MAX);
    place_clean(runner->last_words, sizeof runner->last_words, words, length, true);
    describe_death(runner, status, &cause);
    on_process_over(runner, &cause);
    place_settle(runner);
}

void place_on_spawned(struct runner *runner, const struct super_message *spawned, int fd) {
    struct err err = ERR_INIT;
    runner->phase = PROCESS_LIVE;
    runner->slot = spawned->slot;
    runner->pid = spawned->pid;
    if (!session_open(runner, fd, false, &err))
        place_lose(runner, &err);
    else if (place_is_ending(runner) || runner->replace)
        place_lose(runner, NULL);
    place_settle(runner);
}

void place_on_refused(struct runner *runner, int error) {
    struct err cause = ERR_INIT;
    err_set(&cause, ERR_SYSTEM, "sluice-super cannot start a runner: %s", strerror(error));
    on_process_over(runner, &cause);
    place_settle(runner);
}

void place_on_predecessor_ended(struct runner *runner) {
    CHECK(runner->phase == PROCESS_WAITING);
    runner->phase = PROCESS_NONE;
    place_settle(runner);
}

void place_on_lost(struct runner *runner) {
    struct err cause = ERR_INIT;
    err_set(&cause, ERR_SYSTEM, "sluice-super is gone");
    runner->hopeless = true;
    if (runner->phase != PROCESS_NONE)
        on_process_over(runner, &cause); /* the kernel ends runners whose parent ends */
    place_settle(runner);
}

/* ---- the machine at work ----------------------------------------------------------------------
 */

static void tell(struct runner *runner) {
    bool bad = runner->state == RUNNER_DOWN || runner->state == RUNNER_BACKING_OFF ||
               runner->state == RUNNER_QUARANTINED;
    struct err cause = bad ? runner->cause : ERR_INIT;
    runner->untold = false;
    runner->events->on_state(runner->owner, runner, runner->state, &cause);
}

static void finish(struct runner *runner) {
    call_queue_end(&runner->calls, &runner->runners->shelf, true, ERR_STOPPING,
                   place_refusal_text(runner));
    call_tell_ended(&runner->runners->shelf);
    if (runner->state == RUNNER_STOPPING) {
        place_move(runner, MOVE_GONE, NULL);
        tell(runner);
    }
    uv_timer_stop(&runner->timer);
    runner->timer_ms = 0;
    void (*on_stopped)(void *, struct runner *) = runner->on_stopped;
    runner->on_stopped = NULL;
    if (on_stopped != NULL)
        on_stopped(runner->owner, runner); /* which may release it */
}

void place_settle(struct runner *runner) {
    if (runner->untold)
        tell(runner);
    if (runner->state == RUNNER_STARTING && runner->phase == PROCESS_NONE)
        want_process(runner);
    if (place_is_ending(runner) &&
        (runner->phase == PROCESS_NONE || runner->phase == PROCESS_WAITING)) {
        runner->phase = PROCESS_NONE;
        finish(runner);
        return;
    }
    session_pump(runner);
    set_timer(runner);
    if (runner->untold)
        runners_settle_soon(runner);
}

/* SIGKILL is not enough while the process is inside the kernel, on a dead mount for example. */
static void on_does_not_end(struct runner *runner) {
    struct err cause = runner->death;
    runner->deadline_ms = 0;
    if (place_is_ending(runner)) {
        runners_disown(runner->runners, runner->slot);
        runner->phase = PROCESS_NONE;
        return;
    }
    if (cause.code == ERR_NONE)
        err_set(&cause, ERR_RUNNER_LOST, "the runner was ended");
    char why[ERR_TEXT_MAX];
    text_copy(why, sizeof why, cause.text);
    cause = ERR_INIT;
    err_set(&cause, ERR_RUNNER_LOST, "process %d was killed and does not end: %s", runner->pid,
            why);
    place_move(runner, MOVE_DIED, &cause);
}

static void on_deadline(struct runner *runner) {
    struct err err = ERR_INIT;
    const struct runner_policy *policy = &runner->runners->options.policy;
    if (runner->phase == PROCESS_DYING) {
        on_does_not_end(runner);
        return;
    }
    if ((runner->session & S_CLOSING) == 0) {
        const char *what = runner->resuming               ? "RESUMED"
                           : runner->session == S_LOADING ? "LOADED"
                                                          : "HELLO";
        err_set(&err, ERR_RUNNER_LOST, "the runner did not say %s within %u ms", what,
                runner->session == S_LOADING && !runner->resuming ? policy->load_ms
                                                                  : policy->hello_ms);
    }
    place_lose(runner, err.code != ERR_NONE ? &err : NULL);
}

void place_retry(struct runner *runner) {
    runner->retry_ms = 0;
    if (runner->state == RUNNER_BACKING_OFF && runner->phase == PROCESS_NONE) {
        place_move(runner, MOVE_AGAIN, NULL);
    } else if (runner->state == RUNNER_DOWN && runner->phase == PROCESS_LIVE) {
        place_move(runner, MOVE_REOPEN, NULL);
        session_open_pool(runner);
    } else if (runner->state == RUNNER_OPENING && runner->phase == PROCESS_LIVE) {
        session_open_pool(runner);
    }
}

static bool is_due(uint64_t at_ms, uint64_t now_ms) {
    return at_ms != 0 && at_ms <= now_ms;
}

static void on_timer(uv_timer_t *timer) {
    struct runner *runner = timer->data;
    CHECK_MAGIC(runner, RUNNER_MAGIC);
    uint64_t now_ms = clock_mono_ms();
    uint64_t late_ms = now_ms > runner->timer_ms ? now_ms - runner->timer_ms : 0;
    runner->timer_ms = 0;
    if (late_ms >= LATE_MS) { /* we stood still, perhaps all did: the process gets its time anew */
        if (is_due(runner->deadline_ms, now_ms))
            runner->deadline_ms = now_ms + LATE_MS;
        if (runner->ping_ms != 0)
            runner->ping_ms = now_ms;
    }
    /* What it has said in time and we have not read yet counts. */
    if (runner->link != NULL &&
        (is_due(runner->deadline_ms, now_ms) || is_due(session_beat_at(runner), now_ms)))
        process_link_receive(runner->link, RUNNER_BATCH_MAX);
    struct err err = ERR_INIT;
    if (is_due(runner->deadline_ms, now_ms))
        on_deadline(runner);
    else if (!session_beat(runner, now_ms, &err))
        place_lose(runner, &err);
    if (is_due(runner->retry_ms, now_ms))
        place_retry(runner);
    place_settle(runner);
}

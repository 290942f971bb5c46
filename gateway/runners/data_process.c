/* SPDX-License-Identifier: Apache-2.0
 *
 * data_process.c: one process, its socket, its heartbeat and its successor.
 */
#include "runners/data_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "runners/place.h"

#define MAGIC 0x44505243
#define DATA_ARENA_MAX WIRE_ARENA_MAX

/* No pool has it: ids of pools are of version 7. */
static const struct sluice_uuid data_tag = {
    {'s', 'l', 'u', 'i', 'c', 'e', '-', 'd', 'a', 't', 'a'}};

struct waiting { /* for room in the socket */
    STAILQ_ENTRY(waiting) entry;
    int fds[PROCESS_FDS_MAX];
    uint32_t fd_count;
    size_t length;
    uint8_t packet[];
};

enum phase {
    PHASE_NONE,  /* none is wanted, or the back-off is not over */
    PHASE_ASKED, /* for, at sluice-super */
    PHASE_HELLO, /* it has to say HELLO */
    PHASE_LIVE,
    PHASE_DYING, /* killed: sluice-super will say when it has ended */
};

struct data_process {
    uint32_t magic;
    struct runners *runners;
    uint32_t uid;
    const struct data_process_events *events;
    void *owner;
    enum phase phase;
    bool wanted;
    bool held;
    uint32_t request, slot;
    int pid;
    struct process_link *link;
    struct err death;
    uint32_t deaths;
    struct err last_cause;
    uint32_t backoff_ms;
    uint64_t retry_ms;    /* 0: not waiting */
    uint64_t deadline_ms; /* for HELLO; 0: none */
    uint64_t live_ms;
    uint64_t ping_number, ping_ms, ping_due_ms; /* ping_ms 0: all are answered */
    struct data_pong pong;
    STAILQ_HEAD(, waiting) queue;
    uint32_t queued;
    struct buf scratch;
    struct arena arena;
    uv_timer_t timer;
    void (*on_stopped)(void *owner);
};

static void set_timer(struct data_process *process);

/* ---- sending --------------------------------------------------------------------------------- */

static void drop_first(struct data_process *process) {
    struct waiting *first = STAILQ_FIRST(&process->queue);
    STAILQ_REMOVE_HEAD(&process->queue, entry);
    process->queued--;
    for (uint32_t i = 0; i < first->fd_count; i++)
        close(first->fds[i]);
    free(first);
}

static void hang_up(struct data_process *process) {
    process_link_close(process->link);
    process->link = NULL;
    while (!STAILQ_EMPTY(&process->queue))
        drop_first(process);
    process->deadline_ms = 0;
    process->ping_ms = 0;
    process->pong = (struct data_pong){0};
}

static void lose(struct data_process *process, const struct err *cause) {
    if (process->phase != PHASE_HELLO && process->phase != PHASE_LIVE)
        return;
    if (cause != NULL)
        process->death = *cause;
    hang_up(process);
    super_link_kill(process->runners->super, process->slot, process->pid, SIGKILL);
    process->phase = PHASE_DYING;
    set_timer(process);
}

static void breach(struct data_process *process, const char *what) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_PROTOCOL, "sluice-data broke the protocol: %s", what);
    lose(process, &err);
}

/* false: the process does not take it, and is lost. */
static bool enqueue(struct data_process *process, const struct buf *packet, const int *fds,
                    uint32_t fd_count) {
    struct waiting *waiting = malloc(sizeof *waiting + packet->length);
    if (waiting == NULL || process->queued >= DATA_PROCESS_QUEUE_MAX) {
        free(waiting);
        return false;
    }
    memcpy(waiting->packet, packet->at, packet->length);
    waiting->length = packet->length;
    STAILQ_INSERT_TAIL(&process->queue, waiting, entry);
    process->queued++;
    for (waiting->fd_count = 0; waiting->fd_count < fd_count; waiting->fd_count++) {
        int copy = fcntl(fds[waiting->fd_count], F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return false;
        waiting->fds[waiting->fd_count] = copy;
    }
    return true;
}

static void say(struct data_process *process, enum data_number number, const void *body,
                const int *fds, uint32_t fd_count) {
    struct buf *scratch = &process->scratch;
    CHECK(fd_count == data_descriptors(number));
    buf_clear(scratch);
    data_encode(number, body, scratch);
    bool ok = !scratch->overflow;
    enum process_sent sent = PROCESS_FULL;
    if (ok && STAILQ_EMPTY(&process->queue))
        sent = process_link_send(process->link, scratch->at, scratch->length, fds, fd_count);
    if (ok && sent == PROCESS_FULL)
        ok = enqueue(process, scratch, fds, fd_count);
    if (!ok) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_RUNNER_LOST, "sluice-data does not take what it is told");
        lose(process, &err);
    }
}

void data_process_send(struct data_process *process, enum data_number number, const void *body,
                       const int *fds, uint32_t fd_count) {
    CHECK_MAGIC(process, MAGIC);
    if (process->phase == PHASE_LIVE)
        say(process, number, body, fds, fd_count);
}

static void on_writable(void *owner) {
    struct data_process *process = owner;
    CHECK_MAGIC(process, MAGIC);
    while (!STAILQ_EMPTY(&process->queue)) {
        const struct waiting *first = STAILQ_FIRST(&process->queue);
        if (process_link_send(process->link, first->packet, first->length, first->fds,
                              first->fd_count) != PROCESS_SENT)
            return;
        drop_first(process);
    }
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void on_hello(struct data_process *process, const struct data_hello *hello) {
    if (process->phase == PHASE_LIVE) {
        breach(process, "HELLO without SYNC");
        return;
    }
    if (hello->protocol != WIRE_PROTOCOL) {
        breach(process, "another version of it");
        return;
    }
    process->phase = PHASE_LIVE;
    process->deadline_ms = 0;
    process->live_ms = clock_mono_ms();
    process->ping_due_ms = process->live_ms + process->runners->options.policy.ping_ms;
    set_timer(process);
    process->events->on_begin(process->owner, process->held);
}

static void on_pong(struct data_process *process, const struct data_pong *pong) {
    if (pong->number == process->ping_number)
        process->ping_ms = 0;
    process->pong = *pong;
    set_timer(process);
}

static void on_packet(void *owner, const uint8_t *packet, size_t length, const int *fds,
                      uint32_t fd_count) {
    struct data_process *process = owner;
    enum data_number number;
    const void *body;
    struct err err = ERR_INIT;
    CHECK_MAGIC(process, MAGIC);
    arena_reset(&process->arena);
    bool good = data_decode(packet, length, fd_count, DATA_SENDER_DATA, &process->arena, &number,
                            &body, &err);
    if (good && number != DATA_HELLO && number != DATA_PONG && process->phase == PHASE_LIVE) {
        process->events->on_message(process->owner, number, body, fds, fd_count);
        return;
    }
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (!good)
        breach(process, err.text);
    else if (number == DATA_HELLO)
        on_hello(process, body);
    else if (number == DATA_PONG && process->phase == PHASE_LIVE)
        on_pong(process, body);
    else if (!process->held) /* else it was for our predecessor */
        breach(process, "something before HELLO");
}

static void on_end(void *owner, const char *what) {
    struct data_process *process = owner;
    CHECK_MAGIC(process, MAGIC);
    if (what != NULL)
        breach(process, what);
    else
        lose(process, NULL);
}

/* ---- processes ------------------------------------------------------------------------------- */

static void converse(struct data_process *process, int fd) {
    static const struct process_link_events events = {on_packet, on_writable, on_end};
    struct runners *runners = process->runners;
    struct err err = ERR_INIT;
    process->phase = PHASE_HELLO;
    process->deadline_ms = clock_mono_ms() + runners->options.policy.hello_ms;
    if (!process_link_open(runners->loop, fd, runners->packet, sizeof runners->packet,
                           PROCESS_FDS_MAX, &events, process, &process->link, &err))
        lose(process, &err);
    set_timer(process);
}

static void take_over(struct data_process *process, struct process *held) {
    int fd = held->fd;
    held->fd = -1;
    held->serves_data = true;
    process->held = true;
    process->slot = runners_slot(process->runners, held);
    process->pid = held->pid;
    converse(process, fd);
    if (process->phase != PHASE_HELLO)
        return;
    struct data_sync sync = {.incarnation = process->runners->options.incarnation};
    say(process, DATA_SYNC, &sync, NULL, 0);
}

static void ask(struct data_process *process) {
    struct runners *runners = process->runners;
    process->retry_ms = 0;
    if (!process->wanted || process->phase != PHASE_NONE || runners->lost)
        return;
    process->held = false;
    process->death = ERR_INIT;
    process->phase = PHASE_ASKED;
    process->request =
        super_link_spawn(runners->super, SUPER_PROGRAM_DATA, &data_tag, process->uid, process->uid);
}

void data_process_want(struct data_process *process) {
    CHECK_MAGIC(process, MAGIC);
    process->wanted = process->on_stopped == NULL;
    if (process->retry_ms == 0)
        ask(process);
}

static void finish_stop(struct data_process *process) {
    void (*on_stopped)(void *) = process->on_stopped;
    process->on_stopped = NULL;
    uv_timer_stop(&process->timer);
    on_stopped(process->owner);
}

static void over(struct data_process *process, const struct err *cause) {
    const struct runner_policy *policy = &process->runners->options.policy;
    bool lived = process->live_ms != 0 && clock_mono_ms() - process->live_ms >= policy->proven_ms;
    hang_up(process);
    process->phase = PHASE_NONE;
    process->pid = 0;
    process->live_ms = 0;
    if (process->on_stopped != NULL) {
        finish_stop(process);
        return;
    }
    process->deaths++;
    process->last_cause = *cause;
    process->backoff_ms = lived || process->backoff_ms == 0 ? policy->backoff_first_ms
                          : process->backoff_ms <= policy->backoff_last_ms / 2
                              ? process->backoff_ms * 2
                              : policy->backoff_last_ms;
    process->retry_ms = clock_mono_ms() + process->backoff_ms;
    set_timer(process);
    process->events->on_end(process->owner, cause);
}

bool data_process_on_spawned(struct data_process *process, const struct super_message *spawned,
                             int fd) {
    if (process == NULL || process->phase != PHASE_ASKED || process->request != spawned->request)
        return false;
    process->slot = spawned->slot;
    process->pid = spawned->pid;
    converse(process, fd);
    if (process->on_stopped != NULL)
        lose(process, NULL);
    return true;
}

bool data_process_on_refused(struct data_process *process, uint32_t request, int error) {
    if (process == NULL || process->phase != PHASE_ASKED || process->request != request)
        return false;
    struct err cause = ERR_INIT;
    err_set(&cause, ERR_SYSTEM, "sluice-super cannot start sluice-data: %s", strerror(error));
    over(process, &cause);
    return true;
}

void data_process_on_exited(struct data_process *process, const struct super_message *exited) {
    char words[SUPER_WORDS_MAX + 1];
    struct err cause = process->death;
    place_clean(words, sizeof words, exited->words, exited->words_length, false);
    size_t length = strlen(words);
    const char *last = length > ERR_TEXT_MAX / 2 ? words + length - ERR_TEXT_MAX / 2 : words;
    if (cause.code == ERR_NONE && WIFSIGNALED(exited->status))
        err_set(&cause, ERR_RUNNER_LOST, "sluice-data was ended by signal %d; it said: %s",
                WTERMSIG(exited->status), last);
    else if (cause.code == ERR_NONE)
        err_set(&cause, ERR_RUNNER_LOST, "sluice-data exited with status %d; it said: %s",
                WEXITSTATUS(exited->status), last);
    over(process, &cause);
}

void data_process_on_lost(struct data_process *process) {
    if (process == NULL)
        return;
    struct err cause = ERR_INIT;
    err_set(&cause, ERR_SYSTEM, "sluice-super is gone");
    process->wanted = false;
    if (process->phase != PHASE_NONE)
        over(process, &cause);
}

void data_process_blame(struct data_process *process, const struct err *cause) {
    CHECK_MAGIC(process, MAGIC);
    lose(process, cause);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void on_silent(struct data_process *process, const char *what) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_STALLED, "sluice-data %s", what);
    lose(process, &err);
}

static void beat(struct data_process *process, uint64_t now_ms) {
    const struct runner_policy *policy = &process->runners->options.policy;
    if (process->phase != PHASE_LIVE)
        return;
    if (process->ping_ms != 0 && now_ms >= process->ping_ms + policy->silent_ms) {
        on_silent(process, "does not answer its heartbeat");
        return;
    }
    if (process->ping_ms != 0 || now_ms < process->ping_due_ms)
        return;
    struct data_ping ping = {.number = ++process->ping_number};
    process->ping_ms = now_ms;
    process->ping_due_ms =
        now_ms + (process->pong.exports > 0 || process->ping_number == 1 ? policy->ping_ms
                                                                         : policy->idle_ping_ms);
    say(process, DATA_PING, &ping, NULL, 0);
}

static void on_timer(uv_timer_t *timer) {
    struct data_process *process = timer->data;
    CHECK_MAGIC(process, MAGIC);
    uint64_t now_ms = clock_mono_ms();
    /* What it has said in time and we have not read yet counts. */
    if (process->link != NULL)
        process_link_receive(process->link, RUNNER_BATCH_MAX);
    if (process->phase == PHASE_HELLO && process->deadline_ms != 0 &&
        now_ms >= process->deadline_ms)
        on_silent(process, "does not say HELLO");
    beat(process, now_ms);
    if (process->retry_ms != 0 && now_ms >= process->retry_ms)
        ask(process);
    set_timer(process);
    if (process->on_stopped != NULL && process->phase == PHASE_NONE)
        finish_stop(process);
}

static uint64_t earlier(uint64_t a_ms, uint64_t b_ms) {
    return b_ms != 0 && b_ms < a_ms ? b_ms : a_ms;
}

static void set_timer(struct data_process *process) {
    uint64_t due_ms = earlier(earlier(UINT64_MAX, process->deadline_ms), process->retry_ms);
    if (process->phase == PHASE_LIVE)
        due_ms = earlier(due_ms, process->ping_ms != 0
                                     ? process->ping_ms + process->runners->options.policy.silent_ms
                                     : process->ping_due_ms);
    if (due_ms == UINT64_MAX) {
        uv_timer_stop(&process->timer);
        return;
    }
    uint64_t now_ms = clock_mono_ms();
    uv_update_time(process->runners->loop);
    uv_timer_start(&process->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

bool data_process_open(struct runners *runners, uint32_t uid,
                       const struct data_process_events *events, void *owner,
                       struct data_process **ret, struct err *err) {
    CHECK(runners->ready && runners->data_process == NULL);
    struct data_process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for sluice-data");
    process->magic = MAGIC;
    process->runners = runners;
    process->uid = uid;
    process->events = events;
    process->owner = owner;
    STAILQ_INIT(&process->queue);
    buf_init(&process->scratch, WIRE_PACKET_MAX);
    arena_init(&process->arena, DATA_ARENA_MAX);
    uv_timer_init(runners->loop, &process->timer);
    process->timer.data = process;
    runners->data_process = process;
    *ret = process;
    struct process *held = runners_find(runners, &data_tag);
    if (held != NULL && held->fd >= 0 && !held->unwanted)
        take_over(process, held);
    return true;
}

bool data_process_is_held(const struct data_process *process) {
    CHECK_MAGIC(process, MAGIC);
    return process->held && process->phase != PHASE_NONE;
}

void data_process_stop(struct data_process *process, void (*on_stopped)(void *owner)) {
    CHECK_MAGIC(process, MAGIC);
    process->wanted = false;
    process->retry_ms = 0;
    process->on_stopped = on_stopped;
    lose(process, NULL);
    if (process->phase == PHASE_NONE)
        uv_timer_start(&process->timer, on_timer, 0, 0);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct data_process *process = handle->data;
    buf_release(&process->scratch);
    arena_release(&process->arena);
    process->magic = 0;
    free(process);
}

void data_process_close(struct data_process *process) {
    if (process == NULL)
        return;
    CHECK_MAGIC(process, MAGIC);
    hang_up(process);
    process->runners->data_process = NULL;
    uv_close((uv_handle_t *)&process->timer, on_timer_closed);
}

void data_process_status(const struct data_process *process, struct data_process_status *ret) {
    CHECK_MAGIC(process, MAGIC);
    *ret = (struct data_process_status){.pid = process->pid,
                                        .deaths = process->deaths,
                                        .cause = process->last_cause,
                                        .pong = process->pong};
}

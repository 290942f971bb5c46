/* SPDX-License-Identifier: Apache-2.0
 *
 * runners.c: all places together, what sluice-super says, processes that nobody has claimed.
 */
#include "runners/runners.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "runners/place.h"

#define MAGIC 0x524e5253
#define TURNS_MAX (2 * SUPER_CHILDREN_MAX) /* of places in one turn of the loop */

/* ---- turns ------------------------------------------------------------------------------------
 */

static void on_soon(uv_timer_t *timer);

void runners_tell_soon(struct runners *runners) {
    if (!runners->closing && !uv_is_active((uv_handle_t *)&runners->soon))
        uv_timer_start(&runners->soon, on_soon, 0, 0);
}

void runners_settle_soon(struct runner *runner) {
    runner->needs_turn = true;
    runners_tell_soon(runner->runners);
}

static struct runner *next_in_need(struct runners *runners) {
    struct runner *runner;
    LIST_FOREACH(runner, &runners->places, entry)
    if (runner->needs_turn)
        return runner;
    return NULL;
}

static void on_soon(uv_timer_t *timer) {
    struct runners *runners = timer->data;
    CHECK_MAGIC(runners, MAGIC);
    call_tell_ended(&runners->shelf);
    struct runner *runner;
    for (int i = 0; i < TURNS_MAX && (runner = next_in_need(runners)) != NULL; i++) {
        runner->needs_turn = false;
        place_settle(runner);
    }
    if (next_in_need(runners) != NULL)
        runners_tell_soon(runners); /* callbacks that ask for more have it, after the others */
}

/* ---- processes --------------------------------------------------------------------------------
 */

struct process *runners_find(struct runners *runners, const struct sluice_uuid *tag) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        if (runners->processes[i].live && uuid_equal(&runners->processes[i].tag, tag))
            return &runners->processes[i];
    return NULL;
}

uint32_t runners_slot(const struct runners *runners, const struct process *process) {
    return (uint32_t)(process - runners->processes);
}

static struct process *take_slot(struct runners *runners, const struct super_message *message) {
    struct process *process = &runners->processes[message->slot];
    *process = (struct process){
        .live = true, .pid = message->pid, .uid = message->uid, .gid = message->gid, .fd = -1};
    memcpy(&process->tag, message->tag, sizeof process->tag);
    return process;
}

static void close_unclaimed(struct process *process) {
    if (process->fd >= 0)
        close(process->fd);
    process->fd = -1;
}

static void on_reaper(uv_timer_t *timer);

static void set_reaper(struct runners *runners) {
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        const struct process *process = &runners->processes[i];
        if (process->live && process->unwanted && process->kill_ms < next_ms)
            next_ms = process->kill_ms;
    }
    if (next_ms == UINT64_MAX)
        return;
    uint64_t now_ms = clock_mono_ms();
    uv_update_time(runners->loop);
    uv_timer_start(&runners->reaper, on_reaper, next_ms > now_ms ? next_ms - now_ms : 0, 0);
}

static void on_reaper(uv_timer_t *timer) {
    struct runners *runners = timer->data;
    CHECK_MAGIC(runners, MAGIC);
    uint64_t now_ms = clock_mono_ms();
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct process *process = &runners->processes[i];
        if (!process->live || !process->unwanted || process->kill_ms > now_ms)
            continue;
        super_link_kill(runners->super, i, process->pid, SIGKILL);
        process->kill_ms = UINT64_MAX; /* once is enough */
    }
    set_reaper(runners);
}

/* STOP without a session: whatever state the process is in, it takes it or ends for it. */
static void send_stop(int fd, struct buf *scratch) {
    static const struct wire_stop stop;
    buf_clear(scratch);
    wire_encode(WIRE_STOP, 0, &stop, scratch);
    if (!scratch->overflow &&
        send(fd, scratch->at, scratch->length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return; /* it is killed when its time is over */
}

static void make_unwanted(struct runners *runners, struct process *process) {
    process->unwanted = true;
    process->serves_data = false;
    process->runner = NULL;
    if (process->fd >= 0)
        send_stop(process->fd, &runners->scratch);
    close_unclaimed(process);
    process->kill_ms = clock_mono_ms() + runners->options.policy.stop_ms;
    set_reaper(runners);
}

void runners_disown(struct runners *runners, uint32_t slot) {
    make_unwanted(runners, &runners->processes[slot]);
}

static void forget_obituaries(struct runners *runners) {
    struct obituary *obituary;
    while ((obituary = SLIST_FIRST(&runners->obituaries)) != NULL) {
        SLIST_REMOVE_HEAD(&runners->obituaries, entry);
        free(obituary);
    }
    runners->obituary_count = 0;
}

/* A place takes its process in a turn of its own, so one that was started just now has none yet. */
static bool has_place(const struct runners *runners, const struct sluice_uuid *tag) {
    const struct runner *runner;
    LIST_FOREACH(runner, &runners->places, entry)
    if (uuid_equal(&runner->spec->tag, tag))
        return true;
    return false;
}

void runners_reap_unclaimed(struct runners *runners) {
    CHECK_MAGIC(runners, MAGIC);
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct process *process = &runners->processes[i];
        if (process->live && process->runner == NULL && !process->serves_data &&
            !process->unwanted && !has_place(runners, &process->tag))
            make_unwanted(runners, process);
    }
    forget_obituaries(runners);
}

/* ---- from sluice-super ------------------------------------------------------------------------
 */

static void on_held(void *owner, const struct super_message *held, int fd) {
    struct runners *runners = owner;
    CHECK_MAGIC(runners, MAGIC);
    take_slot(runners, held)->fd = fd;
}

static void on_held_end(void *owner) {
    struct runners *runners = owner;
    CHECK_MAGIC(runners, MAGIC);
    uint32_t held = 0;
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        held += runners->processes[i].live;
    runners->ready = true;
    if (runners->options.on_ready != NULL)
        runners->options.on_ready(runners->options.owner, held);
}

static struct runner *find_request(struct runners *runners, uint32_t request) {
    struct runner *runner;
    LIST_FOREACH(runner, &runners->places, entry)
    if (runner->phase == PROCESS_ASKED && runner->request == request)
        return runner;
    return NULL;
}

static void on_spawned(void *owner, const struct super_message *spawned, int fd) {
    struct runners *runners = owner;
    CHECK_MAGIC(runners, MAGIC);
    struct process *process = take_slot(runners, spawned);
    if (data_process_on_spawned(runners->data_process, spawned, fd)) {
        process->serves_data = true;
        return;
    }
    struct runner *runner = find_request(runners, spawned->request);
    if (runner == NULL) { /* a place waits for the answer, so this is for nobody we know */
        process->fd = fd;
        make_unwanted(runners, process);
        return;
    }
    process->runner = runner;
    place_on_spawned(runner, spawned, fd);
}

static void on_refused(void *owner, uint32_t request, int error) {
    struct runners *runners = owner;
    CHECK_MAGIC(runners, MAGIC);
    if (data_process_on_refused(runners->data_process, request, error))
        return;
    struct runner *runner = find_request(runners, request);
    if (runner != NULL) /* else a kill that came too late, which is just as well */
        place_on_refused(runner, error);
}

static void keep_obituary(struct runners *runners, const struct super_message *exited) {
    struct runner *runner;
    LIST_FOREACH(runner, &runners->places, entry) {
        if (memcmp(&runner->spec->tag, exited->tag, sizeof exited->tag) != 0)
            continue;
        if (runner->last_words[0] == '\0')
            place_clean(runner->last_words, sizeof runner->last_words, exited->words,
                        exited->words_length, true);
        return;
    }
    if (runners->obituary_count >= SUPER_CHILDREN_MAX)
        return;
    struct obituary *obituary = calloc(1, sizeof *obituary + exited->words_length);
    if (obituary == NULL)
        return; /* only last words */
    memcpy(&obituary->tag, exited->tag, sizeof obituary->tag);
    memcpy(obituary->words, exited->words, exited->words_length);
    obituary->length = exited->words_length;
    SLIST_INSERT_HEAD(&runners->obituaries, obituary, entry);
    runners->obituary_count++;
}

static struct runner *find_waiting(struct runners *runners, const struct sluice_uuid *tag) {
    struct runner *runner;
    LIST_FOREACH(runner, &runners->places, entry)
    if (runner->phase == PROCESS_WAITING && uuid_equal(&runner->spec->tag, tag))
        return runner;
    return NULL;
}

static void on_exited(void *owner, const struct super_message *exited) {
    struct runners *runners = owner;
    CHECK_MAGIC(runners, MAGIC);
    struct process *process = &runners->processes[exited->slot];
    if (!process->live || process->pid != exited->pid) {
        keep_obituary(runners, exited);
        return;
    }
    struct sluice_uuid tag = process->tag;
    struct runner *runner = process->runner;
    bool serves_data = process->serves_data;
    close_unclaimed(process);
    process->live = false;
    process->serves_data = false;
    process->runner = NULL;
    if (serves_data) {
        data_process_on_exited(runners->data_process, exited);
        return;
    }
    if (runner != NULL) {
        place_on_exited(runner, exited->status, exited->words, exited->words_length);
        return;
    }
    struct runner *waiting = find_waiting(runners, &tag);
    if (waiting != NULL)
        place_on_predecessor_ended(waiting);
}

/* Places may be released while they are told, so each round begins at the front. */
static void on_lost(void *owner) {
    struct runners *runners = owner;
    struct runner *runner;
    CHECK_MAGIC(runners, MAGIC);
    runners->lost = true;
    uv_timer_stop(&runners->reaper);
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        close_unclaimed(&runners->processes[i]);
        runners->processes[i].live = false;
    }
    data_process_on_lost(runners->data_process);
    LIST_FOREACH(runner, &runners->places, entry)
    runner->needs_turn = true;
    for (uint32_t i = 0; i < TURNS_MAX && (runner = next_in_need(runners)) != NULL; i++) {
        runner->needs_turn = false;
        place_on_lost(runner);
    }
    if (runners->options.on_lost != NULL)
        runners->options.on_lost(runners->options.owner);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void fill_policy(struct runner_policy *policy) {
#define RUNNER_POLICY_FILL(name, number) \
    if (policy->name == 0)               \
        policy->name = (number);
    RUNNER_POLICY(RUNNER_POLICY_FILL)
#undef RUNNER_POLICY_FILL
}

static void init_timer(struct runners *runners, uv_timer_t *timer) {
    uv_timer_init(runners->loop, timer);
    timer->data = runners;
    runners->handles++;
}

bool runners_open(struct uv_loop_s *loop, int super_fd, const struct runners_options *options,
                  struct runners **ret, struct err *err) {
    static const struct super_link_events events = {on_held,    on_held_end, on_spawned,
                                                    on_refused, on_exited,   on_lost};
    struct runners *runners = calloc(1, sizeof *runners);
    if (runners == NULL) {
        close(super_fd);
        return err_set(err, ERR_NO_MEMORY, "no memory for runners");
    }
    runners->magic = MAGIC;
    runners->loop = loop;
    runners->options = *options;
    fill_policy(&runners->options.policy);
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        runners->processes[i].fd = -1;
    if (!super_link_open(loop, super_fd, &events, runners, &runners->super, err)) {
        free(runners);
        return false;
    }
    LIST_INIT(&runners->places);
    SLIST_INIT(&runners->obituaries);
    call_shelf_init(&runners->shelf, options->incarnation);
    arena_init(&runners->arena, 2 * WIRE_ARENA_MAX); /* a packet, and the result inside it */
    buf_init(&runners->scratch, WIRE_PACKET_MAX);
    init_timer(runners, &runners->soon);
    init_timer(runners, &runners->reaper);
    *ret = runners;
    return true;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct runners *runners = handle->data;
    if (--runners->handles > 0)
        return;
    call_shelf_release(&runners->shelf);
    arena_release(&runners->arena);
    buf_release(&runners->scratch);
    runners->magic = 0;
    free(runners);
}

void runners_close(struct runners *runners) {
    if (runners == NULL)
        return;
    CHECK_MAGIC(runners, MAGIC);
    CHECK(LIST_EMPTY(&runners->places) && runners->data_process == NULL);
    /* Processes that nobody claimed are left as they are: our successor may want them. */
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        close_unclaimed(&runners->processes[i]);
    forget_obituaries(runners);
    runners->closing = true;
    call_tell_ended(&runners->shelf);
    super_link_close(runners->super);
    runners->super = NULL;
    uv_close((uv_handle_t *)&runners->soon, on_handle_closed);
    uv_close((uv_handle_t *)&runners->reaper, on_handle_closed);
}

void runners_quit(struct runners *runners) {
    CHECK_MAGIC(runners, MAGIC);
    super_link_quit(runners->super);
}

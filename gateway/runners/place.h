/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: struct runner from the inside, for the sources of this folder.
 *
 *   runner.c    what is called from outside
 *   place.c     the machine: states, processes, deaths, timers
 *   session.c   what one process says and is told: handshake, pool, heartbeat, calls
 *   runners.c   all places, sluice-super, processes nobody has claimed
 *   data_process.c  sluice-data, which is no place: it has no calls
 *
 * A place moves by place_move only. What runs on the loop on behalf of a place ends with
 * place_settle, which tells the state, starts a process when one is wanted, sends what can be sent
 * and sets the timer; what is called from outside only marks the place for it
 * (runners_settle_soon).
 */
#ifndef SLUICE_RUNNERS_PLACE_H
#define SLUICE_RUNNERS_PLACE_H

#include <sys/queue.h>
#include <uv.h>

#include "base/arena.h"
#include "runners/calls.h"
#include "runners/process_link.h"
#include "runners/runners.h"
#include "runners/super_link.h"

#define RUNNER_MAGIC 0x52554e52
#define RUNNER_LABEL_MAX 160
#define SPEC_ARENA_MAX (2 * WIRE_ARENA_MAX) /* one LOAD and one POOL_OPEN */
#define LATE_MS 1000 /* a timer that late means that we stood still, not the runner alone */

/* What sluice-super holds for us, by slot. */
struct process {
    bool live;
    bool unwanted;    /* told to stop; nobody can claim it */
    bool serves_data; /* it is sluice-data, and claimed */
    uint64_t kill_ms; /* an unwanted one has to be gone by then */
    int pid;
    uint32_t uid, gid;
    struct sluice_uuid tag;
    int fd;                /* not claimed yet; else -1 */
    struct runner *runner; /* NULL: nobody's */
};

struct spec { /* a copy that owns what it points to */
    struct arena arena;
    struct sluice_uuid tag;
    char label[RUNNER_LABEL_MAX];
    uint32_t uid, gid;
    bool has_pool;
    struct wire_load load;
    struct wire_pool_open open;
};

enum process_phase {
    PROCESS_NONE,
    PROCESS_WAITING, /* for the end of one that had our tag before us */
    PROCESS_ASKED,   /* for, at sluice-super */
    PROCESS_LIVE,
    PROCESS_DYING, /* killed, or it has hung up: sluice-super will say when it has ended */
};

enum runner_move {
#define RUNNER_MOVE(NAME, from, to, sentence) MOVE_##NAME,
#include "runners/state.def"
};

struct runner {
    uint32_t magic;
    LIST_ENTRY(runner) entry;
    struct runners *runners;
    const struct runner_events *events;
    void *owner;
    struct spec *spec;
    struct spec *next_spec; /* from the next process on; NULL: no change */

    enum runner_state state;
    struct err cause;
    bool untold;     /* the state has not been told */
    bool needs_turn; /* marked for place_settle */
    void (*on_stopped)(void *owner, struct runner *runner);

    /* the process */
    enum process_phase phase;
    bool replace; /* its end is no death: a successor is wanted */
    uint32_t request;
    uint32_t slot;
    int pid;
    struct process_link *link;
    unsigned session;     /* enum wire_state; more than one bit while both sides may not agree */
    bool resuming;        /* RESUME was sent, RESUMED has not come */
    struct err death;     /* why we killed it */
    bool hopeless;        /* its successor would end in the same way */
    uint64_t deadline_ms; /* of what it has to do next; 0: nothing */
    uint64_t serving_ms;  /* since when; 0: not */
    uint64_t open_id;     /* of the POOL_OPEN under way; 0: none */
    uint64_t open_ms;
    uint64_t ping_number;
    uint64_t ping_ms;                 /* the unanswered one was due then; 0: all are answered */
    bool ping_unsent;                 /* the socket took nothing */
    bool doubted;                     /* the answer is wanted sooner */
    uint64_t still_ms, still_told_ms; /* its ring stands still since; was told then; 0: never */
    uint64_t ping_due_ms;
    uint64_t unasked_ms; /* the second that unasked counts began then */
    uint32_t unasked;
    uint64_t resident;
    uint64_t ring; /* what RESUMED said */

    /* deaths */
    bool answered; /* a call was, since the last death */
    uint32_t deaths;
    uint32_t deaths_in_row;
    uint32_t backoff_ms;
    uint32_t reopen_ms;
    uint64_t retry_ms; /* BACKING_OFF, DOWN and a pending POOL_OPEN: 0: not waiting */

    struct call_queue calls;
    uint64_t calls_total;

    struct arena loaded_arena;
    struct wire_loaded loaded;
    bool has_loaded;
    struct arena pool_arena;
    struct wire_pool pool;
    bool has_pool;
    char last_words[SUPER_WORDS_MAX + 1];

    uv_timer_t timer;
    uint64_t timer_ms; /* when it fires; 0: it does not */
};

struct data_process;

struct obituary { /* of a process that ended while no gateway was there */
    SLIST_ENTRY(obituary) entry;
    struct sluice_uuid tag;
    uint32_t length;
    uint8_t words[];
};

struct runners {
    uint32_t magic;
    struct uv_loop_s *loop;
    struct runners_options options; /* policy: no member is 0 */
    struct super_link *super;
    struct data_process *data_process; /* NULL: nobody wants one */
    bool ready;
    bool lost;
    bool closing;
    uint32_t count;
    LIST_HEAD(, runner) places;
    struct process processes[SUPER_CHILDREN_MAX];
    SLIST_HEAD(, obituary) obituaries;
    uint32_t obituary_count;
    struct call_shelf shelf;
    struct arena arena; /* of the packet that is being handled */
    struct buf scratch; /* what is being encoded */
    uv_timer_t soon;    /* ended calls and marked places have their turn */
    uv_timer_t reaper;  /* the unwanted are killed */
    uint32_t handles;
    uint8_t packet[WIRE_PACKET_MAX];
};

/* ---- runners.c --------------------------------------------------------------------------------
 */

/* place_settle from the loop; after ended calls have been told. */
void runners_settle_soon(struct runner *runner);
void runners_tell_soon(struct runners *runners);
/* The live process of that tag; NULL: there is none. */
struct process *runners_find(struct runners *runners, const struct sluice_uuid *tag);
uint32_t runners_slot(const struct runners *runners, const struct process *process);
/* A place gives up a process that does not end; whoever wants its tag waits for it. */
void runners_disown(struct runners *runners, uint32_t slot);

/* ---- data_process.c: from sluice-super ---------------------------------------------------------
 */

/* NULL process is fine; false: that request was not its. */
bool data_process_on_spawned(struct data_process *process, const struct super_message *spawned,
                             int fd);
bool data_process_on_refused(struct data_process *process, uint32_t request, int error);
void data_process_on_exited(struct data_process *process, const struct super_message *exited);
void data_process_on_lost(struct data_process *process);

/* ---- place.c ----------------------------------------------------------------------------------
 */

void place_move(struct runner *runner, enum runner_move move, const struct err *cause);
void place_settle(struct runner *runner);
/* Hangs up on the process and kills it. cause NULL: nothing to blame. The first cause counts. */
void place_lose(struct runner *runner, const struct err *cause);
/* Asks the process to end: STOP if it can take one, else place_lose. */
void place_stop_process(struct runner *runner);
/* Something of the process is due then at the latest. */
void place_wake(struct runner *runner, uint64_t at_ms);
/* Tries at once what a back-off was waiting for. */
void place_retry(struct runner *runner);
bool place_is_ending(const struct runner *runner);
/* What a call gets in a state in which calls do not wait; NONE: they do. */
enum err_code place_refusal(const struct runner *runner);
const char *place_refusal_text(const struct runner *runner);
/* Ends what waits with that. */
void place_end_waiting(struct runner *runner);
/* In ret, size bytes: without control characters and what is not UTF-8; `lines`: line ends stay. */
void place_clean(char *ret, size_t size, const uint8_t *bytes, size_t length, bool lines);

/* From sluice-super. Each settles. */
void place_on_spawned(struct runner *runner, const struct super_message *spawned, int fd);
void place_on_refused(struct runner *runner, int error);
void place_on_exited(struct runner *runner, int status, const uint8_t *words, uint32_t length);
void place_on_predecessor_ended(struct runner *runner);
void place_on_lost(struct runner *runner);

/* ---- runner.c ---------------------------------------------------------------------------------
 */

void spec_free(struct spec *spec); /* NULL is fine */

/* ---- session.c --------------------------------------------------------------------------------
 */

/* A new process's socket, or with `resume` that of one that served our predecessor. */
bool session_open(struct runner *runner, int fd, bool resume, struct err *err);
/* Forgets all that was about the process's session. */
void session_close(struct runner *runner);
/* Sends POOL_OPEN. */
void session_open_pool(struct runner *runner);
/* Sends STOP; false: it could not be sent, or would be a breach. */
bool session_stop(struct runner *runner);
/* Sends calls as far as they may go. */
void session_pump(struct runner *runner);
/* Heartbeat: sends what is due. false: the process is silent (err). */
bool session_beat(struct runner *runner, uint64_t now_ms, struct err *err);
/* Asks for a sign of life now. */
void session_doubt(struct runner *runner, uint64_t now_ms);
/* When session_beat has something to do; 0: never. */
uint64_t session_beat_at(const struct runner *runner);

#endif

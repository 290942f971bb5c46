/* SPDX-License-Identifier: Apache-2.0
 *
 * runners.h: supervision of runners, and calls to them.
 *
 * One struct runner stands for one supervised place: a pool, or a driver of a category that has one
 * process. Behind it processes come and go; the place stays. Whoever holds it makes calls; each
 * call ends exactly once, by its callback, never before runner_call returns. Calls survive the
 * death of a process: what was not answered goes to the successor, in order. Everything here is on
 * the loop thread. Policy is the table in policy.h: back-off, heartbeat, quarantine, poison.
 *
 * No callback is ever made from inside a function of this header; states that runner_restart,
 * runner_retry and runner_stop bring about are seen at once by runner_status and told from the
 * loop. Callbacks may call any function of this header.
 *
 * Processes: a place has at most one, and a tag too: the successor is started only after
 * sluice-super has said that the predecessor, and whatever it left behind, has ended.
 *
 * Ownership: specs and argument objects are copied. A runner is freed by runner_release, after
 * its on_stopped (or in it).
 *
 * Limits: SUPER_CHILDREN_MAX places. Of a runner's packets RUNNER_BATCH_MAX are taken in a turn of
 * the loop; WIRE_CALLS_MAX of its calls are with the process, RUNNER_QUEUE_MAX wait.
 */
#ifndef SLUICE_RUNNERS_RUNNERS_H
#define SLUICE_RUNNERS_RUNNERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "runners/policy.h"
#include "wire/message.h"

struct uv_loop_s;
struct runners;
struct runner;

enum runner_state {
#define RUNNER_STATE(NAME, name, sentence) RUNNER_##NAME,
#include "runners/state.def"
};
const char *runner_state_name(enum runner_state state);

struct runner_events {
    /* The state changed; cause->code is ERR_NONE for good news. A crash is RUNNER_LOST,
     * misbehaviour PROTOCOL, what the driver said in refusing is its own code. */
    void (*on_state)(void *owner, struct runner *runner, enum runner_state state,
                     const struct err *cause);
    /* The driver told something (wire_event). May be NULL. */
    void (*on_event)(void *owner, struct runner *runner, const struct wire_event *event);
    /* A log line of the driver, already clean of control characters. May be NULL. */
    void (*on_log)(void *owner, struct runner *runner, uint32_t level, const char *text);
};

struct runner_spec {
    struct sluice_uuid tag; /* the pool's or driver instance's id: finds a held process again */
    const char *label;      /* for logs: "pool p", "driver base-net 1.0.0" */
    uint32_t uid, gid;
    struct wire_load load;
    bool has_pool;
    struct wire_pool_open open; /* when has_pool: made by every process after LOADED */
};

/* ---- the supervisor ------------------------------------------------------------------------- */

/* super_fd: the socket to sluice-super; owned from here on. on_ready: the runners that were held
 * over from a predecessor are known; runners may be started. on_lost: sluice-super is gone. */
struct runners_options {
    uint64_t incarnation;        /* of this gateway process; grows with each start */
    struct runner_policy policy; /* zero: policy.h */
    void (*on_ready)(void *owner, uint32_t held);
    void (*on_lost)(void *owner);
    void *owner;
};
bool runners_open(struct uv_loop_s *loop, int super_fd, const struct runners_options *options,
                  struct runners **ret, struct err *err);
/* Every runner must have been released. Memory is freed by the loop. NULL is fine. */
void runners_close(struct runners *runners);
/* Held processes whose tag nobody started are told to stop, then killed. After recovery. */
void runners_reap_unclaimed(struct runners *runners);
/* Tells sluice-super that this gateway ends on purpose, and the runners with it: at once, so stop
 * them first. */
void runners_quit(struct runners *runners);

/* ---- one place ------------------------------------------------------------------------------ */

bool runner_start(struct runners *runners, const struct runner_spec *spec,
                  const struct runner_events *events, void *owner, struct runner **ret,
                  struct err *err);
/* A changed spec; takes effect with the next process. */
bool runner_respec(struct runner *runner, const struct runner_spec *spec, struct err *err);
/* Ends the process (STOP, killed after a deadline) and starts the next one at once, calls carried
 * over. Not a death. Not while it stops. */
void runner_restart(struct runner *runner);
/* Leaves QUARANTINED, or tries at once in DOWN and BACKING_OFF; deaths are forgotten. When the
 * pool's opening is stalled it is runner_restart. */
void runner_retry(struct runner *runner);
/* Calls that wait end with STOPPING, those inside the driver when it has ended without an answer.
 * STOP, BYE, exit; killed after a deadline. on_stopped once, after the last on_state and on_reply;
 * called again, the last on_stopped counts. */
void runner_stop(struct runner *runner, void (*on_stopped)(void *owner, struct runner *runner));
void runner_release(struct runner *runner); /* STOPPED only; NULL is fine */

struct runner_reply {
    struct err err; /* NONE: OK or PENDING */
    bool pending;   /* ask again after retry_after_ms */
    uint32_t retry_after_ms;
    uint64_t done, total; /* bytes, with pending */
    const void
        *result; /* the call's result shape, in the callback only; NULL when err or pending */
};
typedef void runner_reply_fn(void *arg, const struct runner_reply *reply);
/* Queued while no process serves; at most policy's RUNNER_QUEUE_MAX wait, then TOO_MANY. In DOWN
 * and QUARANTINED it ends at once with POOL_DOWN or QUARANTINED and the cause as text. */
void runner_call(struct runner *runner, enum wire_number number, const void *args,
                 runner_reply_fn *on_reply, void *arg);

/* For what one process holds and its successor does not: sent to the process that serves now, never
 * again; ends with POOL_DOWN when none serves, with RUNNER_LOST when it ends before it has
 * answered. Descriptors (at most RUNNER_FDS_MAX) go with it; they are duplicated, the caller's stay
 * the caller's. */
#define RUNNER_FDS_MAX 3
void runner_call_once(struct runner *runner, enum wire_number number, const void *args,
                      const int *fds, uint32_t fd_count, runner_reply_fn *on_reply, void *arg);
/* The call whose callback has that `arg` is waited for no more: it ends with STALLED. Where the
 * process has it inside, that is killed and replaced, and its other calls are sent again: what
 * hangs would keep the next call of its volume too. Not a death. */
void runner_give_up(struct runner *runner, const void *arg);
/* Kills the process for what it did elsewhere (cause). Counts as a death. */
void runner_blame(struct runner *runner, const struct err *cause);
/* Calls wait in the process's ring, and none has ended for still_ms: is it alive? It has to answer
 * a heartbeat sooner than otherwise; one that was stopped by a signal is killed, and that counts as
 * a death. Who answers is slow and nothing else: shown as stalled, when it goes on. */
void runner_doubt(struct runner *runner, uint32_t still_ms);

struct runner_status {
    enum runner_state state;
    struct err cause; /* of DOWN, BACKING_OFF, QUARANTINED, and of what follows until it serves */
    int pid;          /* 0: none */
    bool stalled;     /* heartbeat lives, a call does not move */
    uint32_t calls;   /* sent and not answered, and waiting */
    uint32_t deaths;  /* since the start of this gateway */
    uint64_t ring;    /* generation that a process taken over from a predecessor is attached to */
    uint64_t resident_bytes;
    uint64_t calls_total;
    uint64_t retry_at_ms;             /* monotonic; 0: not waiting */
    const char *last_words;           /* of the last process that died; "" */
    const struct wire_loaded *loaded; /* NULL before LOADED: threads, abi, sandbox report */
    const struct wire_pool *pool;     /* NULL before it was opened once */
};
/* Pointers are valid until the loop's turn ends. */
void runner_status(const struct runner *runner, struct runner_status *ret);

#endif

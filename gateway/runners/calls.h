/* SPDX-License-Identifier: Apache-2.0
 *
 * calls.h: the calls of one place, in order, and the objects they are kept in.
 *
 * A call is kept as its encoded packet, so that sending it again to a successor is sending the same
 * bytes. It is in one of: a place's `sent` (with the process, unanswered), a place's `unsent`, the
 * shelf's `ended` (its callback comes from the loop, with the error that is in it), or free.
 * Descriptors of a call are closed when it ends. Objects and their buffers are used again, so a
 * steady flow of calls allocates nothing.
 */
#ifndef SLUICE_RUNNERS_CALLS_H
#define SLUICE_RUNNERS_CALLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "runners/runners.h"

#define CALLS_FREE_MAX 256         /* kept for use again; a pool in full flow */
#define CALLS_FREE_PACKET_MAX 4096 /* a bigger buffer is given back */

struct call {
    TAILQ_ENTRY(call) entry;
    uint64_t id;
    uint64_t sent_ms;
    uint32_t deaths; /* of processes that had it inside, in a row */
    uint16_t number;
    bool once;               /* never sent to another process: ends with RUNNER_LOST instead */
    int fds[RUNNER_FDS_MAX]; /* sent along; ours until the call ends */
    uint32_t fd_count;
    runner_reply_fn *on_reply;
    void *arg;
    struct buf packet;
    struct err err; /* of an ended one */
};
TAILQ_HEAD(call_list, call);

struct call_shelf {
    struct call_list free;
    struct call_list ended;
    uint32_t free_count;
    uint32_t last_id;
    uint32_t incarnation;
};
void call_shelf_init(struct call_shelf *shelf, uint64_t incarnation);
void call_shelf_release(struct call_shelf *shelf); /* ended ones have been told */

uint64_t call_next_id(struct call_shelf *shelf);
struct call *call_take(struct call_shelf *shelf, uint16_t number, runner_reply_fn *on_reply,
                       void *arg);
void call_give(struct call_shelf *shelf, struct call *call);
/* A call that is in no list ends with that error, told by call_tell_ended. */
void call_end(struct call_shelf *shelf, struct call *call, enum err_code code, const char *text);
/* Makes the callbacks of those that ended; what ends meanwhile waits for the next time. */
void call_tell_ended(struct call_shelf *shelf);

struct call_queue {
    struct call_list sent;
    struct call_list unsent;
    uint32_t sent_count;
    uint32_t unsent_count;
};
void call_queue_init(struct call_queue *queue);
void call_queue_add(struct call_queue *queue, struct call *call);
/* The next call to send, or NULL: there is none, or it has to wait. A call that has been inside at
 * `suspect_deaths` deaths is sent alone: others wait for it, and it for others, but not for one
 * that has been inside since `patience_ms` or longer, or a driver that hangs would stop all. */
struct call *call_queue_next(const struct call_queue *queue, uint32_t suspect_deaths,
                             uint64_t patience_ms);
void call_queue_sent(struct call_queue *queue, struct call *call, uint64_t now_ms);
/* The call that is answered by that id, out of the queue; NULL: none is. */
struct call *call_queue_answered(struct call_queue *queue, uint64_t id);
/* The call of that `arg`, out of the queue; NULL: there is none. */
struct call *call_queue_take(struct call_queue *queue, const void *arg, bool *ret_sent);
/* What was sent is to be sent again, before all else, in order; `once` calls end with RUNNER_LOST.
 * `died`: the process did, and a call that was inside at poison_deaths of them ends with POISONED.
 */
void call_queue_replay(struct call_queue *queue, struct call_shelf *shelf, bool died,
                       uint32_t poison_deaths, const char *cause);
/* Ends all that wait, and with `also_sent` all. */
void call_queue_end(struct call_queue *queue, struct call_shelf *shelf, bool also_sent,
                    enum err_code code, const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * data_process.h: the process sluice-data, supervised.
 *
 * There is at most one. It is started by data_process_want, or taken over when sluice-super held
 * one for a predecessor of ours; one that dies, falls silent or breaks its protocol is followed by
 * another, with the back-off of policy.h, until data_process_stop. What was sent to one is never
 * sent to the next: whoever holds this says it all again in on_begin.
 *
 * Ownership: descriptors that are sent are duplicated, the caller's stay the caller's; those that
 * come are the owner's. Callbacks come from the loop only. Loop thread only.
 *
 * Limits: DATA_PROCESS_QUEUE_MAX messages wait for room in the socket; a process that lets more
 * wait takes nothing any more, and is killed.
 */
#ifndef SLUICE_RUNNERS_DATA_PROCESS_H
#define SLUICE_RUNNERS_DATA_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/data.h"

struct runners;
struct data_process;

/* All exports said anew thrice over. */
#define DATA_PROCESS_QUEUE_MAX (6 * DATA_EXPORTS_MAX)

struct data_process_events {
    /* A process has said HELLO. `held`: it served a predecessor of ours; HAS and SYNCED follow. */
    void (*on_begin)(void *owner, bool held);
    /* Anything but HELLO and PONG. */
    void (*on_message)(void *owner, enum data_number number, const void *body, const int *fds,
                       uint32_t fd_count);
    /* It has ended for certain, after on_begin or without it; clients have lost their connections.
     */
    void (*on_end)(void *owner, const struct err *cause);
};

/* After on_ready of the runners; one at a time. Takes over a held process and starts none. */
bool data_process_open(struct runners *runners, uint32_t uid,
                       const struct data_process_events *events, void *owner,
                       struct data_process **ret, struct err *err);
/* There is one to take over: on_begin or on_end comes without being asked for. */
bool data_process_is_held(const struct data_process *process);
/* Starts one unless there is one. */
void data_process_want(struct data_process *process);
/* Only between on_begin and on_end; outside of that it does nothing. */
void data_process_send(struct data_process *process, enum data_number number, const void *body,
                       const int *fds, uint32_t fd_count);
/* Kills it for that reason. */
void data_process_blame(struct data_process *process, const struct err *cause);
/* Kills it; none follows. on_stopped once, from the loop, when it has ended (or none was there). */
void data_process_stop(struct data_process *process, void (*on_stopped)(void *owner));
/* After on_stopped, or without a process. Freed by the loop. NULL is fine. */
void data_process_close(struct data_process *process);

struct data_process_status {
    int pid;               /* 0: none */
    uint32_t deaths;       /* since the start of this gateway */
    struct err cause;      /* of the last one */
    struct data_pong pong; /* its last figures; zero before the first */
};
void data_process_status(const struct data_process *process, struct data_process_status *ret);

#endif

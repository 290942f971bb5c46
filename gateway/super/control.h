/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h: sluice-super's side of the socket to sluiced (message.h).
 *
 * Each sluiced that begins is first told all children (HELD, HELD_END), then of deaths (EXITED),
 * and only then are its requests read. Nothing is queued: deaths wait in the table of children, and
 * a request is read only when its answer can be sent. So a sluiced that does not read costs
 * nothing. A socket that fails, or an answer that cannot be sent after all, is `broken`: whoever
 * runs the loop kills sluiced, whose successor finds the truth by HELD.
 *
 * One thread. Nothing here allocates.
 */
#ifndef SLUICE_SUPER_CONTROL_H
#define SLUICE_SUPER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "super/children.h"
#include "super/options.h"

#define SUPER_REQUESTS_A_TURN 64 /* then others have their turn */

struct super_control {
    const struct super_options *options;
    struct super_children *children;
    bool root;         /* runners get accounts of their own */
    int fd;            /* -1: no sluiced */
    uint32_t restarts; /* for HELD_END */
    uint32_t told;     /* slots that this sluiced was told by HELD; then HELD_END */
    bool listed;
    bool stuck;  /* something waits until the socket can be written */
    bool broken; /* sluiced has to be killed */
    bool quit;   /* it said SUPER_QUIT */
};

void super_control_init(struct super_control *control, const struct super_options *options,
                        struct super_children *children);
/* A sluiced began; owns fd. */
void super_control_attach(struct super_control *control, int fd, uint32_t restarts);
/* It ended: of what it had asked and was not read, only QUIT counts. */
void super_control_last_words(struct super_control *control);
/* After that. */
void super_control_detach(struct super_control *control);
/* What the loop shall poll fd for. */
short super_control_events(const struct super_control *control);
/* After a poll, and after deaths: tells what is to be told, then reads requests. */
void super_control_turn(struct super_control *control, short revents);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.h: the life of sluice-super.
 *
 * It starts sluiced, keeps it running, does what sluiced asks about runners, and ends when sluiced
 * ends on purpose, when it is told to (SIGTERM, SIGINT), or when sluiced cannot live. Whatever it
 * started ends before it. SIGHUP is passed on to sluiced. One thread, one poll, no memory but what
 * is static.
 *
 * Orphans of runners become children of sluice-super (it is a subreaper). When a runner ends, its
 * session's processes are killed, and where runners have accounts of their own, so is every other
 * process of that account before anybody is told of the death. Where sluice-super is not root, a
 * process that left the session of its runner outlives it.
 */
#ifndef SLUICE_SUPER_LOOP_H
#define SLUICE_SUPER_LOOP_H

#include "super/options.h"

#define SUPER_STOP_MS 30000 /* from SIGTERM, or from QUIT, to the end of sluiced; then SIGKILL */
#define SUPER_END_MS \
    5000 /* for killed runners to be gone; a process inside the kernel may take longer */
#define SUPER_REAPS_A_TURN 256

/* Returns the exit status: that of sluiced when it ended on purpose, else 1. Call it once. */
int super_run(const struct super_options *options);

#endif

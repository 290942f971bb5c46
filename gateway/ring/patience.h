/* SPDX-License-Identifier: Apache-2.0
 *
 * patience.h: whether it is worth looking at a ring for a while before sleeping.
 *
 * Looking saves a wake-up (RING_SPIN_NS where a halted processor has to be woken) and costs the
 * processor that somebody else may need. So a side looks only while few calls are under way, when
 * each of them waits for the one wake-up; with many under way the wake-up is shared by all, and the
 * client, this side and the other one want the processors for work. And when looking was in vain it
 * is left out, ever longer: a client that asks now and then would pay for each call with as much
 * looking. The same where a look took far longer than it should: somebody else was given the
 * processor meanwhile, and who looks uses up the time that he would be woken with.
 *
 * The budget: with few calls under way at most RING_SPIN_NS for each wait, and where waits are
 * longer than that at most RING_SPIN_NS in 64 waits. Nothing is spent when nothing is under way.
 *
 * Life cycle: zero is the beginning, there is no end. One thread.
 */
#ifndef SLUICE_RING_PATIENCE_H
#define SLUICE_RING_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#define PATIENCE_CALLS 4u  /* more of them under way share a wake-up */
#define PATIENCE_MISSES 6u /* then it looks once in 64 waits */
#define PATIENCE_CROWDED_NS \
    250000u /* nobody looks that long, unless others are given the processor */

struct patience {
    uint32_t misses; /* lookings in vain in a row */
    uint32_t skip;   /* waits to be slept through at once */
};

/* Asked before each wait; true: look, and then say what came of it. `calls`: under way, or of the
 * batch before. */
bool patience_lasts(struct patience *patience, uint32_t calls);
/* It came, or not (then the whole budget was spent for nothing), and looking took so long. */
void patience_note(struct patience *patience, bool came, uint64_t took_ns);

#endif

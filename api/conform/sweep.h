/* SPDX-License-Identifier: Apache-2.0
 *
 * sweep.h: finds out what a driver is, and deletes what tests made.
 *
 * Each function but sweep_take is a test in the sense of stage.h, to be run ALONE.
 */
#ifndef SLUICE_CONFORM_SWEEP_H
#define SLUICE_CONFORM_SWEEP_H

#include "conform/kit.h"

#define SWEEP_ALIEN "is not the kit's own: give it an empty pool"

/* Before the first test: the pool opens and is empty but for what an earlier run of the kit left,
 * which is deleted. Fills kit->shared->look, but for `keeps`. */
void sweep_look(struct kit *kit);
/* In the next process: whether what sweep_look made is still there. */
void sweep_look_again(struct kit *kit);

/* And whether it has a marker: what has one must keep its volumes. */
void sweep_look_marker(struct kit *kit);

/* Keeps what the last test made, as the next run of the stage clears it. */
void sweep_take(const struct watch *watch);
/* Deletes that, and whatever else of the kit is listed; expects that nothing is left. */
void sweep_made(struct kit *kit);
/* Gives the pool back; expects what release demands. */
void sweep_release(struct kit *kit);

#endif

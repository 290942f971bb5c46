/* SPDX-License-Identifier: Apache-2.0
 *
 * missing.h: what the catalogue has and the backend lacked comes back by itself.
 *
 * Every MISSING_EVERY_MS, or soon where something came back just now, some of the volumes and
 * snapshots in state `missing` (they have a key of their own in the catalogue) are asked for, where
 * their pool serves. One that is there again is made available by a pool.rebuild of its volume,
 * asked for by the principal "gateway". Loop thread only; at most MISSING_ROUND questions are under
 * way.
 */
#ifndef SLUICE_CORE_MISSING_H
#define SLUICE_CORE_MISSING_H

#include "core/core.h"

#define MISSING_EVERY_MS 60000
#define MISSING_SOON_MS 1000 /* a share that is back brings many */
#define MISSING_ROUND 64

void missing_start(struct core *core);
void missing_stop(struct core *core);
/* Looks now, whatever the time: for tests. */
void missing_look(struct core *core);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * prune.h: what is old goes: idempotency keys after 24 hours, ended operations and events after
 * what the configuration says, but no operation before a key that names it. A little at a time, so
 * that nothing waits for it.
 */
#ifndef SLUICE_CORE_PRUNE_H
#define SLUICE_CORE_PRUNE_H

#define PRUNE_KINDS 3 /* keys, operations, events */

struct core;

void prune_start(struct core *core);
void prune_stop(struct core *core);

#endif

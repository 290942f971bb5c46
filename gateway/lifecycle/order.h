/* SPDX-License-Identifier: Apache-2.0
 *
 * order.h: which drivers can start, in which order, and why others cannot.
 *
 * Categories start in the order network, storage, hypervisor; inside one a driver starts after all
 * that it requires, ties by name, then version, both ascending. Stop is the exact reverse: the rows
 * read backwards. A requirement is met by the highest version in its range that is there, of the
 * same category; one that is held meets it only where no other does. Several versions of a driver
 * are several drivers.
 *
 * The result depends on the set alone, not on the order in which it is given. A driver that cannot
 * start blocks those that require it and nobody else:
 *   DEPENDENCY  a requirement is missing, blocked or held, or two directories claim the same name
 *               and version (then a running one keeps it, and otherwise both are blocked)
 *   CYCLE       drivers require each other; the text names the whole circle
 *
 * Pure; any thread. Everything returned lives in the arena given.
 */
#ifndef SLUICE_LIFECYCLE_ORDER_H
#define SLUICE_LIFECYCLE_ORDER_H

#include "base/arena.h"
#include "base/err.h"
#include "lifecycle/manifest.h"

#define ORDER_DRIVERS_MAX 512
#define ORDER_ARENA_MAX (2 * 1024 * 1024) /* enough for ORDER_DRIVERS_MAX rows */

struct order_driver {
    const struct manifest *manifest; /* name, version, category, requires */
    const char *directory;
    const struct err *broken; /* why it cannot be used whatever the others are, or NULL; to others
                                 it is as if it were not there */
    bool running;             /* starting, running or suspended now */
    bool held;                /* somebody wants it stopped */
};

enum order_action {
    ORDER_START,
    ORDER_KEEP,    /* runs already */
    ORDER_HELD,    /* is wanted stopped */
    ORDER_BLOCKED, /* cannot start: cause */
};

struct order_row {
    uint32_t position; /* from 1; those that can start come first, in order */
    uint32_t driver;   /* index of what was given */
    enum order_action action;
    const uint32_t *uses; /* the drivers that meet its requirements, as indexes of what was given */
    uint32_t use_count;
    struct err cause; /* of BLOCKED; of HELD and KEEP: what would keep it from starting, if anything
                         does; the code is NONE otherwise */
};

struct order {
    struct order_row *rows; /* one for each driver */
    uint32_t count;
    uint32_t startable; /* the first so many rows are START or KEEP */
};

/* "start", "keep", "held", "blocked". */
const char *order_action_name(enum order_action action);

/* false: NO_MEMORY, or LIMIT beyond ORDER_DRIVERS_MAX. That drivers are blocked is a result. */
bool order_compute(const struct order_driver *drivers, uint32_t count, struct arena *arena,
                   struct order *ret, struct err *err);

#endif

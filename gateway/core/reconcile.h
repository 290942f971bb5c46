/* SPDX-License-Identifier: Apache-2.0
 *
 * reconcile.h: what differs between a page of a driver's list and the catalogue, side by side.
 *
 * Both sides are in ascending order of id. One step takes the driver's page after an id, reads the
 * catalogue's ids after it, and tells what is on one side only as far as both are known: up to
 * `upto`, from where the caller asks for the next page, until `last`. So neither the catalogue nor
 * the backend has to fit in memory. Volumes and snapshots whose state says that an operation is at
 * work on them are no difference.
 *
 * Used by compare.c, which tells, and of_rebuild.c, which makes the catalogue say the same. Loop
 * thread only; a difference is only worth what was true when the page was made.
 */
#ifndef SLUICE_CORE_RECONCILE_H
#define SLUICE_CORE_RECONCILE_H

#include "core/core.h"
#include "core/records.h"
#include "wire/message.h"

#define RECONCILE_IDS WIRE_PAGE_ENTRIES       /* of the catalogue, looked at in a step */
#define RECONCILE_MAX (2 * WIRE_PAGE_ENTRIES) /* every id of both sides differs */

enum difference_kind {
    DIFFERENCE_NONE,
    DIFFERENCE_UNKNOWN, /* the backend has it, the catalogue does not */
    DIFFERENCE_LOST,    /* the catalogue has it as available, the backend not at all */
    DIFFERENCE_MISSING, /* the same, and its state says so already */
    DIFFERENCE_BACK,    /* the catalogue has it as missing, and the backend has it */
};

struct difference {
    enum difference_kind kind;
    struct sluice_uuid id;
    struct sluice_uuid volume; /* of a snapshot */
    const char *name;          /* in the arena */
    uint64_t size_bytes;
    uint64_t revision; /* of the catalogue's record; 0: there is none */
};

struct reconciled {
    struct difference at[RECONCILE_MAX];
    uint32_t count;
    uint32_t catalogued; /* of the ids up to upto, how many the catalogue has */
    struct sluice_uuid upto;
    bool last;
};

/* The noun is VOLUME or SNAPSHOT, of the pool; `volume` not NULL: snapshots of that one only.
 * PROTOCOL: the driver's list is none. */
bool reconcile_page(struct core *core, enum core_noun noun, const struct sluice_uuid *pool,
                    const struct sluice_uuid *volume, const struct sluice_uuid *after,
                    const struct wire_page *page, struct arena *arena, struct reconciled *ret,
                    struct err *err);
/* What the catalogue has of one id, as a difference to a backend that has it, or has it not. */
bool reconcile_one(struct core *core, enum core_noun noun, const struct sluice_uuid *id,
                   bool on_backend, struct arena *arena, struct difference *ret, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: a pool whose volumes are image files on a share, whatever kind of share it is.
 *
 * A driver opens its share, fills struct share_fs, and calls share_pool_open; from then on the
 * members of the storage table below are the driver's own: each takes a struct share_pool *, which
 * is the first member of what the driver keeps for a pool. Layout and records: README.md here.
 *
 * Threads: control calls that name different volumes overlap; what they share is under one lock.
 */
#ifndef SHARE_POOL_H
#define SHARE_POOL_H

#include <sluice/driver.h>

#include "share/fs.h"

struct share_pool;

/* What differs from driver to driver and from pool to pool. */
struct share_settings {
    uint32_t format;             /* of new volumes where none is asked for: enum image_format */
    uint64_t overcommit_percent; /* 0: no limit */
    uint64_t size_max;           /* bytes of one file */
    uint32_t chain_max;          /* images above each other; flattened in the background from 3/4 */
    bool commit_always;          /* metadata is written before a write is answered: for page caches
                                    that outlive the process; else unflushed writes are sent again */
    bool preallocate;
};

#endif

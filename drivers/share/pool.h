/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: a pool whose volumes are image files on a share, whatever kind of share it is.
 *
 * A driver opens its share, fills struct share_fs, and calls share_pool_open; the struct share_pool
 * that comes of it is the `pool` of the storage table, and most members of that table are the
 * functions below. Those that are the driver's own (pool_open, pool_close, data calls, access) find
 * what it keeps by share_pool_fs. Layout, records and steps: README.md here.
 *
 * Life cycle: share_pool_open, any calls, share_pool_close (every disk of disk.h is closed then).
 * Ownership: the file system stays the driver's and outlives the pool.
 *
 * Threads: control calls that name different volumes overlap. What one call changes is locked for
 * it (index.h); a maintenance thread of the pool merges and flattens chains in the background and
 * sleeps while there is nothing to do.
 *
 * Limits: SHARE_SNAPSHOTS_MAX a volume, SHARE_GRANTS_MAX a volume, chain_max images above each
 * other; the memory of the index, some 300 bytes an image.
 */
#ifndef SHARE_POOL_H
#define SHARE_POOL_H

#include <sluice/driver.h>

#include "image/image.h"
#include "share/fs.h"

#define SHARE_SIZE_STEP UINT64_C(512)
#define SHARE_SNAPSHOTS_MAX 256 /* what a record holds, with the longest names */
#define SHARE_GRANTS_MAX 64     /* an ext4 inode's access list holds 500; one or two in practice */
#define SHARE_CHAIN_MAX 32      /* the usual chain_max; qemu and Linux clients open such chains */

struct share_pool;

/* What differs from driver to driver and from pool to pool. */
struct share_settings {
    uint32_t format;             /* of new volumes where none is asked for: enum image_format */
    uint64_t capacity_bytes;     /* how much of the file system the pool may use; 0: all of it */
    uint64_t overcommit_percent; /* 0: no limit */
    uint64_t size_max;           /* bytes of one file */
    uint32_t chain_max;          /* images above each other; flattened in the background from 3/4 */
    bool commit_always;          /* metadata is written before a write is answered: for page caches
                                    that outlive the process; else unflushed writes are sent again */
    bool preallocate;            /* raw volumes take their whole space when they are made */
};

/* Proves by the marker that it is the right share, or claims it as the flags say, and reads what is
 * there. On failure the file system is as it was and stays the caller's. */
int32_t share_pool_open(struct share_fs *fs, struct sluice_call *call,
                        const struct sluice_pool_open *args, const struct share_settings *settings,
                        struct share_pool **ret_pool);
/* Accepts NULL. */
void share_pool_close(struct share_pool *pool);
struct share_fs *share_pool_fs(struct share_pool *pool);
/* What is the same for all kinds of shares: sizes, names, chain, formats, and the capabilities
 * SNAPSHOT CLONE REVERT GROW SHRINK ADOPT DATA EXTENTS and THIN. The driver adds its own. */
void share_pool_describe(const struct share_pool *pool, struct sluice_pool *ret);

/* The share is still the one with our marker: OK, VANISHED, FOREIGN, UNREACHABLE. */
int32_t share_check(struct share_pool *pool, struct sluice_call *call);

/* Answers `status` with a text, which is kept unless there is one already. */
int32_t share_fail(struct share_pool *pool, struct sluice_call *call, int32_t status,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- the storage table's members ----------------------------------------------------------- */

int32_t share_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret);
int32_t share_probe(void *pool, struct sluice_call *call);
int32_t share_release(void *pool, struct sluice_call *call);
int32_t share_volume_create(void *pool, struct sluice_call *call,
                            const struct sluice_volume_create *args, struct sluice_volume *ret);
int32_t share_volume_delete(void *pool, struct sluice_call *call, const struct sluice_uuid *volume);
int32_t share_volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                         struct sluice_volume *ret);
int32_t share_volume_list(void *pool, struct sluice_call *call, struct sluice_list *list);
int32_t share_volume_resize(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                            uint64_t size_bytes, struct sluice_volume *ret);
int32_t share_volume_revert(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                            const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                            struct sluice_volume *ret);
int32_t share_volume_adopt(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                           const char *reference, const char *name, struct sluice_volume *ret);
int32_t share_volume_unmanage(void *pool, struct sluice_call *call,
                              const struct sluice_uuid *volume, char *ret_reference);
int32_t share_snapshot_create(void *pool, struct sluice_call *call,
                              const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                              const char *name, struct sluice_snapshot *ret);
int32_t share_snapshot_delete(void *pool, struct sluice_call *call,
                              const struct sluice_uuid *volume, const struct sluice_uuid *snapshot);
int32_t share_snapshot_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                           const struct sluice_uuid *snapshot, struct sluice_snapshot *ret);
int32_t share_snapshot_list(void *pool, struct sluice_call *call, struct sluice_list *list);

/* ---- access --------------------------------------------------------------------------------- */

/* What a host was given. */
struct share_granted {
    char path[SHARE_PATH_MAX]; /* of the image, below the pool's directory */
    uint32_t format;           /* enum image_format */
    bool chain;                /* there are images below it, in the same tree of directories */
};

/* Writes the grant down and gives `identity` the rights that it needs on the image, on all images
 * below it, and on the directories that hold them. Again: the same answer. */
int32_t share_access_grant(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_access_grant *args, uint32_t identity,
                           struct share_granted *ret);
/* The storage table's member. */
int32_t share_access_revoke(void *pool, struct sluice_call *call,
                            const struct sluice_uuid *attachment, const struct sluice_uuid *volume);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: an open pool as the sources of this folder share it, and the small things they all do.
 *
 * Invariants: `provisioned` is the sum of the sizes of all volumes and snapshots and of what is
 * being made; `disks` are those that are open for data calls. Both are under `lock`, which is never
 * held across a call of the file system. Order of locks: a volume (index.h), then a disk's, then
 * `lock`, then the index's mutex.
 */
#ifndef SHARE_STATE_H
#define SHARE_STATE_H

#include <pthread.h>

#include "share/index.h"
#include "share/layout.h"
#include "share/merge.h"
#include "share/meta.h"
#include "share/pool.h"

struct share_disk;

struct share_pool {
    struct share_fs *fs;
    const struct sluice_services *services;
    struct share_settings settings;
    struct pool_marker marker;
    struct index index;
    struct merger merger;
    pthread_mutex_t lock;
    pthread_cond_t unpinned;       /* a disk: disk.c */
    pthread_mutex_t access;        /* who changes rights: access.c; before `lock` in the order */
    struct share_stat marker_seen; /* of the file that was read last */
    uint64_t provisioned;
    struct share_disk *disks;
};

/* Calls the file system: FS(pool, stat, call, path, &stat). */
#define FS(pool, verb, ...) (pool)->fs->ops->verb((pool)->fs, __VA_ARGS__)

/* Adds `bytes` to what is provisioned, or LIMIT beyond the overcommit limit. */
int32_t pool_reserve(struct share_pool *pool, struct sluice_call *call, uint64_t bytes);
void pool_unreserve(struct share_pool *pool, uint64_t bytes);

/* ---- volumes: volume.c ---------------------------------------------------------------------- */

/* A volume as a call has it, locked by the caller. */
struct volume {
    struct volume_meta meta;
    uint64_t used_bytes; /* of the active image */
};

/* The volume is there: OK. NOT_FOUND only while the marker is visible. */
int32_t volume_load(struct share_pool *pool, struct sluice_call *call, const struct sluice_uuid *id,
                    struct volume *ret_volume);
/* Its record, also of a volume that is gone while its snapshots are there. */
int32_t volume_load_meta(struct share_pool *pool, struct sluice_call *call,
                         const struct sluice_uuid *id, struct volume_meta *ret_meta);
void volume_release(struct volume *volume);
void volume_tell(const struct volume *volume, struct sluice_volume *ret);
int32_t volume_store(struct share_pool *pool, struct sluice_call *call,
                     const struct volume_meta *meta);

/* BUSY while the volume is open for data calls, or a host has its active image open. */
int32_t volume_check_idle(struct share_pool *pool, struct sluice_call *call,
                          const struct volume *volume, bool for_writing);

/* Makes an image of the volume `meta` with its manifest; nothing refers to it yet. `parent`, where
 * it has one, is locked by the caller. What was left under this name goes first. */
struct overlay {
    uint64_t generation;
    uint32_t format;
    uint64_t size_bytes;
    struct sluice_uuid parent_volume;
    uint64_t parent_generation; /* 0: none */
    uint32_t parent_format;
    bool made; /* the file is there already, raw */
};
/* Removes an image and its manifest from the share and, where it is there, from the index. */
int32_t volume_remove_image(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *volume, uint64_t generation, uint32_t format);
/* The same, and puts the image into the index, with the rights that the volume's grants ask for;
 * then makes it the active one there (on the share the record that the caller stores does).
 * volume_take_back undoes all of it where the record turns out to say what it said `before`. */
int32_t volume_prepare(struct share_pool *pool, struct sluice_call *call,
                       const struct volume_meta *meta, const struct overlay *overlay);
void volume_activate(struct share_pool *pool, const struct sluice_uuid *volume,
                     uint64_t generation);
void volume_take_back(struct share_pool *pool, const struct volume_meta *before,
                      const struct overlay *overlay);
/* The index learns what the record says. */
void volume_follow(struct share_pool *pool, const struct volume_meta *meta);

/* Nothing more fits onto the image: PENDING while its chain is being flattened, LIMIT where it
 * cannot be. */
int32_t volume_check_depth(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *volume, uint64_t generation);

/* Makes gN+1 the active image and freezes the one that was, which `snapshot` names (NULL: nobody).
 * *meta follows. */
int32_t volume_freeze(struct share_pool *pool, struct sluice_call *call, struct volume_meta *meta,
                      const struct snapshot_meta *snapshot);

/* The active image gets the size that the record says. */
int32_t volume_settle_size(struct share_pool *pool, struct sluice_call *call,
                           const struct volume_meta *meta);

/* Removes what nobody needs: unneeded images of the volume, then, with the last of them, its
 * record and directory. What it leaves in other volumes becomes due. */
int32_t volume_sweep(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *id);

/* What the id was used for before is gone, down to the last file; else EXISTS. */
int32_t volume_check_unused(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *id);

/* The size that it counts with among what is provisioned; 0: it is not there. */
uint64_t volume_size_known(struct share_pool *pool, const struct sluice_uuid *id);

/* What there is of it cannot be understood. */
bool volume_is_damaged(struct share_pool *pool, const struct sluice_uuid *id);

/* OK with the snapshot told; NOT_FOUND, without a text where `quiet`. */
int32_t snapshot_find(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_uuid *volume, const struct sluice_uuid *id, bool quiet,
                      struct sluice_snapshot *ret);

/* Sums over every image in the pool; UINT64_MAX: not known. */
uint64_t pool_used_bytes(struct share_pool *pool);

/* ---- scan.c --------------------------------------------------------------------------------- */

/* Reads all that is there into the index, mends what a crash left, and adds up what is provisioned.
 */
int32_t scan_pool(struct share_pool *pool, struct sluice_call *call);
/* Writes a record that is lost or damaged again from the manifests: OK; NOT_FOUND: there is nothing
 * worth it (a beginning that was never finished); CORRUPT: they leave it open. */
int32_t scan_rebuild(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *id);

/* ---- access.c ------------------------------------------------------------------------------- */

/* Gives the image and those below it the rights that the grants of the volumes above ask for. */
int32_t access_apply(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *volume, uint64_t generation);

/* ---- disk.c --------------------------------------------------------------------------------- */

/* Whether a disk has this very image open, one that writes or any. */
bool disk_is_open(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation,
                  bool for_writing);
/* The disk that has the image open for writing, for its borrower alone until disk_give_back, and
 * its chain; NULL: there is none. The image's volume is locked alone, so the disk stays open. */
struct chain;
struct share_disk *disk_borrow(struct share_pool *pool, const struct sluice_uuid *volume,
                               uint64_t generation, struct chain **ret_chain);
void disk_give_back(struct share_disk *disk);
/* Every disk that has the image in its chain without needing it any more opens its chain again. */
int32_t disk_reopen_all(struct share_pool *pool, struct sluice_call *call,
                        const struct sluice_uuid *volume, uint64_t generation);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * meta.h: what is written down about a volume, an image, the grants of a volume and the pool, as
 * records (record.h). README.md lists the keys.
 *
 * Errors: an enum sluice_status, as for records. Ownership: a volume_meta that was loaded or copied
 * holds memory until volume_meta_release; a zeroed one is empty.
 */
#ifndef SHARE_META_H
#define SHARE_META_H

#include <stdbool.h>
#include <stdint.h>

#include "share/fs.h"
#include "share/pool.h"

struct snapshot_meta {
    struct sluice_uuid id;
    uint64_t generation; /* of the volume, frozen */
    uint64_t size_bytes;
    uint32_t format;
    char name[SLUICE_NAME_MAX];
};

struct volume_meta {
    struct sluice_uuid id;
    char name[SLUICE_NAME_MAX];
    uint64_t size_bytes;    /* what the volume is meant to have; the image is made to follow */
    uint64_t created_bytes; /* what volume_create asked for */
    uint64_t source_kind;
    struct sluice_uuid source;
    struct sluice_uuid reverted;   /* the last revert's operation */
    uint64_t active;               /* the generation with the volume's bytes; 0: no volume */
    uint64_t next;                 /* the generation that the next image gets */
    uint32_t format;               /* of the active image */
    bool moving;                   /* the active image is there, and the volume with it, or not */
    uint64_t epoch;                /* the highest that opened it */
    char adopted[SLUICE_PATH_MAX]; /* the reference it was adopted from, or "" */
    uint32_t snapshot_count;
    struct snapshot_meta *snapshots;
};

/* Says of one image what the chain, and a volume without its record, can be known by again. */
struct manifest {
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format;
    uint64_t size_bytes;
    struct sluice_uuid parent_volume;
    uint64_t parent_generation; /* 0: it has no parent */
    uint32_t parent_format;
    char name[SLUICE_NAME_MAX]; /* the volume's */
    struct sluice_uuid snapshot;
    char snapshot_name[SLUICE_NAME_MAX];
};

struct grant {
    struct sluice_uuid attachment;
    struct sluice_uuid snapshot; /* zero: the volume itself */
    uint32_t identity;
    uint32_t mode; /* enum sluice_access_mode; 0: being revoked */
};

struct grants {
    uint32_t count;
    struct grant at[SHARE_GRANTS_MAX];
};

struct pool_marker {
    struct sluice_uuid pool;
    struct sluice_uuid gateway;
};

int32_t volume_meta_load(struct share_fs *fs, struct sluice_call *call,
                         const struct sluice_uuid *volume, struct volume_meta *ret_meta);
int32_t volume_meta_store(struct share_fs *fs, struct sluice_call *call,
                          const struct volume_meta *meta);
void volume_meta_release(struct volume_meta *meta);
/* NULL: there is none. */
struct snapshot_meta *volume_meta_snapshot(const struct volume_meta *meta,
                                           const struct sluice_uuid *snapshot);
/* LIMIT: there are SHARE_SNAPSHOTS_MAX. */
int32_t volume_meta_add(struct volume_meta *meta, const struct snapshot_meta *snapshot);
void volume_meta_remove(struct volume_meta *meta, struct snapshot_meta *snapshot);

int32_t manifest_load(struct share_fs *fs, struct sluice_call *call,
                      const struct sluice_uuid *volume, uint64_t generation,
                      struct manifest *ret_manifest);
int32_t manifest_store(struct share_fs *fs, struct sluice_call *call,
                       const struct manifest *manifest);

/* No record: no grants, OK. */
int32_t grants_load(struct share_fs *fs, struct sluice_call *call, const struct sluice_uuid *volume,
                    struct grants *ret_grants);
int32_t grants_store(struct share_fs *fs, struct sluice_call *call,
                     const struct sluice_uuid *volume, const struct grants *grants);

int32_t marker_load(struct share_fs *fs, struct sluice_call *call, struct pool_marker *ret_marker);
int32_t marker_store(struct share_fs *fs, struct sluice_call *call,
                     const struct pool_marker *marker, const char *name, bool replace);

#endif

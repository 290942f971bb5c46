/* SPDX-License-Identifier: Apache-2.0
 *
 * meta.h: what the driver writes down about a volume, a snapshot, the grants of a volume and the
 * pool, as records (record.h). README.md lists the keys.
 *
 * Loads return 0 or -1 with errno: ENOENT where there is none, EBADMSG where it is damaged. Stores
 * likewise; without `replace` an existing record is EEXIST.
 */
#ifndef POSIX_META_H
#define POSIX_META_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/types.h>

/* An ext4 inode's ACL holds about 500 entries; a volume has one or two hosts in practice. */
#define GRANTS_MAX 64

struct volume_meta {
    struct sluice_uuid id;
    char name[SLUICE_NAME_MAX];
    uint64_t size_bytes;    /* what the volume is meant to have; the file is made to follow */
    uint64_t created_bytes; /* what volume_create asked for */
    uint64_t source_kind;
    struct sluice_uuid source;
    struct sluice_uuid reverted;   /* the last revert's operation */
    uint64_t generation;           /* the bytes are in disk-<generation>.raw */
    uint64_t epoch;                /* the highest that opened it */
    char adopted[SLUICE_PATH_MAX]; /* the reference it was adopted from, or "" */
};

struct snapshot_meta {
    struct sluice_uuid id;
    struct sluice_uuid volume;
    char name[SLUICE_NAME_MAX];
    uint64_t size_bytes;
};

struct grant {
    struct sluice_uuid attachment;
    struct sluice_uuid snapshot; /* zero: the volume itself */
    uint32_t uid;
    uint32_t mode; /* enum sluice_access_mode; 0: being revoked */
};

struct grants {
    uint32_t count;
    struct grant at[GRANTS_MAX];
};

struct pool_marker {
    struct sluice_uuid pool;
    struct sluice_uuid gateway;
};

int volume_meta_load(int directory, struct volume_meta *ret_meta);
int volume_meta_store(int directory, const struct volume_meta *meta, bool replace);
int snapshot_meta_load(int directory, struct snapshot_meta *ret_meta);
int snapshot_meta_store(int directory, const struct snapshot_meta *meta);
int grants_load(int directory, struct grants *ret_grants); /* no record: none, 0 */
int grants_store(int directory, const struct grants *grants);
int marker_load(int directory, struct pool_marker *ret_marker);
int marker_store(int directory, const struct pool_marker *marker, const char *name, bool replace);

#endif

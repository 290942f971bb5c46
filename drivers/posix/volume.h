/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.h: volumes and snapshots in the layout, as the control calls share them.
 *
 * A volume is there when its record is there and the disk file that the record names; a snapshot is
 * there when its record is. Everything else in a volume's directory is half made or left over, and
 * is removed by the next call that makes or deletes the same thing. So each change has one step
 * that makes it true: publishing or removing the record, or moving an adopted file in or out.
 *
 * Threads: calls that name the same volume never overlap.
 */
#ifndef POSIX_VOLUME_H
#define POSIX_VOLUME_H

#include "pool.h"

struct volume {
    int directory; /* -1 unless open */
    struct volume_meta meta;
    char disk[LAYOUT_NAME];
    uint64_t used_bytes;
};

/* 0 with an open volume; -1 with errno (ENOENT: no such volume; EBADMSG: its record is damaged) and
 * nothing to close. Looks at the volume alone: the caller has called pool_check. */
int volume_find(struct pool *pool, const struct sluice_uuid *id, struct volume *ret_volume);

/* pool_check and volume_find as an answer: OK, NOT_FOUND, .... */
int32_t volume_open(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *id,
                    struct volume *ret_volume);
void volume_close(struct volume *volume);
void volume_tell(const struct volume *volume, struct sluice_volume *ret);
void snapshot_tell(const struct snapshot_meta *meta, int directory, struct sluice_snapshot *ret);

/* Opens the volume's disk and locks it (F_RDLCK to copy it, F_WRLCK to replace or cut it) until the
 * descriptor is closed; BUSY while somebody else has it open in a way that this excludes. */
int32_t volume_lock_disk(struct pool *pool, struct sluice_call *call, const struct volume *volume,
                         short type, int *ret_fd);

/* Removes what is in the directory of a volume that is no more; its snapshots stay, and with the
 * last of them the directory goes. */
int32_t volume_sweep(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *id);

/* 0, or -1 with errno: ENOENT no such snapshot. The directory is the caller's to close. */
int snapshot_find(struct pool *pool, const struct sluice_uuid *volume,
                  const struct sluice_uuid *snapshot, struct snapshot_meta *ret_meta,
                  int *ret_directory);

/* Opens a snapshot's disk for reading, or answers. */
int32_t snapshot_open_disk(struct pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                           struct snapshot_meta *ret_meta, int *ret_fd);

/* list.c: sums over everything in the pool. */
int32_t volumes_count(struct pool *pool, struct sluice_call *call, uint64_t *ret_provisioned);
uint64_t volumes_used_bytes(struct pool *pool);

/* The storage table's members: volume.c, adopt.c, revert.c, snapshot.c, list.c. */
int32_t volume_create(void *pool, struct sluice_call *call, const struct sluice_volume_create *args,
                      struct sluice_volume *ret);
int32_t volume_delete(void *pool, struct sluice_call *call, const struct sluice_uuid *volume);
int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                   struct sluice_volume *ret);
int32_t volume_resize(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                      uint64_t size_bytes, struct sluice_volume *ret);
int32_t volume_adopt(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                     const char *reference, const char *name, struct sluice_volume *ret);
int32_t volume_unmanage(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                        char *ret_reference);
int32_t volume_revert(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                      const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                      struct sluice_volume *ret);
int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list);
int32_t snapshot_create(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                        const struct sluice_uuid *snapshot, const char *name,
                        struct sluice_snapshot *ret);
int32_t snapshot_delete(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                        const struct sluice_uuid *snapshot);
int32_t snapshot_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                     const struct sluice_uuid *snapshot, struct sluice_snapshot *ret);
int32_t snapshot_list(void *pool, struct sluice_call *call, struct sluice_list *list);

#endif

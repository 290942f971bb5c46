/* SPDX-License-Identifier: Apache-2.0
 *
 * ram.h: what the sources of the ram driver share.
 *
 *   ram.c      the exported tables, the driver, its pools
 *   disks.c    control calls on volumes and snapshots
 *   io.c       data calls
 *   blocks.c   the bytes of a disk, copy-on-write
 *   backing.c  what outlives the process, when the pool has the property "backing"
 *
 * The thread model is LOOP: every call is made on one thread and returns at once, so nothing here
 * locks. (With "backing" set, calls write to the page cache of a file; that is for tests.)
 */
#ifndef RAM_H
#define RAM_H

#include <sluice/driver.h>

#include "blocks.h"

#define RAM_SIZE_STEP UINT64_C(512)
#define RAM_SIZE_MAX (UINT64_C(16) << 40) /* its map alone then takes 2 MiB */
#define RAM_IO_MAX UINT32_C(33554432)
#define RAM_CAPACITY_DEFAULT (INT64_C(1) << 30)

/* A volume or a snapshot: they differ in who may write. */
struct disk {
    struct sluice_uuid id;
    struct sluice_uuid volume; /* of a snapshot: whose; of a volume: its own id */
    bool snapshot;
    char name[SLUICE_NAME_MAX];
    uint64_t size_bytes;
    struct map *map;

    /* What volume_create was asked for, so that asking again can be told from another request. */
    uint64_t created_bytes;
    uint32_t source_kind;
    struct sluice_uuid source;

    struct sluice_uuid reverted; /* the last volume_revert's operation */
    uint64_t epoch;              /* the highest that opened it */
    uint32_t handles;            /* open ones, fenced or not */

    uint64_t *dirty; /* a bit for each block that the backing file does not hold yet */
    uint64_t dirty_words;
};

/* Disks in ascending order of id, as lists want them. Ids of UUIDv7 grow, so adding is appending.
 */
struct disks {
    struct disk **at;
    size_t count;
    size_t room;
};

struct pool {
    const struct sluice_services *services;
    struct sluice_uuid id;
    struct sluice_uuid gateway;
    struct store store;
    struct disks volumes;
    struct disks snapshots;
    uint64_t provisioned; /* bytes */
    uint64_t token;       /* random: another process is another incarnation */
    int backing;          /* the directory, or -1 */
};

/* disks.c */
struct disk *disks_find(const struct disks *disks, const struct sluice_uuid *id);
bool disks_add(struct disks *disks, struct disk *disk); /* false: no memory */
void disks_remove(struct disks *disks, struct disk *disk);
void disk_free(struct pool *pool, struct disk *disk);
int32_t disk_mark_dirty(struct pool *pool, struct disk *disk, uint64_t offset, uint64_t length);
void ram_add_disk_calls(struct sluice_storage *table);

/* io.c */
void ram_add_data_calls(struct sluice_storage *table);

/* ram.c */
int32_t ram_check(struct pool *pool, struct sluice_call *call);
int32_t ram_fail(struct pool *pool, struct sluice_call *call, int32_t status, const char *text);

/* backing.c: each returns an enum sluice_status and does nothing without a backing directory. */
int32_t backing_open(struct pool *pool, struct sluice_call *call, const char *path,
                     const struct sluice_pool_open *args);
int32_t backing_check(struct pool *pool, struct sluice_call *call);
int32_t backing_release(struct pool *pool, struct sluice_call *call);
int32_t backing_probe(struct pool *pool, struct sluice_call *call);
int32_t backing_create(struct pool *pool, struct sluice_call *call, struct disk *disk);
int32_t backing_update(struct pool *pool, struct sluice_call *call, struct disk *disk);
int32_t backing_delete(struct pool *pool, struct sluice_call *call, struct disk *disk);
int32_t backing_flush(struct pool *pool, struct disk *disk);
void backing_close(struct pool *pool);

#endif

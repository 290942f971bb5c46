/* SPDX-License-Identifier: Apache-2.0
 *
 * disks.c: control calls on volumes and snapshots.
 *
 * Each is idempotent: it looks at what is there first, and what was asked for already is answered
 * as it was answered then.
 */
#include "ram.h"

#include <stdlib.h>
#include <string.h>

static int compare(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

/* The place of the first disk whose id is not below `id`. */
static size_t place(const struct disks *disks, const struct sluice_uuid *id) {
    size_t low = 0;
    size_t high = disks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&disks->at[middle]->id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct disk *disks_find(const struct disks *disks, const struct sluice_uuid *id) {
    size_t at = place(disks, id);
    return at < disks->count && compare(&disks->at[at]->id, id) == 0 ? disks->at[at] : NULL;
}

bool disks_add(struct disks *disks, struct disk *disk) {
    if (disks->count == disks->room) {
        size_t room = disks->room > 0 ? 2 * disks->room : 16;
        struct disk **at = realloc(disks->at, room * sizeof(struct disk *));
        if (at == NULL) {
            return false;
        }
        disks->at = at;
        disks->room = room;
    }
    size_t at = place(disks, &disk->id);
    memmove(&disks->at[at + 1], &disks->at[at], (disks->count - at) * sizeof(struct disk *));
    disks->at[at] = disk;
    disks->count++;
    return true;
}

void disks_remove(struct disks *disks, struct disk *disk) {
    size_t at = place(disks, &disk->id);
    disks->count--;
    memmove(&disks->at[at], &disks->at[at + 1], (disks->count - at) * sizeof(struct disk *));
}

void disk_free(struct pool *pool, struct disk *disk) {
    if (disk != NULL) {
        map_drop(&pool->store, disk->map);
        free(disk->dirty);
        free(disk);
    }
}

int32_t disk_mark_dirty(struct pool *pool, struct disk *disk, uint64_t offset, uint64_t length) {
    if (pool->backing < 0 || length == 0) {
        return SLUICE_OK;
    }
    uint64_t last = (offset + length - 1) / BLOCK_BYTES;
    if (last / 64 >= disk->dirty_words) {
        uint64_t words = disk->size_bytes / BLOCK_BYTES / 64 + 1;
        uint64_t *dirty = realloc(disk->dirty, words * sizeof *dirty);
        if (dirty == NULL) {
            return SLUICE_NO_MEMORY;
        }
        memset(dirty + disk->dirty_words, 0, (words - disk->dirty_words) * sizeof *dirty);
        disk->dirty = dirty;
        disk->dirty_words = words;
    }
    for (uint64_t block = offset / BLOCK_BYTES; block <= last; block++) {
        disk->dirty[block / 64] |= UINT64_C(1) << block % 64;
    }
    return SLUICE_OK;
}

static void tell_volume(const struct disk *disk, struct sluice_volume *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_volume){
        .size = size,
        .volume = disk->id,
        .size_bytes = disk->size_bytes,
        .used_bytes = map_used_bytes(disk->map),
        .format = "raw",
    };
    memcpy(ret->name, disk->name, sizeof ret->name);
}

static void tell_snapshot(const struct disk *disk, struct sluice_snapshot *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_snapshot){
        .size = size,
        .snapshot = disk->id,
        .volume = disk->volume,
        .size_bytes = disk->size_bytes,
        .used_bytes = map_used_bytes(disk->map),
    };
    memcpy(ret->name, disk->name, sizeof ret->name);
}

static int32_t find_volume(struct pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *id, struct disk **ret) {
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    struct disk *disk = disks_find(&pool->volumes, id);
    if (disk == NULL) {
        return ram_fail(pool, call, SLUICE_NOT_FOUND, "no such volume in memory");
    }
    *ret = disk;
    return SLUICE_OK;
}

static int32_t find_snapshot(struct pool *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume, const struct sluice_uuid *id,
                             struct disk **ret) {
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    struct disk *disk = disks_find(&pool->snapshots, id);
    if (disk == NULL || compare(&disk->volume, volume) != 0) {
        return ram_fail(pool, call, SLUICE_NOT_FOUND, "no such snapshot of the volume in memory");
    }
    *ret = disk;
    return SLUICE_OK;
}

/* Writes the new disk down and makes it seen, or frees it. */
static int32_t publish(struct pool *pool, struct sluice_call *call, struct disks *disks,
                       struct disk *disk) {
    int32_t status = backing_create(pool, call, disk);
    if (status == SLUICE_OK && !disks_add(disks, disk)) {
        backing_delete(pool, call, disk);
        status = ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another disk");
    }
    if (status != SLUICE_OK) {
        disk_free(pool, disk);
        return status;
    }
    pool->provisioned += disk->size_bytes;
    return SLUICE_OK;
}

static int32_t delete_disk(struct pool *pool, struct sluice_call *call, struct disks *disks,
                           const struct sluice_uuid *id) {
    int32_t status = ram_check(pool, call);
    struct disk *disk = disks_find(disks, id);
    if (status != SLUICE_OK || disk == NULL) {
        return status;
    }
    if (disk->handles > 0) {
        return ram_fail(pool, call, SLUICE_BUSY, "it is open for data calls: close it first");
    }
    status = backing_delete(pool, call, disk);
    if (status != SLUICE_OK) {
        return status;
    }
    pool->provisioned -= disk->size_bytes;
    disks_remove(disks, disk);
    disk_free(pool, disk);
    return SLUICE_OK;
}

/* ---- volumes ------------------------------------------------------------------------------ */

/* The disk that a new volume begins as; NULL for none. */
static int32_t find_source(struct pool *pool, struct sluice_call *call,
                           const struct sluice_volume_create *args, struct disk **ret) {
    switch (args->source_kind) {
    case SLUICE_SOURCE_NONE:
        *ret = NULL;
        return SLUICE_OK;
    case SLUICE_SOURCE_SNAPSHOT:
        return find_snapshot(pool, call, &args->source_volume, &args->source, ret);
    case SLUICE_SOURCE_VOLUME:
        return find_volume(pool, call, &args->source, ret);
    default:
        return ram_fail(pool, call, SLUICE_INVALID, "an unknown kind of source");
    }
}

static int32_t check_request(struct pool *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args) {
    if (args->name == NULL || strlen(args->name) >= SLUICE_NAME_MAX) {
        return ram_fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    if (args->format != NULL && strcmp(args->format, "raw") != 0) {
        return ram_fail(pool, call, SLUICE_UNSUPPORTED, "the only format is raw");
    }
    if (args->size_bytes == 0 || args->size_bytes % RAM_SIZE_STEP != 0) {
        return ram_fail(pool, call, SLUICE_INVALID, "the size is no multiple of 512 bytes");
    }
    if (args->size_bytes > RAM_SIZE_MAX) {
        return ram_fail(pool, call, SLUICE_LIMIT, "the size is above 16 TiB");
    }
    return SLUICE_OK;
}

static int32_t volume_create(void *argument, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    struct pool *pool = argument;
    int32_t status = ram_check(pool, call);
    if (status == SLUICE_OK) {
        status = check_request(pool, call, args);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    struct disk *disk = disks_find(&pool->volumes, &args->volume);
    if (disk != NULL) {
        if (disk->created_bytes != args->size_bytes || strcmp(disk->name, args->name) != 0 ||
            disk->source_kind != args->source_kind ||
            (args->source_kind != SLUICE_SOURCE_NONE &&
             compare(&disk->source, &args->source) != 0)) {
            return ram_fail(pool, call, SLUICE_EXISTS,
                            "the volume exists with another name, size or source");
        }
        tell_volume(disk, ret);
        return SLUICE_OK;
    }
    struct disk *source = NULL;
    status = find_source(pool, call, args, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    if (source != NULL && source->size_bytes > args->size_bytes) {
        return ram_fail(pool, call, SLUICE_INVALID, "the volume is smaller than its source");
    }
    disk = calloc(1, sizeof *disk);
    if (disk == NULL) {
        return ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another volume");
    }
    disk->id = disk->volume = args->volume;
    disk->size_bytes = disk->created_bytes = args->size_bytes;
    disk->source_kind = args->source_kind;
    disk->source = args->source;
    memcpy(disk->name, args->name, strlen(args->name) + 1); /* check_request measured it */
    disk->map = source != NULL ? map_share(source->map) : NULL;
    status = publish(pool, call, &pool->volumes, disk);
    if (status == SLUICE_OK) {
        tell_volume(disk, ret);
    }
    return status;
}

static int32_t volume_delete(void *argument, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    struct pool *pool = argument;
    return delete_disk(pool, call, &pool->volumes, volume);
}

static int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret) {
    struct disk *disk = NULL;
    int32_t status = find_volume(pool, call, volume, &disk);
    if (status == SLUICE_OK) {
        tell_volume(disk, ret);
    }
    return status;
}

static int32_t volume_resize(void *argument, struct sluice_call *call,
                             const struct sluice_uuid *volume, uint64_t size_bytes,
                             struct sluice_volume *ret) {
    struct pool *pool = argument;
    struct disk *disk = NULL;
    int32_t status = find_volume(pool, call, volume, &disk);
    if (status != SLUICE_OK) {
        return status;
    }
    if (size_bytes == 0 || size_bytes % RAM_SIZE_STEP != 0 || size_bytes > RAM_SIZE_MAX) {
        return ram_fail(pool, call, SLUICE_INVALID,
                        "the size is no multiple of 512 bytes up to 16 TiB");
    }
    uint64_t old = disk->size_bytes;
    if (size_bytes < old) {
        if (disk->handles > 0) {
            return ram_fail(pool, call, SLUICE_BUSY,
                            "it is open for data calls: close it before making it smaller");
        }
        /* What is cut off must read as zeroes should the volume grow again. */
        bool full = false;
        status = disk_mark_dirty(pool, disk, size_bytes, old - size_bytes);
        if (status != SLUICE_OK ||
            !map_zero(&pool->store, &disk->map, size_bytes, old - size_bytes, &full)) {
            return ram_fail(pool, call, full ? SLUICE_NO_SPACE : SLUICE_NO_MEMORY,
                            "no memory to cut a shared block");
        }
    }
    disk->size_bytes = size_bytes;
    status = backing_update(pool, call, disk);
    if (status != SLUICE_OK) {
        disk->size_bytes = old;
        return status;
    }
    pool->provisioned = pool->provisioned - old + size_bytes;
    tell_volume(disk, ret);
    return SLUICE_OK;
}

static int32_t volume_revert(void *argument, struct sluice_call *call,
                             const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                             const struct sluice_uuid *operation, struct sluice_volume *ret) {
    struct pool *pool = argument;
    struct disk *disk = NULL;
    int32_t status = find_volume(pool, call, volume, &disk);
    if (status != SLUICE_OK) {
        return status;
    }
    if (compare(&disk->reverted, operation) == 0) {
        tell_volume(disk, ret);
        return SLUICE_OK;
    }
    struct disk *source = NULL;
    status = find_snapshot(pool, call, volume, snapshot, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    if (disk->handles > 0) {
        return ram_fail(pool, call, SLUICE_BUSY, "it is open for data calls: close it first");
    }
    struct disk before = *disk;
    disk->map = map_share(source->map);
    disk->size_bytes = source->size_bytes;
    disk->reverted = *operation;
    disk->dirty = NULL;
    disk->dirty_words = 0;
    status = backing_create(pool, call, disk);
    if (status != SLUICE_OK) {
        map_drop(&pool->store, disk->map);
        *disk = before;
        return status;
    }
    map_drop(&pool->store, before.map);
    free(before.dirty);
    pool->provisioned = pool->provisioned - before.size_bytes + disk->size_bytes;
    tell_volume(disk, ret);
    return SLUICE_OK;
}

/* ---- snapshots ---------------------------------------------------------------------------- */

static int32_t snapshot_create(void *argument, struct sluice_call *call,
                               const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                               const char *name, struct sluice_snapshot *ret) {
    struct pool *pool = argument;
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return ram_fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    struct disk *disk = disks_find(&pool->snapshots, snapshot);
    if (disk != NULL) {
        if (compare(&disk->volume, volume) != 0 || strcmp(disk->name, name) != 0) {
            return ram_fail(pool, call, SLUICE_EXISTS,
                            "the snapshot exists with another name or volume");
        }
        tell_snapshot(disk, ret);
        return SLUICE_OK;
    }
    struct disk *source = NULL;
    status = find_volume(pool, call, volume, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    disk = calloc(1, sizeof *disk);
    if (disk == NULL) {
        return ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another snapshot");
    }
    disk->snapshot = true;
    disk->id = *snapshot;
    disk->volume = *volume;
    disk->size_bytes = disk->created_bytes = source->size_bytes;
    memcpy(disk->name, name, strlen(name) + 1); /* measured above */
    disk->map = map_share(source->map);
    status = publish(pool, call, &pool->snapshots, disk);
    if (status == SLUICE_OK) {
        tell_snapshot(disk, ret);
    }
    return status;
}

static int32_t snapshot_delete(void *argument, struct sluice_call *call,
                               const struct sluice_uuid *volume,
                               const struct sluice_uuid *snapshot) {
    struct pool *pool = argument;
    (void)volume; /* the snapshot's id is enough to find it */
    return delete_disk(pool, call, &pool->snapshots, snapshot);
}

static int32_t snapshot_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                            const struct sluice_uuid *snapshot, struct sluice_snapshot *ret) {
    struct disk *disk = NULL;
    int32_t status = find_snapshot(pool, call, volume, snapshot, &disk);
    if (status == SLUICE_OK) {
        tell_snapshot(disk, ret);
    }
    return status;
}

/* ---- lists -------------------------------------------------------------------------------- */

/* The place of the first disk after `id`. */
static size_t after(const struct disks *disks, const struct sluice_uuid *id) {
    size_t at = place(disks, id);
    return at < disks->count && compare(&disks->at[at]->id, id) == 0 ? at + 1 : at;
}

static int32_t volume_list(void *argument, struct sluice_call *call, struct sluice_list *list) {
    struct pool *pool = argument;
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    struct sluice_volume *entries = list->entries;
    list->count = 0;
    for (size_t i = after(&pool->volumes, &list->after);
         i < pool->volumes.count && list->count < list->capacity; i++) {
        tell_volume(pool->volumes.at[i], &entries[list->count++]);
    }
    return SLUICE_OK;
}

static int32_t snapshot_list(void *argument, struct sluice_call *call, struct sluice_list *list) {
    struct pool *pool = argument;
    static const struct sluice_uuid all;
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    struct sluice_snapshot *entries = list->entries;
    list->count = 0;
    for (size_t i = after(&pool->snapshots, &list->after);
         i < pool->snapshots.count && list->count < list->capacity; i++) {
        const struct disk *disk = pool->snapshots.at[i];
        if (compare(&list->volume, &all) == 0 || compare(&list->volume, &disk->volume) == 0) {
            tell_snapshot(disk, &entries[list->count++]);
        }
    }
    return SLUICE_OK;
}

void ram_add_disk_calls(struct sluice_storage *table) {
    table->volume_create = volume_create;
    table->volume_delete = volume_delete;
    table->volume_get = volume_get;
    table->volume_list = volume_list;
    table->volume_resize = volume_resize;
    table->volume_revert = volume_revert;
    table->snapshot_create = snapshot_create;
    table->snapshot_delete = snapshot_delete;
    table->snapshot_get = snapshot_get;
    table->snapshot_list = snapshot_list;
}

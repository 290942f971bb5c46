/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.c: snapshots: a generation that was frozen and that the volume's record names.
 */
#include <string.h>

#include "state.h"
#include "step.h"

/* What the image takes by itself; UINT64_MAX: not known. */
static void tell(struct share_pool *pool, const struct sluice_uuid *volume,
                 const struct snapshot_meta *snapshot, struct sluice_snapshot *ret) {
    char path[SHARE_PATH_MAX];
    struct share_stat image;
    uint32_t size = ret->size;
    layout_image(volume, snapshot->generation, snapshot->format, path);
    bool known = FS(pool, stat, NULL, path, &image) == SLUICE_OK;
    *ret = (struct sluice_snapshot){
        .size = size,
        .snapshot = snapshot->id,
        .volume = *volume,
        .size_bytes = snapshot->size_bytes,
        .used_bytes = known ? image.used_bytes : UINT64_MAX,
    };
    memcpy(ret->name, snapshot->name, sizeof ret->name);
}

int32_t snapshot_find(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_uuid *volume, const struct sluice_uuid *id, bool quiet,
                      struct sluice_snapshot *ret) {
    struct volume_meta meta;
    int32_t status = volume_meta_load(pool->fs, call, volume, &meta);
    const struct snapshot_meta *snapshot =
        status == SLUICE_OK ? volume_meta_snapshot(&meta, id) : NULL;
    if (snapshot != NULL) {
        tell(pool, volume, snapshot, ret);
    }
    if (status == SLUICE_OK) {
        volume_meta_release(&meta);
    }
    if (status == SLUICE_CORRUPT) {
        return share_fail(pool, call, status, "the record of the snapshot's volume is damaged");
    }
    if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        return share_fail(pool, call, status, "cannot read the record of the snapshot's volume");
    }
    if (snapshot != NULL) {
        return SLUICE_OK;
    }
    status = share_check(pool, call);
    return status != SLUICE_OK || quiet
               ? (status != SLUICE_OK ? status : SLUICE_NOT_FOUND)
               : share_fail(pool, call, SLUICE_NOT_FOUND, "no such snapshot of the volume");
}

int32_t share_snapshot_get(void *argument, struct sluice_call *call,
                           const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                           struct sluice_snapshot *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock(&pool->index, &locks, volume, 1, NULL);
    }
    if (status == SLUICE_OK) {
        status = snapshot_find(pool, call, volume, snapshot, false, ret);
        index_unlock(&pool->index, &locks);
    }
    return status;
}

/* ---- create --------------------------------------------------------------------------------- */

static int32_t take(struct share_pool *pool, struct sluice_call *call,
                    const struct sluice_uuid *volume, const struct sluice_uuid *id,
                    const char *name) {
    struct volume source;
    int32_t status = volume_load(pool, call, volume, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    struct snapshot_meta snapshot = {
        .id = *id,
        .generation = source.meta.active,
        .size_bytes = source.meta.size_bytes,
        .format = source.meta.format,
    };
    memcpy(snapshot.name, name, strlen(name) + 1); /* share_snapshot_create measured it */
    status = volume_check_idle(pool, call, &source, true);
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, snapshot.size_bytes);
    }
    if (status == SLUICE_OK) {
        status = volume_freeze(pool, call, &source.meta, &snapshot);
        if (status != SLUICE_OK) {
            pool_unreserve(pool, snapshot.size_bytes);
        }
    }
    volume_release(&source);
    return status;
}

static int32_t create_locked(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                             const char *name, struct sluice_snapshot *ret) {
    int32_t status = snapshot_find(pool, call, volume, snapshot, true, ret);
    if (status == SLUICE_OK) {
        return strcmp(ret->name, name) == 0
                   ? status
                   : share_fail(pool, call, SLUICE_EXISTS, "the snapshot exists with another name");
    }
    if (status == SLUICE_NOT_FOUND) {
        status = take(pool, call, volume, snapshot, name);
    }
    return status == SLUICE_OK ? snapshot_find(pool, call, volume, snapshot, false, ret) : status;
}

/* PENDING: the chain is being flattened; else why it cannot be. */
static int32_t shorten(struct share_pool *pool, struct sluice_call *call,
                       const struct sluice_uuid *volume) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_active(&pool->index, volume);
    uint64_t generation = image != NULL ? image->generation : 0;
    pthread_mutex_unlock(&pool->index.lock);
    int32_t status =
        generation != 0 ? merge_slice(pool, call, volume, generation, step_slice_ns()) : SLUICE_OK;
    return status == SLUICE_OK ? SLUICE_PENDING : status;
}

int32_t share_snapshot_create(void *argument, struct sluice_call *call,
                              const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                              const char *name, struct sluice_snapshot *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return share_fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock_chain(&pool->index, &locks, volume, 0);
    }
    if (status == SLUICE_OK) {
        status = create_locked(pool, call, volume, snapshot, name, ret);
        index_unlock(&pool->index, &locks);
    }
    if (status == SLUICE_PENDING) { /* the chain is too long: who waits for it works on it */
        ret->retry_after_ms = 0;
        status = shorten(pool, call, volume);
    }
    return status;
}

/* ---- delete --------------------------------------------------------------------------------- */

/* Takes the snapshot out of the record; what is left of it, its generation, in *ret_generation. */
static int32_t unpublish(struct share_pool *pool, struct sluice_call *call,
                         struct volume_meta *meta, struct snapshot_meta *snapshot) {
    uint64_t size = snapshot->size_bytes;
    volume_meta_remove(meta, snapshot);
    int32_t status = volume_store(pool, call, meta);
    if (status == SLUICE_OK) {
        pool_unreserve(pool, size);
        volume_follow(pool, meta);
    }
    STEP(delete_unpublished);
    return status;
}

/* The generation that was the snapshot and has not gone yet, because one image still needs it; 0:
 * there is none. */
static uint64_t find_remains(struct share_pool *pool, const struct sluice_uuid *volume,
                             const struct sluice_uuid *snapshot) {
    uint64_t generation = 0;
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *of = index_find(&pool->index, volume);
    const struct index_image *image = of != NULL ? of->images : NULL;
    for (; image != NULL; image = image->next) {
        if (!image->named && !image->active && uuid_compare(&image->snapshot, snapshot) == 0) {
            generation = image->generation;
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    return generation;
}

static int32_t delete_locked(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume, const struct sluice_uuid *id) {
    struct volume_meta meta;
    int32_t status = volume_meta_load(pool->fs, call, volume, &meta);
    if (status == SLUICE_CORRUPT) {
        status = scan_rebuild(pool, call, volume);
        if (status == SLUICE_OK) {
            status = volume_meta_load(pool->fs, call, volume, &meta);
        }
    }
    if (status == SLUICE_NOT_FOUND) {
        return share_check(pool, call);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read the record of the snapshot's volume");
    }
    struct snapshot_meta *snapshot = volume_meta_snapshot(&meta, id);
    if (snapshot != NULL && disk_is_open(pool, volume, snapshot->generation, false)) {
        status = share_fail(pool, call, SLUICE_BUSY, "the snapshot is open for data calls");
    } else if (snapshot != NULL) {
        status = unpublish(pool, call, &meta, snapshot);
    }
    volume_meta_release(&meta);
    return status == SLUICE_OK ? volume_sweep(pool, call, volume) : status;
}

int32_t share_snapshot_delete(void *argument, struct sluice_call *call,
                              const struct sluice_uuid *volume,
                              const struct sluice_uuid *snapshot) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock(&pool->index, &locks, volume, 1, NULL);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = delete_locked(pool, call, volume, snapshot);
    index_unlock(&pool->index, &locks);
    uint64_t generation = status == SLUICE_OK ? find_remains(pool, volume, snapshot) : 0;
    if (generation == 0) {
        return status;
    }
    /* It is gone from the record, so what fails here is left to maintenance. */
    status = merge_slice(pool, call, volume, generation, step_slice_ns());
    return status == SLUICE_PENDING ? status : SLUICE_OK;
}

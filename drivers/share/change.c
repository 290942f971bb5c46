/* SPDX-License-Identifier: Apache-2.0
 *
 * change.c: getting, resizing and deleting volumes.
 */
#include "chain.h"
#include "state.h"
#include "step.h"

int32_t share_volume_get(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                         struct sluice_volume *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct volume volume;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock(&pool->index, &locks, id, 1, NULL);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = volume_load(pool, call, id, &volume);
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_release(&volume);
    }
    index_unlock(&pool->index, &locks);
    return status;
}

/* ---- resize: the record says the new size first and the image follows, so asking again ends what
 * a crash left between --------------------------------------------------------------------------
 */

static int32_t take_space(struct share_pool *pool, struct sluice_call *call,
                          const struct volume_meta *meta, uint64_t before) {
    char path[SHARE_PATH_MAX];
    struct image_file *file;
    if (!pool->settings.preallocate || meta->format != IMAGE_FORMAT_RAW ||
        pool->fs->ops->allocate == NULL || meta->size_bytes <= before) {
        return SLUICE_OK;
    }
    layout_image(&meta->id, meta->active, meta->format, path);
    int32_t status = FS(pool, open, call, path, SHARE_OPEN_WRITE, &file);
    if (status == SLUICE_OK) {
        status = FS(pool, allocate, call, file, before, meta->size_bytes - before);
        if (status == SLUICE_OK) {
            status = file->ops->flush(file);
        }
        file->ops->close(file);
    }
    return status == SLUICE_OK
               ? status
               : share_fail(pool, call, status, "cannot take the space of %llu bytes",
                            (unsigned long long)(meta->size_bytes - before));
}

static int32_t resize(struct share_pool *pool, struct sluice_call *call, struct volume_meta *meta,
                      uint64_t size_bytes) {
    uint64_t before = meta->size_bytes;
    /* What lies beyond the old size, of an unfinished shrinking, goes before the image grows. */
    int32_t status = volume_settle_size(pool, call, meta);
    if (status != SLUICE_OK) {
        return status;
    }
    meta->size_bytes = size_bytes;
    status = volume_store(pool, call, meta);
    STEP(resize_recorded);
    if (status != SLUICE_OK) {
        meta->size_bytes = before;
        return status;
    }
    status = volume_settle_size(pool, call, meta);
    STEP(resize_done);
    if (status == SLUICE_OK) {
        status = take_space(pool, call, meta, before);
    }
    if (status != SLUICE_OK &&
        size_bytes > before) { /* a volume never promises what is not there */
        meta->size_bytes = before;
        if (volume_store(pool, NULL, meta) != SLUICE_OK) {
            meta->size_bytes = size_bytes;
        } else {
            volume_settle_size(pool, NULL, meta);
        }
    }
    return status;
}

static int32_t resize_locked(struct share_pool *pool, struct sluice_call *call,
                             struct volume *volume, uint64_t size_bytes) {
    uint64_t before = volume->meta.size_bytes;
    uint64_t more = size_bytes > before ? size_bytes - before : 0;
    int32_t status = SLUICE_OK;
    /* A host that opens a raw file by itself sees it grow; a qcow2 it has read already. */
    if (size_bytes < before || (volume->meta.format != IMAGE_FORMAT_RAW &&
                                !disk_is_open(pool, &volume->meta.id, volume->meta.active, true))) {
        status = volume_check_idle(pool, call, volume, size_bytes >= before);
    }
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, more);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = resize(pool, call, &volume->meta, size_bytes);
    if (volume->meta.size_bytes == before) {
        pool_unreserve(pool, more);
    } else if (volume->meta.size_bytes < before) {
        pool_unreserve(pool, before - volume->meta.size_bytes);
    }
    return status;
}

int32_t share_volume_resize(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                            uint64_t size_bytes, struct sluice_volume *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct volume volume;
    if (size_bytes == 0 || size_bytes % SHARE_SIZE_STEP != 0) {
        return share_fail(pool, call, SLUICE_INVALID, "%llu bytes are no multiple of %llu",
                          (unsigned long long)size_bytes, (unsigned long long)SHARE_SIZE_STEP);
    }
    if (size_bytes > IMAGE_SIZE_MAX || size_bytes > pool->settings.size_max) {
        return share_fail(pool, call, SLUICE_LIMIT, "%llu bytes are more than a volume can have",
                          (unsigned long long)size_bytes);
    }
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock_chain(&pool->index, &locks, id, 0);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = volume_load(pool, call, id, &volume);
    if (status == SLUICE_OK) {
        status = resize_locked(pool, call, &volume, size_bytes);
        if (status == SLUICE_OK) {
            volume_tell(&volume, ret);
        }
        volume_release(&volume);
    }
    index_unlock(&pool->index, &locks);
    return status;
}

/* ---- delete --------------------------------------------------------------------------------- */

/* The record without an active image: the volume is gone. */
static int32_t unpublish(struct share_pool *pool, struct sluice_call *call, struct volume *volume) {
    char path[SHARE_PATH_MAX];
    int32_t status = volume_check_idle(pool, call, volume, false);
    if (status != SLUICE_OK) {
        return status;
    }
    layout_image(&volume->meta.id, volume->meta.active, volume->meta.format, path);
    volume->meta.active = 0;
    status = volume_store(pool, NULL, &volume->meta);
    if ((status == SLUICE_NO_SPACE || status == SLUICE_QUOTA) &&
        FS(pool, remove, call, path) == SLUICE_OK) {
        /* A full share has to take a deletion: the image makes room for the record. */
        status = volume_store(pool, NULL, &volume->meta);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot write the volume's record");
    }
    pool_unreserve(pool, volume->meta.size_bytes);
    volume_follow(pool, &volume->meta);
    STEP(delete_unpublished);
    return SLUICE_OK;
}

/* A damaged record of a volume that holds nothing: it is as if it had never been. */
static int32_t discard(struct share_pool *pool, struct sluice_call *call,
                       const struct sluice_uuid *id) {
    char path[SHARE_PATH_MAX];
    layout_file(id, LAYOUT_VOLUME_META, path);
    int32_t status = FS(pool, remove, call, path);
    if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        return share_fail(pool, call, status, "cannot remove the volume's damaged record");
    }
    pool_unreserve(pool, volume_size_known(pool, id));
    volume_activate(pool, id, 0);
    return SLUICE_NOT_FOUND;
}

static int32_t delete_locked(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_uuid *id) {
    struct volume volume;
    int32_t status = volume_load(pool, NULL, id, &volume);
    if (status == SLUICE_CORRUPT) {
        status = scan_rebuild(pool, call, id);
        if (status == SLUICE_OK) {
            status = volume_load(pool, call, id, &volume);
        } else if (status == SLUICE_NOT_FOUND) {
            status = discard(pool, call, id);
        }
    } else if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        status = volume_load(pool, call, id, &volume); /* again, to say why */
    }
    if (status == SLUICE_OK) {
        status = unpublish(pool, call, &volume);
        volume_release(&volume);
    } else if (status == SLUICE_NOT_FOUND) {
        status = share_check(pool, call); /* what is half made goes only from the right share */
    }
    return status == SLUICE_OK ? volume_sweep(pool, call, id) : status;
}

int32_t share_volume_delete(void *argument, struct sluice_call *call,
                            const struct sluice_uuid *id) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock(&pool->index, &locks, id, 1, NULL);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = delete_locked(pool, call, id);
    index_unlock(&pool->index, &locks);
    return status;
}

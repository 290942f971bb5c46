/* SPDX-License-Identifier: Apache-2.0
 *
 * revert.c: putting a volume back to one of its snapshots.
 *
 * A new overlay of the snapshot's image becomes the active one by the record that names it and the
 * operation; only then does the image that was active go. So a crash leaves the volume as it was or
 * as it is to be, and the same operation asked again finds itself in the record.
 */
#include "state.h"
#include "step.h"

static int32_t switch_image(struct share_pool *pool, struct sluice_call *call,
                            struct volume_meta *meta, const struct snapshot_meta *snapshot,
                            const struct sluice_uuid *operation) {
    const struct volume_meta before = *meta;
    const struct overlay overlay = {
        .generation = meta->next,
        .format = IMAGE_FORMAT_QCOW2,
        .size_bytes = snapshot->size_bytes,
        .parent_volume = meta->id,
        .parent_generation = snapshot->generation,
        .parent_format = snapshot->format,
    };
    int32_t status = volume_check_depth(pool, call, &meta->id, snapshot->generation);
    if (status == SLUICE_OK) {
        status = volume_prepare(pool, call, meta, &overlay);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    meta->active = meta->next++;
    meta->format = IMAGE_FORMAT_QCOW2;
    meta->size_bytes = snapshot->size_bytes;
    meta->reverted = *operation;
    meta->moving = false;
    status = volume_store(pool, call, meta);
    if (status != SLUICE_OK) {
        volume_take_back(pool, &before, &overlay);
        return status;
    }
    STEP(revert_published);
    volume_follow(pool, meta);
    merge_look(pool, &meta->id, meta->active);
    return SLUICE_OK;
}

static int32_t revert(struct share_pool *pool, struct sluice_call *call, struct volume *volume,
                      const struct sluice_uuid *snapshot_id, const struct sluice_uuid *operation) {
    const struct snapshot_meta *snapshot = volume_meta_snapshot(&volume->meta, snapshot_id);
    if (snapshot == NULL) {
        return share_fail(pool, call, SLUICE_NOT_FOUND, "no such snapshot of the volume");
    }
    uint64_t before = volume->meta.size_bytes;
    uint64_t after = snapshot->size_bytes;
    int32_t status = volume_check_idle(pool, call, volume, false);
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, after > before ? after - before : 0);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = switch_image(pool, call, &volume->meta, snapshot, operation);
    if (status != SLUICE_OK) {
        pool_unreserve(pool, after > before ? after - before : 0);
    } else if (after < before) {
        pool_unreserve(pool, before - after);
    }
    return status;
}

int32_t share_volume_revert(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                            const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
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
        if (uuid_compare(&volume.meta.reverted, operation) != 0) {
            status = revert(pool, call, &volume, snapshot, operation);
        }
        volume_release(&volume);
    }
    if (status == SLUICE_OK) {
        status = volume_sweep(pool, call, id); /* the image that was active */
    }
    if (status == SLUICE_OK) {
        status = volume_load(pool, call, id, &volume);
    }
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_release(&volume);
    }
    index_unlock(&pool->index, &locks);
    if (status == SLUICE_PENDING) {
        ret->retry_after_ms = MERGE_RETRY_MS;
    }
    return status;
}

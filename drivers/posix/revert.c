/* SPDX-License-Identifier: Apache-2.0
 *
 * revert.c: putting a volume back to one of its snapshots.
 *
 * A copy of the snapshot becomes the disk file of the next generation; the record that names it and
 * the operation replaces the old record in one rename, and only then does the old disk file go. So
 * a crash leaves the volume as it was or as it is to be, and the same operation asked again finds
 * itself in the record.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "access.h"
#include "job.h"
#include "step.h"
#include "volume.h"

static int32_t begin(struct pool *pool, struct sluice_call *call, const struct volume *volume,
                     const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                     const char *disk, struct job **ret_job) {
    struct snapshot_meta meta;
    struct job_want want = {
        .target = volume->meta.id,
        .operation = *operation,
        .preallocate = pool->preallocate,
        .directory = volume->directory,
        .name = disk,
    };
    int32_t status =
        snapshot_open_disk(pool, call, &volume->meta.id, snapshot, &meta, &want.source);
    if (status != SLUICE_OK) {
        return status;
    }
    status = volume_lock_disk(pool, call, volume, F_WRLCK, &want.guard);
    if (status != SLUICE_OK) {
        close_quietly(&want.source);
        return status;
    }
    want.source_bytes = want.size_bytes = meta.size_bytes;
    want.reserve =
        meta.size_bytes > volume->meta.size_bytes ? meta.size_bytes - volume->meta.size_bytes : 0;
    return job_begin(pool, call, &want, ret_job);
}

/* The new disk is whole: make it the volume's. */
static int32_t switch_disk(struct pool *pool, struct sluice_call *call, struct volume *volume,
                           const struct sluice_uuid *operation, const struct job *job) {
    struct volume_meta meta = volume->meta;
    int32_t status = access_apply_disk(pool, call, volume->directory, job->disk);
    if (status != SLUICE_OK) {
        return status;
    }
    meta.generation++;
    meta.size_bytes = job->size_bytes;
    meta.reverted = *operation;
    if (volume_meta_store(volume->directory, &meta, true) != 0) {
        return fail_errno(pool, call, errno, "write the volume's record");
    }
    STEP(revert_published);
    if (volume->meta.size_bytes > meta.size_bytes) {
        pool_unreserve(pool, volume->meta.size_bytes - meta.size_bytes);
    }
    volume->meta = meta;
    unlinkat(volume->directory, volume->disk, 0); /* left over, the next revert or delete does it */
    STEP(revert_old_removed);
    return SLUICE_OK;
}

int32_t volume_revert(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                      const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                      struct sluice_volume *ret) {
    struct pool *pool = argument;
    struct volume volume;
    int32_t status = volume_open(pool, call, id, &volume);
    if (status != SLUICE_OK) {
        return status;
    }
    if (uuid_compare(&volume.meta.reverted, operation) == 0) {
        char old[LAYOUT_NAME];
        layout_disk(volume.meta.generation - 1, old);
        unlinkat(volume.directory, old, 0);
        volume_tell(&volume, ret);
        volume_close(&volume);
        return SLUICE_OK;
    }
    char disk[LAYOUT_NAME];
    layout_disk(volume.meta.generation + 1, disk);
    struct job *job = job_find(pool, id, operation);
    if (job == NULL) {
        status = begin(pool, call, &volume, snapshot, operation, disk, &job);
    }
    if (status == SLUICE_OK) {
        status = job_slice(pool, call, job);
    }
    if (status == SLUICE_OK) {
        status = switch_disk(pool, call, &volume, operation, job);
    }
    if (status == SLUICE_PENDING) {
        ret->retry_after_ms = 0;
    } else {
        if (status != SLUICE_OK && job != NULL) {
            unlinkat(volume.directory, disk, 0);
        }
        job_end(pool, job, status == SLUICE_OK);
    }
    volume_close(&volume);
    if (status == SLUICE_OK && (status = volume_open(pool, call, id, &volume)) == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_close(&volume);
    }
    return status;
}

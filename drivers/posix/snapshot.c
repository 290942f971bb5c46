/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.c: snapshots: a copy of a detached volume, in a directory below the volume's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "job.h"
#include "step.h"
#include "volume.h"

int snapshot_find(struct pool *pool, const struct sluice_uuid *volume,
                  const struct sluice_uuid *snapshot, struct snapshot_meta *ret_meta,
                  int *ret_directory) {
    char path[LAYOUT_PATH];
    layout_snapshot(volume, snapshot, path);
    int directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return -1;
    }
    if (snapshot_meta_load(directory, ret_meta) != 0) {
        close_quietly(&directory);
        return -1;
    }
    *ret_directory = directory;
    return 0;
}

/* snapshot_find for calls: with its answers. */
static int32_t find(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot, struct snapshot_meta *ret_meta,
                    int *ret_directory) {
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if (snapshot_find(pool, volume, snapshot, ret_meta, ret_directory) == 0) {
        return SLUICE_OK;
    }
    return errno == ENOENT ? fail(pool, call, SLUICE_NOT_FOUND,
                                  "no such snapshot of the volume in '%.300s'", pool->path)
                           : fail_errno(pool, call, errno, "read the snapshot");
}

int32_t snapshot_open_disk(struct pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                           struct snapshot_meta *ret_meta, int *ret_fd) {
    int directory = -1;
    int32_t status = find(pool, call, volume, snapshot, ret_meta, &directory);
    if (status != SLUICE_OK) {
        return status;
    }
    int fd = beneath_open(directory, LAYOUT_SNAPSHOT_DISK, O_RDONLY, 0);
    if (fd < 0) {
        status = fail_errno(pool, call, errno, "open the snapshot's disk");
    }
    close_quietly(&directory);
    *ret_fd = fd;
    return status;
}

void snapshot_tell(const struct snapshot_meta *meta, int directory, struct sluice_snapshot *ret) {
    uint32_t size = ret->size;
    struct stat disk;
    bool known = fstatat(directory, LAYOUT_SNAPSHOT_DISK, &disk, AT_SYMLINK_NOFOLLOW) == 0;
    *ret = (struct sluice_snapshot){
        .size = size,
        .snapshot = meta->id,
        .volume = meta->volume,
        .size_bytes = meta->size_bytes,
        .used_bytes = known ? (uint64_t)disk.st_blocks * 512 : UINT64_MAX,
    };
    memcpy(ret->name, meta->name, sizeof ret->name);
}

/* The directory volumes/<volume>/snapshots/<snapshot>, made where it is missing. */
static int make_directory(const struct volume *volume, const struct sluice_uuid *snapshot) {
    char text[UUID_TEXT];
    uuid_text(snapshot, text);
    int parent = directory_make(volume->directory, LAYOUT_SNAPSHOTS);
    int directory = parent >= 0 ? directory_make(parent, text) : -1;
    close_quietly(&parent);
    return directory;
}

static int32_t begin(struct pool *pool, struct sluice_call *call, const struct volume *volume,
                     const struct snapshot_meta *meta, int directory, struct job **ret_job) {
    struct job_want want = {
        .target = meta->id,
        .source = -1,
        .guard = -1,
        .source_bytes = volume->meta.size_bytes,
        .size_bytes = volume->meta.size_bytes,
        .reserve = volume->meta.size_bytes,
        .directory = directory,
        .name = LAYOUT_SNAPSHOT_DISK,
    };
    int32_t status = volume_lock_disk(pool, call, volume, F_RDLCK, &want.source);
    return status == SLUICE_OK ? job_begin(pool, call, &want, ret_job) : status;
}

static int32_t make_snapshot(struct pool *pool, struct sluice_call *call,
                             const struct volume *volume, const struct sluice_uuid *snapshot,
                             const char *name) {
    static const struct sluice_uuid no_operation;
    struct snapshot_meta meta = {
        .id = *snapshot, .volume = volume->meta.id, .size_bytes = volume->meta.size_bytes};
    memcpy(meta.name, name, strlen(name) + 1); /* snapshot_create measured it */
    int directory = make_directory(volume, snapshot);
    if (directory < 0) {
        return fail_errno(pool, call, errno, "make the snapshot's directory");
    }
    int32_t status = SLUICE_OK;
    struct job *job = job_find(pool, snapshot, &no_operation);
    if (job == NULL) {
        status = begin(pool, call, volume, &meta, directory, &job);
    }
    if (status == SLUICE_OK) {
        status = job_slice(pool, call, job);
    }
    if (status != SLUICE_PENDING) {
        if (status == SLUICE_OK && snapshot_meta_store(directory, &meta) != 0) {
            status = fail_errno(pool, call, errno, "write the snapshot's record");
        }
        job_end(pool, job, status == SLUICE_OK);
        STEP(snapshot_published);
    }
    close_quietly(&directory);
    return status;
}

/* Removes what there is of a snapshot that is not there (any more). */
static int32_t sweep(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                     const struct sluice_uuid *snapshot) {
    char path[LAYOUT_PATH];
    layout_snapshot(volume, snapshot, path);
    int directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return errno == ENOENT ? SLUICE_OK
                               : fail_errno(pool, call, errno, "open the snapshot's directory");
    }
    bool done =
        (unlinkat(directory, LAYOUT_SNAPSHOT_DISK, 0) == 0 || errno == ENOENT) &&
        (unlinkat(directory, LAYOUT_SNAPSHOT_META LAYOUT_NEW_SUFFIX, 0) == 0 || errno == ENOENT) &&
        (unlinkat(pool->root, path, AT_REMOVEDIR) == 0 || errno == ENOENT);
    int32_t status =
        done ? SLUICE_OK : fail_errno(pool, call, errno, "remove the snapshot's files");
    STEP(delete_swept);
    close_quietly(&directory);
    return status;
}

int32_t snapshot_create(void *argument, struct sluice_call *call, const struct sluice_uuid *volume,
                        const struct sluice_uuid *snapshot, const char *name,
                        struct sluice_snapshot *ret) {
    struct pool *pool = argument;
    struct snapshot_meta meta;
    struct volume source;
    int directory = -1;
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if (snapshot_find(pool, volume, snapshot, &meta, &directory) == 0) {
        if (strcmp(meta.name, name) != 0) {
            status = fail(pool, call, SLUICE_EXISTS, "the snapshot exists with another name");
        } else {
            snapshot_tell(&meta, directory, ret);
        }
        close_quietly(&directory);
        return status;
    }
    if (errno != ENOENT) {
        return fail_errno(pool, call, errno, "read the snapshot");
    }
    status = volume_open(pool, call, volume, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    status = make_snapshot(pool, call, &source, snapshot, name);
    volume_close(&source);
    if (status == SLUICE_PENDING) {
        ret->retry_after_ms = 0;
    } else if (status != SLUICE_OK) {
        sweep(pool, call, volume, snapshot);
    } else if ((status = find(pool, call, volume, snapshot, &meta, &directory)) == SLUICE_OK) {
        snapshot_tell(&meta, directory, ret);
        close_quietly(&directory);
    }
    return status;
}

int32_t snapshot_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                     const struct sluice_uuid *snapshot, struct sluice_snapshot *ret) {
    struct snapshot_meta meta;
    int directory;
    int32_t status = find(pool, call, volume, snapshot, &meta, &directory);
    if (status == SLUICE_OK) {
        snapshot_tell(&meta, directory, ret);
        close_quietly(&directory);
    }
    return status;
}

int32_t snapshot_delete(void *argument, struct sluice_call *call, const struct sluice_uuid *volume,
                        const struct sluice_uuid *snapshot) {
    struct pool *pool = argument;
    struct snapshot_meta meta;
    int directory;
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    job_drop(pool, snapshot);
    if (snapshot_find(pool, volume, snapshot, &meta, &directory) == 0) {
        if (unlinkat(directory, LAYOUT_SNAPSHOT_META, 0) != 0 || fsync(directory) != 0) {
            status = fail_errno(pool, call, errno, "remove the snapshot's record");
        } else {
            pool_unreserve(pool, meta.size_bytes);
        }
        STEP(delete_unpublished);
        close_quietly(&directory);
    } else if (errno != ENOENT && errno != EBADMSG) {
        status = fail_errno(pool, call, errno, "read the snapshot's record");
    }
    if (status == SLUICE_OK) {
        status = sweep(pool, call, volume, snapshot); /* half made, half deleted or damaged too */
    }
    /* The last snapshot of a volume that was deleted takes the tombstone along. */
    struct volume owner;
    if (status != SLUICE_OK) {
        return status;
    }
    if (volume_find(pool, volume, &owner) == 0) {
        volume_close(&owner);
        return SLUICE_OK;
    }
    return errno == ENOENT ? volume_sweep(pool, call, volume) : SLUICE_OK;
}

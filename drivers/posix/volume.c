/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.c: see volume.h; creating, getting, resizing and deleting volumes.
 */
#include "volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "access.h"
#include "job.h"
#include "step.h"

/* ---- what all control calls need ---------------------------------------------------------- */

int volume_find(struct pool *pool, const struct sluice_uuid *id, struct volume *ret_volume) {
    char path[LAYOUT_PATH];
    struct stat disk;
    ret_volume->directory = -1;
    layout_volume(id, path);
    int directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return -1;
    }
    if (volume_meta_load(directory, &ret_volume->meta) != 0) {
        close_quietly(&directory);
        return -1;
    }
    layout_disk(ret_volume->meta.generation, ret_volume->disk);
    if (fstatat(directory, ret_volume->disk, &disk, AT_SYMLINK_NOFOLLOW) != 0) {
        close_quietly(&directory);
        return -1;
    }
    ret_volume->used_bytes = (uint64_t)disk.st_blocks * 512;
    ret_volume->directory = directory;
    return 0;
}

int32_t volume_open(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *id,
                    struct volume *ret_volume) {
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK || volume_find(pool, id, ret_volume) == 0) {
        return status;
    }
    return errno == ENOENT
               ? fail(pool, call, SLUICE_NOT_FOUND, "no such volume in '%.300s'", pool->path)
               : fail_errno(pool, call, errno, "read the volume's record");
}

void volume_close(struct volume *volume) {
    close_quietly(&volume->directory);
}

void volume_tell(const struct volume *volume, struct sluice_volume *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_volume){
        .size = size,
        .volume = volume->meta.id,
        .size_bytes = volume->meta.size_bytes,
        .used_bytes = volume->used_bytes,
        .format = "raw",
    };
    memcpy(ret->name, volume->meta.name, sizeof ret->name);
}

int32_t volume_lock_disk(struct pool *pool, struct sluice_call *call, const struct volume *volume,
                         short type, int *ret_fd) {
    int fd = beneath_open(volume->directory, volume->disk, type == F_RDLCK ? O_RDONLY : O_RDWR, 0);
    if (fd < 0) {
        return fail_errno(pool, call, errno, "open the volume's disk");
    }
    int32_t status = SLUICE_OK;
    if (file_lock(fd, type) != 0) {
        status = errno == EAGAIN ? fail(pool, call, SLUICE_BUSY,
                                        "the volume is open for data calls or locked "
                                        "by a process of this host")
                                 : fail_errno(pool, call, errno, "lock the volume's disk");
    } else if (type == F_RDLCK && file_is_open_elsewhere(fd, true) == 1) {
        /* A host that was granted the file takes no lock of ours; what it writes during a copy
         * would make the copy a mixture of before and after. */
        status =
            fail(pool, call, SLUICE_BUSY, "a process of this host has the volume open for writing");
    }
    if (status != SLUICE_OK) {
        close_quietly(&fd);
        return status;
    }
    *ret_fd = fd;
    return SLUICE_OK;
}

/* Removes every file of the directory but `keep`, which may be NULL; directories stay. */
static int remove_files(int directory, const char *keep) {
    DIR *stream = fdopendir(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (stream == NULL) {
        return -1;
    }
    int result = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(stream)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (keep != NULL && strcmp(entry->d_name, keep) == 0)) {
            continue;
        }
        if (unlinkat(directory, entry->d_name, 0) != 0 && errno != EISDIR && errno != ENOENT) {
            result = -1;
        }
    }
    int error = errno;
    closedir(stream);
    errno = error;
    return result == 0 ? fsync(directory) : -1;
}

int32_t volume_sweep(struct pool *pool, struct sluice_call *call, const struct sluice_uuid *id) {
    char path[LAYOUT_PATH];
    layout_volume(id, path);
    int directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return errno == ENOENT ? SLUICE_OK : fail_errno(pool, call, errno, "open %s", path);
    }
    int32_t status = SLUICE_OK;
    bool last = unlinkat(directory, LAYOUT_SNAPSHOTS, AT_REMOVEDIR) == 0 || errno == ENOENT;
    if (!last && errno != ENOTEMPTY && errno != EEXIST) {
        status = fail_errno(pool, call, errno, "remove %s/" LAYOUT_SNAPSHOTS, path);
    } else if (remove_files(directory, last ? NULL : LAYOUT_ACCESS_META) != 0) {
        status = fail_errno(pool, call, errno, "empty %s", path);
    } else if (last && ((unlinkat(pool->root, path, AT_REMOVEDIR) != 0 && errno != ENOENT) ||
                        fsync(pool->volumes) != 0)) {
        status = fail_errno(pool, call, errno, "remove %s", path);
    }
    STEP(delete_swept);
    close_quietly(&directory);
    return status;
}

/* ---- create ------------------------------------------------------------------------------- */

static int32_t check_request(struct pool *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args) {
    if (args->name == NULL || strlen(args->name) >= SLUICE_NAME_MAX) {
        return fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    if (args->format != NULL && args->format[0] != '\0' && strcmp(args->format, "raw") != 0) {
        return fail(pool, call, SLUICE_UNSUPPORTED, "the only format is raw, not %.15s",
                    args->format);
    }
    if (args->size_bytes == 0 || args->size_bytes % SIZE_STEP != 0 ||
        args->size_bytes > INT64_MAX) {
        return fail(pool, call, SLUICE_INVALID, "%llu bytes are no multiple of %llu",
                    (unsigned long long)args->size_bytes, (unsigned long long)SIZE_STEP);
    }
    if (args->source_kind > SLUICE_SOURCE_VOLUME) {
        return fail(pool, call, SLUICE_INVALID, "an unknown kind of source");
    }
    return SLUICE_OK;
}

static bool same_request(const struct volume_meta *meta, const struct sluice_volume_create *args) {
    return meta->created_bytes == args->size_bytes && strcmp(meta->name, args->name) == 0 &&
           meta->source_kind == args->source_kind && meta->adopted[0] == '\0' &&
           (args->source_kind == SLUICE_SOURCE_NONE ||
            uuid_compare(&meta->source, &args->source) == 0);
}

/* The file to copy from, locked where somebody could write to it; -1 for an empty volume. */
static int32_t open_source(struct pool *pool, struct sluice_call *call,
                           const struct sluice_volume_create *args, int *ret_fd,
                           uint64_t *ret_bytes) {
    int32_t status = SLUICE_OK;
    *ret_fd = -1;
    *ret_bytes = 0;
    if (args->source_kind == SLUICE_SOURCE_SNAPSHOT) {
        struct snapshot_meta meta;
        status = snapshot_open_disk(pool, call, &args->source_volume, &args->source, &meta, ret_fd);
        *ret_bytes = meta.size_bytes;
    } else if (args->source_kind == SLUICE_SOURCE_VOLUME) {
        struct volume source;
        status = volume_open(pool, call, &args->source, &source);
        if (status == SLUICE_OK) {
            status = volume_lock_disk(pool, call, &source, F_RDLCK, ret_fd);
            *ret_bytes = source.meta.size_bytes;
            volume_close(&source);
        }
    }
    if (status == SLUICE_OK && *ret_bytes > args->size_bytes) {
        status = fail(pool, call, SLUICE_INVALID, "the source has %llu bytes, the volume only %llu",
                      (unsigned long long)*ret_bytes, (unsigned long long)args->size_bytes);
        close_quietly(ret_fd);
    }
    return status;
}

static int32_t begin_create(struct pool *pool, struct sluice_call *call,
                            const struct sluice_volume_create *args, int directory,
                            const char *disk, struct job **ret_job) {
    struct job_want want = {
        .target = args->volume,
        .guard = -1,
        .size_bytes = args->size_bytes,
        .reserve = args->size_bytes,
        .preallocate = pool->preallocate,
        .directory = directory,
        .name = disk,
    };
    int32_t status = open_source(pool, call, args, &want.source, &want.source_bytes);
    return status == SLUICE_OK ? job_begin(pool, call, &want, ret_job) : status;
}

/* Makes the disk, in one call or several, and publishes the record that makes it a volume. */
static int32_t make_volume(struct pool *pool, struct sluice_call *call,
                           const struct sluice_volume_create *args, int directory) {
    static const struct sluice_uuid no_operation;
    char disk[LAYOUT_NAME];
    struct volume_meta meta = {
        .id = args->volume,
        .size_bytes = args->size_bytes,
        .created_bytes = args->size_bytes,
        .source_kind = args->source_kind,
        .generation = 1,
    };
    memcpy(meta.name, args->name, strlen(args->name) + 1); /* check_request measured it */
    if (args->source_kind != SLUICE_SOURCE_NONE) {
        meta.source = args->source;
    }
    layout_disk(meta.generation, disk);
    int32_t status = SLUICE_OK;
    struct job *job = job_find(pool, &args->volume, &no_operation);
    if (job == NULL) {
        status = begin_create(pool, call, args, directory, disk, &job);
    }
    if (status == SLUICE_OK) {
        status = job_slice(pool, call, job);
    }
    if (status == SLUICE_PENDING) {
        return status;
    }
    /* `replace`: a record without its disk may be left of an adoption or an unmanaging. */
    if (status == SLUICE_OK && volume_meta_store(directory, &meta, true) != 0) {
        status = fail_errno(pool, call, errno, "write the volume's record");
    }
    job_end(pool, job, status == SLUICE_OK);
    STEP(create_published);
    return status;
}

int32_t volume_create(void *argument, struct sluice_call *call,
                      const struct sluice_volume_create *args, struct sluice_volume *ret) {
    struct pool *pool = argument;
    char text[UUID_TEXT];
    struct volume volume;
    int32_t status = pool_check(pool, call);
    if (status == SLUICE_OK) {
        status = check_request(pool, call, args);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    if (volume_find(pool, &args->volume, &volume) == 0) {
        if (!same_request(&volume.meta, args)) {
            volume_close(&volume);
            return fail(pool, call, SLUICE_EXISTS,
                        "the volume exists with another name, size or source");
        }
    } else if (errno != ENOENT) {
        return fail_errno(pool, call, errno, "read the volume's record");
    } else {
        uuid_text(&args->volume, text);
        int directory = directory_make(pool->volumes, text);
        status = directory >= 0 ? make_volume(pool, call, args, directory)
                                : fail_errno(pool, call, errno, "make the volume's directory");
        close_quietly(&directory);
        if (status == SLUICE_PENDING) {
            ret->retry_after_ms = 0;
            return status;
        }
        if (status != SLUICE_OK) {
            volume_sweep(pool, call, &args->volume); /* what failed leaves nothing */
            return status;
        }
        status = volume_open(pool, call, &args->volume, &volume);
    }
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_close(&volume);
    }
    return status;
}

/* ---- get, resize, delete ------------------------------------------------------------------ */

int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                   struct sluice_volume *ret) {
    struct volume found;
    int32_t status = volume_open(pool, call, volume, &found);
    if (status == SLUICE_OK) {
        volume_tell(&found, ret);
        volume_close(&found);
    }
    return status;
}

/* The record says the new size first and the file follows, so asking again ends what a crash left
 * between. What lies beyond the old size, of an unfinished shrinking, goes before the file grows.
 */
static int32_t resize_disk(struct pool *pool, struct sluice_call *call, struct volume *volume,
                           int fd, uint64_t size_bytes) {
    struct volume_meta before = volume->meta;
    struct stat disk;
    if (fstat(fd, &disk) != 0 || ((uint64_t)disk.st_size > before.size_bytes &&
                                  ftruncate(fd, (off_t)before.size_bytes) != 0)) {
        return fail_errno(pool, call, errno, "measure the volume's disk");
    }
    volume->meta.size_bytes = size_bytes;
    if (volume_meta_store(volume->directory, &volume->meta, true) != 0) {
        return fail_errno(pool, call, errno, "write the volume's record");
    }
    STEP(resize_recorded);
    bool done = ftruncate(fd, (off_t)size_bytes) == 0;
    STEP(resize_truncated);
    if (done && pool->preallocate && size_bytes > before.size_bytes) {
        done = fallocate(fd, 0, (off_t)before.size_bytes,
                         (off_t)(size_bytes - before.size_bytes)) == 0;
    }
    if (!done || fsync(fd) != 0) {
        int error = errno;
        if (size_bytes > before.size_bytes && ftruncate(fd, (off_t)before.size_bytes) == 0 &&
            volume_meta_store(volume->directory, &before, true) == 0) {
            volume->meta = before;
        }
        return fail_errno(pool, call, error, "resize the volume to %llu bytes",
                          (unsigned long long)size_bytes);
    }
    return SLUICE_OK;
}

int32_t volume_resize(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                      uint64_t size_bytes, struct sluice_volume *ret) {
    struct pool *pool = argument;
    struct volume volume;
    if (size_bytes == 0 || size_bytes % SIZE_STEP != 0 || size_bytes > INT64_MAX) {
        return fail(pool, call, SLUICE_INVALID, "%llu bytes are no multiple of %llu",
                    (unsigned long long)size_bytes, (unsigned long long)SIZE_STEP);
    }
    int32_t status = volume_open(pool, call, id, &volume);
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t before = volume.meta.size_bytes;
    uint64_t more = size_bytes > before ? size_bytes - before : 0;
    int fd = -1;
    if (size_bytes < before) {
        status = volume_lock_disk(pool, call, &volume, F_WRLCK, &fd);
    } else if ((fd = beneath_open(volume.directory, volume.disk, O_RDWR, 0)) < 0) {
        status = fail_errno(pool, call, errno, "open the volume's disk");
    }
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, more);
    }
    if (status == SLUICE_OK) {
        status = resize_disk(pool, call, &volume, fd, size_bytes);
        if (volume.meta.size_bytes == before) {
            pool_unreserve(pool, more);
        } else if (volume.meta.size_bytes < before) {
            pool_unreserve(pool, before - volume.meta.size_bytes);
        }
    }
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
    }
    close_quietly(&fd);
    volume_close(&volume);
    return status;
}

int32_t volume_delete(void *argument, struct sluice_call *call, const struct sluice_uuid *id) {
    struct pool *pool = argument;
    struct volume volume;
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    job_drop(pool, id);
    if (volume_find(pool, id, &volume) == 0) {
        int fd = -1;
        status = volume_lock_disk(pool, call, &volume, F_WRLCK, &fd);
        if (status == SLUICE_OK && (unlinkat(volume.directory, LAYOUT_VOLUME_META, 0) != 0 ||
                                    fsync(volume.directory) != 0)) {
            status = fail_errno(pool, call, errno, "remove the volume's record");
        }
        if (status == SLUICE_OK) {
            pool_unreserve(pool, volume.meta.size_bytes);
        }
        STEP(delete_unpublished);
        close_quietly(&fd);
        volume_close(&volume);
    } else if (errno != ENOENT && errno != EBADMSG) {
        status = fail_errno(pool, call, errno, "read the volume's record");
    }
    /* Half made, half deleted or damaged: what there is of it goes. */
    return status == SLUICE_OK ? volume_sweep(pool, call, id) : status;
}

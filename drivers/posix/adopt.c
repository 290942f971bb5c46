/* SPDX-License-Identifier: Apache-2.0
 *
 * adopt.c: taking over a raw image that lies below the pool's directory, and letting go of one.
 *
 * A reference is a path relative to the pool's directory. Adopting writes the volume's record and
 * then moves the file to where the record says: that rename makes it a volume. Unmanaging moves it
 * to "unmanaged/<volume>.raw": that rename ends the volume. The bytes are in one place or the other
 * at any time, and deleting a half-made adoption leaves them where they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "acl.h"
#include "job.h"
#include "step.h"
#include "volume.h"

/* A name that leads to a file of the pool's owner and not to one of the driver's own. */
static bool is_reference(const char *reference) {
    size_t length = strlen(reference);
    return length > 0 && length < SLUICE_PATH_MAX && reference[0] != '/' &&
           reference[length - 1] != '/' && strstr(reference, "//") == NULL &&
           strncmp(reference, "./", 2) != 0 && strncmp(reference, "../", 3) != 0 &&
           strstr(reference, "/./") == NULL && strstr(reference, "/../") == NULL &&
           strncmp(reference, LAYOUT_VOLUMES "/", sizeof LAYOUT_VOLUMES) != 0 &&
           strcmp(reference, LAYOUT_MARKER) != 0;
}

/* The directory of the reference and, in *ret_base, its last name. */
static int open_parent(struct pool *pool, const char *reference, const char **ret_base) {
    const char *slash = strrchr(reference, '/');
    char parent[SLUICE_PATH_MAX];
    if (slash == NULL) {
        *ret_base = reference;
        return openat(pool->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    memcpy(parent, reference, (size_t)(slash - reference));
    parent[slash - reference] = '\0';
    *ret_base = slash + 1;
    return beneath_open(pool->root, parent, O_RDONLY | O_DIRECTORY, 0);
}

/* Opens what is to be adopted and sees whether it can be. */
static int32_t open_file(struct pool *pool, struct sluice_call *call, int parent, const char *base,
                         int *ret_fd, uint64_t *ret_bytes) {
    struct stat file;
    unsigned uid = (unsigned)geteuid();
    int fd = parent >= 0 ? beneath_open(parent, base, O_RDWR, 0) : -1;
    if (fd < 0 || fstat(fd, &file) != 0) {
        int error = errno;
        close_quietly(&fd);
        if (error == ENOENT) {
            return fail(pool, call, SLUICE_NOT_FOUND, "no such file below '%.300s'", pool->path);
        }
        return error == EISDIR ? fail(pool, call, SLUICE_INVALID, "it is a directory")
                               : fail_errno(pool, call, error, "open the file");
    }
    int32_t status = SLUICE_OK;
    if (!S_ISREG(file.st_mode)) {
        status = fail(pool, call, SLUICE_INVALID, "it is no regular file");
    } else if (file.st_nlink != 1) {
        status = fail(pool, call, SLUICE_INVALID, "the file has %llu names: remove the others",
                      (unsigned long long)file.st_nlink);
    } else if (file.st_uid != geteuid()) {
        status =
            fail(pool, call, SLUICE_ACCESS,
                 "the file belongs to uid %u; run: chown %u on it, so that access can be given",
                 (unsigned)file.st_uid, uid);
    } else if (file.st_size == 0 || (uint64_t)file.st_size % SIZE_STEP != 0) {
        status = fail(pool, call, SLUICE_INVALID,
                      "the file has %lld bytes, no multiple of 512; run: truncate -s %%512 on it",
                      (long long)file.st_size);
    } else if (file_lock(fd, F_WRLCK) != 0 || file_is_open_elsewhere(fd, false) == 1) {
        status = fail(pool, call, SLUICE_BUSY, "a process of this host has the file open");
    }
    if (status != SLUICE_OK) {
        close_quietly(&fd);
        return status;
    }
    *ret_fd = fd;
    *ret_bytes = (uint64_t)file.st_size;
    return SLUICE_OK;
}

static int32_t move_in(struct pool *pool, struct sluice_call *call, int directory,
                       struct volume_meta *meta) {
    char disk[LAYOUT_NAME];
    const char *base;
    int fd = -1;
    int parent = open_parent(pool, meta->adopted, &base);
    int32_t status = open_file(pool, call, parent, base, &fd, &meta->size_bytes);
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, meta->size_bytes);
    }
    if (status != SLUICE_OK) {
        close_quietly(&fd);
        close_quietly(&parent);
        return status;
    }
    meta->created_bytes = meta->size_bytes;
    layout_disk(meta->generation, disk);
    if ((unlinkat(directory, disk, 0) != 0 && errno != ENOENT) ||
        volume_meta_store(directory, meta, true) != 0) {
        status = fail_errno(pool, call, errno, "write the volume's record");
    }
    STEP(adopt_recorded);
    if (status == SLUICE_OK &&
        (acl_apply(fd, ACL_READ | ACL_WRITE, NULL, 0) != 0 || fsync(fd) != 0 ||
         publish(parent, base, directory, disk, false) != 0)) {
        status = fail_errno(pool, call, errno, "move the file into the volume");
    }
    STEP(adopt_moved);
    if (status != SLUICE_OK) {
        pool_unreserve(pool, meta->size_bytes);
    }
    close_quietly(&fd);
    close_quietly(&parent);
    return status;
}

int32_t volume_adopt(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                     const char *reference, const char *name, struct sluice_volume *ret) {
    struct pool *pool = argument;
    struct volume volume;
    if (reference == NULL || !is_reference(reference)) {
        return fail(pool, call, SLUICE_INVALID,
                    "a reference is a path relative to '%.200s', outside of volumes/, without . "
                    "and ..",
                    pool->path);
    }
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if (volume_find(pool, id, &volume) == 0) {
        if (strcmp(volume.meta.adopted, reference) != 0 || strcmp(volume.meta.name, name) != 0) {
            volume_close(&volume);
            return fail(pool, call, SLUICE_EXISTS, "the volume exists and is another one");
        }
    } else if (errno != ENOENT) {
        return fail_errno(pool, call, errno, "read the volume's record");
    } else {
        char text[UUID_TEXT];
        struct volume_meta meta = {.id = *id, .generation = 1};
        memcpy(meta.adopted, reference, strlen(reference) + 1); /* both measured above */
        memcpy(meta.name, name, strlen(name) + 1);
        uuid_text(id, text);
        int directory = directory_make(pool->volumes, text);
        status = directory >= 0 ? move_in(pool, call, directory, &meta)
                                : fail_errno(pool, call, errno, "make the volume's directory");
        close_quietly(&directory);
        if (status != SLUICE_OK) {
            /* Never sweep where the file may have been moved in: those are its owner's bytes. */
            if (volume_find(pool, id, &volume) == 0) {
                volume_close(&volume);
            } else if (errno == ENOENT) {
                volume_sweep(pool, call, id);
            }
            return status;
        }
        status = volume_open(pool, call, id, &volume);
    }
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_close(&volume);
    }
    return status;
}

static int32_t move_out(struct pool *pool, struct sluice_call *call, const struct volume *volume,
                        const char *base) {
    int fd = -1;
    int32_t status = volume_lock_disk(pool, call, volume, F_WRLCK, &fd);
    if (status != SLUICE_OK) {
        return status;
    }
    int unmanaged = directory_make(pool->root, LAYOUT_UNMANAGED);
    if (unmanaged < 0 || acl_apply(fd, ACL_READ | ACL_WRITE, NULL, 0) != 0 ||
        publish(volume->directory, volume->disk, unmanaged, base, false) != 0) {
        status = errno == EEXIST
                     ? fail(pool, call, SLUICE_EXISTS, "'%s/%s' is there already: move it away",
                            LAYOUT_UNMANAGED, base)
                     : fail_errno(pool, call, errno, "move the volume's disk out");
    } else {
        pool_unreserve(pool, volume->meta.size_bytes);
    }
    STEP(unmanage_moved);
    close_quietly(&unmanaged);
    close_quietly(&fd);
    return status;
}

int32_t volume_unmanage(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                        char *ret_reference) {
    struct pool *pool = argument;
    struct volume volume;
    struct stat file;
    char text[UUID_TEXT];
    char path[LAYOUT_PATH];
    uuid_text(id, text);
    snprintf(path, sizeof path, LAYOUT_UNMANAGED "/%s.raw", text);
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    job_drop(pool, id);
    if (volume_find(pool, id, &volume) == 0) {
        status = move_out(pool, call, &volume, path + sizeof LAYOUT_UNMANAGED);
        volume_close(&volume);
    } else if (errno != ENOENT) {
        status = fail_errno(pool, call, errno, "read the volume's record");
    } else if (fstatat(pool->root, path, &file, AT_SYMLINK_NOFOLLOW) != 0) {
        /* Were it there, it would have been moved out already, perhaps just before a crash. */
        status = fail(pool, call, SLUICE_NOT_FOUND, "no such volume in '%.300s'", pool->path);
    }
    if (status == SLUICE_OK) {
        status = volume_sweep(pool, call, id);
    }
    if (status == SLUICE_OK) {
        memcpy(ret_reference, path, strlen(path) + 1);
    }
    return status;
}

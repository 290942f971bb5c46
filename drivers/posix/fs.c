/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.c: a local directory as a share (share/fs.h).
 *
 * A name counts as durable when its directory was synced, which each function that changes one
 * does. The fence is an OFD lock of the whole file on the very description that the I/O goes
 * through, so it lasts exactly as long as I/O through it is possible.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "acl.h"
#include "pool.h"
#include "share/step.h"

#define NEW_SUFFIX ".new"

static struct posix_pool *pool_of(struct share_fs *fs) {
    return (struct posix_pool *)fs; /* its first member */
}

/* ---- open files ------------------------------------------------------------------------------ */

struct posix_file {
    struct image_file file;
    int fd;
};

static int fd_of(const struct image_file *file) {
    return ((const struct posix_file *)file)->fd;
}

int posix_file_fd(const struct image_file *file) {
    return fd_of(file);
}

static int32_t file_read(struct image_file *file, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    while (length > 0) {
        ssize_t n = pread(fd_of(file), to, length, (off_t)offset);
        if (n == 0) {
            memset(to, 0, length);
            return SLUICE_OK;
        }
        if (n < 0 && errno != EINTR) {
            return status_of_errno(errno);
        }
        if (n > 0) {
            to += n;
            offset += (uint64_t)n;
            length -= (size_t)n;
        }
    }
    return SLUICE_OK;
}

static int32_t file_write(struct image_file *file, uint64_t offset, const void *bytes,
                          size_t length) {
    return write_all(fd_of(file), bytes, length, offset) == 0 ? SLUICE_OK : status_of_errno(errno);
}

static int32_t file_flush(struct image_file *file) {
    return fdatasync(fd_of(file)) == 0 ? SLUICE_OK : status_of_errno(errno);
}

static int32_t file_size(struct image_file *file, uint64_t *ret_bytes) {
    struct stat seen;
    if (fstat(fd_of(file), &seen) != 0) {
        return status_of_errno(errno);
    }
    *ret_bytes = (uint64_t)seen.st_size;
    return SLUICE_OK;
}

static int32_t file_resize(struct image_file *file, uint64_t bytes) {
    return ftruncate(fd_of(file), (off_t)bytes) == 0 ? SLUICE_OK : status_of_errno(errno);
}

static int32_t file_punch(struct image_file *file, uint64_t offset, uint64_t length) {
    return fallocate(fd_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length) == 0
               ? SLUICE_OK
               : status_of_errno(errno);
}

static int32_t file_allocated(struct image_file *file, uint64_t offset, uint64_t length,
                              uint32_t *ret_allocated, uint64_t *ret_length) {
    int fd = fd_of(file);
    uint64_t end = offset + length;
    off_t allocated = lseek(fd, (off_t)offset, SEEK_DATA);
    if (allocated < 0 && errno != ENXIO && errno != EINVAL) {
        return status_of_errno(errno);
    }
    bool hole = allocated < 0 ? errno == ENXIO : (uint64_t)allocated > offset;
    off_t next = allocated < 0 ? (off_t)end
                 : hole        ? allocated
                               : lseek(fd, (off_t)offset, SEEK_HOLE);
    uint64_t until =
        next > 0 && (uint64_t)next > offset && (uint64_t)next < end ? (uint64_t)next : end;
    *ret_allocated = !hole;
    *ret_length = until - offset;
    return SLUICE_OK;
}

static void file_close(struct image_file *file) {
    struct posix_file *own = (struct posix_file *)file;
    close_quietly(&own->fd);
    free(own);
}

static const struct image_file_ops file_ops = {
    .read = file_read,
    .write = file_write,
    .flush = file_flush,
    .size = file_size,
    .resize = file_resize,
    .punch = file_punch,
    .allocated = file_allocated,
    .close = file_close,
};

/* Takes the descriptor, also when it fails. */
static int32_t wrap(struct posix_pool *pool, struct sluice_call *call, int fd,
                    struct image_file **ret_file) {
    struct posix_file *file = malloc(sizeof *file);
    if (file == NULL) {
        close_quietly(&fd);
        return fail(pool, call, SLUICE_NO_MEMORY, "no memory for an open file");
    }
    *file = (struct posix_file){.file = {&file_ops}, .fd = fd};
    *ret_file = &file->file;
    return SLUICE_OK;
}

static int32_t fs_open(struct share_fs *fs, struct sluice_call *call, const char *path,
                       uint32_t flags, struct image_file **ret_file) {
    struct posix_pool *pool = pool_of(fs);
    int how = flags & SHARE_OPEN_WRITE ? O_RDWR : O_RDONLY;
    how |= flags & SHARE_OPEN_CREATE ? O_CREAT | O_EXCL : 0;
    int fd = how & O_CREAT ? beneath_open(pool->root, path, how, 0600)
                           : beneath_open_file(pool->root, path, how);
    return fd >= 0 ? wrap(pool, call, fd, ret_file)
                   : fail_errno(pool, call, errno, "open '%.200s'", path);
}

static int32_t fs_open_fenced(struct share_fs *fs, struct sluice_call *call, const char *path,
                              uint64_t epoch, bool read_only, struct image_file **ret_file) {
    struct posix_pool *pool = pool_of(fs);
    (void)epoch; /* the lock is enough: there is no I/O without the description that holds it */
    int fd = beneath_open_file(pool->root, path, read_only ? O_RDONLY : O_RDWR);
    if (fd < 0) {
        return fail_errno(pool, call, errno, "open '%.200s'", path);
    }
    if (file_lock(fd, read_only ? F_RDLCK : F_WRLCK) != 0) {
        int error = errno;
        close_quietly(&fd);
        return error == EAGAIN
                   ? fail(pool, call, SLUICE_BUSY, "another handle or process has the volume open")
                   : fail_errno(pool, call, error, "lock '%.200s'", path);
    }
    return wrap(pool, call, fd, ret_file);
}

/* ---- whole files ------------------------------------------------------------------------------
 */

static int32_t fs_check(struct share_fs *fs, struct sluice_call *call) {
    struct posix_pool *pool = pool_of(fs);
    struct stat here;
    if (stat(pool->path, &here) != 0 || here.st_dev != pool->device || here.st_ino != pool->inode) {
        return fail(pool, call, SLUICE_VANISHED,
                    "'%.300s' is another directory than the pool was opened on: is it mounted?",
                    pool->path);
    }
    return SLUICE_OK;
}

static int32_t fs_load(struct share_fs *fs, struct sluice_call *call, const char *path,
                       void *ret_bytes, size_t room, size_t *ret_length) {
    struct posix_pool *pool = pool_of(fs);
    struct stat seen;
    int fd = beneath_open_file(pool->root, path, O_RDONLY);
    if (fd < 0 || fstat(fd, &seen) != 0) {
        int32_t status = fail_errno(pool, call, errno, "open '%.200s'", path);
        close_quietly(&fd);
        return status;
    }
    size_t length = 0;
    ssize_t n = 1;
    while (n > 0 && length < room) {
        n = pread(fd, (uint8_t *)ret_bytes + length, room - length, (off_t)length);
        length += n > 0 ? (size_t)n : 0;
    }
    int error = errno;
    close_quietly(&fd);
    if (n < 0) {
        return fail_errno(pool, call, error, "read '%.200s'", path);
    }
    *ret_length = length;
    return (uint64_t)seen.st_size > room ? SLUICE_LIMIT : SLUICE_OK;
}

/* Writes and syncs <name>.new in the directory. 0, or -1 with errno. */
static int write_new(int directory, const char *name, const void *bytes, size_t length) {
    if (unlinkat(directory, name, 0) != 0 && errno != ENOENT) {
        return -1;
    }
    int fd = beneath_open(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return -1;
    }
    int result = write_all(fd, bytes, length, 0) == 0 ? fsync(fd) : -1;
    close_quietly(&fd);
    return result;
}

static int32_t fs_store(struct share_fs *fs, struct sluice_call *call, const char *path,
                        const void *bytes, size_t length, bool replace) {
    struct posix_pool *pool = pool_of(fs);
    const char *name;
    char unfinished[NAME_MAX + 1];
    int directory = beneath_parent(pool->root, path, &name);
    if (directory < 0) {
        return fail_errno(pool, call, errno, "open the directory of '%.200s'", path);
    }
    snprintf(unfinished, sizeof unfinished, "%s" NEW_SUFFIX, name);
    int result = write_new(directory, unfinished, bytes, length);
    STEP(record_written);
    if (result == 0) {
        result = publish(directory, unfinished, directory, name, replace);
    }
    int32_t status = SLUICE_OK;
    if (result != 0) {
        status = fail_errno(pool, call, errno, "write '%.200s'", path);
        unlinkat(directory, unfinished, 0);
    }
    close_quietly(&directory);
    return status;
}

static int32_t fs_stat(struct share_fs *fs, struct sluice_call *call, const char *path,
                       struct share_stat *ret) {
    struct posix_pool *pool = pool_of(fs);
    struct stat seen;
    int fd = beneath_open(pool->root, path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0 || fstat(fd, &seen) != 0) {
        int32_t status = fail_errno(pool, call, errno, "look at '%.200s'", path);
        close_quietly(&fd);
        return status;
    }
    close_quietly(&fd);
    *ret = (struct share_stat){
        .directory = S_ISDIR(seen.st_mode),
        .size_bytes = (uint64_t)seen.st_size,
        .used_bytes = (uint64_t)seen.st_blocks * 512,
        .inode = seen.st_ino,
        .changed_ns = (uint64_t)seen.st_ctim.tv_sec * 1000000000 + (uint64_t)seen.st_ctim.tv_nsec,
        .links = (uint32_t)seen.st_nlink,
    };
    return SLUICE_OK;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static int32_t fs_make_directory(struct share_fs *fs, struct sluice_call *call, const char *path) {
    struct posix_pool *pool = pool_of(fs);
    const char *name;
    int fd = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        close_quietly(&fd);
        return SLUICE_OK;
    }
    if (errno != ENOENT) {
        return fail_errno(pool, call, errno, "open '%.200s'", path);
    }
    int parent = beneath_parent(pool->root, path, &name);
    bool done =
        parent >= 0 && (mkdirat(parent, name, 0700) == 0 || errno == EEXIST) && fsync(parent) == 0;
    int32_t status =
        done ? SLUICE_OK : fail_errno(pool, call, errno, "make the directory '%.200s'", path);
    close_quietly(&parent);
    return status;
}

static int32_t unlink_and_sync(struct share_fs *fs, struct sluice_call *call, const char *path,
                               int flags) {
    struct posix_pool *pool = pool_of(fs);
    const char *name;
    int parent = beneath_parent(pool->root, path, &name);
    bool done = parent >= 0 && unlinkat(parent, name, flags) == 0 && fsync(parent) == 0;
    int32_t status = SLUICE_OK;
    if (!done) {
        status = errno == ENOTEMPTY || (errno == EEXIST && flags == AT_REMOVEDIR)
                     ? SLUICE_BUSY
                     : fail_errno(pool, call, errno, "remove '%.200s'", path);
    }
    close_quietly(&parent);
    return status;
}

static int32_t fs_remove(struct share_fs *fs, struct sluice_call *call, const char *path) {
    return unlink_and_sync(fs, call, path, 0);
}

static int32_t fs_remove_directory(struct share_fs *fs, struct sluice_call *call,
                                   const char *path) {
    return unlink_and_sync(fs, call, path, AT_REMOVEDIR);
}

static int32_t fs_rename(struct share_fs *fs, struct sluice_call *call, const char *from,
                         const char *to) {
    struct posix_pool *pool = pool_of(fs);
    const char *from_name;
    const char *to_name;
    int from_parent = beneath_parent(pool->root, from, &from_name);
    int to_parent = from_parent >= 0 ? beneath_parent(pool->root, to, &to_name) : -1;
    int result = to_parent >= 0 ? publish(from_parent, from_name, to_parent, to_name, false) : -1;
    int32_t status = result == 0
                         ? SLUICE_OK
                         : fail_errno(pool, call, errno, "move '%.100s' to '%.100s'", from, to);
    close_quietly(&to_parent);
    close_quietly(&from_parent);
    return status;
}

static bool is_directory(int directory, const struct dirent *entry) {
    struct stat seen;
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    return fstatat(directory, entry->d_name, &seen, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(seen.st_mode);
}

static int32_t fs_list(struct share_fs *fs, struct sluice_call *call, const char *path,
                       share_name *each, void *argument) {
    struct posix_pool *pool = pool_of(fs);
    int fd = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        int32_t status = fail_errno(pool, call, errno, "list '%.200s'", path);
        close_quietly(&fd);
        return status;
    }
    struct dirent *entry;
    bool more = true;
    while (errno = 0, more && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            more = each(argument, entry->d_name, is_directory(dirfd(stream), entry));
        }
    }
    int error = more ? errno : 0;
    closedir(stream);
    return error == 0 ? SLUICE_OK : fail_errno(pool, call, error, "list '%.200s'", path);
}

/* ---- rights and space -------------------------------------------------------------------------
 */

static int32_t fs_let(struct share_fs *fs, struct sluice_call *call, const char *path,
                      const struct share_right *rights, uint32_t count) {
    struct posix_pool *pool = pool_of(fs);
    struct acl_user users[ACL_USERS_MAX];
    struct stat seen;
    if (count > ACL_USERS_MAX) {
        return fail(pool, call, SLUICE_LIMIT,
                    "%u users would have to open '%.200s', at most %d can", count, path,
                    ACL_USERS_MAX);
    }
    int fd = beneath_open_file(pool->root, path, O_RDONLY);
    if (fd < 0 || fstat(fd, &seen) != 0) {
        int32_t status = fail_errno(pool, call, errno, "open '%.200s'", path);
        close_quietly(&fd);
        return status;
    }
    bool directory = S_ISDIR(seen.st_mode);
    for (uint32_t i = 0; i < count; i++) {
        users[i] = (struct acl_user){.uid = rights[i].identity,
                                     .permissions = directory         ? ACL_SEARCH
                                                    : rights[i].write ? ACL_READ | ACL_WRITE
                                                                      : ACL_READ};
    }
    int result = acl_apply(fd, directory ? 7 : ACL_READ | ACL_WRITE, users, count);
    int32_t status = SLUICE_OK;
    if (result != 0) {
        status = errno == EOPNOTSUPP
                     ? fail(pool, call, SLUICE_UNSUPPORTED,
                            "the file system has no access lists: mount it with acl, or use ext4, "
                            "XFS or btrfs")
                     : fail_errno(pool, call, errno, "set the access list of '%.200s'", path);
    }
    close_quietly(&fd);
    return status;
}

static int32_t fs_capacity(struct share_fs *fs, struct sluice_call *call, uint64_t *ret_total,
                           uint64_t *ret_used) {
    struct posix_pool *pool = pool_of(fs);
    struct statvfs seen;
    if (fstatvfs(pool->root, &seen) != 0) {
        return fail_errno(pool, call, errno, "measure the file system");
    }
    uint64_t used = (uint64_t)(seen.f_blocks - seen.f_bfree) * seen.f_frsize;
    *ret_total = used + (uint64_t)seen.f_bavail * seen.f_frsize; /* root's reserve is nobody's */
    *ret_used = used;
    return SLUICE_OK;
}

static int fs_is_open_elsewhere(struct share_fs *fs, const char *path, bool for_writing) {
    struct posix_pool *pool = pool_of(fs);
    int fd = beneath_open_file(pool->root, path, for_writing ? O_RDONLY : O_RDWR);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    int elsewhere;
    if (file_lock(fd, for_writing ? F_RDLCK : F_WRLCK) != 0 && errno == EAGAIN) {
        elsewhere = 1;
    } else {
        elsewhere = file_is_open_elsewhere(fd, for_writing);
    }
    close_quietly(&fd);
    return elsewhere;
}

static int32_t fs_allocate(struct share_fs *fs, struct sluice_call *call, struct image_file *file,
                           uint64_t offset, uint64_t length) {
    return fallocate(fd_of(file), 0, (off_t)offset, (off_t)length) == 0
               ? SLUICE_OK
               : fail_errno(pool_of(fs), call, errno, "take the space of a file");
}

static int32_t fs_check_adopt(struct share_fs *fs, struct sluice_call *call, const char *path) {
    struct posix_pool *pool = pool_of(fs);
    struct stat seen;
    int fd = beneath_open(pool->root, path, O_RDWR, 0);
    if (fd < 0 || fstat(fd, &seen) != 0) {
        int32_t status = fail_errno(pool, call, errno, "open the file");
        close_quietly(&fd);
        return status;
    }
    int32_t status = SLUICE_OK;
    unsigned uid = (unsigned)geteuid();
    if (!S_ISREG(seen.st_mode)) {
        status = fail(pool, call, SLUICE_INVALID, "it is no regular file");
    } else if (seen.st_uid != geteuid()) {
        status =
            fail(pool, call, SLUICE_ACCESS,
                 "the file belongs to uid %u; run: chown %u on it, so that access can be given",
                 (unsigned)seen.st_uid, uid);
    } else if (file_lock(fd, F_WRLCK) != 0 || file_is_open_elsewhere(fd, false) == 1) {
        status = fail(pool, call, SLUICE_BUSY, "a process of this host has the file open");
    }
    close_quietly(&fd);
    return status;
}

const struct share_fs_ops posix_fs = {
    .check = fs_check,
    .open = fs_open,
    .open_fenced = fs_open_fenced,
    .load = fs_load,
    .store = fs_store,
    .stat = fs_stat,
    .make_directory = fs_make_directory,
    .remove = fs_remove,
    .remove_directory = fs_remove_directory,
    .rename = fs_rename,
    .list = fs_list,
    .let = fs_let,
    .capacity = fs_capacity,
    .is_open_elsewhere = fs_is_open_elsewhere,
    .allocate = fs_allocate,
    .check_adopt = fs_check_adopt,
};

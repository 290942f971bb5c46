/* SPDX-License-Identifier: Apache-2.0
 *
 * beneath.c: see beneath.h.
 */
#include "beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "share/fs.h"

/* What beneath_open does where the kernel has no openat2. */
static int walk(int root, const char *path, int flags, mode_t mode) {
    struct stat top;
    struct stat here;
    char part[NAME_MAX + 1];
    int directory = root;
    int fd = -1;
    if (fstat(root, &top) != 0) {
        return -1;
    }
    for (const char *at = path;;) {
        size_t length = strcspn(at, "/");
        bool last = at[length] == '\0';
        if (length == 0 || length >= sizeof part || strncmp(at, "..", length) == 0) {
            errno = length >= sizeof part ? ENAMETOOLONG : EXDEV;
            fd = -1;
        } else {
            memcpy(part, at, length);
            part[length] = '\0';
            int how = last ? flags : O_PATH | O_DIRECTORY;
            fd = openat(directory, part, how | O_NOFOLLOW | O_CLOEXEC, mode);
        }
        if (directory != root) {
            close_quietly(&directory);
        }
        if (fd >= 0 && (fstat(fd, &here) != 0 || here.st_dev != top.st_dev)) {
            close_quietly(&fd);
            errno = EXDEV;
        }
        if (fd < 0 || last) {
            return fd;
        }
        directory = fd;
        at += length + 1;
    }
}

int beneath_open(int root, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    /* EPERM: a seccomp filter that is older than the call; a true one comes again from walk. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
        fd = walk(root, path, flags, mode);
    }
    return fd;
}

int beneath_open_file(int root, const char *path, int flags) {
    struct stat seen;
    int fd = beneath_open(root, path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) {
        return -1;
    }
    bool waits = fstat(fd, &seen) != 0 || !(S_ISREG(seen.st_mode) || S_ISDIR(seen.st_mode));
    close_quietly(&fd);
    if (waits) {
        errno = ELOOP; /* what lies in the way is none of ours, as a link is */
        return -1;
    }
    return beneath_open(root, path, flags, 0);
}

int beneath_parent(int root, const char *path, const char **ret_name) {
    const char *slash = strrchr(path, '/');
    char parent[SHARE_PATH_MAX];
    if (slash == NULL) {
        *ret_name = path;
        return openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if ((size_t)(slash - path) >= sizeof parent) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    *ret_name = slash + 1;
    return beneath_open(root, parent, O_RDONLY | O_DIRECTORY, 0);
}

int publish(int from_directory, const char *from, int to_directory, const char *to, bool replace) {
    int result = renameat2(from_directory, from, to_directory, to, replace ? 0 : RENAME_NOREPLACE);
    if (result != 0 && !replace && (errno == EINVAL || errno == ENOSYS)) {
        /* The file system knows no RENAME_NOREPLACE; a link never replaces either. */
        result = linkat(from_directory, from, to_directory, to, 0);
        if (result == 0) {
            result = unlinkat(from_directory, from, 0);
        }
    }
    if (result != 0 || fsync(to_directory) != 0) {
        return -1;
    }
    return from_directory == to_directory ? 0 : fsync(from_directory);
}

int write_all(int fd, const void *bytes, size_t length, uint64_t offset) {
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t n = pwrite(fd, from, length, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return -1;
        }
        from += n;
        length -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int file_lock(int fd, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    int result = fcntl(fd, F_OFD_SETLK, &lock);
    if (result != 0 && errno == EACCES) {
        errno = EAGAIN;
    }
    return result;
}

int file_is_open_elsewhere(int fd, bool for_writing) {
    /* A lease is granted only while nobody else has the file open. Whoever opens it during the
     * moment that we hold it makes the kernel signal us, by default with SIGIO, which kills: SIGURG
     * is ignored unless somebody asked for it. */
    if (fcntl(fd, F_SETSIG, SIGURG) != 0) {
        return -1;
    }
    if (fcntl(fd, F_SETLEASE, for_writing ? F_RDLCK : F_WRLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return 0;
    }
    return errno == EAGAIN ? 1 : -1;
}

void close_quietly(int *fd) {
    if (*fd >= 0) {
        int error = errno;
        close(*fd);
        errno = error;
        *fd = -1;
    }
}

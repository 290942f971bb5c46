/* SPDX-License-Identifier: Apache-2.0
 *
 * archive.c: paths are resolved first and judged then. The time between is no danger: nobody but
 * root and the gateway can change what was judged.
 */
#include "lifecycle/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool archive_is_inside(const char *directory, const char *path) {
    size_t length = strlen(directory);
    if (length == 1) /* only "/" is that short, and all is inside it */
        return path[0] == '/' && path[1] != '\0';
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

static bool resolve(const char *path, char ret[PATH_MAX], struct err *err) {
    if (realpath(path, ret) != NULL)
        return true;
    return err_errno(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_SYSTEM, errno,
                     "%s", path);
}

/* Only root, and who we are, may say what code gets a pool's credentials. */
static bool only_we_write(const char *path, const struct stat *status, struct err *err) {
    if (status->st_uid != 0 && status->st_uid != geteuid())
        return err_set(err, ERR_MANIFEST,
                       "%s: it belongs to uid %u, who could change it after it was looked at; give "
                       "it to root: chown -R root",
                       path, (unsigned)status->st_uid);
    if ((status->st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    return err_set(err, ERR_MANIFEST,
                   "%s: others than its owner may write it; take that away: chmod go-w", path);
}

bool archive_check_directory(const char *directory, struct err *err) {
    struct stat status;
    if (stat(directory, &status) != 0)
        return err_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, errno, "%s", directory);
    if (!S_ISDIR(status.st_mode))
        return err_set(err, ERR_MANIFEST, "%s: it is not a directory", directory);
    return only_we_write(directory, &status, err);
}

/* The folders from `root` down to where `path` lies. */
static bool check_folders(const char *root, char *path, struct err *err) {
    for (char *slash = path + strlen(root); slash != NULL; slash = strchr(slash + 1, '/')) {
        if (*slash != '/' || slash == path)
            continue;
        *slash = '\0';
        bool good = archive_check_directory(path, err);
        *slash = '/';
        if (!good)
            return false;
    }
    return true;
}

/* Opens without waiting, so that a FIFO in the archive holds nobody up. */
static bool open_inside(const char *directory, const char *path, int *ret_fd, struct stat *ret,
                        struct err *err) {
    char root[PATH_MAX], full[PATH_MAX], asked[PATH_MAX];
    if (!resolve(directory, root, err))
        return false;
    if (snprintf(asked, sizeof asked, "%s/%s", root, path) >= (int)sizeof asked)
        return err_set(err, ERR_MANIFEST, "%s/%s: the path is too long", directory, path);
    if (!resolve(asked, full, err))
        return false;
    if (!archive_is_inside(root, full))
        return err_set(err, ERR_MANIFEST,
                       "%s: it leads out of the archive, to %s; put a file there", asked, full);
    if (!check_folders(root, full, err))
        return false;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "%s", full);
    if (fstat(fd, ret) != 0) {
        err_errno(err, ERR_SYSTEM, errno, "%s", full);
        goto close_fd;
    }
    if (!S_ISREG(ret->st_mode)) {
        err_set(err, ERR_MANIFEST, "%s: it must be a regular file", full);
        goto close_fd;
    }
    if (!only_we_write(full, ret, err))
        goto close_fd;
    *ret_fd = fd;
    return true;
close_fd:
    close(fd);
    return false;
}

bool archive_check_file(const char *directory, const char *path, struct err *err) {
    struct stat status;
    int fd;
    if (!open_inside(directory, path, &fd, &status, err))
        return false;
    close(fd);
    return true;
}

bool archive_read(const char *directory, const char *path, size_t max, struct buf *buf,
                  struct err *err) {
    struct stat status;
    int fd;
    if (!open_inside(directory, path, &fd, &status, err))
        return false;
    bool good = false;
    size_t total = 0;
    char piece[4096];
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_errno(err, ERR_SYSTEM, errno, "%s/%s", directory, path);
            break;
        }
        total += (size_t)got;
        if (total > max) {
            err_set(err, ERR_MANIFEST, "%s/%s: it has more than %zu bytes; shorten it", directory,
                    path, max);
            break;
        }
        if (got == 0) {
            good = true;
            break;
        }
        buf_put(buf, piece, (size_t)got);
    }
    close(fd);
    if (good && buf->overflow)
        return err_set(err, ERR_NO_MEMORY, "%s/%s: there is no memory for it", directory, path);
    return good;
}

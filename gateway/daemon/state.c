/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c: files that are there whole or not at all.
 */
#include "daemon/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64 /* ours are "token" and "listen" */

bool state_open(const char *path, int *ret_fd, struct err *err) {
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_errno(err, ERR_CONFIG, errno, "making %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "opening %s", path);
    if (fstat(fd, &st) != 0)
        err_errno(err, ERR_SYSTEM, errno, "looking at %s", path);
    else if (st.st_uid != geteuid())
        err_set(err, ERR_CONFIG, "%s belongs to uid %u", path, (unsigned)st.st_uid);
    else if ((st.st_mode & 077) != 0)
        err_set(err, ERR_CONFIG, "others may enter %s: its mode must be 0700", path);
    else {
        *ret_fd = fd;
        return true;
    }
    close(fd);
    return false;
}

bool state_has(int directory, const char *name) {
    return faccessat(directory, name, F_OK, 0) == 0;
}

static void name_new(const char *name, char ret[NAME_MAX_BYTES]) {
    snprintf(ret, NAME_MAX_BYTES, "%s.new", name);
}

static bool write_new(int directory, const char *name, const char *text, struct err *err) {
    char new[NAME_MAX_BYTES];
    name_new(name, new);
    int fd = openat(directory, new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "making %s", new);
    size_t length = strlen(text);
    bool written = write(fd, text, length) == (ssize_t)length && fsync(fd) == 0;
    int number = errno;
    close(fd);
    return written || err_errno(err, ERR_SYSTEM, number, "writing %s", new);
}

static bool sync_directory(int directory, struct err *err) {
    return fsync(directory) == 0 ||
           err_errno(err, ERR_SYSTEM, errno, "syncing the state directory");
}

bool state_write(int directory, const char *name, const char *text, struct err *err) {
    char new[NAME_MAX_BYTES];
    name_new(name, new);
    if (!write_new(directory, name, text, err))
        return false;
    if (renameat(directory, new, directory, name) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "renaming %s", new);
    return sync_directory(directory, err);
}

bool state_announce(int directory, const char *name, struct err *err) {
    return write_new(directory, name, "", err) && sync_directory(directory, err);
}

bool state_announced(int directory, const char *name) {
    char new[NAME_MAX_BYTES];
    name_new(name, new);
    return state_has(directory, new);
}

void state_remove(int directory, const char *name) {
    unlinkat(directory, name, 0);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.c: see layout.h.
 */
#include "layout.h"

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

#include "step.h"

void uuid_text(const struct sluice_uuid *uuid, char *ret_text) {
    static const char digits[] = "0123456789abcdef";
    char *to = ret_text;
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = digits[uuid->bytes[i] >> 4];
        *to++ = digits[uuid->bytes[i] & 15];
    }
    *to = '\0';
}

bool uuid_parse(const char *text, struct sluice_uuid *ret_uuid) {
    struct sluice_uuid uuid = {{0}};
    char again[UUID_TEXT];
    size_t nibbles = 0;
    if (strlen(text) != UUID_TEXT - 1) {
        return false;
    }
    for (const char *at = text; *at != '\0'; at++) {
        int value = *at >= '0' && *at <= '9'   ? *at - '0'
                    : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10
                                               : -1;
        if (value >= 0 && nibbles < 32) {
            uuid.bytes[nibbles / 2] |= (uint8_t)(nibbles % 2 == 0 ? value << 4 : value);
            nibbles++;
        }
    }
    uuid_text(&uuid, again);
    if (strcmp(again, text) != 0) {
        return false;
    }
    *ret_uuid = uuid;
    return true;
}

int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

bool uuid_is_zero(const struct sluice_uuid *uuid) {
    static const struct sluice_uuid zero;
    return uuid_compare(uuid, &zero) == 0;
}

void layout_volume(const struct sluice_uuid *volume, char *ret_path) {
    char text[UUID_TEXT];
    uuid_text(volume, text);
    snprintf(ret_path, LAYOUT_PATH, LAYOUT_VOLUMES "/%s", text);
}

void layout_snapshot(const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                     char *ret_path) {
    char volume_text[UUID_TEXT];
    char text[UUID_TEXT];
    uuid_text(volume, volume_text);
    uuid_text(snapshot, text);
    snprintf(ret_path, LAYOUT_PATH, LAYOUT_VOLUMES "/%s/" LAYOUT_SNAPSHOTS "/%s", volume_text,
             text);
}

void layout_disk(uint64_t generation, char *ret_name) {
    snprintf(ret_name, LAYOUT_NAME, LAYOUT_DISK_PREFIX "%llu.raw", (unsigned long long)generation);
}

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

int directory_make(int parent, const char *name) {
    int fd = beneath_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    STEP(directory_made);
    if (fsync(parent) != 0) {
        return -1;
    }
    return beneath_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
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

/* SPDX-License-Identifier: Apache-2.0
 *
 * real_file.c: pread, pwrite and what else a table of file operations wants.
 */
#include "image_file/real_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct real_file {
    struct image_file file;
    int fd;
};

static int fd_of(struct image_file *file) {
    return ((struct real_file *)file)->fd;
}

static int32_t failed(void) {
    return errno == ENOSPC ? SLUICE_NO_SPACE : errno == EROFS ? SLUICE_READ_ONLY : SLUICE_IO;
}

static int32_t real_read(struct image_file *file, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    while (length > 0) {
        ssize_t got = pread(fd_of(file), to, length, (off_t)offset);
        if (got < 0)
            return failed();
        if (got == 0)
            break;
        to += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    memset(to, 0, length);
    return SLUICE_OK;
}

static int32_t real_write(struct image_file *file, uint64_t offset, const void *bytes,
                          size_t length) {
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t put = pwrite(fd_of(file), from, length, (off_t)offset);
        if (put <= 0)
            return failed();
        from += put;
        offset += (uint64_t)put;
        length -= (size_t)put;
    }
    return SLUICE_OK;
}

static int32_t real_flush(struct image_file *file) {
    (void)file; /* nobody pulls the plug on these tests */
    return SLUICE_OK;
}

static int32_t real_size(struct image_file *file, uint64_t *ret_bytes) {
    struct stat stat;
    if (fstat(fd_of(file), &stat) != 0)
        return failed();
    *ret_bytes = (uint64_t)stat.st_size;
    return SLUICE_OK;
}

static int32_t real_resize(struct image_file *file, uint64_t bytes) {
    return ftruncate(fd_of(file), (off_t)bytes) == 0 ? SLUICE_OK : failed();
}

static int32_t real_punch(struct image_file *file, uint64_t offset, uint64_t length) {
    if (fallocate(fd_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) == 0)
        return SLUICE_OK;
    return errno == EOPNOTSUPP ? SLUICE_UNSUPPORTED : failed();
}

static int32_t real_allocated(struct image_file *file, uint64_t offset, uint64_t length,
                              uint32_t *ret_allocated, uint64_t *ret_length) {
    off_t at = lseek(fd_of(file), (off_t)offset, SEEK_DATA);
    if (at < 0 && errno != ENXIO)
        return failed();
    uint64_t bytes = length;
    if (at < 0 || (uint64_t)at > offset) {
        *ret_allocated = 0;
        if (at >= 0 && (uint64_t)at - offset < length)
            bytes = (uint64_t)at - offset;
    } else {
        *ret_allocated = 1;
        at = lseek(fd_of(file), (off_t)offset, SEEK_HOLE);
        if (at < 0)
            return failed();
        if ((uint64_t)at - offset < length)
            bytes = (uint64_t)at - offset;
    }
    *ret_length = bytes;
    return SLUICE_OK;
}

static void real_close(struct image_file *file) {
    close(fd_of(file));
    free(file);
}

static const struct image_file_ops real_ops = {
    .read = real_read,
    .write = real_write,
    .flush = real_flush,
    .size = real_size,
    .resize = real_resize,
    .punch = real_punch,
    .allocated = real_allocated,
    .close = real_close,
};

struct image_file *real_file_open(const char *path) {
    struct real_file *real = calloc(1, sizeof *real);
    if (real == NULL)
        return NULL;
    real->file.ops = &real_ops;
    real->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (real->fd < 0) {
        free(real);
        return NULL;
    }
    return &real->file;
}

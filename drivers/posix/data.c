/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: see data.h.
 */
#include "data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "step.h"
#include "volume.h"

#define TOKEN                                                                          \
    1 /* the page cache outlives the process: acknowledged writes are never lost by it \
       */
#define ZERO_BYTES 65536

struct handle {
    const struct sluice_services *services;
    int fd;
    bool read_only;
    uint64_t size_bytes;
};

/* ---- open and close ----------------------------------------------------------------------- */

/* Under the lock: the epoch counts, and the file gets the length that the volume is meant to have
 * (a crash while resizing, or a host that cut the file, left it with another). */
static int32_t enter(struct pool *pool, struct sluice_call *call,
                     const struct sluice_data_open *args, struct volume *volume, int fd) {
    struct stat disk;
    if (args->epoch < volume->meta.epoch) {
        return fail(pool, call, SLUICE_STALE, "epoch %llu has opened the volume, this is %llu",
                    (unsigned long long)volume->meta.epoch, (unsigned long long)args->epoch);
    }
    if (args->epoch > volume->meta.epoch) {
        volume->meta.epoch = args->epoch;
        if (volume_meta_store(volume->directory, &volume->meta, true) != 0) {
            return fail_errno(pool, call, errno, "write down the epoch");
        }
        STEP(epoch_recorded);
    }
    if (fstat(fd, &disk) != 0 ||
        (!args->read_only && (uint64_t)disk.st_size != volume->meta.size_bytes &&
         ftruncate(fd, (off_t)volume->meta.size_bytes) != 0)) {
        return fail_errno(pool, call, errno, "give the disk its length");
    }
    return SLUICE_OK;
}

static int32_t open_volume(struct pool *pool, struct sluice_call *call,
                           const struct sluice_data_open *args, int *ret_fd, uint64_t *ret_bytes) {
    struct volume volume;
    int32_t status = volume_open(pool, call, &args->volume, &volume);
    if (status != SLUICE_OK) {
        return status;
    }
    int fd = beneath_open(volume.directory, volume.disk, args->read_only ? O_RDONLY : O_RDWR, 0);
    if (fd < 0) {
        status = fail_errno(pool, call, errno, "open the volume's disk");
    } else if (file_lock(fd, args->read_only ? F_RDLCK : F_WRLCK) != 0) {
        status = errno == EAGAIN ? fail(pool, call, SLUICE_BUSY,
                                        "another handle or process has the volume open")
                                 : fail_errno(pool, call, errno, "lock the volume's disk");
    }
    uint64_t generation = volume.meta.generation;
    volume_close(&volume);
    if (status == SLUICE_OK) {
        /* Who held the lock may have changed the record until then. */
        status = volume_open(pool, call, &args->volume, &volume);
        if (status == SLUICE_OK && volume.meta.generation != generation) {
            status = fail(pool, call, SLUICE_BUSY, "the volume was being reverted");
        } else if (status == SLUICE_OK) {
            status = enter(pool, call, args, &volume, fd);
            *ret_bytes = volume.meta.size_bytes;
        }
        volume_close(&volume);
    }
    if (status != SLUICE_OK) {
        close_quietly(&fd);
    }
    *ret_fd = fd;
    return status;
}

int32_t data_open(void *argument, struct sluice_call *call, const struct sluice_data_open *args,
                  struct sluice_data_opened *ret) {
    struct pool *pool = argument;
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        return fail(pool, call, SLUICE_NO_MEMORY, "no memory for a handle");
    }
    handle->services = pool->services;
    handle->read_only = args->read_only != 0;
    int32_t status;
    if (uuid_is_zero(&args->snapshot)) {
        status = open_volume(pool, call, args, &handle->fd, &handle->size_bytes);
    } else if (!handle->read_only) {
        status = fail(pool, call, SLUICE_INVALID, "a snapshot is never written");
    } else {
        struct snapshot_meta meta;
        status = snapshot_open_disk(pool, call, &args->volume, &args->snapshot, &meta, &handle->fd);
        handle->size_bytes = status == SLUICE_OK ? meta.size_bytes : 0;
    }
    if (status != SLUICE_OK) {
        free(handle);
        return status;
    }
    ret->io_align = 1;
    ret->size_bytes = handle->size_bytes;
    ret->token = TOKEN;
    ret->handle = handle;
    return SLUICE_OK;
}

void data_close(void *argument) {
    struct handle *handle = argument;
    close_quietly(&handle->fd);
    free(handle);
}

/* ---- I/O ---------------------------------------------------------------------------------- */

static void complete(const struct handle *handle, struct sluice_io *io, int32_t status) {
    handle->services->complete(handle->services, io, status, TOKEN);
}

static int32_t check(const struct handle *handle, const struct sluice_io *io, bool writes) {
    if (io->offset > handle->size_bytes || io->length > handle->size_bytes - io->offset) {
        return SLUICE_INVALID;
    }
    return writes && handle->read_only ? SLUICE_READ_ONLY : SLUICE_OK;
}

/* Completes a write, trim or zeroes that came to `result` (0, or -1 with errno). */
static void complete_change(const struct handle *handle, struct sluice_io *io, int result) {
    if (result == 0 && io->flags & SLUICE_IO_FUA) {
        result = fdatasync(handle->fd);
    }
    complete(handle, io, result == 0 ? SLUICE_OK : status_of_errno(errno));
}

void data_read(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    uint8_t *to = io->buffer;
    uint64_t done = 0;
    while (status == SLUICE_OK && done < io->length) {
        ssize_t n = pread(handle->fd, to + done, io->length - done, (off_t)(io->offset + done));
        if (n > 0) {
            done += (uint64_t)n;
        } else if (n == 0) { /* a host cut the file: what is missing would read as zeroes */
            memset(to + done, 0, io->length - done);
            done = io->length;
        } else if (errno != EINTR) {
            status = status_of_errno(errno);
        }
    }
    complete(handle, io, status);
}

void data_write(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status != SLUICE_OK) {
        complete(handle, io, status);
        return;
    }
    complete_change(handle, io, write_all(handle->fd, io->buffer, io->length, io->offset));
}

void data_flush(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    complete(handle, io, fdatasync(handle->fd) == 0 ? SLUICE_OK : status_of_errno(errno));
}

static int write_zeroes(int fd, uint64_t offset, uint64_t length) {
    static const uint8_t zeroes[ZERO_BYTES];
    while (length > 0) {
        size_t part = length < sizeof zeroes ? (size_t)length : sizeof zeroes;
        if (write_all(fd, zeroes, part, offset) != 0) {
            return -1;
        }
        offset += part;
        length -= part;
    }
    return 0;
}

void data_write_zeroes(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status != SLUICE_OK || io->length == 0) {
        complete(handle, io, status);
        return;
    }
    int how = io->flags & SLUICE_IO_NO_HOLE ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
    int result =
        fallocate(handle->fd, how | FALLOC_FL_KEEP_SIZE, (off_t)io->offset, (off_t)io->length);
    if (result != 0 && errno == EOPNOTSUPP && !(io->flags & SLUICE_IO_FAST_ZERO)) {
        result = write_zeroes(handle->fd, io->offset, io->length);
    }
    complete_change(handle, io, result);
}

void data_trim(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status != SLUICE_OK || io->length == 0) {
        complete(handle, io, status);
        return;
    }
    int result = fallocate(handle->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           (off_t)io->offset, (off_t)io->length);
    /* A trim is a wish: where the file system cannot, the bytes stay. */
    complete_change(handle, io, result != 0 && errno == EOPNOTSUPP ? 0 : result);
}

void data_extents(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    uint64_t offset = io->offset;
    uint64_t end = io->offset + io->length;
    io->extents_count = 0;
    while (status == SLUICE_OK && offset < end && io->extents_count < io->extents_capacity) {
        off_t allocated = lseek(handle->fd, (off_t)offset, SEEK_DATA);
        if (allocated < 0 && errno != ENXIO && errno != EINVAL) {
            status = status_of_errno(errno);
            break;
        }
        bool hole = allocated < 0 ? errno == ENXIO : (uint64_t)allocated > offset;
        off_t next = allocated < 0 ? (off_t)end
                     : hole        ? allocated
                                   : lseek(handle->fd, (off_t)offset, SEEK_HOLE);
        uint64_t until =
            next > 0 && (uint64_t)next > offset && (uint64_t)next < end ? (uint64_t)next : end;
        io->extents[io->extents_count++] = (struct sluice_extent){
            .offset = offset,
            .length = until - offset,
            .flags = hole ? SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO : 0,
        };
        offset = until;
    }
    complete(handle, io, status);
}

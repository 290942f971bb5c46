/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: see data.h.
 */
#include "data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "step.h"
#include "volume.h"

#define TOKEN                                                                          \
    1 /* the page cache outlives the process: acknowledged writes are never lost by it \
       */
#define ZERO_BYTES 65536
/* Two writes in a row that take so long: writers are made to wait, and workers write for a while.
 */
#define SLOW_NS UINT64_C(1000000)
#define SLOW_WRITES 2
#define SLOW_FOR_NS UINT64_C(100000000)

struct handle {
    const struct sluice_services *services;
    struct workers *workers;
    int fd;
    bool read_only;
    uint64_t size_bytes;
    uint32_t pending;        /* with workers; under their lock */
    _Atomic bool asks_cache; /* the file system can read without waiting */
    _Atomic uint32_t slow_writes;
    _Atomic uint64_t slow_until_ns;
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
    handle->workers = &pool->workers;
    atomic_init(&handle->asks_cache, true);
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
    workers_wait(handle->workers, &handle->pending);
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

/* Gives the call to a worker, or does it here where none takes it. */
static void hand_over(struct handle *handle, struct sluice_io *io, worker_run *run) {
    const struct worker_task task = {
        .run = run, .owner = handle, .pending = &handle->pending, .io = io};
    if (!workers_submit(handle->workers, &task)) {
        run(handle, io);
    }
}

/* What is read already is in io->driver. */
static void read_rest(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = SLUICE_OK;
    uint8_t *to = io->buffer;
    uint64_t done = (uint64_t)(uintptr_t)io->driver;
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

/* How much the page cache has at hand. *ret_waits: the rest would have to be waited for. */
static uint64_t read_cached(struct handle *handle, const struct sluice_io *io, bool *ret_waits) {
    struct iovec part = {.iov_base = io->buffer, .iov_len = io->length};
    *ret_waits = false;
    if (!atomic_load_explicit(&handle->asks_cache, memory_order_relaxed)) {
        return 0;
    }
    ssize_t n = preadv2(handle->fd, &part, 1, (off_t)io->offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        atomic_store_explicit(&handle->asks_cache, false, memory_order_relaxed);
        return 0;
    }
    *ret_waits = n < 0 || (uint64_t)n < io->length;
    return n > 0 ? (uint64_t)n : 0;
}

void data_read(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    if (status != SLUICE_OK) {
        complete(handle, io, status);
        return;
    }
    bool waits;
    io->driver = (void *)(uintptr_t)read_cached(handle, io, &waits);
    if (waits) {
        hand_over(handle, io, read_rest);
    } else {
        read_rest(handle, io);
    }
}

static void write_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    complete_change(handle, io, write_all(handle->fd, io->buffer, io->length, io->offset));
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void note_duration(struct handle *handle, uint64_t begun_ns) {
    uint64_t ended_ns = now_ns();
    if (ended_ns - begun_ns <= SLOW_NS) {
        atomic_store_explicit(&handle->slow_writes, 0, memory_order_relaxed);
    } else if (atomic_fetch_add_explicit(&handle->slow_writes, 1, memory_order_relaxed) + 1 >=
               SLOW_WRITES) {
        atomic_store_explicit(&handle->slow_until_ns, ended_ns + SLOW_FOR_NS, memory_order_relaxed);
    }
}

void data_write(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status != SLUICE_OK) {
        complete(handle, io, status);
        return;
    }
    uint64_t begun_ns = now_ns();
    if (io->flags & SLUICE_IO_FUA ||
        begun_ns < atomic_load_explicit(&handle->slow_until_ns, memory_order_relaxed)) {
        hand_over(handle, io, write_here);
        return;
    }
    int result = write_all(handle->fd, io->buffer, io->length, io->offset);
    int error = errno;
    note_duration(handle, begun_ns); /* the handle may be closed once the call is completed */
    errno = error;
    complete_change(handle, io, result);
}

static void flush_here(void *argument, struct sluice_io *io) {
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

static void write_zeroes_here(void *argument, struct sluice_io *io) {
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

static void trim_here(void *argument, struct sluice_io *io) {
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

static void extents_here(void *argument, struct sluice_io *io) {
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

/* ---- what goes to the disk by itself ------------------------------------------------------ */

void data_flush(void *handle, struct sluice_io *io) {
    hand_over(handle, io, flush_here);
}

void data_write_zeroes(void *handle, struct sluice_io *io) {
    hand_over(handle, io, write_zeroes_here);
}

void data_trim(void *handle, struct sluice_io *io) {
    hand_over(handle, io, trim_here);
}

void data_extents(void *handle, struct sluice_io *io) {
    hand_over(handle, io, extents_here);
}

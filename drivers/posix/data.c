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

#include "pool.h"
#include "share/disk.h"

#define TOKEN                                                                          \
    1 /* the page cache outlives the process: acknowledged writes are never lost by it \
       */
/* Two writes in a row that take so long: writers are made to wait, and workers write for a while.
 */
#define SLOW_NS UINT64_C(1000000)
#define SLOW_WRITES 2
#define SLOW_FOR_NS UINT64_C(100000000)

struct handle {
    const struct sluice_services *services;
    struct workers *workers, *readers;
    struct share_disk *disk;
    bool read_only;
    uint64_t size_bytes;
    uint32_t pending;          /* with workers; under their lock */
    uint32_t reads;            /* with readers; under theirs */
    _Atomic bool asks_cache;   /* the file system can read without waiting */
    _Atomic uint64_t read_end; /* of the last read that missed the cache */
    _Atomic uint32_t slow_writes;
    _Atomic uint64_t slow_until_ns;
};

/* ---- open and close ----------------------------------------------------------------------- */

int32_t data_open(void *argument, struct sluice_call *call, const struct sluice_data_open *args,
                  struct sluice_data_opened *ret) {
    struct share_pool *share = argument;
    struct posix_pool *pool = (struct posix_pool *)share_pool_fs(share);
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        return fail(pool, call, SLUICE_NO_MEMORY, "no memory for a handle");
    }
    handle->services = pool->fs.services;
    handle->workers = &pool->workers;
    handle->readers = &pool->readers;
    atomic_init(&handle->asks_cache, true);
    handle->read_only = args->read_only != 0;
    int32_t status = share_disk_open(share, call, args, &handle->disk);
    if (status != SLUICE_OK) {
        free(handle);
        return status;
    }
    handle->size_bytes = share_disk_size(handle->disk);
    ret->io_align = 1;
    ret->size_bytes = handle->size_bytes;
    ret->token = TOKEN;
    ret->handle = handle;
    return SLUICE_OK;
}

void data_close(void *argument) {
    struct handle *handle = argument;
    workers_wait(handle->workers, &handle->pending);
    workers_wait(handle->readers, &handle->reads);
    share_disk_close(handle->disk);
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

/* Completes a write, trim or zeroes that came to `status`. */
static void complete_change(const struct handle *handle, struct sluice_io *io, int32_t status) {
    if (status == SLUICE_OK && io->flags & SLUICE_IO_FUA) {
        status = share_disk_flush(handle->disk);
    }
    complete(handle, io, status);
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
    uint64_t done = (uint64_t)(uintptr_t)io->driver;
    complete(handle, io,
             share_disk_read(handle->disk, io->offset + done, (uint8_t *)io->buffer + done,
                             io->length - done));
}

/* How much of a run the page cache has at hand; less than all: the rest has to be waited for. */
static uint64_t read_run(struct handle *handle, const struct image_run *run, uint8_t *to) {
    if (run->kind == IMAGE_RUN_ZERO) {
        memset(to, 0, run->length);
        return run->length;
    }
    if (!atomic_load_explicit(&handle->asks_cache, memory_order_relaxed)) {
        return run->file->ops->read(run->file, run->file_offset, to, run->length) == SLUICE_OK
                   ? run->length
                   : 0;
    }
    struct iovec part = {.iov_base = to, .iov_len = run->length};
    ssize_t n = preadv2(posix_file_fd(run->file), &part, 1, (off_t)run->file_offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        atomic_store_explicit(&handle->asks_cache, false, memory_order_relaxed);
        return read_run(handle, run, to);
    }
    return n > 0 ? (uint64_t)n : 0;
}

/* Has the kernel read what is missing of the runs, `skip` bytes behind their start. Not for a read
 * that follows on the one before: there it reads ahead, if it is left to. */
static bool begin_reading(struct handle *handle, const struct sluice_io *io,
                          const struct image_run *runs, uint32_t count, uint64_t skip) {
    uint64_t end = io->offset + io->length;
    bool begun =
        io->offset != atomic_exchange_explicit(&handle->read_end, end, memory_order_relaxed);
    for (uint32_t i = 0; begun && i < count; i++) {
        if (runs[i].kind == IMAGE_RUN_FILE) {
            begun = posix_fadvise(posix_file_fd(runs[i].file), (off_t)(runs[i].file_offset + skip),
                                  (off_t)(runs[i].length - skip), POSIX_FADV_WILLNEED) == 0;
        }
        skip = 0;
    }
    return begun;
}

/* How much of the call is at hand without waiting for a disk or for anybody. *ret_begun: the rest
 * is on its way from the disk. */
static uint64_t read_cached(struct handle *handle, const struct sluice_io *io, bool *ret_begun) {
    struct image_run runs[SHARE_RUNS_MAX];
    uint32_t count;
    uint64_t done = 0;
    if (!share_disk_enter(handle->disk, io->offset, io->length, false, runs, &count)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length = read_run(handle, &runs[i], (uint8_t *)io->buffer + done);
        done += length;
        if (length < runs[i].length) {
            *ret_begun = begin_reading(handle, io, &runs[i], count - i, length);
            break;
        }
    }
    share_disk_leave(handle->disk);
    return done;
}

void data_read(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    bool begun = false;
    uint64_t done = status == SLUICE_OK ? read_cached(handle, io, &begun) : 0;
    if (status != SLUICE_OK || done == io->length) {
        complete(handle, io, status);
        return;
    }
    io->driver = (void *)(uintptr_t)done;
    const struct worker_task task = {
        .run = read_rest, .owner = handle, .pending = &handle->reads, .io = io};
    if (!begun || !workers_submit(handle->readers, &task)) {
        hand_over(handle, io, read_rest);
    }
}

static void write_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    complete_change(handle, io, share_disk_write(handle->disk, io->offset, io->buffer, io->length));
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

/* false: something has to be allocated, or somebody is in the way: nothing was written. */
static bool write_in_place(struct handle *handle, const struct sluice_io *io, int32_t *ret_status) {
    struct image_run runs[SHARE_RUNS_MAX];
    uint32_t count;
    const uint8_t *from = io->buffer;
    int result = 0;
    if (!share_disk_enter(handle->disk, io->offset, io->length, true, runs, &count)) {
        return false;
    }
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        result = write_all(posix_file_fd(runs[i].file), from, runs[i].length, runs[i].file_offset);
        from += runs[i].length;
    }
    *ret_status = result == 0 ? SLUICE_OK : status_of_errno(errno);
    share_disk_leave(handle->disk);
    return true;
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
        begun_ns < atomic_load_explicit(&handle->slow_until_ns, memory_order_relaxed) ||
        !write_in_place(handle, io, &status)) {
        hand_over(handle, io, write_here);
        return;
    }
    note_duration(handle, begun_ns); /* the handle may be closed once the call is completed */
    complete(handle, io, status);
}

static void flush_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    complete(handle, io, share_disk_flush(handle->disk));
}

static void write_zeroes_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status == SLUICE_OK) {
        status = share_disk_write_zeroes(handle->disk, io->offset, io->length, io->flags);
    }
    complete_change(handle, io, status);
}

static void trim_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, true);
    if (status == SLUICE_OK) {
        status = share_disk_trim(handle->disk, io->offset, io->length);
    }
    complete_change(handle, io, status);
}

static void extents_here(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    io->extents_count = 0;
    if (status == SLUICE_OK) {
        status = share_disk_extents(handle->disk, io->offset, io->length, io->extents,
                                    io->extents_capacity, &io->extents_count);
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

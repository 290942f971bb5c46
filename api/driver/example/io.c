/* SPDX-License-Identifier: Apache-2.0
 *
 * io.c: data calls. Each ends by complete(), exactly once, before it returns.
 *
 * Fencing: a disk remembers the highest epoch that opened it, and a handle of a lower one is
 * answered STALE. All runs on one thread, so nothing of a lower epoch can be under way.
 */
#include "ram.h"

#include <stdlib.h>
#include <string.h>

struct handle {
    struct pool *pool;
    struct disk *disk;
    uint64_t epoch;
    bool read_only;
};

static void complete(const struct handle *handle, struct sluice_io *io, int32_t status) {
    handle->pool->services->complete(handle->pool->services, io, status, handle->pool->token);
}

static int32_t data_open(void *argument, struct sluice_call *call,
                         const struct sluice_data_open *args, struct sluice_data_opened *ret) {
    struct pool *pool = argument;
    static const struct sluice_uuid none;
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    bool snapshot = memcmp(&args->snapshot, &none, sizeof none) != 0;
    struct disk *disk = snapshot ? disks_find(&pool->snapshots, &args->snapshot)
                                 : disks_find(&pool->volumes, &args->volume);
    if (disk == NULL || memcmp(&disk->volume, &args->volume, sizeof disk->volume) != 0) {
        return ram_fail(pool, call, SLUICE_NOT_FOUND, "no such volume or snapshot in memory");
    }
    if (snapshot && !args->read_only) {
        return ram_fail(pool, call, SLUICE_INVALID, "a snapshot is never written");
    }
    if (!snapshot && args->epoch < disk->epoch) {
        return ram_fail(pool, call, SLUICE_STALE, "a newer epoch has opened the volume");
    }
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        return ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another handle");
    }
    uint64_t before = disk->epoch;
    if (!snapshot && args->epoch > before) {
        disk->epoch = args->epoch;
        status = backing_update(pool, call, disk);
        if (status != SLUICE_OK) {
            disk->epoch = before;
            free(handle);
            return status;
        }
    }
    *handle =
        (struct handle){pool, disk, snapshot ? disk->epoch : args->epoch, args->read_only != 0};
    disk->handles++;
    ret->io_align = 1;
    ret->size_bytes = disk->size_bytes;
    ret->token = pool->token;
    ret->handle = handle;
    return SLUICE_OK;
}

static void data_close(void *argument) {
    struct handle *handle = argument;
    handle->disk->handles--;
    free(handle);
}

/* Refuses what is fenced, out of range, or a write by a reader. */
static int32_t check(const struct handle *handle, const struct sluice_io *io, bool writes) {
    if (handle->epoch < handle->disk->epoch) {
        return SLUICE_STALE;
    }
    if (io->offset > handle->disk->size_bytes ||
        io->length > handle->disk->size_bytes - io->offset) {
        return SLUICE_INVALID;
    }
    return writes && handle->read_only ? SLUICE_READ_ONLY : SLUICE_OK;
}

/* What a write, a trim or zeroes come to, after the map was changed. */
static int32_t changed(const struct handle *handle, const struct sluice_io *io, bool done,
                       bool full) {
    if (!done) {
        return full ? SLUICE_NO_SPACE : SLUICE_NO_MEMORY;
    }
    return io->flags & SLUICE_IO_FUA ? backing_flush(handle->pool, handle->disk) : SLUICE_OK;
}

static void data_read(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    if (status == SLUICE_OK) {
        map_read(handle->disk->map, io->offset, io->buffer, io->length);
    }
    complete(handle, io, status);
}

static void data_write(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    struct disk *disk = handle->disk;
    int32_t status = check(handle, io, true);
    if (status == SLUICE_OK) {
        status = disk_mark_dirty(handle->pool, disk, io->offset, io->length);
    }
    if (status == SLUICE_OK) {
        bool full;
        bool done =
            map_write(&handle->pool->store, &disk->map, io->offset, io->buffer, io->length, &full);
        status = changed(handle, io, done, full);
    }
    complete(handle, io, status);
}

/* Zeroes that take their space now, so that writing there cannot fail later. */
static bool zero_allocated(struct pool *pool, struct disk *disk, const struct sluice_io *io,
                           bool *ret_full) {
    static const uint8_t zeroes[BLOCK_BYTES];
    bool done = true;
    for (uint64_t at = 0; done && at < io->length;) {
        uint64_t left = io->length - at;
        size_t here = (size_t)(left < BLOCK_BYTES ? left : BLOCK_BYTES);
        done = map_write(&pool->store, &disk->map, io->offset + at, zeroes, here, ret_full);
        at += here;
    }
    return done;
}

/* Trim and zeroes are one here: both read as zeroes afterwards and whole blocks become holes,
 * unless NO_HOLE forbids it. */
static void data_write_zeroes(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    struct disk *disk = handle->disk;
    int32_t status = check(handle, io, true);
    if (status == SLUICE_OK) {
        status = disk_mark_dirty(handle->pool, disk, io->offset, io->length);
    }
    if (status == SLUICE_OK) {
        bool full = false;
        bool done = io->flags & SLUICE_IO_NO_HOLE
                        ? zero_allocated(handle->pool, disk, io, &full)
                        : map_zero(&handle->pool->store, &disk->map, io->offset, io->length, &full);
        status = changed(handle, io, done, full);
    }
    complete(handle, io, status);
}

static void data_flush(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = handle->epoch < handle->disk->epoch ? SLUICE_STALE : SLUICE_OK;
    if (status == SLUICE_OK && !handle->read_only) {
        status = backing_flush(handle->pool, handle->disk);
    }
    complete(handle, io, status);
}

static void data_extents(void *argument, struct sluice_io *io) {
    struct handle *handle = argument;
    int32_t status = check(handle, io, false);
    uint64_t offset = io->offset;
    uint64_t end = io->offset + io->length;
    io->extents_count = 0;
    while (status == SLUICE_OK && offset < end && io->extents_count < io->extents_capacity) {
        bool hole;
        uint64_t length = map_extent(handle->disk->map, offset, end - offset, &hole);
        io->extents[io->extents_count++] = (struct sluice_extent){
            .offset = offset,
            .length = length,
            .flags = hole ? SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO : 0,
        };
        offset += length;
    }
    complete(handle, io, status);
}

void ram_add_data_calls(struct sluice_storage *table) {
    table->data_open = data_open;
    table->data_close = data_close;
    table->data_read = data_read;
    table->data_write = data_write;
    table->data_flush = data_flush;
    table->data_write_zeroes = data_write_zeroes;
    table->data_trim = data_write_zeroes;
    table->data_extents = data_extents;
}

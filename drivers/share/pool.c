/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: see pool.h; opening and closing, the marker, and the sums.
 */
#include "pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "step.h"

#define PROBE_PATH LAYOUT_VOLUMES "/probe" LAYOUT_NEW_SUFFIX
#define PROBE_BYTES 4096

/* What the share itself says, which the texts in this folder only say what for. NULL: they say all.
 */
static const char *trouble(int32_t status) {
    switch (status) {
    case SLUICE_NO_SPACE:
        return "the share is full";
    case SLUICE_QUOTA:
        return "a quota on the share is used up";
    case SLUICE_ACCESS:
        return "the share does not let this pool do that";
    case SLUICE_READ_ONLY:
        return "the share is read-only";
    case SLUICE_UNREACHABLE:
        return "the share does not answer";
    case SLUICE_TIMEOUT:
        return "the share took the request and never finished it";
    case SLUICE_IO:
        return "the share reports an input or output error";
    default:
        return NULL;
    }
}

int32_t share_fail(struct share_pool *pool, struct sluice_call *call, int32_t status,
                   const char *format, ...) {
    char text[SLUICE_TEXT_MAX];
    va_list values;
    if (call == NULL) {
        return status;
    }
    va_start(values, format);
    int length = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (trouble(status) != NULL && length >= 0 && (size_t)length < sizeof text) {
        snprintf(text + length, sizeof text - (size_t)length, ": %s", trouble(status));
    }
    return pool->services->fail(pool->services, call, status, text);
}

struct share_fs *share_pool_fs(struct share_pool *pool) {
    return pool->fs;
}

/* ---- is it still the one it was ------------------------------------------------------------- */

static int32_t check_marker(struct share_pool *pool, struct sluice_call *call,
                            const struct pool_marker *marker) {
    char text[UUID_TEXT];
    if (uuid_compare(&marker->pool, &pool->marker.pool) != 0) {
        uuid_text(&marker->pool, text);
        return share_fail(pool, call, SLUICE_FOREIGN, "the share belongs to the pool %s", text);
    }
    if (uuid_compare(&marker->gateway, &pool->marker.gateway) != 0) {
        uuid_text(&marker->gateway, text);
        return share_fail(pool, call, SLUICE_FOREIGN, "the share belongs to the gateway %s", text);
    }
    return SLUICE_OK;
}

static int32_t missing(struct share_pool *pool, struct sluice_call *call) {
    return share_fail(pool, call, SLUICE_VANISHED,
                      "there is no " LAYOUT_MARKER " on the share: is it mounted, is it the right "
                      "one?");
}

static int32_t cannot_read(struct share_pool *pool, struct sluice_call *call, int32_t status) {
    switch (status) {
    case SLUICE_NOT_FOUND:
        return missing(pool, call);
    case SLUICE_CORRUPT:
        return share_fail(pool, call, status, LAYOUT_MARKER " is damaged: take the pool over");
    case SLUICE_UNSUPPORTED:
        return share_fail(pool, call, status,
                          LAYOUT_MARKER " is of another format: this pool was written by another "
                                        "version of the driver, use that one");
    default:
        return share_fail(pool, call, status, "cannot read " LAYOUT_MARKER);
    }
}

int32_t share_check(struct share_pool *pool, struct sluice_call *call) {
    struct share_stat seen;
    int32_t status = FS(pool, check, call);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "the share does not answer as it did");
    }
    status = FS(pool, stat, call, LAYOUT_MARKER, &seen);
    if (status != SLUICE_OK) {
        return cannot_read(pool, call, status);
    }
    pthread_mutex_lock(&pool->lock);
    bool known =
        seen.inode == pool->marker_seen.inode && seen.changed_ns == pool->marker_seen.changed_ns;
    pthread_mutex_unlock(&pool->lock);
    if (known) {
        return SLUICE_OK;
    }
    struct pool_marker marker;
    status = marker_load(pool->fs, call, &marker);
    if (status != SLUICE_OK) {
        return cannot_read(pool, call, status);
    }
    status = check_marker(pool, call, &marker);
    if (status == SLUICE_OK) {
        pthread_mutex_lock(&pool->lock);
        pool->marker_seen = seen;
        pthread_mutex_unlock(&pool->lock);
    }
    return status;
}

/* Finds our marker, or puts it there where the flags allow it. */
static int32_t find_marker(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_pool_open *args) {
    struct pool_marker there;
    bool take_over = (args->flags & SLUICE_POOL_TAKE_OVER) != 0;
    int32_t status = marker_load(pool->fs, call, &there);
    if (status == SLUICE_OK && memcmp(&there, &pool->marker, sizeof there) == 0) {
        return SLUICE_OK;
    }
    if (status == SLUICE_OK && !take_over) {
        return check_marker(pool, call, &there);
    }
    bool none = status == SLUICE_NOT_FOUND;
    if (none ? !take_over && !(args->flags & SLUICE_POOL_CLAIM)
             : status != SLUICE_OK && !(status == SLUICE_CORRUPT && take_over)) {
        return cannot_read(pool, call, status);
    }
    status =
        marker_store(pool->fs, call, &pool->marker, args->name != NULL ? args->name : "", !none);
    STEP(marker_written);
    return status == SLUICE_OK ? status
                               : share_fail(pool, call, status, "cannot write " LAYOUT_MARKER);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static int32_t measure(struct share_pool *pool, struct sluice_call *call, uint64_t *ret_total,
                       uint64_t *ret_used) {
    uint64_t total;
    uint64_t used;
    int32_t status = FS(pool, capacity, call, &total, &used);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot measure the share");
    }
    *ret_total = total;
    *ret_used = used;
    return SLUICE_OK;
}

int32_t share_stat(void *argument, struct sluice_call *call, struct sluice_capacity *ret) {
    struct share_pool *pool = argument;
    uint64_t total = 0;
    uint64_t used = 0;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = measure(pool, call, &total, &used);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t limit = pool->settings.capacity_bytes;
    if (limit > 0 && limit < total) {
        uint64_t own = pool_used_bytes(pool);
        uint64_t left = own < limit ? limit - own : 0;
        uint64_t free_bytes = used < total ? total - used : 0;
        total = limit;
        used = limit - (left < free_bytes ? left : free_bytes);
    }
    ret->total = total;
    ret->used = used;
    pthread_mutex_lock(&pool->lock);
    ret->provisioned = pool->provisioned;
    pthread_mutex_unlock(&pool->lock);
    return SLUICE_OK;
}

int32_t pool_reserve(struct share_pool *pool, struct sluice_call *call, uint64_t bytes) {
    uint64_t limit = UINT64_MAX;
    if (pool->settings.overcommit_percent > 0 && bytes > 0) {
        uint64_t total;
        uint64_t used;
        int32_t status = measure(pool, call, &total, &used);
        if (status != SLUICE_OK) {
            return status;
        }
        if (pool->settings.capacity_bytes > 0 && pool->settings.capacity_bytes < total) {
            total = pool->settings.capacity_bytes;
        }
        __extension__ unsigned __int128 product = total;
        product = product * pool->settings.overcommit_percent / 100;
        limit = product < UINT64_MAX ? (uint64_t)product : UINT64_MAX;
    }
    pthread_mutex_lock(&pool->lock);
    uint64_t before = pool->provisioned;
    bool fits = bytes == 0 || (before <= limit && bytes <= limit - before);
    if (fits) {
        pool->provisioned += bytes;
    }
    pthread_mutex_unlock(&pool->lock);
    return fits ? SLUICE_OK
                : share_fail(pool, call, SLUICE_LIMIT,
                             "%llu bytes are provisioned of the %llu that overcommit_percent %llu "
                             "allows; %llu more do not fit",
                             (unsigned long long)before, (unsigned long long)limit,
                             (unsigned long long)pool->settings.overcommit_percent,
                             (unsigned long long)bytes);
}

void pool_unreserve(struct share_pool *pool, uint64_t bytes) {
    pthread_mutex_lock(&pool->lock);
    pool->provisioned -= bytes < pool->provisioned ? bytes : pool->provisioned;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- opening -------------------------------------------------------------------------------- */

int32_t share_pool_open(struct share_fs *fs, struct sluice_call *call,
                        const struct sluice_pool_open *args, const struct share_settings *settings,
                        struct share_pool **ret_pool) {
    struct share_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return fs->services->fail(fs->services, call, SLUICE_NO_MEMORY, "no memory for the pool");
    }
    pool->fs = fs;
    pool->services = fs->services;
    pool->settings = *settings;
    pool->marker = (struct pool_marker){args->pool, args->gateway};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->unpinned, NULL);
    pthread_mutex_init(&pool->access, NULL);
    index_init(&pool->index);
    merger_init(&pool->merger);
    int32_t status = find_marker(pool, call, args);
    if (status == SLUICE_OK) {
        status = share_check(pool, call);
    }
    if (status == SLUICE_OK &&
        (status = FS(pool, make_directory, call, LAYOUT_VOLUMES)) != SLUICE_OK) {
        share_fail(pool, call, status, "cannot make the directory " LAYOUT_VOLUMES);
    }
    if (status == SLUICE_OK) {
        status = scan_pool(pool, call);
    }
    if (status != SLUICE_OK) {
        share_pool_close(pool);
        return status;
    }
    merger_start(pool);
    *ret_pool = pool;
    return SLUICE_OK;
}

void share_pool_close(struct share_pool *pool) {
    if (pool == NULL) {
        return;
    }
    merger_stop(&pool->merger);
    index_release(&pool->index);
    pthread_mutex_destroy(&pool->access);
    pthread_cond_destroy(&pool->unpinned);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void share_pool_describe(const struct share_pool *pool, struct sluice_pool *ret) {
    uint64_t most = pool->settings.size_max;
    ret->caps = SLUICE_CAP_MASK(SNAPSHOT) | SLUICE_CAP_MASK(CLONE) | SLUICE_CAP_MASK(REVERT) |
                SLUICE_CAP_MASK(GROW) | SLUICE_CAP_MASK(SHRINK) | SLUICE_CAP_MASK(ADOPT) |
                SLUICE_CAP_MASK(DATA) | SLUICE_CAP_MASK(EXTENTS) |
                (pool->settings.preallocate ? 0 : SLUICE_CAP_MASK(THIN));
    ret->volume_size_min = SHARE_SIZE_STEP;
    ret->volume_size_max = most < IMAGE_SIZE_MAX ? most : IMAGE_SIZE_MAX;
    ret->volume_size_step = SHARE_SIZE_STEP;
    ret->snapshots_max = SHARE_SNAPSHOTS_MAX;
    ret->name_max = SLUICE_NAME_MAX - 1;
    ret->chain_max = pool->settings.chain_max;
    ret->lanes_max = 1;
    snprintf(ret->formats, sizeof ret->formats, "%s",
             pool->settings.preallocate                    ? "raw"
             : pool->settings.format == IMAGE_FORMAT_QCOW2 ? "qcow2 raw"
                                                           : "raw qcow2");
}

/* ---- probe and release ---------------------------------------------------------------------- */

/* NULL: as it should be; else what was found. */
static int32_t try_file(struct share_pool *pool, struct sluice_call *call,
                        struct image_file *file) {
    static const char written[PROBE_BYTES] = "sluice probe";
    char read[PROBE_BYTES];
    int32_t status = file->ops->write(file, 0, written, sizeof written);
    if (status == SLUICE_OK) {
        status = file->ops->flush(file);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot write a file");
    }
    status = file->ops->read(file, 0, read, sizeof read);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read a file");
    }
    return memcmp(read, written, sizeof read) == 0
               ? SLUICE_OK
               : share_fail(pool, call, SLUICE_CORRUPT, "what was read back differs");
}

int32_t share_probe(void *argument, struct sluice_call *call) {
    struct share_pool *pool = argument;
    struct image_file *file;
    int32_t status = share_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    status = FS(pool, remove, call, PROBE_PATH);
    if (status == SLUICE_OK || status == SLUICE_NOT_FOUND) {
        status = FS(pool, open, call, PROBE_PATH, SHARE_OPEN_WRITE | SHARE_OPEN_CREATE, &file);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot make a file");
    }
    status = try_file(pool, call, file);
    file->ops->close(file);
    int32_t removed = FS(pool, remove, call, PROBE_PATH);
    return status != SLUICE_OK || removed == SLUICE_OK
               ? status
               : share_fail(pool, call, removed, "cannot remove a file");
}

int32_t share_release(void *argument, struct sluice_call *call) {
    struct share_pool *pool = argument;
    struct share_stat seen;
    int32_t status = FS(pool, check, call);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "the share does not answer as it did");
    }
    status = FS(pool, stat, call, LAYOUT_MARKER, &seen);
    if (status != SLUICE_NOT_FOUND) { /* else it is released already */
        status = share_check(pool, call);
        if (status != SLUICE_OK) {
            return status;
        }
        status = FS(pool, remove, call, LAYOUT_MARKER);
        if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
            return share_fail(pool, call, status, "cannot remove " LAYOUT_MARKER);
        }
    }
    FS(pool, remove_directory, call, LAYOUT_VOLUMES); /* only where it holds nothing */
    return SLUICE_OK;
}

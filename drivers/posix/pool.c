/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: see pool.h.
 */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "acl.h"
#include "job.h"
#include "step.h"
#include "volume.h"

#define PROBE_NAME "probe" LAYOUT_NEW_SUFFIX

/* ext4 has 32-bit block numbers inside a file; others end where off_t does. */
#define SIZE_MAX_EXT4 ((UINT64_C(1) << 44) - 4096)
#define SIZE_MAX_OTHER (UINT64_C(1) << 62)

/* ---- is it still the one it was ----------------------------------------------------------- */

static bool same_time(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int32_t check_marker(struct pool *pool, struct sluice_call *call,
                            const struct pool_marker *marker) {
    char text[UUID_TEXT];
    if (uuid_compare(&marker->pool, &pool->marker.pool) != 0) {
        uuid_text(&marker->pool, text);
        return fail(pool, call, SLUICE_FOREIGN, "'%.300s' belongs to the pool %s", pool->path,
                    text);
    }
    if (uuid_compare(&marker->gateway, &pool->marker.gateway) != 0) {
        uuid_text(&marker->gateway, text);
        return fail(pool, call, SLUICE_FOREIGN, "'%.300s' belongs to the gateway %s", pool->path,
                    text);
    }
    return SLUICE_OK;
}

int32_t pool_check(struct pool *pool, struct sluice_call *call) {
    struct stat here;
    if (stat(pool->path, &here) != 0 || here.st_dev != pool->device || here.st_ino != pool->inode) {
        return fail(pool, call, SLUICE_VANISHED,
                    "'%.300s' is another directory than the pool was opened on: is it mounted?",
                    pool->path);
    }
    struct stat seen;
    if (fstatat(pool->root, LAYOUT_MARKER, &seen, AT_SYMLINK_NOFOLLOW) != 0) {
        return fail(pool, call, SLUICE_VANISHED, "'%.300s/" LAYOUT_MARKER "' is not there",
                    pool->path);
    }
    pthread_mutex_lock(&pool->lock);
    bool known = seen.st_ino == pool->marker_inode && same_time(&seen.st_ctim, &pool->marker_seen);
    pthread_mutex_unlock(&pool->lock);
    if (known) {
        return SLUICE_OK;
    }
    struct pool_marker marker;
    if (marker_load(pool->root, &marker) != 0) {
        return fail(pool, call, errno == ENOENT ? SLUICE_VANISHED : status_of_errno(errno),
                    "'%.300s/" LAYOUT_MARKER "' cannot be read: %s", pool->path, strerror(errno));
    }
    int32_t status = check_marker(pool, call, &marker);
    if (status == SLUICE_OK) {
        pthread_mutex_lock(&pool->lock);
        pool->marker_inode = seen.st_ino;
        pool->marker_seen = seen.st_ctim;
        pthread_mutex_unlock(&pool->lock);
    }
    return status;
}

/* ---- sums --------------------------------------------------------------------------------- */

static int32_t measure(struct pool *pool, struct sluice_call *call, uint64_t *ret_total,
                       uint64_t *ret_used) {
    struct statvfs fs;
    if (fstatvfs(pool->root, &fs) != 0) {
        return fail_errno(pool, call, errno, "measure the file system");
    }
    uint64_t used = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t total = used + available; /* what is kept back for root is nobody's here */
    if (pool->capacity_bytes > 0 && pool->capacity_bytes < total) {
        uint64_t free_for_pool;
        uint64_t own = volumes_used_bytes(pool);
        total = pool->capacity_bytes;
        free_for_pool = own < total ? total - own : 0;
        used = total - (free_for_pool < available ? free_for_pool : available);
    }
    *ret_total = total;
    *ret_used = used;
    return SLUICE_OK;
}

int32_t pool_reserve(struct pool *pool, struct sluice_call *call, uint64_t bytes) {
    uint64_t limit = UINT64_MAX;
    if (pool->overcommit_percent > 0) {
        struct statvfs fs;
        if (fstatvfs(pool->root, &fs) != 0) {
            return fail_errno(pool, call, errno, "measure the file system");
        }
        uint64_t total = (uint64_t)(fs.f_blocks - fs.f_bfree + fs.f_bavail) * fs.f_frsize;
        if (pool->capacity_bytes > 0 && pool->capacity_bytes < total) {
            total = pool->capacity_bytes;
        }
        __extension__ unsigned __int128 product = total;
        product = product * pool->overcommit_percent / 100;
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
                : fail(pool, call, SLUICE_LIMIT,
                       "%llu bytes are provisioned of the %llu that overcommit_percent %llu allows;"
                       " %llu more do not fit",
                       (unsigned long long)before, (unsigned long long)limit,
                       (unsigned long long)pool->overcommit_percent, (unsigned long long)bytes);
}

void pool_unreserve(struct pool *pool, uint64_t bytes) {
    pthread_mutex_lock(&pool->lock);
    pool->provisioned -= bytes < pool->provisioned ? bytes : pool->provisioned;
    pthread_mutex_unlock(&pool->lock);
}

int32_t pool_stat(void *argument, struct sluice_call *call, struct sluice_capacity *ret) {
    struct pool *pool = argument;
    uint64_t total = 0;
    uint64_t used = 0;
    int32_t status = pool_check(pool, call);
    if (status == SLUICE_OK) {
        status = measure(pool, call, &total, &used);
    }
    if (status == SLUICE_OK) {
        ret->total = total;
        ret->used = used;
        pthread_mutex_lock(&pool->lock);
        ret->provisioned = pool->provisioned;
        pthread_mutex_unlock(&pool->lock);
    }
    return status;
}

/* ---- opening ------------------------------------------------------------------------------ */

static const struct sluice_property *property(const struct sluice_properties *bag,
                                              const char *name) {
    for (uint64_t i = 0; bag != NULL && i < bag->count; i++) {
        if (strcmp(bag->at[i].name, name) == 0) {
            return &bag->at[i];
        }
    }
    return NULL;
}

static uint64_t number(const struct sluice_properties *bag, const char *name, uint64_t fallback) {
    const struct sluice_property *found = property(bag, name);
    return found != NULL && found->integer >= 0 ? (uint64_t)found->integer : fallback;
}

/* Finds our marker in the directory, or puts it there where the flags allow it. */
static int32_t find_marker(struct pool *pool, struct sluice_call *call, uint32_t flags,
                           const char *name) {
    struct pool_marker there;
    bool marked = marker_load(pool->root, &there) == 0;
    bool damaged = !marked && errno == EBADMSG;
    bool take_over = (flags & SLUICE_POOL_TAKE_OVER) != 0;
    if (!marked && errno != ENOENT && !(damaged && take_over)) {
        return fail_errno(pool, call, errno, "read the marker '%.200s/" LAYOUT_MARKER "'",
                          pool->path);
    }
    if (marked && memcmp(&there, &pool->marker, sizeof there) == 0) {
        return SLUICE_OK;
    }
    if (marked && !take_over) {
        return check_marker(pool, call, &there);
    }
    if (!marked && !take_over && !(flags & SLUICE_POOL_CLAIM)) {
        return fail(pool, call, SLUICE_VANISHED,
                    "'%.300s' holds no " LAYOUT_MARKER ": is the file system mounted?", pool->path);
    }
    if (marker_store(pool->root, &pool->marker, name, marked || damaged) != 0) {
        return fail_errno(pool, call, errno, "write the marker '%.200s/" LAYOUT_MARKER "'",
                          pool->path);
    }
    STEP(marker_written);
    return SLUICE_OK;
}

/* What the file system can, found out by doing it in a file that is removed at once. */
static int32_t try_features(struct pool *pool, struct sluice_call *call) {
    if (unlinkat(pool->root, PROBE_NAME, 0) != 0 && errno != ENOENT) {
        return fail_errno(pool, call, errno, "remove a file");
    }
    int fd = beneath_open(pool->root, PROBE_NAME, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return fail_errno(pool, call, errno, "make a file");
    }
    const struct acl_user self = {.uid = (uint32_t)geteuid(), .permissions = ACL_READ};
    pool->has_acl = acl_apply(fd, ACL_READ | ACL_WRITE, &self, 1) == 0;
    pool->has_punch = ftruncate(fd, 65536) == 0 &&
                      fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) == 0;
    close_quietly(&fd);
    return unlinkat(pool->root, PROBE_NAME, 0) == 0
               ? SLUICE_OK
               : fail_errno(pool, call, errno, "remove a file");
}

static int32_t open_directory(struct pool *pool, struct sluice_call *call) {
    if (pool->path[0] != '/') {
        return fail(pool, call, SLUICE_INVALID, "path is not absolute: '%.300s'", pool->path);
    }
    pool->root = open(pool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat here;
    if (pool->root < 0 || fstat(pool->root, &here) != 0) {
        switch (errno) {
        case ENOENT:
        case ENOTDIR:
            return fail(pool, call, SLUICE_VANISHED,
                        "'%.300s' is no directory; make it and give it to uid %u", pool->path,
                        (unsigned)geteuid());
        default:
            return fail_errno(pool, call, errno, "open the directory");
        }
    }
    pool->device = here.st_dev;
    pool->inode = here.st_ino;
    return SLUICE_OK;
}

static void describe(const struct pool *pool, struct sluice_pool *ret) {
    uint32_t size = ret->size;
    struct statfs fs;
    bool ext4 = fstatfs(pool->root, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC;
    *ret = (struct sluice_pool){
        .size = size,
        .caps = SLUICE_CAP_MASK(SNAPSHOT) | SLUICE_CAP_MASK(CLONE) | SLUICE_CAP_MASK(REVERT) |
                SLUICE_CAP_MASK(GROW) | SLUICE_CAP_MASK(SHRINK) | SLUICE_CAP_MASK(ADOPT) |
                SLUICE_CAP_MASK(DATA) | SLUICE_CAP_MASK(EXTENTS) | SLUICE_CAP_MASK(TOKEN_CONSTANT) |
                (pool->preallocate ? 0 : SLUICE_CAP_MASK(THIN)) |
                (pool->has_acl ? SLUICE_CAP_MASK(GRANT) : 0) |
                (pool->has_punch ? SLUICE_CAP_MASK(TRIM) | SLUICE_CAP_MASK(ZERO_FAST) : 0),
        .volume_size_min = SIZE_STEP,
        .volume_size_max = ext4 ? SIZE_MAX_EXT4 : SIZE_MAX_OTHER,
        .volume_size_step = SIZE_STEP,
        .name_max = SLUICE_NAME_MAX - 1,
        .io_align = 1,
        .io_max = IO_MAX,
        .in_flight_max = 256,
        .lanes_max = 1,
        .formats = "raw",
        .protocols = "local",
    };
}

int32_t pool_open(void *argument, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool) {
    const struct driver *driver = argument;
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return driver->services->fail(driver->services, call, SLUICE_NO_MEMORY,
                                      "no memory for the pool");
    }
    pool->services = driver->services;
    pool->root = pool->volumes = -1;
    pthread_mutex_init(&pool->lock, NULL);
    workers_init(&pool->workers);
    pool->marker = (struct pool_marker){args->pool, args->gateway};
    pool->capacity_bytes = number(args->properties, "capacity_bytes", 0);
    pool->overcommit_percent = number(args->properties, "overcommit_percent", 400);
    pool->preallocate = number(args->properties, "preallocate", 0) != 0;
    const struct sluice_property *path = property(args->properties, "path");
    int length = snprintf(pool->path, sizeof pool->path, "%s", path != NULL ? path->text : "");

    int32_t status = (size_t)length < sizeof pool->path
                         ? open_directory(pool, call)
                         : fail(pool, call, SLUICE_LIMIT, "path is longer than 1023 bytes");
    if (status == SLUICE_OK) {
        status = find_marker(pool, call, args->flags, args->name != NULL ? args->name : "");
    }
    if (status == SLUICE_OK) {
        status = pool_check(pool, call);
    }
    if (status == SLUICE_OK) {
        status = try_features(pool, call);
    }
    if (status == SLUICE_OK && (pool->volumes = directory_make(pool->root, LAYOUT_VOLUMES)) < 0) {
        status = fail_errno(pool, call, errno, "open the directory " LAYOUT_VOLUMES);
    }
    if (status == SLUICE_OK) {
        status = volumes_count(pool, call, &pool->provisioned);
    }
    if (status != SLUICE_OK) {
        pool_close(pool);
        return status;
    }
    describe(pool, ret);
    *ret_pool = pool;
    return SLUICE_OK;
}

void pool_close(void *argument) {
    struct pool *pool = argument;
    if (pool == NULL) {
        return;
    }
    job_drop_all(pool);
    workers_release(&pool->workers);
    close_quietly(&pool->volumes);
    close_quietly(&pool->root);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int32_t pool_probe(void *argument, struct sluice_call *call) {
    struct pool *pool = argument;
    static const char written[4096] = "sluice probe";
    char read[sizeof written];
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if (unlinkat(pool->volumes, PROBE_NAME, 0) != 0 && errno != ENOENT) {
        return fail_errno(pool, call, errno, "remove a file");
    }
    int fd = beneath_open(pool->volumes, PROBE_NAME, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return fail_errno(pool, call, errno, "make a file");
    }
    if (write_all(fd, written, sizeof written, 0) != 0 || fsync(fd) != 0) {
        status = fail_errno(pool, call, errno, "write a file");
    } else if (pread(fd, read, sizeof read, 0) != (ssize_t)sizeof read) {
        status = fail_errno(pool, call, errno, "read a file");
    } else if (memcmp(read, written, sizeof read) != 0) {
        status = fail(pool, call, SLUICE_CORRUPT, "what was read back differs");
    }
    close_quietly(&fd);
    if (unlinkat(pool->volumes, PROBE_NAME, 0) != 0 && status == SLUICE_OK) {
        status = fail_errno(pool, call, errno, "remove a file");
    }
    return status;
}

/* Our directory for volumes goes too when it holds none: rmdir takes nothing else. */
static int32_t given_back(const struct pool *pool) {
    unlinkat(pool->root, LAYOUT_VOLUMES, AT_REMOVEDIR);
    return SLUICE_OK;
}

int32_t pool_release(void *argument, struct sluice_call *call) {
    struct pool *pool = argument;
    struct stat seen;
    struct stat here;
    /* Not there any more, in the directory that it was in: released already. */
    if (stat(pool->path, &here) == 0 && here.st_dev == pool->device && here.st_ino == pool->inode &&
        fstatat(pool->root, LAYOUT_MARKER, &seen, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
        return given_back(pool);
    }
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    if ((unlinkat(pool->root, LAYOUT_MARKER, 0) != 0 && errno != ENOENT) ||
        fsync(pool->root) != 0) {
        return fail_errno(pool, call, errno, "remove the marker");
    }
    return given_back(pool);
}

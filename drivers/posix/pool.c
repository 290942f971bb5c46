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
#include <unistd.h>

#include "acl.h"

#define PROBE_NAME "probe.new"

/* ext4 has 32-bit block numbers inside a file; others end where off_t does. */
#define SIZE_MAX_EXT4 ((UINT64_C(1) << 44) - 4096)
#define SIZE_MAX_OTHER (UINT64_C(1) << 62)

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

static int32_t open_directory(struct posix_pool *pool, struct sluice_call *call) {
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

/* What the file system can, found out by doing it in a file that is removed at once. */
static int32_t try_features(struct posix_pool *pool, struct sluice_call *call) {
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

static uint64_t size_max(const struct posix_pool *pool) {
    struct statfs fs;
    bool ext4 = fstatfs(pool->root, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC;
    return ext4 ? SIZE_MAX_EXT4 : SIZE_MAX_OTHER;
}

static void describe(const struct posix_pool *pool, const struct share_pool *share,
                     struct sluice_pool *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_pool){.size = size};
    share_pool_describe(share, ret);
    ret->caps |= SLUICE_CAP_MASK(TOKEN_CONSTANT) | (pool->has_acl ? SLUICE_CAP_MASK(GRANT) : 0) |
                 (pool->has_punch ? SLUICE_CAP_MASK(TRIM) | SLUICE_CAP_MASK(ZERO_FAST) : 0);
    ret->io_align = 1;
    ret->io_max = IO_MAX;
    ret->in_flight_max = WORKERS_QUEUE_MAX;
    snprintf(ret->protocols, sizeof ret->protocols, "local");
}

static void release(struct posix_pool *pool) {
    workers_release(&pool->workers);
    workers_release(&pool->readers);
    close_quietly(&pool->root);
    free(pool);
}

int32_t pool_open(void *argument, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool) {
    const struct driver *driver = argument;
    struct posix_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return driver->services->fail(driver->services, call, SLUICE_NO_MEMORY,
                                      "no memory for the pool");
    }
    pool->fs = (struct share_fs){.ops = &posix_fs, .services = driver->services};
    pool->root = -1;
    workers_init(&pool->workers, WORKERS_MAX);
    workers_init(&pool->readers, POOL_READERS);
    struct share_settings settings = {
        .format = IMAGE_FORMAT_RAW,
        .capacity_bytes = number(args->properties, "capacity_bytes", 0),
        .overcommit_percent = number(args->properties, "overcommit_percent", 400),
        .chain_max = (uint32_t)number(args->properties, "chain_max", SHARE_CHAIN_MAX),
        .commit_always = true,
        .preallocate = number(args->properties, "preallocate", 0) != 0,
    };
    const struct sluice_property *path = property(args->properties, "path");
    int length = snprintf(pool->path, sizeof pool->path, "%s", path != NULL ? path->text : "");
    struct share_pool *share = NULL;
    int32_t status = (size_t)length < sizeof pool->path
                         ? open_directory(pool, call)
                         : fail(pool, call, SLUICE_LIMIT, "path is longer than 1023 bytes");
    if (status == SLUICE_OK) {
        settings.size_max = size_max(pool);
        status = share_pool_open(&pool->fs, call, args, &settings, &share);
    }
    if (status == SLUICE_OK) {
        status = try_features(pool, call);
    }
    if (status != SLUICE_OK) {
        share_pool_close(share);
        release(pool);
        return status;
    }
    describe(pool, share, ret);
    *ret_pool = share;
    return SLUICE_OK;
}

void pool_close(void *argument) {
    struct share_pool *share = argument;
    if (share != NULL) {
        struct posix_pool *pool = (struct posix_pool *)share_pool_fs(share);
        share_pool_close(share);
        release(pool);
    }
}

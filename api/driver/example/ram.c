/* SPDX-License-Identifier: Apache-2.0
 *
 * ram.c: the driver's door: the exported tables, start and stop, pools.
 */
#include "ram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct driver {
    const struct sluice_services *services;
};

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)settings;
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        return services->fail(services, call, SLUICE_NO_MEMORY, "no memory to start");
    }
    driver->services = services;
    *ret_driver = driver;
    return SLUICE_OK;
}

static void stop(void *driver) {
    free(driver);
}

int32_t ram_fail(struct pool *pool, struct sluice_call *call, int32_t status, const char *text) {
    return pool->services->fail(pool->services, call, status, text);
}

/* Every control call begins here: is this still the backend that the pool was opened on? Memory
 * cannot be anything else; a backing directory can. */
int32_t ram_check(struct pool *pool, struct sluice_call *call) {
    return backing_check(pool, call);
}

static const struct sluice_property *property(const struct sluice_properties *bag,
                                              const char *name) {
    for (uint64_t i = 0; bag != NULL && i < bag->count; i++) {
        if (strcmp(bag->at[i].name, name) == 0) {
            return &bag->at[i];
        }
    }
    return NULL;
}

static void describe(struct sluice_pool *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_pool){
        .size = size,
        .caps = SLUICE_CAP_MASK(SNAPSHOT) | SLUICE_CAP_MASK(SNAPSHOT_LIVE) |
                SLUICE_CAP_MASK(CLONE) | SLUICE_CAP_MASK(REVERT) | SLUICE_CAP_MASK(GROW) |
                SLUICE_CAP_MASK(SHRINK) | SLUICE_CAP_MASK(THIN) | SLUICE_CAP_MASK(DATA) |
                SLUICE_CAP_MASK(TRIM) | SLUICE_CAP_MASK(ZERO_FAST) | SLUICE_CAP_MASK(EXTENTS),
        .volume_size_min = RAM_SIZE_STEP,
        .volume_size_max = RAM_SIZE_MAX,
        .volume_size_step = RAM_SIZE_STEP,
        .name_max = SLUICE_NAME_MAX - 1,
        .io_align = 1,
        .io_max = RAM_IO_MAX,
        .in_flight_max = 128,
        .lanes_max = 1, /* two processes do not share memory */
        .formats = "raw",
    };
}

static void pool_close(void *argument) {
    struct pool *pool = argument;
    if (pool == NULL) {
        return;
    }
    while (pool->volumes.count > 0) {
        struct disk *disk = pool->volumes.at[pool->volumes.count - 1];
        disks_remove(&pool->volumes, disk);
        disk_free(pool, disk);
    }
    while (pool->snapshots.count > 0) {
        struct disk *disk = pool->snapshots.at[pool->snapshots.count - 1];
        disks_remove(&pool->snapshots, disk);
        disk_free(pool, disk);
    }
    free(pool->volumes.at);
    free(pool->snapshots.at);
    backing_close(pool);
    free(pool);
}

static int32_t pool_open(void *argument, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool) {
    const struct driver *driver = argument;
    const struct sluice_services *services = driver->services;
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return services->fail(services, call, SLUICE_NO_MEMORY, "no memory for the pool");
    }
    pool->services = services;
    pool->id = args->pool;
    pool->gateway = args->gateway;
    pool->backing = -1;
    const struct sluice_property *capacity = property(args->properties, "capacity_bytes");
    pool->store.limit =
        (uint64_t)(capacity != NULL ? capacity->integer : RAM_CAPACITY_DEFAULT) / BLOCK_BYTES;

    int32_t status = SLUICE_OK;
    if (getrandom(&pool->token, sizeof pool->token, 0) != (ssize_t)sizeof pool->token) {
        status = ram_fail(pool, call, SLUICE_INTERNAL, "the kernel gives no random number");
    }
    const struct sluice_property *backing = property(args->properties, "backing");
    if (status == SLUICE_OK && backing != NULL) {
        status = backing_open(pool, call, backing->text, args);
    }
    if (status != SLUICE_OK) {
        pool_close(pool);
        return status;
    }
    describe(ret);
    *ret_pool = pool;
    return SLUICE_OK;
}

static int32_t pool_stat(void *argument, struct sluice_call *call, struct sluice_capacity *ret) {
    struct pool *pool = argument;
    int32_t status = ram_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    ret->total = pool->store.limit * BLOCK_BYTES;
    ret->used = pool->store.used * BLOCK_BYTES;
    ret->provisioned = pool->provisioned;
    return SLUICE_OK;
}

static int32_t pool_probe(void *argument, struct sluice_call *call) {
    struct pool *pool = argument;
    static const char written[] = "sluice probe";
    char read[sizeof written] = {0};
    struct map *map = NULL;
    bool full;
    if (!map_write(&pool->store, &map, 0, written, sizeof written, &full)) {
        map_drop(&pool->store, map);
        return full ? ram_fail(pool, call, SLUICE_NO_SPACE, "not one block of memory is free")
                    : ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for a block");
    }
    map_read(map, 0, read, sizeof read);
    map_drop(&pool->store, map);
    if (memcmp(read, written, sizeof read) != 0) {
        return ram_fail(pool, call, SLUICE_CORRUPT, "memory read back differs");
    }
    int32_t status = ram_check(pool, call);
    return status == SLUICE_OK ? backing_probe(pool, call) : status;
}

static int32_t pool_release(void *argument, struct sluice_call *call) {
    return backing_release(argument, call);
}

static struct sluice_storage storage = {
    .size = sizeof storage,
    .version = SLUICE_STORAGE_VERSION,
    .pool_open = pool_open,
    .pool_close = pool_close,
    .pool_stat = pool_stat,
    .pool_probe = pool_probe,
    .pool_release = pool_release,
};

static const void *table(const char *name, uint32_t version) {
    if (strcmp(name, "storage") != 0 || version != SLUICE_STORAGE_VERSION) {
        return NULL;
    }
    ram_add_disk_calls(&storage);
    ram_add_data_calls(&storage);
    return &storage;
}

static const struct sluice_driver driver_table = {
    .size = sizeof driver_table,
    .abi = SLUICE_ABI,
    .category = SLUICE_CATEGORY_STORAGE,
    .threads = SLUICE_THREADS_LOOP,
    .name = "ram",
    .version = "0.1.0",
    .start = start,
    .stop = stop,
    .table = table,
};

SLUICE_EXPORT const struct sluice_driver *sluice_driver(void) {
    return &driver_table;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * old_storage.c: a storage driver built with early.h: smaller tables, smaller results.
 */
#include "early.h"

static const struct sluice_services *kept;

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)call;
    (void)settings;
    kept = services;
    *ret_driver = &kept;
    return EARLY_OK;
}

static void stop(void *driver) {
    (void)driver;
}

static int32_t pool_open(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool) {
    (void)call;
    (void)args;
    ret->volume_size_min = 4096;
    *ret_pool = driver;
    return EARLY_OK;
}

static void pool_close(void *pool) {
    (void)pool;
}

static int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret) {
    (void)pool;
    (void)ret;
    return kept->fail(kept, call, EARLY_UNSUPPORTED, "an old driver has no sums");
}

static int32_t nothing(void *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return EARLY_OK;
}

static int32_t volume_create(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    (void)pool;
    (void)args;
    (void)ret;
    return kept->fail(kept, call, EARLY_UNSUPPORTED, "an old driver makes nothing");
}

static int32_t volume_delete(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    (void)volume;
    return nothing(pool, call);
}

/* Every id is a volume of 4096 bytes. */
static int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret) {
    (void)pool;
    (void)call;
    ret->volume = *volume;
    ret->size_bytes = 4096;
    return EARLY_OK;
}

static int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    list->count = 0;
    return nothing(pool, call);
}

static const struct sluice_storage storage = {
    .size = sizeof storage,
    .version = 1,
    .pool_open = pool_open,
    .pool_close = pool_close,
    .pool_stat = pool_stat,
    .pool_probe = nothing,
    .pool_release = nothing,
    .volume_create = volume_create,
    .volume_delete = volume_delete,
    .volume_get = volume_get,
    .volume_list = volume_list,
};

static const void *table(const char *name, uint32_t version) {
    return name[0] == 's' && version == 1 ? &storage : 0;
}

static const struct sluice_driver driver = {
    .early =
        {
            .size = sizeof driver,
            .abi = EARLY_ABI,
            .category = 2,
            .threads = 1,
            .name = "old-storage",
            .version = "1.0.0",
            .start = start,
            .stop = stop,
        },
    .table = table,
};

__attribute__((visibility("default"))) const struct sluice_driver *sluice_driver(void);

const struct sluice_driver *sluice_driver(void) {
    return &driver;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * odd_driver.c: a driver that is wrong in one way (ODD_...), or newer than this ABI (ODD_NEWER).
 */
#include <string.h>

#include <sluice/driver.h>

/* A choice, so that the function counts as used in each of the ways. */
#ifdef ODD_NO_CREATE
#define ODD_CREATE (1 ? NULL : volume_create)
#else
#define ODD_CREATE volume_create
#endif
#ifdef ODD_NO_START
#define ODD_START (1 ? NULL : start)
#else
#define ODD_START start
#endif

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)services;
    (void)call;
    (void)settings;
    *ret_driver = NULL;
    return SLUICE_OK;
}

static void stop(void *driver) {
    (void)driver;
}

static int32_t pool_open(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool) {
    (void)driver;
    (void)call;
    (void)args;
    (void)ret;
    *ret_pool = NULL;
    return SLUICE_OK;
}

static void pool_close(void *pool) {
    (void)pool;
}

static int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret) {
    (void)pool;
    (void)call;
    (void)ret;
    return SLUICE_OK;
}

static int32_t on_pool(void *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return SLUICE_OK;
}

static int32_t volume_create(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    (void)args;
    (void)ret;
    return on_pool(pool, call);
}

static int32_t volume_delete(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    (void)volume;
    return on_pool(pool, call);
}

static int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret) {
    (void)volume;
    (void)ret;
    return on_pool(pool, call);
}

static int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    (void)list;
    return on_pool(pool, call);
}

/* The tables with members behind them that only a later ABI would know. */
static const struct {
    struct sluice_storage table;
    void *later[4];
} storage = {
    .table =
        {
#ifdef ODD_NEWER
            .size = sizeof storage,
#else
            .size = sizeof storage.table,
#endif
            .version = SLUICE_STORAGE_VERSION,
            .pool_open = pool_open,
            .pool_close = pool_close,
            .pool_stat = pool_stat,
            .pool_probe = on_pool,
            .pool_release = on_pool,
            .volume_create = ODD_CREATE,
            .volume_delete = volume_delete,
            .volume_get = volume_get,
            .volume_list = volume_list,
        },
};

static const void *table(const char *name, uint32_t version) {
#ifdef ODD_NO_TABLE
    name = "";
#endif
    return strcmp(name, "storage") == 0 && version == SLUICE_STORAGE_VERSION ? &storage : NULL;
}

static const struct {
    struct sluice_driver table;
    void *later[4];
} driver = {
    .table =
        {
#if defined ODD_NEWER
            .size = sizeof driver,
#elif defined ODD_SMALL
            .size = 8,
#else
            .size = sizeof driver.table,
#endif
#ifdef ODD_OTHER_ABI
            .abi = SLUICE_ABI + 1,
#else
            .abi = SLUICE_ABI,
#endif
            .category = SLUICE_CATEGORY_STORAGE,
#ifdef ODD_ODD_THREADS
            .threads = 77,
#else
            .threads = SLUICE_THREADS_SERIAL,
#endif
            .name = "odd",
            .version = "0.1.0",
            .start = ODD_START,
            .stop = stop,
            .table = table,
        },
};

SLUICE_EXPORT const struct sluice_driver *sluice_driver(void) {
    return &driver.table;
}

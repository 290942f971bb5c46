/* SPDX-License-Identifier: Apache-2.0
 *
 * posix.c: the driver's door: the exported tables, start and stop.
 */
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "data.h"
#include "pool.h"

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

static const struct sluice_storage storage = {
    .size = sizeof storage,
    .version = SLUICE_STORAGE_VERSION,
    .pool_open = pool_open,
    .pool_close = pool_close,
    .pool_stat = share_stat,
    .pool_probe = share_probe,
    .pool_release = share_release,
    .volume_create = share_volume_create,
    .volume_delete = share_volume_delete,
    .volume_get = share_volume_get,
    .volume_list = share_volume_list,
    .volume_resize = share_volume_resize,
    .volume_revert = share_volume_revert,
    .volume_adopt = share_volume_adopt,
    .volume_unmanage = share_volume_unmanage,
    .snapshot_create = share_snapshot_create,
    .snapshot_delete = share_snapshot_delete,
    .snapshot_get = share_snapshot_get,
    .snapshot_list = share_snapshot_list,
    .access_grant = access_grant,
    .access_revoke = share_access_revoke,
    .data_open = data_open,
    .data_close = data_close,
    .data_read = data_read,
    .data_write = data_write,
    .data_flush = data_flush,
    .data_write_zeroes = data_write_zeroes,
    .data_trim = data_trim,
    .data_extents = data_extents,
};

static const void *table(const char *name, uint32_t version) {
    return strcmp(name, "storage") == 0 && version == SLUICE_STORAGE_VERSION ? &storage : NULL;
}

static const struct sluice_driver driver_table = {
    .size = sizeof driver_table,
    .abi = SLUICE_ABI,
    .category = SLUICE_CATEGORY_STORAGE,
    .threads = SLUICE_THREADS_PARALLEL,
    .name = "posix",
    .version = "0.1.0",
    .start = start,
    .stop = stop,
    .table = table,
};

SLUICE_EXPORT const struct sluice_driver *sluice_driver(void) {
    return &driver_table;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * old_network.c: a driver of another category whose base table ends where every driver's had to.
 */
#include "early.h"

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)services;
    (void)call;
    (void)settings;
    *ret_driver = 0;
    return EARLY_OK;
}

static void stop(void *driver) {
    (void)driver;
}

/* What lies behind the table must never be looked at. */
static const struct {
    struct sluice_driver_early driver;
    uint64_t junk[8];
} table = {
    .driver =
        {
            .size = sizeof table.driver,
            .abi = EARLY_ABI,
            .category = 1,
            .threads = 4,
            .name = "old-network",
            .version = "1.0.0",
            .start = start,
            .stop = stop,
        },
    .junk = {1, 2, 3, 4, 5, 6, 7, 8},
};

__attribute__((visibility("default"))) const struct sluice_driver_early *sluice_driver(void);

const struct sluice_driver_early *sluice_driver(void) {
    return &table.driver;
}

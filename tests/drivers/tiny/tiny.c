/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny.c: the smallest driver of a category without pools, compiled under the name, version and ABI
 * that archive.sh asks for, to give tests of the order of start something to start.
 */
#include <stddef.h>

#include <sluice/driver.h>

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    static int self;
    (void)settings;
    if (TINY_FAILS) {
        return services->fail(services, call, SLUICE_UNREACHABLE, "no switch answers");
    }
    services->log(services, SLUICE_LOG_INFO, TINY_NAME " starts");
    *ret_driver = &self;
    return SLUICE_OK;
}

static void stop(void *driver) {
    (void)driver;
}

static const struct sluice_driver table = {
    .size = sizeof table,
    .abi = TINY_ABI,
    .category = TINY_CATEGORY,
    .threads = SLUICE_THREADS_SERIAL,
    .name = TINY_NAME,
    .version = TINY_VERSION,
    .start = start,
    .stop = stop,
};

SLUICE_EXPORT const struct sluice_driver *sluice_driver(void) {
    return &table;
}

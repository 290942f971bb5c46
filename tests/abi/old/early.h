/* SPDX-License-Identifier: Apache-2.0
 *
 * early.h: the driver ABI as a vendor may have had it: a copy of the beginnings of the structs.
 *
 * This file is never brought up to date. It stands for headers that were current once: every struct
 * here is a prefix of today's, and a driver that was built with it must go on loading.
 */
#ifndef OLD_EARLY_H
#define OLD_EARLY_H

#include <stdint.h>

struct sluice_uuid {
    uint8_t bytes[16];
};

struct sluice_call;
struct sluice_properties;
struct sluice_health_report;
struct sluice_capacity;
struct sluice_volume_create;

struct sluice_services {
    uint32_t size;
    uint32_t version;
    void *runner;
    void (*log)(const struct sluice_services *services, uint32_t level, const char *text);
    int32_t (*fail)(const struct sluice_services *services, struct sluice_call *call,
                    int32_t status, const char *text);
};

/* Up to the last member that every driver had to have. */
struct sluice_driver_early {
    uint32_t size;
    uint32_t abi;
    uint32_t category;
    uint32_t threads;
    const char *name;
    const char *version;
    int32_t (*start)(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver);
    void (*stop)(void *driver);
};

struct sluice_driver {
    struct sluice_driver_early early;
    int32_t (*configure)(void *driver, struct sluice_call *call,
                         const struct sluice_properties *settings);
    int32_t (*health)(void *driver, struct sluice_call *call, struct sluice_health_report *ret);
    const void *(*table)(const char *name, uint32_t version);
};

struct sluice_pool_open {
    uint32_t size;
    uint32_t flags;
    struct sluice_uuid pool;
};

struct sluice_pool {
    uint32_t size;
    uint32_t reserved;
    uint64_t caps;
    uint64_t volume_size_min;
};

struct sluice_volume {
    uint32_t size;
    uint32_t retry_after_ms;
    struct sluice_uuid volume;
    uint64_t size_bytes;
};

struct sluice_list {
    uint32_t size;
    uint32_t capacity;
    struct sluice_uuid after;
    struct sluice_uuid volume;
    void *entries;
    uint32_t count;
};

/* No resize, no snapshots, no access, no data: those came later. */
struct sluice_storage {
    uint32_t size;
    uint32_t version;
    int32_t (*pool_open)(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool);
    void (*pool_close)(void *pool);
    int32_t (*pool_stat)(void *pool, struct sluice_call *call, struct sluice_capacity *ret);
    int32_t (*pool_probe)(void *pool, struct sluice_call *call);
    int32_t (*pool_release)(void *pool, struct sluice_call *call);
    int32_t (*volume_create)(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret);
    int32_t (*volume_delete)(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume);
    int32_t (*volume_get)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret);
    int32_t (*volume_list)(void *pool, struct sluice_call *call, struct sluice_list *list);
};

#define EARLY_ABI 1 /* 0.1 */
#define EARLY_OK 0
#define EARLY_NOT_FOUND 3
#define EARLY_UNSUPPORTED 16

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: see pool.h.
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "fence.h"

#define IN_FLIGHT_MAX 256 /* as many as the workers' queue takes, should all of them need it */
#define CONNECTIONS 2     /* one waits for the server while the other is being read */

struct nfs_pool *pool_of(void *share_pool) {
    return (struct nfs_pool *)share_pool_fs(share_pool);
}

/* ---- properties ----------------------------------------------------------------------------- */

static const struct sluice_property *property(const struct sluice_properties *bag,
                                              const char *name) {
    for (uint64_t i = 0; bag != NULL && i < bag->count; i++) {
        if (strcmp(bag->at[i].name, name) == 0) {
            return &bag->at[i];
        }
    }
    return NULL;
}

/* The ranges are the manifest's (driver.yaml), so what comes here is within them. */
static uint64_t number(const struct sluice_properties *bag, const char *name, uint64_t fallback) {
    const struct sluice_property *found = property(bag, name);
    return found != NULL && found->integer >= 0 ? (uint64_t)found->integer : fallback;
}

static const char *text(const struct sluice_properties *bag, const char *name) {
    const struct sluice_property *found = property(bag, name);
    return found != NULL && found->text != NULL ? found->text : "";
}

static int32_t read_server(struct nfs_pool *pool, struct sluice_call *call,
                           const struct sluice_properties *bag) {
    struct nfs_server *server = &pool->fs.control.server;
    const struct sluice_services *services = pool->fs.base.services;
    snprintf(server->host, sizeof server->host, "%s", text(bag, "server"));
    snprintf(server->path, sizeof server->path, "%s", text(bag, "export"));
    server->port = (uint16_t)number(bag, "port", 2049);
    server->mount_port = (uint16_t)number(bag, "mount_port", 0);
    if (server->host[0] == '\0') {
        return services->fail(services, call, SLUICE_INVALID,
                              "server: a name or an address is needed");
    }
    if (server->path[0] != '/') {
        return services->fail(services, call, SLUICE_INVALID,
                              "export: the path is absolute, as showmount -e shows it");
    }
    return SLUICE_OK;
}

static void read_identities(struct nfs_fs *fs, const struct sluice_properties *bag) {
    fs->owner.uid = (uint32_t)number(bag, "uid", 0);
    fs->owner.gid = (uint32_t)number(bag, "gid", 0);
    fs->data_uid = (uint32_t)number(bag, "data_uid", fs->owner.uid == 65533 ? 65532 : 65533);
    fs->gid_first = (uint32_t)number(bag, "fence_gid", FENCE_GID_FIRST);
    fs->gid_count = (uint32_t)number(bag, "fence_gids", FENCE_GID_COUNT);
}

static struct share_settings settings_of(const struct nfs_pool *pool,
                                         const struct sluice_properties *bag) {
    uint32_t format = image_format_of_name(text(bag, "format"));
    return (struct share_settings){
        .format = format != 0 ? format : IMAGE_FORMAT_QCOW2,
        .capacity_bytes = number(bag, "capacity_bytes", 0),
        .overcommit_percent = number(bag, "overcommit_percent", 400),
        .size_max = pool->fs.limits.size_max != 0 ? pool->fs.limits.size_max : UINT64_MAX,
        .chain_max = SHARE_CHAIN_MAX,
        .commit_always = false,
    };
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void describe(void *share_pool, struct sluice_pool *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_pool){.size = size};
    share_pool_describe(share_pool, ret);
    ret->caps |= SLUICE_CAP_MASK(GRANT);
    ret->io_align = 1;
    ret->io_max = DATA_IO_MAX;
    ret->in_flight_max = IN_FLIGHT_MAX;
    snprintf(ret->protocols, sizeof ret->protocols, "nfs");
}

/* An operator learns of it when the pool opens, and sees it in its health as long as it is so. */
static void say_fence(struct nfs_pool *pool) {
    const struct sluice_services *services = pool->fs.base.services;
    char why[SLUICE_TEXT_MAX];
    fence_try(&pool->fs, why);
    if (!pool->fs.fences) {
        services->log(services, SLUICE_LOG_WARNING, why);
        health_trouble(&pool->fs.health, why);
    }
}

static void pool_free(struct nfs_pool *pool) {
    workers_release(&pool->workers);
    nfs_fs_close(&pool->fs);
    free(pool);
}

int32_t pool_open(void *argument, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool) {
    const struct driver *driver = argument;
    struct share_pool *share = NULL;
    struct nfs_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return driver->services->fail(driver->services, call, SLUICE_NO_MEMORY,
                                      "no memory for the pool");
    }
    pool->fs.base.services = driver->services;
    pool->connections = (uint32_t)number(args->properties, "connections", CONNECTIONS);
    read_identities(&pool->fs, args->properties);
    int32_t status = read_server(pool, call, args->properties);
    if (status == SLUICE_OK) {
        status = nfs_fs_open(&pool->fs, call);
    }
    if (status != SLUICE_OK) {
        free(pool);
        return status;
    }
    workers_init(&pool->workers, WORKERS_MAX);
    const struct share_settings settings = settings_of(pool, args->properties);
    status = share_pool_open(&pool->fs.base, call, args, &settings, &share);
    if (status != SLUICE_OK) {
        pool_free(pool);
        return status;
    }
    say_fence(pool);
    describe(share, ret);
    *ret_pool = share;
    return SLUICE_OK;
}

void pool_close(void *share) {
    struct nfs_pool *pool = pool_of(share);
    share_pool_close(share);
    pool_free(pool);
}

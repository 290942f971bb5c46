/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: a pool on an export: its properties, and what it hands to share/pool.h.
 *
 * Life cycle: pool_open, any calls, pool_close. The struct share_pool that pool_open returns is the
 * `pool` of the storage table; pool_of finds ours by it. Threads: as share/pool.h.
 */
#ifndef NFS_POOL_H
#define NFS_POOL_H

#include "fs.h"

#include "share/pool.h"
#include "share/workers.h"

struct nfs_pool {
    struct nfs_fs fs;     /* first: found by its address */
    uint32_t connections; /* of an open volume */
    struct workers workers;
};

struct driver {
    const struct sluice_services *services;
};

struct nfs_pool *pool_of(void *share_pool);

/* The storage table's members. */
int32_t pool_open(void *driver, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool);
void pool_close(void *pool);
int32_t access_grant(void *pool, struct sluice_call *call, const struct sluice_access_grant *args,
                     struct sluice_connection *ret);

#endif

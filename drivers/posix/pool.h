/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: an open pool: the directory, its marker, its sums, and how calls fail.
 *
 * Life cycle: pool_open, any calls, pool_close. Invariants: `root` is the directory that the marker
 * was found in and stays open, so nothing can be made in another one by mistake; every control call
 * begins with pool_check, which sees whether the path still leads there and the marker still lies
 * there. Threads: calls on different volumes overlap; what they share (`provisioned`, the jobs) is
 * under `lock`. Limits: see README.md.
 */
#ifndef POSIX_POOL_H
#define POSIX_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>

#include <sluice/driver.h>

#include "layout.h"
#include "meta.h"
#include "workers.h"

#define SIZE_STEP UINT64_C(512)
#define IO_MAX UINT32_C(33554432)
#define JOBS_MAX 64 /* copies under way; the one that was idle longest makes room */

struct job;

struct driver {
    const struct sluice_services *services;
};

struct pool {
    const struct sluice_services *services;
    int root;
    int volumes; /* the directory "volumes" */
    dev_t device;
    ino_t inode;
    char path[SLUICE_PATH_MAX];
    struct pool_marker marker;
    ino_t marker_inode;          /* of the file that was read last ... */
    struct timespec marker_seen; /* ... and its change time then */
    uint64_t capacity_bytes;     /* 0: all of the file system */
    uint64_t overcommit_percent; /* 0: no limit */
    bool preallocate;
    bool has_acl;
    bool has_punch;

    pthread_mutex_t lock;
    uint64_t provisioned; /* sizes of all volumes and snapshots, and of what is being made */
    struct job *jobs[JOBS_MAX];

    struct workers workers; /* of data calls */
};

/* OK, or VANISHED or FOREIGN. */
int32_t pool_check(struct pool *pool, struct sluice_call *call);

/* Adds `bytes` to what is provisioned, or LIMIT beyond the overcommit limit. */
int32_t pool_reserve(struct pool *pool, struct sluice_call *call, uint64_t bytes);
void pool_unreserve(struct pool *pool, uint64_t bytes);

/* Answers `status` with a text. */
int32_t fail(struct pool *pool, struct sluice_call *call, int32_t status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Answers what errno `error` means, with the text "cannot <what>: ...". */
int32_t fail_errno(struct pool *pool, struct sluice_call *call, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The status of a data call that failed with errno `error`. */
int32_t status_of_errno(int error);

/* The storage table's members. */
int32_t pool_open(void *driver, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool);
void pool_close(void *pool);
int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret);
int32_t pool_probe(void *pool, struct sluice_call *call);
int32_t pool_release(void *pool, struct sluice_call *call);

#endif

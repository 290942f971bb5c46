/* SPDX-License-Identifier: Apache-2.0
 *
 * job.h: the making of one disk file, which may take many calls.
 *
 * The gateway asks for a volume, a snapshot or a revert again and again while it is PENDING; a job
 * is what the driver keeps in between: the files, how far the copy has come, the reservation of
 * space, and the lock of the source, so that nobody writes to it meanwhile. A job lives in memory
 * only: after a crash the half-made file is removed and made from the start, never trusted.
 *
 * Life cycle: job_find, or job_begin where it found none; job_slice; when that says OK the caller
 * publishes the disk and calls job_end(keep); after any error job_end(drop). job_drop is for the
 * deletion of what was being made. Ownership: job_begin takes the descriptors, also when it fails.
 * Threads: a job belongs to the call that found it until that call returns (job_slice with PENDING
 * gives it back). Limits: JOBS_MAX; beyond it the one that was idle longest is dropped and would
 * start again.
 */
#ifndef POSIX_JOB_H
#define POSIX_JOB_H

#include "copy.h"
#include "pool.h"

struct job {
    struct sluice_uuid target;    /* the volume or snapshot that is being made or reverted */
    struct sluice_uuid operation; /* of a revert; else zero */
    bool busy;                    /* a call has it */
    uint64_t idle_since_ns;
    uint64_t reserved;
    int source; /* locked for reading; -1: an empty disk */
    int guard;  /* the disk that a revert replaces, locked for writing; else -1 */
    int disk;   /* what is being made */
    uint64_t size_bytes;
    uint64_t allocated; /* how far preallocation has come */
    bool preallocate;
    struct copy copy;
};

struct job_want {
    struct sluice_uuid target;
    struct sluice_uuid operation;
    int source;
    int guard;
    uint64_t source_bytes; /* how much of the source to copy */
    uint64_t size_bytes;   /* of the new disk */
    uint64_t reserve;      /* bytes to count as provisioned */
    bool preallocate;
    int directory;    /* where the disk is made; stays the caller's */
    const char *name; /* of the disk there */
};

struct job *job_find(struct pool *pool, const struct sluice_uuid *target,
                     const struct sluice_uuid *operation);
int32_t job_begin(struct pool *pool, struct sluice_call *call, const struct job_want *want,
                  struct job **ret_job);

/* PENDING: the job is given back. OK: the disk has its length and is on stable storage. */
int32_t job_slice(struct pool *pool, struct sluice_call *call, struct job *job);

/* Ends the job that the caller has; `keep`: what was reserved is now the disk's. NULL is fine. */
void job_end(struct pool *pool, struct job *job, bool keep);
void job_drop(struct pool *pool, const struct sluice_uuid *target);
void job_drop_all(struct pool *pool);

#endif

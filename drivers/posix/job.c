/* SPDX-License-Identifier: Apache-2.0
 *
 * job.c: see job.h.
 */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "step.h"

#define ALLOCATE_BYTES (UINT64_C(4) << 30)

static void job_free(struct job *job) {
    copy_end(&job->copy);
    close_quietly(&job->source);
    close_quietly(&job->guard);
    close_quietly(&job->disk);
    free(job);
}

struct job *job_find(struct pool *pool, const struct sluice_uuid *target,
                     const struct sluice_uuid *operation) {
    struct job *found = NULL;
    pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < JOBS_MAX && found == NULL; i++) {
        struct job *job = pool->jobs[i];
        if (job != NULL && !job->busy && uuid_compare(&job->target, target) == 0 &&
            uuid_compare(&job->operation, operation) == 0) {
            found = job;
            found->busy = true;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

/* A free place in the table, or that of the job which was idle longest; under the lock. */
static size_t find_place(struct pool *pool) {
    size_t place = JOBS_MAX;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = pool->jobs[i];
        if (job == NULL) {
            return i;
        }
        if (!job->busy &&
            (place == JOBS_MAX || job->idle_since_ns < pool->jobs[place]->idle_since_ns)) {
            place = i;
        }
    }
    return place;
}

static bool job_enter(struct pool *pool, struct job *job) {
    pthread_mutex_lock(&pool->lock);
    size_t place = find_place(pool);
    struct job *evicted = NULL;
    if (place < JOBS_MAX) {
        evicted = pool->jobs[place];
        pool->jobs[place] = job;
    }
    if (evicted != NULL) {
        pool->provisioned -= evicted->reserved;
    }
    pthread_mutex_unlock(&pool->lock);
    if (evicted != NULL) {
        job_free(evicted);
    }
    return place < JOBS_MAX;
}

int32_t job_begin(struct pool *pool, struct sluice_call *call, const struct job_want *want,
                  struct job **ret_job) {
    job_drop(pool, &want->target); /* of another operation: nobody asks for that one any more */
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        int source = want->source;
        int guard = want->guard;
        close_quietly(&source);
        close_quietly(&guard);
        return fail(pool, call, SLUICE_NO_MEMORY, "no memory for a copy");
    }
    *job = (struct job){
        .target = want->target,
        .operation = want->operation,
        .busy = true,
        .source = want->source,
        .guard = want->guard,
        .disk = -1,
        .size_bytes = want->size_bytes,
        .preallocate = want->preallocate,
    };
    int32_t status = pool_reserve(pool, call, want->reserve);
    if (status != SLUICE_OK) {
        job_free(job);
        return status;
    }
    job->reserved = want->reserve;
    if (!job_enter(pool, job)) {
        pool_unreserve(pool, want->reserve);
        job_free(job);
        return fail(pool, call, SLUICE_BUSY, "%d copies are under way already", JOBS_MAX);
    }
    if (unlinkat(want->directory, want->name, 0) != 0 && errno != ENOENT) {
        status = fail_errno(pool, call, errno, "remove a half-made disk");
    } else if ((job->disk = beneath_open(want->directory, want->name, O_RDWR | O_CREAT | O_EXCL,
                                         0600)) < 0) {
        status = fail_errno(pool, call, errno, "make a disk");
    } else if (ftruncate(job->disk, (off_t)want->size_bytes) != 0) {
        status = fail_errno(pool, call, errno, "make a disk of %llu bytes",
                            (unsigned long long)want->size_bytes);
    }
    STEP(disk_made);
    if (status != SLUICE_OK) {
        job_end(pool, job, false);
        return status;
    }
    copy_begin(&job->copy, job->source, job->disk, job->source >= 0 ? want->source_bytes : 0);
    *ret_job = job;
    return SLUICE_OK;
}

static int32_t give_back(struct pool *pool, struct sluice_call *call, struct job *job) {
    pool->services->progress(pool->services, call, job->copy.offset, job->copy.length);
    pthread_mutex_lock(&pool->lock);
    job->idle_since_ns = copy_now_ns();
    job->busy = false;
    pthread_mutex_unlock(&pool->lock);
    return SLUICE_PENDING;
}

int32_t job_slice(struct pool *pool, struct sluice_call *call, struct job *job) {
    uint64_t until = copy_now_ns() + step_slice_ns();
    switch (copy_slice(&job->copy, until)) {
    case COPY_MORE:
        return give_back(pool, call, job);
    case COPY_FAILED:
        return errno == EBUSY
                   ? fail(pool, call, SLUICE_BUSY, "the source became shorter while it was copied")
                   : fail_errno(pool, call, errno, "copy a disk");
    case COPY_DONE:
        break;
    }
    while (job->preallocate && job->allocated < job->size_bytes) {
        uint64_t left = job->size_bytes - job->allocated;
        uint64_t length = left < ALLOCATE_BYTES ? left : ALLOCATE_BYTES;
        if (fallocate(job->disk, 0, (off_t)job->allocated, (off_t)length) != 0) {
            return fail_errno(pool, call, errno, "preallocate a disk of %llu bytes",
                              (unsigned long long)job->size_bytes);
        }
        job->allocated += length;
        if (copy_now_ns() >= until && job->allocated < job->size_bytes) {
            return give_back(pool, call, job);
        }
    }
    struct stat made;
    if (fsync(job->disk) != 0 || fstat(job->disk, &made) != 0) {
        return fail_errno(pool, call, errno, "write a disk to stable storage");
    }
    if ((uint64_t)made.st_size != job->size_bytes) {
        return fail(pool, call, SLUICE_CORRUPT, "the new disk has %lld bytes instead of %llu",
                    (long long)made.st_size, (unsigned long long)job->size_bytes);
    }
    STEP(disk_synced);
    return SLUICE_OK;
}

void job_end(struct pool *pool, struct job *job, bool keep) {
    if (job == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (pool->jobs[i] == job) {
            pool->jobs[i] = NULL;
        }
    }
    if (!keep) {
        pool->provisioned -= job->reserved;
    }
    pthread_mutex_unlock(&pool->lock);
    job_free(job);
}

void job_drop(struct pool *pool, const struct sluice_uuid *target) {
    for (bool found = true; found;) {
        struct job *job = NULL;
        pthread_mutex_lock(&pool->lock);
        for (size_t i = 0; i < JOBS_MAX && job == NULL; i++) {
            if (pool->jobs[i] != NULL && !pool->jobs[i]->busy &&
                uuid_compare(&pool->jobs[i]->target, target) == 0) {
                job = pool->jobs[i];
                job->busy = true;
            }
        }
        pthread_mutex_unlock(&pool->lock);
        job_end(pool, job, false);
        found = job != NULL;
    }
}

void job_drop_all(struct pool *pool) {
    for (size_t i = 0; i < JOBS_MAX; i++) {
        job_end(pool, pool->jobs[i], false);
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * workers.c: see workers.h.
 */
#include "workers.h"

#include <stddef.h>

void workers_init(struct workers *workers, uint32_t threads) {
    *workers = (struct workers){.thread_max = threads};
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work, NULL);
    pthread_cond_init(&workers->done, NULL);
}

void workers_release(struct workers *workers) {
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->thread_count; i++) {
        pthread_join(workers->threads[i], NULL);
    }
    pthread_cond_destroy(&workers->done);
    pthread_cond_destroy(&workers->work);
    pthread_mutex_destroy(&workers->lock);
}

static void *work(void *argument) {
    struct workers *workers = argument;
    pthread_mutex_lock(&workers->lock);
    while (!workers->stopping || workers->queued > 0) {
        if (workers->queued == 0) {
            workers->idle++;
            pthread_cond_wait(&workers->work, &workers->lock);
            workers->idle--;
            continue;
        }
        struct worker_task task = workers->queue[workers->first];
        workers->first = (workers->first + 1) % WORKERS_QUEUE_MAX;
        workers->queued--;
        pthread_mutex_unlock(&workers->lock);
        task.run(task.owner, task.io);
        pthread_mutex_lock(&workers->lock);
        if (--*task.pending == 0) {
            pthread_cond_broadcast(&workers->done);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

/* Where none can be started, those that there are do the work later. */
static void start_one(struct workers *workers) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return;
    }
    pthread_attr_setstacksize(&attributes, WORKERS_STACK_BYTES);
    if (pthread_create(&workers->threads[workers->thread_count], &attributes, work, workers) == 0) {
        workers->thread_count++;
    }
    pthread_attr_destroy(&attributes);
}

bool workers_submit(struct workers *workers, const struct worker_task *task) {
    pthread_mutex_lock(&workers->lock);
    if (workers->queued >= workers->idle && workers->thread_count < workers->thread_max) {
        start_one(workers);
    }
    bool taken = workers->queued < WORKERS_QUEUE_MAX && workers->thread_count > 0;
    if (taken) {
        workers->queue[(workers->first + workers->queued) % WORKERS_QUEUE_MAX] = *task;
        workers->queued++;
        ++*task->pending;
        pthread_cond_signal(&workers->work);
    }
    pthread_mutex_unlock(&workers->lock);
    return taken;
}

void workers_wait(struct workers *workers, const uint32_t *pending) {
    pthread_mutex_lock(&workers->lock);
    while (*pending > 0) {
        pthread_cond_wait(&workers->done, &workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
}

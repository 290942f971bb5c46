/* SPDX-License-Identifier: Apache-2.0
 *
 * dispatch.c: one list of jobs that wait, one of jobs that run; whoever looks for work takes the
 * first that nothing in front of it forbids. At most WIRE_CALLS_MAX jobs wait, so lists are walked.
 */
#include "runner/dispatch.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "runner/words.h"

static bool share_a_volume(const struct job *a, const struct job *b) {
    for (uint32_t i = 0; i < a->volume_count; i++)
        for (uint32_t k = 0; k < b->volume_count; k++)
            if (uuid_equal(&a->volumes[i], &b->volumes[k]))
                return true;
    return false;
}

/* May `later` not begin before `earlier` has ended? */
static bool holds_back(const struct job *earlier, const struct job *later) {
    return earlier->serial == WIRE_SERIAL_POOL || later->serial == WIRE_SERIAL_POOL ||
           share_a_volume(earlier, later);
}

/* The link to the first job that may begin now, or NULL. */
static struct job **runnable(struct dispatch *dispatch) {
    for (struct job **link = &dispatch->waiting; *link != NULL; link = &(*link)->next) {
        struct job *job = *link;
        bool held = false;
        for (struct job *other = dispatch->running; !held && other != NULL; other = other->next)
            held = holds_back(other, job);
        for (struct job *other = dispatch->waiting; !held && other != job; other = other->next)
            held = holds_back(other, job);
        if (!held)
            return link;
        /* Nothing passes a job that wants the pool for itself. */
        if (job->serial == WIRE_SERIAL_POOL)
            return NULL;
    }
    return NULL;
}

static struct job *unlink_waiting(struct dispatch *dispatch, struct job **link) {
    struct job *job = *link;
    *link = job->next;
    if (job->next == NULL)
        dispatch->waiting_end = link;
    job->next = NULL;
    return job;
}

static void begin(struct dispatch *dispatch, struct job *job) {
    job->begun_ns = clock_mono_ns();
    job->next = dispatch->running;
    dispatch->running = job;
}

static void end(struct dispatch *dispatch, struct job *job) {
    struct job **link = &dispatch->running;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    job->next = NULL;
}

static bool start_worker(struct dispatch *dispatch);

/* Somebody should look for work, if there is any. A worker that cannot be started is no harm while
 * there is another: the work is done later. */
static void wake(struct dispatch *dispatch) {
    bool can_start = dispatch->worker_count < dispatch->workers_max;
    if ((dispatch->idle == 0 && !can_start) || runnable(dispatch) == NULL)
        return;
    if (dispatch->idle > 0)
        pthread_cond_signal(&dispatch->work);
    else
        start_worker(dispatch);
}

static void *worker_main(void *argument) {
    struct dispatch *dispatch = argument;
    words_enter_thread();
    pthread_mutex_lock(&dispatch->mutex);
    while (!dispatch->stopping) {
        struct job **link = runnable(dispatch);
        if (link == NULL) {
            dispatch->idle++;
            pthread_cond_wait(&dispatch->work, &dispatch->mutex);
            dispatch->idle--;
            continue;
        }
        struct job *job = unlink_waiting(dispatch, link);
        begin(dispatch, job);
        wake(dispatch);
        pthread_mutex_unlock(&dispatch->mutex);
        job->run(job);
        pthread_mutex_lock(&dispatch->mutex);
        end(dispatch, job);
        pthread_mutex_unlock(&dispatch->mutex);
        job->finished(job);
        pthread_mutex_lock(&dispatch->mutex);
    }
    pthread_mutex_unlock(&dispatch->mutex);
    words_leave_thread();
    return NULL;
}

static bool start_worker(struct dispatch *dispatch) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setstacksize(&attributes, DISPATCH_STACK_BYTES);
    pthread_t *thread = &dispatch->workers[dispatch->worker_count];
    bool good = pthread_create(thread, &attributes, worker_main, dispatch) == 0;
    dispatch->worker_count += good;
    pthread_attr_destroy(&attributes);
    return good;
}

bool dispatch_open(struct dispatch *dispatch, uint32_t model, struct err *err) {
    *dispatch = (struct dispatch){.model = model};
    dispatch->waiting_end = &dispatch->waiting;
    CHECK(pthread_mutex_init(&dispatch->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&dispatch->work, NULL) == 0);
    if (model == SLUICE_THREADS_LOOP)
        return true;
    dispatch->workers_max = model == SLUICE_THREADS_SERIAL ? 1 : DISPATCH_WORKERS_MAX;
    pthread_mutex_lock(&dispatch->mutex);
    bool good = start_worker(dispatch);
    pthread_mutex_unlock(&dispatch->mutex);
    if (good)
        return true;
    dispatch_close(dispatch);
    return err_set(err, ERR_SYSTEM, "no thread for the driver's calls can be started");
}

void dispatch_close(struct dispatch *dispatch) {
    pthread_mutex_lock(&dispatch->mutex);
    CHECK(dispatch->waiting == NULL);
    dispatch->stopping = true;
    pthread_cond_broadcast(&dispatch->work);
    pthread_mutex_unlock(&dispatch->mutex);
    for (uint32_t i = 0; i < dispatch->worker_count; i++)
        pthread_join(dispatch->workers[i], NULL);
    CHECK(dispatch->running == NULL);
    pthread_cond_destroy(&dispatch->work);
    pthread_mutex_destroy(&dispatch->mutex);
}

static void run_here(struct dispatch *dispatch, struct job *job) {
    pthread_mutex_lock(&dispatch->mutex);
    begin(dispatch, job);
    pthread_mutex_unlock(&dispatch->mutex);
    job->run(job);
    pthread_mutex_lock(&dispatch->mutex);
    end(dispatch, job);
    pthread_mutex_unlock(&dispatch->mutex);
    job->finished(job);
}

void dispatch_submit(struct dispatch *dispatch, struct job *job) {
    if (dispatch->model == SLUICE_THREADS_LOOP) {
        run_here(dispatch, job);
        return;
    }
    pthread_mutex_lock(&dispatch->mutex);
    job->next = NULL;
    *dispatch->waiting_end = job;
    dispatch->waiting_end = &job->next;
    wake(dispatch);
    pthread_mutex_unlock(&dispatch->mutex);
}

void dispatch_discard(struct dispatch *dispatch, bool (*wanted)(const struct job *job)) {
    struct job *dropped = NULL;
    pthread_mutex_lock(&dispatch->mutex);
    for (struct job **link = &dispatch->waiting; *link != NULL;) {
        if (wanted(*link)) {
            link = &(*link)->next;
            continue;
        }
        struct job *job = unlink_waiting(dispatch, link);
        job->next = dropped;
        dropped = job;
    }
    wake(dispatch);
    pthread_mutex_unlock(&dispatch->mutex);
    while (dropped != NULL) {
        struct job *job = dropped;
        dropped = job->next;
        job->finished(job);
    }
}

void dispatch_running(struct dispatch *dispatch, uint32_t *ret_count, uint32_t *ret_oldest_ms) {
    uint32_t count = 0;
    uint64_t now_ns = clock_mono_ns();
    uint64_t oldest_ns = now_ns;
    pthread_mutex_lock(&dispatch->mutex);
    for (struct job *job = dispatch->running; job != NULL; job = job->next) {
        count++;
        if (job->begun_ns < oldest_ns)
            oldest_ns = job->begun_ns;
    }
    pthread_mutex_unlock(&dispatch->mutex);
    uint64_t oldest_ms = (now_ns - oldest_ns) / 1000000;
    *ret_count = count;
    *ret_oldest_ms = oldest_ms < UINT32_MAX ? (uint32_t)oldest_ms : UINT32_MAX;
}

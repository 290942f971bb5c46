/* SPDX-License-Identifier: Apache-2.0
 *
 * test_walk.c: random operations, kills at random, cancelling, threads, and what is left.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conform/test.h"

#define POOL_OWN 1
#define COMPARE_EVERY 16 /* steps of the walk */
#define STEPS_PER_KILL 5 /* --steps are so many times the kills */
#define KILLS_LEAST 5
#define FIRST_DELAY_US 5000 /* more each time, until it is known how long a step takes */
#define DELAY_STEPS 6       /* a kill comes within so many steps */
#define DELAY_MOST_US 2000000
#define PHASE_RUNNING 1
#define THREADS 4
#define THREAD_ROUNDS 12
#define THREAD_IDS 1000 /* ids of each thread */

void test_model_walk(struct kit *kit) {
    struct model *model = &kit->shared->model;
    memset(model, 0, sizeof *model);
    model_init(model, &kit->pool.limits, kit->subject->seed, kit->next_id);
    model->epoch = kit_epoch(kit);
    for (uint32_t i = 0; i < kit->subject->steps; i++) {
        model_step(model, &kit->pool);
        if (i % COMPARE_EVERY == COMPARE_EVERY - 1) {
            model_compare(model, &kit->pool);
        }
    }
    model_compare(model, &kit->pool);
    model_tell(model, kit->shared->note, sizeof kit->shared->note);
}

/* ---- crash -------------------------------------------------------------------------------- */

static void open_and_recover(struct kit *kit) {
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    model_recover(&kit->shared->model, &kit->pool);
}

static void walk_until_killed(struct kit *kit) {
    open_and_recover(kit);
    kit_reach(kit, PHASE_RUNNING);
    for (;;) {
        model_step(&kit->shared->model, &kit->pool);
    }
}

static void recover_and_close(struct kit *kit) {
    open_and_recover(kit);
    kit_close(kit);
}

static void claim(struct kit *kit) {
    kit_open(kit);
    kit_close(kit);
}

static uint64_t steps_done(const struct model *model) {
    uint64_t done = 0;
    for (size_t i = 0; i < sizeof model->done / sizeof model->done[0]; i++) {
        done += model->done[i];
    }
    return done;
}

void test_crash_kills(struct kit *kit) {
    struct model *model = &kit->shared->model;
    struct rng rng = rng_of_seed(kit->subject->seed);
    uint32_t kills = kit->subject->steps / STEPS_PER_KILL;
    uint64_t run_us = 0;
    char told[KIT_TEXT_MAX / 2];
    kills = kills > KILLS_LEAST ? kills : KILLS_LEAST;
    memset(model, 0, sizeof *model);
    model_init(model, &kit->shared->look.limits, kit->subject->seed, kit->next_id);
    model->epoch = kit_epoch(kit);
    kit_run(kit, claim);
    for (uint32_t i = 0; i < kills; i++) {
        uint64_t done = steps_done(model);
        uint64_t span_us = done > 0 ? DELAY_STEPS * run_us / done : (i + 1) * FIRST_DELAY_US;
        uint64_t delay_us =
            rng_below(&rng, (span_us < DELAY_MOST_US ? span_us : DELAY_MOST_US) + 1);
        kit_reach(kit, 0);
        int worker = kit_spawn(kit, 0, walk_until_killed);
        kit_await(kit, PHASE_RUNNING);
        usleep((useconds_t)delay_us);
        run_us += delay_us;
        kill(worker, SIGKILL);
        kit_join(kit, worker, SIGKILL);
        /* Should what follows fail, it is said of what. */
        kit_note(kit, "kill %u of %u was during: %s", i + 1, kills, model_doing(model));
    }
    kit_run(kit, recover_and_close);
    model_tell(model, told, sizeof told);
    kit_note(kit, "%u kills; %s", kills, told);
}

/* ---- pending ------------------------------------------------------------------------------ */

/* Asks once; true: it is half made. */
static bool begin_copy(struct kit *kit, const struct sluice_volume_create *args) {
    struct sluice_volume told;
    int32_t status = host_create_once(&kit->pool, args, &told);
    EXPECT(CLONE, status == SLUICE_PENDING || status == SLUICE_OK || status == SLUICE_UNSUPPORTED,
           "volume_create of a copy answered %s (\"%s\")", status_name(status),
           kit->pool.call.text);
    return status == SLUICE_PENDING;
}

void test_pending_cancels(struct kit *kit) {
    struct sluice_volume told;
    uint64_t size = kit_round(kit, kit->subject->size_bytes);
    const struct sluice_uuid volume = kit_volume(kit, size);
    struct sluice_volume_create args = {
        .size = sizeof args,
        .source_kind = SLUICE_SOURCE_VOLUME,
        .volume = kit_id(kit),
        .source = volume,
        .size_bytes = size,
        .name = "half",
        .format = "raw",
    };
    kit_put(kit, &volume, 1, 0, size);
    bool pending = begin_copy(kit, &args);
    if (!pending && kit_has(kit, SLUICE_CAP_CLONE)) {
        WANT(DELETE, &kit->pool, host_delete(&kit->pool, &args.volume), SLUICE_OK);
        args.source_kind = SLUICE_SOURCE_SNAPSHOT;
        args.source = kit_snapshot(kit, &volume);
        args.source_volume = volume;
        pending = begin_copy(kit, &args);
    }
    if (!pending) {
        kit_skip(kit, "no copy of --size bytes answers PENDING");
    }
    WANT(CANCEL, &kit->pool, host_delete(&kit->pool, &args.volume), SLUICE_OK);
    WANT(CANCEL, &kit->pool, host_get(&kit->pool, &args.volume, &told), SLUICE_NOT_FOUND);
    EXPECT(CANCEL, !kit_is_listed(kit, &args.volume), "a copy that was cancelled is listed");
    WANT(CANCEL, &kit->pool, host_create_as(&kit->pool, &args, &told), SLUICE_OK);
    kit_expect(kit, RULE_CANCEL, &args.volume, NULL, 1, 0, size,
               "a copy that was cancelled and made again");
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &args.volume), SLUICE_OK);
}

/* ---- threads ------------------------------------------------------------------------------ */

struct worker {
    pthread_t thread;
    struct kit kit; /* its own call, its own ids */
    struct host_data data;
    uint32_t number;
};

static void start_workers(struct kit *kit, struct worker *workers, void *(*run)(void *)) {
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].kit = *kit;
        workers[i].kit.next_id += (i + 1) * THREAD_IDS;
        workers[i].number = i;
    }
    /* Not before all have their copy: the host in it is in use from then on. */
    for (uint32_t i = 0; i < THREADS; i++) {
        EXPECT(THREADS, pthread_create(&workers[i].thread, NULL, run, &workers[i]) == 0,
               "the kit cannot start a thread");
    }
}

static void join_workers(struct worker *workers) {
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
}

static void *live_a_life(void *argument) {
    struct worker *worker = argument;
    struct kit *kit = &worker->kit;
    struct sluice_volume told;
    uint64_t pattern = UINT64_C(1000) * (worker->number + 1);
    watch_lane(worker->number + 1);
    for (uint32_t i = 0; i < THREAD_ROUNDS; i++) {
        const struct sluice_uuid volume = kit_volume(kit, kit->size);
        kit_put(kit, &volume, pattern + i, 0, kit->size);
        if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
            const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
            kit_put(kit, &volume, pattern + THREAD_ROUNDS + i, 0, kit->block);
            kit_expect(kit, RULE_THREADS, &volume, &snapshot, pattern + i, 0, kit->size,
                       "a snapshot, while other threads worked on other volumes");
            WANT(THREADS, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &snapshot),
                 SLUICE_OK);
        }
        EXPECT(THREADS, kit_is_listed(kit, &volume),
               "a volume is not listed while others come and go");
        kit_expect(kit, RULE_THREADS, &volume, NULL, pattern + i, kit->block,
                   kit->size - kit->block, "a volume, while other threads worked on others");
        WANT(THREADS, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
        WANT(THREADS, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_NOT_FOUND);
    }
    return NULL;
}

void test_threads_volumes(struct kit *kit) {
    static struct worker workers[THREADS];
    uint32_t model = kit->shared->look.threads;
    if (model == SLUICE_THREADS_SERIAL || model == SLUICE_THREADS_LOOP) {
        kit_skip(kit, "the thread model makes every call on one thread");
    }
    start_workers(kit, workers, live_a_life);
    join_workers(workers);
}

/* Each thread has a quarter of the volume. */
static void *write_a_quarter(void *argument) {
    struct worker *worker = argument;
    struct kit *kit = &worker->kit;
    uint64_t length = kit->size / THREADS / kit->block * kit->block;
    uint64_t first = worker->number * length;
    watch_lane(worker->number + 1);
    for (uint64_t i = 1; i <= 4 * THREAD_ROUNDS; i++) {
        uint64_t number = i * THREADS + worker->number;
        uint64_t offset = i % (length / kit->block) * kit->block;
        kit_write(&worker->data, number, first, length, i % 8 == 0);
        kit_write(&worker->data, number + 100000, first + offset, kit->block, false);
        kit_read(RULE_THREADS, &worker->data, number, first, offset,
                 "what this thread wrote beside others");
        kit_read(RULE_THREADS, &worker->data, number + 100000, first + offset, kit->block,
                 "what this thread wrote last");
    }
    return NULL;
}

void test_threads_one_volume(struct kit *kit) {
    static struct worker workers[THREADS];
    struct host_data data;
    struct sluice_volume told;
    if (kit->shared->look.threads != SLUICE_THREADS_PARALLEL) {
        kit_skip(kit,
                 "the thread model lets no data calls on one volume come from several threads");
    }
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].data = data;
    }
    start_workers(kit, workers, write_a_quarter);
    for (uint32_t i = 0; i < 8 * THREAD_ROUNDS; i++) {
        WANT(THREADS, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_OK);
    }
    join_workers(workers);
    host_data_close(&data);
}

/* ---- lanes: several processes ------------------------------------------------------------- */

#define PHASE_MADE 1
#define PHASE_WRITTEN 2

static void first_lane(struct kit *kit) {
    struct sluice_volume told;
    kit_load(kit);
    WANT(LANES, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_CLAIM), SLUICE_OK);
    const struct sluice_uuid one = kit_volume(kit, kit->size);
    const struct sluice_uuid two = kit_id(kit);
    kit_put(kit, &one, 1, 0, kit->size);
    kit_reach(kit, PHASE_MADE);
    kit_await(kit, PHASE_WRITTEN);
    kit_expect(kit, RULE_LANES, &one, NULL, 2, 0, kit->size, "what another lane wrote");
    WANT(LANES, &kit->pool, host_get(&kit->pool, &two, &told), SLUICE_OK);
    EXPECT(LANES, kit_is_listed(kit, &two), "what another lane made is not listed");
    kit_close(kit);
}

static void second_lane(struct kit *kit) {
    struct sluice_volume told;
    kit_await(kit, PHASE_MADE);
    kit_load(kit);
    WANT(LANES, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    const struct sluice_uuid one = kit_id(kit);
    WANT(LANES, &kit->pool, host_get(&kit->pool, &one, &told), SLUICE_OK);
    kit_expect(kit, RULE_LANES, &one, NULL, 1, 0, kit->size, "what another lane had written");
    kit_put(kit, &one, 2, 0, kit->size);
    kit_volume(kit, kit->size);
    kit_reach(kit, PHASE_WRITTEN);
    kit_close(kit);
}

void test_threads_lanes(struct kit *kit) {
    if (kit->shared->look.limits.lanes_max < 2) {
        kit_skip(kit, "lanes_max lets one process serve the pool");
    }
    int first = kit_spawn(kit, 1, first_lane);
    int second = kit_spawn(kit, 2, second_lane);
    kit_join(kit, second, 0);
    kit_join(kit, first, 0);
}

/* ---- leaks -------------------------------------------------------------------------------- */

void test_leaks_volumes(struct kit *kit) {
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_capacity capacity;
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &told};
    for (uint32_t i = 0; i < THREAD_ROUNDS; i++) {
        const struct sluice_uuid clone = kit_id(kit);
        const struct sluice_uuid volume = kit_volume(kit, kit->size);
        if (kit_has(kit, SLUICE_CAP_DATA)) {
            kit_put(kit, &volume, 1, 0, kit->size);
        }
        if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
            const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
            if (kit_has(kit, SLUICE_CAP_CLONE)) {
                WANT(CLONE, &kit->pool,
                     host_clone(&kit->pool, &clone, "c", kit->size, &volume, &snapshot, &told),
                     SLUICE_OK);
            }
            WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &snapshot),
                 SLUICE_OK);
        }
        WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
        WANT(DELETE, &kit->pool, host_delete(&kit->pool, &clone), SLUICE_OK);
    }
    WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
    EXPECT(NOTHING_LEFT, list.count == 0, "\"%s\" was deleted and is listed", told.name);
    WANT(STAT, &kit->pool, host_stat(&kit->pool, &capacity), SLUICE_OK);
    EXPECT(NOTHING_LEFT, capacity.provisioned == 0,
           "all is deleted, and %llu bytes are told as provisioned",
           (unsigned long long)capacity.provisioned);
}

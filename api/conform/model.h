/* SPDX-License-Identifier: Apache-2.0
 *
 * model.h: random operations on a pool, compared with a model of what they mean.
 *
 * The model is plain bytes: a volume is an array, a snapshot is a copy of it. Each step does the
 * same to both and then compares what the driver answers, the lists, and the bytes. What a pool
 * cannot do (its capabilities) is left out.
 *
 * Before the driver is asked, the step is written down in the model. So a model that lies in shared
 * memory can be taken over when the process that made the step was killed: model_recover looks
 * whether the step was done or not done, and never half, and ends it by asking again, or cancels
 * it.
 *
 * Life cycle: model_init on zeroed memory, model_step and model_recover any number of times.
 * Threads: one at a time. Limits: the first MODEL_BYTES of a volume are compared; a volume of a
 * driver with a large step is larger.
 */
#ifndef SLUICE_CONFORM_MODEL_H
#define SLUICE_CONFORM_MODEL_H

#include "conform/host.h"
#include "conform/rng.h"

#define MODEL_VOLUMES 6
#define MODEL_SNAPSHOTS 10
#define MODEL_BYTES (UINT64_C(512) << 10)
#define MODEL_WRITES 4 /* of one step on data */

struct model_thing {
    bool there;
    struct sluice_uuid id;
    struct sluice_uuid volume; /* of a snapshot */
    uint64_t size;
    char name[32];
    uint8_t bytes[MODEL_BYTES]; /* zero beyond size */
};

struct model_write {
    uint32_t verb; /* enum host_verb */
    uint32_t flags;
    uint64_t offset;
    uint64_t length;
    uint64_t pattern;
};

/* A step that was begun: everything to ask it once more. */
struct model_intent {
    _Atomic bool begun;
    uint32_t operation; /* place in the table of model.c */
    uint32_t volume;    /* places of things */
    uint32_t snapshot;
    uint32_t from;
    struct sluice_uuid id; /* of what is made, or of the revert */
    uint64_t size;
    char name[32];
    uint32_t write_count;
    struct model_write writes[MODEL_WRITES];
    bool flush;
    _Atomic uint32_t acknowledged; /* of the writes */
    _Atomic bool flushed;
};

struct model {
    struct rng rng;
    struct sluice_pool limits;
    uint64_t unit; /* sizes are multiples of it */
    uint32_t next_id;
    uint32_t patterns;
    uint64_t epoch;
    bool no_copies;    /* the driver copies no volumes: it answered UNSUPPORTED */
    bool step_by_step; /* each step is asked twice now and then; off where steps are killed */
    uint32_t done[16]; /* steps, by operation */
    struct model_intent intent;
    struct model_thing volumes[MODEL_VOLUMES];
    struct model_thing snapshots[MODEL_SNAPSHOTS];
    uint8_t before[MODEL_BYTES]; /* the bytes that a step on data began with */
};

/* Ids are made from `first_id` on. */
void model_init(struct model *model, const struct sluice_pool *limits, uint64_t seed,
                uint32_t first_id);
void model_step(struct model *model, struct host_pool *pool);
void model_compare(struct model *model, struct host_pool *pool);
/* In a process that opened the pool after the one before died: ends the step that was under way. */
void model_recover(struct model *model, struct host_pool *pool);
/* The operation of the step that is under way, or "nothing". */
const char *model_doing(const struct model *model);
/* "create 12, clone 3, ..." */
void model_tell(const struct model *model, char *ret_text, size_t size);

/* Does `steps` operations on an empty pool and compares; leaves what they made. */
void model_run(struct host_pool *pool, struct rng *rng, uint32_t steps);

#endif

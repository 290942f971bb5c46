/* SPDX-License-Identifier: Apache-2.0
 *
 * model.c: see model.h: the operations. Comparing is in model_compare.c.
 *
 * An operation is planned (what to do, from the random numbers), asked (of the driver, any number
 * of times) and applied (to the model). Applying may be cut short by a kill and is then done again,
 * so it depends on nothing that it changes.
 */
#include "conform/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conform/model_parts.h"

#define SIZES 1024       /* different sizes of volumes, where the step is small */
#define GROW_UNITS_MAX 8 /* how much larger than its source a clone may be */
#define COMPARE_EVERY 16 /* steps of model_run */

static bool has(const struct model *model, enum sluice_cap cap) {
    return (model->limits.caps >> cap & 1) != 0;
}

uint64_t model_window(uint64_t size) {
    return size < MODEL_BYTES ? size : MODEL_BYTES;
}

/* A place that is taken or free, or `count` when there is none. */
static uint32_t pick(struct model *model, const struct model_thing *things, uint32_t count,
                     bool there) {
    uint32_t from = (uint32_t)rng_below(&model->rng, count);
    for (uint32_t i = 0; i < count; i++) {
        if (things[(from + i) % count].there == there) {
            return (from + i) % count;
        }
    }
    return count;
}

static bool pick_volume(struct model *model, bool there, uint32_t *ret) {
    *ret = pick(model, model->volumes, MODEL_VOLUMES, there);
    return *ret < MODEL_VOLUMES;
}

static bool pick_snapshot(struct model *model, bool there, uint32_t *ret) {
    *ret = pick(model, model->snapshots, MODEL_SNAPSHOTS, there);
    return *ret < MODEL_SNAPSHOTS;
}

static uint32_t count_there(const struct model_thing *things, uint32_t count) {
    uint32_t there = 0;
    for (uint32_t i = 0; i < count; i++) {
        there += things[i].there;
    }
    return there;
}

static bool room_for_volume(const struct model *model) {
    return model->limits.volumes_max == 0 ||
           count_there(model->volumes, MODEL_VOLUMES) < model->limits.volumes_max;
}

static uint64_t some_size(struct model *model) {
    uint64_t least =
        model->limits.volume_size_min > model->unit ? model->limits.volume_size_min : model->unit;
    least = (least + model->unit - 1) / model->unit * model->unit;
    uint64_t most = model->unit * SIZES < MODEL_BYTES ? model->unit * SIZES : MODEL_BYTES;
    uint64_t span = most > least ? (most - least) / model->unit + 1 : GROW_UNITS_MAX;
    return least + model->unit * rng_below(&model->rng, span);
}

static void name_new(struct model *model) {
    model->intent.id = host_id(++model->next_id);
    snprintf(model->intent.name, sizeof model->intent.name, "thing %u", model->next_id);
}

/* Makes a thing of the model what was asked for. */
static void set(struct model *model, struct model_thing *thing, const struct model_thing *from) {
    const struct model_intent *intent = &model->intent;
    uint64_t kept = from != NULL ? model_window(from->size) : 0;
    thing->id = intent->id;
    thing->size = intent->size;
    memcpy(thing->name, intent->name, sizeof thing->name);
    memset(thing->bytes + kept, 0, MODEL_BYTES - kept);
    if (from != NULL) {
        memcpy(thing->bytes, from->bytes, kept);
    }
    thing->there = true;
}

/* ---- create ------------------------------------------------------------------------------- */

static void check_made(const struct model *model, const struct host_pool *pool, int32_t status,
                       const struct sluice_volume *told) {
    const struct model_intent *intent = &model->intent;
    EXPECT(CREATE, status == SLUICE_OK, "%s answered %s (\"%s\")", pool->asked, status_name(status),
           pool->call.text);
    EXPECT(RESULT, told->size_bytes == intent->size, "%s of %llu bytes tells %llu", pool->asked,
           (unsigned long long)intent->size, (unsigned long long)told->size_bytes);
    EXPECT(RESULT, strcmp(told->name, intent->name) == 0, "%s of the name \"%s\" tells \"%s\"",
           pool->asked, intent->name, told->name);
}

static bool create_plan(struct model *model) {
    if (!room_for_volume(model) || !pick_volume(model, false, &model->intent.volume)) {
        return false;
    }
    name_new(model);
    model->intent.size = some_size(model);
    return true;
}

static void create_ask(struct model *model, struct host_pool *pool) {
    struct sluice_volume told;
    const struct model_intent *intent = &model->intent;
    check_made(model, pool, host_create(pool, &intent->id, intent->name, intent->size, &told),
               &told);
}

static void create_apply(struct model *model) {
    set(model, &model->volumes[model->intent.volume], NULL);
}

static bool clone_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (!has(model, SLUICE_CAP_CLONE) || !room_for_volume(model) ||
        !pick_volume(model, false, &intent->volume) ||
        !pick_snapshot(model, true, &intent->snapshot)) {
        return false;
    }
    name_new(model);
    uint64_t size = model->snapshots[intent->snapshot].size;
    intent->size = size + model->unit * rng_below(&model->rng, GROW_UNITS_MAX);
    return true;
}

static void clone_ask(struct model *model, struct host_pool *pool) {
    struct sluice_volume told;
    const struct model_intent *intent = &model->intent;
    const struct model_thing *from = &model->snapshots[intent->snapshot];
    check_made(
        model, pool,
        host_clone(pool, &intent->id, intent->name, intent->size, &from->volume, &from->id, &told),
        &told);
}

static void clone_apply(struct model *model) {
    set(model, &model->volumes[model->intent.volume], &model->snapshots[model->intent.snapshot]);
}

static bool copy_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (model->no_copies || !room_for_volume(model) ||
        !pick_volume(model, false, &intent->volume) || !pick_volume(model, true, &intent->from)) {
        return false;
    }
    name_new(model);
    intent->size = model->volumes[intent->from].size;
    return true;
}

/* There is no capability for it: a driver that does not copy says so when it is asked. */
static void copy_ask(struct model *model, struct host_pool *pool) {
    struct sluice_volume told;
    const struct model_intent *intent = &model->intent;
    int32_t status = host_copy(pool, &intent->id, intent->name, intent->size,
                               &model->volumes[intent->from].id, &told);
    model->no_copies = model->no_copies || status == SLUICE_UNSUPPORTED;
    if (!model->no_copies) {
        check_made(model, pool, status, &told);
    }
}

static void copy_apply(struct model *model) {
    if (!model->no_copies) {
        set(model, &model->volumes[model->intent.volume], &model->volumes[model->intent.from]);
    }
}

/* ---- snapshots ---------------------------------------------------------------------------- */

static bool snapshot_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (!has(model, SLUICE_CAP_SNAPSHOT) || !pick_snapshot(model, false, &intent->snapshot) ||
        !pick_volume(model, true, &intent->volume)) {
        return false;
    }
    const struct model_thing *of = &model->volumes[intent->volume];
    uint64_t taken = 0;
    for (uint32_t i = 0; i < MODEL_SNAPSHOTS; i++) {
        const struct model_thing *other = &model->snapshots[i];
        taken += other->there && memcmp(&other->volume, &of->id, sizeof of->id) == 0;
    }
    name_new(model);
    intent->size = of->size;
    return model->limits.snapshots_max == 0 || taken < model->limits.snapshots_max;
}

static void snapshot_ask(struct model *model, struct host_pool *pool) {
    const struct model_intent *intent = &model->intent;
    struct sluice_snapshot told;
    int32_t status =
        host_snapshot(pool, &model->volumes[intent->volume].id, &intent->id, intent->name, &told);
    EXPECT(SNAPSHOT, status == SLUICE_OK, "snapshot_create answered %s (\"%s\")",
           status_name(status), pool->call.text);
    EXPECT(RESULT, told.size_bytes == intent->size && strcmp(told.name, intent->name) == 0,
           "snapshot_create of %llu bytes, \"%s\", tells %llu bytes, \"%s\"",
           (unsigned long long)intent->size, intent->name, (unsigned long long)told.size_bytes,
           told.name);
}

static void snapshot_apply(struct model *model) {
    const struct model_thing *of = &model->volumes[model->intent.volume];
    struct model_thing *snapshot = &model->snapshots[model->intent.snapshot];
    snapshot->volume = of->id;
    set(model, snapshot, of);
}

static bool snapshot_delete_plan(struct model *model) {
    return has(model, SLUICE_CAP_SNAPSHOT) && pick_snapshot(model, true, &model->intent.snapshot);
}

static void snapshot_delete_ask(struct model *model, struct host_pool *pool) {
    const struct model_thing *snapshot = &model->snapshots[model->intent.snapshot];
    struct sluice_snapshot told;
    int32_t status = host_snapshot_delete(pool, &snapshot->volume, &snapshot->id);
    EXPECT(DELETE, status == SLUICE_OK, "snapshot_delete answered %s (\"%s\")", status_name(status),
           pool->call.text);
    status = host_snapshot_get(pool, &snapshot->volume, &snapshot->id, &told);
    EXPECT(NOT_FOUND, status == SLUICE_NOT_FOUND,
           "snapshot_get of a snapshot that was deleted answered %s", status_name(status));
}

static void snapshot_delete_apply(struct model *model) {
    model->snapshots[model->intent.snapshot].there = false;
}

/* ---- volumes that are there --------------------------------------------------------------- */

static bool delete_plan(struct model *model) {
    return pick_volume(model, true, &model->intent.volume);
}

static void delete_ask(struct model *model, struct host_pool *pool) {
    const struct model_thing *volume = &model->volumes[model->intent.volume];
    struct sluice_volume told;
    int32_t status = host_delete(pool, &volume->id);
    EXPECT(DELETE, status == SLUICE_OK, "volume_delete answered %s (\"%s\")", status_name(status),
           pool->call.text);
    status = host_get(pool, &volume->id, &told);
    EXPECT(NOT_FOUND, status == SLUICE_NOT_FOUND,
           "volume_get of a volume that was deleted answered %s", status_name(status));
}

static void delete_apply(struct model *model) {
    model->volumes[model->intent.volume].there = false;
}

static bool revert_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (!has(model, SLUICE_CAP_REVERT) || !pick_snapshot(model, true, &intent->snapshot)) {
        return false;
    }
    const struct model_thing *snapshot = &model->snapshots[intent->snapshot];
    intent->id = host_id(++model->next_id);
    intent->size = snapshot->size;
    for (uint32_t i = 0; i < MODEL_VOLUMES; i++) {
        if (model->volumes[i].there &&
            memcmp(&model->volumes[i].id, &snapshot->volume, sizeof snapshot->volume) == 0) {
            intent->volume = i;
            return true;
        }
    }
    return false;
}

static void revert_ask(struct model *model, struct host_pool *pool) {
    const struct model_intent *intent = &model->intent;
    struct sluice_volume told;
    int32_t status = host_revert(pool, &model->volumes[intent->volume].id,
                                 &model->snapshots[intent->snapshot].id, &intent->id, &told);
    EXPECT(REVERT, status == SLUICE_OK, "volume_revert answered %s (\"%s\")", status_name(status),
           pool->call.text);
    EXPECT(RESULT, told.size_bytes == intent->size,
           "volume_revert to a snapshot of %llu bytes tells %llu", (unsigned long long)intent->size,
           (unsigned long long)told.size_bytes);
}

static void revert_apply(struct model *model) {
    struct model_thing *volume = &model->volumes[model->intent.volume];
    const struct model_thing *snapshot = &model->snapshots[model->intent.snapshot];
    volume->size = snapshot->size;
    memcpy(volume->bytes, snapshot->bytes, MODEL_BYTES);
}

static bool resize_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (!pick_volume(model, true, &intent->volume)) {
        return false;
    }
    uint64_t old = model->volumes[intent->volume].size;
    intent->size = some_size(model);
    return has(model, intent->size < old ? SLUICE_CAP_SHRINK : SLUICE_CAP_GROW);
}

static void resize_ask(struct model *model, struct host_pool *pool) {
    const struct model_intent *intent = &model->intent;
    struct sluice_volume told;
    int32_t status = host_resize(pool, &model->volumes[intent->volume].id, intent->size, &told);
    EXPECT(RESIZE, status == SLUICE_OK, "volume_resize to %llu answered %s (\"%s\")",
           (unsigned long long)intent->size, status_name(status), pool->call.text);
    EXPECT(RESULT, told.size_bytes == intent->size, "volume_resize to %llu bytes tells %llu",
           (unsigned long long)intent->size, (unsigned long long)told.size_bytes);
}

static void resize_apply(struct model *model) {
    struct model_thing *volume = &model->volumes[model->intent.volume];
    uint64_t kept = model_window(model->intent.size);
    memset(volume->bytes + kept, 0, MODEL_BYTES - kept);
    volume->size = model->intent.size;
}

/* ---- data --------------------------------------------------------------------------------- */

static void plan_write(struct model *model, uint64_t window, struct model_write *write) {
    static const uint32_t verbs[] = {HOST_WRITE, HOST_WRITE, HOST_ZEROES, HOST_TRIM};
    uint64_t align = model->limits.io_align > 0 ? model->limits.io_align : 1;
    uint64_t units = window / align;
    uint64_t first = rng_below(&model->rng, units);
    uint64_t most = model->limits.io_max > 0 ? model->limits.io_max / align : units;
    uint64_t count = 1 + rng_below(&model->rng, units - first < most ? units - first : most);
    *write = (struct model_write){
        .verb = verbs[rng_below(&model->rng, 4)],
        .flags = rng_below(&model->rng, 8) == 0 ? SLUICE_IO_FUA : 0,
        .offset = first * align,
        .length = count * align,
        .pattern = ++model->patterns,
    };
}

static bool data_plan(struct model *model) {
    struct model_intent *intent = &model->intent;
    if (!has(model, SLUICE_CAP_DATA) || !pick_volume(model, true, &intent->volume)) {
        return false;
    }
    const struct model_thing *volume = &model->volumes[intent->volume];
    for (uint32_t i = 0; i < MODEL_WRITES; i++) {
        plan_write(model, model_window(volume->size), &intent->writes[i]);
    }
    intent->write_count = MODEL_WRITES;
    intent->flush = true;
    intent->flushed = false;
    intent->acknowledged = 0;
    memcpy(model->before, volume->bytes, MODEL_BYTES);
    return true;
}

static void data_ask(struct model *model, struct host_pool *pool) {
    struct model_intent *intent = &model->intent;
    const struct model_thing *volume = &model->volumes[intent->volume];
    uint8_t *bytes = malloc(MODEL_BYTES);
    EXPECT(BYTES, bytes != NULL, "there is no memory for the kit itself");
    struct host_data data;
    int32_t status =
        host_data_open_patiently(&data, pool, &volume->id, NULL, ++model->epoch, false);
    EXPECT(EPOCH, status == SLUICE_OK, "data_open of a higher epoch answered %s (\"%s\")",
           status_name(status), pool->call.text);
    for (uint32_t i = 0; i < intent->write_count; i++) {
        const struct model_write *write = &intent->writes[i];
        if (write->verb == HOST_WRITE) {
            pattern_fill(write->pattern, write->offset, bytes, write->length);
            status = host_write(&data, write->offset, bytes, write->length, write->flags);
        } else if (write->verb == HOST_ZEROES) {
            status = host_zero(&data, write->offset, write->length, write->flags);
        } else {
            status = host_trim(&data, write->offset, write->length);
        }
        EXPECT(BYTES, status == SLUICE_OK, "write, zeroes or trim of %llu bytes at %llu: %s",
               (unsigned long long)write->length, (unsigned long long)write->offset,
               status_name(status));
        intent->acknowledged = i + 1;
    }
    if (has(model, SLUICE_CAP_EXTENTS)) {
        model_compare_extents(&data, volume->size);
    }
    status = host_flush(&data);
    EXPECT(FLUSH, status == SLUICE_OK, "data_flush was completed with %s", status_name(status));
    intent->flushed = true;
    host_data_close(&data);
    free(bytes);
    model_settle(model, pool, true);
}

/* model_settle has taken over what was read: trimmed bytes are the driver's choice. */
static void data_apply(struct model *model) {
    (void)model;
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum model_effect effect;
    bool (*plan)(struct model *model);
    void (*ask)(struct model *model, struct host_pool *pool);
    void (*apply)(struct model *model);
} operations[] = {
    {"create", EFFECT_VOLUME, create_plan, create_ask, create_apply},
    {"clone", EFFECT_VOLUME, clone_plan, clone_ask, clone_apply},
    {"copy", EFFECT_VOLUME, copy_plan, copy_ask, copy_apply},
    {"snapshot", EFFECT_SNAPSHOT, snapshot_plan, snapshot_ask, snapshot_apply},
    {"snapshot", EFFECT_SNAPSHOT, snapshot_plan, snapshot_ask, snapshot_apply},
    {"delete", EFFECT_GONE, delete_plan, delete_ask, delete_apply},
    {"snapshot delete", EFFECT_GONE, snapshot_delete_plan, snapshot_delete_ask,
     snapshot_delete_apply},
    {"revert", EFFECT_REVERT, revert_plan, revert_ask, revert_apply},
    {"resize", EFFECT_RESIZE, resize_plan, resize_ask, resize_apply},
    {"data", EFFECT_DATA, data_plan, data_ask, data_apply},
    {"data", EFFECT_DATA, data_plan, data_ask, data_apply},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };
_Static_assert(OPERATIONS <= sizeof((struct model *)0)->done / sizeof(uint32_t), "each is counted");

void model_init(struct model *model, const struct sluice_pool *limits, uint64_t seed,
                uint32_t first_id) {
    model->rng = rng_of_seed(seed);
    model->limits = *limits;
    model->unit = limits->volume_size_step > 512 ? limits->volume_size_step : 512;
    if (limits->io_align > 1 && model->unit % limits->io_align != 0) {
        model->unit *= limits->io_align;
    }
    model->next_id = first_id;
    model->epoch = 1;
    model->step_by_step = true;
}

void model_step(struct model *model, struct host_pool *pool) {
    struct model_intent *intent = &model->intent;
    uint32_t which = (uint32_t)rng_below(&model->rng, OPERATIONS);
    if (!operations[which].plan(model)) {
        return;
    }
    intent->operation = which;
    intent->begun = true;
    operations[which].ask(model, pool);
    if (model->step_by_step && operations[which].effect != EFFECT_DATA &&
        rng_below(&model->rng, 2) == 0) {
        operations[which].ask(model, pool);
    }
    operations[which].apply(model);
    intent->begun = false;
    model->done[which]++;
}

void model_recover(struct model *model, struct host_pool *pool) {
    struct model_intent *intent = &model->intent;
    if (intent->begun) {
        enum model_effect effect = operations[intent->operation].effect;
        if (effect == EFFECT_VOLUME || effect == EFFECT_SNAPSHOT) {
            operations[intent->operation].apply(model); /* what is to be seen, if anything is */
        }
        bool cancelled = model_look(model, pool, effect);
        if (!cancelled && effect != EFFECT_DATA) {
            operations[intent->operation].ask(model, pool);
            operations[intent->operation].apply(model);
        }
        intent->begun = false;
    }
    model_compare(model, pool);
}

const char *model_doing(const struct model *model) {
    return model->intent.begun ? operations[model->intent.operation].name : "nothing";
}

void model_tell(const struct model *model, char *ret_text, size_t size) {
    size_t length = 0;
    ret_text[0] = '\0';
    for (uint32_t i = 0; i < OPERATIONS && length < size; i++) {
        uint32_t count = model->done[i];
        if (i + 1 < OPERATIONS && strcmp(operations[i].name, operations[i + 1].name) == 0) {
            count += model->done[++i];
        }
        length += (size_t)snprintf(ret_text + length, size - length, "%s%s %u", i > 0 ? ", " : "",
                                   operations[i].name, count);
    }
}

void model_run(struct host_pool *pool, struct rng *rng, uint32_t steps) {
    struct model *model = calloc(1, sizeof *model);
    char told[256];
    EXPECT(BYTES, model != NULL, "there is no memory for the kit itself");
    model_init(model, &pool->limits, rng_next(rng), 0);
    for (uint32_t i = 0; i < steps; i++) {
        model_step(model, pool);
        if (i % COMPARE_EVERY == COMPARE_EVERY - 1) {
            model_compare(model, pool);
        }
    }
    model_compare(model, pool);
    model_tell(model, told, sizeof told);
    printf("# %s\n", told);
    free(model);
}

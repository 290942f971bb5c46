/* SPDX-License-Identifier: Apache-2.0
 *
 * model.c: see model.h.
 */
#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOLUMES_MAX 6
#define SNAPSHOTS_MAX 10
#define UNIT UINT64_C(512)
#define SIZE_MOST (UNIT * 1024)

struct thing {
    bool there;
    struct sluice_uuid id;
    struct sluice_uuid volume; /* of a snapshot */
    uint64_t size;
    char name[32];
    uint8_t *bytes; /* SIZE_MOST, zero beyond size */
};

struct model {
    struct host_pool *pool;
    struct rng *rng;
    uint32_t next_id;
    uint64_t epoch;
    struct thing volumes[VOLUMES_MAX];
    struct thing snapshots[SNAPSHOTS_MAX];
};

static struct thing *pick(struct model *model, struct thing *things, uint32_t count, bool there) {
    uint32_t from = (uint32_t)rng_below(model->rng, count);
    for (uint32_t i = 0; i < count; i++) {
        struct thing *thing = &things[(from + i) % count];
        if (thing->there == there) {
            return thing;
        }
    }
    return NULL;
}

static uint64_t some_size(struct model *model) {
    return UNIT * (1 + rng_below(model->rng, SIZE_MOST / UNIT));
}

static void set(struct model *model, struct thing *thing, const struct thing *from, uint64_t size) {
    thing->there = true;
    thing->size = size;
    memset(thing->bytes, 0, SIZE_MOST);
    if (from != NULL) {
        memcpy(thing->bytes, from->bytes, from->size);
    }
    snprintf(thing->name, sizeof thing->name, "thing %u", model->next_id);
}

static void compare_bytes(struct model *model, const struct thing *volume,
                          const struct thing *snapshot) {
    const struct thing *thing = snapshot != NULL ? snapshot : volume;
    struct host_data data;
    uint8_t *bytes = malloc(SIZE_MOST);
    assert_non_null(bytes);
    assert_int_equal(host_data_open(&data, model->pool,
                                    snapshot != NULL ? &snapshot->volume : &volume->id,
                                    snapshot != NULL ? &snapshot->id : NULL, model->epoch, true),
                     SLUICE_OK);
    assert_int_equal(data.opened.size_bytes, thing->size);
    assert_int_equal(host_read(&data, 0, bytes, thing->size), SLUICE_OK);
    assert_memory_equal(bytes, thing->bytes, thing->size);
    assert_int_equal(host_read(&data, thing->size, bytes, 1), SLUICE_INVALID);
    host_data_close(&data);
    free(bytes);
}

/* ---- operations: each does nothing where it cannot be done just now ------------------------- */

static bool do_create(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, false);
    struct sluice_volume told;
    if (volume == NULL) {
        return false;
    }
    volume->id = host_id(++model->next_id);
    set(model, volume, NULL, some_size(model));
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(host_create(model->pool, &volume->id, volume->name, volume->size, &told),
                         SLUICE_OK);
        assert_int_equal(told.size_bytes, volume->size);
        assert_string_equal(told.name, volume->name);
    }
    assert_int_equal(
        host_create(model->pool, &volume->id, volume->name, volume->size + UNIT, &told),
        SLUICE_EXISTS);
    return true;
}

static bool do_clone(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, false);
    struct thing *snapshot = pick(model, model->snapshots, SNAPSHOTS_MAX, true);
    struct sluice_volume told;
    if (volume == NULL || snapshot == NULL) {
        return false;
    }
    uint64_t size = snapshot->size + UNIT * rng_below(model->rng, 8);
    size = size > SIZE_MOST ? SIZE_MOST : size;
    volume->id = host_id(++model->next_id);
    set(model, volume, snapshot, size);
    assert_int_equal(host_clone(model->pool, &volume->id, volume->name, size, &snapshot->volume,
                                &snapshot->id, &told),
                     SLUICE_OK);
    compare_bytes(model, volume, NULL);
    return true;
}

static bool do_copy(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, false);
    struct thing *from = pick(model, model->volumes, VOLUMES_MAX, true);
    struct sluice_volume told;
    if (volume == NULL || from == NULL) {
        return false;
    }
    volume->id = host_id(++model->next_id);
    set(model, volume, from, from->size);
    if (from->size > UNIT) {
        assert_int_equal(
            host_copy(model->pool, &volume->id, volume->name, from->size - UNIT, &from->id, &told),
            SLUICE_INVALID);
    }
    assert_int_equal(
        host_copy(model->pool, &volume->id, volume->name, from->size, &from->id, &told), SLUICE_OK);
    compare_bytes(model, volume, NULL);
    return true;
}

static bool do_snapshot(struct model *model) {
    struct thing *snapshot = pick(model, model->snapshots, SNAPSHOTS_MAX, false);
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, true);
    struct sluice_snapshot told;
    if (volume == NULL || snapshot == NULL) {
        return false;
    }
    snapshot->id = host_id(++model->next_id);
    snapshot->volume = volume->id;
    set(model, snapshot, volume, volume->size);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(
            host_snapshot(model->pool, &volume->id, &snapshot->id, snapshot->name, &told),
            SLUICE_OK);
        assert_int_equal(told.size_bytes, snapshot->size);
        assert_string_equal(told.name, snapshot->name);
    }
    return true;
}

static bool do_delete(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, true);
    struct sluice_volume told = {.size = sizeof told};
    const struct sluice_storage *table = model->pool->table;
    if (volume == NULL) {
        return false;
    }
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(
            table->volume_delete(model->pool->pool, HOST_CALL(model->pool), &volume->id),
            SLUICE_OK);
        assert_int_equal(
            table->volume_get(model->pool->pool, HOST_CALL(model->pool), &volume->id, &told),
            SLUICE_NOT_FOUND);
    }
    volume->there = false;
    return true;
}

static bool do_snapshot_delete(struct model *model) {
    struct thing *snapshot = pick(model, model->snapshots, SNAPSHOTS_MAX, true);
    struct sluice_snapshot told = {.size = sizeof told};
    const struct sluice_storage *table = model->pool->table;
    if (snapshot == NULL) {
        return false;
    }
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(table->snapshot_delete(model->pool->pool, HOST_CALL(model->pool),
                                                &snapshot->volume, &snapshot->id),
                         SLUICE_OK);
        assert_int_equal(table->snapshot_get(model->pool->pool, HOST_CALL(model->pool),
                                             &snapshot->volume, &snapshot->id, &told),
                         SLUICE_NOT_FOUND);
    }
    snapshot->there = false;
    return true;
}

static bool do_revert(struct model *model) {
    struct thing *snapshot = pick(model, model->snapshots, SNAPSHOTS_MAX, true);
    struct thing *volume = NULL;
    struct sluice_volume told;
    for (int i = 0; snapshot != NULL && i < VOLUMES_MAX; i++) {
        if (model->volumes[i].there &&
            memcmp(&model->volumes[i].id, &snapshot->volume, sizeof snapshot->volume) == 0) {
            volume = &model->volumes[i];
        }
    }
    if (volume == NULL) {
        return false;
    }
    const struct sluice_uuid operation = host_id(++model->next_id);
    assert_int_equal(host_revert(model->pool, &volume->id, &snapshot->id, &operation, &told),
                     SLUICE_OK);
    assert_int_equal(told.size_bytes, snapshot->size);
    memset(volume->bytes, 0, SIZE_MOST);
    memcpy(volume->bytes, snapshot->bytes, snapshot->size);
    volume->size = snapshot->size;
    compare_bytes(model, volume, NULL);

    /* Asked again after something was written: the answer is the same, what was written is kept. */
    struct host_data data;
    assert_int_equal(host_data_open(&data, model->pool, &volume->id, NULL, ++model->epoch, false),
                     SLUICE_OK);
    assert_int_equal(host_write(&data, 0, "after", 5, 0), SLUICE_OK);
    host_data_close(&data);
    memcpy(volume->bytes, "after", 5);
    assert_int_equal(host_revert(model->pool, &volume->id, &snapshot->id, &operation, &told),
                     SLUICE_OK);
    compare_bytes(model, volume, NULL);
    return true;
}

static bool do_resize(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, true);
    struct sluice_volume told = {.size = sizeof told};
    if (volume == NULL) {
        return false;
    }
    uint64_t size = some_size(model);
    assert_int_equal(model->pool->table->volume_resize(model->pool->pool, HOST_CALL(model->pool),
                                                       &volume->id, size, &told),
                     SLUICE_OK);
    assert_int_equal(told.size_bytes, size);
    if (size < volume->size) {
        memset(volume->bytes + size, 0, SIZE_MOST - size);
    }
    volume->size = size;
    return true;
}

static bool do_io(struct model *model) {
    struct thing *volume = pick(model, model->volumes, VOLUMES_MAX, true);
    struct host_data data;
    if (volume == NULL) {
        return false;
    }
    uint8_t *bytes = malloc(SIZE_MOST);
    assert_non_null(bytes);
    assert_int_equal(host_data_open(&data, model->pool, &volume->id, NULL, ++model->epoch, false),
                     SLUICE_OK);
    for (int i = 0; i < 4; i++) {
        uint64_t offset = rng_below(model->rng, volume->size);
        uint64_t length = 1 + rng_below(model->rng, volume->size - offset);
        uint32_t fua = rng_below(model->rng, 8) == 0 ? SLUICE_IO_FUA : 0;
        switch (rng_below(model->rng, 4)) {
        case 0:
            assert_int_equal(host_zero(&data, offset, length, fua), SLUICE_OK);
            memset(volume->bytes + offset, 0, length);
            break;
        case 1:
            assert_int_equal(host_trim(&data, offset, length), SLUICE_OK);
            memset(volume->bytes + offset, 0, length);
            break;
        default:
            rng_fill(model->rng, bytes, length);
            assert_int_equal(host_write(&data, offset, bytes, length, fua), SLUICE_OK);
            memcpy(volume->bytes + offset, bytes, length);
        }
    }
    /* What is called a hole reads as zeroes, and the extents leave nothing out. */
    struct sluice_extent extents[64];
    uint32_t count;
    assert_int_equal(host_extents(&data, 0, volume->size, extents, 64, &count), SLUICE_OK);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(extents[i].offset, offset);
        assert_true(extents[i].length > 0);
        for (uint64_t at = offset;
             extents[i].flags & SLUICE_EXTENT_ZERO && at < offset + extents[i].length; at++) {
            assert_int_equal(volume->bytes[at], 0);
        }
        offset += extents[i].length;
    }
    assert_true(offset == volume->size || count == 64);
    assert_int_equal(host_flush(&data), SLUICE_OK);
    host_data_close(&data);
    free(bytes);
    return true;
}

/* ---- comparing everything ----------------------------------------------------------------- */

static uint32_t count_there(const struct thing *things, uint32_t count) {
    uint32_t there = 0;
    for (uint32_t i = 0; i < count; i++) {
        there += things[i].there;
    }
    return there;
}

static const struct thing *find(const struct thing *things, uint32_t count,
                                const struct sluice_uuid *id) {
    for (uint32_t i = 0; i < count; i++) {
        if (things[i].there && memcmp(&things[i].id, id, sizeof *id) == 0) {
            return &things[i];
        }
    }
    return NULL;
}

static void compare_volume_list(struct model *model) {
    struct sluice_volume page[2];
    struct sluice_list list = {.size = sizeof list, .capacity = 2, .entries = page};
    uint32_t total = 0;
    do {
        page[0].size = page[1].size = sizeof page[0];
        assert_int_equal(
            model->pool->table->volume_list(model->pool->pool, HOST_CALL(model->pool), &list),
            SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            const struct thing *volume = find(model->volumes, VOLUMES_MAX, &page[i].volume);
            assert_non_null(volume);
            assert_true(memcmp(&page[i].volume, &list.after, sizeof list.after) > 0);
            assert_string_equal(page[i].name, volume->name);
            assert_int_equal(page[i].size_bytes, volume->size);
            list.after = page[i].volume;
        }
        total += list.count;
    } while (list.count == list.capacity);
    assert_int_equal(total, count_there(model->volumes, VOLUMES_MAX));
}

static void compare_snapshot_list(struct model *model) {
    struct sluice_snapshot page[3];
    struct sluice_list list = {.size = sizeof list, .capacity = 3, .entries = page};
    uint32_t total = 0;
    do {
        page[0].size = page[1].size = page[2].size = sizeof page[0];
        assert_int_equal(
            model->pool->table->snapshot_list(model->pool->pool, HOST_CALL(model->pool), &list),
            SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            const struct thing *snapshot = find(model->snapshots, SNAPSHOTS_MAX, &page[i].snapshot);
            assert_non_null(snapshot);
            assert_true(memcmp(&page[i].snapshot, &list.after, sizeof list.after) > 0);
            assert_memory_equal(&page[i].volume, &snapshot->volume, sizeof snapshot->volume);
            list.after = page[i].snapshot;
        }
        total += list.count;
    } while (list.count == list.capacity);
    assert_int_equal(total, count_there(model->snapshots, SNAPSHOTS_MAX));
}

static void compare_all(struct model *model) {
    uint64_t provisioned = 0;
    for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
        if (model->volumes[i].there) {
            compare_bytes(model, &model->volumes[i], NULL);
            provisioned += model->volumes[i].size;
        }
    }
    for (uint32_t i = 0; i < SNAPSHOTS_MAX; i++) {
        if (model->snapshots[i].there) {
            compare_bytes(model, NULL, &model->snapshots[i]);
            provisioned += model->snapshots[i].size;
        }
    }
    struct sluice_capacity capacity = {.size = sizeof capacity};
    assert_int_equal(
        model->pool->table->pool_stat(model->pool->pool, HOST_CALL(model->pool), &capacity),
        SLUICE_OK);
    assert_int_equal(capacity.provisioned, provisioned);
    compare_volume_list(model);
    compare_snapshot_list(model);
}

void model_run(struct host_pool *pool, struct rng *rng, uint32_t steps) {
    static const struct {
        const char *name;
        bool (*run)(struct model *model);
    } operations[] = {
        {"create", do_create},     {"clone", do_clone},   {"copy", do_copy},
        {"snapshot", do_snapshot}, {"delete", do_delete}, {"snapshot delete", do_snapshot_delete},
        {"revert", do_revert},     {"resize", do_resize}, {"io", do_io},
        {"io again", do_io},
    };
    enum { COUNT = sizeof operations / sizeof operations[0] };
    uint32_t done[COUNT] = {0};
    struct model model = {.pool = pool, .rng = rng, .epoch = 1};
    for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
        assert_non_null(model.volumes[i].bytes = malloc(SIZE_MOST));
    }
    for (uint32_t i = 0; i < SNAPSHOTS_MAX; i++) {
        assert_non_null(model.snapshots[i].bytes = malloc(SIZE_MOST));
    }
    for (uint32_t i = 0; i < steps; i++) {
        uint64_t which = rng_below(rng, COUNT);
        done[which] += operations[which].run(&model);
        if (i % 16 == 15) {
            compare_all(&model);
        }
    }
    compare_all(&model);
    for (uint32_t i = 0; i < COUNT; i++) {
        print_message("%s: %u\n", operations[i].name, done[i]);
    }
    for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
        free(model.volumes[i].bytes);
    }
    for (uint32_t i = 0; i < SNAPSHOTS_MAX; i++) {
        free(model.snapshots[i].bytes);
    }
}

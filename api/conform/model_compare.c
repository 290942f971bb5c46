/* SPDX-License-Identifier: Apache-2.0
 *
 * model_compare.c: see model_parts.h.
 */
#include <stdlib.h>
#include <string.h>

#include "conform/model_parts.h"

#define EXTENTS 64
#define VALUES_MAX (MODEL_WRITES + 1) /* what one byte may be */

static bool has(const struct model *model, enum sluice_cap cap) {
    return (model->limits.caps >> cap & 1) != 0;
}

static uint8_t *take_buffer(void) {
    uint8_t *bytes = malloc(MODEL_BYTES);
    EXPECT(BYTES, bytes != NULL, "there is no memory for the kit itself");
    return bytes;
}

static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t length) {
    for (uint64_t i = 0; i < length; i++) {
        if (a[i] != b[i]) {
            return i;
        }
    }
    return length;
}

/* Reads what is compared of a volume, or of a snapshot of it; *ret_size: as data_open told. */
static void read_window(struct model *model, struct host_pool *pool,
                        const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                        uint8_t *ret_bytes, uint64_t *ret_size) {
    struct host_data data;
    int32_t status = host_data_open_patiently(&data, pool, volume, snapshot, ++model->epoch, true);
    EXPECT(EPOCH, status == SLUICE_OK, "data_open to read answered %s (\"%s\")",
           status_name(status), pool->call.text);
    *ret_size = data.opened.size_bytes;
    uint64_t window = model_window(*ret_size);
    uint64_t most = model->limits.io_max > 0 ? model->limits.io_max : MODEL_BYTES;
    for (uint64_t at = 0; at < window; at += most) {
        uint64_t length = window - at < most ? window - at : most;
        status = host_read(&data, at, ret_bytes + at, length);
        EXPECT(BYTES, status == SLUICE_OK, "a read of %llu bytes at %llu: %s",
               (unsigned long long)length, (unsigned long long)at, status_name(status));
    }
    host_data_close(&data);
}

static void compare_thing(struct model *model, struct host_pool *pool,
                          const struct model_thing *volume, const struct model_thing *snapshot) {
    const struct model_thing *thing = snapshot != NULL ? snapshot : volume;
    uint64_t size;
    if (!has(model, SLUICE_CAP_DATA)) {
        return;
    }
    uint8_t *bytes = take_buffer();
    read_window(model, pool, snapshot != NULL ? &snapshot->volume : &volume->id,
                snapshot != NULL ? &snapshot->id : NULL, bytes, &size);
    EXPECT(RESULT, size == thing->size, "\"%s\" has %llu bytes, data_open told %llu", thing->name,
           (unsigned long long)thing->size, (unsigned long long)size);
    uint64_t window = model_window(size);
    uint64_t at = first_difference(bytes, thing->bytes, window);
    EXPECT(BYTES, at == window, "%s \"%s\" of %llu bytes: at %llu stands %02x and not %02x",
           snapshot != NULL ? "snapshot" : "volume", thing->name, (unsigned long long)size,
           (unsigned long long)at, bytes[at], thing->bytes[at]);
    free(bytes);
}

void model_compare_extents(struct host_data *data, uint64_t size) {
    struct sluice_extent extents[EXTENTS];
    uint64_t most = data->pool->limits.io_max > 0 ? data->pool->limits.io_max : MODEL_BYTES;
    uint64_t at = 0;
    uint8_t *bytes = take_buffer();
    uint64_t window = model_window(size);
    while (at < window) {
        uint32_t count;
        int32_t status = host_extents(data, at, window - at, extents, EXTENTS, &count);
        EXPECT(EXTENTS, status == SLUICE_OK && count > 0 && count <= EXTENTS,
               "data_extents of %llu bytes at %llu: %s, %u extents",
               (unsigned long long)(window - at), (unsigned long long)at, status_name(status),
               count);
        for (uint32_t i = 0; i < count; i++) {
            EXPECT(EXTENTS,
                   extents[i].offset == at && extents[i].length > 0 &&
                       extents[i].length <= window - at,
                   "extent %u of a question up to %llu is %llu bytes at %llu, expected at %llu", i,
                   (unsigned long long)window, (unsigned long long)extents[i].length,
                   (unsigned long long)extents[i].offset, (unsigned long long)at);
            uint64_t end = at + extents[i].length;
            for (; at < end; at += most < end - at ? most : end - at) {
                uint64_t length = most < end - at ? most : end - at;
                if ((extents[i].flags & SLUICE_EXTENT_ZERO) == 0) {
                    continue;
                }
                EXPECT(BYTES, host_read(data, at, bytes, length) == SLUICE_OK, "a read failed");
                for (uint64_t byte = 0; byte < length; byte++) {
                    EXPECT(EXTENTS, bytes[byte] == 0,
                           "extents call %llu zero, but there %02x is read",
                           (unsigned long long)(at + byte), bytes[byte]);
                }
            }
        }
    }
    free(bytes);
}

/* ---- what a byte may be ------------------------------------------------------------------- */

struct values {
    uint32_t count;
    uint8_t at[VALUES_MAX];
};

static void value_add(struct values *values, uint8_t value) {
    for (uint32_t i = 0; i < values->count; i++) {
        if (values->at[i] == value) {
            return;
        }
    }
    values->at[values->count++] = value;
}

/* A write that is certain leaves nothing else; one that is not adds a possibility. */
static struct values values_of(const struct model *model, uint64_t place, bool certain) {
    const struct model_intent *intent = &model->intent;
    struct values values = {1, {model->before[place]}};
    uint32_t acknowledged = intent->acknowledged;
    for (uint32_t i = 0; i < intent->write_count && i <= acknowledged; i++) {
        const struct model_write *write = &intent->writes[i];
        if (place < write->offset || place - write->offset >= write->length) {
            continue;
        }
        bool stable = certain || intent->flushed || (write->flags & SLUICE_IO_FUA) != 0;
        if (i < acknowledged && stable && write->verb != HOST_TRIM) {
            values.count = 0;
        }
        value_add(&values, write->verb == HOST_WRITE ? pattern_byte(write->pattern, place) : 0);
    }
    return values;
}

void model_settle(struct model *model, struct host_pool *pool, bool certain) {
    struct model_thing *volume = &model->volumes[model->intent.volume];
    uint8_t *bytes = take_buffer();
    uint64_t size;
    read_window(model, pool, &volume->id, NULL, bytes, &size);
    EXPECT(RESULT, size == volume->size, "\"%s\" has %llu bytes, data_open told %llu", volume->name,
           (unsigned long long)volume->size, (unsigned long long)size);
    uint64_t window = model_window(size);
    for (uint64_t i = 0; i < window; i++) {
        const struct values values = values_of(model, i, certain);
        bool allowed = false;
        for (uint32_t k = 0; k < values.count; k++) {
            allowed = allowed || values.at[k] == bytes[i];
        }
        EXPECT(BYTES, allowed,
               "volume \"%s\" of %llu bytes: at %llu stands %02x, %02x was there before and %u "
               "writes were acknowledged",
               volume->name, (unsigned long long)size, (unsigned long long)i, bytes[i],
               model->before[i], model->intent.acknowledged);
    }
    memcpy(volume->bytes, bytes, window);
    free(bytes);
}

/* ---- after a kill ------------------------------------------------------------------------- */

static bool look_at_volume(struct model *model, struct host_pool *pool) {
    const struct model_intent *intent = &model->intent;
    struct model_thing *volume = &model->volumes[intent->volume];
    struct sluice_volume told;
    int32_t status = host_get(pool, &intent->id, &told);
    EXPECT(HALF, status == SLUICE_NOT_FOUND || status == SLUICE_OK,
           "a volume whose making was killed: volume_get answered %s (\"%s\")", status_name(status),
           pool->call.text);
    EXPECT(HALF, status != SLUICE_OK || told.size_bytes == intent->size,
           "a volume whose making was killed has %llu bytes and not %llu",
           (unsigned long long)told.size_bytes, (unsigned long long)intent->size);
    if (status == SLUICE_OK && volume->there) {
        compare_thing(model, pool, volume, NULL);
    }
    if (rng_below(&model->rng, 3) != 0) {
        return false;
    }
    status = host_delete(pool, &intent->id);
    EXPECT(CANCEL, status == SLUICE_OK, "volume_delete of what was killed answered %s (\"%s\")",
           status_name(status), pool->call.text);
    status = host_get(pool, &intent->id, &told);
    EXPECT(CANCEL, status == SLUICE_NOT_FOUND,
           "what was killed and deleted: volume_get answered %s", status_name(status));
    volume->there = false;
    return true;
}

static bool look_at_snapshot(struct model *model, struct host_pool *pool) {
    const struct model_intent *intent = &model->intent;
    const struct sluice_uuid *volume = &model->volumes[intent->volume].id;
    struct model_thing *snapshot = &model->snapshots[intent->snapshot];
    struct sluice_snapshot told;
    int32_t status = host_snapshot_get(pool, volume, &intent->id, &told);
    EXPECT(HALF, status == SLUICE_NOT_FOUND || status == SLUICE_OK,
           "a snapshot whose making was killed: snapshot_get answered %s (\"%s\")",
           status_name(status), pool->call.text);
    EXPECT(HALF, status != SLUICE_OK || told.size_bytes == intent->size,
           "a snapshot whose making was killed has %llu bytes and not %llu",
           (unsigned long long)told.size_bytes, (unsigned long long)intent->size);
    if (status == SLUICE_OK) {
        compare_thing(model, pool, NULL, snapshot);
    }
    if (rng_below(&model->rng, 3) != 0) {
        return false;
    }
    status = host_snapshot_delete(pool, volume, &intent->id);
    EXPECT(CANCEL, status == SLUICE_OK, "snapshot_delete of what was killed answered %s (\"%s\")",
           status_name(status), pool->call.text);
    status = host_snapshot_get(pool, volume, &intent->id, &told);
    EXPECT(CANCEL, status == SLUICE_NOT_FOUND,
           "what was killed and deleted: snapshot_get answered %s", status_name(status));
    snapshot->there = false;
    return true;
}

static void look_at_revert(struct model *model, struct host_pool *pool) {
    const struct model_thing *old = &model->volumes[model->intent.volume];
    const struct model_thing *new = &model->snapshots[model->intent.snapshot];
    uint64_t size;
    if (!has(model, SLUICE_CAP_DATA)) {
        return;
    }
    uint8_t *bytes = take_buffer();
    read_window(model, pool, &old->id, NULL, bytes, &size);
    bool is_old = size == old->size && memcmp(bytes, old->bytes, model_window(size)) == 0;
    bool is_new = size == new->size &&memcmp(bytes, new->bytes, model_window(size)) == 0;
    EXPECT(HALF, is_old || is_new,
           "a revert that was killed left %llu bytes that are neither the old nor the new ones",
           (unsigned long long)size);
    free(bytes);
}

static void look_at_resize(struct model *model, struct host_pool *pool) {
    const struct model_thing *volume = &model->volumes[model->intent.volume];
    struct sluice_volume told;
    int32_t status = host_get(pool, &volume->id, &told);
    EXPECT(HALF,
           status == SLUICE_OK &&
               (told.size_bytes == volume->size || told.size_bytes == model->intent.size),
           "a resize from %llu to %llu that was killed: volume_get answered %s, %llu bytes",
           (unsigned long long)volume->size, (unsigned long long)model->intent.size,
           status_name(status), (unsigned long long)told.size_bytes);
    if (!has(model, SLUICE_CAP_DATA)) {
        return;
    }
    /* Whichever it is, it is whole; the model has zeroes beyond the old size. */
    uint64_t size;
    uint8_t *bytes = take_buffer();
    read_window(model, pool, &volume->id, NULL, bytes, &size);
    uint64_t window = model_window(size);
    uint64_t at = first_difference(bytes, volume->bytes, window);
    EXPECT(HALF, size == told.size_bytes && at == window,
           "a resize from %llu to %llu that was killed left %llu bytes, and at %llu another byte",
           (unsigned long long)volume->size, (unsigned long long)model->intent.size,
           (unsigned long long)size, (unsigned long long)at);
    free(bytes);
}

bool model_look(struct model *model, struct host_pool *pool, enum model_effect effect) {
    switch (effect) {
    case EFFECT_VOLUME:
        return look_at_volume(model, pool);
    case EFFECT_SNAPSHOT:
        return look_at_snapshot(model, pool);
    case EFFECT_REVERT:
        look_at_revert(model, pool);
        return false;
    case EFFECT_RESIZE:
        look_at_resize(model, pool);
        return false;
    case EFFECT_DATA:
        model_settle(model, pool, has(model, SLUICE_CAP_TOKEN_CONSTANT));
        return false;
    case EFFECT_GONE:
        return false;
    }
    return false;
}

/* ---- comparing everything ----------------------------------------------------------------- */

static uint32_t find(const struct model_thing *things, uint32_t count,
                     const struct sluice_uuid *id) {
    for (uint32_t i = 0; i < count; i++) {
        if (things[i].there && memcmp(&things[i].id, id, sizeof *id) == 0) {
            return i;
        }
    }
    return count;
}

static void compare_volume_list(struct model *model, struct host_pool *pool, uint32_t there) {
    struct sluice_volume page[2];
    struct sluice_list list = {.size = sizeof list, .capacity = 2, .entries = page};
    uint32_t total = 0;
    do {
        memset(page, 0, sizeof page);
        page[0].size = page[1].size = sizeof page[0];
        EXPECT(LIST, host_list(pool, &list) == SLUICE_OK, "volume_list failed: \"%s\"",
               pool->call.text);
        for (uint32_t i = 0; i < list.count; i++) {
            uint32_t at = find(model->volumes, MODEL_VOLUMES, &page[i].volume);
            EXPECT(LIST, at < MODEL_VOLUMES, "a volume is listed that is not there: \"%s\"",
                   page[i].name);
            EXPECT(LIST, memcmp(&page[i].volume, &list.after, sizeof list.after) > 0,
                   "volume_list is not in ascending order of id");
            const struct model_thing *volume = &model->volumes[at];
            EXPECT(LIST,
                   page[i].size_bytes == volume->size && strcmp(page[i].name, volume->name) == 0,
                   "listed is \"%s\" of %llu bytes, it is \"%s\" of %llu", page[i].name,
                   (unsigned long long)page[i].size_bytes, volume->name,
                   (unsigned long long)volume->size);
            list.after = page[i].volume;
        }
        total += list.count;
    } while (list.count == list.capacity);
    EXPECT(LIST, total == there, "%u volumes are listed, %u are there", total, there);
}

static void compare_snapshot_list(struct model *model, struct host_pool *pool, uint32_t there) {
    struct sluice_snapshot page[3];
    struct sluice_list list = {.size = sizeof list, .capacity = 3, .entries = page};
    uint32_t total = 0;
    do {
        memset(page, 0, sizeof page);
        page[0].size = page[1].size = page[2].size = sizeof page[0];
        EXPECT(LIST, host_snapshot_list(pool, &list) == SLUICE_OK, "snapshot_list failed: \"%s\"",
               pool->call.text);
        for (uint32_t i = 0; i < list.count; i++) {
            uint32_t at = find(model->snapshots, MODEL_SNAPSHOTS, &page[i].snapshot);
            EXPECT(LIST, at < MODEL_SNAPSHOTS, "a snapshot is listed that is not there: \"%s\"",
                   page[i].name);
            EXPECT(LIST, memcmp(&page[i].snapshot, &list.after, sizeof list.after) > 0,
                   "snapshot_list is not in ascending order of id");
            EXPECT(LIST,
                   memcmp(&page[i].volume, &model->snapshots[at].volume, sizeof page[i].volume) ==
                       0,
                   "snapshot_list tells another volume of \"%s\"", page[i].name);
            list.after = page[i].snapshot;
        }
        total += list.count;
    } while (list.count == list.capacity);
    EXPECT(LIST, total == there, "%u snapshots are listed, %u are there", total, there);
}

void model_compare(struct model *model, struct host_pool *pool) {
    uint64_t provisioned = 0;
    uint32_t volumes = 0;
    uint32_t snapshots = 0;
    for (uint32_t i = 0; i < MODEL_VOLUMES; i++) {
        if (model->volumes[i].there) {
            compare_thing(model, pool, &model->volumes[i], NULL);
            provisioned += model->volumes[i].size;
            volumes++;
        }
    }
    for (uint32_t i = 0; i < MODEL_SNAPSHOTS; i++) {
        if (model->snapshots[i].there) {
            compare_thing(model, pool, NULL, &model->snapshots[i]);
            provisioned += model->snapshots[i].size;
            snapshots++;
        }
    }
    struct sluice_capacity capacity;
    EXPECT(STAT, host_stat(pool, &capacity) == SLUICE_OK, "pool_stat failed: \"%s\"",
           pool->call.text);
    EXPECT(STAT, capacity.provisioned == provisioned,
           "pool_stat tells %llu bytes provisioned, volumes and snapshots have %llu",
           (unsigned long long)capacity.provisioned, (unsigned long long)provisioned);
    compare_volume_list(model, pool, volumes);
    if (has(model, SLUICE_CAP_SNAPSHOT)) {
        compare_snapshot_list(model, pool, snapshots);
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * render_driver.c: drivers, their plan of start and their property descriptors as JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/driver_state.h"
#include "core/render.h"
#include "core/state.h"
#include "lifecycle/bag.h"
#include "lifecycle/messages.h"

#define MESSAGES_MEMORY (4 * 1024 * 1024)

static void render(const struct driver *driver, struct buf *json) {
    struct driver_record record = {
        .name = driver->name,
        .version = driver->version,
        .category = driver->category,
        .state = driver_state_name(driver->state),
        .wanted = driver->wanted,
        .cause = driver->cause.code != ERR_NONE ? driver->cause.text : "",
        .directory = driver->directory,
        .changed_at = driver->changed_at,
    };
    shape_json(&driver_record_shape, &record, true, json);
    if (driver->has_manifest) {
        buf_printf(json, ",\"vendor\":");
        json_text(json, driver->manifest.vendor);
        buf_printf(json, ",\"license\":");
        json_text(json, driver->manifest.license);
        buf_printf(json, ",\"abi\":\"%u.%u\",\"network\":%s,\"memory_mib\":%u",
                   driver->manifest.abi >> 16, driver->manifest.abi & 0xffff,
                   driver->manifest.network ? "true" : "false", driver->manifest.memory_mib);
    }
    if (driver->runner != NULL) {
        buf_printf(json, ",\"runner\":");
        render_runner(driver->runner, json);
    }
    buf_put_u8(json, '}');
}

bool render_driver(struct core *core, const char *reference, struct buf *json, struct err *err) {
    const struct driver *driver = driver_by_reference(core, reference, err);
    if (driver == NULL)
        return false;
    render(driver, json);
    return true;
}

static int compare(const struct driver *a, const struct driver *b) {
    int order = strcmp(a->name, b->name);
    if (order != 0)
        return order;
    if (a->has_manifest && b->has_manifest)
        return version_compare(&a->manifest.version, &b->manifest.version);
    return strcmp(a->version, b->version);
}

static int by_name_and_version(const void *a, const void *b) {
    return compare(*(struct driver *const *)a, *(struct driver *const *)b);
}

bool render_drivers(struct core *core, const struct core_query *query, struct buf *json,
                    char ret_next[CORE_TOKEN_MAX], struct err *err) {
    const struct drivers *drivers = core->drivers;
    const struct driver *sorted[DRIVERS_MAX];
    memcpy(sorted, drivers->at, drivers->count * sizeof sorted[0]);
    qsort(sorted, drivers->count, sizeof sorted[0], by_name_and_version);
    uint32_t from = 0, found = 0;
    if (query->after != NULL) {
        const struct driver *last = driver_by_reference(core, query->after, NULL);
        if (last == NULL)
            return err_set(err, ERR_BAD_REQUEST, "after: not a page token of this list");
        while (from < drivers->count && compare(sorted[from], last) <= 0)
            from++;
    }
    for (uint32_t i = from; i < drivers->count; i++) {
        const struct driver *driver = sorted[i];
        if ((query->name != NULL && strcmp(query->name, driver->name) != 0) ||
            (query->state != NULL && strcmp(query->state, driver_state_name(driver->state)) != 0))
            continue;
        if (found == query->limit) {
            snprintf(ret_next, CORE_TOKEN_MAX, "%s@%s", sorted[i - 1]->name,
                     sorted[i - 1]->version);
            return true;
        }
        if (found++ > 0)
            buf_put_u8(json, ',');
        render(driver, json);
    }
    return true;
}

/* ---- the plan ------------------------------------------------------------------------------- */

static void render_row(const struct drivers *drivers, const struct order_row *row,
                       struct buf *json) {
    const struct driver *driver = drivers->at[row->driver];
    buf_printf(json, "{\"position\":%u,\"driver\":", row->position);
    json_text(json, driver->name);
    buf_printf(json, ",\"version\":");
    json_text(json, driver->version);
    buf_printf(json, ",\"category\":\"%s\",\"state\":\"%s\",\"action\":\"%s\",\"uses\":[",
               driver->category, driver_state_name(driver->state), order_action_name(row->action));
    for (uint32_t i = 0; i < row->use_count; i++) {
        char name[140];
        /* uses are indexes into what was ordered: those with a manifest, in the same order */
        uint32_t index = 0, left = row->uses[i];
        while (index < drivers->count && (!drivers->at[index]->has_manifest || left-- > 0))
            index++;
        if (index >= drivers->count)
            continue;
        snprintf(name, sizeof name, "%s@%s", drivers->at[index]->name, drivers->at[index]->version);
        if (i > 0)
            buf_put_u8(json, ',');
        json_text(json, name);
    }
    buf_printf(json, "],\"reason\":");
    json_text(json, row->cause.code != ERR_NONE ? row->cause.text : "");
    buf_put_u8(json, '}');
}

bool core_plan(struct core *core, struct buf *ret_json, struct err *err) {
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    bool ok = drivers_order(core->drivers, &arena, &order, err);
    if (ok) {
        buf_printf(ret_json, "{\"steps\":[");
        for (uint32_t i = 0; i < order.count; i++) {
            if (i > 0)
                buf_put_u8(ret_json, ',');
            render_row(core->drivers, &order.rows[i], ret_json);
        }
        buf_printf(ret_json, "]}");
    }
    arena_release(&arena);
    return ok;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

bool core_descriptors(struct core *core, const char *reference, const char *language,
                      struct buf *ret_json, struct err *err) {
    const struct driver *driver = driver_by_reference(core, reference, err);
    if (driver == NULL)
        return false;
    if (!driver->has_manifest)
        return err_set(err, ERR_STATE, "the archive of driver %s cannot be read: %s", reference,
                       driver->broken.text);
    struct arena arena;
    struct messages messages;
    arena_init(&arena, MESSAGES_MEMORY);
    bool ok = messages_load(driver->directory, language, &arena, &messages, err);
    if (ok) {
        buf_printf(ret_json, "{\"driver\":");
        json_text(ret_json, reference);
        buf_printf(ret_json, ",\"label\":");
        json_text(ret_json, messages_get(&messages, driver->manifest.label));
        buf_printf(ret_json, ",\"description\":");
        json_text(ret_json, messages_get(&messages, driver->manifest.description));
        buf_printf(ret_json, ",\"items\":");
        bag_render_json(&driver->manifest.properties, &messages, ret_json);
        buf_put_u8(ret_json, '}');
    }
    arena_release(&arena);
    return ok;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: lists; there are at most DATA_EXPORTS_MAX exports, and they are looked for only when one
 * comes or goes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/uuid.h"
#include "exports/state.h"

struct export_pool *pool_of(const struct exports *exports, const struct sluice_uuid *id) {
    struct export_pool *pool;
    LIST_FOREACH(pool, &exports->pools, entry)
    if (uuid_equal(&pool->id, id))
        return pool;
    return NULL;
}

struct export_pool *pool_made(struct exports *exports, const struct sluice_uuid *id) {
    struct export_pool *pool = pool_of(exports, id);
    if (pool != NULL)
        return pool;
    pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->exports = exports;
    pool->id = *id;
    LIST_INIT(&pool->volumes);
    LIST_INSERT_HEAD(&exports->pools, pool, entry);
    return pool;
}

struct export_volume *volume_of(const struct export_pool *pool, const struct sluice_uuid *id,
                                const struct sluice_uuid *snapshot) {
    struct export_volume *volume;
    LIST_FOREACH(volume, &pool->volumes, entry)
    if (uuid_equal(&volume->volume, id) && uuid_equal(&volume->snapshot, snapshot))
        return volume;
    return NULL;
}

struct export_volume *volume_made(struct export_pool *pool, const struct sluice_uuid *id,
                                  const struct sluice_uuid *snapshot) {
    struct export_volume *volume = volume_of(pool, id, snapshot);
    if (volume != NULL)
        return volume;
    volume = calloc(1, sizeof *volume);
    if (volume == NULL)
        return NULL;
    volume->pool = pool;
    volume->volume = *id;
    volume->snapshot = *snapshot;
    LIST_INIT(&volume->exports);
    LIST_INSERT_HEAD(&pool->volumes, volume, entry);
    return volume;
}

struct export *export_of(const struct exports *exports, const struct sluice_uuid *attachment) {
    struct export_pool *pool;
    struct export_volume *volume;
    struct export *export;
    LIST_FOREACH(pool, &exports->pools, entry)
    LIST_FOREACH(volume, &pool->volumes, entry)
    LIST_FOREACH(export, &volume->exports, entry)
    if (uuid_equal(&export->attachment, attachment))
        return export;
    return NULL;
}

struct export *export_made(struct export_volume *volume, const struct sluice_uuid *attachment) {
    struct exports *exports = volume->pool->exports;
    struct export *export = exports->count < DATA_EXPORTS_MAX ? calloc(1, sizeof *export) : NULL;
    if (export == NULL)
        return NULL;
    export->volume = volume;
    export->attachment = *attachment;
    LIST_INSERT_HEAD(&volume->exports, export, entry);
    exports->count++;
    return export;
}

void export_free(struct export *export) {
    LIST_REMOVE(export, entry);
    export->volume->pool->exports->count--;
    free(export);
}

void volume_free(struct export_volume *volume) {
    CHECK(LIST_EMPTY(&volume->exports));
    LIST_REMOVE(volume, entry);
    free(volume);
}

void pools_free(struct exports *exports) {
    struct export_pool *pool;
    struct export_volume *volume;
    while ((pool = LIST_FIRST(&exports->pools)) != NULL) {
        while ((volume = LIST_FIRST(&pool->volumes)) != NULL) {
            while (!LIST_EMPTY(&volume->exports))
                export_free(LIST_FIRST(&volume->exports));
            volume_free(volume);
        }
        LIST_REMOVE(pool, entry);
        free(pool);
    }
}

void exports_trouble(const struct exports *exports, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list list;
    if (exports->options.on_trouble == NULL)
        return;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    exports->options.on_trouble(exports->options.owner, text);
}

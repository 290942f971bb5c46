/* SPDX-License-Identifier: Apache-2.0
 *
 * meta.c: see meta.h.
 */
#include "meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "record.h"

#define SNAPSHOT_LINE (UUID_TEXT + 3 * 24 + SLUICE_NAME_MAX)

static void put_format(struct record *record, const char *key, uint32_t format) {
    const char *name = image_format_name(format);
    record_put(record, key, name != NULL ? name : "");
}

static bool get_format(const struct record *record, const char *key, uint32_t *ret_format) {
    char name[16];
    if (!record_get(record, key, name, sizeof name)) {
        return false;
    }
    *ret_format = image_format_of_name(name);
    return true;
}

/* ---- volumes ------------------------------------------------------------------------------- */

/* "<id> <generation> <format> <size> <name>" */
static bool parse_snapshot(const char *line, struct snapshot_meta *ret_snapshot) {
    char id[UUID_TEXT];
    char format[16];
    unsigned long long generation;
    unsigned long long size;
    if (sscanf(line, "%36s %llu %15s %llu", id, &generation, format, &size) != 4 ||
        !uuid_parse(id, &ret_snapshot->id) || generation == 0 || size > IMAGE_SIZE_MAX) {
        return false;
    }
    ret_snapshot->generation = generation;
    ret_snapshot->size_bytes = size;
    ret_snapshot->format = image_format_of_name(format);
    const char *name = line; /* the rest, with whatever spaces it begins with */
    for (int fields = 0; fields < 4 && name != NULL; fields++) {
        name = strchr(name, ' ');
        name = name != NULL ? name + 1 : NULL;
    }
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return false;
    }
    memcpy(ret_snapshot->name, name, strlen(name) + 1);
    return ret_snapshot->format != 0;
}

static int32_t load_snapshots(const struct record *record, struct volume_meta *meta) {
    char line[SNAPSHOT_LINE];
    size_t cursor = 0;
    while (record_next(record, &cursor, "snapshot", line, sizeof line)) {
        struct snapshot_meta snapshot = {.generation = 0};
        if (!parse_snapshot(line, &snapshot)) {
            return SLUICE_CORRUPT;
        }
        int32_t status = volume_meta_add(meta, &snapshot);
        if (status != SLUICE_OK) {
            return status == SLUICE_LIMIT ? SLUICE_CORRUPT : status;
        }
    }
    return SLUICE_OK;
}

static bool parse_volume(const struct record *record, const struct sluice_uuid *volume,
                         struct volume_meta *meta) {
    uint64_t moving;
    bool whole = record_get_uuid(record, "id", &meta->id) &&
                 record_get(record, "name", meta->name, sizeof meta->name) &&
                 record_get_number(record, "size_bytes", &meta->size_bytes) &&
                 record_get_number(record, "created_bytes", &meta->created_bytes) &&
                 record_get_number(record, "source_kind", &meta->source_kind) &&
                 record_get_uuid(record, "source", &meta->source) &&
                 record_get_uuid(record, "reverted", &meta->reverted) &&
                 record_get_number(record, "active", &meta->active) &&
                 record_get_number(record, "next", &meta->next) &&
                 get_format(record, "format", &meta->format) &&
                 record_get_number(record, "moving", &moving) &&
                 record_get_number(record, "epoch", &meta->epoch) &&
                 record_get(record, "adopted", meta->adopted, sizeof meta->adopted);
    meta->moving = whole && moving != 0;
    return whole && uuid_compare(&meta->id, volume) == 0 && meta->size_bytes <= IMAGE_SIZE_MAX &&
           meta->active < meta->next && (meta->active == 0 || meta->format != 0);
}

int32_t volume_meta_load(struct share_fs *fs, struct sluice_call *call,
                         const struct sluice_uuid *volume, struct volume_meta *ret_meta) {
    struct record record;
    char path[SHARE_PATH_MAX];
    struct volume_meta meta = {.active = 0};
    layout_file(volume, LAYOUT_VOLUME_META, path);
    int32_t status = record_load(&record, fs, call, path, "sluice-volume");
    if (status == SLUICE_OK && !parse_volume(&record, volume, &meta)) {
        status = SLUICE_CORRUPT;
    }
    if (status == SLUICE_OK) {
        status = load_snapshots(&record, &meta);
    }
    record_release(&record);
    if (status != SLUICE_OK) {
        volume_meta_release(&meta);
        return status;
    }
    *ret_meta = meta;
    return SLUICE_OK;
}

static void put_snapshot(struct record *record, const struct snapshot_meta *snapshot) {
    char line[SNAPSHOT_LINE];
    char id[UUID_TEXT];
    uuid_text(&snapshot->id, id);
    snprintf(line, sizeof line, "%s %llu %s %llu %s", id, (unsigned long long)snapshot->generation,
             image_format_name(snapshot->format), (unsigned long long)snapshot->size_bytes,
             snapshot->name);
    record_put(record, "snapshot", line);
}

int32_t volume_meta_store(struct share_fs *fs, struct sluice_call *call,
                          const struct volume_meta *meta) {
    struct record record;
    char path[SHARE_PATH_MAX];
    layout_file(&meta->id, LAYOUT_VOLUME_META, path);
    record_begin(&record, "sluice-volume");
    record_put_uuid(&record, "id", &meta->id);
    record_put(&record, "name", meta->name);
    record_put_number(&record, "size_bytes", meta->size_bytes);
    record_put_number(&record, "created_bytes", meta->created_bytes);
    record_put_number(&record, "source_kind", meta->source_kind);
    record_put_uuid(&record, "source", &meta->source);
    record_put_uuid(&record, "reverted", &meta->reverted);
    record_put_number(&record, "active", meta->active);
    record_put_number(&record, "next", meta->next);
    put_format(&record, "format", meta->format);
    record_put_number(&record, "moving", meta->moving);
    record_put_number(&record, "epoch", meta->epoch);
    record_put(&record, "adopted", meta->adopted);
    for (uint32_t i = 0; i < meta->snapshot_count; i++) {
        put_snapshot(&record, &meta->snapshots[i]);
    }
    int32_t status = record_store(&record, fs, call, path, true);
    record_release(&record);
    return status;
}

void volume_meta_release(struct volume_meta *meta) {
    free(meta->snapshots);
    meta->snapshots = NULL;
    meta->snapshot_count = 0;
}

struct snapshot_meta *volume_meta_snapshot(const struct volume_meta *meta,
                                           const struct sluice_uuid *snapshot) {
    for (uint32_t i = 0; i < meta->snapshot_count; i++) {
        if (uuid_compare(&meta->snapshots[i].id, snapshot) == 0) {
            return &meta->snapshots[i];
        }
    }
    return NULL;
}

int32_t volume_meta_add(struct volume_meta *meta, const struct snapshot_meta *snapshot) {
    if (meta->snapshot_count == SHARE_SNAPSHOTS_MAX) {
        return SLUICE_LIMIT;
    }
    struct snapshot_meta *grown =
        realloc(meta->snapshots, (meta->snapshot_count + 1) * sizeof *grown);
    if (grown == NULL) {
        return SLUICE_NO_MEMORY;
    }
    grown[meta->snapshot_count++] = *snapshot;
    meta->snapshots = grown;
    return SLUICE_OK;
}

void volume_meta_remove(struct volume_meta *meta, struct snapshot_meta *snapshot) {
    *snapshot = meta->snapshots[--meta->snapshot_count];
}

/* ---- images -------------------------------------------------------------------------------- */

int32_t manifest_load(struct share_fs *fs, struct sluice_call *call,
                      const struct sluice_uuid *volume, uint64_t generation,
                      struct manifest *ret_manifest) {
    struct record record;
    char path[SHARE_PATH_MAX];
    struct manifest manifest = {.generation = 0};
    layout_manifest(volume, generation, path);
    int32_t status = record_load(&record, fs, call, path, "sluice-image");
    if (status == SLUICE_OK &&
        (!record_get_uuid(&record, "volume", &manifest.volume) ||
         !record_get_number(&record, "generation", &manifest.generation) ||
         !get_format(&record, "format", &manifest.format) ||
         !record_get_number(&record, "size_bytes", &manifest.size_bytes) ||
         !record_get_uuid(&record, "parent_volume", &manifest.parent_volume) ||
         !record_get_number(&record, "parent_generation", &manifest.parent_generation) ||
         !get_format(&record, "parent_format", &manifest.parent_format) ||
         !record_get(&record, "name", manifest.name, sizeof manifest.name) ||
         !record_get_uuid(&record, "snapshot", &manifest.snapshot) ||
         !record_get(&record, "snapshot_name", manifest.snapshot_name,
                     sizeof manifest.snapshot_name) ||
         uuid_compare(&manifest.volume, volume) != 0 || manifest.generation != generation ||
         manifest.format == 0 || (manifest.parent_generation != 0 && manifest.parent_format == 0) ||
         manifest.size_bytes > IMAGE_SIZE_MAX)) {
        status = SLUICE_CORRUPT;
    }
    record_release(&record);
    if (status == SLUICE_OK) {
        *ret_manifest = manifest;
    }
    return status;
}

int32_t manifest_store(struct share_fs *fs, struct sluice_call *call,
                       const struct manifest *manifest) {
    struct record record;
    char path[SHARE_PATH_MAX];
    layout_manifest(&manifest->volume, manifest->generation, path);
    record_begin(&record, "sluice-image");
    record_put_uuid(&record, "volume", &manifest->volume);
    record_put_number(&record, "generation", manifest->generation);
    put_format(&record, "format", manifest->format);
    record_put_number(&record, "size_bytes", manifest->size_bytes);
    record_put_uuid(&record, "parent_volume", &manifest->parent_volume);
    record_put_number(&record, "parent_generation", manifest->parent_generation);
    put_format(&record, "parent_format", manifest->parent_format);
    record_put(&record, "name", manifest->name);
    record_put_uuid(&record, "snapshot", &manifest->snapshot);
    record_put(&record, "snapshot_name", manifest->snapshot_name);
    int32_t status = record_store(&record, fs, call, path, true);
    record_release(&record);
    return status;
}

/* ---- grants: a line "grant=<attachment> <snapshot> <identity> <mode>" each ------------------ */

static int32_t parse_grants(const struct record *record, struct grants *grants) {
    char line[128];
    size_t cursor = 0;
    while (record_next(record, &cursor, "grant", line, sizeof line)) {
        char attachment[UUID_TEXT];
        char snapshot[UUID_TEXT];
        struct grant *grant = &grants->at[grants->count];
        if (grants->count == SHARE_GRANTS_MAX ||
            sscanf(line, "%36s %36s %u %u", attachment, snapshot, &grant->identity, &grant->mode) !=
                4 ||
            !uuid_parse(attachment, &grant->attachment) ||
            !uuid_parse(snapshot, &grant->snapshot)) {
            return SLUICE_CORRUPT;
        }
        grants->count++;
    }
    return SLUICE_OK;
}

int32_t grants_load(struct share_fs *fs, struct sluice_call *call, const struct sluice_uuid *volume,
                    struct grants *ret_grants) {
    struct record record;
    char path[SHARE_PATH_MAX];
    ret_grants->count = 0;
    layout_file(volume, LAYOUT_ACCESS_META, path);
    int32_t status = record_load(&record, fs, call, path, "sluice-access");
    if (status == SLUICE_OK) {
        status = parse_grants(&record, ret_grants);
    }
    record_release(&record);
    return status == SLUICE_NOT_FOUND ? SLUICE_OK : status;
}

int32_t grants_store(struct share_fs *fs, struct sluice_call *call,
                     const struct sluice_uuid *volume, const struct grants *grants) {
    struct record record;
    char path[SHARE_PATH_MAX];
    layout_file(volume, LAYOUT_ACCESS_META, path);
    record_begin(&record, "sluice-access");
    for (uint32_t i = 0; i < grants->count; i++) {
        char attachment[UUID_TEXT];
        char snapshot[UUID_TEXT];
        char line[128];
        uuid_text(&grants->at[i].attachment, attachment);
        uuid_text(&grants->at[i].snapshot, snapshot);
        snprintf(line, sizeof line, "%s %s %u %u", attachment, snapshot, grants->at[i].identity,
                 grants->at[i].mode);
        record_put(&record, "grant", line);
    }
    int32_t status = record_store(&record, fs, call, path, true);
    record_release(&record);
    return status;
}

/* ---- the marker ---------------------------------------------------------------------------- */

int32_t marker_load(struct share_fs *fs, struct sluice_call *call, struct pool_marker *ret_marker) {
    struct record record;
    struct pool_marker marker;
    int32_t status = record_load(&record, fs, call, LAYOUT_MARKER, "sluice-pool");
    if (status == SLUICE_OK && (!record_get_uuid(&record, "pool", &marker.pool) ||
                                !record_get_uuid(&record, "gateway", &marker.gateway))) {
        status = SLUICE_CORRUPT;
    }
    record_release(&record);
    if (status == SLUICE_OK) {
        *ret_marker = marker;
    }
    return status;
}

int32_t marker_store(struct share_fs *fs, struct sluice_call *call,
                     const struct pool_marker *marker, const char *name, bool replace) {
    struct record record;
    record_begin(&record, "sluice-pool");
    record_put_uuid(&record, "pool", &marker->pool);
    record_put_uuid(&record, "gateway", &marker->gateway);
    record_put(&record, "name", name);
    int32_t status = record_store(&record, fs, call, LAYOUT_MARKER, replace);
    record_release(&record);
    return status;
}

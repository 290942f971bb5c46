/* SPDX-License-Identifier: Apache-2.0
 *
 * meta.c: see meta.h.
 */
#include "meta.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"
#include "record.h"

static int damaged(void) {
    errno = EBADMSG;
    return -1;
}

int volume_meta_load(int directory, struct volume_meta *ret_meta) {
    struct record record;
    struct volume_meta meta = {.epoch = 0};
    if (record_load(&record, directory, LAYOUT_VOLUME_META, "sluice-volume") != 0) {
        return -1;
    }
    if (!record_get_uuid(&record, "id", &meta.id) ||
        !record_get(&record, "name", meta.name, sizeof meta.name) ||
        !record_get_number(&record, "size_bytes", &meta.size_bytes) ||
        !record_get_number(&record, "created_bytes", &meta.created_bytes) ||
        !record_get_number(&record, "source_kind", &meta.source_kind) ||
        !record_get_uuid(&record, "source", &meta.source) ||
        !record_get_uuid(&record, "reverted", &meta.reverted) ||
        !record_get_number(&record, "generation", &meta.generation) ||
        !record_get_number(&record, "epoch", &meta.epoch) ||
        !record_get(&record, "adopted", meta.adopted, sizeof meta.adopted) ||
        meta.size_bytes > INT64_MAX) {
        return damaged();
    }
    *ret_meta = meta;
    return 0;
}

int volume_meta_store(int directory, const struct volume_meta *meta, bool replace) {
    struct record record;
    record_begin(&record, "sluice-volume");
    record_put_uuid(&record, "id", &meta->id);
    record_put(&record, "name", meta->name);
    record_put_number(&record, "size_bytes", meta->size_bytes);
    record_put_number(&record, "created_bytes", meta->created_bytes);
    record_put_number(&record, "source_kind", meta->source_kind);
    record_put_uuid(&record, "source", &meta->source);
    record_put_uuid(&record, "reverted", &meta->reverted);
    record_put_number(&record, "generation", meta->generation);
    record_put_number(&record, "epoch", meta->epoch);
    record_put(&record, "adopted", meta->adopted);
    return record_store(&record, directory, LAYOUT_VOLUME_META, replace);
}

int snapshot_meta_load(int directory, struct snapshot_meta *ret_meta) {
    struct record record;
    struct snapshot_meta meta = {.size_bytes = 0};
    if (record_load(&record, directory, LAYOUT_SNAPSHOT_META, "sluice-snapshot") != 0) {
        return -1;
    }
    if (!record_get_uuid(&record, "id", &meta.id) ||
        !record_get_uuid(&record, "volume", &meta.volume) ||
        !record_get(&record, "name", meta.name, sizeof meta.name) ||
        !record_get_number(&record, "size_bytes", &meta.size_bytes) ||
        meta.size_bytes > INT64_MAX) {
        return damaged();
    }
    *ret_meta = meta;
    return 0;
}

int snapshot_meta_store(int directory, const struct snapshot_meta *meta) {
    struct record record;
    record_begin(&record, "sluice-snapshot");
    record_put_uuid(&record, "id", &meta->id);
    record_put_uuid(&record, "volume", &meta->volume);
    record_put(&record, "name", meta->name);
    record_put_number(&record, "size_bytes", meta->size_bytes);
    return record_store(&record, directory, LAYOUT_SNAPSHOT_META, false);
}

/* A grant is one line: "grant=<attachment> <snapshot> <uid> <mode>". */
int grants_load(int directory, struct grants *ret_grants) {
    struct record record;
    ret_grants->count = 0;
    if (record_load(&record, directory, LAYOUT_ACCESS_META, "sluice-access") != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    char line[128];
    size_t cursor = 0;
    while (record_next(&record, &cursor, "grant", line, sizeof line)) {
        char attachment[UUID_TEXT];
        char snapshot[UUID_TEXT];
        struct grant *grant = &ret_grants->at[ret_grants->count];
        if (ret_grants->count == GRANTS_MAX ||
            sscanf(line, "%36s %36s %u %u", attachment, snapshot, &grant->uid, &grant->mode) != 4 ||
            !uuid_parse(attachment, &grant->attachment) ||
            !uuid_parse(snapshot, &grant->snapshot)) {
            ret_grants->count = 0;
            return damaged();
        }
        ret_grants->count++;
    }
    return 0;
}

int grants_store(int directory, const struct grants *grants) {
    struct record record;
    record_begin(&record, "sluice-access");
    for (uint32_t i = 0; i < grants->count; i++) {
        char attachment[UUID_TEXT];
        char snapshot[UUID_TEXT];
        char line[128];
        uuid_text(&grants->at[i].attachment, attachment);
        uuid_text(&grants->at[i].snapshot, snapshot);
        snprintf(line, sizeof line, "%s %s %u %u", attachment, snapshot, grants->at[i].uid,
                 grants->at[i].mode);
        record_put(&record, "grant", line);
    }
    return record_store(&record, directory, LAYOUT_ACCESS_META, true);
}

int marker_load(int directory, struct pool_marker *ret_marker) {
    struct record record;
    struct pool_marker marker;
    if (record_load(&record, directory, LAYOUT_MARKER, "sluice-pool") != 0) {
        return -1;
    }
    if (!record_get_uuid(&record, "pool", &marker.pool) ||
        !record_get_uuid(&record, "gateway", &marker.gateway)) {
        return damaged();
    }
    *ret_marker = marker;
    return 0;
}

int marker_store(int directory, const struct pool_marker *marker, const char *name, bool replace) {
    struct record record;
    record_begin(&record, "sluice-pool");
    record_put_uuid(&record, "pool", &marker->pool);
    record_put_uuid(&record, "gateway", &marker->gateway);
    record_put(&record, "name", name);
    return record_store(&record, directory, LAYOUT_MARKER, replace);
}

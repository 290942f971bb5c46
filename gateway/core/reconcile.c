/* SPDX-License-Identifier: Apache-2.0 */
#include "core/reconcile.h"

#include <string.h>

#include "base/uuid.h"
#include "core/state.h"
#include "core/store.h"

#define ENTRY_MAX 4096 /* one volume or snapshot, encoded */

/* What both sides say of an object, whichever noun it is. */
struct entry {
    struct sluice_uuid id, volume;
    const char *name;
    uint64_t size_bytes;
};

/* ---- the backend's side --------------------------------------------------------------------- */

static bool decode_entry(enum core_noun noun, const uint8_t *bytes, size_t length,
                         struct arena *arena, struct entry *ret, struct err *err) {
    union {
        struct wire_volume volume;
        struct wire_snapshot snapshot;
    } wire;
    const struct shape *shape = noun == CORE_VOLUME ? &wire_volume_shape : &wire_snapshot_shape;
    if (bytes == NULL || !shape_decode(shape, bytes, length, arena, &wire, err))
        return false;
    if (noun == CORE_VOLUME)
        *ret = (struct entry){.id = wire.volume.volume,
                              .name = wire.volume.name,
                              .size_bytes = wire.volume.size_bytes};
    else
        *ret = (struct entry){.id = wire.snapshot.snapshot,
                              .volume = wire.snapshot.volume,
                              .name = wire.snapshot.name,
                              .size_bytes = wire.snapshot.size_bytes};
    return true;
}

static bool decode_page(enum core_noun noun, const struct sluice_uuid *after,
                        const struct wire_page *page, struct arena *arena, struct entry *ret,
                        struct err *err) {
    const char *name = core_noun_name(noun);
    struct reader reader;
    reader_init(&reader, page->entries.at, page->entries.length);
    if (page->count > WIRE_PAGE_ENTRIES)
        return err_set(err, ERR_PROTOCOL, "the driver's list of %ss is longer than asked for",
                       name);
    for (uint32_t i = 0; i < page->count; i++) {
        size_t length;
        const uint8_t *bytes = reader_blob(&reader, ENTRY_MAX, &length);
        if (!decode_entry(noun, bytes, length, arena, &ret[i], NULL))
            return err_set(err, ERR_PROTOCOL, "the driver's list of %ss cannot be read", name);
        if (uuid_compare(&ret[i].id, i > 0 ? &ret[i - 1].id : after) <= 0)
            return err_set(err, ERR_PROTOCOL, "the driver's list of %ss is not in order of id",
                           name);
    }
    return true;
}

/* ---- the catalogue's side ------------------------------------------------------------------- */

struct ids {
    struct sluice_uuid at[RECONCILE_IDS];
    uint32_t count;
    bool more;
};

static bool on_catalogued(void *arg, const struct catalog_entry *entry) {
    struct ids *ids = arg;
    ids->more = ids->count == RECONCILE_IDS;
    if (ids->more)
        return false;
    struct sluice_uuid *id = &ids->at[ids->count++];
    memcpy(id->bytes, entry->key + entry->key_length - sizeof id->bytes, sizeof id->bytes);
    return true;
}

static bool catalogue_ids(struct core *core, enum core_noun noun, const struct sluice_uuid *pool,
                          const struct sluice_uuid *volume, const struct sluice_uuid *after,
                          struct ids *ret, struct err *err) {
    struct key prefix;
    key_index(&prefix, noun, volume != NULL ? STORE_BY_VOLUME : STORE_BY_POOL,
              volume != NULL ? volume : pool);
    struct key from = prefix;
    key_add_id(&from, after);
    ret->count = 0;
    ret->more = false;
    return catalog_scan(core->catalog, prefix.at, prefix.length, from.at, from.length, false,
                        on_catalogued, ret, err);
}

bool reconcile_one(struct core *core, enum core_noun noun, const struct sluice_uuid *id,
                   bool on_backend, struct arena *arena, struct difference *ret, struct err *err) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } record;
    struct err trouble = ERR_INIT;
    *ret = (struct difference){.kind = DIFFERENCE_NONE, .id = *id, .name = ""};
    if (!store_get(core->catalog, noun, id, arena, &record, &ret->revision, &trouble)) {
        ret->kind = on_backend ? DIFFERENCE_UNKNOWN : DIFFERENCE_NONE;
        return trouble.code == ERR_NOT_FOUND || err_set(err, trouble.code, "%s", trouble.text);
    }
    const char *state = noun == CORE_VOLUME ? record.volume.state : record.snapshot.state;
    ret->name = noun == CORE_VOLUME ? record.volume.name : record.snapshot.name;
    ret->size_bytes = noun == CORE_VOLUME ? record.volume.size_bytes : record.snapshot.size_bytes;
    if (noun == CORE_SNAPSHOT)
        ret->volume = record.snapshot.volume;
    if (strcmp(state, STATE_MISSING) == 0)
        ret->kind = on_backend ? DIFFERENCE_BACK : DIFFERENCE_MISSING;
    else if (strcmp(state, "available") == 0 && !on_backend)
        ret->kind = DIFFERENCE_LOST;
    return true;
}

/* ---- side by side --------------------------------------------------------------------------- */

bool reconcile_page(struct core *core, enum core_noun noun, const struct sluice_uuid *pool,
                    const struct sluice_uuid *volume, const struct sluice_uuid *after,
                    const struct wire_page *page, struct arena *arena, struct reconciled *ret,
                    struct err *err) {
    struct entry entries[WIRE_PAGE_ENTRIES];
    struct ids ids;
    if (!decode_page(noun, after, page, arena, entries, err) ||
        !catalogue_ids(core, noun, pool, volume, after, &ids, err))
        return false;
    bool more = page->count > 0; /* only an empty page is the end of the driver's list */
    uint32_t here = 0, there = 0;
    ret->count = ret->catalogued = 0;
    ret->upto = *after;
    /* What lies behind the end of a side that goes on is not known to be on one side only. */
    while ((here < ids.count || !ids.more) && (there < page->count || !more) &&
           (here < ids.count || there < page->count)) {
        int order = here == ids.count      ? 1
                    : there == page->count ? -1
                                           : uuid_compare(&ids.at[here], &entries[there].id);
        struct difference *difference = &ret->at[ret->count];
        const struct sluice_uuid *id = order <= 0 ? &ids.at[here] : &entries[there].id;
        if (!reconcile_one(core, noun, id, order >= 0, arena, difference, err))
            return false;
        if (order > 0) {
            difference->name = entries[there].name;
            difference->size_bytes = entries[there].size_bytes;
            difference->volume = entries[there].volume;
            /* In another pool of the catalogue it is no less unknown to this one. */
            difference->kind = DIFFERENCE_UNKNOWN;
        }
        ret->count += difference->kind != DIFFERENCE_NONE;
        ret->catalogued += order <= 0;
        ret->upto = *id;
        here += order <= 0;
        there += order >= 0;
    }
    ret->last = here == ids.count && there == page->count && !ids.more && !more;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * table_cache.c: a hash of slots and a clock over them.
 */
#include "image/table_cache.h"

#include <stdlib.h>
#include <string.h>

#include "image/format.h"

#define TABLE_NO_SLOT UINT32_MAX
#define TABLE_NO_OFFSET UINT64_MAX
#define SECTOR_BYTES 512u

int32_t table_cache_init(struct table_cache *cache, struct image_file *file, uint32_t slice_bytes,
                         uint64_t bytes_max) {
    uint64_t count = bytes_max / slice_bytes;
    if (count < TABLE_SLOTS_MIN)
        count = TABLE_SLOTS_MIN;
    if (count > UINT32_MAX / 4)
        count = UINT32_MAX / 4;
    uint32_t heads = 1;
    while (heads < count)
        heads *= 2;
    *cache = (struct table_cache){.file = file,
                                  .slice_bytes = slice_bytes,
                                  .count = (uint32_t)count,
                                  .mask = heads - 1,
                                  .heads = malloc(heads * sizeof *cache->heads),
                                  .slots = calloc(count, sizeof *cache->slots),
                                  /* Untouched pages take no memory: a bound, not a cost. */
                                  .bytes = malloc(count * slice_bytes)};
    if (cache->heads == NULL || cache->slots == NULL || cache->bytes == NULL) {
        table_cache_release(cache);
        return SLUICE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < heads; i++)
        cache->heads[i] = TABLE_NO_SLOT;
    for (uint32_t i = 0; i < count; i++)
        cache->slots[i].offset = TABLE_NO_OFFSET;
    return SLUICE_OK;
}

void table_cache_release(struct table_cache *cache) {
    free(cache->heads);
    free(cache->slots);
    free(cache->bytes);
    *cache = (struct table_cache){0};
}

static uint32_t *head_of(const struct table_cache *cache, uint64_t offset) {
    /* The golden ratio spreads neighbours. */
    uint64_t hash = offset / cache->slice_bytes * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->heads[(uint32_t)(hash >> 32) & cache->mask];
}

static uint32_t find(const struct table_cache *cache, uint64_t offset) {
    uint32_t at = *head_of(cache, offset);
    while (at != TABLE_NO_SLOT && cache->slots[at].offset != offset)
        at = cache->slots[at].next;
    return at;
}

static bool is_dirty(const struct table_slot *slot) {
    return slot->dirty_to > slot->dirty_from;
}

static uint8_t *bytes_of(const struct table_cache *cache, uint32_t at) {
    return cache->bytes + (size_t)at * cache->slice_bytes;
}

static void mark_used(struct table_slot *slot) {
    /* Several may look at once, and only the first look has to write. */
    if (__atomic_load_n(&slot->used, __ATOMIC_RELAXED) == 0)
        __atomic_store_n(&slot->used, 1, __ATOMIC_RELAXED);
}

static void unlink_slot(struct table_cache *cache, uint32_t at) {
    struct table_slot *slot = &cache->slots[at];
    if (slot->offset == TABLE_NO_OFFSET)
        return;
    uint32_t *from = head_of(cache, slot->offset);
    while (*from != at)
        from = &cache->slots[*from].next;
    *from = slot->next;
    if (is_dirty(slot))
        cache->dirty[slot->kind]--;
    *slot = (struct table_slot){.offset = TABLE_NO_OFFSET};
}

/* Two turns of the clock: the first may do nothing but take the marks away. */
static uint32_t victim(struct table_cache *cache) {
    for (uint64_t i = 0; i < (uint64_t)cache->count * 2; i++) {
        uint32_t at = cache->hand;
        cache->hand = (cache->hand + 1) % cache->count;
        struct table_slot *slot = &cache->slots[at];
        if (is_dirty(slot))
            continue;
        if (slot->offset == TABLE_NO_OFFSET || slot->used == 0)
            return at;
        slot->used = 0;
    }
    return TABLE_NO_SLOT;
}

const uint8_t *table_cache_peek(const struct table_cache *cache, uint64_t offset) {
    uint32_t at = find(cache, offset);
    if (at == TABLE_NO_SLOT)
        return NULL;
    mark_used(&cache->slots[at]);
    return bytes_of(cache, at);
}

int32_t table_cache_get(struct table_cache *cache, enum table_kind kind, uint64_t offset,
                        uint8_t **ret_bytes) {
    uint32_t at = find(cache, offset);
    if (at == TABLE_NO_SLOT) {
        at = victim(cache);
        MUST(at != TABLE_NO_SLOT); /* who changes slices looks whether it is crowded */
        unlink_slot(cache, at);
        int32_t status =
            cache->file->ops->read(cache->file, offset, bytes_of(cache, at), cache->slice_bytes);
        if (status != SLUICE_OK)
            return status;
        uint32_t *head = head_of(cache, offset);
        cache->slots[at] =
            (struct table_slot){.offset = offset, .next = *head, .kind = (uint8_t)kind};
        *head = at;
    }
    struct table_slot *slot = &cache->slots[at];
    if (slot->kind != kind)
        return SLUICE_CORRUPT;
    mark_used(slot);
    *ret_bytes = bytes_of(cache, at);
    return SLUICE_OK;
}

void table_cache_changed(struct table_cache *cache, uint64_t offset, uint32_t from, uint32_t to) {
    uint32_t at = find(cache, offset);
    MUST(at != TABLE_NO_SLOT && from < to && to <= cache->slice_bytes);
    struct table_slot *slot = &cache->slots[at];
    if (!is_dirty(slot)) {
        cache->dirty[slot->kind]++;
        slot->dirty_from = from;
        slot->dirty_to = to;
        return;
    }
    if (from < slot->dirty_from)
        slot->dirty_from = from;
    if (to > slot->dirty_to)
        slot->dirty_to = to;
}

bool table_cache_is_crowded(const struct table_cache *cache) {
    return cache->dirty[TABLE_COUNTS] + cache->dirty[TABLE_L2] > cache->count / 4 * 3;
}

static int32_t write_slot(struct table_cache *cache, uint32_t at) {
    struct table_slot *slot = &cache->slots[at];
    /* Whole sectors, so that the file system below has nothing to read. */
    uint32_t from = slot->dirty_from - slot->dirty_from % SECTOR_BYTES;
    uint32_t to = (slot->dirty_to + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    int32_t status = cache->file->ops->write(cache->file, slot->offset + from,
                                             bytes_of(cache, at) + from, to - from);
    if (status != SLUICE_OK)
        return status;
    slot->dirty_from = slot->dirty_to = 0;
    cache->dirty[slot->kind]--;
    return SLUICE_OK;
}

int32_t table_cache_write(struct table_cache *cache, enum table_kind kind) {
    for (uint32_t at = 0; cache->dirty[kind] > 0 && at < cache->count; at++) {
        if (cache->slots[at].kind != kind || !is_dirty(&cache->slots[at]))
            continue;
        int32_t status = write_slot(cache, at);
        if (status != SLUICE_OK)
            return status;
    }
    return SLUICE_OK;
}

void table_cache_written(struct table_cache *cache, uint64_t offset) {
    uint32_t at = find(cache, offset);
    MUST(at != TABLE_NO_SLOT);
    struct table_slot *slot = &cache->slots[at];
    if (is_dirty(slot))
        cache->dirty[slot->kind]--;
    slot->dirty_from = slot->dirty_to = 0;
}

void table_cache_forget(struct table_cache *cache, uint64_t offset, uint64_t length) {
    for (uint64_t end = offset + length; offset < end; offset += cache->slice_bytes) {
        uint32_t at = find(cache, offset);
        if (at != TABLE_NO_SLOT)
            unlink_slot(cache, at);
    }
}

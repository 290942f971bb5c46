/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_change.c: another size, another parent, and what is damaged.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/vhdx.h"

static const uint8_t region_bat[VHDX_GUID_BYTES] = VHDX_REGION_BAT;
static const uint32_t regions_at[2] = {VHDX_AT_REGIONS_FIRST, VHDX_AT_REGIONS_SECOND};

/* ---- pages of the head ----------------------------------------------------------------------- */

/* Bytes of the head are going to be these, by the next entry of the log. */
static int32_t head_change(struct vhdx *v, uint64_t offset, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        size_t within = (size_t)(offset % VHDX_PAGE_BYTES);
        size_t part = VHDX_PAGE_BYTES - within < length ? VHDX_PAGE_BYTES - within : length;
        uint8_t *page;
        int32_t status = vhdx_extra(v, offset, &page);
        if (status != SLUICE_OK)
            return status;
        memcpy(page + within, bytes, part);
        offset += part;
        bytes += part;
        length -= part;
    }
    return SLUICE_OK;
}

/* The pages of a table that differ from what it was. */
static int32_t table_change(struct vhdx *v, uint64_t offset, const uint8_t *before,
                            const uint8_t *after, size_t length) {
    int32_t status = SLUICE_OK;
    for (size_t at = 0; at < length && status == SLUICE_OK; at += VHDX_PAGE_BYTES)
        if (memcmp(before + at, after + at, VHDX_PAGE_BYTES) != 0)
            status = head_change(v, offset + at, after + at, VHDX_PAGE_BYTES);
    return status;
}

/* Through the log, or as it was. */
static int32_t head_write(struct vhdx *v, int32_t status) {
    if (status == SLUICE_OK)
        status = vhdx_log_write(v);
    if (status != SLUICE_OK)
        vhdx_extra_revert(v);
    return status;
}

/* ---- the BAT --------------------------------------------------------------------------------- */

/* Room in memory for so many entries; those that are new are as the file has them. */
static int32_t bat_reserve(struct vhdx *v, uint64_t entries) {
    size_t before = (size_t)vhdx_divide_up(v->entries * VHDX_BAT_ENTRY_BYTES + 1, VHDX_PAGE_BYTES) *
                    VHDX_PAGE_BYTES;
    size_t after = (size_t)vhdx_divide_up(entries * VHDX_BAT_ENTRY_BYTES + 1, VHDX_PAGE_BYTES) *
                   VHDX_PAGE_BYTES;
    if (after <= before)
        return SLUICE_OK;
    uint8_t *bat = realloc(v->bat, after);
    if (bat == NULL)
        return SLUICE_NO_MEMORY;
    v->bat = bat;
    memset(bat + before, 0, after - before);
    if (after > v->bat_bytes)
        after = (size_t)v->bat_bytes;
    if (after <= before)
        return SLUICE_OK;
    return v->image.file->ops->read(v->image.file, v->bat_offset + before, bat + before,
                                    after - before);
}

/* Both region tables name another place. */
static int32_t regions_move_bat(struct vhdx *v, uint64_t offset, uint64_t length) {
    uint8_t *table = malloc(VHDX_REGIONS_BYTES);
    if (table == NULL)
        return SLUICE_NO_MEMORY;
    memcpy(table, v->regions, VHDX_REGIONS_BYTES);
    uint32_t count = vhdx_load32(table + VHDX_REGIONS_COUNT);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = table + VHDX_REGIONS_ENTRIES + (size_t)i * VHDX_REGION_BYTES;
        if (memcmp(entry, region_bat, VHDX_GUID_BYTES) != 0)
            continue;
        vhdx_store64(entry + VHDX_REGION_OFFSET, offset);
        vhdx_store32(entry + VHDX_REGION_LENGTH, (uint32_t)length);
    }
    vhdx_seal(table, VHDX_REGIONS_BYTES);
    int32_t status = SLUICE_OK;
    for (uint32_t i = 0; i < 2 && status == SLUICE_OK; i++)
        status = table_change(v, regions_at[i], v->regions, table, VHDX_REGIONS_BYTES);
    status = head_write(v, status);
    if (status == SLUICE_OK)
        memcpy(v->regions, table, VHDX_REGIONS_BYTES);
    free(table);
    return status;
}

/* A BAT that is too short for a larger disk goes elsewhere. The old one stays used until the image
 * is opened again: older entries of the log may still be replayed there. */
static int32_t bat_move(struct vhdx *v, uint64_t entries) {
    uint64_t mib = vhdx_divide_up(entries * VHDX_BAT_ENTRY_BYTES, VHDX_MIB) + 1;
    uint64_t to;
    bool zero;
    int32_t status = vhdx_log_write(v);
    if (status == SLUICE_OK)
        status = vhdx_alloc(v, mib, &to, &zero);
    if (status != SLUICE_OK)
        return status;
    uint64_t length = v->entries * VHDX_BAT_ENTRY_BYTES;
    struct image_file *file = v->image.file;
    status = image_file_write_zeroes(file, to, zero ? 0 : mib * VHDX_MIB);
    if (status == SLUICE_OK && length > 0)
        status = file->ops->write(file, to, v->bat, length);
    if (status == SLUICE_OK)
        status = vhdx_flush_file(v);
    if (status == SLUICE_OK)
        status = regions_move_bat(v, to, mib * VHDX_MIB);
    if (status != SLUICE_OK)
        return status;
    v->bat_offset = to;
    v->bat_bytes = mib * VHDX_MIB;
    return SLUICE_OK;
}

static bool is_bitmap(const struct vhdx *v, uint64_t index) {
    return index % (v->chunk_ratio + 1) == v->chunk_ratio;
}

/* ---- resize ---------------------------------------------------------------------------------- */

/* What lies in the last block behind the old end reads as zeroes once the disk is longer. */
static int32_t zero_tail(struct vhdx *v, uint64_t to) {
    uint64_t from = v->image.size_bytes;
    uint64_t end = vhdx_divide_up(from, v->block_bytes) * v->block_bytes;
    if (end > to)
        end = to;
    if (from == end)
        return SLUICE_OK;
    uint32_t state = vhdx_entry_state(vhdx_entry(v, vhdx_block_index(v, from / v->block_bytes)));
    const struct image *parent = v->image.parent;
    if (state != VHDX_NOT_PRESENT ? state < VHDX_FULL
                                  : !v->image.has_parent || parent->size_bytes <= from)
        return SLUICE_OK;
    /* Nobody sees these bytes until the size is in its place, which is after a flush. */
    v->image.size_bytes = to;
    int32_t status = SLUICE_OK;
    for (uint64_t at = from; at < end && status == SLUICE_OK;) {
        size_t part = end - at < IMAGE_ZEROES_BYTES ? (size_t)(end - at) : IMAGE_ZEROES_BYTES;
        status = vhdx_write(&v->image, at, image_zeroes, part);
        at += part;
    }
    v->image.size_bytes = from;
    v->unstable = true;
    return status;
}

/* What a new block's entry has to be. */
static int32_t new_entry(struct vhdx *v, uint64_t index, uint64_t *ret_entry) {
    uint64_t block = index - index / (v->chunk_ratio + 1);
    *ret_entry = VHDX_NOT_PRESENT;
    if (is_bitmap(v, index))
        return SLUICE_OK;
    if (v->fixed) {
        uint64_t at;
        bool zero;
        int32_t status = vhdx_alloc(v, v->block_mib, &at, &zero);
        if (status == SLUICE_OK && !zero) {
            status = image_file_write_zeroes(v->image.file, at, v->block_bytes);
            v->unstable = true;
        }
        if (status == SLUICE_OK)
            *ret_entry = at | VHDX_FULL;
        return status;
    }
    if (v->image.has_parent && block * v->block_bytes < v->image.parent->size_bytes)
        *ret_entry = VHDX_ZERO;
    return SLUICE_OK;
}

static int32_t grow_entries(struct vhdx *v, uint64_t size_bytes, uint64_t entries) {
    uint64_t blocks = vhdx_divide_up(size_bytes, v->block_bytes);
    uint64_t last = blocks == 0 ? 0 : vhdx_block_index(v, blocks - 1) + 1;
    int32_t status = SLUICE_OK;
    for (uint64_t i = vhdx_block_index(v, v->blocks); i < entries && status == SLUICE_OK; i++) {
        if (is_bitmap(v, i) && i < v->entries)
            continue; /* of the last chunk, and speaks of the blocks before */
        uint64_t entry = VHDX_NOT_PRESENT;
        status = vhdx_make_room(v);
        if (status == SLUICE_OK && i < last)
            status = new_entry(v, i, &entry);
        if (status == SLUICE_OK && vhdx_entry(v, i) != entry)
            vhdx_set_entry(v, i, entry);
    }
    return status;
}

static int32_t write_size(struct vhdx *v, uint64_t size_bytes) {
    uint8_t bytes[8];
    vhdx_store64(bytes, size_bytes);
    int32_t status = vhdx_make_room(v);
    if (status == SLUICE_OK)
        status = head_change(v, v->metadata_offset + v->disk_size.offset, bytes, sizeof bytes);
    return head_write(v, status);
}

/* Behind the new end nothing is named any more. The size is true already: what fails here is only
 * space, and stays dirty. */
static void cut_entries(struct vhdx *v, uint64_t blocks) {
    uint64_t chunks = vhdx_divide_up(blocks, v->chunk_ratio);
    for (uint64_t i = vhdx_block_index(v, blocks); i < v->entries; i++) {
        uint64_t entry = vhdx_entry(v, i);
        bool bitmap = is_bitmap(v, i);
        if (entry == VHDX_NOT_PRESENT || (bitmap && i / (v->chunk_ratio + 1) < chunks))
            continue;
        if (vhdx_make_room(v) != SLUICE_OK)
            return;
        vhdx_set_entry(v, i, VHDX_NOT_PRESENT);
        if (!bitmap && vhdx_entry_state(entry) >= VHDX_FULL)
            vhdx_free_later(v, entry & VHDX_OFFSET_MASK, v->block_mib);
    }
    (void)vhdx_log_write(v);
}

int32_t vhdx_resize(struct image *image, uint64_t size_bytes, struct image_error *error) {
    struct vhdx *v = vhdx_of(image);
    uint64_t blocks = vhdx_divide_up(size_bytes, v->block_bytes);
    uint64_t entries = vhdx_entries(size_bytes, v->block_bytes, v->chunk_ratio, image->has_parent);
    if (size_bytes % v->sector_bytes != 0) {
        image_error_set(error, "the size has to be a multiple of the %" PRIu32 " bytes of a sector",
                        v->sector_bytes);
        return SLUICE_INVALID;
    }
    if (entries * VHDX_BAT_ENTRY_BYTES > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error,
                        "a disk of %" PRIu64 " bytes needs larger blocks than %" PRIu32
                        " bytes: copy it to a new image",
                        size_bytes, v->block_bytes);
        return SLUICE_LIMIT;
    }
    int32_t status = vhdx_begin(v, true);
    if (status == SLUICE_OK && entries * VHDX_BAT_ENTRY_BYTES > v->bat_bytes)
        status = bat_move(v, entries);
    if (status == SLUICE_OK)
        status = bat_reserve(v, entries);
    if (status == SLUICE_OK && size_bytes > image->size_bytes) {
        status = zero_tail(v, size_bytes);
        if (status == SLUICE_OK)
            status = grow_entries(v, size_bytes, entries);
    }
    if (status == SLUICE_OK)
        status = write_size(v, size_bytes);
    if (status != SLUICE_OK)
        return status;
    bool cut = size_bytes < image->size_bytes;
    image->size_bytes = size_bytes;
    if (cut)
        cut_entries(v, blocks);
    v->blocks = blocks;
    v->entries = entries;
    return vhdx_flush_file(v);
}

/* ---- another parent -------------------------------------------------------------------------- */

/* Sectors that only the parent had become zeroes, so that every block is whole. */
static int32_t complete_blocks(struct vhdx *v) {
    int32_t status = SLUICE_OK;
    for (uint64_t block = 0; block < v->blocks && status == SLUICE_OK; block++) {
        uint64_t at = block * v->block_bytes;
        uint64_t end = at + v->block_bytes;
        if (end > v->image.size_bytes)
            end = v->image.size_bytes;
        if (vhdx_entry_state(vhdx_entry(v, vhdx_block_index(v, block))) != VHDX_PARTIAL)
            continue;
        while (at < end && status == SLUICE_OK) {
            struct own_run run;
            status = vhdx_find(&v->image, at, end - at, false, &run);
            if (status != SLUICE_OK)
                break;
            if (run.kind == OWN_ABSENT) {
                if (run.length > IMAGE_ZEROES_BYTES)
                    run.length = IMAGE_ZEROES_BYTES;
                status = vhdx_write(&v->image, at, image_zeroes, (size_t)run.length);
            }
            at += run.length;
        }
    }
    return status;
}

/* Bitmaps are not allowed without a parent. Their space is free when the image is opened again. */
static int32_t drop_bitmaps(struct vhdx *v) {
    int32_t status = SLUICE_OK;
    for (uint64_t i = v->chunk_ratio; i < v->entries && status == SLUICE_OK;
         i += v->chunk_ratio + 1) {
        if (vhdx_entry(v, i) == VHDX_NOT_PRESENT)
            continue;
        status = vhdx_make_room(v);
        if (status == SLUICE_OK)
            vhdx_set_entry(v, i, VHDX_NOT_PRESENT);
    }
    return status == SLUICE_OK ? vhdx_log_write(v) : status;
}

/* A page of the metadata region that no item but the locator uses; 0: there is none. */
static uint32_t free_page(const struct vhdx *v) {
    uint32_t count = vhdx_load16(v->metadata + VHDX_METADATA_COUNT);
    for (uint64_t page = VHDX_METADATA_BYTES; page + VHDX_PAGE_BYTES <= v->metadata_bytes;
         page += VHDX_PAGE_BYTES) {
        bool taken = false;
        for (uint32_t i = 0; i < count && !taken; i++) {
            const uint8_t *entry =
                v->metadata + VHDX_METADATA_ENTRIES + (size_t)i * VHDX_ITEM_BYTES;
            uint64_t offset = vhdx_load32(entry + VHDX_ITEM_OFFSET);
            uint64_t length = vhdx_load32(entry + VHDX_ITEM_LENGTH);
            bool locator = v->locator.length != 0 && i == v->locator.entry;
            taken = !locator && offset < page + VHDX_PAGE_BYTES && page < offset + length;
        }
        if (!taken)
            return (uint32_t)page;
    }
    return 0;
}

/* The table without the locator's entry, or with another one. */
static void table_compose(const struct vhdx *v, const struct vhdx_item *locator, uint8_t *table) {
    memcpy(table, v->metadata, VHDX_METADATA_BYTES);
    uint32_t count = vhdx_load16(table + VHDX_METADATA_COUNT);
    uint8_t *entries = table + VHDX_METADATA_ENTRIES;
    uint8_t *entry = entries + (size_t)locator->entry * VHDX_ITEM_BYTES;
    if (locator->length == 0) {
        uint8_t *last = entries + (size_t)(count - 1) * VHDX_ITEM_BYTES;
        memmove(entry, last, VHDX_ITEM_BYTES);
        memset(last, 0, VHDX_ITEM_BYTES);
        vhdx_store16(table + VHDX_METADATA_COUNT, count - 1);
        return;
    }
    memset(entry, 0, VHDX_ITEM_BYTES);
    memcpy(entry + VHDX_ITEM_ID, vhdx_item_locator, VHDX_GUID_BYTES);
    vhdx_store32(entry + VHDX_ITEM_OFFSET, locator->offset);
    vhdx_store32(entry + VHDX_ITEM_LENGTH, locator->length);
    vhdx_store32(entry + VHDX_ITEM_FLAGS, VHDX_ITEM_IS_REQUIRED);
    if (locator->entry == count)
        vhdx_store16(table + VHDX_METADATA_COUNT, count + 1);
}

/* One entry of the log: the table, the locator, and whether there is a parent. */
static int32_t write_parent(struct vhdx *v, const struct vhdx_item *locator, const uint8_t *page) {
    uint8_t flags[4];
    uint8_t *table = malloc(VHDX_METADATA_BYTES);
    if (table == NULL)
        return SLUICE_NO_MEMORY;
    bool parent = locator->length > 0;
    table_compose(v, locator, table);
    vhdx_store32(flags, parent ? VHDX_HAS_PARENT : 0);
    int32_t status = vhdx_make_room(v);
    if (status == SLUICE_OK)
        status = table_change(v, v->metadata_offset, v->metadata, table, VHDX_METADATA_BYTES);
    if (status == SLUICE_OK)
        status = head_change(v, v->metadata_offset + v->parameters.offset + 4, flags, sizeof flags);
    if (status == SLUICE_OK && parent)
        status = head_change(v, v->metadata_offset + locator->offset, page, VHDX_PAGE_BYTES);
    status = head_write(v, status);
    if (status == SLUICE_OK) {
        /* An item whose entry stood last may have moved, but nobody asks for its entry again. */
        memcpy(v->metadata, table, VHDX_METADATA_BYTES);
        v->locator = *locator;
    }
    free(table);
    return status;
}

static int32_t take_parent(struct vhdx *v, const char *name, const struct image *parent,
                           struct image_error *error) {
    uint8_t page[VHDX_PAGE_BYTES];
    uint32_t count = vhdx_load16(v->metadata + VHDX_METADATA_COUNT);
    struct vhdx_item locator = {.entry = v->locator.length > 0 ? v->locator.entry : count,
                                .offset = free_page(v)};
    int32_t status = vhdx_locator_make(name, parent, page, &locator.length, error);
    if (status != SLUICE_OK)
        return status;
    uint64_t entries = vhdx_entries(v->image.size_bytes, v->block_bytes, v->chunk_ratio, true);
    if (locator.offset == 0 || count == VHDX_ENTRIES_MAX) {
        image_error_set(error, "the VHDX's metadata has no room for a parent: make a new overlay");
        return SLUICE_LIMIT;
    }
    if (entries * VHDX_BAT_ENTRY_BYTES > v->bat_bytes)
        status = bat_move(v, entries);
    if (status == SLUICE_OK)
        status = bat_reserve(v, entries);
    for (uint64_t i = v->entries; i < entries && status == SLUICE_OK; i++) {
        status = vhdx_make_room(v);
        if (status == SLUICE_OK && vhdx_entry(v, i) != VHDX_NOT_PRESENT)
            vhdx_set_entry(v, i, VHDX_NOT_PRESENT);
    }
    if (status == SLUICE_OK)
        status = write_parent(v, &locator, page);
    if (status != SLUICE_OK)
        return status;
    memcpy(v->linkage[0], vhdx_of_const(parent)->header.data_write, VHDX_GUID_BYTES);
    memset(v->linkage[1], 0, VHDX_GUID_BYTES);
    v->entries = entries;
    v->fixed = false;
    return SLUICE_OK;
}

static int32_t leave_parent(struct vhdx *v) {
    int32_t status = complete_blocks(v);
    if (status == SLUICE_OK)
        status = drop_bitmaps(v);
    struct vhdx_item none = {.entry = v->locator.entry};
    if (status == SLUICE_OK)
        status = write_parent(v, &none, NULL);
    if (status == SLUICE_OK)
        v->entries = vhdx_entries(v->image.size_bytes, v->block_bytes, v->chunk_ratio, false);
    return status;
}

int32_t vhdx_set_parent(struct image *image, const char *name, uint32_t format,
                        const struct image *parent, struct image_error *error) {
    struct vhdx *v = vhdx_of(image);
    (void)format; /* it is the parent's own */
    if (name == NULL && !image->has_parent)
        return SLUICE_OK;
    int32_t status = vhdx_begin(v, false);
    if (status != SLUICE_OK)
        return status;
    /* What is read must be the same without the old parent, also after a power failure. */
    image->same_bytes = true;
    status = vhdx_log_write(v);
    if (status == SLUICE_OK)
        status = name == NULL ? leave_parent(v) : take_parent(v, name, parent, error);
    image->same_bytes = false;
    return status == SLUICE_OK ? vhdx_flush_file(v) : status;
}

/* ---- check ----------------------------------------------------------------------------------- */

static bool is_dirty(const struct vhdx *v, uint64_t offset) {
    for (uint32_t i = 0; i < v->dirty_count; i++)
        if (v->dirty[i] == offset)
            return true;
    return false;
}

/* Everything the BAT says was judged when the image was opened; here, whether it still says so. */
static int32_t check_bat(struct vhdx *v, struct image_report *report) {
    uint8_t page[VHDX_PAGE_BYTES];
    for (uint64_t at = 0; at < v->entries * VHDX_BAT_ENTRY_BYTES; at += VHDX_PAGE_BYTES) {
        int32_t status =
            v->image.file->ops->read(v->image.file, v->bat_offset + at, page, sizeof page);
        if (status != SLUICE_OK)
            return status;
        if (is_dirty(v, v->bat_offset + at) || memcmp(page, v->bat + at, sizeof page) == 0)
            continue;
        report->broken_clusters++;
        snprintf(report->first, sizeof report->first,
                 "the BAT was changed in the file at %" PRIu64 ": somebody else has it open",
                 v->bat_offset + at);
    }
    return SLUICE_OK;
}

/* The copy that is damaged is made again from the other one, which was read. */
static int32_t check_regions(struct vhdx *v, bool repair, struct image_report *report) {
    struct image_file *file = v->image.file;
    for (uint32_t i = 0; i < 2; i++) {
        if ((v->region_copies >> i & 1) != 0)
            continue;
        if (repair) {
            int32_t status = file->ops->write(file, regions_at[i], v->regions, VHDX_REGIONS_BYTES);
            if (status == SLUICE_OK)
                status = file->ops->flush(file);
            if (status != SLUICE_OK)
                return status;
            v->region_copies |= 1u << i;
            report->repaired++;
            continue;
        }
        report->broken_clusters++;
        snprintf(report->first, sizeof report->first,
                 "one of two region tables is damaged, which a repair makes again");
    }
    return SLUICE_OK;
}

int32_t vhdx_check(struct image *image, bool repair, struct image_report *ret,
                   struct image_error *error) {
    struct vhdx *v = vhdx_of(image);
    struct image_report report = {.used_clusters = 0};
    if (repair && image->read_only) {
        image_error_set(error, "the image is open for reading only");
        return SLUICE_READ_ONLY;
    }
    for (uint64_t i = 0; i < v->blocks; i++)
        if (vhdx_entry_state(vhdx_entry(v, vhdx_block_index(v, i))) >= VHDX_FULL)
            report.used_clusters++;
    /* What is reported is what is in the file, to stay. */
    int32_t status = image->read_only ? SLUICE_OK : vhdx_log_write(v);
    if (status == SLUICE_OK && !image->read_only)
        status = vhdx_flush_file(v);
    if (status == SLUICE_OK)
        status = check_bat(v, &report);
    if (status == SLUICE_OK && repair)
        status = vhdx_begin(v, false);
    if (status == SLUICE_OK)
        status = check_regions(v, repair, &report);
    if (status == SLUICE_OK)
        *ret = report;
    return status;
}

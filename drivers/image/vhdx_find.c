/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_find.c: the BAT, which is in memory, and the sector bitmaps, of which some pages are.
 */
#include <string.h>

#include "image/vhdx.h"

#define RUN_BLOCKS_MAX 64u /* blocks in a row that one look joins: bounds its time */

uint64_t vhdx_entries(uint64_t size_bytes, uint32_t block_bytes, uint64_t chunk_ratio,
                      bool parent) {
    uint64_t blocks = vhdx_divide_up(size_bytes, block_bytes);
    if (blocks == 0)
        return 0;
    if (parent)
        return vhdx_divide_up(blocks, chunk_ratio) * (chunk_ratio + 1);
    return blocks + (blocks - 1) / chunk_ratio;
}

uint64_t vhdx_bitmap_page(const struct vhdx *v, uint64_t offset) {
    uint64_t block = offset / v->block_bytes;
    uint64_t bitmap = vhdx_entry(v, vhdx_bitmap_index(v, block)) & VHDX_OFFSET_MASK;
    uint64_t sector = offset / v->sector_bytes % VHDX_CHUNK_SECTORS;
    return bitmap + sector / VHDX_PAGE_SECTORS * VHDX_PAGE_BYTES;
}

/* Sectors from `bit` on that are alike in a page of a bitmap, at most `most`. */
static uint32_t alike(const uint8_t *page, uint32_t bit, uint64_t most) {
    uint32_t end = most < VHDX_PAGE_SECTORS - bit ? bit + (uint32_t)most : VHDX_PAGE_SECTORS;
    uint32_t value = page[bit / 8] >> bit % 8 & 1;
    uint32_t at = bit + 1;
    while (at < end) {
        if (at % 8 == 0 && at + 8 <= end && page[at / 8] == (value != 0 ? 0xff : 0))
            at += 8;
        else if ((page[at / 8] >> at % 8 & 1u) == value)
            at++;
        else
            break;
    }
    return at - bit;
}

static void partial_run(const struct vhdx *v, const uint8_t *page, uint64_t offset, uint64_t length,
                        struct own_run *ret) {
    uint32_t bit = vhdx_page_bit(v, offset);
    uint64_t within = offset % v->sector_bytes;
    uint64_t sectors = vhdx_divide_up(within + length, v->sector_bytes);
    uint64_t run = (uint64_t)alike(page, bit, sectors) * v->sector_bytes - within;
    ret->length = run < length ? run : length;
    if ((page[bit / 8] >> bit % 8 & 1) == 0)
        ret->kind = OWN_ABSENT;
}

/* What the BAT says of one block, from `offset` in it on. */
static void block_run(const struct vhdx *v, uint64_t offset, uint64_t length, struct own_run *ret) {
    uint64_t block = offset / v->block_bytes;
    uint64_t within = offset % v->block_bytes;
    uint64_t entry = vhdx_entry(v, vhdx_block_index(v, block));
    uint32_t state = vhdx_entry_state(entry);
    if (length > v->block_bytes - within)
        length = v->block_bytes - within;
    *ret = (struct own_run){.kind = OWN_ZERO, .length = length};
    if (state == VHDX_NOT_PRESENT && v->image.has_parent) {
        ret->kind = OWN_ABSENT;
    } else if (state >= VHDX_FULL) {
        ret->kind = OWN_FILE;
        ret->in_place = v->data_changed && !v->unsure;
        ret->file_offset = (entry & VHDX_OFFSET_MASK) + within;
    }
}

static bool is_partial(const struct vhdx *v, uint64_t offset) {
    uint64_t entry = vhdx_entry(v, vhdx_block_index(v, offset / v->block_bytes));
    return vhdx_entry_state(entry) == VHDX_PARTIAL;
}

static void joined_run(const struct vhdx *v, uint64_t offset, uint64_t length,
                       struct own_run *ret) {
    struct own_run run;
    block_run(v, offset, length, &run);
    for (uint32_t i = 0; i < RUN_BLOCKS_MAX && run.length < length; i++) {
        struct own_run next;
        if (is_partial(v, offset + run.length))
            break;
        block_run(v, offset + run.length, length - run.length, &next);
        if (next.kind != run.kind ||
            (run.kind == OWN_FILE && next.file_offset != run.file_offset + run.length))
            break;
        run.length += next.length;
    }
    *ret = run;
}

void vhdx_peek(const struct image *image, uint64_t offset, uint64_t length, struct own_run *ret) {
    const struct vhdx *v = vhdx_of_const(image);
    if (!is_partial(v, offset)) {
        joined_run(v, offset, length, ret);
        return;
    }
    block_run(v, offset, length, ret);
    const uint8_t *page = table_cache_peek(&v->cache, vhdx_bitmap_page(v, offset));
    if (page != NULL)
        partial_run(v, page, offset, ret->length, ret);
    else
        ret->kind = OWN_UNKNOWN;
}

int32_t vhdx_find(struct image *image, uint64_t offset, uint64_t length, bool holes,
                  struct own_run *ret) {
    struct vhdx *v = vhdx_of(image);
    struct own_run run;
    if (is_partial(v, offset)) {
        uint8_t *page;
        int32_t status = table_cache_get(&v->cache, TABLE_L2, vhdx_bitmap_page(v, offset), &page);
        if (status != SLUICE_OK)
            return status;
        block_run(v, offset, length, &run);
        partial_run(v, page, offset, run.length, &run);
    } else {
        joined_run(v, offset, length, &run);
    }
    struct image_file *file = image->file;
    if (holes && run.kind == OWN_FILE && file->ops->allocated != NULL) {
        uint32_t allocated;
        uint64_t known;
        int32_t status =
            file->ops->allocated(file, run.file_offset, run.length, &allocated, &known);
        if (status != SLUICE_OK)
            return status;
        if (known > 0 && known < run.length)
            run.length = known;
        if (allocated == 0)
            run.kind = OWN_ZERO;
    }
    *ret = run;
    return SLUICE_OK;
}

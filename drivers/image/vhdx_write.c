/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_write.c: write, zero and trim. Each step stays in one block: it allocates, writes the bytes,
 * and only then names them, in memory.
 */
#include <string.h>

#include "image/vhdx.h"

struct step {
    uint64_t offset; /* of the disk */
    const uint8_t *bytes;
    size_t length; /* to the block's end at most */
    uint64_t block;
    uint64_t within;
    uint64_t index; /* in the BAT */
    uint64_t entry;
    bool whole; /* all of the block that the disk has */
};

void vhdx_set_entry(struct vhdx *v, uint64_t index, uint64_t entry) {
    vhdx_store64(v->bat + index * VHDX_BAT_ENTRY_BYTES, entry);
    vhdx_dirty(v, v->bat_offset + index * VHDX_BAT_ENTRY_BYTES);
}

static struct step step_at(const struct vhdx *v, uint64_t offset, uint64_t length) {
    struct step step = {
        .offset = offset, .block = offset / v->block_bytes, .within = offset % v->block_bytes};
    uint64_t room = v->block_bytes - step.within;
    step.length = (size_t)(length < room ? length : room);
    step.index = vhdx_block_index(v, step.block);
    step.entry = vhdx_entry(v, step.index);
    step.whole = step.within == 0 &&
                 (step.length == v->block_bytes || offset + step.length == v->image.size_bytes);
    return step;
}

static int32_t file_write(struct vhdx *v, uint64_t offset, const void *bytes, size_t length) {
    return length == 0 ? SLUICE_OK
                       : v->image.file->ops->write(v->image.file, offset, bytes, length);
}

/* ---- bitmaps --------------------------------------------------------------------------------- */

/* The chunk's bitmap is there. What it says of blocks that are not partial means nothing. */
static int32_t bitmap_ensure(struct vhdx *v, uint64_t block) {
    uint64_t index = vhdx_bitmap_index(v, block);
    if (vhdx_entry_state(vhdx_entry(v, index)) == VHDX_FULL)
        return SLUICE_OK;
    uint64_t at;
    bool zero;
    int32_t status = vhdx_alloc(v, 1, &at, &zero);
    if (status != SLUICE_OK)
        return status;
    vhdx_set_entry(v, index, at | VHDX_FULL);
    return SLUICE_OK;
}

/* Sets the bits of a range of one block, or clears them. *ret_changed: one was different. */
static int32_t bits_set(struct vhdx *v, uint64_t offset, uint64_t length, bool present,
                        bool *ret_changed) {
    uint64_t end = offset + length;
    offset -= offset % v->sector_bytes;
    bool changed = false;
    while (offset < end) {
        uint64_t at = vhdx_bitmap_page(v, offset);
        uint8_t *page;
        int32_t status = table_cache_get(&v->cache, TABLE_L2, at, &page);
        if (status != SLUICE_OK)
            return status;
        uint32_t bit = vhdx_page_bit(v, offset);
        uint64_t sectors = vhdx_divide_up(end - offset, v->sector_bytes);
        uint32_t last =
            sectors < VHDX_PAGE_SECTORS - bit ? bit + (uint32_t)sectors : VHDX_PAGE_SECTORS;
        bool dirty = false;
        for (uint32_t i = bit; i < last; i++) {
            if ((page[i / 8] >> i % 8 & 1) == present)
                continue;
            page[i / 8] ^= (uint8_t)(1u << i % 8);
            dirty = true;
        }
        if (dirty) {
            table_cache_changed(&v->cache, at, 0, VHDX_PAGE_BYTES);
            vhdx_dirty(v, at);
            changed = true;
        }
        offset += (uint64_t)(last - bit) * v->sector_bytes;
    }
    *ret_changed = changed;
    return SLUICE_OK;
}

/* Whether every sector of a block is there, as far as the disk goes. */
static int32_t is_complete(struct vhdx *v, uint64_t block, bool *ret_complete) {
    uint64_t offset = block * v->block_bytes;
    uint64_t end = offset + v->block_bytes;
    if (end > v->image.size_bytes)
        end = v->image.size_bytes;
    bool complete = true;
    while (offset < end && complete) {
        struct own_run run;
        int32_t status = vhdx_find(&v->image, offset, end - offset, false, &run);
        if (status != SLUICE_OK)
            return status;
        complete = run.kind != OWN_ABSENT;
        offset += run.length;
    }
    *ret_complete = complete;
    return SLUICE_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The sector of a write's edge: where it is not in the block, what the chain has goes with it. */
static int32_t edge_write(struct vhdx *v, const struct step *step, uint64_t to, uint64_t offset,
                          uint64_t from, size_t length) {
    uint8_t sector[4096];
    uint64_t begin = offset - offset % v->sector_bytes;
    int32_t status = image_chain_read(&v->image, begin, sector, v->sector_bytes);
    if (status != SLUICE_OK)
        return status;
    memcpy(sector + (offset - begin), step->bytes + from, length);
    return file_write(v, to + begin % v->block_bytes, sector, v->sector_bytes);
}

/* Bytes into whole sectors of a block that has a bitmap; the entry is as it was until here. */
static int32_t sectors_write(struct vhdx *v, const struct step *step, uint64_t to) {
    size_t sector = v->sector_bytes;
    size_t head = (size_t)(step->offset % sector);
    size_t done = 0;
    int32_t status = SLUICE_OK;
    if (head != 0) {
        done = sector - head < step->length ? sector - head : step->length;
        status = edge_write(v, step, to, step->offset, 0, done);
    }
    size_t middle = (step->length - done) / sector * sector;
    if (status == SLUICE_OK)
        status = file_write(v, to + step->within + done, step->bytes + done, middle);
    done += middle;
    if (status == SLUICE_OK && done < step->length)
        status = edge_write(v, step, to, step->offset + done, done, step->length - done);
    return status;
}

static int32_t write_partial(struct vhdx *v, const struct step *step) {
    int32_t status = sectors_write(v, step, step->entry & VHDX_OFFSET_MASK);
    bool changed = false;
    if (status == SLUICE_OK)
        status = bits_set(v, step->offset, step->length, true, &changed);
    v->unstable = v->unstable || changed || status != SLUICE_OK;
    if (status != SLUICE_OK || !changed)
        return status;
    bool complete;
    status = is_complete(v, step->block, &complete);
    if (status == SLUICE_OK && complete)
        vhdx_set_entry(v, step->index, (step->entry & VHDX_OFFSET_MASK) | VHDX_FULL);
    return status;
}

/* The first bytes of a block above a parent that do not fill it. */
static int32_t write_first(struct vhdx *v, const struct step *step) {
    int32_t status = bitmap_ensure(v, step->block);
    uint64_t to;
    bool zero;
    if (status == SLUICE_OK)
        status = vhdx_alloc(v, v->block_mib, &to, &zero);
    if (status != SLUICE_OK)
        return status;
    status = sectors_write(v, step, to);
    bool changed;
    if (status == SLUICE_OK)
        status = bits_set(v, step->block * v->block_bytes, v->block_bytes, false, &changed);
    if (status == SLUICE_OK)
        status = bits_set(v, step->offset, step->length, true, &changed);
    if (status != SLUICE_OK) {
        vhdx_free_now(v, to, v->block_mib);
        return status;
    }
    vhdx_set_entry(v, step->index, to | VHDX_PARTIAL);
    v->unstable = true;
    return SLUICE_OK;
}

/* A block that has all its bytes; those that are not written are zeroes. */
static int32_t write_full(struct vhdx *v, const struct step *step) {
    uint64_t to;
    bool zero;
    int32_t status = vhdx_alloc(v, v->block_mib, &to, &zero);
    if (status != SLUICE_OK)
        return status;
    status = file_write(v, to + step->within, step->bytes, step->length);
    uint64_t end = step->within + step->length;
    if (status == SLUICE_OK && !zero)
        status = image_file_write_zeroes(v->image.file, to, step->within);
    if (status == SLUICE_OK && !zero)
        status = image_file_write_zeroes(v->image.file, to + end, v->block_bytes - end);
    if (status != SLUICE_OK) {
        vhdx_free_now(v, to, v->block_mib);
        return status;
    }
    vhdx_set_entry(v, step->index, to | VHDX_FULL);
    v->unstable = v->unstable || !zero || v->image.has_parent;
    return SLUICE_OK;
}

static int32_t write_step(struct vhdx *v, struct step *step) {
    switch (vhdx_entry_state(step->entry)) {
    case VHDX_FULL:
        return file_write(v, (step->entry & VHDX_OFFSET_MASK) + step->within, step->bytes,
                          step->length);
    case VHDX_PARTIAL:
        return write_partial(v, step);
    case VHDX_NOT_PRESENT:
        return v->image.has_parent && !step->whole ? write_first(v, step) : write_full(v, step);
    default:
        return write_full(v, step);
    }
}

int32_t vhdx_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t length) {
    struct vhdx *v = vhdx_of(image);
    int32_t status = vhdx_begin(v, !image->same_bytes);
    while (length > 0 && status == SLUICE_OK) {
        status = vhdx_make_room(v);
        struct step step = step_at(v, offset, length);
        step.bytes = bytes;
        if (status == SLUICE_OK)
            status = write_step(v, &step);
        offset += step.length;
        bytes += step.length;
        length -= step.length;
    }
    return status;
}

/* ---- zero and trim --------------------------------------------------------------------------- */

static int32_t zero_bytes(struct vhdx *v, uint64_t offset, uint64_t length) {
    int32_t status = SLUICE_OK;
    while (length > 0 && status == SLUICE_OK) {
        size_t part = length < IMAGE_ZEROES_BYTES ? (size_t)length : IMAGE_ZEROES_BYTES;
        status = vhdx_write(&v->image, offset, image_zeroes, part);
        offset += part;
        length -= part;
    }
    return status;
}

/* A block of a fixed disk keeps its place. */
static int32_t zero_fixed(struct vhdx *v, const struct step *step) {
    struct image_file *file = v->image.file;
    uint64_t at = (step->entry & VHDX_OFFSET_MASK) + step->within;
    int32_t status =
        file->ops->punch == NULL ? SLUICE_UNSUPPORTED : file->ops->punch(file, at, step->length);
    return status == SLUICE_UNSUPPORTED ? image_file_write_zeroes(file, at, step->length) : status;
}

static int32_t zero_step(struct vhdx *v, const struct step *step, bool hold) {
    uint32_t state = vhdx_entry_state(step->entry);
    if (state == VHDX_NOT_PRESENT) {
        bool zero = !v->image.has_parent;
        int32_t status = SLUICE_OK;
        if (!zero && !hold)
            status = image_chain_is_zero(&v->image, step->offset, step->length, &zero);
        if (status != SLUICE_OK || zero)
            return status;
    } else if (state < VHDX_FULL) {
        return SLUICE_OK;
    }
    if (state == VHDX_FULL && v->fixed)
        return zero_fixed(v, step);
    if (!step->whole)
        return zero_bytes(v, step->offset, step->length);
    vhdx_set_entry(v, step->index, VHDX_ZERO);
    if (state >= VHDX_FULL)
        vhdx_free_later(v, step->entry & VHDX_OFFSET_MASK, v->block_mib);
    return SLUICE_OK;
}

int32_t vhdx_zero(struct image *image, uint64_t offset, uint64_t length, bool hold) {
    struct vhdx *v = vhdx_of(image);
    int32_t status = vhdx_begin(v, !image->same_bytes);
    while (length > 0 && status == SLUICE_OK) {
        status = vhdx_make_room(v);
        struct step step = step_at(v, offset, length);
        if (status == SLUICE_OK)
            status = zero_step(v, &step, hold);
        offset += step.length;
        length -= step.length;
    }
    return status;
}

int32_t vhdx_trim(struct image *image, uint64_t offset, uint64_t length) {
    struct vhdx *v = vhdx_of(image);
    if (v->fixed && image->file->ops->punch == NULL)
        return SLUICE_UNSUPPORTED;
    uint64_t end = offset + length;
    offset = vhdx_divide_up(offset, v->block_bytes) * v->block_bytes;
    if (end != image->size_bytes)
        end -= end % v->block_bytes;
    return offset < end ? vhdx_zero(image, offset, end - offset, false) : SLUICE_OK;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_space.c: which MiB of the file are used, one bit each. The file has no such map: the BAT
 * says it, and the map is built when the image is opened.
 */
#include <inttypes.h>
#include <string.h>

#include "image/vhdx.h"

#define GROW_MIB_MAX UINT64_C(64) /* what a file grows ahead: a flush less for each block */
#define FILE_MIB_MAX (2 * IMAGE_SIZE_MAX / VHDX_MIB) /* 16 MiB of map */

static bool is_used(const struct vhdx *v, uint64_t mib) {
    return (v->used[mib / 8] >> mib % 8 & 1) != 0;
}

static void mark(struct vhdx *v, uint64_t mib, uint64_t count, bool used) {
    for (uint64_t i = mib; i < mib + count; i++) {
        uint8_t bit = (uint8_t)(1u << i % 8);
        v->used[i / 8] = (uint8_t)(used ? v->used[i / 8] | bit : v->used[i / 8] & ~bit);
    }
}

static int32_t make_map(struct vhdx *v, uint64_t file_mib) {
    uint64_t bytes = vhdx_divide_up(file_mib, 8);
    if (bytes > v->used_capacity) {
        bytes += bytes / 4 + 64;
        uint8_t *used = realloc(v->used, bytes);
        if (used == NULL)
            return SLUICE_NO_MEMORY;
        memset(used + v->used_capacity, 0, bytes - v->used_capacity);
        v->used = used;
        v->used_capacity = bytes;
    }
    return SLUICE_OK;
}

/* ---- what there is --------------------------------------------------------------------------- */

static int32_t claim(struct vhdx *v, uint64_t offset, uint64_t length, const char *what,
                     uint64_t number, struct image_error *error) {
    uint64_t mib = offset / VHDX_MIB;
    uint64_t count = length / VHDX_MIB;
    if (mib == 0 || mib > v->file_mib || count > v->file_mib - mib) {
        image_error_set(error,
                        "%s %" PRIu64 " of the VHDX is said to be at %" PRIu64
                        ", outside of the file: it was cut; take it from a backup",
                        what, number, offset);
        return SLUICE_CORRUPT;
    }
    for (uint64_t i = mib; i < mib + count; i++)
        if (is_used(v, i)) {
            image_error_set(error,
                            "%s %" PRIu64 " of the VHDX is said to be at %" PRIu64
                            ", where something else is: take it from a backup",
                            what, number, offset);
            return SLUICE_CORRUPT;
        }
    mark(v, mib, count, true);
    return SLUICE_OK;
}

static int32_t claim_entry(struct vhdx *v, uint64_t index, struct image_error *error) {
    uint64_t entry = vhdx_entry(v, index);
    uint64_t chunk = index / (v->chunk_ratio + 1);
    uint64_t block = index - chunk;
    bool bitmap = index % (v->chunk_ratio + 1) == v->chunk_ratio;
    uint32_t state = vhdx_entry_state(entry);
    bool parent = v->image.has_parent;
    bool known =
        bitmap ? state == VHDX_NOT_PRESENT || (state == VHDX_FULL && parent)
               : state <= VHDX_UNMAPPED || state == VHDX_FULL || (state == VHDX_PARTIAL && parent);
    if (!known) {
        image_error_set(error, "%s %" PRIu64 " of the VHDX has the state %u, which makes no sense",
                        bitmap ? "bitmap" : "block", bitmap ? chunk : block, state);
        return SLUICE_CORRUPT;
    }
    if (state < VHDX_FULL)
        return SLUICE_OK;
    if (state == VHDX_PARTIAL) {
        uint64_t at = vhdx_bitmap_index(v, block);
        if (at >= v->entries || vhdx_entry_state(vhdx_entry(v, at)) != VHDX_FULL) {
            image_error_set(error, "block %" PRIu64 " of the VHDX has no bitmap", block);
            return SLUICE_CORRUPT;
        }
    }
    return bitmap ? claim(v, entry & VHDX_OFFSET_MASK, VHDX_MIB, "bitmap", chunk, error)
                  : claim(v, entry & VHDX_OFFSET_MASK, v->block_bytes, "block", block, error);
}

static int32_t claim_regions(struct vhdx *v, struct image_error *error) {
    int32_t status = claim(v, v->header.log_offset, v->header.log_bytes, "the log", 0, error);
    uint32_t count = vhdx_load32(v->regions + VHDX_REGIONS_COUNT);
    for (uint32_t i = 0; i < count && status == SLUICE_OK; i++) {
        const uint8_t *entry = v->regions + VHDX_REGIONS_ENTRIES + (size_t)i * VHDX_REGION_BYTES;
        status = claim(v, vhdx_load64(entry + VHDX_REGION_OFFSET),
                       vhdx_load32(entry + VHDX_REGION_LENGTH), "region", i, error);
    }
    return status;
}

int32_t vhdx_space_load(struct vhdx *v, struct image_error *error) {
    uint64_t bytes;
    int32_t status = v->image.file->ops->size(v->image.file, &bytes);
    if (status != SLUICE_OK)
        return status;
    /* A last MiB that is not whole may be used; before a session it is made whole. */
    v->file_mib = vhdx_divide_up(bytes, VHDX_MIB);
    if (v->file_mib > FILE_MIB_MAX) {
        image_error_set(error, "a VHDX file of %" PRIu64 " bytes is not opened", bytes);
        return SLUICE_LIMIT;
    }
    v->zero_from = v->file_mib;
    v->cursor = 1;
    status = make_map(v, v->file_mib + 1);
    if (status == SLUICE_OK)
        mark(v, 0, 1, true);
    if (status == SLUICE_OK)
        status = claim_regions(v, error);
    for (uint64_t i = 0; i < v->entries && status == SLUICE_OK; i++)
        status = claim_entry(v, i, error);
    return status;
}

/* ---- taking and giving back ------------------------------------------------------------------ */

/* The first free run of `count`, which may reach beyond the file's end. */
static uint64_t search(struct vhdx *v, uint64_t count) {
    while (v->cursor < v->file_mib && is_used(v, v->cursor))
        v->cursor++;
    uint64_t from = v->cursor;
    for (uint64_t at = from; at < v->file_mib && at - from < count; at++) {
        if (at % 8 == 0 && v->used[at / 8] == 0xff)
            at += 7;
        else if (!is_used(v, at))
            continue;
        from = at + 1;
    }
    return from < v->file_mib ? from : v->file_mib;
}

static int32_t grow(struct vhdx *v, uint64_t needed) {
    struct image_file *file = v->image.file;
    uint64_t ahead = v->file_mib / 8 < GROW_MIB_MAX ? v->file_mib / 8 : GROW_MIB_MAX;
    uint64_t wanted = needed + ahead;
    if (wanted > FILE_MIB_MAX)
        return SLUICE_NO_SPACE;
    int32_t status = make_map(v, wanted);
    if (status == SLUICE_OK)
        status = file->ops->resize(file, wanted * VHDX_MIB);
    if (status != SLUICE_OK && ahead > 0) {
        wanted = needed;
        status = file->ops->resize(file, wanted * VHDX_MIB);
    }
    if (status != SLUICE_OK)
        return status;
    v->file_mib = wanted;
    v->unstable = true; /* an entry of the log says how long the file is */
    return SLUICE_OK;
}

int32_t vhdx_alloc(struct vhdx *v, uint64_t count, uint64_t *ret_offset, bool *ret_zero) {
    uint64_t mib = search(v, count);
    if (mib + count > v->file_mib) {
        int32_t status = grow(v, mib + count);
        if (status != SLUICE_OK)
            return status;
    }
    mark(v, mib, count, true);
    *ret_offset = mib * VHDX_MIB;
    *ret_zero = mib >= v->zero_from;
    if (mib + count > v->zero_from)
        v->zero_from = mib + count;
    return SLUICE_OK;
}

void vhdx_free_now(struct vhdx *v, uint64_t offset, uint64_t count) {
    uint64_t mib = offset / VHDX_MIB;
    mark(v, mib, count, false);
    if (mib < v->cursor)
        v->cursor = mib;
}

void vhdx_free_later(struct vhdx *v, uint64_t offset, uint64_t count) {
    MUST(v->freed_count < VHDX_FREED_MAX); /* vhdx_make_room sees to it */
    v->freed[v->freed_count++] = (struct vhdx_freed){offset / VHDX_MIB, count};
}

void vhdx_free_all(struct vhdx *v) {
    struct image_file *file = v->image.file;
    for (uint32_t i = 0; i < v->freed_count; i++) {
        vhdx_free_now(v, v->freed[i].mib * VHDX_MIB, v->freed[i].count);
        /* Only space: where it cannot be given back it is used again. */
        if (file->ops->punch != NULL)
            (void)file->ops->punch(file, v->freed[i].mib * VHDX_MIB, v->freed[i].count * VHDX_MIB);
    }
    v->freed_count = 0;
}

uint64_t vhdx_used_mib(const struct vhdx *v) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < v->used_capacity; i++)
        count += (uint64_t)__builtin_popcount(v->used[i]);
    return count;
}

void vhdx_space_trim(struct vhdx *v) {
    uint64_t end = v->file_mib;
    while (end > 1 && !is_used(v, end - 1))
        end--;
    if (end < v->file_mib && v->image.file->ops->resize(v->image.file, end * VHDX_MIB) == SLUICE_OK)
        v->file_mib = end;
}

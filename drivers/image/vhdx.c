/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx.c: create, open, close, commit and flush; the table of functions.
 */
#include <inttypes.h>
#include <string.h>

#include "image/vhdx.h"

#define BLOCK_BYTES_DEFAULT (UINT32_C(2) << 20)    /* Hyper-V's for differencing disks */
#define BAT_BYTES_DEFAULT_MAX (UINT64_C(17) << 20) /* 4 TiB in blocks of 2 MiB, 64 in 32 */

static bool probe(const uint8_t *head, size_t length) {
    return length >= 8 && memcmp(head, VHDX_SIGNATURE, 8) == 0;
}

/* ---- create ---------------------------------------------------------------------------------- */

static uint64_t bat_bytes(uint64_t size_bytes, uint32_t block) {
    uint64_t ratio = VHDX_CHUNK_SECTORS * 512 / block;
    uint64_t bytes = vhdx_entries(size_bytes, block, ratio, true) * VHDX_BAT_ENTRY_BYTES;
    return bytes == 0 ? VHDX_MIB : vhdx_divide_up(bytes, VHDX_MIB) * VHDX_MIB;
}

static int32_t plan(const struct image_create *args, struct vhdx_made *ret,
                    struct image_error *error) {
    uint32_t block = args->cluster_bytes;
    if (block == 0) {
        block = BLOCK_BYTES_DEFAULT;
        while (bat_bytes(args->size_bytes, block) > BAT_BYTES_DEFAULT_MAX)
            block *= 2;
    }
    if (block < VHDX_BLOCK_BYTES_MIN || block > VHDX_BLOCK_BYTES_MAX ||
        (block & (block - 1)) != 0) {
        image_error_set(error,
                        "blocks of a VHDX have a power of two of bytes, %" PRIu32 " to %" PRIu32
                        ", and not %" PRIu32,
                        VHDX_BLOCK_BYTES_MIN, VHDX_BLOCK_BYTES_MAX, block);
        return SLUICE_INVALID;
    }
    uint64_t bytes = bat_bytes(args->size_bytes, block);
    if (bytes > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error,
                        "a disk of %" PRIu64 " bytes needs larger blocks than %" PRIu32 " bytes",
                        args->size_bytes, block);
        return SLUICE_LIMIT;
    }
    if (args->fixed && args->parent_name != NULL) {
        image_error_set(error, "an overlay is not fixed: it grows with what is written");
        return SLUICE_INVALID;
    }
    *ret = (struct vhdx_made){.size_bytes = args->size_bytes,
                              .block_bytes = block,
                              .flags = args->fixed ? VHDX_LEAVE_ALLOCATED : 0,
                              .bat_bytes = bytes};
    return SLUICE_OK;
}

/* Every block of a fixed disk has its place from the start. */
static int32_t fill_bat(struct image_file *file, const struct vhdx_made *made) {
    uint64_t ratio = VHDX_CHUNK_SECTORS * 512 / made->block_bytes;
    uint64_t blocks = vhdx_divide_up(made->size_bytes, made->block_bytes);
    uint64_t at = VHDX_MADE_BAT + made->bat_bytes;
    uint8_t *bat = calloc(1, made->bat_bytes);
    if (bat == NULL)
        return SLUICE_NO_MEMORY;
    for (uint64_t i = 0; i < blocks; i++)
        vhdx_store64(bat + (i + i / ratio) * VHDX_BAT_ENTRY_BYTES,
                     (at + i * made->block_bytes) | VHDX_FULL);
    int32_t status = file->ops->resize(file, at + blocks * made->block_bytes);
    if (status == SLUICE_OK)
        status = file->ops->write(file, VHDX_MADE_BAT, bat, made->bat_bytes);
    free(bat);
    return status;
}

static int32_t vhdx_create(struct image_file *file, const struct image_create *args,
                           struct image_error *error) {
    struct vhdx_made made;
    uint8_t locator[VHDX_PAGE_BYTES];
    uint8_t disk_id[VHDX_GUID_BYTES];
    int32_t status = plan(args, &made, error);
    if (status == SLUICE_OK && args->parent_name != NULL) {
        status =
            vhdx_locator_make(args->parent_name, args->parent, locator, &made.locator_bytes, error);
        if (status != SLUICE_OK)
            return status;
        /* 2.6.1.2: an overlay is the same disk. */
        memcpy(disk_id, vhdx_of_const(args->parent)->disk_id, sizeof disk_id);
        made.locator = locator;
        made.flags |= VHDX_HAS_PARENT;
    } else if (status == SLUICE_OK) {
        status = vhdx_guid_new(disk_id);
    }
    if (status != SLUICE_OK)
        return status;
    made.disk_id = disk_id;
    /* Without an entry the BAT is a hole. */
    status = file->ops->resize(file, VHDX_MADE_BAT + made.bat_bytes);
    if (status == SLUICE_OK && args->fixed)
        status = fill_bat(file, &made);
    if (status == SLUICE_OK)
        status = vhdx_head_make(file, &made);
    return status == SLUICE_OK ? file->ops->flush(file) : status;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void release(struct vhdx *v) {
    vhdx_extra_release(v);
    table_cache_release(&v->cache);
    free(v->entry);
    free(v->used);
    free(v->bat);
    free(v->metadata);
    free(v->regions);
    free(v);
}

static int32_t load_bat(struct vhdx *v, struct image_error *error) {
    bool parent = v->image.has_parent;
    v->chunk_ratio = VHDX_CHUNK_SECTORS * v->sector_bytes / v->block_bytes;
    v->block_mib = v->block_bytes / VHDX_MIB;
    v->entries = vhdx_entries(v->image.size_bytes, v->block_bytes, v->chunk_ratio, parent);
    v->blocks = vhdx_divide_up(v->image.size_bytes, v->block_bytes);
    uint64_t bytes = v->entries * VHDX_BAT_ENTRY_BYTES;
    if (bytes > v->bat_bytes) {
        image_error_set(
            error, "the BAT of the VHDX is too short: %" PRIu64 " bytes for a disk of %" PRIu64,
            v->bat_bytes, v->image.size_bytes);
        return SLUICE_CORRUPT;
    }
    if (bytes > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error, "the BAT of the VHDX has %" PRIu64 " bytes, at most %" PRIu64, bytes,
                        IMAGE_HEAD_BYTES_MAX);
        return SLUICE_LIMIT;
    }
    size_t pages = (size_t)vhdx_divide_up(bytes + 1, VHDX_PAGE_BYTES) * VHDX_PAGE_BYTES;
    v->bat = malloc(pages);
    if (v->bat == NULL)
        return SLUICE_NO_MEMORY;
    memset(v->bat + pages - VHDX_PAGE_BYTES, 0, VHDX_PAGE_BYTES);
    pages = pages < v->bat_bytes ? pages : (size_t)v->bat_bytes;
    return v->image.file->ops->read(v->image.file, v->bat_offset, v->bat, pages);
}

static int32_t vhdx_open(struct image_file *file, uint32_t flags, uint64_t cache_bytes,
                         struct image **ret_image, struct image_error *error) {
    struct vhdx *v = calloc(1, sizeof *v);
    if (v == NULL)
        return SLUICE_NO_MEMORY;
    v->image = (struct image){
        .ops = &image_vhdx_ops, .file = file, .read_only = (flags & IMAGE_OPEN_READ_ONLY) != 0};
    if (cache_bytes < VHDX_CACHE_BYTES_MIN)
        cache_bytes = VHDX_CACHE_BYTES_MIN;
    int32_t status = vhdx_header_read(v, error);
    if (status == SLUICE_OK)
        status = vhdx_log_replay(v, error);
    if (status == SLUICE_OK)
        status = vhdx_head_read(v, error);
    if (status == SLUICE_OK)
        status = load_bat(v, error);
    if (status == SLUICE_OK)
        status = vhdx_space_load(v, error);
    if (status == SLUICE_OK)
        status = table_cache_init(&v->cache, file, VHDX_PAGE_BYTES, cache_bytes);
    if (status != SLUICE_OK) {
        release(v);
        return status;
    }
    v->image.cluster_bytes = v->block_bytes;
    *ret_image = &v->image;
    return SLUICE_OK;
}

static void vhdx_close(struct image *image) {
    struct vhdx *v = vhdx_of(image);
    /* A page that is in the log and not in its place needs the log: who opens it next replays it.
     */
    if (v->writing && !v->unplaced && vhdx_end(v) == SLUICE_OK)
        vhdx_space_trim(v);
    release(v);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static bool vhdx_is_dirty(const struct image *image) {
    return vhdx_of_const(image)->dirty_count > 0;
}

static int32_t vhdx_commit(struct image *image, bool stable) {
    struct vhdx *v = vhdx_of(image);
    int32_t status = vhdx_log_write(v);
    return status == SLUICE_OK && stable ? vhdx_flush_file(v) : status;
}

static int32_t vhdx_freeze(struct image *image) {
    return vhdx_end(vhdx_of(image));
}

const struct image_format_ops image_vhdx_ops = {
    .name = "vhdx",
    .format = IMAGE_FORMAT_VHDX,
    .probe = probe,
    .create = vhdx_create,
    .open = vhdx_open,
    .close = vhdx_close,
    .peek = vhdx_peek,
    .find = vhdx_find,
    .write = vhdx_write,
    .zero = vhdx_zero,
    .trim = vhdx_trim,
    .is_dirty = vhdx_is_dirty,
    .commit = vhdx_commit,
    .resize = vhdx_resize,
    .set_parent = vhdx_set_parent,
    .attach = vhdx_attach,
    .freeze = vhdx_freeze,
    .check = vhdx_check,
};

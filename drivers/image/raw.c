/* SPDX-License-Identifier: Apache-2.0
 *
 * raw.c: the bytes of a disk as the bytes of a file. The bottom of a chain only.
 *
 * There is no metadata: size is the file's, commit has nothing to do, holes are the file system's.
 */
#include <string.h>

#include "image/format.h"

#define RAW_CLUSTER_BYTES 512u

static int32_t raw_create(struct image_file *file, const struct image_create *args,
                          struct image_error *error) {
    if (args->parent_name != NULL) {
        image_error_set(error, "a raw image has no parent: make the overlay a qcow2");
        return SLUICE_INVALID;
    }
    int32_t status = file->ops->resize(file, args->size_bytes);
    return status == SLUICE_OK ? file->ops->flush(file) : status;
}

static int32_t raw_open(struct image_file *file, uint32_t flags, uint64_t cache_bytes,
                        struct image **ret_image, struct image_error *error) {
    (void)cache_bytes;
    uint64_t size_bytes;
    int32_t status = file->ops->size(file, &size_bytes);
    if (status != SLUICE_OK)
        return status;
    if (size_bytes > IMAGE_SIZE_MAX) {
        image_error_set(error, "a raw image of more than %llu bytes is not opened",
                        (unsigned long long)IMAGE_SIZE_MAX);
        return SLUICE_LIMIT;
    }
    struct image *image = calloc(1, sizeof *image);
    if (image == NULL)
        return SLUICE_NO_MEMORY;
    *image = (struct image){.ops = &image_raw_ops,
                            .file = file,
                            .size_bytes = size_bytes,
                            .cluster_bytes = RAW_CLUSTER_BYTES,
                            .read_only = (flags & IMAGE_OPEN_READ_ONLY) != 0};
    *ret_image = image;
    return SLUICE_OK;
}

static void raw_close(struct image *image) {
    free(image);
}

static void raw_peek(const struct image *image, uint64_t offset, uint64_t length,
                     struct own_run *ret) {
    (void)image;
    *ret = (struct own_run){
        .kind = OWN_FILE, .in_place = true, .length = length, .file_offset = offset};
}

static int32_t raw_find(struct image *image, uint64_t offset, uint64_t length, bool holes,
                        struct own_run *ret) {
    struct image_file *file = image->file;
    struct own_run run;
    raw_peek(image, offset, length, &run);
    if (holes && file->ops->allocated != NULL) {
        uint32_t allocated;
        uint64_t known;
        int32_t status = file->ops->allocated(file, offset, length, &allocated, &known);
        if (status != SLUICE_OK)
            return status;
        if (known > 0 && known < length)
            run.length = known;
        if (allocated == 0)
            run.kind = OWN_ZERO;
    }
    *ret = run;
    return SLUICE_OK;
}

static int32_t raw_write(struct image *image, uint64_t offset, const uint8_t *bytes,
                         size_t length) {
    return image->file->ops->write(image->file, offset, bytes, length);
}

static int32_t raw_trim(struct image *image, uint64_t offset, uint64_t length) {
    struct image_file *file = image->file;
    return file->ops->punch == NULL ? SLUICE_UNSUPPORTED : file->ops->punch(file, offset, length);
}

static int32_t raw_zero(struct image *image, uint64_t offset, uint64_t length, bool hold) {
    (void)hold;
    int32_t status = raw_trim(image, offset, length);
    if (status != SLUICE_UNSUPPORTED)
        return status;
    return image_file_write_zeroes(image->file, offset, length);
}

static bool raw_is_dirty(const struct image *image) {
    (void)image;
    return false;
}

static int32_t raw_commit(struct image *image, bool stable) {
    return stable ? image->file->ops->flush(image->file) : SLUICE_OK;
}

static int32_t raw_resize(struct image *image, uint64_t size_bytes, struct image_error *error) {
    (void)error;
    struct image_file *file = image->file;
    int32_t status = file->ops->resize(file, size_bytes);
    if (status != SLUICE_OK)
        return status;
    image->size_bytes = size_bytes;
    return file->ops->flush(file);
}

static int32_t raw_set_parent(struct image *image, const char *name, uint32_t format,
                              const struct image *parent, struct image_error *error) {
    (void)image;
    (void)parent;
    (void)format;
    if (name == NULL)
        return SLUICE_OK;
    image_error_set(error, "a raw image has no parent: make an overlay of it instead");
    return SLUICE_INVALID;
}

static int32_t raw_check(struct image *image, bool repair, struct image_report *ret,
                         struct image_error *error) {
    (void)repair;
    (void)error;
    *ret = (struct image_report){.used_clusters = image->size_bytes / RAW_CLUSTER_BYTES};
    return SLUICE_OK;
}

const struct image_format_ops image_raw_ops = {
    .name = "raw",
    .format = IMAGE_FORMAT_RAW,
    .create = raw_create,
    .open = raw_open,
    .close = raw_close,
    .peek = raw_peek,
    .find = raw_find,
    .write = raw_write,
    .zero = raw_zero,
    .trim = raw_trim,
    .is_dirty = raw_is_dirty,
    .commit = raw_commit,
    .resize = raw_resize,
    .set_parent = raw_set_parent,
    .check = raw_check,
};

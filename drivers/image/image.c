/* SPDX-License-Identifier: Apache-2.0
 *
 * image.c: the door of the folder: formats by name, bounds, and the way down a chain.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image/format.h"

#define PROBE_BYTES 512u /* the marks of all formats lie in the first sector */
#define CACHE_BYTES_DEFAULT (UINT64_C(4) << 20)
#define MERGED_RUNS_MAX 64u   /* look-ups of one image_extent: bounds its time on what is torn up */
#define PULL_BYTES (1u << 20) /* one read and one write of a pull */
#define ZERO_COST_BYTES 8u    /* of a pull's work, for a cluster made zero: an entry of a table */
#define SECTOR_BYTES 512u

/* Another format adds a row. Raw is last: it has no mark. */
static const struct image_format_ops *const formats[] = {
    &image_qcow2_ops,
    &image_vhdx_ops,
    &image_raw_ops,
};
#define FORMATS (sizeof formats / sizeof formats[0])

const uint8_t image_zeroes[IMAGE_ZEROES_BYTES];

static const struct image_format_ops *format_ops(uint32_t format) {
    for (size_t i = 0; i < FORMATS; i++)
        if (formats[i]->format == format)
            return formats[i];
    return NULL;
}

const char *image_format_name(uint32_t format) {
    const struct image_format_ops *ops = format_ops(format);
    return ops == NULL ? NULL : ops->name;
}

uint32_t image_format_of_name(const char *name) {
    for (size_t i = 0; i < FORMATS; i++)
        if (strcmp(formats[i]->name, name) == 0)
            return formats[i]->format;
    return 0;
}

void image_error_set(struct image_error *error, const char *format, ...) {
    if (error == NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}

int32_t image_file_write_zeroes(struct image_file *file, uint64_t offset, uint64_t length) {
    while (length > 0) {
        size_t part = length < IMAGE_ZEROES_BYTES ? (size_t)length : IMAGE_ZEROES_BYTES;
        int32_t status = file->ops->write(file, offset, image_zeroes, part);
        if (status != SLUICE_OK)
            return status;
        offset += part;
        length -= part;
    }
    return SLUICE_OK;
}

/* ---- life cycle ------------------------------------------------------------------------------ */

int32_t image_create(struct image_file *file, const struct image_create *args,
                     struct image_error *error) {
    const struct image_format_ops *ops = format_ops(args->format);
    if (ops == NULL) {
        image_error_set(error, "there is no image format %u", args->format);
        return SLUICE_INVALID;
    }
    if (args->size_bytes % SECTOR_BYTES != 0) {
        image_error_set(error, "the size has to be a multiple of 512 bytes, and %llu is not",
                        (unsigned long long)args->size_bytes);
        return SLUICE_INVALID;
    }
    if (args->size_bytes > IMAGE_SIZE_MAX) {
        image_error_set(error, "an image has at most %llu bytes",
                        (unsigned long long)IMAGE_SIZE_MAX);
        return SLUICE_LIMIT;
    }
    if (args->parent_name != NULL) {
        size_t length = strlen(args->parent_name);
        if (length == 0 || length >= IMAGE_NAME_MAX || format_ops(args->parent_format) == NULL) {
            image_error_set(error, "a parent needs a name of 1 to %u bytes and a format",
                            IMAGE_NAME_MAX - 1);
            return SLUICE_INVALID;
        }
    }
    uint64_t there;
    int32_t status = file->ops->size(file, &there);
    if (status != SLUICE_OK)
        return status;
    if (there != 0) {
        image_error_set(error, "an image is made in an empty file, and this one has %llu bytes",
                        (unsigned long long)there);
        return SLUICE_INVALID;
    }
    return ops->create(file, args, error);
}

int32_t image_open(struct image_file *file, uint32_t format, uint32_t flags, uint64_t cache_bytes,
                   struct image **ret_image, struct image_error *error) {
    const struct image_format_ops *ops = format_ops(format);
    if (format == 0) {
        uint8_t head[PROBE_BYTES];
        int32_t status = file->ops->read(file, 0, head, sizeof head);
        if (status != SLUICE_OK)
            return status;
        for (size_t i = 0; i < FORMATS && ops == NULL; i++)
            if (formats[i]->probe == NULL || formats[i]->probe(head, sizeof head))
                ops = formats[i];
    }
    if (ops == NULL) {
        image_error_set(error, "there is no image format %u", format);
        return SLUICE_INVALID;
    }
    return ops->open(file, flags, cache_bytes == 0 ? CACHE_BYTES_DEFAULT : cache_bytes, ret_image,
                     error);
}

void image_close(struct image *image) {
    if (image != NULL)
        image->ops->close(image);
}

uint32_t image_format(const struct image *image) {
    return image->ops->format;
}

uint64_t image_size(const struct image *image) {
    return image->size_bytes;
}

uint32_t image_cluster_bytes(const struct image *image) {
    return image->cluster_bytes;
}

struct image_file *image_file(const struct image *image) {
    return image->file;
}

const char *image_parent_name(const struct image *image, uint32_t *ret_format) {
    if (!image->has_parent)
        return NULL;
    if (ret_format != NULL)
        *ret_format = image->parent_format;
    return image->parent_name;
}

struct image *image_parent(const struct image *image) {
    return image->parent;
}

int32_t image_attach_parent(struct image *image, struct image *parent, struct image_error *error) {
    if (!image->has_parent) {
        image_error_set(error, "this image names no parent");
        return SLUICE_INVALID;
    }
    uint32_t depth = 1;
    for (const struct image *below = parent; below != NULL; below = below->parent) {
        depth++;
        if (below == image || below->file == image->file) {
            image_error_set(error, "the chain is a circle: an image is its own parent");
            return SLUICE_LIMIT;
        }
        if (depth > IMAGE_CHAIN_MAX) {
            image_error_set(error, "the chain would have more than %u images; flatten it first",
                            IMAGE_CHAIN_MAX);
            return SLUICE_LIMIT;
        }
    }
    if (image->ops->attach != NULL) {
        int32_t status = image->ops->attach(image, parent, error);
        if (status != SLUICE_OK)
            return status;
    }
    image->parent = parent;
    return SLUICE_OK;
}

/* ---- the way down ---------------------------------------------------------------------------- */

struct chain_run {
    uint32_t kind; /* enum own_kind; ABSENT: nobody down to `depth` holds it */
    uint32_t depth;
    bool bottom; /* ABSENT: and nobody is below */
    uint64_t length;
    uint64_t file_offset;
    struct image *owner;
};

static int32_t chain_find(struct image *image, uint64_t offset, uint64_t length, uint32_t depth_max,
                          bool holes, struct chain_run *ret) {
    for (uint32_t depth = 0;; depth++) {
        if (offset >= image->size_bytes) {
            *ret = (struct chain_run){
                .kind = OWN_ZERO, .depth = depth, .length = length, .owner = image};
            return SLUICE_OK;
        }
        if (length > image->size_bytes - offset)
            length = image->size_bytes - offset;
        struct own_run own;
        int32_t status = image->ops->find(image, offset, length, holes, &own);
        if (status != SLUICE_OK)
            return status;
        length = own.length;
        if (own.kind == OWN_ABSENT && image->has_parent && depth < depth_max) {
            if (image->parent == NULL)
                return SLUICE_INVALID; /* somebody forgot image_attach_parent */
            image = image->parent;
            continue;
        }
        *ret = (struct chain_run){.kind = own.kind,
                                  .depth = depth,
                                  .bottom = !image->has_parent,
                                  .length = length,
                                  .file_offset = own.file_offset,
                                  .owner = image};
        return SLUICE_OK;
    }
}

int32_t image_chain_read(struct image *image, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    while (length > 0) {
        struct chain_run run;
        int32_t status = chain_find(image, offset, length, IMAGE_CHAIN_MAX, false, &run);
        if (status != SLUICE_OK)
            return status;
        size_t part = (size_t)run.length;
        if (run.kind == OWN_FILE)
            status = run.owner->file->ops->read(run.owner->file, run.file_offset, to, part);
        else if (run.kind == OWN_PACKED)
            status = run.owner->ops->read_packed(run.owner, offset, to, part);
        else
            memset(to, 0, part);
        if (status != SLUICE_OK)
            return status;
        to += part;
        offset += part;
        length -= part;
    }
    return SLUICE_OK;
}

int32_t image_chain_is_zero(struct image *image, uint64_t offset, uint64_t length, bool *ret_zero) {
    bool zero = true;
    while (length > 0 && zero) {
        struct chain_run run;
        int32_t status = chain_find(image, offset, length, IMAGE_CHAIN_MAX, true, &run);
        if (status != SLUICE_OK)
            return status;
        zero = run.kind == OWN_ZERO || run.kind == OWN_ABSENT;
        offset += run.length;
        length -= run.length;
    }
    *ret_zero = zero;
    return SLUICE_OK;
}

/* ---- blocking I/O ---------------------------------------------------------------------------- */

static bool within(const struct image *image, uint64_t offset, uint64_t length) {
    return offset <= image->size_bytes && length <= image->size_bytes - offset;
}

static int32_t may_change(const struct image *image, uint64_t offset, uint64_t length) {
    if (!within(image, offset, length) || (image->has_parent && image->parent == NULL))
        return SLUICE_INVALID;
    return image->read_only ? SLUICE_READ_ONLY : SLUICE_OK;
}

int32_t image_read(struct image *image, uint64_t offset, void *ret_bytes, size_t length) {
    if (!within(image, offset, length))
        return SLUICE_INVALID;
    return image_chain_read(image, offset, ret_bytes, length);
}

int32_t image_write(struct image *image, uint64_t offset, const void *bytes, size_t length) {
    int32_t status = may_change(image, offset, length);
    if (status != SLUICE_OK || length == 0)
        return status;
    return image->ops->write(image, offset, bytes, length);
}

int32_t image_write_zeroes(struct image *image, uint64_t offset, uint64_t length) {
    int32_t status = may_change(image, offset, length);
    if (status != SLUICE_OK || length == 0)
        return status;
    return image->ops->zero(image, offset, length, false);
}

int32_t image_trim(struct image *image, uint64_t offset, uint64_t length) {
    int32_t status = may_change(image, offset, length);
    if (status != SLUICE_OK || length == 0)
        return status;
    return image->ops->trim(image, offset, length);
}

bool image_is_dirty(const struct image *image) {
    return image->ops->is_dirty(image);
}

int32_t image_commit(struct image *image) {
    return image->ops->commit(image, false);
}

int32_t image_flush(struct image *image) {
    return image->ops->commit(image, true);
}

int32_t image_freeze(struct image *image) {
    int32_t status = image->read_only ? SLUICE_OK : image_flush(image);
    if (status == SLUICE_OK && !image->read_only && image->ops->freeze != NULL)
        status = image->ops->freeze(image);
    image->read_only = image->read_only || status == SLUICE_OK;
    return status;
}

/* ---- where bytes lie ------------------------------------------------------------------------- */

void image_map(const struct image *image, uint64_t offset, uint64_t length, bool write,
               struct image_run *ret_run) {
    struct image_run run = {.kind = IMAGE_RUN_SLOW, .length = length};
    for (uint32_t depth = 0;; depth++) {
        if (offset >= image->size_bytes) {
            /* Behind the end of a shorter parent. The image itself has no such offset. */
            run.kind = depth == 0 ? IMAGE_RUN_SLOW : IMAGE_RUN_ZERO;
            run.depth = depth;
            break;
        }
        if (run.length > image->size_bytes - offset)
            run.length = image->size_bytes - offset;
        struct own_run own;
        image->ops->peek(image, offset, run.length, &own);
        run.length = own.length;
        if (own.kind == OWN_ABSENT && !write && image->has_parent && image->parent != NULL) {
            image = image->parent;
            continue;
        }
        run.depth = depth;
        if (own.kind == OWN_FILE && (!write || (own.in_place && !image->read_only))) {
            run.kind = IMAGE_RUN_FILE;
            run.file = image->file;
            run.file_offset = own.file_offset;
        } else if (!write &&
                   (own.kind == OWN_ZERO || (own.kind == OWN_ABSENT && !image->has_parent))) {
            run.kind = IMAGE_RUN_ZERO;
        }
        break;
    }
    *ret_run = run;
}

static uint32_t run_kind(const struct chain_run *run) {
    switch (run->kind) {
    case OWN_FILE:
        return IMAGE_RUN_FILE;
    case OWN_PACKED:
        return IMAGE_RUN_SLOW;
    case OWN_ZERO:
        return IMAGE_RUN_ZERO;
    default:
        return run->bottom ? IMAGE_RUN_ZERO : 0;
    }
}

int32_t image_extent(struct image *image, uint64_t offset, uint64_t length, uint32_t depth_max,
                     struct image_run *ret_run) {
    if (!within(image, offset, length) || length == 0)
        return SLUICE_INVALID;
    struct image_run whole = {0};
    for (uint32_t i = 0; i < MERGED_RUNS_MAX && whole.length < length; i++) {
        struct chain_run run;
        int32_t status =
            chain_find(image, offset + whole.length, length - whole.length, depth_max, true, &run);
        if (status != SLUICE_OK)
            return status;
        /* With a bound on depth, what nobody down to there holds is 0, whatever is below. */
        uint32_t kind = run.kind == OWN_ABSENT && depth_max < IMAGE_CHAIN_MAX ? 0 : run_kind(&run);
        if (i == 0) {
            whole = (struct image_run){.kind = kind, .depth = run.depth, .length = run.length};
            if (kind == IMAGE_RUN_FILE) {
                whole.file = run.owner->file;
                whole.file_offset = run.file_offset;
            }
            continue;
        }
        if (kind != whole.kind || run.depth != whole.depth ||
            (kind == IMAGE_RUN_FILE && run.file_offset != whole.file_offset + whole.length))
            break;
        whole.length += run.length;
    }
    *ret_run = whole;
    return SLUICE_OK;
}

/* ---- changes of the whole -------------------------------------------------------------------- */

int32_t image_resize(struct image *image, uint64_t size_bytes, struct image_error *error) {
    if (image->read_only) {
        image_error_set(error, "the image is open for reading only");
        return SLUICE_READ_ONLY;
    }
    if (size_bytes % SECTOR_BYTES != 0 || (image->has_parent && image->parent == NULL)) {
        image_error_set(error,
                        "a size is a multiple of 512 bytes, and a parent has to be attached");
        return SLUICE_INVALID;
    }
    if (size_bytes > IMAGE_SIZE_MAX) {
        image_error_set(error, "an image has at most %llu bytes",
                        (unsigned long long)IMAGE_SIZE_MAX);
        return SLUICE_LIMIT;
    }
    if (size_bytes == image->size_bytes)
        return image_flush(image);
    return image->ops->resize(image, size_bytes, error);
}

int32_t image_set_parent(struct image *image, const char *name, uint32_t format,
                         const struct image *parent, struct image_error *error) {
    if (image->read_only) {
        image_error_set(error, "the image is open for reading only");
        return SLUICE_READ_ONLY;
    }
    if (name != NULL &&
        (strlen(name) == 0 || strlen(name) >= IMAGE_NAME_MAX || format_ops(format) == NULL)) {
        image_error_set(error, "a parent needs a name of 1 to %u bytes and a format",
                        IMAGE_NAME_MAX - 1);
        return SLUICE_INVALID;
    }
    int32_t status = image->ops->set_parent(image, name, format, parent, error);
    if (status != SLUICE_OK)
        return status;
    image->has_parent = name != NULL;
    image->parent_format = name != NULL ? format : 0;
    snprintf(image->parent_name, sizeof image->parent_name, "%s", name != NULL ? name : "");
    image->parent = NULL;
    return SLUICE_OK;
}

/* What a pull has to do with the clusters at an offset. */
struct pull_part {
    uint32_t kind; /* OWN_FILE: copy, OWN_ZERO: make zero, OWN_ABSENT: leave */
    uint64_t length;
};

/* The run at `offset`, which is a cluster's begin, in whole clusters (or to the end). Where what
 * lies below changes inside of a cluster, that cluster is a run of its own, to be copied. */
static int32_t pull_look(struct image *image, uint64_t offset, uint32_t depth_max,
                         struct pull_part *ret) {
    uint64_t rest = image->size_bytes - offset;
    uint64_t cluster = rest < image->cluster_bytes ? rest : image->cluster_bytes;
    uint64_t seen = 0;
    struct pull_part part = {.kind = OWN_ABSENT};
    for (uint32_t i = 0; seen < cluster; i++) {
        struct chain_run run;
        int32_t status =
            chain_find(image, offset + seen, i == 0 ? rest : cluster - seen, depth_max, true, &run);
        if (status != SLUICE_OK)
            return status;
        bool own = run.depth == 0 || run.kind == OWN_ABSENT;
        uint32_t kind = own ? OWN_ABSENT : run.kind == OWN_ZERO ? OWN_ZERO : OWN_FILE;
        if (i > 0 && kind != part.kind)
            kind = OWN_FILE;
        part.kind = kind;
        seen += run.length;
    }
    if (seen < rest)
        seen -= seen % image->cluster_bytes;
    part.length = seen;
    *ret = part;
    return SLUICE_OK;
}

static int32_t pull_copy(struct image *image, uint64_t offset, uint64_t length, uint8_t *buffer,
                         size_t room) {
    while (length > 0) {
        size_t part = length < room ? (size_t)length : room;
        int32_t status = image_chain_read(image, offset, buffer, part);
        if (status == SLUICE_OK)
            status = image->ops->write(image, offset, buffer, part);
        if (status != SLUICE_OK)
            return status;
        offset += part;
        length -= part;
    }
    return SLUICE_OK;
}

int32_t image_pull(struct image *image, uint32_t depth_max, uint64_t offset, uint64_t until_bytes,
                   uint64_t *ret_next) {
    int32_t status = may_change(image, offset, 0);
    if (status != SLUICE_OK)
        return status;
    offset -= offset % image->cluster_bytes;
    /* A power of two from 1 MiB on: whole clusters of any size. */
    size_t room = image->cluster_bytes > PULL_BYTES ? image->cluster_bytes : PULL_BYTES;
    uint8_t *buffer = malloc(room);
    if (buffer == NULL)
        return SLUICE_NO_MEMORY;
    uint64_t copied = 0;
    image->same_bytes = true;
    while (status == SLUICE_OK && copied < until_bytes && offset < image->size_bytes) {
        struct pull_part part;
        status = pull_look(image, offset, depth_max, &part);
        if (status != SLUICE_OK)
            break;
        if (part.kind == OWN_ZERO) {
            /* Zeroes cost the tables that say so: a disk of holes is pulled in turns, too. */
            uint64_t allowed = (until_bytes - copied - 1) / ZERO_COST_BYTES + 1;
            if (part.length / image->cluster_bytes > allowed)
                part.length = allowed * image->cluster_bytes;
            status = image->ops->zero(image, offset, part.length, true);
            copied += part.length / image->cluster_bytes * ZERO_COST_BYTES;
        } else if (part.kind == OWN_FILE) {
            uint64_t allowed = (until_bytes - copied - 1) / image->cluster_bytes + 1;
            if (part.length / image->cluster_bytes > allowed)
                part.length = allowed * image->cluster_bytes;
            status = pull_copy(image, offset, part.length, buffer, room);
            copied += part.length;
        }
        if (status == SLUICE_OK)
            offset += part.length;
    }
    free(buffer);
    image->same_bytes = false;
    if (status == SLUICE_OK)
        *ret_next = offset < image->size_bytes ? offset : image->size_bytes;
    return status;
}

int32_t image_check(struct image *image, bool repair, struct image_report *ret,
                    struct image_error *error) {
    return image->ops->check(image, repair, ret, error);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * format.h: what a disk image format is to image.c, and what every open image has.
 *
 * A format is one table of functions and one row in formats[] of image.c. It knows its own file and
 * nothing else: walking down a chain, bounds, and who may write are image.c's. A format that needs
 * what the chain holds (the rest of a cluster that is written in part) asks image_chain_read.
 *
 * Threads and ownership: as image.h says.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include <stdlib.h>

#include "image/image.h"

/* Our own bugs only, never what a file or a caller of image.h can cause. */
#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

/* What one image holds itself. */
enum own_kind {
    OWN_ABSENT = 0, /* ask the parent */
    OWN_FILE = 1,   /* at file_offset */
    OWN_ZERO = 2,
    OWN_UNKNOWN = 3, /* peek only: a table has to be read first */
    OWN_PACKED = 4,  /* compressed: read_packed */
};

struct own_run {
    uint32_t kind; /* enum own_kind */
    bool in_place; /* FILE: may be overwritten where it is */
    uint64_t length;
    uint64_t file_offset; /* FILE */
};

struct image_format_ops {
    const char *name;
    uint32_t format; /* enum image_format */
    /* Whether these first bytes of a file are this format's. NULL: it has no mark. */
    bool (*probe)(const uint8_t *head, size_t length);
    int32_t (*create)(struct image_file *file, const struct image_create *args,
                      struct image_error *error);
    int32_t (*open)(struct image_file *file, uint32_t flags, uint64_t cache_bytes,
                    struct image **ret_image, struct image_error *error);
    void (*close)(struct image *image);
    /* The run at `offset`, at least 1 and at most `length` bytes, from memory alone. */
    void (*peek)(const struct image *image, uint64_t offset, uint64_t length, struct own_run *ret);
    /* The same, reading what it takes. `holes`: also look for holes of the file below, which takes
     * longer. */
    int32_t (*find)(struct image *image, uint64_t offset, uint64_t length, bool holes,
                    struct own_run *ret);
    /* Optional. Bytes of a PACKED run. */
    int32_t (*read_packed)(struct image *image, uint64_t offset, void *ret_bytes, size_t length);
    int32_t (*write)(struct image *image, uint64_t offset, const uint8_t *bytes, size_t length);
    /* `hold`: the image itself has to say so, also where nothing below has anything else to say. */
    int32_t (*zero)(struct image *image, uint64_t offset, uint64_t length, bool hold);
    int32_t (*trim)(struct image *image, uint64_t offset, uint64_t length);
    bool (*is_dirty)(const struct image *image);
    /* `stable`: image_flush, else image_commit. */
    int32_t (*commit)(struct image *image, bool stable);
    int32_t (*resize)(struct image *image, uint64_t size_bytes, struct image_error *error);
    /* `parent` as in image_set_parent. */
    int32_t (*set_parent)(struct image *image, const char *name, uint32_t format,
                          const struct image *parent, struct image_error *error);
    /* Optional. Whether this is the parent that is meant. */
    int32_t (*attach)(struct image *image, struct image *parent, struct image_error *error);
    /* Optional. After a flush, before others read the file for ever. */
    int32_t (*freeze)(struct image *image);
    int32_t (*check)(struct image *image, bool repair, struct image_report *ret,
                     struct image_error *error);
};

/* First member of what a format keeps for an open image; the format's open fills it. */
struct image {
    const struct image_format_ops *ops;
    struct image_file *file;
    struct image *parent;
    uint64_t size_bytes;
    uint32_t cluster_bytes;
    uint32_t parent_format;
    bool read_only;
    bool has_parent;
    bool same_bytes; /* what is changed now reads as before: a pull, another parent */
    char parent_name[IMAGE_NAME_MAX];
};

extern const struct image_format_ops image_raw_ops;
extern const struct image_format_ops image_qcow2_ops;
extern const struct image_format_ops image_vhdx_ops;

__attribute__((format(printf, 2, 3))) void image_error_set(struct image_error *error,
                                                           const char *format, ...);

/* What is read at `offset` through the chain; what lies behind the image's end is zero. */
int32_t image_chain_read(struct image *image, uint64_t offset, void *ret_bytes, size_t length);
/* Whether a whole range is known to read as zeroes without reading bytes. */
int32_t image_chain_is_zero(struct image *image, uint64_t offset, uint64_t length, bool *ret_zero);

#define IMAGE_ZEROES_BYTES (64u << 10) /* one write of zeroes */
extern const uint8_t image_zeroes[IMAGE_ZEROES_BYTES];
/* Zeroes as bytes. */
int32_t image_file_write_zeroes(struct image_file *file, uint64_t offset, uint64_t length);

#endif

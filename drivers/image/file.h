/* SPDX-License-Identifier: Apache-2.0
 *
 * file.h: the small door through which image formats and share layouts reach an open file.
 *
 * A file is a table of functions and whatever its maker keeps behind it. All of them block until
 * they are done. They answer an enum sluice_status: SLUICE_OK, or what is true (NO_SPACE, QUOTA,
 * READ_ONLY, STALE, UNREACHABLE, IO ...), never an errno.
 *
 * Threads: calls on one file may overlap where its maker says so; the formats in this folder never
 * overlap calls on one file unless their own caller overlaps calls on one image.
 */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/driver.h>

struct image_file;

struct image_file_ops {
    /* Required. Whole or not at all; what lies beyond the end reads as zeroes. */
    int32_t (*read)(struct image_file *file, uint64_t offset, void *ret_bytes, size_t length);
    /* Required. Whole or failed, in which case any part of it may have been written. A file grows
     * to hold what is written; the gap reads as zeroes. */
    int32_t (*write)(struct image_file *file, uint64_t offset, const void *bytes, size_t length);
    /* Required. What was written before is on stable storage afterwards. */
    int32_t (*flush)(struct image_file *file);
    /* Required. */
    int32_t (*size)(struct image_file *file, uint64_t *ret_bytes);
    /* Required. Cuts, or grows by zeroes that take no space where the file system can. */
    int32_t (*resize)(struct image_file *file, uint64_t bytes);
    /* Optional. Gives the space of a range back, which reads as zeroes then; UNSUPPORTED where it
     * would have to write bytes. */
    int32_t (*punch)(struct image_file *file, uint64_t offset, uint64_t length);
    /* Optional. Whether the bytes from `offset` are allocated and for how many that holds, at most
     * `length`. Without it all is allocated. */
    int32_t (*allocated)(struct image_file *file, uint64_t offset, uint64_t length,
                         uint32_t *ret_allocated, uint64_t *ret_length);
    /* Required. Lets go; cannot fail (what has to be kept was flushed). */
    void (*close)(struct image_file *file);
};

/* First member of what the maker keeps. */
struct image_file {
    const struct image_file_ops *ops;
};

#endif

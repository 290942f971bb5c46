/* SPDX-License-Identifier: Apache-2.0
 *
 * image.h: disk images in files: raw, qcow2 and VHDX, chained by overlays.
 *
 * An image is one file in one format. An overlay names the image below it (its parent) and reads
 * through to it where it holds nothing itself; which file that is, the caller finds out and opens,
 * and then says image_attach_parent. No format here opens anything by a name.
 *
 * Life cycle: image_create writes a whole, valid, flushed image into an empty file. image_open
 * reads and validates its head, and nothing whose size follows the disk's: the tables are read, and
 * judged, piece by piece when they are needed; image_attach_parent where image_parent_name says
 * there is one; reads, writes, ...; image_flush; image_close. Ownership: the file and the parent
 * stay the caller's and outlive the image.
 *
 * What is stable when. Metadata (where a block lies, what is used) may stay in memory until
 * image_commit or image_flush. Both write all of it to the file in an order that leaves the file a
 * valid image after each single write, also when the power fails between them: space may be lost,
 * which image_check gives back, never bytes, and every byte reads as before a write that was not
 * flushed or as after it. image_flush flushes the file; image_commit does where that order needs
 * it: for every write that brings bytes to a new cluster above others (a parent's) and for some
 * that only grow the file. So a writer whose page cache outlives it may commit after each write
 * that allocated (image_is_dirty), at that price; one whose unflushed writes are sent again flushes
 * only. What was flushed is never lost.
 *
 * Two ways to the bytes. image_read, image_write, ... do all that is needed and block. image_map
 * blocks never: from what is in memory it says where bytes lie now, so that a driver can move
 * payload by itself, past this library; where the answer needs I/O or an allocation it says so, and
 * the blocking call is what is left. An answer of image_map holds until the next call that changes
 * the image or one of its parents (write, write_zeroes, trim, resize, close); overwriting mapped
 * bytes in place is not such a change.
 *
 * Threads: none of it may overlap on one image, except image_map with image_map. Parents are only
 * read: several images, on several threads, may have one parent only under one lock.
 *
 * Errors: an enum sluice_status; where a text helps it is in struct image_error (CORRUPT,
 * UNSUPPORTED, INVALID, LIMIT always have one). No output is touched on failure.
 *
 * Limits: IMAGE_CHAIN_MAX images above each other; the memory of an open image is bounded by
 * image_open's cache_bytes and IMAGE_HEAD_BYTES_MAX; anything larger in a head is refused.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/file.h"

#define IMAGE_CHAIN_MAX 64
#define IMAGE_NAME_MAX 1024 /* of a parent, with its NUL: the formats' own limit */
#define IMAGE_SIZE_MAX \
    (UINT64_C(1) << 46) /* 64 TiB: what a qcow2 of 64 KiB clusters maps at ease */
#define IMAGE_HEAD_BYTES_MAX (UINT64_C(32) << 20) /* tables that stay in memory once read */

struct image;

enum image_format {
    IMAGE_FORMAT_RAW = 1,
    IMAGE_FORMAT_QCOW2 = 2,
    IMAGE_FORMAT_VHDX = 3,
};
/* "raw", "qcow2", "vhdx"; NULL for what is none. */
const char *image_format_name(uint32_t format);
/* 0: no such format. */
uint32_t image_format_of_name(const char *name);

struct image_error {
    char text[SLUICE_TEXT_MAX];
};

struct image_create {
    uint32_t format; /* enum image_format */
    /* A power of two. qcow2: 512 to 2 MiB, 0: 64 KiB. VHDX: 1 to 256 MiB, 0: 2 MiB, and more from
     * 4 TiB on. */
    uint32_t cluster_bytes;
    uint64_t size_bytes;        /* a multiple of 512 */
    const char *parent_name;    /* NULL: none. Written into the image as it is */
    uint32_t parent_format;     /* enum image_format; required with parent_name */
    const struct image *parent; /* VHDX with a parent_name: it writes down who that is */
    bool fixed; /* VHDX: all blocks have their place from the start; no log is written then */
};

/* Into an empty file. Its cost does not depend on the size beyond the top table of the format. */
int32_t image_create(struct image_file *file, const struct image_create *args,
                     struct image_error *error);

enum image_open_flag {
    IMAGE_OPEN_READ_ONLY = 1,
    IMAGE_OPEN_CHECK = 2, /* also what image_check finds without reading all tables */
};

/* `format` 0: found out by the magic, raw where there is none (never do that with bytes that a
 * stranger may have written). cache_bytes bounds what is kept of tables; 0: a default of 4 MiB.
 * An image that was left in the middle of something (qcow2: dirty or corrupt bit) opens read-only,
 * or is refused with what to do (a VHDX that was not closed, opened for reading only: its log has
 * to be replayed by who may write). Unknown incompatible features, encryption, external data files
 * and internal snapshots are UNSUPPORTED. */
int32_t image_open(struct image_file *file, uint32_t format, uint32_t flags, uint64_t cache_bytes,
                   struct image **ret_image, struct image_error *error);
/* Flushes nothing: what was not committed is gone. Gives back space that was set aside, by writes
 * that may fail without harm. Accepts NULL. */
void image_close(struct image *image);

uint32_t image_format(const struct image *image);
uint64_t image_size(const struct image *image);
uint32_t image_cluster_bytes(const struct image *image); /* raw: 512 */
struct image_file *image_file(const struct image *image);
/* The parent's name and format as the image says them; NULL: it has none. */
const char *image_parent_name(const struct image *image, uint32_t *ret_format);
/* The image below; required before any read or write when image_parent_name is not NULL. A smaller
 * parent reads as zeroes behind its end. LIMIT: the chain would be too long, or a circle. */
int32_t image_attach_parent(struct image *image, struct image *parent, struct image_error *error);
struct image *image_parent(const struct image *image);

/* ---- blocking I/O. Any offset and length within the size; else INVALID. ---------------------- */

int32_t image_read(struct image *image, uint64_t offset, void *ret_bytes, size_t length);
int32_t image_write(struct image *image, uint64_t offset, const void *bytes, size_t length);
/* Reads as zeroes afterwards; keeps or takes as little space as the format allows. */
int32_t image_write_zeroes(struct image *image, uint64_t offset, uint64_t length);
/* Gives back whole clusters, which read as zeroes afterwards (also above a parent); the rest of the
 * range is left as it is. UNSUPPORTED, and nothing changed: a raw image in a file that cannot
 * punch, a qcow2 of version 2 above a parent. */
int32_t image_trim(struct image *image, uint64_t offset, uint64_t length);
/* Whether image_commit has anything to do. */
bool image_is_dirty(const struct image *image);
int32_t image_commit(struct image *image);
int32_t image_flush(struct image *image);
/* A flush, after which the image may be others' parent: nothing is left to be done to the file (a
 * VHDX has no log then), and this open image is for reading only. */
int32_t image_freeze(struct image *image);

/* ---- where bytes lie ------------------------------------------------------------------------- */

enum image_run_kind {
    IMAGE_RUN_FILE = 1, /* at file_offset of `file`; what lies behind the file's end is zeroes */
    IMAGE_RUN_ZERO = 2, /* reads as zeroes: a zero cluster, or held by nobody in the chain */
    IMAGE_RUN_SLOW = 3, /* not known without I/O; for a write also: has to be allocated */
};

struct image_run {
    uint32_t kind;  /* enum image_run_kind */
    uint32_t depth; /* 0: the image itself, 1: its parent, ... (FILE, ZERO) */
    uint64_t length;
    struct image_file *file; /* FILE */
    uint64_t file_offset;    /* FILE */
};

/* The run that begins at `offset`, at most `length` bytes; never blocks. `write`: only FILE at
 * depth 0, which may be overwritten in place, or SLOW. For a raw image every run is FILE. */
void image_map(const struct image *image, uint64_t offset, uint64_t length, bool write,
               struct image_run *ret_run);

/* As image_map for reading, but reads the tables that it needs: FILE or ZERO, or SLOW for what is
 * held compressed. With a `depth_max` below IMAGE_CHAIN_MAX only so many images below are looked
 * at, and what none of them holds is kind 0: what an overlay holds itself is depth_max 0. The run
 * may end before what follows differs. */
int32_t image_extent(struct image *image, uint64_t offset, uint64_t length, uint32_t depth_max,
                     struct image_run *ret_run);

/* ---- changes of the whole -------------------------------------------------------------------- */

/* What is new reads as zeroes, also where a parent is longer; what is cut is gone for good.
 * Flushed. */
int32_t image_resize(struct image *image, uint64_t size_bytes, struct image_error *error);

/* Another parent, or none (NULL), by name only: the caller sees to it that what is read stays the
 * same. Flushed; one write makes it true. `parent`: as in image_create, open; it is attached by
 * image_attach_parent afterwards. */
int32_t image_set_parent(struct image *image, const char *name, uint32_t format,
                         const struct image *parent, struct image_error *error);

/* Copies into the image what it does not hold itself and its parents down to `depth_max` do, from
 * `offset` on, until `until_bytes` were copied or the end is reached: then *ret_next is the size.
 * What is read stays the same at every moment. Whole clusters; what is zero below is made zero. */
int32_t image_pull(struct image *image, uint32_t depth_max, uint64_t offset, uint64_t until_bytes,
                   uint64_t *ret_next);

struct image_report {
    uint64_t leaked_clusters; /* used by nobody */
    uint64_t broken_clusters; /* used more often than counted, outside the file, misaligned, ... */
    uint64_t used_clusters;
    uint64_t repaired;
    char first[SLUICE_TEXT_MAX]; /* what is broken, for a person; "" */
};

/* Reads all tables. `repair`: gives back what is leaked and counts what is used right; where two
 * owners have one cluster nothing is touched and the image is left read-only: only a copy helps. */
int32_t image_check(struct image *image, bool repair, struct image_report *ret,
                    struct image_error *error);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.h: a random walk over a chain of images, with a model beside it: the bytes that the topmost
 * image has to read as.
 *
 * A step is one call of image.h with random arguments (one of those that are allowed by `steps`),
 * done to the chain and to the model. The same seed walks the same way. The first thing that is not
 * as the model says stands in `wrong`, with the number of the step and what it was.
 *
 * Files are in memory, or in a folder as g<generation>.<format>, where others can look at them.
 */
#ifndef IMAGE_FILE_WALK_H
#define IMAGE_FILE_WALK_H

#include "image/image.h"
#include "image_file/memory_file.h"

#define WALK_IMAGES_MAX 6
#define WALK_WRITE_MAX (300u << 10)

enum walk_step {
    WALK_WRITE = 1 << 0,
    WALK_ZERO = 1 << 1,
    WALK_TRIM = 1 << 2,
    WALK_FLUSH = 1 << 3,
    WALK_COMMIT = 1 << 4,
    WALK_RESIZE = 1 << 5,
    WALK_SNAPSHOT = 1 << 6,
    WALK_PULL = 1 << 7,   /* a part */
    WALK_LET_GO = 1 << 8, /* the rest of the parent, and then another parent */
    WALK_REOPEN = 1 << 9, /* after a flush */
    WALK_CHECK = 1 << 10,
    WALK_MAP = 1 << 11, /* reads and overwrites where image_map says, past the library */
    WALK_ALL = (1 << 12) - 1,
};

struct walk_image {
    uint32_t generation;
    struct memory_file *memory; /* NULL: a real file */
    struct image_file *file;
    struct image *image;
};

struct walk {
    uint64_t random;
    uint32_t steps;         /* enum walk_step, those that may be taken */
    const char *folder;     /* NULL: in memory */
    uint32_t cluster_bytes; /* of new images; 0: by chance */
    uint64_t cache_bytes;
    uint32_t format;   /* of the first image; 0: by chance */
    bool fixed;        /* the first image, a VHDX */
    uint64_t size_max; /* of the disk */
    uint32_t generations;
    uint32_t count; /* images in the chain */
    struct walk_image at[WALK_IMAGES_MAX];
    uint8_t *bytes; /* size_max of them */
    uint64_t size;
    uint8_t *scratch;
    uint64_t step;
    char last[128]; /* what the last step was */
    char wrong[512];
};

uint64_t walk_random(struct walk *walk, uint64_t below);
/* Fields above `generations` are set; begins with one image. */
bool walk_start(struct walk *walk, uint64_t seed);
/* Begins with g1.img of the folder, which somebody else made and which reads as `bytes`. */
bool walk_start_with(struct walk *walk, uint64_t seed, const uint8_t *bytes, uint64_t size);
void walk_end(struct walk *walk);
struct image *walk_top(const struct walk *walk);
/* A new top above what is there. */
bool walk_snapshot(struct walk *walk);
bool walk_take(struct walk *walk, enum walk_step step);
bool walk_next(struct walk *walk);
/* Reads the whole disk. */
bool walk_compare(struct walk *walk);
/* Opens every image of the chain again, as a process does that comes after. */
bool walk_reopen(struct walk *walk);
/* Opens an image in `file` in place of the top, its parents as the chain has them. */
bool walk_open_other(struct walk *walk, struct image_file *file, struct image **ret_image);
/* Nothing broken; leaked clusters are counted. */
bool walk_check(struct walk *walk, struct image *image, uint64_t *ret_leaked);

#endif

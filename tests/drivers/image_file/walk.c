/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.c: the steps, each done twice.
 */
#include "image_file/walk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image_file/real_file.h"

#define SECTOR_BYTES 512u

__attribute__((format(printf, 2, 3))) static bool wrong(struct walk *walk, const char *format,
                                                        ...) {
    if (walk->wrong[0] != '\0')
        return false;
    int used = snprintf(walk->wrong, sizeof walk->wrong,
                        "step %llu (%s): ", (unsigned long long)walk->step, walk->last);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(walk->wrong + used, sizeof walk->wrong - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

static bool good(struct walk *walk, int32_t status, const char *what) {
    return status == SLUICE_OK || wrong(walk, "%s answers %d", what, status);
}

uint64_t walk_random(struct walk *walk, uint64_t below) {
    walk->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = walk->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below == 0 ? z : z % below;
}

struct image *walk_top(const struct walk *walk) {
    return walk->at[walk->count - 1].image;
}

static void path_of(const struct walk *walk, const struct walk_image *at, char *ret, size_t room) {
    snprintf(ret, room, "%s/g%u.img", walk->folder, at->generation);
}

/* ---- files and images ------------------------------------------------------------------------ */

static bool open_file(struct walk *walk, struct walk_image *at) {
    if (walk->folder == NULL) {
        if (at->memory == NULL)
            at->memory = memory_file_create();
        at->file = memory_file_open(at->memory);
        return true;
    }
    char path[512];
    path_of(walk, at, path, sizeof path);
    at->file = real_file_open(path);
    return at->file != NULL || wrong(walk, "cannot open %s", path);
}

static void let_go(struct walk *walk, struct walk_image *at, bool remove) {
    image_close(at->image);
    if (at->file != NULL)
        at->file->ops->close(at->file);
    if (remove && walk->folder == NULL)
        memory_file_destroy(at->memory);
    if (remove && walk->folder != NULL) {
        char path[512];
        path_of(walk, at, path, sizeof path);
        unlink(path);
    }
    at->image = NULL;
    at->file = NULL;
}

/* A VHDX stands above VHDX only; a qcow2 above all others. */
static uint32_t overlay_format(const struct walk *walk) {
    return walk->format == IMAGE_FORMAT_VHDX ? IMAGE_FORMAT_VHDX : IMAGE_FORMAT_QCOW2;
}

static bool open_image(struct walk *walk, struct image_file *file, uint32_t index,
                       struct image **ret_image) {
    struct image_error error = {""};
    struct image *image;
    /* The bottom may be raw, which nobody finds out by looking. */
    uint32_t format = index == 0 ? walk->format : overlay_format(walk);
    int32_t status = image_open(file, format, IMAGE_OPEN_CHECK, walk->cache_bytes, &image, &error);
    if (status != SLUICE_OK)
        return wrong(walk, "image_open answers %d: %s", status, error.text);
    const char *name = image_parent_name(image, NULL);
    if (name != NULL) {
        uint32_t at = 0;
        while (at < index) {
            char expected[64];
            snprintf(expected, sizeof expected, "g%u.img", walk->at[at].generation);
            if (strcmp(expected, name) == 0)
                break;
            at++;
        }
        if (at == index) {
            image_close(image);
            return wrong(walk, "a parent is called %s, and there is none of that name", name);
        }
        status = image_attach_parent(image, walk->at[at].image, &error);
        if (status != SLUICE_OK) {
            image_close(image);
            return wrong(walk, "image_attach_parent answers %d: %s", status, error.text);
        }
    }
    *ret_image = image;
    return true;
}

bool walk_open_other(struct walk *walk, struct image_file *file, struct image **ret_image) {
    return open_image(walk, file, walk->count - 1, ret_image);
}

static bool add_image(struct walk *walk) {
    struct walk_image *at = &walk->at[walk->count];
    *at = (struct walk_image){.generation = ++walk->generations};
    uint32_t cluster = walk->cluster_bytes;
    if (cluster == 0)
        cluster = walk->format == IMAGE_FORMAT_VHDX ? 1u << (20 + walk_random(walk, 3))
                                                    : 512u << walk_random(walk, 9);
    char parent[64];
    if (walk->count > 0)
        snprintf(parent, sizeof parent, "g%u.img", walk->at[walk->count - 1].generation);
    bool bottom = walk->count == 0;
    struct image_create args = {.format = bottom ? walk->format : overlay_format(walk),
                                .fixed = bottom && walk->fixed,
                                .parent = bottom ? NULL : walk_top(walk),
                                .cluster_bytes = cluster,
                                .size_bytes = walk->size,
                                .parent_name = bottom ? NULL : parent,
                                .parent_format = bottom ? 0 : image_format(walk_top(walk))};
    struct image_error error = {""};
    char path[512];
    if (walk->folder != NULL) {
        path_of(walk, at, path, sizeof path);
        unlink(path); /* of a walk that went wrong */
    }
    if (!open_file(walk, at))
        return false;
    int32_t status = image_create(at->file, &args, &error);
    walk->count++;
    if (status != SLUICE_OK)
        return wrong(walk, "image_create answers %d: %s", status, error.text);
    return open_image(walk, at->file, walk->count - 1, &at->image);
}

static void begin(struct walk *walk, uint64_t seed) {
    walk->random = seed;
    walk->generations = 0;
    walk->count = 0;
    walk->step = 0;
    walk->wrong[0] = '\0';
    snprintf(walk->last, sizeof walk->last, "start");
    walk->bytes = calloc(1, walk->size_max);
    walk->scratch = malloc(walk->size_max);
    if (walk->bytes == NULL || walk->scratch == NULL)
        abort();
}

bool walk_start(struct walk *walk, uint64_t seed) {
    begin(walk, seed);
    if (walk->format == 0)
        walk->format = walk_random(walk, 3) == 0 ? IMAGE_FORMAT_RAW : IMAGE_FORMAT_QCOW2;
    walk->size = walk->size_max / 2 - walk_random(walk, 200) * SECTOR_BYTES;
    return add_image(walk);
}

bool walk_start_with(struct walk *walk, uint64_t seed, const uint8_t *bytes, uint64_t size) {
    begin(walk, seed);
    memcpy(walk->bytes, bytes, size);
    walk->size = size;
    struct walk_image *at = &walk->at[0];
    *at = (struct walk_image){.generation = ++walk->generations};
    walk->count = 1;
    return open_file(walk, at) && open_image(walk, at->file, 0, &at->image);
}

void walk_end(struct walk *walk) {
    for (uint32_t i = walk->count; i-- > 0;)
        let_go(walk, &walk->at[i], true);
    walk->count = 0;
    free(walk->bytes);
    free(walk->scratch);
}

bool walk_reopen(struct walk *walk) {
    for (uint32_t i = walk->count; i-- > 0;)
        let_go(walk, &walk->at[i], false);
    for (uint32_t i = 0; i < walk->count; i++)
        if (!open_file(walk, &walk->at[i]) ||
            !open_image(walk, walk->at[i].file, i, &walk->at[i].image))
            return false;
    return true;
}

bool walk_check(struct walk *walk, struct image *image, uint64_t *ret_leaked) {
    struct image_report report;
    struct image_error error = {""};
    int32_t status = image_check(image, false, &report, &error);
    if (status != SLUICE_OK)
        return wrong(walk, "image_check answers %d: %s", status, error.text);
    if (report.broken_clusters > 0)
        return wrong(walk, "%llu clusters are broken: %s",
                     (unsigned long long)report.broken_clusters, report.first);
    *ret_leaked = report.leaked_clusters;
    return true;
}

static bool compare(struct walk *walk, struct image *image, uint64_t offset, uint64_t length) {
    if (!good(walk, image_read(image, offset, walk->scratch, length), "image_read"))
        return false;
    for (uint64_t i = 0; i < length; i++)
        if (walk->scratch[i] != walk->bytes[offset + i])
            return wrong(walk, "byte %llu is %u, not %u", (unsigned long long)(offset + i),
                         walk->scratch[i], walk->bytes[offset + i]);
    return true;
}

bool walk_compare(struct walk *walk) {
    struct image *top = walk_top(walk);
    if (image_size(top) != walk->size)
        return wrong(walk, "the size is %llu", (unsigned long long)image_size(top));
    return compare(walk, top, 0, walk->size);
}

/* ---- steps ----------------------------------------------------------------------------------- */

struct range {
    uint64_t offset;
    uint64_t length;
};

/* Of some bytes, some sectors or some clusters; in one case of eight it goes to the end. */
static struct range random_range(struct walk *walk) {
    static const uint64_t units[] = {1, SECTOR_BYTES, 4096, 65536};
    uint64_t unit = units[walk_random(walk, 4)];
    uint64_t offset = walk_random(walk, walk->size) / unit * unit;
    uint64_t length = (1 + walk_random(walk, walk_random(walk, 2) ? 4 : 64)) * unit;
    if (length > WALK_WRITE_MAX)
        length = WALK_WRITE_MAX;
    if (length > walk->size - offset || walk_random(walk, 8) == 0)
        length = walk->size - offset;
    return (struct range){offset, length};
}

static void fill(struct walk *walk, uint8_t *bytes, uint64_t length) {
    /* Not periodic in a cluster: a cluster at a wrong place is seen. */
    uint64_t word = walk_random(walk, 0);
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(word + i / 509 * 7 + i);
}

static bool step_write(struct walk *walk) {
    struct range range = random_range(walk);
    if (range.length > WALK_WRITE_MAX)
        range.length = WALK_WRITE_MAX;
    snprintf(walk->last, sizeof walk->last, "write %llu +%llu", (unsigned long long)range.offset,
             (unsigned long long)range.length);
    fill(walk, walk->bytes + range.offset, range.length);
    return good(walk,
                image_write(walk_top(walk), range.offset, walk->bytes + range.offset, range.length),
                "image_write");
}

static bool step_zero(struct walk *walk) {
    struct range range = random_range(walk);
    snprintf(walk->last, sizeof walk->last, "zero %llu +%llu", (unsigned long long)range.offset,
             (unsigned long long)range.length);
    memset(walk->bytes + range.offset, 0, range.length);
    return good(walk, image_write_zeroes(walk_top(walk), range.offset, range.length),
                "image_write_zeroes");
}

static bool step_trim(struct walk *walk) {
    struct range range = random_range(walk);
    snprintf(walk->last, sizeof walk->last, "trim %llu +%llu", (unsigned long long)range.offset,
             (unsigned long long)range.length);
    int32_t status = image_trim(walk_top(walk), range.offset, range.length);
    if (status == SLUICE_UNSUPPORTED)
        return true;
    /* A raw image's file gives back what it can and zeroes the rest. */
    uint64_t unit =
        image_format(walk_top(walk)) == IMAGE_FORMAT_RAW ? 1 : image_cluster_bytes(walk_top(walk));
    uint64_t first = (range.offset + unit - 1) / unit * unit;
    uint64_t end = range.offset + range.length;
    if (end != walk->size)
        end = end / unit * unit;
    if (first < end)
        memset(walk->bytes + first, 0, end - first);
    return good(walk, status, "image_trim");
}

static bool step_resize(struct walk *walk) {
    uint64_t size = (1 + walk_random(walk, walk->size_max / SECTOR_BYTES)) * SECTOR_BYTES;
    snprintf(walk->last, sizeof walk->last, "resize %llu to %llu", (unsigned long long)walk->size,
             (unsigned long long)size);
    if (size < walk->size)
        memset(walk->bytes + size, 0, walk->size - size);
    walk->size = size;
    struct image_error error = {""};
    return good(walk, image_resize(walk_top(walk), size, &error), "image_resize");
}

bool walk_snapshot(struct walk *walk) {
    if (walk->count == WALK_IMAGES_MAX)
        return true;
    snprintf(walk->last, sizeof walk->last, "snapshot");
    return good(walk, image_freeze(walk_top(walk)), "image_freeze") && add_image(walk);
}

static bool step_pull(struct walk *walk) {
    struct range range = random_range(walk);
    uint64_t next;
    snprintf(walk->last, sizeof walk->last, "pull %llu +%llu", (unsigned long long)range.offset,
             (unsigned long long)range.length);
    if (!good(walk,
              image_pull(walk_top(walk), (uint32_t)walk_random(walk, WALK_IMAGES_MAX), range.offset,
                         range.length, &next),
              "image_pull"))
        return false;
    return next > range.offset || wrong(walk, "image_pull does not get on");
}

/* The top takes what its parent holds, and the parent's parent is the parent. The parent goes. */
static bool step_let_go(struct walk *walk) {
    if (walk->count < 2)
        return true;
    snprintf(walk->last, sizeof walk->last, "let go");
    struct image *top = walk_top(walk);
    for (uint64_t next = 0; next < walk->size;)
        if (!good(walk, image_pull(top, 1, next, 1 + walk_random(walk, 1 << 20), &next),
                  "image_pull"))
            return false;
    struct walk_image *parent = &walk->at[walk->count - 2];
    struct walk_image *below = walk->count < 3 ? NULL : &walk->at[walk->count - 3];
    char name[64];
    if (below != NULL)
        snprintf(name, sizeof name, "g%u.img", below->generation);
    struct image_error error = {""};
    if (!good(walk,
              image_set_parent(top, below == NULL ? NULL : name,
                               below == NULL ? 0 : image_format(below->image),
                               below == NULL ? NULL : below->image, &error),
              "image_set_parent"))
        return false;
    if (below != NULL && !good(walk, image_attach_parent(top, below->image, &error), "attach"))
        return false;
    let_go(walk, parent, true);
    *parent = walk->at[walk->count - 1];
    walk->count--;
    if (walk->count == 1)
        walk->format = overlay_format(walk);
    return true;
}

static bool step_map(struct walk *walk) {
    struct range range = random_range(walk);
    bool write = walk_random(walk, 2) == 0;
    snprintf(walk->last, sizeof walk->last, "map %llu +%llu%s", (unsigned long long)range.offset,
             (unsigned long long)range.length, write ? " to write" : "");
    struct image_run run;
    while (range.length > 0) {
        image_map(walk_top(walk), range.offset, range.length, write, &run);
        if (run.length == 0 || run.length > range.length)
            return wrong(walk, "a run of %llu bytes", (unsigned long long)run.length);
        uint8_t *model = walk->bytes + range.offset;
        if (run.kind == IMAGE_RUN_FILE && write) {
            fill(walk, model, run.length);
            if (run.depth != 0 ||
                !good(walk, run.file->ops->write(run.file, run.file_offset, model, run.length),
                      "write where it was mapped"))
                return false;
        } else if (run.kind == IMAGE_RUN_FILE) {
            if (!good(walk,
                      run.file->ops->read(run.file, run.file_offset, walk->scratch, run.length),
                      "read where it is mapped"))
                return false;
        } else if (run.kind == IMAGE_RUN_ZERO && !write) {
            memset(walk->scratch, 0, run.length);
        } else {
            memcpy(walk->scratch, model, run.length);
        }
        if (!write && memcmp(walk->scratch, model, run.length) != 0)
            return wrong(walk, "other bytes are at %llu than mapped (kind %u, depth %u)",
                         (unsigned long long)range.offset, run.kind, run.depth);
        range.offset += run.length;
        range.length -= run.length;
    }
    return true;
}

static bool step_check(struct walk *walk) {
    snprintf(walk->last, sizeof walk->last, "check");
    uint64_t leaked;
    if (!walk_check(walk, walk_top(walk), &leaked))
        return false;
    return leaked == 0 || wrong(walk, "%llu clusters leaked", (unsigned long long)leaked);
}

static bool step_reopen(struct walk *walk) {
    snprintf(walk->last, sizeof walk->last, "reopen");
    return good(walk, image_flush(walk_top(walk)), "image_flush") && walk_reopen(walk);
}

bool walk_take(struct walk *walk, enum walk_step step) {
    walk->step++;
    switch (step) {
    case WALK_WRITE:
        return step_write(walk);
    case WALK_ZERO:
        return step_zero(walk);
    case WALK_TRIM:
        return step_trim(walk);
    case WALK_RESIZE:
        return step_resize(walk);
    case WALK_SNAPSHOT:
        return walk_snapshot(walk);
    case WALK_PULL:
        return step_pull(walk);
    case WALK_LET_GO:
        return step_let_go(walk);
    case WALK_REOPEN:
        return step_reopen(walk);
    case WALK_CHECK:
        return step_check(walk);
    case WALK_MAP:
        return step_map(walk);
    case WALK_COMMIT:
        snprintf(walk->last, sizeof walk->last, "commit");
        return good(walk, image_commit(walk_top(walk)), "image_commit") &&
               (!image_is_dirty(walk_top(walk)) || wrong(walk, "still dirty"));
    default:
        snprintf(walk->last, sizeof walk->last, "flush");
        return good(walk, image_flush(walk_top(walk)), "image_flush");
    }
}

/* How often each step is taken, out of 64. */
static enum walk_step pick(struct walk *walk) {
    static const struct {
        uint8_t weight;
        uint16_t step;
    } weights[] = {{22, WALK_WRITE}, {6, WALK_ZERO},   {6, WALK_TRIM},     {6, WALK_FLUSH},
                   {4, WALK_COMMIT}, {2, WALK_RESIZE}, {3, WALK_SNAPSHOT}, {3, WALK_PULL},
                   {2, WALK_LET_GO}, {2, WALK_REOPEN}, {1, WALK_CHECK},    {7, WALK_MAP}};
    for (;;) {
        uint64_t coin = walk_random(walk, 64);
        size_t i = 0;
        for (; coin >= weights[i].weight; i++)
            coin -= weights[i].weight;
        if ((walk->steps & weights[i].step) != 0)
            return (enum walk_step)weights[i].step;
    }
}

bool walk_next(struct walk *walk) {
    return walk_take(walk, pick(walk));
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * blocks.c: see blocks.h.
 */
#include "blocks.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_BLOCKS UINT64_C(1024)
#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)

struct block {
    uint32_t references;
    uint8_t bytes[BLOCK_BYTES];
};

struct leaf {
    uint32_t references;
    uint32_t used; /* blocks that are not NULL */
    struct block *blocks[LEAF_BLOCKS];
};

struct map {
    uint32_t references;
    uint64_t count;
    struct leaf *leaves[];
};

static void block_drop(struct store *store, struct block *block) {
    if (block != NULL && --block->references == 0) {
        store->used--;
        free(block);
    }
}

static void leaf_drop(struct store *store, struct leaf *leaf) {
    if (leaf == NULL || --leaf->references > 0) {
        return;
    }
    for (uint64_t i = 0; i < LEAF_BLOCKS; i++) {
        block_drop(store, leaf->blocks[i]);
    }
    free(leaf);
}

struct map *map_share(struct map *map) {
    if (map != NULL) {
        map->references++;
    }
    return map;
}

void map_drop(struct store *store, struct map *map) {
    if (map == NULL || --map->references > 0) {
        return;
    }
    for (uint64_t i = 0; i < map->count; i++) {
        leaf_drop(store, map->leaves[i]);
    }
    free(map);
}

/* Makes *map one that nobody shares and that has a place for leaf `index`. */
static bool map_own(struct store *store, struct map **map, uint64_t index) {
    struct map *old = *map;
    uint64_t count = old != NULL ? old->count : 0;
    if (old != NULL && old->references == 1 && index < count) {
        return true;
    }
    uint64_t wanted = index < count ? count : index + 1;
    struct map *new = calloc(1, sizeof *new + wanted * sizeof new->leaves[0]);
    if (new == NULL) {
        return false;
    }
    new->references = 1;
    new->count = wanted;
    for (uint64_t i = 0; i < count; i++) {
        new->leaves[i] = old->leaves[i];
        if (new->leaves[i] != NULL) {
            new->leaves[i]->references++;
        }
    }
    map_drop(store, old);
    *map = new;
    return true;
}

static bool leaf_own(struct store *store, struct leaf **leaf) {
    struct leaf *old = *leaf;
    if (old != NULL && old->references == 1) {
        return true;
    }
    struct leaf *new = calloc(1, sizeof *new);
    if (new == NULL) {
        return false;
    }
    if (old != NULL) {
        *new = *old;
        for (uint64_t i = 0; i < LEAF_BLOCKS; i++) {
            if (new->blocks[i] != NULL) {
                new->blocks[i]->references++;
            }
        }
    }
    new->references = 1;
    leaf_drop(store, old);
    *leaf = new;
    return true;
}

static struct block *block_own(struct store *store, struct leaf *leaf, uint64_t index,
                               bool *ret_full) {
    struct block *old = leaf->blocks[index];
    if (old != NULL && old->references == 1) {
        return old;
    }
    if (store->used >= store->limit) {
        *ret_full = true;
        return NULL;
    }
    struct block *new = old != NULL ? malloc(sizeof *new) : calloc(1, sizeof *new);
    if (new == NULL) {
        return NULL;
    }
    if (old != NULL) {
        memcpy(new->bytes, old->bytes, BLOCK_BYTES);
    } else {
        leaf->used++;
    }
    new->references = 1;
    store->used++;
    block_drop(store, old);
    leaf->blocks[index] = new;
    return new;
}

static const struct block *find(const struct map *map, uint64_t index) {
    uint64_t at = index / LEAF_BLOCKS;
    if (map == NULL || at >= map->count || map->leaves[at] == NULL) {
        return NULL;
    }
    return map->leaves[at]->blocks[index % LEAF_BLOCKS];
}

const void *map_block(const struct map *map, uint64_t index) {
    const struct block *block = find(map, index);
    return block != NULL ? block->bytes : NULL;
}

/* The part of [offset, offset + length) that lies in the block of `offset`. */
static size_t part(uint64_t offset, uint64_t length) {
    uint64_t left = BLOCK_BYTES - offset % BLOCK_BYTES;
    return (size_t)(length < left ? length : left);
}

void map_read(const struct map *map, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    while (length > 0) {
        size_t here = part(offset, length);
        const struct block *block = find(map, offset / BLOCK_BYTES);
        if (block != NULL) {
            memcpy(to, block->bytes + offset % BLOCK_BYTES, here);
        } else {
            memset(to, 0, here);
        }
        to += here;
        offset += here;
        length -= here;
    }
}

bool map_write(struct store *store, struct map **map, uint64_t offset, const void *bytes,
               size_t length, bool *ret_full) {
    const uint8_t *from = bytes;
    *ret_full = false;
    while (length > 0) {
        size_t here = part(offset, length);
        uint64_t at = offset / LEAF_BYTES;
        if (!map_own(store, map, at) || !leaf_own(store, &(*map)->leaves[at])) {
            return false;
        }
        struct block *block =
            block_own(store, (*map)->leaves[at], offset / BLOCK_BYTES % LEAF_BLOCKS, ret_full);
        if (block == NULL) {
            return false;
        }
        memcpy(block->bytes + offset % BLOCK_BYTES, from, here);
        from += here;
        offset += here;
        length -= here;
    }
    return true;
}

static bool make_hole(struct store *store, struct map **map, uint64_t index) {
    uint64_t at = index / LEAF_BLOCKS;
    if (!map_own(store, map, at) || !leaf_own(store, &(*map)->leaves[at])) {
        return false;
    }
    struct leaf *leaf = (*map)->leaves[at];
    block_drop(store, leaf->blocks[index % LEAF_BLOCKS]);
    leaf->blocks[index % LEAF_BLOCKS] = NULL;
    if (--leaf->used == 0) {
        leaf_drop(store, leaf);
        (*map)->leaves[at] = NULL;
    }
    return true;
}

bool map_zero(struct store *store, struct map **map, uint64_t offset, uint64_t length,
              bool *ret_full) {
    static const uint8_t zeroes[BLOCK_BYTES];
    *ret_full = false;
    while (length > 0) {
        bool hole;
        uint64_t skip = map_extent(*map, offset, length, &hole);
        if (!hole) {
            skip = part(offset, length);
            bool done = skip == BLOCK_BYTES
                            ? make_hole(store, map, offset / BLOCK_BYTES)
                            : map_write(store, map, offset, zeroes, (size_t)skip, ret_full);
            if (!done) {
                return false;
            }
        }
        offset += skip;
        length -= skip;
    }
    return true;
}

uint64_t map_extent(const struct map *map, uint64_t offset, uint64_t length, bool *ret_hole) {
    bool hole = find(map, offset / BLOCK_BYTES) == NULL;
    uint64_t end = offset + length;
    uint64_t at = offset;
    while (at < end && (find(map, at / BLOCK_BYTES) == NULL) == hole) {
        uint64_t leaf = at / LEAF_BYTES;
        if (map == NULL || leaf >= map->count) {
            at = end;
        } else if (map->leaves[leaf] == NULL) {
            at = (leaf + 1) * LEAF_BYTES;
        } else {
            at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
        }
    }
    *ret_hole = hole;
    return (at < end ? at : end) - offset;
}

uint64_t map_used_bytes(const struct map *map) {
    uint64_t blocks = 0;
    for (uint64_t i = 0; map != NULL && i < map->count; i++) {
        blocks += map->leaves[i] != NULL ? map->leaves[i]->used : 0;
    }
    return blocks * BLOCK_BYTES;
}

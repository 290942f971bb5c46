/* SPDX-License-Identifier: Apache-2.0
 *
 * blocks.h: the bytes of a disk as a sparse map of 64 KiB blocks, shared by copy-on-write.
 *
 * A map is two levels deep: map -> leaf (1024 blocks, 64 MiB of disk) -> block. Each of the three
 * counts its references, so a snapshot or a clone is one more reference to the map whatever the
 * size; who writes to something shared copies that node first. A NULL map is all holes, and so is
 * what lies beyond a map's last leaf.
 *
 * Invariant: a node is written only while its count is 1 on the whole way from the map down.
 * Ownership: a map belongs to who holds a reference; map_share makes one, map_drop gives one back.
 * Threads: none of this locks; the ram driver runs on one thread.
 * Limits: a store never holds more than `limit` blocks; the call that would is refused.
 */
#ifndef RAM_BLOCKS_H
#define RAM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_BYTES UINT64_C(65536)

struct map;

struct store {
    uint64_t used;  /* blocks, each counted once however many share it */
    uint64_t limit; /* blocks */
};

struct map *map_share(struct map *map);
void map_drop(struct store *store, struct map *map);

void map_read(const struct map *map, uint64_t offset, void *ret_bytes, size_t length);

/* false: the store is full or memory ran out; what stood before in the range may be partly
 * replaced, as after a write error on any disk. On false *ret_full tells which of the two it was.
 */
bool map_write(struct store *store, struct map **map, uint64_t offset, const void *bytes,
               size_t length, bool *ret_full);

/* Makes holes of whole blocks and writes zeroes into partial ones. Fails as map_write does. */
bool map_zero(struct store *store, struct map **map, uint64_t offset, uint64_t length,
              bool *ret_full);

/* How far from `offset` on, at most `length`, everything is hole or everything is not. */
uint64_t map_extent(const struct map *map, uint64_t offset, uint64_t length, bool *ret_hole);

/* Bytes of the blocks that the map refers to, shared or not. */
uint64_t map_used_bytes(const struct map *map);

/* The block at `index` (of BLOCK_BYTES bytes), or NULL for a hole. */
const void *map_block(const struct map *map, uint64_t index);

#endif

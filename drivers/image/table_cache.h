/* SPDX-License-Identifier: Apache-2.0
 *
 * table_cache.h: slices of tables that lie in a file, as many as fit into a bound.
 *
 * A slice is an aligned part of a table, as it is in the file. What is changed here stays here
 * until table_cache_write; a dirty slice is never dropped, so whoever changes slices has to write
 * them before all are dirty (table_cache_is_crowded). What goes first is what was not used since
 * the hand of the clock came by last.
 *
 * A pointer into a slice holds until the next table_cache_get.
 *
 * Threads: table_cache_peek may overlap with itself, nothing else with anything. Errors: an enum
 * sluice_status; CORRUPT: one slice is wanted as two kinds of tables.
 */
#ifndef IMAGE_TABLE_CACHE_H
#define IMAGE_TABLE_CACHE_H

#include "image/file.h"

#include <stdbool.h>

/* Kinds are written separately, because their order in the file matters. */
enum table_kind { TABLE_COUNTS, TABLE_L2, TABLE_KINDS };

struct table_slot {
    uint64_t offset; /* in the file; UINT64_MAX: empty */
    uint32_t next;   /* slot with the same hash, TABLE_NO_SLOT: none */
    uint32_t dirty_from;
    uint32_t dirty_to; /* equal to dirty_from: clean */
    uint8_t kind;
    uint8_t used;
};

struct table_cache {
    struct image_file *file;
    uint32_t slice_bytes; /* a power of two, at least 512 */
    uint32_t count;
    uint32_t hand;
    uint32_t dirty[TABLE_KINDS]; /* slots */
    uint32_t mask;               /* of heads */
    uint32_t *heads;
    struct table_slot *slots;
    uint8_t *bytes;
};

#define TABLE_SLOTS_MIN 16u /* one change never touches more than a quarter of it */

int32_t table_cache_init(struct table_cache *cache, struct image_file *file, uint32_t slice_bytes,
                         uint64_t bytes_max);
void table_cache_release(struct table_cache *cache);

/* The slice at an aligned offset, or NULL; never blocks. */
const uint8_t *table_cache_peek(const struct table_cache *cache, uint64_t offset);
int32_t table_cache_get(struct table_cache *cache, enum table_kind kind, uint64_t offset,
                        uint8_t **ret_bytes);
/* Bytes from..to of the slice at `offset`, which is there, were changed. */
void table_cache_changed(struct table_cache *cache, uint64_t offset, uint32_t from, uint32_t to);
/* Three quarters are dirty: write before the next change. */
bool table_cache_is_crowded(const struct table_cache *cache);
/* All that is dirty of one kind; what could not be written stays dirty. */
int32_t table_cache_write(struct table_cache *cache, enum table_kind kind);
/* The slice at `offset`, which is there, is in the file as it is here: its owner wrote it. */
void table_cache_written(struct table_cache *cache, uint64_t offset);
/* Drops every slice within the range, dirty or not: the table is gone. */
void table_cache_forget(struct table_cache *cache, uint64_t offset, uint64_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx.h: an open VHDX image, and what its parts offer each other.
 *
 *   vhdx.c         create, open, close, commit and flush, the table of functions
 *   vhdx_head.c    headers, region tables, metadata: parse, judge, compose
 *   vhdx_locator.c who the parent is: names and identities
 *   vhdx_log.c     sessions, entries of the log, replay
 *   vhdx_space.c   which MiB of the file are used
 *   vhdx_find.c    the BAT and the sector bitmaps: where bytes are
 *   vhdx_write.c   write, zero, trim
 *   vhdx_change.c  another size, another parent, check
 *
 * Invariants
 * - Pages of the BAT, the bitmaps and the metadata are changed in the file only after an entry of
 *   the log that holds them is on stable storage. An entry holds all pages that are dirty then, so
 *   the file is valid after each single write, and whole after a replay.
 * - The newest two entries are never overwritten: the flush that makes one stable makes stable what
 *   was put in place after the one before.
 * - The headers name the log only between the first change of a session and its end (close,
 * freeze); before, an entry that changes nothing is there, so that a log that is named is never
 * empty.
 * - The identity of the bytes (DataWriteGuid) changes before the first change that a reader could
 *   see, never by a pull or another parent: overlays of this image stay its overlays.
 * - Bytes reach a block before the BAT or a bitmap names them; where they would not read as before
 *   without them the file is flushed in between (`unstable`).
 * - What the BAT stopped naming is used again after the entry that says so is stable; bitmap blocks
 *   and an old BAT only after the session, because an older entry may still be replayed over them.
 */
#ifndef IMAGE_VHDX_H
#define IMAGE_VHDX_H

#include "image/format.h"
#include "image/table_cache.h"
#include "image/vhdx_layout.h"

/* Pages of one entry of the log. Three of the longest entries fit into the shortest log (1 MiB). */
#define VHDX_DIRTY_MAX 80u
/* Pages that one step dirties: a bitmap for a block of 256 MiB, and two of the BAT. */
#define VHDX_STEP_PAGES 18u
#define VHDX_FREED_MAX \
    512u /* runs of MiB that wait for an entry to be stable; then it is written */
#define VHDX_LOG_BYTES_MAX (UINT32_C(64) << 20) /* Hyper-V makes 1 MiB; it is read whole */
#define VHDX_LOG_BYTES_MADE VHDX_MIB
#define VHDX_CACHE_BYTES_MIN                                                           \
    (128u * VHDX_PAGE_BYTES)               /* all dirty pages, and room for clean ones \
                                            */
#define VHDX_LOCATOR_BYTES_MAX (64u << 10) /* of others; those made here have a page */

_Static_assert((2 + VHDX_DIRTY_MAX) * 3 * VHDX_PAGE_BYTES <= VHDX_MIB,
               "the newest two entries and one that is being written do not meet");
_Static_assert(VHDX_ENTRY_HEAD_BYTES + VHDX_DIRTY_MAX * VHDX_DESCRIPTOR_BYTES <= VHDX_PAGE_BYTES,
               "the descriptors of an entry fit into its first page");

struct vhdx_header {
    uint64_t sequence;
    uint8_t file_write[VHDX_GUID_BYTES];
    uint8_t data_write[VHDX_GUID_BYTES];
    uint8_t log_guid[VHDX_GUID_BYTES];
    uint32_t log_version;
    uint32_t log_bytes;
    uint64_t log_offset;
};

struct vhdx_item {
    uint32_t entry; /* in the metadata table */
    uint32_t offset;
    uint32_t length; /* 0: there is none */
};

/* A page that is neither the BAT's nor a bitmap's, on its way through the log. */
struct vhdx_extra {
    uint64_t offset;
    uint8_t *bytes; /* as it shall be; behind it, as it was */
};
#define VHDX_EXTRA_MAX 8u /* two pages of two region tables, and the metadata of a change */

struct vhdx_freed {
    uint64_t mib;
    uint64_t count;
};

struct vhdx {
    struct image image;
    bool fixed;        /* blocks stay where they are */
    bool writing;      /* a session: the headers name the log */
    bool data_changed; /* the identity of the bytes is new in this session */
    bool unsure;       /* the headers may say that there is no log */
    bool unplaced;     /* the newest entry is in the log, and not all in its place */
    bool unstable;     /* flush before the next entry of the log */
    uint32_t sector_bytes;
    uint32_t block_bytes;
    uint32_t block_mib;
    uint64_t chunk_ratio; /* payload blocks that one bitmap block speaks of */
    uint32_t current;     /* header that counts: 0 or 1 */
    struct vhdx_header header;
    uint8_t log_guid[VHDX_GUID_BYTES]; /* of this session, also of one that could not begin */
    uint8_t disk_id[VHDX_GUID_BYTES];
    uint8_t linkage[2][VHDX_GUID_BYTES]; /* the parent's identity, one of both; zero: not said */
    uint32_t region_copies;              /* bits: which of the two tables are whole */
    uint64_t bat_offset;
    uint64_t bat_bytes;
    uint64_t metadata_offset;
    uint64_t metadata_bytes;
    uint8_t *regions;  /* the table as it is in the file */
    uint8_t *metadata; /* its table */
    struct vhdx_item parameters;
    struct vhdx_item disk_size;
    struct vhdx_item locator;
    uint8_t *bat; /* whole pages, as they are in the file or will be */
    uint64_t blocks;
    uint64_t entries;         /* of the BAT that count */
    struct table_cache cache; /* of bitmaps */
    uint8_t *used;            /* a bit for each MiB of the file */
    uint64_t file_mib;        /* the file's size */
    uint64_t used_capacity;   /* bytes of `used` */
    uint64_t cursor;          /* nothing is free below */
    uint64_t zero_from;       /* nothing was written from there on */
    uint32_t log_at;          /* where the next entry goes */
    uint32_t log_tail;        /* the newest entry */
    uint64_t log_sequence;    /* of the newest entry */
    uint8_t *entry;           /* of the log, being made; allocated with the first */
    uint32_t dirty_count;
    uint32_t extra_count;
    uint32_t freed_count;
    uint64_t dirty[VHDX_DIRTY_MAX]; /* offsets of pages in the file */
    struct vhdx_extra extra[VHDX_EXTRA_MAX];
    struct vhdx_freed freed[VHDX_FREED_MAX];
};

static inline struct vhdx *vhdx_of(struct image *image) {
    return (struct vhdx *)image;
}
static inline const struct vhdx *vhdx_of_const(const struct image *image) {
    return (const struct vhdx *)image;
}
static inline uint64_t vhdx_divide_up(uint64_t what, uint64_t by) {
    return (what + by - 1) / by;
}
/* 2.5: after the blocks of each chunk stands its bitmap. */
static inline uint64_t vhdx_block_index(const struct vhdx *v, uint64_t block) {
    return block + block / v->chunk_ratio;
}
static inline uint64_t vhdx_bitmap_index(const struct vhdx *v, uint64_t block) {
    return (block / v->chunk_ratio + 1) * (v->chunk_ratio + 1) - 1;
}
static inline uint64_t vhdx_entry(const struct vhdx *v, uint64_t index) {
    return vhdx_load64(v->bat + index * VHDX_BAT_ENTRY_BYTES);
}
static inline uint32_t vhdx_entry_state(uint64_t entry) {
    return (uint32_t)(entry & VHDX_STATE_MASK);
}
/* Entries of the BAT of a disk, with the last bitmap's where there is a parent. */
uint64_t vhdx_entries(uint64_t size_bytes, uint32_t block_bytes, uint64_t chunk_ratio, bool parent);

/* ---- vhdx_head.c ----------------------------------------------------------------------------- */

extern const uint8_t vhdx_guid_zero[VHDX_GUID_BYTES];
extern const uint8_t vhdx_item_locator[VHDX_GUID_BYTES];
int32_t vhdx_guid_new(uint8_t ret_guid[VHDX_GUID_BYTES]);
/* The header that counts. */
int32_t vhdx_header_read(struct vhdx *v, struct image_error *error);
/* Writes `header` into both places, one after the other, each flushed. */
int32_t vhdx_header_write(struct vhdx *v, const struct vhdx_header *header);
/* Region tables and metadata, after the log was replayed. */
int32_t vhdx_head_read(struct vhdx *v, struct image_error *error);
/* A table's checksum, stored. */
void vhdx_seal(uint8_t *bytes, size_t length);
bool vhdx_is_sealed(const uint8_t *bytes, size_t length, const char *mark);

struct vhdx_made {
    uint64_t size_bytes;
    uint32_t block_bytes;
    uint32_t flags; /* of the file parameters */
    uint64_t bat_bytes;
    const uint8_t *disk_id;
    const uint8_t *locator; /* NULL: none */
    uint32_t locator_bytes;
};
#define VHDX_MADE_LOG VHDX_MIB
#define VHDX_MADE_METADATA (2 * VHDX_MIB)
#define VHDX_MADE_BAT (3 * VHDX_MIB)
/* Identifier, headers, region tables and metadata of a new file. */
int32_t vhdx_head_make(struct image_file *file, const struct vhdx_made *made);

/* ---- vhdx_locator.c -------------------------------------------------------------------------- */

/* A parent locator of a page for the parent of this name. */
int32_t vhdx_locator_make(const char *name, const struct image *parent,
                          uint8_t ret_page[VHDX_PAGE_BYTES], uint32_t *ret_length,
                          struct image_error *error);
/* What it says: the image's parent_name, and linkage. */
int32_t vhdx_locator_parse(struct vhdx *v, const uint8_t *item, uint32_t length,
                           struct image_error *error);
int32_t vhdx_attach(struct image *image, struct image *parent, struct image_error *error);

/* ---- vhdx_log.c ------------------------------------------------------------------------------ */

/* Writes what an unfinished session left in the log to its places, and empties it. */
int32_t vhdx_log_replay(struct vhdx *v, struct image_error *error);
/* Before any change: the headers name the log; `visible`: what is read is going to change, and the
 * bytes have a new identity. */
int32_t vhdx_begin(struct vhdx *v, bool visible);
/* The log is empty, and the headers say so. */
int32_t vhdx_end(struct vhdx *v);
/* Puts all dirty pages through the log and in their places. */
int32_t vhdx_log_write(struct vhdx *v);
/* A step may begin: there is room for the pages that it makes dirty. */
int32_t vhdx_make_room(struct vhdx *v);
void vhdx_dirty(struct vhdx *v, uint64_t offset);
/* A page of the head, read, to be changed and written with the next entry of the log. */
int32_t vhdx_extra(struct vhdx *v, uint64_t offset, uint8_t **ret_bytes);
/* The entry could not be written, or not all put in its place: the next one holds what was. */
void vhdx_extra_revert(struct vhdx *v);
void vhdx_extra_release(struct vhdx *v);
int32_t vhdx_flush_file(struct vhdx *v);

/* ---- vhdx_space.c ---------------------------------------------------------------------------- */

/* Builds the map of what is used; refuses what overlaps or lies outside. */
int32_t vhdx_space_load(struct vhdx *v, struct image_error *error);
/* `count` MiB in a row. *ret_zero: they read as zeroes. */
int32_t vhdx_alloc(struct vhdx *v, uint64_t count, uint64_t *ret_offset, bool *ret_zero);
void vhdx_free_now(struct vhdx *v, uint64_t offset, uint64_t count);
/* Free once the next entry of the log is stable. */
void vhdx_free_later(struct vhdx *v, uint64_t offset, uint64_t count);
void vhdx_free_all(struct vhdx *v);
uint64_t vhdx_used_mib(const struct vhdx *v);
/* Cuts what is free at the file's end; only space is lost when that fails. */
void vhdx_space_trim(struct vhdx *v);

/* ---- vhdx_find.c ----------------------------------------------------------------------------- */

void vhdx_peek(const struct image *image, uint64_t offset, uint64_t length, struct own_run *ret);
int32_t vhdx_find(struct image *image, uint64_t offset, uint64_t length, bool holes,
                  struct own_run *ret);
/* The page of a bitmap that speaks of the sector at `offset`: where it is in the file. */
uint64_t vhdx_bitmap_page(const struct vhdx *v, uint64_t offset);
static inline uint32_t vhdx_page_bit(const struct vhdx *v, uint64_t offset) {
    return (uint32_t)(offset / v->sector_bytes % VHDX_PAGE_SECTORS);
}

/* ---- vhdx_write.c ---------------------------------------------------------------------------- */

void vhdx_set_entry(struct vhdx *v, uint64_t index, uint64_t entry);
int32_t vhdx_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t length);
int32_t vhdx_zero(struct image *image, uint64_t offset, uint64_t length, bool hold);
int32_t vhdx_trim(struct image *image, uint64_t offset, uint64_t length);

/* ---- vhdx_change.c --------------------------------------------------------------------------- */

int32_t vhdx_resize(struct image *image, uint64_t size_bytes, struct image_error *error);
int32_t vhdx_set_parent(struct image *image, const char *name, uint32_t format,
                        const struct image *parent, struct image_error *error);
int32_t vhdx_check(struct image *image, bool repair, struct image_report *ret,
                   struct image_error *error);

#endif

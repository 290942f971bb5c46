/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2.h: an open qcow2 image, and what its parts offer each other.
 *
 *   qcow2.c         create, open, close, commit and flush, the table of functions
 *   qcow2_head.c    the first cluster: parse, judge, change
 *   qcow2_count.c   counts of clusters: allocate, free, grow
 *   qcow2_find.c    L1 and L2: where a cluster is, compressed clusters
 *   qcow2_write.c   write, zero, trim
 *   qcow2_resize.c  another size
 *   qcow2_check.c   count everything again
 *
 * Invariants
 * - What the file holds is a valid image after each single write: a count is in the file before
 *   what it counts is named there, an L2 table before L1 names it, bytes before L2 names them.
 * - That holds for a power failure too, also for image_commit, which flushes the file where it must
 *   (`unstable`): after counts were written, and after bytes were written to a cluster that would
 *   not read as before without them. Counts are made for many clusters at once (`reserved`), so
 *   that what grows needs few of these flushes.
 * - What is no longer named stays counted until the tables that named it last are on stable storage
 *   without it (`freed`), so that nothing is used again too early.
 * - Whatever is counted lies within the file. Bytes from `zero_from` on were never written and read
 *   as zeroes, and each cluster that is named begins before it: who writes where he has it mapped
 *   does not change what is known of others.
 * - At the begin of a step at least a quarter of the cache is clean and `freed` has room for a step
 *   (qcow2_make_room); a step allocates, writes bytes, and only then names them.
 */
#ifndef IMAGE_QCOW2_H
#define IMAGE_QCOW2_H

#include "image/format.h"
#include "image/qcow2_layout.h"
#include "image/table_cache.h"

/* A slice of a table, what is read and kept at once: 16 KiB of L2 say where 128 MiB are. */
#define QCOW2_SLICE_BYTES_MAX (16u << 10)
#define QCOW2_FREED_MAX                                                       \
    4096u /* runs that wait for a flush, 64 KiB of memory; then it is flushed \
           */
/* Entries of L1 that are read at once, 4 KiB: an image is opened, and a block of it found, at the
 * same cost whatever its size (one piece says where 256 GiB are). */
#define QCOW2_L1_PIECE 512u
#define QCOW2_EXTENSIONS_MAX (64u << 10) /* bytes of header extensions that are kept */
/* Where a cluster may lie: far above IMAGE_SIZE_MAX with all its tables, far below overflow. */
#define QCOW2_FILE_MAX (UINT64_C(1) << 52)

struct qcow2_freed {
    uint64_t cluster;
    uint64_t count;
};

struct qcow2 {
    struct image image;
    uint32_t version;
    uint32_t cluster_bits;
    uint32_t count_order;
    uint32_t slice_bytes;
    uint64_t incompatible;
    uint64_t autoclear;
    uint8_t sector[QCOW2_SECTOR_BYTES]; /* the first of the file, as it is there */
    uint8_t *extensions;                /* those that are kept, without the end mark */
    uint32_t extensions_bytes;
    bool
        needs_repair; /* left dirty by another program: read-only until image_check has mended it */
    bool unstable;    /* something has to be flushed before what names it is written */
    bool failed;      /* a write failed: the file may be somebody else's by now */
    uint64_t file_end; /* bytes */
    uint64_t zero_from;
    struct table_cache cache;
    uint64_t *l1;   /* what is not known yet is undefined */
    bool *l1_known; /* for each QCOW2_L1_PIECE entries */
    uint64_t l1_offset;
    uint32_t l1_size;       /* entries in the file */
    uint32_t l1_dirty_from; /* entries */
    uint32_t l1_dirty_to;
    uint64_t *reftable; /* NULL: not needed so far */
    uint64_t reftable_offset;
    uint64_t reftable_size; /* entries, whole clusters */
    uint64_t cursor;        /* nothing is free below, as far as it was looked for */
    uint64_t end_cluster;   /* nothing is used from here on, as far as is known */
    uint64_t reserved;      /* first of the clusters that are counted, and used by nobody yet */
    uint64_t reserved_count;
    uint64_t allocated; /* clusters, since the image was opened */
    uint8_t *scratch;   /* a cluster, for writes in part */
    uint8_t *packed;    /* compressed bytes; allocated with the first of them */
    uint8_t *unpacked;  /* a cluster; the one at unpacked_entry */
    uint64_t unpacked_entry;
    uint32_t freed_count;
    struct qcow2_freed freed[QCOW2_FREED_MAX];
};

_Static_assert(QCOW2_SLICE_BYTES_MAX / QCOW2_ENTRY_BYTES <= QCOW2_FREED_MAX / 2,
               "a step, which keeps to one slice, finds room for all that it frees");

static inline struct qcow2 *qcow2_of(struct image *image) {
    return (struct qcow2 *)image;
}
static inline const struct qcow2 *qcow2_of_const(const struct image *image) {
    return (const struct qcow2 *)image;
}
static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes) {
    return (bytes + q->image.cluster_bytes - 1) >> q->cluster_bits;
}
/* Entries of an L2 table, and of the part of one that is a slice. */
static inline uint32_t qcow2_l2_bits(const struct qcow2 *q) {
    return q->cluster_bits - QCOW2_ENTRY_BITS;
}
static inline uint32_t qcow2_slice_entries(const struct qcow2 *q) {
    return q->slice_bytes / QCOW2_ENTRY_BYTES;
}
/* Clusters that one block counts: log2. */
static inline uint32_t qcow2_block_bits(const struct qcow2 *q) {
    return q->cluster_bits + 3 - q->count_order;
}

/* ---- qcow2_head.c ---------------------------------------------------------------------------- */

/* Fills what the first cluster says, and refuses what cannot be opened. */
int32_t qcow2_head_read(struct qcow2 *q, struct image_error *error);
/* Composes a first cluster into `head`, which has room for `room` bytes: `fields` with another
 * parent. LIMIT: it does not fit. */
int32_t qcow2_head_compose(const struct qcow2 *q, const char *parent_name, uint32_t parent_format,
                           uint8_t *head, size_t room, size_t *ret_length,
                           struct image_error *error);
/* Writes the first sector, changed by the caller, and flushes: the atomic step of all that changes
 * the head. Puts it back to `before` when that fails; what the file has then is not known. */
int32_t qcow2_head_change(struct qcow2 *q, const uint8_t before[QCOW2_SECTOR_BYTES]);
int32_t qcow2_set_parent(struct image *image, const char *name, uint32_t format,
                         const struct image *parent, struct image_error *error);

/* ---- qcow2_count.c --------------------------------------------------------------------------- */

/* Reads the refcount table if nobody needed it yet: what is only read never does. */
int32_t qcow2_need_reftable(struct qcow2 *q);

void qcow2_count_store(uint8_t *counts, uint64_t index, uint32_t order, uint64_t count);
int32_t qcow2_count_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret_count);
/* The count becomes exactly this; makes the block that holds it where there is none. */
int32_t qcow2_count_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Puts the block for the index-th part of the file into a cluster, which counts itself if it is in
 * that part. At once in the file. */
int32_t qcow2_count_add_block(struct qcow2 *q, uint64_t index, uint64_t cluster);
/* 1 to `want` clusters in a row, counted once. Uses scratch. */
int32_t qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *ret_offset, uint64_t *ret_count);
/* Exactly `want` clusters in a row, behind everything: for tables. */
int32_t qcow2_alloc_row(struct qcow2 *q, uint64_t want, uint64_t *ret_offset);
/* Counts down at once: only what nothing in the file names, on stable storage. */
int32_t qcow2_free_now(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Writes the counts that changed; before what names them is written, the file has to be flushed. */
int32_t qcow2_write_counts(struct qcow2 *q);
/* Gives back what is reserved, as far as that works: it is only space. */
void qcow2_unreserve(struct qcow2 *q);
/* Counts down once the next flush has made it true that nothing names them. */
void qcow2_free_later(struct qcow2 *q, uint64_t cluster, uint64_t count);
int32_t qcow2_free_all(struct qcow2 *q);

/* ---- qcow2_find.c ---------------------------------------------------------------------------- */

/* One slice of an L2 table, and the entry of an offset in it. */
struct qcow2_place {
    uint8_t *slice; /* until the next use of the cache; NULL: L1 has no table there */
    uint64_t slice_offset;
    uint32_t index;
};

static inline uint64_t qcow2_entry(const struct qcow2_place *place, uint32_t further) {
    return qcow2_load64(place->slice + (size_t)(place->index + further) * QCOW2_ENTRY_BYTES);
}

/* An entry of L1 is looked at only when its piece is known. */
static inline bool qcow2_l1_is_known(const struct qcow2 *q, uint64_t index) {
    return index >= q->l1_size || q->l1_known[index / QCOW2_L1_PIECE];
}
static inline uint32_t qcow2_l1_pieces(uint64_t entries) {
    return (uint32_t)((entries + QCOW2_L1_PIECE - 1) / QCOW2_L1_PIECE);
}
/* Reads the piece of an entry, where it is not known yet; all pieces. */
int32_t qcow2_l1_need(struct qcow2 *q, uint64_t index);
int32_t qcow2_l1_need_all(struct qcow2 *q);
int32_t qcow2_read_table(struct qcow2 *q, uint64_t offset, uint64_t entries, uint64_t *ret_table);
int32_t qcow2_place(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret);
/* What an entry of an L2 table says. */
uint32_t qcow2_entry_kind(const struct qcow2 *q, uint64_t entry);
/* Whether the cluster of an entry may be overwritten where it is. */
bool qcow2_entry_in_place(const struct qcow2 *q, uint64_t entry);
/* Whether the file can have a cluster there. */
bool qcow2_is_sound(const struct qcow2 *q, uint64_t cluster_offset);
/* Whether a range is the head's, L1's or the refcount table's: a stranger's table may name those as
 * clusters of the disk, or count nothing where they are. */
bool qcow2_hits_tables(const struct qcow2 *q, uint64_t offset, uint64_t length);
/* The clusters that a compressed entry reaches into. */
void qcow2_entry_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_length);
void qcow2_peek(const struct image *image, uint64_t offset, uint64_t length, struct own_run *ret);
int32_t qcow2_find(struct image *image, uint64_t offset, uint64_t length, bool holes,
                   struct own_run *ret);
int32_t qcow2_read_packed(struct image *image, uint64_t offset, void *ret_bytes, size_t length);

/* ---- qcow2_write.c --------------------------------------------------------------------------- */

/* All writes to the file go through here: it knows where the file ends, and what was never written.
 */
int32_t qcow2_file_write(struct qcow2 *q, uint64_t offset, const void *bytes, size_t length);
int32_t qcow2_file_flush(struct qcow2 *q);
/* Remembers what the file answered to a change: the status. */
int32_t qcow2_noted(struct qcow2 *q, int32_t status);
int32_t qcow2_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t length);
int32_t qcow2_zero(struct image *image, uint64_t offset, uint64_t length, bool hold);
int32_t qcow2_trim(struct image *image, uint64_t offset, uint64_t length);
/* Clusters first..first+count become `entry` (0 or the zero flag); what they had is freed. */
int32_t qcow2_clear(struct qcow2 *q, uint64_t first, uint64_t count, uint64_t entry);

/* ---- qcow2_resize.c, qcow2_check.c ----------------------------------------------------------- */

int32_t qcow2_resize(struct image *image, uint64_t size_bytes, struct image_error *error);
int32_t qcow2_check(struct image *image, bool repair, struct image_report *ret,
                    struct image_error *error);

/* What the top tables alone show: CORRUPT, with a text. */
int32_t qcow2_check_top(struct qcow2 *q, struct image_error *error);

/* ---- qcow2.c --------------------------------------------------------------------------------- */

int32_t qcow2_make_room(struct qcow2 *q);
int32_t qcow2_commit(struct image *image, bool stable);
void qcow2_l1_changed(struct qcow2 *q, uint32_t index);

#endif

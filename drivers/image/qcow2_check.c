/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_check.c: counts everything again and compares.
 *
 * Memory is bounded by looking at so many clusters at a time (a window) and walking all tables for
 * each: a file of 512 GiB with clusters of 64 KiB is one window. Time is bounded by the file: no
 * table may be named more often than the file has clusters.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image/qcow2.h"

#define WINDOW_CLUSTERS (UINT64_C(8) << 20) /* 16 MiB of memory */
#define USES_MAX 0x7fffu                    /* then it stays there */
#define ALONE 0x8000u                       /* one user wants the cluster for himself */

struct checker {
    struct qcow2 *q;
    struct image_report report;
    uint64_t first;   /* of the window */
    uint64_t count;   /* clusters in it */
    uint64_t in_file; /* clusters of the file */
    uint16_t *uses;
    bool unsound; /* something that counting right does not mend */
    bool repair;
};

__attribute__((format(printf, 2, 3))) static void broken(struct checker *c, const char *format,
                                                         ...) {
    c->report.broken_clusters++;
    if (c->report.first[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->report.first, sizeof c->report.first, format, arguments);
    va_end(arguments);
}

static void use(struct checker *c, uint64_t cluster, uint64_t count, bool alone) {
    for (; count > 0; cluster++, count--) {
        if (cluster < c->first || cluster - c->first >= c->count)
            continue;
        uint16_t *uses = &c->uses[cluster - c->first];
        if ((*uses & USES_MAX) < USES_MAX)
            (*uses)++;
        if (alone)
            *uses |= ALONE;
    }
}

/* One cluster of which something says that it is at `offset`; false: it cannot be. */
static bool use_at(struct checker *c, uint64_t offset, const char *what) {
    struct qcow2 *q = c->q;
    if (offset % q->image.cluster_bytes == 0 && offset >> q->cluster_bits < c->in_file) {
        use(c, offset >> q->cluster_bits, 1, true);
        return true;
    }
    if (c->first == 0) {
        broken(c,
               "%s is said to be at %" PRIu64 ", where the file (%" PRIu64 " bytes) has no cluster",
               what, offset, q->file_end);
        c->unsound = true;
    }
    return false;
}

static void use_packed(struct checker *c, uint64_t entry) {
    struct qcow2 *q = c->q;
    uint64_t offset;
    uint64_t length;
    qcow2_entry_packed(q, entry, &offset, &length);
    uint64_t first = offset >> q->cluster_bits;
    uint64_t last = (offset + length - 1) >> q->cluster_bits;
    /* The last sector may be said to be there though the file ends within it. */
    if (first < c->in_file && last <= c->in_file) {
        use(c, first, last - first + 1, false);
        return;
    }
    if (c->first == 0) {
        broken(c, "compressed bytes are said to be at %" PRIu64 ", behind the file's end", offset);
        c->unsound = true;
    }
}

static int32_t walk_l2(struct checker *c, uint64_t table) {
    struct qcow2 *q = c->q;
    for (uint64_t at = 0; at < q->image.cluster_bytes; at += q->slice_bytes) {
        uint8_t *slice;
        int32_t status = table_cache_get(&q->cache, TABLE_L2, table + at, &slice);
        if (status == SLUICE_CORRUPT) {
            broken(c, "the table at %" PRIu64 " is an L2 table and counts at once", table);
            c->unsound = true;
            return SLUICE_OK;
        }
        if (status != SLUICE_OK)
            return status;
        for (uint32_t i = 0; i < qcow2_slice_entries(q); i++) {
            uint64_t entry = qcow2_load64(slice + (size_t)i * QCOW2_ENTRY_BYTES);
            if ((entry & QCOW2_COMPRESSED) != 0)
                use_packed(c, entry);
            else if ((entry & QCOW2_OFFSET_MASK) != 0)
                use_at(c, entry & QCOW2_OFFSET_MASK, "a cluster of the disk");
        }
    }
    return SLUICE_OK;
}

/* More names than clusters: some are named twice, and walking all could take for ever. */
static bool too_many(struct checker *c, const uint64_t *table, uint64_t entries, uint64_t mask,
                     const char *what) {
    uint64_t named = 0;
    for (uint64_t i = 0; i < entries; i++)
        named += (table[i] & mask) != 0;
    if (named <= c->in_file)
        return false;
    if (c->first == 0) {
        broken(c, "%s names %" PRIu64 " tables in a file of %" PRIu64 " clusters", what, named,
               c->in_file);
        c->unsound = true;
    }
    return true;
}

static int32_t walk(struct checker *c) {
    struct qcow2 *q = c->q;
    use(c, 0, 1, true);
    use(c, q->reftable_offset >> q->cluster_bits,
        qcow2_clusters(q, q->reftable_size * QCOW2_ENTRY_BYTES), true);
    use(c, q->l1_offset >> q->cluster_bits,
        qcow2_clusters(q, (uint64_t)q->l1_size * QCOW2_ENTRY_BYTES), true);
    if (too_many(c, q->reftable, q->reftable_size, QCOW2_REFTABLE_MASK, "the refcount table") ||
        too_many(c, q->l1, q->l1_size, QCOW2_OFFSET_MASK, "the L1 table"))
        return SLUICE_OK;
    for (uint64_t i = 0; i < q->reftable_size; i++)
        if ((q->reftable[i] & QCOW2_REFTABLE_MASK) != 0)
            use_at(c, q->reftable[i] & QCOW2_REFTABLE_MASK, "a block of counts");
    for (uint32_t i = 0; i < q->l1_size; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
        if (table == 0 || !use_at(c, table, "an L2 table"))
            continue;
        int32_t status = walk_l2(c, table);
        if (status != SLUICE_OK)
            return status;
    }
    return SLUICE_OK;
}

/* ---- compare --------------------------------------------------------------------------------- */

/* A block for clusters that none counts, of which some are used: it has to lie behind the end. */
static int32_t add_block(struct checker *c, uint64_t cluster) {
    struct qcow2 *q = c->q;
    uint64_t index = cluster >> qcow2_block_bits(q);
    for (;;) {
        uint64_t at = q->end_cluster;
        uint64_t own = at >> qcow2_block_bits(q);
        if (index >= q->reftable_size || own >= q->reftable_size)
            return SLUICE_LIMIT;
        if (q->reftable[index] != 0)
            return SLUICE_OK;
        bool counted = q->reftable[own] != 0;
        int32_t status = qcow2_count_add_block(q, counted ? index : own, at);
        if (status == SLUICE_OK && counted)
            status = qcow2_count_set(q, at, 1);
        if (status != SLUICE_OK)
            return status;
        c->report.repaired++;
    }
}

static int32_t mend(struct checker *c, uint64_t cluster, uint64_t uses) {
    struct qcow2 *q = c->q;
    int32_t status = SLUICE_OK;
    if (q->reftable[cluster >> qcow2_block_bits(q)] == 0)
        status = add_block(c, cluster);
    if (status == SLUICE_OK && table_cache_is_crowded(&q->cache))
        status = qcow2_write_counts(q);
    if (status == SLUICE_OK)
        status = qcow2_count_set(q, cluster, uses);
    if (status == SLUICE_OK) {
        c->report.repaired++;
        if (uses == 0 && cluster < q->cursor)
            q->cursor = cluster;
    }
    return status;
}

static int32_t compare(struct checker *c) {
    struct qcow2 *q = c->q;
    for (uint64_t i = 0; i < c->count; i++) {
        uint64_t cluster = c->first + i;
        uint64_t uses = c->uses[i] & USES_MAX;
        uint64_t stored;
        int32_t status = qcow2_count_get(q, cluster, &stored);
        if (status == SLUICE_CORRUPT) {
            broken(c, "the counts of cluster %" PRIu64 " cannot be where they are said to be",
                   cluster);
            c->unsound = true;
            return SLUICE_OK;
        }
        if (status != SLUICE_OK)
            return status;
        if (c->repair) {
            if (stored != uses && cluster < c->in_file)
                status = mend(c, cluster, uses);
            if (status != SLUICE_OK)
                return status;
            continue;
        }
        c->report.used_clusters += uses > 0;
        if (uses > 1 && (c->uses[i] & ALONE) != 0) {
            broken(c, "cluster %" PRIu64 " has %" PRIu64 " owners", cluster, uses);
            c->unsound = true;
        } else if (uses > stored) {
            broken(c, "cluster %" PRIu64 " is used %" PRIu64 " times and counted %" PRIu64 " times",
                   cluster, uses, stored);
        } else if (uses < stored) {
            c->report.leaked_clusters++;
        }
    }
    return SLUICE_OK;
}

/* Walking looks at all of the top tables. */
static int32_t need_top(struct qcow2 *q) {
    int32_t status = qcow2_need_reftable(q);
    return status == SLUICE_OK ? qcow2_l1_need_all(q) : status;
}

/* All windows once. */
static int32_t pass(struct checker *c) {
    uint64_t room = c->in_file < WINDOW_CLUSTERS ? c->in_file : WINDOW_CLUSTERS;
    for (c->first = 0; c->first < c->in_file; c->first += c->count) {
        c->count = c->in_file - c->first < room ? c->in_file - c->first : room;
        memset(c->uses, 0, (size_t)c->count * sizeof *c->uses);
        int32_t status = walk(c);
        if (status == SLUICE_OK)
            status = compare(c);
        if (status != SLUICE_OK)
            return status;
    }
    return SLUICE_OK;
}

static int32_t finish_repair(struct qcow2 *q) {
    int32_t status = qcow2_commit(&q->image, true);
    if (status != SLUICE_OK || !q->needs_repair)
        return status;
    uint8_t before[QCOW2_SECTOR_BYTES];
    memcpy(before, q->sector, sizeof before);
    qcow2_store64(q->sector + QCOW2_AT_INCOMPATIBLE, q->incompatible & ~QCOW2_INCOMPATIBLE_DIRTY);
    status = qcow2_head_change(q, before);
    if (status != SLUICE_OK)
        return status;
    q->incompatible &= ~QCOW2_INCOMPATIBLE_DIRTY;
    q->needs_repair = false;
    q->image.read_only = false;
    return SLUICE_OK;
}

int32_t qcow2_check(struct image *image, bool repair, struct image_report *ret,
                    struct image_error *error) {
    struct qcow2 *q = qcow2_of(image);
    bool writable = !image->read_only || q->needs_repair;
    if (repair && !writable) {
        image_error_set(error, "the image is open for reading only: nothing can be repaired");
        return SLUICE_READ_ONLY;
    }
    int32_t status = SLUICE_OK;
    if (writable) {
        status = qcow2_commit(image, true);
        qcow2_unreserve(q);
    }
    if (status != SLUICE_OK)
        return status;
    status = need_top(q);
    if (status != SLUICE_OK)
        return status;
    struct checker c = {.q = q, .in_file = qcow2_clusters(q, q->file_end)};
    uint64_t room = c.in_file < WINDOW_CLUSTERS ? c.in_file : WINDOW_CLUSTERS;
    c.uses = malloc((size_t)room * sizeof *c.uses);
    if (c.uses == NULL)
        return SLUICE_NO_MEMORY;
    status = pass(&c);
    if (status == SLUICE_OK && repair && c.unsound) {
        image->read_only = true;
    } else if (status == SLUICE_OK && repair) {
        c.repair = true;
        /* Everything is in the file, so nothing is lost by what repairing has to write. */
        status = pass(&c);
        if (status == SLUICE_OK)
            status = finish_repair(q);
    }
    free(c.uses);
    if (status == SLUICE_OK)
        *ret = c.report;
    else if (status == SLUICE_LIMIT)
        image_error_set(error, "the refcount table is too short for the file: convert the image");
    return status;
}

/* ---- at opening ------------------------------------------------------------------------------ */

int32_t qcow2_check_top(struct qcow2 *q, struct image_error *error) {
    int32_t status = need_top(q);
    if (status != SLUICE_OK)
        return status;
    struct checker c = {.q = q, .in_file = qcow2_clusters(q, q->file_end)};
    for (uint64_t i = 0; i < q->reftable_size; i++)
        if ((q->reftable[i] & QCOW2_REFTABLE_MASK) != 0)
            use_at(&c, q->reftable[i] & QCOW2_REFTABLE_MASK, "a block of counts");
    for (uint32_t i = 0; i < q->l1_size; i++)
        if ((q->l1[i] & QCOW2_OFFSET_MASK) != 0)
            use_at(&c, q->l1[i] & QCOW2_OFFSET_MASK, "an L2 table");
    if (!c.unsound)
        return SLUICE_OK;
    image_error_set(error, "%s", c.report.first);
    return SLUICE_CORRUPT;
}

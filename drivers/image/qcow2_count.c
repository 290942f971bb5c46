/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_count.c: who uses which cluster: allocate, free, and make room for more counts.
 *
 * Counts that change stay in the cache until a commit. What makes room for counts (a new block, a
 * larger table) happens at once and in the file, because it is rare (every 2 GiB, every 16 TiB) and
 * simple that way.
 */
#include <string.h>

#include "image/qcow2.h"

#define SCANNED_SLICES_MAX 4u /* of one allocation, before it takes what is at the end */
#define RESERVED_BYTES_MIN (UINT64_C(1) << 20)
#define RESERVED_BYTES_MAX \
    (UINT64_C(64) << 20)              /* a flush that often hides behind what is written */
#define SCANNED_AT_END_MAX (1u << 16) /* then the counts are nonsense */

static uint64_t count_max(const struct qcow2 *q) {
    return q->count_order == QCOW2_REFCOUNT_ORDER_MAX ? UINT64_MAX
                                                      : (UINT64_C(1) << (1u << q->count_order)) - 1;
}

static uint64_t count_load(const uint8_t *counts, uint64_t index, uint32_t order) {
    if (order < 3) {
        uint32_t bits = 1u << order;
        uint64_t bit = index * bits;
        return counts[bit / 8] >> (bit % 8) & ((1u << bits) - 1);
    }
    uint32_t bytes = 1u << (order - 3);
    uint64_t count = 0;
    for (uint32_t i = 0; i < bytes; i++)
        count = count << 8 | counts[index * bytes + i];
    return count;
}

void qcow2_count_store(uint8_t *counts, uint64_t index, uint32_t order, uint64_t count) {
    if (order < 3) {
        uint32_t bits = 1u << order;
        uint64_t bit = index * bits;
        uint32_t mask = ((1u << bits) - 1) << (bit % 8);
        counts[bit / 8] = (uint8_t)((counts[bit / 8] & ~mask) | (count << (bit % 8) & mask));
        return;
    }
    uint32_t bytes = 1u << (order - 3);
    for (uint32_t i = bytes; i-- > 0; count >>= 8)
        counts[index * bytes + i] = (uint8_t)count;
}

int32_t qcow2_need_reftable(struct qcow2 *q) {
    if (q->reftable != NULL)
        return SLUICE_OK;
    uint64_t *table = malloc(q->reftable_size * sizeof *table);
    int32_t status = table == NULL
                         ? SLUICE_NO_MEMORY
                         : qcow2_read_table(q, q->reftable_offset, q->reftable_size, table);
    if (status != SLUICE_OK) {
        free(table);
        return status;
    }
    q->reftable = table;
    return SLUICE_OK;
}

static uint32_t slice_counts_bits(const struct qcow2 *q) {
    return (uint32_t)__builtin_ctz(q->slice_bytes) + 3 - q->count_order;
}

/* The slice that counts a cluster; *ret_counts NULL: there is no block, so all of it is 0. */
static int32_t slice_of(struct qcow2 *q, uint64_t cluster, uint8_t **ret_counts,
                        uint64_t *ret_offset) {
    int32_t status = qcow2_need_reftable(q);
    if (status != SLUICE_OK)
        return status;
    uint64_t index = cluster >> qcow2_block_bits(q);
    uint64_t block = index < q->reftable_size ? q->reftable[index] & QCOW2_REFTABLE_MASK : 0;
    if (block == 0) {
        *ret_counts = NULL;
        return SLUICE_OK;
    }
    if (block % q->image.cluster_bytes != 0 || block >= QCOW2_FILE_MAX)
        return SLUICE_CORRUPT;
    uint64_t in_block = cluster & ((UINT64_C(1) << qcow2_block_bits(q)) - 1);
    uint64_t offset = block + (in_block >> slice_counts_bits(q)) * q->slice_bytes;
    *ret_offset = offset;
    return table_cache_get(&q->cache, TABLE_COUNTS, offset, ret_counts);
}

static uint64_t index_in_slice(const struct qcow2 *q, uint64_t cluster) {
    return cluster & ((UINT64_C(1) << slice_counts_bits(q)) - 1);
}

static void changed(struct qcow2 *q, uint64_t slice_offset, uint64_t index, uint64_t count) {
    uint64_t from = (index << q->count_order) / 8;
    uint64_t to = (((index + count) << q->count_order) + 7) / 8;
    table_cache_changed(&q->cache, slice_offset, (uint32_t)from, (uint32_t)to);
}

int32_t qcow2_count_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret_count) {
    uint8_t *counts;
    uint64_t offset;
    int32_t status = slice_of(q, cluster, &counts, &offset);
    if (status != SLUICE_OK)
        return status;
    *ret_count =
        counts == NULL ? 0 : count_load(counts, index_in_slice(q, cluster), q->count_order);
    return SLUICE_OK;
}

/* ---- room for counts ------------------------------------------------------------------------- */

/* Writes one entry of the table in the file, with its whole sector. */
static int32_t write_reftable_entry(struct qcow2 *q, uint64_t index) {
    uint8_t sector[QCOW2_SECTOR_BYTES];
    uint64_t entries = QCOW2_SECTOR_BYTES / QCOW2_ENTRY_BYTES;
    uint64_t first = index - index % entries;
    for (uint64_t i = 0; i < entries; i++)
        qcow2_store64(sector + i * QCOW2_ENTRY_BYTES, q->reftable[first + i]);
    return qcow2_file_write(q, q->reftable_offset + first * QCOW2_ENTRY_BYTES, sector,
                            sizeof sector);
}

static void note_used(struct qcow2 *q, uint64_t end) {
    if (end > q->end_cluster)
        q->end_cluster = end;
}

int32_t qcow2_count_add_block(struct qcow2 *q, uint64_t index, uint64_t cluster) {
    uint64_t offset = cluster << q->cluster_bits;
    if (offset >= QCOW2_FILE_MAX)
        return SLUICE_LIMIT;
    if (qcow2_hits_tables(q, offset, q->image.cluster_bytes))
        return SLUICE_CORRUPT;
    table_cache_forget(&q->cache, offset, q->image.cluster_bytes);
    memset(q->scratch, 0, q->image.cluster_bytes);
    uint64_t mask = (UINT64_C(1) << qcow2_block_bits(q)) - 1;
    if (cluster >> qcow2_block_bits(q) == index)
        qcow2_count_store(q->scratch, cluster & mask, q->count_order, 1);
    int32_t status = qcow2_file_write(q, offset, q->scratch, q->image.cluster_bytes);
    if (status == SLUICE_OK)
        status = qcow2_file_flush(q);
    if (status != SLUICE_OK)
        return status;
    q->reftable[index] = offset;
    status = write_reftable_entry(q, index);
    if (status == SLUICE_OK)
        status = qcow2_file_flush(q);
    if (status != SLUICE_OK) {
        /* Whether the file has it is unknown; without it here nothing is counted in it, and the
         * next try writes the same block at the same place. */
        q->reftable[index] = 0;
        return status;
    }
    note_used(q, cluster + 1);
    return SLUICE_OK;
}

/* A block for clusters that none counts yet. It lies in the first of them, which is free because
 * nobody counts it. */
static int32_t make_block(struct qcow2 *q, uint64_t index) {
    return qcow2_count_add_block(q, index, index << qcow2_block_bits(q));
}

/* A refcount table to be, and the blocks before it that count it and themselves. */
struct larger {
    uint64_t *entries;
    uint64_t size;     /* entries */
    uint64_t first;    /* cluster: the first that the old table cannot count */
    uint64_t blocks;   /* clusters, from there on */
    uint64_t clusters; /* of the table, behind them */
};

static int32_t plan_larger(const struct qcow2 *q, struct larger *ret) {
    uint64_t bits = qcow2_block_bits(q);
    uint64_t cluster_entries = q->image.cluster_bytes / QCOW2_ENTRY_BYTES;
    struct larger plan = {
        .size = q->reftable_size * 2, .first = q->reftable_size << bits, .blocks = 1};
    for (;;) {
        plan.clusters = (plan.size + cluster_entries - 1) / cluster_entries;
        plan.size = plan.clusters * cluster_entries;
        if (plan.size < q->reftable_size + plan.blocks)
            plan.size = q->reftable_size + plan.blocks;
        else if (plan.blocks << bits < plan.clusters + plan.blocks)
            plan.blocks++;
        else
            break;
    }
    uint64_t head_bytes = (plan.size + q->l1_size) * QCOW2_ENTRY_BYTES;
    uint64_t end = plan.first + plan.blocks + plan.clusters;
    if (head_bytes > IMAGE_HEAD_BYTES_MAX || end << q->cluster_bits >= QCOW2_FILE_MAX)
        return SLUICE_LIMIT;
    *ret = plan;
    return SLUICE_OK;
}

static int32_t write_larger(struct qcow2 *q, const struct larger *plan) {
    uint64_t bits = qcow2_block_bits(q);
    uint64_t cluster_entries = q->image.cluster_bytes / QCOW2_ENTRY_BYTES;
    uint64_t offset = plan->first << q->cluster_bits;
    int32_t status = SLUICE_OK;
    table_cache_forget(&q->cache, offset, plan->blocks << q->cluster_bits);
    for (uint64_t i = 0; i < plan->blocks && status == SLUICE_OK; i++) {
        memset(q->scratch, 0, q->image.cluster_bytes);
        uint64_t used = plan->clusters + plan->blocks - (i << bits);
        for (uint64_t k = 0; k < used && k < UINT64_C(1) << bits; k++)
            qcow2_count_store(q->scratch, k, q->count_order, 1);
        plan->entries[q->reftable_size + i] = offset;
        status = qcow2_file_write(q, offset, q->scratch, q->image.cluster_bytes);
        offset += q->image.cluster_bytes;
    }
    for (uint64_t i = 0; i < plan->clusters && status == SLUICE_OK; i++) {
        for (uint64_t k = 0; k < cluster_entries; k++)
            qcow2_store64(q->scratch + k * QCOW2_ENTRY_BYTES,
                          plan->entries[i * cluster_entries + k]);
        status = qcow2_file_write(q, offset, q->scratch, q->image.cluster_bytes);
        offset += q->image.cluster_bytes;
    }
    return status == SLUICE_OK ? qcow2_file_flush(q) : status;
}

/* A larger table behind everything that the old one could count. One write of the head makes it
 * true. */
static int32_t grow_reftable(struct qcow2 *q) {
    struct larger plan;
    int32_t status = plan_larger(q, &plan);
    if (status != SLUICE_OK)
        return status;
    plan.entries = calloc(plan.size, sizeof *plan.entries);
    if (plan.entries == NULL)
        return SLUICE_NO_MEMORY;
    memcpy(plan.entries, q->reftable, q->reftable_size * sizeof *plan.entries);
    uint64_t table_offset = (plan.first + plan.blocks) << q->cluster_bits;
    status = write_larger(q, &plan);
    if (status == SLUICE_OK) {
        uint8_t before[QCOW2_SECTOR_BYTES];
        memcpy(before, q->sector, sizeof before);
        qcow2_store64(q->sector + QCOW2_AT_REFTABLE_OFFSET, table_offset);
        qcow2_store32(q->sector + QCOW2_AT_REFTABLE_CLUSTERS, (uint32_t)plan.clusters);
        status = qcow2_head_change(q, before);
    }
    if (status != SLUICE_OK) {
        free(plan.entries);
        return status;
    }
    uint64_t old = q->reftable_offset >> q->cluster_bits;
    uint64_t old_clusters = qcow2_clusters(q, q->reftable_size * QCOW2_ENTRY_BYTES);
    free(q->reftable);
    q->reftable = plan.entries;
    q->reftable_size = plan.size;
    q->reftable_offset = table_offset;
    note_used(q, plan.first + plan.blocks + plan.clusters);
    return qcow2_free_now(q, old, old_clusters);
}

/* Sees to it that the cluster can be counted. */
static int32_t make_countable(struct qcow2 *q, uint64_t cluster) {
    uint64_t index = cluster >> qcow2_block_bits(q);
    int32_t status = qcow2_need_reftable(q);
    while (status == SLUICE_OK && index >= q->reftable_size)
        status = grow_reftable(q);
    if (status != SLUICE_OK)
        return status;
    return (q->reftable[index] & QCOW2_REFTABLE_MASK) != 0 ? SLUICE_OK : make_block(q, index);
}

int32_t qcow2_count_set(struct qcow2 *q, uint64_t cluster, uint64_t count) {
    if (count > count_max(q))
        return SLUICE_LIMIT;
    int32_t status = make_countable(q, cluster);
    uint8_t *counts;
    uint64_t offset;
    if (status == SLUICE_OK)
        status = slice_of(q, cluster, &counts, &offset);
    if (status != SLUICE_OK)
        return status;
    uint64_t index = index_in_slice(q, cluster);
    qcow2_count_store(counts, index, q->count_order, count);
    changed(q, offset, index, 1);
    return SLUICE_OK;
}

/* ---- allocate -------------------------------------------------------------------------------- */

static uint64_t free_in_slice(const struct qcow2 *q, const uint8_t *counts, uint64_t from,
                              uint64_t end) {
    while (from < end && count_load(counts, from, q->count_order) != 0)
        from++;
    return from;
}

static uint64_t free_run(const struct qcow2 *q, const uint8_t *counts, uint64_t from,
                         uint64_t end) {
    uint64_t at = from;
    while (at < end && count_load(counts, at, q->count_order) == 0)
        at++;
    return at - from;
}

/* What is free in the slice of *at, at most `want` in a row from *at on; *ret_count 0: nothing, and
 * *at is where the next slice begins. */
static int32_t alloc_in_slice(struct qcow2 *q, uint64_t *at, uint64_t want, uint64_t *ret_count) {
    if (*at << q->cluster_bits >= QCOW2_FILE_MAX)
        return SLUICE_LIMIT;
    int32_t status = make_countable(q, *at);
    uint8_t *counts = NULL;
    uint64_t offset = 0;
    if (status == SLUICE_OK)
        status = slice_of(q, *at, &counts, &offset);
    if (status != SLUICE_OK)
        return status;
    uint64_t end = UINT64_C(1) << slice_counts_bits(q);
    uint64_t base = *at - index_in_slice(q, *at);
    uint64_t from = free_in_slice(q, counts, index_in_slice(q, *at), end);
    *at = base + from;
    *ret_count = 0;
    if (from == end)
        return SLUICE_OK;
    uint64_t count = free_run(q, counts, from, end - from > want ? from + want : end);
    for (uint64_t i = 0; i < count; i++)
        qcow2_count_store(counts, from + i, q->count_order, 1);
    changed(q, offset, from, count);
    *ret_count = count;
    return SLUICE_OK;
}

/* Counts at most `want` free clusters in a row, wherever the first of them is found. */
static int32_t take_run(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_count) {
    uint64_t at = q->cursor;
    uint64_t count = 0;
    uint32_t scanned = 0;
    bool at_end = at >= q->end_cluster;
    while (count == 0) {
        if (!at_end && (at >= q->end_cluster || scanned == SCANNED_SLICES_MAX)) {
            /* The next allocation looks further from here. */
            q->cursor = at;
            at = at >= q->end_cluster ? at : q->end_cluster;
            at_end = true;
            scanned = 0;
        }
        if (scanned++ == SCANNED_AT_END_MAX)
            return SLUICE_CORRUPT;
        int32_t status = alloc_in_slice(q, &at, want, &count);
        if (status != SLUICE_OK)
            return status;
    }
    if (!at_end || q->cursor >= q->end_cluster || at == q->cursor)
        q->cursor = at + count;
    note_used(q, at + count);
    /* Counts that call the tables free are wrong. They stay counted from now on. */
    if (qcow2_hits_tables(q, at << q->cluster_bits, count << q->cluster_bits))
        return SLUICE_CORRUPT;
    *ret_first = at;
    *ret_count = count;
    return SLUICE_OK;
}

/* The next clusters to be used, counted and within the file. As many again as were used so far, so
 * that a crash loses no more space than that. */
static int32_t reserve(struct qcow2 *q, uint64_t want) {
    uint64_t more = q->allocated;
    if (more << q->cluster_bits > RESERVED_BYTES_MAX)
        more = RESERVED_BYTES_MAX >> q->cluster_bits;
    if (more << q->cluster_bits < RESERVED_BYTES_MIN)
        more = RESERVED_BYTES_MIN >> q->cluster_bits;
    uint64_t first;
    uint64_t count;
    int32_t status = take_run(q, more > want ? more : want, &first, &count);
    if (status != SLUICE_OK)
        return status;
    uint64_t end = (first + count) << q->cluster_bits;
    if (end > q->file_end) {
        struct image_file *file = q->image.file;
        status = qcow2_noted(q, file->ops->resize(file, end));
        if (status != SLUICE_OK) {
            qcow2_free_now(q, first, count);
            return status;
        }
        q->file_end = end;
    }
    q->reserved = first;
    q->reserved_count = count;
    return SLUICE_OK;
}

int32_t qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *ret_offset, uint64_t *ret_count) {
    int32_t status = q->reserved_count == 0 ? reserve(q, want) : SLUICE_OK;
    if (status != SLUICE_OK)
        return status;
    uint64_t count = want < q->reserved_count ? want : q->reserved_count;
    *ret_offset = q->reserved << q->cluster_bits;
    *ret_count = count;
    q->reserved += count;
    q->reserved_count -= count;
    q->allocated += count;
    return SLUICE_OK;
}

void qcow2_unreserve(struct qcow2 *q) {
    if (q->reserved_count > 0 && !q->failed &&
        qcow2_free_now(q, q->reserved, q->reserved_count) == SLUICE_OK)
        qcow2_write_counts(q);
    q->reserved_count = 0;
}

int32_t qcow2_alloc_row(struct qcow2 *q, uint64_t want, uint64_t *ret_offset) {
    uint64_t first = q->end_cluster;
    uint64_t at = first;
    while (at - first < want) {
        /* A block that is made on the way takes the place of what it would count first. */
        uint64_t count;
        uint64_t before = at;
        int32_t status = alloc_in_slice(q, &at, want - (at - first), &count);
        if (status != SLUICE_OK) {
            qcow2_free_now(q, first, before - first);
            return status;
        }
        if (at != before) {
            status = qcow2_free_now(q, first, before - first);
            if (status != SLUICE_OK)
                return status;
            first = at;
        }
        at += count;
    }
    note_used(q, at);
    if (qcow2_hits_tables(q, first << q->cluster_bits, want << q->cluster_bits))
        return SLUICE_CORRUPT;
    *ret_offset = first << q->cluster_bits;
    return SLUICE_OK;
}

/* ---- free ------------------------------------------------------------------------------------ */

/* Space that is given back is a favour of the file system: what it answers changes nothing here. */
static void punch(struct qcow2 *q, uint64_t cluster, uint64_t count) {
    struct image_file *file = q->image.file;
    if (count > 0 && file->ops->punch != NULL)
        file->ops->punch(file, cluster << q->cluster_bits, count << q->cluster_bits);
}

/* Counts down within one slice. */
static void count_down(struct qcow2 *q, uint8_t *counts, uint64_t cluster, uint64_t count,
                       bool punching) {
    uint64_t index = index_in_slice(q, cluster);
    uint64_t empty = 0; /* clusters just before i that nobody uses any more */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t now = count_load(counts, index + i, q->count_order);
        if (now == 1 && cluster + i < q->cursor)
            q->cursor = cluster + i;
        if (now > 0)
            qcow2_count_store(counts, index + i, q->count_order, now - 1);
        if (now == 1) {
            empty++;
            continue;
        }
        if (punching)
            punch(q, cluster + i - empty, empty);
        empty = 0;
    }
    if (punching)
        punch(q, cluster + count - empty, empty);
}

static int32_t free_counts(struct qcow2 *q, uint64_t cluster, uint64_t count, bool punching) {
    while (count > 0) {
        uint64_t index = index_in_slice(q, cluster);
        uint64_t part = (UINT64_C(1) << slice_counts_bits(q)) - index;
        if (part > count)
            part = count;
        /* Counts go to the file before anything that names what they count: always in order. */
        int32_t status = SLUICE_OK;
        if (table_cache_is_crowded(&q->cache))
            status = qcow2_write_counts(q);
        uint8_t *counts = NULL;
        uint64_t offset = 0;
        if (status == SLUICE_OK)
            status = slice_of(q, cluster, &counts, &offset);
        if (status != SLUICE_OK)
            return status;
        if (counts != NULL) {
            count_down(q, counts, cluster, part, punching);
            changed(q, offset, index, part);
        }
        cluster += part;
        count -= part;
    }
    return SLUICE_OK;
}

int32_t qcow2_free_now(struct qcow2 *q, uint64_t cluster, uint64_t count) {
    return free_counts(q, cluster, count, false);
}

void qcow2_free_later(struct qcow2 *q, uint64_t cluster, uint64_t count) {
    if (q->freed_count > 0) {
        struct qcow2_freed *last = &q->freed[q->freed_count - 1];
        if (last->cluster + last->count == cluster) {
            last->count += count;
            return;
        }
    }
    MUST(q->freed_count < QCOW2_FREED_MAX);
    q->freed[q->freed_count++] = (struct qcow2_freed){.cluster = cluster, .count = count};
}

int32_t qcow2_write_counts(struct qcow2 *q) {
    if (q->cache.dirty[TABLE_COUNTS] == 0)
        return SLUICE_OK;
    q->unstable = true;
    return qcow2_noted(q, table_cache_write(&q->cache, TABLE_COUNTS));
}

int32_t qcow2_free_all(struct qcow2 *q) {
    while (q->freed_count > 0) {
        const struct qcow2_freed run = q->freed[q->freed_count - 1];
        int32_t status = free_counts(q, run.cluster, run.count, true);
        if (status != SLUICE_OK)
            return status;
        q->freed_count--;
    }
    return qcow2_write_counts(q);
}

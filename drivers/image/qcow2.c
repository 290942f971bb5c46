/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2.c: create, open, close, commit and flush; the table of functions.
 */
#include <inttypes.h>
#include <string.h>

#include "image/qcow2.h"

#define CLUSTER_BYTES_DEFAULT (64u << 10)
#define CLUSTER_BYTES_MIN 512u
#define CLUSTER_BYTES_MAX (2u << 20)

static bool probe(const uint8_t *head, size_t length) {
    return length >= QCOW2_V2_HEADER_BYTES && qcow2_load32(head + QCOW2_AT_MAGIC) == QCOW2_MAGIC;
}

/* ---- create ---------------------------------------------------------------------------------- */

/* A new image, cluster by cluster: the head, the refcount table, blocks that count all this, L1. */
struct plan {
    uint32_t cluster_bits;
    uint64_t l1_size;
    uint64_t reftable_clusters;
    uint64_t blocks;
    uint64_t l1_clusters;
    uint64_t used; /* clusters, all of them from the file's begin */
};

static uint64_t divide_up(uint64_t what, uint64_t by) {
    return (what + by - 1) / by;
}

static int32_t make_plan(const struct image_create *args, struct plan *ret,
                         struct image_error *error) {
    uint32_t cluster = args->cluster_bytes == 0 ? CLUSTER_BYTES_DEFAULT : args->cluster_bytes;
    if (cluster < CLUSTER_BYTES_MIN || cluster > CLUSTER_BYTES_MAX ||
        (cluster & (cluster - 1)) != 0) {
        image_error_set(error, "clusters have a power of two of bytes, %u to %u, and not %" PRIu32,
                        CLUSTER_BYTES_MIN, CLUSTER_BYTES_MAX, cluster);
        return SLUICE_INVALID;
    }
    struct plan plan = {.cluster_bits = (uint32_t)__builtin_ctz(cluster)};
    uint64_t entries = cluster / QCOW2_ENTRY_BYTES;
    uint64_t block_counts = (uint64_t)cluster * 8 >> QCOW2_REFCOUNT_ORDER_MADE;
    uint64_t clusters = divide_up(args->size_bytes, cluster);
    plan.l1_size = divide_up(clusters, entries);
    plan.l1_clusters = divide_up(plan.l1_size, entries);
    /* The table has room for all that the disk will ever need, so that it never has to grow; what
     * counts itself is less than one in a thousand of it. */
    uint64_t all = clusters + plan.l1_size + plan.l1_clusters;
    all += all / 1000 + block_counts;
    plan.reftable_clusters = divide_up(divide_up(all, block_counts), entries);
    do {
        plan.blocks++;
        plan.used = 1 + plan.reftable_clusters + plan.blocks + plan.l1_clusters;
    } while (plan.blocks * block_counts < plan.used);
    uint64_t head_bytes = plan.l1_size * QCOW2_ENTRY_BYTES + plan.reftable_clusters * cluster;
    if (head_bytes > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error,
                        "a disk of %" PRIu64 " bytes needs larger clusters than %" PRIu32 " bytes",
                        args->size_bytes, cluster);
        return SLUICE_LIMIT;
    }
    *ret = plan;
    return SLUICE_OK;
}

/* Writes all but the head. Tables that are empty are holes. */
static int32_t write_tables(struct image_file *file, const struct plan *plan) {
    size_t cluster = (size_t)1 << plan->cluster_bits;
    uint64_t block_counts = (uint64_t)cluster * 8 >> QCOW2_REFCOUNT_ORDER_MADE;
    uint8_t *bytes = malloc(cluster);
    if (bytes == NULL)
        return SLUICE_NO_MEMORY;
    int32_t status = file->ops->resize(file, plan->used << plan->cluster_bits);
    uint64_t first_block = 1 + plan->reftable_clusters;
    memset(bytes, 0, cluster);
    for (uint64_t i = 0; i < plan->blocks; i++)
        qcow2_store64(bytes + i * QCOW2_ENTRY_BYTES, (first_block + i) << plan->cluster_bits);
    if (status == SLUICE_OK)
        status = file->ops->write(file, cluster, bytes, cluster);
    for (uint64_t i = 0; i < plan->blocks && status == SLUICE_OK; i++) {
        memset(bytes, 0, cluster);
        for (uint64_t k = 0; k < block_counts && i * block_counts + k < plan->used; k++)
            qcow2_count_store(bytes, k, QCOW2_REFCOUNT_ORDER_MADE, 1);
        status = file->ops->write(file, (first_block + i) << plan->cluster_bits, bytes, cluster);
    }
    free(bytes);
    return status == SLUICE_OK ? file->ops->flush(file) : status;
}

static int32_t create(struct image_file *file, const struct image_create *args,
                      struct image_error *error) {
    struct plan plan;
    int32_t status = make_plan(args, &plan, error);
    if (status != SLUICE_OK)
        return status;
    struct qcow2 *q = calloc(1, sizeof *q);
    size_t cluster = (size_t)1 << plan.cluster_bits;
    uint8_t *head = malloc(cluster);
    if (q == NULL || head == NULL) {
        status = SLUICE_NO_MEMORY;
        goto out;
    }
    q->version = 3;
    uint8_t *sector = q->sector;
    qcow2_store32(sector + QCOW2_AT_MAGIC, QCOW2_MAGIC);
    qcow2_store32(sector + QCOW2_AT_VERSION, q->version);
    qcow2_store32(sector + QCOW2_AT_CLUSTER_BITS, plan.cluster_bits);
    qcow2_store64(sector + QCOW2_AT_SIZE, args->size_bytes);
    qcow2_store32(sector + QCOW2_AT_L1_SIZE, (uint32_t)plan.l1_size);
    qcow2_store64(sector + QCOW2_AT_L1_OFFSET, (1 + plan.reftable_clusters + plan.blocks)
                                                   << plan.cluster_bits);
    qcow2_store64(sector + QCOW2_AT_REFTABLE_OFFSET, cluster);
    qcow2_store32(sector + QCOW2_AT_REFTABLE_CLUSTERS, (uint32_t)plan.reftable_clusters);
    qcow2_store32(sector + QCOW2_AT_REFCOUNT_ORDER, QCOW2_REFCOUNT_ORDER_MADE);
    qcow2_store32(sector + QCOW2_AT_HEADER_LENGTH, QCOW2_V3_HEADER_BYTES_MADE);
    size_t length;
    status = qcow2_head_compose(q, args->parent_name, args->parent_format, head, cluster, &length,
                                error);
    /* The head comes last: before it the file is no image at all. */
    if (status == SLUICE_OK)
        status = write_tables(file, &plan);
    if (status == SLUICE_OK)
        status = file->ops->write(file, 0, head, cluster);
    if (status == SLUICE_OK)
        status = file->ops->flush(file);
out:
    free(head);
    free(q);
    return status;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void release(struct qcow2 *q) {
    table_cache_release(&q->cache);
    free(q->extensions);
    free(q->l1);
    free(q->l1_known);
    free(q->reftable);
    free(q->scratch);
    free(q->packed);
    free(q->unpacked);
    free(q);
}

static void close_image(struct image *image) {
    struct qcow2 *q = qcow2_of(image);
    qcow2_unreserve(q);
    release(q);
}

/* Who may write, and what has to be done first. */
static int32_t begin_writing(struct qcow2 *q, struct image_error *error) {
    if ((q->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0) {
        image_error_set(error, "another program marked the image as corrupt: it is only read; copy "
                               "what is good of it to a new one");
        return SLUICE_CORRUPT;
    }
    if ((q->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0) {
        q->needs_repair = true;
        q->image.read_only = true;
        return SLUICE_OK;
    }
    /* Who writes has to clear what he does not keep true: dirty bitmaps, for one. */
    if (q->autoclear == 0)
        return SLUICE_OK;
    uint8_t before[QCOW2_SECTOR_BYTES];
    memcpy(before, q->sector, sizeof before);
    qcow2_store64(q->sector + QCOW2_AT_AUTOCLEAR, 0);
    q->autoclear = 0;
    return qcow2_head_change(q, before);
}

static int32_t open_image(struct image_file *file, uint32_t flags, uint64_t cache_bytes,
                          struct image **ret_image, struct image_error *error) {
    struct qcow2 *q = calloc(1, sizeof *q);
    if (q == NULL)
        return SLUICE_NO_MEMORY;
    q->image.ops = &image_qcow2_ops;
    q->image.file = file;
    q->image.read_only = (flags & IMAGE_OPEN_READ_ONLY) != 0;
    int32_t status = qcow2_head_read(q, error);
    if (status != SLUICE_OK)
        goto fail;
    q->slice_bytes = q->image.cluster_bytes < QCOW2_SLICE_BYTES_MAX ? q->image.cluster_bytes
                                                                    : QCOW2_SLICE_BYTES_MAX;
    q->end_cluster = qcow2_clusters(q, q->file_end);
    q->zero_from = q->file_end;
    q->scratch = malloc(q->image.cluster_bytes);
    /* Room only: what is in it is read when it is needed. */
    q->l1 = malloc(((size_t)q->l1_size + 1) * sizeof *q->l1);
    q->l1_known = calloc(qcow2_l1_pieces(q->l1_size) + 1, sizeof *q->l1_known);
    if (q->scratch == NULL || q->l1 == NULL || q->l1_known == NULL)
        status = SLUICE_NO_MEMORY;
    if (status == SLUICE_OK)
        status = table_cache_init(&q->cache, file, q->slice_bytes, cache_bytes);
    if (status == SLUICE_OK && (flags & IMAGE_OPEN_CHECK) != 0)
        status = qcow2_check_top(q, error);
    if (status == SLUICE_OK && !q->image.read_only)
        status = begin_writing(q, error);
    if (status != SLUICE_OK)
        goto fail;
    *ret_image = &q->image;
    return SLUICE_OK;
fail:
    release(q);
    return status;
}

/* ---- commit ---------------------------------------------------------------------------------- */

void qcow2_l1_changed(struct qcow2 *q, uint32_t index) {
    if (q->l1_dirty_from == q->l1_dirty_to) {
        q->l1_dirty_from = index;
        q->l1_dirty_to = index + 1;
        return;
    }
    if (index < q->l1_dirty_from)
        q->l1_dirty_from = index;
    if (index >= q->l1_dirty_to)
        q->l1_dirty_to = index + 1;
}

static bool is_l1_dirty(const struct qcow2 *q) {
    return q->l1_dirty_to > q->l1_dirty_from;
}

static int32_t write_l1(struct qcow2 *q) {
    uint32_t entries = QCOW2_SECTOR_BYTES / QCOW2_ENTRY_BYTES;
    while (is_l1_dirty(q)) {
        uint8_t sector[QCOW2_SECTOR_BYTES] = {0};
        uint32_t first = q->l1_dirty_from - q->l1_dirty_from % entries;
        if (!qcow2_l1_is_known(q, first)) {
            /* Between two changes: nothing was changed in what nobody has read. */
            q->l1_dirty_from = (first / QCOW2_L1_PIECE + 1) * QCOW2_L1_PIECE;
            continue;
        }
        for (uint32_t i = 0; i < entries && first + i < q->l1_size; i++)
            qcow2_store64(sector + (size_t)i * QCOW2_ENTRY_BYTES, q->l1[first + i]);
        int32_t status = qcow2_file_write(q, q->l1_offset + (uint64_t)first * QCOW2_ENTRY_BYTES,
                                          sector, sizeof sector);
        if (status != SLUICE_OK)
            return status;
        q->l1_dirty_from = first + entries < q->l1_dirty_to ? first + entries : q->l1_dirty_to;
    }
    return SLUICE_OK;
}

static bool is_dirty(const struct image *image) {
    const struct qcow2 *q = qcow2_of_const(image);
    return q->cache.dirty[TABLE_COUNTS] > 0 || q->cache.dirty[TABLE_L2] > 0 || is_l1_dirty(q);
}

int32_t qcow2_commit(struct image *image, bool stable) {
    struct qcow2 *q = qcow2_of(image);
    bool names = q->cache.dirty[TABLE_L2] > 0 || is_l1_dirty(q);
    int32_t status = qcow2_write_counts(q);
    /* Counts and bytes, before anything names them. A new L2 table needs nothing more: as long as
     * it is not there it names nothing, and it had nothing to name that was flushed. */
    if (status == SLUICE_OK && names && (stable || q->unstable))
        status = qcow2_file_flush(q);
    if (status == SLUICE_OK)
        status = qcow2_noted(q, table_cache_write(&q->cache, TABLE_L2));
    if (status == SLUICE_OK)
        status = write_l1(q);
    if (status == SLUICE_OK && stable)
        status = qcow2_file_flush(q);
    if (status == SLUICE_OK && stable && q->freed_count > 0) {
        status = qcow2_free_all(q);
        /* What is counted less may be found counted as before. */
        q->unstable = status != SLUICE_OK;
    }
    return status;
}

int32_t qcow2_make_room(struct qcow2 *q) {
    if (!table_cache_is_crowded(&q->cache) && q->freed_count <= QCOW2_FREED_MAX / 2)
        return SLUICE_OK;
    return qcow2_commit(&q->image, true);
}

const struct image_format_ops image_qcow2_ops = {
    .name = "qcow2",
    .format = IMAGE_FORMAT_QCOW2,
    .probe = probe,
    .create = create,
    .open = open_image,
    .close = close_image,
    .peek = qcow2_peek,
    .find = qcow2_find,
    .read_packed = qcow2_read_packed,
    .write = qcow2_write,
    .zero = qcow2_zero,
    .trim = qcow2_trim,
    .is_dirty = is_dirty,
    .commit = qcow2_commit,
    .resize = qcow2_resize,
    .set_parent = qcow2_set_parent,
    .check = qcow2_check,
};

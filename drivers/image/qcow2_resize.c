/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_resize.c: another size. The head's size is the step that makes it true.
 */
#include <inttypes.h>
#include <string.h>

#include "image/qcow2.h"

/* A longer L1, elsewhere, with the same tables. */
static int32_t grow_l1(struct qcow2 *q, uint64_t size, struct image_error *error) {
    uint64_t bytes = size * QCOW2_ENTRY_BYTES;
    if (bytes + q->reftable_size * QCOW2_ENTRY_BYTES > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error,
                        "the image's clusters of %" PRIu32 " bytes are too small for that size",
                        q->image.cluster_bytes);
        return SLUICE_LIMIT;
    }
    uint64_t clusters = qcow2_clusters(q, bytes);
    uint64_t room = clusters << q->cluster_bits;
    uint64_t *table = calloc(room / QCOW2_ENTRY_BYTES, sizeof *table);
    bool *known = malloc(qcow2_l1_pieces(size) * sizeof *known);
    uint8_t *encoded = calloc(1, room);
    uint64_t offset = 0;
    int32_t status = table == NULL || known == NULL || encoded == NULL
                         ? SLUICE_NO_MEMORY
                         : qcow2_alloc_row(q, clusters, &offset);
    if (status != SLUICE_OK)
        goto out;
    if (q->l1_size > 0)
        memcpy(table, q->l1, (size_t)q->l1_size * sizeof *table);
    for (uint32_t i = 0; i < q->l1_size; i++)
        qcow2_store64(encoded + (size_t)i * QCOW2_ENTRY_BYTES, table[i]);
    status = qcow2_file_write(q, offset, encoded, room);
    /* The counts of the new place, and all that the copy names, before the head names it. */
    if (status == SLUICE_OK)
        status = qcow2_commit(&q->image, true);
    if (status != SLUICE_OK) {
        qcow2_free_now(q, offset >> q->cluster_bits, clusters);
        goto out;
    }
    uint8_t before[QCOW2_SECTOR_BYTES];
    memcpy(before, q->sector, sizeof before);
    qcow2_store64(q->sector + QCOW2_AT_L1_OFFSET, offset);
    qcow2_store32(q->sector + QCOW2_AT_L1_SIZE, (uint32_t)size);
    status = qcow2_head_change(q, before);
    if (status != SLUICE_OK)
        goto out; /* which one the file has is not known: the new place stays counted */
    uint64_t old = q->l1_offset >> q->cluster_bits;
    uint64_t old_clusters = qcow2_clusters(q, (uint64_t)q->l1_size * QCOW2_ENTRY_BYTES);
    memset(known, true, qcow2_l1_pieces(size) * sizeof *known);
    free(q->l1);
    free(q->l1_known);
    q->l1 = table;
    q->l1_known = known;
    table = NULL;
    known = NULL;
    q->l1_offset = offset;
    q->l1_size = (uint32_t)size;
    status = qcow2_free_now(q, old, old_clusters);
out:
    free(table);
    free(known);
    free(encoded);
    return status;
}

/* What lies behind the old end must read as zeroes once it is part of the disk: the rest of the
 * last cluster, what a longer parent holds there, and what an interrupted cut left behind. */
static int32_t clean_behind(struct qcow2 *q, uint64_t from, uint64_t to) {
    struct image *image = &q->image;
    uint64_t edge = qcow2_clusters(q, from) << q->cluster_bits;
    if (edge > from) {
        /* Within the old size's cluster, which is read as zeroes from its end on: filled whole. */
        uint64_t end = edge < to ? edge : to;
        struct own_run run;
        int32_t status = qcow2_find(image, from, end - from, false, &run);
        if (status != SLUICE_OK)
            return status;
        bool exposed =
            run.kind == OWN_ABSENT && image->parent != NULL && image->parent->size_bytes > from;
        if (run.kind == OWN_FILE || run.kind == OWN_PACKED || exposed)
            status = qcow2_zero(image, from, edge - from, true);
        if (status != SLUICE_OK)
            return status;
    }
    uint64_t entries = UINT64_C(1) << qcow2_l2_bits(q);
    uint64_t end_cluster = qcow2_clusters(q, to);
    uint64_t parent_end = image->parent == NULL ? 0 : qcow2_clusters(q, image->parent->size_bytes);
    for (uint64_t first = edge >> q->cluster_bits; first < end_cluster;) {
        uint64_t part = entries - (first & (entries - 1));
        if (part > end_cluster - first)
            part = end_cluster - first;
        bool table = (q->l1[first >> qcow2_l2_bits(q)] & QCOW2_OFFSET_MASK) != 0;
        bool exposed = first < parent_end;
        int32_t status = SLUICE_OK;
        if (exposed && part > parent_end - first)
            part = parent_end - first;
        if (exposed)
            status = qcow2_zero(image, first << q->cluster_bits, part << q->cluster_bits, true);
        else if (table)
            status = qcow2_clear(q, first, part, 0);
        if (status != SLUICE_OK)
            return status;
        first += part;
    }
    return SLUICE_OK;
}

static int32_t set_size(struct qcow2 *q, uint64_t size_bytes) {
    uint8_t before[QCOW2_SECTOR_BYTES];
    memcpy(before, q->sector, sizeof before);
    qcow2_store64(q->sector + QCOW2_AT_SIZE, size_bytes);
    int32_t status = qcow2_head_change(q, before);
    if (status == SLUICE_OK)
        q->image.size_bytes = size_bytes;
    return status;
}

static int32_t grow(struct qcow2 *q, uint64_t size_bytes, struct image_error *error) {
    uint64_t entries = qcow2_clusters(q, size_bytes);
    entries = (entries + (UINT64_C(1) << qcow2_l2_bits(q)) - 1) >> qcow2_l2_bits(q);
    int32_t status = SLUICE_OK;
    if (entries > q->l1_size)
        status = grow_l1(q, entries, error);
    if (status == SLUICE_OK)
        status = clean_behind(q, q->image.size_bytes, size_bytes);
    if (status == SLUICE_OK)
        status = qcow2_commit(&q->image, true);
    return status == SLUICE_OK ? set_size(q, size_bytes) : status;
}

/* The size first: what is cut off afterwards is not part of the disk any more, whenever it ends. */
static int32_t shrink(struct qcow2 *q, uint64_t size_bytes) {
    uint64_t first = qcow2_clusters(q, size_bytes);
    uint64_t end = qcow2_clusters(q, q->image.size_bytes);
    int32_t status = qcow2_commit(&q->image, true);
    if (status == SLUICE_OK)
        status = set_size(q, size_bytes);
    if (status == SLUICE_OK)
        status = qcow2_clear(q, first, end - first, 0);
    return status == SLUICE_OK ? qcow2_commit(&q->image, true) : status;
}

int32_t qcow2_resize(struct image *image, uint64_t size_bytes, struct image_error *error) {
    struct qcow2 *q = qcow2_of(image);
    int32_t status = qcow2_l1_need_all(q);
    if (status != SLUICE_OK)
        return status;
    return size_bytes > image->size_bytes ? grow(q, size_bytes, error) : shrink(q, size_bytes);
}

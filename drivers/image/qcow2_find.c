/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_find.c: where a cluster is, by L1 and L2; and what compressed clusters hold.
 */
#include <string.h>
#include <zlib.h>

#include "image/qcow2.h"

#define SECTOR_MASK ((uint64_t)QCOW2_SECTOR_BYTES - 1)
#define DEFLATE_WINDOW_BITS (-12) /* raw deflate with the window that the format prescribes */

static uint64_t l1_index(const struct qcow2 *q, uint64_t offset) {
    return offset >> (q->cluster_bits + qcow2_l2_bits(q));
}

int32_t qcow2_read_table(struct qcow2 *q, uint64_t offset, uint64_t entries, uint64_t *ret_table) {
    struct image_file *file = q->image.file;
    int32_t status = file->ops->read(file, offset, ret_table, (size_t)entries * QCOW2_ENTRY_BYTES);
    for (uint64_t i = 0; status == SLUICE_OK && i < entries; i++)
        ret_table[i] = qcow2_load64((const uint8_t *)&ret_table[i]);
    return status;
}

int32_t qcow2_l1_need(struct qcow2 *q, uint64_t index) {
    if (qcow2_l1_is_known(q, index))
        return SLUICE_OK;
    uint64_t first = index - index % QCOW2_L1_PIECE;
    uint64_t count = q->l1_size - first < QCOW2_L1_PIECE ? q->l1_size - first : QCOW2_L1_PIECE;
    int32_t status =
        qcow2_read_table(q, q->l1_offset + first * QCOW2_ENTRY_BYTES, count, q->l1 + first);
    q->l1_known[index / QCOW2_L1_PIECE] = status == SLUICE_OK;
    return status;
}

int32_t qcow2_l1_need_all(struct qcow2 *q) {
    int32_t status = SLUICE_OK;
    for (uint64_t index = 0; index < q->l1_size && status == SLUICE_OK; index += QCOW2_L1_PIECE)
        status = qcow2_l1_need(q, index);
    return status;
}

/* The slice that an offset's entry is in, which L1 is known to say; false: it names no table. */
static bool slice_offset(const struct qcow2 *q, uint64_t offset, uint64_t *ret) {
    uint64_t index = l1_index(q, offset);
    uint64_t table = index < q->l1_size ? q->l1[index] & QCOW2_OFFSET_MASK : 0;
    if (table == 0)
        return false;
    uint64_t entry = offset >> q->cluster_bits & ((UINT64_C(1) << qcow2_l2_bits(q)) - 1);
    *ret = table + entry / qcow2_slice_entries(q) * q->slice_bytes;
    return true;
}

int32_t qcow2_place(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret) {
    struct qcow2_place place = {0};
    int32_t known = qcow2_l1_need(q, l1_index(q, offset));
    if (known != SLUICE_OK)
        return known;
    if (slice_offset(q, offset, &place.slice_offset)) {
        /* A table that is not a cluster, or lies in no file, was never written by anybody. */
        if ((place.slice_offset & (q->slice_bytes - 1)) != 0 ||
            (q->l1[l1_index(q, offset)] & QCOW2_OFFSET_MASK) % q->image.cluster_bytes != 0 ||
            place.slice_offset >= q->file_end)
            return SLUICE_CORRUPT;
        place.index = (uint32_t)(offset >> q->cluster_bits) & (qcow2_slice_entries(q) - 1);
        int32_t status = table_cache_get(&q->cache, TABLE_L2, place.slice_offset, &place.slice);
        if (status != SLUICE_OK)
            return status;
    }
    *ret = place;
    return SLUICE_OK;
}

uint32_t qcow2_entry_kind(const struct qcow2 *q, uint64_t entry) {
    if ((entry & QCOW2_COMPRESSED) != 0)
        return OWN_PACKED;
    if (q->version >= 3 && (entry & QCOW2_ZERO) != 0)
        return OWN_ZERO;
    return (entry & QCOW2_OFFSET_MASK) == 0 ? OWN_ABSENT : OWN_FILE;
}

bool qcow2_entry_in_place(const struct qcow2 *q, uint64_t entry) {
    return qcow2_entry_kind(q, entry) == OWN_FILE && (entry & QCOW2_COPIED) != 0;
}

void qcow2_entry_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_length) {
    uint32_t bits = QCOW2_PACKED_OFFSET_BITS(q->cluster_bits);
    uint64_t offset = entry & ((UINT64_C(1) << bits) - 1);
    uint64_t further = (entry & ~(QCOW2_COMPRESSED | QCOW2_COPIED)) >> bits;
    *ret_offset = offset;
    *ret_length = (further + 1) * QCOW2_SECTOR_BYTES - (offset & SECTOR_MASK);
}

bool qcow2_hits_tables(const struct qcow2 *q, uint64_t offset, uint64_t length) {
    uint64_t l1_bytes = (uint64_t)q->l1_size * QCOW2_ENTRY_BYTES;
    uint64_t reftable_bytes = q->reftable_size * QCOW2_ENTRY_BYTES;
    return offset < q->image.cluster_bytes ||
           (offset < q->l1_offset + l1_bytes && q->l1_offset < offset + length) ||
           (offset < q->reftable_offset + reftable_bytes && q->reftable_offset < offset + length);
}

bool qcow2_is_sound(const struct qcow2 *q, uint64_t cluster_offset) {
    return cluster_offset % q->image.cluster_bytes == 0 && cluster_offset < q->file_end;
}

/* The run of like entries from `index` on, within the slice. */
static bool run_in_slice(const struct qcow2 *q, const uint8_t *slice, uint32_t index,
                         uint64_t offset, uint64_t length, struct own_run *ret) {
    uint64_t in_cluster = offset & (q->image.cluster_bytes - 1);
    uint64_t entry = qcow2_load64(slice + (size_t)index * QCOW2_ENTRY_BYTES);
    struct own_run run = {.kind = qcow2_entry_kind(q, entry),
                          .in_place = qcow2_entry_in_place(q, entry)};
    uint64_t step = 0;
    if (run.kind == OWN_FILE) {
        uint64_t cluster = entry & QCOW2_OFFSET_MASK;
        if (!qcow2_is_sound(q, cluster))
            return false;
        run.file_offset = cluster + in_cluster;
        step = q->image.cluster_bytes;
    }
    uint64_t reach = q->image.cluster_bytes - in_cluster;
    for (uint32_t i = index + 1; i < qcow2_slice_entries(q) && reach < length; i++) {
        uint64_t next = qcow2_load64(slice + (size_t)i * QCOW2_ENTRY_BYTES);
        entry += step;
        bool alike = run.kind == OWN_FILE
                         ? next == entry && qcow2_is_sound(q, next & QCOW2_OFFSET_MASK)
                         : run.kind != OWN_PACKED && qcow2_entry_kind(q, next) == run.kind;
        if (!alike)
            break;
        reach += q->image.cluster_bytes;
    }
    run.length = reach < length ? reach : length;
    *ret = run;
    return true;
}

/* How far nothing is mapped by L1, as far as that is known. */
static void absent_run(const struct qcow2 *q, uint64_t offset, uint64_t length,
                       struct own_run *ret) {
    uint32_t bits = q->cluster_bits + qcow2_l2_bits(q);
    uint64_t index = l1_index(q, offset) + 1;
    uint64_t reach = (index << bits) - offset;
    while (reach < length && qcow2_l1_is_known(q, index) &&
           (index >= q->l1_size || (q->l1[index] & QCOW2_OFFSET_MASK) == 0)) {
        reach += UINT64_C(1) << bits;
        index++;
    }
    *ret = (struct own_run){.kind = OWN_ABSENT, .length = reach < length ? reach : length};
}

void qcow2_peek(const struct image *image, uint64_t offset, uint64_t length, struct own_run *ret) {
    const struct qcow2 *q = qcow2_of_const(image);
    uint64_t at;
    if (!qcow2_l1_is_known(q, l1_index(q, offset))) {
        /* As far as the one table goes: the read that finds out may find a table there. */
        uint64_t span = UINT64_C(1) << (q->cluster_bits + qcow2_l2_bits(q));
        uint64_t reach = span - (offset & (span - 1));
        *ret = (struct own_run){.kind = OWN_UNKNOWN, .length = reach < length ? reach : length};
        return;
    }
    if (!slice_offset(q, offset, &at)) {
        absent_run(q, offset, length, ret);
        return;
    }
    const uint8_t *slice = table_cache_peek(&q->cache, at);
    uint32_t index = (uint32_t)(offset >> q->cluster_bits) & (qcow2_slice_entries(q) - 1);
    if (slice != NULL && run_in_slice(q, slice, index, offset, length, ret))
        return;
    /* As far as the one slice goes; what is broken is told by who reads it. */
    uint64_t reach = ((uint64_t)qcow2_slice_entries(q) - index) * q->image.cluster_bytes -
                     (offset & (q->image.cluster_bytes - 1));
    *ret = (struct own_run){.kind = OWN_UNKNOWN, .length = reach < length ? reach : length};
}

int32_t qcow2_find(struct image *image, uint64_t offset, uint64_t length, bool holes,
                   struct own_run *ret) {
    (void)holes; /* a cluster that is there counts as held, whatever the file system makes of it */
    struct qcow2 *q = qcow2_of(image);
    struct qcow2_place place;
    int32_t status = qcow2_place(q, offset, &place);
    if (status != SLUICE_OK)
        return status;
    if (place.slice == NULL) {
        absent_run(q, offset, length, ret);
        return SLUICE_OK;
    }
    return run_in_slice(q, place.slice, place.index, offset, length, ret) ? SLUICE_OK
                                                                          : SLUICE_CORRUPT;
}

/* ---- compressed clusters --------------------------------------------------------------------- */

/* Inflates exactly one cluster. The deflate stream may end before the last sector does. */
static bool inflate_cluster(const uint8_t *packed, size_t packed_bytes, uint8_t *ret_cluster,
                            size_t cluster_bytes) {
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)packed,
                       .avail_in = (uInt)packed_bytes,
                       .next_out = ret_cluster,
                       .avail_out = (uInt)cluster_bytes};
    if (inflateInit2(&stream, DEFLATE_WINDOW_BITS) != Z_OK)
        return false;
    int result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR);
}

static int32_t unpack(struct qcow2 *q, uint64_t entry) {
    size_t cluster_bytes = q->image.cluster_bytes;
    if (q->packed == NULL)
        q->packed = malloc(2 * cluster_bytes);
    if (q->unpacked == NULL)
        q->unpacked = malloc(cluster_bytes);
    if (q->packed == NULL || q->unpacked == NULL)
        return SLUICE_NO_MEMORY;
    uint64_t offset;
    uint64_t length;
    qcow2_entry_packed(q, entry, &offset, &length);
    /* The number of sectors has cluster_bits - 8 bits: at most two clusters. */
    if (length > 2 * cluster_bytes || offset >= q->file_end)
        return SLUICE_CORRUPT;
    q->unpacked_entry = 0;
    struct image_file *file = q->image.file;
    int32_t status = file->ops->read(file, offset, q->packed, (size_t)length);
    if (status != SLUICE_OK)
        return status;
    if (!inflate_cluster(q->packed, (size_t)length, q->unpacked, cluster_bytes))
        return SLUICE_CORRUPT;
    q->unpacked_entry = entry;
    return SLUICE_OK;
}

int32_t qcow2_read_packed(struct image *image, uint64_t offset, void *ret_bytes, size_t length) {
    struct qcow2 *q = qcow2_of(image);
    struct qcow2_place place;
    int32_t status = qcow2_place(q, offset, &place);
    if (status != SLUICE_OK)
        return status;
    uint64_t entry = qcow2_entry(&place, 0);
    /* Read on in small steps, one cluster is unpacked once. */
    if (entry != q->unpacked_entry)
        status = unpack(q, entry);
    if (status != SLUICE_OK)
        return status;
    memcpy(ret_bytes, q->unpacked + (offset & (q->image.cluster_bytes - 1)), length);
    return SLUICE_OK;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_write.c: write, zero, trim.
 *
 * A write goes in steps, each within one slice of L2: what may be overwritten where it is, in one
 * write for clusters in a row; or new clusters in a row, filled whole (the rest of the first and
 * the last from what is read there now) and only then named.
 */
#include <string.h>

#include "image/qcow2.h"

int32_t qcow2_noted(struct qcow2 *q, int32_t status) {
    if (status != SLUICE_OK && status != SLUICE_NO_SPACE && status != SLUICE_QUOTA)
        q->failed = true;
    return status;
}

/* After a write of bytes up to `end`. */
static int32_t written(struct qcow2 *q, uint64_t end, int32_t status) {
    /* One that failed may have written any part, and the file knows how long it is now. */
    if (end > q->zero_from)
        q->zero_from = end;
    if (status != SLUICE_OK && q->image.file->ops->size(q->image.file, &end) != SLUICE_OK)
        end = 0;
    if (end > q->file_end)
        q->file_end = end;
    return qcow2_noted(q, status);
}

int32_t qcow2_file_write(struct qcow2 *q, uint64_t offset, const void *bytes, size_t length) {
    int32_t status = q->image.file->ops->write(q->image.file, offset, bytes, length);
    return written(q, offset + length, status);
}

static int32_t file_zero(struct qcow2 *q, uint64_t offset, uint64_t length) {
    int32_t status = image_file_write_zeroes(q->image.file, offset, length);
    return written(q, offset + length, status);
}

int32_t qcow2_file_flush(struct qcow2 *q) {
    int32_t status = qcow2_noted(q, q->image.file->ops->flush(q->image.file));
    if (status == SLUICE_OK)
        q->unstable = false;
    return status;
}

/* ---- the table of an offset ------------------------------------------------------------------ */

static int32_t make_table(struct qcow2 *q, uint32_t l1_index) {
    uint64_t offset;
    uint64_t count;
    int32_t status = qcow2_alloc(q, 1, &offset, &count);
    if (status != SLUICE_OK)
        return status;
    table_cache_forget(&q->cache, offset, q->image.cluster_bytes);
    if (offset < q->zero_from) {
        q->unstable = true;
        status = file_zero(q, offset, q->image.cluster_bytes);
    } else {
        q->zero_from = offset + q->image.cluster_bytes; /* slices will be written */
    }
    if (status != SLUICE_OK) {
        qcow2_free_now(q, offset >> q->cluster_bits, 1);
        return status;
    }
    q->l1[l1_index] = offset | QCOW2_COPIED;
    qcow2_l1_changed(q, l1_index);
    return SLUICE_OK;
}

/* The place of an offset in a table that may be written. */
static int32_t place_to_write(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret) {
    uint64_t index = offset >> (q->cluster_bits + qcow2_l2_bits(q));
    if (index >= q->l1_size)
        return SLUICE_CORRUPT; /* the head says a size that its L1 does not reach */
    int32_t status = qcow2_l1_need(q, index);
    if (status != SLUICE_OK)
        return status;
    uint64_t entry = q->l1[index];
    if ((entry & QCOW2_OFFSET_MASK) == 0) {
        status = make_table(q, (uint32_t)index);
    } else if ((entry & QCOW2_COPIED) == 0) {
        /* Shared by internal snapshots, of which this image has none; or the flag is missing. */
        uint64_t count;
        status = qcow2_count_get(q, (entry & QCOW2_OFFSET_MASK) >> q->cluster_bits, &count);
        if (status == SLUICE_OK && count != 1)
            status = SLUICE_CORRUPT;
        if (status == SLUICE_OK) {
            q->l1[index] |= QCOW2_COPIED;
            qcow2_l1_changed(q, (uint32_t)index);
        }
    }
    return status == SLUICE_OK ? qcow2_place(q, offset, ret) : status;
}

static void set_entry(const struct qcow2_place *place, uint32_t further, uint64_t entry) {
    qcow2_store64(place->slice + (size_t)(place->index + further) * QCOW2_ENTRY_BYTES, entry);
}

static void entries_changed(struct qcow2 *q, const struct qcow2_place *place, uint32_t from,
                            uint32_t count) {
    uint32_t first = (place->index + from) * QCOW2_ENTRY_BYTES;
    table_cache_changed(&q->cache, place->slice_offset, first, first + count * QCOW2_ENTRY_BYTES);
}

/* What an entry named is named by nobody from the next flush on. */
static void free_entry(struct qcow2 *q, uint64_t entry) {
    if ((entry & QCOW2_COMPRESSED) != 0) {
        uint64_t offset;
        uint64_t length;
        qcow2_entry_packed(q, entry, &offset, &length);
        uint64_t first = offset >> q->cluster_bits;
        uint64_t last = (offset + length - 1) >> q->cluster_bits;
        qcow2_free_later(q, first, last - first + 1);
    } else if ((entry & QCOW2_OFFSET_MASK) != 0) {
        qcow2_free_later(q, (entry & QCOW2_OFFSET_MASK) >> q->cluster_bits, 1);
    }
}

/* ---- write ----------------------------------------------------------------------------------- */

/* One step: `clusters` in a row from the place on, of which `head` bytes come before what is
 * written. */
struct write_step {
    uint64_t offset; /* of the disk */
    const uint8_t *bytes;
    size_t length; /* as much of it as the step can take */
    size_t head;
    uint32_t clusters;
};

/* Brings the rest of a cluster (all but what is written) to its new place. */
static int32_t fill(struct qcow2 *q, uint64_t offset, uint64_t to, size_t length, bool fresh) {
    bool zero;
    int32_t status = image_chain_is_zero(&q->image, offset, length, &zero);
    if (status != SLUICE_OK || (zero && fresh) || length == 0)
        return status;
    if (zero)
        return file_zero(q, to, length);
    status = image_chain_read(&q->image, offset, q->scratch, length);
    return status == SLUICE_OK ? qcow2_file_write(q, to, q->scratch, length) : status;
}

/* Writes the clusters at `to` whole. `fresh`: they read as zeroes as they are. */
static int32_t write_whole(struct qcow2 *q, const struct write_step *step, uint64_t to,
                           bool fresh) {
    size_t whole = (size_t)step->clusters << q->cluster_bits;
    size_t tail = whole - step->head - step->length;
    uint64_t begin = step->offset - step->head;
    uint64_t end = step->offset + step->length;
    /* Only zeroes that stay zeroes unless the bytes get there can be named before they do. */
    bool zero = false;
    if (fresh) {
        int32_t status = image_chain_is_zero(&q->image, begin, whole, &zero);
        if (status != SLUICE_OK)
            return status;
    }
    if (!zero)
        q->unstable = true;
    if (step->clusters == 1 && step->length < whole && !fresh) {
        /* One write rather than three. */
        int32_t status = image_chain_read(&q->image, begin, q->scratch, step->head);
        if (status == SLUICE_OK)
            status = image_chain_read(&q->image, end, q->scratch + whole - tail, tail);
        memcpy(q->scratch + step->head, step->bytes, step->length);
        return status == SLUICE_OK ? qcow2_file_write(q, to, q->scratch, whole) : status;
    }
    int32_t status = fill(q, begin, to, step->head, fresh);
    if (status == SLUICE_OK)
        status = qcow2_file_write(q, to + step->head, step->bytes, step->length);
    return status == SLUICE_OK ? fill(q, end, to + step->head + step->length, tail, fresh) : status;
}

/* New clusters for as much of the step as there is in a row; *ret_done bytes are written. */
static int32_t write_new(struct qcow2 *q, struct write_step *step, size_t *ret_done) {
    uint64_t to;
    uint64_t count;
    uint64_t zero_from = q->zero_from;
    int32_t status = qcow2_alloc(q, step->clusters, &to, &count);
    if (status != SLUICE_OK)
        return status;
    step->clusters = (uint32_t)count;
    size_t room = ((size_t)count << q->cluster_bits) - step->head;
    if (step->length > room)
        step->length = room;
    status = write_whole(q, step, to, to >= zero_from);
    struct qcow2_place place;
    if (status == SLUICE_OK)
        status = place_to_write(q, step->offset, &place);
    if (status != SLUICE_OK) {
        qcow2_free_now(q, to >> q->cluster_bits, count);
        return status;
    }
    for (uint32_t i = 0; i < count; i++) {
        free_entry(q, qcow2_entry(&place, i));
        set_entry(&place, i, (to + ((uint64_t)i << q->cluster_bits)) | QCOW2_COPIED);
    }
    entries_changed(q, &place, 0, (uint32_t)count);
    *ret_done = step->length;
    return SLUICE_OK;
}

/* A cluster that is there and marked zero gets its bytes where it is. */
static int32_t write_marked(struct qcow2 *q, struct write_step *step, uint64_t entry,
                            size_t *ret_done) {
    uint64_t to = entry & QCOW2_OFFSET_MASK;
    if (!qcow2_is_sound(q, to) || qcow2_hits_tables(q, to, q->image.cluster_bytes))
        return SLUICE_CORRUPT;
    int32_t status = write_whole(q, step, to, false);
    struct qcow2_place place;
    if (status == SLUICE_OK)
        status = place_to_write(q, step->offset, &place);
    if (status != SLUICE_OK)
        return status;
    set_entry(&place, 0, to | QCOW2_COPIED);
    entries_changed(q, &place, 0, 1);
    *ret_done = step->length;
    return SLUICE_OK;
}

static bool is_marked(const struct qcow2 *q, uint64_t entry) {
    return qcow2_entry_kind(q, entry) == OWN_ZERO && (entry & QCOW2_OFFSET_MASK) != 0 &&
           (entry & QCOW2_COPIED) != 0;
}

/* Cuts the step to clusters that are to be treated alike. */
static void cut(const struct qcow2 *q, const struct qcow2_place *place, struct write_step *step) {
    uint64_t clusters = qcow2_clusters(q, step->head + step->length);
    uint32_t room = qcow2_slice_entries(q) - place->index;
    if (clusters > room)
        clusters = room;
    uint64_t first = qcow2_entry(place, 0);
    uint32_t count = 1;
    if (qcow2_entry_in_place(q, first)) {
        while (count < clusters &&
               qcow2_entry(place, count) == first + ((uint64_t)count << q->cluster_bits))
            count++;
    } else if (!is_marked(q, first)) {
        while (count < clusters && !is_marked(q, qcow2_entry(place, count)) &&
               !qcow2_entry_in_place(q, qcow2_entry(place, count)))
            count++;
    }
    step->clusters = count;
    size_t reach = ((size_t)count << q->cluster_bits) - step->head;
    if (step->length > reach)
        step->length = reach;
}

static int32_t write_step(struct qcow2 *q, struct write_step *step, size_t *ret_done) {
    struct qcow2_place place;
    int32_t status = qcow2_make_room(q);
    if (status == SLUICE_OK)
        status = place_to_write(q, step->offset, &place);
    if (status != SLUICE_OK)
        return status;
    cut(q, &place, step);
    uint64_t entry = qcow2_entry(&place, 0);
    if (is_marked(q, entry))
        return write_marked(q, step, entry, ret_done);
    if (!qcow2_entry_in_place(q, entry))
        return write_new(q, step, ret_done);
    uint64_t to = (entry & QCOW2_OFFSET_MASK) + step->head;
    uint64_t last =
        (entry & QCOW2_OFFSET_MASK) + ((uint64_t)(step->clusters - 1) << q->cluster_bits);
    if (!qcow2_is_sound(q, entry & QCOW2_OFFSET_MASK) || !qcow2_is_sound(q, last) ||
        qcow2_hits_tables(q, to, step->length))
        return SLUICE_CORRUPT;
    *ret_done = step->length;
    return qcow2_file_write(q, to, step->bytes, step->length);
}

int32_t qcow2_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t length) {
    struct qcow2 *q = qcow2_of(image);
    while (length > 0) {
        struct write_step step = {.offset = offset,
                                  .bytes = bytes,
                                  .length = length,
                                  .head = (size_t)(offset & (image->cluster_bytes - 1))};
        size_t done;
        int32_t status = write_step(q, &step, &done);
        if (status != SLUICE_OK)
            return status;
        offset += done;
        bytes += done;
        length -= done;
    }
    return SLUICE_OK;
}

/* ---- zero and trim --------------------------------------------------------------------------- */

/* Clears entries of one slice, from a place on. */
static void clear_in_slice(struct qcow2 *q, const struct qcow2_place *place, uint32_t count,
                           uint64_t entry) {
    uint32_t first = count;
    uint32_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t before = qcow2_entry(place, i);
        if (before == entry)
            continue;
        free_entry(q, before);
        set_entry(place, i, entry);
        first = i < first ? i : first;
        last = i;
    }
    if (first < count)
        entries_changed(q, place, first, last - first + 1);
}

int32_t qcow2_clear(struct qcow2 *q, uint64_t first, uint64_t count, uint64_t entry) {
    while (count > 0) {
        uint64_t offset = first << q->cluster_bits;
        struct qcow2_place place;
        int32_t status = qcow2_make_room(q);
        if (status == SLUICE_OK)
            status =
                entry == 0 ? qcow2_place(q, offset, &place) : place_to_write(q, offset, &place);
        if (status != SLUICE_OK)
            return status;
        uint64_t part = qcow2_slice_entries(q);
        if (place.slice == NULL) {
            /* Nothing is there to be cleared, as far as the table would reach. */
            uint64_t entries = UINT64_C(1) << qcow2_l2_bits(q);
            part = entries - (first & (entries - 1));
        } else {
            part -= place.index;
        }
        if (part > count)
            part = count;
        if (place.slice != NULL)
            clear_in_slice(q, &place, (uint32_t)part, entry);
        first += part;
        count -= part;
    }
    return SLUICE_OK;
}

/* Zeroes as bytes, where it is not zero already. */
static int32_t zero_bytes(struct qcow2 *q, uint64_t offset, uint64_t length, bool hold) {
    bool zero = false;
    int32_t status = hold ? SLUICE_OK : image_chain_is_zero(&q->image, offset, length, &zero);
    while (status == SLUICE_OK && !zero && length > 0) {
        size_t part = length < IMAGE_ZEROES_BYTES ? (size_t)length : IMAGE_ZEROES_BYTES;
        status = qcow2_write(&q->image, offset, image_zeroes, part);
        offset += part;
        length -= part;
    }
    return status;
}

/* Whole clusters. Where L1 has no table and nothing below has bytes, nothing is to be done. */
static int32_t zero_clusters(struct qcow2 *q, uint64_t first, uint64_t count, bool hold) {
    uint64_t entries = UINT64_C(1) << qcow2_l2_bits(q);
    bool below = q->image.has_parent || hold;
    while (count > 0) {
        uint64_t part = entries - (first & (entries - 1));
        if (part > count)
            part = count;
        uint64_t offset = first << q->cluster_bits;
        uint64_t l1_index = first >> qcow2_l2_bits(q);
        int32_t status = qcow2_l1_need(q, l1_index);
        bool table = status == SLUICE_OK && l1_index < q->l1_size &&
                     (q->l1[l1_index] & QCOW2_OFFSET_MASK) != 0;
        bool nothing = false;
        if (status == SLUICE_OK && !table && !hold)
            status = image_chain_is_zero(&q->image, offset, part << q->cluster_bits, &nothing);
        if (status == SLUICE_OK && !nothing)
            status = below && q->version < 3 ? zero_bytes(q, offset, part << q->cluster_bits, hold)
                                             : qcow2_clear(q, first, part, below ? QCOW2_ZERO : 0);
        if (status != SLUICE_OK)
            return status;
        first += part;
        count -= part;
    }
    return SLUICE_OK;
}

/* The whole clusters within a range; the last one of the disk counts as whole. */
static void whole_clusters(const struct qcow2 *q, uint64_t offset, uint64_t length,
                           uint64_t *ret_first, uint64_t *ret_end) {
    uint64_t end = offset + length;
    *ret_first = qcow2_clusters(q, offset);
    *ret_end = end == q->image.size_bytes ? qcow2_clusters(q, end) : end >> q->cluster_bits;
}

int32_t qcow2_zero(struct image *image, uint64_t offset, uint64_t length, bool hold) {
    struct qcow2 *q = qcow2_of(image);
    uint64_t first;
    uint64_t end;
    whole_clusters(q, offset, length, &first, &end);
    if (first >= end)
        return zero_bytes(q, offset, length, hold);
    uint64_t head = (first << q->cluster_bits) - offset;
    int32_t status = zero_bytes(q, offset, head, hold);
    if (status == SLUICE_OK)
        status = zero_clusters(q, first, end - first, hold);
    uint64_t done = (end << q->cluster_bits) - offset;
    if (status == SLUICE_OK && done < length)
        status = zero_bytes(q, offset + done, length - done, hold);
    return status;
}

int32_t qcow2_trim(struct image *image, uint64_t offset, uint64_t length) {
    struct qcow2 *q = qcow2_of(image);
    uint64_t first;
    uint64_t end;
    whole_clusters(q, offset, length, &first, &end);
    if (first >= end)
        return SLUICE_OK;
    /* Version 2 cannot say zero above a parent without writing it. */
    if (q->version < 3 && image->has_parent)
        return SLUICE_UNSUPPORTED;
    return zero_clusters(q, first, end - first, false);
}

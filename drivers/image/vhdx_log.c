/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_log.c: sessions, entries of the log, and what is done with those of a session that did not
 * end.
 */
#include <inttypes.h>
#include <string.h>

#include "image/crc32c.h"
#include "image/vhdx.h"

static uint32_t wrap(const struct vhdx *v, uint64_t at) {
    return (uint32_t)(at % v->header.log_bytes);
}

/* ---- replay ---------------------------------------------------------------------------------- */

/* The log, read whole; entries may run over its end to its begin. */
struct log {
    const struct vhdx *v;
    uint8_t *bytes;
    uint8_t *entry; /* one, in a row; as large as the log */
};

static bool entry_is_sound(const uint8_t *entry, uint32_t length, const uint8_t *guid) {
    uint64_t sequence = vhdx_load64(entry + VHDX_ENTRY_SEQUENCE);
    uint64_t count = vhdx_load32(entry + VHDX_ENTRY_COUNT);
    if (memcmp(entry + VHDX_ENTRY_LOG_GUID, guid, VHDX_GUID_BYTES) != 0 || sequence == 0 ||
        count * VHDX_DESCRIPTOR_BYTES + VHDX_ENTRY_HEAD_BYTES > length ||
        !vhdx_is_sealed(entry, length, VHDX_MARK_ENTRY))
        return false;
    uint64_t page =
        vhdx_divide_up(VHDX_ENTRY_HEAD_BYTES + count * VHDX_DESCRIPTOR_BYTES, VHDX_PAGE_BYTES);
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *descriptor = entry + VHDX_ENTRY_HEAD_BYTES + i * VHDX_DESCRIPTOR_BYTES;
        uint64_t offset = vhdx_load64(descriptor + VHDX_DESCRIPTOR_OFFSET);
        if (vhdx_load64(descriptor + VHDX_DESCRIPTOR_SEQUENCE) != sequence ||
            offset % VHDX_PAGE_BYTES != 0 || offset > 2 * IMAGE_SIZE_MAX)
            return false;
        if (memcmp(descriptor, VHDX_MARK_ZERO, 4) == 0) {
            uint64_t zeroes = vhdx_load64(descriptor + VHDX_DESCRIPTOR_LEADING);
            if (zeroes % VHDX_PAGE_BYTES != 0 || zeroes > 2 * IMAGE_SIZE_MAX)
                return false;
            continue;
        }
        const uint8_t *sector = entry + page * VHDX_PAGE_BYTES;
        if (memcmp(descriptor, VHDX_MARK_DESCRIPTOR, 4) != 0 || ++page * VHDX_PAGE_BYTES > length ||
            memcmp(sector, VHDX_MARK_SECTOR, 4) != 0 ||
            vhdx_load32(sector + VHDX_SECTOR_HIGH) != (uint32_t)(sequence >> 32) ||
            vhdx_load32(sector + VHDX_SECTOR_LOW) != (uint32_t)sequence)
            return false;
    }
    return page * VHDX_PAGE_BYTES == length;
}

/* The entry at `at` into log->entry; its length, or 0 where there is none that is whole. */
static uint32_t entry_load(struct log *log, uint32_t at) {
    const uint8_t *head = log->bytes + at;
    uint32_t length = vhdx_load32(head + VHDX_ENTRY_LENGTH);
    uint32_t log_bytes = log->v->header.log_bytes;
    if (memcmp(head, VHDX_MARK_ENTRY, 4) != 0 || length == 0 || length % VHDX_PAGE_BYTES != 0 ||
        length > log_bytes)
        return 0;
    uint32_t first = length < log_bytes - at ? length : log_bytes - at;
    memcpy(log->entry, head, first);
    memcpy(log->entry + first, log->bytes, length - first);
    return entry_is_sound(log->entry, length, log->v->header.log_guid) ? length : 0;
}

struct found {
    uint64_t sequence; /* of the newest entry; 0: none */
    uint32_t tail;     /* where the oldest that is needed begins */
    uint64_t count;    /* entries from there on */
    uint64_t flushed;
    uint64_t last;
};

/* From `at` on as many entries as follow each other; the newest says where its sequence begins. */
static uint64_t sequence_follow(struct log *log, uint32_t at, struct found *ret) {
    struct found found = {0};
    uint64_t used = 0;
    uint64_t tail_index = UINT64_MAX;
    uint64_t index = 0;
    /* Where entries of this run begin, so that the tail can be found among them. */
    uint32_t length;
    while (used < log->v->header.log_bytes &&
           (length = entry_load(log, wrap(log->v, at + used))) > 0) {
        uint64_t sequence = vhdx_load64(log->entry + VHDX_ENTRY_SEQUENCE);
        if (index > 0 && sequence != found.sequence + 1)
            break;
        found.sequence = sequence;
        found.tail = vhdx_load32(log->entry + VHDX_ENTRY_TAIL);
        found.flushed = vhdx_load64(log->entry + VHDX_ENTRY_FLUSHED);
        found.last = vhdx_load64(log->entry + VHDX_ENTRY_LAST);
        used += length;
        index++;
    }
    /* Again, to find the tail: entries differ in length. */
    uint64_t count = index;
    uint64_t back = 0;
    for (index = 0; index < count; index++) {
        uint32_t here = wrap(log->v, at + back);
        if (here == found.tail)
            tail_index = index;
        back += entry_load(log, here);
    }
    if (tail_index == UINT64_MAX) {
        found.sequence = 0;
    } else {
        found.count = count - tail_index;
    }
    *ret = found;
    return used;
}

static void sequence_find(struct log *log, struct found *ret) {
    *ret = (struct found){0};
    for (uint64_t at = 0; at < log->v->header.log_bytes;) {
        struct found found;
        uint64_t used = sequence_follow(log, (uint32_t)at, &found);
        if (found.sequence > ret->sequence)
            *ret = found;
        at += found.sequence > 0 ? used : VHDX_PAGE_BYTES;
    }
}

static int32_t descriptor_replay(const struct log *log, const uint8_t *descriptor,
                                 const uint8_t **sector) {
    struct image_file *file = log->v->image.file;
    uint64_t offset = vhdx_load64(descriptor + VHDX_DESCRIPTOR_OFFSET);
    if (memcmp(descriptor, VHDX_MARK_ZERO, 4) == 0)
        return image_file_write_zeroes(file, offset,
                                       vhdx_load64(descriptor + VHDX_DESCRIPTOR_LEADING));
    uint8_t page[VHDX_PAGE_BYTES];
    memcpy(page, *sector, sizeof page);
    memcpy(page, descriptor + VHDX_DESCRIPTOR_LEADING, 8);
    memcpy(page + VHDX_SECTOR_LOW, descriptor + VHDX_DESCRIPTOR_TRAILING, 4);
    *sector += VHDX_PAGE_BYTES;
    return file->ops->write(file, offset, page, sizeof page);
}

static int32_t entries_replay(struct log *log, const struct found *found) {
    uint32_t at = found->tail;
    for (uint64_t i = 0; i < found->count; i++) {
        uint32_t length = entry_load(log, at);
        MUST(length > 0); /* it was there a moment ago, in memory */
        uint32_t count = vhdx_load32(log->entry + VHDX_ENTRY_COUNT);
        const uint8_t *sector =
            log->entry +
            vhdx_divide_up(VHDX_ENTRY_HEAD_BYTES + (uint64_t)count * VHDX_DESCRIPTOR_BYTES,
                           VHDX_PAGE_BYTES) *
                VHDX_PAGE_BYTES;
        for (uint32_t k = 0; k < count; k++) {
            int32_t status = descriptor_replay(
                log, log->entry + VHDX_ENTRY_HEAD_BYTES + (size_t)k * VHDX_DESCRIPTOR_BYTES,
                &sector);
            if (status != SLUICE_OK)
                return status;
        }
        at = wrap(log->v, at + length);
    }
    return SLUICE_OK;
}

/* The entries into their places, and no log any more. */
static int32_t found_replay(struct vhdx *v, struct log *log, const struct found *found) {
    struct image_file *file = v->image.file;
    /* The first change of a session: the file is another one, and its log is still the log. */
    struct vhdx_header header = v->header;
    uint64_t bytes;
    int32_t status = vhdx_guid_new(header.file_write);
    if (status == SLUICE_OK)
        status = vhdx_header_write(v, &header);
    if (status == SLUICE_OK)
        status = entries_replay(log, found);
    if (status == SLUICE_OK)
        status = file->ops->size(file, &bytes);
    if (status == SLUICE_OK && bytes < found->last)
        status = file->ops->resize(file, found->last);
    if (status == SLUICE_OK)
        status = file->ops->flush(file);
    header = v->header;
    memset(header.log_guid, 0, sizeof header.log_guid);
    return status == SLUICE_OK ? vhdx_header_write(v, &header) : status;
}

static int32_t log_judge(struct vhdx *v, const struct found *found, struct image_error *error) {
    uint64_t bytes;
    int32_t status = v->image.file->ops->size(v->image.file, &bytes);
    if (status != SLUICE_OK)
        return status;
    if (found->sequence == 0) {
        image_error_set(error, "the VHDX was not closed, and its log is damaged: take it from a "
                               "backup");
        return SLUICE_CORRUPT;
    }
    if (bytes < found->flushed || found->last > 2 * IMAGE_SIZE_MAX) {
        image_error_set(error,
                        "the VHDX was cut: its log knows of %" PRIu64 " bytes, and %" PRIu64
                        " are there; take it from a backup",
                        found->flushed, bytes);
        return SLUICE_CORRUPT;
    }
    if (v->image.read_only) {
        image_error_set(error, "the VHDX was not closed, and its log has changes that are not in "
                               "their places: open it for writing once");
        return SLUICE_READ_ONLY;
    }
    return SLUICE_OK;
}

int32_t vhdx_log_replay(struct vhdx *v, struct image_error *error) {
    if (memcmp(v->header.log_guid, vhdx_guid_zero, VHDX_GUID_BYTES) == 0)
        return SLUICE_OK;
    if (v->header.log_version != 0) {
        image_error_set(error, "version %u of the VHDX's log is not known, only 0",
                        v->header.log_version);
        return SLUICE_UNSUPPORTED;
    }
    uint32_t length = v->header.log_bytes;
    struct log log = {.v = v, .bytes = malloc(length), .entry = malloc(length)};
    int32_t status = log.bytes != NULL && log.entry != NULL ? SLUICE_OK : SLUICE_NO_MEMORY;
    if (status == SLUICE_OK)
        status = v->image.file->ops->read(v->image.file, v->header.log_offset, log.bytes, length);
    if (status == SLUICE_OK) {
        struct found found;
        sequence_find(&log, &found);
        status = log_judge(v, &found, error);
        if (status == SLUICE_OK)
            status = found_replay(v, &log, &found);
    }
    free(log.bytes);
    free(log.entry);
    return status;
}

/* ---- entries --------------------------------------------------------------------------------- */

int32_t vhdx_flush_file(struct vhdx *v) {
    int32_t status = v->image.file->ops->flush(v->image.file);
    if (status == SLUICE_OK)
        v->unstable = false;
    return status;
}

static int32_t log_put(struct vhdx *v, const uint8_t *bytes, uint32_t length) {
    struct image_file *file = v->image.file;
    uint32_t first = v->header.log_bytes - v->log_at;
    if (first > length)
        first = length;
    int32_t status = file->ops->write(file, v->header.log_offset + v->log_at, bytes, first);
    if (status == SLUICE_OK && first < length)
        status = file->ops->write(file, v->header.log_offset, bytes + first, length - first);
    return status;
}

/* Seals the entry with `count` descriptors, writes and flushes it: from here on it is true. */
static int32_t entry_finish(struct vhdx *v, uint32_t count, uint32_t length, bool first) {
    uint8_t *entry = v->entry;
    memcpy(entry, VHDX_MARK_ENTRY, 4);
    vhdx_store32(entry + VHDX_ENTRY_LENGTH, length);
    vhdx_store32(entry + VHDX_ENTRY_TAIL, first ? v->log_at : v->log_tail);
    vhdx_store64(entry + VHDX_ENTRY_SEQUENCE, v->log_sequence + 1);
    vhdx_store32(entry + VHDX_ENTRY_COUNT, count);
    vhdx_store64(entry + VHDX_ENTRY_FLUSHED, v->file_mib * VHDX_MIB);
    vhdx_store64(entry + VHDX_ENTRY_LAST, v->file_mib * VHDX_MIB);
    vhdx_seal(entry, length);
    int32_t status = log_put(v, entry, length);
    if (status == SLUICE_OK)
        status = v->image.file->ops->flush(v->image.file);
    if (status != SLUICE_OK)
        return status;
    v->log_tail = v->log_at;
    v->log_at = wrap(v, v->log_at + length);
    v->log_sequence++;
    return SLUICE_OK;
}

/* What a page shall be. */
static const uint8_t *page_bytes(const struct vhdx *v, uint64_t offset) {
    if (offset >= v->bat_offset && offset - v->bat_offset < v->bat_bytes)
        return v->bat + (offset - v->bat_offset);
    for (uint32_t i = 0; i < v->extra_count; i++)
        if (v->extra[i].offset == offset)
            return v->extra[i].bytes;
    const uint8_t *bytes = table_cache_peek(&v->cache, offset);
    MUST(bytes != NULL); /* dirty slices are not dropped */
    return bytes;
}

static void entry_add(struct vhdx *v, uint32_t index, uint64_t offset) {
    uint64_t sequence = v->log_sequence + 1;
    const uint8_t *page = page_bytes(v, offset);
    uint8_t *descriptor = v->entry + VHDX_ENTRY_HEAD_BYTES + (size_t)index * VHDX_DESCRIPTOR_BYTES;
    uint8_t *sector = v->entry + (size_t)(1 + index) * VHDX_PAGE_BYTES;
    memcpy(descriptor, VHDX_MARK_DESCRIPTOR, 4);
    memcpy(descriptor + VHDX_DESCRIPTOR_TRAILING, page + VHDX_SECTOR_LOW, 4);
    memcpy(descriptor + VHDX_DESCRIPTOR_LEADING, page, 8);
    vhdx_store64(descriptor + VHDX_DESCRIPTOR_OFFSET, offset);
    vhdx_store64(descriptor + VHDX_DESCRIPTOR_SEQUENCE, sequence);
    memcpy(sector, page, VHDX_PAGE_BYTES);
    memcpy(sector, VHDX_MARK_SECTOR, 4);
    vhdx_store32(sector + VHDX_SECTOR_HIGH, (uint32_t)(sequence >> 32));
    vhdx_store32(sector + VHDX_SECTOR_LOW, (uint32_t)sequence);
}

static int32_t pages_place(struct vhdx *v) {
    struct image_file *file = v->image.file;
    for (uint32_t i = 0; i < v->dirty_count; i++) {
        int32_t status =
            file->ops->write(file, v->dirty[i], page_bytes(v, v->dirty[i]), VHDX_PAGE_BYTES);
        if (status != SLUICE_OK)
            return status;
    }
    for (uint32_t i = 0; i < v->dirty_count; i++)
        if (table_cache_peek(&v->cache, v->dirty[i]) != NULL)
            table_cache_written(&v->cache, v->dirty[i]);
    v->dirty_count = 0;
    vhdx_extra_release(v);
    return SLUICE_OK;
}

int32_t vhdx_log_write(struct vhdx *v) {
    if (v->dirty_count == 0)
        return SLUICE_OK;
    int32_t status = vhdx_begin(v, false);
    if (status == SLUICE_OK && v->unstable)
        status = vhdx_flush_file(v);
    if (status != SLUICE_OK)
        return status;
    uint32_t length = (1 + v->dirty_count) * VHDX_PAGE_BYTES;
    memset(v->entry, 0, VHDX_PAGE_BYTES);
    memcpy(v->entry + VHDX_ENTRY_LOG_GUID, v->log_guid, VHDX_GUID_BYTES);
    for (uint32_t i = 0; i < v->dirty_count; i++)
        entry_add(v, i, v->dirty[i]);
    status = entry_finish(v, v->dirty_count, length, false);
    /* What could not be put in its place stays dirty, and the next entry holds it again. */
    v->unplaced = v->unplaced || status == SLUICE_OK;
    if (status == SLUICE_OK)
        status = pages_place(v);
    if (status != SLUICE_OK)
        return status;
    v->unplaced = false;
    vhdx_free_all(v);
    return SLUICE_OK;
}

int32_t vhdx_make_room(struct vhdx *v) {
    if (v->dirty_count + VHDX_STEP_PAGES > VHDX_DIRTY_MAX || v->freed_count == VHDX_FREED_MAX)
        return vhdx_log_write(v);
    return SLUICE_OK;
}

void vhdx_dirty(struct vhdx *v, uint64_t offset) {
    offset -= offset % VHDX_PAGE_BYTES;
    for (uint32_t i = 0; i < v->dirty_count; i++)
        if (v->dirty[i] == offset)
            return;
    MUST(v->dirty_count < VHDX_DIRTY_MAX);
    v->dirty[v->dirty_count++] = offset;
}

/* ---- pages of the head ----------------------------------------------------------------------- */

int32_t vhdx_extra(struct vhdx *v, uint64_t offset, uint8_t **ret_bytes) {
    offset -= offset % VHDX_PAGE_BYTES;
    for (uint32_t i = 0; i < v->extra_count; i++)
        if (v->extra[i].offset == offset) {
            *ret_bytes = v->extra[i].bytes;
            return SLUICE_OK;
        }
    MUST(v->extra_count < VHDX_EXTRA_MAX);
    uint8_t *bytes = malloc((size_t)2 * VHDX_PAGE_BYTES);
    if (bytes == NULL)
        return SLUICE_NO_MEMORY;
    int32_t status = v->image.file->ops->read(v->image.file, offset, bytes, VHDX_PAGE_BYTES);
    if (status != SLUICE_OK) {
        free(bytes);
        return status;
    }
    memcpy(bytes + VHDX_PAGE_BYTES, bytes, VHDX_PAGE_BYTES);
    v->extra[v->extra_count++] = (struct vhdx_extra){offset, bytes};
    vhdx_dirty(v, offset);
    *ret_bytes = bytes;
    return SLUICE_OK;
}

void vhdx_extra_revert(struct vhdx *v) {
    for (uint32_t i = 0; i < v->extra_count; i++)
        memcpy(v->extra[i].bytes, v->extra[i].bytes + VHDX_PAGE_BYTES, VHDX_PAGE_BYTES);
}

void vhdx_extra_release(struct vhdx *v) {
    for (uint32_t i = 0; i < v->extra_count; i++)
        free(v->extra[i].bytes);
    v->extra_count = 0;
}

/* ---- sessions -------------------------------------------------------------------------------- */

/* An entry that changes nothing, so that the log is not empty when the headers name it. It may be
 * written again: it is the same each time. */
static int32_t session_prepare(struct vhdx *v) {
    struct image_file *file = v->image.file;
    uint64_t bytes;
    int32_t status = file->ops->size(file, &bytes);
    /* What an entry says of the file's length is MiB. */
    if (status == SLUICE_OK && bytes != v->file_mib * VHDX_MIB) {
        status = file->ops->resize(file, v->file_mib * VHDX_MIB);
        if (status == SLUICE_OK)
            status = file->ops->flush(file);
    }
    if (status == SLUICE_OK && memcmp(v->log_guid, vhdx_guid_zero, VHDX_GUID_BYTES) == 0)
        status = vhdx_guid_new(v->log_guid);
    if (status != SLUICE_OK)
        return status;
    if (v->entry == NULL)
        v->entry = malloc((1 + VHDX_DIRTY_MAX) * (size_t)VHDX_PAGE_BYTES);
    if (v->entry == NULL)
        return SLUICE_NO_MEMORY;
    v->log_at = 0;
    v->log_sequence = 0;
    memset(v->entry, 0, VHDX_PAGE_BYTES);
    memcpy(v->entry + VHDX_ENTRY_LOG_GUID, v->log_guid, VHDX_GUID_BYTES);
    return entry_finish(v, 0, VHDX_PAGE_BYTES, true);
}

int32_t vhdx_begin(struct vhdx *v, bool visible) {
    visible = visible && !v->data_changed;
    if (v->writing && !v->unsure && !visible)
        return SLUICE_OK;
    struct vhdx_header header = v->header;
    int32_t status = SLUICE_OK;
    if (!v->writing) {
        status = session_prepare(v);
        if (status == SLUICE_OK)
            status = vhdx_guid_new(header.file_write);
    }
    if (status == SLUICE_OK && visible)
        status = vhdx_guid_new(header.data_write);
    memcpy(header.log_guid, v->log_guid, VHDX_GUID_BYTES);
    if (status == SLUICE_OK)
        status = vhdx_header_write(v, &header);
    if (status != SLUICE_OK)
        return status;
    v->writing = true;
    v->unsure = false;
    v->data_changed = v->data_changed || visible;
    return SLUICE_OK;
}

int32_t vhdx_end(struct vhdx *v) {
    if (!v->writing)
        return SLUICE_OK;
    MUST(!v->unplaced);
    int32_t status = vhdx_flush_file(v);
    if (status != SLUICE_OK)
        return status;
    struct vhdx_header header = v->header;
    memset(header.log_guid, 0, sizeof header.log_guid);
    /* From here on one of the headers may say that there is no log. */
    v->unsure = true;
    status = vhdx_header_write(v, &header);
    if (status != SLUICE_OK)
        return status;
    memset(v->log_guid, 0, sizeof v->log_guid);
    v->writing = false;
    v->unsure = false;
    v->data_changed = false;
    return SLUICE_OK;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_head.c: the first cluster: parse, judge, compose, change.
 *
 * What is made here has the name of the parent's format first and no table of feature names, so
 * that the head with the parent's name ends within the first sector, which a disk writes whole or
 * not at all. Extensions that are not known are kept as they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/qcow2.h"

#define KNOWN_INCOMPATIBLE                                                                  \
    (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT | QCOW2_INCOMPATIBLE_DATA_FILE | \
     QCOW2_INCOMPATIBLE_COMPRESSION | QCOW2_INCOMPATIBLE_EXTENDED_L2)

static uint32_t padded(uint32_t bytes) {
    return (bytes + 7) & ~7u;
}

/* ---- judge ----------------------------------------------------------------------------------- */

static int32_t refuse(struct image_error *error, int32_t status, const char *what) {
    image_error_set(error, "%s", what);
    return status;
}

/* Features that are refused, each with the way out. */
static int32_t judge_features(const struct qcow2 *q, const uint8_t *sector,
                              struct image_error *error) {
    if (qcow2_load32(sector + QCOW2_AT_CRYPT_METHOD) != 0)
        return refuse(error, SLUICE_UNSUPPORTED,
                      "the image is encrypted: convert it to one that is not (qemu-img convert)");
    if (qcow2_load32(sector + QCOW2_AT_SNAPSHOTS) != 0)
        return refuse(error, SLUICE_UNSUPPORTED,
                      "the image has snapshots inside, which are not kept here: delete them "
                      "(qemu-img snapshot -d) or convert the image (qemu-img convert)");
    if ((q->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) != 0)
        return refuse(error, SLUICE_UNSUPPORTED,
                      "the image keeps its bytes in another file (data_file): convert it "
                      "(qemu-img convert)");
    if ((q->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0)
        return refuse(error, SLUICE_UNSUPPORTED,
                      "the image is compressed by another method than zlib (zstd): convert it "
                      "(qemu-img convert -O qcow2)");
    if ((q->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0)
        return refuse(error, SLUICE_UNSUPPORTED,
                      "the image has subclusters (extended_l2): convert it "
                      "(qemu-img convert -O qcow2)");
    if ((q->incompatible & ~KNOWN_INCOMPATIBLE) != 0) {
        image_error_set(error, "the image needs features that are not known here: 0x%" PRIx64,
                        q->incompatible & ~KNOWN_INCOMPATIBLE);
        return SLUICE_UNSUPPORTED;
    }
    return SLUICE_OK;
}

static int32_t judge_tables(const struct qcow2 *q, struct image_error *error) {
    uint64_t cluster = q->image.cluster_bytes;
    uint64_t l1_bytes = (uint64_t)q->l1_size * QCOW2_ENTRY_BYTES;
    uint64_t reftable_bytes = q->reftable_size * QCOW2_ENTRY_BYTES;
    if (q->image.size_bytes > IMAGE_SIZE_MAX) {
        image_error_set(error,
                        "the image has %" PRIu64 " bytes, and at most %" PRIu64 " are opened",
                        q->image.size_bytes, IMAGE_SIZE_MAX);
        return SLUICE_LIMIT;
    }
    if (l1_bytes + reftable_bytes > IMAGE_HEAD_BYTES_MAX) {
        image_error_set(error,
                        "the image's top tables have %" PRIu64 " bytes, and at most %" PRIu64
                        " are opened: convert it to larger clusters",
                        l1_bytes + reftable_bytes, IMAGE_HEAD_BYTES_MAX);
        return SLUICE_LIMIT;
    }
    uint64_t entries = qcow2_clusters(q, q->image.size_bytes);
    entries = (entries + (UINT64_C(1) << qcow2_l2_bits(q)) - 1) >> qcow2_l2_bits(q);
    if (q->l1_size < entries)
        return refuse(error, SLUICE_CORRUPT, "the image's L1 table is too short for its size");
    if (q->l1_offset % cluster != 0 || q->l1_offset >= q->file_end + cluster ||
        (q->l1_size > 0 && q->l1_offset == 0) ||
        (q->l1_size > 0 && q->l1_offset + l1_bytes > q->file_end + cluster))
        return refuse(error, SLUICE_CORRUPT, "the image's L1 table is not within the file");
    if (q->reftable_offset % cluster != 0 || q->reftable_offset == 0 || q->reftable_size == 0 ||
        q->reftable_offset >= q->file_end ||
        q->reftable_offset + reftable_bytes > q->file_end + cluster)
        return refuse(error, SLUICE_CORRUPT, "the image's refcount table is not within the file");
    return SLUICE_OK;
}

/* ---- parse ----------------------------------------------------------------------------------- */

/* Fields of the first sector, none of which is believed yet. */
static int32_t parse_fields(struct qcow2 *q, struct image_error *error, uint32_t *ret_header) {
    const uint8_t *sector = q->sector;
    if (qcow2_load32(sector + QCOW2_AT_MAGIC) != QCOW2_MAGIC)
        return refuse(error, SLUICE_CORRUPT, "this is no qcow2 image: its first bytes are others");
    q->version = qcow2_load32(sector + QCOW2_AT_VERSION);
    if (q->version != 2 && q->version != 3) {
        image_error_set(error, "qcow2 version %" PRIu32 " is not known; 2 and 3 are", q->version);
        return SLUICE_UNSUPPORTED;
    }
    q->cluster_bits = qcow2_load32(sector + QCOW2_AT_CLUSTER_BITS);
    if (q->cluster_bits < QCOW2_CLUSTER_BITS_MIN || q->cluster_bits > QCOW2_CLUSTER_BITS_MAX) {
        image_error_set(error, "clusters of 2^%" PRIu32 " bytes are not known; 2^9 to 2^21 are",
                        q->cluster_bits);
        return SLUICE_UNSUPPORTED;
    }
    q->image.cluster_bytes = 1u << q->cluster_bits;
    q->image.size_bytes = qcow2_load64(sector + QCOW2_AT_SIZE);
    q->l1_size = qcow2_load32(sector + QCOW2_AT_L1_SIZE);
    q->l1_offset = qcow2_load64(sector + QCOW2_AT_L1_OFFSET);
    q->reftable_offset = qcow2_load64(sector + QCOW2_AT_REFTABLE_OFFSET);
    q->reftable_size = (uint64_t)qcow2_load32(sector + QCOW2_AT_REFTABLE_CLUSTERS) *
                       (q->image.cluster_bytes / QCOW2_ENTRY_BYTES);
    q->count_order = QCOW2_REFCOUNT_ORDER_MADE;
    *ret_header = QCOW2_V2_HEADER_BYTES;
    if (q->version >= 3) {
        q->incompatible = qcow2_load64(sector + QCOW2_AT_INCOMPATIBLE);
        q->autoclear = qcow2_load64(sector + QCOW2_AT_AUTOCLEAR);
        q->count_order = qcow2_load32(sector + QCOW2_AT_REFCOUNT_ORDER);
        *ret_header = qcow2_load32(sector + QCOW2_AT_HEADER_LENGTH);
    }
    if (q->count_order > QCOW2_REFCOUNT_ORDER_MAX || *ret_header < QCOW2_V2_HEADER_BYTES ||
        (q->version >= 3 && *ret_header < QCOW2_V3_HEADER_BYTES) ||
        *ret_header > q->image.cluster_bytes)
        return refuse(error, SLUICE_CORRUPT,
                      "the image's head makes no sense (refcount order, length)");
    return SLUICE_OK;
}

/* `head` is the first `length` bytes of the file. */
static int32_t parse_extensions(struct qcow2 *q, const uint8_t *head, uint32_t length, uint32_t at,
                                struct image_error *error) {
    uint64_t name_at = qcow2_load64(q->sector + QCOW2_AT_BACKING_OFFSET);
    if (name_at != 0 && name_at < length)
        length = (uint32_t)name_at;
    uint32_t begin = at;
    char format[16] = "";
    bool with_format = false;
    while (at + QCOW2_EXTENSION_HEAD_BYTES <= length) {
        uint32_t type = qcow2_load32(head + at);
        uint32_t bytes = qcow2_load32(head + at + 4);
        if (type == QCOW2_EXTENSION_END)
            break;
        if (bytes > length - at - QCOW2_EXTENSION_HEAD_BYTES ||
            padded(bytes) > length - at - QCOW2_EXTENSION_HEAD_BYTES)
            return refuse(error, SLUICE_CORRUPT, "a header extension of the image has no end");
        if (type == QCOW2_EXTENSION_BACKING_FORMAT) {
            if (bytes >= sizeof format)
                return refuse(error, SLUICE_UNSUPPORTED,
                              "the format of the image's parent is not known");
            memcpy(format, head + at + QCOW2_EXTENSION_HEAD_BYTES, bytes);
            format[bytes] = '\0';
            with_format = true;
        }
        at += QCOW2_EXTENSION_HEAD_BYTES + padded(bytes);
    }
    q->extensions_bytes = at - begin;
    q->extensions = malloc(q->extensions_bytes + 1);
    if (q->extensions == NULL)
        return SLUICE_NO_MEMORY;
    memcpy(q->extensions, head + begin, q->extensions_bytes);
    if (q->image.has_parent && with_format) {
        q->image.parent_format = image_format_of_name(format);
        if (q->image.parent_format == 0) {
            image_error_set(error, "the image's parent is in the format \"%s\", which is not known",
                            format);
            return SLUICE_UNSUPPORTED;
        }
    }
    return SLUICE_OK;
}

static int32_t parse_parent(struct qcow2 *q, const uint8_t *head, uint32_t length,
                            struct image_error *error) {
    uint64_t at = qcow2_load64(q->sector + QCOW2_AT_BACKING_OFFSET);
    uint32_t bytes = qcow2_load32(q->sector + QCOW2_AT_BACKING_SIZE);
    if (at == 0)
        return SLUICE_OK;
    if (bytes == 0 || bytes > QCOW2_BACKING_SIZE_MAX || at > length || bytes > length - at ||
        memchr(head + at, '\0', bytes) != NULL)
        return refuse(error, SLUICE_CORRUPT,
                      "the name of the image's parent is not within its head");
    memcpy(q->image.parent_name, head + at, bytes);
    q->image.parent_name[bytes] = '\0';
    q->image.has_parent = true;
    return SLUICE_OK;
}

/* What may belong to the head: extensions end where the parent's name begins, and who writes one
 * puts it directly behind them. */
static uint32_t head_length(const struct qcow2 *q, uint32_t header) {
    uint64_t most = q->image.cluster_bytes < QCOW2_EXTENSIONS_MAX ? q->image.cluster_bytes
                                                                  : QCOW2_EXTENSIONS_MAX;
    uint64_t at = qcow2_load64(q->sector + QCOW2_AT_BACKING_OFFSET);
    uint64_t bytes = qcow2_load32(q->sector + QCOW2_AT_BACKING_SIZE);
    if (at < header || at >= most || bytes >= most - at)
        return (uint32_t)most;
    return (uint32_t)(at + bytes);
}

int32_t qcow2_head_read(struct qcow2 *q, struct image_error *error) {
    struct image_file *file = q->image.file;
    int32_t status = file->ops->size(file, &q->file_end);
    if (status == SLUICE_OK)
        status = file->ops->read(file, 0, q->sector, sizeof q->sector);
    uint32_t header;
    if (status == SLUICE_OK)
        status = parse_fields(q, error, &header);
    if (status == SLUICE_OK)
        status = judge_features(q, q->sector, error);
    if (status == SLUICE_OK)
        status = judge_tables(q, error);
    if (status != SLUICE_OK)
        return status;
    uint32_t length = head_length(q, header);
    uint8_t *head = malloc(length);
    if (head == NULL)
        return SLUICE_NO_MEMORY;
    status = file->ops->read(file, 0, head, length);
    if (status == SLUICE_OK)
        status = parse_parent(q, head, length, error);
    if (status == SLUICE_OK)
        status = parse_extensions(q, head, length, header, error);
    free(head);
    return status;
}

/* ---- change ---------------------------------------------------------------------------------- */

static void put_extension(uint8_t *at, uint32_t type, const void *bytes, uint32_t length) {
    memset(at, 0, QCOW2_EXTENSION_HEAD_BYTES + padded(length));
    qcow2_store32(at, type);
    qcow2_store32(at + 4, length);
    memcpy(at + QCOW2_EXTENSION_HEAD_BYTES, bytes, length);
}

/* Copies the kept extensions; the table of feature names only when asked to. */
static uint32_t put_kept(const struct qcow2 *q, uint8_t *to, bool names) {
    uint32_t put = 0;
    for (uint32_t at = 0; at < q->extensions_bytes;) {
        uint32_t type = qcow2_load32(q->extensions + at);
        uint32_t whole = QCOW2_EXTENSION_HEAD_BYTES + padded(qcow2_load32(q->extensions + at + 4));
        if (type != QCOW2_EXTENSION_BACKING_FORMAT &&
            (type != QCOW2_EXTENSION_FEATURE_NAMES || names)) {
            if (to != NULL)
                memcpy(to + put, q->extensions + at, whole);
            put += whole;
        }
        at += whole;
    }
    return put;
}

int32_t qcow2_head_compose(const struct qcow2 *q, const char *parent_name, uint32_t parent_format,
                           uint8_t *head, size_t room, size_t *ret_length,
                           struct image_error *error) {
    uint32_t header =
        q->version < 3 ? QCOW2_V2_HEADER_BYTES : qcow2_load32(q->sector + QCOW2_AT_HEADER_LENGTH);
    const char *format = parent_name == NULL ? NULL : image_format_name(parent_format);
    uint32_t name_bytes = parent_name == NULL ? 0 : (uint32_t)strlen(parent_name);
    uint32_t fixed = header + QCOW2_EXTENSION_HEAD_BYTES + name_bytes;
    if (format != NULL)
        fixed += QCOW2_EXTENSION_HEAD_BYTES + padded((uint32_t)strlen(format));
    /* Feature names are for people only: they give way to the atomic write. */
    bool names = fixed + put_kept(q, NULL, true) <= QCOW2_SECTOR_BYTES;
    uint32_t whole = fixed + put_kept(q, NULL, names);
    if (whole > room || header > QCOW2_SECTOR_BYTES) {
        image_error_set(error,
                        "the parent's name does not fit into the image's first cluster: "
                        "%" PRIu32 " bytes",
                        name_bytes);
        return SLUICE_LIMIT;
    }
    memset(head, 0, room);
    memcpy(head, q->sector, header);
    uint32_t at = header;
    if (format != NULL) {
        put_extension(head + at, QCOW2_EXTENSION_BACKING_FORMAT, format, (uint32_t)strlen(format));
        at += QCOW2_EXTENSION_HEAD_BYTES + padded((uint32_t)strlen(format));
    }
    at += put_kept(q, head + at, names);
    at += QCOW2_EXTENSION_HEAD_BYTES; /* the end mark, all zero */
    if (parent_name != NULL)
        memcpy(head + at, parent_name, name_bytes);
    qcow2_store64(head + QCOW2_AT_BACKING_OFFSET, parent_name == NULL ? 0 : at);
    qcow2_store32(head + QCOW2_AT_BACKING_SIZE, name_bytes);
    *ret_length = whole;
    return SLUICE_OK;
}

int32_t qcow2_head_change(struct qcow2 *q, const uint8_t before[QCOW2_SECTOR_BYTES]) {
    int32_t status = qcow2_file_write(q, 0, q->sector, sizeof q->sector);
    if (status == SLUICE_OK)
        status = qcow2_file_flush(q);
    if (status != SLUICE_OK)
        memcpy(q->sector, before, QCOW2_SECTOR_BYTES);
    return status;
}

int32_t qcow2_set_parent(struct image *image, const char *name, uint32_t format,
                         const struct image *parent, struct image_error *error) {
    (void)parent; /* the name alone says who it is */
    struct qcow2 *q = qcow2_of(image);
    uint32_t room =
        image->cluster_bytes < QCOW2_EXTENSIONS_MAX ? image->cluster_bytes : QCOW2_EXTENSIONS_MAX;
    /* What is read must be the same without the old parent, also after a power failure. */
    int32_t status = qcow2_commit(image, true);
    if (status != SLUICE_OK)
        return status;
    uint8_t *head = malloc(room);
    if (head == NULL)
        return SLUICE_NO_MEMORY;
    size_t length = 0;
    status = qcow2_head_compose(q, name, format, head, room, &length, error);
    if (status == SLUICE_OK) {
        /* Whole sectors; all of it is the first one unless a name is very long. */
        length = (length + QCOW2_SECTOR_BYTES - 1) / QCOW2_SECTOR_BYTES * QCOW2_SECTOR_BYTES;
        status = qcow2_file_write(q, 0, head, length);
    }
    if (status == SLUICE_OK)
        status = qcow2_file_flush(q);
    if (status == SLUICE_OK)
        memcpy(q->sector, head, sizeof q->sector);
    free(head);
    return status;
}

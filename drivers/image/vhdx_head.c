/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_head.c: headers, region tables and the metadata region.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "image/crc32c.h"
#include "image/vhdx.h"

#define CHECKSUM_AT 4u /* of headers and region tables alike */

const uint8_t vhdx_guid_zero[VHDX_GUID_BYTES];
const uint8_t vhdx_item_locator[VHDX_GUID_BYTES] = VHDX_ITEM_LOCATOR;
static const uint8_t region_bat[VHDX_GUID_BYTES] = VHDX_REGION_BAT;
static const uint8_t region_metadata[VHDX_GUID_BYTES] = VHDX_REGION_METADATA;
static const uint8_t item_parameters[VHDX_GUID_BYTES] = VHDX_ITEM_PARAMETERS;
static const uint8_t item_disk_size[VHDX_GUID_BYTES] = VHDX_ITEM_DISK_SIZE;
static const uint8_t item_disk_id[VHDX_GUID_BYTES] = VHDX_ITEM_DISK_ID;
static const uint8_t item_logical[VHDX_GUID_BYTES] = VHDX_ITEM_LOGICAL;
static const uint8_t item_physical[VHDX_GUID_BYTES] = VHDX_ITEM_PHYSICAL;
static const uint32_t header_at[2] = {VHDX_AT_HEADER_FIRST, VHDX_AT_HEADER_SECOND};
static const uint32_t regions_at[2] = {VHDX_AT_REGIONS_FIRST, VHDX_AT_REGIONS_SECOND};

int32_t vhdx_guid_new(uint8_t ret_guid[VHDX_GUID_BYTES]) {
    if (getrandom(ret_guid, VHDX_GUID_BYTES, 0) != VHDX_GUID_BYTES)
        return SLUICE_IO;
    ret_guid[7] = (uint8_t)((ret_guid[7] & 0x0f) | 0x40); /* RFC 4122: version 4, random */
    ret_guid[8] = (uint8_t)((ret_guid[8] & 0x3f) | 0x80);
    return SLUICE_OK;
}

static uint32_t checksum(const uint8_t *bytes, size_t length) {
    uint32_t crc = crc32c(0, bytes, CHECKSUM_AT);
    crc = crc32c(crc, image_zeroes, 4);
    return crc32c(crc, bytes + CHECKSUM_AT + 4, length - CHECKSUM_AT - 4);
}

void vhdx_seal(uint8_t *bytes, size_t length) {
    vhdx_store32(bytes + CHECKSUM_AT, checksum(bytes, length));
}

bool vhdx_is_sealed(const uint8_t *bytes, size_t length, const char *mark) {
    return memcmp(bytes, mark, 4) == 0 &&
           vhdx_load32(bytes + CHECKSUM_AT) == checksum(bytes, length);
}

/* ---- headers --------------------------------------------------------------------------------- */

static void header_parse(const uint8_t *bytes, struct vhdx_header *ret) {
    ret->sequence = vhdx_load64(bytes + VHDX_HEADER_SEQUENCE);
    memcpy(ret->file_write, bytes + VHDX_HEADER_FILE_WRITE, VHDX_GUID_BYTES);
    memcpy(ret->data_write, bytes + VHDX_HEADER_DATA_WRITE, VHDX_GUID_BYTES);
    memcpy(ret->log_guid, bytes + VHDX_HEADER_LOG_GUID, VHDX_GUID_BYTES);
    ret->log_version = vhdx_load16(bytes + VHDX_HEADER_LOG_VERSION);
    ret->log_bytes = vhdx_load32(bytes + VHDX_HEADER_LOG_LENGTH);
    ret->log_offset = vhdx_load64(bytes + VHDX_HEADER_LOG_OFFSET);
}

static void header_compose(const struct vhdx_header *header, uint8_t *bytes) {
    memset(bytes, 0, VHDX_HEADER_BYTES);
    memcpy(bytes, VHDX_MARK_HEADER, 4);
    vhdx_store64(bytes + VHDX_HEADER_SEQUENCE, header->sequence);
    memcpy(bytes + VHDX_HEADER_FILE_WRITE, header->file_write, VHDX_GUID_BYTES);
    memcpy(bytes + VHDX_HEADER_DATA_WRITE, header->data_write, VHDX_GUID_BYTES);
    memcpy(bytes + VHDX_HEADER_LOG_GUID, header->log_guid, VHDX_GUID_BYTES);
    vhdx_store16(bytes + VHDX_HEADER_VERSION, 1);
    vhdx_store32(bytes + VHDX_HEADER_LOG_LENGTH, header->log_bytes);
    vhdx_store64(bytes + VHDX_HEADER_LOG_OFFSET, header->log_offset);
    vhdx_seal(bytes, VHDX_HEADER_BYTES);
}

int32_t vhdx_header_read(struct vhdx *v, struct image_error *error) {
    uint8_t bytes[2][VHDX_HEADER_BYTES];
    struct image_file *file = v->image.file;
    int32_t status = file->ops->read(file, 0, bytes[0], sizeof bytes[0]);
    if (status == SLUICE_OK && memcmp(bytes[0], VHDX_SIGNATURE, 8) != 0) {
        image_error_set(error, "this is no VHDX: it does not begin with vhdxfile");
        return SLUICE_CORRUPT;
    }
    uint32_t good = 2;
    for (uint32_t i = 0; i < 2 && status == SLUICE_OK; i++) {
        status = file->ops->read(file, header_at[i], bytes[i], sizeof bytes[i]);
        if (status != SLUICE_OK || !vhdx_is_sealed(bytes[i], sizeof bytes[i], VHDX_MARK_HEADER))
            continue;
        if (good == 2 || vhdx_load64(bytes[i] + VHDX_HEADER_SEQUENCE) >
                             vhdx_load64(bytes[good] + VHDX_HEADER_SEQUENCE))
            good = i;
    }
    if (status != SLUICE_OK)
        return status;
    if (good == 2) {
        image_error_set(error, "both headers of the VHDX are damaged: take it from a backup");
        return SLUICE_CORRUPT;
    }
    v->current = good;
    header_parse(bytes[good], &v->header);
    if (vhdx_load16(bytes[good] + VHDX_HEADER_VERSION) != 1) {
        image_error_set(error, "version %u of VHDX is not known, only 1",
                        vhdx_load16(bytes[good] + VHDX_HEADER_VERSION));
        return SLUICE_UNSUPPORTED;
    }
    const struct vhdx_header *h = &v->header;
    if (h->log_bytes == 0 || h->log_bytes % VHDX_MIB != 0 || h->log_offset % VHDX_MIB != 0 ||
        h->log_offset < VHDX_MIB || h->log_offset > IMAGE_SIZE_MAX) {
        image_error_set(error, "the log of the VHDX cannot be %" PRIu32 " bytes at %" PRIu64,
                        h->log_bytes, h->log_offset);
        return SLUICE_CORRUPT;
    }
    if (h->log_bytes > VHDX_LOG_BYTES_MAX) {
        image_error_set(error, "the log of the VHDX has %" PRIu32 " bytes, and at most %u are read",
                        h->log_bytes, VHDX_LOG_BYTES_MAX);
        return SLUICE_LIMIT;
    }
    return SLUICE_OK;
}

int32_t vhdx_header_write(struct vhdx *v, const struct vhdx_header *header) {
    struct vhdx_header next = *header;
    struct image_file *file = v->image.file;
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t bytes[VHDX_HEADER_BYTES];
        next.sequence = v->header.sequence + 1;
        header_compose(&next, bytes);
        int32_t status = file->ops->write(file, header_at[1 - v->current], bytes, sizeof bytes);
        if (status == SLUICE_OK)
            status = file->ops->flush(file);
        if (status != SLUICE_OK)
            return status;
        v->current = 1 - v->current;
        v->header = next;
    }
    return SLUICE_OK;
}

/* ---- region tables --------------------------------------------------------------------------- */

static int32_t region_judge(struct vhdx *v, const uint8_t *entry, struct image_error *error) {
    uint64_t offset = vhdx_load64(entry + VHDX_REGION_OFFSET);
    uint64_t length = vhdx_load32(entry + VHDX_REGION_LENGTH);
    if (offset % VHDX_MIB != 0 || offset < VHDX_MIB || offset > IMAGE_SIZE_MAX ||
        length % VHDX_MIB != 0 || length == 0) {
        image_error_set(error, "a region of the VHDX cannot be %" PRIu64 " bytes at %" PRIu64,
                        length, offset);
        return SLUICE_CORRUPT;
    }
    if (memcmp(entry, region_bat, VHDX_GUID_BYTES) == 0) {
        v->bat_offset = offset;
        v->bat_bytes = length;
    } else if (memcmp(entry, region_metadata, VHDX_GUID_BYTES) == 0) {
        v->metadata_offset = offset;
        v->metadata_bytes = length;
    } else if ((vhdx_load32(entry + VHDX_REGION_REQUIRED) & 1) != 0) {
        image_error_set(error, "the VHDX has a region that is required and not known here");
        return SLUICE_UNSUPPORTED;
    }
    return SLUICE_OK;
}

static int32_t regions_read(struct vhdx *v, struct image_error *error) {
    struct image_file *file = v->image.file;
    v->regions = malloc(VHDX_REGIONS_BYTES);
    if (v->regions == NULL)
        return SLUICE_NO_MEMORY;
    uint32_t good = 2;
    /* The first one last, so that it stays where both are whole. */
    for (uint32_t i = 2; i-- > 0;) {
        int32_t status = file->ops->read(file, regions_at[i], v->regions, VHDX_REGIONS_BYTES);
        if (status != SLUICE_OK)
            return status;
        if (vhdx_is_sealed(v->regions, VHDX_REGIONS_BYTES, VHDX_MARK_REGIONS)) {
            v->region_copies |= 1u << i;
            good = i;
        }
    }
    if (good == 2) {
        image_error_set(error, "both region tables of the VHDX are damaged: take it from a backup");
        return SLUICE_CORRUPT;
    }
    if (good == 1) {
        int32_t status = file->ops->read(file, regions_at[1], v->regions, VHDX_REGIONS_BYTES);
        if (status != SLUICE_OK)
            return status;
    }
    uint32_t count = vhdx_load32(v->regions + VHDX_REGIONS_COUNT);
    if (count > VHDX_ENTRIES_MAX) {
        image_error_set(error, "the VHDX cannot have %" PRIu32 " regions", count);
        return SLUICE_CORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        int32_t status = region_judge(
            v, v->regions + VHDX_REGIONS_ENTRIES + (size_t)i * VHDX_REGION_BYTES, error);
        if (status != SLUICE_OK)
            return status;
    }
    if (v->bat_offset == 0 || v->metadata_offset == 0) {
        image_error_set(error, "the VHDX has no %s", v->bat_offset == 0 ? "BAT" : "metadata");
        return SLUICE_CORRUPT;
    }
    return SLUICE_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

struct wanted {
    const uint8_t *id;
    uint32_t length; /* 0: any */
    struct vhdx_item item;
};
enum { PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL, PHYSICAL, LOCATOR, WANTED };

static int32_t item_judge(const struct vhdx *v, uint32_t index, struct wanted *wanted,
                          struct image_error *error) {
    const uint8_t *entry = v->metadata + VHDX_METADATA_ENTRIES + (size_t)index * VHDX_ITEM_BYTES;
    uint32_t flags = vhdx_load32(entry + VHDX_ITEM_FLAGS);
    struct vhdx_item item = {.entry = index,
                             .offset = vhdx_load32(entry + VHDX_ITEM_OFFSET),
                             .length = vhdx_load32(entry + VHDX_ITEM_LENGTH)};
    if (item.length != 0 && (item.offset < VHDX_METADATA_BYTES || item.length > VHDX_MIB ||
                             (uint64_t)item.offset + item.length > v->metadata_bytes)) {
        image_error_set(error, "an item of the VHDX's metadata lies outside of its region");
        return SLUICE_CORRUPT;
    }
    for (uint32_t i = 0; i < WANTED && (flags & VHDX_ITEM_IS_USER) == 0; i++) {
        if (memcmp(entry + VHDX_ITEM_ID, wanted[i].id, VHDX_GUID_BYTES) != 0)
            continue;
        if (wanted[i].item.length != 0 || item.length == 0 ||
            (wanted[i].length != 0 && item.length != wanted[i].length)) {
            image_error_set(error, "an item of the VHDX's metadata is there twice, or too short");
            return SLUICE_CORRUPT;
        }
        wanted[i].item = item;
        return SLUICE_OK;
    }
    if ((flags & VHDX_ITEM_IS_REQUIRED) != 0) {
        image_error_set(error, "the VHDX has metadata that is required and not known here");
        return SLUICE_UNSUPPORTED;
    }
    return SLUICE_OK;
}

static int32_t item_read(const struct vhdx *v, const struct wanted *wanted, void *ret_bytes) {
    struct image_file *file = v->image.file;
    return file->ops->read(file, v->metadata_offset + wanted->item.offset, ret_bytes,
                           wanted->item.length);
}

static int32_t locator_read(struct vhdx *v, const struct wanted *wanted,
                            struct image_error *error) {
    if (wanted->item.length == 0 || wanted->item.length > VHDX_LOCATOR_BYTES_MAX) {
        image_error_set(error, "the VHDX has a parent, and does not say which");
        return SLUICE_CORRUPT;
    }
    uint8_t *bytes = malloc(wanted->item.length);
    if (bytes == NULL)
        return SLUICE_NO_MEMORY;
    int32_t status = item_read(v, wanted, bytes);
    if (status == SLUICE_OK)
        status = vhdx_locator_parse(v, bytes, wanted->item.length, error);
    free(bytes);
    return status;
}

static bool is_power_within(uint32_t value, uint32_t low, uint32_t high) {
    return value >= low && value <= high && (value & (value - 1)) == 0;
}

static int32_t values_read(struct vhdx *v, const struct wanted *wanted, struct image_error *error) {
    uint8_t parameters[VHDX_PARAMETERS_BYTES];
    uint8_t size[8];
    uint8_t logical[4];
    uint8_t physical[4];
    int32_t status = item_read(v, &wanted[PARAMETERS], parameters);
    if (status == SLUICE_OK)
        status = item_read(v, &wanted[DISK_SIZE], size);
    if (status == SLUICE_OK)
        status = item_read(v, &wanted[DISK_ID], v->disk_id);
    if (status == SLUICE_OK)
        status = item_read(v, &wanted[LOGICAL], logical);
    if (status == SLUICE_OK)
        status = item_read(v, &wanted[PHYSICAL], physical);
    if (status != SLUICE_OK)
        return status;
    uint32_t flags = vhdx_load32(parameters + 4);
    v->block_bytes = vhdx_load32(parameters);
    v->sector_bytes = vhdx_load32(logical);
    v->image.size_bytes = vhdx_load64(size);
    v->image.has_parent = (flags & VHDX_HAS_PARENT) != 0;
    v->fixed = (flags & VHDX_LEAVE_ALLOCATED) != 0 && !v->image.has_parent;
    if (!is_power_within(v->block_bytes, VHDX_BLOCK_BYTES_MIN, VHDX_BLOCK_BYTES_MAX) ||
        (v->sector_bytes != 512 && v->sector_bytes != 4096) ||
        v->image.size_bytes % v->sector_bytes != 0) {
        image_error_set(error,
                        "blocks of %" PRIu32 " bytes, sectors of %" PRIu32 " and a disk of %" PRIu64
                        " make no VHDX",
                        v->block_bytes, v->sector_bytes, v->image.size_bytes);
        return SLUICE_CORRUPT;
    }
    if (v->image.size_bytes > IMAGE_SIZE_MAX) {
        image_error_set(error, "a VHDX of %" PRIu64 " bytes is not opened, at most %" PRIu64,
                        v->image.size_bytes, IMAGE_SIZE_MAX);
        return SLUICE_LIMIT;
    }
    return v->image.has_parent ? locator_read(v, &wanted[LOCATOR], error) : SLUICE_OK;
}

static int32_t metadata_read(struct vhdx *v, struct image_error *error) {
    struct image_file *file = v->image.file;
    v->metadata = malloc(VHDX_METADATA_BYTES);
    if (v->metadata == NULL)
        return SLUICE_NO_MEMORY;
    int32_t status = file->ops->read(file, v->metadata_offset, v->metadata, VHDX_METADATA_BYTES);
    if (status != SLUICE_OK)
        return status;
    uint32_t count = vhdx_load16(v->metadata + VHDX_METADATA_COUNT);
    if (memcmp(v->metadata, VHDX_MARK_METADATA, 8) != 0 || count > VHDX_ENTRIES_MAX) {
        image_error_set(error, "the metadata of the VHDX is damaged: take it from a backup");
        return SLUICE_CORRUPT;
    }
    struct wanted wanted[WANTED] = {
        [PARAMETERS] = {.id = item_parameters, .length = VHDX_PARAMETERS_BYTES},
        [DISK_SIZE] = {.id = item_disk_size, .length = 8},
        [DISK_ID] = {.id = item_disk_id, .length = VHDX_GUID_BYTES},
        [LOGICAL] = {.id = item_logical, .length = 4},
        [PHYSICAL] = {.id = item_physical, .length = 4},
        [LOCATOR] = {.id = vhdx_item_locator},
    };
    for (uint32_t i = 0; i < count && status == SLUICE_OK; i++)
        status = item_judge(v, i, wanted, error);
    if (status != SLUICE_OK)
        return status;
    for (uint32_t i = 0; i < LOCATOR; i++)
        if (wanted[i].item.length == 0) {
            image_error_set(error, "the metadata of the VHDX is not complete");
            return SLUICE_CORRUPT;
        }
    v->parameters = wanted[PARAMETERS].item;
    v->disk_size = wanted[DISK_SIZE].item;
    v->locator = wanted[LOCATOR].item;
    return values_read(v, wanted, error);
}

int32_t vhdx_head_read(struct vhdx *v, struct image_error *error) {
    int32_t status = regions_read(v, error);
    return status == SLUICE_OK ? metadata_read(v, error) : status;
}

/* ---- a new file ------------------------------------------------------------------------------ */

static void region_add(uint8_t *table, const uint8_t *guid, uint64_t offset, uint64_t length) {
    uint32_t index = vhdx_load32(table + VHDX_REGIONS_COUNT);
    uint8_t *entry = table + VHDX_REGIONS_ENTRIES + (size_t)index * VHDX_REGION_BYTES;
    memcpy(entry + VHDX_REGION_GUID, guid, VHDX_GUID_BYTES);
    vhdx_store64(entry + VHDX_REGION_OFFSET, offset);
    vhdx_store32(entry + VHDX_REGION_LENGTH, (uint32_t)length);
    vhdx_store32(entry + VHDX_REGION_REQUIRED, 1);
    vhdx_store32(table + VHDX_REGIONS_COUNT, index + 1);
}

static void item_add(uint8_t *table, const uint8_t *guid, uint32_t flags, uint32_t offset,
                     const void *bytes, uint32_t length) {
    uint32_t index = vhdx_load16(table + VHDX_METADATA_COUNT);
    uint8_t *entry = table + VHDX_METADATA_ENTRIES + (size_t)index * VHDX_ITEM_BYTES;
    memcpy(entry + VHDX_ITEM_ID, guid, VHDX_GUID_BYTES);
    vhdx_store32(entry + VHDX_ITEM_OFFSET, offset);
    vhdx_store32(entry + VHDX_ITEM_LENGTH, length);
    vhdx_store32(entry + VHDX_ITEM_FLAGS, flags | VHDX_ITEM_IS_REQUIRED);
    vhdx_store16(table + VHDX_METADATA_COUNT, index + 1);
    memcpy(table + offset, bytes, length);
}

/* The items lie in the page behind the table, the locator in the one after. */
static int32_t metadata_make(struct image_file *file, const struct vhdx_made *made,
                             uint8_t *bytes) {
    enum { ITEMS = VHDX_METADATA_BYTES, LENGTH = ITEMS + 2 * VHDX_PAGE_BYTES };
    uint8_t parameters[VHDX_PARAMETERS_BYTES];
    uint8_t size[8];
    uint8_t logical[4];
    uint8_t physical[4];
    vhdx_store32(parameters, made->block_bytes);
    vhdx_store32(parameters + 4, made->flags);
    vhdx_store64(size, made->size_bytes);
    vhdx_store32(logical, 512);
    vhdx_store32(physical, 4096);
    memset(bytes, 0, LENGTH);
    memcpy(bytes, VHDX_MARK_METADATA, 8);
    item_add(bytes, item_parameters, 0, ITEMS, parameters, sizeof parameters);
    item_add(bytes, item_disk_size, VHDX_ITEM_IS_DISK, ITEMS + 8, size, sizeof size);
    item_add(bytes, item_disk_id, VHDX_ITEM_IS_DISK, ITEMS + 16, made->disk_id, VHDX_GUID_BYTES);
    item_add(bytes, item_logical, VHDX_ITEM_IS_DISK, ITEMS + 32, logical, sizeof logical);
    item_add(bytes, item_physical, VHDX_ITEM_IS_DISK, ITEMS + 36, physical, sizeof physical);
    if (made->locator != NULL)
        item_add(bytes, vhdx_item_locator, 0, ITEMS + VHDX_PAGE_BYTES, made->locator,
                 made->locator_bytes);
    return file->ops->write(file, VHDX_MADE_METADATA, bytes, LENGTH);
}

static int32_t headers_make(struct image_file *file, uint8_t *bytes) {
    struct vhdx_header header = {.log_offset = VHDX_MADE_LOG, .log_bytes = VHDX_LOG_BYTES_MADE};
    int32_t status = vhdx_guid_new(header.file_write);
    if (status == SLUICE_OK)
        status = vhdx_guid_new(header.data_write);
    for (uint32_t i = 0; i < 2 && status == SLUICE_OK; i++) {
        header.sequence = i;
        header_compose(&header, bytes);
        status = file->ops->write(file, header_at[i], bytes, VHDX_HEADER_BYTES);
    }
    return status;
}

int32_t vhdx_head_make(struct image_file *file, const struct vhdx_made *made) {
    static const char creator[] = "Sluice";
    uint8_t *bytes = calloc(1, VHDX_METADATA_BYTES + 2 * VHDX_PAGE_BYTES);
    if (bytes == NULL)
        return SLUICE_NO_MEMORY;
    region_add(bytes, region_bat, VHDX_MADE_BAT, made->bat_bytes);
    region_add(bytes, region_metadata, VHDX_MADE_METADATA, VHDX_MIB);
    memcpy(bytes, VHDX_MARK_REGIONS, 4);
    vhdx_seal(bytes, VHDX_REGIONS_BYTES);
    int32_t status = SLUICE_OK;
    for (uint32_t i = 0; i < 2 && status == SLUICE_OK; i++)
        status = file->ops->write(file, regions_at[i], bytes, VHDX_REGIONS_BYTES);
    if (status == SLUICE_OK)
        status = metadata_make(file, made, bytes);
    if (status == SLUICE_OK)
        status = headers_make(file, bytes);
    if (status == SLUICE_OK) {
        memset(bytes, 0, VHDX_PAGE_BYTES);
        memcpy(bytes, VHDX_SIGNATURE, 8);
        for (uint32_t i = 0; creator[i] != '\0'; i++)
            vhdx_store16(bytes + VHDX_AT_CREATOR + (size_t)i * 2, (uint8_t)creator[i]);
        status = file->ops->write(file, 0, bytes, VHDX_PAGE_BYTES);
    }
    free(bytes);
    return status;
}

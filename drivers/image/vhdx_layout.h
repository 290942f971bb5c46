/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_layout.h: VHDX on disk, with the section of the specification beside each group.
 *
 * Source: [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format". All numbers are little endian; they
 * are loaded and stored by byte, so no struct here is laid over a buffer. Offsets are in bytes.
 */
#ifndef IMAGE_VHDX_LAYOUT_H
#define IMAGE_VHDX_LAYOUT_H

#include <stdint.h>

#define VHDX_MIB (UINT64_C(1) << 20) /* 2.1: regions, log and blocks lie at multiples of it */
#define VHDX_PAGE_BYTES 4096u        /* 2.3: what the log replaces at a time */
#define VHDX_GUID_BYTES 16u

/* The binary form of a GUID: its first three numbers are little endian. */
#define VHDX_GUID(a, b, c, ...)                                                              \
    {                                                                                        \
        (uint8_t)(a), (uint8_t)((uint32_t)(a) >> 8), (uint8_t)((uint32_t)(a) >> 16),         \
            (uint8_t)((uint32_t)(a) >> 24), (uint8_t)(b), (uint8_t)((b) >> 8), (uint8_t)(c), \
            (uint8_t)((c) >> 8), __VA_ARGS__                                                 \
    }

/* 2.2: where the parts of the header section lie. */
#define VHDX_SIGNATURE "vhdxfile" /* 2.2.1, at 0; the name of the maker follows in UTF-16 */
#define VHDX_AT_CREATOR 8u
#define VHDX_AT_HEADER_FIRST (64u << 10)
#define VHDX_AT_HEADER_SECOND (128u << 10)
#define VHDX_AT_REGIONS_FIRST (192u << 10)
#define VHDX_AT_REGIONS_SECOND (256u << 10)

/* 2.2.2: a header, 4 KiB. */
enum vhdx_header_field {
    VHDX_HEADER_SIGNATURE = 0,    /* 4: "head" */
    VHDX_HEADER_CHECKSUM = 4,     /* 4: CRC-32C of all, itself as zero */
    VHDX_HEADER_SEQUENCE = 8,     /* 8: the higher one counts */
    VHDX_HEADER_FILE_WRITE = 16,  /* 16: new before the first change of a session */
    VHDX_HEADER_DATA_WRITE = 32,  /* 16: new before the first change that a reader can see */
    VHDX_HEADER_LOG_GUID = 48,    /* 16: of the entries that count; zero: the log is empty */
    VHDX_HEADER_LOG_VERSION = 64, /* 2: 0 */
    VHDX_HEADER_VERSION = 66,     /* 2: 1 */
    VHDX_HEADER_LOG_LENGTH = 68,  /* 4: MiB */
    VHDX_HEADER_LOG_OFFSET = 72,  /* 8: MiB */
    VHDX_HEADER_BYTES = 4096,
};
#define VHDX_MARK_HEADER "head"

/* 2.2.3: a region table, 64 KiB. */
enum vhdx_regions_field {
    VHDX_REGIONS_SIGNATURE = 0, /* 4: "regi" */
    VHDX_REGIONS_CHECKSUM = 4,  /* 4: CRC-32C of all, itself as zero */
    VHDX_REGIONS_COUNT = 8,     /* 4 */
    VHDX_REGIONS_ENTRIES = 16,
    VHDX_REGIONS_BYTES = 65536,
    VHDX_REGION_GUID = 0,      /* 16; the fields of an entry */
    VHDX_REGION_OFFSET = 16,   /* 8: MiB */
    VHDX_REGION_LENGTH = 24,   /* 4: MiB */
    VHDX_REGION_REQUIRED = 28, /* 4: 1: who does not know it must not open the file */
    VHDX_REGION_BYTES = 32,
};
#define VHDX_MARK_REGIONS "regi"
#define VHDX_ENTRIES_MAX 2047u /* of a region table and of a metadata table */
#define VHDX_REGION_BAT \
    VHDX_GUID(0x2DC27766, 0xF623, 0x4200, 0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08)
#define VHDX_REGION_METADATA \
    VHDX_GUID(0x8B7CA206, 0x4790, 0x4B9A, 0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E)

/* 2.3.1: an entry of the log: descriptors, padded to a page, and a page for each data descriptor.
 */
enum vhdx_log_field {
    VHDX_ENTRY_SIGNATURE = 0, /* 4: "loge" */
    VHDX_ENTRY_CHECKSUM = 4,  /* 4: CRC-32C of the whole entry, itself as zero */
    VHDX_ENTRY_LENGTH = 8,    /* 4: pages */
    VHDX_ENTRY_TAIL = 12,     /* 4: where the oldest entry begins that is still needed */
    VHDX_ENTRY_SEQUENCE = 16, /* 8: one more than the entry before */
    VHDX_ENTRY_COUNT = 24,    /* 4: descriptors */
    VHDX_ENTRY_LOG_GUID = 32, /* 16: as in the header */
    VHDX_ENTRY_FLUSHED = 48,  /* 8: a shorter file was truncated */
    VHDX_ENTRY_LAST = 56,     /* 8: the file has to be so long at least */
    VHDX_ENTRY_HEAD_BYTES = 64,
    VHDX_DESCRIPTOR_SIGNATURE = 0, /* 4: "desc" or "zero" */
    VHDX_DESCRIPTOR_TRAILING = 4,  /* 4: desc: the page's last 4 bytes */
    VHDX_DESCRIPTOR_LEADING = 8,   /* 8: desc: its first 8; zero: bytes to be zeroed */
    VHDX_DESCRIPTOR_OFFSET = 16,   /* 8: in the file, pages */
    VHDX_DESCRIPTOR_SEQUENCE = 24, /* 8: as the entry's */
    VHDX_DESCRIPTOR_BYTES = 32,
    VHDX_SECTOR_SIGNATURE = 0, /* 4: "data" */
    VHDX_SECTOR_HIGH = 4,      /* 4: of the sequence number */
    VHDX_SECTOR_MIDDLE = 8,    /* 4084: the page without its ends */
    VHDX_SECTOR_LOW = 4092,    /* 4: of the sequence number */
};
#define VHDX_MARK_ENTRY "loge"
#define VHDX_MARK_DESCRIPTOR "desc"
#define VHDX_MARK_ZERO "zero"
#define VHDX_MARK_SECTOR "data"

/* 2.5.1: an entry of the BAT: the state in 3 bits, the place in MiB from bit 20 on. */
enum vhdx_state {
    VHDX_NOT_PRESENT = 0, /* a payload block: the parent's, or zeroes; a bitmap: there is none */
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_FULL = 6, /* also of a bitmap block that is there */
    VHDX_PARTIAL = 7,
};
#define VHDX_STATE_MASK UINT64_C(7)
#define VHDX_OFFSET_MASK (~(VHDX_MIB - 1))
#define VHDX_RESERVED_MASK (VHDX_MIB - 1 - VHDX_STATE_MASK)
#define VHDX_BAT_ENTRY_BYTES 8u
#define VHDX_CHUNK_SECTORS (UINT64_C(1) << 23) /* 2.4: that one bitmap block of 1 MiB speaks of */
#define VHDX_PAGE_SECTORS (VHDX_PAGE_BYTES * 8u)

/* 2.6: the metadata region begins with a table of 64 KiB. */
enum vhdx_metadata_field {
    VHDX_METADATA_SIGNATURE = 0, /* 8: "metadata" */
    VHDX_METADATA_COUNT = 10,    /* 2 */
    VHDX_METADATA_ENTRIES = 32,
    VHDX_METADATA_BYTES = 65536,
    VHDX_ITEM_ID = 0,      /* 16; the fields of an entry */
    VHDX_ITEM_OFFSET = 16, /* 4: in the region, from 64 KiB on */
    VHDX_ITEM_LENGTH = 20, /* 4 */
    VHDX_ITEM_FLAGS = 24,  /* 4 */
    VHDX_ITEM_BYTES = 32,
};
#define VHDX_MARK_METADATA "metadata"
#define VHDX_ITEM_IS_USER 1u
#define VHDX_ITEM_IS_DISK 2u
#define VHDX_ITEM_IS_REQUIRED 4u

/* 2.6.2: the items that are known. */
#define VHDX_ITEM_PARAMETERS \
    VHDX_GUID(0xCAA16737, 0xFA36, 0x4D43, 0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B)
#define VHDX_ITEM_DISK_SIZE \
    VHDX_GUID(0x2FA54224, 0xCD1B, 0x4876, 0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8)
#define VHDX_ITEM_DISK_ID \
    VHDX_GUID(0xBECA12AB, 0xB2E6, 0x4523, 0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46)
#define VHDX_ITEM_LOGICAL \
    VHDX_GUID(0x8141BF1D, 0xA96F, 0x4709, 0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F)
#define VHDX_ITEM_PHYSICAL \
    VHDX_GUID(0xCDA348C7, 0x445D, 0x4471, 0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56)
#define VHDX_ITEM_LOCATOR \
    VHDX_GUID(0xA8D35F2D, 0xB30B, 0x454D, 0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C)

/* 2.6.2.1: file parameters: block size (4), flags (4). */
#define VHDX_PARAMETERS_BYTES 8u
#define VHDX_LEAVE_ALLOCATED 1u /* a fixed disk */
#define VHDX_HAS_PARENT 2u
#define VHDX_BLOCK_BYTES_MIN (UINT32_C(1) << 20)
#define VHDX_BLOCK_BYTES_MAX (UINT32_C(256) << 20)

/* 2.6.2.6: a parent locator: its type, how many pairs, then where each key and value is. */
enum vhdx_locator_field {
    VHDX_LOCATOR_TYPE = 0,   /* 16 */
    VHDX_LOCATOR_COUNT = 18, /* 2 */
    VHDX_LOCATOR_ENTRIES = 20,
    VHDX_PAIR_KEY_OFFSET = 0,    /* 4; the fields of a pair; in the item */
    VHDX_PAIR_VALUE_OFFSET = 4,  /* 4 */
    VHDX_PAIR_KEY_LENGTH = 8,    /* 2: bytes of UTF-16 without a NUL */
    VHDX_PAIR_VALUE_LENGTH = 10, /* 2 */
    VHDX_PAIR_BYTES = 12,
};
#define VHDX_LOCATOR_IS_VHDX \
    VHDX_GUID(0xB04AEFB7, 0xD19E, 0x4A81, 0xB7, 0x89, 0x25, 0xB8, 0xE9, 0x44, 0x59, 0x13)
#define VHDX_LINKAGE_CHARACTERS 38u /* a GUID in braces */

_Static_assert(VHDX_PAGE_BYTES == VHDX_HEADER_BYTES, "a header is a page");
_Static_assert(VHDX_SECTOR_MIDDLE + 4084 == VHDX_SECTOR_LOW, "4084 bytes lie between the ends");
_Static_assert(VHDX_REGIONS_ENTRIES + VHDX_ENTRIES_MAX * VHDX_REGION_BYTES <= VHDX_REGIONS_BYTES,
               "the table has room for all its entries");
_Static_assert(VHDX_METADATA_ENTRIES + VHDX_ENTRIES_MAX * VHDX_ITEM_BYTES <= VHDX_METADATA_BYTES,
               "the table has room for all its entries");

static inline uint32_t vhdx_load16(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}
static inline uint32_t vhdx_load32(const uint8_t *at) {
    return vhdx_load16(at) | vhdx_load16(at + 2) << 16;
}
static inline uint64_t vhdx_load64(const uint8_t *at) {
    return vhdx_load32(at) | (uint64_t)vhdx_load32(at + 4) << 32;
}
static inline void vhdx_store16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}
static inline void vhdx_store32(uint8_t *at, uint32_t value) {
    vhdx_store16(at, value);
    vhdx_store16(at + 2, value >> 16);
}
static inline void vhdx_store64(uint8_t *at, uint64_t value) {
    vhdx_store32(at, (uint32_t)value);
    vhdx_store32(at + 4, (uint32_t)(value >> 32));
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_layout.h: qcow2 on disk, with the section of the specification beside each group.
 *
 * Source: "The QCOW2 format", QEMU's docs/interop/qcow2.txt (versions 2 and 3). All numbers are big
 * endian; they are loaded and stored by byte, so no struct here is laid over a buffer. Offsets are
 * in bytes.
 */
#ifndef IMAGE_QCOW2_LAYOUT_H
#define IMAGE_QCOW2_LAYOUT_H

#include <stdint.h>

#define QCOW2_SECTOR_BYTES 512u /* what a disk writes whole or not at all */

/* Section "Header": offset of each field. */
enum qcow2_header {
    QCOW2_AT_MAGIC = 0,               /* 4: "QFI\xfb" */
    QCOW2_AT_VERSION = 4,             /* 4: 2 or 3 */
    QCOW2_AT_BACKING_OFFSET = 8,      /* 8: of the parent's name, no NUL behind it; 0: none */
    QCOW2_AT_BACKING_SIZE = 16,       /* 4: bytes of the name, at most 1023 */
    QCOW2_AT_CLUSTER_BITS = 20,       /* 4: 9 or more */
    QCOW2_AT_SIZE = 24,               /* 8: bytes of the disk */
    QCOW2_AT_CRYPT_METHOD = 32,       /* 4: 0 none */
    QCOW2_AT_L1_SIZE = 36,            /* 4: entries */
    QCOW2_AT_L1_OFFSET = 40,          /* 8: of a cluster */
    QCOW2_AT_REFTABLE_OFFSET = 48,    /* 8: of a cluster */
    QCOW2_AT_REFTABLE_CLUSTERS = 56,  /* 4: clusters */
    QCOW2_AT_SNAPSHOTS = 60,          /* 4: how many */
    QCOW2_AT_SNAPSHOTS_OFFSET = 64,   /* 8 */
    QCOW2_V2_HEADER_BYTES = 72,       /* version 2 ends here */
    QCOW2_AT_INCOMPATIBLE = 72,       /* 8: who knows not all of these must not open it */
    QCOW2_AT_COMPATIBLE = 80,         /* 8: may be ignored */
    QCOW2_AT_AUTOCLEAR = 88,          /* 8: who writes and knows one not clears it */
    QCOW2_AT_REFCOUNT_ORDER = 96,     /* 4: a count has 1 << order bits; version 2: 4 */
    QCOW2_AT_HEADER_LENGTH = 100,     /* 4: a multiple of 8 */
    QCOW2_V3_HEADER_BYTES = 104,      /* the shortest of version 3 */
    QCOW2_AT_COMPRESSION_TYPE = 104,  /* 1, and 7 of padding: 0 deflate, 1 zstd */
    QCOW2_V3_HEADER_BYTES_MADE = 112, /* what is made here, with the compression type */
};

#define QCOW2_MAGIC UINT32_C(0x514649fb)
#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_REFCOUNT_ORDER_MAX 6u
#define QCOW2_REFCOUNT_ORDER_MADE 4u
#define QCOW2_BACKING_SIZE_MAX 1023u

/* Section "Header", incompatible, compatible and autoclear features. */
#define QCOW2_INCOMPATIBLE_DIRTY (UINT64_C(1) << 0)       /* counts may be wrong */
#define QCOW2_INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)     /* must not be written */
#define QCOW2_INCOMPATIBLE_DATA_FILE (UINT64_C(1) << 2)   /* guest bytes are in another file */
#define QCOW2_INCOMPATIBLE_COMPRESSION (UINT64_C(1) << 3) /* not deflate */
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4) /* subclusters */
#define QCOW2_COMPATIBLE_LAZY (UINT64_C(1) << 0)          /* may be left dirty; never done here */

/* Section "Header extensions": type (4), length (4), then so many bytes, padded to 8. */
#define QCOW2_EXTENSION_HEAD_BYTES 8u
#define QCOW2_EXTENSION_END UINT32_C(0)
#define QCOW2_EXTENSION_BACKING_FORMAT UINT32_C(0xe2792aca)
#define QCOW2_EXTENSION_FEATURE_NAMES UINT32_C(0x6803f857)

/* Section "Cluster mapping table": an entry of L1 or L2 is 8 bytes. */
#define QCOW2_ENTRY_BYTES 8u
#define QCOW2_ENTRY_BITS 3u
#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED (UINT64_C(1) << 63)     /* the count of what it names is exactly 1 */
#define QCOW2_COMPRESSED (UINT64_C(1) << 62) /* L2 only */
#define QCOW2_ZERO (UINT64_C(1) << 0)        /* L2 only, version 3: reads as zeroes */

/* Section "Cluster mapping table", compressed clusters: with x = 62 - (cluster_bits - 8), bits 0 to
 * x-1 are the offset of the first byte, bits x to 61 the number of further sectors that it reaches
 * into. */
#define QCOW2_PACKED_OFFSET_BITS(cluster_bits) (62u - ((cluster_bits)-8u))

/* Section "Host cluster management": an entry of the refcount table is 8 bytes, the offset of a
 * block, a cluster of counts. */
#define QCOW2_REFTABLE_MASK UINT64_C(0xfffffffffffffe00)

_Static_assert(QCOW2_V2_HEADER_BYTES == QCOW2_AT_INCOMPATIBLE, "version 3 goes on where 2 ends");
_Static_assert(QCOW2_V3_HEADER_BYTES_MADE % 8 == 0, "extensions are aligned to 8");
_Static_assert(1u << QCOW2_ENTRY_BITS == QCOW2_ENTRY_BYTES, "entries are a power of two");

static inline uint32_t qcow2_load32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t qcow2_load64(const uint8_t *at) {
    return (uint64_t)qcow2_load32(at) << 32 | qcow2_load32(at + 4);
}

static inline void qcow2_store32(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void qcow2_store64(uint8_t *at, uint64_t value) {
    qcow2_store32(at, (uint32_t)(value >> 32));
    qcow2_store32(at + 4, (uint32_t)value);
}

#endif

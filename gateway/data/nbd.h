/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd.h: numbers of the NBD protocol (the NetworkBlockDevice project, doc/proto.md) and what both
 * halves of our server know of an export. All integers on the wire are big-endian.
 */
#ifndef SLUICE_DATA_NBD_H
#define SLUICE_DATA_NBD_H

#include <stdbool.h>
#include <stdint.h>

#define NBD_INIT_MAGIC UINT64_C(0x4e42444d41474943)
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054)
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_STRUCTURED_MAGIC 0x668e33efu

#define NBD_NAME_MAX 255
#define NBD_PAYLOAD_MAX (32u * 1024 * 1024) /* of one request; advertised as maximum block size */
#define NBD_REQUEST_SIZE 28
#define NBD_SIMPLE_SIZE 16
#define NBD_CHUNK_SIZE 20
#define NBD_META_ALLOCATION 1 /* our id of base:allocation */

enum nbd_handshake_flag { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 };

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ACK 1u
#define NBD_REP_SERVER 2u
#define NBD_REP_INFO 3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERR_UNSUP 0x80000001u
#define NBD_REP_ERR_POLICY 0x80000002u
#define NBD_REP_ERR_INVALID 0x80000003u
#define NBD_REP_ERR_TLS_REQD 0x80000005u
#define NBD_REP_ERR_UNKNOWN 0x80000006u
#define NBD_REP_ERR_TOO_BIG 0x80000009u

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_BLOCK_SIZE = 3 };

enum nbd_export_flag {
    NBD_HAS_FLAGS = 1,
    NBD_READ_ONLY = 2,
    NBD_SEND_FLUSH = 4,
    NBD_SEND_FUA = 8,
    NBD_SEND_TRIM = 32,
    NBD_SEND_WRITE_ZEROES = 64,
    NBD_SEND_DF = 128,
    NBD_CAN_MULTI_CONN = 256,
    NBD_SEND_FAST_ZERO = 2048,
};

enum nbd_type {
    NBD_READ = 0,
    NBD_WRITE = 1,
    NBD_DISC = 2,
    NBD_FLUSH = 3,
    NBD_TRIM = 4,
    NBD_WRITE_ZEROES = 6,
    NBD_BLOCK_STATUS = 7,
};

enum nbd_command_flag {
    NBD_FUA = 1,
    NBD_NO_HOLE = 2,
    NBD_DF = 4,
    NBD_REQ_ONE = 8,
    NBD_FAST_ZERO = 16,
};

enum nbd_chunk {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_OFFSET_DATA = 1,
    NBD_CHUNK_BLOCK_STATUS = 5,
    NBD_CHUNK_ERROR = 0x8001,
};
#define NBD_CHUNK_DONE 1

enum nbd_error {
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

#define NBD_STATE_HOLE 1
#define NBD_STATE_ZERO 2

/* What clients are told of an export. */
struct nbd_export {
    char name[NBD_NAME_MAX + 1];
    uint64_t size_bytes;
    uint16_t flags; /* enum nbd_export_flag */
    uint32_t block_min, block_preferred, block_max;
};

/* Bytes as the protocol has them. */
static inline void nbd_store_16(uint8_t *to, uint16_t value) {
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}
static inline void nbd_store_32(uint8_t *to, uint32_t value) {
    nbd_store_16(to, (uint16_t)(value >> 16));
    nbd_store_16(to + 2, (uint16_t)value);
}
static inline void nbd_store_64(uint8_t *to, uint64_t value) {
    nbd_store_32(to, (uint32_t)(value >> 32));
    nbd_store_32(to + 4, (uint32_t)value);
}
static inline uint16_t nbd_load_16(const uint8_t *from) {
    return (uint16_t)(from[0] << 8 | from[1]);
}
static inline uint32_t nbd_load_32(const uint8_t *from) {
    return (uint32_t)nbd_load_16(from) << 16 | nbd_load_16(from + 2);
}
static inline uint64_t nbd_load_64(const uint8_t *from) {
    return (uint64_t)nbd_load_32(from) << 32 | nbd_load_32(from + 4);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_reply.c: see nbd_reply.h.
 */
#include "data/nbd_reply.h"

#include "base/check.h"
#include <sluice/types.h>

static const struct {
    int32_t status;
    uint32_t error;
} errors[] = {
    {SLUICE_OK, 0},
    {SLUICE_INVALID, NBD_EINVAL},
    {SLUICE_NO_SPACE, NBD_ENOSPC},
    {SLUICE_QUOTA, NBD_ENOSPC},
    {SLUICE_ACCESS, NBD_EPERM},
    {SLUICE_READ_ONLY, NBD_EPERM},
    {SLUICE_UNSUPPORTED, NBD_ENOTSUP},
    {SLUICE_LIMIT, NBD_EINVAL},
    {SLUICE_STALE, NBD_ESHUTDOWN},
    {SLUICE_CANCELLED, NBD_ESHUTDOWN},
    {SLUICE_NO_MEMORY, NBD_ENOMEM},
};

uint32_t nbd_error_of(int32_t status) {
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].status == status)
            return errors[i].error;
    return NBD_EIO;
}

size_t nbd_reply_simple(uint8_t *to, uint64_t cookie, uint32_t error) {
    nbd_store_32(to, NBD_SIMPLE_MAGIC);
    nbd_store_32(to + 4, error);
    nbd_store_64(to + 8, cookie);
    return NBD_SIMPLE_SIZE;
}

static void put_chunk(uint8_t *to, uint16_t flags, uint16_t type, uint64_t cookie,
                      uint32_t length) {
    nbd_store_32(to, NBD_STRUCTURED_MAGIC);
    nbd_store_16(to + 4, flags);
    nbd_store_16(to + 6, type);
    nbd_store_64(to + 8, cookie);
    nbd_store_32(to + 16, length);
}

size_t nbd_reply_data(uint8_t *to, uint64_t cookie, uint64_t offset, uint32_t length, bool done) {
    put_chunk(to, done ? NBD_CHUNK_DONE : 0, NBD_CHUNK_OFFSET_DATA, cookie, length + 8);
    nbd_store_64(to + NBD_CHUNK_SIZE, offset);
    return NBD_CHUNK_SIZE + 8;
}

size_t nbd_reply_error(uint8_t *to, uint64_t cookie, uint32_t error) {
    put_chunk(to, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, cookie, 6);
    nbd_store_32(to + NBD_CHUNK_SIZE, error);
    nbd_store_16(to + NBD_CHUNK_SIZE + 4, 0);
    return NBD_CHUNK_SIZE + 6;
}

size_t nbd_reply_extents(uint8_t *to, uint64_t cookie, const struct nbd_extent *extents,
                         uint32_t count) {
    CHECK(count >= 1 && count <= NBD_EXTENTS_MAX);
    put_chunk(to, NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS, cookie, 4 + 8 * count);
    uint8_t *at = to + NBD_CHUNK_SIZE;
    nbd_store_32(at, NBD_META_ALLOCATION);
    at += 4;
    for (uint32_t i = 0; i < count; i++, at += 8) {
        nbd_store_32(at, extents[i].length);
        nbd_store_32(at + 4, extents[i].flags);
    }
    return (size_t)(at - to);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_reply.h: replies of the transmission phase, over buffers: the header of each; payload follows
 * from where it lies. Each returns the bytes it wrote.
 */
#ifndef SLUICE_DATA_NBD_REPLY_H
#define SLUICE_DATA_NBD_REPLY_H

#include <stddef.h>

#include "data/nbd.h"

#define NBD_DATA_HEADER_MAX 28 /* of what precedes the bytes of a read, and of an error chunk */
#define NBD_EXTENTS_MAX 32     /* entries of one answer; a client asks again for what is missing */
#define NBD_REPLY_MAX (NBD_CHUNK_SIZE + 4 + 8 * NBD_EXTENTS_MAX)

struct nbd_extent {
    uint32_t length;
    uint32_t flags; /* NBD_STATE_* */
};

size_t nbd_reply_simple(uint8_t *to, uint64_t cookie, uint32_t error);
size_t nbd_reply_data(uint8_t *to, uint64_t cookie, uint64_t offset, uint32_t length, bool done);
/* Ends the reply of a request. */
size_t nbd_reply_error(uint8_t *to, uint64_t cookie, uint32_t error);
/* 1 to NBD_EXTENTS_MAX extents. Ends the reply. */
size_t nbd_reply_extents(uint8_t *to, uint64_t cookie, const struct nbd_extent *extents,
                         uint32_t count);

/* The enum nbd_error of an enum sluice_status, 0 for OK. */
uint32_t nbd_error_of(int32_t status);

#endif

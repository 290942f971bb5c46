/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_request.h: requests of the transmission phase, over buffers.
 *
 * A header is parsed, then judged against the export. A request that is refused is answered with
 * an error and costs nobody the framing: its payload is skipped (nbd_request_payload). Only a wrong
 * magic ends a connection.
 */
#ifndef SLUICE_DATA_NBD_REQUEST_H
#define SLUICE_DATA_NBD_REQUEST_H

#include "data/nbd.h"

/* Up to here a read that must not be fragmented is answered; the protocol lets us refuse others. */
#define NBD_UNFRAGMENTED_MAX 65536

struct nbd_request {
    uint16_t flags; /* enum nbd_command_flag */
    uint16_t type;  /* enum nbd_type, or unknown */
    uint64_t cookie;
    uint64_t offset;
    uint32_t length;
};

struct nbd_terms { /* what was agreed on in the handshake */
    const struct nbd_export *export;
    uint64_t size_bytes; /* as it is now */
    bool structured;
    bool allocation;
};

/* Takes NBD_REQUEST_SIZE bytes. false: the magic is wrong. */
bool nbd_request_parse(const uint8_t *bytes, struct nbd_request *ret);
/* Bytes that follow the header, whatever else is wrong with it. */
uint32_t nbd_request_payload(const struct nbd_request *request);
/* 0, or the enum nbd_error to answer with. */
uint32_t nbd_request_judge(const struct nbd_request *request, const struct nbd_terms *terms);

#endif

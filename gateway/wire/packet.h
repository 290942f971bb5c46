/* SPDX-License-Identifier: Apache-2.0
 *
 * packet.h: the frame that every packet has, whichever table its number is of (layout: message.h).
 *
 * No state, any thread.
 */
#ifndef SLUICE_WIRE_PACKET_H
#define SLUICE_WIRE_PACKET_H

#include "base/shape.h"

/* Appends one packet to an empty buf (max at most WIRE_PACKET_MAX). Without memory buf->overflow is
 * set. */
void packet_encode(uint16_t number, uint64_t call_id, const struct shape *shape, const void *body,
                   struct buf *buf);

struct packet {
    uint16_t number;
    uint64_t call_id;
    const uint8_t *body;
    size_t length; /* of the body */
};

/* Reads the frame. false: a breach (PROTOCOL). ret->body points into `bytes`. */
bool packet_open(const void *bytes, size_t length, struct packet *ret, struct err *err);

/* Decodes the body into the arena; `name` is the message's, for err. NULL: a breach. */
const void *packet_body(const struct packet *packet, const char *name, const struct shape *shape,
                        struct arena *arena, struct err *err);

#endif

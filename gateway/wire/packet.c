/* SPDX-License-Identifier: Apache-2.0
 *
 * packet.c: see packet.h.
 */
#include "wire/packet.h"

#include "base/check.h"
#include "wire/message.h"

#define LENGTH_OFFSET 4

void packet_encode(uint16_t number, uint64_t call_id, const struct shape *shape, const void *body,
                   struct buf *buf) {
    CHECK(buf->length == 0 && buf->max <= WIRE_PACKET_MAX);
    buf_put_u16(buf, WIRE_MAGIC);
    buf_put_u16(buf, number);
    buf_put_u32(buf, 0); /* known when the body is there */
    buf_put_u64(buf, call_id);
    shape_encode(shape, body, buf);
    if (buf->overflow)
        return;
    size_t length = buf->length - WIRE_HEADER_SIZE;
    for (size_t i = 0; i < 4; i++)
        buf->at[LENGTH_OFFSET + i] = (uint8_t)(length >> (8 * i));
}

bool packet_open(const void *bytes, size_t length, struct packet *ret, struct err *err) {
    if (length < WIRE_HEADER_SIZE || length > WIRE_PACKET_MAX)
        return err_set(err, ERR_PROTOCOL, "a packet of %zu bytes", length);
    struct reader reader;
    reader_init(&reader, bytes, length);
    if (reader_u16(&reader) != WIRE_MAGIC)
        return err_set(err, ERR_PROTOCOL, "a packet without the magic");
    uint16_t number = reader_u16(&reader);
    if (reader_u32(&reader) != length - WIRE_HEADER_SIZE)
        return err_set(err, ERR_PROTOCOL, "the length in the header is not that of the body");
    uint64_t call_id = reader_u64(&reader);
    *ret = (struct packet){
        .number = number, .call_id = call_id, .body = reader.at, .length = reader.left};
    return true;
}

const void *packet_body(const struct packet *packet, const char *name, const struct shape *shape,
                        struct arena *arena, struct err *err) {
    struct err cause = ERR_INIT;
    void *body = arena_alloc(arena, shape->size);
    if (body == NULL) {
        err_set(err, ERR_PROTOCOL, "no memory for a message: %s", name);
        return NULL;
    }
    if (!shape_decode(shape, packet->body, packet->length, arena, body, &cause)) {
        err_set(err, ERR_PROTOCOL, "%s: %s", name, cause.text);
        return NULL;
    }
    return body;
}

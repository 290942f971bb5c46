/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: the table of messages expanded from data.def, and the codec over it.
 */
#include "wire/data.h"

#include "base/check.h"
#include "wire/packet.h"

#define NUMBERS 32 /* numbers of data.def are below it */

SHAPE_DEFINE(data_nothing, 1, DATA_NOTHING_FIELDS)
SHAPE_DEFINE(data_hello, 1, DATA_HELLO_FIELDS)
SHAPE_DEFINE(data_sync, 1, DATA_SYNC_FIELDS)
SHAPE_DEFINE(data_has, 1, DATA_HAS_FIELDS)
SHAPE_DEFINE(data_ping, 1, DATA_PING_FIELDS)
SHAPE_DEFINE(data_pong, 2, DATA_PONG_FIELDS)
SHAPE_DEFINE(data_ring, 1, DATA_RING_FIELDS)
SHAPE_DEFINE(data_wanted, 1, DATA_WANTED_FIELDS)
SHAPE_DEFINE(data_still, 1, DATA_STILL_FIELDS)
SHAPE_DEFINE(data_export, 2, DATA_EXPORT_FIELDS)
SHAPE_DEFINE(data_volume_open, 1, DATA_VOLUME_OPEN_FIELDS)
SHAPE_DEFINE(data_unexport, 1, DATA_UNEXPORT_FIELDS)
SHAPE_DEFINE(data_listen, 1, DATA_LISTEN_FIELDS)

struct row {
    const char *name;
    enum data_sender sender;
    uint32_t descriptors;
    const struct shape *body;
};

static const struct row rows[NUMBERS] = {
#define DATA_MESSAGE(NAME, number, side, count, shape, sentence) \
    [number] = {.name = #NAME,                                   \
                .sender = DATA_SENDER_##side,                    \
                .descriptors = count,                            \
                .body = &shape##_shape},
#include "wire/data.def"
#undef DATA_MESSAGE
};

static const struct row *row_of(uint32_t number) {
    return number < NUMBERS && rows[number].name != NULL ? &rows[number] : NULL;
}

void data_encode(enum data_number number, const void *body, struct buf *buf) {
    const struct row *row = row_of(number);
    CHECK(row != NULL);
    packet_encode((uint16_t)number, 0, row->body, body, buf);
}

uint32_t data_descriptors(enum data_number number) {
    const struct row *row = row_of(number);
    CHECK(row != NULL);
    return row->descriptors;
}

bool data_decode(const void *bytes, size_t length, uint32_t descriptors, enum data_sender from,
                 struct arena *arena, enum data_number *ret_number, const void **ret_body,
                 struct err *err) {
    struct packet packet;
    if (!packet_open(bytes, length, &packet, err))
        return false;
    const struct row *row = row_of(packet.number);
    if (row == NULL)
        return err_set(err, ERR_PROTOCOL, "no message has the number %u", packet.number);
    if (row->sender != from)
        return err_set(err, ERR_PROTOCOL, "a message of the other side: %s", row->name);
    if (packet.call_id != 0)
        return err_set(err, ERR_PROTOCOL, "a call id where none belongs: %s", row->name);
    if (descriptors != row->descriptors)
        return err_set(err, ERR_PROTOCOL, "%s with %u descriptors", row->name, descriptors);
    const void *body = packet_body(&packet, row->name, row->body, arena, err);
    if (body == NULL)
        return false;
    *ret_number = (enum data_number)packet.number;
    *ret_body = body;
    return true;
}

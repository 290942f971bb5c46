/* SPDX-License-Identifier: Apache-2.0
 *
 * message.c: the table of messages expanded from message.def, and the codec over it.
 */
#include "wire/message.h"

#include "base/check.h"
#include "wire/packet.h"

SHAPE_DEFINE(wire_nothing, 1, WIRE_NOTHING_FIELDS)
SHAPE_DEFINE(wire_hello, 1, WIRE_HELLO_FIELDS)
SHAPE_DEFINE(wire_load, 1, WIRE_LOAD_FIELDS)
SHAPE_DEFINE(wire_loaded, 1, WIRE_LOADED_FIELDS)
SHAPE_DEFINE(wire_refused, 1, WIRE_REFUSED_FIELDS)
SHAPE_DEFINE(wire_resume, 1, WIRE_RESUME_FIELDS)
SHAPE_DEFINE(wire_resumed, 1, WIRE_RESUMED_FIELDS)
SHAPE_DEFINE(wire_ping, 1, WIRE_PING_FIELDS)
SHAPE_DEFINE(wire_pong, 1, WIRE_PONG_FIELDS)
SHAPE_DEFINE(wire_reply, 1, WIRE_REPLY_FIELDS)
SHAPE_DEFINE(wire_event, 1, WIRE_EVENT_FIELDS)
SHAPE_DEFINE(wire_log, 1, WIRE_LOG_FIELDS)
SHAPE_DEFINE(wire_stop, 1, WIRE_STOP_FIELDS)
SHAPE_DEFINE(wire_bye, 1, WIRE_BYE_FIELDS)
SHAPE_DEFINE(wire_health, 1, WIRE_HEALTH_FIELDS)
SHAPE_DEFINE(wire_configure, 1, WIRE_CONFIGURE_FIELDS)
SHAPE_DEFINE(wire_pool_open, 1, WIRE_POOL_OPEN_FIELDS)
SHAPE_DEFINE(wire_pool, 1, WIRE_POOL_FIELDS)
SHAPE_DEFINE(wire_capacity, 1, WIRE_CAPACITY_FIELDS)
SHAPE_DEFINE(wire_volume_create, 1, WIRE_VOLUME_CREATE_FIELDS)
SHAPE_DEFINE(wire_volume_id, 1, WIRE_VOLUME_ID_FIELDS)
SHAPE_DEFINE(wire_volume, 1, WIRE_VOLUME_FIELDS)
SHAPE_DEFINE(wire_list, 1, WIRE_LIST_FIELDS)
SHAPE_DEFINE(wire_page, 1, WIRE_PAGE_FIELDS)
SHAPE_DEFINE(wire_volume_resize, 1, WIRE_VOLUME_RESIZE_FIELDS)
SHAPE_DEFINE(wire_volume_revert, 1, WIRE_VOLUME_REVERT_FIELDS)
SHAPE_DEFINE(wire_volume_adopt, 1, WIRE_VOLUME_ADOPT_FIELDS)
SHAPE_DEFINE(wire_reference, 1, WIRE_REFERENCE_FIELDS)
SHAPE_DEFINE(wire_snapshot_create, 1, WIRE_SNAPSHOT_CREATE_FIELDS)
SHAPE_DEFINE(wire_snapshot_id, 1, WIRE_SNAPSHOT_ID_FIELDS)
SHAPE_DEFINE(wire_snapshot, 1, WIRE_SNAPSHOT_FIELDS)
SHAPE_DEFINE(wire_access_grant, 1, WIRE_ACCESS_GRANT_FIELDS)
SHAPE_DEFINE(wire_access_revoke, 1, WIRE_ACCESS_REVOKE_FIELDS)
SHAPE_DEFINE(wire_connection, 1, WIRE_CONNECTION_FIELDS)
SHAPE_DEFINE(wire_ring_attach, 1, WIRE_RING_ATTACH_FIELDS)
SHAPE_DEFINE(wire_data_open, 1, WIRE_DATA_OPEN_FIELDS)
SHAPE_DEFINE(wire_data_opened, 1, WIRE_DATA_OPENED_FIELDS)
SHAPE_DEFINE(wire_data_close, 1, WIRE_DATA_CLOSE_FIELDS)

static const struct wire_row rows[WIRE_NUMBERS] = {
#define WIRE_MESSAGE(NAME, number, side, when, shape, sentence) \
    [number] = {.name = #NAME, .sender = WIRE_##side, .states = when, .body = &shape##_shape},
#define WIRE_CALL(NAME, number, when, args, answer, volume, sentence) \
    [number] = {.name = #NAME,                                        \
                .sender = WIRE_GATEWAY,                               \
                .states = when,                                       \
                .body = &args##_shape,                                \
                .result = &answer##_shape,                            \
                .serial = WIRE_SERIAL_##volume},
#include "wire/message.def"
#undef WIRE_MESSAGE
#undef WIRE_CALL
};

const struct wire_row *wire_row(uint16_t number) {
    return number < WIRE_NUMBERS && rows[number].name != NULL ? &rows[number] : NULL;
}

const char *wire_state_name(unsigned state) {
    switch (state) {
    case S_NEW:
        return "new";
    case S_READY:
        return "ready";
    case S_LOADING:
        return "loading";
    case S_LOADED:
        return "loaded";
    case S_OPEN:
        return "open";
    case S_CLOSING:
        return "closing";
    default:
        return "unknown";
    }
}

/* A call and its REPLY carry an id, nothing else does. */
static bool carries_call_id(uint16_t number, const struct wire_row *row) {
    return row->result != NULL || number == WIRE_REPLY;
}

void wire_encode(uint16_t number, uint64_t call_id, const void *body, struct buf *buf) {
    const struct wire_row *row = wire_row(number);
    CHECK(row != NULL);
    CHECK((call_id != 0) == carries_call_id(number, row));
    packet_encode(number, call_id, row->body, body, buf);
}

static bool breach(struct err *err, const char *what, const struct wire_row *row) {
    return err_set(err, ERR_PROTOCOL, "%s: %s", what, row->name);
}

bool wire_decode(const void *packet, size_t length, enum wire_sender from, unsigned state,
                 struct arena *arena, struct wire_packet *ret, struct err *err) {
    struct packet frame;
    if (!packet_open(packet, length, &frame, err))
        return false;
    const struct wire_row *row = wire_row(frame.number);
    if (row == NULL)
        return err_set(err, ERR_PROTOCOL, "no message has the number %u", frame.number);
    if (row->sender != from)
        return breach(err, "a message of the other side", row);
    if ((row->states & state) == 0)
        return err_set(err, ERR_PROTOCOL, "%s is not permitted in state %s", row->name,
                       wire_state_name(state));
    if ((frame.call_id != 0) != carries_call_id(frame.number, row))
        return breach(err, frame.call_id != 0 ? "a call id where none belongs" : "no call id", row);
    const void *body = packet_body(&frame, row->name, row->body, arena, err);
    if (body == NULL)
        return false;
    *ret = (struct wire_packet){
        .number = frame.number, .row = row, .call_id = frame.call_id, .body = body};
    return true;
}

unsigned wire_next_state(unsigned state, uint16_t number, uint16_t replied_call, uint32_t status) {
    switch (number) {
    case WIRE_HELLO:
        return S_READY;
    case WIRE_LOAD:
        return S_LOADING;
    case WIRE_LOADED:
        return S_LOADED;
    case WIRE_REFUSED:
    case WIRE_STOP:
        return S_CLOSING;
    case WIRE_REPLY:
        return state == S_LOADED && replied_call == WIRE_POOL_OPEN && status == SLUICE_OK ? S_OPEN
                                                                                          : state;
    default:
        return state;
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h: the gateway's side of the runner protocol, as tests play it. Every wait has a deadline.
 */
#ifndef TEST_RUNNER_PEER_H
#define TEST_RUNNER_PEER_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "wire/message.h"
#include <sluice/driver.h>

#define DEADLINE_MS 10000
#define POOL_BYTE 0x70

struct peer {
    int socket;
    uint64_t incarnation;
    uint32_t calls;
    unsigned logs; /* LOG and EVENT packets that were passed over */
    unsigned events;
    char log[512];      /* the last line */
    struct arena arena; /* of the last packet */
    struct wire_packet packet;
    uint8_t bytes[WIRE_PACKET_MAX];
};

static inline struct sluice_uuid id_of(uint8_t byte) {
    struct sluice_uuid id = {.bytes = {byte, byte}};
    return id;
}

static inline void peer_init(struct peer *peer, int socket) {
    memset(peer, 0, sizeof *peer);
    peer->socket = socket;
    peer->incarnation = 1;
    arena_init(&peer->arena, WIRE_ARENA_MAX);
}

static inline void peer_release(struct peer *peer) {
    arena_release(&peer->arena);
    if (peer->socket >= 0)
        close(peer->socket);
}

static inline void peer_send(struct peer *peer, uint16_t number, uint64_t call_id,
                             const void *body) {
    struct buf buf;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(number, call_id, body, &buf);
    assert_false(buf.overflow);
    assert_int_equal(send(peer->socket, buf.at, buf.length, MSG_NOSIGNAL), buf.length);
    buf_release(&buf);
}

/* The next packet; 0 at the end of the stream, -1 when none came in time. */
static inline int peer_next(struct peer *peer, int wait_ms) {
    struct pollfd socket = {.fd = peer->socket, .events = POLLIN};
    if (poll(&socket, 1, wait_ms) != 1)
        return -1;
    ssize_t length = recv(peer->socket, peer->bytes, sizeof peer->bytes, 0);
    if (length <= 0)
        return 0;
    struct err err = ERR_INIT;
    arena_reset(&peer->arena);
    if (!wire_decode(peer->bytes, (size_t)length, WIRE_RUNNER, S_ANY, &peer->arena, &peer->packet,
                     &err))
        fail_msg("%s", err.text);
    return 1;
}

/* Waits for a packet of that number, passing over log lines and events. NULL: the stream ended. */
static inline const void *peer_wait(struct peer *peer, uint16_t number) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= deadline_ms)
            fail_msg("no %s came", wire_row(number)->name);
        int got = peer_next(peer, (int)(deadline_ms - now_ms));
        if (got == 0)
            return NULL;
        if (got < 0)
            continue;
        if (peer->packet.number == number)
            return peer->packet.body;
        if (peer->packet.number == WIRE_LOG) {
            const struct wire_log *line = peer->packet.body;
            strncpy(peer->log, line->text, sizeof peer->log - 1);
            peer->logs++;
        } else if (peer->packet.number == WIRE_EVENT) {
            peer->events++;
        } else if (peer->packet.number == WIRE_REFUSED) {
            const struct wire_refused *refused = peer->packet.body;
            fail_msg("refused: %s", refused->text);
        } else {
            fail_msg("%s instead of %s", peer->packet.row->name, wire_row(number)->name);
        }
    }
}

static inline uint64_t peer_call_start(struct peer *peer, uint16_t number, const void *args) {
    uint64_t call_id = peer->incarnation << 32 | ++peer->calls;
    peer_send(peer, number, call_id, args);
    return call_id;
}

/* The reply, with its result decoded into *ret_result where it is OK. */
static inline const struct wire_reply *peer_call(struct peer *peer, uint16_t number,
                                                 const void *args, void *ret_result) {
    uint64_t call_id = peer_call_start(peer, number, args);
    const struct wire_reply *reply = peer_wait(peer, WIRE_REPLY);
    if (reply == NULL)
        return NULL;
    assert_int_equal(peer->packet.call_id, call_id);
    struct err err = ERR_INIT;
    if (reply->status == SLUICE_OK && ret_result != NULL &&
        !shape_decode(wire_row(number)->result, reply->result.at, reply->result.length,
                      &peer->arena, ret_result, &err))
        fail_msg("%s", err.text);
    return reply;
}

/* NOTHING, PROBE and the like: the status alone. */
static inline uint32_t peer_ask(struct peer *peer, uint16_t number) {
    struct wire_nothing nothing = {0};
    const struct wire_reply *reply = peer_call(peer, number, &nothing, NULL);
    assert_non_null(reply);
    return reply->status;
}

static inline const struct wire_pong *peer_ping(struct peer *peer, uint64_t number) {
    struct wire_ping ping = {.number = number};
    peer_send(peer, WIRE_PING, 0, &ping);
    const struct wire_pong *pong = peer_wait(peer, WIRE_PONG);
    assert_non_null(pong);
    assert_int_equal(pong->number, number);
    return pong;
}

static inline uint32_t peer_open(struct peer *peer, struct text_pair *pairs, uint32_t count,
                                 struct wire_pool *ret) {
    struct wire_pool_open open = {
        .pool = id_of(POOL_BYTE),
        .gateway = id_of(0x67),
        .name = "p",
        .flags = SLUICE_POOL_CLAIM,
        .properties = {.at = pairs, .count = count},
    };
    const struct wire_reply *reply = peer_call(peer, WIRE_POOL_OPEN, &open, ret);
    assert_non_null(reply);
    return reply->status;
}

static inline const struct wire_reply *peer_create(struct peer *peer, uint8_t byte,
                                                   struct wire_volume *ret) {
    struct wire_volume_create create = {
        .volume = id_of(byte), .size_bytes = 1 << 20, .name = "v", .format = "raw"};
    return peer_call(peer, WIRE_VOLUME_CREATE, &create, ret);
}

#endif

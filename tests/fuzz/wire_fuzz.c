/* SPDX-License-Identifier: Apache-2.0
 *
 * wire_fuzz.c: any bytes as a packet of either side, in each state.
 * fuzz: wire
 *
 * The first byte chooses side and state. With the second the header is made right, so that the
 * fuzzer gets through to the bodies. What decodes must encode to the same bytes again: there is one
 * form for each value.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void repair_header(uint8_t *packet, size_t length, uint8_t number) {
    const struct wire_row *row = wire_row(number);
    size_t body = length - WIRE_HEADER_SIZE;
    packet[0] = WIRE_MAGIC & 0xff;
    packet[1] = WIRE_MAGIC >> 8;
    packet[2] = number;
    packet[3] = 0;
    for (size_t i = 0; i < 4; i++)
        packet[4 + i] = (uint8_t)(body >> (8 * i));
    memset(packet + 8, 0, 8);
    if (row != NULL && (row->result != NULL || number == WIRE_REPLY))
        packet[8] = 1;
}

/* A newer version of a shape may have more fields than we know; they are not there afterwards. */
static bool is_our_version(const struct wire_packet *packet, const uint8_t *bytes) {
    const uint8_t *body = bytes + WIRE_HEADER_SIZE;
    return body[0] == packet->row->body->version && body[1] == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 2)
        return 0;
    uint8_t how = bytes[0];
    uint8_t number = bytes[1];
    size_t length = size - 2;
    uint8_t *packet = malloc(length > 0 ? length : 1);
    if (packet == NULL)
        return 0;
    memcpy(packet, bytes + 2, length);
    if ((how & 0x40) == 0 && length >= WIRE_HEADER_SIZE)
        repair_header(packet, length, number);
    unsigned state = (how & 0x80) != 0 ? S_ANY : 1u << (how % 6);
    enum wire_sender from = (how & 0x20) != 0 ? WIRE_RUNNER : WIRE_GATEWAY;

    struct arena arena;
    arena_init(&arena, WIRE_ARENA_MAX);
    struct wire_packet got;
    struct err err = ERR_INIT;
    if (wire_decode(packet, length, from, state, &arena, &got, &err)) {
        CHECK(err.code == ERR_NONE);
        CHECK((got.row->states & state) != 0 && got.row->sender == from);
        struct buf again;
        buf_init(&again, WIRE_PACKET_MAX);
        wire_encode(got.number, got.call_id, got.body, &again);
        CHECK(again.overflow || !is_our_version(&got, packet) ||
              (again.length == length && memcmp(again.at, packet, length) == 0));
        buf_release(&again);
    } else {
        CHECK(err.code == ERR_PROTOCOL && err.text[0] != '\0');
    }
    arena_release(&arena);
    free(packet);
    return 0;
}

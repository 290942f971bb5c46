/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h: the bodies of the protocol between the gateway and sluice-data.
 *
 * Packets are laid out as message.h says; the call id is always 0. Descriptors travel where
 * data.def says so, in that number. A breach by sluice-data ends it; a breach by the gateway ends
 * sluice-data.
 */
#ifndef SLUICE_WIRE_DATA_H
#define SLUICE_WIRE_DATA_H

#include "base/shape.h"
#include "wire/message.h"

#define DATA_EXPORTS_MAX 1024 /* attachments served by one sluice-data */
#define DATA_POOLS_MAX 480
#define DATA_ADDRESS_MAX 255
/* A certificate is known by the SHA-256 of its DER form. */
#define DATA_DIGEST_SIZE 32
/* As many as the value of a host's identity has room for in hexadecimal. */
#define DATA_DIGESTS_MAX 7
/* Of a file of certificates or a key: a chain of a dozen certificates. */
#define DATA_PEM_MAX 65536

#define DATA_NOTHING_FIELDS(F, T) F(T, U32, reserved, 0, "always 0")
#define DATA_HELLO_FIELDS(F, T)             \
    F(T, U32, protocol, 0, "WIRE_PROTOCOL") \
    F(T, TEXT, build, 63, "version")        \
    F(T, PAIRS, sandbox, 16, "facility -> on, or why not")
#define DATA_SYNC_FIELDS(F, T) F(T, U64, incarnation, 0, "of the gateway")
#define DATA_HAS_FIELDS(F, T)                                                \
    F(T, UUID, attachment, 0, "")                                            \
    F(T, UUID, volume, 0, "")                                                \
    F(T, UUID, pool, 0, "")                                                  \
    F(T, UUID, snapshot, 0, "zero: the volume itself")                       \
    F(T, U32, handle, 0, "of the volume as it is open")                      \
    F(T, U64, generation, 0, "of the ring that serves it; 0: none does now") \
    F(T, U64, epoch, 0, "of the volume as it is open")                       \
    F(T, U64, size_bytes, 0, "of the volume")                                \
    F(T, U32, connections, 0, "")
#define DATA_PING_FIELDS(F, T) F(T, U64, number, 0, "")
#define DATA_PONG_FIELDS(F, T)                                                           \
    F(T, U64, number, 0, "")                                                             \
    F(T, U64, resident, 0, "bytes")                                                      \
    F(T, U32, exports, 0, "")                                                            \
    F(T, U32, connections, 0, "")                                                        \
    F(T, U64, calls, 0, "completed since the start")                                     \
    F(T, U64, replayed, 0, "of them sent more than once")                                \
    F(T, U64, bytes_read, 0, "")                                                         \
    F(T, U64, bytes_written, 0, "")                                                      \
    F(T, U64, tls_failed, 0, "handshakes of TLS")                                        \
    F(T, U64, names_refused, 0, "asked for over TLS: not there, or not for that client") \
    F(T, U64, strangers_ended, 0, "who were too slow, or made room")
#define DATA_RING_FIELDS(F, T) \
    F(T, UUID, pool, 0, "")    \
    F(T, U64, generation, 0, "chosen by the gateway, counts up")
#define DATA_WANTED_FIELDS(F, T)                                 \
    F(T, UUID, pool, 0, "")                                      \
    F(T, U64, generation, 0, "chosen by the gateway, counts up") \
    F(T, U32, spin_ns, 0, "how long either side may look before it sleeps; 0: not at all")
#define DATA_STILL_FIELDS(F, T)  \
    F(T, UUID, pool, 0, "")      \
    F(T, U64, generation, 0, "") \
    F(T, U32, still_ms, 0, "since the last call ended, or the first was sent")
#define DATA_EXPORT_FIELDS(F, T)                                                  \
    F(T, UUID, attachment, 0, "")                                                 \
    F(T, UUID, volume, 0, "")                                                     \
    F(T, UUID, snapshot, 0, "zero: the volume itself")                            \
    F(T, UUID, pool, 0, "")                                                       \
    F(T, TEXT, name, 255, "of the export, as clients ask for it; \"\" is it too") \
    F(T, U64, size_bytes, 0, "")                                                  \
    F(T, U32, io_align, 0, "bytes")                                               \
    F(T, U32, io_max, 0, "bytes of one call to the driver")                       \
    F(T, BOOL, read_only, 0, "")                                                  \
    F(T, BOOL, token_constant, 0, "acknowledged writes need not be kept")         \
    F(T, BOOL, trims, 0, "")                                                      \
    F(T, BOOL, zeroes_fast, 0, "")                                                \
    F(T, BOOL, extents, 0, "")                                                    \
    F(T, U32, uid, 0, "only this peer may connect (and root)")                    \
    F(T, U64, iops_max, 0, "0: no limit")                                         \
    F(T, U64, bytes_s_max, 0, "0: no limit")                                      \
    F(T, BYTES, certificates, DATA_DIGEST_SIZE *DATA_DIGESTS_MAX,                 \
      "SHA-256 of those that may open it over TLS, one after the other")
#define DATA_VOLUME_OPEN_FIELDS(F, T)       \
    F(T, UUID, volume, 0, "")               \
    F(T, UUID, snapshot, 0, "")             \
    F(T, UUID, pool, 0, "")                 \
    F(T, U64, generation, 0, "of the ring") \
    F(T, U32, handle, 0, "in submissions")  \
    F(T, U64, epoch, 0, "")                 \
    F(T, U64, token, 0, "")                 \
    F(T, U64, size_bytes, 0, "")
#define DATA_UNEXPORT_FIELDS(F, T) F(T, UUID, attachment, 0, "")
#define DATA_LISTEN_FIELDS(F, T)          \
    F(T, TEXT, address, DATA_ADDRESS_MAX, \
      "as configured: the next gateway knows its own socket by it")

SHAPE_STRUCT(data_nothing, DATA_NOTHING_FIELDS)
SHAPE_STRUCT(data_hello, DATA_HELLO_FIELDS)
SHAPE_STRUCT(data_sync, DATA_SYNC_FIELDS)
SHAPE_STRUCT(data_has, DATA_HAS_FIELDS)
SHAPE_STRUCT(data_ping, DATA_PING_FIELDS)
SHAPE_STRUCT(data_pong, DATA_PONG_FIELDS)
SHAPE_STRUCT(data_ring, DATA_RING_FIELDS)
SHAPE_STRUCT(data_wanted, DATA_WANTED_FIELDS)
SHAPE_STRUCT(data_still, DATA_STILL_FIELDS)
SHAPE_STRUCT(data_export, DATA_EXPORT_FIELDS)
SHAPE_STRUCT(data_volume_open, DATA_VOLUME_OPEN_FIELDS)
SHAPE_STRUCT(data_unexport, DATA_UNEXPORT_FIELDS)
SHAPE_STRUCT(data_listen, DATA_LISTEN_FIELDS)

enum data_number {
#define DATA_MESSAGE(NAME, number, sender, descriptors, shape, sentence) DATA_##NAME = number,
#include "wire/data.def"
#undef DATA_MESSAGE
};

enum data_sender { DATA_SENDER_GATEWAY, DATA_SENDER_DATA };

void data_encode(enum data_number number, const void *body, struct buf *buf);
/* How many descriptors a message brings. */
uint32_t data_descriptors(enum data_number number);
/* false: a breach, err (PROTOCOL) says which. `body` lies in the arena. */
bool data_decode(const void *bytes, size_t length, uint32_t descriptors, enum data_sender from,
                 struct arena *arena, enum data_number *ret_number, const void **ret_body,
                 struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * message.h: the bodies of the runner protocol, and its one codec.
 *
 * A packet is one SOCK_SEQPACKET datagram of at most WIRE_PACKET_MAX bytes:
 *
 *     offset size
 *      0     2    magic 0x4c53 ("SL")
 *      2     2    number (message.def)
 *      4     4    length of the body, exactly what follows
 *      8     8    call id (0 where there is no call)
 *     16          body: the shape of the number (base/shape.h)
 *
 * All integers little-endian. Calls and their REPLY have a call id that is not 0 (n of
 * `incarnation << 32 | n` begins at 1), all others have 0. Descriptors travel with RING_ATTACH
 * alone; any other packet that carries some is a breach. Encoding and decoding keep no state and
 * may be used from any thread.
 */
#ifndef SLUICE_WIRE_MESSAGE_H
#define SLUICE_WIRE_MESSAGE_H

#include "base/shape.h"

#define WIRE_PROTOCOL 1
#define WIRE_PACKET_MAX 65536 /* a page of a list is the largest: 128 entries of < 512 bytes */
#define WIRE_HEADER_SIZE 16
#define WIRE_MAGIC 0x4c53
#define WIRE_PAGE_ENTRIES 96 /* entries of one list page */
#define WIRE_CALLS_MAX 256   /* calls of one runner in flight */
#define WIRE_NUMBERS 128     /* numbers of message.def are below it */
/* What a decoded packet takes at most: its bytes, rounding of each text, half-used chunks. */
#define WIRE_ARENA_MAX 262144

/* Typed properties travel as PAIRS name -> kind letter and value: "s:text", "n:42", "b:1",
 * "d:2026-01-31" (SLUICE_PROPERTY_*). */
#define WIRE_PROPERTIES_MAX 128

#define WIRE_NOTHING_FIELDS(F, T) F(T, U32, reserved, 0, "always 0")
#define WIRE_HELLO_FIELDS(F, T)                   \
    F(T, U32, protocol, 0, "WIRE_PROTOCOL")       \
    F(T, U32, abi, 0, "SLUICE_ABI of the runner") \
    F(T, U32, pid, 0, "as the runner sees it")    \
    F(T, TEXT, build, 63, "version of the runner")
#define WIRE_LOAD_FIELDS(F, T)                                                \
    F(T, TEXT, directory, 1023, "of the unpacked archive, absolute")          \
    F(T, TEXT, library, 255, "file name in driver/")                          \
    F(T, TEXT, name, 63, "what the driver must say it is")                    \
    F(T, TEXT, version, 63, "likewise")                                       \
    F(T, U32, category, 0, "likewise, enum sluice_category")                  \
    F(T, PAIRS, settings, WIRE_PROPERTIES_MAX, "the driver's own bag, typed") \
    F(T, TEXTS, paths, 32, "what it may reach: ro:/path or rw:/path")         \
    F(T, U32, memory_mib, 0, "RLIMIT_DATA")                                   \
    F(T, U32, open_files, 0, "RLIMIT_NOFILE")                                 \
    F(T, BOOL, network, 0, "may open sockets other than Unix ones")
#define WIRE_LOADED_FIELDS(F, T)                           \
    F(T, U32, threads, 0, "enum sluice_thread_model")      \
    F(T, U32, abi, 0, "that the driver was built against") \
    F(T, PAIRS, sandbox, 16, "facility -> on, or why not: uid, privileges, landlock, seccomp, ...")
#define WIRE_REFUSED_FIELDS(F, T)                                                   \
    F(T, U32, status, 0, "enum sluice_status, or an err_code of the gateway (ABI)") \
    F(T, TEXT, text, 511, "why")
#define WIRE_RESUME_FIELDS(F, T) F(T, U64, incarnation, 0, "of the gateway process")
#define WIRE_RESUMED_FIELDS(F, T)                                          \
    F(T, U64, incarnation, 0, "as in RESUME")                              \
    F(T, U32, state, 0, "session state, one bit of enum wire_state")       \
    F(T, TEXT, name, 63, "driver, empty before LOAD")                      \
    F(T, TEXT, version, 63, "driver")                                      \
    F(T, UUID, pool, 0, "the open pool, or zero")                          \
    F(T, BYTES, opened, 1024, "wire_pool of the open pool, encoded")       \
    F(T, BYTES, loaded, 4096, "wire_loaded, encoded; empty before LOADED") \
    F(T, U64, ring, 0, "generation of the ring that it is attached to; 0: none")
#define WIRE_PING_FIELDS(F, T) F(T, U64, number, 0, "comes back in the PONG")
#define WIRE_PONG_FIELDS(F, T)                                            \
    F(T, U64, number, 0, "of the PING")                                   \
    F(T, U32, running, 0, "calls inside the driver now")                  \
    F(T, U32, oldest_ms, 0, "how long the oldest of them has been there") \
    F(T, U64, resident, 0, "bytes of memory")                             \
    F(T, U64, dropped_logs, 0, "log lines and events lost to the rate limit")
#define WIRE_REPLY_FIELDS(F, T)                       \
    F(T, U32, status, 0, "enum sluice_status")        \
    F(T, TEXT, text, 511, "why, when it is an error") \
    F(T, U64, done, 0, "bytes, with PENDING")         \
    F(T, U64, total, 0, "bytes, 0: not known")        \
    F(T, U32, retry_after_ms, 0, "with PENDING")      \
    F(T, BYTES, result, 61440, "the call's result, encoded")
#define WIRE_EVENT_FIELDS(F, T)                  \
    F(T, U32, event, 0, "enum sluice_event")     \
    F(T, UUID, volume, 0, "or zero")             \
    F(T, I64, value, 0, "see enum sluice_event") \
    F(T, TEXT, text, 511, "for people")
#define WIRE_LOG_FIELDS(F, T)                    \
    F(T, U32, level, 0, "enum sluice_log_level") \
    F(T, TEXT, text, 511, "one line")
#define WIRE_STOP_FIELDS(F, T) F(T, U32, reserved, 0, "always 0")
#define WIRE_BYE_FIELDS(F, T) F(T, U32, reserved, 0, "always 0")
#define WIRE_HEALTH_FIELDS(F, T)               \
    F(T, U32, health, 0, "enum sluice_health") \
    F(T, TEXT, text, 511, "why")
#define WIRE_CONFIGURE_FIELDS(F, T) F(T, PAIRS, settings, WIRE_PROPERTIES_MAX, "typed")
#define WIRE_POOL_OPEN_FIELDS(F, T)                   \
    F(T, UUID, pool, 0, "")                           \
    F(T, UUID, gateway, 0, "")                        \
    F(T, TEXT, name, 255, "")                         \
    F(T, U32, flags, 0, "enum sluice_pool_open_flag") \
    F(T, PAIRS, properties, WIRE_PROPERTIES_MAX, "typed; secrets included")
#define WIRE_POOL_FIELDS(F, T)                                    \
    F(T, U64, caps, 0, "as struct sluice_pool, and so all below") \
    F(T, U64, volume_size_min, 0, "")                             \
    F(T, U64, volume_size_max, 0, "")                             \
    F(T, U64, volume_size_step, 0, "")                            \
    F(T, U64, volumes_max, 0, "")                                 \
    F(T, U64, snapshots_max, 0, "")                               \
    F(T, U32, name_max, 0, "")                                    \
    F(T, U32, chain_max, 0, "")                                   \
    F(T, U32, io_align, 0, "")                                    \
    F(T, U32, io_max, 0, "")                                      \
    F(T, U32, in_flight_max, 0, "")                               \
    F(T, U32, lanes_max, 0, "")                                   \
    F(T, TEXT, formats, 63, "")                                   \
    F(T, TEXT, protocols, 63, "")
#define WIRE_CAPACITY_FIELDS(F, T) \
    F(T, U64, total, 0, "bytes")   \
    F(T, U64, used, 0, "bytes")    \
    F(T, U64, provisioned, 0, "bytes")
#define WIRE_VOLUME_CREATE_FIELDS(F, T)             \
    F(T, UUID, volume, 0, "")                       \
    F(T, U32, source_kind, 0, "enum sluice_source") \
    F(T, UUID, source, 0, "")                       \
    F(T, UUID, source_volume, 0, "")                \
    F(T, U64, size_bytes, 0, "")                    \
    F(T, TEXT, name, 255, "")                       \
    F(T, TEXT, format, 15, "")
#define WIRE_VOLUME_ID_FIELDS(F, T) F(T, UUID, volume, 0, "")
#define WIRE_VOLUME_FIELDS(F, T)                      \
    F(T, UUID, volume, 0, "")                         \
    F(T, U64, size_bytes, 0, "")                      \
    F(T, U64, used_bytes, 0, "UINT64_MAX: not known") \
    F(T, TEXT, name, 255, "")                         \
    F(T, TEXT, format, 15, "")
#define WIRE_LIST_FIELDS(F, T) \
    F(T, UUID, after, 0, "")   \
    F(T, UUID, volume, 0, "")  \
    F(T, U32, capacity, 0, "at most WIRE_PAGE_ENTRIES")
#define WIRE_PAGE_FIELDS(F, T)     \
    F(T, U32, count, 0, "entries") \
    F(T, BYTES, entries, 57344, "each: u32 length, encoded shape")
#define WIRE_VOLUME_RESIZE_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")           \
    F(T, U64, size_bytes, 0, "")
#define WIRE_VOLUME_REVERT_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")           \
    F(T, UUID, snapshot, 0, "")         \
    F(T, UUID, operation, 0, "")
#define WIRE_VOLUME_ADOPT_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")          \
    F(T, TEXT, reference, 1023, "")    \
    F(T, TEXT, name, 255, "")
#define WIRE_REFERENCE_FIELDS(F, T) F(T, TEXT, reference, 1023, "")
#define WIRE_SNAPSHOT_CREATE_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")             \
    F(T, UUID, snapshot, 0, "")           \
    F(T, TEXT, name, 255, "")
#define WIRE_SNAPSHOT_ID_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")         \
    F(T, UUID, snapshot, 0, "")
#define WIRE_SNAPSHOT_FIELDS(F, T) \
    F(T, UUID, snapshot, 0, "")    \
    F(T, UUID, volume, 0, "")      \
    F(T, U64, size_bytes, 0, "")   \
    F(T, U64, used_bytes, 0, "")   \
    F(T, TEXT, name, 255, "")
#define WIRE_ACCESS_GRANT_FIELDS(F, T)            \
    F(T, UUID, attachment, 0, "")                 \
    F(T, UUID, volume, 0, "")                     \
    F(T, UUID, snapshot, 0, "")                   \
    F(T, U32, mode, 0, "enum sluice_access_mode") \
    F(T, TEXT, host, 255, "")                     \
    F(T, PAIRS, identities, 16, "typed")
#define WIRE_ACCESS_REVOKE_FIELDS(F, T) \
    F(T, UUID, attachment, 0, "")       \
    F(T, UUID, volume, 0, "")
#define WIRE_CONNECTION_FIELDS(F, T) \
    F(T, TEXT, protocol, 15, "")     \
    F(T, TEXT, lines, 2047, "")      \
    F(T, TEXT, note, 511, "")

#define WIRE_RING_ATTACH_FIELDS(F, T) F(T, U64, generation, 0, "of the ring, counts up a pool")
#define WIRE_DATA_OPEN_FIELDS(F, T)                    \
    F(T, UUID, volume, 0, "")                          \
    F(T, UUID, snapshot, 0, "zero: the volume itself") \
    F(T, BOOL, read_only, 0, "")                       \
    F(T, U64, epoch, 0, "")
#define WIRE_DATA_OPENED_FIELDS(F, T)      \
    F(T, U32, handle, 0, "in submissions") \
    F(T, U32, io_align, 0, "bytes")        \
    F(T, U64, size_bytes, 0, "")           \
    F(T, U64, token, 0, "the stability token as it is now")
#define WIRE_DATA_CLOSE_FIELDS(F, T) \
    F(T, UUID, volume, 0, "")        \
    F(T, U32, handle, 0, "")

SHAPE_STRUCT(wire_nothing, WIRE_NOTHING_FIELDS)
SHAPE_STRUCT(wire_hello, WIRE_HELLO_FIELDS)
SHAPE_STRUCT(wire_load, WIRE_LOAD_FIELDS)
SHAPE_STRUCT(wire_loaded, WIRE_LOADED_FIELDS)
SHAPE_STRUCT(wire_refused, WIRE_REFUSED_FIELDS)
SHAPE_STRUCT(wire_resume, WIRE_RESUME_FIELDS)
SHAPE_STRUCT(wire_resumed, WIRE_RESUMED_FIELDS)
SHAPE_STRUCT(wire_ping, WIRE_PING_FIELDS)
SHAPE_STRUCT(wire_pong, WIRE_PONG_FIELDS)
SHAPE_STRUCT(wire_reply, WIRE_REPLY_FIELDS)
SHAPE_STRUCT(wire_event, WIRE_EVENT_FIELDS)
SHAPE_STRUCT(wire_log, WIRE_LOG_FIELDS)
SHAPE_STRUCT(wire_stop, WIRE_STOP_FIELDS)
SHAPE_STRUCT(wire_bye, WIRE_BYE_FIELDS)
SHAPE_STRUCT(wire_health, WIRE_HEALTH_FIELDS)
SHAPE_STRUCT(wire_configure, WIRE_CONFIGURE_FIELDS)
SHAPE_STRUCT(wire_pool_open, WIRE_POOL_OPEN_FIELDS)
SHAPE_STRUCT(wire_pool, WIRE_POOL_FIELDS)
SHAPE_STRUCT(wire_capacity, WIRE_CAPACITY_FIELDS)
SHAPE_STRUCT(wire_volume_create, WIRE_VOLUME_CREATE_FIELDS)
SHAPE_STRUCT(wire_volume_id, WIRE_VOLUME_ID_FIELDS)
SHAPE_STRUCT(wire_volume, WIRE_VOLUME_FIELDS)
SHAPE_STRUCT(wire_list, WIRE_LIST_FIELDS)
SHAPE_STRUCT(wire_page, WIRE_PAGE_FIELDS)
SHAPE_STRUCT(wire_volume_resize, WIRE_VOLUME_RESIZE_FIELDS)
SHAPE_STRUCT(wire_volume_revert, WIRE_VOLUME_REVERT_FIELDS)
SHAPE_STRUCT(wire_volume_adopt, WIRE_VOLUME_ADOPT_FIELDS)
SHAPE_STRUCT(wire_reference, WIRE_REFERENCE_FIELDS)
SHAPE_STRUCT(wire_snapshot_create, WIRE_SNAPSHOT_CREATE_FIELDS)
SHAPE_STRUCT(wire_snapshot_id, WIRE_SNAPSHOT_ID_FIELDS)
SHAPE_STRUCT(wire_snapshot, WIRE_SNAPSHOT_FIELDS)
SHAPE_STRUCT(wire_access_grant, WIRE_ACCESS_GRANT_FIELDS)
SHAPE_STRUCT(wire_access_revoke, WIRE_ACCESS_REVOKE_FIELDS)
SHAPE_STRUCT(wire_connection, WIRE_CONNECTION_FIELDS)
SHAPE_STRUCT(wire_ring_attach, WIRE_RING_ATTACH_FIELDS)
SHAPE_STRUCT(wire_data_open, WIRE_DATA_OPEN_FIELDS)
SHAPE_STRUCT(wire_data_opened, WIRE_DATA_OPENED_FIELDS)
SHAPE_STRUCT(wire_data_close, WIRE_DATA_CLOSE_FIELDS)

enum wire_number {
#define WIRE_MESSAGE(NAME, number, sender, states, shape, sentence) WIRE_##NAME = number,
#define WIRE_CALL(NAME, number, states, args, result, volume, sentence) WIRE_##NAME = number,
#include "wire/message.def"
#undef WIRE_MESSAGE
#undef WIRE_CALL
};

/* Session states, one bit each. The gateway and the runner each keep one and move it alike:
 * NEW -HELLO-> READY -LOAD-> LOADING -LOADED-> LOADED -POOL_OPEN ok-> OPEN; STOP -> CLOSING, and
 * so does REFUSED. */
enum wire_state {
    S_NEW = 1,
    S_READY = 2,
    S_LOADING = 4,
    S_LOADED = 8,
    S_OPEN = 16,
    S_CLOSING = 32,
    S_ANY = 63,
};

enum wire_sender { WIRE_GATEWAY, WIRE_RUNNER };
enum wire_serial { WIRE_SERIAL_NONE, WIRE_SERIAL_VOLUME, WIRE_SERIAL_POOL };

struct wire_row {
    const char *name; /* as in message.def */
    enum wire_sender sender;
    unsigned states;
    const struct shape *body;
    const struct shape *result; /* calls only, else NULL */
    enum wire_serial serial;
};

/* NULL: no such number. */
const struct wire_row *wire_row(uint16_t number);
const char *wire_state_name(unsigned state);

/* Appends one packet to an empty buf (max WIRE_PACKET_MAX). Without memory buf->overflow is set. */
void wire_encode(uint16_t number, uint64_t call_id, const void *body, struct buf *buf);

struct wire_packet {
    uint16_t number;
    const struct wire_row *row;
    uint64_t call_id;
    const void *body; /* in the arena, of the row's shape */
};

/* Decodes what `from` sent while the session was in `state` (S_ANY where that is not known yet: a
 * gateway process that took over). An arena of WIRE_ARENA_MAX holds any packet. false: a breach,
 * err (PROTOCOL) says which. Never crashes on any input. */
bool wire_decode(const void *packet, size_t length, enum wire_sender from, unsigned state,
                 struct arena *arena, struct wire_packet *ret, struct err *err);

/* Moves the session's state after a message that was permitted; status is REPLY's for POOL_OPEN. */
unsigned wire_next_state(unsigned state, uint16_t number, uint16_t replied_call, uint32_t status);

#endif

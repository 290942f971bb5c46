/* SPDX-License-Identifier: Apache-2.0
 *
 * call.h: one call to a driver, from the moment it is thought of until its memory is free again.
 *
 * Calls live in a table of their pool with a fixed size, so none is ever allocated on the way. The
 * payload lies in pages of the pool's ring; a call keeps its page numbers when the ring is
 * replaced, because the successor's pages are filled at the same places.
 *
 *   FREE -> FILLING (the client's payload arrives) -> QUEUED (waits in its volume) -> SENT (in the
 *   ring) -> DONE (answered; its pages may be on their way to the client) -> FREE
 *   SENT -> QUEUED when the runner died: it is sent `again`
 *
 * on_done is called exactly once, when the call becomes DONE; whoever made the call frees it.
 */
#ifndef SLUICE_DATA_CALL_H
#define SLUICE_DATA_CALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "data/nbd_reply.h"
#include "ring/ring.h"

enum call_state { CALL_FREE, CALL_FILLING, CALL_QUEUED, CALL_SENT, CALL_DONE };

struct volume;
struct request;

/* A part of a reply that is to be sent: a header, and the pages of a call. */
struct piece {
    STAILQ_ENTRY(piece) link;
    const uint8_t *header;
    uint32_t header_length;
    struct call *call; /* whose payload follows, or NULL */
    struct request *request;
};
STAILQ_HEAD(piece_chain, piece);

struct call {
    TAILQ_ENTRY(call) link; /* free, queue or sent */
    STAILQ_ENTRY(call) of_request;
    enum call_state state;
    uint16_t verb;   /* enum ring_verb */
    uint16_t flags;  /* enum sluice_io_flag */
    bool again;      /* was sent before: new ones wait for it */
    bool replays;    /* brings back a kept write: no client waits for it */
    uint8_t deaths;  /* of runners that had it */
    uint8_t flushes; /* a flush: how often it found another token */
    bool has_pages;
    uint32_t index;  /* in the table */
    uint32_t number; /* counts sendings; with index it makes the tag */
    uint32_t page;
    uint32_t page_bytes; /* as taken */
    uint64_t offset;
    uint64_t length;
    uint64_t arrival;   /* order in the volume */
    uint64_t kept_mark; /* a flush: acknowledged up to here when it was sent */
    uint64_t epoch;     /* it was sent under */
    uint32_t filled;    /* payload bytes that are there */
    int32_t status;     /* enum sluice_status */
    uint32_t count;     /* of extents */
    struct volume *volume;
    struct request *request;
    void (*on_done)(struct call *call);
    struct piece piece; /* of the reply */
    uint8_t header[NBD_DATA_HEADER_MAX];
};
TAILQ_HEAD(call_list, call);
STAILQ_HEAD(call_chain, call);

static inline bool call_changes(const struct call *call) {
    return call->verb == RING_WRITE || call->verb == RING_TRIM || call->verb == RING_WRITE_ZEROES;
}

static inline bool call_overlaps(const struct call *call, uint64_t offset, uint64_t length) {
    return call->offset < offset + length && offset < call->offset + call->length;
}

#endif

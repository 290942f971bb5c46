/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.h: one client.
 *
 * Reading: requests are taken from a staging buffer; the payload of a write that is not in it
 * already is received straight into the pages that the driver will read, and what follows it into
 * the buffer by the same call. Writing: many replies by one sendmsg, payload straight from the
 * pages. A client that does not read its replies keeps its share of requests and pages and is not
 * read from; a connection that idles costs this struct.
 *
 * A connection waits for one of three things, and is looked at again when it is there: bytes
 * (epoll), room (a call of its pool is given back), or time (a limit of its export).
 *
 * A client over TCP belongs to no export before it has named one that its certificate opens: until
 * then it is a stranger. There are at most CONNECTION_STRANGERS_MAX; another one ends the oldest,
 * who had the longest time, so that thousands who only connect keep nobody out. In a turn of the
 * loop CONNECTION_SECURINGS of them get a step of TLS, which costs up to a millisecond.
 *
 *   HANDSHAKE -> SERVING -> LEAVING (no more requests; replies are sent) -> CLOSED
 *   HANDSHAKE -STARTTLS-> SECURING -> HANDSHAKE, of what is inside of TLS
 */
#ifndef SLUICE_DATA_CONNECTION_H
#define SLUICE_DATA_CONNECTION_H

#include "data/loop.h"
#include "data/nbd_handshake.h"
#include "data/pool.h"
#include "data/request.h"

#define CONNECTION_STAGING 32768u /* several small writes by one recv */
#define CONNECTION_PIECES 64u     /* replies by one sendmsg */
#define CONNECTION_ROUNDS 4       /* reads of one client before the next one's turn */
#define CONNECTION_HANDSHAKE_NS UINT64_C(30000000000)
#define CONNECTION_STRANGER_NS UINT64_C(10000000000) /* of a stranger, TLS included */
#define CONNECTION_STRANGERS_MAX 128u                /* 100 KiB each while they shake hands */
#define CONNECTION_SECURINGS 4u

enum connection_state {
    CONNECTION_HANDSHAKE,
    CONNECTION_SECURING, /* TLS begins */
    CONNECTION_SERVING,
    CONNECTION_LEAVING,
    CONNECTION_CLOSED
};

struct connection {
    struct watch watch;
    struct loop *loop;
    struct export *export;             /* NULL: a stranger */
    struct tls *tls;                   /* NULL: in the clear */
    TAILQ_ENTRY(connection) of_export; /* or of the strangers */
    TAILQ_ENTRY(connection) of_ready;
    TAILQ_ENTRY(connection) of_waiting; /* of its pool, or of the limited */
    TAILQ_ENTRY(connection) of_sending;
    enum connection_state state;
    bool is_ready, is_sending;
    bool waits_for_room, waits_for_time, waits_for_space; /* the last: the socket is full */
    bool readable;                                        /* there may be bytes */
    bool hung_up;      /* the end is near: epoll will not tell of it again */
    bool doomed;       /* what was sent cannot be made good: to be closed before anything is sent */
    uint64_t until_ns; /* of the handshake, or of the limit */
    struct nbd_handshake handshake;
    struct buf answers;
    size_t answers_sent;
    struct request *current; /* its calls are being made */
    struct call *filling;    /* its payload arrives */
    uint64_t skip;           /* payload of a request that was refused */
    struct holder holder;
    uint32_t request_count;
    uint32_t held;            /* requests that wait for another's reply to end */
    struct request *replying; /* a simple reply that began and has not ended */
    struct request_list requests;
    struct piece_chain pieces; /* to be sent */
    size_t piece_sent;         /* bytes of the first */
    uint32_t start, end;       /* of what is in the staging buffer */
    uint8_t staging[CONNECTION_STAGING];
};

/* Owns the descriptor, also on failure. Export NULL: a stranger, who has to ask for TLS. */
struct connection *connection_create(struct loop *loop, struct export *export, int fd);
void connection_close(struct connection *connection); /* its memory goes at the end of the turn */
void connection_end_stranger(struct loop *loop);      /* the oldest: too slow, or to make room */

void connection_on_event(struct connection *connection, uint32_t events);
/* Takes what there is. */
void connection_go_on(struct connection *connection);
void connection_send(struct connection *connection);

/* For requests. */
void connection_queue_piece(struct connection *connection, struct piece *piece);
/* Moves up to `length` bytes out of the staging buffer. */
uint32_t connection_take_bytes(struct connection *connection, uint8_t *to, uint32_t length);
void connection_leave(struct connection *connection);
void connection_wait_for_space(struct connection *connection);
void connection_doom(struct connection *connection); /* closes it, not before the caller returns */

#endif

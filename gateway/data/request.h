/* SPDX-License-Identifier: Apache-2.0
 *
 * request.h: one request of a client, from its header to the last byte of its reply.
 *
 * Requests live in one table of a fixed size. A request is cut into calls (request_issue), at most
 * one call's size each; of a write as its payload arrives, of a read as pages are free. Calls of a
 * read are replied in order, each from its pages as soon as those before it have been; all others
 * get one reply when the last call is done. Who reads slowly holds the pages of what it has not
 * read. Without structured replies the bytes of a read belong together: what is done meanwhile is
 * held until its last byte is on its way.
 *
 *   OPEN -all calls are made-> ISSUED -the last one is answered, the last byte sent-> free
 *
 * The connection may leave at any time: what is in its volume then ends without a reply.
 */
#ifndef SLUICE_DATA_REQUEST_H
#define SLUICE_DATA_REQUEST_H

#include "data/call.h"
#include "data/nbd_request.h"

#define REQUESTS_MAX 8192u   /* of all connections */
#define REQUESTS_OF_ONE 256u /* more in flight gains nothing: a ring has as many entries */

enum request_state { REQUEST_FREE, REQUEST_OPEN, REQUEST_ISSUED };

struct connection;
struct export;

struct request {
    TAILQ_ENTRY(request) link; /* free, or of its connection */
    TAILQ_ENTRY(request) of_export;
    enum request_state state;
    bool answered;        /* its reply (or the last part) is made */
    bool began;           /* a part of the reply is made */
    bool held;            /* it is done, and another's reply has to end first */
    uint32_t outstanding; /* calls in the volume */
    uint32_t pieces;      /* of its reply, not yet sent */
    uint32_t error;       /* enum nbd_error: the first */
    uint64_t next;        /* offset that the next call begins at */
    struct nbd_request command;
    struct connection *connection; /* NULL: it left */
    struct export *export;
    struct call_chain calls; /* of a read, in order */
    struct piece piece;
    uint8_t header[NBD_REPLY_MAX];
};
TAILQ_HEAD(request_list, request);

struct request_table {
    struct request *at;
    struct request_list free;
    uint32_t free_count;
};

bool request_table_init(struct request_table *table);
void request_table_release(struct request_table *table);

/* NULL: the table, or the connection's share of it, is used up. */
struct request *request_take(struct request_table *table, struct connection *connection,
                             const struct nbd_request *command);
/* Answers without any call. */
void request_refuse(struct request *request, uint32_t error);

enum issue { ISSUE_DONE, ISSUE_NEEDS_BYTES, ISSUE_NEEDS_ROOM };
/* Makes calls as far as it goes. A write takes payload from the connection's staging buffer. */
enum issue request_issue(struct request *request);

/* A piece was sent whole, or will never be. */
void request_on_piece_gone(struct piece *piece);
/* The connection leaves. */
void request_abandon(struct request *request);
/* Ends what only waits. */
void request_cancel(struct request *request);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * server.h: the HTTP API on a Unix socket and on a loopback port.
 *
 * libmicrohttpd parses and frames HTTP/1.1; it has no threads here: each listening socket is one
 * daemon whose epoll descriptor is polled by the loop. Everything runs on the loop thread.
 *
 * Invariants: every request is routed and validated by the tables of api/http (routes.h) before the
 * core sees it; a request that waits is suspended and costs no time; what a client sends is bounded
 * (the limits below) and so is the time it takes to send it.
 *
 * What libmicrohttpd answers by itself, before this code sees the request, as text/html: 400 for a
 * malformed header line, version, Content-Length or chunk; 413 for a length beyond 64 bits; 414 and
 * 431 for a head beyond HTTP_CONNECTION_MEMORY; 505 for another major version. A first line
 * without a space is not HTTP: the connection is closed. All other answers to errors are problem
 * details (RFC 9457).
 *
 * Life cycle: http_open; http_close; the callback. Libraries do not log: a change is reported by
 * on_change.
 */
#ifndef SLUICE_HTTP_SERVER_H
#define SLUICE_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/core.h"

#define HTTP_CONNECTIONS_MAX 1024 /* a listening socket: 200 hosts' agents with room for bursts */
#define HTTP_CONNECTION_MEMORY                                                                 \
    16384                        /* head of a request (8 KiB and more), head of its answer; it \
                                    is cleared for every request */
#define HTTP_BODY_MAX 262144     /* a pool with 128 long properties takes half of that */
#define HTTP_BODIES_MAX 33554432 /* all bodies that are being received, together */
#define HTTP_ANSWER_MAX 4194304  /* a page of 500 objects with all their labels */
#define HTTP_STREAMS_EACH_MAX 64 /* of one principal: four of them can still take all */
#define HTTP_STREAMS_MAX 256     /* readers of events; as many as the core has subscriptions */
#define HTTP_WAIT_MAX_S 60       /* Prefer: wait=N is cut to this */
#define HTTP_REQUEST_DEADLINE_MS \
    30000 /* from its first byte, or the last answer, to its last byte */
#define HTTP_ANSWER_DEADLINE_MS 60000 /* for the client to take an answer */
#define HTTP_HEARTBEAT_MS 15000       /* comment lines that keep a quiet stream open */

struct uv_loop_s;
struct http;

struct http_change {
    const char *principal;
    const char *kind;      /* "volume.create" */
    const char *operation; /* id, "" when it was refused */
    unsigned status;       /* of the answer */
};

struct http_options {
    const char *socket_path;    /* NULL: no Unix socket; made with mode 0660 */
    const char *socket_group;   /* owns the socket file; NULL: the process's group */
    enum core_role socket_role; /* of peers that are neither root nor this uid; ROLE_NONE: none */
    const char *listen;         /* "127.0.0.1:8480" or "[::1]:0"; NULL: no port */
    const char *const *hosts;   /* names in Host besides localhost and the address */
    uint32_t host_count;
    uint32_t request_deadline_ms; /* 0: HTTP_REQUEST_DEADLINE_MS */
    /* Once for every change that was asked for, when it is answered. May be NULL. */
    void (*on_change)(void *owner, const struct http_change *change);
    void *owner;
};

/* Texts in options live as long as the server. CONFIG: an address that is not loopback (there is no
 * TLS), a socket that another process serves; SYSTEM: what the system refuses. */
bool http_open(struct uv_loop_s *loop, struct core *core, const struct http_options *options,
               struct http **ret, struct err *err);
/* Of the port that is listened on, as "127.0.0.1:8480"; "" when there is none. */
const char *http_address(const struct http *http);
/* Takes no more connections, ends streams, answers what waits (202 for a change that is accepted)
 * and closes; takes at most HTTP_DRAIN_MS. on_closed once. The core must live until its own
 * callbacks for what was submitted have been made. */
#define HTTP_DRAIN_MS 3000
void http_close(struct http *http, void (*on_closed)(void *owner), void *owner);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: what the files of this folder share: the server, its sockets, its connections. Nobody
 * outside includes it.
 *
 * Ownership: the server owns listeners; a listener's libmicrohttpd daemon owns its connections in
 * that it says when they begin and end; a connection has at most one request (request.h).
 */
#ifndef SLUICE_HTTP_STATE_H
#define SLUICE_HTTP_STATE_H

#include <microhttpd.h>
#include <uv.h>

#include "http/router.h"
#include "http/server.h"

#define HTTP_MAGIC 0x48747470u
#define LISTENER_MAGIC 0x4c69736eu
#define CONNECTION_MAGIC 0x436f6e6eu
#define HTTP_TOKEN_MAX 256 /* ours have about 50 characters */

struct request;
struct stream;

struct listener {
    uint32_t magic;
    struct http *http;
    bool local; /* a Unix socket: the peer's uid counts */
    int fd;     /* -1: not opened, or closed again */
    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* on the daemon's epoll descriptor */
    uv_timer_t again; /* the daemon has something to do although nothing arrived */
    bool handles_open, kicked;
};

struct connection {
    uint32_t magic;
    struct listener *listener;
    struct MHD_Connection *mhd;
    int fd;
    struct request *request;    /* that was begun and has not ended; NULL between requests */
    uint64_t since_ms;          /* loop time at which its present state began */
    uint64_t requests;          /* that have ended */
    struct core_principal peer; /* of a Unix socket's peer */
    struct connection *previous, *next;
};

struct http_figures {
    uint64_t requests[6]; /* ended, by the first digit of their status */
    uint64_t expired;     /* connections closed because the client was too slow */
};

/* The token that was looked at last. It counts for the same millisecond and until anything was
 * changed: requests that come together need one look into the catalogue, and a token that was
 * deleted is worth nothing before its deletion is answered. */
struct http_last_token {
    char text[HTTP_TOKEN_MAX];
    struct core_principal principal;
    uint64_t at_ms; /* loop time; 0: none */
};

struct http {
    uint32_t magic;
    uv_loop_t *loop;
    struct core *core;
    struct http_options options;
    struct router router;
    struct listener listeners[2];
    char address[80];
    struct connection *connections; /* all, newest first */
    uint32_t connection_count;
    uint32_t request_count; /* begun and not ended */
    struct request *idle;   /* for use again */
    uint32_t idle_count;
    struct stream *streams;
    uint32_t stream_count;
    size_t body_bytes; /* held by all requests */
    struct http_figures figures;
    struct http_last_token last_token;
    uv_timer_t sweep; /* once a second while there are connections; often while closing */
    uv_timer_t waits; /* at the earliest end of a Prefer: wait */
    uint64_t waits_due_ms;
    uint32_t handles; /* open handles of libuv, all counted */
    uint32_t orphans; /* requests whose client is gone and whose call into the core is not back */
    bool closing, closed;
    uint64_t closing_until_ms;
    void (*on_closed)(void *owner);
    void *closed_owner;
};

/* A suspended connection was resumed: libmicrohttpd, which is not woken by that where it has no
 * thread of its own, runs soon. */
void listener_kick(struct listener *listener);
/* Frees the server when nothing refers to it any more. */
void http_settle(struct http *http);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * request.h: one request, from its first line to the end of its answer.
 *
 * Phases (request_phase below): libmicrohttpd calls request_begin when the first line has come and
 * request_handle when the head has, for each piece of the body, at its end, and again after a
 * suspended request was resumed. The endpoint's function either sets an answer (answer.h) or calls
 * request_wait, and later sets an answer and calls request_resume. What is wrong with a request is
 * kept in `refused` and answered when its body has been read away, so that the connection can go
 * on.
 *
 * Ownership: a request is used again (a free list in the server), with its arena and buffers. While
 * a call into the core is out (`core_busy`), the request outlives its client.
 */
#ifndef SLUICE_HTTP_REQUEST_H
#define SLUICE_HTTP_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "http/answer.h"
#include "http/state.h"
#include "http/target.h"

#define REQUEST_MAGIC 0x52657175u
#define REQUEST_ARENA_MAX 1048576 /* a body's values and as much again */
#define REQUEST_IDLE_MAX 128      /* requests kept for use again: those of 64 busy clients, twice */
#define REQUEST_KEEP_BYTES 16384  /* a larger buffer is given back when its request ends */

enum request_phase {
    REQUEST_FREE,
    REQUEST_LINE,      /* the first line has come */
    REQUEST_BODY,      /* the head was taken; the body comes */
    REQUEST_WAITING,   /* suspended */
    REQUEST_READY,     /* resumed, with an answer */
    REQUEST_ANSWERING, /* the answer is queued */
    REQUEST_STREAMING, /* the answer has no end: events.c watches over it */
    REQUEST_BROKEN,    /* answered past libmicrohttpd; what still comes is dropped */
};

/* Of the headers that mean something here; texts belong to libmicrohttpd, NULL: not sent. */
struct headers {
    const char *host, *authorization, *content_type, *content_length, *content_encoding;
    const char *transfer_encoding, *expect;
    const char *idempotency_key, *if_match, *prefer, *accept, *last_event_id;
    const char *repeated; /* name of one that was sent twice and may not be */
};

struct request {
    uint32_t magic;
    enum request_phase phase;
    struct http *http;
    struct connection *connection; /* NULL: the client is gone */
    struct MHD_Connection *mhd;
    struct request *next_idle;
    struct arena arena;
    struct target target;
    struct headers headers;
    struct err refused;
    bool get, head, options; /* of the method: GET or HEAD; HEAD; OPTIONS */
    const struct router_path *path;
    const struct endpoint *endpoint;
    const char *parameter; /* the path's, "" when it has none */
    struct core_principal principal;
    struct buf body;
    size_t body_length; /* of what was sent, kept or not */
    struct answer answer;
    /* while it waits */
    bool core_busy;                    /* the core will call back */
    void (*on_gone)(struct request *); /* drop what would call back; NULL: nothing */
    void (*on_due)(struct request *);  /* the wait is over */
    uint64_t due_ms;                   /* loop time; 0: none */
    struct core_watch *watch;
    struct sluice_uuid operation;
    uint32_t wait_s; /* Prefer: wait */
    char *secret;    /* of a new token; in the arena */
};

/* NULL: no memory. */
struct request *request_begin(struct connection *connection, const char *raw_target);
/* The access handler's part. MHD_NO: close the connection. */
enum MHD_Result request_handle(struct request *request, const char *method, const char *version,
                               const char *upload, size_t *upload_size);
/* libmicrohttpd is done with it. */
void request_end(struct request *request);
/* The core called back: clears core_busy. false: the client is gone and so is the request. */
bool request_back(struct request *request);

void request_wait(struct request *request);
/* As request_wait, and after `seconds` on_due is called. */
void request_wait_until(struct request *request, uint32_t seconds,
                        void (*on_due)(struct request *request));
void request_resume(struct request *request);
/* Calls on_due of those that are due, and sets the timer to the next. */
void request_on_waits(uv_timer_t *timer);

/* Frees the free list. */
void request_forget_idle(struct http *http);

#endif

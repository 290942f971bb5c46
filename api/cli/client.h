/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h: one connection to the gateway, over its Unix socket or a URL.
 *
 * A request whose connection is lost is sent again, the same bytes with the same Idempotency-Key,
 * so that a change is made once however often it is asked for. Tries are bounded and back off.
 *
 * An API token is sent to the gateway only: no redirect is followed, and over plain HTTP it goes to
 * this machine alone.
 */
#ifndef SLUICE_CLI_CLIENT_H
#define SLUICE_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

#define CLIENT_TRIES_MAX 6 /* 100 ms doubled five times: three seconds for a restart */
#define CLIENT_BACKOFF_MS 100
#define CLIENT_ANSWER_MAX \
    (64u << 20) /* bytes; a page of 500 objects with all their labels is less */
#define CLIENT_TOKEN_MAX 512

struct client;

struct client_options {
    const char *url; /* NULL: the socket */
    const char *socket;
    const char *token_file; /* NULL: none */
};

bool client_open(const struct client_options *options, struct client **ret, struct err *err);
void client_close(struct client *client);

struct client_request {
    const char *method;
    const char *path;     /* with its query */
    const char *body;     /* JSON or NULL */
    const char *key;      /* Idempotency-Key or NULL */
    const char *if_match; /* ETag or NULL */
    uint32_t wait_s;      /* Prefer: wait; 0: not sent */
};

struct client_answer {
    int status;
    char etag[64];
    char operation[40]; /* Sluice-Operation, or "" */
    bool sent;          /* some try got as far as the gateway */
    struct buf body;
};

enum client_result {
    CLIENT_ANSWERED,
    CLIENT_UNREACHABLE, /* after all tries; err tells why */
    CLIENT_INTERRUPTED, /* SIGINT or SIGTERM came */
};

/* Fills *ret, to be released in any case. */
enum client_result client_ask(struct client *client, const struct client_request *request,
                              struct client_answer *ret, struct err *err);
void client_answer_release(struct client_answer *answer);
/* The body as an object, of which the caller has a reference; NULL: it is none. */
json_t *client_answer_json(const struct client_answer *answer);

/* GETs server-sent events until the connection ends (CLIENT_UNREACHABLE: the cause is in err,
 * unless the server ended it in order) or a signal comes. `take` gets the bytes of a 200 answer as
 * they come; other answers are whole in *ret (CLIENT_ANSWERED). */
enum client_result client_follow(struct client *client, const char *path, const char *last_id,
                                 void (*take)(void *arg, const char *bytes, size_t length),
                                 void *arg, struct client_answer *ret, struct err *err);

/* From here on SIGINT and SIGTERM end a request and no longer the process. */
void client_catch_signals(void);
/* Sleeps; less when interrupted. */
void client_pause(uint32_t ms);

#endif

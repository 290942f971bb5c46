/* SPDX-License-Identifier: Apache-2.0
 *
 * events.h: follows the gateway's events, over as many connections as it takes.
 *
 * The stream is the one of server-sent events (HTML standard, section 9.2.6). The number of the
 * last event that was printed goes with the next connection, so none is lost and none comes twice.
 */
#ifndef SLUICE_CLI_EVENTS_H
#define SLUICE_CLI_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/client.h"
#include "cli/problem.h"

#define EVENT_MAX (1u << 20) /* bytes of one event; the gateway's are below 8 KiB */

struct event_stream {
    struct buf line;  /* the line that has not ended yet */
    struct buf value; /* of the event that has not ended yet: its lines of data */
    char id[32];      /* of the last whole event, or "" */
    char next_id[32];
    char type[64]; /* of the event that has not ended yet */
    bool after_cr; /* a newline now belongs to the carriage return before */
    size_t events;
    void (*on_event)(void *arg, const char *id, const char *type, const char *json);
    void *arg;
};

void event_stream_init(struct event_stream *stream,
                       void (*on_event)(void *arg, const char *id, const char *type,
                                        const char *json),
                       void *arg);
void event_stream_release(struct event_stream *stream);
void event_stream_take(struct event_stream *stream, const char *bytes, size_t length);
/* A connection ended: what was not whole is forgotten. */
void event_stream_reset(struct event_stream *stream);

/* Prints events after `after` ("": new ones) as they come; a line each. */
enum cli_exit events_follow(struct client *client, const char *after, bool json, FILE *out,
                            FILE *messages);

#endif

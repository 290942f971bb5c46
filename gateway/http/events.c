/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c: a stream is an answer whose body libmicrohttpd asks for piece by piece; where there is
 * nothing to say it is suspended until the core wakes it, or until the next heartbeat.
 */
#include "http/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/num.h"
#include "http/authenticate.h"
#include "http/read.h"

#define STREAM_MAGIC 0x5374726du
#define PIECE_BYTES 4096 /* that libmicrohttpd asks for at once */

struct stream {
    uint32_t magic;
    struct http *http;
    struct listener *listener;
    struct MHD_Connection *mhd;
    int fd;
    struct core_subscription *subscription;
    struct buf text;
    size_t sent;       /* of the text */
    uint64_t after;    /* number of the last event in the text or before it */
    uint64_t moved_ms; /* when the client last took something */
    bool suspended, beat, ended;
    char token[HTTP_TOKEN_MAX]; /* that the client came with; empty: its account counts */
    char principal[sizeof((struct core_principal *)0)->name];
    struct stream *previous, *next;
};

/* ---- a page ---------------------------------------------------------------------------------- */

struct page {
    struct buf *body;
    uint64_t last;
    uint32_t count;
};

static void on_page_event(void *arg, uint64_t number, const char *type, const char *json) {
    struct page *page = arg;
    (void)type;
    if (page->count++ > 0)
        buf_put(page->body, ",", 1);
    buf_put(page->body, json, strlen(json));
    page->last = number;
}

static void read_page(struct request *request, uint64_t after, uint32_t limit) {
    struct buf *body = &request->answer.body;
    struct page page = {.body = body, .last = after};
    struct err err = ERR_INIT;
    uint64_t last;
    buf_put(body, "{\"items\":[", 10);
    if (!core_events(request->http->core, after, limit, on_page_event, &page, &last, &err)) {
        answer_problem(request, &err, NULL);
        return;
    }
    buf_printf(body, "],\"next\":\"%" PRIu64 "\"}", page.last);
    answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
}

/* ---- a stream -------------------------------------------------------------------------------- */

static void stream_free(void *arg) {
    struct stream *stream = arg;
    if (stream == NULL)
        return;
    struct http *http = stream->http;
    if (stream->subscription != NULL)
        core_unsubscribe(stream->subscription);
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else if (http->streams == stream)
        http->streams = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    http->stream_count--;
    buf_release(&stream->text);
    explicit_bzero(stream->token, sizeof stream->token);
    free(stream);
}

static void resume(struct stream *stream) {
    if (!stream->suspended)
        return;
    stream->suspended = false;
    MHD_resume_connection(stream->mhd);
    listener_kick(stream->listener);
}

static void on_wake(void *arg) {
    struct stream *stream = arg;
    CHECK_MAGIC(stream, STREAM_MAGIC);
    resume(stream);
}

static void on_stream_event(void *arg, uint64_t number, const char *type, const char *json) {
    struct stream *stream = arg;
    buf_printf(&stream->text, "id: %" PRIu64 "\nevent: %s\ndata: ", number, type);
    buf_put(&stream->text, json, strlen(json));
    buf_put(&stream->text, "\n\n", 2);
    stream->after = number;
}

/* A token may have been deleted since the stream began; that is an event too, so each stream comes
 * here when it happens. */
static bool may_still(struct stream *stream) {
    struct core_principal principal;
    return stream->token[0] == '\0' ||
           core_authenticate(stream->http->core, stream->token, &principal);
}

/* Reads on; false: the stream ends after what is in the text now. */
static bool fill(struct stream *stream) {
    struct err err = ERR_INIT;
    uint64_t last;
    buf_clear(&stream->text);
    stream->sent = 0;
    if (stream->ended || !may_still(stream))
        return false;
    if (!core_events(stream->http->core, stream->after, EVENTS_BATCH, on_stream_event, stream,
                     &last, &err)) {
        static const char event[] = "event: problem\ndata: ";
        buf_put(&stream->text, event, sizeof event - 1);
        answer_problem_json(&stream->text, &err, NULL, NULL);
        buf_put(&stream->text, "\n\n", 2);
        stream->ended = true;
    }
    if (stream->text.overflow) /* its client comes again and finds it where it was */
        return false;
    if (stream->text.length == 0 && stream->beat)
        buf_put(&stream->text, ":\n\n", 3);
    return true;
}

static ssize_t on_piece(void *arg, uint64_t position, char *piece, size_t max) {
    struct stream *stream = arg;
    (void)position;
    CHECK_MAGIC(stream, STREAM_MAGIC);
    if (stream->sent == stream->text.length && !fill(stream))
        return MHD_CONTENT_READER_END_OF_STREAM;
    size_t length = stream->text.length - stream->sent;
    if (length == 0) {
        stream->suspended = true;
        MHD_suspend_connection(stream->mhd);
        return 0;
    }
    length = length < max ? length : max;
    memcpy(piece, stream->text.at + stream->sent, length);
    stream->sent += length;
    stream->beat = false;
    stream->moved_ms = uv_now(stream->http->loop);
    return (ssize_t)length;
}

static struct stream *stream_new(struct request *request, uint64_t after) {
    struct http *http = request->http;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->magic = STREAM_MAGIC;
    stream->http = http;
    stream->listener = request->connection->listener;
    stream->mhd = request->mhd;
    stream->fd = request->connection->fd;
    stream->after = after;
    stream->moved_ms = uv_now(http->loop);
    /* Something to send at once shows the client that it is connected. */
    stream->beat = true;
    if (request->headers.authorization != NULL)
        snprintf(stream->token, sizeof stream->token, "%s",
                 authenticate_bearer(request->headers.authorization));
    text_copy(stream->principal, sizeof stream->principal, request->principal.name);
    buf_init(&stream->text, EVENTS_BUFFER_MAX);
    stream->next = http->streams;
    if (http->streams != NULL)
        http->streams->previous = stream;
    http->streams = stream;
    http->stream_count++;
    stream->subscription = core_subscribe(http->core, on_wake, stream);
    if (stream->subscription == NULL) {
        stream_free(stream);
        return NULL;
    }
    return stream;
}

static void on_no_event(void *arg, uint64_t number, const char *type, const char *json) {
    (void)arg;
    (void)number;
    (void)type;
    (void)json;
}

/* Has one more place, so that nobody takes all of them. */
static bool may_follow(const struct request *request, struct err *err) {
    uint32_t own = 0;
    for (const struct stream *at = request->http->streams; at != NULL; at = at->next)
        own += strcmp(at->principal, request->principal.name) == 0;
    if (own >= HTTP_STREAMS_EACH_MAX)
        return err_set(err, ERR_TOO_MANY, "%s follows events %u times already: end one of them",
                       request->principal.name, own);
    return request->http->stream_count < HTTP_STREAMS_MAX ||
           err_set(err, ERR_TOO_MANY, "%d readers follow events already", HTTP_STREAMS_MAX);
}

static void stream_start(struct request *request, uint64_t after, bool from_now) {
    struct err err = ERR_INIT;
    uint64_t last;
    if (!core_events(request->http->core, after, 1, on_no_event, NULL, &last, &err)) {
        if (!from_now || err.code != ERR_GONE) {
            answer_problem(request, &err, NULL);
            return;
        }
    }
    err = ERR_INIT;
    struct stream *stream = NULL;
    if (may_follow(request, &err))
        stream = stream_new(request, from_now ? last : after);
    struct MHD_Response *response = NULL;
    if (stream != NULL) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_BYTES, on_piece,
                                                     stream, stream_free);
        if (response == NULL)
            stream_free(stream);
    }
    if (response == NULL) {
        err_set(&err, ERR_NO_MEMORY, "no memory for the stream"); /* unless it said why */
        answer_problem(request, &err, NULL);
        return;
    }
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream") ==
            MHD_YES &&
        answer_add_common(response) &&
        MHD_queue_response(request->mhd, MHD_HTTP_OK, response) == MHD_YES) {
        request->answer.status = MHD_HTTP_OK;
        request->phase = REQUEST_STREAMING;
    } else {
        err_set(&err, ERR_NO_MEMORY, "no memory for the stream");
        answer_problem(request, &err, NULL);
    }
    MHD_destroy_response(response);
}

/* ---- the endpoint ---------------------------------------------------------------------------- */

static bool wants_stream(const struct request *request) {
    return !request->head && request->headers.accept != NULL &&
           strcasestr(request->headers.accept, "text/event-stream") != NULL;
}

void events_read(struct request *request) {
    struct value values[DECODE_FIELDS_MAX];
    struct err err = ERR_INIT;
    if (!read_query(request, values))
        return;
    uint64_t after = read_number(request, values, "after", UINT64_MAX);
    const char *last_id = request->headers.last_event_id;
    if (last_id != NULL && *last_id != '\0' && !num_parse_u64(last_id, &after)) {
        err_set(&err, ERR_BAD_REQUEST, "the Last-Event-ID is not a number");
        answer_problem(request, &err, NULL);
        return;
    }
    bool from_now = after == UINT64_MAX;
    if (from_now)
        after = 0;
    if (wants_stream(request))
        stream_start(request, after, from_now);
    else
        read_page(request, after,
                  (uint32_t)read_number(request, values, "limit", EVENTS_PAGE_DEFAULT));
}

void events_sweep(struct http *http) {
    uint64_t now = uv_now(http->loop);
    for (struct stream *at = http->streams; at != NULL; at = at->next) {
        if (at->suspended && now - at->moved_ms >= HTTP_HEARTBEAT_MS) {
            at->beat = true;
            resume(at);
        } else if (!at->suspended && now - at->moved_ms >= HTTP_ANSWER_DEADLINE_MS) {
            shutdown(at->fd, SHUT_RDWR);
            http->figures.expired++;
        }
    }
}

void events_end(struct http *http) {
    for (struct stream *at = http->streams; at != NULL; at = at->next) {
        at->ended = true;
        resume(at);
    }
}

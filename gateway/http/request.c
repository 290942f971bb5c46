/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c: the head, the body, the wait and the end of a request.
 */
#include "http/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/num.h"
#include "http/authenticate.h"

/* ---- begin and end --------------------------------------------------------------------------- */

static struct request *take_idle(struct http *http) {
    struct request *request = http->idle;
    if (request != NULL) {
        http->idle = request->next_idle;
        http->idle_count--;
        return request;
    }
    request = calloc(1, sizeof *request);
    if (request == NULL)
        return NULL;
    request->magic = REQUEST_MAGIC;
    request->http = http;
    arena_init(&request->arena, REQUEST_ARENA_MAX);
    buf_init(&request->body, HTTP_BODY_MAX);
    buf_init(&request->answer.body, HTTP_ANSWER_MAX);
    return request;
}

struct request *request_begin(struct connection *connection, const char *raw_target) {
    struct http *http = connection->listener->http;
    struct request *request = take_idle(http);
    if (request == NULL)
        return NULL;
    request->phase = REQUEST_LINE;
    request->connection = connection;
    request->mhd = connection->mhd;
    request->refused.code = ERR_NONE;
    request->headers = (struct headers){.host = NULL};
    request->get = request->head = request->options = false;
    request->path = NULL;
    request->endpoint = NULL;
    request->parameter = "";
    request->body_length = 0;
    request->core_busy = false;
    request->on_gone = NULL;
    request->on_due = NULL;
    request->due_ms = 0;
    request->watch = NULL;
    request->wait_s = 0;
    request->secret = NULL;
    target_parse(raw_target, &request->target, &request->refused);
    connection->request = request;
    connection->since_ms = uv_now(http->loop);
    http->request_count++;
    return request;
}

static void forget(struct request *request) {
    arena_release(&request->arena);
    buf_release(&request->body);
    buf_release(&request->answer.body);
    free(request);
}

static void recycle(struct request *request) {
    struct http *http = request->http;
    /* Bodies may hold credentials of backends, and one answer holds a new token. */
    if (request->body.length > 0)
        explicit_bzero(request->body.at, request->body.length);
    if (request->secret != NULL) {
        explicit_bzero(request->secret, strlen(request->secret));
        explicit_bzero(request->answer.body.at, request->answer.body.length);
    }
    request->phase = REQUEST_FREE;
    if (http->idle_count == REQUEST_IDLE_MAX) {
        forget(request);
        return;
    }
    if (request->arena.held > REQUEST_KEEP_BYTES)
        arena_release(&request->arena);
    else
        arena_reset(&request->arena);
    if (request->body.capacity > REQUEST_KEEP_BYTES)
        buf_release(&request->body);
    if (request->answer.body.capacity > REQUEST_KEEP_BYTES)
        buf_release(&request->answer.body);
    buf_clear(&request->body);
    answer_clear(&request->answer);
    request->next_idle = http->idle;
    http->idle = request;
    http->idle_count++;
}

void request_end(struct request *request) {
    struct http *http = request->http;
    struct connection *connection = request->connection;
    CHECK_MAGIC(request, REQUEST_MAGIC);
    if (request->phase == REQUEST_WAITING && request->on_gone != NULL)
        request->on_gone(request);
    http->body_bytes -= request->body.length;
    http->request_count--;
    if (request->answer.status != 0)
        http->figures.requests[request->answer.status / 100 % 6]++;
    connection->request = NULL;
    connection->since_ms = uv_now(http->loop);
    connection->requests++;
    request->connection = NULL;
    request->mhd = NULL;
    if (request->core_busy)
        http->orphans++;
    else
        recycle(request);
}

bool request_back(struct request *request) {
    CHECK_MAGIC(request, REQUEST_MAGIC);
    CHECK(request->core_busy);
    request->core_busy = false;
    if (request->connection != NULL)
        return request->phase == REQUEST_WAITING;
    struct http *http = request->http;
    http->orphans--;
    recycle(request);
    http_settle(http);
    return false;
}

void request_forget_idle(struct http *http) {
    while (http->idle != NULL) {
        struct request *request = http->idle;
        http->idle = request->next_idle;
        forget(request);
    }
    http->idle_count = 0;
}

/* ---- waiting --------------------------------------------------------------------------------- */

void request_wait(struct request *request) {
    CHECK(request->phase == REQUEST_LINE || request->phase == REQUEST_BODY);
    request->phase = REQUEST_WAITING;
    MHD_suspend_connection(request->mhd);
}

static void set_waits_timer(struct http *http, uint64_t due_ms) {
    uint64_t now = uv_now(http->loop);
    http->waits_due_ms = due_ms;
    uv_timer_start(&http->waits, request_on_waits, due_ms > now ? due_ms - now : 0, 0);
}

void request_wait_until(struct request *request, uint32_t seconds,
                        void (*on_due)(struct request *request)) {
    struct http *http = request->http;
    request->on_due = on_due;
    request->due_ms = uv_now(http->loop) + (uint64_t)seconds * 1000;
    if (http->waits_due_ms == 0 || request->due_ms < http->waits_due_ms)
        set_waits_timer(http, request->due_ms);
    if (request->phase != REQUEST_WAITING)
        request_wait(request);
}

void request_on_waits(uv_timer_t *timer) {
    struct http *http = timer->data;
    CHECK_MAGIC(http, HTTP_MAGIC);
    uint64_t now = uv_now(http->loop);
    uint64_t next = 0;
    http->waits_due_ms = 0;
    for (struct connection *at = http->connections; at != NULL; at = at->next) {
        struct request *request = at->request;
        if (request == NULL || request->phase != REQUEST_WAITING || request->due_ms == 0)
            continue;
        if (request->due_ms <= now) {
            request->due_ms = 0;
            request->on_due(request);
        } else if (next == 0 || request->due_ms < next) {
            next = request->due_ms;
        }
    }
    if (next != 0)
        set_waits_timer(http, next);
}

void request_resume(struct request *request) {
    CHECK(request->phase == REQUEST_WAITING && request->answer.status != 0);
    request->phase = REQUEST_READY;
    request->due_ms = 0;
    MHD_resume_connection(request->mhd);
    listener_kick(request->connection->listener);
}

/* ---- the head -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t offset;
    bool may_repeat;
} header_table[] = {
    {"Host", offsetof(struct headers, host), false},
    {"Authorization", offsetof(struct headers, authorization), false},
    {"Content-Type", offsetof(struct headers, content_type), false},
    {"Content-Length", offsetof(struct headers, content_length), false},
    {"Content-Encoding", offsetof(struct headers, content_encoding), false},
    {"Transfer-Encoding", offsetof(struct headers, transfer_encoding), false},
    {"Expect", offsetof(struct headers, expect), true},
    {"Idempotency-Key", offsetof(struct headers, idempotency_key), false},
    {"If-Match", offsetof(struct headers, if_match), false},
    {"Prefer", offsetof(struct headers, prefer), true},
    {"Accept", offsetof(struct headers, accept), true},
    {"Last-Event-ID", offsetof(struct headers, last_event_id), false},
};

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value) {
    struct headers *headers = arg;
    (void)kind;
    for (size_t i = 0; i < sizeof header_table / sizeof header_table[0]; i++) {
        /* Most names differ in the first letter already. */
        if (((header_table[i].name[0] ^ name[0]) & ~0x20) != 0 ||
            strcasecmp(header_table[i].name, name) != 0)
            continue;
        const char **place = (const char **)((char *)headers + header_table[i].offset);
        if (*place == NULL)
            *place = value != NULL ? value : "";
        else if (!header_table[i].may_repeat)
            headers->repeated = header_table[i].name;
        break;
    }
    return MHD_YES;
}

/* Where the body ends must be beyond doubt: two readings of it are how requests are smuggled. */
static bool judge_framing(const struct headers *headers, struct err *err) {
    uint64_t length = 0;
    if (headers->repeated != NULL)
        return err_set(err, ERR_BAD_REQUEST, "the header %s is there twice", headers->repeated);
    if (headers->transfer_encoding != NULL && headers->content_length != NULL)
        return err_set(err, ERR_BAD_REQUEST, "there are both Transfer-Encoding and Content-Length");
    if (headers->transfer_encoding != NULL &&
        strcasecmp(headers->transfer_encoding, "chunked") != 0)
        return err_set(err, ERR_BAD_REQUEST, "the Transfer-Encoding is not chunked");
    if (headers->content_length != NULL && !num_parse_u64(headers->content_length, &length))
        return err_set(err, ERR_BAD_REQUEST, "the Content-Length is not a number");
    if (length > HTTP_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "a body may have at most %d bytes", HTTP_BODY_MAX);
    return true;
}

static bool has_body(const struct headers *headers) {
    return headers->transfer_encoding != NULL ||
           (headers->content_length != NULL &&
            strspn(headers->content_length, "0") != strlen(headers->content_length));
}

static bool is_json_type(const char *type) {
    static const char json[] = "application/json";
    if (type == NULL || strncasecmp(type, json, sizeof json - 1) != 0)
        return false;
    char after = type[sizeof json - 1];
    return after == '\0' || after == ';' || after == ' ';
}

static bool judge_route(struct request *request, const char *method, struct err *err) {
    request->path = router_match(&request->http->router, &request->target);
    if (request->path == NULL)
        return err_set(err, ERR_NO_ROUTE, "no resource of this API has that path");
    request->head = strcmp(method, "HEAD") == 0;
    request->options = strcmp(method, "OPTIONS") == 0;
    if (request->options)
        return true;
    enum method number = router_method(method);
    request->get = number == METHOD_GET;
    if (number < METHODS)
        request->endpoint = &request->path->endpoints[number];
    if (number == METHODS || request->endpoint->route == NULL) {
        request->endpoint = NULL;
        request->answer.allow = request->path->allow;
        return err_set(err, ERR_METHOD, "it takes %s", request->path->allow);
    }
    if (request->path->parameter != SIZE_MAX)
        request->parameter = request->target.segments[request->path->parameter];
    return true;
}

static bool judge_body_kind(const struct request *request, struct err *err) {
    const struct headers *headers = &request->headers;
    if (!has_body(headers))
        return true;
    if (request->get || request->options)
        return err_set(err, ERR_BAD_REQUEST, "a %s request has no body",
                       request->get ? "GET" : "OPTIONS");
    if (headers->content_encoding != NULL && strcasecmp(headers->content_encoding, "identity") != 0)
        return err_set(err, ERR_MEDIA_TYPE, "the body must not be compressed");
    if (!is_json_type(headers->content_type))
        return err_set(err, ERR_MEDIA_TYPE, "the Content-Type is not application/json");
    return true;
}

static void judge_head(struct request *request, const char *method, const char *version) {
    struct err *err = &request->refused;
    if (request->http->closing)
        err_set(err, ERR_STOPPING, "the gateway is stopping");
    else if (err->code == ERR_NONE && authenticate_host(request, version, err) &&
             judge_route(request, method, err))
        (void)((request->options || authenticate_request(request, request->endpoint->role, err)) &&
               judge_body_kind(request, err));
}

/* ---- the answer ------------------------------------------------------------------------------ */

static enum MHD_Result queue(struct request *request) {
    if (request->http->closing)
        request->answer.close = true;
    if (!answer_queue(request))
        return MHD_NO;
    request->phase = REQUEST_ANSWERING;
    request->connection->since_ms = uv_now(request->http->loop);
    return MHD_YES;
}

/* All has arrived. */
static enum MHD_Result finish(struct request *request) {
    if (request->refused.code != ERR_NONE) {
        answer_problem(request, &request->refused, NULL);
    } else if (request->options) {
        request->answer.allow = request->path->allow;
        answer_set(request, MHD_HTTP_NO_CONTENT, ANSWER_EMPTY);
    } else {
        request->endpoint->run(request);
    }
    if (request->phase == REQUEST_WAITING || request->phase == REQUEST_STREAMING)
        return MHD_YES;
    return queue(request);
}

static enum MHD_Result take_head(struct request *request, const char *method, const char *version) {
    MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, on_header, &request->headers);
    bool framed = judge_framing(&request->headers, &request->refused);
    if (framed)
        judge_head(request, method, version);
    /* An answer now makes libmicrohttpd close the connection. That is right where the body will not
     * be read away, and where somebody asks before sending it; all others are answered when they
     * are complete, which they are in a moment when there is no body. */
    if (!framed || (request->refused.code != ERR_NONE && request->headers.expect != NULL)) {
        request->answer.close = true;
        return finish(request);
    }
    request->phase = REQUEST_BODY;
    return MHD_YES;
}

/* ---- the body -------------------------------------------------------------------------------- */

static void take_body(struct request *request, const char *bytes, size_t size) {
    struct http *http = request->http;
    request->body_length += size;
    if (request->body_length > HTTP_BODY_MAX) {
        /* libmicrohttpd takes no answer in the middle of a body. */
        struct err err = ERR_INIT;
        err_set(&err, ERR_TOO_LARGE, "a body may have at most %d bytes", HTTP_BODY_MAX);
        answer_raw(request->connection->fd, &err);
        shutdown(request->connection->fd, SHUT_WR);
        request->phase = REQUEST_BROKEN;
        http->figures.requests[4]++;
        return;
    }
    if (request->refused.code != ERR_NONE)
        return;
    if (http->body_bytes + size > HTTP_BODIES_MAX) {
        err_set(&request->refused, ERR_TOO_MANY, "too many large requests at once");
        return;
    }
    size_t before = request->body.length;
    buf_put(&request->body, bytes, size);
    http->body_bytes += request->body.length - before;
    if (request->body.overflow)
        err_set(&request->refused, ERR_NO_MEMORY, "no memory for the body");
}

enum MHD_Result request_handle(struct request *request, const char *method, const char *version,
                               const char *upload, size_t *upload_size) {
    CHECK_MAGIC(request, REQUEST_MAGIC);
    size_t size = *upload_size;
    *upload_size = 0;
    switch (request->phase) {
    case REQUEST_LINE:
        return take_head(request, method, version);
    case REQUEST_BODY:
        if (size == 0)
            return finish(request);
        take_body(request, upload, size);
        return MHD_YES;
    case REQUEST_READY:
        return queue(request);
    case REQUEST_BROKEN:
        return size > 0 ? MHD_YES : MHD_NO;
    default:
        return MHD_NO;
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c: libmicrohttpd's daemons on the loop, their connections, deadlines, and the end.
 */
#include "http/server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "http/authenticate.h"
#include "http/events.h"
#include "http/listen.h"
#include "http/other.h"
#include "http/request.h"
#include "http/state.h"

#define SWEEP_MS 1000       /* deadlines are kept to the second */
#define SWEEP_CLOSING_MS 20 /* how soon the end is seen */
#define RUNS_MAX 16         /* of a daemon in one turn of the loop, before others get theirs */

/* ---- driving libmicrohttpd ------------------------------------------------------------------- */

static void on_again(uv_timer_t *timer);

static void run(struct listener *listener) {
    MHD_UNSIGNED_LONG_LONG left_ms = 0;
    bool timed = true;
    listener->kicked = false;
    for (int i = 0; i < RUNS_MAX && timed && left_ms == 0; i++) {
        MHD_run(listener->daemon);
        timed = MHD_get_timeout(listener->daemon, &left_ms) == MHD_YES;
    }
    if (timed || listener->kicked)
        uv_timer_start(&listener->again, on_again, listener->kicked ? 0 : left_ms, 0);
    else
        uv_timer_stop(&listener->again);
}

void listener_kick(struct listener *listener) {
    listener->kicked = true;
    uv_timer_start(&listener->again, on_again, 0, 0);
}

static void on_again(uv_timer_t *timer) {
    struct listener *listener = timer->data;
    CHECK_MAGIC(listener, LISTENER_MAGIC);
    run(listener);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct listener *listener = poll->data;
    CHECK_MAGIC(listener, LISTENER_MAGIC);
    (void)status;
    (void)events;
    run(listener);
}

/* ---- what libmicrohttpd tells ---------------------------------------------------------------- */

static void on_sweep(uv_timer_t *timer);

static void connection_begin(struct listener *listener, struct MHD_Connection *mhd, void **place) {
    struct http *http = listener->http;
    struct connection *connection = calloc(1, sizeof *connection);
    *place = connection;
    if (connection == NULL) /* its requests are refused */
        return;
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    CHECK(fd != NULL);
    *connection = (struct connection){
        .magic = CONNECTION_MAGIC,
        .listener = listener,
        .mhd = mhd,
        .fd = fd->connect_fd,
        .since_ms = uv_now(http->loop),
        .next = http->connections,
    };
    if (listener->local)
        authenticate_peer(connection->fd, http->options.socket_role, &connection->peer);
    if (http->connections != NULL)
        http->connections->previous = connection;
    http->connections = connection;
    if (http->connection_count++ == 0 && !http->closing)
        uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static void connection_end(struct http *http, void **place) {
    struct connection *connection = *place;
    *place = NULL;
    if (connection == NULL)
        return;
    CHECK_MAGIC(connection, CONNECTION_MAGIC);
    CHECK(connection->request == NULL);
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        http->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    if (--http->connection_count == 0 && !http->closing)
        uv_timer_stop(&http->sweep);
    connection->magic = 0;
    free(connection);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **place,
                          enum MHD_ConnectionNotificationCode code) {
    struct listener *listener = arg;
    CHECK_MAGIC(listener, LISTENER_MAGIC);
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_begin(listener, mhd, place);
    else
        connection_end(listener->http, place);
}

/* libmicrohttpd would take the query apart too, into the connection's memory, and where that is not
 * enough it queues an error and then forgets it. The text is its own buffer, not a constant, and is
 * read after this: what is not there needs no memory. */
static void hide_query(const char *raw_target) {
    char *query = strchr((char *)raw_target, '?');
    if (query != NULL)
        query[1] = '\0';
}

static void *on_first_line(void *arg, const char *raw_target, struct MHD_Connection *mhd) {
    (void)arg;
    const union MHD_ConnectionInfo *place =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *connection = place != NULL ? place->socket_context : NULL;
    if (connection == NULL)
        return NULL;
    CHECK_MAGIC(connection, CONNECTION_MAGIC);
    struct request *request = request_begin(connection, raw_target);
    hide_query(raw_target);
    return request;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **place) {
    (void)arg;
    (void)mhd;
    (void)url;
    if (*place == NULL)
        return MHD_NO;
    return request_handle(*place, method, version, upload, upload_size);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **place,
                         enum MHD_RequestTerminationCode code) {
    (void)arg;
    (void)mhd;
    (void)code;
    if (*place != NULL)
        request_end(*place);
    *place = NULL;
}

/* target.c decodes, once and after taking the target apart. */
static size_t on_unescape(void *arg, struct MHD_Connection *mhd, char *text) {
    (void)arg;
    (void)mhd;
    return strlen(text);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void expire(struct connection *connection) {
    struct err err = ERR_INIT;
    const struct request *request = connection->request;
    /* To a connection that was only kept open nothing is owed. */
    if (request != NULL ? request->phase == REQUEST_LINE || request->phase == REQUEST_BODY
                        : connection->requests == 0) {
        err_set(&err, ERR_SLOW, "the request did not arrive within %u ms",
                (unsigned)connection->listener->http->options.request_deadline_ms);
        answer_raw(connection->fd, &err);
        connection->listener->http->figures.requests[4]++;
    }
    shutdown(connection->fd, SHUT_RDWR);
    connection->listener->http->figures.expired++;
    /* libmicrohttpd sees the end of it at once; until then it is not expired again. */
    connection->since_ms = uv_now(connection->listener->http->loop);
}

static uint64_t deadline_of(const struct http *http, const struct connection *connection) {
    if (connection->request == NULL)
        return http->options.request_deadline_ms;
    switch (connection->request->phase) {
    case REQUEST_LINE:
    case REQUEST_BODY:
    case REQUEST_BROKEN:
        return http->options.request_deadline_ms;
    case REQUEST_ANSWERING:
        return HTTP_ANSWER_DEADLINE_MS;
    default:
        return UINT64_MAX;
    }
}

static void try_to_close(struct http *http);

static void on_sweep(uv_timer_t *timer) {
    struct http *http = timer->data;
    CHECK_MAGIC(http, HTTP_MAGIC);
    uint64_t now = uv_now(http->loop);
    for (struct connection *at = http->connections; at != NULL; at = at->next)
        if (now - at->since_ms >= deadline_of(http, at))
            expire(at);
    events_sweep(http);
    if (http->closing)
        try_to_close(http);
}

/* ---- open ------------------------------------------------------------------------------------ */

static bool start_listener(struct listener *listener, struct err *err) {
    struct http *http = listener->http;
    listener->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, listener,
        MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, listener, MHD_OPTION_URI_LOG_CALLBACK, on_first_line, listener,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, listener, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    if (listener->daemon == NULL)
        return err_set(err, ERR_SYSTEM, "libmicrohttpd does not start");
    const union MHD_DaemonInfo *epoll =
        MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (epoll == NULL || uv_poll_init(http->loop, &listener->poll, epoll->epoll_fd) != 0)
        return err_set(err, ERR_SYSTEM, "libmicrohttpd cannot be polled");
    uv_timer_init(http->loop, &listener->again);
    listener->poll.data = listener->again.data = listener;
    listener->handles_open = true;
    http->handles += 2;
    uv_poll_start(&listener->poll, UV_READABLE, on_readable);
    run(listener);
    return true;
}

static bool open_listeners(struct http *http, struct err *err) {
    const struct http_options *options = &http->options;
    struct listener *local = &http->listeners[0];
    struct listener *port = &http->listeners[1];
    local->local = true;
    /* The port first: whoever sees the Unix socket finds everything open. */
    if (options->listen != NULL &&
        (!listen_port(options->listen, &port->fd, http->address, sizeof http->address, err) ||
         !start_listener(port, err)))
        return false;
    return options->socket_path == NULL ||
           (listen_local(options->socket_path, options->socket_group, &local->fd, err) &&
            start_listener(local, err));
}

bool http_open(struct uv_loop_s *loop, struct core *core, const struct http_options *options,
               struct http **ret, struct err *err) {
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return err_set(err, ERR_NO_MEMORY, "opening the API");
    http->magic = HTTP_MAGIC;
    http->loop = loop;
    http->core = core;
    http->options = *options;
    if (http->options.request_deadline_ms == 0)
        http->options.request_deadline_ms = HTTP_REQUEST_DEADLINE_MS;
    router_init(&http->router, other_find);
    for (size_t i = 0; i < 2; i++)
        http->listeners[i] = (struct listener){.magic = LISTENER_MAGIC, .http = http, .fd = -1};
    uv_timer_init(loop, &http->sweep);
    uv_timer_init(loop, &http->waits);
    http->sweep.data = http->waits.data = http;
    http->handles = 2;
    if (!open_listeners(http, err)) {
        http_close(http, NULL, NULL);
        return false;
    }
    *ret = http;
    return true;
}

const char *http_address(const struct http *http) {
    return http->address;
}

/* ---- close ----------------------------------------------------------------------------------- */

void http_settle(struct http *http) {
    if (!http->closed || http->handles > 0 || http->orphans > 0)
        return;
    request_forget_idle(http);
    http->magic = 0;
    free(http);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct http *http = handle->data;
    http->handles--;
    http_settle(http);
}

static void on_listener_handle_closed(uv_handle_t *handle) {
    struct listener *listener = handle->data;
    listener->http->handles--;
    http_settle(listener->http);
}

/* The path is removed while it is still ours, so that a successor's socket is never. */
static void stop_listening(struct http *http) {
    if (http->listeners[0].fd >= 0)
        unlink(http->options.socket_path);
    for (size_t i = 0; i < 2; i++) {
        struct listener *listener = &http->listeners[i];
        if (listener->daemon != NULL)
            MHD_quiesce_daemon(listener->daemon);
        if (listener->fd >= 0)
            close(listener->fd);
        listener->fd = -1;
    }
}

static void stop_daemons(struct http *http) {
    for (size_t i = 0; i < 2; i++) {
        struct listener *listener = &http->listeners[i];
        if (listener->handles_open) {
            uv_poll_stop(&listener->poll);
            uv_close((uv_handle_t *)&listener->poll, on_listener_handle_closed);
            uv_close((uv_handle_t *)&listener->again, on_listener_handle_closed);
        }
        if (listener->daemon != NULL)
            MHD_stop_daemon(listener->daemon);
        listener->daemon = NULL;
    }
}

/* Requests whose operation goes on are answered 202; whose call into the core is out stay, unless
 * there is no time left. */
static void end_waiting(struct http *http, bool all) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_STOPPING, "the gateway is stopping");
    for (struct connection *at = http->connections; at != NULL; at = at->next) {
        struct request *request = at->request;
        if (request == NULL || request->phase != REQUEST_WAITING)
            continue;
        if (request->on_due != NULL) {
            request->on_due(request);
        } else if (all) {
            answer_problem(request, &err, NULL);
            request_resume(request);
        }
    }
}

static void finish_closing(struct http *http) {
    end_waiting(http, true);
    events_end(http);
    for (size_t i = 0; i < 2; i++)
        if (http->listeners[i].daemon != NULL && http->connection_count > 0)
            MHD_run(http->listeners[i].daemon);
    stop_daemons(http);
    CHECK(http->connections == NULL);
    http->closed = true;
    uv_close((uv_handle_t *)&http->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&http->waits, on_handle_closed);
    if (http->on_closed != NULL)
        http->on_closed(http->closed_owner);
}

static void try_to_close(struct http *http) {
    if (http->request_count == 0 || uv_now(http->loop) >= http->closing_until_ms)
        finish_closing(http);
}

void http_close(struct http *http, void (*on_closed)(void *owner), void *owner) {
    CHECK_MAGIC(http, HTTP_MAGIC);
    CHECK(!http->closing);
    http->closing = true;
    http->on_closed = on_closed;
    http->closed_owner = owner;
    http->closing_until_ms = uv_now(http->loop) + HTTP_DRAIN_MS;
    stop_listening(http);
    end_waiting(http, false);
    events_end(http);
    uv_timer_start(&http->sweep, on_sweep, 0, SWEEP_CLOSING_MS);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c: see connection.h. Reading; transfer.c writes.
 */
#include "data/connection.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "data/export.h"
#include "data/tls.h"
#include "data/volume.h"

#define WATCHED (EPOLLIN | EPOLLRDHUP | EPOLLET)

static void ready(struct connection *connection) {
    if (connection->is_ready || connection->state == CONNECTION_CLOSED)
        return;
    connection->is_ready = true;
    TAILQ_INSERT_TAIL(&connection->loop->ready, connection, of_ready);
}

/* What a stranger's certificate opens. */
static const struct nbd_export *find_export(void *owner, const char *name, size_t length) {
    struct connection *connection = owner;
    const struct export *export =
        export_for(connection->loop, name, length, tls_peer(connection->tls));
    connection->loop->figures.names_refused += export == NULL;
    return export != NULL ? &export->nbd : NULL;
}

void connection_end_stranger(struct loop *loop) {
    loop->figures.strangers_ended++;
    connection_close(TAILQ_FIRST(&loop->strangers));
}

static void begin_handshake(struct connection *connection) {
    struct loop *loop = connection->loop;
    struct export *export = connection->export;
    loop->handshakes++;
    loop->connection_count++;
    if (export != NULL) {
        nbd_handshake_start(&connection->handshake, &export->nbd, &connection->answers);
        export->connection_count++;
        TAILQ_INSERT_TAIL(&export->connections, connection, of_export);
        return;
    }
    connection->until_ns = loop->now_ns + CONNECTION_STRANGER_NS;
    nbd_handshake_start_tls(&connection->handshake, find_export, connection, &connection->answers);
    if (loop->stranger_count == CONNECTION_STRANGERS_MAX)
        connection_end_stranger(loop);
    loop->stranger_count++;
    TAILQ_INSERT_TAIL(&loop->strangers, connection, of_export);
}

static void leave_list(struct connection *connection) {
    struct export *export = connection->export;
    if (export != NULL) {
        TAILQ_REMOVE(&export->connections, connection, of_export);
        export->connection_count--;
    } else {
        TAILQ_REMOVE(&connection->loop->strangers, connection, of_export);
        connection->loop->stranger_count--;
    }
}

struct connection *connection_create(struct loop *loop, struct export *export, int fd) {
    struct connection *connection = malloc(sizeof *connection);
    if (connection == NULL) {
        close(fd);
        return NULL;
    }
    /* The staging buffer stays as it is: memory that an idle client never touches costs nothing. */
    memset(connection, 0, offsetof(struct connection, staging));
    connection->watch = (struct watch){.kind = WATCH_CONNECTION, .fd = fd};
    connection->loop = loop;
    connection->export = export;
    connection->readable = true;
    connection->until_ns = loop->now_ns + CONNECTION_HANDSHAKE_NS;
    TAILQ_INIT(&connection->requests);
    STAILQ_INIT(&connection->pieces);
    buf_init(&connection->answers, NBD_ANSWERS_MAX);
    if (!loop_watch(loop, &connection->watch, WATCHED)) {
        close(fd);
        free(connection);
        return NULL;
    }
    begin_handshake(connection);
    connection_send(connection);
    ready(connection);
    return connection;
}

static void stop_waiting(struct connection *connection) {
    if (connection->waits_for_room)
        TAILQ_REMOVE(&connection->loop->waiting, connection, of_waiting);
    if (connection->waits_for_time)
        TAILQ_REMOVE(&connection->loop->limited, connection, of_waiting);
    connection->waits_for_room = connection->waits_for_time = false;
}

static void leave_handshake(struct connection *connection) {
    if (connection->state <= CONNECTION_SECURING)
        connection->loop->handshakes--;
}

void connection_close(struct connection *connection) {
    if (connection->state == CONNECTION_CLOSED)
        return;
    struct loop *loop = connection->loop;
    leave_handshake(connection);
    connection->state = CONNECTION_CLOSED;
    stop_waiting(connection);
    if (connection->is_ready)
        TAILQ_REMOVE(&loop->ready, connection, of_ready);
    if (connection->is_sending)
        TAILQ_REMOVE(&loop->sending, connection, of_sending);
    loop_unwatch(loop, &connection->watch);
    tls_destroy(connection->tls);
    connection->tls = NULL;
    close(connection->watch.fd);
    connection->watch.kind = WATCH_NONE;
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&connection->pieces)) != NULL) {
        STAILQ_REMOVE_HEAD(&connection->pieces, link);
        request_on_piece_gone(piece);
    }
    if (connection->filling != NULL)
        pool_give_call(connection->export->volume->pool, connection->filling, &connection->holder);
    connection->filling = NULL;
    struct request *request;
    while ((request = TAILQ_FIRST(&connection->requests)) != NULL)
        request_abandon(request);
    leave_list(connection);
    loop->connection_count--;
    buf_release(&connection->answers);
    TAILQ_INSERT_TAIL(&loop->graves, connection, of_ready);
}

static void send_soon(struct connection *connection) {
    if (!connection->is_sending) {
        connection->is_sending = true;
        TAILQ_INSERT_TAIL(&connection->loop->sending, connection, of_sending);
    }
}

void connection_leave(struct connection *connection) {
    if (connection->state == CONNECTION_CLOSED || connection->state == CONNECTION_LEAVING)
        return;
    leave_handshake(connection);
    connection->state = CONNECTION_LEAVING;
    stop_waiting(connection);
    send_soon(connection);
}

void connection_doom(struct connection *connection) {
    connection->doomed = true;
    send_soon(connection);
}

void connection_on_event(struct connection *connection, uint32_t events) {
    if ((events & EPOLLOUT) != 0 && connection->waits_for_space) {
        connection->waits_for_space = false;
        loop_watch_again(connection->loop, &connection->watch, WATCHED);
        connection_send(connection);
        if (connection->state == CONNECTION_SECURING)
            ready(connection);
    }
    if (connection->state != CONNECTION_CLOSED && (events & ~(uint32_t)EPOLLOUT) != 0) {
        connection->readable = true;
        if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
            connection->hung_up = true;
        if (connection->state == CONNECTION_LEAVING && (events & (EPOLLHUP | EPOLLERR)) != 0)
            connection_close(connection);
        else
            ready(connection);
    }
}

uint32_t connection_take_bytes(struct connection *connection, uint8_t *to, uint32_t length) {
    uint32_t there = connection->end - connection->start;
    if (length > there)
        length = there;
    memcpy(to, connection->staging + connection->start, length);
    connection->start += length;
    return length;
}

/* ---- receiving ------------------------------------------------------------------------------ */

enum received { RECEIVED_SOME, RECEIVED_NOTHING, RECEIVED_END };

/* One system call: first what the driver will read, then what comes after it. */
static enum received receive(struct connection *connection) {
    if (connection->start == connection->end)
        connection->start = connection->end = 0;
    if (connection->start > 0 && connection->end > CONNECTION_STAGING / 2) {
        memmove(connection->staging, connection->staging + connection->start,
                connection->end - connection->start);
        connection->end -= connection->start;
        connection->start = 0;
    }
    struct call *call = connection->start == connection->end ? connection->filling : NULL;
    struct iovec parts[2];
    int count = 0;
    size_t wanted = CONNECTION_STAGING - connection->end;
    size_t direct = 0;
    if (call != NULL) {
        uint8_t *payload = pool_payload(connection->export->volume->pool, call);
        direct = call->length - call->filled;
        parts[count++] = (struct iovec){.iov_base = payload + call->filled, .iov_len = direct};
    }
    parts[count++] =
        (struct iovec){.iov_base = connection->staging + connection->end, .iov_len = wanted};
    ssize_t got = connection->tls == NULL ? readv(connection->watch.fd, parts, count)
                                          : tls_read(connection->tls, parts, count);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        return RECEIVED_END;
    if (got < 0) {
        connection->readable = errno == EINTR;
        return RECEIVED_NOTHING;
    }
    if (connection->tls != NULL && tls_ended(connection->tls))
        connection->hung_up = true;
    /* Less than there was room for: the socket is empty, and epoll will say when it is not. */
    connection->readable = (size_t)got == direct + wanted || connection->hung_up ||
                           (connection->tls != NULL && tls_unread(connection->tls));
    size_t into_call = (size_t)got < direct ? (size_t)got : direct;
    if (call != NULL)
        call->filled += (uint32_t)into_call;
    connection->end += (uint32_t)((size_t)got - into_call);
    return RECEIVED_SOME;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void wait_for_room(struct connection *connection) {
    if (connection->waits_for_room)
        return;
    connection->waits_for_room = true;
    TAILQ_INSERT_TAIL(&connection->loop->waiting, connection, of_waiting);
}

static bool is_limited(struct connection *connection) {
    struct export *export = connection->export;
    uint64_t now_ns = connection->loop->now_ns;
    uint64_t iops_ns = limit_wait_ns(&export->iops, now_ns);
    uint64_t bytes_ns = limit_wait_ns(&export->bytes, now_ns);
    uint64_t wait_ns = iops_ns > bytes_ns ? iops_ns : bytes_ns;
    if (wait_ns == 0)
        return false;
    connection->until_ns = now_ns + wait_ns;
    connection->waits_for_time = true;
    TAILQ_INSERT_TAIL(&connection->loop->limited, connection, of_waiting);
    return true;
}

static void count_limits(struct export *export, const struct nbd_request *command) {
    limit_take(&export->iops, 1);
    if (command->type == NBD_READ || command->type == NBD_WRITE)
        limit_take(&export->bytes, command->length);
}

/* false: no further request can be taken now. */
static bool take_request(struct connection *connection) {
    if (connection->end - connection->start < NBD_REQUEST_SIZE)
        return false;
    struct nbd_request command;
    if (!nbd_request_parse(connection->staging + connection->start, &command) ||
        command.type == NBD_DISC) {
        connection_leave(connection);
        return false;
    }
    if (is_limited(connection))
        return false;
    struct request *request = request_take(&connection->loop->requests, connection, &command);
    if (request == NULL) {
        wait_for_room(connection);
        return false;
    }
    connection->start += NBD_REQUEST_SIZE;
    struct nbd_terms terms = {
        .export = &connection->export->nbd,
        .size_bytes = connection->export->volume->size_bytes,
        .structured = connection->handshake.structured,
        .allocation = connection->handshake.allocation,
    };
    uint32_t error = nbd_request_judge(&command, &terms);
    if (error != 0) {
        connection->skip = nbd_request_payload(&command);
        request_refuse(request, error);
        return true;
    }
    count_limits(connection->export, &command);
    connection->current = request;
    return true;
}

static void skip_payload(struct connection *connection) {
    uint32_t there = connection->end - connection->start;
    uint32_t step = connection->skip < there ? (uint32_t)connection->skip : there;
    connection->start += step;
    connection->skip -= step;
}

/* Takes requests as far as it goes. true: more bytes are wanted. */
static bool serve(struct connection *connection) {
    while (connection->state == CONNECTION_SERVING) {
        skip_payload(connection);
        if (connection->skip > 0)
            return true;
        if (connection->current == NULL) {
            if (!take_request(connection))
                return !connection->waits_for_room && !connection->waits_for_time;
            continue;
        }
        enum issue issue = request_issue(connection->current);
        if (issue == ISSUE_NEEDS_BYTES)
            return true;
        if (issue == ISSUE_NEEDS_ROOM) {
            wait_for_room(connection);
            return false;
        }
        connection->current = NULL;
    }
    return false;
}

/* ---- handshakes ----------------------------------------------------------------------------- */

/* A stranger has named its export. false: that has enough connections. */
static bool join(struct connection *connection) {
    struct export *export = export_of(connection->handshake.export);
    if (export->connection_count >= EXPORT_CONNECTIONS_MAX)
        return false;
    leave_list(connection);
    connection->export = export;
    export->connection_count++;
    TAILQ_INSERT_TAIL(&export->connections, connection, of_export);
    return true;
}

/* STARTTLS was granted: from here on there is nothing in the clear in either direction. */
static void secure_start(struct connection *connection) {
    struct tls_identity *identity = connection->loop->listener.identity;
    connection_send(connection);
    if (connection->state == CONNECTION_CLOSED)
        return;
    bool clean = connection->answers.length == 0 && connection->start == connection->end;
    if (clean && identity != NULL)
        connection->tls = tls_create(identity, connection->watch.fd);
    if (connection->tls == NULL) {
        connection_close(connection);
        return;
    }
    connection->state = CONNECTION_SECURING;
    ready(connection);
}

/* A step of TLS. true: it is done. */
static bool secure(struct connection *connection) {
    if (connection->waits_for_space)
        return false;
    if (connection->loop->securings == 0) {
        ready(connection);
        return false;
    }
    connection->loop->securings--;
    switch (tls_handshake(connection->tls)) {
    case TLS_WANTS_BYTES:
        if (connection->hung_up)
            connection_close(connection);
        break;
    case TLS_WANTS_SPACE:
        connection_wait_for_space(connection);
        break;
    case TLS_FAILED:
        connection->loop->figures.tls_failed++;
        connection_close(connection);
        break;
    case TLS_DONE:
        nbd_handshake_secured(&connection->handshake);
        connection->state = CONNECTION_HANDSHAKE;
        connection->readable = true;
        return true;
    }
    return false;
}

static void shake_hands(struct connection *connection) {
    size_t taken =
        nbd_handshake_feed(&connection->handshake, connection->staging + connection->start,
                           connection->end - connection->start, &connection->answers);
    connection->start += (uint32_t)taken;
    if (connection->handshake.step == NBD_STEP_TLS) {
        secure_start(connection);
        return;
    }
    if (connection->handshake.step == NBD_STEP_TRANSMIT) {
        if (connection->export == NULL && !join(connection)) {
            connection_close(connection);
            return;
        }
        leave_handshake(connection);
        connection->state = CONNECTION_SERVING;
    } else if (connection->handshake.step == NBD_STEP_END) {
        connection_leave(connection);
    }
    connection_send(connection);
}

void connection_go_on(struct connection *connection) {
    /* More bytes do not make room, or time, come sooner. */
    if (connection->waits_for_room || connection->waits_for_time)
        return;
    for (int round = 0; round < CONNECTION_ROUNDS; round++) {
        if (connection->state == CONNECTION_SECURING && !secure(connection))
            return;
        if (connection->state == CONNECTION_HANDSHAKE)
            shake_hands(connection);
        bool wants = connection->state == CONNECTION_HANDSHAKE || serve(connection);
        if (!wants || !connection->readable || connection->state == CONNECTION_LEAVING ||
            connection->state == CONNECTION_CLOSED)
            return;
        enum received received = receive(connection);
        if (received == RECEIVED_END) {
            connection_close(connection);
            return;
        }
        if (received == RECEIVED_NOTHING && !connection->readable)
            return;
    }
    ready(connection);
}

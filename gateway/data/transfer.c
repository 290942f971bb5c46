/* SPDX-License-Identifier: Apache-2.0
 *
 * transfer.c: a connection's replies: as many as there are by one sendmsg, payload from where it
 * lies. What the socket does not take waits for EPOLLOUT; until then the pages are not given back.
 */
#include "data/connection.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "data/export.h"
#include "data/tls.h"
#include "data/volume.h"

#define SENDS 8 /* system calls of one client in one turn */

void connection_queue_piece(struct connection *connection, struct piece *piece) {
    STAILQ_INSERT_TAIL(&connection->pieces, piece, link);
    if (connection->is_sending || connection->waits_for_space)
        return;
    connection->is_sending = true;
    TAILQ_INSERT_TAIL(&connection->loop->sending, connection, of_sending);
}

/* Leaves out the first `skip` bytes. */
static void put_part(struct iovec *parts, size_t *count, const void *at, size_t length,
                     size_t *skip) {
    if (*skip >= length) {
        *skip -= length;
        return;
    }
    parts[(*count)++] =
        (struct iovec){.iov_base = (uint8_t *)(uintptr_t)at + *skip, .iov_len = length - *skip};
    *skip = 0;
}

static size_t gather(const struct connection *connection, struct iovec *parts) {
    size_t count = 0;
    size_t skip = connection->answers_sent;
    put_part(parts, &count, connection->answers.at, connection->answers.length, &skip);
    skip = connection->piece_sent;
    const struct piece *piece;
    uint32_t pieces = 0;
    STAILQ_FOREACH(piece, &connection->pieces, link) {
        if (pieces++ == CONNECTION_PIECES)
            break;
        put_part(parts, &count, piece->header, piece->header_length, &skip);
        if (piece->call != NULL)
            put_part(parts, &count, pool_payload(connection->export->volume->pool, piece->call),
                     piece->call->length, &skip);
    }
    return count;
}

static void took(struct connection *connection, size_t bytes) {
    size_t answers = connection->answers.length - connection->answers_sent;
    if (bytes < answers) {
        connection->answers_sent += bytes;
        return;
    }
    bytes -= answers;
    buf_clear(&connection->answers);
    connection->answers_sent = 0;
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&connection->pieces)) != NULL) {
        size_t length = piece->header_length + (piece->call != NULL ? piece->call->length : 0);
        if (connection->piece_sent + bytes < length) {
            connection->piece_sent += bytes;
            return;
        }
        bytes -= length - connection->piece_sent;
        connection->piece_sent = 0;
        STAILQ_REMOVE_HEAD(&connection->pieces, link);
        request_on_piece_gone(piece);
        if (bytes == 0)
            return;
    }
}

void connection_wait_for_space(struct connection *connection) {
    connection->waits_for_space = true;
    loop_watch_again(connection->loop, &connection->watch,
                     EPOLLIN | EPOLLRDHUP | EPOLLET | EPOLLOUT);
}

void connection_send(struct connection *connection) {
    struct iovec parts[1 + 2 * CONNECTION_PIECES];
    if (connection->doomed)
        connection_close(connection);
    for (int i = 0; i < SENDS; i++) {
        if (connection->waits_for_space || connection->state == CONNECTION_CLOSED)
            return;
        size_t count = gather(connection, parts);
        if (count == 0) {
            if (connection->state == CONNECTION_LEAVING && connection->request_count == 0)
                connection_close(connection);
            return;
        }
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t sent = connection->tls == NULL
                           ? sendmsg(connection->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                           : tls_write(connection->tls, parts, count);
        if (sent >= 0) {
            took(connection, (size_t)sent);
        } else if (errno == EAGAIN) {
            connection_wait_for_space(connection);
        } else if (errno != EINTR) {
            connection_close(connection);
        }
    }
    if (connection->state != CONNECTION_CLOSED && !connection->is_sending) {
        connection->is_sending = true;
        TAILQ_INSERT_TAIL(&connection->loop->sending, connection, of_sending);
    }
}

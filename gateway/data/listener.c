/* SPDX-License-Identifier: Apache-2.0
 *
 * listener.c: see listener.h.
 */
#include "data/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"
#include "data/connection.h"
#include "data/tls.h"

#define ACCEPTS 16 /* in one turn of the loop */

/* Reads a file whole; it may hold DATA_PEM_MAX bytes. */
static bool read_pem(int fd, uint8_t *to, size_t *ret_length, struct err *err) {
    size_t length = 0;
    ssize_t got = 1;
    while (got > 0 && length < DATA_PEM_MAX) {
        got = pread(fd, to + length, DATA_PEM_MAX - length, (off_t)length);
        if (got > 0)
            length += (size_t)got;
    }
    if (got < 0 || length == 0)
        return err_errno(err, ERR_SYSTEM, got < 0 ? errno : ENODATA, "a certificate or its key");
    *ret_length = length;
    return true;
}

static bool read_identity(const int descriptors[2], struct tls_identity **ret, struct err *err) {
    size_t certificate, key;
    uint8_t *bytes = malloc((size_t)2 * DATA_PEM_MAX);
    if (bytes == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
    bool read = read_pem(descriptors[0], bytes, &certificate, err) &&
                read_pem(descriptors[1], bytes + DATA_PEM_MAX, &key, err) &&
                tls_identity_create(bytes, certificate, bytes + DATA_PEM_MAX, key, ret, err);
    explicit_bzero(bytes, (size_t)2 * DATA_PEM_MAX);
    free(bytes);
    return read;
}

void listener_end(struct loop *loop) {
    struct listener *listener = &loop->listener;
    if (listener->watch.fd < 0)
        return;
    loop_unwatch(loop, &listener->watch);
    close(listener->watch.fd);
    listener->watch = (struct watch){.kind = WATCH_NONE, .fd = -1};
}

bool listener_take(struct loop *loop, const struct data_listen *wanted, const int descriptors[3],
                   struct err *err) {
    struct listener *listener = &loop->listener;
    struct tls_identity *identity = NULL;
    bool read = read_identity(descriptors + 1, &identity, err);
    close(descriptors[1]);
    close(descriptors[2]);
    if (!read) {
        close(descriptors[0]);
        return false;
    }
    tls_identity_release(listener->identity);
    listener->identity = identity;
    listener_end(loop);
    text_copy(listener->address, sizeof listener->address, wanted->address);
    listener->watch = (struct watch){.kind = WATCH_LISTENER, .fd = descriptors[0]};
    if (loop_watch(loop, &listener->watch, EPOLLIN))
        return true;
    return err_errno(err, ERR_SYSTEM, errno, "watching the socket for TLS");
}

void listener_on_event(struct loop *loop) {
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(loop->listener.watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (loop->connection_count < LOOP_CONNECTIONS_MAX)
            connection_create(loop, NULL, fd);
        else
            close(fd);
    }
}

void listener_release(struct loop *loop) {
    struct connection *connection;
    listener_end(loop);
    while ((connection = TAILQ_FIRST(&loop->strangers)) != NULL)
        connection_close(connection);
    tls_identity_release(loop->listener.identity);
    loop->listener.identity = NULL;
}

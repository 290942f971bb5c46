/* SPDX-License-Identifier: Apache-2.0
 *
 * outbox.c: send, or queue and wake the loop.
 */
#include "runner/outbox.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"

struct outbox_packet {
    struct outbox_packet *next;
    size_t length;
    unsigned char bytes[];
};

enum sent { SENT, FULL, GONE };

static enum sent send_now(struct outbox *outbox, const void *packet, size_t length) {
    ssize_t sent;
    do {
        sent = send(outbox->socket, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return SENT;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM)
        return FULL;
    atomic_store(&outbox->broken, true);
    return GONE;
}

void outbox_init(struct outbox *outbox, int socket, void (*wake)(void *owner), void *owner) {
    *outbox = (struct outbox){.socket = socket, .wake = wake, .owner = owner};
    outbox->end = &outbox->head;
    CHECK(pthread_mutex_init(&outbox->mutex, NULL) == 0);
}

void outbox_release(struct outbox *outbox) {
    while (outbox->head != NULL) {
        struct outbox_packet *packet = outbox->head;
        outbox->head = packet->next;
        free(packet);
    }
    pthread_mutex_destroy(&outbox->mutex);
}

bool outbox_send(struct outbox *outbox, const void *packet, size_t length) {
    if (atomic_load(&outbox->broken))
        return false;
    if (atomic_load(&outbox->count) == 0) {
        enum sent sent = send_now(outbox, packet, length);
        if (sent != FULL)
            return sent == SENT;
    }
    struct outbox_packet *queued = malloc(sizeof *queued + length);
    if (queued == NULL)
        return false;
    queued->next = NULL;
    queued->length = length;
    memcpy(queued->bytes, packet, length);
    pthread_mutex_lock(&outbox->mutex);
    *outbox->end = queued;
    outbox->end = &queued->next;
    atomic_fetch_add(&outbox->count, 1);
    pthread_mutex_unlock(&outbox->mutex);
    outbox->wake(outbox->owner);
    return true;
}

/* The lock is held over the send: only packets of a full socket come here, and they are to keep
 * their order. */
bool outbox_drain(struct outbox *outbox) {
    bool empty = true;
    pthread_mutex_lock(&outbox->mutex);
    while (outbox->head != NULL) {
        struct outbox_packet *packet = outbox->head;
        if (send_now(outbox, packet->bytes, packet->length) == FULL) {
            empty = false;
            break;
        }
        outbox->head = packet->next;
        if (outbox->head == NULL)
            outbox->end = &outbox->head;
        atomic_fetch_sub(&outbox->count, 1);
        free(packet);
    }
    pthread_mutex_unlock(&outbox->mutex);
    return empty;
}

bool outbox_flush(struct outbox *outbox, uint64_t deadline_ms) {
    while (!outbox_drain(outbox)) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= deadline_ms)
            return false;
        struct pollfd socket = {.fd = outbox->socket, .events = POLLOUT};
        poll(&socket, 1, (int)(deadline_ms - now_ms));
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * outbox.h: packets on their way to the gateway. Never waits.
 *
 * A packet is sent at once from whatever thread it comes (one send on a SEQPACKET socket is one
 * packet, so threads do not mix). When the socket is full it is queued, and the loop sends it when
 * there is room; `wake` tells the loop. Packets of different threads may overtake each other.
 *
 * How much is queued is bounded by those who send: replies by the calls that the gateway has under
 * way, log lines and events by their rate and OUTBOX_NEWS_MAX, PONG and the like by the loop, which
 * reads no more requests while more than OUTBOX_PAUSE packets wait.
 */
#ifndef SLUICE_RUNNER_OUTBOX_H
#define SLUICE_RUNNER_OUTBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_PAUSE 64     /* a gateway that does not read so much reads nothing */
#define OUTBOX_NEWS_MAX 256 /* log lines and events are not worth more memory */

struct outbox_packet;

struct outbox {
    int socket;
    void (*wake)(void *owner);
    void *owner;
    _Atomic uint32_t count; /* queued */
    _Atomic bool broken;    /* the other end is gone */
    pthread_mutex_t mutex;  /* of the queue */
    struct outbox_packet *head;
    struct outbox_packet **end;
};

void outbox_init(struct outbox *outbox, int socket, void (*wake)(void *owner), void *owner);
void outbox_release(struct outbox *outbox);
/* Any thread. false: lost, because the other end is gone or there is no memory. */
bool outbox_send(struct outbox *outbox, const void *packet, size_t length);
/* Sends what is queued until the socket is full. true: nothing is left. */
bool outbox_drain(struct outbox *outbox);
/* Drains, waiting for room until `deadline_ms` (clock_mono_ms). For the end of the process. */
bool outbox_flush(struct outbox *outbox, uint64_t deadline_ms);

#endif

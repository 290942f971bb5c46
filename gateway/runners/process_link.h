/* SPDX-License-Identifier: Apache-2.0
 *
 * process_link.h: packets to and from one process.
 *
 * It knows sizes and nothing of what packets mean. on_end comes once: the other end is closed, or
 * `breach` says what came that may not come (a packet that is too long, or descriptors that no
 * packet has).
 * Callbacks come from the loop and from process_link_receive. Loop thread only.
 */
#ifndef SLUICE_RUNNERS_PROCESS_LINK_H
#define SLUICE_RUNNERS_PROCESS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct uv_loop_s;
struct process_link;

/* Packets of one runner taken in one turn of the loop: others wait meanwhile. */
#define RUNNER_BATCH_MAX 64
/* More packets than the socket of a process that has ended can hold. */
#define RUNNER_DRAIN_MAX 8192
#define PROCESS_FDS_MAX 3 /* those of a ring */

struct process_link_events {
    /* Descriptors are the owner's from here on. */
    void (*on_packet)(void *owner, const uint8_t *packet, size_t length, const int *fds,
                      uint32_t fd_count);
    void (*on_writable)(void *owner); /* after a send was PROCESS_FULL */
    void (*on_end)(void *owner, const char *breach);
};

/* Owns fd, also on failure. `room`, of `room_size` bytes, is where packets are received; it may be
 * shared by the links of one loop. A packet with more than `fds_max` descriptors is a breach. */
bool process_link_open(struct uv_loop_s *loop, int fd, uint8_t *room, size_t room_size,
                       uint32_t fds_max, const struct process_link_events *events, void *owner,
                       struct process_link **ret, struct err *err);
/* No callback comes any more; freed by the loop. NULL is fine. */
void process_link_close(struct process_link *link);

enum process_sent {
    PROCESS_SENT,
    PROCESS_FULL, /* on_writable tells when to try again */
    PROCESS_GONE, /* on_end tells the rest */
};
/* Descriptors, at most PROCESS_FDS_MAX, stay the caller's. */
enum process_sent process_link_send(struct process_link *link, const void *packet, size_t length,
                                    const int *fds, uint32_t fd_count);

/* Takes what is there now, at most `max` packets. */
void process_link_receive(struct process_link *link, int max);

#endif

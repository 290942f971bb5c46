/* SPDX-License-Identifier: Apache-2.0
 *
 * super_link.h: the gateway's side of the socket to sluice-super (super/message.h).
 *
 * Requests that the socket does not take wait in a ring. A message that does not make sense counts
 * as the loss of sluice-super: it is trusted, so something is badly wrong. Callbacks come from the
 * loop only; on_lost is the last of them. Loop thread only.
 */
#ifndef SLUICE_RUNNERS_SUPER_LINK_H
#define SLUICE_RUNNERS_SUPER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "super/message.h"
#include <sluice/types.h>

struct uv_loop_s;
struct super_link;

/* A place has one spawn under way and a process one kill, so this is never full. */
#define SUPER_LINK_REQUESTS (4 * SUPER_CHILDREN_MAX)
#define SUPER_LINK_BATCH 64     /* messages taken in one turn of the loop */
#define SUPER_LINK_QUIT_MS 1000 /* that quitting waits for room in the socket */

/* Descriptors belong to the one who is called. */
struct super_link_events {
    void (*on_held)(void *owner, const struct super_message *held, int fd);
    void (*on_held_end)(void *owner);
    void (*on_spawned)(void *owner, const struct super_message *spawned, int fd);
    void (*on_refused)(void *owner, uint32_t request, int error);
    void (*on_exited)(void *owner, const struct super_message *exited);
    void (*on_lost)(void *owner);
};

/* Owns fd, also on failure. */
bool super_link_open(struct uv_loop_s *loop, int fd, const struct super_link_events *events,
                     void *owner, struct super_link **ret, struct err *err);
/* No callback comes any more; freed by the loop. NULL is fine. */
void super_link_close(struct super_link *link);

/* The number of the request, never 0. */
uint32_t super_link_spawn(struct super_link *link, enum super_program program,
                          const struct sluice_uuid *tag, uint32_t uid, uint32_t gid);
void super_link_kill(struct super_link *link, uint32_t slot, int pid, int signal);
/* Goes out before it returns, or never does. */
void super_link_quit(struct super_link *link);

#endif

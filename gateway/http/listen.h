/* SPDX-License-Identifier: Apache-2.0
 *
 * listen.h: the sockets that the server listens on.
 */
#ifndef SLUICE_HTTP_LISTEN_H
#define SLUICE_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define LISTEN_BACKLOG 1024 /* 200 clients that come at once, and more */

/* A Unix socket of mode 0660. What a dead process left behind at the path is replaced; CONFIG: a
 * living one listens there, or it is no socket. */
bool listen_local(const char *path, const char *group, int *ret_fd, struct err *err);
/* "127.0.0.1:8480", "[::1]:0": a loopback address and a port, 0: any free one. ret_address gets the
 * real one. CONFIG: not loopback. */
bool listen_port(const char *text, int *ret_fd, char *ret_address, size_t capacity,
                 struct err *err);

#endif

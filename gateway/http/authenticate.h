/* SPDX-License-Identifier: Apache-2.0
 *
 * authenticate.h: who asks, and whether they may.
 *
 * A bearer token counts on every socket; without one a Unix socket's peer counts by its uid: root
 * and the gateway's own uid are admin, others have the configured role. On a port, the Host header
 * must name this machine: a page in a browser that reaches the port by a name of its own is
 * refused.
 */
#ifndef SLUICE_HTTP_AUTHENTICATE_H
#define SLUICE_HTTP_AUTHENTICATE_H

#include "core/core.h"
#include "http/request.h"

/* The peer of a Unix socket; ROLE_NONE when it cannot be told. */
void authenticate_peer(int fd, enum core_role others, struct core_principal *ret);
/* BAD_REQUEST, FORBIDDEN. */
bool authenticate_host(const struct request *request, const char *version, struct err *err);
/* UNAUTHENTICATED, FORBIDDEN. Sets request->principal. */
bool authenticate_request(struct request *request, enum core_role needed, struct err *err);
/* The token in an Authorization header, or NULL; borrowed from it. */
const char *authenticate_bearer(const char *header);
/* Something was changed, tokens perhaps: the next one is looked up. */
void authenticate_anew(struct http *http);

#endif

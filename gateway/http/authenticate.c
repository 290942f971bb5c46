/* SPDX-License-Identifier: Apache-2.0
 *
 * authenticate.c: peers, tokens and the Host header.
 */
#include "http/authenticate.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

void authenticate_peer(int fd, enum core_role others, struct core_principal *ret) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    *ret = (struct core_principal){.role = ROLE_NONE};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return;
    snprintf(ret->name, sizeof ret->name, "uid:%u", (unsigned)peer.uid);
    ret->role = peer.uid == 0 || peer.uid == geteuid() ? ROLE_ADMIN : others;
}

/* Is `host`, with or without a port, the name? */
static bool host_is(const char *host, const char *name) {
    size_t length = strlen(name);
    if (strncasecmp(host, name, length) != 0)
        return false;
    const char *rest = host + length;
    if (*rest == ':')
        rest += 1 + strspn(rest + 1, "0123456789");
    return *rest == '\0';
}

static bool host_is_ours(const struct http *http, const char *host) {
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (host_is(host, always[i]))
            return true;
    for (uint32_t i = 0; i < http->options.host_count; i++)
        if (host_is(host, http->options.hosts[i]))
            return true;
    return strcasecmp(host, http->address) == 0;
}

bool authenticate_host(const struct request *request, const char *version, struct err *err) {
    const char *host = request->target.authority;
    if (host == NULL)
        host = request->headers.host;
    if (request->headers.host == NULL && strcmp(version, "HTTP/1.0") != 0)
        return err_set(err, ERR_BAD_REQUEST, "there is no Host header");
    if (request->connection->listener->local || host == NULL)
        return true;
    if (!host_is_ours(request->http, host))
        return err_set(err, ERR_FORBIDDEN, "the Host header does not name this gateway");
    return true;
}

void authenticate_anew(struct http *http) {
    http->last_token.at_ms = 0;
}

static bool find_token(struct http *http, const char *token, struct core_principal *ret) {
    struct http_last_token *last = &http->last_token;
    size_t length = strnlen(token, sizeof last->text);
    if (length == 0 || length == sizeof last->text)
        return false;
    bool known = last->at_ms != 0 && last->at_ms == uv_now(http->loop) &&
                 strlen(last->text) == length && sodium_memcmp(last->text, token, length) == 0;
    if (!known) {
        last->at_ms = 0;
        if (!core_authenticate(http->core, token, &last->principal))
            return false;
        memcpy(last->text, token, length + 1);
        last->at_ms = uv_now(http->loop);
    }
    *ret = last->principal;
    return true;
}

const char *authenticate_bearer(const char *header) {
    if (strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    return header + 7 + strspn(header + 7, " ");
}

static bool take_token(struct request *request, struct err *err) {
    const char *token = authenticate_bearer(request->headers.authorization);
    if (token == NULL)
        return err_set(err, ERR_UNAUTHENTICATED, "the Authorization header is not a bearer token");
    if (!find_token(request->http, token, &request->principal))
        return err_set(err, ERR_UNAUTHENTICATED, "there is no such token");
    return true;
}

bool authenticate_request(struct request *request, enum core_role needed, struct err *err) {
    request->principal = request->connection->peer;
    if (needed == ROLE_NONE)
        return true;
    if (request->headers.authorization != NULL && !take_token(request, err))
        return false;
    if (request->principal.role == ROLE_NONE)
        return err_set(err, ERR_UNAUTHENTICATED, "there is no token in the Authorization header");
    if (request->principal.role < needed)
        return err_set(err, ERR_FORBIDDEN, "%s has the role %s, and this takes %s",
                       request->principal.name, core_role_name(request->principal.role),
                       core_role_name(needed));
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * listen.c: bind, and what has to be right before it.
 */
#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/num.h"

/* ---- the Unix socket ------------------------------------------------------------------------- */

static bool clear_path(const struct sockaddr_un *address, struct err *err) {
    struct stat st;
    if (lstat(address->sun_path, &st) != 0)
        return errno == ENOENT ||
               err_errno(err, ERR_SYSTEM, errno, "looking at %s", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFIG, "%s exists and is not a socket", address->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "socket");
    bool dead = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                errno == ECONNREFUSED;
    close(fd);
    if (!dead)
        return err_set(err, ERR_CONFIG, "another process listens on %s", address->sun_path);
    if (unlink(address->sun_path) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "removing %s", address->sun_path);
    return true;
}

static bool find_group(const char *name, gid_t *ret, struct err *err) {
    *ret = (gid_t)-1;
    if (name == NULL)
        return true;
    const struct group *group = getgrnam(name);
    if (group == NULL)
        return err_set(err, ERR_CONFIG, "there is no group %s", name);
    *ret = group->gr_gid;
    return true;
}

bool listen_local(const char *path, const char *group, int *ret_fd, struct err *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    gid_t gid;
    if (!text_copy(address.sun_path, sizeof address.sun_path, path))
        return err_set(err, ERR_CONFIG, "the path of the socket has more than %zu bytes",
                       sizeof address.sun_path - 1);
    if (!find_group(group, &gid, err) || !clear_path(&address, err))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "socket");
    /* Nobody can connect before listen, so the mode is right before the first one comes. */
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0) || chmod(path, 0660) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        err_errno(err, ERR_SYSTEM, errno, "listening on %s", path);
        close(fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

/* ---- the port -------------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse_address(const char *text, union address *ret, socklen_t *ret_length,
                          struct err *err) {
    char host[64];
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !num_parse_u64(colon + 1, &port) || port > 65535 ||
        (size_t)(colon - text) >= sizeof host)
        return err_set(err, ERR_CONFIG, "%s is not an address and a port, as 127.0.0.1:8480", text);
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    memset(ret, 0, sizeof *ret);
    size_t length = strlen(host);
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)port);
        *ret_length = sizeof ret->v4;
        if (ntohl(ret->v4.sin_addr.s_addr) >> 24 == 127)
            return true;
    } else if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons((uint16_t)port);
        *ret_length = sizeof ret->v6;
        if (inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1 &&
            IN6_IS_ADDR_LOOPBACK(&ret->v6.sin6_addr))
            return true;
    }
    return err_set(
        err, ERR_CONFIG,
        "%s is not a loopback address; without TLS tokens would cross the network in the "
        "clear",
        text);
}

static void format_address(int fd, const char *text, char *ret, size_t capacity) {
    union address real;
    socklen_t length = sizeof real;
    unsigned port = 0;
    if (getsockname(fd, &real.any, &length) == 0)
        port = ntohs(real.any.sa_family == AF_INET ? real.v4.sin_port : real.v6.sin6_port);
    snprintf(ret, capacity, "%.*s:%u", (int)(strrchr(text, ':') - text), text, port);
}

bool listen_port(const char *text, int *ret_fd, char *ret_address, size_t capacity,
                 struct err *err) {
    union address address;
    socklen_t length = 0;
    int on = 1;
    if (!parse_address(text, &address, &length, err))
        return false;
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, &address.any, length) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        err_errno(err, ERR_SYSTEM, errno, "listening on %s", text);
        close(fd);
        return false;
    }
    format_address(fd, text, ret_address, capacity);
    *ret_fd = fd;
    return true;
}

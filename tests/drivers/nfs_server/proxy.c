/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy.c: see proxy.h.
 */
#include "proxy.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

/* One direction. The other one has copies of the descriptors, so that each closes its own. */
struct way {
    struct proxy *proxy;
    int from, to;
    bool back; /* from the server */
};

static _Noreturn void give_up(const char *what) {
    perror(what);
    abort();
}

static bool send_all(int fd, const char *bytes, ssize_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, (size_t)length, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        length -= sent;
    }
    return true;
}

/* How much of it may go through; less than all: the connection ends behind it. */
static ssize_t spoiled(struct proxy *proxy, ssize_t length) {
    if (atomic_load(&proxy->spoiler) == PROXY_HANG) {
        return 0;
    }
    if (atomic_load(&proxy->spoiler) != PROXY_CUT) {
        return length;
    }
    int64_t left = atomic_fetch_sub(&proxy->bytes, length);
    if (left > length) {
        return length;
    }
    atomic_store(&proxy->spoiler, PROXY_PASS);
    atomic_fetch_add(&proxy->cuts, 1);
    return left > 0 ? (ssize_t)left : 0;
}

static void *pass(void *argument) {
    struct way *way = argument;
    static _Thread_local char bytes[CHUNK];
    for (;;) {
        ssize_t length = recv(way->from, bytes, sizeof bytes, 0);
        ssize_t through = way->back && length > 0 ? spoiled(way->proxy, length) : length;
        bool hangs = way->back && atomic_load(&way->proxy->spoiler) == PROXY_HANG;
        if (length <= 0 || !send_all(way->to, bytes, through) || (through < length && !hangs)) {
            break;
        }
    }
    shutdown(way->from, SHUT_RDWR);
    shutdown(way->to, SHUT_RDWR);
    close(way->from);
    close(way->to);
    atomic_fetch_sub(&way->proxy->living, 1);
    free(way);
    return NULL;
}

static void begin_way(struct proxy *proxy, int from, int to, bool back) {
    pthread_t thread;
    struct way *way = malloc(sizeof *way);
    if (way == NULL) {
        give_up("proxy");
    }
    *way = (struct way){.proxy = proxy, .from = dup(from), .to = dup(to), .back = back};
    atomic_fetch_add(&proxy->living, 1);
    if (pthread_create(&thread, NULL, pass, way) != 0) {
        give_up("proxy");
    }
    pthread_detach(thread);
}

static int connect_to(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void *accept_all(void *argument) {
    struct proxy *proxy = argument;
    int one = 1;
    for (;;) {
        int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
            return NULL; /* shut down */
        }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        int server = connect_to(proxy->server_port);
        atomic_fetch_add(&proxy->connections, 1);
        if (server >= 0) {
            begin_way(proxy, client, server, false);
            begin_way(proxy, server, client, true);
            close(server);
        }
        close(client);
    }
}

void proxy_start(struct proxy *proxy, uint16_t server_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    *proxy = (struct proxy){.server_port = server_port};
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(proxy->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(proxy->listener, 64) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&address, &length) != 0 ||
        pthread_create(&proxy->thread, NULL, accept_all, proxy) != 0) {
        give_up("proxy");
    }
    proxy->port = ntohs(address.sin_port);
}

void proxy_spoil(struct proxy *proxy, enum proxy_spoiler spoiler, int64_t bytes) {
    atomic_store(&proxy->bytes, bytes);
    atomic_store(&proxy->spoiler, spoiler);
}

/* The clients have closed their ends by now, so the ways end. */
void proxy_stop(struct proxy *proxy) {
    shutdown(proxy->listener, SHUT_RDWR);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    while (atomic_load(&proxy->living) > 0) {
        usleep(1000);
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c: see server.h.
 */
#include "server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NFS_VERSION 3
#define MOUNT_VERSION 3
#define KEEP_IDLE_S 15 /* then the peer is asked whether it is there ... */
#define KEEP_INTERVAL_S 5
#define KEEP_COUNT 3

static pthread_mutex_t dialing = PTHREAD_MUTEX_INITIALIZER;

bool server_resolve(struct nfs_server *server, char ret_text[SLUICE_TEXT_MAX]) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int wrong = getaddrinfo(server->host, NULL, &hints, &found);
    if (wrong == 0) {
        wrong = getnameinfo(found->ai_addr, found->ai_addrlen, server->address,
                            sizeof server->address, NULL, 0, NI_NUMERICHOST);
        freeaddrinfo(found);
    }
    if (wrong != 0) {
        snprintf(ret_text, SLUICE_TEXT_MAX, "the server's name %.200s is not known: %s",
                 server->host, gai_strerror(wrong));
    }
    return wrong == 0;
}

struct rpc_context *server_dial(const struct nfs_server *server, enum server_program program,
                                rpc_cb on_connected, void *argument) {
    uint16_t port = program == SERVER_NFS ? server->port : server->mount_port;
    int version = program == SERVER_NFS ? NFS_VERSION : MOUNT_VERSION;
    pthread_mutex_lock(&dialing);
    struct rpc_context *rpc = rpc_init_context();
    int wrong = -1;
    if (rpc != NULL && port != 0) {
        wrong = rpc_connect_port_async(rpc, server->address, port, (int)program, version,
                                       on_connected, argument);
    } else if (rpc != NULL) {
        wrong = rpc_connect_program_async(rpc, server->address, (int)program, version, on_connected,
                                          argument);
    }
    pthread_mutex_unlock(&dialing);
    if (wrong != 0 && rpc != NULL) {
        rpc_destroy_context(rpc);
        rpc = NULL;
    }
    return rpc;
}

void server_tune(int fd) {
    const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT},
    };
    /* Each is a wish: the connection works without. */
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        setsockopt(fd, options[i].level, options[i].option, &options[i].value,
                   sizeof options[i].value);
    }
}

void server_hang_up(struct rpc_context *rpc) {
    if (rpc == NULL) {
        return;
    }
    rpc_service(rpc, -1); /* a connection that is being made tells so; else its memory is lost */
    rpc_destroy_context(rpc);
}

bool server_act_as(struct rpc_context *rpc, const struct identity *identity, uint32_t more_gid) {
    static char name[] = "sluice";
    uint32_t gids[] = {more_gid};
    struct AUTH *auth =
        libnfs_authunix_create(name, identity->uid, identity->gid, more_gid != UINT32_MAX, gids);
    if (auth == NULL) {
        return false;
    }
    rpc_set_auth(rpc, auth);
    return true;
}

static const struct {
    int code;
    int32_t status;
    const char *sentence;
} codes[] = {
#define NFS_CODE(name, number, status, sentence) {number, SLUICE_##status, sentence},
#include "codes.def"
#undef NFS_CODE
};

int32_t server_status(int code) {
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code == code) {
            return codes[i].status;
        }
    }
    return SLUICE_IO;
}

const char *server_sentence(int code) {
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code == code) {
            return codes[i].sentence;
        }
    }
    return "the server answers with a number that NFSv3 does not have";
}

uint64_t server_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * server.h: which server, which export, and how to get a connection of libnfs to it.
 *
 * The name is resolved once (server_resolve), before anything else and on a thread that may wait;
 * from then on only its address is used, as nothing that waits for a name may run on the thread of
 * data calls. What a server answers is in codes.def.
 *
 * libnfs looks for a free port in static memory without a lock, so beginning a connection is
 * serialised here. Its own reconnecting is off: an error ends a connection.
 *
 * Threads: any; a struct nfs_server does not change after server_resolve.
 */
#ifndef NFS_SERVER_H
#define NFS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>

/* The order counts: each uses what the one before says. */
#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs.h>

#include <nfsc/libnfs-raw.h>

#include <sluice/driver.h>

#define SERVER_ADDRESS 64 /* bytes of an IPv6 address with its scope */
#define SERVER_HOST 256   /* bytes of a name of the DNS */

struct nfs_server {
    char host[SERVER_HOST]; /* as the operator says it */
    char address[SERVER_ADDRESS];
    char path[SLUICE_PATH_MAX]; /* of the export */
    uint16_t port;
    uint16_t mount_port; /* 0: the server's portmapper is asked */
};

/* Who a call is made for (AUTH_SYS). */
struct identity {
    uint32_t uid;
    uint32_t gid;
};

enum server_program { SERVER_MOUNT = 100005, SERVER_NFS = 100003 };

/* false: the text says why. */
bool server_resolve(struct nfs_server *server, char ret_text[SLUICE_TEXT_MAX]);

/* Begins a connection; `on_connected` is called from within rpc_service, with RPC_STATUS_SUCCESS
 * when the program has answered a ping. NULL: no memory, no socket. */
struct rpc_context *server_dial(const struct nfs_server *server, enum server_program program,
                                rpc_cb on_connected, void *argument);
/* Small packets at once, and a peer that is gone is noticed. */
void server_tune(int fd);
/* Calls that wait are told CANCEL. Accepts NULL. */
void server_hang_up(struct rpc_context *rpc);
/* For the calls that are begun from now on. false: no memory. */
bool server_act_as(struct rpc_context *rpc, const struct identity *identity, uint32_t more_gid);

/* Of a number in codes.def; what is not there is IO. */
int32_t server_status(int code);
const char *server_sentence(int code);

uint64_t server_now_ms(void);

#endif

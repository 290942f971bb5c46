/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h: calls that wait for their answer, over a few connections that all of them share.
 *
 * A call takes a connection that is free, or makes one, or waits for one; it sends, waits for the
 * answer and gives the connection back. A connection that breaks or is silent is destroyed, and the
 * call is made again on another until the patience of whoever asks is at an end. What is repeated
 * may have been done the first time: `repeated` says that it is possible.
 *
 * Life cycle: control_init, control_mount, calls, control_release when no call is under way.
 * Threads: any, but one `struct ask` belongs to one thread.
 */
#ifndef NFS_CONTROL_H
#define NFS_CONTROL_H

#include <pthread.h>

#include "server.h"

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#define CONTROL_CONNECTIONS 8     /* control calls that run at once, and workers of data calls */
#define CONTROL_PATIENCE_MS 12000 /* longer than a server takes to start again */
#define CONTROL_REPLY_MS 5000
#define CONTROL_CONNECT_MS 3000
#define CONTROL_FOR_EVER UINT32_MAX

#define HANDLE_BYTES 64 /* RFC 1813, section 2.4: NFS3_FHSIZE */
struct handle {
    uint32_t length;
    char bytes[HANDLE_BYTES];
};

/* Beside the numbers of codes.def. */
enum control_code {
    CONTROL_UNREACHABLE = -1, /* ask->text says why */
    CONTROL_REFUSED = -2,     /* by the RPC layer; likewise */
    CONTROL_LINK = -3,        /* the path leads through a symbolic link */
};

struct connection;

struct control {
    struct nfs_server server;
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    struct connection *idle[CONTROL_CONNECTIONS];
    uint32_t idle_count;
    uint32_t count;
};

/* Who asks for what, and what came of it beside the code. */
struct ask {
    struct control *control;
    struct identity as;
    uint32_t more_gid;    /* UINT32_MAX: none */
    uint32_t patience_ms; /* CONTROL_FOR_EVER */
    bool repeated;
    char text[SLUICE_TEXT_MAX];
};

/* Of libnfs: begins a call. */
typedef int control_start(struct rpc_context *rpc, rpc_cb on_reply, void *args, void *argument);
/* Copies what is of use out of a result that lives until it returns. */
typedef void control_take(const void *result, void *into);

void control_init(struct control *control);
void control_release(struct control *control);
/* 0, a number of codes.def, or an enum control_code. */
int control_call(struct ask *ask, control_start *start, void *args, control_take *take, void *into);
/* Asks the server's mount program for the root of the export. */
int control_mount(struct ask *ask, struct handle *ret_root);

int32_t control_status(int code);
/* Why, for a person. */
const char *control_reason(const struct ask *ask, int code);

#endif

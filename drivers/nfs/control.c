/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c: see control.h.
 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAUSE_MS 50 /* before a connection is tried again; doubled each time ... */
#define PAUSE_MAX_MS 1000
#define FOR_EVER_MS (UINT64_C(1) << 60) /* fits a time_t in seconds and a sum */

struct connection {
    struct rpc_context *rpc;
};

/* One call, on the stack of whoever waits. */
struct reply {
    bool done;
    int status; /* RPC_STATUS_... */
    int code;
    control_take *take;
    void *into;
    char *text;
};

static void on_reply(struct rpc_context *rpc, int status, void *result, void *argument) {
    struct reply *reply = argument;
    (void)rpc;
    reply->done = true;
    reply->status = status;
    if (status == RPC_STATUS_SUCCESS && result != NULL) {
        /* Every result of NFSv3 and of MOUNT leads with its status. */
        memcpy(&reply->code, result, sizeof reply->code);
        if (reply->code == 0 && reply->take != NULL) {
            reply->take(result, reply->into);
        }
    } else if (status == RPC_STATUS_ERROR && result != NULL) {
        snprintf(reply->text, SLUICE_TEXT_MAX, "%.200s", (const char *)result);
    }
}

/* Serves the connection until *done; false: not in time, or it broke first. */
static bool serve(struct rpc_context *rpc, const bool *done, uint64_t deadline_ms) {
    while (!*done) {
        uint64_t now_ms = server_now_ms();
        if (now_ms >= deadline_ms || rpc_get_fd(rpc) < 0) {
            return false;
        }
        struct pollfd socket = {.fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc)};
        int ready = poll(&socket, 1, (int)(deadline_ms - now_ms));
        if (ready > 0 && rpc_service(rpc, socket.revents) != 0) {
            return false;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void connection_close(struct connection *connection) {
    if (connection != NULL) {
        server_hang_up(connection->rpc);
        free(connection);
    }
}

static void on_connected(struct rpc_context *rpc, int status, void *result, void *argument) {
    on_reply(rpc, status, status == RPC_STATUS_SUCCESS ? NULL : result, argument);
}

static struct connection *connection_open(struct ask *ask, enum server_program program) {
    const struct nfs_server *server = &ask->control->server;
    char why[SLUICE_TEXT_MAX] = "";
    struct reply reply = {.text = why};
    uint16_t port = program == SERVER_NFS ? server->port : server->mount_port;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection != NULL) {
        connection->rpc = server_dial(server, program, on_connected, &reply);
    }
    if (connection != NULL && connection->rpc != NULL) {
        serve(connection->rpc, &reply.done, server_now_ms() + CONTROL_CONNECT_MS);
        if (reply.done && reply.status == RPC_STATUS_SUCCESS) {
            server_tune(rpc_get_fd(connection->rpc));
            return connection;
        }
    }
    if (why[0] == '\0') {
        snprintf(why, sizeof why, "it does not answer");
    }
    connection_close(connection);
    snprintf(ask->text, sizeof ask->text,
             "the NFS server %.200s (%s) is not reached at port %u: %.150s", server->host,
             program == SERVER_NFS ? "nfs" : "mount", port != 0 ? port : 111, why);
    return NULL;
}

/* A place among the connections, with or without one. false: not in time. */
static bool place_take(struct control *control, uint64_t end_ms,
                       struct connection **ret_connection) {
    struct timespec end = {.tv_sec = (time_t)(end_ms / 1000),
                           .tv_nsec = (long)(end_ms % 1000) * 1000000};
    bool in_time = true;
    pthread_mutex_lock(&control->mutex);
    while (in_time && control->idle_count == 0 && control->count == CONTROL_CONNECTIONS) {
        in_time = pthread_cond_timedwait(&control->freed, &control->mutex, &end) != ETIMEDOUT;
    }
    *ret_connection = NULL;
    if (control->idle_count > 0) {
        *ret_connection = control->idle[--control->idle_count];
        in_time = true;
    } else if (in_time) {
        control->count++;
    }
    pthread_mutex_unlock(&control->mutex);
    return in_time;
}

/* NULL: there is one less. */
static void connection_give(struct control *control, struct connection *connection) {
    pthread_mutex_lock(&control->mutex);
    if (connection != NULL) {
        control->idle[control->idle_count++] = connection;
    } else {
        control->count--;
    }
    pthread_cond_signal(&control->freed);
    pthread_mutex_unlock(&control->mutex);
}

void control_init(struct control *control) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&control->mutex, NULL);
    pthread_cond_init(&control->freed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    control->idle_count = 0;
    control->count = 0;
}

void control_release(struct control *control) {
    while (control->idle_count > 0) {
        connection_close(control->idle[--control->idle_count]);
    }
    pthread_cond_destroy(&control->freed);
    pthread_mutex_destroy(&control->mutex);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* One attempt. true: the server has answered, with *ret_code. false: the connection is of no use
 * any more. */
static bool attempt(struct ask *ask, struct connection *connection, control_start *start,
                    void *args, control_take *take, void *into, uint64_t deadline_ms,
                    int *ret_code) {
    struct reply reply = {.take = take, .into = into, .text = ask->text};
    bool whole = server_act_as(connection->rpc, &ask->as, ask->more_gid) &&
                 start(connection->rpc, on_reply, args, &reply) == 0 &&
                 serve(connection->rpc, &reply.done, deadline_ms);
    /* The answer came, and then the end of the stream: the next call will see it. */
    whole = whole || (reply.done && reply.status == RPC_STATUS_SUCCESS);
    *ret_code = reply.status == RPC_STATUS_SUCCESS ? reply.code : CONTROL_REFUSED;
    if (!whole) {
        /* Before the reply's memory goes: what was begun is told that it ended. */
        server_hang_up(connection->rpc);
        connection->rpc = NULL;
        snprintf(ask->text, sizeof ask->text,
                 "the NFS server %.200s took the request and does not answer",
                 ask->control->server.host);
    }
    return whole;
}

static void pause_ms(uint32_t ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static uint64_t end_of(const struct ask *ask) {
    return ask->patience_ms == CONTROL_FOR_EVER ? FOR_EVER_MS : server_now_ms() + ask->patience_ms;
}

/* The end of this attempt. */
static uint64_t reply_by(uint64_t end_ms) {
    uint64_t by_ms = server_now_ms() + CONTROL_REPLY_MS;
    return by_ms < end_ms ? by_ms : end_ms;
}

int control_call(struct ask *ask, control_start *start, void *args, control_take *take,
                 void *into) {
    uint64_t end_ms = end_of(ask);
    uint32_t wait_ms = 0;
    ask->repeated = false;
    do {
        if (wait_ms > 0) {
            pause_ms(wait_ms);
        }
        wait_ms = wait_ms == 0 ? PAUSE_MS : 2 * wait_ms < PAUSE_MAX_MS ? 2 * wait_ms : PAUSE_MAX_MS;
        struct connection *connection;
        int code = CONTROL_UNREACHABLE;
        if (!place_take(ask->control, end_ms, &connection)) {
            snprintf(ask->text, sizeof ask->text,
                     "all connections to the NFS server %.200s wait for answers",
                     ask->control->server.host);
            return code;
        }
        connection = connection != NULL ? connection : connection_open(ask, SERVER_NFS);
        bool answered = connection != NULL &&
                        attempt(ask, connection, start, args, take, into, reply_by(end_ms), &code);
        if (connection != NULL && !answered) {
            ask->repeated = true;
            connection_close(connection);
        }
        connection_give(ask->control, answered ? connection : NULL);
        if (answered && code != NFS3ERR_JUKEBOX) {
            return code;
        }
        if (answered && server_now_ms() >= end_ms) {
            return code;
        }
    } while (server_now_ms() < end_ms);
    return CONTROL_UNREACHABLE;
}

/* ---- mounting ------------------------------------------------------------------------------- */

static int start_mount(struct rpc_context *rpc, rpc_cb cb, void *args, void *argument) {
    return rpc_mount3_mnt_async(rpc, cb, args, argument);
}

static void take_root(const void *result, void *into) {
    const struct mountres3 *mounted = result;
    struct handle *root = into;
    uint32_t length = mounted->mountres3_u.mountinfo.fhandle.fhandle3_len;
    root->length = length <= HANDLE_BYTES ? length : 0;
    memcpy(root->bytes, mounted->mountres3_u.mountinfo.fhandle.fhandle3_val, root->length);
}

int control_mount(struct ask *ask, struct handle *ret_root) {
    uint64_t end_ms = end_of(ask);
    uint32_t wait_ms = PAUSE_MS;
    for (;;) {
        struct connection *connection = connection_open(ask, SERVER_MOUNT);
        int code = CONTROL_UNREACHABLE;
        bool answered =
            connection != NULL && attempt(ask, connection, start_mount, ask->control->server.path,
                                          take_root, ret_root, reply_by(end_ms), &code);
        connection_close(connection);
        if (answered) {
            return code == 0 && ret_root->length == 0 ? CONTROL_REFUSED : code;
        }
        if (server_now_ms() + wait_ms >= end_ms) {
            return CONTROL_UNREACHABLE;
        }
        pause_ms(wait_ms);
        wait_ms = 2 * wait_ms < PAUSE_MAX_MS ? 2 * wait_ms : PAUSE_MAX_MS;
    }
}

int32_t control_status(int code) {
    switch (code) {
    case CONTROL_UNREACHABLE:
        return SLUICE_UNREACHABLE;
    case CONTROL_REFUSED:
    case CONTROL_LINK:
        return SLUICE_ACCESS;
    default:
        return server_status(code);
    }
}

const char *control_reason(const struct ask *ask, int code) {
    if (code == CONTROL_LINK) {
        return "it is a symbolic link, and those are not followed";
    }
    return code < 0 ? ask->text : server_sentence(code);
}

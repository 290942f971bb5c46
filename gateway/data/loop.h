/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.h: the one thread of sluice-data.
 *
 * A turn: one epoll_wait; clients that have something are read and their requests put into volumes;
 * volumes fill the rings, each published once; completions are taken and replied, one sendmsg a
 * client. While few calls are under way and nothing else is to be done, the loop looks at the rings
 * for a while before it sleeps (ring/patience.h), with a look at the sockets in between.
 *
 * loop_run owns the control socket. It returns when the gateway's end is closed (LOOP_ENDED), or
 * when the gateway broke the protocol or the system refused something that nothing goes without;
 * `err` says what.
 */
#ifndef SLUICE_DATA_LOOP_H
#define SLUICE_DATA_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "data/pool.h"
#include "data/request.h"
#include "ring/patience.h"
#include "wire/data.h"

#define LOOP_EVENTS 256                   /* of one epoll_wait */
#define LOOP_CONNECTIONS_MAX 4096u        /* of all exports */
#define LOOP_SPIN_SLICE_NS 10000u         /* between two looks at the sockets */
#define LOOP_SWEEP_NS UINT64_C(100000000) /* how late a handshake or an end may be given up */

enum watch_kind {
    WATCH_NONE,
    WATCH_CONTROL,
    WATCH_EXPORT,
    WATCH_LISTENER,
    WATCH_CONNECTION,
    WATCH_RING
};
struct watch { /* first member of what epoll watches */
    enum watch_kind kind;
    int fd;
};

struct export;
struct connection;
TAILQ_HEAD(ready_list, connection);

struct ring_watch {
    struct watch watch;
    struct pool *pool;
};

struct tls_identity;

struct listener { /* of TCP: listener.h */
    struct watch watch;
    struct tls_identity *identity; /* NULL: there never was one */
    char address[DATA_ADDRESS_MAX + 1];
};

struct control {
    struct watch watch;
    bool blocked; /* the socket is full */
    bool says_hello, says_pong, says_listens;
    bool syncing;
    uint32_t sync_next;
    uint64_t ping;
    bool ended; /* the loop is to end; err says why, or it is no error */
    struct buf packet;
    struct arena arena;
};

struct loop {
    int epoll_fd;
    struct control control;
    const struct text_pairs *sandbox; /* for HELLO */
    uint64_t now_ns;
    struct data_figures figures;
    struct pool *pools[DATA_POOLS_MAX];
    struct ring_watch ring_watches[DATA_POOLS_MAX];
    uint32_t pool_count;
    struct export *exports; /* DATA_EXPORTS_MAX */
    uint32_t endings;       /* exports that are ending */
    uint32_t unexported;    /* exports that ended: to be said */
    int statm;              /* /proc/self/statm, or -1 */
    struct listener listener;
    struct ready_list strangers; /* by age */
    uint32_t stranger_count;
    uint32_t securings; /* steps of TLS that this turn has left */
    uint32_t handshakes;
    uint32_t connection_count;
    struct request_table requests;
    struct ready_list ready;   /* to be read */
    struct ready_list sending; /* to be written */
    struct ready_list waiting; /* for room in their pool */
    struct ready_list limited; /* for time */
    struct ready_list graves;  /* closed in this turn */
    uint64_t sweep_ns;
    struct patience patience;
    struct err err;
};

struct loop_options {
    int control; /* SOCK_SEQPACKET, connected; owned from here on */
    int statm;   /* /proc/self/statm, opened before the sandbox closes; -1: no figure */
    struct text_pairs sandbox;
};

enum loop_end { LOOP_ENDED, LOOP_BREACH, LOOP_SYSTEM };
enum loop_end loop_run(const struct loop_options *options, struct err *err);

/* For the modules. */
bool loop_watch(struct loop *loop, struct watch *watch, uint32_t events);
void loop_watch_again(struct loop *loop, struct watch *watch, uint32_t events);
void loop_unwatch(struct loop *loop, struct watch *watch);
/* Finds, or makes; NULL: too many, or no memory. */
struct pool *loop_pool(struct loop *loop, const struct sluice_uuid *id, bool makes);
void loop_watch_ring(struct loop *loop, struct pool *pool, bool on);

/* control.c */
void control_start(struct loop *loop, int fd);
void control_on_event(struct loop *loop);
void control_say(struct loop *loop); /* whatever is to be said, as far as the socket takes it */
void control_release(struct loop *loop);

#endif

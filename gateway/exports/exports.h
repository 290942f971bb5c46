/* SPDX-License-Identifier: Apache-2.0
 *
 * exports.h: attachments that the gateway serves itself, by sluice-data.
 *
 * It brings both ends of the data plane together and touches no payload: for a pool with exports it
 * sees to it that there is a ring between sluice-data and the pool's present runner, that the
 * runner has opened each exported volume under an epoch larger than any before, and that
 * sluice-data knows the export and has its listening socket. An export is reached by a Unix socket
 * of its own, over TLS by one TCP socket for all (door.c), or both. All of that is made again by
 * itself when a runner has a successor, when sluice-data has one, and by the next gateway process.
 *
 * A ring is given up only when its runner has ended for certain, or has closed what it had open
 * through it: nothing is sent a second time while the first one may still be carried out.
 *
 * Life: exports_open after the runners are ready; exports_add for every attachment that there is
 * already; exports_recovered; then whatever comes; exports_close before the pools are stopped.
 *
 * Loop thread only. Callbacks of exports_add and exports_remove may come before they return.
 *
 * Limits: DATA_EXPORTS_MAX exports, then TOO_MANY.
 */
#ifndef SLUICE_EXPORTS_EXPORTS_H
#define SLUICE_EXPORTS_EXPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "runners/runners.h"
#include "wire/data.h"

struct uv_loop_s;
struct exports;

/* Of a Unix socket's address, less the name that is made of an attachment's id. */
#define EXPORTS_DIRECTORY_MAX 64
#define EXPORTS_PATH_MAX 108
/* A volume whose opening ends so many runners in a row is not opened again until it is asked for
 * anew. */
#define EXPORTS_OPEN_DEATHS 3
#define EXPORTS_AGAIN_MS 500 /* what failed and is wanted still is tried again after it */
/* What closing waits for connections to end. */
#define EXPORTS_CLOSE_MS 3000

/* How clients come in over TCP. What is wrong with it costs TLS, and nothing else. */
struct exports_tls {
    const char *listen;      /* ADDRESS:PORT, port 0: a free one; NULL or "": there is no TLS */
    const char *certificate; /* file: the server's chain, PEM */
    const char *key;         /* file: its private key, PEM; not readable by everybody */
    const char *address;     /* HOST[:PORT] that hosts are told; NULL or "": what is listened on */
};

struct exports_options {
    const char *directory; /* of the listening sockets; made with mode 0711 */
    uint64_t incarnation;  /* of the gateway; below 2^32 */
    uint32_t uid;          /* account of sluice-data */
    uint32_t spin_ns;      /* how long both sides of a ring may look before they sleep */
    struct exports_tls tls;
    /* What nobody asked for and somebody should know. May be NULL. */
    void (*on_trouble)(void *owner, const char *text);
    void *owner;
};

bool exports_open(struct uv_loop_s *loop, struct runners *runners,
                  const struct exports_options *options, struct exports **ret, struct err *err);
/* All that there is has been added: what sluice-data serves beyond it ends, and so do old sockets.
 */
void exports_recovered(struct exports *exports);
/* Ends every connection, then sluice-data. Freed after on_closed, which comes from the loop. What
 * waits is not answered. */
void exports_close(struct exports *exports, void (*on_closed)(void *owner), void *owner);

struct exports_spec {
    struct sluice_uuid attachment, pool, volume, snapshot; /* snapshot zero: the volume itself */
    const char *name;
    bool read_only;
    bool local;   /* by a Unix socket */
    uint32_t uid; /* of the peer there */
    /* SHA-256 of the certificates that may open it over TLS. */
    uint32_t digest_count;
    uint8_t digests[DATA_DIGESTS_MAX][DATA_DIGEST_SIZE];
    uint64_t iops_max, bytes_s_max; /* 0: no limit */
};
struct exports_added {
    const char *path;    /* of its socket; NULL: it has none */
    const char *address; /* HOST:PORT of TLS; NULL: not reached so */
    uint64_t size_bytes;
};
/* Once; err NONE: it is served, `added` is valid in the call. After an error it stays wanted until
 * it is removed, and may be added again. Adding what is there already answers the same. The caller
 * of before, if it has no answer, gets none. */
typedef void exports_add_fn(void *arg, const struct exports_added *added, const struct err *err);
void exports_add(struct exports *exports, const struct exports_spec *spec, exports_add_fn *on_added,
                 void *arg);
/* Once, when nothing of it is left in sluice-data and, if it was the last of its volume, the driver
 * has closed that. What is not there has been removed. */
typedef void exports_remove_fn(void *arg);
void exports_remove(struct exports *exports, const struct sluice_uuid *attachment,
                    exports_remove_fn *on_removed, void *arg);

/* A new process of the pool's runner serves, or one that served a predecessor of ours: whatever was
 * before it has ended. */
void exports_pool_serving(struct exports *exports, const struct sluice_uuid *pool,
                          struct runner *runner);
/* The pool cannot serve now: those who wait get the cause. What is exported stays so. */
void exports_pool_down(struct exports *exports, const struct sluice_uuid *pool,
                       const struct err *cause);
/* The runner has ended and none follows; `runner` is not used any more. */
void exports_pool_gone(struct exports *exports, const struct sluice_uuid *pool);
/* Those of a pool. */
uint32_t exports_count(const struct exports *exports, const struct sluice_uuid *pool);

struct exports_figures {
    bool running;    /* there is a sluice-data */
    uint32_t deaths; /* of sluice-data */
    struct data_pong pong;
};
void exports_figures(const struct exports *exports, struct exports_figures *ret);

#endif

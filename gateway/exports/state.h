/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: exports from the inside, for the sources of this folder.
 *
 *   exports.c  life, what is called from outside, what sluice-data says
 *   serve.c    the machine: what is wanted next of a pool, and calls to its runner
 *   table.c    pools, volumes, exports: found, made, freed
 *   socket.c   listening Unix sockets
 *   door.c     the TCP socket for TLS, certificate and key
 *
 * Every change ends in pool_step, which looks at what there is and does the next thing.
 */
#ifndef SLUICE_EXPORTS_STATE_H
#define SLUICE_EXPORTS_STATE_H

#include <sys/queue.h>
#include <uv.h>

#include "exports/exports.h"
#include "runners/data_process.h"

#define EXPORTS_MAGIC 0x4558504f
#define EXPORTS_NAME_MAX 255

enum ring_state {
    RING_NONE,
    RING_ASKED,     /* for, at sluice-data */
    RING_ATTACHING, /* handed to the runner */
    RING_ATTACHED,
};

enum volume_state {
    VOLUME_SHUT,
    VOLUME_OPENING,
    VOLUME_OPEN,
    VOLUME_CLOSING,
};

struct export {
    LIST_ENTRY(export) entry;
    struct export_volume *volume;
    struct sluice_uuid attachment;
    char name[EXPORTS_NAME_MAX + 1];
    bool local;
    uint32_t uid;
    uint32_t digest_count;
    uint8_t digests[DATA_DIGESTS_MAX][DATA_DIGEST_SIZE];
    uint64_t iops_max, bytes_s_max;
    bool wanted;   /* added; else sluice-data has it and nobody knows it */
    bool told;     /* the present sluice-data has it */
    bool removing; /* UNEXPORT was said, or waits until SYNCED */
    exports_add_fn *on_added;
    void *added_arg;
    exports_remove_fn *on_removed;
    void *removed_arg;
};

struct export_volume {
    LIST_ENTRY(export_volume) entry;
    struct export_pool *pool;
    struct sluice_uuid volume, snapshot;
    bool read_only;
    enum volume_state state;
    uint64_t epoch; /* of the last opening */
    uint32_t handle;
    uint32_t io_align;
    uint64_t size_bytes;
    uint64_t token;
    uint64_t has_ring; /* what HAS said: open through that ring */
    bool again;        /* its opening failed, or its closing goes on: after a while */
    uint32_t deaths;   /* of runners that were opening it, in a row */
    LIST_HEAD(, export) exports;
    exports_remove_fn *on_closed; /* of the one who removed the last */
    void *closed_arg;
};

struct export_pool {
    LIST_ENTRY(export_pool) entry;
    struct exports *exports;
    struct sluice_uuid id;
    struct runner *runner; /* NULL: none serves */
    uint64_t runner_ring;  /* that it had when it was taken over */
    uint64_t has_ring;     /* that sluice-data had when it was taken over */
    enum ring_state ring;
    uint64_t generation;
    LIST_HEAD(, export_volume) volumes;
};

/* Descriptors are -1 where there is none. The files are copies in memory that is no file's, so that
 * the key is in no message, no arena and no dump of this process. */
struct door {
    char listen[DATA_ADDRESS_MAX + 1];  /* as configured; "": no TLS */
    char address[DATA_ADDRESS_MAX + 1]; /* as configured */
    char told[DATA_ADDRESS_MAX + 1];    /* to hosts, once there is a socket */
    int socket, certificate, key;
    bool said;      /* the present sluice-data has it */
    struct err err; /* why there is none */
};

struct exports {
    uint32_t magic;
    uv_loop_t *loop;
    struct exports_options options;
    char directory[EXPORTS_DIRECTORY_MAX + 1];
    struct data_process *process;
    struct door door;
    bool live;      /* on_begin was, on_end was not */
    bool synced;    /* what it has is known */
    bool recovered; /* what it should have is known */
    bool closing, stopping, closed;
    uint64_t last_epoch, last_generation;
    uint32_t count; /* of exports */
    uint32_t asks;  /* calls that owe an answer */
    LIST_HEAD(, export_pool) pools;
    uv_timer_t again;
    void (*on_closed)(void *owner);
    void *closed_owner;
};

/* ---- table.c ----------------------------------------------------------------------------------
 */

struct export_pool *pool_of(const struct exports *exports, const struct sluice_uuid *id);
struct export_pool *pool_made(struct exports *exports, const struct sluice_uuid *id);
struct export_volume *volume_of(const struct export_pool *pool, const struct sluice_uuid *volume,
                                const struct sluice_uuid *snapshot);
struct export_volume *volume_made(struct export_pool *pool, const struct sluice_uuid *volume,
                                  const struct sluice_uuid *snapshot);
struct export *export_of(const struct exports *exports, const struct sluice_uuid *attachment);
/* NULL: no memory, or DATA_EXPORTS_MAX. */
struct export *export_made(struct export_volume *volume, const struct sluice_uuid *attachment);
void export_free(struct export *export);
void volume_free(struct export_volume *volume); /* without exports */
void pools_free(struct exports *exports);
void exports_trouble(const struct exports *exports, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- socket.c ---------------------------------------------------------------------------------
 */

bool sockets_prepare(const struct exports *exports, struct err *err);
void socket_path(const struct exports *exports, const struct sluice_uuid *attachment,
                 char ret[EXPORTS_PATH_MAX]);
/* A listening one; -1: err says why. */
int socket_listen(const struct exports *exports, const struct sluice_uuid *attachment,
                  struct err *err);
void socket_remove(const struct exports *exports, const struct sluice_uuid *attachment);
/* Of attachments that are no exports. */
void sockets_sweep(const struct exports *exports);

/* ---- door.c -----------------------------------------------------------------------------------
 */

/* Reads the files; listens, unless sluice-data may have the socket still. */
void door_open(struct exports *exports, bool held);
void door_close(struct exports *exports);
/* sluice-data listens there. */
void door_adopt(struct exports *exports, const struct data_listen *listens, int fd);
/* Tells sluice-data of it; false: there is none yet, and there should be. */
bool door_tell(struct exports *exports);

/* ---- serve.c ----------------------------------------------------------------------------------
 */

void pool_step(struct export_pool *pool);
void pools_step(struct exports *exports);
/* Steps once more after that time. */
void exports_again(struct exports *exports, uint32_t after_ms);
void pool_ring_made(struct export_pool *pool, uint64_t generation, const int fds[RUNNER_FDS_MAX]);
/* The runner of the ring has ended for certain. */
void pool_ring_lost(struct export_pool *pool);
/* sluice-data has ended: what the runner has open is closed before another ring is made. */
void pool_ends_lost(struct export_pool *pool);
/* Those of the pool that wait to be served get that. */
void pool_answer(struct export_pool *pool, const struct err *err);
/* Nothing of it is left in sluice-data: it goes, and with the last one the volume. */
void export_gone(struct export *export);

/* exports.c: the last call was answered. */
void exports_settle(struct exports *exports);

#endif

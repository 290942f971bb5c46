/* SPDX-License-Identifier: Apache-2.0
 *
 * play.h: everything around sluice-data, in one process: the real loop in a thread, a gateway that
 * is this struct, a runner that is a thread on the ring over a store in memory, and a plain client.
 *
 * The store has what was written and what is stable. A runner that dies may lose what is not: then,
 * block by block, chance decides (the seed's), and the token changes.
 */
#ifndef SLUICE_TESTS_DATA_PLAY_H
#define SLUICE_TESTS_DATA_PLAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "data/loop.h"
#include "data/nbd.h"
#include "ring/ring.h"

#define PLAY_BLOCK 4096u

struct play_script {  /* of one runner */
    uint64_t seed;    /* 0: in order, no dice */
    int die_after;    /* calls, or sooner with some untold; 0: never */
    uint64_t die_at;  /* a call that touches this offset kills it; UINT64_MAX: none */
    uint64_t fail_at; /* likewise: answered fail_status */
    int32_t fail_status;
    uint32_t token_every; /* calls after which the backend restarts and loses; 0: never */
    uint32_t delay_us;    /* before each batch */
    bool hostile;         /* answers a tag that nobody sent */
};

struct play {
    int control;
    pthread_t loop_thread;
    pid_t program; /* instead of the thread */
    enum loop_end end;
    struct err err;
    char folder[64];
    char path[108]; /* of the listening socket */
    struct sluice_uuid pool, volume, attachment;
    uint64_t generation, epoch;
    bool loses; /* at death and at token_every */
    /* the store */
    uint64_t size_bytes;
    uint8_t *current, *stable;
    uint8_t *dirty; /* by block */
    uint64_t token;
    /* the runner */
    bool running;
    pthread_t runner_thread;
    struct ring ring;
    pthread_mutex_t lock; /* of what follows, and of the store */
    struct play_script script;
    _Atomic bool kill;
    _Atomic uint32_t handle;
    int dead_fd; /* eventfd: the runner died by itself */
    uint64_t dice;
    _Atomic uint64_t calls;
    uint64_t executed;
    struct ring_completion held[RING_ENTRIES]; /* executed, to be told later */
    uint32_t held_count;
    /* what the gateway heard last */
    uint64_t pong_connections, pong_calls, pong_replayed;
    uint64_t pong_tls_failed, pong_names_refused, pong_strangers_ended;
    bool heard_broken;
    uint32_t heard_still;    /* how often */
    uint32_t heard_still_ms; /* the last time */
};

struct data_export; /* wire/data.h */

void play_start(struct play *play, uint64_t size_bytes, bool loses);
void play_start_program(struct play *play, const char *program, uint64_t size_bytes, bool loses);
void play_stop(struct play *play); /* fails when the loop did not end well */
/* NULL: as it is by default. Keeps `wanted` members but ids. With that uid it has no socket of its
 * own. */
#define PLAY_TLS_ONLY UINT32_MAX
void play_export(struct play *play, const struct data_export *wanted);
void play_unexport(struct play *play); /* waits for UNEXPORTED */
/* LISTEN with that certificate and key; returns the port on the loopback. */
uint16_t play_listen(struct play *play, const void *certificate, size_t certificate_size,
                     const void *key, size_t key_size);
void play_unlisten(struct play *play);
/* SYNC; returns the port of the socket that comes back by LISTENS. */
uint16_t play_sync(struct play *play);
void play_ping(struct play *play);
/* A new runner: RING_WANTED, RING_MADE, VOLUME_OPEN. */
void play_run(struct play *play, const struct play_script *script);
/* VOLUME_OPEN on the runner that is there, which has nothing to do now. */
void play_open(struct play *play, const struct play_script *script);
/* Ends the present one (if it has not ended by itself) and says RING_LOST. */
void play_kill(struct play *play);
uint64_t play_roll(uint64_t *dice);

/* ---- a client: blocking, with a deadline on the socket ----------------------------------------
 */
struct play_client {
    int fd;
    bool structured;
    uint64_t size_bytes;
    uint16_t flags;
    uint32_t block_min;
};
void client_connect(struct play *play, struct play_client *client, bool structured);
void client_close(struct play_client *client);
void client_ask(struct play_client *client, uint16_t type, uint16_t flags, uint64_t cookie,
                uint64_t offset, uint32_t length, const void *payload);
/* One reply, whole: payload of a read goes to `ret` (of `length`), which `find` names by cookie.
 * Returns the error. */
struct play_reply {
    uint64_t cookie;
    uint32_t error;
};
typedef uint8_t *(*client_find)(void *who, uint64_t cookie, uint64_t *ret_offset,
                                uint32_t *ret_length);
bool client_reply(struct play_client *client, client_find find, void *who, struct play_reply *ret);
/* One request, one reply. */
uint32_t client_do(struct play_client *client, uint16_t type, uint16_t flags, uint64_t offset,
                   uint32_t length, void *payload);
bool play_write_all(int fd, const void *bytes, size_t length);
bool play_read_all(int fd, void *bytes, size_t length);

#endif

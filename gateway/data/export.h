/* SPDX-License-Identifier: Apache-2.0
 *
 * export.h: one attachment, and what its clients are told and allowed. It is reached by a listening
 * Unix socket of its own, for one uid (and root), or by the listener for TLS (listener.h), for who
 * has one of its certificates, or by both.
 *
 *   SERVING -UNEXPORT-> ENDING (idle connections go at once, the others after their replies or
 *   EXPORT_END_NS) -nothing is left-> UNEXPORTED is to be said -> FREE
 */
#ifndef SLUICE_DATA_EXPORT_H
#define SLUICE_DATA_EXPORT_H

#include <stddef.h>

#include "data/limit.h"
#include "data/loop.h"
#include "data/nbd.h"
#include "data/request.h"
#include "wire/data.h"

#define EXPORT_END_NS UINT64_C(5000000000)
#define EXPORT_CONNECTIONS_MAX 1100u /* a client that opens a thousand does not lock itself out */
#define EXPORT_ACCEPTS 16            /* in one turn of the loop */

enum export_state { EXPORT_FREE, EXPORT_SERVING, EXPORT_ENDING, EXPORT_ENDED };

TAILQ_HEAD(connection_list, connection);

struct export {
    struct watch watch; /* the listening socket */
    struct loop *loop;
    enum export_state state;
    struct sluice_uuid attachment;
    struct volume *volume;
    struct nbd_export nbd;
    uint32_t call_max; /* bytes of payload of a call */
    uint32_t io_align;
    bool extents;
    uint32_t uid;
    uint32_t digest_count; /* of certificates that may */
    uint8_t digests[DATA_DIGESTS_MAX][DATA_DIGEST_SIZE];
    struct limit iops, bytes;
    uint64_t deadline_ns;
    uint32_t connection_count;
    struct connection_list connections;
    struct request_list requests; /* also those whose connection left */
};

/* Owns the descriptor; -1: over TLS alone. What is there already is brought up to date, and the
 * newer socket is taken. */
bool export_serve(struct loop *loop, const struct data_export *wanted, int fd, struct err *err);
void export_end(struct export *export);
/* One that is not there has ended. false: no slot to remember that in. */
bool export_note_ended(struct loop *loop, const struct sluice_uuid *attachment);
void export_go_on(struct export *export); /* of one that is ending */
void export_on_event(struct export *export);
struct export *export_find(struct loop *loop, const struct sluice_uuid *attachment);
void export_release(struct export *export);
/* The one of that name (its attachment's id) if a client with that certificate may open it. */
struct export *export_for(struct loop *loop, const char *name, size_t length,
                          const uint8_t digest[DATA_DIGEST_SIZE]);

static inline struct export *export_of(const struct nbd_export *nbd) {
    return (struct export *)((uintptr_t)nbd - offsetof(struct export, nbd));
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * export.c: see export.h.
 */
#include "data/export.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"
#include "base/uuid.h"
#include "data/connection.h"
#include "data/volume.h"

#define PREFERRED_BLOCK 4096

struct export *export_find(struct loop *loop, const struct sluice_uuid *attachment) {
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++)
        if (loop->exports[i].state != EXPORT_FREE &&
            uuid_equal(&loop->exports[i].attachment, attachment))
            return &loop->exports[i];
    return NULL;
}

static struct export *make(struct loop *loop, const struct sluice_uuid *attachment) {
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++) {
        struct export *export = &loop->exports[i];
        if (export->state != EXPORT_FREE)
            continue;
        memset(export, 0, sizeof *export);
        export->watch.fd = -1;
        export->loop = loop;
        export->attachment = *attachment;
        TAILQ_INIT(&export->connections);
        TAILQ_INIT(&export->requests);
        return export;
    }
    return NULL;
}

static struct volume *find_volume(const struct pool *pool, const struct data_export *wanted) {
    struct volume *volume;
    TAILQ_FOREACH(volume, &pool->volumes, of_pool)
    if (uuid_equal(&volume->id, &wanted->volume) &&
        uuid_equal(&volume->snapshot, &wanted->snapshot))
        return volume;
    return NULL;
}

static uint16_t flags_of(const struct data_export *wanted, uint32_t call_max) {
    uint16_t flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_CAN_MULTI_CONN;
    if (call_max >= NBD_UNFRAGMENTED_MAX)
        flags |= NBD_SEND_DF;
    if (wanted->read_only)
        return flags | NBD_READ_ONLY;
    flags |= NBD_SEND_WRITE_ZEROES;
    if (wanted->trims)
        flags |= NBD_SEND_TRIM;
    if (wanted->zeroes_fast)
        flags |= NBD_SEND_FAST_ZERO;
    return flags;
}

static void describe(struct export *export, const struct data_export *wanted) {
    uint32_t align = wanted->io_align > 0 ? wanted->io_align : 1;
    uint32_t most =
        wanted->io_max > 0 && wanted->io_max < RING_CALL_MAX ? wanted->io_max : RING_CALL_MAX;
    export->io_align = align;
    export->call_max = most / align * align;
    export->extents = wanted->extents;
    export->uid = wanted->uid;
    export->digest_count = wanted->certificates.length / DATA_DIGEST_SIZE;
    if (export->digest_count > 0)
        memcpy(export->digests, wanted->certificates.at,
               (size_t) export->digest_count * DATA_DIGEST_SIZE);
    text_copy(export->nbd.name, sizeof export->nbd.name, wanted->name);
    export->nbd.size_bytes = wanted->size_bytes;
    export->nbd.flags = flags_of(wanted, export->call_max);
    export->nbd.block_min = align;
    export->nbd.block_preferred = align > PREFERRED_BLOCK ? align : PREFERRED_BLOCK;
    export->nbd.block_max = NBD_PAYLOAD_MAX / align * align;
}

static void stop_listening(struct export *export) {
    if (export->watch.fd < 0)
        return;
    loop_unwatch(export->loop, &export->watch);
    close(export->watch.fd);
    export->watch = (struct watch){.kind = WATCH_NONE, .fd = -1};
}

static bool take_socket(struct export *export, int fd, struct err *err) {
    stop_listening(export);
    export->watch = (struct watch){.kind = WATCH_EXPORT, .fd = fd};
    if (loop_watch(export->loop, &export->watch, EPOLLIN))
        return true;
    return err_errno(err, ERR_SYSTEM, errno, "watching a listening socket");
}

static void close_socket(int fd) {
    if (fd >= 0)
        close(fd);
}

static bool take_volume(struct export *export, const struct data_export *wanted, struct err *err) {
    struct pool *pool = loop_pool(export->loop, &wanted->pool, true);
    if (pool == NULL)
        return err_set(err, ERR_NO_MEMORY, "another pool");
    struct volume *volume = find_volume(pool, wanted);
    if (volume == NULL)
        volume = volume_create(pool, &wanted->volume, &wanted->snapshot, wanted->size_bytes,
                               !wanted->token_constant && !wanted->read_only);
    if (volume == NULL)
        return err_set(err, ERR_NO_MEMORY, "another volume");
    /* A reader may have been first. */
    if (!wanted->token_constant && !wanted->read_only)
        volume->keeps = true;
    volume->exports++;
    export->volume = volume;
    return true;
}

bool export_serve(struct loop *loop, const struct data_export *wanted, int fd, struct err *err) {
    struct export *export = export_find(loop, &wanted->attachment);
    if (export != NULL && export->state == EXPORT_ENDED) {
        export->state = EXPORT_FREE; /* the gateway has forgotten that it ended it */
        loop->unexported--;
        export = NULL;
    }
    bool there = export != NULL;
    if (wanted->io_align > RING_CALL_MAX ||
        (wanted->io_max > 0 && wanted->io_max < wanted->io_align) ||
        wanted->certificates.length % DATA_DIGEST_SIZE != 0) {
        close_socket(fd);
        return err_set(err, ERR_PROTOCOL, "an export with limits that no call keeps to");
    }
    if (!there && (export = make(loop, &wanted->attachment)) == NULL) {
        close_socket(fd);
        return err_set(err, ERR_PROTOCOL, "more exports than there may be");
    }
    if (!there && !take_volume(export, wanted, err)) {
        close_socket(fd);
        return false;
    }
    if (export->state == EXPORT_ENDING)
        loop->endings--;
    export->state = EXPORT_SERVING;
    describe(export, wanted);
    if (!there || export->iops.rate != wanted->iops_max)
        limit_init(&export->iops, wanted->iops_max, loop->now_ns);
    if (!there || export->bytes.rate != wanted->bytes_s_max)
        limit_init(&export->bytes, wanted->bytes_s_max, loop->now_ns);
    if (fd >= 0)
        return take_socket(export, fd, err);
    stop_listening(export);
    return true;
}

struct export *export_for(struct loop *loop, const char *name, size_t length,
                          const uint8_t digest[DATA_DIGEST_SIZE]) {
    char text[UUID_TEXT_SIZE];
    struct sluice_uuid id;
    if (length != sizeof text - 1)
        return NULL;
    memcpy(text, name, length);
    text[length] = '\0';
    struct export *export = uuid_parse(text, &id) ? export_find(loop, &id) : NULL;
    if (export == NULL || export->state != EXPORT_SERVING)
        return NULL;
    for (uint32_t i = 0; i < export->digest_count; i++)
        if (memcmp(export->digests[i], digest, DATA_DIGEST_SIZE) == 0)
            return export;
    return NULL;
}

static bool is_welcome(const struct export *export, int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return (peer.uid == export->uid || peer.uid == 0) &&
           export->connection_count < EXPORT_CONNECTIONS_MAX &&
           export->loop->connection_count < LOOP_CONNECTIONS_MAX;
}

void export_on_event(struct export *export) {
    for (int i = 0; i < EXPORT_ACCEPTS; i++) {
        int fd = accept4(export->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (is_welcome(export, fd))
            connection_create(export->loop, export, fd);
        else
            close(fd);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

void export_end(struct export *export) {
    if (export->state != EXPORT_SERVING)
        return;
    export->state = EXPORT_ENDING;
    export->deadline_ns = export->loop->now_ns + EXPORT_END_NS;
    export->loop->endings++;
    stop_listening(export);
    export_go_on(export);
}

bool export_note_ended(struct loop *loop, const struct sluice_uuid *attachment) {
    struct export *export = make(loop, attachment);
    if (export == NULL)
        return false;
    export->state = EXPORT_ENDED;
    loop->unexported++;
    return true;
}

static void close_connections(struct export *export, bool all) {
    struct connection *connection = TAILQ_FIRST(&export->connections);
    while (connection != NULL) {
        struct connection *next = TAILQ_NEXT(connection, of_export);
        if (all || connection->request_count == 0)
            connection_close(connection);
        else if (connection->current == NULL)
            connection_leave(connection);
        connection = next;
    }
}

static void cancel_requests(struct export *export) {
    struct request *request = TAILQ_FIRST(&export->requests);
    while (request != NULL) {
        struct request *next = TAILQ_NEXT(request, of_export);
        request_cancel(request);
        request = next;
    }
}

void export_go_on(struct export *export) {
    bool late = export->loop->now_ns >= export->deadline_ns;
    struct volume *volume = export->volume;
    close_connections(export, late);
    if (late)
        cancel_requests(export);
    if (export->connection_count > 0 || !TAILQ_EMPTY(&export->requests))
        return;
    if (volume->exports == 1) {
        /* The last one leaves nothing behind that a client was told is written. */
        bool settled = volume_settle(volume) || late;
        if (!settled || !TAILQ_EMPTY(&volume->sent))
            return;
        volume_destroy(volume);
    } else {
        volume->exports--;
    }
    export->volume = NULL;
    export->state = EXPORT_ENDED;
    export->loop->endings--;
    export->loop->unexported++;
}

void export_release(struct export *export) {
    stop_listening(export);
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&export->connections)) != NULL)
        connection_close(connection);
}

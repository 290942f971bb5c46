/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c: the gateway's messages and our answers (wire/data.def).
 *
 * Nothing that is to be said is queued: each thing has a flag where it belongs, and control_say
 * looks at all of them. So a gateway that does not read for a while costs nothing, and one that
 * took over hears what its predecessor did not.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/uuid.h"
#include "data/connection.h"
#include "data/export.h"
#include "data/listener.h"
#include "data/loop.h"
#include "data/volume.h"

#define DESCRIPTORS_MAX 3
#define PACKETS 32 /* in one turn of the loop */

void control_start(struct loop *loop, int fd) {
    struct control *control = &loop->control;
    control->watch = (struct watch){.kind = WATCH_CONTROL, .fd = fd};
    control->says_hello = true;
    buf_init(&control->packet, WIRE_PACKET_MAX);
    arena_init(&control->arena, WIRE_ARENA_MAX);
}

void control_release(struct loop *loop) {
    buf_release(&loop->control.packet);
    arena_release(&loop->control.arena);
}

/* ---- what we say ---------------------------------------------------------------------------- */

/* false: not now, the socket is full (or the gateway is away). */
static bool send_packet(struct loop *loop, enum data_number number, const void *body,
                        const int *descriptors, uint32_t count) {
    struct control *control = &loop->control;
    if (control->blocked || control->ended)
        return false;
    buf_clear(&control->packet);
    data_encode(number, body, &control->packet);
    if (control->packet.overflow)
        return false;
    CHECK(data_descriptors(number) == count && count <= DESCRIPTORS_MAX);
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
    } ancillary;
    memset(&ancillary, 0, sizeof ancillary);
    struct iovec part = {.iov_base = control->packet.at, .iov_len = control->packet.length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        ancillary.header.cmsg_level = SOL_SOCKET;
        ancillary.header.cmsg_type = SCM_RIGHTS;
        ancillary.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(&ancillary.header), descriptors, sizeof(int) * count);
    }
    if (sendmsg(control->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS) {
        control->blocked = true;
        loop_watch_again(loop, &control->watch, EPOLLIN | EPOLLOUT);
    } else if (errno != EINTR) {
        control->ended = true; /* nobody is there any more */
    }
    return false;
}

static bool say_hello(struct loop *loop) {
    struct control *control = &loop->control;
    if (!control->says_hello)
        return true;
    struct data_hello hello = {
        .protocol = WIRE_PROTOCOL, .build = SLUICE_VERSION, .sandbox = *loop->sandbox};
    control->says_hello = !send_packet(loop, DATA_HELLO, &hello, NULL, 0);
    return !control->says_hello;
}

static bool say_listens(struct loop *loop) {
    struct control *control = &loop->control;
    const struct listener *listener = &loop->listener;
    if (!control->says_listens)
        return true;
    struct data_listen body = {.address = listener->address};
    control->says_listens =
        listener->watch.fd >= 0 && !send_packet(loop, DATA_LISTENS, &body, &listener->watch.fd, 1);
    return !control->says_listens;
}

static bool say_has(struct loop *loop) {
    struct control *control = &loop->control;
    for (; control->syncing && control->sync_next < DATA_EXPORTS_MAX; control->sync_next++) {
        const struct export *export = &loop->exports[control->sync_next];
        if (export->state != EXPORT_SERVING && export->state != EXPORT_ENDING)
            continue;
        const struct volume *volume = export->volume;
        const struct pool *pool = volume->pool;
        struct data_has has = {
            .attachment = export->attachment,
            .volume = volume->id,
            .pool = pool->id,
            .snapshot = volume->snapshot,
            .handle = volume->handle,
            .generation =
                pool->state == POOL_SERVING && volume->state != VOLUME_AWAY ? pool->generation : 0,
            .epoch = volume->epoch,
            .size_bytes = volume->size_bytes,
            .connections = export->connection_count,
        };
        if (!send_packet(loop, DATA_HAS, &has, NULL, 0))
            return false;
    }
    if (control->syncing)
        control->syncing = !send_packet(loop, DATA_SYNCED, &(struct data_nothing){0}, NULL, 0);
    return !control->syncing;
}

static bool say_rings(struct loop *loop) {
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        struct data_ring ring = {.pool = pool->id, .generation = pool->generation};
        int descriptors[] = {pool->ring.memory_fd, pool->ring.wake_runner, pool->ring.wake_data};
        if (pool->says_made &&
            (pool->says_made = !send_packet(loop, DATA_RING_MADE, &ring, descriptors, 3)))
            return false;
        if (pool->says_broken &&
            (pool->says_broken = !send_packet(loop, DATA_RING_BROKEN, &ring, NULL, 0)))
            return false;
        struct data_still still = {
            .pool = pool->id,
            .generation = pool->generation,
            .still_ms = (uint32_t)((loop->now_ns - pool->moved_ns) / 1000000),
        };
        if (pool->says_still &&
            (pool->says_still = !send_packet(loop, DATA_RING_STILL, &still, NULL, 0)))
            return false;
    }
    return true;
}

static bool say_unexported(struct loop *loop) {
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++) {
        struct export *export = &loop->exports[i];
        if (export->state != EXPORT_ENDED)
            continue;
        struct data_unexport body = {.attachment = export->attachment};
        if (!send_packet(loop, DATA_UNEXPORTED, &body, NULL, 0))
            return false;
        export->state = EXPORT_FREE;
        loop->unexported--;
    }
    return true;
}

/* Pages of this process in memory, rings included. */
static uint64_t resident(const struct loop *loop) {
    uint64_t pages = 0;
    char text[64];
    ssize_t length = loop->statm >= 0 ? pread(loop->statm, text, sizeof text - 1, 0) : -1;
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *at = strchr(text, ' ');
    while (at != NULL && *++at >= '0' && *at <= '9')
        pages = pages * 10 + (uint64_t)(*at - '0');
    return pages * RING_PAGE;
}

static bool say_pong(struct loop *loop) {
    struct control *control = &loop->control;
    if (!control->says_pong)
        return true;
    struct data_pong pong = {
        .number = control->ping,
        .resident = resident(loop),
        .connections = loop->connection_count,
        .calls = loop->figures.calls,
        .replayed = loop->figures.replayed,
        .bytes_read = loop->figures.bytes_read,
        .bytes_written = loop->figures.bytes_written,
        .tls_failed = loop->figures.tls_failed,
        .names_refused = loop->figures.names_refused,
        .strangers_ended = loop->figures.strangers_ended,
    };
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++)
        pong.exports += loop->exports[i].state == EXPORT_SERVING;
    control->says_pong = !send_packet(loop, DATA_PONG, &pong, NULL, 0);
    return !control->says_pong;
}

void control_say(struct loop *loop) {
    struct control *control = &loop->control;
    if (control->blocked || !say_hello(loop) || !say_listens(loop) || !say_has(loop) ||
        !say_rings(loop))
        return;
    if (loop->unexported > 0 && !say_unexported(loop))
        return;
    say_pong(loop);
}

/* ---- what we hear --------------------------------------------------------------------------- */

static bool on_ring_wanted(struct loop *loop, const struct data_wanted *wanted) {
    struct pool *pool = loop_pool(loop, &wanted->pool, true);
    if (pool == NULL)
        return err_set(&loop->err, ERR_NO_MEMORY, "another pool");
    if (wanted->generation > pool->generation)
        loop_watch_ring(loop, pool, false);
    if (!pool_ring_wanted(pool, wanted->generation, wanted->spin_ns, &loop->err))
        return false;
    if (pool->state == POOL_SERVING)
        loop_watch_ring(loop, pool, true);
    return true;
}

static void on_ring_lost(struct loop *loop, const struct data_ring *lost) {
    struct pool *pool = loop_pool(loop, &lost->pool, false);
    if (pool == NULL || lost->generation != pool->generation)
        return;
    loop_watch_ring(loop, pool, false);
    pool_ring_lost(pool, lost->generation);
}

static void on_volume_open(struct loop *loop, const struct data_volume_open *opened) {
    const struct pool *pool = loop_pool(loop, &opened->pool, false);
    struct volume *volume;
    if (pool == NULL)
        return;
    TAILQ_FOREACH(volume, &pool->volumes, of_pool)
    if (uuid_equal(&volume->id, &opened->volume) &&
        uuid_equal(&volume->snapshot, &opened->snapshot))
        volume_open(volume, opened->generation, opened->handle, opened->epoch, opened->token,
                    opened->size_bytes);
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++) {
        struct export *export = &loop->exports[i];
        if (export->state == EXPORT_SERVING && export->volume->pool == pool)
            export->nbd.size_bytes = export->volume->size_bytes;
    }
}

static bool on_unexport(struct loop *loop, const struct data_unexport *wanted) {
    struct export *export = export_find(loop, &wanted->attachment);
    if (export != NULL) {
        export_end(export);
        return true;
    }
    return export_note_ended(loop, &wanted->attachment) ||
           err_set(&loop->err, ERR_PROTOCOL, "more exports than there may be");
}

static bool on_packet(struct loop *loop, enum data_number number, const void *body,
                      const int *descriptors) {
    struct control *control = &loop->control;
    switch (number) {
    case DATA_SYNC:
        control->says_hello = control->says_listens = control->syncing = true;
        control->sync_next = 0;
        return true;
    case DATA_PING:
        control->says_pong = true;
        control->ping = ((const struct data_ping *)body)->number;
        return true;
    case DATA_RING_WANTED:
        return on_ring_wanted(loop, body);
    case DATA_RING_LOST:
        on_ring_lost(loop, body);
        return true;
    case DATA_EXPORT:
        return export_serve(loop, body, descriptors[0], &loop->err);
    case DATA_EXPORT_TLS:
        return export_serve(loop, body, -1, &loop->err);
    case DATA_LISTEN:
        return listener_take(loop, body, descriptors, &loop->err);
    case DATA_UNLISTEN:
        listener_end(loop);
        return true;
    case DATA_VOLUME_OPEN:
        on_volume_open(loop, body);
        return true;
    case DATA_UNEXPORT:
        return on_unexport(loop, body);
    default:
        return err_set(&loop->err, ERR_PROTOCOL, "a message that is ours to send");
    }
}

static uint32_t take_descriptors(struct msghdr *message, int descriptors[DESCRIPTORS_MAX]) {
    uint32_t count = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        uint32_t there = (uint32_t)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < there && count < DESCRIPTORS_MAX; i++)
            memcpy(&descriptors[count++], CMSG_DATA(at) + i * sizeof(int), sizeof(int));
    }
    return count;
}

/* false: there is no further packet now. */
static bool hear(struct loop *loop) {
    static uint8_t bytes[WIRE_PACKET_MAX];
    struct control *control = &loop->control;
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
    } ancillary;
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &ancillary,
                             .msg_controllen = sizeof ancillary};
    ssize_t length = recvmsg(control->watch.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (length <= 0) {
        control->ended = true;
        return false;
    }
    int descriptors[DESCRIPTORS_MAX];
    uint32_t count = take_descriptors(&message, descriptors);
    arena_reset(&control->arena);
    enum data_number number;
    const void *body;
    bool good = data_decode(bytes, (size_t)length, count, DATA_SENDER_GATEWAY, &control->arena,
                            &number, &body, &loop->err);
    if (!good)
        for (uint32_t i = 0; i < count; i++)
            close(descriptors[i]);
    if (!good || !on_packet(loop, number, body, descriptors))
        control->ended = true;
    return !control->ended;
}

void control_on_event(struct loop *loop) {
    struct control *control = &loop->control;
    if (control->blocked) {
        control->blocked = false;
        loop_watch_again(loop, &control->watch, EPOLLIN);
    }
    for (int i = 0; i < PACKETS && hear(loop); i++)
        continue;
}

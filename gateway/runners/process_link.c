/* SPDX-License-Identifier: Apache-2.0
 *
 * process_link.c: one polled SEQPACKET socket.
 */
#include "runners/process_link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"

#define MAGIC 0x504c4e4b

struct process_link {
    uint32_t magic;
    uv_poll_t poll;
    int fd;
    uint8_t *room;
    size_t room_size;
    const struct process_link_events *events;
    void *owner;
    bool closed;
    bool ended;
    bool full;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct process_link *link) {
    if (link->closed || link->ended)
        return;
    int error = uv_poll_start(&link->poll, UV_READABLE | (link->full ? UV_WRITABLE : 0), on_poll);
    CHECK(error == 0);
}

static void end(struct process_link *link, const char *breach) {
    if (link->closed || link->ended)
        return;
    link->ended = true;
    uv_poll_stop(&link->poll);
    link->events->on_end(link->owner, breach);
}

/* false: nothing more to read now. */
static bool receive_one(struct process_link *link) {
    struct iovec room = {link->room, link->room_size};
    struct msghdr header = {.msg_iov = &room, .msg_iovlen = 1};
    ssize_t length = recvmsg(link->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
        return errno != EAGAIN; /* a reset is told once, before what is still there to be read */
    /* There is no room for descriptors: the kernel has closed what came, and says so. */
    if (length > 0 && (header.msg_flags & MSG_TRUNC) != 0)
        end(link, "a packet that is too long");
    else if (length > 0 && (header.msg_flags & MSG_CTRUNC) != 0)
        end(link, "a packet with descriptors");
    else if (length > 0)
        link->events->on_packet(link->owner, link->room, (size_t)length);
    else
        end(link, NULL);
    return !link->closed && !link->ended;
}

void process_link_receive(struct process_link *link, int max) {
    CHECK_MAGIC(link, MAGIC);
    if (link->closed || link->ended)
        return;
    for (int i = 0; i < max && receive_one(link); i++)
        continue;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct process_link *link = poll->data;
    CHECK_MAGIC(link, MAGIC);
    if (status < 0) {
        /* A process that ended with packets unread resets the socket. What it had said is there
         * yet; libuv does not poll any more, so all of it is taken now. */
        process_link_receive(link, RUNNER_DRAIN_MAX);
        end(link, NULL);
        return;
    }
    if ((events & UV_READABLE) != 0)
        process_link_receive(link, RUNNER_BATCH_MAX);
    if ((events & UV_WRITABLE) != 0 && link->full && !link->closed && !link->ended) {
        link->full = false;
        watch(link);
        link->events->on_writable(link->owner);
    }
}

enum process_sent process_link_send(struct process_link *link, const void *packet, size_t length) {
    CHECK_MAGIC(link, MAGIC);
    if (link->closed || link->ended)
        return PROCESS_GONE;
    ssize_t sent;
    do
        sent = send(link->fd, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return PROCESS_SENT;
    if (errno != EAGAIN && errno != ENOBUFS)
        return PROCESS_GONE;
    if (!link->full) {
        link->full = true;
        watch(link);
    }
    return PROCESS_FULL;
}

bool process_link_open(struct uv_loop_s *loop, int fd, uint8_t *room, size_t room_size,
                       const struct process_link_events *events, void *owner,
                       struct process_link **ret, struct err *err) {
    struct process_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        close(fd);
        return err_set(err, ERR_NO_MEMORY, "no memory for the socket to a runner");
    }
    *link = (struct process_link){.magic = MAGIC,
                                  .fd = fd,
                                  .room = room,
                                  .room_size = room_size,
                                  .events = events,
                                  .owner = owner};
    link->poll.data = link;
    int error = uv_poll_init(loop, &link->poll, fd);
    if (error < 0) {
        close(fd);
        free(link);
        return err_set(err, ERR_SYSTEM, "the socket to a runner: %s", uv_strerror(error));
    }
    watch(link);
    *ret = link;
    return true;
}

static void on_closed(uv_handle_t *handle) {
    struct process_link *link = handle->data;
    link->magic = 0;
    free(link);
}

void process_link_close(struct process_link *link) {
    if (link == NULL)
        return;
    CHECK_MAGIC(link, MAGIC);
    CHECK(!link->closed);
    link->closed = true;
    uv_close((uv_handle_t *)&link->poll, on_closed);
    close(link->fd); /* libuv has let go of it in uv_close */
}

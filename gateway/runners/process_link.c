/* SPDX-License-Identifier: Apache-2.0
 *
 * process_link.c: one polled SEQPACKET socket.
 */
#include "runners/process_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
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
    uint32_t fds_max; /* at most PROCESS_FDS_MAX */
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

union descriptors { /* room for them in a control message */
    struct cmsghdr align;
    char at[CMSG_SPACE(PROCESS_FDS_MAX * sizeof(int))];
};

/* Copies what came. Returns how many. */
static uint32_t take_descriptors(struct msghdr *header, int ret_fds[PROCESS_FDS_MAX]) {
    struct cmsghdr *rights = CMSG_FIRSTHDR(header);
    if (rights == NULL || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    CHECK(count <= PROCESS_FDS_MAX); /* there was room for no more */
    memcpy(ret_fds, CMSG_DATA(rights), count * sizeof(int));
    return (uint32_t)count;
}

/* false: nothing more to read now. */
static bool receive_one(struct process_link *link) {
    union descriptors control;
    int fds[PROCESS_FDS_MAX];
    struct iovec room = {link->room, link->room_size};
    struct msghdr header = {.msg_iov = &room,
                            .msg_iovlen = 1,
                            .msg_control = link->fds_max > 0 ? &control : NULL,
                            .msg_controllen =
                                link->fds_max > 0 ? CMSG_LEN(link->fds_max * sizeof(int)) : 0};
    ssize_t length = recvmsg(link->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
        return errno != EAGAIN; /* a reset is told once, before what is still there to be read */
    uint32_t count = length >= 0 && link->fds_max > 0 ? take_descriptors(&header, fds) : 0;
    /* Of what had no room the kernel has closed the descriptors, and says so. */
    const char *breach = NULL;
    if (length > 0 && (header.msg_flags & MSG_TRUNC) != 0)
        breach = "a packet that is too long";
    else if (length > 0 && (header.msg_flags & MSG_CTRUNC) != 0)
        breach = "a packet with descriptors";
    if (length > 0 && breach == NULL) {
        link->events->on_packet(link->owner, link->room, (size_t)length, fds, count);
    } else {
        for (uint32_t i = 0; i < count; i++)
            close(fds[i]);
        end(link, breach);
    }
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

enum process_sent process_link_send(struct process_link *link, const void *packet, size_t length,
                                    const int *fds, uint32_t fd_count) {
    CHECK_MAGIC(link, MAGIC);
    CHECK(fd_count <= PROCESS_FDS_MAX);
    if (link->closed || link->ended)
        return PROCESS_GONE;
    union descriptors control = {0};
    struct iovec whole = {(void *)packet, length};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};
    if (fd_count > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(link->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return PROCESS_SENT;
    if (errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS)
        return PROCESS_GONE;
    if (!link->full) {
        link->full = true;
        watch(link);
    }
    return PROCESS_FULL;
}

bool process_link_open(struct uv_loop_s *loop, int fd, uint8_t *room, size_t room_size,
                       uint32_t fds_max, const struct process_link_events *events, void *owner,
                       struct process_link **ret, struct err *err) {
    struct process_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        close(fd);
        return err_set(err, ERR_NO_MEMORY, "no memory for the socket to a process");
    }
    *link = (struct process_link){.magic = MAGIC,
                                  .fd = fd,
                                  .room = room,
                                  .room_size = room_size,
                                  .fds_max = fds_max,
                                  .events = events,
                                  .owner = owner};
    link->poll.data = link;
    int error = uv_poll_init(loop, &link->poll, fd);
    if (error < 0) {
        close(fd);
        free(link);
        return err_set(err, ERR_SYSTEM, "the socket to a process: %s", uv_strerror(error));
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

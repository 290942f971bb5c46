/* SPDX-License-Identifier: Apache-2.0
 *
 * super_link.c: fixed messages over one polled socket.
 */
#include "runners/super_link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"

#define MAGIC 0x53504c4b

struct request { /* a super_message without its words */
    uint32_t kind, number, slot, program, uid, gid;
    int32_t pid, signal;
    struct sluice_uuid tag;
};

struct super_link {
    uint32_t magic;
    uv_poll_t poll;
    int fd;
    const struct super_link_events *events;
    void *owner;
    bool closed;
    bool lost;
    uint32_t last_number;
    uint32_t first, count; /* of the ring */
    struct request ring[SUPER_LINK_REQUESTS];
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct super_link *link) {
    if (link->closed || link->lost)
        return;
    int error =
        uv_poll_start(&link->poll, UV_READABLE | (link->count > 0 ? UV_WRITABLE : 0), on_poll);
    CHECK(error == 0);
}

static void lose(struct super_link *link) {
    if (link->lost || link->closed)
        return;
    link->lost = true;
    link->count = 0;
    uv_poll_stop(&link->poll);
    link->events->on_lost(link->owner);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* false: the socket takes nothing now. A socket that has failed takes everything: reading tells. */
static bool send_one(struct super_link *link, const struct request *request) {
    struct super_message message = {
        .kind = request->kind,
        .request = request->number,
        .slot = request->slot,
        .program = request->program,
        .pid = request->pid,
        .uid = request->uid,
        .gid = request->gid,
        .signal = request->signal,
    };
    _Static_assert(sizeof request->tag == sizeof message.tag, "a tag is an id");
    memcpy(message.tag, &request->tag, sizeof message.tag);
    ssize_t sent;
    do
        sent = send(link->fd, &message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

static void flush(struct super_link *link) {
    while (link->count > 0 && send_one(link, &link->ring[link->first])) {
        link->first = (link->first + 1) % SUPER_LINK_REQUESTS;
        link->count--;
    }
}

static void enqueue(struct super_link *link, const struct request *request) {
    if (link->lost)
        return;
    CHECK(link->count < SUPER_LINK_REQUESTS);
    link->ring[(link->first + link->count++) % SUPER_LINK_REQUESTS] = *request;
    flush(link);
    if (link->count > 0)
        watch(link);
}

static uint32_t next_number(struct super_link *link) {
    if (++link->last_number == 0)
        link->last_number = 1;
    return link->last_number;
}

uint32_t super_link_spawn(struct super_link *link, enum super_program program,
                          const struct sluice_uuid *tag, uint32_t uid, uint32_t gid) {
    struct request request = {.kind = SUPER_SPAWN,
                              .number = next_number(link),
                              .program = program,
                              .uid = uid,
                              .gid = gid,
                              .tag = *tag};
    enqueue(link, &request);
    return request.number;
}

void super_link_kill(struct super_link *link, uint32_t slot, int pid, int signal) {
    enqueue(link, &(struct request){.kind = SUPER_KILL,
                                    .number = next_number(link),
                                    .slot = slot,
                                    .pid = pid,
                                    .signal = signal});
}

void super_link_quit(struct super_link *link) {
    if (link->lost)
        return;
    struct request quit = {.kind = SUPER_QUIT};
    struct pollfd out = {.fd = link->fd, .events = POLLOUT};
    link->count = 0; /* whatever is asked for, all of it ends now */
    while (!send_one(link, &quit) && poll(&out, 1, SUPER_LINK_QUIT_MS) > 0)
        continue;
}

/* ---- receiving ------------------------------------------------------------------------------- */

static bool makes_sense(const struct super_message *message, int fd) {
    bool wants_fd = message->kind == SUPER_SPAWNED || message->kind == SUPER_HELD;
    bool has_slot = wants_fd || message->kind == SUPER_EXITED;
    return wants_fd == (fd >= 0) && message->words_length <= SUPER_WORDS_MAX &&
           (!has_slot || (message->slot < SUPER_CHILDREN_MAX && message->pid > 0)) &&
           message->kind >= SUPER_SPAWNED && message->kind <= SUPER_HELD_END;
}

static void dispatch(struct super_link *link, const struct super_message *message, int fd) {
    switch (message->kind) {
    case SUPER_HELD:
        link->events->on_held(link->owner, message, fd);
        break;
    case SUPER_HELD_END:
        link->events->on_held_end(link->owner);
        break;
    case SUPER_SPAWNED:
        link->events->on_spawned(link->owner, message, fd);
        break;
    case SUPER_REFUSED:
        link->events->on_refused(link->owner, message->request, message->error);
        break;
    default:
        link->events->on_exited(link->owner, message);
    }
}

static int take_descriptor(struct msghdr *header) {
    int fd = -1;
    struct cmsghdr *rights = CMSG_FIRSTHDR(header);
    if (rights != NULL && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
        rights->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

/* false: nothing more to read now. */
static bool receive_one(struct super_link *link) {
    union {
        struct cmsghdr align;
        char at[CMSG_SPACE(sizeof(int))];
    } room;
    struct super_message message;
    struct iovec whole = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &whole,
                            .msg_iovlen = 1,
                            .msg_control = room.at,
                            .msg_controllen = sizeof room.at};
    ssize_t length = recvmsg(link->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
        return errno != EAGAIN; /* a reset is told once, before what is still there to be read */
    int fd = length >= 0 ? take_descriptor(&header) : -1;
    if (length != (ssize_t)sizeof message || (header.msg_flags & MSG_TRUNC) != 0 ||
        !makes_sense(&message, fd)) {
        if (fd >= 0)
            close(fd);
        lose(link);
        return false;
    }
    dispatch(link, &message, fd);
    return !link->closed && !link->lost;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct super_link *link = poll->data;
    CHECK_MAGIC(link, MAGIC);
    if (status < 0) {
        lose(link);
        return;
    }
    if ((events & UV_READABLE) != 0)
        for (int i = 0; i < SUPER_LINK_BATCH && receive_one(link); i++)
            continue;
    if (link->closed || link->lost)
        return;
    if ((events & UV_WRITABLE) != 0) {
        flush(link);
        watch(link);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

bool super_link_open(struct uv_loop_s *loop, int fd, const struct super_link_events *events,
                     void *owner, struct super_link **ret, struct err *err) {
    struct super_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        close(fd);
        return err_set(err, ERR_NO_MEMORY, "no memory for the socket to sluice-super");
    }
    link->magic = MAGIC;
    link->fd = fd;
    link->events = events;
    link->owner = owner;
    link->poll.data = link;
    int error = uv_poll_init(loop, &link->poll, fd);
    if (error < 0) {
        close(fd);
        free(link);
        return err_set(err, ERR_SYSTEM, "the socket to sluice-super: %s", uv_strerror(error));
    }
    watch(link);
    *ret = link;
    return true;
}

static void on_closed(uv_handle_t *handle) {
    struct super_link *link = handle->data;
    link->magic = 0;
    free(link);
}

void super_link_close(struct super_link *link) {
    if (link == NULL)
        return;
    CHECK_MAGIC(link, MAGIC);
    CHECK(!link->closed);
    link->closed = true;
    uv_close((uv_handle_t *)&link->poll, on_closed);
    close(link->fd); /* libuv has let go of it in uv_close */
}

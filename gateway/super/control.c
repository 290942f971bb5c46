/* SPDX-License-Identifier: Apache-2.0
 *
 * control.c: held children, deaths, requests.
 */
#include "super/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "super/say.h"
#include "super/spawn.h"

void super_control_init(struct super_control *control, const struct super_options *options,
                        struct super_children *children) {
    *control = (struct super_control){
        .options = options, .children = children, .root = geteuid() == 0, .fd = -1};
}

void super_control_attach(struct super_control *control, int fd, uint32_t restarts) {
    control->fd = fd;
    control->restarts = restarts;
    control->told = 0;
    control->listed = false;
    control->stuck = false;
    control->broken = false;
    super_control_turn(control, 0);
}

void super_control_detach(struct super_control *control) {
    if (control->fd >= 0)
        close(control->fd);
    control->fd = -1;
}

short super_control_events(const struct super_control *control) {
    return control->stuck ? POLLOUT : POLLIN;
}

/* ---- telling --------------------------------------------------------------------------------- */

/* false: not now (stuck), or never (broken). */
static bool tell(struct super_control *control, const struct super_message *message, int fd) {
    union {
        struct cmsghdr align;
        char at[CMSG_SPACE(sizeof(int))];
    } room = {0};
    struct iovec whole = {(void *)message, sizeof *message};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = room.at;
        header.msg_controllen = sizeof room.at;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(control->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    /* Too many descriptors under way is no fault of the socket; it passes when sluiced reads. */
    if (sent < 0 && (errno == EAGAIN || errno == ETOOMANYREFS))
        control->stuck = true;
    else if (sent != (ssize_t)sizeof *message)
        control->broken = true;
    return sent == (ssize_t)sizeof *message;
}

static void describe(const struct super_control *control, const struct super_child *child,
                     enum super_kind kind, struct super_message *ret) {
    *ret = (struct super_message){
        .kind = kind,
        .slot = super_children_slot(control->children, child),
        .pid = child->pid,
        .uid = child->uid,
        .gid = child->gid,
    };
    memcpy(ret->tag, child->tag, sizeof ret->tag);
}

static bool tell_held(struct super_control *control) {
    struct super_message message;
    for (; control->told < SUPER_CHILDREN_MAX; control->told++) {
        const struct super_child *child = &control->children->at[control->told];
        if (child->state != SUPER_CHILD_LIVE)
            continue;
        describe(control, child, SUPER_HELD, &message);
        if (!tell(control, &message, child->gateway_fd))
            return false;
    }
    message = (struct super_message){.kind = SUPER_HELD_END, .error = (int32_t)control->restarts};
    control->listed = tell(control, &message, -1);
    return control->listed;
}

static bool tell_deaths(struct super_control *control) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct super_child *child = &control->children->at[i];
        if (child->state != SUPER_CHILD_DEAD)
            continue;
        struct super_message message;
        describe(control, child, SUPER_EXITED, &message);
        message.status = child->status;
        message.words_length = super_child_words(child, message.words);
        if (!tell(control, &message, -1))
            return false;
        child->state = SUPER_CHILD_FREE;
    }
    return true;
}

static void refuse(struct super_control *control, uint32_t request, int error) {
    struct super_message message = {
        .kind = SUPER_REFUSED, .request = request, .error = (int32_t)error};
    if (!tell(control, &message, -1))
        control->broken = true;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Whether nothing but the members named for its kind is set. */
static bool is_strict(const struct super_message *message) {
    static const struct super_message zero;
    struct super_message rest = *message;
    rest.kind = 0;
    if (message->kind != SUPER_QUIT)
        rest.request = 0;
    if (message->kind == SUPER_SPAWN) {
        rest.program = 0;
        rest.uid = rest.gid = 0;
        memset(rest.tag, 0, sizeof rest.tag);
    } else if (message->kind == SUPER_KILL) {
        rest.slot = 0;
        rest.pid = rest.signal = 0;
    }
    return memcmp(&rest, &zero, sizeof rest) == 0;
}

static bool may_be_runner(const struct super_control *control, uint32_t id) {
    return id >= control->options->uid_low && id <= control->options->uid_high;
}

static void on_spawn(struct super_control *control, const struct super_message *request) {
    bool serves_data = request->program == SUPER_PROGRAM_DATA;
    if (request->program != SUPER_PROGRAM_RUNNER && !serves_data) {
        refuse(control, request->request, EINVAL);
        return;
    }
    if (control->root &&
        (!may_be_runner(control, request->uid) || !may_be_runner(control, request->gid))) {
        refuse(control, request->request, EPERM);
        return;
    }
    struct super_child *child = super_children_room(control->children);
    if (child == NULL) {
        refuse(control, request->request, EAGAIN);
        return;
    }
    child->uid = request->uid;
    child->gid = request->gid;
    memcpy(child->tag, request->tag, sizeof child->tag);
    const struct super_options *options = control->options;
    int error =
        super_spawn_runner(serves_data ? options->data : options->runner,
                           serves_data ? "sluice-data" : "sluice-runner", control->root, child);
    if (error != 0) {
        refuse(control, request->request, error);
        return;
    }
    struct super_message message;
    describe(control, child, SUPER_SPAWNED, &message);
    message.request = request->request;
    if (!tell(control, &message, child->gateway_fd))
        control->broken = true;
}

static void on_kill(struct super_control *control, const struct super_message *request) {
    int signal = request->signal;
    if (request->slot >= SUPER_CHILDREN_MAX || request->pid <= 0 ||
        (signal != SIGTERM && signal != SIGABRT && signal != SIGKILL)) {
        refuse(control, request->request, EINVAL);
        return;
    }
    const struct super_child *child = &control->children->at[request->slot];
    if (child->state != SUPER_CHILD_LIVE || child->pid != request->pid)
        refuse(control, request->request, ESRCH);
    else if (pidfd_send_signal(child->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
        refuse(control, request->request, errno);
}

static void on_request(struct super_control *control, const struct super_message *request) {
    if (!is_strict(request)) {
        refuse(control, request->request, EINVAL);
        return;
    }
    switch (request->kind) {
    case SUPER_SPAWN:
        if (control->quit)
            refuse(control, request->request, ESHUTDOWN);
        else
            on_spawn(control, request);
        break;
    case SUPER_KILL:
        on_kill(control, request);
        break;
    case SUPER_QUIT:
        control->quit = true;
        break;
    default:
        refuse(control, request->request, EPROTO);
    }
}

static bool can_be_told(const struct super_control *control) {
    struct pollfd out = {.fd = control->fd, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

/* false: no (more) requests. */
static bool read_request(struct super_control *control) {
    struct super_message request;
    struct iovec whole = {&request, sizeof request};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};
    ssize_t length = recvmsg(control->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    /* When the other end is closed with something unread, that is told once, before the rest. */
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
        return errno != EAGAIN;
    if (length <= 0) { /* an empty message counts as the end too */
        control->broken = true;
        return false;
    }
    /* No room was given for descriptors: the kernel has closed what came, and says so. */
    if (length != (ssize_t)sizeof request || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        refuse(control, length >= 8 ? request.request : 0, EBADMSG);
    else
        on_request(control, &request);
    return !control->broken;
}

void super_control_turn(struct super_control *control, short revents) {
    if (control->fd < 0 || control->broken)
        return;
    control->stuck = false;
    if ((!control->listed && !tell_held(control)) || !tell_deaths(control))
        return;
    if ((revents & (POLLIN | POLLHUP | POLLERR)) == 0)
        return;
    for (int i = 0; i < SUPER_REQUESTS_A_TURN; i++) {
        if (!can_be_told(control)) {
            /* A socket whose other end is closed cannot be told anything either. */
            control->broken = (revents & (POLLHUP | POLLERR)) != 0;
            control->stuck = true;
            return;
        }
        if (!read_request(control))
            return;
    }
}

void super_control_last_words(struct super_control *control) {
    struct super_message request;
    for (int i = 0; i < SUPER_REQUESTS_A_TURN && control->fd >= 0; i++) {
        ssize_t length = recv(control->fd, &request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
        if (length == 0 || (length < 0 && errno != ECONNRESET && errno != EINTR))
            return;
        if (length == (ssize_t)sizeof request && request.kind == SUPER_QUIT && is_strict(&request))
            control->quit = true;
    }
}

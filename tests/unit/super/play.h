/* SPDX-License-Identifier: Apache-2.0
 *
 * play.h: the real sluice-super, with the test in the role of sluiced.
 *
 * The test program is started in three roles, told apart by its arguments. As "play-sluiced" it
 * only hands descriptor SUPER_FD to the test and waits for signals; so the test holds sluiced's
 * socket while sluiced is a process that can be killed. As "sluice-runner" it is whatever the test
 * wants. main of a test begins with play_roles.
 */
#ifndef SLUICE_TEST_PLAY_H
#define SLUICE_TEST_PLAY_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "super/message.h"

#define PLAY_DEADLINE_MS 20000 /* a machine that is busy with other things */

struct play {
    pid_t super;
    pid_t sluiced;
    int listener;
    int line; /* to the process that plays sluiced */
    int fd;   /* sluiced's end of the socket to sluice-super */
    char folder[64];
    char program[96]; /* this program, where other accounts can execute it */
    struct sockaddr_un address;
    socklen_t address_length;
};

static inline bool play_send_fd(int line, const void *bytes, size_t length, int fd) {
    union {
        struct cmsghdr align;
        char at[CMSG_SPACE(sizeof(int))];
    } room = {0};
    struct iovec whole = {(void *)bytes, length};
    struct msghdr header = {.msg_iov = &whole,
                            .msg_iovlen = 1,
                            .msg_control = fd >= 0 ? room.at : NULL,
                            .msg_controllen = fd >= 0 ? sizeof room.at : 0};
    if (fd >= 0) {
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(line, &header, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Waits for one message; -1 after the deadline, else its length. *ret_fd is -1 without one. */
static inline ssize_t play_receive_fd(int line, void *bytes, size_t size, int *ret_fd) {
    union {
        struct cmsghdr align;
        char at[CMSG_SPACE(sizeof(int))];
    } room = {0};
    struct iovec whole = {bytes, size};
    struct msghdr header = {.msg_iov = &whole,
                            .msg_iovlen = 1,
                            .msg_control = room.at,
                            .msg_controllen = sizeof room.at};
    struct pollfd in = {.fd = line, .events = POLLIN};
    *ret_fd = -1;
    if (poll(&in, 1, PLAY_DEADLINE_MS) != 1)
        return -1;
    ssize_t length = recvmsg(line, &header, MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = length >= 0 ? CMSG_FIRSTHDR(&header) : NULL;
    if (rights != NULL && rights->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(rights), sizeof *ret_fd);
    return length;
}

/* ---- in the role of sluiced ------------------------------------------------------------------ */

static inline int play_sluiced(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    int line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path + 1, name, length);
    pid_t self = getpid();
    if (connect(line, (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0 ||
        !play_send_fd(line, &self, sizeof self, SUPER_FD))
        return 9;
    close(SUPER_FD);
    for (;;) {
        struct pollfd set[2] = {{.fd = line, .events = POLLIN},
                                {.fd = signal_fd, .events = POLLIN}};
        poll(set, 2, -1);
        if (set[0].revents != 0) { /* the test says with which status to end, or is gone */
            int status = 9;
            return recv(line, &status, sizeof status, 0) == sizeof status ? status : 9;
        }
        struct signalfd_siginfo signal;
        if (read(signal_fd, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo == SIGTERM)
                return 0;
            int number = (int)signal.ssi_signo;
            play_send_fd(line, &number, sizeof number, -1);
        }
    }
}

static inline void play_roles(int argc, char **argv, int (*runner)(void)) {
    if (strcmp(argv[0], "sluice-runner") == 0)
        _exit(runner());
    if (argc == 3 && strcmp(argv[1], "play-sluiced") == 0)
        _exit(play_sluiced(argv[2]));
}

/* ---- in the test ----------------------------------------------------------------------------- */

static inline void play_copy_self(struct play *play) {
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(play->program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    char piece[65536];
    ssize_t length;
    assert_true(from >= 0 && to >= 0);
    while ((length = read(from, piece, sizeof piece)) > 0)
        assert_int_equal(write(to, piece, (size_t)length), length);
    assert_int_equal(fchmod(to, 0755), 0);
    close(from);
    close(to);
}

/* The process that plays sluiced begins (again): takes over its socket. */
static inline void play_accept(struct play *play) {
    struct pollfd in = {.fd = play->listener, .events = POLLIN};
    if (play->line >= 0) {
        close(play->line);
        close(play->fd);
    }
    assert_int_equal(poll(&in, 1, PLAY_DEADLINE_MS), 1);
    play->line = accept4(play->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(play->line >= 0);
    assert_int_equal(play_receive_fd(play->line, &play->sluiced, sizeof play->sluiced, &play->fd),
                     sizeof play->sluiced);
    assert_true(play->fd >= 0);
}

static inline void play_begin(struct play *play) {
    static int count;
    char name[64], self[PATH_MAX], super[PATH_MAX + 32];
    *play = (struct play){.line = -1, .fd = -1};
    snprintf(play->folder, sizeof play->folder, "/tmp/sluice-play-XXXXXX");
    assert_non_null(mkdtemp(play->folder));
    assert_int_equal(chmod(play->folder, 0711), 0);
    snprintf(play->program, sizeof play->program, "%s/play", play->folder);
    play_copy_self(play);

    snprintf(name, sizeof name, "sluice-play-%d-%d", (int)getpid(), count++);
    play->address.sun_family = AF_UNIX;
    memcpy(play->address.sun_path + 1, name, strlen(name));
    play->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    play->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(play->listener, (struct sockaddr *)&play->address, play->address_length),
                     0);
    assert_int_equal(listen(play->listener, 1), 0);

    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    *strrchr(self, '/') = '\0'; /* BUILD/tests */
    snprintf(super, sizeof super, "%s/../bin/sluice-super", self);
    play->super = fork();
    if (play->super == 0) {
        execl(super, "sluice-super", "--sluiced", play->program, "--runner", play->program,
              "--data", play->program, "--", "play-sluiced", name, (char *)NULL);
        _exit(9);
    }
    play_accept(play);
}

/* One message of sluice-super; kind 0: its socket was closed. */
static inline struct super_message play_receive(const struct play *play, int *ret_fd) {
    struct super_message message = {0};
    ssize_t length = play_receive_fd(play->fd, &message, sizeof message, ret_fd);
    if (length <= 0) {
        assert_int_equal(length, 0);
        message.kind = 0;
    } else {
        assert_int_equal(length, sizeof message);
    }
    return message;
}

static inline struct super_message play_expect(const struct play *play, enum super_kind kind,
                                               int *ret_fd) {
    int fd;
    struct super_message message = play_receive(play, &fd);
    assert_int_equal(message.kind, kind);
    if (ret_fd != NULL)
        *ret_fd = fd;
    else
        assert_int_equal(fd, -1);
    return message;
}

static inline void play_send(const struct play *play, const struct super_message *message) {
    assert_int_equal(send(play->fd, message, sizeof *message, MSG_NOSIGNAL), sizeof *message);
}

/* The process of that number ends before the deadline; it need not be ours. */
static inline bool play_ends(pid_t pid) {
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return errno == ESRCH;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int count = poll(&ended, 1, PLAY_DEADLINE_MS);
    close(pidfd);
    return count == 1;
}

/* Waits for the end of sluice-super; the status as waitpid gives it. */
static inline int play_wait_super(struct play *play) {
    int status = -1;
    assert_true(play_ends(play->super));
    assert_int_equal(waitpid(play->super, &status, 0), play->super);
    play->super = 0;
    return status;
}

static inline void play_end(struct play *play) {
    if (play->super != 0) {
        kill(play->super, SIGTERM);
        play_wait_super(play);
    }
    close(play->line);
    close(play->fd);
    close(play->listener);
    unlink(play->program);
    rmdir(play->folder);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * spawn.c: fork, what a child gives up, exec.
 */
#include "super/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Who is killed first when memory is short: runners, then sluiced; sluice-super (-900) last. */
#define OOM_RUNNER "300"
#define OOM_SLUICED "-500"
/* No process has it: (uid_t)-1 means "unchanged", and the number below it is not handed out. */
#define NOBODY_AT_ALL ((uid_t)-2)

extern char **environ;

static char *const no_environment[] = {NULL};
static char *const *runner_environment = no_environment;

/* ---- in the child ---------------------------------------------------------------------------- */

_Noreturn static void give_up(const char *what) {
    char text[160];
    int length = snprintf(text, sizeof text, "sluice-super: %s: %s\n", what, strerror(errno));
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(SPAWN_FAILED_STATUS); /* nobody hears it: the status has to do */
    _exit(SPAWN_FAILED_STATUS);
}

static void restore_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        give_up("signal mask");
}

/* Descriptor `to` becomes a copy of `from` that survives exec, also when they are the same. */
static void place(int from, int to) {
    if (from == to ? fcntl(to, F_SETFD, 0) < 0 : dup2(from, to) < 0)
        give_up("descriptors");
}

static void set_oom(const char *score) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* no /proc: the kernel chooses by size, which is no worse than without us */
    if (write(fd, score, strlen(score)) < 0)
        errno = 0; /* likewise */
    close(fd);
}

static void drop_account(const struct super_child *child) {
    if (setgroups(0, NULL) < 0)
        give_up("groups");
    if (setresgid(child->gid, child->gid, child->gid) < 0)
        give_up("group");
    if (setresuid(child->uid, child->uid, child->uid) < 0)
        give_up("account");
}

_Noreturn static void become_runner(const char *path, const char *name, bool change_uid,
                                    const struct super_child *child, int socket_fd, int words_fd,
                                    pid_t super_pid) {
    place(words_fd, STDERR_FILENO);
    place(words_fd, STDOUT_FILENO);
    restore_signals();
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd < 0)
        give_up("/dev/null");
    place(null_fd, STDIN_FILENO);
    place(socket_fd, SUPER_RUNNER_FD);
    if (close_range(SUPER_RUNNER_FD + 1, ~0U, 0) < 0)
        give_up("closing descriptors");
    if (setsid() < 0)
        give_up("session");
    if (chdir("/") < 0)
        give_up("/");
    umask(077);
    set_oom(OOM_RUNNER);
    struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        give_up("core limit");
    if (change_uid)
        drop_account(child);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        give_up("no new privileges");
    /* After the account changed, which forgets it; and our parent may be dead already. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        give_up("death signal");
    if (getppid() != super_pid)
        _exit(SPAWN_FAILED_STATUS);
    char own[SPAWN_NAME_MAX + 1] = {0};
    strncpy(own, name, SPAWN_NAME_MAX);
    execve(path, (char *const[]){own, NULL}, runner_environment);
    give_up(path);
}

_Noreturn static void become_sluiced(char *const arguments[], int socket_fd) {
    restore_signals();
    place(socket_fd, SUPER_FD);
    if (close_range(SUPER_FD + 1, ~0U, 0) < 0)
        give_up("closing descriptors");
    if (setpgid(0, 0) < 0)
        give_up("process group");
    if (geteuid() == 0)
        set_oom(OOM_SLUICED);
    execve(arguments[0], arguments, environ);
    give_up(arguments[0]);
}

/* ---- in sluice-super ------------------------------------------------------------------------- */

static int make_socket(int ret_fds[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        int size = SPAWN_SOCKET_BYTES;
        /* The first is for root and has no ceiling; with less room packets wait, that is all. */
        if (setsockopt(ret_fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
            setsockopt(ret_fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    return 0;
}

static void close_pair(const int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

static void kill_unheld(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int super_spawn_runner(const char *path, const char *name, bool change_uid,
                       struct super_child *child) {
    int ends[2], words[2];
    int error = make_socket(ends);
    if (error != 0)
        return error;
    if (pipe2(words, O_CLOEXEC) < 0) {
        error = errno;
        close_pair(ends);
        return error;
    }
    pid_t super_pid = getpid();
    pid_t pid = -1;
    int pidfd = -1;
    if (fcntl(words[0], F_SETFL, O_NONBLOCK) < 0)
        goto failed;
    pid = fork();
    if (pid == 0)
        become_runner(path, name, change_uid, child, ends[1], words[1], super_pid);
    if (pid < 0)
        goto failed;
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        goto failed;
    close(ends[1]);
    close(words[1]);
    child->pid = pid;
    child->pidfd = pidfd;
    child->gateway_fd = ends[0];
    child->words_fd = words[0];
    child->state = SUPER_CHILD_LIVE;
    return 0;

failed:
    error = errno;
    if (pid > 0)
        kill_unheld(pid);
    close_pair(ends);
    close_pair(words);
    return error;
}

int super_spawn_sluiced(char *const arguments[], pid_t *ret_pid, int *ret_fd) {
    int ends[2];
    int error = make_socket(ends);
    if (error != 0)
        return error;
    pid_t pid = fork();
    if (pid == 0)
        become_sluiced(arguments, ends[1]);
    error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error;
    }
    *ret_pid = pid;
    *ret_fd = ends[0];
    return 0;
}

/* Has the account as its effective one only, so that it may signal the account's processes and they
 * may not stop it before it does. Where that is refused (a user namespace), all of it. */
_Noreturn static void become_sweeper(uint32_t uid) {
    if (setgroups(0, NULL) == 0 &&
        (setresuid(NOBODY_AT_ALL, uid, NOBODY_AT_ALL) == 0 || setresuid(uid, uid, uid) == 0))
        kill(-1, SIGKILL);
    _exit(0);
}

void super_sweep_uid(uint32_t uid) {
    if (uid == 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        become_sweeper(uid);
    if (pid < 0)
        return; /* no process can be made now, so neither can theirs */
    int pidfd = pidfd_open(pid, 0);
    if (pidfd >= 0) {
        struct pollfd ended = {.fd = pidfd, .events = POLLIN};
        if (poll(&ended, 1, SPAWN_SWEEP_MS) == 0)
            kill(pid, SIGKILL);
        close(pidfd);
    }
    waitpid(pid, NULL, 0);
}

#ifdef SLUICE_WITH_FAULTS
#define FAULTS_MAX 1024

/* SLUICE_POSIX_SLICE_NS makes small copies take many steps. */
__attribute__((constructor)) static void take_runner_faults(void) {
    static char faults[FAULTS_MAX], slice[FAULTS_MAX];
    static char *environment[] = {faults, slice, NULL};
    const char *wanted = getenv("SLUICE_RUNNER_FAULTS");
    const char *slice_ns = getenv("SLUICE_POSIX_SLICE_NS");
    if (wanted == NULL ||
        snprintf(faults, sizeof faults, "SLUICE_FAULTS=%s", wanted) >= (int)sizeof faults)
        return;
    if (slice_ns == NULL ||
        snprintf(slice, sizeof slice, "SLUICE_POSIX_SLICE_NS=%s", slice_ns) >= (int)sizeof slice)
        environment[1] = NULL;
    runner_environment = environment;
}

void super_faults_sluiced_died(void) {
    unsetenv("SLUICE_FAULTS");
}

void super_faults_runner_died(const struct super_child *child) {
    static const char said[] = "killed at ";
    uint8_t words[SUPER_WORDS_MAX];
    if (memmem(words, super_child_words(child, words), said, sizeof said - 1) != NULL)
        runner_environment = no_environment;
}
#endif

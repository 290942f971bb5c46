/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c: one turn is: what is due, poll, signals, sluiced's socket, last words.
 */
#include "super/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "super/children.h"
#include "super/control.h"
#include "super/restart.h"
#include "super/say.h"
#include "super/spawn.h"

#define OOM_SCORE "-900"
#define POLL_MAX (2 + SUPER_CHILDREN_MAX)
#define DESCRIPTORS_WANTED (3 * SUPER_CHILDREN_MAX + 64)
#define THROTTLED_MS 100 /* a child that spoke too much is looked at again after that */
#define STOP_SIGNALS 5

struct super {
    const struct super_options *options;
    struct super_control control;
    struct super_restart restart;
    int signal_fd;
    pid_t sluiced; /* 0: there is none */
    uint64_t began_ms;
    uint64_t begin_at_ms; /* when there is none */
    uint64_t kill_at_ms;  /* 0: not being waited for */
    bool stopping;
    bool more_dead; /* reaping was cut short */
    bool given_up;
    bool over;
    int exit_status;
};

static struct super_children all_children;
static struct pollfd poll_set[POLL_MAX];
static struct super_child *poll_child[POLL_MAX];

/* ---- sluiced --------------------------------------------------------------------------------- */

static void plan_restart(struct super *super, uint64_t lived_ms, uint64_t now_ms) {
    uint32_t delay_ms;
    if (!super_restart_next(&super->restart, lived_ms, &delay_ms)) {
        super_say(LOG_LEVEL_ERROR, "sluiced ends as soon as it is started; giving up");
        super->given_up = true;
        super->over = true;
        super->exit_status = 1;
        return;
    }
    super->begin_at_ms = now_ms + delay_ms;
}

static void begin_sluiced(struct super *super, uint64_t now_ms) {
    int fd;
    int error = super_spawn_sluiced(super->options->arguments, &super->sluiced, &fd);
    if (error != 0) {
        super->sluiced = 0;
        super_say(LOG_LEVEL_ERROR, "cannot start sluiced", "error", strerror(error));
        plan_restart(super, 0, now_ms);
        return;
    }
    super->began_ms = now_ms;
    super_control_attach(&super->control, fd, super->restart.count);
}

static void on_sluiced_ended(struct super *super, int status, uint64_t now_ms) {
    char code[SUPER_NUMBER_SIZE], signal_number[SUPER_NUMBER_SIZE];
    int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    super_control_last_words(&super->control);
    super_control_detach(&super->control);
    super->sluiced = 0;
    super->kill_at_ms = 0;
    if (super->stopping || super->control.quit) {
        super->over = true;
        super->exit_status = exit_status;
        return;
    }
    super_say(LOG_LEVEL_ERROR, "sluiced ended and is started again", "status",
              super_number(WIFEXITED(status) ? WEXITSTATUS(status) : -1, code), "signal",
              super_number(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal_number));
#ifdef SLUICE_WITH_FAULTS
    super_faults_sluiced_died();
#endif
    plan_restart(super, now_ms - super->began_ms, now_ms);
}

static void stop(struct super *super, uint64_t now_ms) {
    if (super->stopping)
        return;
    super->stopping = true;
    if (super->sluiced == 0) {
        super->over = true;
        super->exit_status = super->restart.count > 0 ? 1 : 0;
        return;
    }
    kill(super->sluiced, SIGTERM);
    super->kill_at_ms = now_ms + SUPER_STOP_MS;
}

/* ---- deaths ---------------------------------------------------------------------------------- */

static void on_runner_ended(struct super *super, struct super_child *child, int status) {
    /* Whoever it left behind goes first, so that a successor with the same account is not among
     * them. Accounts can be shared by configuration; then the session has to be enough. */
    if (super->control.root && !super_children_share_uid(super->control.children, child))
        super_sweep_uid(child->uid);
    super_child_bury(child, status);
#ifdef SLUICE_WITH_FAULTS
    super_faults_runner_died(child);
#endif
}

static void reap(struct super *super, uint64_t now_ms) {
    super->more_dead = false;
    for (int i = 0; i < SUPER_REAPS_A_TURN; i++) {
        siginfo_t dead = {0};
        if (waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT) < 0 || dead.si_pid == 0)
            return;
        struct super_child *child = super_children_find(super->control.children, dead.si_pid);
        /* While it is not reaped, nobody else can have its number, nor a session of that number. */
        if (child != NULL)
            kill(-child->pid, SIGKILL);
        int status = 0;
        if (waitpid(dead.si_pid, &status, WNOHANG) != dead.si_pid)
            return;
        if (child != NULL)
            on_runner_ended(super, child, status);
        else if (dead.si_pid == super->sluiced)
            on_sluiced_ended(super, status, now_ms);
        /* Else an orphan of somebody: it is only taken off the kernel's table. */
    }
    super->more_dead = true;
}

static void kill_runners(struct super *super) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct super_child *child = &super->control.children->at[i];
        if (child->state == SUPER_CHILD_LIVE)
            kill(child->pid, SIGKILL); /* not reaped, so the number is its own */
    }
}

static void end_all(struct super *super) {
    uint64_t deadline_ms = clock_mono_ms() + SUPER_END_MS;
    super->stopping = true;
    if (super->sluiced != 0)
        kill(super->sluiced, SIGKILL);
    kill_runners(super);
    while ((super_children_any(super->control.children, SUPER_CHILD_LIVE) || super->sluiced != 0) &&
           clock_mono_ms() < deadline_ms) {
        struct pollfd signals = {.fd = super->signal_fd, .events = POLLIN};
        struct signalfd_siginfo ignored;
        if (poll(&signals, 1, 100) > 0 &&
            read(super->signal_fd, &ignored, sizeof ignored) != (ssize_t)sizeof ignored)
            break;
        reap(super, clock_mono_ms());
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void on_signals(struct super *super, uint64_t now_ms) {
    for (int i = 0; i < STOP_SIGNALS; i++) {
        struct signalfd_siginfo signal;
        if (read(super->signal_fd, &signal, sizeof signal) != (ssize_t)sizeof signal)
            return;
        if (signal.ssi_signo == SIGCHLD)
            reap(super, now_ms);
        else if (signal.ssi_signo == SIGHUP && super->sluiced != 0)
            kill(super->sluiced, SIGHUP);
        else if (signal.ssi_signo != SIGHUP)
            stop(super, now_ms);
    }
}

static void do_what_is_due(struct super *super, uint64_t now_ms) {
    if (super->more_dead)
        reap(super, now_ms);
    super_control_turn(&super->control, 0);
    if (super->control.quit && super->kill_at_ms == 0 && super->sluiced != 0) {
        kill_runners(super);
        super->kill_at_ms = now_ms + SUPER_STOP_MS;
    }
    if (super->sluiced != 0 &&
        (super->control.broken || (super->kill_at_ms != 0 && now_ms >= super->kill_at_ms))) {
        kill(super->sluiced, SIGKILL);
        super->kill_at_ms = now_ms + SUPER_STOP_MS; /* once is enough */
        super_control_detach(&super->control);
        super->control.broken = false;
    }
    if (super->sluiced == 0 && !super->over && now_ms >= super->begin_at_ms)
        begin_sluiced(super, now_ms);
}

static int earlier(int timeout_ms, uint64_t at_ms, uint64_t now_ms) {
    int left_ms = at_ms <= now_ms ? 0 : at_ms - now_ms > 60000 ? 60000 : (int)(at_ms - now_ms);
    return timeout_ms < 0 || left_ms < timeout_ms ? left_ms : timeout_ms;
}

static nfds_t fill_poll_set(struct super *super, uint64_t now_ms, int *ret_timeout_ms) {
    nfds_t count = 0;
    *ret_timeout_ms = super->more_dead ? 0 : -1;
    if (super->sluiced == 0)
        *ret_timeout_ms = earlier(*ret_timeout_ms, super->begin_at_ms, now_ms);
    if (super->kill_at_ms != 0)
        *ret_timeout_ms = earlier(*ret_timeout_ms, super->kill_at_ms, now_ms);
    poll_set[count++] = (struct pollfd){.fd = super->signal_fd, .events = POLLIN};
    poll_set[count++] = (struct pollfd){.fd = super->control.fd, /* -1 is passed over */
                                        .events = super_control_events(&super->control)};
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct super_child *child = &super->control.children->at[i];
        if (child->state != SUPER_CHILD_LIVE || child->words_fd < 0)
            continue;
        if (!super_child_may_speak(child, now_ms)) {
            *ret_timeout_ms = earlier(*ret_timeout_ms, now_ms + THROTTLED_MS, now_ms);
            continue;
        }
        poll_child[count] = child;
        poll_set[count++] = (struct pollfd){.fd = child->words_fd, .events = POLLIN};
    }
    return count;
}

static void turn(struct super *super) {
    uint64_t now_ms = clock_mono_ms();
    do_what_is_due(super, now_ms);
    if (super->over)
        return;
    int timeout_ms;
    nfds_t count = fill_poll_set(super, now_ms, &timeout_ms);
    if (poll(poll_set, count, timeout_ms) <= 0)
        return;
    /* Words before deaths and requests: both can free and take slots, and the set is of before. */
    for (nfds_t i = 2; i < count; i++)
        if (poll_set[i].revents != 0)
            super_child_listen(poll_child[i]);
    now_ms = clock_mono_ms();
    if (poll_set[1].revents != 0)
        super_control_turn(&super->control, poll_set[1].revents);
    if (poll_set[0].revents != 0)
        on_signals(super, now_ms);
}

/* Three descriptors a runner and no limit that we put on ourselves. */
static void raise_limits(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < DESCRIPTORS_WANTED)
        super_say(LOG_LEVEL_WARNING, "the limit of open files is too low for all runners");
}

static void protect_self(void) {
    int fd = geteuid() == 0 ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
        super_say(LOG_LEVEL_INFO, "not protected from a lack of memory", "error", strerror(errno));
    if (fd >= 0)
        close(fd);
    /* Runners may have our account when we are not root: they shall not trace us. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static bool take_signals(struct super *super) {
    static const int wanted[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        sigaddset(&signals, wanted[i]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, children reap themselves */
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
        return false;
    super->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return super->signal_fd >= 0;
}

int super_run(const struct super_options *options) {
    struct super super = {.options = options};
    super_control_init(&super.control, options, &all_children);
    raise_limits();
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || !take_signals(&super)) {
        super_say(LOG_LEVEL_ERROR, "cannot supervise", "error", strerror(errno));
        return 1;
    }
    protect_self();
    while (!super.over)
        turn(&super);
    end_all(&super);
    close(super.signal_fd);
    return super.given_up ? 1 : super.exit_status;
}

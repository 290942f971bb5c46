/* SPDX-License-Identifier: Apache-2.0
 *
 * stage.c: see stage.h.
 */
#include "conform/stage.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform/sweep.h"

#define LOOK_MS 50    /* between two looks at a process that runs */
#define GRACE_MS 2000 /* beyond the deadline: what the process itself notices it tells better */

static struct shared *shared_of_process;

bool stage_open(struct kit *kit, const struct subject *subject) {
    void *shared =
        mmap(NULL, sizeof *kit->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return false;
    }
    kit->subject = subject;
    kit->shared = shared;
    return true;
}

/* In the test's process: the first failure is the verdict, and the process ends. */
static void on_failure(enum rule rule, const char *seen) {
    struct shared *shared = shared_of_process;
    if (atomic_exchange(&shared->claimed, 1) == 0) {
        shared->rule = rule;
        snprintf(shared->text, sizeof shared->text, "%s", seen);
        shared->verdict = VERDICT_FAILED;
    }
    _exit(1);
}

static _Noreturn void be_the_test(struct kit *kit, kit_fn *what, uint32_t needs) {
    shared_of_process = kit->shared;
    expect_handler(on_failure);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The driver's own words must not get into the report. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if ((needs & NEED_ALONE) == 0) {
        kit_open(kit);
    }
    what(kit);
    if (kit->open) {
        kit_close(kit);
    }
    if (atomic_exchange(&kit->shared->claimed, 1) == 0) {
        kit->shared->verdict = VERDICT_OK;
    }
    _exit(0);
}

/* Only what one test left; the look and the epochs are the kit's. */
static void clear(struct shared *shared) {
    memset(&shared->watch, 0, sizeof shared->watch);
    shared->claimed = 0;
    shared->verdict = VERDICT_NONE;
    shared->rule = 0;
    shared->text[0] = shared->note[0] = '\0';
    shared->phase = 0;
}

__attribute__((format(printf, 3, 4))) static void fail(struct outcome *ret, enum rule rule,
                                                       const char *format, ...) {
    va_list args;
    ret->verdict = VERDICT_FAILED;
    ret->rule = rule;
    va_start(args, format);
    vsnprintf(ret->text, sizeof ret->text, format, args);
    va_end(args);
}

/* Waits for the process; true: it was ended because it took too long. */
static bool attend(struct kit *kit, pid_t process, int *ret_status, struct outcome *ret) {
    uint64_t begun_ms = watch_now_ms();
    uint64_t call_ms = UINT64_C(1000) * kit->subject->deadline_s + GRACE_MS;
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    bool late = false;
    for (;;) {
        struct pollfd end = {.fd = handle, .events = POLLIN};
        poll(&end, 1, LOOK_MS);
        pid_t ended = waitpid(process, ret_status, WNOHANG);
        if (ended == process) {
            break;
        }
        uint64_t running_ms;
        const char *call = watch_last(&kit->shared->watch, &running_ms);
        if (!late && running_ms > call_ms) {
            fail(ret, RULE_RETURNS, "within %u s there was no return from %s",
                 kit->subject->deadline_s, call);
            late = true;
        } else if (!late && watch_now_ms() - begun_ms > UINT64_C(1000) * STAGE_TEST_S) {
            fail(ret, RULE_RETURNS, "within %d s the test did not end; the last call was %s",
                 STAGE_TEST_S, call);
            late = true;
        }
        if (late) {
            kill(-process, SIGKILL);
        }
    }
    if (handle >= 0) {
        close(handle);
    }
    return late;
}

void stage_run(struct kit *kit, kit_fn *what, uint32_t needs, uint32_t first_id,
               struct outcome *ret) {
    int status = 0;
    uint64_t begun_ms = watch_now_ms();
    uint64_t running_ms;
    memset(ret, 0, sizeof *ret);
    clear(kit->shared);
    kit->next_id = first_id;
    kit->patterns = first_id;
    fflush(stdout);
    pid_t process = fork();
    if (process < 0) {
        perror("sluice-conform: fork");
        exit(2);
    }
    if (process == 0) {
        setpgid(0, 0);
        be_the_test(kit, what, needs);
    }
    setpgid(process, process);
    bool late = attend(kit, process, &status, ret);
    kill(-process, SIGKILL); /* what it started */
    const char *call = watch_last(&kit->shared->watch, &running_ms);
    snprintf(ret->call, sizeof ret->call, "%s", call);
    snprintf(ret->note, sizeof ret->note, "%s", kit->shared->note);
    ret->seconds = (double)(watch_now_ms() - begun_ms) / 1000;
    if (late) {
        return;
    }
    if (kit->shared->verdict != VERDICT_NONE && !(WIFSIGNALED(status))) {
        ret->verdict = kit->shared->verdict;
        ret->rule = kit->shared->rule;
        memcpy(ret->text, kit->shared->text, sizeof ret->text);
    } else if (WIFSIGNALED(status)) {
        fail(ret, RULE_STAYS, "signal %s in %s", strsignal(WTERMSIG(status)), call);
    } else {
        fail(ret, RULE_STAYS, "the process ended itself with %d in %s", WEXITSTATUS(status), call);
    }
}

void stage_clean(struct kit *kit, struct outcome *ret) {
    sweep_take(&kit->shared->watch);
    stage_run(kit, sweep_made, NEED_ALONE, kit->next_id, ret);
}

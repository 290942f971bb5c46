/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice-runner: the process in which one driver lives. Started by sluice-super with a socket to
 * the gateway, a pipe for last words, and nothing else: no arguments, no environment.
 */
#include <linux/close_range.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner/session.h"
#include "runner/words.h"

/* SUPER_RUNNER_FD of super/message.h, which this side of the fence does not include: the number is
 * all that it needs of it, and a runner without a socket there says so and ends. */
#define SOCKET_FD 3

#define ARENAS_MAX 2 /* one for the loop, one for the workers: they allocate little */

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) { /* sluice-super gives none: a person who looks for --help */
        fputs(
            "sluice-runner runs one driver. It is started by sluice-super, and takes no arguments; "
            "sluice-conform tries a driver by hand\n",
            stderr);
        return 2;
    }
    mallopt(M_ARENA_MAX, ARENAS_MAX);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* typed at a terminal it is meant for the gateway, which stops us */
    words_start();
    /* Whatever else came along must not reach a driver. An old kernel closes nothing; then
     * sluice-super's own care has to do. */
    syscall(SYS_close_range, SOCKET_FD + 1, ~0u, 0);
    enum session_end end =
        session_run(&(struct session_options){.socket = SOCKET_FD, .sandbox = true});
    /* Threads of the driver may still run: no destructor may pull the ground from under them. */
    _exit(end);
}

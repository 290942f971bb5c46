/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice-data: serves block volumes to clients (NBD) and owns every request until it is answered.
 * Started by sluice-super with a socket to the gateway, a pipe for last words, and nothing else: no
 * arguments, no environment.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "data/loop.h"
#include "data/sandbox.h"
#include "data/tls.h"

#define SOCKET_FD 3 /* as a runner's */

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) { /* sluice-super gives none: a person who looks for --help */
        fputs("sluice-data serves volumes over NBD. It is started by sluice-super, and takes no "
              "arguments; see docs/ARCHITECTURE.md\n",
              stderr);
        return 2;
    }
    mallopt(M_ARENA_MAX, 1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* typed at a terminal it is meant for the gateway, which stops us */
    /* An old kernel closes nothing; then sluice-super's own care has to do. */
    syscall(SYS_close_range, SOCKET_FD + 1, ~0u, 0);
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    tls_prepare();
    static struct sandbox sandbox;
    sandbox_enter(&sandbox);
    struct loop_options options = {
        .control = SOCKET_FD,
        .statm = statm,
        .sandbox = {.at = sandbox.lines, .count = sandbox.count},
    };
    pairs_sort(&options.sandbox);
    struct err err = ERR_INIT;
    enum loop_end end = loop_run(&options, &err);
    if (end != LOOP_ENDED)
        dprintf(STDERR_FILENO, "sluice-data: %s\n", err.text);
    _exit((int)end); /* nothing that runs at exit may ask for what the sandbox has taken away */
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * machine_seqpacket: a bare round trip over a SOCK_SEQPACKET pair between two processes, the least
 * that a call across the boundary can cost.
 *
 *     machine_seqpacket one|two BYTES IN_FLIGHT rate|p50|p99
 *
 * one, two: both processes on one processor, or each on its own. Request and answer have BYTES
 * bytes; IN_FLIGHT requests are under way (1: one waits for the answer of the last). Both ends use
 * blocking calls: no loop, no poll.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "measure.h"

#define BYTES_MAX 65536
#define IN_FLIGHT_MAX 256

static _Noreturn void answer_all(int fd, unsigned processor, size_t length) {
    static char message[BYTES_MAX];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    measure_pin(processor);
    while (recv(fd, message, length, 0) == (ssize_t)length)
        if (send(fd, message, length, MSG_NOSIGNAL) != (ssize_t)length)
            break;
    _exit(0);
}

static void ask(int fd, const char *message, size_t length) {
    if (send(fd, message, length, MSG_NOSIGNAL) != (ssize_t)length)
        measure_fail("send failed");
}

int main(int argc, char **argv) {
    if (argc != 5 || (strcmp(argv[1], "one") != 0 && strcmp(argv[1], "two") != 0))
        measure_fail("usage: machine_seqpacket one|two BYTES IN_FLIGHT rate|p50|p99");
    size_t length = measure_number(argv[2]);
    uint64_t in_flight = measure_number(argv[3]);
    if (length == 0 || length > BYTES_MAX || in_flight == 0 || in_flight > IN_FLIGHT_MAX)
        measure_fail("1 to %d bytes, 1 to %d in flight", BYTES_MAX, IN_FLIGHT_MAX);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0)
        measure_fail("socketpair failed");
    pid_t child = fork();
    if (child < 0)
        measure_fail("fork failed");
    if (child == 0) {
        close(pair[0]);
        answer_all(pair[1], strcmp(argv[1], "two") == 0 ? 1 : 0, length);
    }
    close(pair[1]);
    measure_pin(0);
    static char message[BYTES_MAX];
    uint64_t began[IN_FLIGHT_MAX], oldest = 0;
    struct measure measure;
    measure_begin(&measure, argv[4]);
    for (uint64_t i = 0; i < in_flight; i++) {
        began[i] = clock_mono_ns();
        ask(pair[0], message, length);
    }
    while (!measure_over(&measure)) {
        if (recv(pair[0], message, length, 0) != (ssize_t)length)
            measure_fail("the other end is gone");
        measure_one(&measure, began[oldest]);
        began[oldest] = clock_mono_ns();
        oldest = (oldest + 1) % in_flight;
        ask(pair[0], message, length);
    }
    measure_print(&measure);
    close(pair[0]);
    waitpid(child, NULL, 0);
    return 0;
}

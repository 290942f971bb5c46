/* SPDX-License-Identifier: Apache-2.0
 *
 * data_host: serves a volume in memory over NBD, so that nbdinfo, nbdcopy, qemu-img, qemu-io and
 * fio can be tried on sluice-data without the rest of the gateway.
 *
 *   data_host SIZE_MIB [KILL_EVERY_MS [loses]]
 *
 * Prints the socket's path, serves until its standard input ends. With KILL_EVERY_MS the runner is
 * replaced that often; with `loses` each loses what was not flushed.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "play.h"

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: data_host SIZE_MIB [KILL_EVERY_MS [loses]]\n");
        return 2;
    }
    uint64_t size_bytes = strtoull(argv[1], NULL, 10) << 20;
    int every_ms = argc > 2 ? (int)strtol(argv[2], NULL, 10) : -1;
    bool loses = argc > 3 && strcmp(argv[3], "loses") == 0;
    static struct play play;
    play_start(&play, size_bytes, loses);
    play_export(&play, NULL);
    play_run(&play, NULL);
    printf("%s\n", play.path);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    while (poll(&input, 1, every_ms) == 0 || read(STDIN_FILENO, &byte, 1) > 0) {
        play_kill(&play);
        play_run(&play, NULL);
    }
    play_ping(&play);
    fprintf(stderr, "calls %llu, of them replayed %llu\n", (unsigned long long)play.pong_calls,
            (unsigned long long)play.pong_replayed);
    play_stop(&play);
    return 0;
}

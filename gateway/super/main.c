/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: sluice-super, the process that is trusted most and does least.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "super/loop.h"
#include "super/options.h"

#define USAGE_STATUS 2

int main(int argc, char **argv) {
    /* Descriptors 0 to 2 exist and nothing else does, whatever the one who started us left open. */
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0U, 0);

    static struct super_options options;
    struct err err = ERR_INIT;
    log_start("sluice-super", LOG_LEVEL_INFO);
    if (!super_options_parse(argc, argv, &options, &err)) {
        fprintf(stderr, "sluice-super: %s\n%s", err.text, SUPER_USAGE);
        return USAGE_STATUS;
    }
    if (options.help) {
        fputs(SUPER_USAGE, stdout);
        return 0;
    }
    /* No exit handlers: whatever runs there knows nothing of processes that are being ended. */
    _exit(super_run(&options));
}

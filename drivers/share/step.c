/* SPDX-License-Identifier: Apache-2.0
 *
 * step.c: see step.h.
 */
#include "step.h"

#ifdef SLUICE_WITH_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void step_pass(enum step step, const char *name) {
    static atomic_ulong passages[STEP_COUNT];
    const char *at = getenv("SLUICE_FAULTS");
    size_t length = strlen(name);
    for (; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) != 0 || strncmp(at + length, "=kill", 5) != 0) {
            continue;
        }
        const char *rest = at + length + 5;
        unsigned long wanted = *rest == '@' ? strtoul(rest + 1, NULL, 10) : 1;
        if (atomic_fetch_add(&passages[step], 1) + 1 == wanted) {
            dprintf(STDERR_FILENO, "killed at %s\n", name);
            raise(SIGKILL);
        }
        return;
    }
}

uint64_t step_slice_ns(void) {
    const char *given = getenv("SLUICE_SHARE_SLICE_NS");
    return given != NULL ? strtoull(given, NULL, 10) : STEP_SLICE_NS;
}

#endif

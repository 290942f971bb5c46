/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.h: what sluice-data gives up for good at its start, before the first byte of a client.
 *
 * It needs no file, no other program and no network but the sockets that it is given. So it may
 * open nothing (Landlock), and may only make the system calls of allowed.def (seccomp): unlike in a
 * runner, all code in it is ours, and a list of what is needed is short. Nothing here fails: each
 * facility says `on`, or why it is not, and the operator decides.
 */
#ifndef SLUICE_DATA_SANDBOX_H
#define SLUICE_DATA_SANDBOX_H

#include "base/shape.h"

#define SANDBOX_LINES 4
#define SANDBOX_LINE_SIZE 128

struct sandbox {
    struct text_pair lines[SANDBOX_LINES]; /* facility -> on, or why not */
    char texts[SANDBOX_LINES][SANDBOX_LINE_SIZE];
    uint32_t count;
};

void sandbox_enter(struct sandbox *sandbox);

#endif

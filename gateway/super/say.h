/* SPDX-License-Identifier: Apache-2.0
 *
 * say.h: the log of a program that must not wait for whoever reads it.
 */
#ifndef SLUICE_SUPER_SAY_H
#define SLUICE_SUPER_SAY_H

#include <stdbool.h>

#include "base/log.h"

#define SUPER_NUMBER_SIZE 24

/* stderr takes a line without blocking. */
bool super_can_say(void);
/* Returns ret. */
const char *super_number(long long number, char ret[SUPER_NUMBER_SIZE]);

/* Dropped while nobody takes the lines: sluice-super standing still would be worse. */
#define super_say(level, ...)                        \
    do {                                             \
        if (super_can_say())                         \
            log_line(level, __VA_ARGS__, (char *)0); \
    } while (0)

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h: the command line of sluice-super.
 *
 *     sluice-super [--sluiced PATH] [--runner PATH] [--data PATH] [--uid-range LOW-HIGH]
 *                  [-- ARGUMENTS-OF-SLUICED]
 *
 * Programs that are not named stand beside sluice-super's own executable.
 */
#ifndef SLUICE_SUPER_OPTIONS_H
#define SLUICE_SUPER_OPTIONS_H

#include <limits.h>
#include <stdint.h>

#include "base/err.h"

#define SUPER_USAGE                                                                                \
    "usage: sluice-super [--sluiced PATH] [--runner PATH] [--data PATH] [--uid-range LOW-HIGH]"    \
    " [-- ARGUMENT...]\n\n"                                                                        \
    "Starts sluiced with the arguments behind --, and all other processes; programs that are "     \
    "not\n"                                                                                        \
    "named stand beside this one. As root, runners get the accounts of the range, which sluiced\n" \
    "is told too: sluice-super --uid-range 70000-70999 -- --uid-range 70000-70999\n"

struct super_options {
    char sluiced[PATH_MAX]; /* absolute */
    char runner[PATH_MAX];  /* absolute */
    char data[PATH_MAX];    /* of sluice-data, absolute; it need not be there */
    uint32_t uid_low;       /* accounts that runners may be given; never 0 */
    uint32_t uid_high;
    char **arguments; /* argv of sluiced, ended by NULL; points into argv of sluice-super */
    bool help;        /* --help was asked for; nothing else is set */
};

/* argv is changed: its "--" becomes argv[0] of sluiced. It and *ret must stay where they are. */
bool super_options_parse(int argc, char **argv, struct super_options *ret, struct err *err);

#endif

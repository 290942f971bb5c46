/* SPDX-License-Identifier: Apache-2.0
 *
 * run.h: one command from its arguments to its end.
 */
#ifndef SLUICE_CLI_RUN_H
#define SLUICE_CLI_RUN_H

#include <stdio.h>

#include "cli/problem.h"

#define RUN_SOCKET_DEFAULT "/run/sluice/sluice.sock"
#define RUN_PAGES_MAX 1000 /* pages of one list: 200,000 objects, about what fits in memory */

enum cli_exit cli_run(int argc, char **argv, FILE *out, FILE *messages);

#endif

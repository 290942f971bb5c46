/* SPDX-License-Identifier: Apache-2.0
 *
 * help.h: what the tables say about commands, for people and for completion.
 */
#ifndef SLUICE_CLI_HELP_H
#define SLUICE_CLI_HELP_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/arguments.h"

/* Each command once, routes and built-ins, in the order of the API and by first word: calls `each`.
 */
struct command {
    const struct route *route; /* NULL: a built-in */
    const struct route_cli *cli;
    const struct cli_builtin_row *builtin;
};
void help_commands(void (*each)(void *arg, const struct command *command), void *arg);
const char *command_words(const struct command *command);

void help_all(FILE *out);
void help_noun(FILE *out, const char *noun);
void help_command(FILE *out, const struct command *command);
void help_options(FILE *out);
void help_exits(FILE *out);

/* A script for bash on `out`. */
void help_completion(FILE *out);

#endif

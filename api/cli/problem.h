/* SPDX-License-Identifier: Apache-2.0
 *
 * problem.h: what went wrong, for people, and the number that the command ends with.
 */
#ifndef SLUICE_CLI_PROBLEM_H
#define SLUICE_CLI_PROBLEM_H

#include <stdio.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/client.h"

enum cli_exit {
#define EXIT(name, number, sentence) CLI_##name = number,
#include "cli/exit.def"
#undef EXIT
};

struct cli_exit_row {
    const char *name;
    int number;
    const char *sentence;
};
extern const struct cli_exit_row cli_exits[];
extern const size_t cli_exit_count;

/* Prints an answer that is no success (RFC 9457 section 3, or whatever came). */
enum cli_exit problem_print(FILE *out, const struct client_answer *answer);
enum cli_exit problem_print_json(FILE *out, int status, const json_t *problem);
/* Prints why an operation ended otherwise than done. */
enum cli_exit problem_operation(FILE *out, const json_t *operation);
/* "sluice: text". */
void problem_say(FILE *out, const struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * cli_page.c: docs/CLI.md.
 */
#include "cli/help.h"
#include "pages.h"

static void put_command(void *arg, const struct command *command) {
    FILE *out = arg;
    fprintf(out, "\n### %s\n\n```\n", command_words(command));
    help_command(out, command);
    fputs("```\n", out);
}

static const char introduction[] =
    "# The command line\n\n"
    "`sluice` speaks the HTTP API ([API.md](API.md)) and has no other door into the gateway.\n\n"
    "```\nsluice [OPTION ...] COMMAND [ARGUMENT ...] [OPTION ...]\n```\n\n"
    "Options may stand anywhere. Sizes are bytes, or have K, M, G, T or P behind them (powers of "
    "1024).\n\n"
    "A change carries an Idempotency-Key. When the connection is lost the same is asked for again "
    "with "
    "the same key, a few times with growing pauses, so that it is made once. Then its operation is "
    "waited for, with a bar where standard error is a terminal. Ctrl-C ends the waiting and not "
    "the "
    "operation.\n\n"
    "No secret needs to be on the command line: settings come from files or standard input with "
    "`--set-file NAME=PATH` (`-` is standard input), the API token from `--token-file`. Over plain "
    "HTTP a token is sent to this machine only.\n\n"
    "Answers go to standard output, everything else to standard error. With `--output json` the "
    "answer "
    "is JSON in ASCII, the pages of a list as one. What could move a terminal's cursor is shown as "
    "an "
    "escape.\n\n"
    "For completion in bash: `source <(sluice completion bash)`.\n";

void page_cli(FILE *out) {
    fputs(introduction, out);
    fputs("\n## Options of every command\n\n```\n", out);
    help_options(out);
    fputs("```\n\n## It ends with\n\n```\n", out);
    help_exits(out);
    fputs("```\n\n## Commands\n", out);
    help_commands(put_command, out);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * arguments.h: the command line, taken apart by the tables of routes.h.
 *
 * A command is one or two words, then what is given by position, and options anywhere. The options
 * of a command are its query parameters and body members under names for people: see option_name.
 * Values are checked as far as the table tells; everything else is the gateway's to judge.
 *
 * Texts point into argv or the environment, both of which live as long as the process.
 */
#ifndef SLUICE_CLI_ARGUMENTS_H
#define SLUICE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "routes/routes.h"

#define ARGUMENTS_SECRET_MAX                                                                    \
    8191                         /* bytes of a value from a file: the API's limit of a property \
                                  */
#define ARGUMENTS_PATH_MAX 65536 /* of a path with its query: 32 labels and a long reference */
#define WAIT_FOR_EVER UINT64_MAX
#define OPTION_NAME_MAX 64

enum cli_option {
#define OPTION(name, text, argument, sentence) OPTION_##name,
#include "cli/option.def"
#undef OPTION
    OPTIONS
};

enum cli_builtin {
#define BUILTIN(name, words, argument, sentence) BUILTIN_##name,
#include "cli/builtin.def"
#undef BUILTIN
    BUILTINS /* also: none */
};

struct cli_option_row {
    const char *name, *argument, *sentence;
};
extern const struct cli_option_row cli_options[OPTIONS];

struct cli_builtin_row {
    const char *words, *argument, *sentence;
};
extern const struct cli_builtin_row cli_builtins[BUILTINS];

struct arguments {
    const char
        *values[OPTIONS]; /* of global options, NULL: not given; "" for those without value */
    uint64_t wait_s;
    bool json;
    const char *noun; /* the first word, or NULL */
    /* The command: a route's, a built-in, or neither (help, version, nothing). */
    const struct route *route;
    const struct route_cli *cli;
    enum cli_builtin builtin;
    const char *argument; /* of a built-in */
    struct buf path;      /* of the request, with its query but for the page */
    json_t *body;         /* NULL: none */
    char after[160];      /* --after, or "" */
    uint32_t limit;       /* --limit: one page of so many is wanted; 0: all there are */
    bool stdin_taken;
};

/* false: the command line makes no sense, err tells. Release in either case. */
bool arguments_parse(struct arguments *ret, int argc, char **argv, struct err *err);
void arguments_release(struct arguments *arguments);
/* Whether a global option was given. */
bool arguments_has(const struct arguments *arguments, enum cli_option option);

/* The option of a member: size_bytes is --size, labels --label, properties --set, identities
 * --identity, others have '-' for '_'. Without the dashes. Returns ret. */
const char *option_name(const struct route_field *field, char ret[OPTION_NAME_MAX]);
/* What its value is called in help: "SIZE", "NAME=VALUE", "raw|qcow2"; "" for a boolean. */
const char *option_value(const struct route_field *field, char *ret, size_t capacity);
/* Whether values may come from a file: --set-file NAME=PATH. */
bool option_takes_file(const struct route_field *field);
/* What stands in for the path parameter ("VOLUME"), or a member given by position. */
const char *placeholder(const char *name, char ret[OPTION_NAME_MAX]);

/* Appends the route's path, the target encoded in its place, and one more query parameter. */
void path_put(struct buf *path, const struct route *route, const char *target);
void path_put_query(struct buf *path, const char *name, const char *value);

/* The n-th word of a space-separated list in ret; false: there are not so many. */
bool word_at(const char *list, size_t n, char *ret, size_t capacity);

#endif

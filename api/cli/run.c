/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c: asks, waits, fetches what came of it, prints.
 */
#include "cli/run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/uuid.h"
#include "cli/arguments.h"
#include "cli/events.h"
#include "cli/help.h"
#include "cli/progress.h"
#include "cli/render.h"

/* The first answer is held for so long: what is short ends within it, and needs no bar. */
#define FIRST_WAIT_S 2u
#define PAGE_LIMIT "200" /* with all their labels 200 objects still fit into one answer */

struct run {
    struct arguments arguments;
    struct client *client;
    FILE *out, *messages;
    bool quiet;
};

/* ---- printing ------------------------------------------------------------------------------- */

static void print_answer(struct run *run, const char *schema, const char *columns,
                         const json_t *answer) {
    if (run->arguments.json)
        render_json(run->out, answer);
    else
        render_answer(run->out, render_schema(schema), columns, answer, run->quiet);
}

static void print_operation(struct run *run, const json_t *operation) {
    print_answer(run, "Operation", "id kind state object_name", operation);
}

static json_t *answer_json(struct run *run, const struct client_answer *answer) {
    json_t *json = client_answer_json(answer);
    if (json == NULL)
        fprintf(run->messages, "sluice: the answer is %d, but not JSON\n", answer->status);
    return json;
}

/* ---- asking --------------------------------------------------------------------------------- */

/* Tells what kept us from an answer; `key` of a change that may have been made. */
static enum cli_exit say_unanswered(struct run *run, enum client_result result, const char *key,
                                    const struct err *err) {
    if (result == CLIENT_UNREACHABLE)
        problem_say(run->messages, err);
    else
        fputs("sluice: interrupted\n", run->messages);
    if (key != NULL)
        fprintf(run->messages,
                "  the change may have been made; asking again with "
                "--idempotency-key %s does not make it twice\n",
                key);
    return result == CLIENT_UNREACHABLE ? CLI_UNREACHABLE : CLI_INTERRUPTED;
}

/* GETs `path`. CLI_OK: *ret is an object. */
static enum cli_exit get(struct run *run, const char *path, json_t **ret) {
    struct client_request request = {.method = "GET", .path = path};
    struct client_answer answer;
    struct err err = ERR_INIT;
    enum cli_exit number = CLI_OK;
    enum client_result result = client_ask(run->client, &request, &answer, &err);
    if (result != CLIENT_ANSWERED)
        number = say_unanswered(run, result, NULL, &err);
    else if (answer.status != 200)
        number = problem_print(run->messages, &answer);
    else if ((*ret = answer_json(run, &answer)) == NULL)
        number = CLI_FAILED;
    client_answer_release(&answer);
    return number;
}

/* ---- operations ----------------------------------------------------------------------------- */

static const struct route *find_route(enum route_action action, const char *noun,
                                      const char *operation) {
    for (size_t i = 0; i < route_count; i++)
        if (routes[i].action == action && (noun == NULL || strcmp(routes[i].noun, noun) == 0) &&
            (operation == NULL || strcmp(routes[i].operation, operation) == 0))
            return &routes[i];
    return NULL;
}

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* What came of an operation that is done: its object, when there still is one to be shown. */
static enum cli_exit show_outcome(struct run *run, const json_t *operation, const char *columns) {
    const char *noun = text_of(operation, "noun");
    const char *object = text_of(operation, "object");
    if (object[0] == '\0')
        object = text_of(operation, "object_name");
    const struct route *change = find_route(ROUTE_SUBMIT, NULL, text_of(operation, "kind"));
    const struct route *route = find_route(ROUTE_GET, noun, NULL);
    if (change != NULL && change->deletes)
        return CLI_OK;
    if (route == NULL || object[0] == '\0') {
        print_operation(run, operation);
        return CLI_OK;
    }
    struct buf path;
    buf_init(&path, ARGUMENTS_PATH_MAX);
    path_put(&path, route, object);
    json_t *found = NULL;
    enum cli_exit number = get(run, buf_text(&path), &found);
    if (number == CLI_OK)
        print_answer(run, route->answer, columns, found);
    json_decref(found);
    buf_release(&path);
    return number;
}

/* Waits for an operation. `wanted` is the state that counts as success; NULL: however it ends. */
static enum cli_exit finish_operation(struct run *run, const char *id, const char *wanted,
                                      const char *columns) {
    struct progress_options options = {
        .operation = id,
        .wait_s = run->arguments.wait_s,
        .out = run->messages,
        .draw = !run->quiet && isatty(fileno(run->messages)) == 1,
    };
    json_t *operation = NULL;
    enum cli_exit number = progress_wait(run->client, &options, &operation);
    if (number != CLI_OK)
        return number;
    const char *state = text_of(operation, "state");
    if (wanted == NULL) {
        print_operation(run, operation);
    } else if (strcmp(state, wanted) == 0 && strcmp(state, "done") == 0) {
        number = show_outcome(run, operation, columns);
    } else if (strcmp(state, wanted) == 0) {
        print_operation(run, operation);
    } else if (strcmp(state, "done") == 0) {
        fputs("sluice: it was too late: the operation is done\n", run->messages);
        number = CLI_REFUSED;
    } else {
        number = problem_operation(run->messages, operation);
    }
    json_decref(operation);
    return number;
}

/* ---- changes -------------------------------------------------------------------------------- */

/* A secret that is shown once is in the first answer only: that one has to be waited for. */
static bool answers_secret(const struct route *route) {
    const struct route_schema *schema = render_schema(route->answer);
    for (size_t i = 0; schema != NULL && i < schema->count; i++)
        if (schema->fields[i].secret && schema->fields[i].derived)
            return true;
    return false;
}

static uint32_t first_wait(const struct run *run) {
    const struct arguments *arguments = &run->arguments;
    if (answers_secret(arguments->route))
        return FIRST_WAIT_S;
    if (arguments_has(arguments, OPTION_NO_WAIT))
        return 0;
    return arguments->wait_s < FIRST_WAIT_S ? (uint32_t)arguments->wait_s : FIRST_WAIT_S;
}

static enum cli_exit take_accepted(struct run *run, const struct client_answer *answer) {
    const struct arguments *arguments = &run->arguments;
    const char *wanted = strcmp(arguments->route->id, "cancelOperation") == 0    ? "cancelled"
                         : strcmp(arguments->route->id, "abandonOperation") == 0 ? NULL
                                                                                 : "done";
    json_t *operation = answer_json(run, answer);
    if (operation == NULL)
        return CLI_FAILED;
    enum cli_exit number = CLI_OK;
    if (arguments_has(arguments, OPTION_NO_WAIT))
        print_operation(run, operation);
    else
        number = finish_operation(run, text_of(operation, "id"), wanted, arguments->cli->columns);
    json_decref(operation);
    return number;
}

static enum cli_exit take_answer(struct run *run, const struct client_answer *answer) {
    const struct arguments *arguments = &run->arguments;
    if (answer->status == 202)
        return take_accepted(run, answer);
    if (answer->status == 204)
        return CLI_OK;
    if (answer->status != 200 && answer->status != 201)
        return problem_print(run->messages, answer);
    json_t *object = answer_json(run, answer);
    if (object == NULL)
        return CLI_FAILED;
    print_answer(run, arguments->route->answer, arguments->cli->columns, object);
    json_decref(object);
    return CLI_OK;
}

static enum cli_exit run_change(struct run *run) {
    struct arguments *arguments = &run->arguments;
    char made[UUID_TEXT_SIZE];
    struct sluice_uuid id = uuid_new();
    const char *key = arguments->values[OPTION_KEY];
    bool has_key = arguments->route->action == ROUTE_SUBMIT;
    char *body = NULL;
    if (key == NULL)
        key = uuid_format(&id, made);
    if (arguments->body != NULL) {
        body = json_dumps(arguments->body, JSON_COMPACT);
        if (body == NULL) {
            fputs("sluice: no memory\n", run->messages);
            return CLI_FAILED;
        }
    }
    struct client_request request = {
        .method = arguments->route->method,
        .path = buf_text(&arguments->path),
        .body = body,
        .key = has_key ? key : NULL,
        .if_match = arguments->values[OPTION_IF_MATCH],
        .wait_s = has_key ? first_wait(run) : 0,
    };
    struct client_answer answer;
    struct err err = ERR_INIT;
    enum client_result result = client_ask(run->client, &request, &answer, &err);
    enum cli_exit number =
        result == CLIENT_ANSWERED
            ? take_answer(run, &answer)
            : say_unanswered(run, result, answer.sent ? request.key : NULL, &err);
    if (body != NULL)
        explicit_bzero(body, strlen(body));
    free(body);
    client_answer_release(&answer);
    return number;
}

/* ---- reads ---------------------------------------------------------------------------------- */

static bool has_pages(const struct route *route) {
    for (size_t i = 0; i < route->query_count; i++)
        if (strcmp(route->query[i].name, "after") == 0)
            return true;
    return false;
}

static enum cli_exit get_page(struct run *run, const char *after, json_t **ret) {
    struct arguments *arguments = &run->arguments;
    char limit[16];
    struct buf path;
    buf_init(&path, ARGUMENTS_PATH_MAX + 512);
    buf_put(&path, arguments->path.at, arguments->path.length);
    snprintf(limit, sizeof limit, "%u", arguments->limit);
    path_put_query(&path, "limit", arguments->limit > 0 ? limit : PAGE_LIMIT);
    if (after[0] != '\0')
        path_put_query(&path, "after", after);
    enum cli_exit number = get(run, buf_text(&path), ret);
    buf_release(&path);
    return number;
}

/* All pages as one, or one page when --limit asks for it. */
static enum cli_exit run_list(struct run *run) {
    struct arguments *arguments = &run->arguments;
    char after[sizeof arguments->after];
    json_t *items = json_array();
    enum cli_exit number = CLI_OK;
    bool after_is_endless = strcmp(arguments->route->id, "listEvents") == 0;
    bool more = true;
    text_copy(after, sizeof after, arguments->after);
    for (int page = 0; more && number == CLI_OK && page < RUN_PAGES_MAX; page++) {
        json_t *answer = NULL;
        number = get_page(run, after, &answer);
        json_t *rows = json_object_get(answer, "items");
        json_array_extend(items, rows);
        /* A page of objects may be empty and not the last; that of events goes on for ever. */
        bool end = after_is_endless && json_array_size(rows) == 0;
        more = text_copy(after, sizeof after, text_of(answer, "next")) && after[0] != '\0' &&
               !end && arguments->limit == 0;
        json_decref(answer);
    }
    json_t *all = json_pack("{s:o,s:s}", "items", items, "next", number == CLI_OK ? after : "");
    if (number == CLI_OK) {
        print_answer(run, arguments->route->answer, arguments->cli->columns, all);
        bool cut = more || (arguments->limit > 0 && after[0] != '\0');
        if (cut && !arguments->json && !after_is_endless)
            fprintf(run->messages, "sluice: there may be more; go on with --after %s\n", after);
    }
    json_decref(all);
    return number;
}

static enum cli_exit run_get(struct run *run) {
    struct arguments *arguments = &run->arguments;
    json_t *answer = NULL;
    enum cli_exit number = get(run, buf_text(&arguments->path), &answer);
    if (number == CLI_OK)
        print_answer(run, arguments->route->answer, arguments->cli->columns, answer);
    json_decref(answer);
    return number;
}

/* ---- commands ------------------------------------------------------------------------------- */

static const char *option_or(const struct run *run, enum cli_option option, const char *variable) {
    const char *value = run->arguments.values[option];
    const char *other = getenv(variable);
    return value != NULL ? value : other != NULL && other[0] != '\0' ? other : NULL;
}

static enum cli_exit open_client(struct run *run) {
    struct err err = ERR_INIT;
    struct client_options options = {
        .url = option_or(run, OPTION_URL, "SLUICE_URL"),
        .socket = option_or(run, OPTION_SOCKET, "SLUICE_SOCKET"),
        .token_file = option_or(run, OPTION_TOKEN_FILE, "SLUICE_TOKEN_FILE"),
    };
    /* A socket on the command line is meant, whatever the environment says. */
    if (arguments_has(&run->arguments, OPTION_SOCKET) &&
        !arguments_has(&run->arguments, OPTION_URL))
        options.url = NULL;
    if (options.socket == NULL)
        options.socket = RUN_SOCKET_DEFAULT;
    if (client_open(&options, &run->client, &err))
        return CLI_OK;
    problem_say(run->messages, &err);
    return CLI_USAGE;
}

static enum cli_exit run_route(struct run *run) {
    const struct arguments *arguments = &run->arguments;
    if (arguments_has(arguments, OPTION_FOLLOW))
        return events_follow(run->client, arguments->after, arguments->json, run->out,
                             run->messages);
    if (strcmp(arguments->route->method, "GET") != 0)
        return run_change(run);
    return has_pages(arguments->route) ? run_list(run) : run_get(run);
}

static enum cli_exit run_wait(struct run *run) {
    struct sluice_uuid id;
    char text[UUID_TEXT_SIZE];
    if (!uuid_parse(run->arguments.argument, &id)) {
        fputs("sluice: that is no id of an operation\n", run->messages);
        return CLI_USAGE;
    }
    return finish_operation(run, uuid_format(&id, text), "done", "");
}

static enum cli_exit run_help(struct run *run) {
    const struct arguments *arguments = &run->arguments;
    if (arguments->route != NULL)
        help_command(run->out, &(struct command){.route = arguments->route, .cli = arguments->cli});
    else if (arguments->builtin != BUILTINS)
        help_command(run->out, &(struct command){.builtin = &cli_builtins[arguments->builtin]});
    else if (arguments->noun != NULL)
        help_noun(run->out, arguments->noun);
    else
        help_all(run->out);
    return CLI_OK;
}

static enum cli_exit run_completion(struct run *run) {
    if (strcmp(run->arguments.argument, "bash") != 0) {
        fputs("sluice: there is completion for bash only\n", run->messages);
        return CLI_USAGE;
    }
    help_completion(run->out);
    return CLI_OK;
}

static enum cli_exit run_command(struct run *run) {
    const struct arguments *arguments = &run->arguments;
    if (arguments_has(arguments, OPTION_HELP))
        return run_help(run);
    if (arguments_has(arguments, OPTION_VERSION)) {
        fprintf(run->out, "sluice %s\n", SLUICE_VERSION);
        return CLI_OK;
    }
    if (arguments->noun == NULL) {
        help_all(run->messages);
        return CLI_USAGE;
    }
    if (arguments->builtin == BUILTIN_COMPLETION)
        return run_completion(run);
    enum cli_exit number = open_client(run);
    if (number != CLI_OK)
        return number;
    client_catch_signals();
    number = arguments->builtin == BUILTIN_OPERATION_WAIT ? run_wait(run) : run_route(run);
    client_close(run->client);
    return number;
}

enum cli_exit cli_run(int argc, char **argv, FILE *out, FILE *messages) {
    struct run run = {.out = out, .messages = messages};
    struct err err = ERR_INIT;
    enum cli_exit number = CLI_USAGE;
    if (arguments_parse(&run.arguments, argc, argv, &err)) {
        run.quiet = arguments_has(&run.arguments, OPTION_QUIET);
        number = run_command(&run);
    } else {
        problem_say(messages, &err);
    }
    arguments_release(&run.arguments);
    /* A script must not take half a list for a whole one. */
    if ((fflush(out) != 0 || ferror(out) != 0) && number == CLI_OK) {
        fputs("sluice: the output could not be written\n", messages);
        number = CLI_FAILED;
    }
    return number;
}

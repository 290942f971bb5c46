/* SPDX-License-Identifier: Apache-2.0
 *
 * problem.c: problem details, and the numbers of exit.def.
 */
#include "cli/problem.h"

#include <string.h>

#include "cli/render.h"

const struct cli_exit_row cli_exits[] = {
#define EXIT(name, number, sentence) {#name, number, sentence},
#include "cli/exit.def"
#undef EXIT
};
const size_t cli_exit_count = sizeof cli_exits / sizeof cli_exits[0];

/* Of an HTTP status and a code of docs/ERRORS.md. */
static enum cli_exit exit_of(int status, const char *code) {
    if (strcmp(code, "cancelled") == 0)
        return CLI_FAILED;
    if (strcmp(code, "stopping") == 0)
        return CLI_UNREACHABLE;
    switch (status) {
    case 401:
    case 403:
        return CLI_FORBIDDEN;
    case 404:
    case 410:
        return CLI_NOT_FOUND;
    case 502:
    case 503:
    case 504:
    case 507:
        return CLI_BACKEND;
    default:
        return status >= 400 && status < 500 ? CLI_REFUSED : CLI_FAILED;
    }
}

static const char *advice_words(const char *advice) {
    if (strcmp(advice, "retry") == 0)
        return "try again";
    if (strcmp(advice, "fix") == 0)
        return "mend that first";
    return "trying again does not help";
}

static const char *text_member(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* sluice: title: detail (code, what to do) */
static void say(FILE *out, const char *title, const char *detail, const char *code,
                const char *advice) {
    fputs("sluice: ", out);
    render_text(out, title);
    if (detail[0] != '\0') {
        fputs(": ", out);
        render_text(out, detail);
    }
    fputs(" (", out);
    render_text(out, code);
    fprintf(out, ", %s)\n", advice_words(advice));
}

static void say_violations(FILE *out, const json_t *problem) {
    size_t index;
    json_t *violation;
    json_array_foreach(json_object_get(problem, "violations"), index, violation) {
        fputs("  ", out);
        render_text(out, text_member(violation, "field"));
        fputs(": ", out);
        render_text(out, text_member(violation, "text"));
        fputc('\n', out);
    }
}

enum cli_exit problem_print_json(FILE *out, int status, const json_t *problem) {
    const char *code = text_member(problem, "code");
    const char *operation = text_member(problem, "operation");
    if (code[0] == '\0') {
        fprintf(out, "sluice: the answer is %d, without a problem's details\n", status);
        return exit_of(status, "");
    }
    say(out, text_member(problem, "title"), text_member(problem, "detail"), code,
        text_member(problem, "advice"));
    say_violations(out, problem);
    if (operation[0] != '\0') {
        fputs("  operation: ", out);
        render_text(out, operation);
        fputc('\n', out);
    }
    return exit_of(status, code);
}

enum cli_exit problem_print(FILE *out, const struct client_answer *answer) {
    json_t *problem = client_answer_json(answer);
    enum cli_exit number = problem_print_json(out, answer->status, problem);
    json_decref(problem);
    return number;
}

enum cli_exit problem_operation(FILE *out, const json_t *operation) {
    json_int_t number = json_integer_value(json_object_get(operation, "error"));
    if (number == 0 && strcmp(text_member(operation, "state"), "cancelled") == 0)
        number = ERR_CANCELLED;
    enum err_code code = (enum err_code)number;
    say(out, err_title(code), text_member(operation, "error_text"), err_slug(code),
        err_advice_name(err_advice(code)));
    fputs("  operation: ", out);
    render_text(out, text_member(operation, "id"));
    fputc('\n', out);
    return exit_of(err_http(code), err_slug(code));
}

void problem_say(FILE *out, const struct err *err) {
    fputs("sluice: ", out);
    render_text(out, err->text);
    fputc('\n', out);
}

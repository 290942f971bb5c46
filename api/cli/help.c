/* SPDX-License-Identifier: Apache-2.0
 *
 * help.c: texts made from the tables, so that they cannot be out of date.
 */
#include "cli/help.h"

#include <string.h>

#include "cli/problem.h"

#define NOUNS_MAX 32 /* first words of commands; there are a dozen */

/* ---- the list of commands ------------------------------------------------------------------- */

const char *command_words(const struct command *command) {
    return command->route != NULL ? command->cli->words : command->builtin->words;
}

static const char *summary_of(const struct command *command) {
    return command->route != NULL ? command->cli->summary : command->builtin->sentence;
}

static void for_each(void (*each)(void *arg, const struct command *command), void *arg) {
    for (size_t i = 0; i < route_count; i++)
        for (size_t j = 0; j < routes[i].cli_count; j++)
            each(arg, &(struct command){.route = &routes[i], .cli = &routes[i].cli[j]});
    for (size_t i = 0; i < BUILTINS; i++)
        each(arg, &(struct command){.builtin = &cli_builtins[i]});
}

struct noun {
    const char *at;
    size_t length;
};

struct nouns {
    struct noun at[NOUNS_MAX];
    size_t count;
};

static bool is_of(const struct noun *noun, const char *words) {
    return strcspn(words, " ") == noun->length && memcmp(words, noun->at, noun->length) == 0;
}

static void add_noun(void *arg, const struct command *command) {
    struct nouns *nouns = arg;
    const char *words = command_words(command);
    for (size_t i = 0; i < nouns->count; i++)
        if (is_of(&nouns->at[i], words))
            return;
    if (nouns->count < NOUNS_MAX)
        nouns->at[nouns->count++] = (struct noun){.at = words, .length = strcspn(words, " ")};
}

struct filter {
    const struct noun *noun;
    void (*each)(void *arg, const struct command *command);
    void *arg;
};

static void pass_noun(void *arg, const struct command *command) {
    const struct filter *filter = arg;
    if (is_of(filter->noun, command_words(command)))
        filter->each(filter->arg, command);
}

void help_commands(void (*each)(void *arg, const struct command *command), void *arg) {
    struct nouns nouns = {.count = 0};
    for_each(add_noun, &nouns);
    for (size_t i = 0; i < nouns.count; i++) {
        struct filter filter = {.noun = &nouns.at[i], .each = each, .arg = arg};
        for_each(pass_noun, &filter);
    }
}

/* ---- help ----------------------------------------------------------------------------------- */

static void print_synopsis(FILE *out, const struct command *command) {
    char word[OPTION_NAME_MAX];
    char shown[OPTION_NAME_MAX];
    char value[256];
    fprintf(out, "sluice %s", command_words(command));
    if (command->route == NULL) {
        fprintf(out, " %s", command->builtin->argument);
        return;
    }
    const struct route *route = command->route;
    if (route->target != NULL)
        fprintf(out, " %s", placeholder(route->target->name, shown));
    for (size_t i = 0; word_at(command->cli->positional, i, word, sizeof word); i++)
        fprintf(out, " %s", placeholder(word, shown));
    bool optional = route->query_count > 0;
    for (size_t i = 0; i < route->body_count; i++) {
        const struct route_field *field = &route->body[i];
        bool given = false;
        for (size_t j = 0; word_at(command->cli->positional, j, word, sizeof word); j++)
            given = given || strcmp(word, field->name) == 0;
        optional = optional || (!given && !field->required);
        if (field->required && !given)
            fprintf(out, " --%s %s", option_name(field, shown),
                    option_value(field, value, sizeof value));
    }
    fprintf(out, "%s", optional ? " [OPTION ...]" : "");
}

static void print_command_line(void *arg, const struct command *command) {
    FILE *out = arg;
    fprintf(out, "  %-22s %s\n", command_words(command), summary_of(command));
}

void help_options(FILE *out) {
    char left[64];
    for (size_t i = 0; i < OPTIONS; i++) {
        snprintf(left, sizeof left, "--%s %s", cli_options[i].name, cli_options[i].argument);
        fprintf(out, "  %-24s %s\n", left, cli_options[i].sentence);
    }
}

void help_exits(FILE *out) {
    for (size_t i = 0; i < cli_exit_count; i++)
        fprintf(out, "  %-4d %s\n", cli_exits[i].number, cli_exits[i].sentence);
}

void help_all(FILE *out) {
    fputs("sluice: the command line of the Sluice storage gateway\n\n"
          "  sluice [OPTION ...] COMMAND [ARGUMENT ...] [OPTION ...]\n\nCommands:\n",
          out);
    help_commands(print_command_line, out);
    fputs("\nOptions of every command:\n", out);
    help_options(out);
    fputs("\nIt ends with:\n", out);
    help_exits(out);
    fputs("\nsluice COMMAND --help tells more about a command.\n", out);
}

void help_noun(FILE *out, const char *word) {
    struct noun noun = {.at = word, .length = strlen(word)};
    struct filter filter = {.noun = &noun, .each = print_command_line, .arg = out};
    fprintf(out, "sluice %s:\n", word);
    for_each(pass_noun, &filter);
    fprintf(out, "\nsluice %s COMMAND --help tells more.\n", word);
}

static void print_limits(FILE *out, const struct route_field *field) {
    if (field->kind == ROUTE_TEXT && field->one_of == NULL)
        fprintf(out, "; at most %llu bytes", (unsigned long long)field->max);
    else if (field->kind == ROUTE_PAIRS)
        fprintf(out, "; may be repeated, %llu times at most", (unsigned long long)field->max);
    else if (field->kind == ROUTE_SIZE)
        fputs("; in bytes, or with K, M, G, T or P", out);
    else if (field->kind == ROUTE_NUMBER && field->max <= UINT32_MAX)
        fprintf(out, "; %llu to %llu", (unsigned long long)field->min,
                (unsigned long long)field->max);
    if (field->when_absent[0] != '\0')
        fprintf(out, "; %s when left out", field->when_absent);
    if (field->required)
        fputs("; required", out);
    fputc('\n', out);
}

static void print_fields(FILE *out, const struct route_field *fields, size_t count) {
    char name[OPTION_NAME_MAX];
    char value[256];
    char left[512];
    for (size_t i = 0; i < count; i++) {
        const struct route_field *field = &fields[i];
        option_name(field, name);
        snprintf(left, sizeof left, "--%s %s", name, option_value(field, value, sizeof value));
        fprintf(out, "  %-28s %s", left, field->description);
        print_limits(out, field);
        if (option_takes_file(field)) {
            snprintf(left, sizeof left, "--%s-file NAME=PATH", name);
            fprintf(out, "  %-28s The same, the value from a file; from standard input for -\n",
                    left);
        }
    }
}

void help_command(FILE *out, const struct command *command) {
    char name[OPTION_NAME_MAX];
    print_synopsis(out, command);
    fprintf(out, "\n\n%s.\n", summary_of(command));
    if (command->route == NULL)
        return;
    const struct route *route = command->route;
    if (route->description[0] != '\0')
        fprintf(out, "%s\n", route->description);
    if (route->target != NULL || route->query_count + route->body_count > 0)
        fputc('\n', out);
    if (route->target != NULL)
        fprintf(out, "  %-28s %s\n", placeholder(route->target->name, name),
                route->target->description);
    print_fields(out, route->body, route->body_count);
    print_fields(out, route->query, route->query_count);
    if (command->cli->positional[0] != '\0')
        fputs("\nWhat is given by position may be given as an option instead.\n", out);
    if (route->permission[0] != '\0')
        fprintf(out, "\nNeeds the permission %s.\n", route->permission);
}

/* ---- completion ----------------------------------------------------------------------------- */

static void print_option_words(FILE *out, const struct route_field *fields, size_t count) {
    char name[OPTION_NAME_MAX];
    for (size_t i = 0; i < count; i++) {
        fprintf(out, " --%s", option_name(&fields[i], name));
        if (option_takes_file(&fields[i]))
            fprintf(out, " --%s-file", name);
    }
}

static void print_case(void *arg, const struct command *command) {
    FILE *out = arg;
    if (command->route == NULL || command->route->body_count + command->route->query_count == 0)
        return;
    fprintf(out, "    \"%s\") options+=\"", command_words(command));
    print_option_words(out, command->route->body, command->route->body_count);
    print_option_words(out, command->route->query, command->route->query_count);
    fputs("\" ;;\n", out);
}

static void print_verb(void *arg, const struct command *command) {
    FILE *out = arg;
    const char *space = strchr(command_words(command), ' ');
    if (space != NULL)
        fprintf(out, " %s", space + 1);
}

void help_completion(FILE *out) {
    struct nouns nouns = {.count = 0};
    for_each(add_noun, &nouns);
    fputs("# Completion of sluice for bash; sluice completion bash prints it.\n"
          "_sluice() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} options=\"",
          out);
    for (size_t i = 0; i < OPTIONS; i++)
        fprintf(out, "%s--%s", i > 0 ? " " : "", cli_options[i].name);
    fputs("\" nouns=\"", out);
    for (size_t i = 0; i < nouns.count; i++)
        fprintf(out, "%s%.*s", i > 0 ? " " : "", (int)nouns.at[i].length, nouns.at[i].at);
    fputs("\" verbs=\"\" words=() word\n"
          "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
          "        [[ $word == -* ]] || words+=(\"$word\")\n"
          "    done\n"
          "    case ${words[0]} in\n",
          out);
    for (size_t i = 0; i < nouns.count; i++) {
        struct filter filter = {.noun = &nouns.at[i], .each = print_verb, .arg = out};
        fprintf(out, "    %.*s) verbs=\"", (int)nouns.at[i].length, nouns.at[i].at);
        for_each(pass_noun, &filter);
        fputs("\" ;;\n", out);
    }
    fputs("    esac\n    case \"${words[0]}${verbs:+ ${words[1]}}\" in\n", out);
    for_each(print_case, out);
    fputs("    esac\n"
          "    if [[ $current == -* ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
          "    elif ((${#words[@]} == 0)); then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$nouns\" -- \"$current\")\n"
          "    elif ((${#words[@]} == 1)); then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$current\")\n"
          "    else\n"
          "        COMPREPLY=()\n"
          "    fi\n"
          "}\n"
          "complete -o default -F _sluice sluice\n",
          out);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * arguments.c: words, positions and options, in one pass.
 */
#include "cli/arguments.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

const struct cli_option_row cli_options[OPTIONS] = {
#define OPTION(name, text, argument, sentence) {text, argument, sentence},
#include "cli/option.def"
#undef OPTION
};

const struct cli_builtin_row cli_builtins[BUILTINS] = {
#define BUILTIN(name, words, argument, sentence) {words, argument, sentence},
#include "cli/builtin.def"
#undef BUILTIN
};

/* Members whose option has a name of its own. */
static const struct {
    const char *member, *option;
} renamed[] = {
    {"size_bytes", "size"}, {"labels", "label"}, {"properties", "set"}, {"identities", "identity"}};

/* What is gathered before it becomes a path and a body. */
struct gathering {
    struct arguments *arguments;
    const char *target;
    size_t positions; /* members given by position so far */
    json_t *body;     /* also holds query members, until the query is written */
    bool options_ended;
};

const char *option_name(const struct route_field *field, char ret[OPTION_NAME_MAX]) {
    const char *name = field->name;
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++)
        if (strcmp(renamed[i].member, name) == 0)
            name = renamed[i].option;
    text_copy(ret, OPTION_NAME_MAX, name);
    for (char *at = ret; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
    return ret;
}

const char *option_value(const struct route_field *field, char *ret, size_t capacity) {
    static const char *const names[] = {
        [ROUTE_TEXT] = "TEXT", [ROUTE_NUMBER] = "NUMBER",    [ROUTE_SIZE] = "SIZE",
        [ROUTE_BOOLEAN] = "",  [ROUTE_PAIRS] = "NAME=VALUE", [ROUTE_OBJECT] = "",
        [ROUTE_ARRAY] = ""};
    text_copy(ret, capacity, names[field->kind]);
    size_t length = 0;
    for (size_t i = 0; field->one_of != NULL && field->one_of[i] != NULL; i++) {
        int more =
            snprintf(ret + length, capacity - length, "%s%s", i > 0 ? "|" : "", field->one_of[i]);
        if (more < 0 || (size_t)more >= capacity - length)
            break;
        length += (size_t)more;
    }
    return ret;
}

bool option_takes_file(const struct route_field *field) {
    return field->kind == ROUTE_PAIRS && field->secret;
}

const char *placeholder(const char *name, char ret[OPTION_NAME_MAX]) {
    text_copy(ret, OPTION_NAME_MAX, name);
    for (char *at = ret; *at != '\0'; at++)
        *at = *at == '_' ? '-' : (char)toupper((unsigned char)*at);
    return ret;
}

bool word_at(const char *list, size_t n, char *ret, size_t capacity) {
    list += strspn(list, " ");
    for (; n > 0 && *list != '\0'; n--) {
        list += strcspn(list, " ");
        list += strspn(list, " ");
    }
    size_t length = strcspn(list, " ");
    if (length == 0 || length >= capacity)
        return false;
    memcpy(ret, list, length);
    ret[length] = '\0';
    return true;
}

bool arguments_has(const struct arguments *arguments, enum cli_option option) {
    return arguments->values[option] != NULL;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool take_number(const struct route_field *field, const char *option, const char *text,
                        json_t **ret, struct err *err) {
    uint64_t value;
    bool size = field->kind == ROUTE_SIZE;
    if (!(size ? num_parse_size(text, &value) : num_parse_u64(text, &value)))
        return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is no %s", option, text,
                       size ? "size (1024, 10G, 1T)" : "number");
    if (value < field->min || value > field->max || value > INT64_MAX)
        return err_set(err, ERR_BAD_REQUEST, "--%s: %s is not between %llu and %llu", option, text,
                       (unsigned long long)field->min, (unsigned long long)field->max);
    *ret = json_integer((json_int_t)value);
    return true;
}

static bool is_one_of(const struct route_field *field, const char *text) {
    if (field->one_of == NULL)
        return true;
    for (size_t i = 0; field->one_of[i] != NULL; i++)
        if (strcmp(field->one_of[i], text) == 0)
            return true;
    return false;
}

static bool take_value(const struct route_field *field, const char *option, const char *text,
                       json_t **ret, struct err *err) {
    char choices[256];
    if (field->kind == ROUTE_NUMBER || field->kind == ROUTE_SIZE)
        return take_number(field, option, text, ret, err);
    if (!text_is_utf8(text, strlen(text)))
        return err_set(err, ERR_BAD_REQUEST, "--%s: the value is not UTF-8", option);
    if (!is_one_of(field, text))
        return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is none of %s", option, text,
                       option_value(field, choices, sizeof choices));
    *ret = json_string(text);
    return true;
}

/* The bytes of a file without its last newline: an editor puts one there, and no secret has one. */
static bool read_secret(struct arguments *arguments, const char *path, char *ret, struct err *err) {
    bool from_stdin = strcmp(path, "-") == 0;
    if (from_stdin && arguments->stdin_taken)
        return err_set(err, ERR_BAD_REQUEST, "standard input can be read for one value only");
    FILE *file = from_stdin ? stdin : fopen(path, "rbe");
    if (file == NULL)
        return err_errno(err, ERR_BAD_REQUEST, errno, "%s", path);
    size_t length = fread(ret, 1, ARGUMENTS_SECRET_MAX + 2, file);
    bool failed = ferror(file) != 0;
    int cause = errno;
    if (from_stdin)
        arguments->stdin_taken = true;
    else
        fclose(file);
    if (failed)
        return err_errno(err, ERR_BAD_REQUEST, cause, "%s", path);
    if (length > 0 && ret[length - 1] == '\n')
        length--;
    if (length > ARGUMENTS_SECRET_MAX || !text_is_utf8(ret, length))
        return err_set(err, ERR_BAD_REQUEST, "%s: not UTF-8 of at most %d bytes", path,
                       ARGUMENTS_SECRET_MAX);
    ret[length] = '\0';
    return true;
}

static bool take_pair(struct gathering *gathering, const struct route_field *field,
                      const char *option, const char *text, bool from_file, struct err *err) {
    char name[256];
    char secret[ARGUMENTS_SECRET_MAX + 2];
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof name)
        return err_set(err, ERR_BAD_REQUEST, "--%s takes NAME=%s", option,
                       from_file ? "PATH" : "VALUE");
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    const char *value = equals + 1;
    if (from_file) {
        if (!read_secret(gathering->arguments, value, secret, err))
            return false;
        value = secret;
    }
    if (!text_is_utf8(text, strlen(text)))
        return err_set(err, ERR_BAD_REQUEST, "--%s: this is not UTF-8", option);
    json_t *bag = json_object_get(gathering->body, field->name);
    if (bag == NULL) {
        bag = json_object();
        json_object_set_new(gathering->body, field->name, bag);
    }
    if (json_object_get(bag, name) != NULL)
        return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is given twice", option, name);
    json_object_set_new(bag, name, json_string(value));
    explicit_bzero(secret, sizeof secret);
    return true;
}

static bool put_value(struct gathering *gathering, const struct route_field *field,
                      const char *option, const char *text, struct err *err) {
    if (field->kind == ROUTE_PAIRS)
        return take_pair(gathering, field, option, text, false, err);
    json_t *value = NULL;
    if (json_object_get(gathering->body, field->name) != NULL)
        return err_set(err, ERR_BAD_REQUEST, "%s is given twice", option);
    if (field->kind == ROUTE_BOOLEAN)
        value = json_true();
    else if (!take_value(field, option, text, &value, err))
        return false;
    json_object_set_new(gathering->body, field->name, value);
    return true;
}

/* ---- commands ------------------------------------------------------------------------------- */

/* Whether `words` is `noun` or begins with it and a space. */
static bool begins_with_word(const char *words, const char *noun) {
    size_t length = strlen(noun);
    return strncmp(words, noun, length) == 0 && (words[length] == ' ' || words[length] == '\0');
}

static bool noun_exists(const char *noun) {
    for (size_t i = 0; i < route_count; i++)
        for (size_t j = 0; j < routes[i].cli_count; j++)
            if (begins_with_word(routes[i].cli[j].words, noun))
                return true;
    for (size_t i = 0; i < BUILTINS; i++)
        if (begins_with_word(cli_builtins[i].words, noun))
            return true;
    return false;
}

static bool find_command(struct arguments *arguments, const char *words) {
    for (size_t i = 0; i < route_count; i++)
        for (size_t j = 0; j < routes[i].cli_count; j++)
            if (strcmp(routes[i].cli[j].words, words) == 0) {
                arguments->route = &routes[i];
                arguments->cli = &routes[i].cli[j];
                return true;
            }
    for (unsigned i = 0; i < BUILTINS; i++)
        if (strcmp(cli_builtins[i].words, words) == 0) {
            arguments->builtin = (enum cli_builtin)i;
            return true;
        }
    return false;
}

static bool has_command(const struct arguments *arguments) {
    return arguments->route != NULL || arguments->builtin != BUILTINS;
}

static bool take_command_word(struct arguments *arguments, const char *word, struct err *err) {
    char words[128];
    if (arguments->noun == NULL) {
        if (!noun_exists(word))
            return err_set(err, ERR_BAD_REQUEST, "there is no command \"%s\"; see sluice --help",
                           word);
        arguments->noun = word;
        find_command(arguments, word);
        return true;
    }
    snprintf(words, sizeof words, "%s %s", arguments->noun, word);
    if (!find_command(arguments, words))
        return err_set(err, ERR_BAD_REQUEST, "there is no command \"%s %s\"; see sluice %s --help",
                       arguments->noun, word, arguments->noun);
    return true;
}

static const struct route_field *find_member(const struct route *route, const char *name) {
    for (size_t i = 0; i < route->body_count; i++)
        if (strcmp(route->body[i].name, name) == 0)
            return &route->body[i];
    return NULL;
}

static bool take_position(struct gathering *gathering, const char *text, struct err *err) {
    struct arguments *arguments = gathering->arguments;
    char name[OPTION_NAME_MAX];
    if (arguments->route == NULL) {
        if (arguments->argument != NULL)
            return err_set(err, ERR_BAD_REQUEST, "\"%s\" is one word too many", text);
        arguments->argument = text;
        return true;
    }
    if (arguments->route->target != NULL && gathering->target == NULL) {
        if (text[0] == '\0' || !text_is_utf8(text, strlen(text)))
            return err_set(err, ERR_BAD_REQUEST, "that names no %s",
                           arguments->route->target->name);
        gathering->target = text;
        return true;
    }
    if (!word_at(arguments->cli->positional, gathering->positions, name, sizeof name))
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is one word too many", text);
    gathering->positions++;
    const struct route_field *field = find_member(arguments->route, name);
    CHECK(field != NULL);
    return put_value(gathering, field, name, text, err);
}

/* ---- options -------------------------------------------------------------------------------- */

/* One option of the command line: its name, and its value when it came with '='. */
struct given {
    char name[OPTION_NAME_MAX];
    const char *value;
    int *at; /* index in argv, moved when the next word is the value */
    int argc;
    char **argv;
};

static bool given_value(struct given *given, const char **ret, struct err *err) {
    if (given->value == NULL && *given->at + 1 < given->argc)
        given->value = given->argv[++*given->at];
    if (given->value == NULL)
        return err_set(err, ERR_BAD_REQUEST, "--%s needs a value", given->name);
    *ret = given->value;
    return true;
}

static bool take_global(struct arguments *arguments, struct given *given, bool *ret_taken,
                        struct err *err) {
    *ret_taken = false;
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (strcmp(cli_options[i].name, given->name) != 0)
            continue;
        *ret_taken = true;
        if (cli_options[i].argument[0] != '\0')
            return given_value(given, &arguments->values[i], err);
        if (given->value != NULL)
            return err_set(err, ERR_BAD_REQUEST, "--%s takes no value", given->name);
        arguments->values[i] = "";
    }
    return true;
}

/* The member that an option is for; *ret_file: it is its -file form. */
static const struct route_field *find_option(const struct route_field *fields, size_t count,
                                             const char *name, bool *ret_file) {
    char option[OPTION_NAME_MAX];
    char from_file[OPTION_NAME_MAX + 8];
    for (size_t i = 0; i < count; i++) {
        option_name(&fields[i], option);
        snprintf(from_file, sizeof from_file, "%s-file", option);
        *ret_file = option_takes_file(&fields[i]) && strcmp(from_file, name) == 0;
        if (*ret_file || strcmp(option, name) == 0)
            return &fields[i];
    }
    return NULL;
}

static bool take_option(struct gathering *gathering, struct given *given, struct err *err) {
    struct arguments *arguments = gathering->arguments;
    bool taken;
    if (!take_global(arguments, given, &taken, err) || taken)
        return taken && err->code == ERR_NONE;
    const struct route *route = arguments->route;
    bool from_file = false;
    const struct route_field *field = NULL;
    if (route != NULL)
        field = find_option(route->body, route->body_count, given->name, &from_file);
    if (route != NULL && field == NULL)
        field = find_option(route->query, route->query_count, given->name, &from_file);
    if (field == NULL)
        return err_set(err, ERR_BAD_REQUEST, "there is no option --%s%s", given->name,
                       route == NULL ? " before a command" : " here");
    const char *value = "";
    if (field->kind != ROUTE_BOOLEAN && !given_value(given, &value, err))
        return false;
    if (field->kind == ROUTE_BOOLEAN && given->value != NULL)
        return err_set(err, ERR_BAD_REQUEST, "--%s takes no value", given->name);
    if (from_file)
        return take_pair(gathering, field, given->name, value, true, err);
    return put_value(gathering, field, given->name, value, err);
}

static bool take_argument(struct gathering *gathering, int *at, int argc, char **argv,
                          struct err *err) {
    static char long_help[] = "--help";
    char *text = argv[*at];
    struct given given = {.at = at, .argc = argc, .argv = argv};
    if (!gathering->options_ended && strcmp(text, "--") == 0) {
        gathering->options_ended = true;
        return true;
    }
    if (!gathering->options_ended && strcmp(text, "-h") == 0)
        text = long_help;
    if (!gathering->options_ended && text[0] == '-' && text[1] != '\0') {
        const char *equals = strchr(text, '=');
        size_t length = equals != NULL ? (size_t)(equals - text) : strlen(text);
        if (text[1] != '-' || length < 3 || length - 2 >= sizeof given.name)
            return err_set(err, ERR_BAD_REQUEST, "there is no option %s", text);
        memcpy(given.name, text + 2, length - 2);
        given.value = equals != NULL ? equals + 1 : NULL;
        return take_option(gathering, &given, err);
    }
    if (!has_command(gathering->arguments))
        return take_command_word(gathering->arguments, text, err);
    return take_position(gathering, text, err);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* RFC 3986 section 2.3: what is not unreserved is encoded. ':' and '@' may stand in a path segment
 * (section 3.3) and make our references readable. */
static void put_encoded(struct buf *buf, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-._~:@", c) != NULL)
            buf_put_u8(buf, c);
        else
            buf_printf(buf, "%%%02X", c);
    }
}

void path_put(struct buf *path, const struct route *route, const char *target) {
    const char *brace = strchr(route->path, '{');
    size_t head = brace != NULL ? (size_t)(brace - route->path) : strlen(route->path);
    buf_put(path, route->path, head);
    if (brace != NULL) {
        put_encoded(path, target);
        buf_printf(path, "%s", strchr(brace, '}') + 1);
    }
}

void path_put_query(struct buf *path, const char *name, const char *value) {
    buf_printf(path, "%s", memchr(path->at, '?', path->length) == NULL ? "?" : "&");
    put_encoded(path, name);
    buf_printf(path, "=");
    put_encoded(path, value);
}

static void put_query_field(struct buf *path, const char *name, const json_t *value) {
    char text[ARGUMENTS_SECRET_MAX + 300];
    const char *key;
    json_t *entry;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, entry) {
            snprintf(text, sizeof text, "%s=%s", key, json_string_value(entry));
            path_put_query(path, name, text);
        }
    } else if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        path_put_query(path, name, text);
    } else {
        path_put_query(path, name, json_is_true(value) ? "true" : json_string_value(value));
    }
}

/* Where a list begins and how long it is belongs to who turns its pages. */
static bool take_page(struct arguments *arguments, const char *name, const json_t *value) {
    if (strcmp(name, "limit") == 0) {
        arguments->limit = (uint32_t)json_integer_value(value);
        return true;
    }
    if (strcmp(name, "after") != 0)
        return false;
    if (json_is_integer(value))
        snprintf(arguments->after, sizeof arguments->after, "%lld",
                 (long long)json_integer_value(value));
    else
        text_copy(arguments->after, sizeof arguments->after, json_string_value(value));
    return true;
}

/* Query parameters leave the gathered members; what stays is the body. */
static void build_query(struct gathering *gathering) {
    const struct route *route = gathering->arguments->route;
    for (size_t i = 0; i < route->query_count; i++) {
        const char *name = route->query[i].name;
        json_t *value = json_object_get(gathering->body, name);
        if (value == NULL || find_member(route, name) != NULL)
            continue;
        if (!take_page(gathering->arguments, name, value))
            put_query_field(&gathering->arguments->path, name, value);
        json_object_del(gathering->body, name);
    }
}

static bool check_required(const struct gathering *gathering, struct err *err) {
    const struct route *route = gathering->arguments->route;
    char name[OPTION_NAME_MAX];
    char value[256];
    for (size_t i = 0; i < route->body_count; i++) {
        const struct route_field *field = &route->body[i];
        if (field->required && json_object_get(gathering->body, field->name) == NULL)
            return err_set(err, ERR_BAD_REQUEST, "%s: --%s %s is missing",
                           gathering->arguments->cli->words, option_name(field, name),
                           option_value(field, value, sizeof value));
    }
    return true;
}

static bool build_request(struct gathering *gathering, struct err *err) {
    struct arguments *arguments = gathering->arguments;
    const struct route *route = arguments->route;
    char name[OPTION_NAME_MAX];
    if (route->target != NULL && gathering->target == NULL)
        return err_set(err, ERR_BAD_REQUEST, "%s: %s is missing", arguments->cli->words,
                       placeholder(route->target->name, name));
    path_put(&arguments->path, route, gathering->target);
    build_query(gathering);
    if (arguments->path.overflow)
        return err_set(err, ERR_BAD_REQUEST, "the command line is too long");
    if (route->body == NULL)
        return true;
    arguments->body = json_incref(gathering->body);
    return check_required(gathering, err);
}

static bool check_globals(struct arguments *arguments, struct err *err) {
    const char *output = arguments->values[OPTION_OUTPUT];
    const char *wait = arguments->values[OPTION_WAIT];
    arguments->json = output != NULL && strcmp(output, "json") == 0;
    if (output != NULL && !arguments->json && strcmp(output, "table") != 0)
        return err_set(err, ERR_BAD_REQUEST, "--output: \"%s\" is none of table|json", output);
    if (wait != NULL && !num_parse_u64(wait, &arguments->wait_s))
        return err_set(err, ERR_BAD_REQUEST, "--wait: \"%s\" is no number of seconds", wait);
    if (arguments_has(arguments, OPTION_FOLLOW) && arguments->route != NULL &&
        strcmp(arguments->route->id, "listEvents") != 0)
        return err_set(err, ERR_BAD_REQUEST, "--follow is for events");
    return true;
}

static bool check_complete(struct gathering *gathering, struct err *err) {
    struct arguments *arguments = gathering->arguments;
    if (!check_globals(arguments, err))
        return false;
    if (arguments_has(arguments, OPTION_HELP) || arguments_has(arguments, OPTION_VERSION) ||
        arguments->noun == NULL)
        return true;
    if (!has_command(arguments))
        return err_set(err, ERR_BAD_REQUEST, "what about %s? see sluice %s --help", arguments->noun,
                       arguments->noun);
    if (arguments->route != NULL)
        return build_request(gathering, err);
    if (arguments->argument == NULL)
        return err_set(err, ERR_BAD_REQUEST, "%s: %s is missing",
                       cli_builtins[arguments->builtin].words,
                       cli_builtins[arguments->builtin].argument);
    return true;
}

bool arguments_parse(struct arguments *ret, int argc, char **argv, struct err *err) {
    *ret = (struct arguments){.wait_s = WAIT_FOR_EVER, .builtin = BUILTINS};
    buf_init(&ret->path, ARGUMENTS_PATH_MAX);
    struct gathering gathering = {.arguments = ret, .body = json_object()};
    bool good = true;
    for (int i = 1; i < argc && good; i++)
        good = take_argument(&gathering, &i, argc, argv, err);
    good = good && check_complete(&gathering, err);
    json_decref(gathering.body);
    return good;
}

void arguments_release(struct arguments *arguments) {
    buf_release(&arguments->path);
    json_decref(arguments->body);
    arguments->body = NULL;
}

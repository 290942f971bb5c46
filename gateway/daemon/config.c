/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c: the table expanded into a parser of texts; the file and the command line only find
 * them.
 */
#include "daemon/config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <yaml.h>

#include "base/check.h"
#include "base/num.h"

enum kind { KIND_TEXT, KIND_TEXTS, KIND_NUMBER, KIND_SIZE, KIND_RANGE, KIND_ROLE, KIND_LEVEL };

struct option_row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *otherwise;
    const char *sentence;
};

static const struct option_row options[] = {
#define OPTION(member, name, kind, otherwise, sentence) \
    {name, KIND_##kind, offsetof(struct config, member), otherwise, sentence},
#include "daemon/config.def"
#undef OPTION
};

#define OPTIONS (sizeof options / sizeof options[0])

static const struct {
    const char *flag;
    enum config_wish wish;
    const char *sentence;
} flags[] = {
    {"--help", CONFIG_HELP, "show this"},
    {"--version", CONFIG_VERSION, "show the version"},
    {"--fault-points", CONFIG_FAULT_POINTS,
     "list the names that SLUICE_FAULTS knows of the engine"},
    {"--manual", CONFIG_MANUAL, "print docs/CONFIGURATION.md"},
    {"--example", CONFIG_EXAMPLE, "print conf/sluice.yaml"},
};

static const char *const levels[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

/* ---- texts to values ------------------------------------------------------------------------- */

static const struct option_row *find(const char *name, size_t length) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

static bool parse_number(const char *text, uint32_t *ret) {
    uint64_t number;
    if (!num_parse_u64(text, &number) || number > UINT32_MAX)
        return false;
    *ret = (uint32_t)number;
    return true;
}

static bool parse_range(const char *text, struct config_range *ret) {
    char low[16];
    const char *dash = strchr(text, '-');
    if (dash == NULL || (size_t)(dash - text) >= sizeof low)
        return false;
    snprintf(low, sizeof low, "%.*s", (int)(dash - text), text);
    return parse_number(low, &ret->low) && parse_number(dash + 1, &ret->high) &&
           ret->low <= ret->high;
}

static bool parse_level(const char *text, enum log_level *ret) {
    for (unsigned level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
        if (strcmp(levels[level], text) == 0) {
            *ret = level;
            return true;
        }
    return false;
}

static bool parse_role(const char *text, enum core_role *ret) {
    *ret = core_role_find(text);
    return *ret != ROLE_NONE || strcmp(text, "none") == 0;
}

static bool add_text(struct arena *arena, const char *text, struct text_list *ret) {
    if (ret->at == NULL)
        ret->at = arena_array(arena, CONFIG_TEXTS_MAX, sizeof *ret->at);
    if (ret->at == NULL || ret->count == CONFIG_TEXTS_MAX)
        return false;
    return (ret->at[ret->count++] = arena_strdup(arena, text)) != NULL;
}

static bool set(const struct option_row *option, const char *text, struct arena *arena,
                struct config *config, struct err *err) {
    void *member = (char *)config + option->offset;
    bool worked = false;
    switch (option->kind) {
    case KIND_TEXT:
        worked = (*(const char **)member = arena_strdup(arena, text)) != NULL;
        break;
    case KIND_TEXTS:
        worked = *text == '\0' || add_text(arena, text, member);
        break;
    case KIND_NUMBER:
        worked = parse_number(text, member);
        break;
    case KIND_SIZE:
        worked = num_parse_size(text, member);
        break;
    case KIND_RANGE:
        worked = parse_range(text, member);
        break;
    case KIND_ROLE:
        worked = parse_role(text, member);
        break;
    case KIND_LEVEL:
        worked = parse_level(text, member);
        break;
    }
    return worked ||
           err_set(err, ERR_CONFIG, "%s does not take this value: %s", option->name, text);
}

/* ---- the file -------------------------------------------------------------------------------- */

struct reading {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    const char *path;
    struct arena *arena;
    struct config *config;
    bool *given; /* of each option: it is there already */
};

static bool next(struct reading *reading, struct err *err) {
    if (reading->has_event)
        yaml_event_delete(&reading->event);
    reading->has_event = yaml_parser_parse(&reading->parser, &reading->event) != 0;
    if (reading->has_event)
        return true;
    return err_set(err, ERR_CONFIG, "%s, line %zu, column %zu: %s", reading->path,
                   reading->parser.problem_mark.line + 1, reading->parser.problem_mark.column + 1,
                   reading->parser.problem != NULL ? reading->parser.problem : "not YAML");
}

static bool refuse(const struct reading *reading, struct err *err, const char *cause) {
    return err_set(err, ERR_CONFIG, "%s, line %zu, column %zu: %s", reading->path,
                   reading->event.start_mark.line + 1, reading->event.start_mark.column + 1, cause);
}

static bool expect(struct reading *reading, yaml_event_type_t type, const char *cause,
                   struct err *err) {
    return next(reading, err) && (reading->event.type == type || refuse(reading, err, cause));
}

/* The scalar of the current event. */
static bool scalar(struct reading *reading, const char **ret, struct err *err) {
    const yaml_event_t *event = &reading->event;
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(reading, err, "only names, values and lists of values are taken");
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return refuse(reading, err, "anchors and tags are not taken");
    *ret = (const char *)event->data.scalar.value;
    if (strlen(*ret) != event->data.scalar.length)
        return refuse(reading, err, "a value has a NUL");
    return true;
}

static bool take_value(struct reading *reading, const struct option_row *option, struct err *err) {
    const char *text;
    struct err cause = ERR_INIT;
    if (!scalar(reading, &text, err))
        return false;
    return set(option, text, reading->arena, reading->config, &cause) ||
           refuse(reading, err, cause.text);
}

static bool take_list(struct reading *reading, const struct option_row *option, struct err *err) {
    if (option->kind != KIND_TEXTS)
        return refuse(reading, err, "this option takes one value");
    if (reading->event.data.sequence_start.anchor != NULL ||
        reading->event.data.sequence_start.tag != NULL)
        return refuse(reading, err, "anchors and tags are not taken");
    for (;;) {
        if (!next(reading, err))
            return false;
        if (reading->event.type == YAML_SEQUENCE_END_EVENT)
            return true;
        if (!take_value(reading, option, err))
            return false;
    }
}

static bool take_option(struct reading *reading, struct err *err) {
    const char *name;
    if (!scalar(reading, &name, err))
        return false;
    const struct option_row *option = find(name, strlen(name));
    if (option == NULL)
        return refuse(reading, err, "there is no such option");
    if (reading->given[option - options])
        return refuse(reading, err, "the option is there twice");
    reading->given[option - options] = true;
    if (!next(reading, err))
        return false;
    return reading->event.type == YAML_SEQUENCE_START_EVENT ? take_list(reading, option, err)
                                                            : take_value(reading, option, err);
}

static bool take_document(struct reading *reading, struct err *err) {
    if (!expect(reading, YAML_STREAM_START_EVENT, "not YAML", err) || !next(reading, err))
        return false;
    if (reading->event.type == YAML_STREAM_END_EVENT) /* nothing but comments */
        return true;
    if (!expect(reading, YAML_MAPPING_START_EVENT, "the file is not a mapping", err))
        return false;
    if (reading->event.data.mapping_start.anchor != NULL ||
        reading->event.data.mapping_start.tag != NULL)
        return refuse(reading, err, "anchors and tags are not taken");
    for (;;) {
        if (!next(reading, err))
            return false;
        if (reading->event.type == YAML_MAPPING_END_EVENT)
            break;
        if (!take_option(reading, err))
            return false;
    }
    return expect(reading, YAML_DOCUMENT_END_EVENT, "the file has more than one mapping", err) &&
           expect(reading, YAML_STREAM_END_EVENT, "the file has more than one document", err);
}

static bool read_file(const char *path, struct arena *arena, struct config *config, bool *given,
                      struct err *err) {
    static unsigned char bytes[CONFIG_FILE_MAX]; /* read once, before anything else runs */
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_errno(err, ERR_CONFIG, errno, "opening %s", path);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    bool whole = !ferror(file) && length < sizeof bytes;
    fclose(file);
    if (!whole)
        return err_set(err, ERR_CONFIG, "%s cannot be read or has %d bytes or more", path,
                       CONFIG_FILE_MAX);
    struct reading reading = {.path = path, .arena = arena, .config = config, .given = given};
    if (!yaml_parser_initialize(&reading.parser))
        return err_set(err, ERR_NO_MEMORY, "reading %s", path);
    yaml_parser_set_input_string(&reading.parser, bytes, length);
    bool worked = take_document(&reading, err);
    if (reading.has_event)
        yaml_event_delete(&reading.event);
    yaml_parser_delete(&reading.parser);
    return worked;
}

/* ---- the command line ------------------------------------------------------------------------ */

struct argument {
    const struct option_row *option; /* NULL: --config, or a flag */
    const char *value;
    bool is_file;
};

/* Takes one option and its value, --name value or --name=value; *at is moved on. */
static bool take_argument(int argc, char *const *argv, int *at, struct argument *ret,
                          struct err *err) {
    const char *text = argv[(*at)++];
    if (strncmp(text, "--", 2) != 0)
        return err_set(err, ERR_CONFIG, "%s is not an option; see --help", text);
    size_t length = strcspn(text + 2, "=");
    *ret = (struct argument){.option = find(text + 2, length)};
    ret->is_file = length == 6 && memcmp(text + 2, "config", 6) == 0;
    if (ret->option == NULL && !ret->is_file)
        return err_set(err, ERR_CONFIG, "there is no option %s; see --help", text);
    if (text[2 + length] == '=')
        ret->value = text + 2 + length + 1;
    else if (*at < argc)
        ret->value = argv[(*at)++];
    else
        return err_set(err, ERR_CONFIG, "%s wants a value", text);
    return true;
}

static bool find_flag(const char *text, enum config_wish *ret) {
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(flags[i].flag, text) == 0) {
            *ret = flags[i].wish;
            return true;
        }
    return false;
}

/* Which file, and that every argument is one. */
static bool scan(int argc, char *const *argv, const char **ret_file, enum config_wish *ret_wish,
                 struct err *err) {
    *ret_file = NULL;
    *ret_wish = CONFIG_RUN;
    for (int at = 1; at < argc;) {
        struct argument argument;
        if (find_flag(argv[at], ret_wish)) {
            at++;
            continue;
        }
        if (!take_argument(argc, argv, &at, &argument, err))
            return false;
        if (argument.is_file)
            *ret_file = argument.value;
    }
    return true;
}

/* A list that is given anew replaces what stood lower in rank. */
static void begin_list(const struct option_row *option, bool *given, struct config *config) {
    if (option->kind == KIND_TEXTS && !*given)
        *(struct text_list *)((char *)config + option->offset) = (struct text_list){.at = NULL};
    *given = true;
}

bool config_parse(int argc, char *const *argv, struct arena *arena, struct config *ret,
                  enum config_wish *ret_wish, struct err *err) {
    bool in_file[OPTIONS] = {false};
    bool in_line[OPTIONS] = {false};
    const char *file;
    memset(ret, 0, sizeof *ret);
    if (!scan(argc, argv, &file, ret_wish, err) ||
        (file != NULL && !read_file(file, arena, ret, in_file, err)))
        return false;
    for (size_t i = 0; i < OPTIONS; i++)
        if (!in_file[i])
            CHECK(set(&options[i], options[i].otherwise, arena, ret, NULL));
    for (int at = 1; at < argc;) {
        struct argument argument;
        enum config_wish wish;
        if (find_flag(argv[at], &wish)) {
            at++;
            continue;
        }
        CHECK(take_argument(argc, argv, &at, &argument, err));
        if (argument.is_file)
            continue;
        begin_list(argument.option, &in_line[argument.option - options], ret);
        if (!set(argument.option, argument.value, arena, ret, err))
            return false;
    }
    return true;
}

/* ---- what is printed from the table ---------------------------------------------------------- */

void config_help(FILE *to) {
    fprintf(to, "usage: sluiced [--config FILE] [--OPTION VALUE]...\n\n"
                "The Sluice gateway. It is started by sluice-super.\n\n");
    for (size_t i = 0; i < OPTIONS; i++)
        fprintf(to, "  --%s VALUE\n        %s%s%s\n", options[i].name, options[i].sentence,
                *options[i].otherwise != '\0' ? "; default " : "", options[i].otherwise);
    fprintf(to, "  --config FILE\n        the same options from a file (YAML)\n");
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        fprintf(to, "  %s\n        %s\n", flags[i].flag, flags[i].sentence);
}

void config_manual(FILE *to) {
    fprintf(
        to,
        "<!-- Made by `sluiced --manual` from gateway/daemon/config.def; a test compares. -->\n"
        "# Configuration\n\n"
        "Every option of `sluiced` is given on the command line as `--name value`, or in the YAML "
        "file that\n`--config` names as `name: value`. The command line goes before the file, the "
        "file before the default.\nAn option that may be repeated is a list in the file; given on "
        "the command line it replaces that list.\nUnknown names are refused. "
        "[conf/sluice.yaml](../conf/sluice.yaml) is an example with all of them.\n\n"
        "| option | default | what it is |\n|---|---|---|\n");
    for (size_t i = 0; i < OPTIONS; i++)
        fprintf(to, "| `%s`%s | %s%s%s | %s |\n", options[i].name,
                options[i].kind == KIND_TEXTS ? " (may be repeated)" : "",
                *options[i].otherwise != '\0' ? "`" : "", options[i].otherwise,
                *options[i].otherwise != '\0' ? "`" : "", options[i].sentence);
    fprintf(
        to,
        "\nA SIZE is a number of bytes, or one with K, M, G, T or P behind it (powers of 1024).\n"
        "At the first start `sluiced` writes a token of the role admin to `STATE-DIR/token` "
        "(mode 0600). The address\nof the port is in `STATE-DIR/listen` while it runs.\n");
}

void config_example(FILE *to) {
    fprintf(to, "# The configuration of sluiced, for --config. All lines show the defaults.\n"
                "# Made by `sluiced --example` from gateway/daemon/config.def; a test compares.\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        fprintf(to, "\n# %s\n", options[i].sentence);
        if (options[i].kind == KIND_TEXTS && *options[i].otherwise != '\0')
            fprintf(to, "#%s:\n#  - %s\n", options[i].name, options[i].otherwise);
        else if (options[i].kind == KIND_TEXTS)
            fprintf(to, "#%s: []\n", options[i].name);
        else
            fprintf(to, "#%s: %s\n", options[i].name,
                    *options[i].otherwise != '\0' ? options[i].otherwise : "\"\"");
    }
}

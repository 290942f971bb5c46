/* SPDX-License-Identifier: Apache-2.0
 *
 * generate.c: openapi.yaml to the tables of routes.h.
 *
 *   routes-generate openapi.yaml routes.c
 *
 * The part of OpenAPI 3.1 that the gateway needs is read, and everything else is refused with its
 * line, so that nothing in the description is without effect. What it insists on beyond OpenAPI:
 * every text and list that a client sends has a maximum; what the x- members name exists.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"

static FILE *out;

#define SCHEMA_KEYS                                                                                \
    "type format minLength maxLength minimum maximum enum default example description properties " \
    "required additionalProperties propertyNames maxProperties items maxItems x-size x-secret "    \
    "x-derived"

/* As a C string; only plain ASCII is written as it is. */
static void put_text(const char *text) {
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f && c != '?')
            fputc(c, out);
        else
            fprintf(out, "\\%03o", c);
    }
    fputc('"', out);
}

static void put_member(const char *name, const char *text) {
    fprintf(out, ".%s = ", name);
    put_text(text);
    fputs(", ", out);
}

/* ---- fields --------------------------------------------------------------------------------- */

/* Where a field stands decides what it may be. */
enum place { IN_PATH, IN_QUERY, IN_BODY, IN_ANSWER };

static const char *type_of(const node *schema, bool *ret_nullable) {
    const node *type = member_needed(schema, "type");
    *ret_nullable = false;
    if (type->type != YAML_SEQUENCE_NODE)
        return text_of(type);
    if (entry_count(type) != 2 || strcmp(text_of(entry(type, 1)), "null") != 0)
        refuse(type, "of lists of types only [TYPE, \"null\"] is supported");
    *ret_nullable = true;
    return text_of(entry(type, 0));
}

static void check_value_type(const node *type) {
    for (size_t i = 0; i < entry_count(type); i++)
        if (!listed("string number boolean", text_of(entry(type, i))))
            refuse(type, "an entry is a string, number or boolean");
}

static bool is_open(const node *schema) {
    const node *more = member(schema, "additionalProperties");
    return more != NULL && more->type == YAML_SCALAR_NODE &&
           member_true(schema, "additionalProperties");
}

static void put_limits(const node *at, uint64_t min, uint64_t max, enum place place) {
    if (place != IN_ANSWER && max == 0)
        refuse(at, "what a client sends needs a maximum");
    if (min > max && max != 0)
        refuse(at, "the minimum is above the maximum");
    fprintf(out, ".min = UINT64_C(%llu), .max = UINT64_C(%llu), ", (unsigned long long)min,
            (unsigned long long)max);
}

/* An object in a field is a bag of entries, or, in an answer, anything. */
static void put_object(const node *schema, enum place place) {
    const node *values = member_needed(schema, "additionalProperties");
    if (values->type == YAML_SCALAR_NODE) {
        if (place != IN_ANSWER || !is_open(schema))
            refuse(schema, "an object here has additionalProperties with a schema");
        fputs(".kind = ROUTE_OBJECT, ", out);
        return;
    }
    permit(values, "an entry", "type maxLength");
    const node *type = member_needed(values, "type");
    bool text_only = type->type == YAML_SCALAR_NODE;
    if (text_only && strcmp(text_of(type), "string") != 0)
        refuse(type, "an entry of one type is a string");
    if (!text_only)
        check_value_type(type);
    const node *names = member_needed(schema, "propertyNames");
    permit(names, "propertyNames", "maxLength");
    uint64_t name_max = member_number(names, "maxLength", 0);
    uint64_t value_max = member_number(values, "maxLength", 0);
    if (name_max == 0 || value_max == 0)
        refuse(schema, "names and values of entries need a maxLength");
    fputs(".kind = ROUTE_PAIRS, ", out);
    put_limits(schema, 0, member_number(schema, "maxProperties", 0), place);
    fprintf(out, ".text_only = %s, .name_max = %llu, .value_max = %llu, ",
            text_only ? "true" : "false", (unsigned long long)name_max,
            (unsigned long long)value_max);
}

static void put_array(const node *schema, enum place place) {
    if (place != IN_ANSWER)
        refuse(schema, "a client sends no arrays");
    const char *name;
    const node *items = resolve(member_needed(schema, "items"), "schemas", &name);
    if (name[0] == '\0' && !is_open(items))
        refuse(items, "elements are a $ref, or objects of anything");
    fprintf(out, ".kind = ROUTE_ARRAY, .max = %llu, ",
            (unsigned long long)member_number(schema, "maxItems", 0));
    put_member("items", name);
}

static void put_kind(const node *schema, const char *type, enum place place) {
    bool size = member_true(schema, "x-size");
    if (size && strcmp(type, "integer") != 0)
        refuse(schema, "x-size is for integers");
    if (strcmp(type, "string") == 0) {
        fputs(".kind = ROUTE_TEXT, ", out);
        put_limits(schema, member_number(schema, "minLength", 0),
                   member_number(schema, "maxLength", 0), place);
    } else if (strcmp(type, "integer") == 0) {
        fprintf(out, ".kind = %s, ", size ? "ROUTE_SIZE" : "ROUTE_NUMBER");
        put_limits(schema, member_number(schema, "minimum", 0), member_number(schema, "maximum", 0),
                   place);
    } else if (strcmp(type, "boolean") == 0) {
        fputs(".kind = ROUTE_BOOLEAN, ", out);
    } else if (strcmp(type, "object") == 0) {
        put_object(schema, place);
    } else if (strcmp(type, "array") == 0) {
        put_array(schema, place);
    } else {
        refuse(schema, "type \"%s\" is not supported", type);
    }
}

static void put_enum(const node *schema) {
    const node *values = member(schema, "enum");
    if (values == NULL)
        return;
    fputs(".one_of = (const char *const[]){", out);
    for (size_t i = 0; i < entry_count(values); i++) {
        put_text(text_of(entry(values, i)));
        fputs(", ", out);
    }
    fputs("NULL}, ", out);
}

static void put_field(const char *name, const char *description, bool required, const node *schema,
                      enum place place) {
    permit(schema, "a schema", SCHEMA_KEYS);
    bool nullable;
    const char *type = type_of(schema, &nullable);
    if (description[0] == '\0')
        refuse(schema, "\"%s\" has no description", name);
    if (place != IN_ANSWER && (nullable || member_true(schema, "x-derived")))
        refuse(schema, "null and x-derived are for answers");
    const node *example = member(schema, "example");
    fputs("    {", out);
    put_member("name", name);
    put_member("description", description);
    put_kind(schema, type, place);
    put_enum(schema);
    put_member("format", member_text(schema, "format"));
    put_member("when_absent", member_text(schema, "default"));
    put_member("example",
               example != NULL && example->type == YAML_SCALAR_NODE ? text_of(example) : "");
    if (strcmp(type, "array") != 0)
        put_member("items", "");
    fprintf(out, ".required = %d, .secret = %d, .nullable = %d, .derived = %d},\n", required,
            member_true(schema, "x-secret"), nullable, member_true(schema, "x-derived"));
}

/* ---- schemas -------------------------------------------------------------------------------- */

static bool requires(const node *schema, const char *name) {
    const node *list = member(schema, "required");
    for (size_t i = 0; i < entry_count(list); i++)
        if (strcmp(text_of(entry(list, i)), name) == 0)
            return true;
    return false;
}

/* Whether some operation takes the schema as its body: then the limits of clients hold. */
static bool is_body(const char *name) {
    const node *paths = member_needed(document_root(), "paths");
    for (size_t i = 0; i < pair_count(paths); i++) {
        const node *item = pair_value(paths, i);
        for (size_t j = 0; j < pair_count(item); j++) {
            const node *body = member(pair_value(item, j), "requestBody");
            const node *schema =
                member(member(member(body, "content"), "application/json"), "schema");
            const char *found = "";
            if (schema != NULL)
                resolve(schema, "schemas", &found);
            if (strcmp(found, name) == 0)
                return true;
        }
    }
    return false;
}

static void put_schema(const char *name, const node *schema) {
    permit(schema, "an object schema", "type additionalProperties required properties");
    bool nullable;
    if (strcmp(type_of(schema, &nullable), "object") != 0 || nullable)
        refuse(schema, "a schema here is an object");
    member_needed(schema, "additionalProperties");
    const node *list = member(schema, "required");
    const node *properties = member_needed(schema, "properties");
    for (size_t i = 0; i < entry_count(list); i++)
        if (member(properties, text_of(entry(list, i))) == NULL)
            refuse(list, "there is no \"%s\" that could be required", text_of(entry(list, i)));
    fprintf(out, "static const struct route_field schema_%s[] = {\n", name);
    for (size_t i = 0; i < pair_count(properties); i++) {
        const char *field = pair_key(properties, i);
        const node *of = pair_value(properties, i);
        put_field(field, member_text(of, "description"), requires(schema, field), of,
                  is_body(name) ? IN_BODY : IN_ANSWER);
    }
    fputs("};\n", out);
}

static void put_schemas(const node *schemas) {
    for (size_t i = 0; i < pair_count(schemas); i++)
        put_schema(pair_key(schemas, i), pair_value(schemas, i));
    fputs("const struct route_schema route_schemas[] = {\n", out);
    for (size_t i = 0; i < pair_count(schemas); i++) {
        const char *name = pair_key(schemas, i);
        fprintf(out, "    {\"%s\", %s, schema_%s, %zu},\n", name,
                is_open(pair_value(schemas, i)) ? "true" : "false", name,
                pair_count(member(pair_value(schemas, i), "properties")));
    }
    fprintf(out, "};\nconst size_t route_schema_count = %zu;\n", pair_count(schemas));
}

/* ---- operations ----------------------------------------------------------------------------- */

#define PARAMETERS_MAX 16 /* of one operation */

struct operation {
    const node *at;
    const char *method, *path, *id;
    const node *target;
    const node *query[PARAMETERS_MAX];
    size_t query_count;
    const char *body;   /* schema's name or "" */
    const char *answer; /* likewise */
    bool creates, deletes;
    const char *columns_of; /* the schema whose fields are the table's columns */
};

static void read_parameter(struct operation *operation, const node *reference) {
    const char *unused;
    const node *parameter = resolve(reference, "parameters", &unused);
    permit(parameter, "a parameter", "name in required description schema");
    const char *name = text_of(member_needed(parameter, "name"));
    const char *where = text_of(member_needed(parameter, "in"));
    if (strcmp(where, "path") == 0) {
        char braced[64];
        snprintf(braced, sizeof braced, "{%s}", name);
        if (operation->target != NULL || strstr(operation->path, braced) == NULL)
            refuse(reference, "the path has no other parameter \"%s\"", name);
        if (!member_true(parameter, "required"))
            refuse(parameter, "a path parameter is required");
        operation->target = parameter;
    } else if (strcmp(where, "query") == 0) {
        if (operation->query_count == PARAMETERS_MAX)
            refuse(reference, "more than %d parameters", PARAMETERS_MAX);
        operation->query[operation->query_count++] = parameter;
    } else if (strcmp(where, "header") == 0) {
        if (!listed("Idempotency-Key Prefer If-Match Last-Event-ID", name))
            refuse(parameter, "the server does not know the header %s", name);
    } else {
        refuse(parameter, "parameters in \"%s\" are not supported", where);
    }
}

static void read_parameters(struct operation *operation) {
    const node *parameters = member(operation->at, "parameters");
    for (size_t i = 0; i < entry_count(parameters); i++)
        read_parameter(operation, entry(parameters, i));
    const char *brace = strchr(operation->path, '{');
    if ((brace != NULL) != (operation->target != NULL))
        refuse(operation->at, "the path and the path parameters differ");
    if (brace != NULL && strchr(brace + 1, '{') != NULL)
        refuse(operation->at, "more than one path parameter is not supported");
}

static const char *schema_of_content(const node *content) {
    const char *name = "";
    const node *json = member(content, "application/json");
    if (json != NULL) {
        permit(json, "a content", "schema");
        resolve(member_needed(json, "schema"), "schemas", &name);
        if (name[0] == '\0')
            refuse(json, "a body's schema is a $ref");
    }
    return name;
}

static void read_responses(struct operation *operation) {
    const node *responses = member_needed(operation->at, "responses");
    permit(responses, "responses", "200 201 202 204 default");
    operation->answer = "";
    for (size_t i = 0; i < pair_count(responses); i++) {
        const char *unused;
        const char *status = pair_key(responses, i);
        const node *response = resolve(pair_value(responses, i), "responses", &unused);
        permit(response, "a response", "description headers content");
        member_needed(response, "description");
        const node *headers = member(response, "headers");
        for (size_t j = 0; j < pair_count(headers); j++)
            resolve(pair_value(headers, j), "headers", &unused);
        if (strcmp(status, "200") == 0 || strcmp(status, "201") == 0)
            operation->answer = schema_of_content(member(response, "content"));
    }
    operation->creates = member(responses, "201") != NULL;
    operation->deletes = member(responses, "204") != NULL;
    if (operation->creates + operation->deletes + (member(responses, "200") != NULL) > 1)
        refuse(responses, "200, 201 and 204 exclude each other");
}

static void read_body(struct operation *operation) {
    const node *body = member(operation->at, "requestBody");
    operation->body = "";
    if (body == NULL)
        return;
    permit(body, "a request body", "required content");
    permit(member_needed(body, "content"), "a request's content", "application/json");
    operation->body = schema_of_content(member(body, "content"));
}

static void check_action(const struct operation *operation) {
    const node *at = operation->at;
    const char *action = text_of(member_needed(at, "x-action"));
    if (!listed("list get submit other", action))
        refuse(at, "x-action is list, get, submit or other");
    if ((strcmp(action, "submit") == 0) != (member(at, "x-operation") != NULL))
        refuse(at, "x-operation belongs to x-action: submit, and to no other");
    if (strcmp(action, "other") != 0 && member(at, "x-noun") == NULL)
        refuse(at, "x-noun is missing");
    if (strcmp(action, "submit") != 0 && operation->body[0] != '\0')
        refuse(at, "only a submit takes a body");
    if (strcmp(action, "submit") == 0 && strcmp(operation->method, "GET") == 0)
        refuse(at, "a GET changes nothing");
    member_needed(at, "x-permission");
    member_needed(at, "summary");
}

static const node *schema_fields(const char *name) {
    if (name[0] == '\0')
        return NULL;
    const node *schemas = member(member(document_root(), "components"), "schemas");
    return member_needed(member_needed(schemas, name), "properties");
}

/* The fields of a table's rows: of the answer, or of the elements of its only array. */
static const node *row_fields(const struct operation *operation) {
    const node *fields = schema_fields(operation->answer);
    for (size_t i = 0; i < pair_count(fields); i++) {
        const char *name;
        const node *items = member(pair_value(fields, i), "items");
        if (items == NULL)
            continue;
        resolve(items, "schemas", &name);
        if (name[0] != '\0')
            return schema_fields(name);
    }
    if (operation->answer[0] == '\0')
        return schema_fields("Operation");
    return fields;
}

static void check_words(const node *at, const char *list, const node *fields) {
    char word[64];
    while (*list != '\0') {
        size_t run = strcspn(list, " ");
        snprintf(word, sizeof word, "%.*s", (int)run, list);
        if (member(fields, word) == NULL)
            refuse(at, "there is no field \"%s\"", word);
        list += run;
        list += strspn(list, " ");
    }
}

static void put_cli(const struct operation *operation) {
    const node *list = member(operation->at, "x-cli");
    if (entry_count(list) == 0)
        return;
    fprintf(out, "static const struct route_cli cli_%s[] = {\n", operation->id);
    for (size_t i = 0; i < entry_count(list); i++) {
        const node *row = entry(list, i);
        permit(row, "x-cli", "words positional columns summary");
        check_words(row, member_text(row, "positional"), schema_fields(operation->body));
        check_words(row, member_text(row, "columns"), row_fields(operation));
        const char *summary = member_text(row, "summary");
        fputs("    {", out);
        put_member("words", text_of(member_needed(row, "words")));
        put_member("summary", summary[0] != '\0' ? summary : member_text(operation->at, "summary"));
        put_member("positional", member_text(row, "positional"));
        put_member("columns", member_text(row, "columns"));
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

static void put_parameter(const node *parameter, enum place place) {
    put_field(member_text(parameter, "name"), member_text(parameter, "description"),
              member_true(parameter, "required"), member_needed(parameter, "schema"), place);
}

static void put_parts(const struct operation *operation) {
    if (operation->target != NULL) {
        fprintf(out, "static const struct route_field target_%s[] = {\n", operation->id);
        put_parameter(operation->target, IN_PATH);
        fputs("};\n", out);
    }
    if (operation->query_count > 0) {
        fprintf(out, "static const struct route_field query_%s[] = {\n", operation->id);
        for (size_t i = 0; i < operation->query_count; i++)
            put_parameter(operation->query[i], IN_QUERY);
        fputs("};\n", out);
    }
    put_cli(operation);
}

static void put_operation(const struct operation *operation) {
    static const struct {
        const char *text, *symbol;
    } actions[] = {{"list", "ROUTE_LIST"},
                   {"get", "ROUTE_GET"},
                   {"submit", "ROUTE_SUBMIT"},
                   {"other", "ROUTE_OTHER"}};
    const node *at = operation->at;
    fputs("    {", out);
    put_member("id", operation->id);
    put_member("tag", text_of(entry(member_needed(at, "tags"), 0)));
    put_member("method", operation->method);
    put_member("path", operation->path);
    put_member("summary", member_text(at, "summary"));
    put_member("description", member_text(at, "description"));
    put_member("permission", member_text(at, "x-permission"));
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(actions[i].text, member_text(at, "x-action")) == 0)
            fprintf(out, ".action = %s, ", actions[i].symbol);
    put_member("noun", member_text(at, "x-noun"));
    put_member("operation", member_text(at, "x-operation"));
    put_member("answer", operation->answer);
    if (operation->target != NULL)
        fprintf(out, ".target = target_%s, ", operation->id);
    if (operation->query_count > 0)
        fprintf(out, ".query = query_%s, .query_count = %zu, ", operation->id,
                operation->query_count);
    if (operation->body[0] != '\0')
        fprintf(out, ".body = schema_%s, .body_count = %zu, ", operation->body,
                pair_count(schema_fields(operation->body)));
    size_t cli = entry_count(member(at, "x-cli"));
    if (cli > 0)
        fprintf(out, ".cli = cli_%s, .cli_count = %zu, ", operation->id, cli);
    fprintf(out, ".creates = %d, .deletes = %d},\n", operation->creates, operation->deletes);
}

static void check_tag(const node *at) {
    const node *tags = member_needed(at, "tags");
    const node *known = member_needed(document_root(), "tags");
    if (entry_count(tags) != 1)
        refuse(tags, "an operation has one tag");
    for (size_t i = 0; i < entry_count(known); i++)
        if (strcmp(member_text(entry(known, i), "name"), text_of(entry(tags, 0))) == 0)
            return;
    refuse(tags, "there is no tag \"%s\"", text_of(entry(tags, 0)));
}

static void read_operation(struct operation *operation, const char *path, const char *method,
                           const node *at) {
    static const char *const methods[][2] = {
        {"get", "GET"}, {"post", "POST"}, {"patch", "PATCH"}, {"delete", "DELETE"}};
    permit(at, "an operation",
           "tags operationId summary description parameters requestBody responses security "
           "x-permission x-action x-noun x-operation x-cli");
    *operation = (struct operation){.at = at, .path = path};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (strcmp(methods[i][0], method) == 0)
            operation->method = methods[i][1];
    operation->id = text_of(member_needed(at, "operationId"));
    check_tag(at);
    read_parameters(operation);
    read_body(operation);
    read_responses(operation);
    check_action(operation);
}

/* Calls `each` for every operation; the count. */
static size_t for_operations(void (*each)(const struct operation *operation)) {
    const node *paths = member_needed(document_root(), "paths");
    size_t count = 0;
    for (size_t i = 0; i < pair_count(paths); i++) {
        const node *item = pair_value(paths, i);
        permit(item, "a path", "get post patch delete");
        for (size_t j = 0; j < pair_count(item); j++) {
            struct operation operation;
            read_operation(&operation, pair_key(paths, i), pair_key(item, j), pair_value(item, j));
            each(&operation);
            count++;
        }
    }
    return count;
}

/* ---- names that must be unique -------------------------------------------------------------- */

#define NAMES_MAX 256 /* operation ids and commands of one description */
static const char *names[NAMES_MAX];
static size_t name_count;

static void claim(const node *at, const char *name) {
    for (size_t i = 0; i < name_count; i++)
        if (strcmp(names[i], name) == 0)
            refuse(at, "\"%s\" is here twice", name);
    if (name_count == NAMES_MAX)
        refuse(at, "more than %d names", NAMES_MAX);
    names[name_count++] = name;
}

static void claim_names(const struct operation *operation) {
    claim(operation->at, operation->id);
    const node *list = member(operation->at, "x-cli");
    for (size_t i = 0; i < entry_count(list); i++)
        claim(entry(list, i), text_of(member_needed(entry(list, i), "words")));
}

static void put_head(const node *root) {
    permit(root, "the description", "openapi info servers security tags paths components");
    permit(member_needed(root, "components"), "components",
           "securitySchemes headers parameters responses schemas");
    fputs("/* Generated from openapi.yaml; not to be edited. */\n#include \"routes/routes.h\"\n\n"
          "const char route_description[] = ",
          out);
    put_text(text_of(member_needed(member_needed(root, "info"), "description")));
    fputs(";\nconst struct route_tag route_tags[] = {\n", out);
    const node *tags = member_needed(root, "tags");
    for (size_t i = 0; i < entry_count(tags); i++) {
        fputs("    {", out);
        put_member("name", text_of(member_needed(entry(tags, i), "name")));
        put_member("description", text_of(member_needed(entry(tags, i), "description")));
        fputs("},\n", out);
    }
    fprintf(out, "};\nconst size_t route_tag_count = %zu;\n", entry_count(tags));
}

/* Only a whole description becomes a file: a refused one leaves the old file as it was. */
static bool write_file(const char *path, const char *text, size_t length) {
    FILE *file = fopen(path, "w");
    bool written = file != NULL && fwrite(text, 1, length, file) == length;
    if (file != NULL)
        written = fclose(file) == 0 && written;
    if (!written) {
        perror(path);
        remove(path);
    }
    return written;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: routes-generate openapi.yaml routes.c\n");
        return 2;
    }
    document_open(argv[1]);
    char *text = NULL;
    size_t length = 0;
    out = open_memstream(&text, &length);
    if (out == NULL)
        abort();
    const node *root = document_root();
    put_head(root);
    put_schemas(member_needed(member_needed(root, "components"), "schemas"));
    for_operations(claim_names);
    for_operations(put_parts);
    fputs("const struct route routes[] = {\n", out);
    size_t count = for_operations(put_operation);
    fprintf(out, "};\nconst size_t route_count = %zu;\n", count);
    if (fclose(out) != 0)
        abort();
    bool written = write_file(argv[2], text, length);
    free(text);
    document_close();
    return written ? 0 : 1;
}

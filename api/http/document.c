/* SPDX-License-Identifier: Apache-2.0
 *
 * document.c: libyaml's document with names and line numbers.
 */
#include "document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static yaml_document_t document;
static const char *document_path;

_Noreturn void refuse(const node *at, const char *format, ...) {
    fprintf(stderr, "%s:%zu: ", document_path, at != NULL ? at->start_mark.line + 1 : 0);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* YAML lets a key stand twice, and the first would win silently. */
static void refuse_doubles(void) {
    for (const node *at = document.nodes.start; at < document.nodes.top; at++)
        for (size_t i = 0; at->type == YAML_MAPPING_NODE && i < pair_count(at); i++)
            if (member(at, pair_key(at, i)) != pair_value(at, i))
                refuse(pair_value(at, i), "\"%s\" is here twice", pair_key(at, i));
}

void document_open(const char *path) {
    document_path = path;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_file(&parser, file);
    if (!yaml_parser_load(&parser, &document)) {
        fprintf(stderr, "%s:%zu: %s\n", path, parser.problem_mark.line + 1,
                parser.problem != NULL ? parser.problem : "not YAML");
        exit(1);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    if (document_root() == NULL || document_root()->type != YAML_MAPPING_NODE)
        refuse(document_root(), "this is no mapping");
    refuse_doubles();
}

void document_close(void) {
    yaml_document_delete(&document);
}

const node *document_root(void) {
    return yaml_document_get_root_node(&document);
}

size_t pair_count(const node *mapping) {
    if (mapping == NULL)
        return 0;
    if (mapping->type != YAML_MAPPING_NODE)
        refuse(mapping, "a mapping belongs here");
    return (size_t)(mapping->data.mapping.pairs.top - mapping->data.mapping.pairs.start);
}

const char *text_of(const node *scalar) {
    if (scalar == NULL)
        return "";
    if (scalar->type != YAML_SCALAR_NODE)
        refuse(scalar, "a single value belongs here");
    return (const char *)scalar->data.scalar.value;
}

const char *pair_key(const node *mapping, size_t index) {
    return text_of(yaml_document_get_node(&document, mapping->data.mapping.pairs.start[index].key));
}

const node *pair_value(const node *mapping, size_t index) {
    return yaml_document_get_node(&document, mapping->data.mapping.pairs.start[index].value);
}

const node *member(const node *mapping, const char *key) {
    for (size_t i = 0; i < pair_count(mapping); i++)
        if (strcmp(pair_key(mapping, i), key) == 0)
            return pair_value(mapping, i);
    return NULL;
}

const node *member_needed(const node *mapping, const char *key) {
    const node *found = member(mapping, key);
    if (found == NULL)
        refuse(mapping, "\"%s\" is missing", key);
    return found;
}

const char *member_text(const node *mapping, const char *key) {
    return text_of(member(mapping, key));
}

bool member_true(const node *mapping, const char *key) {
    const node *found = member(mapping, key);
    const char *text = text_of(found);
    if (found != NULL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        refuse(found, "\"%s\" is neither true nor false", text);
    return strcmp(text, "true") == 0;
}

uint64_t member_number(const node *mapping, const char *key, uint64_t otherwise) {
    const node *found = member(mapping, key);
    if (found == NULL)
        return otherwise;
    const char *text = text_of(found);
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        refuse(found, "\"%s\" is no whole number", text);
    return value;
}

size_t entry_count(const node *sequence) {
    if (sequence == NULL)
        return 0;
    if (sequence->type != YAML_SEQUENCE_NODE)
        refuse(sequence, "a list belongs here");
    return (size_t)(sequence->data.sequence.items.top - sequence->data.sequence.items.start);
}

const node *entry(const node *sequence, size_t index) {
    return yaml_document_get_node(&document, sequence->data.sequence.items.start[index]);
}

bool listed(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; length > 0 && *at != '\0';) {
        size_t run = strcspn(at, " ");
        if (run == length && memcmp(at, word, run) == 0)
            return true;
        at += run;
        at += strspn(at, " ");
    }
    return false;
}

void permit(const node *mapping, const char *what, const char *keys) {
    for (size_t i = 0; i < pair_count(mapping); i++)
        if (!listed(keys, pair_key(mapping, i)))
            refuse(pair_value(mapping, i), "%s with \"%s\" is not supported", what,
                   pair_key(mapping, i));
}

const node *resolve(const node *at, const char *kind, const char **ret_name) {
    const node *reference = member(at, "$ref");
    *ret_name = "";
    if (reference == NULL)
        return at;
    permit(at, "a $ref", "$ref");
    char prefix[64];
    size_t length = (size_t)snprintf(prefix, sizeof prefix, "#/components/%s/", kind);
    const char *text = text_of(reference);
    if (strncmp(text, prefix, length) != 0)
        refuse(reference, "a reference to %s begins with %s", kind, prefix);
    const node *components = member_needed(document_root(), "components");
    const node *found = member(member_needed(components, kind), text + length);
    if (found == NULL)
        refuse(reference, "there is no %s", text);
    if (member(found, "$ref") != NULL)
        refuse(found, "a reference to a reference is not supported");
    *ret_name = text + length;
    return found;
}

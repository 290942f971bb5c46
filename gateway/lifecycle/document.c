/* SPDX-License-Identifier: Apache-2.0
 *
 * document.c: libyaml's events, taken one by one, so that a limit ends the reading where it is met.
 */
#include "lifecycle/document.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/num.h"

struct building {
    const char *file;
    const char *bytes;
    size_t length;
    struct arena *arena;
    struct err *err;
    struct node *parents[DOCUMENT_DEPTH_MAX];
    unsigned depth;
    unsigned nodes;
    const char *key; /* read, its value not yet */
    yaml_mark_t key_mark;
    struct node *root;
};

__attribute__((format(printf, 5, 0))) static bool wrong_at(const char *file, size_t line,
                                                           size_t column, struct err *err,
                                                           const char *format, va_list args) {
    char text[ERR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, args);
    return err_set(err, ERR_MANIFEST, "%s:%zu:%zu: %s", file, line, column, text);
}

bool node_wrong(const struct node *node, const char *file, struct err *err, const char *format,
                ...) {
    va_list args;
    va_start(args, format);
    wrong_at(file, node->line, node->column, err, format, args);
    va_end(args);
    return false;
}

bool node_key_wrong(const struct node *node, const char *file, struct err *err, const char *format,
                    ...) {
    va_list args;
    va_start(args, format);
    wrong_at(file, node->key_line, node->key_column, err, format, args);
    va_end(args);
    return false;
}

__attribute__((format(printf, 3, 4))) static bool wrong(struct building *building, yaml_mark_t mark,
                                                        const char *format, ...) {
    va_list args;
    va_start(args, format);
    wrong_at(building->file, mark.line + 1, mark.column + 1, building->err, format, args);
    va_end(args);
    return false;
}

const struct node *node_get(const struct node *map, const char *key) {
    for (const struct node *child = map->first; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

static bool full(struct building *building) {
    return err_set(building->err, ERR_NO_MEMORY, "%s: there is no memory for it", building->file);
}

/* A value, as a child of whatever is open. */
static struct node *add_node(struct building *building, const yaml_event_t *event,
                             enum node_kind kind) {
    if (building->nodes++ == DOCUMENT_NODES_MAX) {
        wrong(building, event->start_mark, "there are more than %d values; shorten the file",
              DOCUMENT_NODES_MAX);
        return NULL;
    }
    struct node *node = arena_alloc(building->arena, sizeof *node);
    if (node == NULL) {
        full(building);
        return NULL;
    }
    node->kind = kind;
    node->text = "";
    node->line = (uint32_t)event->start_mark.line + 1;
    node->column = (uint32_t)event->start_mark.column + 1;
    if (building->depth == 0) {
        building->root = node;
        return node;
    }
    struct node *parent = building->parents[building->depth - 1];
    if (parent->kind == NODE_MAP) {
        node->key = building->key;
        node->key_line = (uint32_t)building->key_mark.line + 1;
        node->key_column = (uint32_t)building->key_mark.column + 1;
        building->key = NULL;
    }
    *(parent->last != NULL ? &parent->last->next : &parent->first) = node;
    parent->last = node;
    parent->count++;
    return node;
}

static bool awaits_key(const struct building *building) {
    return building->depth > 0 && building->key == NULL &&
           building->parents[building->depth - 1]->kind == NODE_MAP;
}

static bool on_key(struct building *building, const yaml_event_t *event, const char *text) {
    const struct node *map = building->parents[building->depth - 1];
    const struct node *same = node_get(map, text);
    char shown[64];
    text_copy(shown, sizeof shown, text);
    if (same != NULL)
        return wrong(building, event->start_mark,
                     "the key \"%s\" is there already, in line %u; keep one of them", shown,
                     same->key_line);
    building->key = text;
    building->key_mark = event->start_mark;
    return true;
}

static bool means_nothing(const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static bool on_scalar(struct building *building, const yaml_event_t *event) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (event->data.scalar.anchor != NULL)
        return wrong(building, event->start_mark, "anchors (&) are not taken; write the value out");
    if (event->data.scalar.tag != NULL)
        return wrong(building, event->start_mark, "tags (!) are not taken; leave it out");
    if (!text_is_utf8(value, length)) /* libyaml made sure of all but the NUL */
        return wrong(building, event->start_mark, "a NUL is not taken; leave it out");
    const char *text = arena_strndup(building->arena, value, length);
    if (text == NULL)
        return full(building);
    if (awaits_key(building))
        return on_key(building, event, text);
    struct node *node = add_node(building, event, NODE_TEXT);
    if (node == NULL)
        return false;
    node->text = text;
    node->empty = means_nothing(event);
    return true;
}

static bool on_open(struct building *building, const yaml_event_t *event, enum node_kind kind) {
    const yaml_char_t *anchor =
        kind == NODE_MAP ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    const yaml_char_t *tag =
        kind == NODE_MAP ? event->data.mapping_start.tag : event->data.sequence_start.tag;
    if (anchor != NULL)
        return wrong(building, event->start_mark, "anchors (&) are not taken; write the value out");
    if (tag != NULL)
        return wrong(building, event->start_mark, "tags (!) are not taken; leave it out");
    if (awaits_key(building))
        return wrong(building, event->start_mark, "a key must be text");
    if (building->depth == DOCUMENT_DEPTH_MAX)
        return wrong(building, event->start_mark, "this is nested deeper than %d levels",
                     DOCUMENT_DEPTH_MAX);
    struct node *node = add_node(building, event, kind);
    if (node == NULL)
        return false;
    building->parents[building->depth++] = node;
    return true;
}

static bool on_event(struct building *building, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (building->root != NULL)
            return wrong(building, event->start_mark, "a second document begins; keep one");
        if (event->data.document_start.version_directive != NULL ||
            event->data.document_start.tag_directives.start !=
                event->data.document_start.tag_directives.end)
            return wrong(building, event->start_mark,
                         "directives (%%) are not taken; leave it out");
        return true;
    case YAML_ALIAS_EVENT:
        return wrong(building, event->start_mark, "aliases (*) are not taken; write the value out");
    case YAML_SCALAR_EVENT:
        return on_scalar(building, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(building, event, NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return on_open(building, event, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        building->depth--;
        return true;
    default:
        return true;
    }
}

/* What libyaml's reader refuses has an offset and no mark. */
static yaml_mark_t mark_of_offset(const struct building *building, size_t offset) {
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < building->length; i++) {
        if (building->bytes[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)building->bytes[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static bool not_yaml(struct building *building, const yaml_parser_t *parser) {
    if (parser->error == YAML_MEMORY_ERROR)
        return full(building);
    const char *problem = parser->problem != NULL ? parser->problem : "it is malformed";
    yaml_mark_t mark = parser->error == YAML_READER_ERROR
                           ? mark_of_offset(building, parser->problem_offset)
                           : parser->problem_mark;
    return wrong(building, mark, "this is not YAML: %s", problem);
}

static bool read_all(struct building *building, yaml_parser_t *parser) {
    bool ended = false;
    while (!ended) { /* each event takes some of the bytes, or closes what is open */
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return not_yaml(building, parser);
        ended = event.type == YAML_STREAM_END_EVENT;
        bool good = on_event(building, &event);
        yaml_event_delete(&event);
        if (!good)
            return false;
    }
    return true;
}

bool document_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    const struct node **ret, struct err *err) {
    struct building building = {
        .file = file, .bytes = bytes, .length = length, .arena = arena, .err = err};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return full(&building);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, bytes != NULL ? bytes : "", length); /* not NULL */
    bool good = read_all(&building, &parser);
    yaml_parser_delete(&parser);
    if (!good)
        return false;
    yaml_mark_t start = {0};
    if (building.root == NULL)
        return wrong(&building, start, "the file is empty");
    if (building.root->kind != NODE_MAP)
        return node_wrong(building.root, file, err, "the file must hold keys and values");
    *ret = building.root;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * document.h: a YAML text within limits, as a tree that remembers where everything stood.
 *
 * What makes YAML surprising is refused: aliases, anchors, tags, directives, several documents,
 * duplicate keys, keys that are not text, UTF-16. Values are text; their meaning is the reader's.
 *
 * Life cycle: document_parse builds the tree in an arena; it lives as long as that does.
 */
#ifndef SLUICE_LIFECYCLE_DOCUMENT_H
#define SLUICE_LIFECYCLE_DOCUMENT_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define DOCUMENT_DEPTH_MAX 8                 /* driver.yaml needs 4 */
#define DOCUMENT_NODES_MAX 4096              /* 128 properties of ten keys are 1,400 */
#define DOCUMENT_ARENA_MAX (2 * 1024 * 1024) /* that many nodes and MANIFEST_BYTES_MAX of text */

enum node_kind { NODE_TEXT, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool empty;            /* NODE_TEXT: nothing, ~ or null, not in quotes */
    uint32_t line, column; /* from 1 */
    const char *text;      /* NODE_TEXT: UTF-8 without NUL inside; "" otherwise */
    const char *key;       /* in a map; NULL elsewhere */
    uint32_t key_line, key_column;
    struct node *first, *last, *next; /* children, in order */
    uint32_t count;
};

/* MANIFEST with "file:line:column: what". *ret is the root, a map. Never crashes on any input. */
bool document_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    const struct node **ret, struct err *err);
/* The child of that key, or NULL. */
const struct node *node_get(const struct node *map, const char *key);
/* MANIFEST with "file:line:column: " of the node (or its key) in front. Returns false. */
bool node_wrong(const struct node *node, const char *file, struct err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool node_key_wrong(const struct node *node, const char *file, struct err *err, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));

#endif

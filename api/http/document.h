/* SPDX-License-Identifier: Apache-2.0
 *
 * document.h: a YAML file as a tree of nodes, for the generator.
 *
 * A build tool stops at the first mistake: every function here that meets one prints
 * "file:line: what" and exits with 1. One document a process. Nodes live until document_close.
 */
#ifndef SLUICE_API_HTTP_DOCUMENT_H
#define SLUICE_API_HTTP_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yaml.h>

typedef yaml_node_t node;

void document_open(const char *path);
void document_close(void);
const node *document_root(void);

_Noreturn void refuse(const node *at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The value of `key` in a mapping; NULL: there is none. */
const node *member(const node *mapping, const char *key);
const node *member_needed(const node *mapping, const char *key);
/* The text of a scalar member; "" when there is none. */
const char *text_of(const node *scalar);
const char *member_text(const node *mapping, const char *key);
bool member_true(const node *mapping, const char *key);
/* A whole number; `otherwise` when there is none. */
uint64_t member_number(const node *mapping, const char *key, uint64_t otherwise);

/* Pairs of a mapping and entries of a sequence. NULL has none of either. */
size_t pair_count(const node *mapping);
const char *pair_key(const node *mapping, size_t index);
const node *pair_value(const node *mapping, size_t index);
size_t entry_count(const node *sequence);
const node *entry(const node *sequence, size_t index);

/* Refuses a key that is not in the space-separated list; `what` names the mapping. */
void permit(const node *mapping, const char *what, const char *keys);
/* Whether `word` is one of the space-separated `list`. */
bool listed(const char *list, const char *word);
/* What "#/components/KIND/Name" points to, or the node itself. ret_name: Name or "". */
const node *resolve(const node *at, const char *kind, const char **ret_name);

#endif

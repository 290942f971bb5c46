/* SPDX-License-Identifier: Apache-2.0
 *
 * messages.h: a driver's texts for people, resources/messages.<language>.yaml: a flat map from key
 * to text.
 *
 * Life cycle: messages_load fills a struct messages from the arena; it lives as long as that does.
 * Not changed afterwards; any thread may read it.
 */
#ifndef SLUICE_LIFECYCLE_MESSAGES_H
#define SLUICE_LIFECYCLE_MESSAGES_H

#include "base/arena.h"
#include "base/err.h"
#include "base/shape.h"

#define MESSAGES_BYTES_MAX (256 * 1024) /* of one file */
#define MESSAGES_MAX 1024        /* texts: labels and descriptions of all descriptors, and more */
#define MESSAGES_TEXT_MAX 2047   /* bytes of one text */
#define MESSAGES_LANGUAGE_MAX 15 /* bytes, as in "pt-BR" */

struct messages {
    struct text_pairs texts;
};

/* Looks for `language` ("de-AT"), then for its first part ("de"), then for "en". An archive without
 * any of these gives no texts, which is no error. INVALID: `language` is none; MANIFEST: a file is
 * malformed; NO_MEMORY. */
bool messages_load(const char *directory, const char *language, struct arena *arena,
                   struct messages *ret, struct err *err);
bool messages_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    struct messages *ret, struct err *err);
/* The text of `key`, or the key itself. messages may be NULL. */
const char *messages_get(const struct messages *messages, const char *key);

#endif

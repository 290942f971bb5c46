/* SPDX-License-Identifier: Apache-2.0
 *
 * messages.c: texts for people, by language.
 */
#include "lifecycle/messages.h"

#include <stdio.h>
#include <string.h>

#include "lifecycle/archive.h"
#include "lifecycle/document.h"

static bool take_texts(const struct node *root, const char *file, struct arena *arena,
                       struct text_pairs *ret, struct err *err) {
    struct text_pairs texts = {0};
    if (root->count > MESSAGES_MAX)
        return node_wrong(root, file, err, "there are %u texts; at most %d are taken", root->count,
                          MESSAGES_MAX);
    texts.at = arena_array(arena, (size_t)root->count + 1, sizeof texts.at[0]);
    bool room = texts.at != NULL;
    for (const struct node *child = root->first; child != NULL && room; child = child->next) {
        if (child->kind != NODE_TEXT)
            return node_wrong(child, file, err, "a text must be a single value, not a list or map");
        if (strlen(child->text) > MESSAGES_TEXT_MAX)
            return node_wrong(child, file, err, "the text has more than %d bytes; shorten it",
                              MESSAGES_TEXT_MAX);
        struct text_pair *pair = &texts.at[texts.count++];
        pair->name = arena_strdup(arena, child->key);
        pair->value = arena_strdup(arena, child->text);
        room = pair->name != NULL && pair->value != NULL;
    }
    if (!room)
        return err_set(err, ERR_NO_MEMORY, "%s: there is no memory for it", file);
    (void)pairs_sort(&texts); /* the document has no key twice */
    *ret = texts;
    return true;
}

bool messages_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    struct messages *ret, struct err *err) {
    if (length > MESSAGES_BYTES_MAX)
        return err_set(err, ERR_MANIFEST, "%s: it has more than %d bytes; shorten it", file,
                       MESSAGES_BYTES_MAX);
    const struct node *root;
    struct arena scratch;
    arena_init(&scratch, DOCUMENT_ARENA_MAX);
    bool good = document_parse(bytes, length, file, &scratch, &root, err) &&
                take_texts(root, file, arena, &ret->texts, err);
    arena_release(&scratch);
    return good;
}

/* Letters and digits in parts: what cannot be a path. */
static bool is_language(const char *text) {
    size_t length = strnlen(text, MESSAGES_LANGUAGE_MAX + 1);
    if (length == 0 || length > MESSAGES_LANGUAGE_MAX || text[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= 'A' && text[i] <= 'Z') &&
            !(text[i] >= '0' && text[i] <= '9') && text[i] != '-')
            return false;
    return true;
}

/* *ret_there: there is such a file. */
static bool load_language(const char *directory, const char *language, struct arena *arena,
                          struct messages *ret, bool *ret_there, struct err *err) {
    char path[64];
    char file[ARCHIVE_PATH_MAX + sizeof path + 1];
    snprintf(path, sizeof path, "resources/messages.%s.yaml", language);
    snprintf(file, sizeof file, "%s/%s", directory, path);
    struct buf text;
    buf_init(&text, MESSAGES_BYTES_MAX + 1);
    struct err wrong = ERR_INIT;
    bool good = archive_read(directory, path, MESSAGES_BYTES_MAX, &text, &wrong);
    *ret_there = good || wrong.code != ERR_NOT_FOUND;
    if (good)
        good = messages_parse(text.at, text.length, file, arena, ret, err);
    else if (*ret_there)
        err_set(err, wrong.code, "%s", wrong.text);
    buf_release(&text);
    return good;
}

bool messages_load(const char *directory, const char *language, struct arena *arena,
                   struct messages *ret, struct err *err) {
    if (!is_language(language))
        return err_set(err, ERR_INVALID, "a language is a short name such as en or pt-BR");
    char first[MESSAGES_LANGUAGE_MAX + 1];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(language, "-"), language);
    const char *const tries[] = {language, first, "en"};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        bool there;
        bool good = load_language(directory, tries[i], arena, ret, &there, err);
        if (there)
            return good;
    }
    *ret = (struct messages){0};
    return true;
}

const char *messages_get(const struct messages *messages, const char *key) {
    const char *text = messages != NULL ? pairs_get(&messages->texts, key) : NULL;
    return text != NULL ? text : key;
}

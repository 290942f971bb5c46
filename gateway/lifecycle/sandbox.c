/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.c: paths put together from driver.yaml and a bag.
 */
#include "lifecycle/sandbox.h"

#include <stdio.h>
#include <string.h>

bool sandbox_piece_next(const char **at, struct sandbox_piece *ret, bool *ret_wrong) {
    const char *begin = *at;
    if (*begin == '\0')
        return false;
    if (*begin == '}') {
        *ret_wrong = true;
        return false;
    }
    if (*begin != '{') {
        *ret = (struct sandbox_piece){begin, strcspn(begin, "{}"), false};
        *at = begin + ret->length;
        return true;
    }
    size_t length = strcspn(begin + 1, "{}");
    if (length == 0 || begin[1 + length] != '}') {
        *ret_wrong = true;
        return false;
    }
    *ret = (struct sandbox_piece){begin + 1, length, true};
    *at = begin + length + 2;
    return true;
}

const char *sandbox_judge(const char *path) {
    if (path[0] != '/')
        return "must be an absolute path";
    if (path[1] == '\0')
        return "must not be the root of the file system";
    for (const char *part = path + 1;;) {
        size_t length = strcspn(part, "/");
        if (length == 0)
            return "must not hold an empty part (// or / at the end)";
        if ((length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
            return "must not hold . or ..";
        if (part[length] == '\0')
            return NULL;
        part += length + 1;
    }
}

struct path {
    char text[SLUICE_PATH_MAX];
    size_t length;
    bool overflow;
    char property[DESCRIPTOR_NAME_MAX + 1]; /* the first one in it, "" when there is none */
};

static void put(struct path *path, const char *text, size_t length) {
    if (length >= sizeof path->text - path->length) {
        path->overflow = true;
        return;
    }
    memcpy(path->text + path->length, text, length);
    path->length += length;
    path->text[path->length] = '\0';
}

/* false: a property that is not set; the path is left out. */
static bool expand(const char *pattern, const struct bag *bag, struct path *ret) {
    *ret = (struct path){0};
    struct sandbox_piece piece;
    bool wrong = false;
    while (sandbox_piece_next(&pattern, &piece, &wrong)) {
        if (!piece.property) {
            put(ret, piece.at, piece.length);
            continue;
        }
        char name[DESCRIPTOR_NAME_MAX + 1];
        snprintf(name, sizeof name, "%.*s", (int)piece.length, piece.at);
        const char *typed = pairs_get(&bag->plain, name);
        if (typed == NULL)
            return false;
        if (ret->property[0] == '\0')
            memcpy(ret->property, name, sizeof name);
        const char *value = bag_text(typed);
        put(ret, value, strlen(value));
    }
    if (ret->length > 1 && ret->text[ret->length - 1] == '/') /* people end directories with it */
        ret->text[--ret->length] = '\0';
    return true;
}

static bool is_there(const struct text_list *list, const char *text) {
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->at[i], text) == 0)
            return true;
    return false;
}

static bool no_memory(struct err *err) {
    return err_set(err, ERR_NO_MEMORY, "the sandbox's paths: there is no memory for them");
}

bool sandbox_paths(const struct manifest *manifest, const struct bag *bag, struct arena *arena,
                   struct text_list *ret, struct err *err) {
    struct text_list list = {0};
    list.at = arena_array(arena, manifest->path_count + 1, sizeof list.at[0]);
    if (list.at == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < manifest->path_count; i++) {
        struct path path;
        if (!expand(manifest->paths[i].path, bag, &path))
            continue;
        const char *wrong =
            path.overflow ? "makes a path that is too long" : sandbox_judge(path.text);
        if (wrong != NULL)
            return err_set(err, ERR_VALIDATION, "%s %s",
                           path.property[0] != '\0' ? path.property : manifest->paths[i].path,
                           wrong);
        const char *text =
            arena_printf(arena, "%s:%s", manifest->paths[i].write ? "rw" : "ro", path.text);
        if (text == NULL)
            return no_memory(err);
        if (!is_there(&list, text))
            list.at[list.count++] = text;
    }
    *ret = list;
    return true;
}

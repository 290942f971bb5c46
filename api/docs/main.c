/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: writes the pages, or sees whether they are what they should be.
 *
 *   docs-generate [--check] DIRECTORY
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pages.h"

static const struct {
    const char *name;
    const char *sources;
    void (*write)(FILE *out);
} pages[] = {
    {"API.md", "api/http/openapi.yaml", page_api},
    {"CLI.md", "api/http/openapi.yaml and the tables of api/cli", page_cli},
    {"ERRORS.md", "gateway/base/err.def", page_errors},
    {"PERMISSIONS.md", "gateway/core/permission.def and api/http/openapi.yaml", page_permissions},
    {"OPERATIONS.md", "gateway/core/operation.def and gateway/core/attached.def", page_operations},
};

void put_cell(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static char *page_text(size_t index, size_t *ret_length) {
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);
    if (out == NULL)
        abort();
    fprintf(out,
            "<!-- Written by docs-generate from %s; change it there, then build the target docs. "
            "-->\n\n",
            pages[index].sources);
    pages[index].write(out);
    if (fclose(out) != 0)
        abort();
    return text;
}

static bool is_same(const char *path, const char *text, size_t length) {
    FILE *file = fopen(path, "r");
    bool same = file != NULL;
    for (size_t i = 0; i < length && same; i++)
        same = fgetc(file) == (unsigned char)text[i];
    same = same && fgetc(file) == EOF;
    if (file != NULL)
        fclose(file);
    if (!same)
        fprintf(stderr, "%s is not what the tables say; build the target docs\n", path);
    return same;
}

static bool write_page(const char *path, const char *text, size_t length) {
    FILE *file = fopen(path, "w");
    bool written = file != NULL && fwrite(text, 1, length, file) == length;
    if (file != NULL)
        written = fclose(file) == 0 && written;
    if (!written)
        perror(path);
    return written;
}

int main(int argc, char **argv) {
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc != 2 && !check) {
        fprintf(stderr, "usage: docs-generate [--check] DIRECTORY\n");
        return 2;
    }
    bool good = true;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        char path[4096];
        size_t length = 0;
        char *text = page_text(i, &length);
        snprintf(path, sizeof path, "%s/%s", argv[argc - 1], pages[i].name);
        good = (check ? is_same(path, text, length) : write_page(path, text, length)) && good;
        free(text);
    }
    return good ? 0 : 1;
}

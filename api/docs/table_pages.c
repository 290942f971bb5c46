/* SPDX-License-Identifier: Apache-2.0
 *
 * table_pages.c: docs/ERRORS.md, docs/PERMISSIONS.md and docs/OPERATIONS.md.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "pages.h"
#include "routes/routes.h"

/* ---- errors --------------------------------------------------------------------------------- */

#define ADVICE_RETRY "retry"
#define ADVICE_FIX "fix"
#define ADVICE_GIVE_UP "give-up"

static const struct {
    int number, status;
    const char *advice, *code, *title;
} errors[] = {
#define ERR(name, number, http, advice, slug, title) {number, http, ADVICE_##advice, slug, title},
#include "base/err.def"
#undef ERR
};

void page_errors(FILE *out) {
    fputs(
        "# Errors\n\n"
        "`code` and `type` (`/problems/CODE`) of problem details, and `error` of an operation "
        "(the number). What to do: `retry` the same again later, `fix` something first, `give-up`: "
        "trying again does not help.\n\n"
        "| number | code | status | what to do | |\n|---|---|---|---|---|\n",
        out);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        fprintf(out, "| %d | `%s` | %d | %s | ", errors[i].number, errors[i].code, errors[i].status,
                errors[i].advice);
        put_cell(out, errors[i].title);
        fputs(" |\n", out);
    }
}

/* ---- permissions ---------------------------------------------------------------------------- */

static const struct {
    const char *name, *role, *sentence;
} permissions[] = {
#define PERMISSION(name, role, sentence) {name, #role, sentence},
#include "core/permission.def"
#undef PERMISSION
};

static void put_lower(FILE *out, const char *text) {
    for (; *text != '\0'; text++)
        fputc(*text >= 'A' && *text <= 'Z' ? *text + 32 : *text, out);
}

void page_permissions(FILE *out) {
    fputs(
        "# Permissions\n\n"
        "Who asks has a role; a role has every permission of the ones below it: viewer < tenant < "
        "operator < admin.\n\n"
        "| permission | least role | allows to | by |\n|---|---|---|---|\n",
        out);
    for (size_t i = 0; i < sizeof permissions / sizeof permissions[0]; i++) {
        fprintf(out, "| `%s` | ", permissions[i].name);
        put_lower(out, permissions[i].role);
        fputs(" | ", out);
        put_cell(out, permissions[i].sentence);
        fputs(" | ", out);
        bool first = true;
        for (size_t j = 0; j < route_count; j++) {
            if (strcmp(routes[j].permission, permissions[i].name) != 0)
                continue;
            fprintf(out, "%s`%s %s`", first ? "" : ", ", routes[j].method, routes[j].path);
            first = false;
        }
        fputs(" |\n", out);
    }
}

/* ---- operations ----------------------------------------------------------------------------- */

#define UNDO_UNDO "taken back when the operation fails or is cancelled"
#define UNDO_NONE "nothing to take back"
#define UNDO_FINAL "cannot be taken back"

static const struct {
    const char *kind; /* NULL: a step of the kind above */
    const char *step, *undo, *sentence;
} operations[] = {
#define OPERATION(id, kind, noun, shape, sentence) {kind, NULL, NULL, sentence},
#define STEP(id, step, undo, sentence) {NULL, #step, UNDO_##undo, sentence},
#include "core/operation.def"
#undef OPERATION
#undef STEP
};

static const struct route *route_of(const char *kind) {
    for (size_t i = 0; i < route_count; i++)
        if (strcmp(routes[i].operation, kind) == 0)
            return &routes[i];
    return NULL;
}

void page_operations(FILE *out) {
    size_t count = sizeof operations / sizeof operations[0];
    fputs("# Operations\n\n"
          "Every change is an operation, recorded before anything is done. It runs its steps in "
          "order, "
          "each of which may be run again after a crash; when one fails for good, or the operation "
          "is "
          "cancelled, what was done is taken back in reverse order. An operation without steps is "
          "done "
          "as soon as it is recorded.\n",
          out);
    for (size_t i = 0; i < count; i++) {
        if (operations[i].kind == NULL) {
            bool first = operations[i - 1].kind != NULL;
            fprintf(out, "%s| `%s` | ", first ? "\n| step | does | |\n|---|---|---|\n" : "",
                    operations[i].step);
            put_cell(out, operations[i].sentence);
            fprintf(out, " | %s |\n", operations[i].undo);
            continue;
        }
        const struct route *route = route_of(operations[i].kind);
        fprintf(out, "\n## %s\n\nTo %s.", operations[i].kind, operations[i].sentence);
        if (route != NULL)
            fprintf(out, " `%s %s`", route->method, route->path);
        fputc('\n', out);
    }
}

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

/* ---- while hosts are attached --------------------------------------------------------------- */

#define CELL_YES "yes"
#define CELL_NO "no"
#define CELL_LIVE "with SNAPSHOT_LIVE"
#define CELL_RAW "raw files"
#define CELL_ONE "one, read-write"
#define CELL_GROUP "all rw-cluster, one group"

static const struct {
    const char *operation, *cells[4];
} attached[] = {
#define ATTACHED(ID, operation, nbd_read, nbd_write, direct_read, direct_write, what) \
    {operation, {CELL_##nbd_read, CELL_##nbd_write, CELL_##direct_read, CELL_##direct_write}},
#include "core/attached.def"
#undef ATTACHED
};

static void put_attached(FILE *out) {
    fputs(
        "\n# While hosts are attached\n\n"
        "What would change bytes that a host has in its memory, or take the file from below its "
        "feet, is refused at once with the code `wrong-state`, which names the host, the "
        "attachment and the way out. Directly means by the driver's own protocol, where the host "
        "opens the file itself. Every attachment that there is must permit the operation; what is "
        "not in the table is not affected.\n\n"
        "| operation | read by nbd | written by nbd | read directly | written directly |\n"
        "|---|---|---|---|---|\n",
        out);
    for (size_t i = 0; i < sizeof attached / sizeof attached[0]; i++) {
        fprintf(out, "| %s |", attached[i].operation);
        for (size_t j = 0; j < 4; j++)
            fprintf(out, " %s |", attached[i].cells[j]);
        fputc('\n', out);
    }
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
    put_attached(out);
}

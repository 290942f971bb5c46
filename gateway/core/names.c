/* SPDX-License-Identifier: Apache-2.0
 *
 * names.c: the tables of core.h as names.
 */
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "core/records.h"

static const struct {
    const char *name;
    enum core_noun noun;
    const struct shape *params;
} kinds[] = {
#define OPERATION(id, kind, noun, shape, sentence) {kind, CORE_##noun, &shape##_shape},
#define STEP(id, step, undo, sentence)
#include "core/operation.def"
#undef OPERATION
#undef STEP
};

static const char *const nouns[] = {
#define NOUN(NAME, letter, singular, plural) singular,
#include "core/noun.def"
#undef NOUN
};

static const char *const roles[] = {"none", "viewer", "tenant", "operator", "admin"};

static const struct {
    const char *name;
    enum core_role role;
} permissions[] = {
#define PERMISSION(name, role, sentence) {name, ROLE_##role},
#include "core/permission.def"
#undef PERMISSION
};

const char *core_kind_name(enum core_kind kind) {
    return (unsigned)kind < CORE_KINDS ? kinds[kind].name : NULL;
}

enum core_kind core_kind_find(const char *name) {
    unsigned kind = 0;
    while (kind < CORE_KINDS && strcmp(kinds[kind].name, name) != 0)
        kind++;
    return kind;
}

const struct shape *core_kind_params(enum core_kind kind) {
    return (unsigned)kind < CORE_KINDS ? kinds[kind].params : NULL;
}

enum core_noun core_kind_noun(enum core_kind kind) {
    return (unsigned)kind < CORE_KINDS ? kinds[kind].noun : CORE_NOUNS;
}

const char *core_noun_name(enum core_noun noun) {
    return (unsigned)noun < CORE_NOUNS ? nouns[noun] : NULL;
}

enum core_noun core_noun_find(const char *singular) {
    unsigned noun = 0;
    while (noun < CORE_NOUNS && strcmp(nouns[noun], singular) != 0)
        noun++;
    return noun;
}

const char *core_role_name(enum core_role role) {
    return (unsigned)role <= ROLE_ADMIN ? roles[role] : NULL;
}

enum core_role core_role_find(const char *name) {
    for (unsigned role = ROLE_VIEWER; role <= ROLE_ADMIN; role++)
        if (strcmp(roles[role], name) == 0)
            return role;
    return ROLE_NONE;
}

enum core_role core_permission_role(const char *permission) {
    for (size_t i = 0; i < sizeof permissions / sizeof permissions[0]; i++)
        if (strcmp(permissions[i].name, permission) == 0)
            return permissions[i].role;
    return ROLE_NONE;
}

static void each_named(void (*each)(void *arg, const char *name), void *arg, const char *kind,
                       const char *step, const char *place) {
    char name[128];
    if (step != NULL)
        snprintf(name, sizeof name, "core.%s.%s.%s", kind, step, place);
    else
        snprintf(name, sizeof name, "core.%s.%s", kind, place);
    each(arg, name);
}

void core_fault_points(void (*each)(void *arg, const char *name), void *arg) {
    static const struct {
        const char *kind, *step, *undo;
    } rows[] = {
#define OPERATION(id, kind, noun, shape, sentence) {kind, NULL, NULL},
#define STEP(id, step, undo, sentence) {NULL, #step, #undo},
#include "core/operation.def"
#undef OPERATION
#undef STEP
    };
    const char *kind = "";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].kind != NULL) {
            kind = rows[i].kind;
            each_named(each, arg, kind, NULL, "accepted");
            bool steps = i + 1 < sizeof rows / sizeof rows[0] && rows[i + 1].step != NULL;
            if (steps) {
                each_named(each, arg, kind, NULL, "finishing");
                each_named(each, arg, kind, NULL, "finished");
                each_named(each, arg, kind, NULL, "turned");
                each_named(each, arg, kind, NULL, "undone");
            }
        } else {
            each_named(each, arg, kind, rows[i].step, "before");
            each_named(each, arg, kind, rows[i].step, "after");
            if (strcmp(rows[i].undo, "UNDO") == 0) {
                each_named(each, arg, kind, rows[i].step, "undo_before");
                each_named(each, arg, kind, rows[i].step, "undo_after");
            }
        }
    }
}

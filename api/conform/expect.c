/* SPDX-License-Identifier: Apache-2.0
 *
 * expect.c: see expect.h.
 */
#include "conform/expect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *where;
    const char *sentence;
} rules[] = {
#define RULE(name, where, sentence) {where, sentence},
#include "conform/rule.def"
#undef RULE
};

static expect_fn *on_failure;

const char *rule_where(enum rule rule) {
    return rules[rule].where;
}

const char *rule_sentence(enum rule rule) {
    return rules[rule].sentence;
}

void expect_handler(expect_fn *handler) {
    on_failure = handler;
}

_Noreturn void expect_failed(enum rule rule, const char *format, ...) {
    char seen[EXPECT_SEEN_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(seen, sizeof seen, format, args);
    va_end(args);
    if (on_failure != NULL) {
        on_failure(rule, seen);
    }
    fprintf(stderr, "%s\n  demanded (%s): %s\n", seen, rules[rule].where, rules[rule].sentence);
    abort();
}

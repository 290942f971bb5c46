/* SPDX-License-Identifier: Apache-2.0
 *
 * expect.h: the kit's assertion: what the contract demands, and what was seen instead.
 *
 * A failed expectation does not return. A process of the kit says with expect_handler what then
 * happens; without one the text goes to stderr and the process aborts, which is what a unit test
 * wants. Any thread may fail.
 */
#ifndef SLUICE_CONFORM_EXPECT_H
#define SLUICE_CONFORM_EXPECT_H

#include <stdbool.h>

#define EXPECT_SEEN_MAX 1024 /* bytes of what was seen, NUL included; longer is cut */

enum rule {
#define RULE(name, where, sentence) RULE_##name,
#include "conform/rule.def"
#undef RULE
    RULES
};

const char *rule_where(enum rule rule);
const char *rule_sentence(enum rule rule);

/* Must not return. */
typedef void expect_fn(enum rule rule, const char *seen);
void expect_handler(expect_fn *handler);

_Noreturn void expect_failed(enum rule rule, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* EXPECT(CREATE, size == wanted, "it has %llu bytes", ...): the text says what was seen. */
#define EXPECT(rule, condition, ...)                 \
    do {                                             \
        if (!(condition))                            \
            expect_failed(RULE_##rule, __VA_ARGS__); \
    } while (0)

#endif

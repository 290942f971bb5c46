/* SPDX-License-Identifier: Apache-2.0
 *
 * test.c: see test.h.
 */
#include "conform/test.h"

#include <string.h>

#define CAP(name) SLUICE_CAP_MASK(name)

const struct test tests[] = {
#define TEST(group, name, caps, needs, shows) \
    {#group, #name, caps, needs, shows, test_##group##_##name},
#include "conform/test.def"
#undef TEST
};
const uint32_t test_count = sizeof tests / sizeof tests[0];

bool test_matches(const struct test *test, const char *pattern) {
    size_t length = strlen(test->group);
    if (strncmp(pattern, test->group, length) != 0) {
        return false;
    }
    return pattern[length] == '\0' ||
           (pattern[length] == '.' && strcmp(pattern + length + 1, test->name) == 0);
}

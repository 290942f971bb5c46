/* SPDX-License-Identifier: Apache-2.0
 *
 * test.h: the table of tests (test.def) as code sees it.
 */
#ifndef SLUICE_CONFORM_TEST_H
#define SLUICE_CONFORM_TEST_H

#include "conform/kit.h"

struct test {
    const char *group;
    const char *name;
    uint64_t caps;
    uint32_t needs; /* enum test_need */
    const char *shows;
    kit_fn *run;
};

extern const struct test tests[];
extern const uint32_t test_count;

/* One declaration for each row; the functions are in test_GROUP.c. */
#define TEST(group, name, caps, needs, shows) void test_##group##_##name(struct kit *kit);
#include "conform/test.def"
#undef TEST

/* Whether --only `pattern` (GROUP, or GROUP.NAME) means it. */
bool test_matches(const struct test *test, const char *pattern);

#endif

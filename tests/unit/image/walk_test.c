/* SPDX-License-Identifier: Apache-2.0
 *
 * walk_test.c: random walks over chains in memory, compared with the model again and again.
 *
 * SLUICE_SEED begins elsewhere, SLUICE_FULL=1 walks further.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image_file/walk.h"

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static void walk_far(uint64_t seed, struct walk *walk, uint64_t steps, uint64_t compare_each) {
    bool good = walk_start(walk, seed);
    for (uint64_t i = 0; good && i < steps; i++) {
        good = walk_next(walk);
        if (good && i % compare_each == 0)
            good = walk_compare(walk);
    }
    good =
        good && walk_take(walk, WALK_REOPEN) && walk_compare(walk) && walk_take(walk, WALK_CHECK);
    if (!good)
        print_error("seed %llu: %s\n", (unsigned long long)seed, walk->wrong);
    walk_end(walk);
    assert_true(good);
}

/* Small disks, so that everything meets everything. */
static void small_disks(void **state) {
    (void)state;
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 1000 : 60;
    for (uint64_t i = 0; i < walks; i++) {
        struct walk walk = {.steps = WALK_ALL, .size_max = UINT64_C(1) << 20, .cache_bytes = 1};
        walk_far(number("SLUICE_SEED", 1) * 1000 + i, &walk, 120, 4);
    }
}

/* Clusters of 512 bytes: tables of tables, counts that have to grow, a cache that is always full.
 */
static void small_clusters(void **state) {
    (void)state;
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 100 : 6;
    for (uint64_t i = 0; i < walks; i++) {
        struct walk walk = {.steps = WALK_ALL,
                            .size_max = UINT64_C(24) << 20,
                            .cluster_bytes = 512,
                            .cache_bytes = 1};
        walk_far(number("SLUICE_SEED", 1) * 1000 + i, &walk, 300, 50);
    }
}

static void default_clusters(void **state) {
    (void)state;
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 100 : 6;
    for (uint64_t i = 0; i < walks; i++) {
        struct walk walk = {.steps = WALK_ALL,
                            .size_max = UINT64_C(32) << 20,
                            .cluster_bytes = 64u << 10,
                            .cache_bytes = 0};
        walk_far(number("SLUICE_SEED", 1) * 1000 + i, &walk, 300, 50);
    }
}

/* Blocks of 1 to 4 MiB. Above others they are held in part, by bitmaps. */
static void vhdx(void **state) {
    (void)state;
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 200 : 12;
    for (uint64_t i = 0; i < walks; i++) {
        struct walk walk = {.steps = WALK_ALL,
                            .size_max = UINT64_C(12) << 20,
                            .format = IMAGE_FORMAT_VHDX,
                            .fixed = i % 4 == 3,
                            .cache_bytes = 1};
        walk_far(number("SLUICE_SEED", 1) * 1000 + i, &walk, 120, 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_disks),
        cmocka_unit_test(small_clusters),
        cmocka_unit_test(default_clusters),
        cmocka_unit_test(vhdx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

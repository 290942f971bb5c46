/* SPDX-License-Identifier: Apache-2.0
 *
 * map_test.c: image_map by several threads at once, through a chain; it reads nothing from a file.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image_file/walk.h"

#define THREADS 4
#define LOOKS 20000u

struct looker {
    const struct walk *walk;
    uint64_t random;
    uint64_t found;
    bool good;
};

static void *look(void *argument) {
    struct looker *looker = argument;
    const struct walk *walk = looker->walk;
    for (uint32_t i = 0; i < LOOKS; i++) {
        looker->random =
            looker->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t offset = (looker->random >> 20) % walk->size;
        struct image_run run;
        image_map(walk_top(walk), offset, walk->size - offset, i % 2 == 0, &run);
        if (run.length == 0 || run.length > walk->size - offset)
            looker->good = false;
        if (run.kind == IMAGE_RUN_FILE) {
            looker->found++;
            const struct walk_image *owner = &walk->at[walk->count - 1 - run.depth];
            if (run.file != owner->file ||
                memory_file_bytes(owner->memory)[run.file_offset] != walk->bytes[offset])
                looker->good = false;
        } else if (run.kind == IMAGE_RUN_ZERO && walk->bytes[offset] != 0) {
            looker->good = false;
        }
    }
    return NULL;
}

static void many_look_at_once(void **state) {
    (void)state;
    struct walk walk = {.steps = WALK_WRITE | WALK_ZERO | WALK_TRIM,
                        .size_max = UINT64_C(4) << 20,
                        .cluster_bytes = 4096,
                        .format = IMAGE_FORMAT_QCOW2};
    assert_true(walk_start(&walk, 5));
    for (uint32_t i = 0; i < 60; i++) {
        assert_true(walk_next(&walk));
        if (i % 25 == 24)
            assert_true(walk_snapshot(&walk));
    }
    assert_int_equal(walk.count, 3);
    assert_true(walk_compare(&walk));
    uint64_t reads = 0;
    for (uint32_t i = 0; i < walk.count; i++)
        reads += memory_file_reads(walk.at[i].memory);
    struct looker lookers[THREADS];
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        lookers[i] = (struct looker){.walk = &walk, .random = i, .good = true};
        assert_int_equal(pthread_create(&threads[i], NULL, look, &lookers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(lookers[i].good);
        assert_true(lookers[i].found > LOOKS / 10);
    }
    for (uint32_t i = 0; i < walk.count; i++)
        reads -= memory_file_reads(walk.at[i].memory);
    assert_int_equal(reads, 0);
    walk_end(&walk);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_look_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

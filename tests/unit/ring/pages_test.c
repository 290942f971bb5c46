/* SPDX-License-Identifier: Apache-2.0
 *
 * pages_test.c: the map of payload pages against a plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"

#define STEPS 200000
#define RUNS_MAX 4096

struct run {
    uint32_t page;
    uint64_t length;
};

static struct ring_pages pages;
static bool used[RING_PAGES];
static struct run runs[RUNS_MAX];
static uint32_t run_count;

static uint32_t pages_of(uint64_t length) {
    return (uint32_t)((length + RING_PAGE - 1) / RING_PAGE);
}

static bool has_room_for(uint32_t count) {
    uint32_t together = 0;
    for (uint32_t i = 0; i < RING_PAGES; i++) {
        together = used[i] ? 0 : together + 1;
        if (together == count)
            return true;
    }
    return false;
}

static void mark(const struct run *run, bool value) {
    for (uint32_t i = run->page; i < run->page + pages_of(run->length); i++) {
        assert_in_range(i, 0, RING_PAGES - 1);
        assert_int_not_equal(used[i], value);
        used[i] = value;
    }
}

static void take(void) {
    uint64_t most = random() % 4 == 0 ? RING_CALL_MAX : 65536;
    struct run run = {.length = 1 + (uint64_t)random() % most};
    if (run_count == RUNS_MAX)
        return;
    if (!ring_pages_take(&pages, run.length, &run.page)) {
        assert_false(has_room_for(pages_of(run.length)));
        return;
    }
    mark(&run, true);
    runs[run_count++] = run;
}

static void give(void) {
    if (run_count == 0)
        return;
    struct run *run = &runs[(uint32_t)random() % run_count];
    ring_pages_give(&pages, run->page, run->length);
    mark(run, false);
    *run = runs[--run_count];
}

static void takes_and_gives_as_a_plain_array_would(void **state) {
    (void)state;
    srandom(5);
    ring_pages_init(&pages);
    for (uint32_t i = 0; i < STEPS; i++) {
        /* Waves of fullness: both the full and the nearly empty map are met. */
        if (random() % 8 < (i / 5000 % 2 == 0 ? 5 : 3))
            take();
        else
            give();
        if (i % 1000 == 0) {
            uint32_t free_pages = 0;
            for (uint32_t k = 0; k < RING_PAGES; k++)
                free_pages += !used[k];
            assert_int_equal(pages.free, free_pages);
        }
    }
    while (run_count > 0)
        give();
    assert_int_equal(pages.free, RING_PAGES);
}

/* As many of the largest calls as fit, and not one more. */
static void fits_the_largest_calls_exactly(void **state) {
    const uint32_t each = RING_CALL_MAX / RING_PAGE;
    uint32_t page;
    (void)state;
    ring_pages_init(&pages);
    for (uint32_t i = 0; i < RING_PAGES / each; i++) {
        assert_true(ring_pages_take(&pages, RING_CALL_MAX, &page));
        assert_int_equal(page, i * each);
    }
    assert_false(ring_pages_take(&pages, 1, &page));
    ring_pages_give(&pages, 5 * each, RING_CALL_MAX);
    assert_true(ring_pages_take(&pages, 1, &page));
    assert_int_equal(page, 5 * each);
    assert_false(ring_pages_take(&pages, RING_CALL_MAX, &page));
    assert_true(ring_pages_take(&pages, RING_CALL_MAX - RING_PAGE, &page));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_and_gives_as_a_plain_array_would),
        cmocka_unit_test(fits_the_largest_calls_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

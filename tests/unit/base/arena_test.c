/* SPDX-License-Identifier: Apache-2.0
 *
 * Arenas: alignment, zeroes, the maximum, overflow, reuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"

static void aligned_and_zeroed(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_int_equal(arena.held, 0);
    for (size_t size = 0; size < 300; size++) {
        unsigned char *at = arena_alloc(&arena, size);
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % 16, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(at[i], 0);
        memset(at, 0xaa, size);
    }
    arena_reset(&arena);
    /* What was there before the reset does not shine through. */
    unsigned char *again = arena_alloc(&arena, 500);
    assert_non_null(again);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(again[i], 0);
    arena_release(&arena);
}

static void objects_do_not_overlap(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    unsigned char *objects[200];
    for (int i = 0; i < 200; i++) {
        objects[i] = arena_alloc(&arena, (size_t)i + 1);
        assert_non_null(objects[i]);
        memset(objects[i], i, (size_t)i + 1);
    }
    for (int i = 0; i < 200; i++)
        for (int j = 0; j <= i; j++)
            assert_int_equal(objects[i][j], i);
    arena_release(&arena);
}

static void never_beyond_max(void **state) {
    (void)state;
    struct arena arena;
    for (size_t max = 0; max < 5000; max += 37) {
        arena_init(&arena, max);
        while (arena_alloc(&arena, 48) != NULL)
            assert_true(arena.held <= max);
        assert_true(arena.held <= max);
        assert_true(arena.used <= arena.held);
        assert_null(arena_alloc(&arena, max + 1));
        arena_release(&arena);
    }
    /* Most of the maximum can be had. */
    arena_init(&arena, 1 << 20);
    size_t given = 0;
    while (arena_alloc(&arena, 1000) != NULL)
        given += 1000;
    assert_true(given > (1 << 20) * 8 / 10);
    arena_release(&arena);
}

static void overflow_is_refused(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(arena_alloc(&arena, SIZE_MAX - 64));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_array(&arena, (size_t)1 << 33, (size_t)1 << 33));
    assert_null(arena_strndup(&arena, "", SIZE_MAX));
    /* A refusal changes nothing. */
    assert_non_null(arena_array(&arena, 10, 10));
    arena_release(&arena);
}

static void texts(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    assert_string_equal(arena_strdup(&arena, "pool"), "pool");
    assert_string_equal(arena_strdup(&arena, ""), "");
    assert_string_equal(arena_strndup(&arena, "volume", 3), "vol");
    assert_string_equal(arena_printf(&arena, "%s-%d", "n", 7), "n-7");
    char *wide = arena_printf(&arena, "%3000d", 1);
    assert_non_null(wide);
    assert_int_equal(strlen(wide), 3000);
    assert_null(arena_printf(&arena, "%4096d", 1));
    arena_release(&arena);
    assert_int_equal(arena.held, 0);
}

static void one_big_object(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4 << 20);
    char *small = arena_strdup(&arena, "small");
    unsigned char *big = arena_alloc(&arena, 1 << 20);
    assert_non_null(big);
    memset(big, 1, 1 << 20);
    assert_string_equal(small, "small");
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    assert_non_null(arena_alloc(&arena, 1 << 19));
    arena_reset(&arena);
    arena_release(&arena);
    arena_release(&arena);
    arena_release(NULL);
    /* Released is as good as new. */
    assert_non_null(arena_alloc(&arena, 1));
    arena_release(&arena);
    arena_init(&arena, 10);
    arena_reset(&arena);
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligned_and_zeroed),
        cmocka_unit_test(objects_do_not_overlap),
        cmocka_unit_test(never_beyond_max),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(texts),
        cmocka_unit_test(one_big_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths with properties in them: what they become, and what they may not become.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lifecycle/sandbox.h"

static struct arena arena;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, 65536);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static bool expand(const char *pattern, const char *typed, struct text_list *ret, struct err *err) {
    const struct manifest_path path = {pattern, true};
    const struct manifest manifest = {.paths = &path, .path_count = 1};
    struct text_pair pair = {"p", typed};
    const struct bag bag = {.plain = {&pair, typed != NULL ? 1 : 0}};
    return sandbox_paths(&manifest, &bag, &arena, ret, err);
}

static void expanded(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *typed, *path; /* NULL: refused, says */
        const char *says;
    } rows[] = {
        {"/etc/ssl", NULL, "rw:/etc/ssl", NULL},
        {"{p}", "s:/srv/pool", "rw:/srv/pool", NULL},
        {"{p}", "s:/srv/pool/", "rw:/srv/pool", NULL},
        {"{p}/sub", "s:/srv", "rw:/srv/sub", NULL},
        {"/var/{p}/x", "s:a/b", "rw:/var/a/b/x", NULL},
        {"/var/{p}{p}", "s:a", "rw:/var/aa", NULL},
        {"/var/{p}", "n:7", "rw:/var/7", NULL},
        {"/var/{p}", "s:..a", "rw:/var/..a", NULL},
        {"/var/{p}", "s:...", "rw:/var/...", NULL},
        {"{p}", "s:srv", NULL, "p must be an absolute path"},
        {"{p}", "s:", NULL, "p must be an absolute path"},
        {"{p}", "s:/", NULL, "p must not be the root of the file system"},
        {"{p}", "s://", NULL, "p must not be the root of the file system"},
        {"{p}", "s:///", NULL, "p must not hold an empty part"},
        {"{p}", "s:/srv//x", NULL, "p must not hold an empty part"},
        {"{p}", "s:/srv/../etc", NULL, "p must not hold . or .."},
        {"{p}", "s:/..", NULL, "p must not hold . or .."},
        {"{p}", "s:/.", NULL, "p must not hold . or .."},
        {"{p}", "s:/srv/./x", NULL, "p must not hold . or .."},
        {"{p}", "s:/srv/..", NULL, "p must not hold . or .."},
        {"{p}", "s:/srv/../", NULL, "p must not hold . or .."},
        {"/var/{p}", "s:..", NULL, "p must not hold . or .."},
        {"/var/.{p}", "s:.", NULL, "p must not hold . or .."},
        {"/var/{p}{p}", "s:.", NULL, "p must not hold . or .."},
        {"/var/{p}", "s:../etc", NULL, "p must not hold . or .."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text_list list = {0};
        struct err err = ERR_INIT;
        bool good = expand(rows[i].pattern, rows[i].typed, &list, &err);
        if (rows[i].path != NULL) {
            if (!good)
                fail_msg("%s: %s", rows[i].pattern, err.text);
            assert_int_equal(list.count, 1);
            assert_string_equal(list.at[0], rows[i].path);
        } else {
            if (good || strstr(err.text, rows[i].says) != err.text)
                fail_msg("%s with %s: %s", rows[i].pattern, rows[i].typed,
                         good ? list.at[0] : err.text);
            assert_int_equal(err.code, ERR_VALIDATION);
            assert_null(list.at);
        }
    }
}

static void lengths(void **state) {
    (void)state;
    char value[SLUICE_PATH_MAX + 3];
    memset(value, 'x', sizeof value);
    memcpy(value, "s:/", 3);
    value[2 + SLUICE_PATH_MAX - 1] = '\0';
    struct text_list list;
    struct err err = ERR_INIT;
    assert_true(expand("{p}", value, &list, &err));
    assert_int_equal(strlen(list.at[0]), 3 + SLUICE_PATH_MAX - 1);
    value[2 + SLUICE_PATH_MAX - 1] = 'x';
    value[2 + SLUICE_PATH_MAX] = '\0';
    assert_false(expand("{p}", value, &list, &err));
    assert_non_null(strstr(err.text, "too long"));
}

static void several(void **state) {
    (void)state;
    const struct manifest_path paths[] = {
        {"/etc/ssl", false}, {"{gone}", true},    {"{a}", true},
        {"{b}", true},       {"/etc/ssl", false}, {"/etc/ssl", true},
    };
    const struct manifest manifest = {.paths = paths, .path_count = 6};
    struct text_pair pairs[] = {{"a", "s:/srv"}, {"b", "s:/srv/"}};
    const struct bag bag = {.plain = {pairs, 2}};
    struct text_list list;
    struct err err = ERR_INIT;
    assert_true(sandbox_paths(&manifest, &bag, &arena, &list, &err));
    assert_int_equal(list.count, 3);
    assert_string_equal(list.at[0], "ro:/etc/ssl");
    assert_string_equal(list.at[1], "rw:/srv");
    assert_string_equal(list.at[2], "rw:/etc/ssl");
    struct arena none;
    arena_init(&none, 0);
    assert_false(sandbox_paths(&manifest, &bag, &none, &list, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    arena_release(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expanded),
        cmocka_unit_test(lengths),
        cmocka_unit_test(several),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

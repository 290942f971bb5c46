/* SPDX-License-Identifier: Apache-2.0
 *
 * runner_test.c: drivers that are older, newer or wrong, at the runner's own boundary.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runner/driver.h"

/* Binds the library as the driver that it says it is. */
static bool bind(const char *library, const char *name, const char *version, uint32_t category,
                 struct driver *ret, struct err *err) {
    char path[1024];
    const struct driver_expect expect = {name, version, category};
    snprintf(path, sizeof path, "%s/%s", DRIVERS, library);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle); /* never closed: the process ends, as the runner does */
    union {
        void *symbol;
        sluice_driver_fn *entry;
    } found = {.symbol = dlsym(handle, SLUICE_DRIVER_SYMBOL)};
    assert_non_null(found.symbol);
    return driver_bind(found.entry(), &expect, ret, err);
}

static void old_drivers_still_load(void **state) {
    (void)state;
    struct driver driver;
    struct err err = {.code = ERR_NONE};
    assert_true(
        bind("old_storage.so", "old-storage", "1.0.0", SLUICE_CATEGORY_STORAGE, &driver, &err));
    assert_non_null(driver.storage.volume_list);
    assert_null(driver.storage.volume_resize);
    assert_null(driver.storage.data_cancel);
    assert_true(
        bind("old_network.so", "old-network", "1.0.0", SLUICE_CATEGORY_NETWORK, &driver, &err));
    assert_null(driver.base.configure);
    assert_null(driver.base.table);
    assert_false(driver.has_storage);
}

static void newer_drivers_and_the_guides_load(void **state) {
    (void)state;
    struct driver driver;
    struct err err = {.code = ERR_NONE};
    assert_true(bind("newer.so", "odd", "0.1.0", SLUICE_CATEGORY_STORAGE, &driver, &err));
    assert_true(driver.base.size > sizeof driver.base);
    assert_true(bind("notebook.so", "notebook", "0.1.0", SLUICE_CATEGORY_STORAGE, &driver, &err));
}

static void wrong_drivers_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"other_abi.so", "no_table.so", "small.so",
                                        "no_create.so", "no_start.so", "odd_threads.so"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct driver driver;
        struct err err = {.code = ERR_NONE};
        assert_false(bind(wrong[i], "odd", "0.1.0", SLUICE_CATEGORY_STORAGE, &driver, &err));
        assert_int_equal(err.code, ERR_ABI);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_drivers_still_load),
        cmocka_unit_test(newer_drivers_and_the_guides_load),
        cmocka_unit_test(wrong_drivers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

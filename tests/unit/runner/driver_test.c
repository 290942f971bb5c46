/* SPDX-License-Identifier: Apache-2.0
 *
 * What driver_bind takes, and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runner/driver.h"

static int32_t start(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)services;
    (void)call;
    (void)settings;
    (void)ret_driver;
    return SLUICE_OK;
}
static void stop(void *driver) {
    (void)driver;
}
static void any(void) {}

static struct sluice_storage storage;
static const void *given_storage;

static const void *table(const char *name, uint32_t version) {
    return strcmp(name, "storage") == 0 && version == 1 ? given_storage : NULL;
}

static const struct driver_expect expect = {"d", "1.0.0", SLUICE_CATEGORY_STORAGE};

static struct sluice_driver sound(void) {
    storage = (struct sluice_storage){.size = sizeof storage, .version = SLUICE_STORAGE_VERSION};
    /* Every member up to the last required one; who calls them is another test's matter. */
    for (size_t at = offsetof(struct sluice_storage, pool_open);
         at <= offsetof(struct sluice_storage, volume_list); at += sizeof(void (*)(void))) {
        void (*member)(void) = any;
        memcpy((char *)&storage + at, &member, sizeof member);
    }
    given_storage = &storage;
    return (struct sluice_driver){
        .size = sizeof(struct sluice_driver),
        .abi = SLUICE_ABI,
        .category = SLUICE_CATEGORY_STORAGE,
        .threads = SLUICE_THREADS_SERIAL,
        .name = "d",
        .version = "1.0.0",
        .start = start,
        .stop = stop,
        .table = table,
    };
}

static void refuses(const struct sluice_driver *base, enum err_code code, const char *word) {
    struct driver driver = {.has_storage = true};
    struct err err = ERR_INIT;
    assert_false(driver_bind(base, &expect, &driver, &err));
    assert_int_equal(err.code, code);
    if (strstr(err.text, word) == NULL)
        fail_msg("\"%s\" does not say %s", err.text, word);
    assert_true(driver.has_storage); /* untouched */
}

static void a_sound_driver_is_bound(void **state) {
    (void)state;
    struct sluice_driver base = sound();
    struct driver driver;
    struct err err = ERR_INIT;
    assert_true(driver_bind(&base, &expect, &driver, &err));
    assert_true(driver.has_storage);
    assert_ptr_equal(driver.base.start, start);
    assert_null(driver.base.health);
    assert_null(driver.storage.snapshot_create);
}

static void a_smaller_table_is_filled_up_with_nothing(void **state) {
    (void)state;
    struct sluice_driver base = sound();
    /* What lies behind the size must not be taken for members. */
    storage.size = offsetof(struct sluice_storage, volume_resize);
    memset((char *)&storage + storage.size, 0xa5, sizeof storage - storage.size);
    struct driver driver;
    struct err err = ERR_INIT;
    assert_true(driver_bind(&base, &expect, &driver, &err));
    assert_non_null(driver.storage.volume_list);
    assert_null(driver.storage.volume_resize);
    assert_null(driver.storage.data_cancel);
}

static void a_larger_table_is_cut(void **state) {
    (void)state;
    struct {
        struct sluice_driver base;
        void *more[4];
    } larger = {.base = sound()};
    larger.base.size = sizeof larger;
    memset(larger.more, 0xa5, sizeof larger.more);
    struct driver driver;
    struct err err = ERR_INIT;
    assert_true(driver_bind(&larger.base, &expect, &driver, &err));
    assert_true(driver.has_storage);
}

static void another_category_needs_no_storage_table(void **state) {
    (void)state;
    struct sluice_driver base = sound();
    base.category = SLUICE_CATEGORY_NETWORK;
    base.table = NULL;
    struct driver_expect network = {"d", "1.0.0", SLUICE_CATEGORY_NETWORK};
    struct driver driver;
    struct err err = ERR_INIT;
    assert_true(driver_bind(&base, &network, &driver, &err));
    assert_false(driver.has_storage);
}

static void what_is_not_the_driver_that_was_asked_for_is_refused(void **state) {
    (void)state;
    refuses(NULL, ERR_ABI, "no table");
    struct sluice_driver base = sound();
    base.name = "e";
    refuses(&base, ERR_MANIFEST, "name");
    base = sound();
    base.version = NULL;
    refuses(&base, ERR_MANIFEST, "missing");
    base = sound();
    base.category = SLUICE_CATEGORY_NETWORK;
    refuses(&base, ERR_MANIFEST, "category");
    base = sound();
    base.threads = 5;
    refuses(&base, ERR_ABI, "thread model 5");
}

static void another_abi_is_refused(void **state) {
    (void)state;
    struct sluice_driver base = sound();
    base.abi = (uint32_t)(SLUICE_ABI_MAJOR + 1) << 16;
    refuses(&base, ERR_ABI, "1.0");
    base.abi = SLUICE_ABI + 1;
    refuses(&base, ERR_ABI, "built for ABI");
    base = sound();
    base.size = 8;
    refuses(&base, ERR_ABI, "size of 8");
    base = sound();
    storage.version = 2;
    refuses(&base, ERR_ABI, "version 2");
    base = sound();
    given_storage = NULL;
    refuses(&base, ERR_ABI, "no table storage");
}

static void a_missing_required_member_is_named(void **state) {
    (void)state;
    struct sluice_driver base = sound();
    base.stop = NULL;
    refuses(&base, ERR_ABI, "stop");
    base = sound();
    base.size = offsetof(struct sluice_driver, stop);
    refuses(&base, ERR_ABI, "stop");
    base = sound();
    base.table = NULL;
    refuses(&base, ERR_ABI, "table");
    base = sound();
    storage.pool_probe = NULL;
    refuses(&base, ERR_ABI, "pool_probe");
    base = sound();
    storage.size = offsetof(struct sluice_storage, volume_list);
    refuses(&base, ERR_ABI, "volume_list");
}

static void what_does_not_load_is_refused_with_the_linkers_reason(void **state) {
    (void)state;
    struct driver driver;
    struct err err = ERR_INIT;
    assert_false(driver_open("/nonexistent", "d.so", &expect, &driver, &err));
    assert_int_equal(err.code, ERR_ABI);
    assert_non_null(strstr(err.text, "/nonexistent/driver/d.so"));
    err = ERR_INIT;
    assert_false(driver_open("/nonexistent", "../d.so", &expect, &driver, &err));
    assert_int_equal(err.code, ERR_MANIFEST);
    err = ERR_INIT;
    assert_false(driver_open("relative", "d.so", &expect, &driver, &err));
    assert_int_equal(err.code, ERR_MANIFEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_driver_is_bound),
        cmocka_unit_test(a_smaller_table_is_filled_up_with_nothing),
        cmocka_unit_test(a_larger_table_is_cut),
        cmocka_unit_test(another_category_needs_no_storage_table),
        cmocka_unit_test(what_is_not_the_driver_that_was_asked_for_is_refused),
        cmocka_unit_test(another_abi_is_refused),
        cmocka_unit_test(a_missing_required_member_is_named),
        cmocka_unit_test(what_does_not_load_is_refused_with_the_linkers_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

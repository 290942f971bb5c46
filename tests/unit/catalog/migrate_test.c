/* SPDX-License-Identifier: Apache-2.0
 *
 * Migrations: three versions of a small catalogue of names. Version 1 has "n/NAME" -> number; 2
 * keeps them under "m/NAME"; 3 adds how many there are under "count".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/migrate.h"
#include "fixture.h"

#define NAMES 300 /* more than fit into one transaction */

static unsigned runs_of_second;
static unsigned second_fails_after; /* so many transactions; 0: never */

static void on_moved(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    if (err->code != ERR_NONE)
        *(struct err *)arg = *err;
}

struct move {
    struct catalog_txn *txn;
    unsigned count;
};

static bool on_name(void *arg, const struct catalog_entry *entry) {
    struct move *move = arg;
    uint8_t key[CATALOG_KEY_MAX];
    memcpy(key, entry->key, entry->key_length);
    key[0] = 'm';
    catalog_put(move->txn, key, entry->key_length, entry->value.at, entry->value.length);
    catalog_delete(move->txn, entry->key, entry->key_length);
    return ++move->count < CATALOG_CHANGES_MAX / 2;
}

/* Moves what is not moved yet, a transaction at a time. */
static bool names_move(struct catalog *catalog, struct err *err) {
    runs_of_second++;
    for (unsigned i = 1;; i++) {
        struct move move = {.txn = catalog_begin(catalog)};
        if (!catalog_scan(catalog, "n/", 2, NULL, 0, false, on_name, &move, err) ||
            move.count == 0) {
            catalog_drop(move.txn);
            return err->code == ERR_NONE;
        }
        struct err result = ERR_INIT;
        catalog_submit(move.txn, on_moved, &result);
        catalog_wait(catalog);
        if (result.code != ERR_NONE)
            return err_set(err, result.code, "%s", result.text);
        if (i == second_fails_after)
            return err_set(err, ERR_CATALOG, "the light went out");
    }
}

static bool on_counted(void *arg, const struct catalog_entry *entry) {
    (void)entry;
    ++*(unsigned *)arg;
    return true;
}

static bool names_count(struct catalog *catalog, struct err *err) {
    unsigned count = 0;
    if (!catalog_scan(catalog, "m/", 2, NULL, 0, false, on_counted, &count, err))
        return false;
    char text[16];
    snprintf(text, sizeof text, "%u", count);
    struct catalog_txn *txn = catalog_begin(catalog);
    catalog_put(txn, "count", 5, text, strlen(text));
    static struct err ignored; /* catalog_migrate waits */
    catalog_submit(txn, on_moved, &ignored);
    return true;
}

static const struct catalog_migration table[] = {
    {1, "the first layout", NULL},
    {2, "names move", names_move},
    {3, "names are counted", names_count},
};

static unsigned count_of(struct fixture *fixture, const char *prefix) {
    unsigned count = 0;
    assert_true(catalog_scan(fixture->catalog, prefix, strlen(prefix), NULL, 0, false, on_counted,
                             &count, &(struct err){0}));
    return count;
}

static void names_put(struct fixture *fixture) {
    for (unsigned i = 0; i < NAMES; i++) {
        char key[16];
        snprintf(key, sizeof key, "n/%03u", i);
        struct catalog_txn *txn = catalog_begin(fixture->catalog);
        catalog_put(txn, key, strlen(key), key + 2, 3);
        static struct outcome outcome;
        catalog_submit(txn, on_outcome, &outcome);
    }
    catalog_wait(fixture->catalog);
    assert_int_equal(count_of(fixture, "n/"), NAMES);
}

static void runs_what_is_missing(void **state) {
    struct fixture *fixture = *state;
    runs_of_second = second_fails_after = 0;
    struct err err = ERR_INIT;
    assert_true(catalog_migrate(fixture->catalog, table, 1, &err));
    assert_memory_equal(get(fixture, CATALOG_VERSION_KEY, NULL), "\x01", 2);
    names_put(fixture);
    assert_true(catalog_migrate(fixture->catalog, table, 1, &err));
    assert_int_equal(count_of(fixture, "n/"), NAMES);
    assert_true(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_int_equal(count_of(fixture, "n/"), 0);
    assert_int_equal(count_of(fixture, "m/"), NAMES);
    assert_string_equal(get(fixture, "m/123", NULL), "123");
    assert_string_equal(get(fixture, "count", NULL), "300");
    assert_true(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_int_equal(runs_of_second, 1);
}

static void goes_on_after_a_crash(void **state) {
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    runs_of_second = 0;
    second_fails_after = 2;
    assert_true(catalog_migrate(fixture->catalog, table, 1, &err));
    names_put(fixture);
    assert_false(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_int_equal(err.code, ERR_CATALOG);
    assert_non_null(strstr(err.text, "version 2 (names move)"));
    assert_int_equal(count_of(fixture, "m/"), CATALOG_CHANGES_MAX);
    assert_null(get(fixture, "count", NULL));
    fixture_close(fixture);
    fixture_open(fixture);
    second_fails_after = 0;
    err = ERR_INIT;
    assert_true(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_int_equal(count_of(fixture, "m/"), NAMES);
    assert_string_equal(get(fixture, "count", NULL), "300");
    assert_int_equal(runs_of_second, 2);
}

static void refuses_a_newer_one(void **state) {
    struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    second_fails_after = 0;
    assert_true(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_false(catalog_migrate(fixture->catalog, table, 2, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, "version 3"));
    put(fixture, CATALOG_VERSION_KEY, "x");
    err = ERR_INIT;
    assert_false(catalog_migrate(fixture->catalog, table, 3, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(runs_what_is_missing),
        CASE(goes_on_after_a_crash),
        CASE(refuses_a_newer_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions: what they see, what they change, when they conflict, what is told about them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixture.h"

static void writes_and_reads(void **state) {
    struct fixture *fixture = *state;
    assert_null(get(fixture, "v/1", NULL));
    struct outcome first = put(fixture, "v/1", "one");
    assert_int_equal(first.code, ERR_NONE);
    assert_true(first.revision > 0);
    uint64_t revision;
    assert_string_equal(get(fixture, "v/1", &revision), "one");
    assert_true(revision == first.revision);

    struct outcome second = put(fixture, "v/1", "");
    assert_true(second.revision > first.revision);
    assert_string_equal(get(fixture, "v/1", &revision), "");
    assert_true(revision == second.revision);

    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_delete(txn, "v/1", 3);
    catalog_delete(txn, "v/2", 3); /* was never there */
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
    assert_null(get(fixture, "v/1", NULL));
}

static void survives_reopening(void **state) {
    struct fixture *fixture = *state;
    uint64_t before = put(fixture, "v/1", "one").revision, revision;
    fixture_close(fixture);
    fixture_open(fixture);
    assert_string_equal(get(fixture, "v/1", &revision), "one");
    assert_true(revision == before);
    assert_true(put(fixture, "v/1", "two").revision > before);
}

static void conditions(void **state) {
    struct fixture *fixture = *state;
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "n/a", 3, 0);
    catalog_put(txn, "n/a", 3, "1", 1);
    struct outcome made = commit(fixture, txn);
    assert_int_equal(made.code, ERR_NONE);

    /* It is there now: nothing of the transaction happens. */
    txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "n/b", 3, "2", 1);
    catalog_expect(txn, "n/a", 3, 0);
    struct outcome again = commit(fixture, txn);
    assert_int_equal(again.code, ERR_CONFLICT);
    assert_true(again.revision == 0);
    assert_null(get(fixture, "n/b", NULL));

    txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "n/a", 3, made.revision + 1);
    catalog_put(txn, "n/a", 3, "3", 1);
    assert_int_equal(commit(fixture, txn).code, ERR_CONFLICT);
    txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "n/a", 3, made.revision);
    catalog_put(txn, "n/a", 3, "3", 1);
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
    assert_string_equal(get(fixture, "n/a", NULL), "3");

    /* A revision that is gone does not hold for a key that is gone. */
    txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "n/none", 6, made.revision);
    assert_int_equal(commit(fixture, txn).code, ERR_CONFLICT);
    /* Conditions alone are a transaction too. */
    txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "n/none", 6, 0);
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
}

static void conditions_look_before_the_changes(void **state) {
    struct fixture *fixture = *state;
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "k", 1, "1", 1);
    catalog_put(txn, "k", 1, "2", 1);
    catalog_expect(txn, "k", 1, 0);
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
    assert_string_equal(get(fixture, "k", NULL), "2");
}

/* Five in one turn are one commit, and what cannot be done leaves the others alone. */
static void conflicts_inside_a_batch(void **state) {
    struct fixture *fixture = *state;
    struct catalog_figures before, after;
    catalog_figures(fixture->catalog, &before);
    struct outcome results[5] = {0};
    const char *values[] = {"a", "b", "c", "d", "e"};
    unsigned first = outcomes;
    for (unsigned i = 0; i < 5; i++) {
        struct catalog_txn *txn = catalog_begin(fixture->catalog);
        if (i == 0 || i == 1 || i == 3)
            catalog_expect(txn, "name", 4, 0);
        catalog_put(txn, i == 2 ? "other" : "name", i == 2 ? 5 : 4, values[i], 1);
        if (i == 1)
            catalog_put(txn, "trace", 5, "", 0);
        catalog_submit(txn, on_outcome, &results[i]);
    }
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    const enum err_code codes[] = {ERR_NONE, ERR_CONFLICT, ERR_NONE, ERR_CONFLICT, ERR_NONE};
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(results[i].calls, 1);
        assert_int_equal(results[i].order, first + 1 + i);
        assert_int_equal(results[i].code, codes[i]);
    }
    assert_string_equal(get(fixture, "name", NULL), "e");
    assert_string_equal(get(fixture, "other", NULL), "c");
    assert_null(get(fixture, "trace", NULL));
    /* Who wrote first must not take the last one's value for his own. */
    assert_true(results[0].revision < results[2].revision);
    assert_true(results[2].revision < results[4].revision);
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "name", 4, results[0].revision);
    assert_int_equal(commit(fixture, txn).code, ERR_CONFLICT);

    catalog_figures(fixture->catalog, &after);
    assert_int_equal(after.commits - before.commits, 1);
    assert_int_equal(after.transactions - before.transactions, 3);
    assert_int_equal(after.conflicts - before.conflicts, 3);
    assert_int_equal(after.waiting, 0);
    assert_int_equal(after.keys - before.keys, 2);
}

/* ---- scans ---------------------------------------------------------------------------------- */

struct seen {
    char text[512];
    unsigned count;
    unsigned most;
};

static bool on_seen(void *arg, const struct catalog_entry *entry) {
    struct seen *seen = arg;
    size_t length = strlen(seen->text);
    for (size_t i = 0; i < entry->key_length && length + 8 < sizeof seen->text; i++) {
        unsigned char byte = entry->key[i];
        length += (size_t)snprintf(seen->text + length, sizeof seen->text - length,
                                   byte >= ' ' && byte < 127 ? "%c" : "<%02x>", byte);
    }
    snprintf(seen->text + length, sizeof seen->text - length, " ");
    return ++seen->count != seen->most;
}

static const char *scan(struct fixture *fixture, const char *prefix, const char *after,
                        bool reverse, unsigned most) {
    static struct seen seen;
    seen = (struct seen){.most = most};
    struct err err = ERR_INIT;
    assert_true(catalog_scan(fixture->catalog, prefix, strlen(prefix), after,
                             after != NULL ? strlen(after) : 0, reverse, on_seen, &seen, &err));
    return seen.text;
}

static void scans(void **state) {
    struct fixture *fixture = *state;
    assert_string_equal(scan(fixture, "", NULL, false, 0), "");
    assert_string_equal(scan(fixture, "", NULL, true, 0), "");
    static const char *const keys[] = {"p/2", "p",    "p/1",      "p0",           "o/9", "p/",
                                       "p/3", "\xff", "\xff\xff", "\xff\xff\x01", "\x01"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(put(fixture, keys[i], "x").code, ERR_NONE);
    /* Our own keys are in the same store. */
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_append(txn, "z", 1, "", 0);
    commit(fixture, txn);
    txn = catalog_begin(fixture->catalog);
    catalog_delete(txn, "z\0\0\0\0\0\0\0\1", 9);
    commit(fixture, txn);

    static const struct {
        const char *prefix, *after;
        bool reverse;
        unsigned most;
        const char *seen;
    } rows[] = {
        {"", NULL, false, 0, "<01> o/9 p p/ p/1 p/2 p/3 p0 <ff> <ff><ff> <ff><ff><01> "},
        {"", NULL, true, 0, "<ff><ff><01> <ff><ff> <ff> p0 p/3 p/2 p/1 p/ p o/9 <01> "},
        {"p/", NULL, false, 0, "p/ p/1 p/2 p/3 "},
        {"p/", NULL, true, 0, "p/3 p/2 p/1 p/ "},
        {"p/", NULL, false, 2, "p/ p/1 "},
        {"p/", NULL, true, 2, "p/3 p/2 "},
        {"p/", "p/1", false, 0, "p/2 p/3 "},
        {"p/", "p/15", false, 0, "p/2 p/3 "},
        {"p/", "p/3", false, 0, ""},
        {"p/", "p/4", false, 0, ""},
        {"p/", "q", false, 0, ""},
        {"p/", "a", false, 0, "p/ p/1 p/2 p/3 "},
        {"p/", "p/", false, 0, "p/1 p/2 p/3 "},
        {"p/", "p/2", true, 0, "p/1 p/ "},
        {"p/", "p/", true, 0, ""},
        {"p/", "a", true, 0, ""},
        {"p/", "q", true, 0, "p/3 p/2 p/1 p/ "},
        {"p/1", NULL, false, 0, "p/1 "},
        {"p", NULL, false, 0, "p p/ p/1 p/2 p/3 p0 "},
        {"p", NULL, true, 0, "p0 p/3 p/2 p/1 p/ p "},
        {"q", NULL, false, 0, ""},
        {"q", NULL, true, 0, ""},
        {"\xff", NULL, false, 0, "<ff> <ff><ff> <ff><ff><01> "},
        {"\xff", NULL, true, 0, "<ff><ff><01> <ff><ff> <ff> "},
        {"\xff\xff", NULL, true, 0, "<ff><ff><01> <ff><ff> "},
        {"\xff", "\xff\xff", false, 0, "<ff><ff><01> "},
        {"\xff", "\xff\xff", true, 0, "<ff> "},
        {"\xff\xff\xff", NULL, true, 0, ""},
        {"z", NULL, false, 0, ""},
        {"z", NULL, true, 0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(
            scan(fixture, rows[i].prefix, rows[i].after, rows[i].reverse, rows[i].most),
            rows[i].seen);

    struct catalog_figures figures;
    catalog_figures(fixture->catalog, &figures);
    assert_int_equal(figures.keys, sizeof keys / sizeof keys[0]);
}

static bool on_read_inside(void *arg, const struct catalog_entry *entry) {
    struct fixture *fixture = arg;
    struct catalog_value value;
    assert_true(
        catalog_get(fixture->catalog, entry->key, entry->key_length, &value, &(struct err){0}));
    assert_ptr_equal(value.at, entry->value.at);
    return true;
}

static void reads_inside_a_scan(void **state) {
    struct fixture *fixture = *state;
    put(fixture, "a", "1");
    put(fixture, "b", "2");
    assert_true(catalog_scan(fixture->catalog, "", 0, NULL, 0, false, on_read_inside, fixture,
                             &(struct err){0}));
}

/* ---- numbers -------------------------------------------------------------------------------- */

static struct outcome append(struct fixture *fixture, const char *prefix, unsigned times) {
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    for (unsigned i = 0; i < times; i++)
        catalog_append(txn, prefix, strlen(prefix), "event", 5);
    return commit(fixture, txn);
}

static void erase(struct fixture *fixture, const char *prefix, uint8_t number) {
    uint8_t key[16] = {0};
    size_t length = strlen(prefix);
    memcpy(key, prefix, length);
    key[length + 7] = number;
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_delete(txn, key, length + 8);
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
}

#define ZEROS "<00><00><00><00><00><00><00>"

static void appends(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(append(fixture, "e/", 1).code, ERR_NONE);
    assert_int_equal(append(fixture, "e/", 2).code, ERR_NONE);
    assert_int_equal(append(fixture, "f/", 1).code, ERR_NONE);
    assert_string_equal(scan(fixture, "e/", NULL, false, 0),
                        "e/" ZEROS "<01> e/" ZEROS "<02> e/" ZEROS "<03> ");
    assert_string_equal(scan(fixture, "f/", NULL, false, 0), "f/" ZEROS "<01> ");
    /* Pruned numbers are not used again, also not after a restart. */
    for (uint8_t number = 1; number <= 3; number++)
        erase(fixture, "e/", number);
    fixture_close(fixture);
    fixture_open(fixture);
    append(fixture, "e/", 1);
    assert_string_equal(scan(fixture, "e/", NULL, false, 0), "e/" ZEROS "<04> ");
    /* Keys that were put count where nothing was appended yet. */
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "g/\0\0\0\0\0\0\0\7", 10, "", 0);
    catalog_put(txn, "g/\0\0\0\0\0\0\0\7longer", 16, "", 0);
    commit(fixture, txn);
    append(fixture, "g/", 1);
    assert_string_equal(scan(fixture, "g/", NULL, true, 1), "g/" ZEROS "<08> ");
}

/* ---- watches -------------------------------------------------------------------------------- */

struct told {
    char text[256];
    struct fixture *fixture;
    const struct outcome *outcome; /* the transaction's own callback comes first */
};

static void on_told(void *arg, const struct catalog_entry *entry, bool deleted) {
    struct told *told = arg;
    size_t length = strlen(told->text);
    snprintf(told->text + length, sizeof told->text - length, "%.*s%s%.*s ", (int)entry->key_length,
             (const char *)entry->key, deleted ? "-" : "=", (int)entry->value.length,
             deleted ? "" : (const char *)entry->value.at);
    struct catalog_value value;
    bool found = catalog_get(told->fixture->catalog, entry->key, entry->key_length, &value,
                             &(struct err){0});
    assert_true(found == !deleted);
    if (found)
        assert_true(value.revision == entry->value.revision);
    if (told->outcome != NULL)
        assert_int_equal(told->outcome->calls, 1);
}

static void watches(void **state) {
    struct fixture *fixture = *state;
    struct told pools = {.fixture = fixture}, all = {.fixture = fixture};
    catalog_watch(fixture->catalog, "p/", 2, on_told, &pools);
    catalog_watch(fixture->catalog, "", 0, on_told, &all);
    struct outcome outcome = {0};
    pools.outcome = &outcome;
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "p/1", 3, "a", 1);
    catalog_put(txn, "p", 1, "b", 1);
    catalog_put(txn, "p/2", 3, "c", 1);
    catalog_put(txn, "p/1", 3, "d", 1); /* twice: told once, as it is in the end */
    catalog_delete(txn, "p/none", 6);   /* was not there: nothing happened */
    catalog_submit(txn, on_outcome, &outcome);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_string_equal(pools.text, "p/2=c p/1=d ");
    assert_string_equal(all.text, "p=b p/2=c p/1=d ");

    pools = (struct told){.fixture = fixture};
    txn = catalog_begin(fixture->catalog);
    catalog_expect(txn, "p/1", 3, 0);
    catalog_put(txn, "p/1", 3, "e", 1);
    assert_int_equal(commit(fixture, txn).code, ERR_CONFLICT);
    assert_string_equal(pools.text, "");
    txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "p/1", 3, "f", 1);
    catalog_delete(txn, "p/1", 3);
    commit(fixture, txn);
    assert_string_equal(pools.text, "p/1- ");
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_close_inside(void *arg, uint64_t revision, const struct err *err) {
    struct fixture *fixture = arg;
    (void)revision;
    assert_int_equal(err->code, ERR_NONE);
    catalog_close(fixture->catalog);
}

static void closes_inside_a_callback(void **state) {
    struct fixture *fixture = *state;
    struct outcome later = {0};
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "a", 1, "1", 1);
    catalog_submit(txn, on_close_inside, fixture);
    txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "b", 1, "2", 1);
    catalog_submit(txn, on_outcome, &later);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(later.calls, 1);
    assert_int_equal(later.code, ERR_NONE);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    fixture_open(fixture);
    assert_string_equal(get(fixture, "a", NULL), "1");
    assert_string_equal(get(fixture, "b", NULL), "2");
}

struct chain {
    struct fixture *fixture;
    struct outcome last;
};

static void on_chain(void *arg, uint64_t revision, const struct err *err) {
    struct chain *chain = arg;
    (void)revision;
    assert_int_equal(err->code, ERR_NONE);
    struct catalog_txn *txn = catalog_begin(chain->fixture->catalog);
    catalog_put(txn, "late", 4, "", 0);
    catalog_submit(txn, on_outcome, &chain->last);
    assert_int_equal(chain->last.calls, 0); /* never before submit returns */
}

static void close_ends_what_was_submitted(void **state) {
    struct fixture *fixture = *state;
    struct chain chain = {.fixture = fixture};
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "a", 1, "1", 1);
    catalog_submit(txn, on_chain, &chain);
    catalog_drop(catalog_begin(fixture->catalog));
    catalog_drop(NULL);
    fixture_close(fixture);
    assert_int_equal(chain.last.calls, 1);
    assert_int_equal(chain.last.code, ERR_STOPPING);
    fixture_open(fixture);
    assert_string_equal(get(fixture, "a", NULL), "1");
    assert_null(get(fixture, "late", NULL));
}

static void waiting_blocks_until_all_is_done(void **state) {
    struct fixture *fixture = *state;
    struct chain chain = {.fixture = fixture};
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, "a", 1, "1", 1);
    catalog_submit(txn, on_chain, &chain);
    catalog_wait(fixture->catalog);
    assert_int_equal(chain.last.code, ERR_NONE);
    assert_non_null(get(fixture, "late", NULL));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(writes_and_reads),
        CASE(survives_reopening),
        CASE(conditions),
        CASE(conditions_look_before_the_changes),
        CASE(conflicts_inside_a_batch),
        CASE(scans),
        CASE(reads_inside_a_scan),
        CASE(appends),
        CASE(watches),
        CASE(closes_inside_a_callback),
        CASE(close_ends_what_was_submitted),
        CASE(waiting_blocks_until_all_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

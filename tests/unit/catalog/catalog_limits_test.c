/* SPDX-License-Identifier: Apache-2.0
 *
 * What the catalogue has to bear: the largest of everything, many at once, a map that fills up, a
 * directory that is not fit for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fixture.h"

static void largest(void **state) {
    struct fixture *fixture = *state;
    uint8_t *value = malloc(CATALOG_VALUE_MAX + 1);
    uint8_t key[CATALOG_KEY_MAX + 1];
    for (size_t i = 0; i <= CATALOG_VALUE_MAX; i++)
        value[i] = (uint8_t)(i * 7 >> 3);
    memset(key, 'k', sizeof key);
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    for (unsigned i = 0; i < CATALOG_CHANGES_MAX; i++) {
        key[CATALOG_KEY_MAX - 1] = (uint8_t)i;
        catalog_expect(txn, key, CATALOG_KEY_MAX, 0);
        catalog_put(txn, key, CATALOG_KEY_MAX, value, i == 0 ? CATALOG_VALUE_MAX : 1000);
    }
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
    key[CATALOG_KEY_MAX - 1] = 0;
    struct catalog_value read;
    assert_true(catalog_get(fixture->catalog, key, CATALOG_KEY_MAX, &read, &(struct err){0}));
    assert_int_equal(read.length, CATALOG_VALUE_MAX);
    assert_memory_equal(read.at, value, CATALOG_VALUE_MAX);

    /* One more of anything is refused, by the callback. */
    for (unsigned i = 0; i < 6; i++) {
        txn = catalog_begin(fixture->catalog);
        if (i == 0)
            catalog_put(txn, "v", 1, value, CATALOG_VALUE_MAX + 1);
        if (i == 1)
            catalog_put(txn, key, CATALOG_KEY_MAX + 1, "", 0);
        if (i == 2)
            catalog_expect(txn, key, 0, 0);
        if (i == 3)
            catalog_append(txn, key, CATALOG_KEY_MAX - 7, "", 0);
        for (unsigned j = 0; i == 4 && j < CATALOG_CHANGES_MAX + 1; j++)
            catalog_put(txn, "v", 1, "", 0);
        for (unsigned j = 0; i == 5 && j < CATALOG_EXPECTS_MAX + 1; j++)
            catalog_expect(txn, "v", 1, 0);
        catalog_put(txn, "trace", 5, "", 0);
        assert_int_equal(commit(fixture, txn).code, ERR_LIMIT);
        assert_null(get(fixture, "trace", NULL));
    }
    txn = catalog_begin(fixture->catalog);
    catalog_append(txn, key, CATALOG_KEY_MAX - 8, "", 0);
    assert_int_equal(commit(fixture, txn).code, ERR_NONE);
    assert_false(catalog_get(fixture->catalog, key, CATALOG_KEY_MAX + 1, &read, &(struct err){0}));
    free(value);
}

/* ---- many ----------------------------------------------------------------------------------- */

#define MANY 10000
#define IN_FLIGHT 64

struct many {
    struct fixture *fixture;
    unsigned submitted;
    unsigned done;
};

static void many_next(struct many *many);

static void on_one_of_many(void *arg, uint64_t revision, const struct err *err) {
    struct many *many = arg;
    assert_int_equal(err->code, ERR_NONE);
    assert_true(revision > 0);
    many->done++;
    many_next(many);
}

static void many_next(struct many *many) {
    if (many->submitted == MANY)
        return;
    uint32_t number = many->submitted++;
    struct catalog_txn *txn = catalog_begin(many->fixture->catalog);
    catalog_expect(txn, &number, sizeof number, 0);
    catalog_put(txn, &number, sizeof number, "a volume's record", 17);
    catalog_append(txn, "e/", 2, "an event", 8);
    catalog_submit(txn, on_one_of_many, many);
}

static void ten_thousand_share_commits(void **state) {
    struct fixture *fixture = *state;
    struct many many = {.fixture = fixture};
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        many_next(&many);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(many.done, MANY);
    struct catalog_figures figures;
    catalog_figures(fixture->catalog, &figures);
    print_message("%llu transactions in %llu commits, %llu bytes used\n",
                  (unsigned long long)figures.transactions, (unsigned long long)figures.commits,
                  (unsigned long long)figures.used_bytes);
    assert_int_equal(figures.transactions, MANY);
    assert_int_equal(figures.keys, 2 * MANY);
    assert_true(figures.commits <= MANY / IN_FLIGHT * 2);
    assert_true(figures.used_bytes > 0 && figures.used_bytes < figures.map_bytes);
    assert_int_equal(figures.waiting, 0);
}

static void too_many_wait(void **state) {
    struct fixture *fixture = *state;
    unsigned count = CATALOG_WAITING_MAX + 10;
    struct outcome *results = calloc(count + 1, sizeof *results);
    for (unsigned i = 0; i <= count; i++) {
        struct catalog_txn *txn = catalog_begin(fixture->catalog);
        catalog_put(txn, &i, sizeof i, "", 0);
        if (i == count)
            catalog_finishing(txn);
        catalog_submit(txn, on_outcome, &results[i]);
    }
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i <= count; i++) {
        bool fits = i < CATALOG_WAITING_MAX || i == count;
        assert_int_equal(results[i].calls, 1);
        assert_int_equal(results[i].code, fits ? ERR_NONE : ERR_TOO_MANY);
    }
    assert_int_equal(put(fixture, "later", "").code, ERR_NONE);
    free(results);
}

/* ---- full ----------------------------------------------------------------------------------- */

#define SMALL_MAP (1u << 20)

static struct outcome fill(struct fixture *fixture, uint32_t number, bool finishing, bool remove) {
    static const uint8_t value[3000];
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    if (finishing)
        catalog_finishing(txn);
    if (remove)
        catalog_delete(txn, &number, sizeof number);
    else
        catalog_put(txn, &number, sizeof number, value, sizeof value);
    return commit(fixture, txn);
}

static void nearly_full_refuses_new_work(void **state) {
    struct fixture *fixture = *state;
    fixture_close(fixture);
    assert_true(fixture_open_with(fixture, SMALL_MAP, 50, &(struct err){0}));
    uint32_t number = 0;
    struct outcome outcome;
    assert_false(catalog_full(fixture->catalog));
    while ((outcome = fill(fixture, number, false, false)).code == ERR_NONE)
        number++;
    assert_int_equal(outcome.code, ERR_CATALOG_FULL);
    assert_true(catalog_full(fixture->catalog));
    struct catalog_figures figures;
    catalog_figures(fixture->catalog, &figures);
    assert_int_equal(figures.map_bytes, SMALL_MAP);
    assert_true(figures.used_bytes > SMALL_MAP / 2);
    assert_true(figures.used_bytes < SMALL_MAP / 4 * 3);
    /* Also after a restart; what is under way goes on. */
    fixture_close(fixture);
    assert_true(fixture_open_with(fixture, SMALL_MAP, 50, &(struct err){0}));
    assert_true(catalog_full(fixture->catalog));
    assert_int_equal(fill(fixture, number, true, false).code, ERR_NONE);
    for (uint32_t i = 0; i < number / 2; i++)
        assert_int_equal(fill(fixture, i, true, true).code, ERR_NONE);
    assert_false(catalog_full(fixture->catalog));
    assert_int_equal(fill(fixture, 0, false, false).code, ERR_NONE);
}

/* Beyond the end of the map the one that does not fit fails, and only that one. */
static void a_used_up_map_fails_one(void **state) {
    struct fixture *fixture = *state;
    fixture_close(fixture);
    assert_true(fixture_open_with(fixture, SMALL_MAP, 50, &(struct err){0}));
    static const uint8_t large[200000];
    unsigned count = 0;
    struct outcome results[12] = {0};
    for (; count < 12; count++) {
        struct catalog_txn *txn = catalog_begin(fixture->catalog);
        catalog_finishing(txn);
        bool is_large = count % 2 == 0;
        catalog_put(txn, &count, sizeof count, large, is_large ? sizeof large : 10);
        catalog_submit(txn, on_outcome, &results[count]);
    }
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    unsigned failed = 0;
    for (unsigned i = 0; i < count; i++) {
        struct catalog_value value;
        bool there = catalog_get(fixture->catalog, &i, sizeof i, &value, &(struct err){0});
        assert_int_equal(results[i].calls, 1);
        assert_true(there == (results[i].code == ERR_NONE));
        if (i % 2 == 1)
            assert_int_equal(results[i].code, ERR_NONE);
        else if (results[i].code != ERR_NONE) {
            assert_int_equal(results[i].code, ERR_CATALOG_FULL);
            failed++;
        }
    }
    assert_true(failed > 0 && failed < 6);
}

/* ---- unfit places --------------------------------------------------------------------------- */

static void refused(struct fixture *fixture, enum err_code code, const char *why) {
    struct err err = ERR_INIT;
    assert_false(fixture_open_with(fixture, MAP_BYTES, 0, &err));
    if (err.code != code || strstr(err.text, why) == NULL)
        print_error("%d %s\n", err.code, err.text);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, why));
}

static void unfit_directories(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    chmod(fixture.directory, 0750);
    refused(&fixture, ERR_CONFIG, "0750");
    chmod(fixture.directory, 0701);
    refused(&fixture, ERR_CONFIG, "others");
    if (geteuid() == 0) {
        chmod(fixture.directory, 0700);
        assert_int_equal(chown(fixture.directory, 4711, 0), 0);
        refused(&fixture, ERR_CONFIG, "belongs to uid 4711");
    }
    directory_remove(fixture.directory);
    refused(&fixture, ERR_CONFIG, "No such file");
    int fd = open(fixture.directory, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    refused(&fixture, ERR_CONFIG, "Not a directory");
    unlink(fixture.directory);
}

static void held_by_another_process(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    int opened[2], end[2];
    assert_int_equal(pipe(opened), 0);
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(end[1]);
        char byte = 0;
        struct err err = ERR_INIT;
        bool ok = fixture_open_with(&fixture, MAP_BYTES, 0, &err) &&
                  write(opened[1], &byte, 1) == 1 && read(end[0], &byte, 1) == 0;
        _exit(ok ? 0 : 1);
    }
    close(opened[1]);
    close(end[0]);
    char byte;
    assert_int_equal(read(opened[0], &byte, 1), 1);
    char who[32];
    snprintf(who, sizeof who, "process %d ", child);
    refused(&fixture, ERR_BUSY, who);
    close(end[1]);
    close(opened[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    /* It did not close; its end is enough. */
    fixture_open(&fixture);
    fixture_close(&fixture);
    directory_remove(fixture.directory);
}

static void file_path(const struct fixture *fixture, char ret[128]) {
    snprintf(ret, 128, "%s/data.mdb", fixture->directory);
}

static void damaged_files(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    char path[128];
    file_path(&fixture, path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    uint8_t page[4096];
    memset(page, 0x5a, sizeof page);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(write(fd, page, sizeof page), sizeof page);
    close(fd);
    refused(&fixture, ERR_CORRUPT, "data.mdb is damaged");
    unlink(path);

    /* The version stands behind the magic in both heads: u32 at offset 20 of a page. */
    fixture_open(&fixture);
    put(&fixture, "a", "1");
    fixture_close(&fixture);
    fd = open(path, O_RDWR);
    for (off_t head = 0; head <= 4096; head += 4096)
        assert_int_equal(pwrite(fd, "\x63", 1, head + 20), 1);
    close(fd);
    refused(&fixture, ERR_CONFIG, "another version");
    directory_remove(fixture.directory);
}

/* A file that lost its end is reported when somebody reads there; nobody dies of it. */
static void truncated_file(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    fixture_open(&fixture);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(fill(&fixture, i, false, false).code, ERR_NONE);
    fixture_close(&fixture);
    char path[128];
    file_path(&fixture, path);
    assert_int_equal(truncate(path, 2 * 4096), 0);
    struct err err = ERR_INIT;
    if (fixture_open_with(&fixture, MAP_BYTES, 0, &err)) {
        uint32_t number = 77;
        struct catalog_value value;
        assert_false(catalog_get(fixture.catalog, &number, sizeof number, &value, &err));
        assert_int_equal(err.code, ERR_CATALOG);
        fixture_close(&fixture);
    } else {
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    directory_remove(fixture.directory);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(largest),
        CASE(ten_thousand_share_commits),
        CASE(too_many_wait),
        CASE(nearly_full_refuses_new_work),
        CASE(a_used_up_map_fails_one),
        cmocka_unit_test(unfit_directories),
        cmocka_unit_test(held_by_another_process),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(truncated_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

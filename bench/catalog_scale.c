/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_scale: reads of a catalogue that holds so many records.
 *
 *     catalog_scale RECORDS get|page|open rate|p50|p99
 *
 * get: one record by its id, chosen at random, one a turn of the loop as a request would. page: the
 * 100 records behind an id chosen at random. open: opening and closing the catalogue.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "measure.h"
#include "record.h"

#define RECORDS_MAX 1000000
#define PAGE 100
#define FILL_CHANGES 64 /* in one transaction */

struct store {
    uv_loop_t loop;
    struct catalog *catalog;
    const char *directory;
    uint8_t (*keys)[RECORD_KEY_SIZE];
    uint64_t count;
};

static void store_open(struct store *store) {
    struct err err = ERR_INIT;
    struct catalog_options options = {.directory = store->directory};
    uv_loop_init(&store->loop);
    if (!catalog_open(&store->loop, &options, &store->catalog, &err))
        measure_fail("%s", err.text);
}

static void store_close(struct store *store) {
    catalog_close(store->catalog);
    uv_run(&store->loop, UV_RUN_DEFAULT);
    uv_loop_close(&store->loop);
}

static void on_filled(void *arg, uint64_t revision, const struct err *err) {
    (void)arg, (void)revision;
    if (err->code != ERR_NONE)
        measure_fail("filling: %s", err->text);
}

static void store_fill(struct store *store) {
    uint8_t value[RECORD_VALUE_SIZE];
    for (uint64_t i = 0; i < store->count;) {
        struct catalog_txn *txn = catalog_begin(store->catalog);
        for (unsigned j = 0; j < FILL_CHANGES && i < store->count; j++, i++) {
            record_make(store->keys[i], value);
            catalog_put(txn, store->keys[i], RECORD_KEY_SIZE, value, sizeof value);
        }
        catalog_submit(txn, on_filled, NULL);
        if (i / FILL_CHANGES % 64 == 0)
            catalog_wait(store->catalog);
    }
    catalog_wait(store->catalog);
}

static bool on_record(void *arg, const struct catalog_entry *entry) {
    uint64_t *left = arg;
    if (entry->value.length != RECORD_VALUE_SIZE)
        measure_fail("a record is not what was written");
    return --*left > 0;
}

static void get_one(struct store *store) {
    const uint8_t *key = store->keys[(uint64_t)random() % store->count];
    struct catalog_value value;
    if (!catalog_get(store->catalog, key, RECORD_KEY_SIZE, &value, &(struct err){0}) ||
        value.length != RECORD_VALUE_SIZE)
        measure_fail("a record is not there");
    uv_run(&store->loop, UV_RUN_NOWAIT);
}

static void page_one(struct store *store) {
    const uint8_t *after = store->keys[(uint64_t)random() % (store->count - PAGE)];
    uint64_t left = PAGE;
    if (!catalog_scan(store->catalog, "v/", 2, after, RECORD_KEY_SIZE, false, on_record, &left,
                      &(struct err){0}) ||
        left != 0)
        measure_fail("a page is not whole");
    uv_run(&store->loop, UV_RUN_NOWAIT);
}

static void open_one(struct store *store) {
    store_close(store);
    store_open(store);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*one)(struct store *store);
    } rows[] = {{"get", get_one}, {"page", page_one}, {"open", open_one}};
    size_t row = 0;
    while (argc == 4 && row < 3 && strcmp(argv[2], rows[row].name) != 0)
        row++;
    if (argc != 4 || row == 3)
        measure_fail("usage: catalog_scale RECORDS get|page|open rate|p50|p99");
    struct store store = {.count = measure_number(argv[1])};
    if (store.count <= PAGE || store.count > RECORDS_MAX)
        measure_fail("%d to %d records", PAGE + 1, RECORDS_MAX);
    char directory[4096], path[4200];
    snprintf(directory, sizeof directory, "%s/scale.XXXXXX", measure_directory());
    if (mkdtemp(directory) == NULL)
        measure_fail("cannot make %s", directory);
    store.directory = directory;
    store.keys = calloc(store.count, sizeof *store.keys);
    if (store.keys == NULL)
        measure_fail("no memory for the keys");
    store_open(&store);
    store_fill(&store);
    open_one(&store);
    struct measure measure;
    measure_begin(&measure, argv[3]);
    while (!measure_over(&measure)) {
        uint64_t began = clock_mono_ns();
        rows[row].one(&store);
        measure_one(&measure, began);
    }
    measure_print(&measure);
    store_close(&store);
    free(store.keys);
    static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    rmdir(directory);
    return 0;
}

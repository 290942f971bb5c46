/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_commit: durable transactions of the catalogue, so many under way at any time. Each puts
 * one record; the callback of one submits the next.
 *
 *     catalog_commit IN_FLIGHT rate|p50|p99
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "measure.h"
#include "record.h"

#define IN_FLIGHT_MAX 1024

struct run {
    struct catalog *catalog;
    struct measure measure;
};

struct slot {
    struct run *run;
    uint64_t began_ns;
};

static void commit_start(struct slot *slot);

static void on_commit_done(void *arg, uint64_t revision, const struct err *err) {
    struct slot *slot = arg;
    (void)revision;
    if (err->code != ERR_NONE)
        measure_fail("a commit failed: %s", err->text);
    measure_one(&slot->run->measure, slot->began_ns);
    if (!measure_over(&slot->run->measure))
        commit_start(slot);
}

static void commit_start(struct slot *slot) {
    uint8_t key[RECORD_KEY_SIZE], value[RECORD_VALUE_SIZE];
    slot->began_ns = clock_mono_ns();
    record_make(key, value);
    struct catalog_txn *txn = catalog_begin(slot->run->catalog);
    catalog_put(txn, key, sizeof key, value, sizeof value);
    catalog_submit(txn, on_commit_done, slot);
}

int main(int argc, char **argv) {
    if (argc != 3)
        measure_fail("usage: catalog_commit IN_FLIGHT rate|p50|p99");
    uint64_t in_flight = measure_number(argv[1]);
    if (in_flight == 0 || in_flight > IN_FLIGHT_MAX)
        measure_fail("1 to %d in flight", IN_FLIGHT_MAX);
    char directory[4096], path[4200];
    snprintf(directory, sizeof directory, "%s/catalog.XXXXXX", measure_directory());
    if (mkdtemp(directory) == NULL)
        measure_fail("cannot make %s", directory);
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct run run = {0};
    struct err err = ERR_INIT;
    struct catalog_options options = {.directory = directory};
    if (!catalog_open(&loop, &options, &run.catalog, &err))
        measure_fail("%s", err.text);
    static struct slot slots[IN_FLIGHT_MAX];
    measure_begin(&run.measure, argv[2]);
    for (uint64_t i = 0; i < in_flight; i++) {
        slots[i].run = &run;
        commit_start(&slots[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    measure_print(&run.measure);
    catalog_close(run.catalog);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    rmdir(directory);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.h: a catalogue in a directory of its own, and transactions whose outcome is waited for.
 */
#ifndef SLUICE_TESTS_CATALOG_FIXTURE_H
#define SLUICE_TESTS_CATALOG_FIXTURE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "catalog/catalog.h"

#define MAP_BYTES (64u << 20) /* small enough for a sanitizer's address space */

struct fixture {
    char directory[64];
    uv_loop_t loop;
    struct catalog *catalog;
};

static inline int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw) {
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

static inline void directory_make(char ret[64]) {
    snprintf(ret, 64, "%s/catalog-test.XXXXXX", access("/tmp", W_OK) == 0 ? "/tmp" : ".");
    if (mkdtemp(ret) == NULL)
        abort();
}

static inline void directory_remove(const char *directory) {
    nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline bool fixture_open_with(struct fixture *fixture, uint64_t map_bytes, uint32_t percent,
                                     struct err *err) {
    struct catalog_options options = {
        .directory = fixture->directory, .map_bytes = map_bytes, .full_percent = percent};
    if (uv_loop_init(&fixture->loop) != 0)
        abort();
    if (catalog_open(&fixture->loop, &options, &fixture->catalog, err))
        return true;
    fixture->catalog = NULL;
    if (uv_loop_close(&fixture->loop) != 0)
        abort();
    return false;
}

static inline void fixture_open(struct fixture *fixture) {
    struct err err = ERR_INIT;
    if (!fixture_open_with(fixture, MAP_BYTES, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static inline void fixture_close(struct fixture *fixture) {
    catalog_close(fixture->catalog);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&fixture->loop) != 0)
        abort();
}

static inline int fixture_setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    directory_make(fixture->directory);
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state) {
    struct fixture *fixture = *state;
    fixture_close(fixture);
    directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

struct outcome {
    unsigned calls;
    unsigned order; /* the how-manieth of all outcomes */
    uint64_t revision;
    enum err_code code;
};

static unsigned outcomes;

static inline void on_outcome(void *arg, uint64_t revision, const struct err *err) {
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->order = ++outcomes;
    outcome->revision = revision;
    outcome->code = err->code;
}

/* Submits and runs the loop until that and all else has ended. */
static inline struct outcome commit(struct fixture *fixture, struct catalog_txn *txn) {
    struct outcome outcome = {0};
    catalog_submit(txn, on_outcome, &outcome);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    if (outcome.calls != 1)
        abort();
    return outcome;
}

static inline struct outcome put(struct fixture *fixture, const char *key, const char *value) {
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, key, strlen(key), value, strlen(value));
    return commit(fixture, txn);
}

/* The value as text, or NULL; until the next call. */
static inline const char *get(struct fixture *fixture, const char *key, uint64_t *ret_revision) {
    static char text[256];
    struct catalog_value value;
    struct err err = ERR_INIT;
    if (!catalog_get(fixture->catalog, key, strlen(key), &value, &err)) {
        if (err.code != ERR_NONE)
            abort();
        return NULL;
    }
    snprintf(text, sizeof text, "%.*s", (int)value.length, (const char *)value.at);
    if (ret_revision != NULL)
        *ret_revision = value.revision;
    return text;
}

#endif

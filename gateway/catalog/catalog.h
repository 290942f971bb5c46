/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog.h: the catalogue, an ordered key-value store that survives anything.
 *
 * Keys are 1 to CATALOG_KEY_MAX bytes, ordered by memcmp; values up to CATALOG_VALUE_MAX bytes.
 * Each key carries a revision: a number that belongs to the transaction which wrote it last, to no
 * other, and is larger than those of all transactions before it (never 0). A transaction is a list
 * of conditions and a list of changes and takes effect whole or not at all; it is durable when its
 * callback says so. Conditions look at the state before the transaction's own changes; changes are
 * made in the order in which they were added. One writer thread commits, grouping all that waits
 * under one fsync; the loop thread reads and never waits.
 *
 * Life cycle: catalog_open, then everything from the loop thread only, catalog_close (waits for
 * what was submitted; its callbacks are made; the memory goes in a later turn of the loop, which
 * must therefore run on until it is idle). Submitted transactions keep the loop alive, an idle
 * catalogue does not. Transactions take effect in the order of their submission. Reads see every
 * commit whose callback has been made, and maybe later ones. Embedded store: LMDB, one process, a
 * local file system; that is checked and refused with a text for the operator (CONFIG, BUSY,
 * CORRUPT).
 *
 * What a turn of the loop submits is handed to the writer before the loop polls again, so that a
 * turn's transactions share one commit and a lone one is not held up.
 *
 * Fault points: catalog.commit.before (fail: the commit fails), catalog.commit.after.
 */
#ifndef SLUICE_CATALOG_CATALOG_H
#define SLUICE_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CATALOG_KEY_MAX 500      /* LMDB's compiled limit is 511 */
#define CATALOG_VALUE_MAX 262144 /* an operation with its parameters is the largest record */
#define CATALOG_CHANGES_MAX 128  /* in one transaction: a volume whose 32 labels all change */
#define CATALOG_EXPECTS_MAX 128  /* in one transaction: as many as changes */
#define CATALOG_WAITING_MAX 8192 /* submitted and not yet committed; finishing ones: twice that */
#define CATALOG_WATCHES_MAX 16   /* events and a handful of others */

struct uv_loop_s;
struct catalog;
struct catalog_txn;

struct catalog_options {
    const char *directory; /* exists, mode 0700, on a local file system */
    uint64_t map_bytes;    /* reserved address space; 0: 16 GiB */
    uint32_t full_percent; /* of the map: above it new work is refused; 0: 90 */
};

bool catalog_open(struct uv_loop_s *loop, const struct catalog_options *options,
                  struct catalog **ret, struct err *err);
void catalog_close(struct catalog *catalog); /* NULL is fine; all values and watches end here */

/* Waits until all that was submitted is durable or has failed, and makes the callbacks, also of
 * what they submit. It blocks the loop: for the start (migrations) and the end only. */
void catalog_wait(struct catalog *catalog);

/* The map is nearly full: refuse new work, let running work end. */
bool catalog_full(const struct catalog *catalog);

struct catalog_value {
    const uint8_t *at; /* valid until the callback or the loop's turn ends; copy to keep */
    size_t length;
    uint64_t revision;
};

/* false and err unset: there is no such key. false and err set: the store failed. */
bool catalog_get(struct catalog *catalog, const void *key, size_t key_length,
                 struct catalog_value *ret, struct err *err);

/* Calls `each` for the keys that begin with prefix (length 0: all), in order, after the key `after`
 * (NULL: from the first); with `reverse` in descending order, before `after`. Ends when each
 * returns false. The callback may read but must not submit. */
struct catalog_entry {
    const uint8_t *key;
    size_t key_length;
    struct catalog_value value;
};
typedef bool catalog_each_fn(void *arg, const struct catalog_entry *entry);
bool catalog_scan(struct catalog *catalog, const void *prefix, size_t prefix_length,
                  const void *after, size_t after_length, bool reverse, catalog_each_fn *each,
                  void *arg, struct err *err);

/* ---- transactions: begin, add, submit (or drop) --------------------------------------------- */

struct catalog_txn *catalog_begin(struct catalog *catalog);
void catalog_drop(struct catalog_txn *txn); /* NULL is fine; never after submit */

/* Takes effect only if the key's revision is this one; 0: only if there is no such key. */
void catalog_expect(struct catalog_txn *txn, const void *key, size_t key_length, uint64_t revision);
void catalog_put(struct catalog_txn *txn, const void *key, size_t key_length, const void *value,
                 size_t value_length);
void catalog_delete(struct catalog_txn *txn, const void *key, size_t key_length);
/* A new key: prefix and a u64, big-endian, one more than the largest that the prefix ever had, also
 * when those are deleted by now. The prefix is at most CATALOG_KEY_MAX - 8 bytes. */
void catalog_append(struct catalog_txn *txn, const void *prefix, size_t prefix_length,
                    const void *value, size_t value_length);
/* Work that goes on when the catalogue is nearly full: it finishes or gives back. */
void catalog_finishing(struct catalog_txn *txn);

/* On the loop thread, exactly once, never before catalog_submit returns. revision: of what this
 * transaction wrote. err->code: NONE durable; CONFLICT a condition did not hold and nothing
 * changed; CATALOG_FULL, CATALOG, TOO_MANY (beyond CATALOG_WAITING_MAX), LIMIT (a key, a value or
 * the list is too long), NO_MEMORY, STOPPING: nothing changed. */
typedef void catalog_done_fn(void *arg, uint64_t revision, const struct err *err);
/* Owns txn from here on. Never fails: trouble comes by the callback. */
void catalog_submit(struct catalog_txn *txn, catalog_done_fn *done, void *arg);

/* Called on the loop thread after each commit that wrote or deleted a key with that prefix, once
 * for each such key of a transaction, right after the transaction's own callback; in order of
 * transactions. deleted: there is no value. At most CATALOG_WATCHES_MAX watches. */
typedef void catalog_watch_fn(void *arg, const struct catalog_entry *entry, bool deleted);
void catalog_watch(struct catalog *catalog, const void *prefix, size_t prefix_length,
                   catalog_watch_fn *watch, void *arg);

struct catalog_figures {
    uint64_t commits;      /* fsyncs */
    uint64_t transactions; /* made durable by them */
    uint64_t conflicts;
    uint64_t map_bytes;
    uint64_t used_bytes; /* pages in use; those that wait to be used again do not count */
    uint64_t keys;
    uint32_t waiting;
};
void catalog_figures(struct catalog *catalog, struct catalog_figures *ret);

#endif

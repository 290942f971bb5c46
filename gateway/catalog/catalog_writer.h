/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_writer.h: the one thread that writes the store. Inside of catalog/ only.
 *
 * It takes whatever waits (up to a batch), applies each transaction whose conditions hold inside
 * one write transaction of the store, commits that once, and hands all of them back with their
 * results. A transaction that fails by itself leaves the others as if it had never been there.
 *
 * Life cycle: writer_start, writer_submit and writer_take from the loop thread, writer_stop
 * (finishes what was submitted; what it handed back can still be taken). The transactions belong to
 * the writer between submit and take.
 */
#ifndef SLUICE_CATALOG_CATALOG_WRITER_H
#define SLUICE_CATALOG_CATALOG_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lmdb.h>
#include <pthread.h>

#include "catalog/catalog_txn.h"

struct writer {
    MDB_env *env;
    MDB_dbi dbi;
    uint64_t full_pages; /* above it the catalogue is full */
    int results_fd;      /* eventfd, written when there are results; the loop polls it */
    atomic_bool full;

    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work;
    pthread_cond_t results;
    struct catalog_txn_list waiting;
    struct catalog_txn_list done;
    uint64_t commits;
    bool stopping;
};

/* results_fd and the store belong to the caller, who keeps them until writer_stop. */
bool writer_start(struct writer *writer, struct err *err);
void writer_stop(struct writer *writer);
/* Takes all of the list, which is empty then. */
void writer_submit(struct writer *writer, struct catalog_txn_list *list);
/* Appends what is done to ret_list; waits for at least one when told so (there must be one under
 * way). */
void writer_take(struct writer *writer, bool wait, struct catalog_txn_list *ret_list,
                 uint64_t *ret_commits);

/* What the writer does to results_fd; the loop may do it too. */
void results_tell(int results_fd);

/* Pages of the store that are in use, seen from a transaction; an error of the store. */
int store_pages_used(MDB_env *env, MDB_txn *txn, uint64_t *ret_pages);
/* Sets err from an error of the store; always false. */
bool store_failed(struct err *err, MDB_env *env, int error, const char *what);

#endif

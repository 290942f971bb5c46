/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_writer.c: conditions, changes, one commit for many.
 */
#include "catalog/catalog_writer.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"

/* One batch bounds how long the first of it waits for its result, and the store's list of changed
 * pages (131,072): a batch ends with the transaction that goes beyond one of these. */
#define BATCH_TRANSACTIONS_MAX 1024
#define BATCH_CHANGES_MAX 8192
#define BATCH_BYTES_MAX (16u << 20)

/* Revision: the store's own number of the commit, and the transaction's place in it. */
#define REVISION_PLACE_BITS 12
_Static_assert(BATCH_TRANSACTIONS_MAX <= 1 << REVISION_PLACE_BITS, "a place has room");

/* A write that ends at the end of the disk is reported by the store as EIO. */
#define DISK_FULL_BYTES (1u << 20)

/* ---- the store's troubles ------------------------------------------------------------------- */

static bool disk_is_full(MDB_env *env) {
    mdb_filehandle_t fd;
    struct statvfs fs;
    if (mdb_env_get_fd(env, &fd) != 0 || fstatvfs(fd, &fs) != 0)
        return false;
    return (uint64_t)fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

bool store_failed(struct err *err, MDB_env *env, int error, const char *what) {
    switch (error) {
    case MDB_MAP_FULL:
        return err_set(err, ERR_CATALOG_FULL, "%s: the map of the catalogue is used up", what);
    case ENOSPC:
    case EDQUOT:
        return err_set(err, ERR_CATALOG_FULL, "%s: the disk of the catalogue is full", what);
    case EIO:
        if (disk_is_full(env))
            return err_set(err, ERR_CATALOG_FULL, "%s: the disk of the catalogue is full", what);
        break;
    case MDB_PANIC:
        return err_set(err, ERR_CATALOG,
                       "%s: writing failed before in a way that only a restart can judge", what);
    default:
        break;
    }
    return err_set(err, ERR_CATALOG, "%s: %s", what, mdb_strerror(error));
}

/* The store keeps its free pages as lists in its database number 0: a count, then the numbers. */
static int free_pages(MDB_txn *txn, uint64_t *ret_pages) {
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, 0, &cursor);
    if (error != 0)
        return error;
    uint64_t pages = 0;
    MDB_val key, value;
    while ((error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t count;
        if (value.mv_size < sizeof count) {
            error = MDB_CORRUPTED;
            break;
        }
        memcpy(&count, value.mv_data, sizeof count);
        pages += count;
    }
    mdb_cursor_close(cursor);
    *ret_pages = pages;
    return error == MDB_NOTFOUND ? 0 : error;
}

int store_pages_used(MDB_env *env, MDB_txn *txn, uint64_t *ret_pages) {
    MDB_envinfo env_info;
    int error = mdb_env_info(env, &env_info);
    uint64_t free = 0;
    if (error == 0)
        error = free_pages(txn, &free);
    if (error == 0)
        *ret_pages = env_info.me_last_pgno + 1 - free;
    return error;
}

/* Counting the free pages takes a walk, so that is only done where their number matters. */
static void judge_fullness(struct writer *writer) {
    MDB_envinfo env_info;
    MDB_txn *txn;
    uint64_t used = UINT64_MAX;
    CHECK(mdb_env_info(writer->env, &env_info) == 0);
    if (env_info.me_last_pgno < writer->full_pages) {
        atomic_store(&writer->full, false);
        return;
    }
    if (mdb_txn_begin(writer->env, NULL, MDB_RDONLY, &txn) == 0) {
        if (store_pages_used(writer->env, txn, &used) != 0)
            used = UINT64_MAX; /* in doubt, full */
        mdb_txn_abort(txn);
    }
    atomic_store(&writer->full, used > writer->full_pages);
}

/* ---- one transaction ------------------------------------------------------------------------ */

/* 0 with *ret_revision 0: there is no such key. */
static int revision_of(struct writer *writer, MDB_txn *store, MDB_val *key,
                       uint64_t *ret_revision) {
    MDB_val value;
    int error = mdb_get(store, writer->dbi, key, &value);
    *ret_revision = 0;
    if (error == MDB_NOTFOUND)
        return 0;
    if (error != 0)
        return error;
    if (value.mv_size < REVISION_SIZE)
        return MDB_CORRUPTED;
    *ret_revision = load_u64_le(value.mv_data);
    return 0;
}

/* MDB_KEYEXIST: one does not hold. */
static int conditions_hold(struct writer *writer, MDB_txn *store, const struct catalog_txn *txn) {
    for (uint32_t i = 0; i < txn->op_count; i++) {
        const struct catalog_op *op = &txn->ops[i];
        if (op->kind != OP_EXPECT)
            continue;
        MDB_val key = {op->key_length, txn_key(txn, op)};
        uint64_t revision;
        int error = revision_of(writer, store, &key, &revision);
        if (error != 0)
            return error;
        if (revision != op->revision)
            return MDB_KEYEXIST;
    }
    return 0;
}

/* Where no number was ever kept, keys that were put under the prefix count. That is looked for once
 * in the life of a prefix, from its end; longer keys may lie in between. */
static int largest_number(struct writer *writer, MDB_txn *store, const struct catalog_txn *txn,
                          const struct catalog_op *op, uint64_t *ret_number) {
    MDB_cursor *cursor;
    int error = mdb_cursor_open(store, writer->dbi, &cursor);
    if (error != 0)
        return error;
    size_t prefix_length = op->key_length - NUMBER_SIZE;
    uint8_t beyond[STORED_KEY_MAX];
    memcpy(beyond, txn_key(txn, op), prefix_length);
    size_t beyond_length = key_beyond_prefix(beyond, prefix_length);
    MDB_val key = {beyond_length, beyond}, value;
    error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (error == 0 || error == MDB_NOTFOUND)
        error = mdb_cursor_get(cursor, &key, &value, error == 0 ? MDB_PREV : MDB_LAST);
    *ret_number = 0;
    while (error == 0 && key.mv_size >= prefix_length &&
           memcmp(key.mv_data, txn_key(txn, op), prefix_length) == 0) {
        if (key.mv_size == op->key_length) {
            *ret_number = load_u64_be((const uint8_t *)key.mv_data + prefix_length);
            break;
        }
        error = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

/* The next number of the op's prefix, kept under our own key and written into the op's key. */
static int next_number(struct writer *writer, MDB_txn *store, struct catalog_txn *txn,
                       struct catalog_op *op) {
    size_t prefix_length = op->key_length - NUMBER_SIZE;
    uint8_t own[STORED_KEY_MAX];
    own[0] = LEAD_NUMBER;
    memcpy(own + 1, txn_key(txn, op) + 1, prefix_length - 1);
    MDB_val key = {prefix_length, own}, value;
    uint64_t number = 0;
    int error = mdb_get(store, writer->dbi, &key, &value);
    if (error == MDB_NOTFOUND)
        error = largest_number(writer, store, txn, op, &number);
    else if (error == 0 && value.mv_size != NUMBER_SIZE)
        error = MDB_CORRUPTED;
    else if (error == 0)
        number = load_u64_le(value.mv_data);
    if (error == 0 && number == UINT64_MAX)
        error = MDB_CORRUPTED; /* no gateway appends that often */
    if (error != 0)
        return error;
    uint8_t kept[NUMBER_SIZE];
    store_u64_le(kept, number + 1);
    store_u64_be(txn_key(txn, op) + prefix_length, number + 1);
    value = (MDB_val){sizeof kept, kept};
    return mdb_put(store, writer->dbi, &key, &value, 0);
}

static int change(struct writer *writer, MDB_txn *store, struct catalog_txn *txn,
                  struct catalog_op *op) {
    MDB_val key = {op->key_length, txn_key(txn, op)};
    if (op->kind == OP_DELETE) {
        int error = mdb_del(store, writer->dbi, &key, NULL);
        op->moot = error == MDB_NOTFOUND;
        return op->moot ? 0 : error;
    }
    if (op->kind == OP_APPEND) {
        int error = next_number(writer, store, txn, op);
        if (error != 0)
            return error;
    }
    store_u64_le(txn_value(txn, op), txn->revision);
    MDB_val value = {REVISION_SIZE + op->value_length, txn_value(txn, op)};
    return mdb_put(store, writer->dbi, &key, &value, 0);
}

/* Any error but 0 has spoilt the store's transaction. *ret_took: the transaction is part of it. */
static int apply(struct writer *writer, MDB_txn *store, uint32_t place, struct catalog_txn *txn,
                 bool *ret_took) {
    *ret_took = false;
    if (atomic_load(&writer->full) && !txn->finishing) {
        err_set(&txn->err, ERR_CATALOG_FULL,
                "the catalogue is nearly full: it takes no new work until there is room");
        return 0;
    }
    int error = conditions_hold(writer, store, txn);
    if (error == MDB_KEYEXIST) {
        err_set(&txn->err, ERR_CONFLICT, "another change of the same object came first");
        return 0;
    }
    txn->revision = (uint64_t)mdb_txn_id(store) << REVISION_PLACE_BITS | place;
    for (uint32_t i = 0; i < txn->op_count && error == 0; i++)
        if (txn->ops[i].kind != OP_EXPECT)
            error = change(writer, store, txn, &txn->ops[i]);
    *ret_took = error == 0;
    return error;
}

/* ---- a batch -------------------------------------------------------------------------------- */

static void fail_all(struct catalog_txn_list *batch, const struct err *err) {
    struct catalog_txn *txn;
    STAILQ_FOREACH(txn, batch, entries) {
        if (txn->err.code == ERR_NONE)
            txn->err = *err;
    }
}

static int commit(MDB_txn *store) {
    if (FAULT("catalog.commit.before")) {
        mdb_txn_abort(store);
        return EIO;
    }
    int error = mdb_txn_commit(store);
    (void)FAULT("catalog.commit.after");
    return error;
}

/* false: the transaction *ret_culprit cannot be applied, the store is as before, and no results are
 * set. */
static bool batch_try(struct writer *writer, struct catalog_txn_list *batch, bool *ret_committed,
                      struct catalog_txn **ret_culprit, struct err *err) {
    MDB_txn *store;
    struct catalog_txn *txn;
    uint32_t place = 0;
    bool any = false;
    *ret_committed = false;
    *ret_culprit = NULL;
    int error = mdb_txn_begin(writer->env, NULL, 0, &store);
    if (error != 0) {
        store_failed(err, writer->env, error, "beginning a transaction");
        fail_all(batch, err);
        return true;
    }
    STAILQ_FOREACH(txn, batch, entries) {
        bool took;
        txn->err = ERR_INIT;
        error = apply(writer, store, place++, txn, &took);
        if (error != 0) {
            mdb_txn_abort(store);
            *ret_culprit = txn;
            return store_failed(err, writer->env, error, "changing the catalogue");
        }
        any = any || (took && txn->change_count > 0);
    }
    if (!any) {
        mdb_txn_abort(store);
        return true;
    }
    error = commit(store);
    *ret_committed = error == 0;
    if (error != 0) {
        store_failed(err, writer->env, error, "committing");
        fail_all(batch, err);
    }
    return true;
}

/* Commits the batch. Whoever cannot be applied is taken out with that error, and the rest is tried
 * again; that is rare, and each round takes one out. Returns the number of commits. */
static uint64_t batch_commit(struct writer *writer, struct catalog_txn_list *batch) {
    struct catalog_txn_list left_out = STAILQ_HEAD_INITIALIZER(left_out);
    struct catalog_txn *culprit;
    bool committed = false;
    for (;;) {
        struct err err = ERR_INIT;
        if (STAILQ_EMPTY(batch) || batch_try(writer, batch, &committed, &culprit, &err))
            break;
        STAILQ_REMOVE(batch, culprit, catalog_txn, entries);
        culprit->err = err;
        STAILQ_INSERT_TAIL(&left_out, culprit, entries);
    }
    STAILQ_CONCAT(batch, &left_out);
    if (committed)
        judge_fullness(writer);
    return committed ? 1 : 0;
}

/* Moves the first of those that wait. */
static void batch_fill(struct catalog_txn_list *waiting, struct catalog_txn_list *batch) {
    uint32_t transactions = 0, changes = 0;
    size_t bytes = 0;
    struct catalog_txn *txn;
    while ((txn = STAILQ_FIRST(waiting)) != NULL && transactions < BATCH_TRANSACTIONS_MAX &&
           changes < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX) {
        STAILQ_REMOVE_HEAD(waiting, entries);
        STAILQ_INSERT_TAIL(batch, txn, entries);
        transactions++;
        changes += txn->change_count;
        bytes += txn->bytes.length;
    }
}

/* An eventfd of our own, not uv_async_send: there the loop, woken by the write, spins and yields
 * until this thread has come back from it, which costs tens of microseconds when both share a
 * processor. */
void results_tell(int results_fd) {
    uint64_t one = 1;
    ssize_t wrote = write(results_fd, &one, sizeof one);
    CHECK(wrote == sizeof one || errno == EAGAIN); /* EAGAIN: it is readable already */
}

static void *writer_run(void *arg) {
    struct writer *writer = arg;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (STAILQ_EMPTY(&writer->waiting) && !writer->stopping)
            pthread_cond_wait(&writer->work, &writer->lock);
        if (STAILQ_EMPTY(&writer->waiting))
            break;
        struct catalog_txn_list batch = STAILQ_HEAD_INITIALIZER(batch);
        batch_fill(&writer->waiting, &batch);
        pthread_mutex_unlock(&writer->lock);
        uint64_t commits = batch_commit(writer, &batch);
        pthread_mutex_lock(&writer->lock);
        writer->commits += commits;
        STAILQ_CONCAT(&writer->done, &batch);
        pthread_mutex_unlock(&writer->lock);
        /* Outside of the lock: who is woken by this must not wait for us at once. */
        pthread_cond_signal(&writer->results);
        results_tell(writer->results_fd);
        pthread_mutex_lock(&writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------ */

bool writer_start(struct writer *writer, struct err *err) {
    STAILQ_INIT(&writer->waiting);
    STAILQ_INIT(&writer->done);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->work, NULL);
    pthread_cond_init(&writer->results, NULL);
    judge_fullness(writer);
    sigset_t all, before; /* signals are for the loop's thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&writer->thread, NULL, writer_run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return err_errno(err, ERR_SYSTEM, error, "starting the catalogue's writer");
    pthread_setname_np(writer->thread, "catalog");
    return true;
}

void writer_stop(struct writer *writer) {
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->lock);
    CHECK(pthread_join(writer->thread, NULL) == 0);
    pthread_cond_destroy(&writer->work);
    pthread_cond_destroy(&writer->results);
    pthread_mutex_destroy(&writer->lock);
}

void writer_submit(struct writer *writer, struct catalog_txn_list *list) {
    pthread_mutex_lock(&writer->lock);
    STAILQ_CONCAT(&writer->waiting, list);
    pthread_mutex_unlock(&writer->lock);
    pthread_cond_signal(&writer->work);
}

void writer_take(struct writer *writer, bool wait, struct catalog_txn_list *ret_list,
                 uint64_t *ret_commits) {
    pthread_mutex_lock(&writer->lock);
    while (wait && STAILQ_EMPTY(&writer->done))
        pthread_cond_wait(&writer->results, &writer->lock);
    STAILQ_CONCAT(ret_list, &writer->done);
    *ret_commits = writer->commits;
    pthread_mutex_unlock(&writer->lock);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog.c: the loop's side: opening, reading, handing over and handing back.
 *
 * The reader is one read transaction of the store. It is renewed by the first read of a turn (or
 * after results were handed out) and reset before the loop polls: a reader that lasted would keep
 * the writer from using free pages again.
 */
#include "catalog/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>
#include <uv.h>

#include "base/check.h"
#include "catalog/catalog_place.h"
#include "catalog/catalog_txn.h"
#include "catalog/catalog_writer.h"

#define MAP_BYTES_DEFAULT (16ull << 30)
#define FULL_PERCENT_DEFAULT 90
#define CATALOG_MAGIC 0x0c4741c5

struct watch {
    uint8_t prefix[STORED_KEY_MAX]; /* with the lead byte */
    size_t length;
    catalog_watch_fn *call;
    void *arg;
};

struct catalog {
    uint32_t magic;
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reader;
    bool reading; /* the reader is a snapshot of this turn */
    int lock_fd;
    uint64_t map_bytes;
    uint32_t page_bytes;

    int results_fd;
    uv_poll_t on_results;
    uv_prepare_t on_turn_end;
    uint32_t handles_open;
    bool closing; /* nothing new is taken */
    bool closed;

    struct writer writer;
    struct catalog_txn_list staged;  /* of this turn */
    struct catalog_txn_list results; /* to be handed back; also what was never handed over */
    uint32_t outstanding;            /* submitted, callback not yet made */
    uint32_t waiting;                /* of those, what is or was for the writer */

    struct watch watches[CATALOG_WATCHES_MAX];
    uint32_t watch_count;

    uint64_t commits;
    uint64_t transactions;
    uint64_t conflicts;
};

/* ---- reading -------------------------------------------------------------------------------- */

static bool reader_begin(struct catalog *catalog, struct err *err) {
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    if (catalog->reading)
        return true;
    int error = mdb_txn_renew(catalog->reader);
    if (error != 0)
        return store_failed(err, catalog->env, error, "reading the catalogue");
    catalog->reading = true;
    return true;
}

static void reader_end(struct catalog *catalog) {
    if (catalog->reading)
        mdb_txn_reset(catalog->reader);
    catalog->reading = false;
}

static bool value_take(const MDB_val *stored, struct catalog_value *ret, struct err *err) {
    if (stored->mv_size < REVISION_SIZE || load_u64_le(stored->mv_data) == 0)
        return err_set(err, ERR_CATALOG, "reading the catalogue: a value is damaged");
    *ret = (struct catalog_value){
        .at = (const uint8_t *)stored->mv_data + REVISION_SIZE,
        .length = stored->mv_size - REVISION_SIZE,
        .revision = load_u64_le(stored->mv_data),
    };
    return true;
}

static size_t stored_key(const void *key, size_t key_length, uint8_t ret[STORED_KEY_MAX]) {
    CHECK(key_length <= CATALOG_KEY_MAX);
    ret[0] = LEAD_USER;
    if (key_length > 0)
        memcpy(ret + 1, key, key_length);
    return 1 + key_length;
}

bool catalog_get(struct catalog *catalog, const void *key, size_t key_length,
                 struct catalog_value *ret, struct err *err) {
    if (!reader_begin(catalog, err))
        return false;
    if (key_length == 0 || key_length > CATALOG_KEY_MAX)
        return false; /* no such key can be there */
    uint8_t bytes[STORED_KEY_MAX];
    MDB_val stored = {stored_key(key, key_length, bytes), bytes}, value;
    int error = mdb_get(catalog->reader, catalog->dbi, &stored, &value);
    if (error == MDB_NOTFOUND)
        return false;
    if (error != 0)
        return store_failed(err, catalog->env, error, "reading the catalogue");
    return value_take(&value, ret, err);
}

static int compare_keys(const void *a, size_t a_length, const void *b, size_t b_length) {
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

struct range {
    uint8_t prefix[STORED_KEY_MAX];
    size_t prefix_length;
    uint8_t after[STORED_KEY_MAX];
    size_t after_length; /* 0: there is none */
    bool reverse;
};

static int seek_forward(MDB_cursor *cursor, const struct range *range, MDB_val *key,
                        MDB_val *value) {
    const uint8_t *from = range->prefix;
    size_t length = range->prefix_length;
    bool skip = range->after_length > 0 &&
                compare_keys(range->after, range->after_length, from, length) >= 0;
    if (skip) {
        from = range->after;
        length = range->after_length;
    }
    *key = (MDB_val){length, (void *)(uintptr_t)from};
    int error = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (error == 0 && skip && compare_keys(key->mv_data, key->mv_size, from, length) == 0)
        error = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    return error;
}

static int seek_backward(MDB_cursor *cursor, const struct range *range, MDB_val *key,
                         MDB_val *value) {
    uint8_t before[STORED_KEY_MAX];
    memcpy(before, range->prefix, range->prefix_length);
    size_t length = key_beyond_prefix(before, range->prefix_length);
    if (range->after_length > 0 &&
        compare_keys(range->after, range->after_length, before, length) < 0) {
        memcpy(before, range->after, range->after_length);
        length = range->after_length;
    }
    *key = (MDB_val){length, before};
    int error = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (error == 0)
        return mdb_cursor_get(cursor, key, value, MDB_PREV);
    return error == MDB_NOTFOUND ? mdb_cursor_get(cursor, key, value, MDB_LAST) : error;
}

static bool scan(MDB_cursor *cursor, struct catalog *catalog, const struct range *range,
                 catalog_each_fn *each, void *arg, struct err *err) {
    MDB_val key, value;
    int error = range->reverse ? seek_backward(cursor, range, &key, &value)
                               : seek_forward(cursor, range, &key, &value);
    while (error == 0 && key.mv_size >= range->prefix_length &&
           memcmp(key.mv_data, range->prefix, range->prefix_length) == 0) {
        struct catalog_entry entry = {
            .key = (const uint8_t *)key.mv_data + 1,
            .key_length = key.mv_size - 1,
        };
        if (!value_take(&value, &entry.value, err))
            return false;
        if (!each(arg, &entry))
            return true;
        error = mdb_cursor_get(cursor, &key, &value, range->reverse ? MDB_PREV : MDB_NEXT);
    }
    if (error != 0 && error != MDB_NOTFOUND)
        return store_failed(err, catalog->env, error, "reading the catalogue");
    return true;
}

bool catalog_scan(struct catalog *catalog, const void *prefix, size_t prefix_length,
                  const void *after, size_t after_length, bool reverse, catalog_each_fn *each,
                  void *arg, struct err *err) {
    if (!reader_begin(catalog, err))
        return false;
    if (prefix_length > CATALOG_KEY_MAX)
        return true; /* nothing can be there */
    if (after != NULL && after_length > CATALOG_KEY_MAX)
        return err_set(err, ERR_LIMIT, "no key is as long as the one to go on from");
    struct range range = {.reverse = reverse};
    range.prefix_length = stored_key(prefix, prefix_length, range.prefix);
    if (after != NULL)
        range.after_length = stored_key(after, after_length, range.after);
    MDB_cursor *cursor;
    int error = mdb_cursor_open(catalog->reader, catalog->dbi, &cursor);
    if (error != 0)
        return store_failed(err, catalog->env, error, "reading the catalogue");
    bool ok = scan(cursor, catalog, &range, each, arg, err);
    mdb_cursor_close(cursor);
    return ok;
}

/* ---- submitting ----------------------------------------------------------------------------- */

static void hand_over(struct catalog *catalog) {
    if (!STAILQ_EMPTY(&catalog->staged))
        writer_submit(&catalog->writer, &catalog->staged);
}

static void on_turn_end(uv_prepare_t *handle) {
    struct catalog *catalog = handle->data;
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    hand_over(catalog);
    reader_end(catalog);
}

static void refuse_what_cannot_go(struct catalog *catalog, struct catalog_txn *txn) {
    uint32_t max = txn->finishing ? 2 * CATALOG_WAITING_MAX : CATALOG_WAITING_MAX;
    if (catalog->closing)
        err_set(&txn->err, ERR_STOPPING, "the catalogue is being closed");
    else if (catalog->waiting >= max)
        err_set(&txn->err, ERR_TOO_MANY, "%u changes of the catalogue are waiting already",
                catalog->waiting);
}

void catalog_submit(struct catalog_txn *txn, catalog_done_fn *done, void *arg) {
    struct catalog *catalog = txn->catalog;
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    CHECK(!catalog->closed && done != NULL);
    txn->done = done;
    txn->arg = arg;
    refuse_what_cannot_go(catalog, txn);
    if (catalog->outstanding++ == 0)
        uv_ref((uv_handle_t *)&catalog->on_results);
    if (txn->err.code == ERR_NONE) {
        txn->waited = true;
        catalog->waiting++;
        STAILQ_INSERT_TAIL(&catalog->staged, txn, entries);
        return;
    }
    STAILQ_INSERT_TAIL(&catalog->results, txn, entries);
    results_tell(catalog->results_fd);
}

/* ---- handing back --------------------------------------------------------------------------- */

/* A later change of the same transaction to the same key stands for both. */
static bool is_last_of_key(const struct catalog_txn *txn, uint32_t at) {
    const struct catalog_op *op = &txn->ops[at];
    for (uint32_t i = at + 1; i < txn->op_count; i++) {
        const struct catalog_op *later = &txn->ops[i];
        if (later->kind != OP_EXPECT && !later->moot &&
            compare_keys(txn_key(txn, later), later->key_length, txn_key(txn, op),
                         op->key_length) == 0)
            return false;
    }
    return true;
}

static void watches_call(struct catalog *catalog, const struct catalog_txn *txn, uint32_t at) {
    const struct catalog_op *op = &txn->ops[at];
    const uint8_t *key = txn_key(txn, op);
    bool deleted = op->kind == OP_DELETE;
    struct catalog_entry entry = {.key = key + 1, .key_length = op->key_length - 1};
    if (!deleted)
        entry.value = (struct catalog_value){.at = txn_value(txn, op) + REVISION_SIZE,
                                             .length = op->value_length,
                                             .revision = txn->revision};
    for (uint32_t i = 0; i < catalog->watch_count; i++) {
        const struct watch *watch = &catalog->watches[i];
        if (op->key_length >= watch->length && memcmp(key, watch->prefix, watch->length) == 0 &&
            is_last_of_key(txn, at))
            watch->call(watch->arg, &entry, deleted);
    }
}

static void hand_back(struct catalog *catalog, struct catalog_txn *txn) {
    if (catalog->outstanding-- == 1)
        uv_unref((uv_handle_t *)&catalog->on_results);
    if (txn->waited)
        catalog->waiting--;
    if (txn->err.code == ERR_NONE)
        catalog->transactions++;
    else if (txn->err.code == ERR_CONFLICT)
        catalog->conflicts++;
    bool took = txn->err.code == ERR_NONE;
    txn->done(txn->arg, took ? txn->revision : 0, &txn->err);
    for (uint32_t i = 0; took && !catalog->closed && i < txn->op_count; i++)
        if (txn->ops[i].kind != OP_EXPECT && !txn->ops[i].moot)
            watches_call(catalog, txn, i);
    txn_free(txn);
}

/* One at a time from the list, so that a callback may wait or close. */
static void results_hand_back(struct catalog *catalog) {
    struct catalog_txn *txn;
    while ((txn = STAILQ_FIRST(&catalog->results)) != NULL) {
        STAILQ_REMOVE_HEAD(&catalog->results, entries);
        hand_back(catalog, txn);
    }
}

static void results_take(struct catalog *catalog, bool wait) {
    writer_take(&catalog->writer, wait, &catalog->results, &catalog->commits);
    reader_end(catalog); /* the next read sees what the callbacks tell of */
}

static void on_results(uv_poll_t *handle, int status, int events) {
    struct catalog *catalog = handle->data;
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    (void)status, (void)events;
    if (catalog->closed)
        return;
    uint64_t times;
    CHECK(read(catalog->results_fd, &times, sizeof times) == sizeof times || errno == EAGAIN);
    results_take(catalog, false);
    results_hand_back(catalog);
}

void catalog_wait(struct catalog *catalog) {
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    while (catalog->outstanding > 0) {
        hand_over(catalog);
        if (STAILQ_EMPTY(&catalog->results))
            results_take(catalog, true);
        results_hand_back(catalog);
    }
}

/* ---- watches and figures -------------------------------------------------------------------- */

void catalog_watch(struct catalog *catalog, const void *prefix, size_t prefix_length,
                   catalog_watch_fn *call, void *arg) {
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    CHECK(catalog->watch_count < CATALOG_WATCHES_MAX);
    struct watch *watch = &catalog->watches[catalog->watch_count++];
    watch->length = stored_key(prefix, prefix_length, watch->prefix);
    watch->call = call;
    watch->arg = arg;
}

bool catalog_full(const struct catalog *catalog) {
    return atomic_load(&catalog->writer.full);
}

/* Our own keys are few: one for each prefix that was ever appended to. */
static uint64_t own_keys(struct catalog *catalog) {
    MDB_cursor *cursor;
    if (mdb_cursor_open(catalog->reader, catalog->dbi, &cursor) != 0)
        return 0;
    uint8_t lead = LEAD_NUMBER;
    MDB_val key = {1, &lead}, value;
    uint64_t count = 0;
    int error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; error == 0 && *(const uint8_t *)key.mv_data == LEAD_NUMBER; count++)
        error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    mdb_cursor_close(cursor);
    return count;
}

void catalog_figures(struct catalog *catalog, struct catalog_figures *ret) {
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    *ret = (struct catalog_figures){
        .commits = catalog->commits,
        .transactions = catalog->transactions,
        .conflicts = catalog->conflicts,
        .map_bytes = catalog->map_bytes,
        .waiting = catalog->waiting,
    };
    struct err err = ERR_INIT;
    if (!reader_begin(catalog, &err))
        return;
    uint64_t pages;
    MDB_stat stat;
    if (store_pages_used(catalog->env, catalog->reader, &pages) == 0)
        ret->used_bytes = pages * catalog->page_bytes;
    if (mdb_stat(catalog->reader, catalog->dbi, &stat) == 0)
        ret->keys = stat.ms_entries - own_keys(catalog);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static bool store_refused(struct err *err, int error, const char *directory, uint64_t map_bytes) {
    switch (error) {
    case MDB_INVALID:
    case MDB_CORRUPTED:
        return err_set(err, ERR_CORRUPT,
                       "%s/data.mdb is damaged or is no catalogue: restore it from a copy, or move "
                       "it away to begin anew",
                       directory);
    case MDB_VERSION_MISMATCH:
        return err_set(err, ERR_CONFIG,
                       "%s/data.mdb was written by another version of the store's library (LMDB)",
                       directory);
    case ENOMEM:
        return err_set(err, ERR_CONFIG,
                       "no address space for the catalogue's map of %llu bytes: lower map_bytes or "
                       "raise the limit on address space",
                       (unsigned long long)map_bytes);
    case ENOSPC:
    case EDQUOT:
        return err_set(err, ERR_CATALOG_FULL, "no room on the disk for the catalogue in %s",
                       directory);
    case EACCES:
    case EROFS:
        return err_errno(err, ERR_CONFIG, error, "opening the catalogue in %s", directory);
    default:
        return err_set(err, ERR_CATALOG, "opening the catalogue in %s: %s", directory,
                       mdb_strerror(error));
    }
}

/* Read-ahead is of use only while the whole file fits into memory. */
static unsigned read_ahead_flag(const char *directory) {
    char path[4096];
    struct stat stat_of_file;
    int length = snprintf(path, sizeof path, "%s/data.mdb", directory);
    if (length < 0 || (size_t)length >= sizeof path || stat(path, &stat_of_file) != 0)
        return 0;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    bool large = pages > 0 && page_bytes > 0 &&
                 (uint64_t)stat_of_file.st_size > (uint64_t)pages * (uint64_t)page_bytes / 2;
    return large ? MDB_NORDAHEAD : 0;
}

/* The store maps its file and reads beyond the end of a truncated one by SIGBUS. Grown to what its
 * head says, the lost pages read as zeros, which are reported as damage. */
static int store_complete(MDB_env *env) {
    MDB_envinfo env_info;
    MDB_stat stat_of_store;
    struct stat stat_of_file;
    mdb_filehandle_t fd;
    int error = mdb_env_info(env, &env_info);
    if (error == 0)
        error = mdb_env_stat(env, &stat_of_store);
    if (error == 0)
        error = mdb_env_get_fd(env, &fd);
    if (error != 0)
        return error;
    if (fstat(fd, &stat_of_file) != 0)
        return errno;
    off_t bytes = (off_t)(env_info.me_last_pgno + 1) * (off_t)stat_of_store.ms_psize;
    if (stat_of_file.st_size < bytes && ftruncate(fd, bytes) != 0)
        return errno;
    return fdatasync(fd) == 0 ? 0 : errno;
}

static int store_open(struct catalog *catalog, const char *directory, uint32_t full_percent) {
    int error = mdb_env_create(&catalog->env);
    if (error == 0)
        error = mdb_env_set_mapsize(catalog->env, catalog->map_bytes);
    if (error == 0)
        error = mdb_env_open(catalog->env, directory, MDB_NOTLS | read_ahead_flag(directory), 0600);
    if (error == 0)
        error = store_complete(catalog->env);
    if (error == 0)
        error = mdb_txn_begin(catalog->env, NULL, MDB_RDONLY, &catalog->reader);
    if (error == 0)
        error = mdb_dbi_open(catalog->reader, NULL, 0, &catalog->dbi);
    MDB_envinfo env_info;
    MDB_stat stat;
    if (error == 0)
        error = mdb_env_info(catalog->env, &env_info);
    if (error == 0)
        error = mdb_stat(catalog->reader, catalog->dbi, &stat);
    if (error != 0)
        return error;
    mdb_txn_reset(catalog->reader);
    catalog->page_bytes = stat.ms_psize;
    catalog->map_bytes = env_info.me_mapsize; /* never smaller than the file */
    catalog->writer.env = catalog->env;
    catalog->writer.dbi = catalog->dbi;
    catalog->writer.full_pages = catalog->map_bytes / stat.ms_psize * full_percent / 100;
    return 0;
}

static void store_close(struct catalog *catalog) {
    if (catalog->reader != NULL)
        mdb_txn_abort(catalog->reader);
    if (catalog->env != NULL)
        mdb_env_close(catalog->env);
    if (catalog->lock_fd >= 0)
        close(catalog->lock_fd);
}

static bool handles_open(struct catalog *catalog, struct uv_loop_s *loop, struct err *err) {
    int error = uv_poll_init(loop, &catalog->on_results, catalog->results_fd);
    if (error != 0)
        return err_set(err, ERR_SYSTEM, "opening the catalogue: %s", uv_strerror(error));
    catalog->on_results.data = catalog;
    uv_poll_start(&catalog->on_results, UV_READABLE, on_results);
    uv_unref((uv_handle_t *)&catalog->on_results);
    uv_prepare_init(loop, &catalog->on_turn_end);
    catalog->on_turn_end.data = catalog;
    uv_prepare_start(&catalog->on_turn_end, on_turn_end);
    uv_unref((uv_handle_t *)&catalog->on_turn_end);
    catalog->handles_open = 2;
    return true;
}

bool catalog_open(struct uv_loop_s *loop, const struct catalog_options *options,
                  struct catalog **ret, struct err *err) {
    if (!place_check(options->directory, err))
        return false;
    struct catalog *catalog = calloc(1, sizeof *catalog);
    if (catalog == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the catalogue");
    catalog->magic = CATALOG_MAGIC;
    catalog->lock_fd = -1;
    catalog->results_fd = -1;
    STAILQ_INIT(&catalog->staged);
    STAILQ_INIT(&catalog->results);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t map_bytes = options->map_bytes != 0 ? options->map_bytes : MAP_BYTES_DEFAULT;
    catalog->map_bytes = (map_bytes + page - 1) / page * page;
    uint32_t percent = options->full_percent != 0 ? options->full_percent : FULL_PERCENT_DEFAULT;
    CHECK(percent <= 100);
    if (!place_lock(options->directory, &catalog->lock_fd, err))
        goto failed;
    int error = store_open(catalog, options->directory, percent);
    if (error != 0) {
        store_refused(err, error, options->directory, catalog->map_bytes);
        goto failed;
    }
    if (!place_sync(options->directory, err))
        goto failed;
    catalog->results_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (catalog->results_fd < 0) {
        err_errno(err, ERR_SYSTEM, errno, "opening the catalogue");
        goto failed;
    }
    catalog->writer.results_fd = catalog->results_fd;
    if (!writer_start(&catalog->writer, err))
        goto failed;
    if (!handles_open(catalog, loop, err)) {
        writer_stop(&catalog->writer);
        goto failed;
    }
    *ret = catalog;
    return true;
failed:
    store_close(catalog);
    if (catalog->results_fd >= 0)
        close(catalog->results_fd);
    free(catalog);
    return false;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct catalog *catalog = handle->data;
    if (--catalog->handles_open > 0)
        return;
    catalog->magic = 0;
    free(catalog);
}

void catalog_close(struct catalog *catalog) {
    if (catalog == NULL)
        return;
    CHECK_MAGIC(catalog, CATALOG_MAGIC);
    CHECK(!catalog->closing);
    catalog->closing = true; /* what a callback submits from here on is refused */
    catalog_wait(catalog);
    catalog->closed = true;
    writer_stop(&catalog->writer);
    reader_end(catalog);
    store_close(catalog);
    uv_close((uv_handle_t *)&catalog->on_results, on_handle_closed);
    uv_close((uv_handle_t *)&catalog->on_turn_end, on_handle_closed);
    close(catalog->results_fd); /* the loop does not poll it any more */
}

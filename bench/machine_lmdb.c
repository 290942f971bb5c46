/* SPDX-License-Identifier: Apache-2.0
 *
 * machine_lmdb: a durable commit of LMDB alone: one record a commit, nothing around it.
 *
 *     machine_lmdb rate|p50|p99
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lmdb.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "measure.h"
#include "record.h"

static void check(int error, const char *what) {
    if (error != 0)
        measure_fail("%s: %s", what, mdb_strerror(error));
}

static void commit_one(MDB_env *env, MDB_dbi dbi) {
    uint8_t key_bytes[RECORD_KEY_SIZE], value_bytes[RECORD_VALUE_SIZE];
    record_make(key_bytes, value_bytes);
    MDB_val key = {sizeof key_bytes, key_bytes}, value = {sizeof value_bytes, value_bytes};
    MDB_txn *txn;
    check(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    check(mdb_put(txn, dbi, &key, &value, 0), "mdb_put");
    check(mdb_txn_commit(txn), "mdb_txn_commit");
}

int main(int argc, char **argv) {
    if (argc != 2)
        measure_fail("usage: machine_lmdb rate|p50|p99");
    char directory[4096], path[4200];
    snprintf(directory, sizeof directory, "%s/lmdb.XXXXXX", measure_directory());
    if (mkdtemp(directory) == NULL)
        measure_fail("cannot make %s", directory);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    check(mdb_env_create(&env), "mdb_env_create");
    check(mdb_env_set_mapsize(env, (size_t)4 << 30), "mdb_env_set_mapsize");
    check(mdb_env_open(env, directory, MDB_NOTLS, 0600), "mdb_env_open");
    check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, NULL, 0, &dbi), "mdb_dbi_open");
    mdb_txn_abort(txn);
    struct measure measure;
    measure_begin(&measure, argv[1]);
    while (!measure_over(&measure)) {
        uint64_t began = clock_mono_ns();
        commit_one(env, dbi);
        measure_one(&measure, began);
    }
    measure_print(&measure);
    mdb_env_close(env);
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    rmdir(directory);
    return 0;
}

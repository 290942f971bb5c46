/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/migrate.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"

static bool version_read(struct catalog *catalog, uint32_t *ret_version, uint64_t *ret_revision,
                         struct err *err) {
    struct catalog_value value;
    struct err trouble = ERR_INIT;
    if (!catalog_get(catalog, CATALOG_VERSION_KEY, strlen(CATALOG_VERSION_KEY), &value, &trouble)) {
        *ret_version = 0;
        *ret_revision = 0;
        return trouble.code == ERR_NONE || err_set(err, trouble.code, "%s", trouble.text);
    }
    struct reader reader;
    reader_init(&reader, value.at, value.length);
    *ret_version = reader_u32(&reader);
    *ret_revision = value.revision;
    return reader_done(&reader) ||
           err_set(err, ERR_CORRUPT, "the catalogue's version cannot be read");
}

static void on_written(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    struct err *ret = arg;
    *ret = *err;
}

static bool version_write(struct catalog *catalog, uint32_t version, uint64_t revision,
                          struct err *err) {
    struct buf value;
    buf_init(&value, sizeof version);
    buf_put_u32(&value, version);
    struct catalog_txn *txn = catalog_begin(catalog);
    catalog_finishing(txn);
    catalog_expect(txn, CATALOG_VERSION_KEY, strlen(CATALOG_VERSION_KEY), revision);
    catalog_put(txn, CATALOG_VERSION_KEY, strlen(CATALOG_VERSION_KEY), value.at, value.length);
    buf_release(&value);
    struct err result = ERR_INIT;
    catalog_submit(txn, on_written, &result);
    catalog_wait(catalog);
    return result.code == ERR_NONE || err_set(err, result.code, "%s", result.text);
}

bool catalog_migrate(struct catalog *catalog, const struct catalog_migration table[], size_t count,
                     struct err *err) {
    for (size_t i = 0; i < count; i++)
        CHECK(table[i].version == i + 1);
    uint32_t version;
    uint64_t revision;
    if (!version_read(catalog, &version, &revision, err))
        return false;
    if (version > count)
        return err_set(err, ERR_CONFIG,
                       "the catalogue is of version %u, this program knows up to %zu: use the "
                       "program that wrote it, or a newer one",
                       version, count);
    while (version < count) {
        const struct catalog_migration *row = &table[version];
        bool ok = row->run == NULL || row->run(catalog, err);
        catalog_wait(catalog); /* what the row left under way */
        ok = ok && version_write(catalog, row->version, revision, err) &&
             version_read(catalog, &version, &revision, err);
        if (!ok) {
            err_context(err, "bringing the catalogue to version %u (%s)", row->version, row->what);
            return false;
        }
        CHECK(version == row->version);
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * migrate.h: bringing an older catalogue to what this version of the program reads and writes.
 *
 * A table has one row a version, numbered 1, 2, 3 and so on; `run` brings the records from the
 * version before to this one (NULL: nothing has to be changed). The version reached is kept under
 * CATALOG_VERSION_KEY and is written after the row's changes are durable. So a row may be run again
 * after a crash, in whole or from any point: it must look at each record and leave alone what is
 * changed already. It changes as much as it likes in as many transactions as it needs (submit, then
 * catalog_wait now and then); a new catalogue runs all rows on nothing.
 *
 * Loop thread, at the start, before anybody else submits. A row that has been released is never
 * changed or removed.
 */
#ifndef SLUICE_CATALOG_MIGRATE_H
#define SLUICE_CATALOG_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"

#define CATALOG_VERSION_KEY "g/catalog-version" /* value: u32, little-endian */

struct catalog_migration {
    uint32_t version;
    const char *what; /* for the error's text: "volumes get a format" */
    bool (*run)(struct catalog *catalog, struct err *err);
};

/* CONFIG: the catalogue is of a newer version than the table's last; it is left as it is. */
bool catalog_migrate(struct catalog *catalog, const struct catalog_migration table[], size_t count,
                     struct err *err);

#endif

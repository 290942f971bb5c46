/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.h: the boundary at which a stranger's tables become ours.
 *
 * driver_bind is the one place that looks at a table as the driver gave it. It refuses what is not
 * the driver that was asked for or lacks a required member, and copies the rest into tables of our
 * size, so that behind it a member that the driver does not have is a NULL like any other.
 *
 * A library that was opened is never closed: the process ends instead.
 */
#ifndef SLUICE_RUNNER_DRIVER_H
#define SLUICE_RUNNER_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include <sluice/driver.h>

struct driver_expect {
    const char *name;
    const char *version;
    uint32_t category; /* enum sluice_category */
};

struct driver {
    struct sluice_driver base;
    bool has_storage;
    struct sluice_storage storage; /* all zero without has_storage */
};

/* ABI: built for another ABI, or a required member is missing. MANIFEST: it is not what driver.yaml
 * says. */
bool driver_bind(const struct sluice_driver *table, const struct driver_expect *expect,
                 struct driver *ret, struct err *err);

/* Opens directory/driver/library and binds what it exports. ABI also when it does not load. */
bool driver_open(const char *directory, const char *library, const struct driver_expect *expect,
                 struct driver *ret, struct err *err);

#endif

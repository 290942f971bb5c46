/* SPDX-License-Identifier: Apache-2.0
 *
 * boundary.h: loads a driver's shared object and takes over its tables as the contract allows.
 *
 * A table may be smaller than ours (the driver is older) or larger (it is newer): what ours has and
 * the driver's has not is NULL afterwards, what ours has not is not looked at. What the contract
 * calls required is there, or the driver is refused with a reason.
 *
 * Life cycle: boundary_load, boundary_unload after the driver's stop. Threads: one at a time.
 */
#ifndef SLUICE_CONFORM_BOUNDARY_H
#define SLUICE_CONFORM_BOUNDARY_H

#include <stdbool.h>

#include <sluice/driver.h>

struct boundary {
    void *library;
    struct sluice_driver driver;
    struct sluice_storage storage; /* all NULL unless the category is storage */
};

/* false: ret_why (SLUICE_TEXT_MAX bytes) says why. */
bool boundary_load(const char *path, struct boundary *ret_boundary, char *ret_why);
void boundary_unload(struct boundary *boundary);

#endif

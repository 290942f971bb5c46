/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_place.h: is this a directory that a catalogue can live in, and has nobody else got it?
 * Inside of catalog/ only.
 *
 * The lock is flock(2) on DIRECTORY/lock, held as long as the descriptor is open: it goes with the
 * process, however that ends. (The store's own locks would let several processes in.)
 */
#ifndef SLUICE_CATALOG_CATALOG_PLACE_H
#define SLUICE_CATALOG_CATALOG_PLACE_H

#include <stdbool.h>

#include "base/err.h"

/* A directory of ours that nobody else can enter, on a local file system; CONFIG otherwise. */
bool place_check(const char *directory, struct err *err);
/* BUSY: another process holds it. The caller closes *ret_fd. */
bool place_lock(const char *directory, int *ret_fd, struct err *err);
/* Makes the directory's entries durable. */
bool place_sync(const char *directory, struct err *err);

#endif

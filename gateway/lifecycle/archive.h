/* SPDX-License-Identifier: Apache-2.0
 *
 * archive.h: reading below an unpacked archive, and nowhere else.
 *
 * A path is relative to the archive's directory, such as "driver/ram.so". Links may be in it as
 * long as they stay inside the archive. What others than root and the gateway own, or may write,
 * is refused, since the gateway trusts what lies there with a pool's credentials.
 *
 * Errors: NOT_FOUND (there is no such file), MANIFEST (it is not acceptable), SYSTEM (the operating
 * system refused). Keeps nothing; any thread.
 */
#ifndef SLUICE_LIFECYCLE_ARCHIVE_H
#define SLUICE_LIFECYCLE_ARCHIVE_H

#include "base/buf.h"
#include "base/err.h"

#define ARCHIVE_PATH_MAX 1023 /* bytes of a directory; what WIRE_LOAD carries */

/* A directory that only root or the gateway may write. */
bool archive_check_directory(const char *directory, struct err *err);
/* A regular file inside the archive that only those may write, as are the folders above it. */
bool archive_check_file(const char *directory, const char *path, struct err *err);
/* Appends what is in such a file, at most `max` bytes; buf's own max must be larger. */
bool archive_read(const char *directory, const char *path, size_t max, struct buf *buf,
                  struct err *err);
/* Whether `path` (links resolved) lies below `directory` (links resolved). */
bool archive_is_inside(const char *directory, const char *path);

#endif

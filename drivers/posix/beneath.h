/* SPDX-License-Identifier: Apache-2.0
 *
 * beneath.h: files below the pool's directory, and only there.
 *
 * Everything is reached from one directory descriptor by openat2 with RESOLVE_BENEATH, NO_SYMLINKS
 * and NO_XDEV, so neither a symbolic link nor a mount below the pool leads out of it; where the
 * kernel lacks openat2 the path is walked with O_NOFOLLOW and the device compared.
 *
 * Functions that return int return 0 or a descriptor, or -1 with errno. Descriptors belong to the
 * caller and are close-on-exec. Threads: no state.
 */
#ifndef POSIX_BENEATH_H
#define POSIX_BENEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int beneath_open(int root, const char *path, int flags, mode_t mode);
/* A file or directory that is there. Anything else, which may wait for another to open it or be a
 * device, is ELOOP, as a link is. */
int beneath_open_file(int root, const char *path, int flags);
/* The directory that holds the last name of `path`, and in *ret_name that name. */
int beneath_parent(int root, const char *path, const char **ret_name);

/* Renames inside one directory or between two and syncs both. Without `replace` a name that is
 * taken fails with EEXIST. */
int publish(int from_directory, const char *from, int to_directory, const char *to, bool replace);

int write_all(int fd, const void *bytes, size_t length, uint64_t offset);

/* An OFD lock of the whole file, F_RDLCK, F_WRLCK or F_UNLCK; held by somebody: -1, EAGAIN. */
int file_lock(int fd, short type);

/* Whether a process has the file open beside `fd` (for writing: only for_writing). 1 yes, 0 no, -1
 * not known. `fd` itself must be open read-only when for_writing is asked. */
int file_is_open_elsewhere(int fd, bool for_writing);

void close_quietly(int *fd); /* closes unless negative, sets -1, keeps errno */

#endif

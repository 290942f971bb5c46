/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.h: names and files below the pool's directory. README.md draws the layout.
 *
 * Everything is reached from one directory descriptor by openat2 with RESOLVE_BENEATH, NO_SYMLINKS
 * and NO_XDEV, so neither a symbolic link nor a mount below the pool leads out of it; where the
 * kernel lacks openat2 the path is walked with O_NOFOLLOW and the device compared.
 *
 * Functions that return int return 0 or a descriptor, or -1 with errno. Descriptors belong to the
 * caller and are close-on-exec. Threads: no state.
 */
#ifndef POSIX_LAYOUT_H
#define POSIX_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <sluice/types.h>

#define LAYOUT_MARKER "sluice.pool"
#define LAYOUT_VOLUMES "volumes"
#define LAYOUT_UNMANAGED "unmanaged"
#define LAYOUT_SNAPSHOTS "snapshots"
#define LAYOUT_VOLUME_META "volume.meta"
#define LAYOUT_SNAPSHOT_META "snapshot.meta"
#define LAYOUT_ACCESS_META "access.meta"
#define LAYOUT_SNAPSHOT_DISK "disk.raw"
#define LAYOUT_DISK_PREFIX "disk-"
#define LAYOUT_NEW_SUFFIX ".new"

#define UUID_TEXT 37 /* bytes with the NUL */
#define LAYOUT_NAME 64
#define LAYOUT_PATH (2 * UUID_TEXT + 64)

void uuid_text(const struct sluice_uuid *uuid, char *ret_text);
bool uuid_parse(const char *text, struct sluice_uuid *ret_uuid); /* all of text, lower case */
int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b);
bool uuid_is_zero(const struct sluice_uuid *uuid);

/* "volumes/<volume>", "volumes/<volume>/snapshots/<snapshot>" (LAYOUT_PATH bytes). */
void layout_volume(const struct sluice_uuid *volume, char *ret_path);
void layout_snapshot(const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                     char *ret_path);
/* "disk-<generation>.raw" (LAYOUT_NAME bytes). */
void layout_disk(uint64_t generation, char *ret_name);

int beneath_open(int root, const char *path, int flags, mode_t mode);

/* The directory `name` in `parent`, made (0700, parent synced) where it was missing. */
int directory_make(int parent, const char *name);

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

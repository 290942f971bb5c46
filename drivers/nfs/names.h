/* SPDX-License-Identifier: Apache-2.0
 *
 * names.h: those members of share/fs.h's table that are about names and whole small files.
 *
 * A record is written, stable, under a name that nobody has used before, and then renamed or
 * linked: what a predecessor still has under way meets another file. Threads: any.
 */
#ifndef NFS_NAMES_H
#define NFS_NAMES_H

#include "fs.h"

int32_t fs_load(struct share_fs *base, struct sluice_call *call, const char *path, void *ret_bytes,
                size_t room, size_t *ret_length);
int32_t fs_store(struct share_fs *base, struct sluice_call *call, const char *path,
                 const void *bytes, size_t length, bool replace);
int32_t fs_stat(struct share_fs *base, struct sluice_call *call, const char *path,
                struct share_stat *ret);
int32_t fs_make_directory(struct share_fs *base, struct sluice_call *call, const char *path);
int32_t fs_remove(struct share_fs *base, struct sluice_call *call, const char *path);
int32_t fs_remove_directory(struct share_fs *base, struct sluice_call *call, const char *path);
int32_t fs_rename(struct share_fs *base, struct sluice_call *call, const char *from,
                  const char *to);
int32_t fs_list(struct share_fs *base, struct sluice_call *call, const char *path, share_name *each,
                void *argument);

#endif

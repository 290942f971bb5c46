/* SPDX-License-Identifier: Apache-2.0
 *
 * fence.h: groups as fences (fs.h): which one an epoch has, and whether the server minds them.
 *
 * A server minds them when a write by who is not of the file's group is refused, also on a
 * connection that wrote before. Not so where it makes one user of all (all_squash), where it looks
 * up the groups of a user by itself, or where an owner may not give a file to another group.
 */
#ifndef NFS_FENCE_H
#define NFS_FENCE_H

#include "fs.h"

#define FENCE_MODE 0060
#define FENCE_GID_FIRST 100000 /* where no account of a usual installation is */
#define FENCE_GID_COUNT 65536  /* until an epoch has the same group again */

struct identity fence_identity(const struct nfs_fs *fs, uint64_t epoch);
/* Tries it with a file in the root of the export, which is removed again, and sets fs->fences;
 * once, before anything is opened. Where it does not hold: ret_text says why. */
void fence_try(struct nfs_fs *fs, char ret_text[SLUICE_TEXT_MAX]);

#endif

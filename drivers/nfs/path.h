/* SPDX-License-Identifier: Apache-2.0
 *
 * path.h: from the root of the export to a name below it, one LOOKUP a part.
 *
 * Handles of directories are remembered. Where the server says STALE all that is remembered is
 * forgotten, the export is mounted anew, and the step is made once more. Symbolic links are
 * CONTROL_LINK. Functions return a code of control.h. Threads: any.
 */
#ifndef NFS_PATH_H
#define NFS_PATH_H

#include "fs.h"

struct spot {
    struct handle handle;
    struct attributes attributes;
};

/* Something done to the name `name` in a directory; it may be done twice. */
typedef int path_do(struct nfs_fs *fs, struct ask *ask, const struct handle *directory,
                    const char *name, void *argument);

/* Does it where the path's last name lies. "" is the root itself, with the name "". */
int path_step(struct nfs_fs *fs, struct ask *ask, const char *path, path_do *step, void *argument);
/* A path_do that fills the struct spot `argument`. */
int path_look(struct nfs_fs *fs, struct ask *ask, const struct handle *directory, const char *name,
              void *argument);
int path_find(struct nfs_fs *fs, struct ask *ask, const char *path, struct spot *ret_spot);
/* What is no file is ISDIR, INVAL. */
int path_find_file(struct nfs_fs *fs, struct ask *ask, const char *path, struct spot *ret_spot);
struct handle path_root(struct nfs_fs *fs);
/* A directory was moved or removed. */
void path_forget(struct nfs_fs *fs);

#endif

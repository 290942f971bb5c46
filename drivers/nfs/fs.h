/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.h: an export of an NFS server as a share (share/fs.h).
 *
 * Every path is walked from the root of the export by LOOKUP, so no symbolic link is ever followed;
 * handles of directories are remembered. Where the server says STALE, what is remembered is
 * forgotten, the export is mounted anew and the call is made once more: a server that was replaced
 * by its twin goes unnoticed, and what is really gone is VANISHED.
 *
 * Who may do what. Control calls are made as the pool's uid and gid, which own everything. The
 * image of a volume that is open for data calls has the mode 0060 and a group that belongs to its
 * epoch; its data calls are made as a uid that does not own it, with that group. Opening with the
 * next epoch changes the group, and the server refuses whatever comes late (fence.h says whether it
 * does). Any other opening takes such an image back: mode 0600, the pool's own group.
 *
 * Life cycle: nfs_fs_open, any calls, nfs_fs_close when no file is open. Threads: any.
 */
#ifndef NFS_FS_H
#define NFS_FS_H

#include "health.h"
#include "nfs3.h"

#include "share/fs.h"

#define FS_DIRECTORIES 256 /* whose handles are remembered */
#define FS_MODE_FILE 0600
#define FS_MODE_DIRECTORY 0711

struct nfs_file;

struct remembered {
    char path[SHARE_PATH_MAX]; /* "": nothing */
    struct handle handle;
};

struct nfs_fs {
    struct share_fs base;
    struct control control;
    struct identity owner;
    uint32_t data_uid;
    uint32_t gid_first; /* of the groups that epochs have ... */
    uint32_t gid_count; /* ... and how many */
    bool fences;        /* the server refuses who is not of the group */
    struct limits limits;
    struct health health;

    pthread_mutex_t lock; /* of all below */
    struct handle root;
    struct nfs_file *fenced; /* open for data calls */
    struct remembered directories[FS_DIRECTORIES];
};

/* `control.server` and the members that are settings are filled; the rest is done here. On failure
 * everything is given back. */
int32_t nfs_fs_open(struct nfs_fs *fs, struct sluice_call *call);
void nfs_fs_close(struct nfs_fs *fs);

struct nfs_fs *nfs_fs_of(struct share_fs *base);
/* Of a file or directory; what is NFS3_KEEP stays. */
int nfs_fs_set_access(struct ask *ask, const struct handle *handle, uint32_t mode, uint32_t gid);
/* For a call of the pool's own. */
struct ask nfs_fs_ask(struct nfs_fs *fs);
/* Says "cannot <what> <path>: ..." and returns the status of `code`. */
int32_t nfs_fs_fail(struct nfs_fs *fs, struct sluice_call *call, const struct ask *ask, int code,
                    const char *what, const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * file.h: a file of an export as an image file (image/file.h).
 *
 * What is written and not yet committed is remembered, up to FILE_KEPT_BYTES: a server that starts
 * anew may have lost it, which the verifier of the next COMMIT tells, and then it is written again.
 * Data calls that overwrite bytes by themselves (stream.h) say so by file_supersede: those bytes
 * are not ours to repeat any more; whoever sent them repeats them when the stability token changes.
 *
 * A file that is open for data calls is patient: it waits for its server for ever. What its server
 * refuses because a newer epoch has changed the group is SLUICE_STALE.
 *
 * Threads: calls on one file may overlap.
 */
#ifndef NFS_FILE_H
#define NFS_FILE_H

#include "fs.h"

#define FILE_KEPT_BYTES                                                         \
    (UINT64_C(8) << 20)   /* then a COMMIT makes room: some hundred volumes fit \
                           */
#define FILE_KEPT_MAX 512 /* entries; each overwriting call looks at all */

struct kept;

struct nfs_file {
    struct image_file base;
    struct nfs_fs *fs;
    struct identity as;
    bool patient;
    uint64_t id;
    struct nfs_file *next; /* of fs->fenced; under fs->lock */

    pthread_mutex_t lock; /* of all below */
    struct handle handle;
    struct kept *kept;
    struct kept **kept_end;
    uint32_t kept_count;
    uint64_t kept_bytes;
    uint64_t kept_last; /* number of the newest entry */
    uint64_t verifier;  /* of the last COMMIT */
    char path[SHARE_PATH_MAX];
};

/* NULL: no memory. */
struct nfs_file *file_create(struct nfs_fs *fs, const char *path, const struct handle *handle,
                             const struct attributes *attributes, const struct identity *as,
                             bool patient);
struct handle file_handle(struct nfs_file *file);
/* The range is about to be overwritten by a data call. */
void file_supersede(struct nfs_file *file, uint64_t offset, uint64_t length);
/* Of the last flush. */
uint64_t file_verifier(struct nfs_file *file);

#endif

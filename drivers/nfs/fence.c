/* SPDX-License-Identifier: Apache-2.0
 *
 * fence.c: see fence.h.
 */
#include "fence.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/types.h>

struct identity fence_identity(const struct nfs_fs *fs, uint64_t epoch) {
    return (struct identity){.uid = fs->data_uid,
                             .gid = fs->gid_first + (uint32_t)(epoch % fs->gid_count)};
}

static int write_as(struct nfs_fs *fs, const struct handle *handle, const struct identity *as) {
    struct ask ask = nfs_fs_ask(fs);
    uint32_t length;
    bool stable;
    uint64_t verifier;
    ask.as = *as;
    return nfs3_write(&ask, handle, 0, "x", 1, false, &length, &stable, &verifier);
}

static int give_to(struct nfs_fs *fs, const struct handle *handle, uint32_t gid) {
    struct ask ask = nfs_fs_ask(fs);
    const struct changes changes = {.mode = FENCE_MODE, .gid = gid, .size = NFS3_KEEP_SIZE};
    ask.more_gid = gid;
    return nfs3_set(&ask, handle, &changes);
}

/* NULL: it holds. */
static const char *try_with(struct nfs_fs *fs, const struct handle *handle) {
    const struct identity before = fence_identity(fs, 0);
    const struct identity after = fence_identity(fs, 1);
    if (give_to(fs, handle, before.gid) != 0) {
        return "the server lets nobody give a file to another group";
    }
    if (write_as(fs, handle, &before) != 0) {
        return "the server does not believe the group that a client names";
    }
    if (give_to(fs, handle, after.gid) != 0 || write_as(fs, handle, &after) != 0) {
        return "the server does not notice that a file's group changed";
    }
    if (write_as(fs, handle, &before) != NFS3ERR_ACCES) {
        return "the server lets a group write that a file no longer has";
    }
    return NULL;
}

void fence_try(struct nfs_fs *fs, char ret_text[SLUICE_TEXT_MAX]) {
    struct ask ask = nfs_fs_ask(fs);
    char name[32];
    uint32_t random = 0;
    struct handle handle;
    const char *why = "no file can be made in the export";
    bool named = getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random;
    snprintf(name, sizeof name, ".sluice-fence-%08x", random);
    if (named && nfs3_create(&ask, &fs->root, name, &handle) == 0) {
        why = try_with(fs, &handle);
        nfs3_remove(&ask, &fs->root, name);
    }
    fs->fences = why == NULL;
    ret_text[0] = '\0';
    if (why != NULL) {
        snprintf(ret_text, SLUICE_TEXT_MAX, "late writes of a former runner are not refused: %s",
                 why);
    }
}

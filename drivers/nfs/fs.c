/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.c: see fs.h.
 */
#include "fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fence.h"
#include "file.h"
#include "names.h"
#include "path.h"

#define MODE_DIRECTORY_CLOSED 0700

struct nfs_fs *nfs_fs_of(struct share_fs *fs) {
    return (struct nfs_fs *)fs;
}

struct ask nfs_fs_ask(struct nfs_fs *fs) {
    return (struct ask){.control = &fs->control,
                        .as = fs->owner,
                        .more_gid = UINT32_MAX,
                        .patience_ms = CONTROL_PATIENCE_MS};
}

/* Answers `status` with a text; without a call nobody reads it. */
static int32_t answer_text(struct nfs_fs *fs, struct sluice_call *call, int32_t status,
                           const char *text) {
    const struct sluice_services *services = fs->base.services;
    return call != NULL ? services->fail(services, call, status, text) : status;
}

int32_t nfs_fs_fail(struct nfs_fs *fs, struct sluice_call *call, const struct ask *ask, int code,
                    const char *what, const char *path) {
    char text[SLUICE_TEXT_MAX];
    int32_t status = control_status(code);
    /* What is not there, or is there already, is an answer; what it means the caller says. */
    if (code == 0 || code == NFS3ERR_NOENT || code == NFS3ERR_EXIST || code == NFS3ERR_NOTEMPTY ||
        call == NULL) {
        return status;
    }
    snprintf(text, sizeof text, "cannot %s %.100s%s%.80s:%.100s: %.180s", what, path,
             path[0] != '\0' ? " on " : "", fs->control.server.host, fs->control.server.path,
             control_reason(ask, code));
    return answer_text(fs, call, status, text);
}

/* ---- the root ------------------------------------------------------------------------------- */

static int32_t fs_check(struct share_fs *base, struct sluice_call *call) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot;
    int code = path_find(fs, &ask, "", &spot);
    return nfs_fs_fail(fs, call, &ask, code, "reach the export", "");
}

static int32_t fs_capacity(struct share_fs *base, struct sluice_call *call, uint64_t *ret_total,
                           uint64_t *ret_used) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct handle root = path_root(fs);
    struct space space;
    int code = nfs3_space(&ask, &root, &space);
    if (code == 0) {
        *ret_total = space.total;
        *ret_used = space.total - space.available;
    }
    return nfs_fs_fail(fs, call, &ask, code, "ask for the space of", "the export");
}

/* ---- opening -------------------------------------------------------------------------------- */

int nfs_fs_set_access(struct ask *ask, const struct handle *handle, uint32_t mode, uint32_t gid) {
    const struct changes changes = {.mode = mode, .gid = gid, .size = NFS3_KEEP_SIZE};
    struct ask with = *ask;
    /* An owner may give a file to groups that he is a member of. */
    with.more_gid = gid != NFS3_KEEP ? gid : UINT32_MAX;
    int code = nfs3_set(&with, handle, &changes);
    memcpy(ask->text, with.text, sizeof ask->text);
    return code;
}

static int create_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                       const char *name, void *argument) {
    struct spot *spot = argument;
    (void)fs;
    int code = nfs3_create(ask, above, name, &spot->handle);
    if (code == 0) {
        code = nfs_fs_set_access(ask, &spot->handle, FS_MODE_FILE, NFS3_KEEP);
    }
    return code == 0 ? nfs3_get(ask, &spot->handle, &spot->attributes) : code;
}

/* What a data call has open under that path, or NULL; the lock is held. */
static const struct nfs_file *fenced_file(const struct nfs_fs *fs, const char *path) {
    const struct nfs_file *file = fs->fenced;
    while (file != NULL && strcmp(file->path, path) != 0) {
        file = file->next;
    }
    return file;
}

static bool is_fenced(struct nfs_fs *fs, const char *path, struct identity *ret_as) {
    pthread_mutex_lock(&fs->lock);
    const struct nfs_file *file = fenced_file(fs, path);
    if (file != NULL && ret_as != NULL) {
        *ret_as = file->as;
    }
    pthread_mutex_unlock(&fs->lock);
    return file != NULL;
}

static int32_t hand_out(struct nfs_fs *fs, struct sluice_call *call, const char *path,
                        const struct spot *spot, const struct identity *as, bool patient,
                        struct image_file **ret_file) {
    struct nfs_file *file = file_create(fs, path, &spot->handle, &spot->attributes, as, patient);
    if (file == NULL) {
        return answer_text(fs, call, SLUICE_NO_MEMORY, "no memory for an open file");
    }
    if (patient) {
        pthread_mutex_lock(&fs->lock);
        file->next = fs->fenced;
        fs->fenced = file;
        pthread_mutex_unlock(&fs->lock);
    }
    *ret_file = &file->base;
    return SLUICE_OK;
}

static int32_t fs_open(struct share_fs *base, struct sluice_call *call, const char *path,
                       uint32_t flags, struct image_file **ret_file) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct identity as = fs->owner;
    struct spot spot;
    int code;
    if ((flags & SHARE_OPEN_CREATE) != 0) {
        code = path_step(fs, &ask, path, create_step, &spot);
    } else {
        code = path_find_file(fs, &ask, path, &spot);
        /* Taken back from the epoch that had it, and with it from whatever still comes of that. */
        if (code == 0 && !is_fenced(fs, path, &as) && (spot.attributes.mode & 0400) == 0) {
            code = nfs_fs_set_access(&ask, &spot.handle, FS_MODE_FILE, fs->owner.gid);
        }
    }
    if (code != 0) {
        return nfs_fs_fail(fs, call, &ask, code,
                           (flags & SHARE_OPEN_CREATE) != 0 ? "create" : "open", path);
    }
    return hand_out(fs, call, path, &spot, &as, false, ret_file);
}

static int32_t fs_open_fenced(struct share_fs *base, struct sluice_call *call, const char *path,
                              uint64_t epoch, bool read_only, struct image_file **ret_file) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot;
    struct identity as = fs->owner;
    uint32_t mode = FS_MODE_FILE;
    if (fs->fences && !read_only) {
        as = fence_identity(fs, epoch);
        mode = FENCE_MODE;
    }
    int code = path_find_file(fs, &ask, path, &spot);
    if (code == 0) {
        code = nfs_fs_set_access(&ask, &spot.handle, mode, as.gid);
    }
    if (code != 0) {
        return nfs_fs_fail(fs, call, &ask, code, "open for data calls", path);
    }
    return hand_out(fs, call, path, &spot, &as, true, ret_file);
}

/* ---- rights --------------------------------------------------------------------------------- */

/* The mode and group that give these rights; false: mode bits cannot say it. */
static bool bits_of(const struct nfs_fs *fs, bool is_directory, const struct share_right *rights,
                    uint32_t count, uint32_t *ret_mode, uint32_t *ret_gid) {
    bool writes = false;
    for (uint32_t i = 0; i < count; i++) {
        writes = writes || rights[i].write;
    }
    *ret_gid = NFS3_KEEP;
    if (is_directory) {
        *ret_mode = count > 0 ? FS_MODE_DIRECTORY : MODE_DIRECTORY_CLOSED;
        return true;
    }
    *ret_gid = count == 1 ? rights[0].identity : fs->owner.gid;
    *ret_mode = count == 0 ? FS_MODE_FILE : count > 1 ? 0644 : writes ? 0660 : 0640;
    return count <= 1 || !writes;
}

static int32_t fs_let(struct share_fs *base, struct sluice_call *call, const char *path,
                      const struct share_right *rights, uint32_t count) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot;
    uint32_t mode, gid;
    if (is_fenced(fs, path, NULL)) { /* it has its epoch's group, and nobody beside it */
        return count == 0 ? SLUICE_OK
                          : answer_text(fs, call, SLUICE_BUSY, "the volume is open for data calls");
    }
    int code = path_find(fs, &ask, path, &spot);
    if (code == 0) {
        if (!bits_of(fs, spot.attributes.type == NF3DIR, rights, count, &mode, &gid)) {
            return answer_text(
                fs, call, SLUICE_UNSUPPORTED,
                "NFS gives a file to one group: several hosts that write need a common gid");
        }
        code = nfs_fs_set_access(&ask, &spot.handle, mode, gid);
    }
    return nfs_fs_fail(fs, call, &ask, code, "set the rights of", path);
}

/* ---- life ----------------------------------------------------------------------------------- */

static const struct share_fs_ops fs_ops = {
    .check = fs_check,
    .open = fs_open,
    .open_fenced = fs_open_fenced,
    .load = fs_load,
    .store = fs_store,
    .stat = fs_stat,
    .make_directory = fs_make_directory,
    .remove = fs_remove,
    .remove_directory = fs_remove_directory,
    .rename = fs_rename,
    .list = fs_list,
    .let = fs_let,
    .capacity = fs_capacity,
};

static int32_t mount_first(struct nfs_fs *fs, struct sluice_call *call) {
    struct ask ask = nfs_fs_ask(fs);
    const char *what = "mount";
    int code = control_mount(&ask, &fs->root);
    if (code == NFS3ERR_NOENT || code == NFS3ERR_ACCES) {
        char text[SLUICE_TEXT_MAX];
        snprintf(
            text, sizeof text,
            code == NFS3ERR_NOENT
                ? "the NFS server %.100s has no export %.200s; see what it exports (showmount -e)"
                : "the NFS server %.100s does not let this machine mount %.200s; see whether "
                  "there is such an export (showmount -e), who its clients are, and whether it "
                  "wants ports below 1024",
            fs->control.server.host, fs->control.server.path);
        return answer_text(fs, call, code == NFS3ERR_NOENT ? SLUICE_VANISHED : SLUICE_ACCESS, text);
    }
    if (code == 0) {
        what = "ask for the limits of";
        code = nfs3_limits(&ask, &fs->root, &fs->limits);
    }
    return nfs_fs_fail(fs, call, &ask, code, what, "the export");
}

int32_t nfs_fs_open(struct nfs_fs *fs, struct sluice_call *call) {
    char text[SLUICE_TEXT_MAX];
    fs->base.ops = &fs_ops;
    if (!server_resolve(&fs->control.server, text)) {
        return answer_text(fs, call, SLUICE_UNREACHABLE, text);
    }
    pthread_mutex_init(&fs->lock, NULL);
    health_init(&fs->health, fs->base.services);
    control_init(&fs->control);
    int32_t status = mount_first(fs, call);
    if (status != SLUICE_OK) {
        nfs_fs_close(fs);
    }
    return status;
}

void nfs_fs_close(struct nfs_fs *fs) {
    control_release(&fs->control);
    health_release(&fs->health);
    pthread_mutex_destroy(&fs->lock);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * path.c: see path.h.
 */
#include "path.h"

#include <string.h>

static struct remembered *place_of(struct nfs_fs *fs, const char *path, size_t length) {
    uint32_t hash = 5381; /* Bernstein's; a collision costs a LOOKUP */
    for (size_t i = 0; i < length; i++) {
        hash = hash * 33 + (unsigned char)path[i];
    }
    return &fs->directories[hash % FS_DIRECTORIES];
}

static bool recall(struct nfs_fs *fs, const char *path, size_t length, struct handle *ret) {
    pthread_mutex_lock(&fs->lock);
    const struct remembered *place = place_of(fs, path, length);
    bool there = strncmp(place->path, path, length) == 0 && place->path[length] == '\0';
    if (length == 0) {
        *ret = fs->root;
    } else if (there) {
        *ret = place->handle;
    }
    pthread_mutex_unlock(&fs->lock);
    return length == 0 || there;
}

static void remember(struct nfs_fs *fs, const char *path, size_t length,
                     const struct handle *handle) {
    pthread_mutex_lock(&fs->lock);
    struct remembered *place = place_of(fs, path, length);
    memcpy(place->path, path, length);
    place->path[length] = '\0';
    place->handle = *handle;
    pthread_mutex_unlock(&fs->lock);
}

void path_forget(struct nfs_fs *fs) {
    pthread_mutex_lock(&fs->lock);
    for (uint32_t i = 0; i < FS_DIRECTORIES; i++) {
        fs->directories[i].path[0] = '\0';
    }
    pthread_mutex_unlock(&fs->lock);
}

/* The directory that is the first `length` bytes of the path. */
static int directory(struct nfs_fs *fs, struct ask *ask, const char *path, size_t length,
                     struct handle *ret) {
    size_t done = length;
    while (!recall(fs, path, done, ret)) {
        do {
            done--;
        } while (done > 0 && path[done] != '/');
    }
    while (done < length) {
        char name[SHARE_PATH_MAX];
        size_t begin = done > 0 ? done + 1 : 0;
        size_t end = begin;
        while (end < length && path[end] != '/') {
            end++;
        }
        memcpy(name, path + begin, end - begin);
        name[end - begin] = '\0';
        struct attributes attributes;
        struct handle above = *ret;
        int code = nfs3_lookup(ask, &above, name, ret, &attributes);
        if (code != 0) {
            return code;
        }
        if (attributes.type != NF3DIR) {
            return attributes.type == NF3LNK ? CONTROL_LINK : NFS3ERR_NOTDIR;
        }
        remember(fs, path, end, ret);
        done = end;
    }
    return 0;
}

/* The export itself may be another one by now, or the same with other handles. */
static int mount_again(struct nfs_fs *fs, struct ask *ask) {
    struct handle root;
    int code = control_mount(ask, &root);
    if (code == 0) {
        pthread_mutex_lock(&fs->lock);
        fs->root = root;
        pthread_mutex_unlock(&fs->lock);
    }
    return code == NFS3ERR_NOENT ? NFS3ERR_STALE : code;
}

/* Makes a step in the directory that the path's last name lies in. */
int path_step(struct nfs_fs *fs, struct ask *ask, const char *path, path_do *step, void *argument) {
    int code = NFS3ERR_NAMETOOLONG;
    size_t length = strlen(path);
    for (int round = 0; round < 2 && length < SHARE_PATH_MAX; round++) {
        const char *slash = strrchr(path, '/');
        struct handle above;
        code = directory(fs, ask, path, slash != NULL ? (size_t)(slash - path) : 0, &above);
        if (code == 0) {
            code = step(fs, ask, &above, slash != NULL ? slash + 1 : path, argument);
        }
        if (code != NFS3ERR_STALE && code != NFS3ERR_BADHANDLE) {
            return code;
        }
        path_forget(fs);
        int mounted = mount_again(fs, ask);
        if (mounted != 0) {
            return mounted;
        }
    }
    return code;
}

int path_look(struct nfs_fs *fs, struct ask *ask, const struct handle *above, const char *name,
              void *argument) {
    struct spot *spot = argument;
    (void)fs;
    if (name[0] == '\0') {
        spot->handle = *above;
        return nfs3_get(ask, above, &spot->attributes);
    }
    int code = nfs3_lookup(ask, above, name, &spot->handle, &spot->attributes);
    return code == 0 && spot->attributes.type == NF3LNK ? CONTROL_LINK : code;
}

int path_find(struct nfs_fs *fs, struct ask *ask, const char *path, struct spot *ret_spot) {
    return path_step(fs, ask, path, path_look, ret_spot);
}

int path_find_file(struct nfs_fs *fs, struct ask *ask, const char *path, struct spot *ret_spot) {
    int code = path_find(fs, ask, path, ret_spot);
    if (code == 0 && ret_spot->attributes.type != NF3REG) {
        return ret_spot->attributes.type == NF3DIR ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
    }
    return code;
}

struct handle path_root(struct nfs_fs *fs) {
    struct handle root;
    recall(fs, "", 0, &root);
    return root;
}

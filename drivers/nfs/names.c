/* SPDX-License-Identifier: Apache-2.0
 *
 * names.c: see names.h.
 */
#include "names.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "path.h"

#define NEW_SUFFIX ".new" /* what a store has not finished; not looked at by anybody */

/* ---- whole files ---------------------------------------------------------------------------- */

int32_t fs_load(struct share_fs *base, struct sluice_call *call, const char *path, void *ret_bytes,
                size_t room, size_t *ret_length) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot = {.attributes = {.size = 0}};
    size_t done = 0;
    bool end = false;
    int code = path_find_file(fs, &ask, path, &spot);
    if (code == 0 && spot.attributes.size > room) {
        return SLUICE_LIMIT; /* the caller has more room, or says what is wrong */
    }
    while (code == 0 && !end && done < spot.attributes.size) {
        uint32_t taken = 0;
        uint64_t left = spot.attributes.size - done;
        uint32_t part = left < fs->limits.read_max ? (uint32_t)left : fs->limits.read_max;
        code = nfs3_read(&ask, &spot.handle, done, (char *)ret_bytes + done, part, &taken, &end);
        done += taken;
        end = end || taken == 0;
    }
    if (code == 0) {
        *ret_length = done;
    }
    return nfs_fs_fail(fs, call, &ask, code, "read", path);
}

struct storing {
    const char *bytes;
    size_t length;
    bool replace;
};

static int write_whole(struct nfs_fs *fs, struct ask *ask, const struct handle *handle,
                       const struct storing *storing) {
    int code = 0;
    size_t done = 0;
    while (code == 0 && done < storing->length) {
        size_t left = storing->length - done;
        uint32_t part = left < fs->limits.write_max ? (uint32_t)left : fs->limits.write_max;
        uint32_t taken = 0;
        bool is_stable;
        uint64_t verifier;
        code = nfs3_write(ask, handle, done, storing->bytes + done, part, true, &taken, &is_stable,
                          &verifier);
        if (code == 0 && taken == 0) {
            code = NFS3ERR_IO;
        }
        done += taken;
    }
    return code;
}

/* Under a name that nobody has used before: what a predecessor still has under way meets another
 * file. */
static int store_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                      const char *name, void *argument) {
    const struct storing *storing = argument;
    struct handle handle;
    uint64_t random;
    char fresh[SHARE_PATH_MAX + 32];
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        return NFS3ERR_SERVERFAULT;
    }
    snprintf(fresh, sizeof fresh, "%s.%016llx" NEW_SUFFIX, name, (unsigned long long)random);
    int code = nfs3_create(ask, above, fresh, &handle);
    if (code != 0) {
        return code;
    }
    code = nfs_fs_set_access(ask, &handle, FS_MODE_FILE, NFS3_KEEP);
    if (code == 0) {
        code = write_whole(fs, ask, &handle, storing);
    }
    if (code == 0 && storing->replace) {
        code = nfs3_rename(ask, above, fresh, above, name);
    } else if (code == 0) {
        code = nfs3_link(ask, &handle, above, name);
    }
    if (code != 0 || !storing->replace) {
        nfs3_remove(ask, above, fresh); /* in vain only when the server is gone */
    }
    return code;
}

int32_t fs_store(struct share_fs *base, struct sluice_call *call, const char *path,
                 const void *bytes, size_t length, bool replace) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct storing storing = {.bytes = bytes, .length = length, .replace = replace};
    return nfs_fs_fail(fs, call, &ask, path_step(fs, &ask, path, store_step, &storing), "store",
                       path);
}

/* ---- names ---------------------------------------------------------------------------------- */

int32_t fs_stat(struct share_fs *base, struct sluice_call *call, const char *path,
                struct share_stat *ret) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot;
    int code = path_find(fs, &ask, path, &spot);
    if (code == 0) {
        *ret = (struct share_stat){
            .directory = spot.attributes.type == NF3DIR,
            .size_bytes = spot.attributes.size,
            .used_bytes = spot.attributes.used,
            .inode = spot.attributes.id,
            .changed_ns = spot.attributes.changed_ns,
            .links = spot.attributes.links,
        };
    }
    return nfs_fs_fail(fs, call, &ask, code, "look at", path);
}

static int mkdir_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                      const char *name, void *argument) {
    struct spot spot;
    (void)argument;
    int code = nfs3_make_directory(ask, above, name, FS_MODE_DIRECTORY);
    if (code != NFS3ERR_EXIST) {
        return code;
    }
    code = path_look(fs, ask, above, name, &spot);
    return code == 0 && spot.attributes.type != NF3DIR ? NFS3ERR_EXIST : code;
}

int32_t fs_make_directory(struct share_fs *base, struct sluice_call *call, const char *path) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    return nfs_fs_fail(fs, call, &ask, path_step(fs, &ask, path, mkdir_step, NULL),
                       "make the directory", path);
}

static int remove_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                       const char *name, void *argument) {
    (void)fs;
    (void)argument;
    return nfs3_remove(ask, above, name);
}

int32_t fs_remove(struct share_fs *base, struct sluice_call *call, const char *path) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    return nfs_fs_fail(fs, call, &ask, path_step(fs, &ask, path, remove_step, NULL), "remove",
                       path);
}

static int rmdir_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                      const char *name, void *argument) {
    (void)fs;
    (void)argument;
    int code = nfs3_remove_directory(ask, above, name);
    return code == NFS3ERR_EXIST ? NFS3ERR_NOTEMPTY : code; /* some servers say it so */
}

int32_t fs_remove_directory(struct share_fs *base, struct sluice_call *call, const char *path) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    int code = path_step(fs, &ask, path, rmdir_step, NULL);
    path_forget(fs); /* it may come again, as another one */
    return nfs_fs_fail(fs, call, &ask, code, "remove the directory", path);
}

struct moving {
    struct handle from;
    const char *from_name;
};

static int rename_to_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                          const char *name, void *argument) {
    const struct moving *moving = argument;
    struct spot spot;
    int code = path_look(fs, ask, above, name, &spot);
    if (code == 0 || code == CONTROL_LINK) {
        return NFS3ERR_EXIST;
    }
    return code != NFS3ERR_NOENT ? code
                                 : nfs3_rename(ask, &moving->from, moving->from_name, above, name);
}

static int rename_from_step(struct nfs_fs *fs, struct ask *ask, const struct handle *above,
                            const char *name, void *argument) {
    const char *to = argument;
    struct moving moving = {.from = *above, .from_name = name};
    return path_step(fs, ask, to, rename_to_step, &moving);
}

int32_t fs_rename(struct share_fs *base, struct sluice_call *call, const char *from,
                  const char *to) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    char target[SHARE_PATH_MAX];
    snprintf(target, sizeof target, "%s", to);
    int code = path_step(fs, &ask, from, rename_from_step, target);
    path_forget(fs);
    return nfs_fs_fail(fs, call, &ask, code, "rename", from);
}

struct listing {
    struct ask *ask;
    const struct handle *directory;
    share_name *each;
    void *argument;
};

static bool list_name(void *argument, const char *name, uint32_t type) {
    struct listing *listing = argument;
    struct handle handle;
    struct attributes attributes;
    if (type == 0 &&
        nfs3_lookup(listing->ask, listing->directory, name, &handle, &attributes) == 0) {
        type = attributes.type;
    }
    return listing->each(listing->argument, name, type == NF3DIR);
}

int32_t fs_list(struct share_fs *base, struct sluice_call *call, const char *path, share_name *each,
                void *argument) {
    struct nfs_fs *fs = nfs_fs_of(base);
    struct ask ask = nfs_fs_ask(fs);
    struct spot spot;
    struct ask inner = ask;
    struct listing listing = {
        .ask = &inner, .directory = &spot.handle, .each = each, .argument = argument};
    int code = path_find(fs, &ask, path, &spot);
    if (code == 0) {
        code = nfs3_list(&ask, &spot.handle, fs->limits.list_bytes, list_name, &listing);
    }
    return nfs_fs_fail(fs, call, &ask, code, "list", path);
}

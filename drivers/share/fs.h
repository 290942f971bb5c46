/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.h: what the layout of volumes on a share needs of a file system.
 *
 * A driver for a kind of share (a local directory, NFS, SMB) fills this table; everything else, the
 * layout, chains, merging, lists, is the same for all of them. Paths are relative to the pool's
 * directory, "/" between names, no "." or "..", at most SHARE_PATH_MAX bytes with the NUL; the
 * driver sees to it that none leads out of it (symbolic links are refused).
 *
 * All functions block. They answer an enum sluice_status; NOT_FOUND and EXISTS mean the file system
 * said so. A function that fails may say why by services->fail(services, call, ...): the first text
 * wins, so the precise one is the driver's and the general one comes after it. `call` is NULL for
 * work that nobody waits for.
 *
 * Threads: any, all functions may overlap; calls on one open file overlap too (several data calls).
 */
#ifndef SHARE_FS_H
#define SHARE_FS_H

#include <stdbool.h>

#include "image/file.h"

#define SHARE_PATH_MAX 512

struct share_fs;

enum share_open_flag {
    SHARE_OPEN_WRITE = 1,
    SHARE_OPEN_CREATE = 2, /* must not exist: EXISTS; with WRITE */
};

/* Somebody beside us who may open a file or get through a directory: what the driver's grants go
 * by (posix: a uid, NFS: a gid). */
struct share_right {
    uint32_t identity;
    bool write; /* of a file; else it may only read */
};

struct share_stat {
    bool directory;
    uint64_t size_bytes;
    uint64_t used_bytes; /* UINT64_MAX: the file system does not say */
    uint64_t inode;
    /* Of its attributes or bytes: tells one version of a record from the next. */
    uint64_t changed_ns;
    uint32_t links;
};

/* false: enough. */
typedef bool share_name(void *argument, const char *name, bool directory);

struct share_fs_ops {
    /* The root is still the one that was opened (mounted, the same export, answering): OK,
     * VANISHED, UNREACHABLE. Cheap: asked by every control call. */
    int32_t (*check)(struct share_fs *fs, struct sluice_call *call);
    int32_t (*open)(struct share_fs *fs, struct sluice_call *call, const char *path, uint32_t flags,
                    struct image_file **ret_file);
    /* Opens the active image of a volume for data calls, so that nothing which was opened this way
     * under a lower epoch can take effect any more, wherever its owner is by now. BUSY: the one
     * before has to let go first. Readers may overlap with each other. */
    int32_t (*open_fenced)(struct share_fs *fs, struct sluice_call *call, const char *path,
                           uint64_t epoch, bool read_only, struct image_file **ret_file);
    /* Whole small files: at most `room` bytes are read; larger: LIMIT. */
    int32_t (*load)(struct share_fs *fs, struct sluice_call *call, const char *path,
                    void *ret_bytes, size_t room, size_t *ret_length);
    /* There whole and on stable storage, or not at all: written under another name and renamed.
     * Without `replace` an existing one is EXISTS. */
    int32_t (*store)(struct share_fs *fs, struct sluice_call *call, const char *path,
                     const void *bytes, size_t length, bool replace);
    int32_t (*stat)(struct share_fs *fs, struct sluice_call *call, const char *path,
                    struct share_stat *ret);
    /* Ours (0711 where that means something), durable; OK where it is there already. */
    int32_t (*make_directory)(struct share_fs *fs, struct sluice_call *call, const char *path);
    /* A file; not there: NOT_FOUND. Durable. */
    int32_t (*remove)(struct share_fs *fs, struct sluice_call *call, const char *path);
    /* An empty directory; BUSY: it is not empty. */
    int32_t (*remove_directory)(struct share_fs *fs, struct sluice_call *call, const char *path);
    /* Never onto an existing name: EXISTS (as far as the file system can tell). Durable. */
    int32_t (*rename)(struct share_fs *fs, struct sluice_call *call, const char *from,
                      const char *to);
    /* Names of a directory in any order, without "." and "..". */
    int32_t (*list)(struct share_fs *fs, struct sluice_call *call, const char *path,
                    share_name *each, void *argument);
    /* Who may open the file, or get through the directory, beside us: exactly these, each identity
     * once. What cannot be given is UNSUPPORTED with the reason; nobody at all always can. */
    int32_t (*let)(struct share_fs *fs, struct sluice_call *call, const char *path,
                   const struct share_right *rights, uint32_t count);
    /* total: what this pool may use of the file system; used: of it, by anybody. */
    int32_t (*capacity)(struct share_fs *fs, struct sluice_call *call, uint64_t *ret_total,
                        uint64_t *ret_used);
    /* Optional. Somebody else has the file open (1), nobody has (0), -1: cannot be told.
     * `for_writing`: only who could write to it counts. */
    int (*is_open_elsewhere)(struct share_fs *fs, const char *path, bool for_writing);
    /* Optional. Takes the space of a range that lies at the end of an open file, which grows to
     * hold it; UNSUPPORTED: there is no such thing here. */
    int32_t (*allocate)(struct share_fs *fs, struct sluice_call *call, struct image_file *file,
                        uint64_t offset, uint64_t length);
    /* Optional. What else speaks against adopting a file that is there: whose it is, who has it
     * open. */
    int32_t (*check_adopt)(struct share_fs *fs, struct sluice_call *call, const char *path);
};

/* First member of what the driver keeps. */
struct share_fs {
    const struct share_fs_ops *ops;
    const struct sluice_services *services;
};

#endif

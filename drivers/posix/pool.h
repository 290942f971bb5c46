/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.h: a pool in a local directory: the directory itself, what its file system can, and the door
 * through which drivers/share uses it.
 *
 * `root` is the directory that the pool was opened on and stays open, so nothing can be made in
 * another one by mistake. Everything about volumes is drivers/share's; this driver brings the file
 * system (fs.c), the access of local users (access.c) and data calls (data.c).
 *
 * Life cycle: pool_open, calls, pool_close. Threads: any; what changes after opening is under locks
 * of its own.
 */
#ifndef POSIX_POOL_H
#define POSIX_POOL_H

#include <stdbool.h>
#include <sys/stat.h>

#include <sluice/driver.h>

#include "beneath.h"
#include "share/pool.h"
#include "share/workers.h"

#define IO_MAX UINT32_C(33554432)

struct driver {
    const struct sluice_services *services;
};

#define POOL_READERS 1 /* two and four were slower: they share out what one finds done already */

struct posix_pool {
    struct share_fs fs; /* first: share_pool_fs gives this */
    int root;
    dev_t device;
    ino_t inode;
    char path[SLUICE_PATH_MAX];
    bool has_acl;
    bool has_punch;
    struct workers workers; /* of data calls */
    struct workers readers; /* of reads that are on their way from the disk already */
};

/* ---- fs.c ------------------------------------------------------------------------------------ */

extern const struct share_fs_ops posix_fs;

/* The descriptor of a file that posix_fs opened. */
int posix_file_fd(const struct image_file *file);

/* ---- fail.c ---------------------------------------------------------------------------------- */

/* Answers `status` with a text. `call` may be NULL. */
int32_t fail(struct posix_pool *pool, struct sluice_call *call, int32_t status, const char *format,
             ...) __attribute__((format(printf, 4, 5)));
/* Answers what errno `error` means, with the text "cannot <what>: ..."; NOT_FOUND and EXISTS
 * without one. */
int32_t fail_errno(struct posix_pool *pool, struct sluice_call *call, int error, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));
int32_t status_of_errno(int error);

/* ---- the storage table's members --------------------------------------------------------------
 */

int32_t pool_open(void *driver, struct sluice_call *call, const struct sluice_pool_open *args,
                  struct sluice_pool *ret, void **ret_pool);
void pool_close(void *pool);

#endif

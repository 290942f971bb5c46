/* SPDX-License-Identifier: Apache-2.0
 *
 * fail.c: what went wrong, in the words of pool.h and for somebody who has to mend it.
 */
#include "pool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int32_t status_of_errno(int error) {
    switch (error) {
    case ENOSPC:
        return SLUICE_NO_SPACE;
    case EDQUOT:
        return SLUICE_QUOTA;
    case EROFS:
        return SLUICE_READ_ONLY;
    case EACCES:
    case EPERM:
        return SLUICE_ACCESS;
    case ENOMEM:
        return SLUICE_NO_MEMORY;
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENAMETOOLONG:
    case E2BIG:
        return SLUICE_LIMIT;
    case ESTALE:
    case ENODEV:
    case ENXIO:
        return SLUICE_VANISHED;
    case EOPNOTSUPP:
    case ENOSYS:
        return SLUICE_UNSUPPORTED;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
        return SLUICE_BUSY;
    case EEXIST:
        return SLUICE_EXISTS;
    case ENOENT:
        return SLUICE_NOT_FOUND;
    case ELOOP:
    case EXDEV:
    case ENOTDIR:
    case EISDIR:
        return SLUICE_CORRUPT;
    case ETIMEDOUT:
        return SLUICE_TIMEOUT;
    default:
        return SLUICE_IO;
    }
}

int32_t fail(struct posix_pool *pool, struct sluice_call *call, int32_t status, const char *format,
             ...) {
    char text[SLUICE_TEXT_MAX];
    va_list values;
    if (call == NULL) {
        return status;
    }
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return pool->fs.services->fail(pool->fs.services, call, status, text);
}

int32_t fail_errno(struct posix_pool *pool, struct sluice_call *call, int error, const char *format,
                   ...) {
    char what[SLUICE_TEXT_MAX / 2];
    va_list values;
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    unsigned uid = (unsigned)geteuid();
    switch (error) {
    case EACCES:
    case EPERM:
        return fail(pool, call, SLUICE_ACCESS,
                    "cannot %s: uid %u may not; run: chown -R %u '%.200s'", what, uid, uid,
                    pool->path);
    case ENOSPC:
        return fail(pool, call, SLUICE_NO_SPACE, "cannot %s: the file system is full", what);
    case EDQUOT:
        return fail(pool, call, SLUICE_QUOTA, "cannot %s: the disk quota of uid %u is used up",
                    what, uid);
    case EROFS:
        return fail(pool, call, SLUICE_READ_ONLY, "cannot %s: the file system is read-only", what);
    case EFBIG:
        return fail(pool, call, SLUICE_LIMIT,
                    "cannot %s: the file system has no files as large as that", what);
    case ELOOP:
    case EXDEV:
        return fail(pool, call, SLUICE_CORRUPT,
                    "cannot %s: a symbolic link, another mount or what is no file lies in the way "
                    "below '%.200s'",
                    what, pool->path);
    case ENOENT:
    case EEXIST:
        return status_of_errno(error);
    default:
        return fail(pool, call, status_of_errno(error), "cannot %s: %s", what, strerror(error));
    }
}

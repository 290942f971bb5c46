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
    case EBADMSG:
    case ELOOP:
    case EXDEV:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
        return SLUICE_CORRUPT;
    case ETIMEDOUT:
        return SLUICE_TIMEOUT;
    default:
        return SLUICE_IO;
    }
}

int32_t fail(struct pool *pool, struct sluice_call *call, int32_t status, const char *format, ...) {
    char text[SLUICE_TEXT_MAX];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return pool->services->fail(pool->services, call, status, text);
}

int32_t fail_errno(struct pool *pool, struct sluice_call *call, int error, const char *format,
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
    case EBADMSG:
        return fail(pool, call, SLUICE_CORRUPT, "cannot %s: the record is damaged", what);
    case ELOOP:
    case EXDEV:
        return fail(pool, call, SLUICE_CORRUPT,
                    "cannot %s: a symbolic link or another mount lies in the way below '%.200s'",
                    what, pool->path);
    case ENOENT: {
        /* Something that was there a moment ago: gone with the whole directory, or by itself. */
        int32_t status = pool_check(pool, call);
        return status != SLUICE_OK
                   ? status
                   : fail(pool, call, SLUICE_CORRUPT, "cannot %s: a file is missing", what);
    }
    default:
        return fail(pool, call, status_of_errno(error), "cannot %s: %s", what, strerror(error));
    }
}

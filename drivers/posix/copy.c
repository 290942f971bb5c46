/* SPDX-License-Identifier: Apache-2.0
 *
 * copy.c: see copy.h.
 */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"
#include "step.h"

#define RANGE_BYTES (UINT64_C(4) << 20)
#define BOUNCE_BYTES (UINT64_C(1) << 20)

/* A clone call's time depends on how many extents lie in the range, from microseconds to seconds;
 * so it begins small and doubles while it is quick. */
#define CLONE_FIRST_BYTES (UINT64_C(64) << 20)
#define CLONE_LEAST_BYTES (UINT64_C(1) << 20)
#define CLONE_MOST_BYTES (UINT64_C(1) << 40)
#define CLONE_QUICK_NS UINT64_C(10000000)
#define CLONE_SLOW_NS UINT64_C(50000000)

uint64_t copy_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void copy_begin(struct copy *copy, int source, int target, uint64_t length) {
    *copy = (struct copy){
        .source = source,
        .target = target,
        .length = length,
        .way = COPY_CLONE,
        .clone_bytes = CLONE_FIRST_BYTES,
    };
}

void copy_end(struct copy *copy) {
    free(copy->bounce);
    copy->bounce = NULL;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Errors that say "not this way here" rather than "this failed". */
static bool is_refusal(int error) {
    return error == EOPNOTSUPP || error == ENOTTY || error == EXDEV || error == EINVAL ||
           error == ENOSYS || error == EPERM;
}

static enum copy_result clone_some(struct copy *copy) {
    uint64_t left = copy->length - copy->offset;
    struct file_clone_range range = {
        .src_fd = copy->source,
        .src_offset = copy->offset,
        .src_length = smaller(left, copy->clone_bytes),
        .dest_offset = copy->offset,
    };
    uint64_t before = copy_now_ns();
    if (ioctl(copy->target, FICLONERANGE, &range) != 0) {
        if (!is_refusal(errno)) {
            return COPY_FAILED;
        }
        /* A file system that clones, but not this range (its end is no whole block): by bytes. */
        copy->way = COPY_RANGE;
        return COPY_MORE;
    }
    uint64_t took = copy_now_ns() - before;
    if (took < CLONE_QUICK_NS && copy->clone_bytes < CLONE_MOST_BYTES) {
        copy->clone_bytes *= 2;
    } else if (took > CLONE_SLOW_NS && copy->clone_bytes > CLONE_LEAST_BYTES) {
        copy->clone_bytes /= 2;
    }
    copy->offset += range.src_length;
    return COPY_MORE;
}

/* Moves on to the next allocated range; its length from there in *ret_length, 0 at the end. */
static bool find_allocated(struct copy *copy, uint64_t *ret_length) {
    off_t at = lseek(copy->source, (off_t)copy->offset, SEEK_DATA);
    if (at < 0 && errno == ENXIO) {
        copy->offset = copy->length;
        *ret_length = 0;
        return true;
    }
    if (at < 0 && errno == EINVAL) { /* a file system that cannot tell */
        *ret_length = copy->length - copy->offset;
        return true;
    }
    off_t end = at < 0 ? -1 : lseek(copy->source, at, SEEK_HOLE);
    if (end < 0) {
        return false;
    }
    copy->offset = smaller((uint64_t)at, copy->length);
    *ret_length = smaller((uint64_t)end, copy->length) - copy->offset;
    return true;
}

static ssize_t move_bytes(struct copy *copy, uint64_t length) {
    if (copy->bounce == NULL && (copy->bounce = malloc(BOUNCE_BYTES)) == NULL) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t n =
        pread(copy->source, copy->bounce, smaller(length, BOUNCE_BYTES), (off_t)copy->offset);
    if (n > 0 && write_all(copy->target, copy->bounce, (size_t)n, copy->offset) != 0) {
        return -1;
    }
    return n;
}

static enum copy_result copy_some(struct copy *copy) {
    uint64_t length;
    if (!find_allocated(copy, &length)) {
        return COPY_FAILED;
    }
    if (length == 0) {
        return COPY_MORE;
    }
    ssize_t n;
    if (copy->way == COPY_RANGE) {
        off_t from = (off_t)copy->offset;
        off_t to = from;
        n = copy_file_range(copy->source, &from, copy->target, &to, smaller(length, RANGE_BYTES),
                            0);
        if (n < 0 && is_refusal(errno)) {
            copy->way = COPY_BYTES;
            return COPY_MORE;
        }
    } else {
        n = move_bytes(copy, length);
    }
    if (n == 0) { /* allocated a moment ago and now beyond the end: somebody cuts the source */
        errno = EBUSY;
    }
    if (n <= 0) {
        return n < 0 && errno == EINTR ? COPY_MORE : COPY_FAILED;
    }
    /* Writing back begins at once, so that the last fsync finds little left to wait for. */
    sync_file_range(copy->target, (off_t)copy->offset, n, SYNC_FILE_RANGE_WRITE);
    copy->offset += (uint64_t)n;
    return COPY_MORE;
}

enum copy_result copy_slice(struct copy *copy, uint64_t until_ns) {
    uint64_t begin = copy->offset;
    while (copy->offset < copy->length) {
        enum copy_result result = copy->way == COPY_CLONE ? clone_some(copy) : copy_some(copy);
        if (result == COPY_FAILED) {
            return COPY_FAILED;
        }
        /* Every slice gets somewhere, however little time it was given. */
        if (copy->offset > begin && copy->offset < copy->length && copy_now_ns() >= until_ns) {
            STEP(copy_slice_done);
            return COPY_MORE;
        }
    }
    return COPY_DONE;
}

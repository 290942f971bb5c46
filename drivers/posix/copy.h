/* SPDX-License-Identifier: Apache-2.0
 *
 * copy.h: copies the first bytes of one file into another that is all hole, a slice at a time.
 *
 * By sharing blocks (FICLONERANGE) where the file system can, else by copying the ranges that are
 * allocated and leaving holes (copy_file_range, and pread and pwrite where that is refused).
 *
 * Life cycle: copy_begin, copy_slice until it does not say COPY_MORE, copy_end. Ownership: the
 * descriptors stay the caller's. Threads: one at a time. Limits: a slice ends soon after its time
 * is up; a bounce buffer of 1 MiB.
 */
#ifndef POSIX_COPY_H
#define POSIX_COPY_H

#include <stdint.h>

enum copy_way { COPY_CLONE, COPY_RANGE, COPY_BYTES };
enum copy_result { COPY_DONE, COPY_MORE, COPY_FAILED /* errno says why */ };

struct copy {
    int source;
    int target;
    uint64_t length; /* bytes of the source to copy */
    uint64_t offset; /* how far */
    enum copy_way way;
    uint64_t clone_bytes; /* how much one clone call takes on: follows the time it took */
    void *bounce;
};

void copy_begin(struct copy *copy, int source, int target, uint64_t length);
enum copy_result copy_slice(struct copy *copy, uint64_t until_ns);
void copy_end(struct copy *copy);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t copy_now_ns(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h: a volume or snapshot that is open for data calls: its chain of images, and who may be in
 * it at the same time.
 *
 * The fast way. share_disk_enter says, without any I/O, where the bytes of a call lie; the driver
 * moves the payload by itself (preadv, an asynchronous RPC) and says share_disk_leave when that has
 * ended. Between the two nothing that was said changes. The slow way. Where enter says no (a table
 * has to be read, a cluster to be allocated, somebody has the disk for himself), a worker thread
 * makes the blocking call, which does everything.
 *
 * Invariants: one allocation at a time; nothing is freed (trim, zeroes, a merge that ends) while
 * anybody is inside; who wants the disk for himself is not starved: enter says no from then on.
 *
 * Threads: all functions from any thread; enter and leave never wait for I/O. Ownership: the disk
 * closes the files that it opened. Errors: an enum sluice_status; open says why by
 * services->fail.
 */
#ifndef SHARE_DISK_H
#define SHARE_DISK_H

#include "image/image.h"
#include "share/pool.h"

#define SHARE_RUNS_MAX 16 /* a 1 MiB call on clusters of 64 KiB that lie anywhere */

struct share_disk;

/* The active image is opened by the file system's open_fenced, parents and snapshots for reading.
 * The epoch is written down; a lower one is STALE. */
int32_t share_disk_open(struct share_pool *pool, struct sluice_call *call,
                        const struct sluice_data_open *args, struct share_disk **ret_disk);
/* Nobody is inside. Flushes nothing. Accepts NULL. */
void share_disk_close(struct share_disk *disk);
uint64_t share_disk_size(const struct share_disk *disk);
/* The file of the active image, as open_fenced gave it. */
struct image_file *share_disk_file(struct share_disk *disk);
/* false: nothing is in memory that share_disk_flush would have to write; true: there may be, or a
 * call that makes it so is under way. Never waits. */
bool share_disk_is_dirty(struct share_disk *disk);

/* true: `ret_runs` are the whole range in order (FILE and ZERO; for a write only FILE), to be used
 * until share_disk_leave. false: by the slow way; nothing to leave. */
bool share_disk_enter(struct share_disk *disk, uint64_t offset, uint64_t length, bool write,
                      struct image_run ret_runs[SHARE_RUNS_MAX], uint32_t *ret_count);
void share_disk_leave(struct share_disk *disk);

/* The slow way: blocking, whole or failed. */
int32_t share_disk_read(struct share_disk *disk, uint64_t offset, void *ret_bytes, size_t length);
int32_t share_disk_write(struct share_disk *disk, uint64_t offset, const void *bytes,
                         size_t length);
int32_t share_disk_write_zeroes(struct share_disk *disk, uint64_t offset, uint64_t length,
                                uint32_t io_flags);
int32_t share_disk_trim(struct share_disk *disk, uint64_t offset, uint64_t length);
int32_t share_disk_flush(struct share_disk *disk);
int32_t share_disk_extents(struct share_disk *disk, uint64_t offset, uint64_t length,
                           struct sluice_extent *ret_extents, uint32_t capacity,
                           uint32_t *ret_count);

#endif

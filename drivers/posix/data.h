/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h: data calls on a volume's disk file.
 *
 * The fence: data_open takes an OFD lock of the whole file on the very description that the I/O
 * goes through, so it lasts exactly as long as I/O through it is possible, and writes the epoch
 * into the volume's record while it holds the lock. A successor gets BUSY until the predecessor's
 * last descriptor is closed.
 *
 * Who calls is not made to wait: what is in the page cache is read at once, as far as the file
 * system can say so; what is not, and all that goes to the disk by itself (flush, FUA, trim,
 * zeroes, extents), is done by workers (workers.h). Reads that miss the cache and do not follow on
 * the one before are begun at once (POSIX_FADV_WILLNEED), as many as there are, and then fetched in
 * that order by one thread: it mostly finds its pages there, so the disk is asked for all of them
 * together while hardly any thread has to sleep and be woken. Reads in sequence go to the workers
 * as they are: the kernel reads ahead for them. Writes are done at once until they prove slow,
 * which is when the kernel makes writers wait for the disk. A flush covers the writes that were
 * completed before it came: they are in the page cache by then.
 *
 * Threads: calls on one handle overlap. data_close waits until no worker has the handle.
 */
#ifndef POSIX_DATA_H
#define POSIX_DATA_H

#include <sluice/driver.h>

int32_t data_open(void *pool, struct sluice_call *call, const struct sluice_data_open *args,
                  struct sluice_data_opened *ret);
void data_close(void *handle);
void data_read(void *handle, struct sluice_io *io);
void data_write(void *handle, struct sluice_io *io);
void data_flush(void *handle, struct sluice_io *io);
void data_write_zeroes(void *handle, struct sluice_io *io);
void data_trim(void *handle, struct sluice_io *io);
void data_extents(void *handle, struct sluice_io *io);

#endif

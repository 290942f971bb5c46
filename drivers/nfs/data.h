/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h: data calls on a volume or snapshot.
 *
 * Where the bytes of a call lie is known from memory for what has been allocated (share/disk.h):
 * then it becomes READs and WRITEs on the volume's own connections (stream.h), and the thread that
 * made it goes on. What needs a table read or a cluster allocated, and what the server answers
 * oddly, is done by a worker, which waits.
 *
 * Stability. A write is answered when the server has it; a flush writes the image's tables and
 * COMMITs. The token is made of the server's verifier, which changes when it may have lost what was
 * not committed, and of a number of this opening, as what the image has in memory is lost with it.
 * FUA: FILE_SYNC where all tables are written, else a write and a flush.
 *
 * Threads: any, calls on one handle overlap.
 */
#ifndef NFS_DATA_H
#define NFS_DATA_H

#include <sluice/driver.h>

#define DATA_IO_MAX (1u << 20) /* one READ or WRITE where the bytes lie together */

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

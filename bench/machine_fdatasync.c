/* SPDX-License-Identifier: Apache-2.0
 *
 * machine_fdatasync: how fast the disk makes 4 KiB durable, one after the other.
 *
 *     machine_fdatasync overwrite|append rate|p50|p99
 *
 * overwrite: blocks of a file that were written before, so that only the block itself has to reach
 * the disk; append: each write makes the file longer, so that the file system has to record that
 * too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "measure.h"

#define BLOCK 4096
#define FILE_BLOCKS 16384 /* 64 MiB, overwritten round and round */

static int file_open(bool written_before) {
    char path[4096];
    snprintf(path, sizeof path, "%s/fdatasync.XXXXXX", measure_directory());
    int fd = mkstemp(path);
    if (fd < 0)
        measure_fail("cannot make %s", path);
    unlink(path);
    static char zeros[1 << 20];
    for (size_t at = 0; written_before && at < (size_t)FILE_BLOCKS * BLOCK; at += sizeof zeros)
        if (write(fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros)
            measure_fail("no room for 64 MiB in %s", measure_directory());
    if (fsync(fd) != 0)
        measure_fail("fsync failed");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 3 || (strcmp(argv[1], "overwrite") != 0 && strcmp(argv[1], "append") != 0))
        measure_fail("usage: machine_fdatasync overwrite|append rate|p50|p99");
    bool overwrite = strcmp(argv[1], "overwrite") == 0;
    int fd = file_open(overwrite);
    char block[BLOCK];
    struct measure measure;
    measure_begin(&measure, argv[2]);
    for (uint64_t i = 0; !measure_over(&measure); i++) {
        uint64_t began = clock_mono_ns();
        memset(block, (int)i, sizeof block);
        off_t at = (off_t)(overwrite ? i % FILE_BLOCKS : i) * BLOCK;
        if (pwrite(fd, block, sizeof block, at) != BLOCK || fdatasync(fd) != 0)
            measure_fail("writing failed");
        measure_one(&measure, began);
    }
    measure_print(&measure);
    return 0;
}

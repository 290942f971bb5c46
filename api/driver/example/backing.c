/* SPDX-License-Identifier: Apache-2.0
 *
 * backing.c: a directory that holds what outlives the process.
 *
 * There, `sluice.pool` is the marker, and each disk is one file `<uuid>.disk`: a header of 4096
 * bytes (struct header), then the disk's bytes, sparse. A new file is written as `<uuid>.new` and
 * renamed, so a half-written one is never taken for a disk. Data reaches the file when the gateway
 * flushes: a write that was acknowledged and not flushed is lost with the process, as it would be
 * with a volatile cache. Nothing is synced to the device: a power cut is not what this is for.
 *
 * The process, not the machine, is what dies here, so the layout is the machine's own.
 */
#include "ram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARKER "sluice.pool"
#define HEADER_BYTES 4096
#define FILE_NAME_MAX 64

struct header {
    char magic[8]; /* "SLURAM1" */
    struct sluice_uuid id;
    struct sluice_uuid volume;
    struct sluice_uuid source;
    struct sluice_uuid reverted;
    uint64_t size_bytes;
    uint64_t created_bytes;
    uint64_t epoch;
    uint32_t source_kind;
    uint32_t snapshot;
    char name[SLUICE_NAME_MAX];
};
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header has one page");

struct marker {
    struct sluice_uuid pool;
    struct sluice_uuid gateway;
};

static const char magic[8] = "SLURAM1";

static int32_t status_of(int error) {
    switch (error) {
    case ENOSPC:
        return SLUICE_NO_SPACE;
    case EDQUOT:
        return SLUICE_QUOTA;
    case EACCES:
    case EPERM:
        return SLUICE_ACCESS;
    case EROFS:
        return SLUICE_READ_ONLY;
    case ENOMEM:
        return SLUICE_NO_MEMORY;
    default:
        return SLUICE_IO;
    }
}

static int32_t fail(struct pool *pool, struct sluice_call *call, const char *what, int error) {
    char text[SLUICE_TEXT_MAX];
    snprintf(text, sizeof text, "the backing directory: cannot %s: %s", what, strerror(error));
    return ram_fail(pool, call, status_of(error), text);
}

static void file_name(const struct sluice_uuid *id, const char *suffix, char *ret_name) {
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        snprintf(ret_name + 2 * i, 3, "%02x", id->bytes[i]);
    }
    snprintf(ret_name + 32, FILE_NAME_MAX - 32, "%s", suffix);
}

static bool write_all(int fd, const void *bytes, size_t length, uint64_t offset) {
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t n = pwrite(fd, from, length, (off_t)offset);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return false;
        }
        from += n;
        length -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

static bool write_header(int fd, const struct disk *disk) {
    union {
        struct header header;
        uint8_t bytes[HEADER_BYTES];
    } page = {.bytes = {0}};
    struct header *header = &page.header;
    memcpy(header->magic, magic, sizeof magic);
    header->id = disk->id;
    header->volume = disk->volume;
    header->source = disk->source;
    header->reverted = disk->reverted;
    header->size_bytes = disk->size_bytes;
    header->created_bytes = disk->created_bytes;
    header->epoch = disk->epoch;
    header->source_kind = disk->source_kind;
    header->snapshot = disk->snapshot;
    memcpy(header->name, disk->name, sizeof header->name);
    return write_all(fd, &page, sizeof page, 0);
}

/* ---- the marker --------------------------------------------------------------------------- */

static int32_t claim(struct pool *pool, struct sluice_call *call) {
    const struct marker marker = {pool->id, pool->gateway};
    int fd = openat(pool->backing, MARKER ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_all(fd, &marker, sizeof marker, 0) &&
                renameat(pool->backing, MARKER ".new", pool->backing, MARKER) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return done ? SLUICE_OK : fail(pool, call, "write the marker", error);
}

int32_t backing_check(struct pool *pool, struct sluice_call *call) {
    struct marker marker;
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    int fd = openat(pool->backing, MARKER, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, &marker, sizeof marker, 0) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n != (ssize_t)sizeof marker) {
        return ram_fail(pool, call, SLUICE_VANISHED,
                        "the backing directory has no sluice.pool: it is not the one it was");
    }
    if (memcmp(&marker.pool, &pool->id, sizeof pool->id) != 0 ||
        memcmp(&marker.gateway, &pool->gateway, sizeof pool->gateway) != 0) {
        return ram_fail(pool, call, SLUICE_FOREIGN,
                        "the backing directory belongs to another pool or gateway");
    }
    return SLUICE_OK;
}

int32_t backing_release(struct pool *pool, struct sluice_call *call) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    if (faccessat(pool->backing, MARKER, F_OK, 0) != 0 && errno == ENOENT) {
        return SLUICE_OK;
    }
    int32_t status = backing_check(pool, call);
    if (status == SLUICE_OK && unlinkat(pool->backing, MARKER, 0) != 0) {
        status = fail(pool, call, "remove the marker", errno);
    }
    return status;
}

int32_t backing_probe(struct pool *pool, struct sluice_call *call) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    static const char written[] = "sluice probe";
    char read[sizeof written] = {0};
    int fd = openat(pool->backing, "probe.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_all(fd, written, sizeof written, 0) &&
                pread(fd, read, sizeof read, 0) == (ssize_t)sizeof read &&
                unlinkat(pool->backing, "probe.new", 0) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (!done) {
        return fail(pool, call, "write, read and remove a file", error);
    }
    return memcmp(read, written, sizeof read) == 0
               ? SLUICE_OK
               : ram_fail(pool, call, SLUICE_CORRUPT, "what was read back differs");
}

/* ---- disks -------------------------------------------------------------------------------- */

static bool write_blocks(int fd, const struct disk *disk) {
    uint64_t offset = 0;
    while (offset < disk->size_bytes) {
        bool hole;
        uint64_t length = map_extent(disk->map, offset, disk->size_bytes - offset, &hole);
        for (uint64_t at = offset; !hole && at < offset + length; at += BLOCK_BYTES) {
            if (!write_all(fd, map_block(disk->map, at / BLOCK_BYTES), BLOCK_BYTES,
                           HEADER_BYTES + at)) {
                return false;
            }
        }
        offset += length;
    }
    return true;
}

int32_t backing_create(struct pool *pool, struct sluice_call *call, struct disk *disk) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    char unfinished[FILE_NAME_MAX];
    char name[FILE_NAME_MAX];
    file_name(&disk->id, ".new", unfinished);
    file_name(&disk->id, ".disk", name);
    int fd = openat(pool->backing, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_header(fd, disk) && write_blocks(fd, disk) &&
                renameat(pool->backing, unfinished, pool->backing, name) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (!done) {
        unlinkat(pool->backing, unfinished, 0);
        return fail(pool, call, "write a disk", error);
    }
    return SLUICE_OK;
}

/* The disk's file, for this process alone until it is closed: so what looks at the epoch and then
 * writes is not overtaken by who raises it. -1: errno says why. */
static int open_alone(const struct pool *pool, const struct disk *disk) {
    struct flock alone = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[FILE_NAME_MAX];
    file_name(&disk->id, ".disk", name);
    int fd = openat(pool->backing, name, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fcntl(fd, F_OFD_SETLKW, &alone) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* What lies beyond the disk's end was cut off, and must not come back when it grows. */
static bool cut_tail(int fd, const struct disk *disk) {
    off_t end = (off_t)(HEADER_BYTES + disk->size_bytes);
    struct stat seen;
    return fstat(fd, &seen) == 0 && (seen.st_size <= end || ftruncate(fd, end) == 0);
}

int32_t backing_update(struct pool *pool, struct sluice_call *call, struct disk *disk) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    int fd = open_alone(pool, disk);
    bool done = fd >= 0 && write_header(fd, disk) && cut_tail(fd, disk);
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return done ? SLUICE_OK : fail(pool, call, "write a disk's header", error);
}

int32_t backing_delete(struct pool *pool, struct sluice_call *call, struct disk *disk) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    char name[FILE_NAME_MAX];
    file_name(&disk->id, ".disk", name);
    if (unlinkat(pool->backing, name, 0) != 0 && errno != ENOENT) {
        return fail(pool, call, "remove a disk", errno);
    }
    return SLUICE_OK;
}

int32_t backing_flush(struct pool *pool, struct disk *disk) {
    if (pool->backing < 0) {
        return SLUICE_OK;
    }
    struct header header;
    int fd = open_alone(pool, disk);
    bool done = fd >= 0 && pread(fd, &header, sizeof header, 0) == (ssize_t)sizeof header;
    if (done && header.epoch > disk->epoch) {
        close(fd);
        return SLUICE_STALE; /* another process has it open now, and its bytes stay */
    }
    for (uint64_t word = 0; done && word < disk->dirty_words; word++) {
        for (unsigned bit = 0; done && disk->dirty[word] != 0; bit++) {
            uint64_t mask = UINT64_C(1) << bit;
            if (!(disk->dirty[word] & mask)) {
                continue;
            }
            static const uint8_t zeroes[BLOCK_BYTES];
            uint64_t block = word * 64 + bit;
            const void *bytes = map_block(disk->map, block);
            done = write_all(fd, bytes != NULL ? bytes : zeroes, BLOCK_BYTES,
                             HEADER_BYTES + block * BLOCK_BYTES);
            disk->dirty[word] &= done ? ~mask : ~UINT64_C(0);
        }
    }
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return done ? SLUICE_OK : status_of(error);
}

/* ---- a successor finds what is there ------------------------------------------------------ */

static int32_t load_blocks(struct pool *pool, struct sluice_call *call, int fd, struct disk *disk) {
    uint8_t bytes[BLOCK_BYTES];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t at = lseek(fd, HEADER_BYTES, SEEK_DATA);
    while (at >= HEADER_BYTES && at < end) {
        uint64_t block = ((uint64_t)at - HEADER_BYTES) / BLOCK_BYTES;
        uint64_t from = HEADER_BYTES + block * BLOCK_BYTES;
        ssize_t n = pread(fd, bytes, sizeof bytes, (off_t)from);
        if (n < 0) {
            return fail(pool, call, "read a disk", errno);
        }
        memset(bytes + n, 0, sizeof bytes - (size_t)n);
        bool full;
        if (!map_write(&pool->store, &disk->map, block * BLOCK_BYTES, bytes, sizeof bytes, &full)) {
            return full ? ram_fail(pool, call, SLUICE_NO_SPACE,
                                   "the backing directory holds more than capacity_bytes")
                        : ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for what is there");
        }
        at = lseek(fd, (off_t)(from + BLOCK_BYTES), SEEK_DATA);
    }
    return SLUICE_OK;
}

static int32_t load_disk(struct pool *pool, struct sluice_call *call, const char *name) {
    struct header header;
    struct disk *disk = calloc(1, sizeof *disk);
    int fd = openat(pool->backing, name, O_RDWR | O_CLOEXEC);
    int32_t status = SLUICE_OK;
    if (disk == NULL) {
        status = ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for what is there");
    } else if (fd < 0) {
        status = fail(pool, call, "open a disk", errno);
    } else if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
               memcmp(header.magic, magic, sizeof magic) != 0 || header.size_bytes > RAM_SIZE_MAX) {
        status = ram_fail(pool, call, SLUICE_CORRUPT, "a disk's header is damaged");
    } else {
        disk->id = header.id;
        disk->volume = header.volume;
        disk->source = header.source;
        disk->reverted = header.reverted;
        disk->size_bytes = header.size_bytes;
        disk->created_bytes = header.created_bytes;
        disk->epoch = header.epoch;
        disk->source_kind = header.source_kind;
        disk->snapshot = header.snapshot != 0;
        memcpy(disk->name, header.name, sizeof disk->name);
        disk->name[sizeof disk->name - 1] = '\0';
        /* Its process may have died between the header and the cut. */
        status = cut_tail(fd, disk) ? load_blocks(pool, call, fd, disk)
                                    : fail(pool, call, "cut a disk to its size", errno);
    }
    if (status == SLUICE_OK &&
        !disks_add(disk->snapshot ? &pool->snapshots : &pool->volumes, disk)) {
        status = ram_fail(pool, call, SLUICE_NO_MEMORY, "no memory for what is there");
    }
    if (status == SLUICE_OK) {
        pool->provisioned += disk->size_bytes;
    } else {
        disk_free(pool, disk);
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static int32_t load(struct pool *pool, struct sluice_call *call) {
    DIR *directory = fdopendir(openat(pool->backing, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory == NULL) {
        return fail(pool, call, "list it", errno);
    }
    int32_t status = SLUICE_OK;
    for (struct dirent *entry; status == SLUICE_OK && (entry = readdir(directory)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, ".new") == 0) {
            unlinkat(pool->backing, entry->d_name, 0); /* never finished */
        } else if (dot != NULL && strcmp(dot, ".disk") == 0) {
            status = load_disk(pool, call, entry->d_name);
        }
    }
    closedir(directory);
    return status;
}

int32_t backing_open(struct pool *pool, struct sluice_call *call, const char *path,
                     const struct sluice_pool_open *args) {
    if (path[0] != '/') {
        return ram_fail(pool, call, SLUICE_INVALID, "backing is no absolute path");
    }
    pool->backing = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pool->backing < 0) {
        return fail(pool, call, "open it", errno);
    }
    bool marked = faccessat(pool->backing, MARKER, F_OK, 0) == 0;
    bool take_over = (args->flags & SLUICE_POOL_TAKE_OVER) != 0;
    int32_t status = SLUICE_OK;
    if (marked ? take_over : (args->flags & SLUICE_POOL_CLAIM) != 0) {
        status = claim(pool, call);
    }
    if (status == SLUICE_OK) {
        status = backing_check(pool, call);
    }
    return status == SLUICE_OK ? load(pool, call) : status;
}

void backing_close(struct pool *pool) {
    if (pool->backing >= 0) {
        close(pool->backing);
    }
}

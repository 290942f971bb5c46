/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: see data.h.
 */
#include "data.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "pool.h"
#include "stream.h"

#include "share/disk.h"

/* A call of DATA_IO_MAX in SHARE_RUNS_MAX runs, with a server that takes 64 KiB at once. */
#define PIECES_MAX (SHARE_RUNS_MAX + DATA_IO_MAX / 65536)
#define REQUESTS_KEPT 64 /* as many as are under way in practice; more come from malloc */

struct data;

/* A call that is under way on the stream; inside the disk until its last piece is done. */
struct request {
    struct request *next;
    struct data *data;
    struct sluice_io *io;
    uint32_t left;  /* pieces that are not done ... */
    uint32_t total; /* ... of so many */
    int code;       /* of the first piece that failed */
    uint64_t verifier;
    bool writes;
    bool inside; /* has to leave the disk */
    bool mixed;  /* the pieces have different verifiers */
    struct piece pieces[PIECES_MAX];
};

struct data {
    const struct sluice_services *services;
    struct nfs_pool *pool;
    struct share_disk *disk;
    struct nfs_file *file; /* of the volume itself; NULL for a snapshot */
    struct stream *stream;
    bool read_only;
    uint64_t size_bytes;
    uint64_t opening;          /* random: no other opening has it */
    _Atomic uint64_t verifier; /* of the server, as it was seen last */
    uint32_t pending;          /* with workers; under their lock */
    pthread_mutex_t free_lock; /* of the two below */
    struct request *free;
    uint32_t free_count;
};

/* ---- tokens --------------------------------------------------------------------------------- */

/* Mixes well: that two differ in the verifier or the opening only must not cancel out. */
static uint64_t token_of(const struct data *data, uint64_t verifier) {
    uint64_t token = (verifier ^ data->opening) * UINT64_C(0x9e3779b97f4a7c15);
    token ^= token >> 29;
    token += data->opening;
    return token;
}

static void complete(struct data *data, struct sluice_io *io, int32_t status) {
    data->services->complete(data->services, io, status,
                             token_of(data, atomic_load(&data->verifier)));
}

/* ---- the slow way --------------------------------------------------------------------------- */

/* Writes what is in memory of the image and COMMITs. */
static int32_t flush_all(struct data *data) {
    int32_t status = share_disk_flush(data->disk);
    if (status == SLUICE_OK && data->file != NULL) {
        atomic_store(&data->verifier, file_verifier(data->file));
    }
    return status;
}

/* Completes what changed something. */
static void complete_change(struct data *data, struct sluice_io *io, int32_t status) {
    if (status == SLUICE_OK && (io->flags & SLUICE_IO_FUA) != 0) {
        status = flush_all(data);
    }
    complete(data, io, status);
}

static void read_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    complete(data, io, share_disk_read(data->disk, io->offset, io->buffer, io->length));
}

static void write_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    complete_change(data, io, share_disk_write(data->disk, io->offset, io->buffer, io->length));
}

static void write_zeroes_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    complete_change(data, io,
                    share_disk_write_zeroes(data->disk, io->offset, io->length, io->flags));
}

static void trim_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    complete_change(data, io, share_disk_trim(data->disk, io->offset, io->length));
}

static void flush_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    int32_t status = flush_all(data);
    /* The token of this very COMMIT or of a later one, whatever writes are answered meanwhile. */
    uint64_t verifier = data->file != NULL ? file_verifier(data->file) : 0;
    data->services->complete(data->services, io, status, token_of(data, verifier));
}

static void extents_slowly(void *argument, struct sluice_io *io) {
    struct data *data = argument;
    io->extents_count = 0;
    complete(data, io,
             share_disk_extents(data->disk, io->offset, io->length, io->extents,
                                io->extents_capacity, &io->extents_count));
}

/* Where no worker takes it, it is done here: late is better than never. */
static void hand_over(struct data *data, struct sluice_io *io, worker_run *run) {
    const struct worker_task task = {
        .run = run, .owner = data, .pending = &data->pending, .io = io};
    if (!workers_submit(&data->pool->workers, &task)) {
        run(data, io);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct request *request_take(struct data *data) {
    pthread_mutex_lock(&data->free_lock);
    struct request *request = data->free;
    if (request != NULL) {
        data->free = request->next;
        data->free_count--;
    }
    pthread_mutex_unlock(&data->free_lock);
    return request != NULL ? request : malloc(sizeof *request);
}

/* All but the pieces. */
static void request_init(struct request *request, struct data *data, struct sluice_io *io,
                         bool writes) {
    request->data = data;
    request->io = io;
    request->left = 0;
    request->code = 0;
    request->writes = writes;
    request->inside = false;
    request->mixed = false;
}

static void request_give(struct request *request) {
    struct data *data = request->data;
    pthread_mutex_lock(&data->free_lock);
    bool keep = data->free_count < REQUESTS_KEPT;
    if (keep) {
        request->next = data->free;
        data->free = request;
        data->free_count++;
    }
    pthread_mutex_unlock(&data->free_lock);
    if (!keep) {
        free(request);
    }
}

/* What a worker can clear up or say precisely: a handle to be looked up again, a server that asks
 * to come again later, a fence. */
static bool is_odd(int code) {
    return code == NFS3ERR_STALE || code == NFS3ERR_BADHANDLE || code == NFS3ERR_JUKEBOX ||
           code == NFS3ERR_ACCES || code == CONTROL_REFUSED;
}

/* The last piece is done, or there was none. */
static void request_end(struct request *request) {
    struct data *data = request->data;
    struct sluice_io *io = request->io;
    int code = request->code;
    bool writes = request->writes;
    uint64_t verifier = request->verifier;
    bool mixed = request->mixed;
    if (request->inside) {
        share_disk_leave(data->disk);
    }
    request_give(request);
    if (is_odd(code)) {
        hand_over(data, io,
                  io->buffer == NULL ? flush_slowly
                  : writes           ? write_slowly
                                     : read_slowly);
        return;
    }
    if (code == 0 && writes) {
        if (!mixed) {
            atomic_store(&data->verifier, verifier);
        }
        data->services->complete(data->services, io, SLUICE_OK, token_of(data, verifier));
        return;
    }
    complete(data, io, code == 0 ? SLUICE_OK : control_status(code));
}

/* stream.h's `done`. */
static void on_done(struct piece *piece, int code, uint64_t verifier) {
    struct request *request = piece->owner;
    if (code != 0 && request->code == 0) {
        request->code = code;
    }
    if (request->left == request->total) {
        request->verifier = verifier;
    } else if (verifier != request->verifier) {
        /* Two lives of the server: a token that no flush ever covers, so all is sent again. */
        request->verifier = request->verifier * 31 + verifier;
        request->mixed = true;
    }
    if (--request->left == 0) {
        request_end(request);
    }
}

static bool add_piece(struct request *request, const struct piece *piece) {
    if (request->left == PIECES_MAX) {
        return false;
    }
    struct piece *added = &request->pieces[request->left];
    *added = *piece;
    added->owner = request;
    added->next = NULL;
    if (request->left > 0) {
        request->pieces[request->left - 1].next = added;
    }
    request->left++;
    return true;
}

/* Splits a run by what the server takes at once. */
static bool add_run(struct request *request, const struct image_run *run, char *bytes) {
    const struct limits *limits = &request->data->pool->fs.limits;
    uint64_t most = request->writes ? limits->write_max : limits->read_max;
    for (uint64_t done = 0; done < run->length;) {
        uint64_t part = run->length - done < most ? run->length - done : most;
        const struct piece piece = {
            .kind = request->writes ? PIECE_WRITE : PIECE_READ,
            .stable = (request->io->flags & SLUICE_IO_FUA) != 0,
            .file = (struct nfs_file *)run->file,
            .offset = run->file_offset + done,
            .length = (uint32_t)part,
            .bytes = bytes + done,
        };
        if (!add_piece(request, &piece)) {
            return false;
        }
        done += part;
    }
    return true;
}

static bool add_runs(struct request *request, const struct image_run *runs, uint32_t count) {
    char *bytes = request->io->buffer;
    for (uint32_t i = 0; i < count; i++) {
        if (runs[i].kind == IMAGE_RUN_ZERO) {
            memset(bytes, 0, runs[i].length);
        } else if (!add_run(request, &runs[i], bytes)) {
            return false;
        }
        bytes += runs[i].length;
    }
    return true;
}

/* Begins the call on the stream. false: by the slow way. */
static bool begin(struct data *data, struct sluice_io *io, bool writes) {
    struct image_run runs[SHARE_RUNS_MAX];
    uint32_t count = 0;
    struct request *request = request_take(data);
    if (request == NULL) {
        return false;
    }
    request_init(request, data, io, writes);
    request->inside = share_disk_enter(data->disk, io->offset, io->length, writes, runs, &count);
    if (!request->inside || !add_runs(request, runs, count)) {
        if (request->inside) {
            share_disk_leave(data->disk);
        }
        request_give(request);
        return false;
    }
    for (uint32_t i = 0; writes && i < request->left; i++) {
        file_supersede(request->pieces[i].file, request->pieces[i].offset,
                       request->pieces[i].length);
    }
    request->total = request->left;
    if (request->left == 0) {
        request_end(request);
    } else {
        stream_submit(data->stream, request->pieces);
    }
    return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int32_t check(const struct data *data, const struct sluice_io *io, bool writes) {
    if (io->offset > data->size_bytes || io->length > data->size_bytes - io->offset) {
        return SLUICE_INVALID;
    }
    return writes && data->read_only ? SLUICE_READ_ONLY : SLUICE_OK;
}

/* true: the call is answered already. */
static bool is_answered(struct data *data, struct sluice_io *io, bool writes) {
    int32_t status = check(data, io, writes);
    if (status == SLUICE_OK && io->length > 0) {
        return false;
    }
    complete(data, io, status);
    return true;
}

void data_read(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    if (!is_answered(data, io, false) && !begin(data, io, false)) {
        hand_over(data, io, read_slowly);
    }
}

void data_write(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    if (is_answered(data, io, true)) {
        return;
    }
    /* Stable is only what the tables on the server lead to. */
    bool slow = (io->flags & SLUICE_IO_FUA) != 0 && share_disk_is_dirty(data->disk);
    if (slow || !begin(data, io, true)) {
        hand_over(data, io, write_slowly);
    }
}

void data_flush(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    struct request *request = NULL;
    if (data->file != NULL && !share_disk_is_dirty(data->disk)) {
        request = request_take(data);
    }
    if (request == NULL) {
        hand_over(data, io, flush_slowly);
        return;
    }
    const struct piece piece = {.kind = PIECE_COMMIT, .file = data->file};
    request_init(request, data, io, true);
    add_piece(request, &piece);
    request->total = request->left;
    stream_submit(data->stream, request->pieces);
}

void data_write_zeroes(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    if (!is_answered(data, io, true)) {
        hand_over(data, io, write_zeroes_slowly);
    }
}

void data_trim(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    if (!is_answered(data, io, true)) {
        hand_over(data, io, trim_slowly);
    }
}

void data_extents(void *handle, struct sluice_io *io) {
    struct data *data = handle;
    io->extents_count = 0;
    if (!is_answered(data, io, false)) {
        hand_over(data, io, extents_slowly);
    }
}

/* ---- open and close ------------------------------------------------------------------------- */

/* The verifier as it is now; and what a predecessor left uncommitted is settled. */
static int32_t first_verifier(struct data *data) {
    int32_t status = data->file->base.ops->flush(&data->file->base);
    atomic_init(&data->verifier, file_verifier(data->file));
    return status;
}

static void data_free(struct data *data) {
    stream_close(data->stream);
    share_disk_close(data->disk);
    while (data->free != NULL) {
        struct request *request = data->free;
        data->free = request->next;
        free(request);
    }
    pthread_mutex_destroy(&data->free_lock);
    free(data);
}

int32_t data_open(void *argument, struct sluice_call *call, const struct sluice_data_open *args,
                  struct sluice_data_opened *ret) {
    struct nfs_pool *pool = pool_of(argument);
    struct data *data = calloc(1, sizeof *data);
    if (data == NULL || getrandom(&data->opening, sizeof data->opening, 0) < 0) {
        free(data);
        return share_fail(argument, call, SLUICE_NO_MEMORY, "no memory for a handle");
    }
    data->services = pool->fs.base.services;
    data->pool = pool;
    data->read_only = args->read_only != 0;
    pthread_mutex_init(&data->free_lock, NULL);
    int32_t status = share_disk_open(argument, call, args, &data->disk);
    if (status == SLUICE_OK && !data->read_only) {
        data->file = (struct nfs_file *)share_disk_file(data->disk);
        status = first_verifier(data);
    }
    if (status == SLUICE_OK) {
        data->stream = stream_open(&pool->fs, pool->connections, on_done);
        if (data->stream == NULL) {
            status = share_fail(argument, call, SLUICE_NO_MEMORY,
                                "no memory or descriptors for the volume's connections");
        }
    }
    if (status != SLUICE_OK) {
        data_free(data);
        return status;
    }
    data->size_bytes = share_disk_size(data->disk);
    ret->io_align = 1;
    ret->size_bytes = data->size_bytes;
    ret->token = token_of(data, atomic_load(&data->verifier));
    ret->handle = data;
    return SLUICE_OK;
}

void data_close(void *handle) {
    struct data *data = handle;
    workers_wait(&data->pool->workers, &data->pending);
    data_free(data);
}

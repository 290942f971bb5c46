/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c: see disk.h.
 *
 * The gate is two numbers under a mutex: how many are inside with runs that they were told, and
 * whether somebody is at the image (`busy`: reading tables, allocating). Who frees something waits,
 * busy, until nobody is inside, and from then on nobody gets in. What enter says comes from memory
 * and is said under the mutex, so nobody can be at the image meanwhile.
 */
#include "disk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "push.h"
#include "state.h"
#include "step.h"

#define ZERO_BYTES 65536

struct share_disk {
    struct share_pool *pool;
    struct share_disk *next;
    struct sluice_uuid volume;
    bool snapshot;
    bool read_only;
    bool raw; /* a raw image alone: nothing is ever allocated, so nobody waits for anybody */
    uint64_t size_bytes;
    struct chain chain; /* changed by who has the disk for himself */

    /* Under the pool's lock. */
    uint32_t pins; /* who works on the disk without being its owner */
    uint32_t link_count;
    struct chain_link links[IMAGE_CHAIN_MAX]; /* as the chain has them */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t inside;
    uint32_t wanting; /* to be alone */
    bool busy;
    _Atomic bool dirty; /* as image_is_dirty says, and while somebody may make it so */
};

static struct image *top_of(const struct share_disk *disk) {
    return disk->chain.images[0];
}

/* ---- the gate ------------------------------------------------------------------------------- */

/* At the image: nobody else is, others may be inside. */
static void begin(struct share_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    while (disk->busy) {
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    disk->busy = true;
    pthread_mutex_unlock(&disk->lock);
}

/* The same, and nobody is inside. */
static void begin_alone(struct share_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    disk->wanting++;
    while (disk->busy || disk->inside > 0) {
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    disk->wanting--;
    disk->busy = true;
    pthread_mutex_unlock(&disk->lock);
}

/* Before the image is changed. */
static void will_change(struct share_disk *disk) {
    atomic_store(&disk->dirty, true);
}

/* `stay`: inside from now on. */
static void end(struct share_disk *disk, bool stay) {
    pthread_mutex_lock(&disk->lock);
    atomic_store(&disk->dirty, image_is_dirty(top_of(disk)));
    disk->busy = false;
    disk->inside += stay;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

/* For a raw image: inside without any runs. */
static void stay_inside(struct share_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    while (disk->busy || disk->wanting > 0) {
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    disk->inside++;
    pthread_mutex_unlock(&disk->lock);
}

void share_disk_leave(struct share_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    if (--disk->inside == 0 && disk->wanting > 0) {
        pthread_cond_broadcast(&disk->changed);
    }
    pthread_mutex_unlock(&disk->lock);
}

/* Under the mutex. */
static bool map_all(struct share_disk *disk, uint64_t offset, uint64_t length, bool write,
                    struct image_run *runs, uint32_t *ret_count) {
    uint64_t end_at = offset + length;
    uint32_t count = 0;
    while (offset < end_at) {
        if (count == SHARE_RUNS_MAX) {
            return false;
        }
        image_map(top_of(disk), offset, end_at - offset, write, &runs[count]);
        if (runs[count].kind == IMAGE_RUN_SLOW) {
            return false;
        }
        offset += runs[count++].length;
    }
    *ret_count = count;
    return true;
}

bool share_disk_enter(struct share_disk *disk, uint64_t offset, uint64_t length, bool write,
                      struct image_run ret_runs[SHARE_RUNS_MAX], uint32_t *ret_count) {
    pthread_mutex_lock(&disk->lock);
    uint64_t size = image_size(top_of(disk));
    bool in = !disk->busy && disk->wanting == 0 && offset <= size && length <= size - offset &&
              map_all(disk, offset, length, write, ret_runs, ret_count);
    disk->inside += in;
    pthread_mutex_unlock(&disk->lock);
    return in;
}

uint64_t share_disk_size(const struct share_disk *disk) {
    return disk->size_bytes;
}

struct image_file *share_disk_file(struct share_disk *disk) {
    return image_file(top_of(disk));
}

bool share_disk_is_dirty(struct share_disk *disk) {
    return atomic_load(&disk->dirty);
}

/* ---- the slow way --------------------------------------------------------------------------- */

static bool fits(const struct share_disk *disk, uint64_t offset, uint64_t length) {
    return offset <= disk->size_bytes && length <= disk->size_bytes - offset;
}

static int32_t read_run(const struct image_run *run, uint8_t *to) {
    if (run->kind == IMAGE_RUN_ZERO) {
        memset(to, 0, run->length);
        return SLUICE_OK;
    }
    return run->file->ops->read(run->file, run->file_offset, to, run->length);
}

/* Finds out where bytes lie, with what I/O that needs, and stays inside while they are read. */
int32_t share_disk_read(struct share_disk *disk, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    struct image_run runs[SHARE_RUNS_MAX];
    uint32_t count;
    int32_t status = fits(disk, offset, length) ? SLUICE_OK : SLUICE_INVALID;
    if (status == SLUICE_OK && share_disk_enter(disk, offset, length, false, runs, &count)) {
        for (uint32_t i = 0; status == SLUICE_OK && i < count; i++) {
            status = read_run(&runs[i], to);
            to += runs[i].length;
        }
        share_disk_leave(disk);
        return status;
    }
    while (status == SLUICE_OK && length > 0) {
        struct image_run run = {.kind = IMAGE_RUN_ZERO, .length = length};
        begin(disk);
        uint64_t size = image_size(top_of(disk));
        if (offset < size) { /* else: a resize that did not end; what is missing reads as zeroes */
            uint64_t room = length < size - offset ? length : size - offset;
            status = image_extent(top_of(disk), offset, room, IMAGE_CHAIN_MAX, &run);
        }
        if (status == SLUICE_OK && run.kind == IMAGE_RUN_SLOW) { /* compressed */
            status = image_read(top_of(disk), offset, to, run.length);
            end(disk, false);
        } else {
            end(disk, status == SLUICE_OK);
            if (status == SLUICE_OK) {
                status = read_run(&run, to);
                share_disk_leave(disk);
            }
        }
        offset += run.length;
        to += run.length;
        length -= run.length;
    }
    return status;
}

/* Metadata that a call changed is written with it where the driver's page cache keeps it. */
static int32_t commit(const struct share_disk *disk) {
    return disk->pool->settings.commit_always && image_is_dirty(top_of(disk))
               ? image_commit(top_of(disk))
               : SLUICE_OK;
}

int32_t share_disk_write(struct share_disk *disk, uint64_t offset, const void *bytes,
                         size_t length) {
    struct image_run runs[SHARE_RUNS_MAX];
    uint32_t count;
    int32_t status = SLUICE_OK;
    if (disk->read_only || !fits(disk, offset, length)) {
        return disk->read_only ? SLUICE_READ_ONLY : SLUICE_INVALID;
    }
    if (share_disk_enter(disk, offset, length, true, runs, &count)) {
        const uint8_t *from = bytes;
        for (uint32_t i = 0; status == SLUICE_OK && i < count; i++) {
            status =
                runs[i].file->ops->write(runs[i].file, runs[i].file_offset, from, runs[i].length);
            from += runs[i].length;
        }
        share_disk_leave(disk);
        return status;
    }
    begin(disk);
    will_change(disk);
    status = image_write(top_of(disk), offset, bytes, length);
    int32_t committed = commit(disk);
    end(disk, false);
    return status != SLUICE_OK ? status : committed;
}

/* Zeroes that take space. */
static int32_t write_zero_bytes(struct share_disk *disk, uint64_t offset, uint64_t length) {
    static const uint8_t zeroes[ZERO_BYTES];
    int32_t status = SLUICE_OK;
    while (status == SLUICE_OK && length > 0) {
        size_t part = length < sizeof zeroes ? (size_t)length : sizeof zeroes;
        status = share_disk_write(disk, offset, zeroes, part);
        offset += part;
        length -= part;
    }
    return status;
}

static int32_t zero_raw(struct share_disk *disk, uint64_t offset, uint64_t length, bool fast) {
    struct image_file *file = image_file(top_of(disk));
    int32_t status = SLUICE_UNSUPPORTED;
    stay_inside(disk);
    if (file->ops->punch != NULL) {
        status = file->ops->punch(file, offset, length);
    }
    share_disk_leave(disk);
    return status == SLUICE_UNSUPPORTED && !fast ? write_zero_bytes(disk, offset, length) : status;
}

int32_t share_disk_write_zeroes(struct share_disk *disk, uint64_t offset, uint64_t length,
                                uint32_t io_flags) {
    if (disk->read_only || !fits(disk, offset, length)) {
        return disk->read_only ? SLUICE_READ_ONLY : SLUICE_INVALID;
    }
    if (length == 0) {
        return SLUICE_OK;
    }
    if (io_flags & SLUICE_IO_NO_HOLE) {
        return io_flags & SLUICE_IO_FAST_ZERO ? SLUICE_UNSUPPORTED
                                              : write_zero_bytes(disk, offset, length);
    }
    if (disk->raw) {
        return zero_raw(disk, offset, length, io_flags & SLUICE_IO_FAST_ZERO);
    }
    begin_alone(disk);
    will_change(disk);
    int32_t status = image_write_zeroes(top_of(disk), offset, length);
    int32_t committed = commit(disk);
    end(disk, false);
    return status != SLUICE_OK ? status : committed;
}

int32_t share_disk_trim(struct share_disk *disk, uint64_t offset, uint64_t length) {
    if (disk->read_only || !fits(disk, offset, length)) {
        return disk->read_only ? SLUICE_READ_ONLY : SLUICE_INVALID;
    }
    if (length == 0) {
        return SLUICE_OK;
    }
    if (disk->raw) {
        int32_t status = zero_raw(disk, offset, length, true);
        return status == SLUICE_UNSUPPORTED ? SLUICE_OK : status; /* a trim is a wish */
    }
    begin_alone(disk);
    will_change(disk);
    int32_t status = image_trim(top_of(disk), offset, length);
    int32_t committed = commit(disk);
    end(disk, false);
    return status != SLUICE_OK ? status : committed;
}

int32_t share_disk_flush(struct share_disk *disk) {
    int32_t status = SLUICE_OK;
    if (disk->read_only) {
        return status;
    }
    struct image_file *file = image_file(top_of(disk));
    if (!disk->raw) {
        begin(disk);
        bool dirty = image_is_dirty(top_of(disk));
        if (dirty) {
            status = image_flush(top_of(disk));
        }
        end(disk, !dirty);
        if (dirty) {
            return status;
        }
    } else {
        stay_inside(disk);
    }
    status = file->ops->flush(file);
    share_disk_leave(disk);
    return status;
}

/* What a run of a raw file is, which may have holes: its length is cut to what is said. */
static int32_t look_for_holes(struct image_run *run, uint32_t *ret_flags) {
    uint32_t allocated = 1;
    uint64_t length = run->length;
    int32_t status = SLUICE_OK;
    if (run->file->ops->allocated != NULL) {
        status = run->file->ops->allocated(run->file, run->file_offset, run->length, &allocated,
                                           &length);
    }
    run->length = length;
    *ret_flags = allocated ? 0 : SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO;
    return status;
}

int32_t share_disk_extents(struct share_disk *disk, uint64_t offset, uint64_t length,
                           struct sluice_extent *ret_extents, uint32_t capacity,
                           uint32_t *ret_count) {
    int32_t status = fits(disk, offset, length) ? SLUICE_OK : SLUICE_INVALID;
    uint32_t count = 0;
    while (status == SLUICE_OK && length > 0 && count < capacity) {
        struct image_run run = {.kind = IMAGE_RUN_ZERO, .length = length};
        uint32_t flags = 0;
        begin(disk);
        uint64_t size = image_size(top_of(disk));
        if (offset < size) {
            uint64_t room = length < size - offset ? length : size - offset;
            status = image_extent(top_of(disk), offset, room, IMAGE_CHAIN_MAX, &run);
        }
        if (status == SLUICE_OK && run.kind == IMAGE_RUN_ZERO) {
            flags = SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO;
        } else if (status == SLUICE_OK && run.kind == IMAGE_RUN_FILE &&
                   image_format(disk->chain.images[run.depth]) == IMAGE_FORMAT_RAW) {
            status = look_for_holes(&run, &flags);
        }
        end(disk, false);
        if (count > 0 && ret_extents[count - 1].flags == flags) {
            ret_extents[count - 1].length += run.length;
        } else {
            ret_extents[count++] =
                (struct sluice_extent){.offset = offset, .length = run.length, .flags = flags};
        }
        offset += run.length;
        length -= run.length;
    }
    *ret_count = count;
    return status;
}

/* ---- which disks there are ------------------------------------------------------------------ */

static bool is_image(const struct chain_link *link, const struct sluice_uuid *volume,
                     uint64_t generation) {
    return link->generation == generation && uuid_compare(&link->volume, volume) == 0;
}

bool disk_is_open(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation,
                  bool for_writing) {
    bool open = false;
    pthread_mutex_lock(&pool->lock);
    for (const struct share_disk *disk = pool->disks; disk != NULL && !open; disk = disk->next) {
        open = is_image(&disk->links[0], volume, generation) && !(for_writing && disk->read_only);
    }
    pthread_mutex_unlock(&pool->lock);
    return open;
}

static void note_links(struct share_disk *disk) {
    pthread_mutex_lock(&disk->pool->lock);
    disk->link_count = disk->chain.count;
    memcpy(disk->links, disk->chain.links, disk->chain.count * sizeof disk->links[0]);
    pthread_mutex_unlock(&disk->pool->lock);
}

static void unpin(struct share_disk *disk) {
    pthread_mutex_lock(&disk->pool->lock);
    disk->pins--;
    pthread_cond_broadcast(&disk->pool->unpinned);
    pthread_mutex_unlock(&disk->pool->lock);
}

struct share_disk *disk_borrow(struct share_pool *pool, const struct sluice_uuid *volume,
                               uint64_t generation, struct chain **ret_chain) {
    pthread_mutex_lock(&pool->lock);
    struct share_disk *disk = pool->disks;
    while (disk != NULL && (disk->read_only || !is_image(&disk->links[0], volume, generation))) {
        disk = disk->next;
    }
    if (disk != NULL) {
        disk->pins++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (disk != NULL) {
        begin_alone(disk);
        will_change(disk);
        *ret_chain = &disk->chain;
    }
    return disk;
}

void disk_give_back(struct share_disk *disk) {
    note_links(disk);
    end(disk, false);
    unpin(disk);
}

/* A disk, pinned, that has the image below its own. */
static struct share_disk *find_above(struct share_pool *pool, const struct sluice_uuid *volume,
                                     uint64_t generation) {
    struct share_disk *found = NULL;
    pthread_mutex_lock(&pool->lock);
    for (struct share_disk *disk = pool->disks; disk != NULL && found == NULL; disk = disk->next) {
        for (uint32_t i = 1; i < disk->link_count && found == NULL; i++) {
            found = is_image(&disk->links[i], volume, generation) ? disk : NULL;
        }
    }
    if (found != NULL) {
        found->pins++;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

int32_t disk_reopen_all(struct share_pool *pool, struct sluice_call *call,
                        const struct sluice_uuid *volume, uint64_t generation) {
    int32_t status = SLUICE_OK;
    struct share_disk *disk;
    while (status == SLUICE_OK && (disk = find_above(pool, volume, generation)) != NULL) {
        begin_alone(disk);
        status = chain_reopen(pool, call, disk->read_only, &disk->chain);
        for (uint32_t i = 1; status == SLUICE_OK && i < disk->chain.count; i++) {
            if (is_image(&disk->chain.links[i], volume, generation)) {
                status = share_fail(pool, call, SLUICE_BUSY, "an open volume still needs an image");
            }
        }
        note_links(disk);
        end(disk, false);
        unpin(disk);
    }
    return status;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static int32_t check_others(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_data_open *args) {
    bool taken = false;
    pthread_mutex_lock(&pool->lock);
    for (const struct share_disk *disk = pool->disks; disk != NULL && !taken; disk = disk->next) {
        taken = !disk->snapshot && uuid_compare(&disk->volume, &args->volume) == 0 &&
                (!disk->read_only || !args->read_only);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken ? share_fail(pool, call, SLUICE_BUSY, "another handle has the volume open")
                 : SLUICE_OK;
}

/* The epoch counts, and the image gets the length that the volume is meant to have. */
static int32_t enter_epoch(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_data_open *args, struct volume_meta *meta) {
    if (args->epoch < meta->epoch) {
        return share_fail(pool, call, SLUICE_STALE,
                          "epoch %llu has opened the volume, this is %llu",
                          (unsigned long long)meta->epoch, (unsigned long long)args->epoch);
    }
    if (args->epoch == meta->epoch) {
        return SLUICE_OK;
    }
    meta->epoch = args->epoch;
    int32_t status = volume_store(pool, call, meta);
    STEP(epoch_recorded);
    return status;
}

static int32_t open_images(struct share_disk *disk, struct sluice_call *call,
                           const struct sluice_data_open *args, const struct volume_meta *meta) {
    struct share_pool *pool = disk->pool;
    char path[SHARE_PATH_MAX];
    struct image_file *file;
    struct image_error error = {{0}};
    const struct chain_link top = {meta->id, meta->active, meta->format};
    layout_image(&meta->id, meta->active, meta->format, path);
    if (!disk->read_only) {
        push_forget(pool, &meta->id, meta->active);
    }
    int32_t status = FS(pool, open_fenced, call, path, args->epoch, args->read_only != 0, &file);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status,
                          status == SLUICE_BUSY
                              ? "somebody else has the volume open, who has to let go first"
                              : "cannot open the volume's image");
    }
    status = chain_open(pool, call, &top, file, !disk->read_only, &disk->chain);
    if (status == SLUICE_OK && !disk->read_only && image_size(top_of(disk)) != meta->size_bytes) {
        status = image_resize(top_of(disk), meta->size_bytes, &error);
        if (status != SLUICE_OK) {
            share_fail(pool, call, status, "cannot give the image its length: %.300s", error.text);
            chain_close(&disk->chain);
        }
    }
    return status;
}

static int32_t open_volume(struct share_disk *disk, struct sluice_call *call,
                           const struct sluice_data_open *args) {
    struct share_pool *pool = disk->pool;
    struct volume volume;
    int32_t status = volume_load(pool, call, &args->volume, &volume);
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t generation = volume.meta.active;
    status = args->epoch < volume.meta.epoch ? enter_epoch(pool, call, args, &volume.meta)
                                             : check_others(pool, call, args);
    if (status == SLUICE_OK) {
        status = open_images(disk, call, args, &volume.meta);
    }
    volume_release(&volume);
    if (status != SLUICE_OK) {
        return status;
    }
    /* Who was fenced off may have changed the record until then. */
    status = volume_load(pool, call, &args->volume, &volume);
    if (status == SLUICE_OK) {
        status = volume.meta.active != generation
                     ? share_fail(pool, call, SLUICE_BUSY, "the volume was being changed")
                     : enter_epoch(pool, call, args, &volume.meta);
        disk->size_bytes = volume.meta.size_bytes;
        volume_release(&volume);
    }
    if (status != SLUICE_OK) {
        chain_close(&disk->chain);
    }
    return status;
}

static int32_t open_snapshot(struct share_disk *disk, struct sluice_call *call,
                             const struct sluice_data_open *args) {
    struct share_pool *pool = disk->pool;
    struct volume_meta meta;
    int32_t status = volume_load_meta(pool, call, &args->volume, &meta);
    if (status != SLUICE_OK) {
        return status;
    }
    const struct snapshot_meta *snapshot = volume_meta_snapshot(&meta, &args->snapshot);
    if (snapshot == NULL) {
        status = share_fail(pool, call, SLUICE_NOT_FOUND, "no such snapshot of the volume");
    } else {
        const struct chain_link top = {args->volume, snapshot->generation, snapshot->format};
        disk->size_bytes = snapshot->size_bytes;
        status = chain_open(pool, call, &top, NULL, false, &disk->chain);
    }
    volume_meta_release(&meta);
    return status;
}

static void enter_list(struct share_disk *disk) {
    disk->raw = image_format(top_of(disk)) == IMAGE_FORMAT_RAW;
    note_links(disk);
    pthread_mutex_lock(&disk->pool->lock);
    disk->next = disk->pool->disks;
    disk->pool->disks = disk;
    pthread_mutex_unlock(&disk->pool->lock);
}

/* The generation of a snapshot that is to be opened; 0: the active one, or none. */
static uint64_t generation_of(struct share_pool *pool, const struct sluice_data_open *args) {
    struct volume_meta meta;
    uint64_t generation = 0;
    if (uuid_is_zero(&args->snapshot) ||
        volume_meta_load(pool->fs, NULL, &args->volume, &meta) != SLUICE_OK) {
        return 0;
    }
    const struct snapshot_meta *snapshot = volume_meta_snapshot(&meta, &args->snapshot);
    if (snapshot != NULL) {
        generation = snapshot->generation;
    }
    volume_meta_release(&meta);
    return generation;
}

int32_t share_disk_open(struct share_pool *pool, struct sluice_call *call,
                        const struct sluice_data_open *args, struct share_disk **ret_disk) {
    struct index_locks locks;
    bool snapshot = !uuid_is_zero(&args->snapshot);
    if (snapshot && !args->read_only) {
        return share_fail(pool, call, SLUICE_INVALID, "a snapshot is never written");
    }
    int32_t status = share_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    struct share_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) {
        return share_fail(pool, call, SLUICE_NO_MEMORY, "no memory for a handle");
    }
    disk->pool = pool;
    disk->volume = args->volume;
    disk->snapshot = snapshot;
    disk->read_only = args->read_only != 0;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    status = index_lock_chain(&pool->index, &locks, &args->volume, generation_of(pool, args));
    if (status == SLUICE_OK) {
        status = snapshot ? open_snapshot(disk, call, args) : open_volume(disk, call, args);
        if (status == SLUICE_OK) {
            enter_list(disk);
        }
        index_unlock(&pool->index, &locks);
    }
    if (status != SLUICE_OK) {
        pthread_cond_destroy(&disk->changed);
        pthread_mutex_destroy(&disk->lock);
        free(disk);
        return status;
    }
    *ret_disk = disk;
    return SLUICE_OK;
}

void share_disk_close(struct share_disk *disk) {
    if (disk == NULL) {
        return;
    }
    struct share_pool *pool = disk->pool;
    pthread_mutex_lock(&pool->lock);
    struct share_disk **at = &pool->disks;
    while (*at != disk) {
        at = &(*at)->next;
    }
    *at = disk->next;
    while (disk->pins > 0) {
        pthread_cond_wait(&pool->unpinned, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    const struct chain_link top = disk->chain.links[0];
    chain_close(&disk->chain);
    merge_look(pool, &top.volume, top.generation); /* what waited for it */
    pthread_cond_destroy(&disk->changed);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}

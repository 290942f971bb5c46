/* SPDX-License-Identifier: Apache-2.0
 *
 * create.c: making volumes: from nothing, from a snapshot, from another volume.
 *
 * A clone is an overlay of the snapshot's image. A copy freezes its source first (a generation
 * without a name), unless nothing was written since it was frozen last, and is an overlay of that.
 * So neither depends on how much there is.
 */
#include <string.h>

#include "chain.h"
#include "state.h"
#include "step.h"

#define ALLOCATE_BYTES (UINT64_C(256) << 20) /* a millisecond or some, where nothing is written */

static int32_t check_request(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, uint32_t *ret_format) {
    const char *format = args->format != NULL ? args->format : "";
    *ret_format = format[0] != '\0' ? image_format_of_name(format) : pool->settings.format;
    if (args->name == NULL || strlen(args->name) >= SLUICE_NAME_MAX) {
        return share_fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    if (*ret_format == 0 || *ret_format == IMAGE_FORMAT_VHDX) {
        return share_fail(pool, call, SLUICE_UNSUPPORTED,
                          "the formats are raw and qcow2, there is no %.15s here", format);
    }
    if (pool->settings.preallocate && *ret_format != IMAGE_FORMAT_RAW) {
        return share_fail(pool, call, SLUICE_UNSUPPORTED,
                          "the pool preallocates, which goes with the format raw only");
    }
    if (args->size_bytes == 0 || args->size_bytes % SHARE_SIZE_STEP != 0) {
        return share_fail(pool, call, SLUICE_INVALID, "%llu bytes are no multiple of %llu",
                          (unsigned long long)args->size_bytes,
                          (unsigned long long)SHARE_SIZE_STEP);
    }
    if (args->size_bytes > IMAGE_SIZE_MAX || args->size_bytes > pool->settings.size_max) {
        return share_fail(pool, call, SLUICE_LIMIT, "%llu bytes are more than a volume can have",
                          (unsigned long long)args->size_bytes);
    }
    if (args->source_kind > SLUICE_SOURCE_VOLUME) {
        return share_fail(pool, call, SLUICE_INVALID, "an unknown kind of source");
    }
    return SLUICE_OK;
}

static bool same_request(const struct volume_meta *meta, const struct sluice_volume_create *args) {
    return meta->created_bytes == args->size_bytes && strcmp(meta->name, args->name) == 0 &&
           meta->source_kind == args->source_kind && meta->adopted[0] == '\0' &&
           (args->source_kind == SLUICE_SOURCE_NONE ||
            uuid_compare(&meta->source, &args->source) == 0);
}

/* ---- what the new volume lies on ------------------------------------------------------------ */

static int32_t check_source_size(struct share_pool *pool, struct sluice_call *call,
                                 uint64_t source_bytes, const struct sluice_volume_create *args) {
    return source_bytes <= args->size_bytes
               ? SLUICE_OK
               : share_fail(pool, call, SLUICE_INVALID,
                            "the source has %llu bytes, the volume only %llu",
                            (unsigned long long)source_bytes, (unsigned long long)args->size_bytes);
}

static int32_t find_snapshot(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct overlay *overlay) {
    struct volume_meta meta;
    int32_t status = volume_load_meta(pool, call, &args->source_volume, &meta);
    if (status != SLUICE_OK) {
        return status;
    }
    const struct snapshot_meta *snapshot = volume_meta_snapshot(&meta, &args->source);
    if (snapshot == NULL) {
        status = share_fail(pool, call, SLUICE_NOT_FOUND, "no such snapshot of the volume");
    } else {
        status = check_source_size(pool, call, snapshot->size_bytes, args);
        overlay->parent_volume = args->source_volume;
        overlay->parent_generation = snapshot->generation;
        overlay->parent_format = snapshot->format;
    }
    volume_meta_release(&meta);
    return status;
}

/* Nothing was written since the image was laid over its parent, which has the same size: so the
 * parent is as good. */
static int32_t is_untouched(struct share_pool *pool, struct sluice_call *call,
                            const struct volume_meta *meta, struct chain_link *ret_parent,
                            bool *ret_untouched) {
    struct chain chain;
    const struct chain_link top = {meta->id, meta->active, meta->format};
    *ret_untouched = false;
    int32_t status = chain_open(pool, call, &top, NULL, false, &chain);
    if (status != SLUICE_OK) {
        return status;
    }
    struct image *image = chain.images[0];
    uint64_t size = image_size(image);
    bool untouched =
        chain.count > 1 && size == meta->size_bytes && image_size(chain.images[1]) == size;
    for (uint64_t at = 0; status == SLUICE_OK && untouched && at < size;) {
        struct image_run run;
        status = image_extent(image, at, size - at, 0, &run);
        if (status == SLUICE_OK) {
            untouched = run.kind == 0 && run.length > 0;
            at += run.length;
        }
    }
    if (status == SLUICE_OK && untouched) {
        *ret_parent = chain.links[1];
        *ret_untouched = true;
    } else if (status != SLUICE_OK) {
        share_fail(pool, call, status, "cannot read the source");
    }
    chain_close(&chain);
    return status;
}

static int32_t freeze_source(struct share_pool *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct overlay *overlay) {
    struct volume source;
    struct chain_link parent;
    bool untouched = false;
    int32_t status = volume_load(pool, call, &args->source, &source);
    if (status != SLUICE_OK) {
        return status;
    }
    status = check_source_size(pool, call, source.meta.size_bytes, args);
    if (status == SLUICE_OK) {
        status = volume_check_idle(pool, call, &source, true);
    }
    if (status == SLUICE_OK) {
        status = is_untouched(pool, call, &source.meta, &parent, &untouched);
    }
    if (status == SLUICE_OK && !untouched) {
        parent = (struct chain_link){source.meta.id, source.meta.active, source.meta.format};
        status = volume_freeze(pool, call, &source.meta, NULL);
    }
    if (status == SLUICE_OK) {
        overlay->parent_volume = parent.volume;
        overlay->parent_generation = parent.generation;
        overlay->parent_format = parent.format;
    }
    volume_release(&source);
    return status;
}

static int32_t find_source(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_volume_create *args, struct overlay *overlay) {
    int32_t status = SLUICE_OK;
    if (args->source_kind == SLUICE_SOURCE_SNAPSHOT) {
        status = find_snapshot(pool, call, args, overlay);
    } else if (args->source_kind == SLUICE_SOURCE_VOLUME) {
        status = freeze_source(pool, call, args, overlay);
    }
    if (status == SLUICE_OK && args->source_kind != SLUICE_SOURCE_NONE) {
        overlay->format = IMAGE_FORMAT_QCOW2;
        status =
            volume_check_depth(pool, call, &overlay->parent_volume, overlay->parent_generation);
    }
    return status;
}

/* ---- taking space --------------------------------------------------------------------------- */

/* A preallocated file grows as its space is taken, so its length says how far this has come. */
static int32_t allocate(struct share_pool *pool, struct sluice_call *call, const char *path,
                        uint64_t size_bytes) {
    struct image_file *file;
    uint64_t done = 0;
    int32_t status = FS(pool, open, call, path, SHARE_OPEN_WRITE, &file);
    if (status == SLUICE_NOT_FOUND) {
        status = FS(pool, open, call, path, SHARE_OPEN_WRITE | SHARE_OPEN_CREATE, &file);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot make %s", path);
    }
    uint64_t until = merge_now_ns() + step_slice_ns();
    status = file->ops->size(file, &done);
    while (status == SLUICE_OK && done < size_bytes) {
        uint64_t left = size_bytes - done;
        uint64_t length = left < ALLOCATE_BYTES ? left : ALLOCATE_BYTES;
        status = FS(pool, allocate, call, file, done, length);
        done += length;
        if (status == SLUICE_OK && done < size_bytes && merge_now_ns() >= until) {
            pool->services->progress(pool->services, call, done, size_bytes);
            status = SLUICE_PENDING;
        }
    }
    if (status == SLUICE_OK) {
        status = done == size_bytes ? SLUICE_OK : file->ops->resize(file, size_bytes);
    }
    if (status == SLUICE_OK) {
        status = file->ops->flush(file);
    }
    file->ops->close(file);
    return status == SLUICE_OK || status == SLUICE_PENDING
               ? status
               : share_fail(pool, call, status, "cannot take the space of %llu bytes",
                            (unsigned long long)size_bytes);
}

static bool wants_space(const struct share_pool *pool, const struct overlay *overlay) {
    return pool->settings.preallocate && overlay->parent_generation == 0 &&
           pool->fs->ops->allocate != NULL;
}

/* ---- create --------------------------------------------------------------------------------- */

static int32_t publish(struct share_pool *pool, struct sluice_call *call,
                       const struct sluice_volume_create *args, const struct overlay *overlay) {
    struct volume_meta meta = {
        .id = args->volume,
        .size_bytes = args->size_bytes,
        .created_bytes = args->size_bytes,
        .source_kind = args->source_kind,
        .next = 1,
    };
    memcpy(meta.name, args->name, strlen(args->name) + 1); /* check_request measured it */
    if (args->source_kind != SLUICE_SOURCE_NONE) {
        meta.source = args->source;
    }
    int32_t status = volume_prepare(pool, call, &meta, overlay);
    if (status != SLUICE_OK) {
        return status;
    }
    const struct volume_meta before = meta;
    meta.active = overlay->generation;
    meta.next = overlay->generation + 1;
    meta.format = overlay->format;
    status = volume_store(pool, call, &meta);
    STEP(create_published);
    if (status != SLUICE_OK) {
        volume_take_back(pool, &before, overlay);
        return status;
    }
    volume_follow(pool, &meta);
    merge_look(pool, &meta.id, meta.active);
    return SLUICE_OK;
}

static int32_t make(struct share_pool *pool, struct sluice_call *call,
                    const struct sluice_volume_create *args, uint32_t format) {
    char path[SHARE_PATH_MAX];
    struct overlay overlay = {.generation = 1, .format = format, .size_bytes = args->size_bytes};
    int32_t status = find_source(pool, call, args, &overlay);
    if (status != SLUICE_OK) {
        return status;
    }
    status = pool_reserve(pool, call, args->size_bytes);
    if (status != SLUICE_OK) {
        return status;
    }
    layout_volume(&args->volume, path);
    status = FS(pool, make_directory, call, path);
    STEP(directory_made);
    if (status != SLUICE_OK) {
        share_fail(pool, call, status, "cannot make the directory %s", path);
    } else if (wants_space(pool, &overlay)) {
        layout_image(&args->volume, 1, format, path);
        status = allocate(pool, call, path, args->size_bytes);
        overlay.made = true;
    }
    if (status == SLUICE_OK) {
        status = publish(pool, call, args, &overlay);
    }
    if (status != SLUICE_OK) {
        pool_unreserve(pool, args->size_bytes);
    }
    return status;
}

int32_t volume_check_unused(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *id) {
    struct volume_meta meta;
    int32_t status = volume_meta_load(pool->fs, call, id, &meta);
    if (status == SLUICE_OK) {
        status = volume_sweep(pool, call, id);
        volume_meta_release(&meta);
    }
    if (status == SLUICE_OK) {
        status = volume_meta_load(pool->fs, call, id, &meta);
    }
    if (status == SLUICE_OK) {
        volume_meta_release(&meta);
        status = share_fail(pool, call, SLUICE_EXISTS,
                            "a volume of this id was deleted, but snapshots or clones of it are "
                            "there");
    }
    return status == SLUICE_NOT_FOUND ? SLUICE_OK : status;
}

static int32_t create(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_volume_create *args, uint32_t format,
                      struct volume *ret_volume) {
    int32_t status = volume_load(pool, NULL, &args->volume, ret_volume);
    if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        status = volume_load(pool, call, &args->volume, ret_volume); /* again, to say why */
    }
    if (status == SLUICE_OK && !same_request(&ret_volume->meta, args)) {
        volume_release(ret_volume);
        return share_fail(pool, call, SLUICE_EXISTS,
                          "the volume exists with another name, size or source");
    }
    if (status != SLUICE_NOT_FOUND) {
        return status;
    }
    status = volume_check_unused(pool, call, &args->volume);
    if (status == SLUICE_OK) {
        status = make(pool, call, args, format);
    }
    if (status == SLUICE_OK) {
        return volume_load(pool, call, &args->volume, ret_volume);
    }
    if (status != SLUICE_PENDING) {
        volume_sweep(pool, NULL, &args->volume); /* what failed leaves nothing */
    }
    return status;
}

int32_t share_volume_create(void *argument, struct sluice_call *call,
                            const struct sluice_volume_create *args, struct sluice_volume *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct volume volume;
    uint32_t format;
    const struct sluice_uuid alone[] = {args->volume, args->source};
    bool copies = args->source_kind == SLUICE_SOURCE_VOLUME;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = check_request(pool, call, args, &format);
    }
    if (status == SLUICE_OK) {
        status =
            index_lock(&pool->index, &locks, alone, copies ? 2 : 1,
                       args->source_kind == SLUICE_SOURCE_SNAPSHOT ? &args->source_volume : NULL);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = create(pool, call, args, format, &volume);
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_release(&volume);
    } else if (status == SLUICE_PENDING) {
        ret->retry_after_ms = args->source_kind != SLUICE_SOURCE_NONE ? MERGE_RETRY_MS : 0;
    }
    index_unlock(&pool->index, &locks);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.c: volumes and their images, as all control calls use them; see state.h.
 */
#include <string.h>

#include "chain.h"
#include "push.h"
#include "state.h"
#include "step.h"

/* ---- records -------------------------------------------------------------------------------- */

static int32_t not_found(struct share_pool *pool, struct sluice_call *call) {
    int32_t status = share_check(pool, call);
    return status != SLUICE_OK
               ? status
               : share_fail(pool, call, SLUICE_NOT_FOUND, "no such volume on the share");
}

int32_t volume_load_meta(struct share_pool *pool, struct sluice_call *call,
                         const struct sluice_uuid *id, struct volume_meta *ret_meta) {
    int32_t status = volume_meta_load(pool->fs, call, id, ret_meta);
    if (status == SLUICE_NOT_FOUND) {
        return not_found(pool, call);
    }
    if (status == SLUICE_CORRUPT) {
        return share_fail(pool, call, status,
                          "the volume's record is damaged: open the pool again to have it written "
                          "from the manifests, or delete the volume");
    }
    return status == SLUICE_OK ? status
                               : share_fail(pool, call, status, "cannot read the volume's record");
}

int32_t volume_load(struct share_pool *pool, struct sluice_call *call, const struct sluice_uuid *id,
                    struct volume *ret_volume) {
    char path[SHARE_PATH_MAX];
    struct share_stat image;
    struct volume volume;
    int32_t status = volume_load_meta(pool, call, id, &volume.meta);
    if (status != SLUICE_OK) {
        return status;
    }
    if (volume.meta.active == 0) {
        volume_release(&volume);
        return not_found(pool, call);
    }
    layout_image(id, volume.meta.active, volume.meta.format, path);
    status = FS(pool, stat, call, path, &image);
    if (status == SLUICE_NOT_FOUND && volume.meta.moving) {
        status = not_found(pool, call);
    } else if (status == SLUICE_NOT_FOUND) {
        status = share_check(pool, call);
        if (status == SLUICE_OK) {
            status = share_fail(pool, call, SLUICE_CORRUPT, "the image %s is missing", path);
        }
    } else if (status != SLUICE_OK) {
        share_fail(pool, call, status, "cannot read %s", path);
    }
    if (status != SLUICE_OK) {
        volume_release(&volume);
        return status;
    }
    volume_follow(pool, &volume.meta);
    volume.used_bytes = image.used_bytes;
    *ret_volume = volume;
    return SLUICE_OK;
}

uint64_t volume_size_known(struct share_pool *pool, const struct sluice_uuid *id) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *volume = index_find(&pool->index, id);
    uint64_t size = volume != NULL ? volume->size_bytes : 0;
    pthread_mutex_unlock(&pool->index.lock);
    return size;
}

bool volume_is_damaged(struct share_pool *pool, const struct sluice_uuid *id) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *volume = index_find(&pool->index, id);
    bool damaged = volume != NULL && volume->damaged;
    pthread_mutex_unlock(&pool->index.lock);
    return damaged;
}

void volume_release(struct volume *volume) {
    volume_meta_release(&volume->meta);
}

static bool says_the_same(const struct volume_meta *a, const struct volume_meta *b) {
    for (uint32_t i = 0; i < a->snapshot_count && i < b->snapshot_count; i++) {
        if (a->snapshots[i].generation != b->snapshots[i].generation) {
            return false;
        }
    }
    return a->active == b->active && a->next == b->next && a->size_bytes == b->size_bytes &&
           a->moving == b->moving && a->epoch == b->epoch &&
           a->snapshot_count == b->snapshot_count && uuid_compare(&a->reverted, &b->reverted) == 0;
}

int32_t volume_store(struct share_pool *pool, struct sluice_call *call,
                     const struct volume_meta *meta) {
    int32_t status = volume_meta_store(pool->fs, call, meta);
    if (status == SLUICE_OK) {
        return status;
    }
    /* It may have happened all the same: an answer can be lost, or the last flush fail. */
    struct volume_meta there;
    bool happened = false;
    if (volume_meta_load(pool->fs, NULL, &meta->id, &there) == SLUICE_OK) {
        happened = says_the_same(&there, meta);
        volume_meta_release(&there);
    }
    return happened ? SLUICE_OK
                    : share_fail(pool, call, status, "cannot write the volume's record");
}

void volume_follow(struct share_pool *pool, const struct volume_meta *meta) {
    bool due = false;
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *volume = index_find(&pool->index, &meta->id);
    for (struct index_image *image = volume != NULL ? volume->images : NULL; image != NULL;
         image = image->next) {
        image->active = image->generation == meta->active;
        image->named = false;
        for (uint32_t i = 0; i < meta->snapshot_count && !image->named; i++) {
            image->named = meta->snapshots[i].generation == image->generation;
            image->snapshot = image->named ? meta->snapshots[i].id : image->snapshot;
        }
        if (merge_is_due(pool, image)) {
            index_make_due(&pool->index, image);
            due = true;
        }
    }
    if (volume != NULL) {
        volume->record = true;
        volume->there = meta->active != 0;
        volume->size_bytes = meta->active != 0 ? meta->size_bytes : 0;
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (due) {
        merger_wake(&pool->merger);
    }
}

void volume_tell(const struct volume *volume, struct sluice_volume *ret) {
    uint32_t size = ret->size;
    *ret = (struct sluice_volume){
        .size = size,
        .volume = volume->meta.id,
        .size_bytes = volume->meta.size_bytes,
        .used_bytes = volume->used_bytes,
    };
    memcpy(ret->name, volume->meta.name, sizeof ret->name);
    strncpy(ret->format, image_format_name(volume->meta.format), sizeof ret->format - 1);
}

int32_t volume_check_idle(struct share_pool *pool, struct sluice_call *call,
                          const struct volume *volume, bool for_writing) {
    char path[SHARE_PATH_MAX];
    if (disk_is_open(pool, &volume->meta.id, volume->meta.active, for_writing)) {
        return share_fail(pool, call, SLUICE_BUSY, "the volume is open for data calls");
    }
    layout_image(&volume->meta.id, volume->meta.active, volume->meta.format, path);
    if (pool->fs->ops->is_open_elsewhere != NULL &&
        FS(pool, is_open_elsewhere, path, for_writing) == 1) {
        return share_fail(
            pool, call, SLUICE_BUSY,
            "somebody else has the volume's file open: detach it from its host first");
    }
    return SLUICE_OK;
}

/* ---- images --------------------------------------------------------------------------------- */

static int32_t write_manifest(struct share_pool *pool, struct sluice_call *call,
                              const struct volume_meta *meta, const struct overlay *overlay) {
    struct manifest manifest = {
        .volume = meta->id,
        .generation = overlay->generation,
        .format = overlay->format,
        .size_bytes = overlay->size_bytes,
        .parent_volume = overlay->parent_volume,
        .parent_generation = overlay->parent_generation,
        .parent_format = overlay->parent_format,
    };
    memcpy(manifest.name, meta->name, sizeof manifest.name);
    int32_t status = manifest_store(pool->fs, call, &manifest);
    return status == SLUICE_OK ? status : share_fail(pool, call, status, "cannot write a manifest");
}

static int32_t create_image(struct share_pool *pool, struct sluice_call *call, const char *path,
                            const struct image_create *args) {
    struct image_file *file;
    struct image_error error = {{0}};
    int32_t status = FS(pool, remove, call, path); /* what a crash left under this name */
    if (status == SLUICE_OK || status == SLUICE_NOT_FOUND) {
        status = FS(pool, open, call, path, SHARE_OPEN_WRITE | SHARE_OPEN_CREATE, &file);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot make %s", path);
    }
    status = image_create(file, args, &error);
    file->ops->close(file);
    return status == SLUICE_OK
               ? status
               : share_fail(pool, call, status, "cannot make an image of %llu bytes%s%.300s",
                            (unsigned long long)args->size_bytes, error.text[0] != '\0' ? ": " : "",
                            error.text);
}

static int32_t make_image(struct share_pool *pool, struct sluice_call *call,
                          const struct volume_meta *meta, const struct overlay *overlay) {
    char path[SHARE_PATH_MAX];
    char parent[LAYOUT_PARENT];
    struct image_create args = {.format = overlay->format, .size_bytes = overlay->size_bytes};
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *there = index_image(&pool->index, &meta->id, overlay->generation);
    bool needed = there != NULL && index_is_needed(there);
    uint32_t format = there != NULL ? there->format : 0;
    pthread_mutex_unlock(&pool->index.lock);
    if (format != 0 && !needed) { /* of an attempt whose end nobody could tell */
        volume_remove_image(pool, call, &meta->id, overlay->generation, format);
    } else if (needed) {
        return share_fail(pool, call, SLUICE_CORRUPT,
                          "the volume's record says generation %llu comes next, but that is there",
                          (unsigned long long)overlay->generation);
    }
    if (overlay->parent_generation != 0) {
        layout_parent(&meta->id, &overlay->parent_volume, overlay->parent_generation,
                      overlay->parent_format, parent);
        args.parent_name = parent;
        args.parent_format = overlay->parent_format;
    }
    layout_image(&meta->id, overlay->generation, overlay->format, path);
    int32_t status = overlay->made ? SLUICE_OK : create_image(pool, call, path, &args);
    STEP(disk_made);
    if (status == SLUICE_OK) {
        status = write_manifest(pool, call, meta, overlay);
    }
    STEP(manifest_written);
    if (status != SLUICE_OK) {
        volume_remove_image(pool, NULL, &meta->id, overlay->generation, overlay->format);
    }
    return status;
}

int32_t volume_remove_image(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *volume, uint64_t generation,
                            uint32_t format) {
    char path[SHARE_PATH_MAX];
    int32_t status = disk_reopen_all(pool, call, volume, generation);
    if (status != SLUICE_OK) {
        return status;
    }
    layout_image(volume, generation, format, path);
    status = FS(pool, remove, call, path);
    STEP(image_removed);
    if (status == SLUICE_OK || status == SLUICE_NOT_FOUND) {
        layout_manifest(volume, generation, path);
        status = FS(pool, remove, call, path);
    }
    if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        return share_fail(pool, call, status, "cannot remove %s", path);
    }
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, volume, generation);
    bool due = false;
    if (image != NULL) {
        struct index_image *parent = image->parent;
        index_remove(&pool->index, image);
        if (parent != NULL && merge_is_due(pool, parent)) {
            index_make_due(&pool->index, parent);
            due = true;
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (due) {
        merger_wake(&pool->merger);
    }
    return SLUICE_OK;
}

int32_t volume_prepare(struct share_pool *pool, struct sluice_call *call,
                       const struct volume_meta *meta, const struct overlay *overlay) {
    int32_t status = make_image(pool, call, meta, overlay);
    if (status != SLUICE_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *volume = index_get(&pool->index, &meta->id);
    struct index_image *parent =
        overlay->parent_generation != 0
            ? index_image(&pool->index, &overlay->parent_volume, overlay->parent_generation)
            : NULL;
    bool entered =
        volume != NULL && index_add(volume, overlay->generation, overlay->format, parent) != NULL;
    pthread_mutex_unlock(&pool->index.lock);
    if (entered) {
        volume_activate(pool, &meta->id, overlay->generation);
        status = access_apply(pool, call, &meta->id, overlay->generation);
    } else {
        status = share_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another image");
    }
    if (status != SLUICE_OK) {
        volume_take_back(pool, meta, overlay);
    }
    return status;
}

void volume_activate(struct share_pool *pool, const struct sluice_uuid *volume,
                     uint64_t generation) {
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *of = index_find(&pool->index, volume);
    struct index_image *before = index_active(&pool->index, volume);
    struct index_image *image = index_image(&pool->index, volume, generation);
    if (before != NULL) {
        before->active = false;
    }
    if (image != NULL) {
        image->active = true;
    }
    if (of != NULL) {
        of->there = image != NULL;
    }
    pthread_mutex_unlock(&pool->index.lock);
}

void volume_take_back(struct share_pool *pool, const struct volume_meta *before,
                      const struct overlay *overlay) {
    struct volume_meta there;
    int32_t status = volume_meta_load(pool->fs, NULL, &before->id, &there);
    bool published = status == SLUICE_OK && there.active == overlay->generation;
    if (status == SLUICE_OK) {
        volume_meta_release(&there);
    }
    if (published || (status != SLUICE_OK && status != SLUICE_NOT_FOUND)) {
        return; /* it came true, or nobody can tell: whoever loads the record next sees it */
    }
    volume_activate(pool, &before->id, before->active);
    if (before->active != 0) {
        access_apply(pool, NULL, &before->id, before->active);
    }
    volume_remove_image(pool, NULL, &before->id, overlay->generation, overlay->format);
}

int32_t volume_check_depth(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *volume, uint64_t generation) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, volume, generation);
    uint32_t depth = index_depth(image);
    bool blocked = image != NULL && merge_is_blocked(image);
    bool damaged = false;
    for (const struct index_image *at = image; at != NULL; at = at->parent) {
        damaged = damaged || at->volume->damaged;
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (image == NULL) {
        return share_fail(pool, call, SLUICE_CORRUPT, "generation %llu is not there",
                          (unsigned long long)generation);
    }
    if (depth < pool->settings.chain_max) {
        return SLUICE_OK;
    }
    if (damaged) { /* it is left as it is: nobody would ever make the chain shorter */
        return share_fail(pool, call, SLUICE_CORRUPT,
                          "%u images lie above each other, no more are allowed, and they are not "
                          "flattened, because one of their volumes is damaged",
                          depth);
    }
    if (blocked) {
        return share_fail(pool, call, SLUICE_LIMIT,
                          "%u images lie above each other, no more are allowed, and what a host "
                          "opens by itself is not flattened: detach it, or delete snapshots",
                          depth);
    }
    merge_look(pool, volume, generation);
    return SLUICE_PENDING; /* it is being flattened */
}

/* ---- freezing ------------------------------------------------------------------------------- */

/* The manifest says which snapshot the image is, for the day when the record is lost. The record is
 * what counts, so nothing depends on this. */
static void note_snapshot(struct share_pool *pool, const struct volume_meta *meta,
                          const struct snapshot_meta *snapshot) {
    struct manifest manifest;
    if (manifest_load(pool->fs, NULL, &meta->id, snapshot->generation, &manifest) != SLUICE_OK) {
        return;
    }
    manifest.snapshot = snapshot->id;
    manifest.size_bytes = snapshot->size_bytes;
    memcpy(manifest.snapshot_name, snapshot->name, sizeof manifest.snapshot_name);
    manifest_store(pool->fs, NULL, &manifest);
}

static void enter_snapshot(struct share_pool *pool, const struct sluice_uuid *volume,
                           const struct snapshot_meta *snapshot) {
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, volume, snapshot->generation);
    if (image != NULL) {
        image->named = true;
        image->snapshot = snapshot->id;
    }
    pthread_mutex_unlock(&pool->index.lock);
}

int32_t volume_freeze(struct share_pool *pool, struct sluice_call *call, struct volume_meta *meta,
                      const struct snapshot_meta *snapshot) {
    const struct volume_meta before = *meta;
    const struct overlay overlay = {
        .generation = meta->next,
        .format = IMAGE_FORMAT_QCOW2,
        .size_bytes = meta->size_bytes,
        .parent_volume = meta->id,
        .parent_generation = meta->active,
        .parent_format = meta->format,
    };
    int32_t status = volume_check_depth(pool, call, &meta->id, meta->active);
    if (status == SLUICE_OK) {
        status = volume_settle_size(pool, call, meta);
    }
    if (status == SLUICE_OK && meta->moving) { /* adopted, and a crash came before its manifest */
        const struct overlay whole = {
            .generation = meta->active, .format = meta->format, .size_bytes = meta->size_bytes};
        status = write_manifest(pool, call, meta, &whole);
        meta->moving = false;
    }
    if (status == SLUICE_OK) {
        status = volume_prepare(pool, call, meta, &overlay);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    meta->active = meta->next++;
    meta->format = IMAGE_FORMAT_QCOW2;
    if (snapshot != NULL) {
        status = volume_meta_add(meta, snapshot);
    }
    if (status == SLUICE_OK) {
        status = volume_store(pool, call, meta);
    } else {
        share_fail(pool, call, status, "the volume has %d snapshots already", SHARE_SNAPSHOTS_MAX);
    }
    if (status != SLUICE_OK) {
        volume_take_back(pool, &before, &overlay);
        return status;
    }
    STEP(freeze_published);
    if (snapshot != NULL) {
        enter_snapshot(pool, &meta->id, snapshot);
        note_snapshot(pool, meta, snapshot);
    }
    merge_look(pool, &meta->id, meta->active);
    return SLUICE_OK;
}

static int32_t resize_image(struct share_pool *pool, struct sluice_call *call, struct image *image,
                            uint64_t size_bytes) {
    struct image_error error = {{0}};
    int32_t status =
        image_size(image) != size_bytes ? image_resize(image, size_bytes, &error) : SLUICE_OK;
    return status == SLUICE_OK
               ? status
               : share_fail(pool, call, status, "cannot resize the volume to %llu bytes%s%.300s",
                            (unsigned long long)size_bytes, error.text[0] != '\0' ? ": " : "",
                            error.text);
}

int32_t volume_settle_size(struct share_pool *pool, struct sluice_call *call,
                           const struct volume_meta *meta) {
    struct chain chain;
    struct chain *borrowed;
    const struct chain_link top = {meta->id, meta->active, meta->format};
    push_forget(pool, &meta->id, meta->active);
    struct share_disk *disk = disk_borrow(pool, &meta->id, meta->active, &borrowed);
    if (disk != NULL) {
        int32_t status = resize_image(pool, call, borrowed->images[0], meta->size_bytes);
        disk_give_back(disk);
        return status;
    }
    int32_t status = chain_open(pool, call, &top, NULL, true, &chain);
    if (status == SLUICE_OK) {
        status = resize_image(pool, call, chain.images[0], meta->size_bytes);
        chain_close(&chain);
    }
    return status;
}

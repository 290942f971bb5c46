/* SPDX-License-Identifier: Apache-2.0
 *
 * sweep.c: removing what nobody needs any more.
 *
 * Images go first, each before its manifest, then the other files that are ours, then the record,
 * then the directory: so at every moment what is left says what it was. A file whose name is none
 * of ours is never removed, and the directory stays with it.
 */
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "step.h"

#define FILES_MAX 4096 /* of one directory, at once; what is beyond goes at the next sweep */

/* An image of the volume that nobody needs. */
static bool find_unneeded(struct share_pool *pool, const struct sluice_uuid *id,
                          uint64_t *ret_generation, uint32_t *ret_format) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *volume = index_find(&pool->index, id);
    /* What cannot be understood may be needed. */
    const struct index_image *image = volume != NULL && !volume->damaged ? volume->images : NULL;
    while (image != NULL && index_is_needed(image)) {
        image = image->next;
    }
    if (image != NULL) {
        *ret_generation = image->generation;
        *ret_format = image->format;
    }
    pthread_mutex_unlock(&pool->index.lock);
    return image != NULL;
}

static bool has_images(struct share_pool *pool, const struct sluice_uuid *id) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *volume = index_find(&pool->index, id);
    bool has = volume != NULL && volume->images != NULL;
    pthread_mutex_unlock(&pool->index.lock);
    return has;
}

struct names {
    uint32_t count;
    char at[FILES_MAX][LAYOUT_NAME];
};

static bool keep_ours(void *argument, const char *name, bool directory) {
    struct names *names = argument;
    uint64_t generation;
    uint32_t format;
    if (!directory && strlen(name) < LAYOUT_NAME && strcmp(name, LAYOUT_VOLUME_META) != 0 &&
        (layout_is_image(name, &generation, &format) || layout_is_manifest(name, &generation) ||
         strcmp(name, LAYOUT_ACCESS_META) == 0 || layout_is_unfinished(name))) {
        memcpy(names->at[names->count++], name, strlen(name) + 1);
    }
    return names->count < FILES_MAX;
}

static int32_t remove_file(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *id, const char *name) {
    char path[SHARE_PATH_MAX];
    layout_file(id, name, path);
    int32_t status = FS(pool, remove, call, path);
    return status == SLUICE_OK || status == SLUICE_NOT_FOUND
               ? SLUICE_OK
               : share_fail(pool, call, status, "cannot remove %s", path);
}

/* All that is ours in the directory of a volume that has neither images nor a name, and then it. */
static int32_t remove_directory(struct share_pool *pool, struct sluice_call *call,
                                const struct sluice_uuid *id) {
    char path[SHARE_PATH_MAX];
    layout_volume(id, path);
    struct names *names = malloc(sizeof *names);
    if (names == NULL) {
        return share_fail(pool, call, SLUICE_NO_MEMORY, "no memory to list %s", path);
    }
    names->count = 0;
    int32_t status = FS(pool, list, call, path, keep_ours, names);
    if (status == SLUICE_NOT_FOUND) {
        free(names);
        return SLUICE_OK;
    }
    for (uint32_t i = 0; status == SLUICE_OK && i < names->count; i++) {
        status = remove_file(pool, call, id, names->at[i]);
    }
    free(names);
    STEP(delete_swept);
    if (status == SLUICE_OK) {
        status = remove_file(pool, call, id, LAYOUT_VOLUME_META);
    }
    if (status == SLUICE_OK) {
        status = FS(pool, remove_directory, call, path);
        /* BUSY: somebody put a file of his own there, which is not ours to remove. */
        status = status == SLUICE_NOT_FOUND || status == SLUICE_BUSY ? SLUICE_OK : status;
    }
    STEP(directory_removed);
    return status == SLUICE_OK ? status : share_fail(pool, call, status, "cannot remove %s", path);
}

/* The active image was moved out, or never in: the volume is not there. */
static int32_t settle_move(struct share_pool *pool, struct sluice_call *call,
                           struct volume_meta *meta) {
    char path[SHARE_PATH_MAX];
    struct share_stat image;
    layout_image(&meta->id, meta->active, meta->format, path);
    int32_t status = FS(pool, stat, call, path, &image);
    if (status == SLUICE_OK) {
        return status;
    }
    if (status != SLUICE_NOT_FOUND) {
        return share_fail(pool, call, status, "cannot look at %s", path);
    }
    meta->active = 0;
    meta->moving = false;
    status = volume_store(pool, call, meta);
    if (status == SLUICE_OK) {
        pool_unreserve(pool, volume_size_known(pool, &meta->id)); /* 0: it never was a volume */
    }
    return status;
}

int32_t volume_sweep(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *id) {
    struct volume_meta meta;
    uint64_t generation;
    uint32_t format;
    int32_t status = volume_meta_load(pool->fs, call, id, &meta);
    bool gone = status == SLUICE_NOT_FOUND;
    if (status == SLUICE_OK) {
        if (meta.active != 0 && meta.moving) {
            status = settle_move(pool, call, &meta);
        }
        gone = meta.active == 0 && meta.snapshot_count == 0;
        if (status == SLUICE_OK) {
            volume_follow(pool, &meta);
        }
        volume_meta_release(&meta);
    } else if (gone) {
        status = SLUICE_OK;
    } else {
        share_fail(pool, call, status, "cannot read the volume's record");
    }
    while (status == SLUICE_OK && find_unneeded(pool, id, &generation, &format)) {
        status = volume_remove_image(pool, call, id, generation, format);
    }
    if (status != SLUICE_OK || !gone || has_images(pool, id)) {
        return status;
    }
    status = remove_directory(pool, call, id);
    if (status == SLUICE_OK) {
        pthread_mutex_lock(&pool->index.lock);
        struct index_volume *volume = index_find(&pool->index, id);
        if (volume != NULL) {
            volume->record = false;
            volume->there = false;
            volume->damaged = false;
            volume->grants = 0;
        }
        pthread_mutex_unlock(&pool->index.lock);
    }
    return status;
}

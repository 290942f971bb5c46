/* SPDX-License-Identifier: Apache-2.0
 *
 * adopt.c: taking over an image that lies below the pool's directory, and letting go of one.
 *
 * A reference is a path relative to the pool's directory; its name says the format, as what the
 * bytes look like may be a stranger's choice: *.qcow2 is qcow2, everything else raw. Adopting
 * writes the volume's record, which says that the image is being moved, and then moves the file to
 * where the record says: that makes it a volume. Unmanaging pulls into the image what it has below,
 * and moves it to "unmanaged/<volume>.<format>": that ends the volume. The bytes are in one place
 * or the other at any time, and deleting a half-made adoption leaves them where they were. So
 * unmanaging and adopting again also is how something is put aside and taken back.
 */
#include <string.h>

#include "chain.h"
#include "state.h"
#include "step.h"

/* A name that leads to a file of the pool's owner and not to one of the driver's own. */
static bool is_reference(const char *reference) {
    size_t length = strlen(reference);
    return length > 0 && length < SHARE_PATH_MAX && reference[0] != '/' &&
           reference[length - 1] != '/' && strstr(reference, "//") == NULL &&
           strncmp(reference, "./", 2) != 0 && strncmp(reference, "../", 3) != 0 &&
           strstr(reference, "/./") == NULL && strstr(reference, "/../") == NULL &&
           strncmp(reference, LAYOUT_VOLUMES "/", sizeof LAYOUT_VOLUMES) != 0 &&
           strcmp(reference, LAYOUT_MARKER) != 0;
}

static uint32_t format_of(const char *reference) {
    static const char suffix[] = ".qcow2";
    size_t length = strlen(reference);
    bool qcow2 = length >= sizeof suffix - 1 &&
                 strcmp(reference + length - (sizeof suffix - 1), suffix) == 0;
    return qcow2 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
}

/* ---- adopt ---------------------------------------------------------------------------------- */

/* The size of the volume that a qcow2 file is, or why it cannot be one. */
static int32_t look_into(struct share_pool *pool, struct sluice_call *call, const char *reference,
                         uint64_t *ret_bytes) {
    struct image_file *file;
    struct image *image = NULL;
    struct image_error error = {{0}};
    int32_t status = FS(pool, open, call, reference, 0, &file);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot open the file");
    }
    status = image_open(file, IMAGE_FORMAT_QCOW2, IMAGE_OPEN_READ_ONLY, 0, &image, &error);
    if (status != SLUICE_OK) {
        share_fail(pool, call, status, "the file cannot be a volume: %.300s", error.text);
    } else if (image_parent_name(image, NULL) != NULL) {
        status = share_fail(pool, call, SLUICE_INVALID,
                            "the file has the backing file '%.200s'; run: qemu-img rebase -b '' on "
                            "it, so that it stands alone",
                            image_parent_name(image, NULL));
    } else if (image_size(image) == 0 || image_size(image) % SHARE_SIZE_STEP != 0) {
        status = share_fail(pool, call, SLUICE_INVALID,
                            "the image has %llu bytes, no multiple of 512; run: qemu-img resize",
                            (unsigned long long)image_size(image));
    } else {
        *ret_bytes = image_size(image);
    }
    image_close(image);
    file->ops->close(file);
    return status;
}

static int32_t check_file(struct share_pool *pool, struct sluice_call *call, const char *reference,
                          uint32_t format, uint64_t *ret_bytes) {
    struct share_stat file;
    int32_t status = FS(pool, stat, call, reference, &file);
    if (status == SLUICE_NOT_FOUND) {
        status = share_check(pool, call);
        return status != SLUICE_OK ? status
                                   : share_fail(pool, call, SLUICE_NOT_FOUND,
                                                "no such file below the pool's directory");
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot look at the file");
    }
    if (file.directory) {
        return share_fail(pool, call, SLUICE_INVALID, "it is a directory");
    }
    if (pool->fs->ops->check_adopt != NULL &&
        (status = FS(pool, check_adopt, call, reference)) != SLUICE_OK) {
        return share_fail(pool, call, status, "the file cannot be adopted");
    }
    if (file.links != 1) {
        return share_fail(pool, call, SLUICE_INVALID, "the file has %u names: remove the others",
                          file.links);
    }
    if (format == IMAGE_FORMAT_QCOW2) {
        return look_into(pool, call, reference, ret_bytes);
    }
    if (file.size_bytes == 0 || file.size_bytes % SHARE_SIZE_STEP != 0) {
        return share_fail(
            pool, call, SLUICE_INVALID,
            "the file has %llu bytes, no multiple of 512; run: truncate -s %%512 on it",
            (unsigned long long)file.size_bytes);
    }
    *ret_bytes = file.size_bytes;
    return SLUICE_OK;
}

/* The record says that the file is being moved, then it is. */
static int32_t move_in(struct share_pool *pool, struct sluice_call *call,
                       const struct volume_meta *meta, const char *reference) {
    char path[SHARE_PATH_MAX];
    layout_volume(&meta->id, path);
    int32_t status = FS(pool, let, call, reference, NULL, 0);
    if (status == SLUICE_OK) {
        status = FS(pool, make_directory, call, path);
    }
    STEP(directory_made);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot prepare the move of the file");
    }
    status = volume_store(pool, call, meta);
    STEP(adopt_recorded);
    if (status == SLUICE_OK) {
        layout_image(&meta->id, meta->active, meta->format, path);
        status = FS(pool, rename, call, reference, path);
        if (status != SLUICE_OK) {
            share_fail(pool, call, status, "cannot move the file into the volume");
        }
    }
    STEP(adopt_moved);
    return status;
}

/* It is a volume: what is left to say so. The record says `moving` until its manifest is there. */
static int32_t settle_in(struct share_pool *pool, struct sluice_call *call,
                         struct volume_meta *meta) {
    struct manifest manifest = {
        .volume = meta->id,
        .generation = meta->active,
        .format = meta->format,
        .size_bytes = meta->size_bytes,
    };
    memcpy(manifest.name, meta->name, sizeof manifest.name);
    int32_t status = manifest_store(pool->fs, call, &manifest);
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *volume = index_get(&pool->index, &meta->id);
    bool entered = index_image(&pool->index, &meta->id, meta->active) != NULL ||
                   (volume != NULL && index_add(volume, meta->active, meta->format, NULL) != NULL);
    pthread_mutex_unlock(&pool->index.lock);
    volume_follow(pool, meta);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot write a manifest");
    }
    meta->moving = false;
    status = volume_store(pool, call, meta);
    return entered ? status
                   : share_fail(pool, call, SLUICE_NO_MEMORY, "no memory for another image");
}

static int32_t adopt(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *id, const char *reference, const char *name) {
    struct volume_meta meta = {
        .id = *id, .active = 1, .next = 2, .moving = true, .format = format_of(reference)};
    memcpy(meta.adopted, reference, strlen(reference) + 1); /* share_volume_adopt measured both */
    memcpy(meta.name, name, strlen(name) + 1);
    int32_t status = volume_sweep(pool, call, id);
    if (status == SLUICE_OK) {
        status = volume_check_unused(pool, call, id);
    }
    if (status == SLUICE_OK) {
        status = check_file(pool, call, reference, meta.format, &meta.size_bytes);
    }
    if (status == SLUICE_OK) {
        status = pool_reserve(pool, call, meta.size_bytes);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    meta.created_bytes = meta.size_bytes;
    status = move_in(pool, call, &meta, reference);
    if (status == SLUICE_OK) {
        return settle_in(pool, call, &meta);
    }
    /* Where it was moved in all the same the volume is there, and asking again finds it. */
    struct volume there;
    if (volume_load(pool, NULL, id, &there) == SLUICE_OK) {
        volume_release(&there);
        return settle_in(pool, call, &meta) == SLUICE_OK ? SLUICE_OK : status;
    }
    pool_unreserve(pool, meta.size_bytes);
    volume_sweep(pool, NULL, id);
    return status;
}

static int32_t adopt_locked(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *id, const char *reference, const char *name,
                            struct volume *ret_volume) {
    int32_t status = volume_load(pool, NULL, id, ret_volume);
    if (status == SLUICE_OK) {
        if (strcmp(ret_volume->meta.adopted, reference) != 0 ||
            strcmp(ret_volume->meta.name, name) != 0) {
            status = share_fail(pool, call, SLUICE_EXISTS, "the volume exists and is another one");
        } else if (ret_volume->meta.moving) {
            status = settle_in(pool, call, &ret_volume->meta);
        }
        if (status != SLUICE_OK) {
            volume_release(ret_volume);
        }
        return status;
    }
    if (status != SLUICE_NOT_FOUND) {
        return volume_load(pool, call, id, ret_volume); /* again, to say why */
    }
    status = adopt(pool, call, id, reference, name);
    return status == SLUICE_OK ? volume_load(pool, call, id, ret_volume) : status;
}

int32_t share_volume_adopt(void *argument, struct sluice_call *call, const struct sluice_uuid *id,
                           const char *reference, const char *name, struct sluice_volume *ret) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct volume volume;
    if (reference == NULL || !is_reference(reference)) {
        return share_fail(
            pool, call, SLUICE_INVALID,
            "a reference is a path relative to the pool's directory, outside of " LAYOUT_VOLUMES
            "/, without . and ..");
    }
    if (name == NULL || strlen(name) >= SLUICE_NAME_MAX) {
        return share_fail(pool, call, SLUICE_LIMIT, "the name is longer than 255 bytes");
    }
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock(&pool->index, &locks, id, 1, NULL);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = adopt_locked(pool, call, id, reference, name, &volume);
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_release(&volume);
    }
    index_unlock(&pool->index, &locks);
    return status;
}

/* ---- unmanage ------------------------------------------------------------------------------- */

static int32_t move_out(struct share_pool *pool, struct sluice_call *call, struct volume_meta *meta,
                        const char *reference) {
    char path[SHARE_PATH_MAX];
    struct share_stat there;
    layout_image(&meta->id, meta->active, meta->format, path);
    int32_t status = FS(pool, make_directory, call, LAYOUT_UNMANAGED);
    STEP(directory_made);
    if (status == SLUICE_OK) {
        status = FS(pool, let, call, path, NULL, 0);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot prepare the move of the volume's image");
    }
    if (FS(pool, stat, NULL, reference, &there) != SLUICE_NOT_FOUND) {
        return share_fail(pool, call, SLUICE_EXISTS, "'%s' is there already: move it away",
                          reference);
    }
    meta->moving = true;
    status = volume_store(pool, call, meta);
    STEP(unmanage_recorded);
    if (status == SLUICE_OK) {
        status = FS(pool, rename, call, path, reference);
        if (status != SLUICE_OK) {
            share_fail(pool, call, status, "cannot move the volume's image out");
        }
    }
    STEP(unmanage_moved);
    return status;
}

static int32_t unmanage_locked(struct share_pool *pool, struct sluice_call *call,
                               struct volume *volume, const char *reference) {
    struct volume_meta *meta = &volume->meta;
    int32_t status = volume_check_idle(pool, call, volume, false);
    if (status == SLUICE_OK) {
        status = volume_settle_size(pool, call, meta);
    }
    if (status == SLUICE_OK) {
        status = merge_flatten(pool, call, &meta->id, meta->active);
    }
    if (status == SLUICE_OK) {
        status = move_out(pool, call, meta, reference);
    }
    return status == SLUICE_OK ? volume_sweep(pool, call, &meta->id) : status;
}

/* Were it a volume it would have been moved out already, perhaps just before a crash. */
static int32_t find_unmanaged(struct share_pool *pool, struct sluice_call *call,
                              const struct sluice_uuid *id, char *ret_path) {
    static const uint32_t formats[] = {IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2};
    struct share_stat there;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        layout_unmanaged(id, formats[i], ret_path);
        if (FS(pool, stat, call, ret_path, &there) == SLUICE_OK) {
            return volume_sweep(pool, call, id);
        }
    }
    return share_fail(pool, call, SLUICE_NOT_FOUND, "no such volume on the share");
}

int32_t share_volume_unmanage(void *argument, struct sluice_call *call,
                              const struct sluice_uuid *id, char *ret_reference) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct volume volume;
    char path[SHARE_PATH_MAX];
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock_chain(&pool->index, &locks, id, 0);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = volume_load(pool, NULL, id, &volume);
    if (status != SLUICE_OK && status != SLUICE_NOT_FOUND) {
        status = volume_load(pool, call, id, &volume); /* again, to say why */
    }
    if (status == SLUICE_OK) {
        layout_unmanaged(id, volume.meta.format, path);
        status = unmanage_locked(pool, call, &volume, path);
        volume_release(&volume);
    } else if (status == SLUICE_NOT_FOUND) {
        status = find_unmanaged(pool, call, id, path);
    }
    index_unlock(&pool->index, &locks);
    if (status == SLUICE_OK) {
        memcpy(ret_reference, path, strlen(path) + 1);
    }
    return status;
}

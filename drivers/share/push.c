/* SPDX-License-Identifier: Apache-2.0
 *
 * push.c: see push.h.
 */
#include "push.h"

#include <stdlib.h>
#include <string.h>

#include "step.h"

#define PUSH_BYTES (UINT64_C(1) << 20)       /* copied at once */
#define PUSH_ZERO_BYTES (UINT64_C(64) << 20) /* zeroed at once, where that means writing too */

struct push {
    struct chain_link image;
    struct chain_link child;
    struct chain_link heir; /* the child's only child */
    bool has_heir;
    uint64_t offset;
    uint64_t size;
    struct volume_meta meta; /* of the volume of both */
};

bool push_is_possible(const struct index_image *image) {
    const struct index_image *child = image->first_child;
    return image->children == 1 && !image->active && !image->named &&
           child->volume == image->volume && child->children <= 1;
}

void push_forget(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation) {
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, volume, generation);
    if (image != NULL && image->parent != NULL) {
        image->parent->pushed = 0;
    }
    pthread_mutex_unlock(&pool->index.lock);
}

static uint64_t used_bytes(struct share_pool *pool, const struct chain_link *link) {
    char path[SHARE_PATH_MAX];
    struct share_stat image;
    layout_image(&link->volume, link->generation, link->format, path);
    return FS(pool, stat, NULL, path, &image) == SLUICE_OK ? image.used_bytes : UINT64_MAX;
}

bool push_is_better(struct share_pool *pool, const struct chain_link *image,
                    const struct chain_link *child) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *at = index_image(&pool->index, &image->volume, image->generation);
    bool pushing = at != NULL && at->pushed > 0;
    bool pulling = at != NULL && at->merged > 0;
    pthread_mutex_unlock(&pool->index.lock);
    if (pushing || pulling) {
        return pushing;
    }
    uint64_t below = used_bytes(pool, image);
    return below != UINT64_MAX && used_bytes(pool, child) < below;
}

static struct chain_link link_of(const struct index_image *image) {
    return (struct chain_link){image->volume->id, image->generation, image->format};
}

/* Who is who, as the index says it now; false: there is nothing to push. */
static bool find(struct share_pool *pool, const struct chain_link *link, struct push *push) {
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, &link->volume, link->generation);
    bool can = image != NULL && push_is_possible(image) && !merge_is_blocked(image->first_child);
    if (can) {
        const struct index_image *child = image->first_child;
        push->image = link_of(image);
        push->child = link_of(child);
        push->has_heir = child->children == 1;
        push->heir = push->has_heir ? link_of(child->first_child) : push->child;
        push->offset = image->pushed;
        if (image->parent != NULL) {
            image->parent->pushed = 0; /* the image changes: what was pushed of it is old */
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    return can;
}

/* Somebody shows one of both by itself, or writes the child. */
static bool is_in_use(struct share_pool *pool, const struct push *push) {
    char path[SHARE_PATH_MAX];
    if (disk_is_open(pool, &push->image.volume, push->image.generation, false) ||
        disk_is_open(pool, &push->child.volume, push->child.generation, false)) {
        return true;
    }
    layout_image(&push->child.volume, push->child.generation, push->child.format, path);
    return push->meta.active == push->child.generation &&
           pool->fs->ops->is_open_elsewhere != NULL &&
           FS(pool, is_open_elsewhere, path, false) == 1;
}

/* ---- the bytes ------------------------------------------------------------------------------ */

/* One run of what the child holds; PENDING: more is to do. */
static int32_t turn(struct push *push, struct image *from, struct image *to, uint8_t *buffer) {
    struct image_run run;
    int32_t status = image_extent(from, push->offset, push->size - push->offset, 0, &run);
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t length = run.length;
    if (run.kind == IMAGE_RUN_ZERO) {
        length = length < PUSH_ZERO_BYTES ? length : PUSH_ZERO_BYTES;
        status = image_write_zeroes(to, push->offset, length);
    } else if (run.kind != 0) {
        length = length < PUSH_BYTES ? length : PUSH_BYTES;
        status = image_read(from, push->offset, buffer, (size_t)length);
        if (status == SLUICE_OK) {
            status = image_write(to, push->offset, buffer, (size_t)length);
        }
    }
    if (status != SLUICE_OK) {
        return status;
    }
    push->offset += length;
    return push->offset < push->size ? SLUICE_PENDING : SLUICE_OK;
}

/* Turns until the time is up; what of it counts is on stable storage. */
static int32_t copy(struct push *push, struct image *from, struct image *to, uint64_t slice_ns) {
    struct image_error error = {{0}};
    uint64_t until = merge_now_ns() + slice_ns;
    uint8_t *buffer = malloc(PUSH_BYTES);
    int32_t status = buffer != NULL ? SLUICE_PENDING : SLUICE_NO_MEMORY;
    if (status == SLUICE_PENDING && image_size(to) != push->size) {
        int32_t resized = image_resize(to, push->size, &error);
        status = resized == SLUICE_OK ? status : resized;
        STEP(push_resized);
    }
    if (status == SLUICE_PENDING && push->offset >= push->size) {
        status = SLUICE_OK;
    }
    while (status == SLUICE_PENDING) {
        status = turn(push, from, to, buffer);
        if (merge_now_ns() >= until) {
            break;
        }
    }
    free(buffer);
    if (status == SLUICE_OK || status == SLUICE_PENDING) {
        int32_t flushed = image_flush(to);
        status = flushed == SLUICE_OK ? status : flushed;
    }
    return status;
}

/* The manifest is no snapshot's any more while the image is neither the one nor the other: should
 * the record be lost, nobody takes it for one. `last`: now it is what the child is. */
static int32_t note_manifest(struct share_pool *pool, struct sluice_call *call,
                             const struct push *push, bool last) {
    struct manifest manifest;
    struct manifest child = {.generation = 0};
    int32_t status =
        manifest_load(pool->fs, call, &push->image.volume, push->image.generation, &manifest);
    if (status == SLUICE_OK && last) {
        status = manifest_load(pool->fs, call, &push->child.volume, push->child.generation, &child);
    }
    if (status == SLUICE_OK) {
        manifest.size_bytes = last ? child.size_bytes : manifest.size_bytes;
        manifest.snapshot = child.snapshot;
        memcpy(manifest.snapshot_name, child.snapshot_name, sizeof manifest.snapshot_name);
        status = manifest_store(pool->fs, call, &manifest);
        STEP(push_manifest_written);
    }
    return status == SLUICE_OK
               ? status
               : share_fail(pool, call, status, "cannot write the manifest of a merged image");
}

/* *ret_pull: the child lies on another image already, or on one of larger clusters. */
static int32_t push_bytes(struct share_pool *pool, struct sluice_call *call, struct push *push,
                          uint64_t slice_ns, bool *ret_pull) {
    struct chain above;
    struct chain below = {.count = 0};
    int32_t status = chain_open(pool, call, &push->child, NULL, false, &above);
    if (status != SLUICE_OK) {
        return status;
    }
    bool on_it = above.count > 1 && above.links[1].generation == push->image.generation &&
                 uuid_compare(&above.links[1].volume, &push->image.volume) == 0;
    if (!on_it ||
        image_cluster_bytes(above.images[0]) % image_cluster_bytes(above.images[1]) != 0) {
        *ret_pull = true;
        goto out;
    }
    push->size = image_size(above.images[0]);
    if (push->meta.active == push->child.generation && push->size != push->meta.size_bytes) {
        /* A resize that did not end, or a host wrote another size: the record is what counts. */
        push->offset = 0;
        status = volume_settle_size(pool, call, &push->meta);
        status = status == SLUICE_OK ? SLUICE_PENDING : status;
        goto out;
    }
    if (push->offset == 0) {
        status = note_manifest(pool, call, push, false);
    }
    if (status == SLUICE_OK) {
        status = chain_open(pool, call, &push->image, NULL, true, &below);
    }
    if (status == SLUICE_OK) {
        status = copy(push, above.images[0], below.images[0], slice_ns);
        if (status != SLUICE_OK && status != SLUICE_PENDING) {
            share_fail(pool, call, status, "cannot push an image down into the one below");
        }
        STEP(push_slice_done);
    }
out:
    chain_close(&below);
    chain_close(&above);
    return status;
}

/* ---- the places ----------------------------------------------------------------------------- */

/* The step: the record says the image where it said the child. */
static int32_t publish(struct share_pool *pool, struct sluice_call *call, struct push *push) {
    bool says = false;
    if (push->meta.active == push->child.generation) {
        push->meta.active = push->image.generation;
        push->meta.format = push->image.format;
        says = true;
    }
    for (uint32_t i = 0; i < push->meta.snapshot_count; i++) {
        struct snapshot_meta *snapshot = &push->meta.snapshots[i];
        if (snapshot->generation == push->child.generation) {
            snapshot->generation = push->image.generation;
            snapshot->format = push->image.format;
            says = true;
        }
    }
    if (!says) {
        return SLUICE_OK;
    }
    int32_t status = volume_store(pool, call, &push->meta);
    STEP(push_published);
    if (status == SLUICE_OK) {
        volume_follow(pool, &push->meta);
    }
    return status;
}

/* The child's own child lies on the image from now on. */
static int32_t hand_over(struct share_pool *pool, struct sluice_call *call,
                         const struct push *push) {
    struct chain own;
    struct chain *chain;
    int32_t status;
    struct share_disk *disk = disk_borrow(pool, &push->heir.volume, push->heir.generation, &chain);
    if (disk != NULL) {
        status = chain_take_parent(pool, call, &push->image, chain);
        disk_give_back(disk);
    } else {
        status = chain_open(pool, call, &push->heir, NULL, true, &own);
        if (status == SLUICE_OK) {
            status = chain_take_parent(pool, call, &push->image, &own);
            chain_close(&own);
        }
    }
    STEP(push_parent_set);
    if (status == SLUICE_OK) {
        status = merge_note_parent(pool, call, &push->heir, &push->image);
    }
    if (status == SLUICE_OK) {
        pthread_mutex_lock(&pool->index.lock);
        index_set_parent(index_image(&pool->index, &push->heir.volume, push->heir.generation),
                         index_image(&pool->index, &push->image.volume, push->image.generation));
        pthread_mutex_unlock(&pool->index.lock);
    }
    return status;
}

static int32_t finish(struct share_pool *pool, struct sluice_call *call, struct push *push) {
    int32_t status = note_manifest(pool, call, push, true);
    if (status == SLUICE_OK) {
        status = publish(pool, call, push);
    }
    if (status == SLUICE_OK && push->has_heir) {
        status = hand_over(pool, call, push);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image =
        index_image(&pool->index, &push->image.volume, push->image.generation);
    const struct index_image *child =
        index_image(&pool->index, &push->child.volume, push->child.generation);
    image->snapshot = child->snapshot;
    image->pushed = 0;
    pthread_mutex_unlock(&pool->index.lock);
    status = volume_sweep(pool, call, &push->image.volume);
    if (status == SLUICE_OK) {
        status = access_apply(pool, call, &push->image.volume, push->image.generation);
    }
    merge_look(pool, &push->heir.volume, push->heir.generation);
    merge_look(pool, &push->image.volume, push->image.generation);
    return status;
}

static int32_t work(struct share_pool *pool, struct sluice_call *call, struct push *push,
                    uint64_t slice_ns, bool *ret_pull) {
    int32_t status = push_bytes(pool, call, push, slice_ns, ret_pull);
    if (*ret_pull) {
        return status;
    }
    bool whole = status == SLUICE_OK || status == SLUICE_PENDING;
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image =
        index_image(&pool->index, &push->image.volume, push->image.generation);
    image->pushed = whole ? push->offset : 0;
    pthread_mutex_unlock(&pool->index.lock);
    if (status == SLUICE_PENDING && call != NULL) {
        pool->services->progress(pool->services, call, push->offset, push->size);
    }
    return status == SLUICE_OK ? finish(pool, call, push) : status;
}

int32_t push_slice(struct share_pool *pool, struct sluice_call *call,
                   const struct chain_link *image, uint64_t slice_ns, bool *ret_pull) {
    struct push push = {.offset = 0};
    *ret_pull = false;
    /* A store whose answer was lost may have made it true: the record says what is active now. */
    int32_t status = volume_load_meta(pool, call, &image->volume, &push.meta);
    if (status != SLUICE_OK) {
        return status;
    }
    volume_follow(pool, &push.meta);
    if (find(pool, image, &push) && !push.meta.moving && !is_in_use(pool, &push)) {
        status = work(pool, call, &push, slice_ns, ret_pull);
    }
    volume_meta_release(&push.meta);
    return status;
}

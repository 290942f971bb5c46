/* SPDX-License-Identifier: Apache-2.0
 *
 * merge.c: see merge.h.
 */
#include "merge.h"

#include <stdio.h>
#include <time.h>

#include "chain.h"
#include "push.h"
#include "state.h"
#include "step.h"

/* How much one turn pulls: while a disk is borrowed for it, its data calls wait. */
#define PULL_BYTES (UINT64_C(1) << 20)
#define BACKGROUND_SLICE_NS UINT64_C(10000000)
#define REST_FACTOR 4 /* maintenance works for a fifth of the time at most */
#define GRACE_NS \
    UINT64_C(200000000) /* who asks for a deletion works on it himself, while he asks */
#define RETRY_NS UINT64_C(30000000000)

uint64_t merge_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* ---- what is due ---------------------------------------------------------------------------- */

static bool is_mergeable(const struct index_image *image) {
    return !image->active && !image->named && image->children == 1;
}

static bool is_too_deep(const struct share_pool *pool, const struct index_image *image) {
    return image->children == 0 && index_depth(image) * 4 > pool->settings.chain_max * 3 &&
           image->parent != NULL;
}

bool merge_is_due(const struct share_pool *pool, const struct index_image *image) {
    return !image->volume->damaged &&
           (!index_is_needed(image) || is_mergeable(image) || is_too_deep(pool, image));
}

void merge_look(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation) {
    bool due = false;
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, volume, generation);
    for (; image != NULL; image = image->parent) {
        if (merge_is_due(pool, image)) {
            index_make_due(&pool->index, image);
            due = true;
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (due) {
        merger_wake(&pool->merger);
    }
}

void merge_look_all(struct share_pool *pool) {
    pthread_mutex_lock(&pool->index.lock);
    for (uint32_t i = 0; i < INDEX_BUCKETS; i++) {
        for (struct index_volume *volume = pool->index.buckets[i]; volume != NULL;
             volume = volume->next) {
            for (struct index_image *image = volume->images; image != NULL; image = image->next) {
                if (merge_is_due(pool, image)) {
                    index_make_due(&pool->index, image);
                }
            }
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    merger_wake(&pool->merger);
}

bool merge_is_blocked(const struct index_image *image) {
    if (image->volume->grants > 0) {
        return true;
    }
    for (const struct index_image *child = image->first_child; child != NULL;
         child = child->next_child) {
        if (merge_is_blocked(child)) { /* a chain is at most chain_max long */
            return true;
        }
    }
    return false;
}

/* ---- pulling -------------------------------------------------------------------------------- */

struct pull {
    struct chain_link image;
    uint32_t depth; /* how many images below are pulled and then dropped */
    uint64_t offset;
    uint64_t size;
    const struct chain_link *from; /* the image that is merged; NULL: all that are below */
};

/* A crash came after the image had got its other parent and before its manifest said so. */
static bool is_cut_already(const struct chain *chain, const struct pull *pull) {
    return pull->from != NULL &&
           (chain->count < 2 || chain->links[1].generation != pull->from->generation ||
            uuid_compare(&chain->links[1].volume, &pull->from->volume) != 0);
}

/* One turn on the image's open chain; PENDING: more is to do. */
static int32_t turn(struct share_pool *pool, struct sluice_call *call, struct chain *chain,
                    struct pull *pull) {
    uint32_t below = chain->count - 1;
    uint32_t depth = pull->depth < below ? pull->depth : below;
    pull->size = image_size(chain->images[0]);
    if (depth == 0 || is_cut_already(chain, pull)) {
        return SLUICE_OK;
    }
    int32_t status = image_pull(chain->images[0], depth, pull->offset, PULL_BYTES, &pull->offset);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot pull what lies below into an image");
    }
    if (pull->offset < pull->size) {
        return SLUICE_PENDING;
    }
    status = image_flush(chain->images[0]);
    STEP(merge_pulled);
    if (status == SLUICE_OK) {
        status = chain_cut(pool, call, depth, chain);
    }
    STEP(merge_parent_set);
    return status;
}

/* What a host had for writing has the size that it wrote into its head: the record is what counts,
 * else a pull would fill the image up to there. */
static int32_t settle_top(struct share_pool *pool, struct sluice_call *call,
                          const struct chain_link *top, struct image *image) {
    struct volume_meta meta;
    struct image_error error = {{0}};
    int32_t status = volume_meta_load(pool->fs, call, &top->volume, &meta);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read the record of a volume");
    }
    if (meta.active == top->generation && meta.size_bytes != image_size(image)) {
        status = image_resize(image, meta.size_bytes, &error);
    }
    volume_meta_release(&meta);
    return status == SLUICE_OK ? status
                               : share_fail(pool, call, status,
                                            "cannot give an image its length: %.300s", error.text);
}

/* Turns until the time is up, through the disk that has the image open where there is one. */
static int32_t pull_slice(struct share_pool *pool, struct sluice_call *call, struct pull *pull,
                          uint64_t slice_ns) {
    uint64_t until = merge_now_ns() + slice_ns;
    struct chain own = {.count = 0};
    struct chain *chain;
    int32_t status = SLUICE_PENDING;
    do {
        struct share_disk *disk =
            own.count == 0 ? disk_borrow(pool, &pull->image.volume, pull->image.generation, &chain)
                           : NULL;
        if (disk != NULL) {
            status = turn(pool, call, chain, pull);
            disk_give_back(disk);
            continue;
        }
        if (own.count == 0) {
            status = chain_open(pool, call, &pull->image, NULL, true, &own);
            if (status == SLUICE_OK) {
                status = settle_top(pool, call, &pull->image, own.images[0]);
            }
        }
        if (status == SLUICE_OK || status == SLUICE_PENDING) {
            status = turn(pool, call, &own, pull);
        }
    } while (status == SLUICE_PENDING && merge_now_ns() < until);
    if (own.count > 0 && status == SLUICE_PENDING && image_flush(own.images[0]) != SLUICE_OK) {
        pull->offset = 0; /* what of it is there nobody knows, so all is looked at again */
    }
    chain_close(&own);
    if (status == SLUICE_PENDING && call != NULL) {
        pool->services->progress(pool->services, call, pull->offset, pull->size);
    }
    STEP(merge_slice_done);
    return status;
}

int32_t merge_note_parent(struct share_pool *pool, struct sluice_call *call,
                          const struct chain_link *image, const struct chain_link *parent) {
    struct manifest manifest;
    int32_t status = manifest_load(pool->fs, call, &image->volume, image->generation, &manifest);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read a manifest");
    }
    static const struct sluice_uuid none;
    manifest.parent_volume = parent != NULL ? parent->volume : none;
    manifest.parent_generation = parent != NULL ? parent->generation : 0;
    manifest.parent_format = parent != NULL ? parent->format : 0;
    status = manifest_store(pool->fs, call, &manifest);
    STEP(merge_manifest_written);
    return status == SLUICE_OK ? status : share_fail(pool, call, status, "cannot write a manifest");
}

static struct chain_link link_of(const struct index_image *image) {
    return (struct chain_link){image->volume->id, image->generation, image->format};
}

/* ---- merging an image into its only child --------------------------------------------------- */

/* After the pull: the records and the index follow, and the image goes. */
static int32_t finish_merge(struct share_pool *pool, struct sluice_call *call,
                            const struct chain_link *image, const struct chain_link *child,
                            const struct chain_link *parent) {
    int32_t status = merge_note_parent(pool, call, child, parent);
    if (status != SLUICE_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *lower =
        parent != NULL ? index_image(&pool->index, &parent->volume, parent->generation) : NULL;
    index_set_parent(index_image(&pool->index, &child->volume, child->generation), lower);
    pthread_mutex_unlock(&pool->index.lock);
    status = volume_sweep(pool, call, &image->volume);
    merge_look(pool, &child->volume, child->generation);
    return status;
}

/* Both volumes are locked alone. */
static int32_t merge(struct share_pool *pool, struct sluice_call *call,
                     const struct chain_link *link, uint64_t slice_ns) {
    struct chain_link child = {.generation = 0};
    struct chain_link parent;
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, &link->volume, link->generation);
    bool can = image != NULL && is_mergeable(image) && !merge_is_blocked(image->first_child);
    bool has_parent = can && image->parent != NULL;
    struct pull pull = {.depth = 1, .from = link};
    if (can) {
        child = link_of(image->first_child);
        parent = has_parent ? link_of(image->parent) : child;
        pull.image = child;
        pull.offset = image->merged;
    }
    bool pushable = can && push_is_possible(image);
    pthread_mutex_unlock(&pool->index.lock);
    if (!can) {
        return SLUICE_OK;
    }
    if (pushable && push_is_better(pool, link, &child)) {
        bool pulls;
        int32_t pushed = push_slice(pool, call, link, slice_ns, &pulls);
        if (!pulls) {
            return pushed;
        }
    }
    int32_t status = pull_slice(pool, call, &pull, slice_ns);
    pthread_mutex_lock(&pool->index.lock);
    image = index_image(&pool->index, &link->volume, link->generation);
    if (image != NULL) {
        image->merged = pull.offset;
    }
    pthread_mutex_unlock(&pool->index.lock);
    return status == SLUICE_OK ? finish_merge(pool, call, link, &child, has_parent ? &parent : NULL)
                               : status;
}

/* ---- flattening ----------------------------------------------------------------------------- */

int32_t merge_flatten(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_uuid *volume, uint64_t generation) {
    struct pull pull = {.depth = IMAGE_CHAIN_MAX};
    uint64_t below = 0;
    struct sluice_uuid below_volume;
    pthread_mutex_lock(&pool->index.lock);
    struct index_image *image = index_image(&pool->index, volume, generation);
    bool can = image != NULL && image->parent != NULL;
    if (can) {
        pull.image = link_of(image);
        pull.offset = image->flattened;
        below_volume = image->parent->volume->id;
        below = image->parent->generation;
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (!can) {
        return SLUICE_OK;
    }
    int32_t status = pull_slice(pool, call, &pull, step_slice_ns());
    if (status == SLUICE_OK) {
        status = merge_note_parent(pool, call, &pull.image, NULL);
    }
    pthread_mutex_lock(&pool->index.lock);
    image = index_image(&pool->index, volume, generation);
    if (image != NULL) {
        image->flattened = status == SLUICE_PENDING ? pull.offset : 0;
        if (status == SLUICE_OK) {
            index_set_parent(image, NULL);
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (status == SLUICE_OK) {
        merge_look(pool, &below_volume, below);
    }
    return status;
}

/* The image of a long chain that is worth to be made its bottom: what is above it then is half as
 * long as a chain may be, and what is below it costs least to copy. 0: none. */
static uint64_t find_bottom(struct share_pool *pool, const struct chain_link *top,
                            struct sluice_uuid *ret_volume) {
    uint64_t generation = 0;
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, &top->volume, top->generation);
    if (image != NULL && is_too_deep(pool, image)) {
        for (uint32_t above = 0;
             above < pool->settings.chain_max / 2 && image->parent->parent != NULL; above++) {
            image = image->parent;
        }
        if (!merge_is_blocked(image)) {
            *ret_volume = image->volume->id;
            generation = image->generation;
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    return generation;
}

static int32_t flatten(struct share_pool *pool, struct sluice_call *call,
                       const struct chain_link *top) {
    struct index_locks locks;
    struct sluice_uuid volume;
    uint64_t generation = find_bottom(pool, top, &volume);
    if (generation == 0) {
        return SLUICE_OK;
    }
    int32_t status = index_lock_chain(&pool->index, &locks, &volume, generation);
    if (status != SLUICE_OK) {
        return status;
    }
    status = merge_flatten(pool, call, &volume, generation);
    index_unlock(&pool->index, &locks);
    return status;
}

/* ---- a slice of anything -------------------------------------------------------------------- */

/* The volumes of what is merged with the image: its child's and, where the child may be pushed into
 * it, that of the child's child, which gets another parent. */
static void find_others(const struct index_image *image, struct sluice_uuid ret_others[2]) {
    const struct index_image *child = image->first_child;
    ret_others[0] = child->volume->id;
    ret_others[1] = push_is_possible(image) && child->first_child != NULL
                        ? child->first_child->volume->id
                        : child->volume->id;
}

int32_t merge_slice(struct share_pool *pool, struct sluice_call *call,
                    const struct sluice_uuid *volume, uint64_t generation, uint64_t slice_ns) {
    struct index_locks locks;
    struct sluice_uuid alone[3] = {*volume, *volume, *volume};
    struct chain_link link = {.volume = *volume, .generation = generation};
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, volume, generation);
    bool due = image != NULL && merge_is_due(pool, image);
    bool merges = due && is_mergeable(image);
    bool deep = due && !merges && index_is_needed(image);
    if (merges) {
        link = link_of(image);
        find_others(image, &alone[1]);
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (!due) {
        return SLUICE_OK;
    }
    if (deep) {
        return flatten(pool, call, &link);
    }
    int32_t status = index_lock(&pool->index, &locks, alone, 3, NULL);
    if (status != SLUICE_OK) {
        return status;
    }
    if (merges) {
        /* Others than those whose volumes are locked: the next slice finds them. */
        struct sluice_uuid others[2] = {*volume, *volume};
        pthread_mutex_lock(&pool->index.lock);
        image = index_image(&pool->index, volume, generation);
        bool same = image != NULL && is_mergeable(image);
        if (same) {
            find_others(image, others);
            same = uuid_compare(&others[0], &alone[1]) == 0 &&
                   uuid_compare(&others[1], &alone[2]) == 0;
        }
        pthread_mutex_unlock(&pool->index.lock);
        status = same ? merge(pool, call, &link, slice_ns) : SLUICE_OK;
    } else {
        status = volume_sweep(pool, call, volume);
    }
    index_unlock(&pool->index, &locks);
    return status;
}

/* ---- maintenance ---------------------------------------------------------------------------- */

void merger_init(struct merger *merger) {
    pthread_condattr_t attributes;
    *merger = (struct merger){.started = false};
    pthread_mutex_init(&merger->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&merger->work, &attributes);
    pthread_condattr_destroy(&attributes);
}

void merger_wake(struct merger *merger) {
    pthread_mutex_lock(&merger->lock);
    merger->woken = true;
    pthread_cond_signal(&merger->work);
    pthread_mutex_unlock(&merger->lock);
}

/* Until there is work (`for_work`), it is stopping, or the time has passed (0: no time). */
static bool wait_for(struct merger *merger, bool for_work, uint64_t ns) {
    uint64_t until = merge_now_ns() + ns;
    const struct timespec at = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
    pthread_mutex_lock(&merger->lock);
    bool passed = false;
    while (!merger->stopping && !passed && !(for_work && merger->woken)) {
        passed = ns > 0 ? pthread_cond_timedwait(&merger->work, &merger->lock, &at) != 0
                        : pthread_cond_wait(&merger->work, &merger->lock) != 0;
    }
    if (for_work) {
        merger->woken = false;
    }
    bool goes_on = !merger->stopping;
    pthread_mutex_unlock(&merger->lock);
    return goes_on;
}

static void warn(struct share_pool *pool, int32_t status) {
    char text[SLUICE_TEXT_MAX];
    snprintf(text, sizeof text,
             "an image that nobody needs cannot be merged or removed now (status %d); it is tried "
             "again in %u seconds",
             status, (unsigned)(RETRY_NS / 1000000000));
    pool->services->log(pool->services, SLUICE_LOG_WARNING, text);
}

/* Works on what is due; false: something failed. */
static bool work_off(struct share_pool *pool) {
    bool well = true;
    for (;;) {
        struct chain_link link;
        pthread_mutex_lock(&pool->index.lock);
        const struct index_image *image = index_take_due(&pool->index);
        if (image != NULL) {
            link = link_of(image);
        }
        pthread_mutex_unlock(&pool->index.lock);
        if (image == NULL) {
            return well;
        }
        uint64_t begun = merge_now_ns();
        int32_t status =
            merge_slice(pool, NULL, &link.volume, link.generation, BACKGROUND_SLICE_NS);
        if (status == SLUICE_PENDING) {
            merge_look(pool, &link.volume, link.generation);
        } else if (status != SLUICE_OK) {
            if (well) {
                warn(pool, status);
            }
            well = false;
        }
        if (!wait_for(&pool->merger, false, (merge_now_ns() - begun) * REST_FACTOR + 1)) {
            return well;
        }
    }
}

static void *maintain(void *argument) {
    struct share_pool *pool = argument;
    bool well = true;
    while (wait_for(&pool->merger, true, well ? 0 : RETRY_NS)) {
        if (!well) {
            merge_look_all(pool);
        }
        well = !wait_for(&pool->merger, false, GRACE_NS) || work_off(pool);
    }
    return NULL;
}

void merger_start(struct share_pool *pool) {
    pool->merger.started = pthread_create(&pool->merger.thread, NULL, maintain, pool) == 0;
    if (!pool->merger.started) {
        pool->services->log(pool->services, SLUICE_LOG_WARNING,
                            "no thread for maintenance: images that nobody needs stay for now");
    }
    merge_look_all(pool);
}

void merger_stop(struct merger *merger) {
    pthread_mutex_lock(&merger->lock);
    merger->stopping = true;
    pthread_cond_signal(&merger->work);
    pthread_mutex_unlock(&merger->lock);
    if (merger->started) {
        pthread_join(merger->thread, NULL);
    }
    pthread_cond_destroy(&merger->work);
    pthread_mutex_destroy(&merger->lock);
}

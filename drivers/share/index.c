/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c: see index.h.
 */
#include "index.h"

#include <stdlib.h>
#include <string.h>

#include "layout.h"

void index_init(struct index *index) {
    memset(index, 0, sizeof *index);
    pthread_mutex_init(&index->lock, NULL);
    pthread_cond_init(&index->unlocked, NULL);
}

void index_release(struct index *index) {
    for (uint32_t i = 0; i < INDEX_BUCKETS; i++) {
        for (struct index_volume *volume; (volume = index->buckets[i]) != NULL;) {
            for (struct index_image *image; (image = volume->images) != NULL;) {
                volume->images = image->next;
                free(image);
            }
            index->buckets[i] = volume->next;
            free(volume);
        }
    }
    pthread_cond_destroy(&index->unlocked);
    pthread_mutex_destroy(&index->lock);
}

/* ---- nodes --------------------------------------------------------------------------------- */

/* FNV-1a; ids are made of time and chance, in this order. */
static uint32_t bucket_of(const struct sluice_uuid *volume) {
    uint32_t hash = UINT32_C(2166136261);
    for (size_t i = 0; i < sizeof volume->bytes; i++) {
        hash = (hash ^ volume->bytes[i]) * UINT32_C(16777619);
    }
    return (hash ^ hash >> 15) % INDEX_BUCKETS;
}

struct index_volume *index_find(const struct index *index, const struct sluice_uuid *volume) {
    struct index_volume *at = index->buckets[bucket_of(volume)];
    while (at != NULL && uuid_compare(&at->id, volume) != 0) {
        at = at->next;
    }
    return at;
}

struct index_volume *index_get(struct index *index, const struct sluice_uuid *volume) {
    struct index_volume *found = index_find(index, volume);
    if (found == NULL && (found = calloc(1, sizeof *found)) != NULL) {
        struct index_volume **bucket = &index->buckets[bucket_of(volume)];
        found->id = *volume;
        found->next = *bucket;
        *bucket = found;
    }
    return found;
}

struct index_image *index_image(const struct index *index, const struct sluice_uuid *volume,
                                uint64_t generation) {
    const struct index_volume *of = index_find(index, volume);
    struct index_image *image = of != NULL ? of->images : NULL;
    while (image != NULL && image->generation != generation) {
        image = image->next;
    }
    return image;
}

struct index_image *index_active(const struct index *index, const struct sluice_uuid *volume) {
    const struct index_volume *of = index_find(index, volume);
    struct index_image *image = of != NULL ? of->images : NULL;
    while (image != NULL && !image->active) {
        image = image->next;
    }
    return image;
}

static void leave_parent(struct index_image *image) {
    if (image->parent == NULL) {
        return;
    }
    struct index_image **at = &image->parent->first_child;
    while (*at != image) {
        at = &(*at)->next_child;
    }
    *at = image->next_child;
    image->parent->children--;
    image->parent = NULL;
}

void index_set_parent(struct index_image *image, struct index_image *parent) {
    leave_parent(image);
    image->parent = parent;
    if (parent != NULL) {
        image->next_child = parent->first_child;
        parent->first_child = image;
        parent->children++;
        parent->merged = 0; /* what was merged went into another child */
        parent->pushed = 0; /* and came from another */
    }
}

struct index_image *index_add(struct index_volume *volume, uint64_t generation, uint32_t format,
                              struct index_image *parent) {
    struct index_image *image = calloc(1, sizeof *image);
    if (image != NULL) {
        image->volume = volume;
        image->generation = generation;
        image->format = format;
        image->next = volume->images;
        volume->images = image;
        index_set_parent(image, parent);
    }
    return image;
}

static void leave_due(struct index *index, struct index_image *image) {
    struct index_image *before = NULL;
    for (struct index_image *at = index->due; at != NULL; before = at, at = at->next_due) {
        if (at != image) {
            continue;
        }
        *(before != NULL ? &before->next_due : &index->due) = at->next_due;
        if (index->due_last == at) {
            index->due_last = before;
        }
        return;
    }
}

void index_remove(struct index *index, struct index_image *image) {
    struct index_image **at = &image->volume->images;
    while (*at != image) {
        at = &(*at)->next;
    }
    *at = image->next;
    leave_parent(image);
    if (image->due) {
        leave_due(index, image);
    }
    free(image);
}

void index_settle(struct index *index, struct index_volume *volume) {
    if (volume->images != NULL || volume->record || volume->shared > 0 || volume->alone) {
        return;
    }
    struct index_volume **at = &index->buckets[bucket_of(&volume->id)];
    while (*at != volume) {
        at = &(*at)->next;
    }
    *at = volume->next;
    free(volume);
}

uint32_t index_depth(const struct index_image *image) {
    uint32_t depth = 0;
    for (; image != NULL; image = image->parent) {
        depth++;
    }
    return depth;
}

bool index_is_needed(const struct index_image *image) {
    return image->active || image->named || image->children > 0;
}

void index_make_due(struct index *index, struct index_image *image) {
    if (image->due) {
        return;
    }
    image->due = true;
    image->next_due = NULL;
    *(index->due_last != NULL ? &index->due_last->next_due : &index->due) = image;
    index->due_last = image;
}

struct index_image *index_take_due(struct index *index) {
    struct index_image *image = index->due;
    if (image != NULL) {
        index->due = image->next_due;
        if (index->due == NULL) {
            index->due_last = NULL;
        }
        image->due = false;
    }
    return image;
}

/* ---- locks --------------------------------------------------------------------------------- */

/* false: no memory. A volume that is wanted alone comes before it is wanted shared. */
static bool want(struct index *index, struct index_locks *locks, const struct sluice_uuid *id,
                 bool alone) {
    struct index_volume *volume = index_get(index, id);
    for (uint32_t i = 0; i < locks->count; i++) {
        if (locks->at[i].volume == volume) {
            return true;
        }
    }
    if (volume == NULL || locks->count == INDEX_LOCKS_MAX) {
        return false;
    }
    locks->at[locks->count].volume = volume;
    locks->at[locks->count++].alone = alone;
    return true;
}

static bool take(struct index_locks *locks) {
    for (uint32_t i = 0; i < locks->count; i++) {
        const struct index_volume *volume = locks->at[i].volume;
        if (volume->alone || (locks->at[i].alone && volume->shared > 0)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < locks->count; i++) {
        if (locks->at[i].alone) {
            locks->at[i].volume->alone = true;
        } else {
            locks->at[i].volume->shared++;
        }
    }
    return true;
}

/* Forgets volumes that were only made to be locked. */
static void drop(struct index *index, struct index_locks *locks) {
    for (uint32_t i = 0; i < locks->count; i++) {
        index_settle(index, locks->at[i].volume);
    }
    locks->count = 0;
}

int32_t index_lock(struct index *index, struct index_locks *locks, const struct sluice_uuid *alone,
                   uint32_t count, const struct sluice_uuid *shared) {
    pthread_mutex_lock(&index->lock);
    for (;;) {
        bool known = true;
        locks->count = 0;
        for (uint32_t i = 0; i < count; i++) {
            known = known && want(index, locks, &alone[i], true);
        }
        known = known && (shared == NULL || want(index, locks, shared, false));
        if (!known || take(locks)) {
            if (!known) {
                drop(index, locks);
            }
            pthread_mutex_unlock(&index->lock);
            return known ? SLUICE_OK : SLUICE_NO_MEMORY;
        }
        drop(index, locks);
        pthread_cond_wait(&index->unlocked, &index->lock);
    }
}

int32_t index_lock_chain(struct index *index, struct index_locks *locks,
                         const struct sluice_uuid *volume, uint64_t generation) {
    pthread_mutex_lock(&index->lock);
    for (;;) {
        locks->count = 0;
        bool known = want(index, locks, volume, true);
        const struct index_image *image =
            generation != 0 ? index_image(index, volume, generation) : index_active(index, volume);
        for (; known && image != NULL; image = image->parent) {
            known = want(index, locks, &image->volume->id, false);
        }
        if (!known || take(locks)) {
            if (!known) {
                drop(index, locks);
            }
            pthread_mutex_unlock(&index->lock);
            return known ? SLUICE_OK : SLUICE_NO_MEMORY;
        }
        drop(index, locks);
        pthread_cond_wait(&index->unlocked, &index->lock);
    }
}

void index_unlock(struct index *index, struct index_locks *locks) {
    pthread_mutex_lock(&index->lock);
    for (uint32_t i = 0; i < locks->count; i++) {
        if (locks->at[i].alone) {
            locks->at[i].volume->alone = false;
        } else {
            locks->at[i].volume->shared--;
        }
    }
    drop(index, locks);
    pthread_cond_broadcast(&index->unlocked);
    pthread_mutex_unlock(&index->lock);
}

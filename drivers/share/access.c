/* SPDX-License-Identifier: Apache-2.0
 *
 * access.c: what hosts that open images by themselves were granted, and the rights that this means.
 *
 * A grant is a line in the volume's access.meta. What it gives follows from all lines of all
 * volumes: the image that was granted for reading or writing, everything below it for reading, and
 * the directories of all of these for getting through. The rights of a file are always written
 * whole, so doing it again changes nothing.
 *
 * Images may be needed by several volumes, so all who change rights take turns (pool->access).
 */
#include <string.h>

#include "chain.h"
#include "push.h"
#include "state.h"
#include "step.h"

#define RIGHTS_MAX 256   /* identities that may have one file; no file system keeps many more */
#define VOLUMES_MAX 1024 /* with grants above one image */

struct rights {
    uint32_t count;
    bool overflow;
    struct share_right at[RIGHTS_MAX];
};

static void add_right(struct rights *rights, uint32_t identity, bool write) {
    uint32_t at = rights->count;
    for (uint32_t i = 0; i < rights->count; i++) {
        if (rights->at[i].identity == identity) {
            rights->at[i].write = rights->at[i].write || write;
            return;
        }
    }
    if (at == RIGHTS_MAX) {
        rights->overflow = true;
        return;
    }
    for (; at > 0 && rights->at[at - 1].identity > identity; at--) {
        rights->at[at] = rights->at[at - 1];
    }
    rights->at[at] = (struct share_right){identity, write};
    rights->count++;
}

/* ---- which volumes' grants matter ----------------------------------------------------------- */

struct granted {
    uint32_t count;
    bool overflow;
    struct sluice_uuid at[VOLUMES_MAX];
};

static void add_granted(struct granted *granted, const struct index_volume *volume) {
    if (volume->grants == 0) {
        return;
    }
    for (uint32_t i = 0; i < granted->count; i++) {
        if (uuid_compare(&granted->at[i], &volume->id) == 0) {
            return;
        }
    }
    if (granted->count == VOLUMES_MAX) {
        granted->overflow = true;
        return;
    }
    granted->at[granted->count++] = volume->id;
}

/* The volumes of all images above; as deep as a chain is long. Under the index's mutex. */
static void add_above(struct granted *granted, const struct index_image *image) {
    add_granted(granted, image->volume);
    for (const struct index_image *child = image->first_child; child != NULL;
         child = child->next_child) {
        add_above(granted, child);
    }
}

/* The image that a grant is for; NULL: it is gone. Under the index's mutex. */
static const struct index_image *image_of_grant(const struct share_pool *pool,
                                                const struct sluice_uuid *volume,
                                                const struct sluice_uuid *snapshot) {
    if (uuid_is_zero(snapshot)) {
        return index_active(&pool->index, volume);
    }
    const struct index_volume *of = index_find(&pool->index, volume);
    const struct index_image *image = of != NULL ? of->images : NULL;
    while (image != NULL && !(image->named && uuid_compare(&image->snapshot, snapshot) == 0)) {
        image = image->next;
    }
    return image;
}

/* What one grant means for the image (generation 0: for the volume's directory). */
static void add_grant(const struct share_pool *pool, const struct sluice_uuid *granted_volume,
                      const struct grant *grant, const struct sluice_uuid *volume,
                      uint64_t generation, struct rights *rights) {
    const struct index_image *target = image_of_grant(pool, granted_volume, &grant->snapshot);
    for (const struct index_image *at = target; grant->mode != 0 && at != NULL; at = at->parent) {
        if (uuid_compare(&at->volume->id, volume) == 0 &&
            (generation == 0 || at->generation == generation)) {
            add_right(rights, grant->identity,
                      generation != 0 && at == target && grant->mode == SLUICE_ACCESS_READ_WRITE);
        }
    }
}

/* Everybody's rights to an image or, with generation 0, to a volume's directory. */
static int32_t find_rights(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_uuid *volume, uint64_t generation,
                           struct rights *rights) {
    struct granted granted = {.count = 0};
    struct grants grants;
    int32_t status = SLUICE_OK;
    rights->count = 0;
    rights->overflow = false;
    pthread_mutex_lock(&pool->index.lock);
    const struct index_volume *of = index_find(&pool->index, volume);
    for (const struct index_image *image = of != NULL ? of->images : NULL; image != NULL;
         image = image->next) {
        if (generation == 0 || image->generation == generation) {
            add_above(&granted, image);
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    for (uint32_t i = 0; status == SLUICE_OK && i < granted.count; i++) {
        status = grants_load(pool->fs, call, &granted.at[i], &grants);
        pthread_mutex_lock(&pool->index.lock);
        for (uint32_t k = 0; status == SLUICE_OK && k < grants.count; k++) {
            add_grant(pool, &granted.at[i], &grants.at[k], volume, generation, rights);
        }
        pthread_mutex_unlock(&pool->index.lock);
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read who was granted what");
    }
    return granted.overflow || rights->overflow
               ? share_fail(pool, call, SLUICE_LIMIT,
                            "too many hosts would have to read one image: flatten some volumes")
               : SLUICE_OK;
}

/* ---- giving them ---------------------------------------------------------------------------- */

static int32_t let(struct share_pool *pool, struct sluice_call *call,
                   const struct sluice_uuid *volume, uint64_t generation, uint32_t format) {
    char path[SHARE_PATH_MAX];
    struct rights rights;
    int32_t status = find_rights(pool, call, volume, generation, &rights);
    if (status != SLUICE_OK) {
        return status;
    }
    if (generation == 0) {
        layout_volume(volume, path);
    } else {
        layout_image(volume, generation, format, path);
    }
    status = FS(pool, let, call, path, rights.at, rights.count);
    return status == SLUICE_OK || status == SLUICE_NOT_FOUND /* gone, and the right with it */
               ? SLUICE_OK
               : share_fail(pool, call, status, "cannot set who may open %s", path);
}

struct link {
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format;
};

/* The image and all below it, and their directories; pool->access is held. */
static int32_t apply(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *volume, uint64_t generation) {
    struct link links[IMAGE_CHAIN_MAX];
    uint32_t count = 0;
    int32_t status = SLUICE_OK;
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, volume, generation);
    for (; image != NULL && count < IMAGE_CHAIN_MAX; image = image->parent) {
        links[count++] = (struct link){image->volume->id, image->generation, image->format};
    }
    pthread_mutex_unlock(&pool->index.lock);
    for (uint32_t i = 0; status == SLUICE_OK && i < count; i++) {
        if (i == 0 || uuid_compare(&links[i].volume, &links[i - 1].volume) != 0) {
            status = let(pool, call, &links[i].volume, 0, 0);
        }
        if (status == SLUICE_OK) {
            status = let(pool, call, &links[i].volume, links[i].generation, links[i].format);
        }
    }
    return status;
}

int32_t access_apply(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *volume, uint64_t generation) {
    struct granted granted = {.count = 0};
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, volume, generation);
    for (; image != NULL && granted.count == 0; image = image->parent) {
        add_granted(&granted, image->volume); /* nobody above but its own volume is news */
    }
    pthread_mutex_unlock(&pool->index.lock);
    if (granted.count == 0) {
        return SLUICE_OK;
    }
    pthread_mutex_lock(&pool->access);
    int32_t status = apply(pool, call, volume, generation);
    pthread_mutex_unlock(&pool->access);
    return status;
}

/* ---- grant ---------------------------------------------------------------------------------- */

/* Adds the grant to the record unless it stands there; EXISTS: with another identity or mode. */
static int32_t record_grant(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_access_grant *args, uint32_t identity) {
    const struct grant wanted = {args->attachment, args->snapshot, identity, args->mode};
    struct grants grants;
    struct grant *place = NULL;
    int32_t status = grants_load(pool->fs, call, &args->volume, &grants);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot read the grants");
    }
    for (uint32_t i = 0; i < grants.count && place == NULL; i++) {
        if (uuid_compare(&grants.at[i].attachment, &args->attachment) == 0) {
            place = &grants.at[i];
        }
    }
    if (place != NULL && memcmp(place, &wanted, sizeof wanted) == 0) {
        return SLUICE_OK;
    }
    if (place != NULL && (place->mode != 0 || place->identity != identity)) {
        return share_fail(pool, call, SLUICE_EXISTS,
                          "the attachment was granted to another identity or in another mode");
    }
    if (place == NULL && grants.count == SHARE_GRANTS_MAX) {
        return share_fail(pool, call, SLUICE_LIMIT, "the volume has %d grants already",
                          SHARE_GRANTS_MAX);
    }
    if (place == NULL) {
        place = &grants.at[grants.count++];
    }
    *place = wanted;
    status = grants_store(pool->fs, call, &args->volume, &grants);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot write the grants");
    }
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *volume = index_find(&pool->index, &args->volume);
    if (volume != NULL) {
        volume->grants = grants.count;
    }
    struct index_image *active = index_active(&pool->index, &args->volume);
    uint64_t generation = active != NULL ? active->generation : 0;
    pthread_mutex_unlock(&pool->index.lock);
    push_forget(pool, &args->volume, generation);
    return SLUICE_OK;
}

/* The generation that the grant is for; 0: there is none. */
static uint64_t generation_of(struct share_pool *pool, const struct sluice_uuid *volume,
                              const struct sluice_uuid *snapshot, struct share_granted *ret) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = image_of_grant(pool, volume, snapshot);
    uint64_t generation = image != NULL ? image->generation : 0;
    if (image != NULL) {
        layout_image(volume, generation, image->format, ret->path);
        ret->format = image->format;
        ret->chain = image->parent != NULL;
    }
    pthread_mutex_unlock(&pool->index.lock);
    return generation;
}

/* A host follows the names in an image's head by itself, and without a format there it guesses one
 * by bytes that a guest wrote. So what a host before may have written is judged before the next one
 * gets it. */
static int32_t check_heads(struct share_pool *pool, struct sluice_call *call,
                           const struct chain_link *top) {
    struct chain chain;
    int32_t status = chain_open(pool, call, top, NULL, false, &chain);
    if (status != SLUICE_OK) {
        return status;
    }
    for (uint32_t i = 0; status == SLUICE_OK && i + 1 < chain.count; i++) {
        uint32_t format = 0;
        image_parent_name(chain.images[i], &format);
        if (format != chain.links[i + 1].format) {
            status = share_fail(pool, call, SLUICE_CORRUPT,
                                "generation %llu does not say its parent's format, so a host would "
                                "guess it: revert the volume to a snapshot, or attach it by nbd",
                                (unsigned long long)chain.links[i].generation);
        }
    }
    chain_close(&chain);
    return status;
}

static int32_t grant_locked(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_access_grant *args, uint32_t identity,
                            struct share_granted *ret) {
    struct volume volume;
    struct sluice_snapshot snapshot = {.size = sizeof snapshot};
    int32_t status;
    if (uuid_is_zero(&args->snapshot)) {
        status = volume_load(pool, call, &args->volume, &volume);
        if (status == SLUICE_OK) {
            volume_release(&volume);
        }
    } else {
        status = snapshot_find(pool, call, &args->volume, &args->snapshot, false, &snapshot);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t generation = generation_of(pool, &args->volume, &args->snapshot, ret);
    if (generation == 0) {
        return share_fail(pool, call, SLUICE_CORRUPT, "the image is not in the index");
    }
    const struct chain_link top = {args->volume, generation, ret->format};
    status = check_heads(pool, call, &top);
    if (status != SLUICE_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->access);
    status = record_grant(pool, call, args, identity);
    STEP(grant_recorded);
    if (status == SLUICE_OK) {
        status = apply(pool, call, &args->volume, generation);
    }
    STEP(grant_applied);
    pthread_mutex_unlock(&pool->access);
    return status;
}

int32_t share_access_grant(struct share_pool *pool, struct sluice_call *call,
                           const struct sluice_access_grant *args, uint32_t identity,
                           struct share_granted *ret) {
    struct index_locks locks;
    struct share_granted granted = {.format = 0};
    bool snapshot = !uuid_is_zero(&args->snapshot);
    if (args->mode != SLUICE_ACCESS_READ_ONLY &&
        (snapshot || args->mode != SLUICE_ACCESS_READ_WRITE)) {
        return share_fail(pool, call, SLUICE_INVALID, "no such mode for a %s",
                          snapshot ? "snapshot: it is read-only" : "volume");
    }
    int32_t status = share_check(pool, call);
    uint64_t generation = generation_of(pool, &args->volume, &args->snapshot, &granted);
    if (status == SLUICE_OK) {
        status = index_lock_chain(&pool->index, &locks, &args->volume, generation);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    status = grant_locked(pool, call, args, identity, &granted);
    index_unlock(&pool->index, &locks);
    if (status == SLUICE_OK) {
        *ret = granted;
    }
    return status;
}

/* ---- revoke --------------------------------------------------------------------------------- */

static int32_t store_grants(struct share_pool *pool, struct sluice_call *call,
                            const struct sluice_uuid *volume, const struct grants *grants) {
    int32_t status = grants_store(pool->fs, call, volume, grants);
    return status == SLUICE_OK ? status : share_fail(pool, call, status, "cannot write the grants");
}

/* Whether somebody has what was granted open still. */
static bool is_held(struct share_pool *pool, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot) {
    struct share_granted granted;
    if (pool->fs->ops->is_open_elsewhere == NULL ||
        generation_of(pool, volume, snapshot, &granted) == 0) {
        return false;
    }
    int held = FS(pool, is_open_elsewhere, granted.path, false);
    if (held < 0) {
        pool->services->log(pool->services, SLUICE_LOG_WARNING,
                            "the file system cannot tell who still has a revoked volume open");
    }
    return held == 1;
}

/* Takes the right away first, then waits for who has the file open, then forgets the grant. */
static int32_t withdraw(struct share_pool *pool, struct sluice_call *call,
                        const struct sluice_uuid *volume, struct grants *grants, uint32_t at) {
    struct share_granted granted;
    struct grant *grant = &grants->at[at];
    const struct sluice_uuid snapshot = grant->snapshot;
    int32_t status = SLUICE_OK;
    if (grant->mode != 0) {
        grant->mode = 0;
        status = store_grants(pool, call, volume, grants);
        STEP(revoke_recorded);
    }
    if (status == SLUICE_OK) {
        status = apply(pool, call, volume, generation_of(pool, volume, &snapshot, &granted));
    }
    STEP(revoke_applied);
    if (status == SLUICE_OK && is_held(pool, volume, &snapshot)) {
        return SLUICE_PENDING;
    }
    if (status == SLUICE_OK) {
        *grant = grants->at[--grants->count];
        status = store_grants(pool, call, volume, grants);
    }
    if (status == SLUICE_OK) {
        pthread_mutex_lock(&pool->index.lock);
        struct index_volume *of = index_find(&pool->index, volume);
        if (of != NULL) {
            of->grants = grants->count;
        }
        pthread_mutex_unlock(&pool->index.lock);
    }
    return status;
}

int32_t share_access_revoke(void *argument, struct sluice_call *call,
                            const struct sluice_uuid *attachment,
                            const struct sluice_uuid *volume) {
    struct share_pool *pool = argument;
    struct index_locks locks;
    struct grants grants;
    int32_t status = share_check(pool, call);
    if (status == SLUICE_OK) {
        status = index_lock_chain(&pool->index, &locks, volume, 0);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->access);
    status = grants_load(pool->fs, call, volume, &grants);
    if (status != SLUICE_OK) {
        share_fail(pool, call, status, "cannot read the grants");
    }
    uint32_t at = 0;
    while (status == SLUICE_OK && at < grants.count &&
           uuid_compare(&grants.at[at].attachment, attachment) != 0) {
        at++;
    }
    bool last = false;
    if (status == SLUICE_OK && at < grants.count) {
        status = withdraw(pool, call, volume, &grants, at);
        last = status == SLUICE_OK && grants.count == 0;
    }
    pthread_mutex_unlock(&pool->access);
    index_unlock(&pool->index, &locks);
    if (last) {
        merge_look_all(pool); /* what could not be merged below the host's files */
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c: what is on a share when a pool is opened: the index, the sums, and lost records.
 *
 * Every directory below volumes/ is read: its record, and the manifest of every image. Where a
 * record is lost or damaged it is written again from the manifests if these leave only one answer;
 * else the directory stays as it is, its volume is told by its id alone, and a line is logged.
 * Nothing that is not understood is ever removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "state.h"

/* ---- lists that grow ------------------------------------------------------------------------ */

struct ids {
    struct sluice_uuid *at;
    size_t count;
    size_t room;
    bool failed; /* no memory */
};

static bool keep_id(void *argument, const char *name, bool directory) {
    struct ids *ids = argument;
    struct sluice_uuid id;
    (void)directory; /* what is none is seen when it is looked into */
    if (!uuid_parse(name, &id)) {
        return true;
    }
    if (ids->count == ids->room) {
        size_t room = ids->room * 2 + 64;
        struct sluice_uuid *grown = realloc(ids->at, room * sizeof *grown);
        if (grown == NULL) {
            ids->failed = true;
            return false;
        }
        ids->at = grown;
        ids->room = room;
    }
    ids->at[ids->count++] = id;
    return true;
}

#define IMAGES_MAX 2048 /* of one volume: snapshots, and frozen ones that only clones need */

struct found {
    uint64_t generation;
    uint32_t format; /* of the image file; 0: there is none */
    bool manifest;
};

#define UNFINISHED_MAX 16 /* what stores have not finished; what is beyond goes another time */

struct directory {
    uint32_t count;
    uint32_t unfinished_count;
    bool overflow;
    struct found at[IMAGES_MAX];
    char unfinished[UNFINISHED_MAX][LAYOUT_NAME];
};

static bool keep_image(void *argument, const char *name, bool is_directory) {
    struct directory *directory = argument;
    struct found found = {.format = 0};
    if (!is_directory && layout_is_unfinished(name) &&
        directory->unfinished_count < UNFINISHED_MAX) {
        memcpy(directory->unfinished[directory->unfinished_count++], name, strlen(name) + 1);
        return true;
    }
    if (is_directory || (!layout_is_image(name, &found.generation, &found.format) &&
                         !(found.manifest = layout_is_manifest(name, &found.generation)))) {
        return true;
    }
    for (uint32_t i = 0; i < directory->count; i++) {
        struct found *at = &directory->at[i];
        if (at->generation == found.generation) {
            at->manifest = at->manifest || found.manifest;
            at->format = found.format != 0 ? found.format : at->format;
            return true;
        }
    }
    if (directory->count == IMAGES_MAX) {
        directory->overflow = true;
        return false;
    }
    directory->at[directory->count++] = found;
    return true;
}

static int32_t read_directory(struct share_pool *pool, struct sluice_call *call,
                              const struct sluice_uuid *id, struct directory *directory) {
    char path[SHARE_PATH_MAX];
    layout_volume(id, path);
    directory->count = 0;
    directory->unfinished_count = 0;
    directory->overflow = false;
    return FS(pool, list, call, path, keep_image, directory);
}

static void say(struct share_pool *pool, const struct sluice_uuid *id, const char *what) {
    char text[SLUICE_TEXT_MAX];
    char uuid[UUID_TEXT];
    uuid_text(id, uuid);
    snprintf(text, sizeof text, LAYOUT_VOLUMES "/%s: %s", uuid, what);
    pool->services->log(pool->services, SLUICE_LOG_WARNING, text);
}

/* ---- writing a record again ----------------------------------------------------------------- */

struct rebuild {
    struct volume_meta meta;
    uint32_t images;
    uint32_t leaves; /* that could be the active image */
    struct manifest leaf;
    uint64_t newest;
};

/* Whether an image of the volume has the manifest's as parent; `manifests` of the same volume. */
static bool has_child(const struct manifest *manifests, uint32_t count, uint32_t which) {
    for (uint32_t i = 0; i < count; i++) {
        if (manifests[i].parent_generation == manifests[which].generation &&
            uuid_compare(&manifests[i].parent_volume, &manifests[which].volume) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_clones(struct share_pool *pool, const struct manifest *manifest) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image =
        index_image(&pool->index, &manifest->volume, manifest->generation);
    bool has = image != NULL && image->children > 0;
    pthread_mutex_unlock(&pool->index.lock);
    return has;
}

static int32_t consider(struct share_pool *pool, const struct manifest *manifests, uint32_t count,
                        struct rebuild *rebuild) {
    int32_t status = SLUICE_OK;
    for (uint32_t i = 0; status == SLUICE_OK && i < count; i++) {
        const struct manifest *manifest = &manifests[i];
        if (manifest->generation >= rebuild->meta.next) {
            rebuild->meta.next = manifest->generation + 1;
            memcpy(rebuild->meta.name, manifest->name, sizeof rebuild->meta.name);
        }
        if (!uuid_is_zero(&manifest->snapshot) &&
            volume_meta_snapshot(&rebuild->meta, &manifest->snapshot) != NULL) {
            continue; /* it was just pushed into the image below it: both are the same */
        }
        if (!uuid_is_zero(&manifest->snapshot)) {
            struct snapshot_meta snapshot = {
                .id = manifest->snapshot,
                .generation = manifest->generation,
                .size_bytes = manifest->size_bytes,
                .format = manifest->format,
            };
            memcpy(snapshot.name, manifest->snapshot_name, sizeof snapshot.name);
            status = volume_meta_add(&rebuild->meta, &snapshot);
        } else if (!has_child(manifests, count, i) && !has_clones(pool, manifest)) {
            rebuild->leaves++;
            rebuild->leaf = *manifest;
        }
    }
    return status == SLUICE_LIMIT ? SLUICE_CORRUPT : status;
}

/* The size of the image, and whether it holds nothing by itself. */
static int32_t look_into(struct share_pool *pool, struct sluice_call *call,
                         const struct manifest *manifest, uint64_t *ret_size, bool *ret_empty) {
    struct chain chain;
    char path[SHARE_PATH_MAX];
    struct share_stat file;
    const struct chain_link top = {manifest->volume, manifest->generation, manifest->format};
    int32_t status = chain_open(pool, call, &top, NULL, false, &chain);
    if (status != SLUICE_OK) {
        return status;
    }
    uint64_t size = image_size(chain.images[0]);
    bool empty = true;
    if (manifest->format == IMAGE_FORMAT_RAW) {
        layout_image(&manifest->volume, manifest->generation, manifest->format, path);
        empty = FS(pool, stat, call, path, &file) == SLUICE_OK && file.used_bytes == 0;
    }
    for (uint64_t at = 0; manifest->format != IMAGE_FORMAT_RAW && empty && at < size;) {
        struct image_run run;
        empty = image_extent(chain.images[0], at, size - at, 0, &run) == SLUICE_OK &&
                run.kind == 0 && run.length > 0;
        at += run.length;
    }
    chain_close(&chain);
    *ret_size = size;
    *ret_empty = empty;
    return SLUICE_OK;
}

static int32_t settle(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_uuid *id, struct rebuild *rebuild, uint32_t count) {
    if (rebuild->leaves > 1) {
        return SLUICE_CORRUPT;
    }
    if (rebuild->leaves == 1) {
        bool empty;
        int32_t status = look_into(pool, call, &rebuild->leaf, &rebuild->meta.size_bytes, &empty);
        if (status != SLUICE_OK) {
            return status;
        }
        if (count == 1 && empty) {
            return SLUICE_NOT_FOUND; /* never finished, or as good as that */
        }
        rebuild->meta.active = rebuild->leaf.generation;
        rebuild->meta.format = rebuild->leaf.format;
        rebuild->meta.created_bytes = rebuild->meta.size_bytes;
    }
    rebuild->meta.id = *id;
    int32_t status = volume_store(pool, call, &rebuild->meta);
    if (status == SLUICE_OK) {
        say(pool, id, "its record was lost or damaged and was written again from the manifests");
    }
    return status;
}

int32_t scan_rebuild(struct share_pool *pool, struct sluice_call *call,
                     const struct sluice_uuid *id) {
    struct rebuild rebuild = {.meta = {.next = 1}};
    struct directory *directory = malloc(sizeof *directory);
    struct manifest *manifests = NULL;
    uint32_t count = 0;
    int32_t status =
        directory != NULL ? read_directory(pool, call, id, directory) : SLUICE_NO_MEMORY;
    if (status == SLUICE_OK) {
        manifests = malloc((directory->count + 1) * sizeof *manifests);
        status = manifests == NULL     ? SLUICE_NO_MEMORY
                 : directory->overflow ? SLUICE_CORRUPT
                                       : SLUICE_OK;
    }
    for (uint32_t i = 0; status == SLUICE_OK && i < directory->count; i++) {
        if (directory->at[i].format == 0 || !directory->at[i].manifest) {
            continue; /* half made or half removed: each image is made before its manifest, and goes
                         before it */
        }
        status = manifest_load(pool->fs, call, id, directory->at[i].generation, &manifests[count]);
        count++;
    }
    if (status == SLUICE_OK) {
        status = count == 0 ? SLUICE_NOT_FOUND : consider(pool, manifests, count, &rebuild);
    }
    if (status == SLUICE_OK) {
        status = settle(pool, call, id, &rebuild, count);
    }
    volume_meta_release(&rebuild.meta);
    free(manifests);
    free(directory);
    return status == SLUICE_CORRUPT
               ? share_fail(pool, call, status,
                            "the volume's record is lost or damaged, and its manifests leave open "
                            "what it was")
               : status;
}

/* ---- the index ------------------------------------------------------------------------------ */

/* A parent that is put into place when all images are known. */
struct bond {
    struct index_image *image;
    struct sluice_uuid volume;
    uint64_t generation;
};

/* A file of an image that was never finished, or that is half removed. */
struct stray {
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format; /* 0: a manifest without its image */
};

#define STRAYS_MAX 256 /* what is beyond goes another time */

struct scan {
    struct share_pool *pool;
    struct sluice_call *call;
    struct directory directory;
    struct bond *bonds;
    size_t bonds_count;
    size_t bonds_room;
    struct stray strays[STRAYS_MAX];
    uint32_t strays_count;
    struct ids lost; /* volumes whose records are lost or damaged */
};

static bool add_bond(struct scan *scan, struct index_image *image,
                     const struct manifest *manifest) {
    if (manifest->parent_generation == 0) {
        return true;
    }
    if (scan->bonds_count == scan->bonds_room) {
        size_t room = scan->bonds_room * 2 + 64;
        struct bond *grown = realloc(scan->bonds, room * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        scan->bonds = grown;
        scan->bonds_room = room;
    }
    scan->bonds[scan->bonds_count++] =
        (struct bond){image, manifest->parent_volume, manifest->parent_generation};
    return true;
}

/* What the record calls an image and has lost its manifest: the image's head says the same. */
static int32_t make_manifest(struct scan *scan, const struct volume_meta *meta,
                             const struct found *found, struct manifest *ret_manifest) {
    struct share_pool *pool = scan->pool;
    struct chain_link parent;
    uint64_t size;
    const struct chain_link top = {meta->id, found->generation, found->format};
    int32_t status = chain_look(pool, scan->call, &top, &size, &parent);
    if (status != SLUICE_OK) {
        return status;
    }
    *ret_manifest = (struct manifest){
        .volume = meta->id,
        .generation = found->generation,
        .format = found->format,
        .size_bytes = size,
        .parent_volume = parent.volume,
        .parent_generation = parent.generation,
        .parent_format = parent.format,
    };
    memcpy(ret_manifest->name, meta->name, sizeof ret_manifest->name);
    return manifest_store(pool->fs, scan->call, ret_manifest);
}

static bool record_names(const struct volume_meta *meta, uint64_t generation) {
    bool names = meta->active == generation;
    for (uint32_t i = 0; i < meta->snapshot_count && !names; i++) {
        names = meta->snapshots[i].generation == generation;
    }
    return names;
}

static void add_stray(struct scan *scan, const struct sluice_uuid *volume,
                      const struct found *found) {
    if (scan->strays_count < STRAYS_MAX) {
        scan->strays[scan->strays_count++] =
            (struct stray){*volume, found->generation, found->format};
    }
}

/* OK: it was entered, or there is nothing to enter. `meta`: the record, NULL: there is none. */
static int32_t enter_image(struct scan *scan, struct index_volume *volume,
                           const struct volume_meta *meta, const struct found *found) {
    struct manifest manifest;
    if (found->format == 0) {
        if (meta != NULL) {
            add_stray(scan, &volume->id, found);
        }
        return SLUICE_OK;
    }
    int32_t status = found->manifest ? manifest_load(scan->pool->fs, scan->call, &volume->id,
                                                     found->generation, &manifest)
                                     : SLUICE_NOT_FOUND;
    if (status == SLUICE_NOT_FOUND || status == SLUICE_CORRUPT) {
        if (meta == NULL || !record_names(meta, found->generation)) {
            if (status == SLUICE_NOT_FOUND && meta != NULL) {
                add_stray(scan, &volume->id, found);
            }
            return status == SLUICE_NOT_FOUND ? SLUICE_OK : status;
        }
        status = make_manifest(scan, meta, found, &manifest);
    }
    if (status != SLUICE_OK) {
        return status;
    }
    struct index_image *image = index_add(volume, found->generation, found->format, NULL);
    if (image == NULL || !add_bond(scan, image, &manifest)) {
        return SLUICE_NO_MEMORY;
    }
    image->snapshot = manifest.snapshot;
    return SLUICE_OK;
}

/* What a crash left behind: half of an image that nothing refers to. */
static void remove_strays(struct scan *scan) {
    for (uint32_t i = 0; i < scan->strays_count; i++) {
        const struct stray *stray = &scan->strays[i];
        char path[SHARE_PATH_MAX];
        bool referred = false;
        for (size_t k = 0; k < scan->bonds_count && !referred; k++) {
            referred = scan->bonds[k].generation == stray->generation &&
                       uuid_compare(&scan->bonds[k].volume, &stray->volume) == 0;
        }
        if (stray->format != 0) {
            layout_image(&stray->volume, stray->generation, stray->format, path);
        } else {
            layout_manifest(&stray->volume, stray->generation, path);
        }
        if (!referred) {
            FS(scan->pool, remove, NULL, path); /* where it fails: the next time */
        }
    }
}

static void remove_unfinished(struct scan *scan, const struct sluice_uuid *id) {
    for (uint32_t i = 0; i < scan->directory.unfinished_count; i++) {
        char path[SHARE_PATH_MAX];
        layout_file(id, scan->directory.unfinished[i], path);
        FS(scan->pool, remove, NULL, path);
    }
}

static void add_provisioned(struct share_pool *pool, const struct volume_meta *meta) {
    pool->provisioned += meta->active != 0 ? meta->size_bytes : 0;
    for (uint32_t i = 0; i < meta->snapshot_count; i++) {
        pool->provisioned += meta->snapshots[i].size_bytes;
    }
}

static int32_t enter_volume(struct scan *scan, const struct sluice_uuid *id,
                            const struct volume_meta *meta) {
    struct share_pool *pool = scan->pool;
    struct index_volume *volume = index_get(&pool->index, id);
    struct grants grants;
    int32_t status = volume != NULL ? SLUICE_OK : SLUICE_NO_MEMORY;
    for (uint32_t i = 0; status == SLUICE_OK && i < scan->directory.count; i++) {
        status = enter_image(scan, volume, meta, &scan->directory.at[i]);
        if (status == SLUICE_CORRUPT) {
            say(pool, id, "an image or its manifest is damaged; the volume is left as it is");
            volume->damaged = true;
            status = SLUICE_OK;
        }
    }
    if (status != SLUICE_OK) {
        return status;
    }
    volume->record = true;
    volume->damaged = volume->damaged || meta == NULL || scan->directory.overflow;
    status = grants_load(pool->fs, scan->call, id, &grants);
    volume->grants = status == SLUICE_CORRUPT ? 1 : grants.count; /* damaged: there may be some */
    if (meta != NULL) {
        volume_follow(pool, meta);
        add_provisioned(pool, meta);
    }
    return status == SLUICE_CORRUPT ? SLUICE_OK : status;
}

static bool has_file(const struct directory *directory, uint64_t generation) {
    for (uint32_t i = 0; i < directory->count; i++) {
        if (directory->at[i].generation == generation) {
            return directory->at[i].format != 0;
        }
    }
    return false;
}

static int32_t scan_volume(struct scan *scan, const struct sluice_uuid *id) {
    struct share_pool *pool = scan->pool;
    struct volume_meta meta;
    int32_t status = read_directory(pool, scan->call, id, &scan->directory);
    if (status == SLUICE_NOT_FOUND || status == SLUICE_CORRUPT) {
        return SLUICE_OK; /* gone meanwhile, or no directory at all */
    }
    if (status != SLUICE_OK) {
        return share_fail(pool, scan->call, status, "cannot list a volume's directory");
    }
    status = volume_meta_load(pool->fs, scan->call, id, &meta);
    if (status == SLUICE_OK) {
        if (meta.moving && !has_file(&scan->directory, meta.active)) {
            meta.active = 0; /* not moved in yet, or out already */
        }
        status = enter_volume(scan, id, &meta);
        remove_unfinished(scan, id);
        volume_meta_release(&meta);
    } else if (status == SLUICE_NOT_FOUND || status == SLUICE_CORRUPT) {
        char name[UUID_TEXT];
        uuid_text(id, name);
        keep_id(&scan->lost, name, true);
        status = scan->lost.failed ? SLUICE_NO_MEMORY : enter_volume(scan, id, NULL);
    }
    return status == SLUICE_OK ? status
                               : share_fail(pool, scan->call, status, "cannot read a volume");
}

/* Whether `wanted` (may be NULL) is among the images from `at` down, or more of these lie above
 * each other than a chain can have. Bounded also where the manifests are somebody's invention. */
static bool is_bad_chain(const struct index_image *at, const struct index_image *wanted) {
    uint32_t depth = 0;
    for (; at != NULL && at != wanted && depth <= IMAGE_CHAIN_MAX; at = at->parent) {
        depth++;
    }
    return at != NULL;
}

static void leave_alone(struct scan *scan, struct index_image *image, const char *what) {
    say(scan->pool, &image->volume->id, what);
    image->volume->damaged = true;
}

static void tie(struct scan *scan) {
    for (size_t i = 0; i < scan->bonds_count; i++) {
        const struct bond *bond = &scan->bonds[i];
        struct index_image *parent =
            index_image(&scan->pool->index, &bond->volume, bond->generation);
        if (parent == NULL || is_bad_chain(parent, bond->image)) {
            leave_alone(scan, bond->image,
                        "an image below one of its images is missing, or too many are: it is left "
                        "as it is");
        } else {
            index_set_parent(bond->image, parent);
        }
    }
    /* Each bond alone was short, all of them may not be: cut, so that who goes up or down the index
     * goes no further than a chain is long. */
    for (size_t i = 0; i < scan->bonds_count; i++) {
        struct index_image *image = scan->bonds[i].image;
        if (is_bad_chain(image, NULL)) {
            leave_alone(scan, image, "more images lie below it than can be: it is left as it is");
            image->parent->volume->damaged = true; /* nothing of it is unneeded */
            index_set_parent(image, NULL);
        }
    }
}

/* What a volume that was never finished has put into the index. */
static void forget(struct share_pool *pool, const struct sluice_uuid *id) {
    pthread_mutex_lock(&pool->index.lock);
    struct index_volume *volume = index_find(&pool->index, id);
    while (volume != NULL && volume->images != NULL) {
        index_remove(&pool->index, volume->images);
    }
    if (volume != NULL) {
        volume->record = false;
        index_settle(&pool->index, volume);
    }
    pthread_mutex_unlock(&pool->index.lock);
}

/* Volumes without a record are looked at when it is known which of their images others need. */
static int32_t scan_lost(struct share_pool *pool, struct sluice_call *call,
                         const struct ids *lost) {
    for (size_t i = 0; i < lost->count; i++) {
        struct volume_meta meta;
        const struct sluice_uuid *id = &lost->at[i];
        int32_t status = scan_rebuild(pool, NULL, id);
        if (status == SLUICE_OK) {
            status = volume_meta_load(pool->fs, call, id, &meta);
        }
        if (status == SLUICE_OK) {
            pthread_mutex_lock(&pool->index.lock);
            index_find(&pool->index, id)->damaged = false;
            pthread_mutex_unlock(&pool->index.lock);
            volume_follow(pool, &meta);
            add_provisioned(pool, &meta);
            volume_meta_release(&meta);
        } else if (status == SLUICE_NOT_FOUND) {
            forget(pool, id); /* asking again or deleting ends it */
        } else if (status == SLUICE_CORRUPT) {
            say(pool, id,
                "its record is lost or damaged and its manifests leave open what it was: "
                "it is left as it is");
        } else {
            return share_fail(pool, call, status, "cannot write a lost record again");
        }
    }
    return SLUICE_OK;
}

int32_t scan_pool(struct share_pool *pool, struct sluice_call *call) {
    struct scan *scan = calloc(1, sizeof *scan);
    struct ids ids = {.count = 0};
    if (scan == NULL) {
        return share_fail(pool, call, SLUICE_NO_MEMORY, "no memory to read the pool");
    }
    scan->pool = pool;
    scan->call = call;
    int32_t status = FS(pool, list, call, LAYOUT_VOLUMES, keep_id, &ids);
    if (status != SLUICE_OK || ids.failed) {
        status = share_fail(pool, call, ids.failed ? SLUICE_NO_MEMORY : status,
                            "cannot list the volumes");
    }
    for (size_t i = 0; status == SLUICE_OK && i < ids.count; i++) {
        status = scan_volume(scan, &ids.at[i]);
    }
    if (status == SLUICE_OK) {
        tie(scan);
        remove_strays(scan);
        status = scan_lost(pool, call, &scan->lost);
    }
    free(ids.at);
    free(scan->lost.at);
    free(scan->bonds);
    free(scan);
    return status;
}

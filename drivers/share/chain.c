/* SPDX-License-Identifier: Apache-2.0
 *
 * chain.c: see chain.h.
 */
#include "chain.h"

#include <string.h>

static void close_from(struct chain *chain, uint32_t from) {
    for (uint32_t i = from; i < chain->count; i++) {
        image_close(chain->images[i]);
        chain->files[i]->ops->close(chain->files[i]);
    }
}

void chain_close(struct chain *chain) {
    close_from(chain, 0);
    chain->count = 0;
}

/* Whether what an image's head calls its parent lies below it. Not always next to it: a merge gives
 * the head another parent before the manifest, and so the index, says so. */
static bool lies_below(struct share_pool *pool, const struct chain_link *link,
                       const struct chain_link *named) {
    pthread_mutex_lock(&pool->index.lock);
    const struct index_image *image = index_image(&pool->index, &link->volume, link->generation);
    const struct index_image *at = image != NULL ? image->parent : NULL;
    while (at != NULL && (at->generation != named->generation || at->format != named->format ||
                          uuid_compare(&at->volume->id, &named->volume) != 0)) {
        at = at->parent;
    }
    pthread_mutex_unlock(&pool->index.lock);
    return at != NULL;
}

static int32_t parse_parent(struct share_pool *pool, struct sluice_call *call,
                            const struct chain_link *of, const char *name,
                            struct chain_link *ret_link) {
    return layout_is_parent(&of->volume, name, &ret_link->volume, &ret_link->generation,
                            &ret_link->format)
               ? SLUICE_OK
               : share_fail(pool, call, SLUICE_CORRUPT,
                            "generation %llu names '%.200s' as its parent, which is no image of "
                            "this pool",
                            (unsigned long long)of->generation, name);
}

/* The parent that the last image of the chain names; false: it has none. */
static int32_t find_parent(struct share_pool *pool, struct sluice_call *call,
                           const struct chain *chain, struct chain_link *ret_link, bool *ret_has) {
    const struct chain_link *last = &chain->links[chain->count - 1];
    const char *name = image_parent_name(chain->images[chain->count - 1], NULL);
    *ret_has = name != NULL;
    int32_t status = name != NULL ? parse_parent(pool, call, last, name, ret_link) : SLUICE_OK;
    if (name == NULL || status != SLUICE_OK || lies_below(pool, last, ret_link)) {
        return status;
    }
    return share_fail(pool, call, SLUICE_CORRUPT,
                      "generation %llu names '%.200s' as its parent, and its manifest does not: "
                      "that image is missing, or a host that had the volume wrote another's name. "
                      "Revert the volume to a snapshot, or delete it",
                      (unsigned long long)last->generation, name);
}

/* Adds one image at the end of the chain; takes the file. */
static int32_t add(struct share_pool *pool, struct sluice_call *call, const struct chain_link *link,
                   struct image_file *file, bool write, struct chain *chain) {
    char path[SHARE_PATH_MAX];
    struct image *image = NULL;
    struct image_error error = {{0}};
    layout_image(&link->volume, link->generation, link->format, path);
    int32_t status = SLUICE_OK;
    if (chain->count == IMAGE_CHAIN_MAX) {
        status = share_fail(pool, call, SLUICE_CORRUPT, "%s ends a chain of more than %d images",
                            path, IMAGE_CHAIN_MAX);
    } else if (file == NULL) {
        status = FS(pool, open, call, path, write ? SHARE_OPEN_WRITE : 0, &file);
        if (status == SLUICE_NOT_FOUND) {
            status = share_check(pool, call);
            status = status != SLUICE_OK
                         ? status
                         : share_fail(pool, call, SLUICE_CORRUPT, "the image %s is missing", path);
        } else if (status != SLUICE_OK) {
            share_fail(pool, call, status, "cannot open %s", path);
        }
    }
    if (status == SLUICE_OK) {
        status =
            image_open(file, link->format, write ? 0 : IMAGE_OPEN_READ_ONLY, 0, &image, &error);
        if (status != SLUICE_OK) {
            share_fail(pool, call, status, "cannot open %s: %.300s", path, error.text);
        }
    }
    if (status == SLUICE_OK && chain->count > 0) {
        status = image_attach_parent(chain->images[chain->count - 1], image, &error);
        if (status != SLUICE_OK) {
            share_fail(pool, call, status, "%s: %.300s", path, error.text);
        }
    }
    if (status != SLUICE_OK) {
        image_close(image);
        if (file != NULL) {
            file->ops->close(file);
        }
        return status;
    }
    chain->images[chain->count] = image;
    chain->files[chain->count] = file;
    chain->links[chain->count++] = *link;
    return SLUICE_OK;
}

/* Opens everything below the last image of the chain. */
static int32_t extend(struct share_pool *pool, struct sluice_call *call, struct chain *chain) {
    struct chain_link link;
    bool has;
    int32_t status = find_parent(pool, call, chain, &link, &has);
    while (status == SLUICE_OK && has) {
        status = add(pool, call, &link, NULL, false, chain);
        if (status == SLUICE_OK) {
            status = find_parent(pool, call, chain, &link, &has);
        }
    }
    return status;
}

int32_t chain_open(struct share_pool *pool, struct sluice_call *call, const struct chain_link *top,
                   struct image_file *file, bool write, struct chain *ret_chain) {
    ret_chain->count = 0;
    int32_t status = add(pool, call, top, file, write, ret_chain);
    if (status == SLUICE_OK) {
        status = extend(pool, call, ret_chain);
    }
    if (status != SLUICE_OK) {
        chain_close(ret_chain);
    }
    return status;
}

int32_t chain_look(struct share_pool *pool, struct sluice_call *call, const struct chain_link *link,
                   uint64_t *ret_size, struct chain_link *ret_parent) {
    struct chain chain = {.count = 0};
    struct chain_link parent = {.generation = 0};
    int32_t status = add(pool, call, link, NULL, false, &chain);
    const char *name = status == SLUICE_OK ? image_parent_name(chain.images[0], NULL) : NULL;
    if (name != NULL) {
        status = parse_parent(pool, call, link, name, &parent);
    }
    if (status == SLUICE_OK) {
        *ret_size = image_size(chain.images[0]);
        *ret_parent = parent;
    }
    chain_close(&chain);
    return status;
}

/* Below the top image there is another chain now, which is taken over. */
static void replace_below(struct chain *chain, const struct chain *fresh) {
    close_from(chain, 1);
    for (uint32_t i = 0; i < fresh->count; i++) {
        chain->images[i + 1] = fresh->images[i];
        chain->files[i + 1] = fresh->files[i];
        chain->links[i + 1] = fresh->links[i];
    }
    chain->count = 1 + fresh->count;
}

int32_t chain_reopen(struct share_pool *pool, struct sluice_call *call, bool top_too,
                     struct chain *chain) {
    struct chain fresh = {.count = 0};
    struct chain_link link;
    struct image_error error = {{0}};
    if (top_too) {
        int32_t status = chain_open(pool, call, &chain->links[0], NULL, false, &fresh);
        if (status == SLUICE_OK) {
            chain_close(chain);
            *chain = fresh;
        }
        return status;
    }
    struct chain top = *chain;
    bool has;
    top.count = 1;
    int32_t status = find_parent(pool, call, &top, &link, &has);
    if (status == SLUICE_OK && has) {
        status = chain_open(pool, call, &link, NULL, false, &fresh);
    }
    if (status == SLUICE_OK && has) {
        status = image_attach_parent(top.images[0], fresh.images[0], &error);
        if (status != SLUICE_OK) {
            chain_close(&fresh);
        }
    }
    if (status != SLUICE_OK) {
        return status;
    }
    replace_below(chain, &fresh);
    return SLUICE_OK;
}

int32_t chain_take_parent(struct share_pool *pool, struct sluice_call *call,
                          const struct chain_link *parent, struct chain *chain) {
    struct chain fresh = {.count = 0};
    struct image_error error = {{0}};
    char name[LAYOUT_PARENT];
    int32_t status = chain_open(pool, call, parent, NULL, false, &fresh);
    if (status != SLUICE_OK) {
        return status;
    }
    layout_parent(&chain->links[0].volume, &parent->volume, parent->generation, parent->format,
                  name);
    status = image_set_parent(chain->images[0], name, parent->format, fresh.images[0], &error);
    if (status == SLUICE_OK) { /* no longer than the chain that was */
        status = image_attach_parent(chain->images[0], fresh.images[0], &error);
    }
    if (status != SLUICE_OK) {
        chain_close(&fresh);
        return share_fail(pool, call, status, "cannot give an image another parent: %.300s",
                          error.text);
    }
    replace_below(chain, &fresh);
    return SLUICE_OK;
}

int32_t chain_cut(struct share_pool *pool, struct sluice_call *call, uint32_t drop,
                  struct chain *chain) {
    struct image_error error = {{0}};
    char name[LAYOUT_PARENT];
    bool ends = drop + 1 >= chain->count;
    const struct chain_link *parent = ends ? NULL : &chain->links[drop + 1];
    if (parent != NULL) {
        layout_parent(&chain->links[0].volume, &parent->volume, parent->generation, parent->format,
                      name);
    }
    int32_t status = image_set_parent(chain->images[0], parent != NULL ? name : NULL,
                                      parent != NULL ? parent->format : 0,
                                      parent != NULL ? chain->images[drop + 1] : NULL, &error);
    if (status != SLUICE_OK) {
        return share_fail(pool, call, status, "cannot give an image another parent: %.300s",
                          error.text);
    }
    struct chain rest = {.count = 0};
    for (uint32_t i = drop + 1; i < chain->count; i++) {
        rest.images[rest.count] = chain->images[i];
        rest.files[rest.count] = chain->files[i];
        rest.links[rest.count++] = chain->links[i];
    }
    chain->count -= rest.count;
    close_from(chain, 1);
    for (uint32_t i = 0; i < rest.count; i++) {
        chain->images[i + 1] = rest.images[i];
        chain->files[i + 1] = rest.files[i];
        chain->links[i + 1] = rest.links[i];
    }
    chain->count = 1 + rest.count;
    return rest.count == 0 ? SLUICE_OK
                           : image_attach_parent(chain->images[0], chain->images[1], &error);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * list.c: lists in pages, and the sum over all images.
 *
 * The index has them in no order, so a page is found by going through all ids and keeping the
 * smallest above the last page's; memory is bounded by the page. What the entries say is read from
 * the records then.
 */
#include <stdlib.h>
#include <string.h>

#include "state.h"

#define PAGE_MAX 256 /* ids kept at once; a larger page is filled in several rounds */

struct entry {
    struct sluice_uuid id;
    struct sluice_uuid volume;
};

struct page {
    struct sluice_uuid after;
    uint32_t count;
    struct entry at[PAGE_MAX];
};

static void page_offer(struct page *page, const struct sluice_uuid *id,
                       const struct sluice_uuid *volume) {
    if (uuid_compare(id, &page->after) <= 0 ||
        (page->count == PAGE_MAX && uuid_compare(id, &page->at[PAGE_MAX - 1].id) >= 0)) {
        return;
    }
    uint32_t at = page->count < PAGE_MAX ? page->count++ : PAGE_MAX - 1;
    for (; at > 0 && uuid_compare(id, &page->at[at - 1].id) < 0; at--) {
        page->at[at] = page->at[at - 1];
    }
    page->at[at] = (struct entry){*id, *volume};
}

static void offer_snapshots(struct page *page, const struct index_volume *volume) {
    for (const struct index_image *image = volume->images; image != NULL; image = image->next) {
        if (image->named) {
            page_offer(page, &image->snapshot, &volume->id);
        }
    }
}

/* Fills the page with the ids after page->after; of_volume: NULL for all. */
static void find_page(struct share_pool *pool, struct page *page, bool snapshots,
                      const struct sluice_uuid *of_volume) {
    page->count = 0;
    pthread_mutex_lock(&pool->index.lock);
    for (uint32_t i = 0; i < INDEX_BUCKETS && of_volume == NULL; i++) {
        for (const struct index_volume *volume = pool->index.buckets[i]; volume != NULL;
             volume = volume->next) {
            if (snapshots) {
                offer_snapshots(page, volume);
            } else if (volume->there || volume->damaged) {
                page_offer(page, &volume->id, &volume->id);
            }
        }
    }
    const struct index_volume *of = of_volume != NULL ? index_find(&pool->index, of_volume) : NULL;
    if (of != NULL) {
        offer_snapshots(page, of);
    }
    pthread_mutex_unlock(&pool->index.lock);
}

/* true: there is one, told in *ret. A damaged one is told by its id alone, so that it is seen. */
static bool tell_volume(struct share_pool *pool, const struct entry *entry,
                        struct sluice_volume *ret) {
    struct volume volume;
    struct index_locks locks;
    int32_t status = index_lock(&pool->index, &locks, NULL, 0, &entry->id);
    if (status == SLUICE_OK) {
        status = volume_load(pool, NULL, &entry->id, &volume);
        index_unlock(&pool->index, &locks);
    }
    if (status == SLUICE_OK) {
        volume_tell(&volume, ret);
        volume_release(&volume);
        return true;
    }
    *ret = (struct sluice_volume){
        .size = ret->size, .volume = entry->id, .used_bytes = UINT64_MAX, .format = "raw"};
    return status != SLUICE_NOT_FOUND || volume_is_damaged(pool, &entry->id);
}

static bool tell_snapshot(struct share_pool *pool, const struct entry *entry,
                          struct sluice_snapshot *ret) {
    int32_t status = snapshot_find(pool, NULL, &entry->volume, &entry->id, true, ret);
    if (status == SLUICE_OK) {
        return true;
    }
    *ret = (struct sluice_snapshot){.size = ret->size,
                                    .snapshot = entry->id,
                                    .volume = entry->volume,
                                    .used_bytes = UINT64_MAX};
    return status != SLUICE_NOT_FOUND;
}

static int32_t list_all(struct share_pool *pool, struct sluice_call *call, struct sluice_list *list,
                        bool snapshots) {
    int32_t status = share_check(pool, call);
    struct page *page = status == SLUICE_OK ? malloc(sizeof *page) : NULL;
    if (page == NULL) {
        return status != SLUICE_OK
                   ? status
                   : share_fail(pool, call, SLUICE_NO_MEMORY, "no memory for a list");
    }
    const struct sluice_uuid *of = snapshots && !uuid_is_zero(&list->volume) ? &list->volume : NULL;
    page->after = list->after;
    page->count = PAGE_MAX;
    list->count = 0;
    while (page->count == PAGE_MAX && list->count < list->capacity) {
        find_page(pool, page, snapshots, of);
        for (uint32_t i = 0; i < page->count && list->count < list->capacity; i++) {
            struct sluice_volume *volumes = list->entries;
            struct sluice_snapshot *snapshot = list->entries;
            list->count += snapshots ? tell_snapshot(pool, &page->at[i], &snapshot[list->count])
                                     : tell_volume(pool, &page->at[i], &volumes[list->count]);
        }
        if (page->count > 0) {
            page->after = page->at[page->count - 1].id;
        }
    }
    free(page);
    return share_check(pool, call);
}

int32_t share_volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    return list_all(pool, call, list, false);
}

int32_t share_snapshot_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    return list_all(pool, call, list, true);
}

/* ---- the sum -------------------------------------------------------------------------------- */

struct file_name {
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format;
};

/* All images, to be looked at without the index's mutex; NULL: no memory. */
static struct file_name *take_names(struct share_pool *pool, size_t *ret_count) {
    size_t count = 0;
    struct file_name *names = NULL;
    pthread_mutex_lock(&pool->index.lock);
    for (int round = 0; round < 2; round++) {
        size_t at = 0;
        for (uint32_t i = 0; i < INDEX_BUCKETS; i++) {
            for (const struct index_volume *volume = pool->index.buckets[i]; volume != NULL;
                 volume = volume->next) {
                for (const struct index_image *image = volume->images; image != NULL;
                     image = image->next, at++) {
                    if (names != NULL) {
                        names[at] =
                            (struct file_name){volume->id, image->generation, image->format};
                    }
                }
            }
        }
        count = at;
        if (round == 0 && (names = malloc((count + 1) * sizeof *names)) == NULL) {
            break;
        }
    }
    pthread_mutex_unlock(&pool->index.lock);
    *ret_count = count;
    return names;
}

uint64_t pool_used_bytes(struct share_pool *pool) {
    uint64_t used = 0;
    size_t count;
    struct file_name *names = take_names(pool, &count);
    for (size_t i = 0; names != NULL && i < count; i++) {
        char path[SHARE_PATH_MAX];
        struct share_stat file;
        layout_image(&names[i].volume, names[i].generation, names[i].format, path);
        if (FS(pool, stat, NULL, path, &file) == SLUICE_OK && file.used_bytes != UINT64_MAX) {
            used += file.used_bytes;
        }
    }
    free(names);
    return used;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * list.c: lists in pages, and sums over the whole pool.
 *
 * Directories come in no order, so a page is found by going through all names and keeping the
 * smallest ids above the last page's; memory is bounded by the page, and what is half made is left
 * out by looking at each.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volume.h"

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

/* Calls `each` for every name in the directory that is a uuid. 0, or -1 with errno. */
static int for_each_uuid(int directory, void (*each)(void *argument, const struct sluice_uuid *id),
                         void *argument) {
    DIR *stream = fdopendir(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (stream == NULL) {
        return -1;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL) {
        struct sluice_uuid id;
        if (uuid_parse(entry->d_name, &id)) {
            each(argument, &id);
        }
    }
    int error = errno;
    closedir(stream);
    errno = error;
    return error == 0 ? 0 : -1;
}

struct round {
    struct pool *pool;
    struct page *page;
    struct sluice_uuid volume;
    int error;
};

static void offer_volume(void *argument, const struct sluice_uuid *id) {
    struct round *round = argument;
    page_offer(round->page, id, id);
}

static void offer_snapshot(void *argument, const struct sluice_uuid *id) {
    struct round *round = argument;
    page_offer(round->page, id, &round->volume);
}

static void offer_snapshots_of(void *argument, const struct sluice_uuid *volume) {
    struct round *round = argument;
    char text[UUID_TEXT];
    char path[LAYOUT_PATH];
    uuid_text(volume, text);
    snprintf(path, sizeof path, LAYOUT_VOLUMES "/%s/" LAYOUT_SNAPSHOTS, text);
    int directory = beneath_open(round->pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    round->volume = *volume;
    if (directory < 0 ? errno != ENOENT : for_each_uuid(directory, offer_snapshot, round) != 0) {
        round->error = errno;
    }
    close_quietly(&directory);
}

/* Fills the page with the ids after page->after. */
static int find_page(struct pool *pool, struct page *page, bool snapshots,
                     const struct sluice_uuid *of_volume) {
    struct round round = {.pool = pool, .page = page};
    page->count = 0;
    if (!snapshots) {
        return for_each_uuid(pool->volumes, offer_volume, &round);
    }
    if (!uuid_is_zero(of_volume)) {
        offer_snapshots_of(&round, of_volume);
    } else if (for_each_uuid(pool->volumes, offer_snapshots_of, &round) != 0) {
        return -1;
    }
    errno = round.error;
    return round.error == 0 ? 0 : -1;
}

/* true: there is one, told in *ret. A damaged one is told by its id alone, so that it is seen. */
static bool tell_volume(struct pool *pool, const struct entry *entry, struct sluice_volume *ret) {
    struct volume volume;
    if (volume_find(pool, &entry->id, &volume) == 0) {
        volume_tell(&volume, ret);
        volume_close(&volume);
        return true;
    }
    *ret = (struct sluice_volume){
        .size = ret->size, .volume = entry->id, .used_bytes = UINT64_MAX, .format = "raw"};
    return errno == EBADMSG;
}

static bool tell_snapshot(struct pool *pool, const struct entry *entry,
                          struct sluice_snapshot *ret) {
    struct snapshot_meta meta;
    int directory;
    if (snapshot_find(pool, &entry->volume, &entry->id, &meta, &directory) == 0) {
        snapshot_tell(&meta, directory, ret);
        close_quietly(&directory);
        return true;
    }
    *ret = (struct sluice_snapshot){.size = ret->size,
                                    .snapshot = entry->id,
                                    .volume = entry->volume,
                                    .used_bytes = UINT64_MAX};
    return errno == EBADMSG;
}

static int32_t list_all(struct pool *pool, struct sluice_call *call, struct sluice_list *list,
                        bool snapshots) {
    int32_t status = pool_check(pool, call);
    struct page *page = status == SLUICE_OK ? malloc(sizeof *page) : NULL;
    if (page == NULL) {
        return status != SLUICE_OK ? status
                                   : fail(pool, call, SLUICE_NO_MEMORY, "no memory for a list");
    }
    page->after = list->after;
    page->count = PAGE_MAX;
    list->count = 0;
    while (status == SLUICE_OK && page->count == PAGE_MAX && list->count < list->capacity) {
        if (find_page(pool, page, snapshots, &list->volume) != 0) {
            status = fail_errno(pool, call, errno, "list the pool");
            break;
        }
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
    return status == SLUICE_OK ? pool_check(pool, call) : status;
}

int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    return list_all(pool, call, list, false);
}

int32_t snapshot_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    return list_all(pool, call, list, true);
}

/* ---- sums --------------------------------------------------------------------------------- */

struct sums {
    struct pool *pool;
    struct sluice_uuid volume;
    uint64_t provisioned;
    uint64_t used;
    int error;
};

static void add_snapshot(void *argument, const struct sluice_uuid *id) {
    struct sums *sums = argument;
    struct snapshot_meta meta;
    struct stat disk;
    int directory = -1;
    if (snapshot_find(sums->pool, &sums->volume, id, &meta, &directory) == 0) {
        sums->provisioned += meta.size_bytes;
        if (fstatat(directory, LAYOUT_SNAPSHOT_DISK, &disk, AT_SYMLINK_NOFOLLOW) == 0) {
            sums->used += (uint64_t)disk.st_blocks * 512;
        }
        close_quietly(&directory);
    }
}

static void add_volume(void *argument, const struct sluice_uuid *id) {
    struct sums *sums = argument;
    char path[LAYOUT_PATH];
    char name[LAYOUT_NAME];
    struct volume_meta meta;
    struct stat disk;
    sums->volume = *id;
    layout_volume(id, path);
    int directory = beneath_open(sums->pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        sums->error = errno == ENOENT ? sums->error : errno;
        return;
    }
    if (volume_meta_load(directory, &meta) == 0) {
        layout_disk(meta.generation, name);
        if (fstatat(directory, name, &disk, AT_SYMLINK_NOFOLLOW) == 0) {
            sums->provisioned += meta.size_bytes;
            sums->used += (uint64_t)disk.st_blocks * 512;
        }
    }
    int snapshots = beneath_open(directory, LAYOUT_SNAPSHOTS, O_RDONLY | O_DIRECTORY, 0);
    if (snapshots >= 0 && for_each_uuid(snapshots, add_snapshot, sums) != 0) {
        sums->error = errno;
    }
    close_quietly(&snapshots);
    close_quietly(&directory);
}

int32_t volumes_count(struct pool *pool, struct sluice_call *call, uint64_t *ret_provisioned) {
    struct sums sums = {.pool = pool};
    if (for_each_uuid(pool->volumes, add_volume, &sums) != 0 || sums.error != 0) {
        return fail_errno(pool, call, sums.error != 0 ? sums.error : errno, "read the pool");
    }
    *ret_provisioned = sums.provisioned;
    return SLUICE_OK;
}

uint64_t volumes_used_bytes(struct pool *pool) {
    struct sums sums = {.pool = pool};
    for_each_uuid(pool->volumes, add_volume, &sums);
    return sums.used;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * sweep.c: see sweep.h.
 */
#include "conform/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ENTRIES 64
#define ROUNDS 4096 /* pages: a list that tells the same for ever ends */
#define POOL_OWN 1
#define MARK_ID 10 /* of the volume that tells whether a pool keeps anything */

static uint32_t kept_count;
static struct watch_made kept[WATCH_MADE_MAX];

void sweep_take(const struct watch *watch) {
    uint32_t count = watch->made_count;
    kept_count = count < WATCH_MADE_MAX ? count : WATCH_MADE_MAX;
    memcpy(kept, watch->made, kept_count * sizeof kept[0]);
}

/* The kit's own volumes of the list are deleted; others are nobody's business here. */
static void delete_listed(struct kit *kit) {
    struct sluice_volume page[PAGE_ENTRIES];
    struct sluice_list list = {.size = sizeof list, .capacity = PAGE_ENTRIES, .entries = page};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        memset(page, 0, sizeof page);
        for (uint32_t i = 0; i < PAGE_ENTRIES; i++) {
            page[i].size = sizeof page[i];
        }
        WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            list.after = page[i].volume;
            EXPECT(OPEN, host_is_id(&page[i].volume), "the volume \"%s\" " SWEEP_ALIEN,
                   page[i].name);
            WANT(DELETE, &kit->pool, host_delete(&kit->pool, &page[i].volume), SLUICE_OK);
        }
        if (list.count < list.capacity) {
            return;
        }
    }
}

static void delete_listed_snapshots(struct kit *kit) {
    struct sluice_snapshot page[PAGE_ENTRIES];
    struct sluice_list list = {.size = sizeof list, .capacity = PAGE_ENTRIES, .entries = page};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        memset(page, 0, sizeof page);
        for (uint32_t i = 0; i < PAGE_ENTRIES; i++) {
            page[i].size = sizeof page[i];
        }
        WANT(LIST, &kit->pool, host_snapshot_list(&kit->pool, &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            list.after = page[i].snapshot;
            EXPECT(OPEN, host_is_id(&page[i].snapshot), "the snapshot \"%s\" " SWEEP_ALIEN,
                   page[i].name);
            WANT(DELETE, &kit->pool,
                 host_snapshot_delete(&kit->pool, &page[i].volume, &page[i].snapshot), SLUICE_OK);
        }
        if (list.count < list.capacity) {
            return;
        }
    }
}

static bool has_snapshots(const struct kit *kit) {
    return (kit->pool.limits.caps & SLUICE_CAP_MASK(SNAPSHOT)) != 0 &&
           kit->pool.table->snapshot_list != NULL && kit->pool.table->snapshot_delete != NULL;
}

/* Snapshots last and first: those of a deleted volume are found by what the test made. */
static void delete_made(struct kit *kit) {
    for (uint32_t i = kept_count; i-- > 0;) {
        const struct watch_made *made = &kept[i];
        switch (made->kind) {
        case WATCH_GRANT:
            WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &made->id, &made->volume), SLUICE_OK);
            break;
        case WATCH_SNAPSHOT:
            if (has_snapshots(kit)) {
                WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &made->volume, &made->id),
                     SLUICE_OK);
            }
            break;
        default:
            WANT(DELETE, &kit->pool, host_delete(&kit->pool, &made->volume), SLUICE_OK);
        }
    }
    if (has_snapshots(kit)) {
        delete_listed_snapshots(kit);
    }
    delete_listed(kit);
}

static void expect_empty(struct kit *kit) {
    struct sluice_capacity capacity;
    struct sluice_volume entry = {.size = sizeof entry};
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &entry};
    WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
    EXPECT(NOTHING_LEFT, list.count == 0, "\"%s\" was deleted and is listed", entry.name);
    WANT(STAT, &kit->pool, host_stat(&kit->pool, &capacity), SLUICE_OK);
    EXPECT(NOTHING_LEFT, capacity.provisioned == 0,
           "all is deleted, and %llu bytes are told as provisioned",
           (unsigned long long)capacity.provisioned);
}

void sweep_made(struct kit *kit) {
    kit_load(kit);
    /* The place is the kit's own; a test may have ended while another pool of the kit had it. */
    WANT(OPEN, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_CLAIM | SLUICE_POOL_TAKE_OVER),
         SLUICE_OK);
    delete_made(kit);
    expect_empty(kit);
}

void sweep_release(struct kit *kit) {
    sweep_made(kit);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
}

void sweep_look(struct kit *kit) {
    struct look *look = &kit->shared->look;
    struct sluice_volume told;
    const struct sluice_uuid mark = host_id(MARK_ID);
    kit_load(kit);
    const struct sluice_driver *driver = &kit->host.boundary.driver;
    EXPECT(LOAD, driver->category == SLUICE_CATEGORY_STORAGE,
           "the category is %u: the kit tests storage drivers", driver->category);
    snprintf(look->name, sizeof look->name, "%s", driver->name);
    snprintf(look->version, sizeof look->version, "%s", driver->version);
    look->threads = driver->threads;
    WANT(OPEN, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_CLAIM), SLUICE_OK);
    look->limits = kit->pool.limits;
    kept_count = 0;
    delete_made(kit);
    const struct sluice_volume_create args = {
        .size = sizeof args,
        .volume = mark,
        .size_bytes = kit_round(kit, 1),
        .name = "mark",
        .format = "raw",
    };
    WANT(CREATE, &kit->pool, host_create_as(&kit->pool, &args, &told), SLUICE_OK);
}

void sweep_look_again(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid mark = host_id(MARK_ID);
    kit_load(kit);
    WANT(OPEN, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_CLAIM), SLUICE_OK);
    int32_t status = host_get(&kit->pool, &mark, &told);
    EXPECT(NOT_FOUND, status == SLUICE_OK || status == SLUICE_NOT_FOUND,
           "volume_get answered %s (\"%s\")", status_name(status), kit->pool.call.text);
    kit->shared->look.keeps = status == SLUICE_OK;
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &mark), SLUICE_OK);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
}

void sweep_look_marker(struct kit *kit) {
    kit_load(kit);
    int32_t status = kit_try(kit, POOL_OWN, 0);
    if (status == SLUICE_OK) {
        return; /* it has none, or pool.claims will tell that it should */
    }
    WANT(VANISHED, &kit->pool, status, SLUICE_VANISHED);
    EXPECT(OPEN, kit->shared->look.keeps,
           "the pool has a marker, but a volume that was made is not there in the next process");
}

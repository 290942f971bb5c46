/* SPDX-License-Identifier: Apache-2.0
 *
 * test_snapshot.c: snapshots, and putting volumes back to them.
 */
#include <string.h>

#include "conform/test.h"

#define CHAIN 5
#define PAGE_MOST 4
#define COUNTED_MOST 1000 /* snapshots: more would take long and show no more */

void test_snapshot_creates(struct kit *kit) {
    struct sluice_snapshot told;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    const struct sluice_uuid id = kit_id(kit);
    for (int i = 0; i < 2; i++) {
        WANT(SNAPSHOT, &kit->pool, host_snapshot(&kit->pool, &volume, &id, "s", &told), SLUICE_OK);
        EXPECT(RESULT, told.size_bytes == kit->size && strcmp(told.name, "s") == 0,
               "snapshot_create tells \"%s\" and %llu bytes, the volume has %llu", told.name,
               (unsigned long long)told.size_bytes, (unsigned long long)kit->size);
    }
    WANT(SNAPSHOT, &kit->pool, host_snapshot(&kit->pool, &volume, &id, "t", &told), SLUICE_EXISTS);
    WANT(SNAPSHOT, &kit->pool, host_snapshot_get(&kit->pool, &volume, &id, &told), SLUICE_OK);
    EXPECT(RESULT, told.size_bytes == kit->size && strcmp(told.name, "s") == 0,
           "snapshot_get tells \"%s\" and %llu bytes", told.name,
           (unsigned long long)told.size_bytes);
}

void test_snapshot_keeps(struct kit *kit) {
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size / 2);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    kit_put(kit, &volume, 2, kit->block, kit->size - kit->block);
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 1, 0, kit->size / 2,
               "a snapshot, after its volume was written");
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 0, kit->size / 2, kit->size / 2,
               "a snapshot where its volume had nothing");
    kit_expect(kit, RULE_SNAPSHOT, &volume, NULL, 1, 0, kit->block,
               "the volume where it was not written since");
    kit_expect(kit, RULE_SNAPSHOT, &volume, NULL, 2, kit->block, kit->size - kit->block,
               "the volume where it was written since");
    /* Asked again it does not take the volume as it is now. */
    struct sluice_snapshot told;
    WANT(SNAPSHOT, &kit->pool, host_snapshot(&kit->pool, &volume, &snapshot, "a snapshot", &told),
         SLUICE_OK);
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 1, 0, kit->size / 2,
               "a snapshot that was asked for again");
}

void test_snapshot_outlives(struct kit *kit) {
    struct sluice_snapshot told;
    struct sluice_volume gone;
    bool bytes = kit_has(kit, SLUICE_CAP_DATA);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    if (bytes) {
        kit_put(kit, &volume, 1, 0, kit->size);
    }
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
    WANT(DELETE, &kit->pool, host_get(&kit->pool, &volume, &gone), SLUICE_NOT_FOUND);
    WANT(DELETE, &kit->pool, host_snapshot_get(&kit->pool, &volume, &snapshot, &told), SLUICE_OK);
    EXPECT(DELETE, !kit_is_listed(kit, &volume), "a volume that was deleted is listed");
    if (bytes) {
        kit_expect(kit, RULE_DELETE, &volume, &snapshot, 1, 0, kit->size,
                   "a snapshot whose volume was deleted");
    }
    WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &snapshot), SLUICE_OK);
    WANT(NOT_FOUND, &kit->pool, host_snapshot_get(&kit->pool, &volume, &snapshot, &told),
         SLUICE_NOT_FOUND);
}

void test_snapshot_live(struct kit *kit) {
    struct host_data data;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    kit_write(&data, 2, 0, kit->block, false);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    kit_write(&data, 3, 0, 2 * kit->block, true);
    kit_read(RULE_SNAPSHOT, &data, 3, 0, 2 * kit->block, "an open volume, after its snapshot");
    kit_read(RULE_SNAPSHOT, &data, 1, 2 * kit->block, kit->size - 2 * kit->block,
             "an open volume, where nothing was written after its snapshot");
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 2, 0, kit->block,
               "a live snapshot, where a write was acknowledged before it");
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 1, kit->block, kit->size - kit->block,
               "a live snapshot, after its volume was written");
    host_data_close(&data);
}

/* Lists the snapshots of a volume, or of all; expects exactly `ids`, in order. */
static void list_by(struct kit *kit, const struct sluice_uuid *volume, uint32_t capacity,
                    const struct sluice_uuid *ids, const struct sluice_uuid *of, uint32_t count) {
    struct sluice_snapshot page[PAGE_MOST];
    struct sluice_list list = {.size = sizeof list, .capacity = capacity, .entries = page};
    uint32_t at = 0;
    if (volume != NULL) {
        list.volume = *volume;
    }
    do {
        memset(page, 0, sizeof page);
        for (uint32_t i = 0; i < capacity; i++) {
            page[i].size = sizeof page[i];
        }
        list.count = 0;
        WANT(LIST, &kit->pool, host_snapshot_list(&kit->pool, &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++, at++) {
            EXPECT(LIST, at < count && memcmp(&page[i].snapshot, &ids[at], sizeof ids[at]) == 0,
                   "pages of %u of %s: number %u is not the snapshot that comes there", capacity,
                   volume != NULL ? "one volume" : "all", at);
            EXPECT(LIST, memcmp(&page[i].volume, &of[at], sizeof of[at]) == 0,
                   "pages of %u: number %u is told to be another volume's", capacity, at);
            list.after = page[i].snapshot;
        }
    } while (list.count == capacity);
    EXPECT(LIST, at == count, "pages of %u of %s list %u snapshots, there are %u", capacity,
           volume != NULL ? "one volume" : "all", at, count);
}

void test_snapshot_lists(struct kit *kit) {
    const struct sluice_uuid volumes[2] = {kit_volume(kit, kit->size), kit_volume(kit, kit->size)};
    struct sluice_uuid all[4];
    struct sluice_uuid of[4];
    for (int i = 0; i < 4; i++) {
        of[i] = volumes[i % 2];
        all[i] = kit_snapshot(kit, &of[i]);
    }
    const struct sluice_uuid first[2] = {all[0], all[2]};
    for (uint32_t capacity = 1; capacity <= PAGE_MOST; capacity++) {
        list_by(kit, NULL, capacity, all, of, 4);
        list_by(kit, &volumes[0], capacity, first, (const struct sluice_uuid[]){of[0], of[2]}, 2);
    }
}

void test_snapshot_deletes(struct kit *kit) {
    static const uint32_t order[CHAIN] = {2, 0, 4, 1, 3};
    struct sluice_uuid chain[CHAIN];
    bool there[CHAIN];
    bool bytes = kit_has(kit, SLUICE_CAP_DATA);
    uint32_t count = kit->pool.limits.snapshots_max > 0 && kit->pool.limits.snapshots_max < CHAIN
                         ? (uint32_t)kit->pool.limits.snapshots_max
                         : CHAIN;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    for (uint32_t i = 0; i < count; i++) {
        if (bytes) {
            kit_put(kit, &volume, i + 1, i * kit->block, kit->size - i * kit->block);
        }
        chain[i] = kit_snapshot(kit, &volume);
        there[i] = true;
    }
    for (uint32_t k = 0; k < CHAIN; k++) {
        struct sluice_snapshot told;
        uint32_t gone = order[k];
        if (gone >= count) {
            continue;
        }
        for (int twice = 0; twice < 2; twice++) {
            WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &chain[gone]),
                 SLUICE_OK);
        }
        there[gone] = false;
        WANT(NOT_FOUND, &kit->pool, host_snapshot_get(&kit->pool, &volume, &chain[gone], &told),
             SLUICE_NOT_FOUND);
        for (uint32_t i = 0; bytes && i < count; i++) {
            if (there[i]) {
                kit_expect(kit, RULE_SNAPSHOT, &volume, &chain[i], i + 1, i * kit->block,
                           kit->size - i * kit->block, "a snapshot, after another was deleted");
            }
        }
    }
    for (uint32_t i = 0; bytes && i + 1 < count; i++) {
        kit_expect(kit, RULE_SNAPSHOT, &volume, NULL, i + 1, i * kit->block, kit->block,
                   "the volume, after its snapshots were deleted");
    }
}

void test_snapshot_count(struct kit *kit) {
    struct sluice_snapshot told;
    uint64_t most = kit->pool.limits.snapshots_max;
    if (most == 0 || most > COUNTED_MOST) {
        kit_skip(kit, "the pool states no small snapshots_max");
    }
    /* Images above each other come to their own limit first, which is LIMIT too. */
    if (kit->pool.limits.chain_max > 0 && kit->pool.limits.chain_max <= most) {
        kit_skip(kit, "chain_max is reached before snapshots_max");
    }
    const struct sluice_uuid volume = kit_volume(kit, kit_round(kit, 1));
    struct sluice_uuid last = volume;
    for (uint64_t i = 0; i < most; i++) {
        last = kit_snapshot(kit, &volume);
    }
    const struct sluice_uuid more = kit_id(kit);
    WANT(COUNTS, &kit->pool, host_snapshot(&kit->pool, &volume, &more, "more", &told),
         SLUICE_LIMIT);
    WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &last), SLUICE_OK);
    WANT(COUNTS, &kit->pool, host_snapshot(&kit->pool, &volume, &more, "more", &told), SLUICE_OK);
}

/* ---- revert ------------------------------------------------------------------------------- */

static void revert(struct kit *kit, const struct sluice_uuid *volume,
                   const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                   uint64_t size) {
    struct sluice_volume told;
    WANT(REVERT, &kit->pool, host_revert(&kit->pool, volume, snapshot, operation, &told),
         SLUICE_OK);
    EXPECT(REVERT, told.size_bytes == size, "volume_revert tells %llu bytes, the snapshot has %llu",
           (unsigned long long)told.size_bytes, (unsigned long long)size);
}

void test_revert_bytes(struct kit *kit) {
    const struct sluice_uuid operation = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size / 2);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    kit_put(kit, &volume, 2, 0, kit->size);
    revert(kit, &volume, &snapshot, &operation, kit->size);
    kit_expect(kit, RULE_REVERT, &volume, NULL, 1, 0, kit->size / 2, "a volume that was reverted");
    kit_expect(kit, RULE_REVERT, &volume, NULL, 0, kit->size / 2, kit->size / 2,
               "a volume that was reverted, where the snapshot has nothing");
    /* And the snapshot is still one. */
    kit_put(kit, &volume, 3, 0, kit->size);
    kit_expect(kit, RULE_SNAPSHOT, &volume, &snapshot, 1, 0, kit->size / 2,
               "a snapshot, after its volume was reverted and written");
}

void test_revert_size(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid operation = kit_id(kit);
    uint64_t larger = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    WANT(RESIZE, &kit->pool, host_resize(&kit->pool, &volume, larger, &told), SLUICE_OK);
    revert(kit, &volume, &snapshot, &operation, kit->size);
    WANT(REVERT, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_OK);
    EXPECT(REVERT, told.size_bytes == kit->size, "after the revert volume_get tells %llu bytes",
           (unsigned long long)told.size_bytes);
}

void test_revert_again(struct kit *kit) {
    const struct sluice_uuid operation = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    kit_put(kit, &volume, 2, 0, kit->size);
    revert(kit, &volume, &snapshot, &operation, kit->size);
    kit_put(kit, &volume, 3, 0, kit->block);
    for (int i = 0; i < 2; i++) {
        revert(kit, &volume, &snapshot, &operation, kit->size);
        kit_expect(kit, RULE_REVERT, &volume, NULL, 3, 0, kit->block,
                   "what was written after a revert that was asked for again");
    }
    kit_expect(kit, RULE_REVERT, &volume, NULL, 1, kit->block, kit->size - kit->block,
               "a volume whose revert was asked for again");
}

void test_revert_next(struct kit *kit) {
    const struct sluice_uuid operation = kit_id(kit);
    const struct sluice_uuid next = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid one = kit_snapshot(kit, &volume);
    kit_put(kit, &volume, 2, 0, kit->size);
    const struct sluice_uuid two = kit_snapshot(kit, &volume);
    revert(kit, &volume, &one, &operation, kit->size);
    kit_put(kit, &volume, 3, 0, kit->size);
    revert(kit, &volume, &one, &next, kit->size);
    kit_expect(kit, RULE_REVERT, &volume, NULL, 1, 0, kit->size,
               "a volume that was reverted by another operation");
    const struct sluice_uuid last = kit_id(kit);
    revert(kit, &volume, &two, &last, kit->size);
    kit_expect(kit, RULE_REVERT, &volume, NULL, 2, 0, kit->size,
               "a volume that was put forward to a later snapshot");
}

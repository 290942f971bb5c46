/* SPDX-License-Identifier: Apache-2.0
 *
 * test_resize.c: larger, smaller, and the same again.
 */
#include <string.h>

#include "conform/test.h"

static void resize(struct kit *kit, const struct sluice_uuid *volume, uint64_t size) {
    struct sluice_volume told;
    WANT(RESIZE, &kit->pool, host_resize(&kit->pool, volume, size, &told), SLUICE_OK);
    EXPECT(RESIZE, told.size_bytes == size, "volume_resize to %llu bytes tells %llu",
           (unsigned long long)size, (unsigned long long)told.size_bytes);
    WANT(RESIZE, &kit->pool, host_get(&kit->pool, volume, &told), SLUICE_OK);
    EXPECT(RESIZE, told.size_bytes == size, "after a resize to %llu volume_get tells %llu",
           (unsigned long long)size, (unsigned long long)told.size_bytes);
}

void test_resize_grows(struct kit *kit) {
    uint64_t larger = kit_round(kit, 3 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    bool bytes = kit_has(kit, SLUICE_CAP_DATA);
    if (bytes) {
        kit_put(kit, &volume, 1, 0, kit->size);
    }
    resize(kit, &volume, larger);
    if (bytes) {
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 1, 0, kit->size,
                   "what was there before growing");
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 0, kit->size, larger - kit->size,
                   "what growing added");
        kit_put(kit, &volume, 2, larger - kit->block, kit->block);
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 2, larger - kit->block, kit->block,
                   "the new last block");
    }
    struct sluice_capacity capacity;
    WANT(STAT, &kit->pool, host_stat(&kit->pool, &capacity), SLUICE_OK);
    EXPECT(STAT, capacity.provisioned == larger, "after growing to %llu provisioned is %llu",
           (unsigned long long)larger, (unsigned long long)capacity.provisioned);
}

void test_resize_shrinks(struct kit *kit) {
    uint64_t large = kit_round(kit, 2 * kit->size);
    /* Not at a multiple of what drivers keep together. */
    uint64_t step = kit->pool.limits.volume_size_step > 0 ? kit->pool.limits.volume_size_step : 512;
    uint64_t small = kit->size > 2 * step ? kit->size - step : kit->size;
    small = kit_round(kit, small);
    const struct sluice_uuid volume = kit_volume(kit, large);
    bool bytes = kit_has(kit, SLUICE_CAP_DATA);
    if (bytes) {
        kit_put(kit, &volume, 1, 0, large);
    }
    resize(kit, &volume, small);
    if (bytes) {
        struct host_data data;
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 1, 0, small, "what shrinking left");
        uint8_t beyond[1];
        kit_data_open(kit, &data, &volume, NULL, true);
        WANT_IO(RANGE, host_read(&data, small, beyond, 1), SLUICE_INVALID,
                "a read beyond the end after shrinking");
        host_data_close(&data);
    }
    if (!kit_has(kit, SLUICE_CAP_GROW)) {
        return;
    }
    resize(kit, &volume, large);
    if (bytes) {
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 1, 0, small, "what shrinking had left");
        kit_expect(kit, RULE_RESIZE, &volume, NULL, 0, small, large - small,
                   "what was cut off, after growing again");
    }
}

void test_resize_again(struct kit *kit) {
    uint64_t larger = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    resize(kit, &volume, kit->size);
    resize(kit, &volume, larger);
    resize(kit, &volume, larger);
}

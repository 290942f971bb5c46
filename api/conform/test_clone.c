/* SPDX-License-Identifier: Apache-2.0
 *
 * test_clone.c: volumes that begin as snapshots, or as other volumes; and those that come and go as
 * they are.
 */
#include <string.h>

#include "conform/test.h"

void test_clone_bytes(struct kit *kit) {
    struct sluice_volume told;
    uint64_t larger = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid same = kit_id(kit);
    const struct sluice_uuid more = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    kit_put(kit, &volume, 2, 0, kit->size);
    for (int i = 0; i < 2; i++) {
        WANT(CLONE, &kit->pool,
             host_clone(&kit->pool, &same, "c", kit->size, &volume, &snapshot, &told), SLUICE_OK);
        EXPECT(RESULT, told.size_bytes == kit->size && strcmp(told.name, "c") == 0,
               "a clone is told as \"%s\" of %llu bytes", told.name,
               (unsigned long long)told.size_bytes);
    }
    WANT(CLONE, &kit->pool, host_clone(&kit->pool, &more, "m", larger, &volume, &snapshot, &told),
         SLUICE_OK);
    kit_expect(kit, RULE_CLONE, &same, NULL, 1, 0, kit->size, "a clone");
    kit_expect(kit, RULE_CLONE, &more, NULL, 1, 0, kit->size, "a larger clone");
    kit_expect(kit, RULE_CLONE, &more, NULL, 0, kit->size, larger - kit->size,
               "a larger clone, beyond its source");
    WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &same, "c", kit->size, &told),
         SLUICE_EXISTS);
}

void test_clone_apart(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid ids[2] = {kit_id(kit), kit_id(kit)};
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    for (int i = 0; i < 2; i++) {
        WANT(CLONE, &kit->pool,
             host_clone(&kit->pool, &ids[i], "c", kit->size, &volume, &snapshot, &told), SLUICE_OK);
    }
    kit_put(kit, &ids[0], 2, 0, kit->block);
    kit_put(kit, &volume, 3, kit->block, kit->block);
    kit_expect(kit, RULE_CLONE, &volume, &snapshot, 1, 0, kit->size,
               "a snapshot, after its clone and its volume were written");
    kit_expect(kit, RULE_CLONE, &ids[1], NULL, 1, 0, kit->size,
               "a clone, after another and the volume were written");
    kit_expect(kit, RULE_CLONE, &ids[0], NULL, 2, 0, kit->block, "what a clone was written");
    kit_expect(kit, RULE_CLONE, &ids[0], NULL, 1, kit->block, kit->size - kit->block,
               "a clone beside what it was written");
    kit_expect(kit, RULE_CLONE, &volume, NULL, 1, 0, kit->block,
               "the volume, after its clone was written");
}

void test_clone_smaller(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    const struct sluice_uuid never = kit_id(kit);
    uint64_t larger = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, larger);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    WANT(CLONE, &kit->pool, host_clone(&kit->pool, &id, "c", kit->size, &volume, &snapshot, &told),
         SLUICE_INVALID);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_NOT_FOUND);
    WANT(NOT_FOUND, &kit->pool, host_clone(&kit->pool, &id, "c", larger, &volume, &never, &told),
         SLUICE_NOT_FOUND);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_NOT_FOUND);
}

void test_clone_outlives(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    WANT(CLONE, &kit->pool, host_clone(&kit->pool, &id, "c", kit->size, &volume, &snapshot, &told),
         SLUICE_OK);
    WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &volume, &snapshot), SLUICE_OK);
    kit_expect(kit, RULE_CLONE, &id, NULL, 1, 0, kit->size,
               "a clone, after its snapshot was deleted");
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
    kit_expect(kit, RULE_CLONE, &id, NULL, 1, 0, kit->size,
               "a clone, after the volume of its snapshot was deleted");
    /* Asked again, its source being gone: it is there. */
    WANT(CREATE_AGAIN, &kit->pool,
         host_clone(&kit->pool, &id, "c", kit->size, &volume, &snapshot, &told), SLUICE_OK);
}

/* ---- copies ------------------------------------------------------------------------------- */

/* There is no capability for it. */
static void copy_or_skip(struct kit *kit, const struct sluice_uuid *id, uint64_t size,
                         const struct sluice_uuid *of, int32_t wanted) {
    struct sluice_volume told;
    int32_t status = host_copy(&kit->pool, id, "copy", size, of, &told);
    if (status == SLUICE_UNSUPPORTED) {
        kit_skip(kit, "the driver copies no volumes");
    }
    WANT(CLONE, &kit->pool, status, wanted);
    EXPECT(RESULT, status != SLUICE_OK || told.size_bytes == size,
           "a copy of %llu bytes is told with %llu", (unsigned long long)size,
           (unsigned long long)told.size_bytes);
}

void test_copy_bytes(struct kit *kit) {
    uint64_t larger = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid ids[2] = {kit_id(kit), kit_id(kit)};
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    copy_or_skip(kit, &ids[0], kit->size, &volume, SLUICE_OK);
    copy_or_skip(kit, &ids[0], kit->size, &volume, SLUICE_OK);
    copy_or_skip(kit, &ids[1], larger, &volume, SLUICE_OK);
    kit_put(kit, &volume, 2, 0, kit->block);
    kit_put(kit, &ids[1], 3, kit->block, kit->block);
    kit_expect(kit, RULE_CLONE, &ids[0], NULL, 1, 0, kit->size,
               "a copy, after its volume was written");
    kit_expect(kit, RULE_CLONE, &ids[1], NULL, 1, 0, kit->block, "a larger copy");
    kit_expect(kit, RULE_CLONE, &ids[1], NULL, 0, kit->size, larger - kit->size,
               "a larger copy, beyond its source");
    kit_expect(kit, RULE_CLONE, &volume, NULL, 1, kit->block, kit->size - kit->block,
               "a volume, after its copy was written");
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
    kit_expect(kit, RULE_CLONE, &ids[0], NULL, 1, 0, kit->size,
               "a copy, after its volume was deleted");
}

void test_copy_smaller(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit_round(kit, 2 * kit->size));
    copy_or_skip(kit, &id, kit->size, &volume, SLUICE_INVALID);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_NOT_FOUND);
}

/* ---- adoption ----------------------------------------------------------------------------- */

void test_adopt_round_trip(struct kit *kit) {
    struct sluice_volume told;
    char reference[SLUICE_PATH_MAX];
    char again[SLUICE_PATH_MAX];
    bool bytes = kit_has(kit, SLUICE_CAP_DATA);
    const struct sluice_uuid adopted = kit_id(kit);
    const struct sluice_uuid other = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    if (bytes) {
        kit_put(kit, &volume, 1, 0, kit->size);
    }
    WANT(ADOPT, &kit->pool, host_unmanage(&kit->pool, &volume, reference), SLUICE_OK);
    EXPECT(ADOPT, reference[0] != '\0' && memchr(reference, '\0', sizeof reference) != NULL,
           "volume_unmanage tells no reference");
    WANT(ADOPT, &kit->pool, host_unmanage(&kit->pool, &volume, again), SLUICE_OK);
    EXPECT(ADOPT, strcmp(reference, again) == 0, "unmanaged again the reference is %s, it was %s",
           again, reference);
    WANT(ADOPT, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_NOT_FOUND);
    EXPECT(ADOPT, !kit_is_listed(kit, &volume), "a volume that was unmanaged is listed");
    for (int i = 0; i < 2; i++) {
        WANT(ADOPT, &kit->pool, host_adopt(&kit->pool, &adopted, reference, "back", &told),
             SLUICE_OK);
        EXPECT(ADOPT, told.size_bytes == kit->size && strcmp(told.name, "back") == 0,
               "adopted it is told as \"%s\" of %llu bytes", told.name,
               (unsigned long long)told.size_bytes);
    }
    EXPECT(ADOPT, kit_is_listed(kit, &adopted), "a volume that was adopted is not listed");
    if (bytes) {
        kit_expect(kit, RULE_ADOPT, &adopted, NULL, 1, 0, kit->size, "an adopted volume");
    }
    int32_t status = host_adopt(&kit->pool, &other, "no such thing", "n", &told);
    EXPECT(ADOPT, status == SLUICE_NOT_FOUND || status == SLUICE_INVALID,
           "adopting what is not there answered %s", status_name(status));
}

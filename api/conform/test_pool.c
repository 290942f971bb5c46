/* SPDX-License-Identifier: Apache-2.0
 *
 * test_pool.c: markers, opening by several processes one after the other, capacity.
 *
 * Each process opens one pool once, as a runner does. A test's processes share the ids of the kit
 * they were forked from, so a volume that one of them makes is the first id of the test in all.
 */
#include <stdlib.h>
#include <string.h>

#include "conform/test.h"

#define POOL_OWN 1
#define POOL_OTHER 3

/* The pool is released, so nothing marks it. */
static void without_marker(struct kit *kit) {
    kit_load(kit);
    WANT(VANISHED, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_VANISHED);
    kit_unload(kit);
}

static void claim(struct kit *kit) {
    kit_open(kit);
    kit_close(kit);
}

static void open_plainly(struct kit *kit) {
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    kit_close(kit);
}

static void release(struct kit *kit) {
    kit_open(kit);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
    kit_close(kit);
}

void test_pool_claims(struct kit *kit) {
    kit_run(kit, release);
    kit_run(kit, without_marker);
    kit_run(kit, claim);
    kit_run(kit, claim);
    kit_run(kit, open_plainly);
}

static void make_one(struct kit *kit) {
    kit_open(kit);
    kit_volume(kit, kit->size);
    kit_close(kit);
}

static void find_one(struct kit *kit) {
    struct sluice_volume told;
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    const struct sluice_uuid volume = kit_id(kit);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_OK);
    EXPECT(RESULT, told.size_bytes == kit->size && strcmp(told.name, "a volume") == 0,
           "in the next process it has %llu bytes and the name \"%s\"",
           (unsigned long long)told.size_bytes, told.name);
    EXPECT(LIST, kit_is_listed(kit, &volume), "in the next process it is not listed");
    kit_close(kit);
}

void test_pool_reopens(struct kit *kit) {
    kit_run(kit, make_one);
    kit_run(kit, find_one);
}

/* Another pool's claim on our place, with and without the flag. */
static void claim_foreign(struct kit *kit) {
    kit_load(kit);
    WANT(FOREIGN, &kit->pool, kit_try(kit, POOL_OTHER, SLUICE_POOL_CLAIM), SLUICE_FOREIGN);
    kit_unload(kit);
}

static void open_foreign(struct kit *kit) {
    kit_load(kit);
    WANT(FOREIGN, &kit->pool, kit_try(kit, POOL_OTHER, 0), SLUICE_FOREIGN);
    kit_unload(kit);
}

void test_pool_foreign(struct kit *kit) {
    kit_run(kit, make_one);
    kit_run(kit, claim_foreign);
    kit_run(kit, open_foreign);
    kit_run(kit, find_one);
}

/* ---- a pool that is taken over while it is open ------------------------------------------- */

static void want_all(enum rule rule, struct kit *kit, int32_t wanted) {
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_capacity capacity;
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &told};
    const struct sluice_uuid there = kit_id(kit);
    const struct sluice_uuid new = kit_id(kit);
    kit_want(rule, &kit->pool, host_get(&kit->pool, &there, &told), wanted);
    kit_want(rule, &kit->pool, host_list(&kit->pool, &list), wanted);
    kit_want(rule, &kit->pool, host_create(&kit->pool, &new, "new", kit->size, &told), wanted);
    kit_want(rule, &kit->pool, host_delete(&kit->pool, &there), wanted);
    kit_want(rule, &kit->pool, host_stat(&kit->pool, &capacity), wanted);
    kit_want(rule, &kit->pool, host_probe(&kit->pool), wanted);
    if (kit_has(kit, SLUICE_CAP_GROW)) {
        kit_want(rule, &kit->pool,
                 host_resize(&kit->pool, &there, kit_round(kit, 2 * kit->size), &told), wanted);
    }
    if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
        struct sluice_snapshot taken = {.size = sizeof taken};
        struct sluice_list snapshots = {.size = sizeof list, .capacity = 1, .entries = &taken};
        kit_want(rule, &kit->pool, host_snapshot(&kit->pool, &there, &new, "new", &taken), wanted);
        kit_want(rule, &kit->pool, host_snapshot_delete(&kit->pool, &there, &new), wanted);
        kit_want(rule, &kit->pool, host_snapshot_list(&kit->pool, &snapshots), wanted);
    }
    if (kit_has(kit, SLUICE_CAP_DATA)) {
        struct host_data data;
        kit_want(rule, &kit->pool,
                 host_data_open(&data, &kit->pool, &there, NULL, kit_epoch(kit), false), wanted);
    }
}

static void lose_it(struct kit *kit) {
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    kit_reach(kit, 1);
    kit_await(kit, 2);
    want_all(RULE_FOREIGN, kit, SLUICE_FOREIGN);
    kit_close(kit);
}

static void take_it(struct kit *kit) {
    struct sluice_volume told;
    kit_await(kit, 1);
    kit_load(kit);
    WANT(TAKE_OVER, &kit->pool, kit_try(kit, POOL_OTHER, SLUICE_POOL_TAKE_OVER), SLUICE_OK);
    const struct sluice_uuid volume = kit_id(kit);
    WANT(TAKE_OVER, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_OK);
    kit_close(kit);
    kit_reach(kit, 2);
}

static void take_it_back(struct kit *kit) {
    kit_load(kit);
    WANT(FOREIGN, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_FOREIGN);
    kit_unload(kit);
}

static void take_over_back(struct kit *kit) {
    kit_load(kit);
    WANT(TAKE_OVER, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_TAKE_OVER), SLUICE_OK);
    kit_close(kit);
}

void test_pool_takes_over(struct kit *kit) {
    kit_run(kit, make_one);
    int loser = kit_spawn(kit, 1, lose_it);
    int taker = kit_spawn(kit, 2, take_it);
    kit_join(kit, taker, 0);
    kit_join(kit, loser, 0);
    kit_run(kit, take_it_back);
    kit_run(kit, take_over_back);
    kit_run(kit, find_one);
}

static void release_twice(struct kit *kit) {
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
    want_all(RULE_VANISHED, kit, SLUICE_VANISHED);
    kit_close(kit);
}

void test_pool_releases(struct kit *kit) {
    kit_run(kit, make_one);
    kit_run(kit, release_twice);
    kit_run(kit, without_marker);
    kit_run(kit, claim);
    kit_run(kit, find_one);
}

/* ---- capacity ----------------------------------------------------------------------------- */

void test_pool_stat(struct kit *kit) {
    struct sluice_capacity before;
    struct sluice_capacity after;
    WANT(STAT, &kit->pool, host_stat(&kit->pool, &before), SLUICE_OK);
    EXPECT(STAT, before.used <= before.total, "used is %llu, total %llu",
           (unsigned long long)before.used, (unsigned long long)before.total);
    EXPECT(STAT, before.provisioned == 0, "an empty pool tells %llu bytes provisioned",
           (unsigned long long)before.provisioned);
    uint64_t expected = kit->size;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
        kit_snapshot(kit, &volume);
        expected += kit->size;
    }
    WANT(STAT, &kit->pool, host_stat(&kit->pool, &after), SLUICE_OK);
    EXPECT(STAT, after.provisioned == expected,
           "volumes and snapshots have %llu bytes, provisioned is %llu",
           (unsigned long long)expected, (unsigned long long)after.provisioned);
    EXPECT(STAT, after.size == sizeof after, "pool_stat changed its result's size to %u",
           after.size);
}

void test_pool_probe(struct kit *kit) {
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_list list = {.size = sizeof list, .capacity = 1, .entries = &told};
    WANT(PROBE, &kit->pool, host_probe(&kit->pool), SLUICE_OK);
    WANT(PROBE, &kit->pool, host_probe(&kit->pool), SLUICE_OK);
    WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
    EXPECT(PROBE, list.count == 0, "the probe left the volume \"%s\"", told.name);
}

static void look_for_it_in_the_second(struct kit *kit) {
    struct sluice_volume told;
    kit_load(kit);
    WANT(OPEN, &kit->pool, kit_try_second(kit, SLUICE_POOL_CLAIM), SLUICE_OK);
    const struct sluice_uuid volume = kit_id(kit);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &volume, &told), SLUICE_NOT_FOUND);
    EXPECT(LIST, !kit_is_listed(kit, &volume),
           "a volume of the first pool is listed in the second");
    /* The same id in another pool is another volume. */
    WANT(CREATE, &kit->pool,
         host_create(&kit->pool, &volume, "another", kit_round(kit, 2 * kit->size), &told),
         SLUICE_OK);
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
    WANT(RELEASE, &kit->pool, host_release(&kit->pool), SLUICE_OK);
    kit_close(kit);
}

void test_pool_second(struct kit *kit) {
    kit_run(kit, make_one);
    kit_run(kit, look_for_it_in_the_second);
    if (kit->shared->look.keeps) {
        kit_run(kit, find_one);
    }
}

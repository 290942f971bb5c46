/* SPDX-License-Identifier: Apache-2.0
 *
 * test_volume.c: volumes: create, get, list, delete, sizes and names.
 */
#include <stdlib.h>
#include <string.h>

#include "conform/test.h"

#define LISTED 7 /* volumes; with pages of 1, 2, 3, 7 and 8 every edge is met */
#define PAGE_MOST 8
#define LONG_NAME 4096
#define COUNTED_MOST 1000 /* volumes: more would take long and show no more */

static void expect_told(const struct kit *kit, const struct sluice_volume *told, const char *name,
                        uint64_t size) {
    EXPECT(RESULT, told->size_bytes == size && strcmp(told->name, name) == 0,
           "%s of \"%s\" and %llu bytes tells \"%s\" and %llu", kit->pool.asked, name,
           (unsigned long long)size, told->name, (unsigned long long)told->size_bytes);
}

void test_volume_creates(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    WANT(CREATE, &kit->pool, host_create(&kit->pool, &id, "first", kit->size, &told), SLUICE_OK);
    expect_told(kit, &told, "first", kit->size);
    EXPECT(RESULT, strstr(kit->pool.limits.formats, told.format) != NULL,
           "its format is %s, the pool's are %s", told.format, kit->pool.limits.formats);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_OK);
    expect_told(kit, &told, "first", kit->size);
    EXPECT(LIST, kit_is_listed(kit, &id), "a volume that was made is not listed");
}

void test_volume_creates_again(struct kit *kit) {
    struct sluice_volume told;
    struct sluice_volume again;
    const struct sluice_uuid id = kit_id(kit);
    WANT(CREATE, &kit->pool, host_create(&kit->pool, &id, "one", kit->size, &told), SLUICE_OK);
    for (int i = 0; i < 2; i++) {
        WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &id, "one", kit->size, &again),
             SLUICE_OK);
        EXPECT(CREATE_AGAIN,
               told.size_bytes == again.size_bytes && strcmp(told.name, again.name) == 0 &&
                   strcmp(told.format, again.format) == 0,
               "the second answer tells \"%s\", %llu bytes, the first told \"%s\", %llu bytes",
               again.name, (unsigned long long)again.size_bytes, told.name,
               (unsigned long long)told.size_bytes);
    }
    if (kit_has(kit, SLUICE_CAP_DATA)) {
        kit_put(kit, &id, 1, 0, kit->block);
        WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &id, "one", kit->size, &again),
             SLUICE_OK);
        kit_expect(kit, RULE_CREATE_AGAIN, &id, NULL, 1, 0, kit->block,
                   "after creating again what was written");
    }
    /* Also when it was resized since: the question is whether it is the same request. */
    if (kit_has(kit, SLUICE_CAP_GROW)) {
        uint64_t larger = kit_round(kit, 2 * kit->size);
        WANT(RESIZE, &kit->pool, host_resize(&kit->pool, &id, larger, &again), SLUICE_OK);
        WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &id, "one", kit->size, &again),
             SLUICE_OK);
        expect_told(kit, &again, "one", larger);
    }
}

void test_volume_exists(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    WANT(CREATE, &kit->pool, host_create(&kit->pool, &id, "one", kit->size, &told), SLUICE_OK);
    WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &id, "two", kit->size, &told),
         SLUICE_EXISTS);
    WANT(CREATE_AGAIN, &kit->pool,
         host_create(&kit->pool, &id, "one", kit_round(kit, 2 * kit->size), &told), SLUICE_EXISTS);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_OK);
    expect_told(kit, &told, "one", kit->size);
}

void test_volume_zeroes(struct kit *kit) {
    const struct sluice_uuid before = kit_volume(kit, kit->size);
    kit_put(kit, &before, 1, 0, kit->size);
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &before), SLUICE_OK);
    /* Perhaps where the other one was. */
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_expect(kit, RULE_CREATE, &volume, NULL, 0, 0, kit->size, "a new volume");
}

static void list_by(struct kit *kit, const struct sluice_uuid *ids, uint32_t count,
                    uint32_t capacity) {
    struct sluice_volume page[PAGE_MOST + 1];
    struct sluice_list list = {.size = sizeof list, .capacity = capacity, .entries = page};
    uint32_t at = 0;
    do {
        memset(page, 0x5a, sizeof page);
        for (uint32_t i = 0; i <= capacity; i++) {
            page[i].size = sizeof page[i];
        }
        list.count = 0;
        WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++, at++) {
            EXPECT(LIST, i == 0 || memcmp(&page[i - 1].volume, &page[i].volume, 16) < 0,
                   "pages of %u: entry %u is not above the one before it", capacity, i);
            EXPECT(LIST, at < count && memcmp(&page[i].volume, &ids[at], sizeof ids[at]) == 0,
                   "pages of %u: number %u of the list is not the volume that comes there",
                   capacity, at);
            EXPECT(LIST, strcmp(page[i].name, "a volume") == 0 && page[i].size_bytes == kit->size,
                   "pages of %u: number %u is listed as \"%.40s\" of %llu bytes", capacity, at,
                   page[i].name, (unsigned long long)page[i].size_bytes);
            list.after = page[i].volume;
        }
        const uint8_t *beyond = (const uint8_t *)&page[capacity].volume;
        EXPECT(LIST, beyond[0] == 0x5a && beyond[15] == 0x5a,
               "pages of %u: an entry was written beyond the capacity", capacity);
    } while (list.count == capacity);
    EXPECT(LIST, at == count, "pages of %u list %u volumes, there are %u", capacity, at, count);
}

void test_volume_lists(struct kit *kit) {
    static const uint32_t capacities[] = {1, 2, 3, LISTED, PAGE_MOST};
    static const uint32_t order[LISTED] = {3, 0, 6, 1, 5, 2, 4};
    struct sluice_uuid ids[LISTED];
    struct sluice_volume told;
    uint32_t count = kit->pool.limits.volumes_max > 0 && kit->pool.limits.volumes_max < LISTED
                         ? (uint32_t)kit->pool.limits.volumes_max
                         : LISTED;
    for (uint32_t i = 0; i < LISTED; i++) {
        ids[i] = kit_id(kit);
    }
    list_by(kit, ids, 0, 1);
    for (uint32_t i = 0; i < LISTED; i++) {
        if (order[i] < count) {
            WANT(CREATE, &kit->pool,
                 host_create(&kit->pool, &ids[order[i]], "a volume", kit->size, &told), SLUICE_OK);
        }
    }
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        list_by(kit, ids, count, capacities[i]);
    }
    /* After an id that is not there any more. */
    if (count == LISTED) {
        struct sluice_volume page[PAGE_MOST];
        struct sluice_list list = {
            .size = sizeof list, .capacity = PAGE_MOST, .entries = page, .after = ids[3]};
        memset(page, 0, sizeof page);
        for (uint32_t i = 0; i < PAGE_MOST; i++) {
            page[i].size = sizeof page[i];
        }
        WANT(DELETE, &kit->pool, host_delete(&kit->pool, &ids[3]), SLUICE_OK);
        WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
        EXPECT(LIST, list.count == 3 && memcmp(&page[0].volume, &ids[4], sizeof ids[4]) == 0,
               "after a volume that was deleted %u are listed, wanted are the 3 that follow it",
               list.count);
    }
}

void test_volume_deletes(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid one = kit_volume(kit, kit->size);
    const struct sluice_uuid two = kit_volume(kit, kit->size);
    const struct sluice_uuid never = kit_id(kit);
    for (int i = 0; i < 2; i++) {
        WANT(DELETE, &kit->pool, host_delete(&kit->pool, &one), SLUICE_OK);
        WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &one, &told), SLUICE_NOT_FOUND);
    }
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &never), SLUICE_OK);
    EXPECT(DELETE, !kit_is_listed(kit, &one), "a volume that was deleted is listed");
    WANT(DELETE, &kit->pool, host_get(&kit->pool, &two, &told), SLUICE_OK);
    EXPECT(DELETE, kit_is_listed(kit, &two), "with one volume another one was deleted");
    /* The id is free again. */
    WANT(CREATE, &kit->pool, host_create(&kit->pool, &one, "new", kit->size, &told), SLUICE_OK);
}

void test_volume_not_found(struct kit *kit) {
    struct sluice_volume told;
    const struct sluice_uuid never = kit_id(kit);
    const struct sluice_uuid other = kit_id(kit);
    WANT(NOT_FOUND, &kit->pool, host_get(&kit->pool, &never, &told), SLUICE_NOT_FOUND);
    if (kit_has(kit, SLUICE_CAP_GROW)) {
        WANT(NOT_FOUND, &kit->pool, host_resize(&kit->pool, &never, kit->size, &told),
             SLUICE_NOT_FOUND);
    }
    if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
        struct sluice_snapshot taken;
        WANT(NOT_FOUND, &kit->pool, host_snapshot(&kit->pool, &never, &other, "s", &taken),
             SLUICE_NOT_FOUND);
        WANT(NOT_FOUND, &kit->pool, host_snapshot_get(&kit->pool, &never, &other, &taken),
             SLUICE_NOT_FOUND);
        WANT(DELETE, &kit->pool, host_snapshot_delete(&kit->pool, &never, &other), SLUICE_OK);
    }
    if (kit_has(kit, SLUICE_CAP_REVERT)) {
        const struct sluice_uuid operation = kit_id(kit);
        WANT(NOT_FOUND, &kit->pool, host_revert(&kit->pool, &never, &other, &operation, &told),
             SLUICE_NOT_FOUND);
    }
    if (kit_has(kit, SLUICE_CAP_DATA)) {
        struct host_data data;
        WANT(NOT_FOUND, &kit->pool,
             host_data_open(&data, &kit->pool, &never, NULL, kit_epoch(kit), false),
             SLUICE_NOT_FOUND);
    }
}

/* ---- limits ------------------------------------------------------------------------------- */

static bool refuses(int32_t status) {
    return status == SLUICE_INVALID || status == SLUICE_LIMIT;
}

/* A size that is not the pool's: rounded up, or refused. */
static void odd_size(struct kit *kit, uint64_t size) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    int32_t status = host_create(&kit->pool, &id, "odd", size, &told);
    if (status == SLUICE_OK) {
        uint64_t step = kit->pool.limits.volume_size_step;
        EXPECT(SIZES, told.size_bytes >= size && (step == 0 || told.size_bytes % step == 0),
               "asked for %llu bytes it made %llu", (unsigned long long)size,
               (unsigned long long)told.size_bytes);
    } else {
        EXPECT(SIZES, refuses(status), "%llu bytes: %s (\"%s\"), wanted is OK, INVALID or LIMIT",
               (unsigned long long)size, status_name(status), kit->pool.call.text);
        WANT(SIZES, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_NOT_FOUND);
    }
}

void test_volume_sizes(struct kit *kit) {
    const struct sluice_pool *limits = &kit->pool.limits;
    struct sluice_volume told;
    uint64_t step = limits->volume_size_step > 0 ? limits->volume_size_step : 1;
    uint64_t least = kit_round(kit, 1);
    kit_volume(kit, least);
    kit_volume(kit, least + step);
    const struct sluice_uuid none = kit_id(kit);
    int32_t status = host_create(&kit->pool, &none, "none", 0, &told);
    EXPECT(SIZES, refuses(status), "a volume of 0 bytes: %s, wanted is INVALID or LIMIT",
           status_name(status));
    if (step > 1) {
        odd_size(kit, least + 1);
        odd_size(kit, least + step - 1);
    }
    if (limits->volume_size_min > 1) {
        odd_size(kit, limits->volume_size_min - 1);
    }
    if (limits->volume_size_max == 0) {
        return;
    }
    const struct sluice_uuid most = kit_id(kit);
    uint64_t largest = limits->volume_size_max / step * step;
    status = host_create(&kit->pool, &most, "most", largest, &told);
    EXPECT(SIZES,
           status == SLUICE_OK || status == SLUICE_NO_SPACE || status == SLUICE_QUOTA ||
               status == SLUICE_LIMIT,
           "a volume of volume_size_max bytes: %s (\"%s\")", status_name(status),
           kit->pool.call.text);
    EXPECT(SIZES, status != SLUICE_OK || told.size_bytes == largest,
           "a volume of %llu bytes was made with %llu", (unsigned long long)largest,
           (unsigned long long)told.size_bytes);
    if (largest > UINT64_MAX - step) {
        return;
    }
    const struct sluice_uuid more = kit_id(kit);
    status = host_create(&kit->pool, &more, "more", largest + step, &told);
    EXPECT(SIZES, refuses(status),
           "a volume beyond volume_size_max: %s, wanted is LIMIT or INVALID", status_name(status));
}

static void keeps_name(struct kit *kit, const char *name) {
    struct sluice_volume told;
    const struct sluice_uuid id = kit_id(kit);
    WANT(NAME, &kit->pool, host_create(&kit->pool, &id, name, kit_round(kit, 1), &told), SLUICE_OK);
    WANT(NAME, &kit->pool, host_get(&kit->pool, &id, &told), SLUICE_OK);
    EXPECT(NAME, strcmp(told.name, name) == 0, "of the name \"%s\" became \"%s\"", name, told.name);
    WANT(CREATE_AGAIN, &kit->pool, host_create(&kit->pool, &id, name, kit_round(kit, 1), &told),
         SLUICE_OK);
}

void test_volume_names(struct kit *kit) {
    static const char *const names[] = {
        "plain",
        "with spaces ",
        "a'quote\"and\\more",
        "%s%n%25",
        "../../etc/passwd",
        "{path}=x;y",
        "\xc3\xbc\xe6\xbc\xa2\xf0\x9f\x92\xbe",
        "-rf",
        ".",
    };
    char longest[SLUICE_NAME_MAX];
    uint32_t most = kit->pool.limits.name_max > 0 ? kit->pool.limits.name_max : SLUICE_NAME_MAX - 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) <= most) {
            keeps_name(kit, names[i]);
        }
    }
    memset(longest, 'n', sizeof longest);
    longest[most] = '\0';
    keeps_name(kit, longest);
}

void test_volume_long_names(struct kit *kit) {
    struct sluice_volume told;
    uint32_t most = kit->pool.limits.name_max > 0 ? kit->pool.limits.name_max : SLUICE_NAME_MAX - 1;
    const uint32_t lengths[] = {most + 1, SLUICE_NAME_MAX, LONG_NAME - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *name = malloc(LONG_NAME);
        EXPECT(NAME, name != NULL, "there is no memory for the kit itself");
        memset(name, 'n', LONG_NAME);
        name[lengths[i]] = '\0';
        const struct sluice_uuid id = kit_id(kit);
        int32_t status = host_create(&kit->pool, &id, name, kit_round(kit, 1), &told);
        EXPECT(NAME, refuses(status), "a name of %u bytes: %s, wanted is LIMIT or INVALID",
               lengths[i], status_name(status));
        if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
            struct sluice_snapshot taken;
            const struct sluice_uuid volume = kit_volume(kit, kit_round(kit, 1));
            status = host_snapshot(&kit->pool, &volume, &id, name, &taken);
            EXPECT(NAME, refuses(status),
                   "a snapshot with a name of %u bytes: %s, wanted is LIMIT or INVALID", lengths[i],
                   status_name(status));
        }
        free(name);
    }
}

void test_volume_count(struct kit *kit) {
    struct sluice_volume told;
    uint64_t most = kit->pool.limits.volumes_max;
    if (most == 0 || most > COUNTED_MOST) {
        kit_skip(kit, "the pool states no small volumes_max");
    }
    struct sluice_uuid last = kit_id(kit);
    for (uint64_t i = 0; i < most; i++) {
        last = kit_volume(kit, kit_round(kit, 1));
    }
    const struct sluice_uuid more = kit_id(kit);
    WANT(COUNTS, &kit->pool, host_create(&kit->pool, &more, "more", kit_round(kit, 1), &told),
         SLUICE_LIMIT);
    /* Asking again for what is there is no more. */
    WANT(COUNTS, &kit->pool, host_create(&kit->pool, &last, "a volume", kit_round(kit, 1), &told),
         SLUICE_OK);
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &last), SLUICE_OK);
    WANT(COUNTS, &kit->pool, host_create(&kit->pool, &more, "more", kit_round(kit, 1), &told),
         SLUICE_OK);
}

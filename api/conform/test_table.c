/* SPDX-License-Identifier: Apache-2.0
 *
 * test_table.c: the tables, and what a pool says of itself.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "conform/test.h"

void test_table_loads(struct kit *kit) {
    kit_load(kit);
    const struct sluice_driver *driver = &kit->host.boundary.driver;
    EXPECT(TABLE, driver->table != NULL, "the base table has no table(), which storage requires");
    const void *first = driver->table("storage", SLUICE_STORAGE_VERSION);
    const void *again = driver->table("storage", SLUICE_STORAGE_VERSION);
    EXPECT(TABLE, first == again, "table(\"storage\", 1) answered another pointer the second time");
    EXPECT(TABLE, driver->table("no such category", SLUICE_STORAGE_VERSION) == NULL,
           "table(\"no such category\", 1) is not NULL");
    EXPECT(TABLE, driver->table("storage", SLUICE_STORAGE_VERSION + 999) == NULL,
           "table(\"storage\", %d) is not NULL: that version does not exist",
           SLUICE_STORAGE_VERSION + 999);
    kit_unload(kit);
}

void test_table_names(struct kit *kit) {
    if (kit->subject->name == NULL) {
        kit_skip(kit, "no driver.yaml: give the folder of an unpacked archive");
    }
    kit_load(kit);
    const struct sluice_driver *driver = &kit->host.boundary.driver;
    EXPECT(NAMES, strcmp(driver->name, kit->subject->name) == 0,
           "the table says \"%s\", driver.yaml says \"%s\"", driver->name, kit->subject->name);
    EXPECT(NAMES, strcmp(driver->version, kit->subject->version) == 0,
           "the table says version \"%s\", driver.yaml says \"%s\"", driver->version,
           kit->subject->version);
    kit_unload(kit);
}

/* The member that goes with a capability. */
static const struct {
    enum sluice_cap cap;
    const char *cap_name;
    size_t offset;
    const char *member;
} members[] = {
#define GOES_WITH(cap, member) \
    { SLUICE_CAP_##cap, #cap, offsetof(struct sluice_storage, member), #member }
    GOES_WITH(SNAPSHOT, snapshot_create),
    GOES_WITH(SNAPSHOT, snapshot_delete),
    GOES_WITH(SNAPSHOT, snapshot_get),
    GOES_WITH(SNAPSHOT, snapshot_list),
    GOES_WITH(SNAPSHOT_LIVE, snapshot_create),
    GOES_WITH(CLONE, snapshot_create),
    GOES_WITH(REVERT, volume_revert),
    GOES_WITH(GROW, volume_resize),
    GOES_WITH(SHRINK, volume_resize),
    GOES_WITH(ADOPT, volume_adopt),
    GOES_WITH(ADOPT, volume_unmanage),
    GOES_WITH(GRANT, access_grant),
    GOES_WITH(GRANT, access_revoke),
    GOES_WITH(DATA, data_open),
    GOES_WITH(DATA, data_close),
    GOES_WITH(DATA, data_read),
    GOES_WITH(DATA, data_write),
    GOES_WITH(DATA, data_flush),
    GOES_WITH(DATA, data_write_zeroes),
    GOES_WITH(DATA, data_trim),
    GOES_WITH(EXTENTS, data_extents),
};

static bool is_list_of_words(const char *text, size_t size) {
    return memchr(text, '\0', size) != NULL;
}

void test_table_members(struct kit *kit) {
    const struct sluice_pool *limits = &kit->pool.limits;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        void (*member)(void);
        memcpy(&member, (const char *)kit->pool.table + members[i].offset, sizeof member);
        EXPECT(MEMBERS, member != NULL || !kit_has(kit, members[i].cap),
               "the pool states %s, and the table has no %s", members[i].cap_name,
               members[i].member);
    }
    EXPECT(LIMITS, limits->size == sizeof *limits, "pool_open changed its result's size to %u",
           limits->size);
    EXPECT(
        LIMITS, limits->volume_size_max == 0 || limits->volume_size_min <= limits->volume_size_max,
        "volume_size_min is %llu, volume_size_max %llu",
        (unsigned long long)limits->volume_size_min, (unsigned long long)limits->volume_size_max);
    EXPECT(LIMITS, limits->name_max < SLUICE_NAME_MAX,
           "name_max is %u: a name has room for %d bytes", limits->name_max, SLUICE_NAME_MAX - 1);
    EXPECT(LIMITS, limits->io_max == 0 || limits->io_align <= limits->io_max,
           "io_align is %u, io_max %u", limits->io_align, limits->io_max);
    EXPECT(LIMITS,
           is_list_of_words(limits->formats, sizeof limits->formats) && limits->formats[0] != '\0',
           "the pool tells no format");
    EXPECT(LIMITS, is_list_of_words(limits->protocols, sizeof limits->protocols),
           "protocols has no end");
    EXPECT(LIMITS, !kit_has(kit, SLUICE_CAP_GRANT) || limits->protocols[0] != '\0',
           "the pool states GRANT and tells no protocol");
}

void test_table_health(struct kit *kit) {
    kit_load(kit);
    const struct sluice_driver *driver = &kit->host.boundary.driver;
    if (driver->health == NULL) {
        kit_skip(kit, "the driver has no health: it counts as healthy");
    }
    struct sluice_health_report report = {.size = sizeof report};
    struct sluice_call call = {.status = SLUICE_OK};
    watch_begin(&kit->shared->watch, "health");
    int32_t status = driver->health(kit->host.driver, &call, &report);
    watch_end(&kit->shared->watch);
    EXPECT(HEALTH, status == SLUICE_OK, "health answered %s (\"%s\")", status_name(status),
           call.text);
    EXPECT(HEALTH, report.health >= SLUICE_HEALTH_OK && report.health <= SLUICE_HEALTH_DOWN,
           "health tells %u", report.health);
    EXPECT(HEALTH, memchr(report.text, '\0', sizeof report.text) != NULL, "the text has no end");
    EXPECT(HEALTH, report.health == SLUICE_HEALTH_OK || report.text[0] != '\0',
           "health tells %u and does not say why", report.health);
    kit_unload(kit);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.c: loading and binding.
 */
#include "runner/driver.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 2048 /* a directory of 1023 bytes, "/driver/", a name of 255 */

/* The members that a driver cannot do without, by offset; all are function pointers. */
struct required {
    size_t offset;
    const char *name;
};

#define REQUIRED(table, member) \
    { offsetof(struct table, member), #member }
static const struct required base_required[] = {
    REQUIRED(sluice_driver, start),
    REQUIRED(sluice_driver, stop),
};
static const struct required storage_required[] = {
    REQUIRED(sluice_storage, pool_open),     REQUIRED(sluice_storage, pool_close),
    REQUIRED(sluice_storage, pool_stat),     REQUIRED(sluice_storage, pool_probe),
    REQUIRED(sluice_storage, pool_release),  REQUIRED(sluice_storage, volume_create),
    REQUIRED(sluice_storage, volume_delete), REQUIRED(sluice_storage, volume_get),
    REQUIRED(sluice_storage, volume_list),
};

/* Reads no more of `from` than it says it has; what it has beyond us we do not know. */
static void copy_table(void *ret, size_t ours, const void *from, uint32_t theirs) {
    memset(ret, 0, ours);
    memcpy(ret, from, theirs < ours ? theirs : ours);
}

static bool has_required(const void *table, const struct required *required, size_t count,
                         const char *kind, struct err *err) {
    for (size_t i = 0; i < count; i++) {
        void (*member)(void);
        memcpy(&member, (const char *)table + required[i].offset, sizeof member);
        if (member == NULL)
            return err_set(err, ERR_ABI, "the %s table has no %s, which is required", kind,
                           required[i].name);
    }
    return true;
}

static bool abi_fits(uint32_t abi, struct err *err) {
    uint32_t major = abi >> 16;
    uint32_t minor = abi & 0xffff;
    /* Before 1.0 a newer minor may mean anything; from then on the driver looks at sizes. */
    if (major == SLUICE_ABI_MAJOR && (SLUICE_ABI_MAJOR > 0 || minor <= SLUICE_ABI_MINOR))
        return true;
    return err_set(err, ERR_ABI, "the driver was built for ABI %u.%u, this is %u.%u", major, minor,
                   SLUICE_ABI_MAJOR, SLUICE_ABI_MINOR);
}

static bool says(const char *what, const char *said, const char *expected, struct err *err) {
    if (said != NULL && strcmp(said, expected) == 0)
        return true;
    return err_set(err, ERR_MANIFEST, "the library's %s is %.64s, not %s", what,
                   said != NULL ? said : "missing", expected);
}

static bool is_as_expected(const struct sluice_driver *base, const struct driver_expect *expect,
                           struct err *err) {
    if (!says("name", base->name, expect->name, err) ||
        !says("version", base->version, expect->version, err))
        return false;
    if (base->category != expect->category)
        return err_set(err, ERR_MANIFEST, "the library's category is %u, not %u", base->category,
                       expect->category);
    if (base->threads < SLUICE_THREADS_SERIAL || base->threads > SLUICE_THREADS_LOOP)
        return err_set(err, ERR_ABI, "there is no thread model %u", base->threads);
    return true;
}

static bool bind_storage(struct driver *driver, struct err *err) {
    if (driver->base.table == NULL)
        return err_set(err, ERR_ABI, "the base table has no table, which storage requires");
    const struct sluice_storage *storage = driver->base.table("storage", SLUICE_STORAGE_VERSION);
    if (storage == NULL)
        return err_set(err, ERR_ABI, "the driver has no table storage of version %d",
                       SLUICE_STORAGE_VERSION);
    if (storage->size < offsetof(struct sluice_storage, pool_open) ||
        storage->version != SLUICE_STORAGE_VERSION)
        return err_set(err, ERR_ABI, "the table storage says version %u and size %u",
                       storage->version, storage->size);
    copy_table(&driver->storage, sizeof driver->storage, storage, storage->size);
    driver->has_storage = true;
    return has_required(&driver->storage, storage_required,
                        sizeof storage_required / sizeof storage_required[0], "storage", err);
}

bool driver_bind(const struct sluice_driver *table, const struct driver_expect *expect,
                 struct driver *ret, struct err *err) {
    if (table == NULL)
        return err_set(err, ERR_ABI, "%s() returned no table", SLUICE_DRIVER_SYMBOL);
    if (table->size < offsetof(struct sluice_driver, start))
        return err_set(err, ERR_ABI, "the base table says a size of %u", table->size);
    if (!abi_fits(table->abi, err))
        return false;
    struct driver driver = {.has_storage = false};
    copy_table(&driver.base, sizeof driver.base, table, table->size);
    if (!is_as_expected(&driver.base, expect, err) ||
        !has_required(&driver.base, base_required, sizeof base_required / sizeof base_required[0],
                      "base", err))
        return false;
    if (driver.base.category == SLUICE_CATEGORY_STORAGE && !bind_storage(&driver, err))
        return false;
    *ret = driver;
    return true;
}

bool driver_open(const char *directory, const char *library, const struct driver_expect *expect,
                 struct driver *ret, struct err *err) {
    char path[PATH_SIZE];
    if (directory[0] != '/' || library[0] == '\0' || strchr(library, '/') != NULL)
        return err_set(err, ERR_MANIFEST, "no library %s in %s", library, directory);
    int length = snprintf(path, sizeof path, "%s/driver/%s", directory, library);
    if (length < 0 || (size_t)length >= sizeof path)
        return err_set(err, ERR_MANIFEST, "the path of %s is too long", library);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return err_set(err, ERR_ABI, "%s", dlerror());
    sluice_driver_fn *entry;
    *(void **)&entry = dlsym(handle, SLUICE_DRIVER_SYMBOL);
    if (entry == NULL)
        return err_set(err, ERR_ABI, "%s exports no %s", library, SLUICE_DRIVER_SYMBOL);
    return driver_bind(entry(), expect, ret, err);
}

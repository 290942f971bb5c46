/* SPDX-License-Identifier: Apache-2.0
 *
 * boundary.c: see boundary.h.
 */
#include "conform/boundary.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The least that a table of version 0.1 can have had: the offset behind its last required member.
 */
#define DRIVER_SIZE_MIN offsetof(struct sluice_driver, configure)
#define STORAGE_SIZE_MIN offsetof(struct sluice_storage, volume_resize)

static bool refuse(char *ret_why, const char *why) {
    snprintf(ret_why, SLUICE_TEXT_MAX, "%s", why);
    return false;
}

/* Copies what both have; the rest of ours stays zero. */
static void take(void *ret_table, uint32_t ours, const void *theirs, uint32_t their_size) {
    memset(ret_table, 0, ours);
    memcpy(ret_table, theirs, their_size < ours ? their_size : ours);
}

static bool take_driver(const struct sluice_driver *theirs, struct sluice_driver *ret,
                        char *ret_why) {
    if (theirs == NULL || theirs->size < DRIVER_SIZE_MIN) {
        return refuse(ret_why, "sluice_driver() returns no table, or one that is too small");
    }
    /* Before 1.0 a newer minor number may mean anything; an older one is told by sizes. */
    if (theirs->abi >> 16 != SLUICE_ABI_MAJOR || (theirs->abi & 0xffff) > SLUICE_ABI_MINOR) {
        snprintf(ret_why, SLUICE_TEXT_MAX, "the driver has ABI %u.%u, this is %u.%u",
                 theirs->abi >> 16, theirs->abi & 0xffff, SLUICE_ABI_MAJOR, SLUICE_ABI_MINOR);
        return false;
    }
    take(ret, sizeof *ret, theirs, theirs->size);
    if (ret->category < SLUICE_CATEGORY_NETWORK || ret->category > SLUICE_CATEGORY_HYPERVISOR ||
        ret->threads < SLUICE_THREADS_SERIAL || ret->threads > SLUICE_THREADS_LOOP) {
        return refuse(ret_why, "an unknown category or thread model");
    }
    if (ret->name == NULL || ret->version == NULL || ret->start == NULL || ret->stop == NULL) {
        return refuse(ret_why, "name, version, start and stop are required");
    }
    return true;
}

static bool take_storage(const struct sluice_driver *driver, struct sluice_storage *ret,
                         char *ret_why) {
    const struct sluice_storage *theirs =
        driver->table != NULL ? driver->table("storage", SLUICE_STORAGE_VERSION) : NULL;
    if (theirs == NULL || theirs->size < STORAGE_SIZE_MIN ||
        theirs->version != SLUICE_STORAGE_VERSION) {
        return refuse(ret_why, "no table \"storage\" of version 1, or one that is too small");
    }
    take(ret, sizeof *ret, theirs, theirs->size);
    if (ret->pool_open == NULL || ret->pool_close == NULL || ret->pool_stat == NULL ||
        ret->pool_probe == NULL || ret->pool_release == NULL || ret->volume_create == NULL ||
        ret->volume_delete == NULL || ret->volume_get == NULL || ret->volume_list == NULL) {
        return refuse(ret_why, "the table \"storage\" lacks a required member");
    }
    return true;
}

bool boundary_load(const char *path, struct boundary *ret_boundary, char *ret_why) {
    memset(ret_boundary, 0, sizeof *ret_boundary);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return refuse(ret_why, dlerror());
    }
    /* ISO C has no cast from an object pointer to a function pointer. */
    union {
        void *symbol;
        sluice_driver_fn *entry;
    } found = {.symbol = dlsym(library, SLUICE_DRIVER_SYMBOL)};
    bool taken = found.symbol != NULL
                     ? take_driver(found.entry(), &ret_boundary->driver, ret_why)
                     : refuse(ret_why, "the library has no symbol " SLUICE_DRIVER_SYMBOL);
    if (taken && ret_boundary->driver.category == SLUICE_CATEGORY_STORAGE) {
        taken = take_storage(&ret_boundary->driver, &ret_boundary->storage, ret_why);
    }
    if (!taken) {
        dlclose(library);
        return false;
    }
    ret_boundary->library = library;
    return true;
}

void boundary_unload(struct boundary *boundary) {
    if (boundary->library != NULL) {
        dlclose(boundary->library);
        boundary->library = NULL;
    }
}

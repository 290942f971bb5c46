/* SPDX-License-Identifier: Apache-2.0
 *
 * discover.c: two steps a directory: the names, sorted, so that the result does not depend on the
 * file system; then each archive by itself, its error kept beside it.
 */
#include "lifecycle/discover.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "lifecycle/archive.h"

struct looking {
    struct arena *arena;
    struct discovery_entry *entries;
    uint32_t count;
    uint32_t left_out;
    bool full; /* the arena */
};

/* A new entry, or NULL when there is no room (counted). */
static struct discovery_entry *add_entry(struct looking *looking, const char *directory) {
    if (looking->count == DISCOVER_MAX) {
        looking->left_out++;
        return NULL;
    }
    const char *copy = arena_strdup(looking->arena, directory);
    if (copy == NULL) {
        looking->full = true;
        return NULL;
    }
    struct discovery_entry *entry = &looking->entries[looking->count++];
    *entry = (struct discovery_entry){.directory = copy, .err = ERR_INIT};
    return entry;
}

static bool is_there(const struct looking *looking, const char *directory) {
    for (uint32_t i = 0; i < looking->count; i++)
        if (strcmp(looking->entries[i].directory, directory) == 0)
            return true;
    return false;
}

static void add_archive(struct looking *looking, const char *directory) {
    if (is_there(looking, directory))
        return;
    struct discovery_entry *entry = add_entry(looking, directory);
    if (entry == NULL)
        return;
    struct manifest *manifest = arena_alloc(looking->arena, sizeof *manifest);
    if (manifest == NULL) {
        looking->full = true;
        return;
    }
    if (!archive_check_directory(directory, &entry->err) ||
        !manifest_load(directory, looking->arena, manifest, &entry->err)) {
        looking->full = looking->full || entry->err.code == ERR_NO_MEMORY;
        return;
    }
    entry->manifest = manifest;
    manifest_verify(manifest, directory, &entry->err);
}

/* Where a link leads: another name for what is in the directory, or out of it. */
static void look_at_link(struct looking *looking, const char *root, const char *path) {
    char real[PATH_MAX];
    struct stat status;
    if (realpath(path, real) == NULL || stat(real, &status) != 0 || !S_ISDIR(status.st_mode))
        return; /* leads nowhere, or to what is no archive */
    if (archive_is_inside(root, real))
        return; /* found under its own name, or too deep to be one */
    struct discovery_entry *entry = add_entry(looking, path);
    if (entry != NULL)
        err_set(&entry->err, ERR_MANIFEST,
                "%s: the link leads out of the driver directory, to %s; move the archive here",
                path, real);
}

static void look_at(struct looking *looking, const char *root, const char *name) {
    char path[PATH_MAX];
    char file[PATH_MAX + sizeof MANIFEST_PATH + 1];
    struct stat status;
    if (!text_is_utf8(name, strlen(name))) { /* records and the API could not tell of it */
        struct discovery_entry *entry = add_entry(looking, root);
        if (entry != NULL)
            err_set(&entry->err, ERR_MANIFEST, "%s: a name in it is not UTF-8; rename it", root);
        return;
    }
    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path)
        return; /* the kernel has no name for it either */
    if (lstat(path, &status) != 0)
        return; /* gone meanwhile */
    if (S_ISLNK(status.st_mode)) {
        look_at_link(looking, root, path);
        return;
    }
    if (!S_ISDIR(status.st_mode))
        return;
    snprintf(file, sizeof file, "%s/" MANIFEST_PATH, path);
    if (lstat(file, &status) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return; /* no archive */
    add_archive(looking, path);
}

/* For scandir: "." and "..", and what is hidden, such as an archive that is being unpacked. */
static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void look_through(struct looking *looking, const char *configured) {
    char root[PATH_MAX];
    struct err wrong = ERR_INIT;
    struct dirent **names = NULL;
    int count = 0;
    if (realpath(configured, root) == NULL)
        err_errno(&wrong, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, errno,
                  "%s: the driver directory", configured);
    else if (archive_check_directory(root, &wrong)) {
        count = scandir(root, &names, is_visible, by_name);
        if (count < 0)
            err_errno(&wrong, ERR_SYSTEM, errno, "%s: the driver directory", root);
        else if (count > DISCOVER_LOOK_MAX)
            err_set(&wrong, ERR_LIMIT, "%s: there are more than %d names in it; tidy it up", root,
                    DISCOVER_LOOK_MAX);
    }
    if (wrong.code != ERR_NONE) {
        struct discovery_entry *entry = add_entry(looking, configured);
        if (entry != NULL)
            entry->err = wrong;
    }
    for (int i = 0; i < count; i++) {
        if (i < DISCOVER_LOOK_MAX)
            look_at(looking, root, names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

bool discover(const char *const *directories, uint32_t count, struct arena *arena,
              struct discovery *ret, struct err *err) {
    struct looking looking = {.arena = arena};
    looking.entries = arena_array(arena, DISCOVER_MAX, sizeof looking.entries[0]);
    looking.full = looking.entries == NULL;
    for (uint32_t i = 0; i < count && !looking.full; i++)
        look_through(&looking, directories[i]);
    if (looking.full)
        return err_set(err, ERR_NO_MEMORY, "looking for drivers: there is no memory");
    *ret = (struct discovery){looking.entries, looking.count, looking.left_out};
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_share.c: see memory_share.h.
 */
#include "memory_share.h"

#include <stdlib.h>
#include <string.h>

struct memory_entry {
    char path[SHARE_PATH_MAX];
    bool directory;
    uint8_t *bytes;
    size_t size;
    uint64_t inode;
    uint64_t changed;
    uint32_t handles;
    bool removed; /* lives while it is open */
};

struct memory_handle {
    struct image_file file;
    struct memory_share *share;
    struct memory_entry *entry;
};

static struct memory_share *of(struct share_fs *fs) {
    return (struct memory_share *)fs;
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Begins a call: the lock is held afterwards. true: it fails. */
static bool enter(struct memory_share *share) {
    pthread_mutex_lock(&share->lock);
    share->calls++;
    bool hit = share->fault_at != 0 &&
               (share->cut ? share->calls >= share->fault_at : share->calls == share->fault_at);
    share->faulted = share->faulted || hit;
    return hit;
}

static int32_t leave(struct memory_share *share, int32_t status) {
    pthread_mutex_unlock(&share->lock);
    return status;
}

static bool only_the_answer(const struct memory_share *share) {
    return share->after_the_fact && share->calls == share->fault_at;
}

/* ---- entries --------------------------------------------------------------------------------- */

static struct memory_entry *find(const struct memory_share *share, const char *path) {
    for (uint32_t i = 0; i < share->count; i++) {
        if (strcmp(share->entries[i]->path, path) == 0) {
            return share->entries[i];
        }
    }
    return NULL;
}

static struct memory_entry *add(struct memory_share *share, const char *path, bool directory) {
    struct memory_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL || share->count == MEMORY_ENTRIES_MAX) {
        abort();
    }
    strncpy(entry->path, path, sizeof entry->path - 1);
    entry->directory = directory;
    entry->inode = ++share->next_inode;
    entry->changed = ++share->ticks;
    share->entries[share->count++] = entry;
    return entry;
}

static void drop(struct memory_entry *entry) {
    free(entry->bytes);
    free(entry);
}

static void take_out(struct memory_share *share, struct memory_entry *entry) {
    for (uint32_t i = 0; i < share->count; i++) {
        if (share->entries[i] == entry) {
            share->entries[i] = share->entries[--share->count];
            break;
        }
    }
    entry->removed = true;
    if (entry->handles == 0) {
        drop(entry);
    }
}

static void set_size(struct memory_entry *entry, size_t size) {
    if (size > entry->size) {
        uint8_t *grown = realloc(entry->bytes, size);
        if (grown == NULL) {
            abort();
        }
        memset(grown + entry->size, 0, size - entry->size);
        entry->bytes = grown;
    }
    entry->size = size;
}

static bool has_parent(const struct memory_share *share, const char *path) {
    char parent[SHARE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return true;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    const struct memory_entry *entry = find(share, parent);
    return entry != NULL && entry->directory;
}

/* ---- open files ------------------------------------------------------------------------------ */

static int32_t file_read(struct image_file *file, uint64_t offset, void *ret_bytes, size_t length) {
    struct memory_handle *handle = (struct memory_handle *)file;
    if (enter(handle->share)) {
        return leave(handle->share, handle->share->fault_status);
    }
    size_t size = handle->entry->size;
    size_t there = offset >= size ? 0 : size - offset < length ? size - offset : length;
    memset(ret_bytes, 0, length);
    if (there > 0) {
        memcpy(ret_bytes, handle->entry->bytes + offset, there);
    }
    return leave(handle->share, SLUICE_OK);
}

static int32_t file_write(struct image_file *file, uint64_t offset, const void *bytes,
                          size_t length) {
    struct memory_handle *handle = (struct memory_handle *)file;
    bool fails = enter(handle->share);
    if (fails && handle->share->calls != handle->share->fault_at) {
        return leave(handle->share, handle->share->fault_status); /* behind the cut */
    }
    size_t part = fails ? length / 2 : length;
    if (offset + part > handle->entry->size) {
        set_size(handle->entry, offset + part);
    }
    if (part > 0) {
        memcpy(handle->entry->bytes + offset, bytes, part);
    }
    handle->entry->changed = ++handle->share->ticks;
    return leave(handle->share, fails ? handle->share->fault_status : SLUICE_OK);
}

static int32_t file_flush(struct image_file *file) {
    struct memory_handle *handle = (struct memory_handle *)file;
    return leave(handle->share, enter(handle->share) ? handle->share->fault_status : SLUICE_OK);
}

static int32_t file_size(struct image_file *file, uint64_t *ret_bytes) {
    struct memory_handle *handle = (struct memory_handle *)file;
    if (enter(handle->share)) {
        return leave(handle->share, handle->share->fault_status);
    }
    *ret_bytes = handle->entry->size;
    return leave(handle->share, SLUICE_OK);
}

static int32_t file_resize(struct image_file *file, uint64_t bytes) {
    struct memory_handle *handle = (struct memory_handle *)file;
    if (enter(handle->share)) {
        return leave(handle->share, handle->share->fault_status);
    }
    set_size(handle->entry, bytes);
    return leave(handle->share, SLUICE_OK);
}

static void file_close(struct image_file *file) {
    struct memory_handle *handle = (struct memory_handle *)file;
    pthread_mutex_lock(&handle->share->lock);
    if (--handle->entry->handles == 0 && handle->entry->removed) {
        drop(handle->entry);
    }
    pthread_mutex_unlock(&handle->share->lock);
    free(handle);
}

static const struct image_file_ops file_ops = {
    .read = file_read,
    .write = file_write,
    .flush = file_flush,
    .size = file_size,
    .resize = file_resize,
    .close = file_close,
};

/* ---- the share ------------------------------------------------------------------------------- */

static int32_t fs_check(struct share_fs *fs, struct sluice_call *call) {
    struct memory_share *share = of(fs);
    (void)call;
    return leave(share, enter(share) ? share->fault_status : SLUICE_OK);
}

static int32_t fs_open(struct share_fs *fs, struct sluice_call *call, const char *path,
                       uint32_t flags, struct image_file **ret_file) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    struct memory_entry *entry = find(share, path);
    bool create = flags & SHARE_OPEN_CREATE;
    if (entry == NULL ? !create || !has_parent(share, path) : create) {
        return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_EXISTS);
    }
    struct memory_handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        abort();
    }
    handle->file.ops = &file_ops;
    handle->share = share;
    handle->entry = entry != NULL ? entry : add(share, path, false);
    handle->entry->handles++;
    *ret_file = &handle->file;
    return leave(share, SLUICE_OK);
}

static int32_t fs_open_fenced(struct share_fs *fs, struct sluice_call *call, const char *path,
                              uint64_t epoch, bool read_only, struct image_file **ret_file) {
    (void)epoch;
    return fs_open(fs, call, path, read_only ? 0 : SHARE_OPEN_WRITE, ret_file);
}

static int32_t fs_load(struct share_fs *fs, struct sluice_call *call, const char *path,
                       void *ret_bytes, size_t room, size_t *ret_length) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    const struct memory_entry *entry = find(share, path);
    if (entry == NULL || entry->size > room) {
        return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_LIMIT);
    }
    if (entry->size > 0) {
        memcpy(ret_bytes, entry->bytes, entry->size);
    }
    *ret_length = entry->size;
    return leave(share, SLUICE_OK);
}

static int32_t fs_store(struct share_fs *fs, struct sluice_call *call, const char *path,
                        const void *bytes, size_t length, bool replace) {
    struct memory_share *share = of(fs);
    (void)call;
    bool fails = enter(share);
    struct memory_entry *entry = find(share, path);
    if (fails && !only_the_answer(share)) {
        return leave(share, share->fault_status);
    }
    if (entry == NULL ? !has_parent(share, path) : !replace) {
        return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_EXISTS);
    }
    if (entry != NULL) {
        take_out(share, entry);
    }
    entry = add(share, path, false);
    set_size(entry, length);
    if (length > 0) {
        memcpy(entry->bytes, bytes, length);
    }
    return leave(share, fails ? share->fault_status : SLUICE_OK);
}

static int32_t fs_stat(struct share_fs *fs, struct sluice_call *call, const char *path,
                       struct share_stat *ret) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    const struct memory_entry *entry = find(share, path);
    if (entry == NULL) {
        return leave(share, SLUICE_NOT_FOUND);
    }
    *ret = (struct share_stat){
        .directory = entry->directory,
        .size_bytes = entry->size,
        .used_bytes = entry->size,
        .inode = entry->inode,
        .changed_ns = entry->changed,
        .links = 1,
    };
    return leave(share, SLUICE_OK);
}

static int32_t fs_make_directory(struct share_fs *fs, struct sluice_call *call, const char *path) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    if (find(share, path) == NULL) {
        add(share, path, true);
    }
    return leave(share, SLUICE_OK);
}

static int32_t fs_remove(struct share_fs *fs, struct sluice_call *call, const char *path) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    struct memory_entry *entry = find(share, path);
    if (entry == NULL || entry->directory) {
        return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_CORRUPT);
    }
    take_out(share, entry);
    return leave(share, SLUICE_OK);
}

static bool is_below(const char *path, const char *directory) {
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

static int32_t fs_remove_directory(struct share_fs *fs, struct sluice_call *call,
                                   const char *path) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    struct memory_entry *entry = find(share, path);
    for (uint32_t i = 0; i < share->count && entry != NULL; i++) {
        if (is_below(share->entries[i]->path, path)) {
            return leave(share, SLUICE_BUSY);
        }
    }
    if (entry != NULL) {
        take_out(share, entry);
    }
    return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_OK);
}

static int32_t fs_rename(struct share_fs *fs, struct sluice_call *call, const char *from,
                         const char *to) {
    struct memory_share *share = of(fs);
    (void)call;
    bool fails = enter(share);
    struct memory_entry *entry = find(share, from);
    if (fails && !only_the_answer(share)) {
        return leave(share, share->fault_status);
    }
    if (entry == NULL || find(share, to) != NULL) {
        return leave(share, entry == NULL ? SLUICE_NOT_FOUND : SLUICE_EXISTS);
    }
    strncpy(entry->path, to, sizeof entry->path - 1);
    return leave(share, fails ? share->fault_status : SLUICE_OK);
}

static int32_t fs_list(struct share_fs *fs, struct sluice_call *call, const char *path,
                       share_name *each, void *argument) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    if (find(share, path) == NULL) {
        return leave(share, SLUICE_NOT_FOUND);
    }
    bool more = true;
    for (uint32_t i = 0; i < share->count && more; i++) {
        const struct memory_entry *entry = share->entries[i];
        const char *name = entry->path + strlen(path) + 1;
        if (is_below(entry->path, path) && strchr(name, '/') == NULL) {
            more = each(argument, name, entry->directory);
        }
    }
    return leave(share, SLUICE_OK);
}

static int32_t fs_let(struct share_fs *fs, struct sluice_call *call, const char *path,
                      const struct share_right *rights, uint32_t count) {
    struct memory_share *share = of(fs);
    (void)call;
    (void)rights;
    (void)count;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    return leave(share, find(share, path) != NULL ? SLUICE_OK : SLUICE_NOT_FOUND);
}

static int32_t fs_capacity(struct share_fs *fs, struct sluice_call *call, uint64_t *ret_total,
                           uint64_t *ret_used) {
    struct memory_share *share = of(fs);
    (void)call;
    if (enter(share)) {
        return leave(share, share->fault_status);
    }
    *ret_total = UINT64_C(1) << 40;
    *ret_used = 0;
    return leave(share, SLUICE_OK);
}

static const struct share_fs_ops fs_ops = {
    .check = fs_check,
    .open = fs_open,
    .open_fenced = fs_open_fenced,
    .load = fs_load,
    .store = fs_store,
    .stat = fs_stat,
    .make_directory = fs_make_directory,
    .remove = fs_remove,
    .remove_directory = fs_remove_directory,
    .rename = fs_rename,
    .list = fs_list,
    .let = fs_let,
    .capacity = fs_capacity,
};

/* ---- services -------------------------------------------------------------------------------- */

static void say(const struct sluice_services *services, uint32_t level, const char *text) {
    (void)services;
    (void)level;
    (void)text;
}

static int32_t fail(const struct sluice_services *services, struct sluice_call *call,
                    int32_t status, const char *text) {
    (void)services;
    if (call->text[0] == '\0') {
        strncpy(call->text, text, sizeof call->text - 1);
    }
    return status;
}

static void progress(const struct sluice_services *services, struct sluice_call *call,
                     uint64_t done, uint64_t total) {
    (void)services;
    (void)call;
    (void)done;
    (void)total;
}

/* ---- from outside -----------------------------------------------------------------------------
 */

void memory_share_init(struct memory_share *share) {
    memset(share, 0, sizeof *share);
    pthread_mutex_init(&share->lock, NULL);
    share->services = (struct sluice_services){
        .size = sizeof share->services, .log = say, .fail = fail, .progress = progress};
    share->fs = (struct share_fs){.ops = &fs_ops, .services = &share->services};
}

void memory_share_release(struct memory_share *share) {
    for (uint32_t i = 0; i < share->count; i++) {
        drop(share->entries[i]);
    }
    pthread_mutex_destroy(&share->lock);
}

void memory_share_fault(struct memory_share *share, uint64_t nth, int32_t status, bool cut,
                        bool after_the_fact) {
    pthread_mutex_lock(&share->lock);
    share->fault_at = nth != 0 ? share->calls + nth : 0;
    share->fault_status = status;
    share->cut = cut;
    share->after_the_fact = after_the_fact;
    share->faulted = false;
    pthread_mutex_unlock(&share->lock);
}

uint64_t memory_share_calls(struct memory_share *share) {
    pthread_mutex_lock(&share->lock);
    uint64_t calls = share->calls;
    pthread_mutex_unlock(&share->lock);
    return calls;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void memory_share_list(struct memory_share *share, char ret_text[MEMORY_LIST]) {
    static const char *paths[MEMORY_ENTRIES_MAX];
    size_t at = 0;
    pthread_mutex_lock(&share->lock);
    uint32_t count = share->count;
    for (uint32_t i = 0; i < count; i++) {
        paths[i] = share->entries[i]->path;
    }
    qsort(paths, count, sizeof paths[0], compare);
    for (uint32_t i = 0; i < count && at + strlen(paths[i]) + 2 < MEMORY_LIST; i++) {
        size_t length = strlen(paths[i]);
        memcpy(ret_text + at, paths[i], length);
        ret_text[at + length] = '\0';
        char *generation = strstr(ret_text + at, "/g0");
        if (generation != NULL) {
            memset(generation + 2, '#', strspn(generation + 2, "0123456789"));
        }
        at += length;
        ret_text[at++] = '\n';
    }
    ret_text[at] = '\0';
    pthread_mutex_unlock(&share->lock);
}

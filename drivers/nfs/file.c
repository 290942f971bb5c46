/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c: see file.h.
 */
#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "path.h"

/* One write that is not committed. What was superseded of it is cut off; from the middle: split. */
struct kept {
    struct kept *next;
    uint64_t number;
    uint64_t verifier;
    uint64_t offset;
    uint32_t length;
    uint32_t begin; /* of what is left in `bytes` */
    char bytes[];
};

static struct nfs_file *of(struct image_file *file) {
    return (struct nfs_file *)file;
}

static struct ask ask_of(const struct nfs_file *file) {
    struct ask ask = nfs_fs_ask(file->fs);
    ask.as = file->as;
    if (file->patient) {
        ask.patience_ms = CONTROL_FOR_EVER;
    }
    return ask;
}

struct handle file_handle(struct nfs_file *file) {
    pthread_mutex_lock(&file->lock);
    struct handle handle = file->handle;
    pthread_mutex_unlock(&file->lock);
    return handle;
}

uint64_t file_verifier(struct nfs_file *file) {
    pthread_mutex_lock(&file->lock);
    uint64_t verifier = file->verifier;
    pthread_mutex_unlock(&file->lock);
    return verifier;
}

/* ---- what goes wrong ------------------------------------------------------------------------ */

/* The handle is of no use any more: is the same file there under its name? */
static bool find_again(struct nfs_file *file) {
    struct ask ask = nfs_fs_ask(file->fs);
    struct spot spot;
    if (path_find(file->fs, &ask, file->path, &spot) != 0 || spot.attributes.id != file->id) {
        return false;
    }
    pthread_mutex_lock(&file->lock);
    file->handle = spot.handle;
    pthread_mutex_unlock(&file->lock);
    return true;
}

/* Refused: was it a newer epoch that took the group away? */
static bool is_fenced_off(struct nfs_file *file) {
    struct ask ask = nfs_fs_ask(file->fs);
    struct attributes attributes;
    struct handle handle = file_handle(file);
    return file->patient && file->fs->fences && nfs3_get(&ask, &handle, &attributes) == 0 &&
           attributes.gid != file->as.gid;
}

/* true: the call is to be made again. */
static bool try_again(struct nfs_file *file, int code, bool *tried) {
    bool stale = code == NFS3ERR_STALE || code == NFS3ERR_BADHANDLE;
    if (!stale || *tried) {
        return false;
    }
    *tried = true;
    return find_again(file);
}

static int32_t status_of(struct nfs_file *file, int code) {
    if (code == NFS3ERR_ACCES && is_fenced_off(file)) {
        return SLUICE_STALE;
    }
    return control_status(code);
}

/* ---- what is not committed ------------------------------------------------------------------ */

static void kept_drop(struct nfs_file *file, struct kept **link) {
    struct kept *gone = *link;
    *link = gone->next;
    if (*link == NULL) {
        file->kept_end = link;
    }
    file->kept_count--;
    file->kept_bytes -= gone->length;
    free(gone);
}

static struct kept *kept_new(uint64_t offset, const void *bytes, uint32_t length,
                             uint64_t verifier) {
    struct kept *kept = malloc(sizeof *kept + length);
    if (kept != NULL) {
        *kept = (struct kept){.verifier = verifier, .offset = offset, .length = length};
        memcpy(kept->bytes, bytes, length);
    }
    return kept;
}

static void kept_add(struct nfs_file *file, struct kept *kept) {
    pthread_mutex_lock(&file->lock);
    kept->number = ++file->kept_last;
    *file->kept_end = kept;
    file->kept_end = &kept->next;
    file->kept_count++;
    file->kept_bytes += kept->length;
    pthread_mutex_unlock(&file->lock);
}

/* Takes [offset, end) out of one entry, which overlaps it. What is behind it goes into an entry of
 * its own. */
static void kept_cut(struct nfs_file *file, struct kept **link, uint64_t offset, uint64_t end) {
    struct kept *kept = *link;
    uint64_t kept_end = kept->offset + kept->length;
    uint32_t front = offset > kept->offset ? (uint32_t)(offset - kept->offset) : 0;
    uint32_t back = kept_end > end ? (uint32_t)(kept_end - end) : 0;
    if (front == 0 && back == 0) {
        kept_drop(file, link);
        return;
    }
    struct kept *rest = NULL;
    if (front > 0 && back > 0) {
        rest =
            kept_new(end, kept->bytes + kept->begin + (end - kept->offset), back, kept->verifier);
    }
    file->kept_bytes -= kept->length - (front > 0 ? front : back);
    if (front == 0) {
        kept->begin += (uint32_t)(end - kept->offset);
        kept->offset = end;
    }
    kept->length = front > 0 ? front : back;
    if (rest != NULL) {
        rest->number = kept->number;
        rest->next = kept->next;
        kept->next = rest;
        file->kept_end = rest->next == NULL ? &rest->next : file->kept_end;
        file->kept_count++;
        file->kept_bytes += back;
    }
}

void file_supersede(struct nfs_file *file, uint64_t offset, uint64_t length) {
    uint64_t end = offset + length;
    pthread_mutex_lock(&file->lock);
    for (struct kept **link = &file->kept; *link != NULL;) {
        struct kept *kept = *link;
        bool apart = kept->offset >= end || kept->offset + kept->length <= offset;
        if (!apart) {
            kept_cut(file, link, offset, end);
        }
        if (*link == kept) {
            link = &kept->next;
        }
    }
    pthread_mutex_unlock(&file->lock);
}

/* ---- reading and writing -------------------------------------------------------------------- */

static int32_t file_read(struct image_file *base, uint64_t offset, void *ret_bytes, size_t length) {
    struct nfs_file *file = of(base);
    struct ask ask = ask_of(file);
    char *to = ret_bytes;
    bool tried = false;
    while (length > 0) {
        struct handle handle = file_handle(file);
        uint32_t most = file->fs->limits.read_max;
        uint32_t part = length < most ? (uint32_t)length : most;
        uint32_t taken = 0;
        bool end = false;
        int code = nfs3_read(&ask, &handle, offset, to, part, &taken, &end);
        if (code != 0 && try_again(file, code, &tried)) {
            continue;
        }
        if (code != 0) {
            return status_of(file, code);
        }
        if (taken == 0) { /* the end; a server that gives nothing else cannot be read from either */
            memset(to, 0, length);
            return end ? SLUICE_OK : SLUICE_IO;
        }
        to += taken;
        offset += taken;
        length -= taken;
    }
    return SLUICE_OK;
}

/* Writes a whole range; *ret_verifier: of its first part, which is the one that is lost first. */
static int32_t write_range(struct nfs_file *file, uint64_t offset, const char *bytes, size_t length,
                           const struct handle *fixed, bool stable, bool *ret_stable,
                           uint64_t *ret_verifier) {
    struct ask ask = ask_of(file);
    bool tried = fixed != NULL;
    bool first = true;
    *ret_stable = true;
    while (length > 0) {
        struct handle handle = fixed != NULL ? *fixed : file_handle(file);
        uint32_t most = file->fs->limits.write_max;
        uint32_t part = length < most ? (uint32_t)length : most;
        uint32_t taken = 0;
        bool is_stable = false;
        uint64_t verifier = 0;
        int code =
            nfs3_write(&ask, &handle, offset, bytes, part, stable, &taken, &is_stable, &verifier);
        if (code != 0 && try_again(file, code, &tried)) {
            continue;
        }
        if (code != 0 || taken == 0) {
            /* With a handle that is given the lock is held. */
            return code == 0       ? SLUICE_IO
                   : fixed != NULL ? control_status(code)
                                   : status_of(file, code);
        }
        /* Another life of the server in the middle: taken for the older one, so all is repeated. */
        *ret_verifier = first ? verifier : *ret_verifier;
        *ret_stable = *ret_stable && is_stable;
        first = false;
        bytes += taken;
        offset += taken;
        length -= taken;
    }
    return SLUICE_OK;
}

static int32_t file_flush(struct image_file *base);

static int32_t file_write(struct image_file *base, uint64_t offset, const void *bytes,
                          size_t length) {
    struct nfs_file *file = of(base);
    const char *from = bytes;
    while (length > 0) {
        uint32_t part = length < NFS3_IO_MAX ? (uint32_t)length : NFS3_IO_MAX;
        bool stable = false;
        uint64_t verifier = 0;
        struct kept *kept = kept_new(offset, from, part, 0);
        /* Without memory to repeat it, it has to be stable at once. */
        int32_t status =
            write_range(file, offset, from, part, NULL, kept == NULL, &stable, &verifier);
        if (status != SLUICE_OK || stable) {
            free(kept);
            kept = NULL;
        }
        if (status != SLUICE_OK) {
            return status;
        }
        if (kept != NULL) {
            kept->verifier = verifier;
            kept_add(file, kept);
        }
        from += part;
        offset += part;
        length -= part;
    }
    pthread_mutex_lock(&file->lock);
    bool full = file->kept_bytes > FILE_KEPT_BYTES || file->kept_count > FILE_KEPT_MAX;
    pthread_mutex_unlock(&file->lock);
    return full ? file_flush(base) : SLUICE_OK;
}

/* The server has lost what it had not written down: all of it again, in order and stable. The lock
 * is held, so that nothing newer is overwritten by it. */
static int32_t write_again(struct nfs_file *file) {
    int32_t status = SLUICE_OK;
    while (status == SLUICE_OK && file->kept != NULL) {
        struct kept *kept = file->kept;
        bool stable;
        uint64_t verifier;
        status = write_range(file, kept->offset, kept->bytes + kept->begin, kept->length,
                             &file->handle, true, &stable, &verifier);
        if (status == SLUICE_OK) {
            kept_drop(file, &file->kept);
        }
    }
    return status;
}

/* What COMMIT covers is what was kept when it was sent. */
static int32_t committed(struct nfs_file *file, uint64_t last, uint64_t verifier) {
    int32_t status = SLUICE_OK;
    pthread_mutex_lock(&file->lock);
    file->verifier = verifier;
    bool lost = false;
    for (struct kept *kept = file->kept; kept != NULL && kept->number <= last; kept = kept->next) {
        lost = lost || kept->verifier != verifier;
    }
    if (lost) {
        status = write_again(file);
    }
    while (!lost && file->kept != NULL && file->kept->number <= last) {
        kept_drop(file, &file->kept);
    }
    pthread_mutex_unlock(&file->lock);
    return status;
}

static int32_t file_flush(struct image_file *base) {
    struct nfs_file *file = of(base);
    struct ask ask = ask_of(file);
    bool tried = false;
    for (;;) {
        pthread_mutex_lock(&file->lock);
        uint64_t last = file->kept_last;
        struct handle handle = file->handle;
        pthread_mutex_unlock(&file->lock);
        uint64_t verifier;
        int code = nfs3_commit(&ask, &handle, &verifier);
        if (code == 0) {
            return committed(file, last, verifier);
        }
        if (!try_again(file, code, &tried)) {
            return status_of(file, code);
        }
    }
}

/* ---- size and end --------------------------------------------------------------------------- */

static int32_t file_size(struct image_file *base, uint64_t *ret_bytes) {
    struct nfs_file *file = of(base);
    struct ask ask = ask_of(file);
    bool tried = false;
    for (;;) {
        struct handle handle = file_handle(file);
        struct attributes attributes;
        int code = nfs3_get(&ask, &handle, &attributes);
        if (code == 0) {
            *ret_bytes = attributes.size;
            return SLUICE_OK;
        }
        if (!try_again(file, code, &tried)) {
            return status_of(file, code);
        }
    }
}

static int32_t file_resize(struct image_file *base, uint64_t bytes) {
    struct nfs_file *file = of(base);
    struct ask ask = ask_of(file);
    const struct changes changes = {.mode = NFS3_KEEP, .gid = NFS3_KEEP, .size = bytes};
    bool tried = false;
    /* What is cut off must not be written again behind the cut. */
    file_supersede(file, bytes, UINT64_MAX - bytes);
    for (;;) {
        struct handle handle = file_handle(file);
        int code = nfs3_set(&ask, &handle, &changes);
        if (code == 0 || !try_again(file, code, &tried)) {
            return code == 0 ? SLUICE_OK : status_of(file, code);
        }
    }
}

static void file_close(struct image_file *base) {
    struct nfs_file *file = of(base);
    pthread_mutex_lock(&file->fs->lock);
    for (struct nfs_file **link = &file->fs->fenced; *link != NULL; link = &(*link)->next) {
        if (*link == file) {
            *link = file->next;
            break;
        }
    }
    pthread_mutex_unlock(&file->fs->lock);
    while (file->kept != NULL) {
        kept_drop(file, &file->kept);
    }
    pthread_mutex_destroy(&file->lock);
    free(file);
}

static const struct image_file_ops file_ops = {
    .read = file_read,
    .write = file_write,
    .flush = file_flush,
    .size = file_size,
    .resize = file_resize,
    .close = file_close,
};

struct nfs_file *file_create(struct nfs_fs *fs, const char *path, const struct handle *handle,
                             const struct attributes *attributes, const struct identity *as,
                             bool patient) {
    struct nfs_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return NULL;
    }
    file->base.ops = &file_ops;
    file->fs = fs;
    file->as = *as;
    file->patient = patient;
    file->id = attributes->id;
    file->handle = *handle;
    file->kept_end = &file->kept;
    pthread_mutex_init(&file->lock, NULL);
    snprintf(file->path, sizeof file->path, "%s", path);
    return file;
}

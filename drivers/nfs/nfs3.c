/* SPDX-License-Identifier: Apache-2.0
 *
 * nfs3.c: see nfs3.h.
 */
#include "nfs3.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LIST_PAGES_MAX 100000 /* of a directory; a server that never ends is not believed */
#define NAME_BYTES 256        /* a longer name is none of ours */

/* libnfs's functions differ in the type of their arguments. */
#define START(verb)                                                                     \
    static int start_##verb(struct rpc_context *rpc, rpc_cb cb, void *args, void *of) { \
        return rpc_nfs3_##verb##_async(rpc, cb, args, of);                              \
    }
START(lookup)
START(getattr)
START(setattr)
START(create)
START(mkdir)
START(remove)
START(rmdir)
START(rename)
START(link)
START(read)
START(write)
START(commit)
START(fsinfo)
START(fsstat)
START(readdirplus)
#undef START

/* The library takes what it only reads without const. */
static struct nfs_fh3 fh(const struct handle *handle) {
    union {
        const char *constant;
        char *plain;
    } bytes = {.constant = handle->bytes};
    return (struct nfs_fh3){.data = {.data_len = handle->length, .data_val = bytes.plain}};
}

static char *plain(const void *bytes) {
    union {
        const void *constant;
        char *plain;
    } both = {.constant = bytes};
    return both.plain;
}

static struct diropargs3 entry(const struct handle *directory, const char *name) {
    return (struct diropargs3){.dir = fh(directory), .name = plain(name)};
}

static bool take_handle(const struct nfs_fh3 *from, struct handle *ret) {
    if (from->data.data_len == 0 || from->data.data_len > HANDLE_BYTES) {
        return false;
    }
    ret->length = from->data.data_len;
    memcpy(ret->bytes, from->data.data_val, ret->length);
    return true;
}

static void take_attributes(const struct fattr3 *from, struct attributes *ret) {
    *ret = (struct attributes){
        .type = from->type,
        .mode = from->mode & 07777,
        .links = from->nlink,
        .uid = from->uid,
        .gid = from->gid,
        .size = from->size,
        .used = from->used,
        .id = from->fileid,
        .device = from->fsid,
        .changed_ns = from->ctime.seconds * UINT64_C(1000000000) + from->ctime.nseconds,
    };
}

/* ---- names and attributes ------------------------------------------------------------------- */

struct found {
    struct handle handle;
    struct attributes attributes;
    bool has_handle;
    bool has_attributes;
};

static void take_lookup(const void *result, void *into) {
    const struct LOOKUP3resok *good = &((const struct LOOKUP3res *)result)->LOOKUP3res_u.resok;
    struct found *found = into;
    found->has_handle = take_handle(&good->object, &found->handle);
    found->has_attributes = good->obj_attributes.attributes_follow != 0;
    if (found->has_attributes) {
        take_attributes(&good->obj_attributes.post_op_attr_u.attributes, &found->attributes);
    }
}

int nfs3_lookup(struct ask *ask, const struct handle *directory, const char *name,
                struct handle *ret_handle, struct attributes *ret_attributes) {
    struct LOOKUP3args args = {.what = entry(directory, name)};
    struct found found = {.has_handle = false};
    int code = control_call(ask, start_lookup, &args, take_lookup, &found);
    if (code == 0 && !found.has_handle) {
        code = NFS3ERR_BADHANDLE;
    }
    if (code == 0 && !found.has_attributes) {
        code = nfs3_get(ask, &found.handle, &found.attributes);
    }
    if (code == 0) {
        *ret_handle = found.handle;
        *ret_attributes = found.attributes;
    }
    return code;
}

static void take_getattr(const void *result, void *into) {
    take_attributes(&((const struct GETATTR3res *)result)->GETATTR3res_u.resok.obj_attributes,
                    into);
}

int nfs3_get(struct ask *ask, const struct handle *handle, struct attributes *ret_attributes) {
    struct GETATTR3args args = {.object = fh(handle)};
    return control_call(ask, start_getattr, &args, take_getattr, ret_attributes);
}

int nfs3_set(struct ask *ask, const struct handle *handle, const struct changes *changes) {
    struct SETATTR3args args = {.object = fh(handle)};
    struct sattr3 *set = &args.new_attributes;
    set->mode.set_it = changes->mode != NFS3_KEEP;
    set->mode.set_mode3_u.mode = changes->mode;
    set->gid.set_it = changes->gid != NFS3_KEEP;
    set->gid.set_gid3_u.gid = changes->gid;
    set->size.set_it = changes->size != NFS3_KEEP_SIZE;
    set->size.set_size3_u.size = changes->size;
    return control_call(ask, start_setattr, &args, NULL, NULL);
}

static void take_create(const void *result, void *into) {
    const struct CREATE3resok *good = &((const struct CREATE3res *)result)->CREATE3res_u.resok;
    struct found *found = into;
    found->has_handle = good->obj.handle_follows != 0 &&
                        take_handle(&good->obj.post_op_fh3_u.handle, &found->handle);
}

int nfs3_create(struct ask *ask, const struct handle *directory, const char *name,
                struct handle *ret_handle) {
    struct CREATE3args args = {.where = entry(directory, name), .how = {.mode = EXCLUSIVE}};
    struct found found = {.has_handle = false};
    struct attributes unused;
    if (getrandom(args.how.createhow3_u.verf, sizeof args.how.createhow3_u.verf, 0) < 0) {
        return NFS3ERR_SERVERFAULT;
    }
    int code = control_call(ask, start_create, &args, take_create, &found);
    if (code == 0 && !found.has_handle) {
        return nfs3_lookup(ask, directory, name, ret_handle, &unused);
    }
    if (code == 0) {
        *ret_handle = found.handle;
    }
    return code;
}

int nfs3_make_directory(struct ask *ask, const struct handle *directory, const char *name,
                        uint32_t mode) {
    struct MKDIR3args args = {.where = entry(directory, name)};
    args.attributes.mode.set_it = 1;
    args.attributes.mode.set_mode3_u.mode = mode;
    return control_call(ask, start_mkdir, &args, NULL, NULL);
}

int nfs3_remove(struct ask *ask, const struct handle *directory, const char *name) {
    struct REMOVE3args args = {.object = entry(directory, name)};
    int code = control_call(ask, start_remove, &args, NULL, NULL);
    return code == NFS3ERR_NOENT && ask->repeated ? 0 : code;
}

int nfs3_remove_directory(struct ask *ask, const struct handle *directory, const char *name) {
    struct RMDIR3args args = {.object = entry(directory, name)};
    int code = control_call(ask, start_rmdir, &args, NULL, NULL);
    return code == NFS3ERR_NOENT && ask->repeated ? 0 : code;
}

/* After a repetition: has it been done the first time? */
static int done_before(struct ask *ask, int code, const struct handle *directory,
                       const char *name) {
    struct handle handle;
    struct attributes attributes;
    if (!ask->repeated) {
        return code;
    }
    return nfs3_lookup(ask, directory, name, &handle, &attributes) == 0 ? 0 : code;
}

int nfs3_rename(struct ask *ask, const struct handle *from, const char *from_name,
                const struct handle *to, const char *to_name) {
    struct RENAME3args args = {.from = entry(from, from_name), .to = entry(to, to_name)};
    int code = control_call(ask, start_rename, &args, NULL, NULL);
    return code == NFS3ERR_NOENT ? done_before(ask, code, to, to_name) : code;
}

int nfs3_link(struct ask *ask, const struct handle *handle, const struct handle *directory,
              const char *name) {
    struct LINK3args args = {.file = fh(handle), .link = entry(directory, name)};
    int code = control_call(ask, start_link, &args, NULL, NULL);
    if (code != NFS3ERR_EXIST || !ask->repeated) {
        return code;
    }
    struct attributes ours, theirs;
    struct handle there;
    bool same = nfs3_get(ask, handle, &ours) == 0 &&
                nfs3_lookup(ask, directory, name, &there, &theirs) == 0 && ours.id == theirs.id;
    return same ? 0 : code;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

struct taken {
    void *bytes;
    uint32_t room;
    uint32_t length;
    bool flag; /* read: the end of the file; write: it is stable */
    uint64_t verifier;
};

static void take_read(const void *result, void *into) {
    const struct READ3resok *good = &((const struct READ3res *)result)->READ3res_u.resok;
    struct taken *taken = into;
    uint32_t length = good->data.data_len < taken->room ? good->data.data_len : taken->room;
    memcpy(taken->bytes, good->data.data_val, length);
    taken->length = length;
    taken->flag = good->eof != 0;
}

int nfs3_read(struct ask *ask, const struct handle *handle, uint64_t offset, void *ret_bytes,
              uint32_t length, uint32_t *ret_length, bool *ret_end) {
    struct READ3args args = {.file = fh(handle), .offset = offset, .count = length};
    struct taken taken = {.bytes = ret_bytes, .room = length};
    int code = control_call(ask, start_read, &args, take_read, &taken);
    if (code == 0) {
        *ret_length = taken.length;
        *ret_end = taken.flag;
    }
    return code;
}

static void take_write(const void *result, void *into) {
    const struct WRITE3resok *good = &((const struct WRITE3res *)result)->WRITE3res_u.resok;
    struct taken *taken = into;
    taken->length = good->count < taken->room ? good->count : taken->room;
    taken->flag = good->committed == FILE_SYNC;
    memcpy(&taken->verifier, good->verf, sizeof taken->verifier);
}

int nfs3_write(struct ask *ask, const struct handle *handle, uint64_t offset, const void *bytes,
               uint32_t length, bool stable, uint32_t *ret_length, bool *ret_stable,
               uint64_t *ret_verifier) {
    struct WRITE3args args = {
        .file = fh(handle),
        .offset = offset,
        .count = length,
        .stable = stable ? FILE_SYNC : UNSTABLE,
        .data = {.data_len = length, .data_val = plain(bytes)},
    };
    struct taken taken = {.room = length};
    int code = control_call(ask, start_write, &args, take_write, &taken);
    if (code == 0) {
        *ret_length = taken.length;
        *ret_stable = taken.flag;
        *ret_verifier = taken.verifier;
    }
    return code;
}

static void take_commit(const void *result, void *into) {
    memcpy(into, ((const struct COMMIT3res *)result)->COMMIT3res_u.resok.verf, sizeof(uint64_t));
}

int nfs3_commit(struct ask *ask, const struct handle *handle, uint64_t *ret_verifier) {
    struct COMMIT3args args = {.file = fh(handle)}; /* count 0: all of it */
    return control_call(ask, start_commit, &args, take_commit, ret_verifier);
}

/* ---- the file system ------------------------------------------------------------------------ */

static uint32_t bounded(uint32_t value, uint32_t most) {
    return value == 0 || value > most ? most : value;
}

static void take_fsinfo(const void *result, void *into) {
    const struct FSINFO3resok *good = &((const struct FSINFO3res *)result)->FSINFO3res_u.resok;
    struct limits *limits = into;
    limits->read_max = bounded(good->rtmax, NFS3_IO_MAX);
    limits->write_max = bounded(good->wtmax, NFS3_IO_MAX);
    limits->list_bytes = bounded(good->dtpref, 64 * 1024);
    limits->size_max = good->maxfilesize;
}

int nfs3_limits(struct ask *ask, const struct handle *root, struct limits *ret_limits) {
    struct FSINFO3args args = {.fsroot = fh(root)};
    return control_call(ask, start_fsinfo, &args, take_fsinfo, ret_limits);
}

static void take_fsstat(const void *result, void *into) {
    const struct FSSTAT3resok *good = &((const struct FSSTAT3res *)result)->FSSTAT3res_u.resok;
    struct space *space = into;
    space->total = good->tbytes;
    space->available = good->abytes < good->tbytes ? good->abytes : good->tbytes;
}

int nfs3_space(struct ask *ask, const struct handle *root, struct space *ret_space) {
    struct FSSTAT3args args = {.fsroot = fh(root)};
    return control_call(ask, start_fsstat, &args, take_fsstat, ret_space);
}

/* ---- lists ---------------------------------------------------------------------------------- */

struct listed {
    char name[NAME_BYTES];
    uint32_t type;
};

/* One page of a directory. */
struct page {
    struct listed *names;
    uint32_t count;
    uint32_t room;
    bool failed; /* no memory */
    bool end;
    uint64_t cookie;
    char verifier[NFS3_COOKIEVERFSIZE];
};

static void page_add(struct page *page, const struct entryplus3 *from) {
    if (page->count == page->room) {
        uint32_t room = page->room > 0 ? 2 * page->room : 64;
        struct listed *names = realloc(page->names, room * sizeof *names);
        page->failed = page->failed || names == NULL;
        if (names == NULL) {
            return;
        }
        page->names = names;
        page->room = room;
    }
    struct listed *listed = &page->names[page->count++];
    memcpy(listed->name, from->name, strlen(from->name) + 1);
    listed->type = from->name_attributes.attributes_follow != 0
                       ? from->name_attributes.post_op_attr_u.attributes.type
                       : 0;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void take_page(const void *result, void *into) {
    const struct READDIRPLUS3resok *good =
        &((const struct READDIRPLUS3res *)result)->READDIRPLUS3res_u.resok;
    struct page *page = into;
    page->end = good->reply.eof != 0;
    memcpy(page->verifier, good->cookieverf, sizeof page->verifier);
    /* libnfs puts the entries one behind the other, whatever alignment that gives. */
    const void *next = good->reply.entries;
    while (next != NULL) {
        struct entryplus3 entry_here;
        memcpy(&entry_here, next, sizeof entry_here);
        page->cookie = entry_here.cookie;
        if (!is_dots(entry_here.name) && strlen(entry_here.name) < NAME_BYTES) {
            page_add(page, &entry_here);
        }
        next = entry_here.nextentry;
    }
}

int nfs3_list(struct ask *ask, const struct handle *directory, uint32_t bytes, nfs3_name *each,
              void *argument) {
    struct page page = {.cookie = 0};
    int code = 0;
    bool more = true;
    for (uint32_t pages = 0; code == 0 && more && pages < LIST_PAGES_MAX; pages++) {
        struct READDIRPLUS3args args = {
            .dir = fh(directory), .cookie = page.cookie, .dircount = bytes, .maxcount = bytes};
        uint64_t before = page.cookie;
        memcpy(args.cookieverf, page.verifier, sizeof args.cookieverf);
        page.count = 0;
        code = control_call(ask, start_readdirplus, &args, take_page, &page);
        if (code == 0 && page.failed) {
            code = NFS3ERR_SERVERFAULT;
        }
        for (uint32_t i = 0; code == 0 && more && i < page.count; i++) {
            more = each(argument, page.names[i].name, page.names[i].type);
        }
        more = more && !page.end && page.cookie != before;
    }
    free(page.names);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * nfs3.h: the procedures of NFSv3 (RFC 1813, section 3) that this driver uses, one function each;
 * they wait for the answer.
 *
 * All return a code of control.h: 0, what the server says, or why there is no answer. Results are
 * copied and bounded here; nothing of libnfs's memory leaves. Outputs are untouched unless 0.
 */
#ifndef NFS_NFS3_H
#define NFS_NFS3_H

#include "control.h"

#define NFS3_KEEP UINT32_MAX
#define NFS3_KEEP_SIZE UINT64_MAX
#define NFS3_IO_MAX (1u << 20) /* bytes of one READ or WRITE: libnfs takes no longer answer */

struct attributes {
    uint32_t type; /* enum ftype3 */
    uint32_t mode;
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    uint64_t used;
    uint64_t id;
    uint64_t device;
    uint64_t changed_ns;
};

struct changes {
    uint32_t mode; /* NFS3_KEEP */
    uint32_t gid;  /* NFS3_KEEP */
    uint64_t size; /* NFS3_KEEP_SIZE */
};

struct limits {
    uint32_t read_max;
    uint32_t write_max;
    uint32_t list_bytes;
    uint64_t size_max;
};

struct space {
    uint64_t total;
    uint64_t available; /* to us */
};

int nfs3_lookup(struct ask *ask, const struct handle *directory, const char *name,
                struct handle *ret_handle, struct attributes *ret_attributes);
int nfs3_get(struct ask *ask, const struct handle *handle, struct attributes *ret_attributes);
int nfs3_set(struct ask *ask, const struct handle *handle, const struct changes *changes);
/* The name is taken: EXIST, but not when it was this very call that took it. */
int nfs3_create(struct ask *ask, const struct handle *directory, const char *name,
                struct handle *ret_handle);
int nfs3_make_directory(struct ask *ask, const struct handle *directory, const char *name,
                        uint32_t mode);
int nfs3_remove(struct ask *ask, const struct handle *directory, const char *name);
int nfs3_remove_directory(struct ask *ask, const struct handle *directory, const char *name);
int nfs3_rename(struct ask *ask, const struct handle *from, const char *from_name,
                const struct handle *to, const char *to_name);
int nfs3_link(struct ask *ask, const struct handle *handle, const struct handle *directory,
              const char *name);
int nfs3_read(struct ask *ask, const struct handle *handle, uint64_t offset, void *ret_bytes,
              uint32_t length, uint32_t *ret_length, bool *ret_end);
/* *ret_stable: it is on stable storage; *ret_verifier tells one life of the server from the next.
 */
int nfs3_write(struct ask *ask, const struct handle *handle, uint64_t offset, const void *bytes,
               uint32_t length, bool stable, uint32_t *ret_length, bool *ret_stable,
               uint64_t *ret_verifier);
int nfs3_commit(struct ask *ask, const struct handle *handle, uint64_t *ret_verifier);
int nfs3_limits(struct ask *ask, const struct handle *root, struct limits *ret_limits);
int nfs3_space(struct ask *ask, const struct handle *root, struct space *ret_space);

/* false: enough. The type is 0 where the server does not say it. */
typedef bool nfs3_name(void *argument, const char *name, uint32_t type);
int nfs3_list(struct ask *ask, const struct handle *directory, uint32_t bytes, nfs3_name *each,
              void *argument);

#endif

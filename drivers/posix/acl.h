/* SPDX-License-Identifier: Apache-2.0
 *
 * acl.h: POSIX access lists, written as the kernel keeps them.
 *
 * The extended attribute "system.posix_acl_access" is a little-endian version (u32, 2) and entries
 * of tag (u16), permissions (u16) and id (u32), in ascending order of tag and then of id (Linux,
 * include/uapi/linux/posix_acl_xattr.h). This driver writes whole lists, never edits one: the
 * owner, named users, nobody else. The kernel folds a list without named users back into the mode.
 */
#ifndef POSIX_ACL_H
#define POSIX_ACL_H

#include <stddef.h>
#include <stdint.h>

#define ACL_READ 4
#define ACL_WRITE 2
#define ACL_SEARCH 1
#define ACL_USERS_MAX 64

struct acl_user {
    uint32_t uid;
    uint32_t permissions; /* ACL_READ | ... */
};

/* Bytes that acl_encode needs for `count` users. */
#define ACL_BYTES(count) (4 + 8 * ((size_t)(count) + 5))

/* `users` in ascending order of uid, each uid once. Returns the bytes written. */
size_t acl_encode(uint32_t owner_permissions, const struct acl_user *users, size_t count,
                  uint8_t *ret_bytes);

/* Sets the list of the open file or directory: 0, or -1 with errno (EOPNOTSUPP: the file system has
 * no access lists). Sorts nothing: as acl_encode. */
int acl_apply(int fd, uint32_t owner_permissions, const struct acl_user *users, size_t count);

#endif

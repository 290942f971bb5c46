/* SPDX-License-Identifier: Apache-2.0
 *
 * acl.c: see acl.h.
 */
#include "acl.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ATTRIBUTE "system.posix_acl_access"
#define VERSION 2
#define NO_ID UINT32_MAX

enum tag {
    TAG_OWNER = 0x01,
    TAG_USER = 0x02,
    TAG_GROUP_OWNER = 0x04,
    TAG_MASK = 0x10,
    TAG_OTHER = 0x20,
};

static uint8_t *put(uint8_t *to, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        *to++ = (uint8_t)(value >> 8 * i);
    }
    return to;
}

static uint8_t *put_entry(uint8_t *to, enum tag tag, uint32_t permissions, uint32_t id) {
    to = put(to, tag, 2);
    to = put(to, permissions, 2);
    return put(to, id, 4);
}

size_t acl_encode(uint32_t owner_permissions, const struct acl_user *users, size_t count,
                  uint8_t *ret_bytes) {
    uint32_t mask = 0;
    uint8_t *to = put(ret_bytes, VERSION, 4);
    to = put_entry(to, TAG_OWNER, owner_permissions, NO_ID);
    for (size_t i = 0; i < count; i++) {
        to = put_entry(to, TAG_USER, users[i].permissions, users[i].uid);
        mask |= users[i].permissions;
    }
    to = put_entry(to, TAG_GROUP_OWNER, 0, NO_ID);
    if (count > 0) {
        to = put_entry(to, TAG_MASK, mask, NO_ID); /* bounds what named users get */
    }
    to = put_entry(to, TAG_OTHER, 0, NO_ID);
    return (size_t)(to - ret_bytes);
}

int acl_apply(int fd, uint32_t owner_permissions, const struct acl_user *users, size_t count) {
    uint8_t bytes[ACL_BYTES(ACL_USERS_MAX)];
    if (count > ACL_USERS_MAX) {
        errno = E2BIG;
        return -1;
    }
    size_t length = acl_encode(owner_permissions, users, count, bytes);
    if (fsetxattr(fd, ATTRIBUTE, bytes, length, 0) == 0) {
        return 0;
    }
    /* Without access lists in the file system nobody was ever let in, and the mode is enough. */
    return count == 0 && errno == EOPNOTSUPP ? fchmod(fd, owner_permissions << 6) : -1;
}

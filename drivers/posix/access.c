/* SPDX-License-Identifier: Apache-2.0
 *
 * access.c: see access.h.
 */
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "pool.h"

static const char note[] =
    "Root on this host is not kept out. Every directory above the pool's must let the user "
    "through.";

static const struct sluice_property *identity(const struct sluice_access_grant *args,
                                              const char *name) {
    const struct sluice_properties *bag = args->identities;
    for (uint64_t i = 0; bag != NULL && i < bag->count; i++) {
        if (strcmp(bag->at[i].name, name) == 0) {
            return &bag->at[i];
        }
    }
    return NULL;
}

/* The uid as a number or as decimal text, as hosts keep their identities. */
static int32_t find_uid(struct posix_pool *pool, struct sluice_call *call,
                        const struct sluice_access_grant *args, uint32_t *ret_uid) {
    const struct sluice_property *found = identity(args, "uid");
    long long uid = -1;
    char end = '\0';
    if (found != NULL && found->kind == SLUICE_PROPERTY_NUMBER) {
        uid = found->integer;
    } else if (found != NULL && found->text != NULL &&
               sscanf(found->text, "%10lld%c", &uid, &end) != 1) {
        uid = -1;
    }
    if (uid < 0 || uid >= UINT32_MAX) {
        return fail(pool, call, SLUICE_INVALID,
                    "the host has no identity \"uid\" (0 to 4294967294): a local path is opened "
                    "by a user of this host; names are not looked up here");
    }
    *ret_uid = (uint32_t)uid;
    return SLUICE_OK;
}

static void connect(const struct posix_pool *pool, const struct sluice_access_grant *args,
                    const struct share_granted *granted, uint32_t uid,
                    struct sluice_connection *ret) {
    uint32_t size = ret->size;
    const struct sluice_property *user = identity(args, "user");
    *ret = (struct sluice_connection){.size = size, .protocol = "local"};
    int length = snprintf(ret->lines, sizeof ret->lines, "path=%s/%s\nuid=%u\nformat=%s\n",
                          pool->path, granted->path, uid, image_format_name(granted->format));
    if (user != NULL && user->text != NULL && strchr(user->text, '\n') == NULL) {
        snprintf(ret->lines + length, sizeof ret->lines - (size_t)length, "user=%.255s\n",
                 user->text);
    }
    memcpy(ret->note, note, sizeof note);
}

/* Everybody may search, nobody but the owner may list: a list of a user per grant on the two
 * directories above all volumes would run into the file system's limit. */
static int let_search(struct posix_pool *pool, const char *path) {
    struct stat seen;
    int fd = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    int result = fd >= 0 ? fstat(fd, &seen) : -1;
    if (result == 0 && !(seen.st_mode & S_IXOTH)) {
        result = fchmod(fd, (seen.st_mode & 07777) | S_IXOTH);
    }
    close_quietly(&fd);
    return result;
}

int32_t access_grant(void *argument, struct sluice_call *call,
                     const struct sluice_access_grant *args, struct sluice_connection *ret) {
    struct share_pool *share = argument;
    struct posix_pool *pool = (struct posix_pool *)share_pool_fs(share);
    struct share_granted granted;
    uint32_t uid = 0;
    int32_t status = share_check(share, call);
    if (status == SLUICE_OK) {
        status = find_uid(pool, call, args, &uid);
    }
    if (status == SLUICE_OK && !pool->has_acl) {
        status = fail(pool, call, SLUICE_UNSUPPORTED,
                      "the file system has no access lists: mount it with acl, or use ext4, XFS or "
                      "btrfs");
    }
    if (status == SLUICE_OK && (let_search(pool, ".") != 0 || let_search(pool, "volumes") != 0)) {
        status = fail_errno(pool, call, errno, "let users through (chmod o+x)");
    }
    if (status == SLUICE_OK) {
        status = share_access_grant(share, call, args, uid, &granted);
    }
    if (status == SLUICE_OK) {
        connect(pool, args, &granted, uid, ret);
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * access.c: see access.h.
 */
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "acl.h"
#include "step.h"
#include "volume.h"

_Static_assert(GRANTS_MAX <= ACL_USERS_MAX, "every grant may be another user");

static const char note[] =
    "Root on this host is not kept out. Every directory above the pool's must let the user "
    "through.";

/* ---- from grants to access lists ---------------------------------------------------------- */

static void add_user(struct acl_user *users, size_t *count, uint32_t uid, uint32_t permissions) {
    size_t at = *count;
    for (size_t i = 0; i < *count; i++) {
        if (users[i].uid == uid) {
            users[i].permissions |= permissions;
            return;
        }
    }
    for (; at > 0 && users[at - 1].uid > uid; at--) {
        users[at] = users[at - 1];
    }
    users[at] = (struct acl_user){uid, permissions};
    (*count)++;
}

static const struct sluice_uuid none;

/* The users who may open the volume (`snapshot` zero) or one snapshot. */
static size_t users_of_disk(const struct grants *grants, const struct sluice_uuid *snapshot,
                            struct acl_user *ret_users) {
    size_t count = 0;
    for (uint32_t i = 0; i < grants->count; i++) {
        const struct grant *grant = &grants->at[i];
        if (grant->mode != 0 && uuid_compare(&grant->snapshot, snapshot) == 0) {
            add_user(ret_users, &count, grant->uid,
                     grant->mode == SLUICE_ACCESS_READ_WRITE ? ACL_READ | ACL_WRITE : ACL_READ);
        }
    }
    return count;
}

/* The users who must get through a directory: of everything in the volume, or of snapshots only. */
static size_t users_of_directory(const struct grants *grants, bool snapshots_only,
                                 struct acl_user *ret_users) {
    size_t count = 0;
    for (uint32_t i = 0; i < grants->count; i++) {
        const struct grant *grant = &grants->at[i];
        if (grant->mode != 0 && (!snapshots_only || !uuid_is_zero(&grant->snapshot))) {
            add_user(ret_users, &count, grant->uid, ACL_SEARCH);
        }
    }
    return count;
}

static int apply_users(int fd, uint32_t owner, const struct acl_user *users, size_t count,
                       uint32_t permissions) {
    struct acl_user changed[ACL_USERS_MAX];
    for (size_t i = 0; i < count; i++) {
        changed[i] = users[i];
        changed[i].permissions = permissions != 0 ? permissions : users[i].permissions;
    }
    return acl_apply(fd, owner, changed, count);
}

/* Everybody may search, nobody but the owner may list. */
static int let_search(int fd) {
    struct stat seen;
    if (fstat(fd, &seen) != 0) {
        return -1;
    }
    return seen.st_mode & S_IXOTH ? 0 : fchmod(fd, (seen.st_mode & 07777) | S_IXOTH);
}

static int32_t apply_snapshot(struct pool *pool, struct sluice_call *call, int directory,
                              const struct grants *grants, const struct sluice_uuid *snapshot) {
    char text[UUID_TEXT];
    struct acl_user users[ACL_USERS_MAX];
    uuid_text(snapshot, text);
    int parent = beneath_open(directory, LAYOUT_SNAPSHOTS, O_RDONLY | O_DIRECTORY, 0);
    int inner = parent >= 0 ? beneath_open(parent, text, O_RDONLY | O_DIRECTORY, 0) : -1;
    int disk = inner >= 0 ? beneath_open(inner, LAYOUT_SNAPSHOT_DISK, O_RDONLY, 0) : -1;
    bool done = disk >= 0;
    if (done) {
        size_t count = users_of_directory(grants, true, users);
        done = acl_apply(parent, 7, users, count) == 0;
        count = users_of_disk(grants, snapshot, users);
        done = done && apply_users(inner, 7, users, count, ACL_SEARCH) == 0 &&
               apply_users(disk, ACL_READ | ACL_WRITE, users, count, ACL_READ) == 0;
    } else if (errno == ENOENT) {
        done = true; /* deleted, and the right with it */
    }
    int32_t status =
        done ? SLUICE_OK : fail_errno(pool, call, errno, "set the snapshot's access list");
    close_quietly(&disk);
    close_quietly(&inner);
    close_quietly(&parent);
    return status;
}

int32_t access_apply_disk(struct pool *pool, struct sluice_call *call, int directory, int disk) {
    struct grants grants;
    struct acl_user users[ACL_USERS_MAX];
    if (grants_load(directory, &grants) != 0) {
        return fail_errno(pool, call, errno, "read the grants");
    }
    size_t count = users_of_disk(&grants, &none, users);
    if (count > 0 && acl_apply(disk, ACL_READ | ACL_WRITE, users, count) != 0) {
        return fail_errno(pool, call, errno, "set the access list");
    }
    return SLUICE_OK;
}

/* Makes all access lists that concern the grant's volume or snapshot as `grants` say. `disk` is the
 * volume's file, or -1 where the volume is gone. */
static int32_t apply(struct pool *pool, struct sluice_call *call, int directory, int disk,
                     const struct grants *grants, const struct sluice_uuid *snapshot) {
    struct acl_user users[ACL_USERS_MAX];
    size_t count = users_of_directory(grants, false, users);
    int32_t status = SLUICE_OK;
    if (let_search(pool->root) != 0 || let_search(pool->volumes) != 0) {
        status = fail_errno(pool, call, errno, "let users through (chmod o+x)");
    } else if (acl_apply(directory, 7, users, count) != 0) {
        status = errno == EOPNOTSUPP
                     ? fail(pool, call, SLUICE_UNSUPPORTED,
                            "the file system has no access lists: mount it with acl, or use ext4, "
                            "XFS or btrfs")
                     : fail_errno(pool, call, errno, "set the access list");
    } else if (!uuid_is_zero(snapshot)) {
        status = apply_snapshot(pool, call, directory, grants, snapshot);
    } else if (disk >= 0) {
        count = users_of_disk(grants, &none, users);
        if (acl_apply(disk, ACL_READ | ACL_WRITE, users, count) != 0) {
            status = fail_errno(pool, call, errno, "set the access list");
        }
    }
    return status;
}

/* ---- grant -------------------------------------------------------------------------------- */

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
static int32_t find_uid(struct pool *pool, struct sluice_call *call,
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

static void connect(const struct pool *pool, const struct sluice_access_grant *args,
                    const char *disk, uint32_t uid, struct sluice_connection *ret) {
    char path[LAYOUT_PATH];
    uint32_t size = ret->size;
    const struct sluice_property *user = identity(args, "user");
    *ret = (struct sluice_connection){.size = size, .protocol = "local"};
    if (uuid_is_zero(&args->snapshot)) {
        layout_volume(&args->volume, path);
    } else {
        layout_snapshot(&args->volume, &args->snapshot, path);
    }
    int length = snprintf(ret->lines, sizeof ret->lines, "path=%s/%s/%s\nuid=%u\nformat=raw\n",
                          pool->path, path, disk, uid);
    if (user != NULL && user->text != NULL && strchr(user->text, '\n') == NULL) {
        snprintf(ret->lines + length, sizeof ret->lines - (size_t)length, "user=%.255s\n",
                 user->text);
    }
    memcpy(ret->note, note, sizeof note);
}

/* Adds the grant to the record unless it stands there; EXISTS: with another user or mode. */
static int32_t record_grant(struct pool *pool, struct sluice_call *call, int directory,
                            const struct sluice_access_grant *args, uint32_t uid,
                            struct grants *grants) {
    const struct grant wanted = {args->attachment, args->snapshot, uid, args->mode};
    if (grants_load(directory, grants) != 0) {
        return fail_errno(pool, call, errno, "read the grants");
    }
    struct grant *place = NULL;
    for (uint32_t i = 0; i < grants->count && place == NULL; i++) {
        if (uuid_compare(&grants->at[i].attachment, &args->attachment) == 0) {
            place = &grants->at[i];
        }
    }
    if (place != NULL) {
        if (memcmp(place, &wanted, sizeof wanted) == 0) {
            return SLUICE_OK;
        }
        if (place->mode != 0 || place->uid != uid) {
            return fail(pool, call, SLUICE_EXISTS,
                        "the attachment was granted to another uid or in another mode");
        }
    } else if (grants->count == GRANTS_MAX) {
        return fail(pool, call, SLUICE_LIMIT, "the volume has %d grants already", GRANTS_MAX);
    } else {
        place = &grants->at[grants->count++];
    }
    *place = wanted;
    return grants_store(directory, grants) == 0 ? SLUICE_OK
                                                : fail_errno(pool, call, errno, "write the grants");
}

/* The volume's directory and disk, for a snapshot without the disk. */
static int32_t open_granted(struct pool *pool, struct sluice_call *call,
                            const struct sluice_access_grant *args, int *ret_directory,
                            int *ret_disk, char *ret_name) {
    *ret_directory = *ret_disk = -1;
    if (uuid_is_zero(&args->snapshot)) {
        struct volume volume;
        int32_t status = volume_open(pool, call, &args->volume, &volume);
        if (status != SLUICE_OK) {
            return status;
        }
        *ret_directory = volume.directory;
        *ret_disk = beneath_open(volume.directory, volume.disk, O_RDONLY, 0);
        memcpy(ret_name, volume.disk, LAYOUT_NAME);
    } else {
        struct snapshot_meta meta;
        char path[LAYOUT_PATH];
        int32_t status =
            snapshot_open_disk(pool, call, &args->volume, &args->snapshot, &meta, ret_disk);
        if (status != SLUICE_OK) {
            return status;
        }
        layout_volume(&args->volume, path);
        *ret_directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
        snprintf(ret_name, LAYOUT_NAME, LAYOUT_SNAPSHOT_DISK);
    }
    return *ret_directory >= 0 && *ret_disk >= 0 ? SLUICE_OK
                                                 : fail_errno(pool, call, errno, "open the disk");
}

int32_t access_grant(void *argument, struct sluice_call *call,
                     const struct sluice_access_grant *args, struct sluice_connection *ret) {
    struct pool *pool = argument;
    char name[LAYOUT_NAME];
    struct grants grants;
    uint32_t uid = 0;
    int directory;
    int disk;
    bool snapshot = !uuid_is_zero(&args->snapshot);
    if (args->mode != SLUICE_ACCESS_READ_ONLY &&
        (snapshot || args->mode != SLUICE_ACCESS_READ_WRITE)) {
        return fail(pool, call, SLUICE_INVALID, "no such mode for a %s",
                    snapshot ? "snapshot: it is read-only" : "volume");
    }
    int32_t status = find_uid(pool, call, args, &uid);
    if (status == SLUICE_OK) {
        status = open_granted(pool, call, args, &directory, &disk, name);
        if (status == SLUICE_OK && !pool->has_acl) {
            status = fail(pool, call, SLUICE_UNSUPPORTED,
                          "the file system has no access lists: mount it with acl, or use ext4, "
                          "XFS or btrfs");
        }
        if (status == SLUICE_OK) {
            status = record_grant(pool, call, directory, args, uid, &grants);
        }
        STEP(grant_recorded);
        if (status == SLUICE_OK) {
            status = apply(pool, call, directory, disk, &grants, &args->snapshot);
        }
        STEP(grant_applied);
        close_quietly(&disk);
        close_quietly(&directory);
    }
    if (status == SLUICE_OK) {
        connect(pool, args, name, uid, ret);
    }
    return status;
}

/* ---- revoke ------------------------------------------------------------------------------- */

/* The disk that the grant was for, or -1 where it is gone. */
static int open_disk_of(int directory, const struct grant *grant) {
    char name[LAYOUT_PATH];
    if (uuid_is_zero(&grant->snapshot)) {
        struct volume_meta meta;
        if (volume_meta_load(directory, &meta) != 0) {
            return -1;
        }
        layout_disk(meta.generation, name);
    } else {
        char text[UUID_TEXT];
        uuid_text(&grant->snapshot, text);
        snprintf(name, sizeof name, LAYOUT_SNAPSHOTS "/%s/" LAYOUT_SNAPSHOT_DISK, text);
    }
    return beneath_open(directory, name, O_RDONLY, 0);
}

/* Takes the right away first, then waits for who has the file open, then forgets the grant. */
static int32_t withdraw(struct pool *pool, struct sluice_call *call, int directory,
                        struct grants *grants, uint32_t at) {
    struct grant *grant = &grants->at[at];
    const struct sluice_uuid snapshot = grant->snapshot;
    if (grant->mode != 0) {
        grant->mode = 0;
        if (grants_store(directory, grants) != 0) {
            return fail_errno(pool, call, errno, "write the grants");
        }
        STEP(revoke_recorded);
    }
    int disk = open_disk_of(directory, grant);
    int32_t status =
        apply(pool, call, directory, uuid_is_zero(&snapshot) ? disk : -1, grants, &snapshot);
    STEP(revoke_applied);
    if (status == SLUICE_OK && disk >= 0) {
        int open_elsewhere = file_is_open_elsewhere(disk, false);
        if (open_elsewhere < 0) {
            pool->services->log(pool->services, SLUICE_LOG_WARNING,
                                "the file system has no leases: who still has a revoked volume "
                                "open is not known");
        }
        status = open_elsewhere == 1 ? SLUICE_PENDING : SLUICE_OK;
    }
    close_quietly(&disk);
    if (status == SLUICE_OK) {
        *grant = grants->at[--grants->count];
        if (grants_store(directory, grants) != 0) {
            status = fail_errno(pool, call, errno, "write the grants");
        }
    }
    return status;
}

int32_t access_revoke(void *argument, struct sluice_call *call,
                      const struct sluice_uuid *attachment, const struct sluice_uuid *volume) {
    struct pool *pool = argument;
    char path[LAYOUT_PATH];
    struct grants grants;
    int32_t status = pool_check(pool, call);
    if (status != SLUICE_OK) {
        return status;
    }
    layout_volume(volume, path);
    int directory = beneath_open(pool->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return errno == ENOENT ? SLUICE_OK : fail_errno(pool, call, errno, "open %s", path);
    }
    if (grants_load(directory, &grants) != 0) {
        status = fail_errno(pool, call, errno, "read the grants");
    }
    for (uint32_t i = 0; status == SLUICE_OK && i < grants.count; i++) {
        if (uuid_compare(&grants.at[i].attachment, attachment) == 0) {
            status = withdraw(pool, call, directory, &grants, i);
            break;
        }
    }
    close_quietly(&directory);
    return status;
}

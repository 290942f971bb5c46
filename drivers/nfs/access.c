/* SPDX-License-Identifier: Apache-2.0
 *
 * access.c: what a host gets to open a volume by itself: the image's group is the host's gid.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

static const char note[] =
    "AUTH_SYS believes what a client says: whoever is root on a machine that may mount the export "
    "can claim any uid and gid. Export to the hosts alone, with root_squash. Revoking takes the "
    "file's group and mode back; the server checks each call, so it holds for open files too.";

static const char *identity(const struct sluice_access_grant *args, const char *name,
                            int64_t *ret_number) {
    const struct sluice_properties *bag = args->identities;
    for (uint64_t i = 0; bag != NULL && i < bag->count; i++) {
        if (strcmp(bag->at[i].name, name) == 0) {
            *ret_number = bag->at[i].kind == SLUICE_PROPERTY_NUMBER ? bag->at[i].integer : -1;
            return bag->at[i].text != NULL ? bag->at[i].text : "";
        }
    }
    return NULL;
}

/* A number, or decimal text, as hosts keep their identities. -1: there is none. */
static int64_t id_of(const struct sluice_access_grant *args, const char *name) {
    int64_t value = -1;
    const char *text = identity(args, name, &value);
    long long parsed = -1;
    char end;
    if (text != NULL && value < 0 && sscanf(text, "%10lld%c", &parsed, &end) == 1) {
        value = parsed;
    }
    return value >= 0 && value < UINT32_MAX ? value : -1;
}

static bool is_ours(const struct nfs_fs *fs, int64_t gid) {
    return gid == fs->owner.gid || (gid >= fs->gid_first && gid - fs->gid_first < fs->gid_count);
}

static void connect_lines(const struct nfs_fs *fs, const struct sluice_access_grant *args,
                          const struct share_granted *granted, int64_t gid,
                          struct sluice_connection *ret) {
    const struct nfs_server *server = &fs->control.server;
    uint32_t size = ret->size;
    int64_t uid = id_of(args, "uid");
    char mount_port[32] = "";
    *ret = (struct sluice_connection){.size = size, .protocol = "nfs"};
    if (server->mount_port != 0) {
        snprintf(mount_port, sizeof mount_port, ",mountport=%u", server->mount_port);
    }
    int length = snprintf(ret->lines, sizeof ret->lines,
                          "server=%s\nexport=%s\npath=%s\nformat=%s\ngid=%lld\n"
                          "mount_options=vers=3,proto=tcp,port=%u%s,nolock,hard%s\n",
                          server->host, server->path, granted->path,
                          image_format_name(granted->format), (long long)gid, server->port,
                          mount_port, args->mode == SLUICE_ACCESS_READ_ONLY ? ",ro" : "");
    if (uid >= 0 && length > 0 && (size_t)length < sizeof ret->lines) {
        snprintf(ret->lines + length, sizeof ret->lines - (size_t)length, "uid=%lld\n",
                 (long long)uid);
    }
    memcpy(ret->note, note, sizeof note);
}

int32_t access_grant(void *share, struct sluice_call *call, const struct sluice_access_grant *args,
                     struct sluice_connection *ret) {
    const struct nfs_fs *fs = &pool_of(share)->fs;
    struct share_granted granted;
    int64_t gid = id_of(args, "gid");
    if (gid < 0) {
        return share_fail(share, call, SLUICE_INVALID,
                          "the host has no identity \"gid\" (0 to 4294967294): NFS lets it in by "
                          "the group of the process that opens the volume");
    }
    if (is_ours(fs, gid)) {
        return share_fail(share, call, SLUICE_INVALID,
                          "the host's gid %lld is one that the pool uses itself (gid, fence_gid): "
                          "give the host a group of its own",
                          (long long)gid);
    }
    int32_t status = share_access_grant(share, call, args, (uint32_t)gid, &granted);
    if (status == SLUICE_OK) {
        connect_lines(fs, args, &granted, gid, ret);
    }
    return status;
}

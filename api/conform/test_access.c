/* SPDX-License-Identifier: Apache-2.0
 *
 * test_access.c: granting hosts, and taking it back.
 */
#include <string.h>

#include "conform/test.h"

/* UNSUPPORTED and ACCESS: the place, not the driver; said so, and no more can be tested. */
static void grant(struct kit *kit, const struct sluice_access_grant *args,
                  struct sluice_connection *ret) {
    int32_t status = host_grant(&kit->pool, args, ret);
    if (status == SLUICE_UNSUPPORTED || status == SLUICE_ACCESS) {
        kit_skip(kit, kit->pool.call.text);
    }
    if (status == SLUICE_INVALID) {
        expect_failed(RULE_GRANT, "access_grant answered INVALID (\"%s\"); --identity gives others",
                      kit->pool.call.text);
    }
    WANT(GRANT, &kit->pool, status, SLUICE_OK);
    EXPECT(GRANT, ret->protocol[0] != '\0' && memchr(ret->protocol, '\0', sizeof ret->protocol),
           "the connection tells no protocol");
    EXPECT(GRANT, strstr(kit->pool.limits.protocols, ret->protocol) != NULL,
           "the connection's protocol is %s, the pool's are %s", ret->protocol,
           kit->pool.limits.protocols);
    EXPECT(GRANT,
           memchr(ret->lines, '\0', sizeof ret->lines) != NULL && strchr(ret->lines, '=') != NULL,
           "the connection's lines are not name=value");
}

static struct sluice_access_grant args_of(struct kit *kit, const struct sluice_uuid *volume,
                                          uint32_t mode) {
    return (struct sluice_access_grant){
        .size = sizeof(struct sluice_access_grant),
        .mode = mode,
        .attachment = kit_id(kit),
        .volume = *volume,
        .host = "conform",
        .identities = &kit->subject->identities.bag,
    };
}

void test_access_grants(struct kit *kit) {
    struct sluice_connection first;
    struct sluice_connection again;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    const struct sluice_access_grant args = args_of(kit, &volume, SLUICE_ACCESS_READ_WRITE);
    grant(kit, &args, &first);
    grant(kit, &args, &again);
    EXPECT(GRANT,
           strcmp(first.protocol, again.protocol) == 0 && strcmp(first.lines, again.lines) == 0,
           "granted again the connection is \"%s\", it was \"%s\"", again.lines, first.lines);
    WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &args.attachment, &volume), SLUICE_OK);
}

void test_access_modes(struct kit *kit) {
    struct sluice_connection told;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    struct sluice_access_grant args = args_of(kit, &volume, SLUICE_ACCESS_READ_ONLY);
    grant(kit, &args, &told);
    WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &args.attachment, &volume), SLUICE_OK);
    if (!kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
        return;
    }
    args = args_of(kit, &volume, SLUICE_ACCESS_READ_WRITE);
    args.snapshot = kit_snapshot(kit, &volume);
    int32_t status = host_grant(&kit->pool, &args, &told);
    EXPECT(GRANT, status != SLUICE_OK, "a snapshot was granted for writing");
    args = args_of(kit, &volume, SLUICE_ACCESS_READ_ONLY);
    args.snapshot = kit_snapshot(kit, &volume);
    status = host_grant(&kit->pool, &args, &told);
    EXPECT(GRANT, status == SLUICE_OK || status == SLUICE_UNSUPPORTED,
           "a snapshot for reading: access_grant answered %s (\"%s\")", status_name(status),
           kit->pool.call.text);
    WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &args.attachment, &volume), SLUICE_OK);
}

void test_access_revokes(struct kit *kit) {
    struct sluice_connection told;
    const struct sluice_uuid never = kit_id(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    const struct sluice_access_grant args = args_of(kit, &volume, SLUICE_ACCESS_READ_WRITE);
    WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &never, &volume), SLUICE_OK);
    grant(kit, &args, &told);
    for (int i = 0; i < 2; i++) {
        WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &args.attachment, &volume), SLUICE_OK);
    }
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
    WANT(REVOKE, &kit->pool, host_revoke(&kit->pool, &args.attachment, &volume), SLUICE_OK);
    int32_t status = host_grant(&kit->pool, &args, &told);
    EXPECT(NOT_FOUND, status == SLUICE_NOT_FOUND, "granting a volume that is not there answered %s",
           status_name(status));
}

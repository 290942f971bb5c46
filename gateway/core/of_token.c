/* SPDX-License-Identifier: Apache-2.0
 *
 * of_token.c: API tokens. A token is "sluice_" and 43 characters of base64url of 32 random bytes;
 * only its SHA-256 is kept, which is enough for a secret that nobody chose.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/kinds.h"
#include "core/objects.h"
#include "core/state.h"
#include "core/store.h"
#include "core/validate.h"

#define TOKEN_BYTES 32

static char *new_token(struct op *op, unsigned char ret_hash[32], struct err *err) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[TOKEN_BYTES + 1] = {0};
    if (getrandom(bytes, TOKEN_BYTES, 0) != TOKEN_BYTES) {
        err_errno(err, ERR_SYSTEM, errno, "no random bytes");
        return NULL;
    }
    char *text = arena_strdup(&op->arena, "sluice_0000000000000000000000000000000000000000000");
    if (text == NULL) {
        err_set(err, ERR_NO_MEMORY, "no memory");
        return NULL;
    }
    size_t at = strlen("sluice_");
    for (size_t bit = 0; bit < TOKEN_BYTES * 8; bit += 6) {
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        text[at++] = alphabet[pair >> (10 - bit % 8) & 63];
    }
    text[at] = '\0';
    seal_sha256(text, at, ret_hash);
    return text;
}

bool token_create_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct token_create_params *params = op->params;
    struct sluice_uuid id = uuid_new();
    if (!valid_name(op, "name", params->name, 100, err) ||
        !name_free(op, CORE_TOKEN, NULL, params->name, err))
        return false;
    if (core_role_find(params->role) == ROLE_NONE)
        return op_violation(op, err, "role", "viewer, tenant, operator or admin");
    unsigned char hash[32];
    char *token = new_token(op, hash, err);
    if (token == NULL)
        return false;
    struct token_record record = {
        .id = id,
        .name = params->name,
        .role = params->role,
        .hash = {hash, sizeof hash},
        .created_at = clock_wall_ms(),
    };
    op->secret = token;
    op_set_object(op, &id, params->name);
    store_add(txn, CORE_TOKEN, &record);
    struct key key;
    key_token_hash(&key, hash);
    catalog_put(txn, key.at, key.length, id.bytes, sizeof id.bytes);
    return true;
}
NO_STEPS(token_create)

bool token_delete_prepare(struct op *op, struct catalog_txn *txn, struct err *err) {
    const struct target_params *params = op->params;
    struct token_record record;
    uint64_t revision;
    if (!target_read(op, CORE_TOKEN, params->target, &record, &revision, err))
        return false;
    store_remove(txn, CORE_TOKEN, &record, revision);
    if (record.hash.length == 32) {
        struct key key;
        key_token_hash(&key, record.hash.at);
        catalog_delete(txn, key.at, key.length);
    }
    return true;
}
NO_STEPS(token_delete)

bool core_authenticate(struct core *core, const char *token, struct core_principal *ret) {
    unsigned char hash[32];
    seal_sha256(token, strlen(token), hash);
    struct key key;
    key_token_hash(&key, hash);
    struct catalog_value value;
    struct sluice_uuid id;
    if (!catalog_get(core->catalog, key.at, key.length, &value, NULL) || value.length != sizeof id)
        return false;
    memcpy(id.bytes, value.at, sizeof id.bytes);
    struct arena arena;
    arena_init(&arena, 4096);
    struct token_record record;
    bool ok = store_get(core->catalog, CORE_TOKEN, &id, &arena, &record, NULL, NULL);
    if (ok) {
        snprintf(ret->name, sizeof ret->name, "token:%.100s", record.name);
        ret->role = core_role_find(record.role);
    }
    arena_release(&arena);
    return ok;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: records in the catalogue, with their keys, names and indexes.
 *
 * Invariant: a record, its unique name, its index entries and its labels' entries are written and
 * removed in one transaction, so that no index ever points at nothing. The table of nouns in
 * store.c says which members a record is indexed by. Keys are laid out as docs/ARCHITECTURE.md
 * says.
 *
 * Records read live in the caller's arena. Loop thread only.
 */
#ifndef SLUICE_CORE_STORE_H
#define SLUICE_CORE_STORE_H

#include "base/shape.h"
#include "catalog/catalog.h"
#include "core/core.h"

struct key {
    uint8_t at[CATALOG_KEY_MAX];
    size_t length;
};

/* What an index is by; the letter stands in the key. */
enum store_by {
    STORE_BY_POOL = 'p',
    STORE_BY_VOLUME = 'v',
    STORE_BY_HOST = 'h',
    STORE_BY_LABEL = 'l',
};

void key_object(struct key *ret, enum core_noun noun, const struct sluice_uuid *id);
void key_objects(struct key *ret, enum core_noun noun); /* the prefix of all of them */
void key_driver(struct key *ret, const char *name, const char *version);
/* CHECKs that the name fits: names are validated at the rim. */
void key_name(struct key *ret, enum core_noun noun, const struct sluice_uuid *scope,
              const char *name);
/* The prefix of an index; an entry is it and the object's id. */
void key_index(struct key *ret, enum core_noun noun, enum store_by by,
               const struct sluice_uuid *of);
void key_label(struct key *ret, enum core_noun noun, const char *name, const char *value);
void key_add_id(struct key *key, const struct sluice_uuid *id);
void key_active(struct key *ret, const struct sluice_uuid *operation);
void key_missing(struct key *ret, enum core_noun noun, const struct sluice_uuid *id);
void key_idempotency(struct key *ret, const unsigned char hash[32]);
void key_gateway(struct key *ret, const char *name);
void key_token_hash(struct key *ret, const unsigned char hash[32]);
#define KEY_EVENTS "e/"
#define KEY_ACTIVE "oa/"
#define KEY_IDEMPOTENCY "i/"
#define KEY_MISSING "m/"

/* The shape of a noun's record. */
const struct shape *store_shape(enum core_noun noun);

/* Reads one object. false: NOT_FOUND, or the catalogue's trouble. */
bool store_get(struct catalog *catalog, enum core_noun noun, const struct sluice_uuid *id,
               struct arena *arena, void *ret_record, uint64_t *ret_revision, struct err *err);
/* The id that has a unique name. false and err unset: none. */
bool store_find(struct catalog *catalog, enum core_noun noun, const struct sluice_uuid *scope,
                const char *name, struct sluice_uuid *ret, struct err *err);

/* Adds a new object: fails at commit (CONFLICT) where the id or the name is taken. */
void store_add(struct catalog_txn *txn, enum core_noun noun, const void *record);
/* Replaces `before` (as read, at `revision`) by `after`, moving name and labels. */
void store_change(struct catalog_txn *txn, enum core_noun noun, const void *before,
                  uint64_t revision, const void *after);
void store_remove(struct catalog_txn *txn, enum core_noun noun, const void *record,
                  uint64_t revision);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "core/store.h"

#include <string.h>

#include "base/check.h"
#include "base/uuid.h"
#include "core/records.h"

#define NO_MEMBER ((size_t)-1)

/* Which members of a record are its key, its name and its indexes. */
static const struct noun_row {
    char letter;
    const struct shape *shape;
    size_t id, name, scope, pool, volume, host, labels;
} nouns[CORE_NOUNS] = {
    [CORE_DRIVER] = {'d', &driver_record_shape, NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER,
                     NO_MEMBER, NO_MEMBER, NO_MEMBER},
    [CORE_POOL] = {'p', &pool_record_shape, offsetof(struct pool_record, id),
                   offsetof(struct pool_record, name), NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER,
                   offsetof(struct pool_record, labels)},
    [CORE_VOLUME] = {'v', &volume_record_shape, offsetof(struct volume_record, id),
                     offsetof(struct volume_record, name), offsetof(struct volume_record, pool),
                     offsetof(struct volume_record, pool), NO_MEMBER, NO_MEMBER,
                     offsetof(struct volume_record, labels)},
    [CORE_SNAPSHOT] = {'s', &snapshot_record_shape, offsetof(struct snapshot_record, id),
                       offsetof(struct snapshot_record, name),
                       offsetof(struct snapshot_record, volume),
                       offsetof(struct snapshot_record, pool),
                       offsetof(struct snapshot_record, volume), NO_MEMBER,
                       offsetof(struct snapshot_record, labels)},
    [CORE_HOST] = {'h', &host_record_shape, offsetof(struct host_record, id),
                   offsetof(struct host_record, name), NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER,
                   offsetof(struct host_record, labels)},
    [CORE_ATTACHMENT] = {'a', &attachment_record_shape, offsetof(struct attachment_record, id),
                         NO_MEMBER, NO_MEMBER, offsetof(struct attachment_record, pool),
                         offsetof(struct attachment_record, volume),
                         offsetof(struct attachment_record, host), NO_MEMBER},
    [CORE_OPERATION] = {'o', &operation_record_shape, offsetof(struct operation_record, id),
                        NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER},
    [CORE_TOKEN] = {'t', &token_record_shape, offsetof(struct token_record, id),
                    offsetof(struct token_record, name), NO_MEMBER, NO_MEMBER, NO_MEMBER, NO_MEMBER,
                    NO_MEMBER},
};

/* ---- keys ----------------------------------------------------------------------------------- */

static void key_start(struct key *key, const char *text) {
    key->length = strlen(text);
    memcpy(key->at, text, key->length);
}

static void key_add(struct key *key, const void *bytes, size_t length) {
    CHECK(length <= sizeof key->at - key->length);
    memcpy(key->at + key->length, bytes, length);
    key->length += length;
}

void key_add_id(struct key *key, const struct sluice_uuid *id) {
    key_add(key, id->bytes, sizeof id->bytes);
}

void key_objects(struct key *ret, enum core_noun noun) {
    const char text[] = {nouns[noun].letter, '/', 0};
    key_start(ret, text);
}

void key_object(struct key *ret, enum core_noun noun, const struct sluice_uuid *id) {
    key_objects(ret, noun);
    key_add_id(ret, id);
}

void key_driver(struct key *ret, const char *name, const char *version) {
    key_objects(ret, CORE_DRIVER);
    key_add(ret, name, strlen(name) + 1);
    key_add(ret, version, strlen(version));
}

void key_name(struct key *ret, enum core_noun noun, const struct sluice_uuid *scope,
              const char *name) {
    static const struct sluice_uuid everywhere;
    const char text[] = {'n', '/', nouns[noun].letter, 0};
    key_start(ret, text);
    key_add_id(ret, scope != NULL ? scope : &everywhere);
    key_add(ret, name, strlen(name));
}

void key_index(struct key *ret, enum core_noun noun, enum store_by by,
               const struct sluice_uuid *of) {
    const char text[] = {'x', '/', nouns[noun].letter, (char)by, 0};
    key_start(ret, text);
    key_add_id(ret, of);
}

void key_label(struct key *ret, enum core_noun noun, const char *name, const char *value) {
    const char text[] = {'x', '/', nouns[noun].letter, STORE_BY_LABEL, 0};
    key_start(ret, text);
    key_add(ret, name, strlen(name) + 1);
    key_add(ret, value, strlen(value) + 1);
}

void key_active(struct key *ret, const struct sluice_uuid *operation) {
    key_start(ret, KEY_ACTIVE);
    key_add_id(ret, operation);
}

void key_missing(struct key *ret, enum core_noun noun, const struct sluice_uuid *id) {
    const char letter = nouns[noun].letter;
    key_start(ret, KEY_MISSING);
    key_add(ret, &letter, 1);
    key_add_id(ret, id);
}

void key_idempotency(struct key *ret, const unsigned char hash[32]) {
    key_start(ret, KEY_IDEMPOTENCY);
    key_add(ret, hash, 32);
}

void key_gateway(struct key *ret, const char *name) {
    key_start(ret, "g/");
    key_add(ret, name, strlen(name));
}

void key_token_hash(struct key *ret, const unsigned char hash[32]) {
    key_start(ret, "th/");
    key_add(ret, hash, 32);
}

/* ---- members -------------------------------------------------------------------------------- */

static const void *member(const void *record, size_t offset) {
    return offset == NO_MEMBER ? NULL : (const char *)record + offset;
}

static const char *name_of(const struct noun_row *row, const void *record) {
    const char *const *name = member(record, row->name);
    return name != NULL && **name != '\0' ? *name : NULL;
}

const struct shape *store_shape(enum core_noun noun) {
    return nouns[noun].shape;
}

static void key_of(struct key *ret, enum core_noun noun, const void *record) {
    if (noun == CORE_DRIVER) {
        const struct driver_record *driver = record;
        key_driver(ret, driver->name, driver->version);
    } else {
        key_object(ret, noun, member(record, nouns[noun].id));
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

bool store_get(struct catalog *catalog, enum core_noun noun, const struct sluice_uuid *id,
               struct arena *arena, void *ret_record, uint64_t *ret_revision, struct err *err) {
    struct key key;
    key_object(&key, noun, id);
    struct catalog_value value;
    struct err trouble = ERR_INIT;
    if (!catalog_get(catalog, key.at, key.length, &value, &trouble)) {
        if (trouble.code != ERR_NONE)
            return err_set(err, trouble.code, "%s", trouble.text);
        char text[UUID_TEXT_SIZE];
        return err_set(err, ERR_NOT_FOUND, "there is no %s %s", core_noun_name(noun),
                       uuid_format(id, text));
    }
    if (ret_revision != NULL)
        *ret_revision = value.revision;
    return shape_decode(nouns[noun].shape, value.at, value.length, arena, ret_record, err);
}

bool store_find(struct catalog *catalog, enum core_noun noun, const struct sluice_uuid *scope,
                const char *name, struct sluice_uuid *ret, struct err *err) {
    struct key key;
    key_name(&key, noun, scope, name);
    struct catalog_value value;
    if (!catalog_get(catalog, key.at, key.length, &value, err) || value.length != sizeof *ret)
        return false;
    memcpy(ret->bytes, value.at, sizeof ret->bytes);
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_record(struct catalog_txn *txn, enum core_noun noun, const void *record) {
    struct buf bytes;
    buf_init(&bytes, CATALOG_VALUE_MAX);
    shape_encode(nouns[noun].shape, record, &bytes);
    CHECK(!bytes.overflow);
    struct key key;
    key_of(&key, noun, record);
    catalog_put(txn, key.at, key.length, bytes.at, bytes.length);
    buf_release(&bytes);
}

static void index_entry(struct catalog_txn *txn, enum core_noun noun, enum store_by by,
                        const void *record, size_t offset, bool add) {
    const struct sluice_uuid *of = member(record, offset);
    if (of == NULL || uuid_is_zero(of))
        return;
    struct key key;
    key_index(&key, noun, by, of);
    key_add_id(&key, member(record, nouns[noun].id));
    if (add)
        catalog_put(txn, key.at, key.length, "", 0);
    else
        catalog_delete(txn, key.at, key.length);
}

static bool is_missing(enum core_noun noun, const void *record) {
    return (noun == CORE_VOLUME &&
            strcmp(((const struct volume_record *)record)->state, STATE_MISSING) == 0) ||
           (noun == CORE_SNAPSHOT &&
            strcmp(((const struct snapshot_record *)record)->state, STATE_MISSING) == 0);
}

static void missing_entry(struct catalog_txn *txn, enum core_noun noun, const void *record,
                          bool add) {
    struct key key;
    key_missing(&key, noun, member(record, nouns[noun].id));
    if (add)
        catalog_put(txn, key.at, key.length, "", 0);
    else
        catalog_delete(txn, key.at, key.length);
}

static void index_entries(struct catalog_txn *txn, enum core_noun noun, const void *record,
                          bool add) {
    const struct noun_row *row = &nouns[noun];
    index_entry(txn, noun, STORE_BY_POOL, record, row->pool, add);
    index_entry(txn, noun, STORE_BY_VOLUME, record, row->volume, add);
    index_entry(txn, noun, STORE_BY_HOST, record, row->host, add);
    if (is_missing(noun, record))
        missing_entry(txn, noun, record, add);
}

/* The labels of `record` that `other` (may be NULL) does not have likewise. */
static void label_entries(struct catalog_txn *txn, enum core_noun noun, const void *record,
                          const void *other, bool add) {
    const struct noun_row *row = &nouns[noun];
    const struct text_pairs *labels = member(record, row->labels);
    const struct text_pairs *others = other != NULL ? member(other, row->labels) : NULL;
    for (uint32_t i = 0; labels != NULL && i < labels->count; i++) {
        const char *same = others != NULL ? pairs_get(others, labels->at[i].name) : NULL;
        if (same != NULL && strcmp(same, labels->at[i].value) == 0)
            continue;
        struct key key;
        key_label(&key, noun, labels->at[i].name, labels->at[i].value);
        key_add_id(&key, member(record, row->id));
        if (add)
            catalog_put(txn, key.at, key.length, "", 0);
        else
            catalog_delete(txn, key.at, key.length);
    }
}

static void name_entry(struct catalog_txn *txn, enum core_noun noun, const void *record, bool add) {
    const struct noun_row *row = &nouns[noun];
    const char *name = name_of(row, record);
    if (name == NULL)
        return;
    struct key key;
    key_name(&key, noun, member(record, row->scope), name);
    if (!add) {
        catalog_delete(txn, key.at, key.length);
        return;
    }
    const struct sluice_uuid *id = member(record, row->id);
    catalog_expect(txn, key.at, key.length, 0);
    catalog_put(txn, key.at, key.length, id->bytes, sizeof id->bytes);
}

void store_add(struct catalog_txn *txn, enum core_noun noun, const void *record) {
    struct key key;
    key_of(&key, noun, record);
    catalog_expect(txn, key.at, key.length, 0);
    put_record(txn, noun, record);
    if (noun == CORE_DRIVER)
        return;
    name_entry(txn, noun, record, true);
    index_entries(txn, noun, record, true);
    label_entries(txn, noun, record, NULL, true);
}

void store_change(struct catalog_txn *txn, enum core_noun noun, const void *before,
                  uint64_t revision, const void *after) {
    struct key key;
    key_of(&key, noun, before);
    catalog_expect(txn, key.at, key.length, revision);
    put_record(txn, noun, after);
    if (noun == CORE_DRIVER)
        return;
    const char *old_name = name_of(&nouns[noun], before);
    const char *new_name = name_of(&nouns[noun], after);
    if (strcmp(old_name != NULL ? old_name : "", new_name != NULL ? new_name : "") != 0) {
        name_entry(txn, noun, before, false);
        name_entry(txn, noun, after, true);
    }
    label_entries(txn, noun, before, after, false);
    label_entries(txn, noun, after, before, true);
    if (is_missing(noun, before) != is_missing(noun, after))
        missing_entry(txn, noun, after, is_missing(noun, after));
}

void store_remove(struct catalog_txn *txn, enum core_noun noun, const void *record,
                  uint64_t revision) {
    struct key key;
    key_of(&key, noun, record);
    catalog_expect(txn, key.at, key.length, revision);
    catalog_delete(txn, key.at, key.length);
    if (noun == CORE_DRIVER)
        return;
    name_entry(txn, noun, record, false);
    index_entries(txn, noun, record, false);
    label_entries(txn, noun, record, NULL, false);
}

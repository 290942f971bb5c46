/* SPDX-License-Identifier: Apache-2.0 */
#include "core/pool_bag.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/check.h"
#include "catalog/seal.h"
#include "core/engine.h"
#include "core/state.h"
#include "core/validate.h"
#include "lifecycle/bag.h"

/* The secret properties as one sealed blob: count, then name and typed value of each. */
#define SECRETS_MAX 49152

/* ---- sealing -------------------------------------------------------------------------------- */

static bool seal_pairs(struct core *core, const struct sluice_uuid *id,
                       const struct text_pairs *pairs, struct arena *arena, struct blob *ret,
                       struct err *err) {
    *ret = (struct blob){NULL, 0};
    if (pairs->count == 0)
        return true;
    struct buf plain, sealed;
    buf_init(&plain, SECRETS_MAX);
    buf_init(&sealed, 65536);
    buf_put_u32(&plain, pairs->count);
    for (uint32_t i = 0; i < pairs->count; i++) {
        buf_put_text(&plain, pairs->at[i].name);
        buf_put_text(&plain, pairs->at[i].value);
    }
    bool ok = !plain.overflow || err_set(err, ERR_LIMIT, "the secret properties are too large");
    ok = ok && seal_encrypt(core->seal, id, plain.at, plain.length, &sealed, err);
    void *copy = ok ? arena_alloc(arena, sealed.length) : NULL;
    if (copy != NULL) {
        memcpy(copy, sealed.at, sealed.length);
        *ret = (struct blob){copy, (uint32_t)sealed.length};
    }
    if (plain.at != NULL)
        sodium_memzero(plain.at, plain.capacity);
    buf_release(&plain);
    buf_release(&sealed);
    return copy != NULL || err_set(err, ERR_NO_MEMORY, "no memory for the secret properties");
}

static bool read_pairs(struct reader *reader, struct arena *arena, struct text_pairs *ret) {
    uint32_t count = reader_u32(reader);
    if (count > RECORD_PROPERTIES_MAX)
        return false;
    ret->at = arena_array(arena, count + 1, sizeof ret->at[0]);
    if (ret->at == NULL)
        return false;
    for (ret->count = 0; ret->count < count; ret->count++) {
        size_t name_length, value_length;
        const uint8_t *name = reader_blob(reader, SECRETS_MAX, &name_length);
        const uint8_t *value = reader_blob(reader, SECRETS_MAX, &value_length);
        if (reader->bad)
            return false;
        ret->at[ret->count].name = arena_strndup(arena, (const char *)name, name_length);
        ret->at[ret->count].value = arena_strndup(arena, (const char *)value, value_length);
    }
    return reader_done(reader);
}

static bool open_pairs(struct core *core, const struct sluice_uuid *id, const struct blob *sealed,
                       struct arena *arena, struct text_pairs *ret, struct err *err) {
    *ret = (struct text_pairs){0};
    if (sealed->length == 0)
        return true;
    struct buf plain;
    buf_init(&plain, SECRETS_MAX);
    bool ok = seal_decrypt(core->seal, id, sealed->at, sealed->length, &plain, err);
    struct reader reader;
    reader_init(&reader, plain.at, plain.length);
    if (ok && !read_pairs(&reader, arena, ret))
        ok = err_set(err, ERR_CORRUPT, "the pool's secret properties cannot be read");
    if (plain.at != NULL)
        sodium_memzero(plain.at, plain.capacity);
    buf_release(&plain);
    return ok;
}

/* ---- a record's bag ------------------------------------------------------------------------- */

static bool note_violations(struct op *op, const struct bag_violations *violations,
                            struct err *err) {
    for (uint32_t i = 0; i < violations->count; i++) {
        char field[128];
        snprintf(field, sizeof field, "properties.%s", violations->at[i].field);
        op_violation(op, err, field, "%s", violations->at[i].text);
    }
    return false;
}

/* Plain properties are stored as the text that people gave, secret ones typed and sealed. */
static bool put_bag(struct op *op, const struct bag *bag, struct pool_record *record,
                    struct err *err) {
    if (!pairs_keep(&op->arena, &bag->plain, &record->properties))
        return err_set(err, ERR_NO_MEMORY, "no memory for the properties");
    for (uint32_t i = 0; i < record->properties.count; i++)
        record->properties.at[i].value = bag_text(record->properties.at[i].value);
    return seal_pairs(op->core, &record->id, &bag->secret, &op->arena, &record->sealed_properties,
                      err);
}

bool pool_bag_set(struct op *op, const struct driver *driver, const struct text_pairs *properties,
                  struct pool_record *record, struct err *err) {
    struct bag bag;
    struct bag_violations violations;
    if (!bag_validate_pairs(&driver_manifest(driver)->properties, properties, &op->arena, &bag,
                            &violations, err))
        return note_violations(op, &violations, err);
    return put_bag(op, &bag, record, err);
}

/* Everything that is stored, untyped, secrets opened. */
static bool stored_values(struct core *core, const struct pool_record *record, struct arena *arena,
                          struct text_pairs *ret, struct err *err) {
    struct text_pairs secrets;
    if (!open_pairs(core, &record->id, &record->sealed_properties, arena, &secrets, err))
        return false;
    ret->at = arena_array(arena, record->properties.count + secrets.count + 1, sizeof ret->at[0]);
    if (ret->at == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the properties");
    ret->count = 0;
    for (uint32_t i = 0; i < record->properties.count; i++)
        ret->at[ret->count++] = record->properties.at[i];
    for (uint32_t i = 0; i < secrets.count; i++)
        ret->at[ret->count++] =
            (struct text_pair){secrets.at[i].name, bag_text(secrets.at[i].value)};
    return pairs_sort(ret) || err_set(err, ERR_CORRUPT, "a property is stored twice");
}

bool pool_bag_change(struct op *op, const struct driver *driver, const struct text_pairs *changes,
                     struct pool_record *record, struct err *err) {
    struct text_pairs stored, merged;
    if (driver_manifest(driver) == NULL)
        return err_set(err, ERR_DEPENDENCY, "the driver's archive cannot be read");
    return stored_values(op->core, record, &op->arena, &stored, err) &&
           pairs_merge(&op->arena, &stored, changes, RECORD_PROPERTIES_MAX, &merged, err) &&
           pool_bag_set(op, driver, &merged, record, err);
}

bool pool_bag_open(struct core *core, const struct driver *driver, const struct pool_record *record,
                   struct arena *arena, struct text_pairs *ret, struct err *err) {
    struct text_pairs stored;
    struct bag bag;
    struct bag_violations violations;
    return stored_values(core, record, arena, &stored, err) &&
           bag_validate_pairs(&driver_manifest(driver)->properties, &stored, arena, &bag,
                              &violations, err) &&
           (bag_join(&bag, arena, ret) ||
            err_set(err, ERR_NO_MEMORY, "no memory for the properties"));
}

bool pool_bag_same(const struct pool_record *a, const struct pool_record *b) {
    if (a->properties.count != b->properties.count ||
        a->sealed_properties.length != b->sealed_properties.length ||
        (a->sealed_properties.length > 0 && memcmp(a->sealed_properties.at, b->sealed_properties.at,
                                                   a->sealed_properties.length) != 0))
        return false;
    for (uint32_t i = 0; i < a->properties.count; i++)
        if (strcmp(a->properties.at[i].name, b->properties.at[i].name) != 0 ||
            strcmp(a->properties.at[i].value, b->properties.at[i].value) != 0)
            return false;
    return true;
}

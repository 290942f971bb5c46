/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

#include "base/uuid.h"
#include "core/records.h"
#include "core/store.h"

#define OBJECTS_MAX 65536

union any {
    struct pool_record pool;
    struct volume_record volume;
    struct snapshot_record snapshot;
    struct host_record host;
    struct attachment_record attachment;
    struct operation_record operation;
    struct token_record token;
    struct key_record key;
};

struct object {
    enum core_noun noun;
    struct sluice_uuid id;
    union any record;
};

struct keys {
    struct key *at;
    size_t count;
};

struct walk {
    struct arena arena;
    struct object *objects;
    size_t count;
    struct keys expected, found; /* names, indexes, hashes, operations that have not ended */
    struct sluice_uuid *named;   /* operations, by idempotency keys */
    size_t named_count;
};

/* ---- reading -------------------------------------------------------------------------------- */

static void keys_add(struct keys *keys, const void *at, size_t length) {
    if (keys->count % 1024 == 0) {
        keys->at = realloc(keys->at, (keys->count + 1024) * sizeof *keys->at);
        assert_non_null(keys->at);
    }
    struct key *key = &keys->at[keys->count++];
    memcpy(key->at, at, length);
    key->length = length;
}

static bool begins(const struct catalog_entry *entry, const char *prefix) {
    return entry->key_length >= strlen(prefix) && memcmp(entry->key, prefix, strlen(prefix)) == 0;
}

static bool read_object(struct walk *walk, const struct catalog_entry *entry) {
    static const enum core_noun nouns[] = {CORE_POOL, CORE_VOLUME,     CORE_SNAPSHOT,
                                           CORE_HOST, CORE_ATTACHMENT, CORE_OPERATION,
                                           CORE_TOKEN};
    for (size_t i = 0; i < sizeof nouns / sizeof nouns[0]; i++) {
        struct key prefix;
        key_objects(&prefix, nouns[i]);
        if (entry->key_length != prefix.length + sizeof(struct sluice_uuid) ||
            memcmp(entry->key, prefix.at, prefix.length) != 0)
            continue;
        struct object *object = &walk->objects[walk->count++];
        assert_true(walk->count < OBJECTS_MAX);
        object->noun = nouns[i];
        memcpy(object->id.bytes, entry->key + prefix.length, sizeof object->id.bytes);
        return shape_decode(store_shape(nouns[i]), entry->value.at, entry->value.length,
                            &walk->arena, &object->record, NULL);
    }
    return false;
}

static bool on_entry(void *arg, const struct catalog_entry *entry) {
    struct walk *walk = arg;
    union any record;
    if (begins(entry, "n/") || begins(entry, "x/") || begins(entry, "th/") ||
        begins(entry, "oa/") || begins(entry, KEY_MISSING)) {
        keys_add(&walk->found, entry->key, entry->key_length);
    } else if (begins(entry, "i/")) {
        assert_true(shape_decode(&key_record_shape, entry->value.at, entry->value.length,
                                 &walk->arena, &record, NULL));
        walk->named = realloc(walk->named, (walk->named_count + 1) * sizeof *walk->named);
        assert_non_null(walk->named);
        walk->named[walk->named_count++] = record.key.operation;
    } else if (!begins(entry, "e/") && !begins(entry, "g/") && !begins(entry, "d/")) {
        assert_true(read_object(walk, entry));
    }
    return true;
}

/* ---- what must be there --------------------------------------------------------------------- */

static void expect_index(struct walk *walk, const struct object *object, enum store_by by,
                         const struct sluice_uuid *of) {
    struct key key;
    key_index(&key, object->noun, by, of);
    key_add_id(&key, &object->id);
    keys_add(&walk->expected, key.at, key.length);
}

static void expect_name(struct walk *walk, const struct object *object,
                        const struct sluice_uuid *scope, const char *name,
                        const struct text_pairs *labels) {
    struct key key;
    key_name(&key, object->noun, scope, name);
    keys_add(&walk->expected, key.at, key.length);
    for (uint32_t i = 0; labels != NULL && i < labels->count; i++) {
        key_label(&key, object->noun, labels->at[i].name, labels->at[i].value);
        key_add_id(&key, &object->id);
        keys_add(&walk->expected, key.at, key.length);
    }
}

static void expect_missing(struct walk *walk, const struct object *object, const char *state) {
    struct key key;
    if (strcmp(state, STATE_MISSING) != 0)
        return;
    key_missing(&key, object->noun, &object->id);
    keys_add(&walk->expected, key.at, key.length);
}

static void expect_keys_of(struct walk *walk, const struct object *object) {
    const union any *record = &object->record;
    struct key key;
    switch (object->noun) {
    case CORE_POOL:
        expect_name(walk, object, NULL, record->pool.name, &record->pool.labels);
        break;
    case CORE_VOLUME:
        expect_name(walk, object, &record->volume.pool, record->volume.name,
                    &record->volume.labels);
        expect_index(walk, object, STORE_BY_POOL, &record->volume.pool);
        expect_missing(walk, object, record->volume.state);
        break;
    case CORE_SNAPSHOT:
        expect_name(walk, object, &record->snapshot.volume, record->snapshot.name,
                    &record->snapshot.labels);
        expect_index(walk, object, STORE_BY_POOL, &record->snapshot.pool);
        expect_index(walk, object, STORE_BY_VOLUME, &record->snapshot.volume);
        expect_missing(walk, object, record->snapshot.state);
        break;
    case CORE_HOST:
        expect_name(walk, object, NULL, record->host.name, &record->host.labels);
        break;
    case CORE_ATTACHMENT:
        expect_index(walk, object, STORE_BY_POOL, &record->attachment.pool);
        expect_index(walk, object, STORE_BY_VOLUME, &record->attachment.volume);
        expect_index(walk, object, STORE_BY_HOST, &record->attachment.host);
        break;
    case CORE_TOKEN:
        expect_name(walk, object, NULL, record->token.name, NULL);
        key_token_hash(&key, record->token.hash.at);
        keys_add(&walk->expected, key.at, key.length);
        break;
    case CORE_OPERATION:
        if (record->operation.ended_at != 0)
            break;
        key_active(&key, &object->id);
        keys_add(&walk->expected, key.at, key.length);
        break;
    default:
        break;
    }
}

static int by_bytes(const void *a, const void *b) {
    const struct key *one = a, *other = b;
    int order =
        memcmp(one->at, other->at, one->length < other->length ? one->length : other->length);
    return order != 0 ? order : (one->length > other->length) - (one->length < other->length);
}

static void print_key(const char *what, const struct key *key) {
    print_error("%s: ", what);
    for (size_t i = 0; i < key->length; i++)
        print_error(key->at[i] >= 32 && key->at[i] < 127 ? "%c" : "\\%02x", key->at[i]);
    print_error("\n");
}

static void compare_keys(struct walk *walk) {
    struct keys *expected = &walk->expected, *found = &walk->found;
    if (expected->count > 0)
        qsort(expected->at, expected->count, sizeof expected->at[0], by_bytes);
    size_t i = 0, k = 0, wrong = 0;
    while (i < expected->count || k < found->count) {
        int order = i == expected->count ? 1
                    : k == found->count  ? -1
                                         : by_bytes(&expected->at[i], &found->at[k]);
        if (order < 0)
            print_key("is missing", &expected->at[i]);
        else if (order > 0)
            print_key("points to nothing that has it", &found->at[k]);
        wrong += order != 0;
        i += order <= 0;
        k += order >= 0;
    }
    assert_int_equal(wrong, 0);
}

/* ---- what must agree ------------------------------------------------------------------------ */

static const struct object *find(const struct walk *walk, enum core_noun noun,
                                 const struct sluice_uuid *id) {
    for (size_t i = 0; i < walk->count; i++)
        if (walk->objects[i].noun == noun && uuid_equal(&walk->objects[i].id, id))
            return &walk->objects[i];
    return NULL;
}

/* Attachments (of `what` itself, not of its snapshots) or snapshots that name an object. */
static uint32_t count(const struct walk *walk, enum core_noun noun, const struct object *of) {
    uint32_t count = 0;
    for (size_t i = 0; i < walk->count; i++) {
        const struct object *object = &walk->objects[i];
        const struct attachment_record *attachment = &object->record.attachment;
        if (object->noun != noun)
            continue;
        if (noun == CORE_SNAPSHOT)
            count += uuid_equal(&object->record.snapshot.volume, &of->id);
        else if (of->noun == CORE_HOST)
            count += uuid_equal(&attachment->host, &of->id);
        else if (of->noun == CORE_SNAPSHOT)
            count += uuid_equal(&attachment->snapshot, &of->id);
        else
            count +=
                uuid_equal(&attachment->volume, &of->id) && uuid_is_zero(&attachment->snapshot);
    }
    return count;
}

/* A state that an operation is to end. */
static void check_passage(const struct walk *walk, const struct object *object, const char *state) {
    static const char *const lasting[] = {"available", "attached", "enabled",
                                          "disabled",  "drained",  STATE_MISSING};
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++)
        if (strcmp(state, lasting[i]) == 0)
            return;
    const struct sluice_uuid *pool = object->noun == CORE_POOL     ? &object->id
                                     : object->noun == CORE_VOLUME ? &object->record.volume.pool
                                     : object->noun == CORE_SNAPSHOT
                                         ? &object->record.snapshot.pool
                                         : &object->record.attachment.pool;
    for (size_t i = 0; i < walk->count; i++) {
        const struct operation_record *operation = &walk->objects[i].record.operation;
        /* Its own, or the one that forgets its pool. */
        if (walk->objects[i].noun == CORE_OPERATION && operation->ended_at == 0 &&
            (uuid_equal(&operation->object, &object->id) || uuid_equal(&operation->object, pool)))
            return;
    }
    char text[UUID_TEXT_SIZE];
    fail_msg("%s is %s and no operation is under way", uuid_format(&object->id, text), state);
}

static void check(const struct walk *walk, const struct object *object) {
    const union any *record = &object->record;
    switch (object->noun) {
    case CORE_POOL:
        check_passage(walk, object, record->pool.state);
        break;
    case CORE_VOLUME:
        assert_non_null(find(walk, CORE_POOL, &record->volume.pool));
        assert_int_equal(record->volume.attachments, count(walk, CORE_ATTACHMENT, object));
        assert_int_equal(record->volume.snapshots, count(walk, CORE_SNAPSHOT, object));
        check_passage(walk, object, record->volume.state);
        break;
    case CORE_SNAPSHOT:
        assert_non_null(find(walk, CORE_POOL, &record->snapshot.pool));
        assert_int_equal(record->snapshot.attachments, count(walk, CORE_ATTACHMENT, object));
        check_passage(walk, object, record->snapshot.state);
        break;
    case CORE_HOST:
        assert_int_equal(record->host.attachments, count(walk, CORE_ATTACHMENT, object));
        break;
    case CORE_ATTACHMENT:
        assert_non_null(find(walk, CORE_POOL, &record->attachment.pool));
        assert_non_null(find(walk, CORE_HOST, &record->attachment.host));
        check_passage(walk, object, record->attachment.state);
        break;
    case CORE_OPERATION:
        assert_true((record->operation.ended_at == 0) ==
                    (strcmp(record->operation.state, "running") == 0 ||
                     strcmp(record->operation.state, "undoing") == 0));
        break;
    default:
        break;
    }
}

void walk_catalogue(const char *directory) {
    uv_loop_t loop;
    struct catalog *catalog;
    struct err err = ERR_INIT;
    struct walk walk = {.objects = calloc(OBJECTS_MAX, sizeof *walk.objects)};
    const struct catalog_options options = {.directory = directory, .map_bytes = 256u << 20};
    assert_non_null(walk.objects);
    arena_init(&walk.arena, SIZE_MAX);
    assert_int_equal(uv_loop_init(&loop), 0);
    if (!catalog_open(&loop, &options, &catalog, &err))
        fail_msg("%s", err.text);
    assert_true(catalog_scan(catalog, NULL, 0, NULL, 0, false, on_entry, &walk, &err));
    catalog_close(catalog);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (size_t i = 0; i < walk.count; i++) {
        expect_keys_of(&walk, &walk.objects[i]);
        check(&walk, &walk.objects[i]);
    }
    compare_keys(&walk);
    for (size_t i = 0; i < walk.named_count; i++)
        assert_non_null(find(&walk, CORE_OPERATION, &walk.named[i]));
    arena_release(&walk.arena);
    free(walk.objects);
    free(walk.expected.at);
    free(walk.found.at);
    free(walk.named);
}

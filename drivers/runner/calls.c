/* SPDX-License-Identifier: Apache-2.0
 *
 * calls.c: the table of calls and one small function a row.
 */
#include "runner/calls.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "base/uuid.h"
#include "runner/convert.h"
#include "runner/words.h"

#define KEPT_BYTES 4096 /* a reply is seldom longer; what is longer is given back */

/* One call on its way through. */
struct exchange {
    struct place *place;
    const void *args;
    struct call_memory *memory;
    struct sluice_call *call;
    void *result;            /* of the row's result shape, zeroed */
    uint32_t retry_after_ms; /* with PENDING */
    struct err err;          /* code set: the driver lied, or we could not ask it */
};

typedef int32_t call_fn(struct exchange *x);

/* What a call turns to when `convert` refused the answer. */
static int32_t judged(bool good) {
    return good ? SLUICE_OK : SLUICE_INTERNAL;
}

static void *room(struct exchange *x, size_t size) {
    void *at = arena_alloc(&x->memory->arena, size);
    if (at == NULL)
        err_set(&x->err, ERR_NO_MEMORY, "no memory for a call");
    return at;
}

static int32_t call_nothing(struct exchange *x) {
    (void)x;
    return SLUICE_OK;
}

static int32_t call_health(struct exchange *x) {
    const struct sluice_driver *base = &x->place->driver.base;
    struct wire_health *ret = x->result;
    if (base->health == NULL) {
        *ret = (struct wire_health){.health = SLUICE_HEALTH_OK};
        return SLUICE_OK;
    }
    struct sluice_health_report *report = room(x, sizeof *report);
    if (report == NULL)
        return SLUICE_NO_MEMORY;
    report->size = sizeof *report;
    int32_t status = base->health(x->place->instance, x->call, report);
    return status != SLUICE_OK ? status : judged(convert_health(report, ret, &x->err));
}

static int32_t call_configure(struct exchange *x) {
    const struct wire_configure *args = x->args;
    struct sluice_properties settings;
    if (!convert_properties(&args->settings, &x->memory->arena, &settings, &x->err))
        return SLUICE_INVALID;
    return x->place->driver.base.configure(x->place->instance, x->call, &settings);
}

/* ---- the pool ------------------------------------------------------------------------------- */

static int32_t pool_opened(struct exchange *x, const struct wire_pool_open *args,
                           const struct sluice_pool *limits, void *pool) {
    struct place *place = x->place;
    struct wire_pool *ret = x->result;
    struct buf encoded;
    buf_init(&encoded, sizeof place->opened);
    place->limits = *limits; /* the answer points into it */
    bool good = convert_pool(&place->limits, ret, &x->err);
    if (good) {
        shape_encode(&wire_pool_shape, ret, &encoded);
        good = !encoded.overflow || err_set(&x->err, ERR_NO_MEMORY, "no memory for the pool");
    }
    if (good) {
        memcpy(place->opened, encoded.at, encoded.length);
        place->opened_length = (uint32_t)encoded.length;
        place->pool = pool;
        place->pool_id = args->pool;
        place->is_open = true;
        if (place->data != NULL)
            data_start(place->data, &place->limits);
    } else {
        place->driver.storage.pool_close(pool);
    }
    buf_release(&encoded);
    return judged(good);
}

/* A gateway process that took over may not know that its predecessor's call was answered. */
static int32_t pool_open_again(struct exchange *x, const struct wire_pool_open *args) {
    if (!uuid_equal(&args->pool, &x->place->pool_id)) {
        err_set(&x->err, ERR_INVALID, "another pool is open already");
        return SLUICE_INVALID;
    }
    return judged(convert_pool(&x->place->limits, x->result, &x->err));
}

static int32_t call_pool_open(struct exchange *x) {
    const struct wire_pool_open *args = x->args;
    if (x->place->is_open)
        return pool_open_again(x, args);
    struct sluice_properties properties;
    if (!convert_properties(&args->properties, &x->memory->arena, &properties, &x->err))
        return SLUICE_INVALID;
    struct sluice_pool_open open = {
        .size = sizeof open,
        .flags = args->flags,
        .pool = args->pool,
        .gateway = args->gateway,
        .name = args->name,
        .properties = &properties,
    };
    struct sluice_pool limits = {.size = sizeof limits};
    void *pool = NULL;
    int32_t status =
        x->place->driver.storage.pool_open(x->place->instance, x->call, &open, &limits, &pool);
    return status != SLUICE_OK ? status : pool_opened(x, args, &limits, pool);
}

static int32_t call_pool_stat(struct exchange *x) {
    struct sluice_capacity capacity = {.size = sizeof capacity};
    int32_t status = x->place->driver.storage.pool_stat(x->place->pool, x->call, &capacity);
    if (status == SLUICE_OK)
        convert_capacity(&capacity, x->result);
    return status;
}

static int32_t call_pool_probe(struct exchange *x) {
    return x->place->driver.storage.pool_probe(x->place->pool, x->call);
}

static int32_t call_pool_release(struct exchange *x) {
    return x->place->driver.storage.pool_release(x->place->pool, x->call);
}

/* ---- volumes -------------------------------------------------------------------------------- */

static struct sluice_volume *volume_room(struct exchange *x) {
    struct sluice_volume *volume = room(x, sizeof *volume);
    if (volume != NULL)
        volume->size = sizeof *volume;
    return volume;
}

/* The end of each call that answers with a volume. */
static int32_t volume_answer(struct exchange *x, int32_t status, const struct sluice_volume *got,
                             const struct sluice_uuid *asked) {
    if (status == SLUICE_PENDING)
        x->retry_after_ms = got->retry_after_ms;
    if (status != SLUICE_OK)
        return status;
    return judged(convert_volume(got, x->place->limits.volume_size_max, asked, x->result, &x->err));
}

static int32_t call_volume_create(struct exchange *x) {
    const struct wire_volume_create *args = x->args;
    struct sluice_volume *got = volume_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    struct sluice_volume_create create = {
        .size = sizeof create,
        .source_kind = args->source_kind,
        .volume = args->volume,
        .source = args->source,
        .source_volume = args->source_volume,
        .size_bytes = args->size_bytes,
        .name = args->name,
        .format = args->format,
    };
    return volume_answer(
        x, x->place->driver.storage.volume_create(x->place->pool, x->call, &create, got), got,
        &args->volume);
}

static int32_t call_volume_delete(struct exchange *x) {
    const struct wire_volume_id *args = x->args;
    return x->place->driver.storage.volume_delete(x->place->pool, x->call, &args->volume);
}

static int32_t call_volume_get(struct exchange *x) {
    const struct wire_volume_id *args = x->args;
    struct sluice_volume *got = volume_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return volume_answer(
        x, x->place->driver.storage.volume_get(x->place->pool, x->call, &args->volume, got), got,
        &args->volume);
}

static int32_t call_volume_resize(struct exchange *x) {
    const struct wire_volume_resize *args = x->args;
    struct sluice_volume *got = volume_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return volume_answer(x,
                         x->place->driver.storage.volume_resize(
                             x->place->pool, x->call, &args->volume, args->size_bytes, got),
                         got, &args->volume);
}

static int32_t call_volume_revert(struct exchange *x) {
    const struct wire_volume_revert *args = x->args;
    struct sluice_volume *got = volume_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return volume_answer(x,
                         x->place->driver.storage.volume_revert(x->place->pool, x->call,
                                                                &args->volume, &args->snapshot,
                                                                &args->operation, got),
                         got, &args->volume);
}

static int32_t call_volume_adopt(struct exchange *x) {
    const struct wire_volume_adopt *args = x->args;
    struct sluice_volume *got = volume_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return volume_answer(x,
                         x->place->driver.storage.volume_adopt(x->place->pool, x->call,
                                                               &args->volume, args->reference,
                                                               args->name, got),
                         got, &args->volume);
}

static int32_t call_volume_unmanage(struct exchange *x) {
    const struct wire_volume_id *args = x->args;
    struct wire_reference *ret = x->result;
    char *reference = room(x, SLUICE_PATH_MAX);
    if (reference == NULL)
        return SLUICE_NO_MEMORY;
    int32_t status =
        x->place->driver.storage.volume_unmanage(x->place->pool, x->call, &args->volume, reference);
    if (status != SLUICE_OK)
        return status;
    ret->reference = reference;
    return judged(convert_text(reference, SLUICE_PATH_MAX, "reference", &x->err));
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* A page of entries of `entry_size` bytes, each with its size set. */
static bool list_room(struct exchange *x, size_t entry_size, struct sluice_list *ret) {
    const struct wire_list *args = x->args;
    uint32_t capacity = args->capacity;
    if (capacity == 0 || capacity > WIRE_PAGE_ENTRIES)
        capacity = WIRE_PAGE_ENTRIES;
    char *entries = room(x, capacity * entry_size);
    if (entries == NULL)
        return false;
    for (uint32_t i = 0; i < capacity; i++)
        *(uint32_t *)(void *)(entries + i * entry_size) = (uint32_t)entry_size;
    *ret = (struct sluice_list){
        .size = sizeof *ret,
        .capacity = capacity,
        .after = args->after,
        .volume = args->volume,
        .entries = entries,
    };
    return true;
}

static int32_t call_volume_list(struct exchange *x) {
    struct sluice_list asked;
    if (!list_room(x, sizeof(struct sluice_volume), &asked))
        return SLUICE_NO_MEMORY;
    struct sluice_list list = asked;
    int32_t status = x->place->driver.storage.volume_list(x->place->pool, x->call, &list);
    if (status != SLUICE_OK)
        return status;
    asked.count = list.count;
    return judged(convert_volumes(&asked, x->place->limits.volume_size_max, &x->memory->entries,
                                  x->result, &x->err));
}

static int32_t call_snapshot_list(struct exchange *x) {
    struct sluice_list asked;
    if (!list_room(x, sizeof(struct sluice_snapshot), &asked))
        return SLUICE_NO_MEMORY;
    struct sluice_list list = asked;
    int32_t status = x->place->driver.storage.snapshot_list(x->place->pool, x->call, &list);
    if (status != SLUICE_OK)
        return status;
    asked.count = list.count;
    return judged(convert_snapshots(&asked, x->place->limits.volume_size_max, &x->memory->entries,
                                    x->result, &x->err));
}

/* ---- snapshots and access ------------------------------------------------------------------- */

static struct sluice_snapshot *snapshot_room(struct exchange *x) {
    struct sluice_snapshot *snapshot = room(x, sizeof *snapshot);
    if (snapshot != NULL)
        snapshot->size = sizeof *snapshot;
    return snapshot;
}

static int32_t snapshot_answer(struct exchange *x, int32_t status,
                               const struct sluice_snapshot *got, const struct sluice_uuid *asked,
                               const struct sluice_uuid *volume) {
    if (status == SLUICE_PENDING)
        x->retry_after_ms = got->retry_after_ms;
    if (status != SLUICE_OK)
        return status;
    return judged(
        convert_snapshot(got, x->place->limits.volume_size_max, asked, volume, x->result, &x->err));
}

static int32_t call_snapshot_create(struct exchange *x) {
    const struct wire_snapshot_create *args = x->args;
    struct sluice_snapshot *got = snapshot_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return snapshot_answer(x,
                           x->place->driver.storage.snapshot_create(x->place->pool, x->call,
                                                                    &args->volume, &args->snapshot,
                                                                    args->name, got),
                           got, &args->snapshot, &args->volume);
}

static int32_t call_snapshot_delete(struct exchange *x) {
    const struct wire_snapshot_id *args = x->args;
    return x->place->driver.storage.snapshot_delete(x->place->pool, x->call, &args->volume,
                                                    &args->snapshot);
}

static int32_t call_snapshot_get(struct exchange *x) {
    const struct wire_snapshot_id *args = x->args;
    struct sluice_snapshot *got = snapshot_room(x);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    return snapshot_answer(x,
                           x->place->driver.storage.snapshot_get(
                               x->place->pool, x->call, &args->volume, &args->snapshot, got),
                           got, &args->snapshot, &args->volume);
}

static int32_t call_access_grant(struct exchange *x) {
    const struct wire_access_grant *args = x->args;
    struct sluice_properties identities;
    if (!convert_properties(&args->identities, &x->memory->arena, &identities, &x->err))
        return SLUICE_INVALID;
    struct sluice_connection *got = room(x, sizeof *got);
    if (got == NULL)
        return SLUICE_NO_MEMORY;
    got->size = sizeof *got;
    struct sluice_access_grant grant = {
        .size = sizeof grant,
        .mode = args->mode,
        .attachment = args->attachment,
        .volume = args->volume,
        .snapshot = args->snapshot,
        .host = args->host,
        .identities = &identities,
    };
    int32_t status = x->place->driver.storage.access_grant(x->place->pool, x->call, &grant, got);
    if (status == SLUICE_PENDING)
        x->retry_after_ms = got->retry_after_ms;
    return status != SLUICE_OK ? status : judged(convert_connection(got, x->result, &x->err));
}

static int32_t call_access_revoke(struct exchange *x) {
    const struct wire_access_revoke *args = x->args;
    return x->place->driver.storage.access_revoke(x->place->pool, x->call, &args->attachment,
                                                  &args->volume);
}

/* ---- the table ------------------------------------------------------------------------------ */

/* ---- data calls: their control side --------------------------------------------------------- */

static bool has_data_calls(struct exchange *x) {
    if (x->place->data == NULL)
        err_set(&x->err, ERR_UNSUPPORTED, "data calls are not made here");
    return x->place->data != NULL;
}

static int32_t call_data_open(struct exchange *x) {
    if (!has_data_calls(x))
        return SLUICE_UNSUPPORTED;
    x->retry_after_ms = DATA_RETRY_MS;
    return data_open_volume(x->place->data, x->place->pool, x->call, x->args, x->result, &x->err);
}

static int32_t call_data_close(struct exchange *x) {
    if (!has_data_calls(x))
        return SLUICE_UNSUPPORTED;
    x->retry_after_ms = DATA_RETRY_MS;
    return data_close_volume(x->place->data, x->args);
}

enum call_table { OURS, BASE, STORAGE };

struct call_row {
    call_fn *make;
    enum call_table table;
    size_t member; /* the function pointer that must be there */
    const char *member_name;
    bool may_pend; /* PENDING makes sense: the call changes something */
};

#define OF_BASE(name) BASE, offsetof(struct sluice_driver, name), #name
#define OF_STORAGE(name) STORAGE, offsetof(struct sluice_storage, name), #name

static const struct call_row rows[WIRE_NUMBERS] = {
    [WIRE_NOTHING] = {call_nothing, OURS, 0, "", false},
    [WIRE_HEALTH] = {call_health, OURS, 0, "", false},
    [WIRE_CONFIGURE] = {call_configure, OF_BASE(configure), true},
    [WIRE_POOL_OPEN] = {call_pool_open, OF_STORAGE(pool_open), true},
    [WIRE_POOL_STAT] = {call_pool_stat, OF_STORAGE(pool_stat), false},
    [WIRE_POOL_PROBE] = {call_pool_probe, OF_STORAGE(pool_probe), true},
    [WIRE_POOL_RELEASE] = {call_pool_release, OF_STORAGE(pool_release), true},
    [WIRE_VOLUME_CREATE] = {call_volume_create, OF_STORAGE(volume_create), true},
    [WIRE_VOLUME_DELETE] = {call_volume_delete, OF_STORAGE(volume_delete), true},
    [WIRE_VOLUME_GET] = {call_volume_get, OF_STORAGE(volume_get), true},
    [WIRE_VOLUME_LIST] = {call_volume_list, OF_STORAGE(volume_list), true},
    [WIRE_VOLUME_RESIZE] = {call_volume_resize, OF_STORAGE(volume_resize), true},
    [WIRE_VOLUME_REVERT] = {call_volume_revert, OF_STORAGE(volume_revert), true},
    [WIRE_VOLUME_ADOPT] = {call_volume_adopt, OF_STORAGE(volume_adopt), true},
    [WIRE_VOLUME_UNMANAGE] = {call_volume_unmanage, OF_STORAGE(volume_unmanage), true},
    [WIRE_SNAPSHOT_CREATE] = {call_snapshot_create, OF_STORAGE(snapshot_create), true},
    [WIRE_SNAPSHOT_DELETE] = {call_snapshot_delete, OF_STORAGE(snapshot_delete), true},
    [WIRE_SNAPSHOT_GET] = {call_snapshot_get, OF_STORAGE(snapshot_get), true},
    [WIRE_SNAPSHOT_LIST] = {call_snapshot_list, OF_STORAGE(snapshot_list), true},
    [WIRE_ACCESS_GRANT] = {call_access_grant, OF_STORAGE(access_grant), true},
    [WIRE_ACCESS_REVOKE] = {call_access_revoke, OF_STORAGE(access_revoke), true},
    [WIRE_DATA_OPEN] = {call_data_open, OF_STORAGE(data_open), true},
    [WIRE_DATA_CLOSE] = {call_data_close, OF_STORAGE(data_open), true},
};

static bool has_member(const struct place *place, const struct call_row *row, struct err *err) {
    if (row->table == OURS)
        return true;
    if (row->table == STORAGE && !place->driver.has_storage)
        return err_set(err, ERR_UNSUPPORTED, "this is no storage driver");
    const char *table = row->table == BASE ? (const char *)&place->driver.base
                                           : (const char *)&place->driver.storage;
    void (*member)(void);
    memcpy(&member, table + row->member, sizeof member);
    return member != NULL ||
           err_set(err, ERR_UNSUPPORTED, "the driver has no %s", row->member_name);
}

static const char *status_sentence(int32_t status) {
    switch (status) {
#define SLUICE_STATUS(name, number, advice, sentence) \
    case number:                                      \
        return sentence;
#include <sluice/status.def>
#undef SLUICE_STATUS
    default:
        return NULL;
    }
}

/* Is the status one that may be answered to this call? */
static int32_t checked_status(struct exchange *x, const struct call_row *row, int32_t status) {
    if (x->err.code != ERR_NONE)
        return status;
    if (status_sentence(status) == NULL) {
        err_set(&x->err, ERR_INTERNAL, "answered with the status %d, which there is not", status);
        return SLUICE_INTERNAL;
    }
    if (status == SLUICE_PENDING && !row->may_pend) {
        err_set(&x->err, ERR_INTERNAL, "answered PENDING to a call that begins nothing");
        return SLUICE_INTERNAL;
    }
    return status;
}

/* Why: what we found, what the driver said, or what the status means. */
static void put_text(struct exchange *x, int32_t status, const char *said) {
    char *text = x->memory->text;
    if (x->err.code == ERR_INTERNAL) {
        text_copy(text, SLUICE_TEXT_MAX, "the driver ");
        text_copy(text + strlen(text), SLUICE_TEXT_MAX - strlen(text), x->err.text);
    } else if (x->err.code != ERR_NONE) {
        text_copy(text, SLUICE_TEXT_MAX, x->err.text);
    } else if (status == SLUICE_PENDING) {
        text_copy(text, SLUICE_TEXT_MAX, said);
    } else if (status != SLUICE_OK) {
        text_copy(text, SLUICE_TEXT_MAX, said[0] != '\0' ? said : status_sentence(status));
    }
}

/* `status` has been checked. With PENDING the result is there too, but nothing in it counts. */
static void put_reply(struct exchange *x, const struct wire_row *wire, int32_t status,
                      struct wire_reply *ret) {
    struct call_memory *memory = x->memory;
    char said[SLUICE_TEXT_MAX];
    services_call_read(x->place->services, x->call, said, &ret->done, &ret->total);
    if (status == SLUICE_OK || status == SLUICE_PENDING) {
        shape_encode(wire->result, x->result, &memory->result);
        if (memory->result.overflow) {
            err_set(&x->err, ERR_NO_MEMORY, "no memory for the answer");
            status = SLUICE_NO_MEMORY;
        } else {
            ret->result =
                (struct blob){.at = memory->result.at, .length = (uint32_t)memory->result.length};
        }
    }
    put_text(x, status, said);
    ret->status = (uint32_t)status;
    ret->text = memory->text;
    if (status == SLUICE_PENDING)
        ret->retry_after_ms =
            x->retry_after_ms > CALLS_RETRY_MAX_MS ? CALLS_RETRY_MAX_MS : x->retry_after_ms;
}

void calls_make(struct place *place, const struct wire_packet *packet, struct call_memory *memory,
                struct wire_reply *ret) {
    CHECK(packet->number < WIRE_NUMBERS && rows[packet->number].make != NULL);
    const struct call_row *row = &rows[packet->number];
    struct exchange x = {
        .place = place,
        .args = packet->body,
        .memory = memory,
        .call = &memory->call,
        .result = arena_alloc(&memory->arena, packet->row->result->size),
        .retry_after_ms = CALLS_RETRY_MS,
        .err = ERR_INIT,
    };
    *ret = (struct wire_reply){.status = SLUICE_OK};
    services_call_init(x.call);
    int32_t status;
    if (x.result == NULL) {
        err_set(&x.err, ERR_NO_MEMORY, "no memory for a call");
        status = SLUICE_NO_MEMORY;
    } else if (!has_member(place, row, &x.err)) {
        status = SLUICE_UNSUPPORTED;
    } else {
        words_set_call(packet->row->name, packet->call_id);
        status = row->make(&x);
        words_set_call(NULL, 0);
        status = checked_status(&x, row, status);
    }
    put_reply(&x, packet->row, status, ret);
}

bool calls_start(struct place *place, const struct text_pairs *settings, struct call_memory *memory,
                 struct err *err) {
    struct sluice_properties bag;
    if (!convert_properties(settings, &memory->arena, &bag, err))
        return false;
    services_call_init(&memory->call);
    words_set_call("start", 0);
    int32_t status =
        place->driver.base.start(&place->services->table, &memory->call, &bag, &place->instance);
    words_set_call(NULL, 0);
    if (status == SLUICE_OK)
        return true;
    char said[SLUICE_TEXT_MAX];
    uint64_t done;
    uint64_t total;
    services_call_read(place->services, &memory->call, said, &done, &total);
    const char *sentence = status_sentence(status);
    if (sentence == NULL || status == SLUICE_PENDING)
        return err_set(err, ERR_INTERNAL, "the driver's start answered with the status %d", status);
    return err_set(err, err_from_status(status), "%s", said[0] != '\0' ? said : sentence);
}

void calls_stop(struct place *place) {
    words_set_call("stop", 0);
    if (place->is_open && place->data != NULL)
        data_stop(place->data);
    if (place->is_open)
        place->driver.storage.pool_close(place->pool);
    place->is_open = false;
    if (place->data != NULL)
        data_end(place->data);
    place->driver.base.stop(place->instance);
    words_set_call(NULL, 0);
}

static void add_volume(struct job *job, const struct sluice_uuid *volume) {
    if (!uuid_is_zero(volume))
        job->volumes[job->volume_count++] = *volume;
}

void calls_volumes(const struct wire_packet *packet, struct job *ret_job) {
    ret_job->volume_count = 0;
    if (packet->row->serial != WIRE_SERIAL_VOLUME)
        return;
    /* The member `volume` of every call that is serialised by it, found once by the table. */
    const struct shape *shape = packet->row->body;
    for (uint16_t i = 0; i < shape->count; i++)
        if (strcmp(shape->fields[i].name, "volume") == 0)
            add_volume(ret_job,
                       (const void *)((const char *)packet->body + shape->fields[i].offset));
    if (packet->number != WIRE_VOLUME_CREATE)
        return;
    const struct wire_volume_create *args = packet->body;
    add_volume(ret_job, &args->source_volume);
    if (args->source_kind == SLUICE_SOURCE_VOLUME)
        add_volume(ret_job, &args->source);
}

void calls_memory_init(struct call_memory *memory) {
    arena_init(&memory->arena, CALLS_ARENA_MAX);
    buf_init(&memory->entries, WIRE_PACKET_MAX);
    buf_init(&memory->result, WIRE_PACKET_MAX);
    memory->text[0] = '\0';
}

void calls_memory_release(struct call_memory *memory) {
    arena_release(&memory->arena);
    buf_release(&memory->entries);
    buf_release(&memory->result);
}

static void buf_reset(struct buf *buf) {
    if (buf->capacity > KEPT_BYTES)
        buf_release(buf);
    buf_clear(buf);
}

void calls_memory_reset(struct call_memory *memory) {
    if (memory->arena.held > KEPT_BYTES)
        arena_release(&memory->arena);
    else
        arena_reset(&memory->arena);
    buf_reset(&memory->entries);
    buf_reset(&memory->result);
    memory->text[0] = '\0';
}

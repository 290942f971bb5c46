/* SPDX-License-Identifier: Apache-2.0 */
#include "core/missing.h"

#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "core/pool.h"
#include "core/records.h"
#include "core/state.h"
#include "core/store.h"

#define RECORD_MEMORY 65536

/* One question. */
struct asked {
    struct core *core;
    struct sluice_uuid pool, volume;
};

static void on_time(uv_timer_t *timer);

static void set_timer(struct core *core) {
    if (!core->stopping)
        uv_timer_start(&core->missing_timer, on_time,
                       core->missing_came_back ? MISSING_SOON_MS : MISSING_EVERY_MS, 0);
}

static void on_accepted(void *arg, const struct core_accepted *accepted) {
    (void)arg, (void)accepted; /* what is refused now is asked for again */
}

static void rebuild(struct core *core, const struct sluice_uuid *pool,
                    const struct sluice_uuid *volume) {
    static const struct core_principal gateway = {"gateway", ROLE_ADMIN};
    char pool_text[UUID_TEXT_SIZE], volume_text[UUID_TEXT_SIZE];
    const struct pool_rebuild_params params = {.target = uuid_format(pool, pool_text),
                                               .volume = uuid_format(volume, volume_text)};
    const struct core_submission submission = {
        .kind = KIND_pool_rebuild, .params = &params, .principal = &gateway};
    core_submit(core, &submission, on_accepted, NULL);
}

static void on_answer(void *arg, const struct runner_reply *reply) {
    struct asked *asked = arg;
    struct core *core = asked->core;
    if (reply->err.code == ERR_NONE && !reply->pending && !core->stopping) {
        core->missing_came_back = true;
        rebuild(core, &asked->pool, &asked->volume);
    }
    free(asked);
    if (--core->missing_asked == 0)
        set_timer(core);
}

static void ask(struct core *core, enum core_noun noun, const struct sluice_uuid *id,
                const struct sluice_uuid *pool_id, const struct sluice_uuid *volume) {
    const struct pool *pool = pool_find(core, pool_id);
    const struct wire_volume_id of_volume = {.volume = *id};
    const struct wire_snapshot_id of_snapshot = {.volume = *volume, .snapshot = *id};
    if (pool == NULL || !pool_takes_work(pool, NULL))
        return;
    struct asked *asked = malloc(sizeof *asked);
    if (asked == NULL)
        return; /* the next round asks */
    *asked = (struct asked){core, *pool_id, *volume};
    core->missing_asked++;
    if (noun == CORE_VOLUME)
        runner_call(pool->runner, WIRE_VOLUME_GET, &of_volume, on_answer, asked);
    else
        runner_call(pool->runner, WIRE_SNAPSHOT_GET, &of_snapshot, on_answer, asked);
}

static void look_at(struct core *core, enum core_noun noun, const struct sluice_uuid *id) {
    union {
        struct volume_record volume;
        struct snapshot_record snapshot;
    } record;
    struct arena arena;
    arena_init(&arena, RECORD_MEMORY);
    if (store_get(core->catalog, noun, id, &arena, &record, NULL, NULL)) {
        if (noun == CORE_VOLUME)
            ask(core, noun, id, &record.volume.pool, id);
        else
            ask(core, noun, id, &record.snapshot.pool, &record.snapshot.volume);
    }
    arena_release(&arena);
}

static bool on_missing(void *arg, const struct catalog_entry *entry) {
    struct core *core = arg;
    struct sluice_uuid id;
    size_t prefix = strlen(KEY_MISSING);
    if (core->missing_asked >= MISSING_ROUND)
        return false;
    if (entry->key_length != prefix + 1 + sizeof id.bytes)
        return true;
    memcpy(core->missing_cursor.at, entry->key, entry->key_length);
    core->missing_cursor.length = entry->key_length;
    memcpy(id.bytes, entry->key + prefix + 1, sizeof id.bytes);
    look_at(core, entry->key[prefix] == 'v' ? CORE_VOLUME : CORE_SNAPSHOT, &id);
    return true;
}

void missing_look(struct core *core) {
    struct key after = core->missing_cursor;
    if (core->missing_asked > 0 || core->stopping)
        return;
    core->missing_came_back = false;
    (void)catalog_scan(core->catalog, KEY_MISSING, strlen(KEY_MISSING),
                       after.length > 0 ? after.at : NULL, after.length, false, on_missing, core,
                       NULL);
    if (core->missing_asked < MISSING_ROUND)
        core->missing_cursor.length = 0; /* all were seen: from the beginning next time */
    if (core->missing_asked == 0)
        set_timer(core);
}

static void on_time(uv_timer_t *timer) {
    missing_look(timer->data);
}

void missing_start(struct core *core) {
    set_timer(core);
    uv_unref((uv_handle_t *)&core->missing_timer);
}

void missing_stop(struct core *core) {
    uv_timer_stop(&core->missing_timer);
}

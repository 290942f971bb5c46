/* SPDX-License-Identifier: Apache-2.0 */
#include "core/expiry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/attached.h"
#include "core/state.h"
#include "core/store.h"
#include <sluice/types.h>

/* One a volume at most, so a list that is walked whole is short. */
struct expiring {
    LIST_ENTRY(expiring) entry;
    struct sluice_uuid id;
    uint64_t at_ms; /* wall clock: when it is looked at next */
};

static void on_due(uv_timer_t *timer);

static void log_trouble(struct core *core, const char *text) {
    if (core->options.on_log != NULL)
        core->options.on_log(core->owner, SLUICE_LOG_ERROR, "attachments", text);
}

/* At the earliest of them; a clock that was set back only makes it later by as much. */
static void set_timer(struct core *core) {
    uint64_t now_ms = clock_wall_ms(), first_ms = UINT64_MAX;
    const struct expiring *expiring;
    LIST_FOREACH(expiring, &core->expiring, entry)
    if (expiring->at_ms < first_ms)
        first_ms = expiring->at_ms;
    if (first_ms != UINT64_MAX && core->ready && !core->stopping)
        uv_timer_start(&core->expiry_timer, on_due, first_ms > now_ms ? first_ms - now_ms : 1, 0);
}

void expiry_add(struct core *core, const struct attachment_record *record) {
    struct expiring *expiring;
    if (record->expires_at == 0)
        return;
    LIST_FOREACH(expiring, &core->expiring, entry)
    if (uuid_equal(&expiring->id, &record->id))
        return;
    expiring = calloc(1, sizeof *expiring);
    if (expiring == NULL) {
        log_trouble(core, "no memory to remember when one ends: it does after the next start");
        return;
    }
    expiring->id = record->id;
    expiring->at_ms = record->expires_at;
    LIST_INSERT_HEAD(&core->expiring, expiring, entry);
    set_timer(core);
}

static void on_accepted(void *arg, const struct core_accepted *accepted) {
    (void)arg, (void)accepted; /* whether it is gone is seen when it is looked at again */
}

static void take_back(struct core *core, const struct sluice_uuid *id) {
    static const struct core_principal gateway = {"gateway", ROLE_ADMIN};
    char text[UUID_TEXT_SIZE];
    const struct target_params params = {.target = uuid_format(id, text)};
    const struct core_submission submission = {
        .kind = KIND_attachment_delete, .params = &params, .principal = &gateway};
    core_submit(core, &submission, on_accepted, NULL);
}

static bool still_expires(struct core *core, const struct sluice_uuid *id) {
    struct arena arena;
    struct attachment_record record;
    struct err err = ERR_INIT;
    arena_init(&arena, 65536);
    bool there = store_get(core->catalog, CORE_ATTACHMENT, id, &arena, &record, NULL, &err);
    bool expires = there ? record.expires_at != 0 : err.code != ERR_NOT_FOUND;
    arena_release(&arena);
    return expires;
}

static void on_due(uv_timer_t *timer) {
    struct core *core = timer->data;
    uint64_t now_ms = clock_wall_ms();
    struct expiring *expiring = LIST_FIRST(&core->expiring);
    while (expiring != NULL) {
        struct expiring *next = LIST_NEXT(expiring, entry);
        if (expiring->at_ms <= now_ms && !still_expires(core, &expiring->id)) {
            LIST_REMOVE(expiring, entry);
            free(expiring);
        } else if (expiring->at_ms <= now_ms) {
            expiring->at_ms = now_ms + EXPIRY_AGAIN_MS;
            take_back(core, &expiring->id);
        }
        expiring = next;
    }
    set_timer(core);
}

static bool on_attachment(void *arg, const struct catalog_entry *entry) {
    struct core *core = arg;
    struct arena arena;
    struct attachment_record record;
    arena_init(&arena, 65536);
    if (shape_decode(&attachment_record_shape, entry->value.at, entry->value.length, &arena,
                     &record, NULL))
        expiry_add(core, &record);
    arena_release(&arena);
    return true;
}

void expiry_start(struct core *core) {
    struct key prefix;
    struct err err = ERR_INIT;
    key_objects(&prefix, CORE_ATTACHMENT);
    if (!catalog_scan(core->catalog, prefix.at, prefix.length, NULL, 0, false, on_attachment, core,
                      &err))
        log_trouble(core, err.text);
    set_timer(core);
}

void expiry_stop(struct core *core) {
    uv_timer_stop(&core->expiry_timer);
}

void expiry_close(struct core *core) {
    struct expiring *expiring;
    while ((expiring = LIST_FIRST(&core->expiring)) != NULL) {
        LIST_REMOVE(expiring, entry);
        free(expiring);
    }
}

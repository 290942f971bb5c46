/* SPDX-License-Identifier: Apache-2.0 */
#include "core/render.h"

#include <stdio.h>

#include "base/uuid.h"
#include "core/engine.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"
#include <sluice/types.h>

void record_view(enum core_noun noun, const union record *record, struct record_view *ret) {
    *ret = (struct record_view){0};
    switch (noun) {
    case CORE_POOL:
        ret->name = record->pool.name;
        ret->state = record->pool.state;
        ret->labels = &record->pool.labels;
        ret->pool = &record->pool.id;
        break;
    case CORE_VOLUME:
        ret->name = record->volume.name;
        ret->state = record->volume.state;
        ret->labels = &record->volume.labels;
        ret->pool = &record->volume.pool;
        ret->volume = &record->volume.id;
        break;
    case CORE_SNAPSHOT:
        ret->name = record->snapshot.name;
        ret->state = record->snapshot.state;
        ret->labels = &record->snapshot.labels;
        ret->pool = &record->snapshot.pool;
        ret->volume = &record->snapshot.volume;
        break;
    case CORE_HOST:
        ret->name = record->host.name;
        ret->labels = &record->host.labels;
        ret->host = &record->host.id;
        break;
    case CORE_ATTACHMENT:
        ret->state = record->attachment.state;
        ret->pool = &record->attachment.pool;
        ret->volume = &record->attachment.volume;
        ret->host = &record->attachment.host;
        break;
    case CORE_OPERATION:
        ret->state = record->operation.state;
        ret->kind = record->operation.kind;
        ret->pool = &record->operation.pool;
        break;
    case CORE_TOKEN:
        ret->name = record->token.name;
        break;
    default:
        break;
    }
}

/* ---- operations: how far they are ----------------------------------------------------------- */

static void render_running(struct core *core, const struct operation_record *record,
                           struct buf *json) {
    const struct op *op = record->ended_at == 0 ? engine_find(core->engine, &record->id) : NULL;
    if (op == NULL)
        return;
    struct op_progress progress;
    struct runner_status status = {.stalled = false};
    op_progress(op, &progress);
    if (pool_runner(op->pool) != NULL)
        runner_status(op->pool->runner, &status);
    if (progress.waiting_for == NULL && status.stalled)
        progress.waiting_for = "the pool's driver, which does not get on";
    buf_printf(json, ",\"step\":");
    json_text(json, progress.step_name);
    buf_printf(json, ",\"waiting_for\":");
    json_text(json, progress.waiting_for != NULL ? progress.waiting_for : "");
    buf_printf(json, ",\"tries\":%u,\"done_bytes\":%llu,\"total_bytes\":%llu,\"rate_bytes_s\":%llu",
               progress.tries, (unsigned long long)progress.done_bytes,
               (unsigned long long)progress.total_bytes, (unsigned long long)progress.rate_bytes_s);
    if (progress.eta_s == UINT64_MAX)
        buf_printf(json, ",\"eta_s\":null");
    else
        buf_printf(json, ",\"eta_s\":%llu", (unsigned long long)progress.eta_s);
}

/* ---- pools: what runs ----------------------------------------------------------------------- */

static void render_limits(const struct wire_pool *opened, struct buf *json) {
    static const char *const caps[] = {
#define SLUICE_CAP(name, bit, sentence) [bit] = #name,
#include <sluice/caps.def>
#undef SLUICE_CAP
    };
    buf_printf(json, ",\"capabilities\":[");
    bool first = true;
    for (size_t bit = 0; bit < sizeof caps / sizeof caps[0]; bit++) {
        if (caps[bit] == NULL || !(opened->caps >> bit & 1))
            continue;
        if (!first)
            buf_put_u8(json, ',');
        first = false;
        buf_put_u8(json, '"');
        for (const char *at = caps[bit]; *at != '\0'; at++)
            buf_put_u8(json, *at == '_' ? '-' : (uint8_t)(*at | 0x20));
        buf_put_u8(json, '"');
    }
    buf_printf(
        json,
        "],\"volume_size_min\":%llu,\"volume_size_max\":%llu,\"volume_size_step\":%llu,"
        "\"snapshots_max\":%llu,\"formats\":",
        (unsigned long long)opened->volume_size_min, (unsigned long long)opened->volume_size_max,
        (unsigned long long)opened->volume_size_step, (unsigned long long)opened->snapshots_max);
    json_text(json, opened->formats);
    buf_printf(json, ",\"protocols\":");
    json_text(json, opened->protocols);
}

static const char *threads_name(uint32_t threads) {
    static const char *const names[] = {"", "serial", "per-volume", "parallel", "loop"};
    return threads < sizeof names / sizeof names[0] ? names[threads] : "";
}

void render_runner(const struct runner *runner, struct buf *json) {
    struct runner_status status;
    runner_status(runner, &status);
    buf_printf(json,
               "{\"state\":\"%s\",\"pid\":%d,\"deaths\":%u,\"calls\":%u,\"calls_total\":%llu,"
               "\"resident_bytes\":%llu,\"last_words\":",
               runner_state_name(status.state), status.pid, status.deaths, status.calls,
               (unsigned long long)status.calls_total, (unsigned long long)status.resident_bytes);
    json_text(json, status.last_words);
    if (status.loaded != NULL) {
        buf_printf(json, ",\"threads\":\"%s\",\"sandbox\":", threads_name(status.loaded->threads));
        json_pairs(json, &status.loaded->sandbox);
    }
    if (status.pool != NULL)
        render_limits(status.pool, json);
    buf_put_u8(json, '}');
}

static void render_pool(struct core *core, const struct pool_record *record, struct buf *json) {
    const struct pool *pool = pool_find(core, &record->id);
    const char *health = "drained";
    struct err cause = ERR_INIT;
    struct runner_status status = {.state = RUNNER_STOPPED};
    if (pool != NULL && pool->runner != NULL) {
        runner_status(pool->runner, &status);
        health = status.stalled ? "stalled" : runner_state_name(status.state);
        cause = status.cause;
    } else if (pool != NULL && pool->cause.code != ERR_NONE) {
        health = "down";
        cause = pool->cause;
    }
    buf_printf(json, ",\"health\":\"%s\",\"cause\":", health);
    json_text(json, cause.code != ERR_NONE ? cause.text : "");
    if (pool != NULL && pool->runner != NULL) {
        buf_printf(json, ",\"runner\":");
        render_runner(pool->runner, json);
    }
}

void render_object(struct core *core, enum core_noun noun, const union record *record,
                   struct buf *json) {
    shape_json(store_shape(noun), record, true, json);
    if (noun == CORE_POOL)
        render_pool(core, &record->pool, json);
    else if (noun == CORE_OPERATION)
        render_running(core, &record->operation, json);
    buf_put_u8(json, '}');
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.c: the gateway's figures, as OpenMetrics text and as JSON.
 */
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/driver_state.h"
#include "core/engine_state.h"
#include "core/pool.h"
#include "core/state.h"

/* The text of a label value: OpenMetrics escapes backslash, quote and line end. */
static void label(struct buf *text, const char *value) {
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            buf_put_u8(text, '\\');
        if (*value == '\n')
            buf_printf(text, "\\n");
        else
            buf_put_u8(text, (uint8_t)*value);
    }
}

static void head(struct buf *text, const char *name, const char *type, const char *help) {
    buf_printf(text, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void of_pools(struct core *core, struct buf *text) {
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"sluice_pool_up", "gauge", "1 when the pool serves"},
        {"sluice_pool_runner_deaths", "counter", "Runners of the pool that died"},
        {"sluice_pool_calls", "gauge", "Calls that the pool's driver has not answered"},
        {"sluice_pool_calls_made", "counter", "Calls that were answered"},
        {"sluice_pool_runner_resident_bytes", "gauge", "Memory of the pool's runner"},
        {"sluice_pool_operations", "gauge", "Operations that run on the pool"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        head(text, rows[i].name, rows[i].type, rows[i].help);
        for (const struct pool *pool = pools_next(core, NULL); pool != NULL;
             pool = pools_next(core, pool)) {
            struct runner_status status = {.state = RUNNER_STOPPED};
            if (pool->runner != NULL)
                runner_status(pool->runner, &status);
            const uint64_t values[] = {
                status.state == RUNNER_SERVING, status.deaths, status.calls, status.calls_total,
                status.resident_bytes,          pool->work};
            buf_printf(text, "%s%s{pool=\"", rows[i].name,
                       strcmp(rows[i].type, "counter") == 0 ? "_total" : "");
            label(text, pool->record.name);
            buf_printf(text, "\"} %llu\n", (unsigned long long)values[i]);
        }
    }
}

static void of_exports(struct core *core, struct buf *text) {
    struct exports_figures figures = {0};
    if (core->exports != NULL)
        exports_figures(core->exports, &figures);
    const struct data_pong *pong = &figures.pong;
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"sluice_data_up", "gauge", "1 when sluice-data runs", figures.running},
        {"sluice_data_deaths", "counter", "Ends of sluice-data that nobody asked for",
         figures.deaths},
        {"sluice_data_resident_bytes", "gauge", "Memory of sluice-data", pong->resident},
        {"sluice_data_exports", "gauge", "Attachments that it serves", pong->exports},
        {"sluice_data_connections", "gauge", "Connections of clients", pong->connections},
        {"sluice_data_calls", "counter", "Calls to drivers that were answered", pong->calls},
        {"sluice_data_replayed", "counter", "Calls that were sent more than once", pong->replayed},
        {"sluice_data_read_bytes", "counter", "Bytes that clients read", pong->bytes_read},
        {"sluice_data_written_bytes", "counter", "Bytes that clients wrote", pong->bytes_written},
        {"sluice_data_tls_failed", "counter", "Handshakes of TLS that failed", pong->tls_failed},
        {"sluice_data_names_refused", "counter",
         "Attachments asked for over TLS that are not there or not for that certificate",
         pong->names_refused},
        {"sluice_data_strangers_ended", "counter",
         "Clients over TCP that were too slow to name an attachment, or one of too many",
         pong->strangers_ended},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        head(text, rows[i].name, rows[i].type, rows[i].help);
        buf_printf(text, "%s%s %llu\n", rows[i].name,
                   strcmp(rows[i].type, "counter") == 0 ? "_total" : "",
                   (unsigned long long)rows[i].value);
    }
}

static void of_drivers(struct core *core, struct buf *text) {
    head(text, "sluice_driver_running", "gauge", "1 when the driver runs");
    for (uint32_t i = 0; i < core->drivers->count; i++) {
        const struct driver *driver = core->drivers->at[i];
        buf_printf(text, "sluice_driver_running{driver=\"%s\",version=\"%s\"} %d\n", driver->name,
                   driver->version, driver->state == DRIVER_RUNNING);
    }
}

void core_metrics(struct core *core, struct buf *text) {
    struct catalog_figures figures;
    catalog_figures(core->catalog, &figures);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"sluice_uptime_seconds", "gauge", "Since this gateway process started",
         (clock_wall_ms() - core->started_ms) / 1000},
        {"sluice_gateway_starts", "counter", "Starts of the gateway in its life",
         core->incarnation},
        {"sluice_operations_running", "gauge", "Operations that run", core->engine->running_count},
        {"sluice_operations_done", "counter", "Operations that ended done", core->engine->ended[0]},
        {"sluice_operations_failed", "counter", "Operations that ended undone",
         core->engine->ended[1]},
        {"sluice_operations_cancelled", "counter", "Operations that were cancelled",
         core->engine->ended[2]},
        {"sluice_catalog_commits", "counter", "Durable commits", figures.commits},
        {"sluice_catalog_transactions", "counter", "Transactions made durable by them",
         figures.transactions},
        {"sluice_catalog_conflicts", "counter", "Transactions that met a conflict",
         figures.conflicts},
        {"sluice_catalog_waiting", "gauge", "Transactions that wait", figures.waiting},
        {"sluice_catalog_used_bytes", "gauge", "Bytes of the map in use", figures.used_bytes},
        {"sluice_catalog_map_bytes", "gauge", "Bytes of the map", figures.map_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        head(text, rows[i].name, rows[i].type, rows[i].help);
        buf_printf(text, "%s%s %llu\n", rows[i].name,
                   strcmp(rows[i].type, "counter") == 0 ? "_total" : "",
                   (unsigned long long)rows[i].value);
    }
    of_pools(core, text);
    of_drivers(core, text);
    of_exports(core, text);
}

void core_gateway_json(struct core *core, struct buf *json) {
    struct catalog_figures figures;
    char id[UUID_TEXT_SIZE], started[CLOCK_TEXT_SIZE];
    catalog_figures(core->catalog, &figures);
    buf_printf(json,
               "{\"version\":\"%s\",\"id\":\"%s\",\"started_at\":\"%s\",\"starts\":%llu,"
               "\"ready\":%s,\"pools\":%u,\"drivers\":%u,\"operations_running\":%u,"
               "\"catalog\":{\"keys\":%llu,\"used_bytes\":%llu,\"map_bytes\":%llu,"
               "\"commits\":%llu,\"transactions\":%llu}}",
               SLUICE_VERSION, uuid_format(&core->gateway, id),
               clock_format(core->started_ms, started), (unsigned long long)core->incarnation,
               core->ready ? "true" : "false", pools_count(core), core->drivers->count,
               core->engine->running_count, (unsigned long long)figures.keys,
               (unsigned long long)figures.used_bytes, (unsigned long long)figures.map_bytes,
               (unsigned long long)figures.commits, (unsigned long long)figures.transactions);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_call: calls of a driver through the whole boundary: the supervisor's link, the wire
 * protocol, the runner's dispatch, the driver (ram), and back. sluice-super starts it in the place
 * of sluiced.
 *
 *     driver_call ARCHIVE PROCESSOR IN_FLIGHT nothing|get rate|p50|p99
 *
 * ARCHIVE is the unpacked archive of ram; PROCESSOR is where this side runs (the runner runs where
 * sluice-super was started). nothing: the runner answers by itself; get: the driver's volume_get.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "measure.h"
#include "runners/runners.h"
#include "super/message.h"
#include <sluice/driver.h>

#define IN_FLIGHT_MAX 128 /* well below what a runner takes at once */
#define RUNNER_ACCOUNT (SUPER_UID_LOW + 1)

struct bench {
    uv_loop_t loop;
    const char *archive;
    struct runners *runners;
    struct runner *runner;
    struct sluice_uuid volume;
    enum wire_number number;
    uint64_t in_flight;
    const char *metric;
    struct measure measure;
    bool stopping;
};

struct slot {
    struct bench *bench;
    uint64_t began_ns;
};

static void on_stopped(void *owner, struct runner *runner) {
    struct bench *bench = owner;
    runners_quit(bench->runners);
    runner_release(runner);
    uv_stop(&bench->loop);
}

static void call_start(struct slot *slot);

static void on_call_done(void *arg, const struct runner_reply *reply) {
    struct slot *slot = arg;
    struct bench *bench = slot->bench;
    if (bench->stopping)
        return;
    if (reply->err.code != ERR_NONE)
        measure_fail("a call failed: %s", reply->err.text);
    measure_one(&bench->measure, slot->began_ns);
    if (!measure_over(&bench->measure)) {
        call_start(slot);
        return;
    }
    bench->stopping = true;
    measure_print(&bench->measure);
    fflush(stdout);
    runner_stop(bench->runner, on_stopped);
}

static void call_start(struct slot *slot) {
    struct bench *bench = slot->bench;
    struct wire_volume_id volume = {.volume = bench->volume};
    struct wire_nothing nothing = {0};
    slot->began_ns = clock_mono_ns();
    runner_call(bench->runner, bench->number,
                bench->number == WIRE_NOTHING ? (const void *)&nothing : &volume, on_call_done,
                slot);
}

static void on_volume_created(void *arg, const struct runner_reply *reply) {
    static struct slot slots[IN_FLIGHT_MAX];
    struct bench *bench = arg;
    if (reply->err.code != ERR_NONE)
        measure_fail("volume_create: %s", reply->err.text);
    measure_begin(&bench->measure, bench->metric);
    for (uint64_t i = 0; i < bench->in_flight; i++) {
        slots[i].bench = bench;
        call_start(&slots[i]);
    }
}

static void volume_create(struct bench *bench) {
    bench->volume = uuid_new();
    struct wire_volume_create create = {.volume = bench->volume,
                                        .source_kind = SLUICE_SOURCE_NONE,
                                        .size_bytes = 1 << 20,
                                        .name = "v",
                                        .format = "raw"};
    runner_call(bench->runner, WIRE_VOLUME_CREATE, &create, on_volume_created, bench);
}

static void on_state(void *owner, struct runner *runner, enum runner_state state,
                     const struct err *cause) {
    struct bench *bench = owner;
    (void)runner;
    if (state == RUNNER_SERVING)
        volume_create(bench);
    else if (cause->code != ERR_NONE)
        measure_fail("the runner is %s: %s", runner_state_name(state), cause->text);
}

static void on_ready(void *owner, uint32_t held) {
    struct bench *bench = owner;
    (void)held;
    struct text_pair property = {"capacity_bytes", "n:1073741824"};
    struct runner_spec spec = {
        .tag = uuid_new(),
        .label = "pool bench",
        .uid = RUNNER_ACCOUNT,
        .gid = RUNNER_ACCOUNT,
        .load = {.directory = bench->archive,
                 .library = "ram.so",
                 .name = "ram",
                 .version = "0.1.0",
                 .category = SLUICE_CATEGORY_STORAGE,
                 .memory_mib = 4096,
                 .open_files = 256},
        .has_pool = true,
        .open = {.pool = uuid_new(),
                 .gateway = uuid_new(),
                 .name = "bench",
                 .flags = SLUICE_POOL_CLAIM,
                 .properties = {&property, 1}},
    };
    static const struct runner_events events = {.on_state = on_state};
    struct err err = ERR_INIT;
    if (!runner_start(bench->runners, &spec, &events, bench, &bench->runner, &err))
        measure_fail("runner_start: %s", err.text);
}

static void on_lost(void *owner) {
    struct bench *bench = owner;
    if (!bench->stopping)
        measure_fail("sluice-super is gone");
}

int main(int argc, char **argv) {
    if (argc != 6 || (strcmp(argv[4], "nothing") != 0 && strcmp(argv[4], "get") != 0))
        measure_fail("usage: driver_call ARCHIVE PROCESSOR IN_FLIGHT nothing|get rate|p50|p99");
    static struct bench bench;
    bench.archive = argv[1];
    bench.in_flight = measure_number(argv[3]);
    bench.number = strcmp(argv[4], "get") == 0 ? WIRE_VOLUME_GET : WIRE_NOTHING;
    bench.metric = argv[5];
    if (bench.in_flight == 0 || bench.in_flight > IN_FLIGHT_MAX)
        measure_fail("1 to %d in flight", IN_FLIGHT_MAX);
    measure_pin((unsigned)measure_number(argv[2]));
    uv_loop_init(&bench.loop);
    struct runners_options options = {
        .incarnation = clock_wall_ms(), .on_ready = on_ready, .on_lost = on_lost, .owner = &bench};
    struct err err = ERR_INIT;
    if (!runners_open(&bench.loop, SUPER_FD, &options, &bench.runners, &err))
        measure_fail("runners_open: %s", err.text);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    return 0;
}

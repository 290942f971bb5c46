/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports between a fake runner and a fake sluice-data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "exports/exports.h"
#include "fake_data.h"
#include "fake_runners.h"

static const struct sluice_uuid pool_id = {{1}}, volume_id = {{2}};
static const struct exports_spec spec = {
    .attachment = {{3}}, .pool = {{1}}, .volume = {{2}}, .name = "v", .local = true};

struct bench {
    uv_loop_t loop;
    char directory[32];
    struct runners *runners;
    struct runner *runner;
    struct exports *exports;
    bool ready, stopped, closed;
    uint32_t added, removed;
    enum err_code code;
};

static void on_ready(void *owner, uint32_t held) {
    (void)held;
    ((struct bench *)owner)->ready = true;
}

static void on_state(void *owner, struct runner *runner, enum runner_state state,
                     const struct err *cause) {
    struct bench *bench = owner;
    (void)cause;
    if (state == RUNNER_SERVING && bench->exports != NULL)
        exports_pool_serving(bench->exports, &pool_id, runner);
}

static void on_added(void *arg, const struct exports_added *added, const struct err *err) {
    struct bench *bench = arg;
    bench->added++;
    bench->code = err->code;
    assert_int_equal(added != NULL, err->code == ERR_NONE);
}
static void on_removed(void *arg) {
    ((struct bench *)arg)->removed++;
}
static void on_stopped(void *owner, struct runner *runner) {
    ((struct bench *)owner)->stopped = true;
    runner_release(runner);
}
static void on_closed(void *owner) {
    ((struct bench *)owner)->closed = true;
}

/* Nothing here waits for anything but the next turn. */
static void turns(struct bench *bench) {
    for (int i = 0; i < 20; i++)
        uv_run(&bench->loop, UV_RUN_NOWAIT);
}

static void begin(struct bench *bench, bool held) {
    static const struct runner_events events = {.on_state = on_state};
    const struct runners_options options = {.on_ready = on_ready, .owner = bench};
    struct runner_spec runner_spec = {.label = "pool p", .has_pool = true};
    struct err err = ERR_INIT;
    fake_runners_reset();
    fake_data_reset(!held, held);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    snprintf(bench->directory, sizeof bench->directory, "exports-test-XXXXXX");
    assert_non_null(mkdtemp(bench->directory));
    assert_true(runners_open(&bench->loop, -1, &options, &bench->runners, &err));
    const struct exports_options exports_options = {.directory = bench->directory,
                                                    .incarnation = 7};
    assert_true(
        exports_open(&bench->loop, bench->runners, &exports_options, &bench->exports, &err));
    assert_true(runner_start(bench->runners, &runner_spec, &events, bench, &bench->runner, &err));
    turns(bench);
}

static void end(struct bench *bench) {
    exports_close(bench->exports, on_closed, bench);
    turns(bench);
    assert_true(bench->closed);
    bench->exports = NULL;
    runner_stop(bench->runner, on_stopped);
    turns(bench);
    assert_true(bench->stopped);
    runners_close(bench->runners);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    assert_int_equal(rmdir(bench->directory), 0); /* no socket stays */
}

static void serves_replaces_and_removes(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, false);
    exports_recovered(bench.exports);
    exports_add(bench.exports, &spec, on_added, &bench);
    turns(&bench);
    assert_int_equal(bench.added, 1);
    assert_int_equal(bench.code, ERR_NONE);
    assert_int_equal(fake_data_said(DATA_EXPORT), 1);
    uint64_t epoch = fake_data_opened()->epoch, generation = fake_data_generation();
    assert_int_equal(exports_count(bench.exports, &pool_id), 1);

    runner_restart(bench.runner);
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_RING_LOST), 1);
    assert_true(fake_data_generation() > generation);
    assert_true(fake_data_opened()->epoch > epoch);
    assert_int_equal(fake_data_said(DATA_EXPORT), 1); /* it has it yet */

    fake_data_end();
    turns(&bench);
    assert_int_equal(fake_data_said(DATA_EXPORT), 2);
    assert_int_equal(fake_runners_calls(WIRE_DATA_CLOSE), 1); /* before another ring */

    exports_remove(bench.exports, &spec.attachment, on_removed, &bench);
    turns(&bench);
    assert_int_equal(bench.removed, 1);
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 1);
    assert_int_equal(fake_runners_calls(WIRE_DATA_CLOSE), 2);
    end(&bench);
}

static void a_ring_that_stands_still_puts_its_runner_in_doubt(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, false);
    exports_recovered(bench.exports);
    exports_add(bench.exports, &spec, on_added, &bench);
    turns(&bench);
    struct data_still still = {
        .pool = pool_id, .generation = fake_data_generation() - 1, .still_ms = 150};
    fake_data_say(DATA_RING_STILL, &still); /* of one that is gone */
    assert_int_equal(fake_runners_doubted_ms(), 0);
    still.generation++;
    still.pool.bytes[0]++; /* of a pool that nobody knows */
    fake_data_say(DATA_RING_STILL, &still);
    assert_int_equal(fake_runners_doubted_ms(), 0);
    still.pool = pool_id;
    fake_data_say(DATA_RING_STILL, &still);
    assert_int_equal(fake_runners_doubted_ms(), 150);
    end(&bench);
}

static void what_nobody_knows_ends(void **state) {
    (void)state;
    struct bench bench = {0};
    begin(&bench, true);
    exports_recovered(bench.exports);
    fake_data_begin(true);
    struct data_has has = {.attachment = {{9}}, .volume = volume_id, .pool = pool_id};
    fake_data_say(DATA_HAS, &has);
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 0);
    fake_data_say(DATA_SYNCED, &(struct data_nothing){0});
    assert_int_equal(fake_data_said(DATA_UNEXPORT), 1);
    fake_data_say(DATA_UNEXPORTED, &(struct data_unexport){.attachment = {{9}}});
    assert_int_equal(exports_count(bench.exports, &pool_id), 0);
    end(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_replaces_and_removes),
        cmocka_unit_test(what_nobody_knows_ends),
        cmocka_unit_test(a_ring_that_stands_still_puts_its_runner_in_doubt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

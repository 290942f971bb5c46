/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start finds, and what a stop leaves.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "catalog/catalog.h"
#include "core/state.h"
#include "core/store.h"

static enum wire_number held;
static void hold(void *arg, enum wire_number number, const void *args, struct fake_answer *ret) {
    (void)arg, (void)args;
    ret->never = number == held;
}

static struct asked create_held(struct bench *bench, enum wire_number number) {
    bench_make_pool(bench, "p");
    held = number;
    fake_runners_answer(hold, NULL);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    return asked;
}

static void restart(struct bench *bench) {
    bench_stop(bench);
    bench_start(bench);
}

/* ---- operations ----------------------------------------------------------------------------- */

static bool not_deleting(struct bench *bench) {
    (void)bench;
    return fake_runners_calls(WIRE_VOLUME_DELETE) == 0;
}

static void test_what_was_turned_stays_turned(void **state) {
    struct bench *bench = *state;
    struct asked asked = create_held(bench, WIRE_VOLUME_CREATE);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    held = WIRE_VOLUME_DELETE;
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE));
    bench_run_while(bench, not_deleting);
    bench_assert_state(bench, &asked, "undoing");
    restart(bench);
    bench_assert_state(bench, &asked, "undoing");
    fake_runners_answer(NULL, NULL);
    restart(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
}

/* A pool that is forgotten, and work in it that is younger: nothing of it may go on without locks.
 */
static void test_forget_and_its_victims_come_back_together(void **state) {
    struct bench *bench = *state;
    struct asked asked = create_held(bench, WIRE_VOLUME_CREATE);
    struct asked more[10], gone;
    struct pool_delete_params params = {.target = "p", .forget = true};
    bench_submit(bench, KIND_pool_delete, &params, NULL, 0, &gone);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        struct volume_create_params volume = bench_volume("p", name);
        bench_submit(bench, KIND_volume_create, &volume, NULL, 0, &more[i]);
    }
    bench_stop(bench);
    assert_true(gone.accepted);
    for (int i = 0; i < 10; i++)
        assert_int_equal(more[i].answers, 1);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &gone).err.code, ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_absent(bench, CORE_POOL, "p");
}

/* ---- a catalogue that somebody else wrote to ------------------------------------------------ */

static void on_put(void *arg, uint64_t revision, const struct err *err) {
    (void)arg, (void)revision;
    assert_int_equal(err->code, ERR_NONE);
}

typedef void change_fn(struct catalog_txn *txn, void *arg);

static void change_catalogue(struct bench *bench, change_fn *change, void *arg) {
    uv_loop_t loop;
    struct catalog *catalog;
    struct err err = ERR_INIT;
    const struct catalog_options options = {.directory = bench->state, .map_bytes = 256u << 20};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(catalog_open(&loop, &options, &catalog, &err));
    struct catalog_txn *txn = catalog_begin(catalog);
    change(txn, arg);
    catalog_submit(txn, on_put, NULL);
    catalog_close(catalog);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void put(struct catalog_txn *txn, const struct key *key, const struct shape *shape,
                const void *record) {
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    if (shape != NULL)
        shape_encode(shape, record, &bytes);
    else
        buf_put(&bytes, "rubbish", 7);
    catalog_put(txn, key->at, key->length, bytes.at, bytes.length);
    buf_release(&bytes);
}

struct strangers {
    struct sluice_uuid unknown, rubbish;
};

static void add_strangers(struct catalog_txn *txn, void *arg) {
    struct strangers *strangers = arg;
    struct key key;
    struct operation_record record = {
        .id = uuid_new(), .kind = "volume.transmute", .state = "running", .noun = "volume"};
    strangers->unknown = record.id;
    strangers->rubbish = uuid_new();
    key_object(&key, CORE_OPERATION, &strangers->unknown);
    put(txn, &key, &operation_record_shape, &record);
    key_object(&key, CORE_OPERATION, &strangers->rubbish);
    put(txn, &key, NULL, NULL);
    const struct sluice_uuid *ids[] = {&strangers->unknown, &strangers->rubbish};
    for (size_t i = 0; i < 2; i++) {
        key_active(&key, ids[i]);
        catalog_put(txn, key.at, key.length, "", 0);
    }
}

static void remove_strangers(struct catalog_txn *txn, void *arg) {
    const struct strangers *strangers = arg;
    const struct sluice_uuid *ids[] = {&strangers->unknown, &strangers->rubbish};
    struct key key;
    for (size_t i = 0; i < 2; i++) {
        key_active(&key, ids[i]);
        catalog_delete(txn, key.at, key.length);
        key_object(&key, CORE_OPERATION, ids[i]);
        catalog_delete(txn, key.at, key.length);
    }
}

static void test_an_operation_that_nobody_knows_is_left(void **state) {
    struct bench *bench = *state;
    struct strangers strangers;
    struct asked asked = create_held(bench, WIRE_VOLUME_CREATE);
    bench_stop(bench);
    change_catalogue(bench, add_strangers, &strangers);
    fake_runners_answer(NULL, NULL);
    bench->logged = 0;
    bench_start(bench);
    assert_int_equal(bench->logged, 2);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    char id[UUID_TEXT_SIZE];
    bench_assert_has(bench, CORE_OPERATION, uuid_format(&strangers.unknown, id),
                     "\"kind\":\"volume.transmute\"");
    bench_stop(bench);
    change_catalogue(bench, remove_strangers, &strangers);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void test_a_key_outlives_the_gateway(void **state) {
    struct bench *bench = *state;
    struct token_create_params params = {.name = "ci", .role = "viewer"};
    struct asked first, second;
    bench_submit(bench, KIND_token_create, &params, "key", 7, &first);
    bench_submit(bench, KIND_token_create, &params, "key", 7, &second);
    bench_run_until(bench, &first.accepted);
    bench_run_until(bench, &second.accepted);
    assert_int_equal(second.answer.err.code, ERR_NONE);
    assert_true(second.answer.replayed);
    /* A secret is told once. */
    assert_true(first.secret[0] != '\0');
    assert_string_equal(second.secret, "");
    restart(bench);
    bench_submit(bench, KIND_token_create, &params, "key", 7, &second);
    bench_run_until(bench, &second.accepted);
    assert_true(second.answer.replayed);
    assert_true(uuid_equal(&second.answer.operation, &first.answer.operation));
    assert_string_equal(second.secret, "");
    assert_false(bench_stored(bench, first.secret));
    bench_submit(bench, KIND_token_create, &params, "key", 8, &second);
    bench_run_until(bench, &second.accepted);
    assert_int_equal(second.answer.err.code, ERR_KEY_REUSED);
}

/* Whoever waits for an answer while the gateway closes gets one. */
#define CROWD 30
static void test_closing_answers_all(void **state) {
    struct bench *bench = *state;
    static struct asked asked[CROWD];
    bench_make_pool(bench, "p");
    for (uint32_t turns = 0; turns < 4; turns++) {
        char key[16];
        snprintf(key, sizeof key, "key%u", turns);
        struct volume_create_params volume = bench_volume("p", key);
        for (int i = 0; i < CROWD; i++)
            bench_submit(bench, KIND_volume_create, &volume, key, 1, &asked[i]);
        bench_turns(bench, turns);
        bench_stop(bench);
        uint32_t accepted = 0;
        for (int i = 0; i < CROWD; i++) {
            assert_int_equal(asked[i].answers, 1);
            accepted += asked[i].answer.err.code == ERR_NONE;
        }
        assert_true(accepted > 0);
        bench_start(bench);
        for (int i = 0; i < CROWD; i++)
            bench_submit(bench, KIND_volume_create, &volume, key, 1, &asked[i]);
        for (int i = 0; i < CROWD; i++) {
            bench_run_until(bench, &asked[i].accepted);
            assert_true(asked[i].answer.replayed);
        }
        assert_int_equal(bench_outcome(bench, &asked[0]).err.code, ERR_NONE);
    }
}

/* Stopped in the middle of everything: nothing may be begun after that. */
static void test_closing_begins_nothing(void **state) {
    struct bench *bench = *state;
    static struct asked asked[CROWD];
    static char names[CROWD][16];
    for (uint32_t turns = 0; turns < 30; turns++) {
        for (int i = 0; i < CROWD; i++) {
            snprintf(names[i], sizeof names[i], "p%u-%d", turns, i);
            struct pool_create_params pool = bench_pool(names[i]);
            struct driver_scan_params scan = {0};
            if (i < 3)
                bench_submit(bench, KIND_pool_create, &pool, NULL, 0, &asked[i]);
            else if (i == 4)
                bench_submit(bench, KIND_driver_scan, &scan, NULL, 0, &asked[i]);
        }
        bench_turns(bench, turns);
        restart(bench);
    }
}

/* ---- pruning -------------------------------------------------------------------------------- */

#define HOUR_MS ((uint64_t)3600 * 1000)
#define OLD 400

struct old {
    struct sluice_uuid old[OLD], named, running, young;
};

static void put_operation(struct catalog_txn *txn, const struct sluice_uuid *id, uint64_t created,
                          uint64_t ended) {
    struct key key;
    struct operation_record record = {
        .id = *id,
        .kind = "host.create",
        .state = ended != 0 ? "done" : "running",
        .noun = "host",
        .created_at = created,
        .ended_at = ended,
    };
    key_object(&key, CORE_OPERATION, id);
    put(txn, &key, &operation_record_shape, &record);
}

static void put_key(struct catalog_txn *txn, unsigned char first,
                    const struct sluice_uuid *operation, uint64_t created) {
    static const uint8_t request[32];
    unsigned char hash[32] = {first};
    struct key key;
    struct key_record record = {
        .request_hash = {request, 32}, .operation = *operation, .created_at = created};
    key_idempotency(&key, hash);
    put(txn, &key, &key_record_shape, &record);
}

static void add_first(struct catalog_txn *txn, void *arg) {
    struct old *old = arg;
    uint64_t now = clock_wall_ms();
    old->running = uuid_new();
    put_operation(txn, &old->running, now - 1000 * HOUR_MS, 0); /* of no known kind of work */
}

static void add_hundred(struct catalog_txn *txn, void *arg) {
    struct old *old = arg;
    uint64_t now = clock_wall_ms();
    uint32_t from = 0;
    while (!uuid_is_zero(&old->old[from]))
        from++;
    for (uint32_t i = from; i < from + 100; i++) {
        old->old[i] = uuid_new();
        put_operation(txn, &old->old[i], now - 100 * HOUR_MS, now - 99 * HOUR_MS);
    }
}

static void add_last(struct catalog_txn *txn, void *arg) {
    struct old *old = arg;
    uint64_t now = clock_wall_ms();
    old->named = uuid_new();
    put_operation(txn, &old->named, now - 23 * HOUR_MS, now - 22 * HOUR_MS);
    put_key(txn, 1, &old->named, now - 23 * HOUR_MS);
    old->young = uuid_new();
    put_operation(txn, &old->young, now, now);
    put_key(txn, 2, &old->old[7], now - 100 * HOUR_MS);
}

static void remove_running(struct catalog_txn *txn, void *arg) {
    struct old *old = arg;
    struct key key;
    key_object(&key, CORE_OPERATION, &old->running);
    catalog_delete(txn, key.at, key.length);
}

static struct sluice_uuid last_old;
static bool last_is_there(struct bench *bench) {
    char id[UUID_TEXT_SIZE];
    return bench_has(bench, CORE_OPERATION, uuid_format(&last_old, id), "host.create");
}

static void test_what_is_old_goes(void **state) {
    struct bench *bench = *state;
    static struct old old;
    char id[UUID_TEXT_SIZE];
    bench_stop(bench);
    memset(&old, 0, sizeof old);
    change_catalogue(bench, add_first, &old);
    for (int i = 0; i < OLD / 100; i++)
        change_catalogue(bench, add_hundred, &old);
    change_catalogue(bench, add_last, &old);
    bench->keep_operations_s = 1; /* less than the keys allow */
    bench_start(bench);
    last_old = old.old[OLD - 1];
    assert_true(last_is_there(bench));
    /* Not after a quarter of a minute, but now. */
    uv_timer_start(&bench->core->prune_timer, bench->core->prune_timer.timer_cb, 1, 0);
    bench_run_while(bench, last_is_there);
    for (int i = 0; i < OLD; i++)
        bench_assert_absent(bench, CORE_OPERATION, uuid_format(&old.old[i], id));
    bench_assert_has(bench, CORE_OPERATION, uuid_format(&old.named, id), "done");
    bench_assert_has(bench, CORE_OPERATION, uuid_format(&old.young, id), "done");
    bench_assert_has(bench, CORE_OPERATION, uuid_format(&old.running, id), "running");
    bench_stop(bench); /* each key that is left names an operation: the walk sees to that */
    change_catalogue(bench, remove_running, &old);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_what_was_turned_stays_turned),
        BENCH(test_forget_and_its_victims_come_back_together),
        BENCH(test_an_operation_that_nobody_knows_is_left),
        BENCH(test_a_key_outlives_the_gateway),
        BENCH(test_closing_answers_all),
        BENCH(test_closing_begins_nothing),
        BENCH(test_what_is_old_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

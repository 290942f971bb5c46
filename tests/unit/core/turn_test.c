/* SPDX-License-Identifier: Apache-2.0
 *
 * Turning operations round: cancel, failure, undoing, and pools that are forgotten under them.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/engine.h"

/* What one kind of call answers, the first `times` times; then OK. */
struct script {
    enum wire_number number;
    struct fake_answer answer;
    uint32_t times;
};

static void by_script(void *arg, enum wire_number number, const void *args,
                      struct fake_answer *ret) {
    struct script *script = arg;
    (void)args;
    if (number != script->number || script->times == 0)
        return;
    script->times--;
    *ret = script->answer;
}

static struct script hold(enum wire_number number) {
    return (struct script){number, {.never = true}, UINT32_MAX};
}

static struct asked create_held(struct bench *bench, struct script *script) {
    bench_make_pool(bench, "p");
    *script = hold(WIRE_VOLUME_CREATE);
    fake_runners_answer(by_script, script);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    return asked;
}

/* ---- cancel --------------------------------------------------------------------------------- */

static void test_a_cancel_during_the_last_call_is_kept(void **state) {
    struct bench *bench = *state;
    struct script script;
    struct asked asked = create_held(bench, &script);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_state(bench, &asked, "cancelled");
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
}

static void test_a_cancel_is_the_cause_whatever_fails_then(void **state) {
    struct bench *bench = *state;
    struct script script;
    struct asked asked = create_held(bench, &script);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NO_SPACE));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_state(bench, &asked, "cancelled");
}

static void test_a_driver_does_not_say_when_a_cancel_counts(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct script script = {
        WIRE_VOLUME_CREATE, {.pending = true, .retry_after_ms = UINT32_MAX}, UINT32_MAX};
    fake_runners_answer(by_script, &script);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    /* Before the answer came, and after it. */
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    asked = bench_ask(bench, KIND_volume_create, &volume);
    bench_turns(bench, 10);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 2);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
}

static void test_what_cannot_be_taken_back_is_not_cancelled(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_make_volume(bench, "p", "a");
    struct script script = hold(WIRE_VOLUME_DELETE);
    fake_runners_answer(by_script, &script);
    struct target_params target = {.target = "p:a"};
    struct asked asked = bench_ask(bench, KIND_volume_delete, &target);
    assert_int_equal(bench_cancel(bench, &asked), ERR_STATE);
    assert_true(fake_runners_end_call(WIRE_VOLUME_DELETE, ERR_NONE));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
}

/* ---- abandon -------------------------------------------------------------------------------- */

static void test_a_call_that_hangs_is_abandoned(void **state) {
    struct bench *bench = *state;
    struct script script;
    struct asked asked = create_held(bench, &script);
    assert_int_equal(bench_abandon(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_STALLED);
    assert_int_equal(fake_runners_restarts(), 1); /* what hangs goes with its process */
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    assert_int_equal(bench_abandon(bench, &asked), ERR_STATE);
}

static void test_what_cannot_be_cancelled_can_be_abandoned(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_make_volume(bench, "p", "a");
    struct target_params target = {.target = "p:a"};
    struct script script = hold(WIRE_VOLUME_DELETE);
    fake_runners_answer(by_script, &script);
    struct asked asked = bench_ask(bench, KIND_volume_delete, &target);
    assert_int_equal(bench_cancel(bench, &asked), ERR_STATE);
    assert_int_equal(bench_abandon(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_STALLED);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
    /* "Not yet", for ever. */
    script = (struct script){
        WIRE_VOLUME_DELETE, {.pending = true, .retry_after_ms = UINT32_MAX}, UINT32_MAX};
    asked = bench_ask(bench, KIND_volume_delete, &target);
    bench_turns(bench, 10);
    assert_int_equal(bench_abandon(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_STALLED);
    assert_int_equal(fake_runners_restarts(), 1); /* nobody is inside */
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
}

/* Creates fail; what takes them back never ends. */
static void never_ends(void *arg, enum wire_number number, const void *args,
                       struct fake_answer *ret) {
    (void)args;
    if (number == WIRE_VOLUME_CREATE)
        ret->code = ERR_NO_SPACE;
    if (number == WIRE_VOLUME_DELETE)
        *ret = *(const struct fake_answer *)arg;
}

static uint32_t undone_before;
static bool undo_has_not_begun(struct bench *bench) {
    (void)bench;
    return fake_runners_calls(WIRE_VOLUME_DELETE) == undone_before;
}

static void test_an_undo_that_does_not_end_is_abandoned(void **state) {
    struct bench *bench = *state;
    struct fake_answer answers[] = {
        {.never = true}, {.pending = true, .retry_after_ms = 5000}, {.code = ERR_UNREACHABLE}};
    bench_make_pool(bench, "p");
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        fake_runners_answer(never_ends, &answers[i]);
        struct volume_create_params volume = bench_volume("p", "a");
        undone_before = fake_runners_calls(WIRE_VOLUME_DELETE);
        struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
        bench_run_while(bench, undo_has_not_begun);
        bench_turns(bench, 5); /* its answer is there, where one comes */
        assert_int_equal(bench_abandon(bench, &asked), ERR_NONE);
        assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NO_SPACE);
        bench_assert_absent(bench, CORE_VOLUME, "p:a");
        fake_runners_answer(NULL, NULL);
    }
}

static void test_what_waits_for_the_gateway_is_not_abandoned(void **state) {
    struct bench *bench = *state;
    fake_runners_state(RUNNER_STARTING, ERR_NONE);
    struct pool_create_params params = bench_pool("p");
    struct asked asked = bench_ask(bench, KIND_pool_create, &params);
    bench_turns(bench, 5);
    assert_int_equal(bench_abandon(bench, &asked), ERR_STATE);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    fake_runners_state(RUNNER_SERVING, ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
}

/* ---- undoing -------------------------------------------------------------------------------- */

struct undoing {
    uint32_t deletes;
};
/* Creates fail for good; deletes too, in every way, and then heal. */
static void heals_later(void *arg, enum wire_number number, const void *args,
                        struct fake_answer *ret) {
    struct undoing *undoing = arg;
    static const enum err_code codes[] = {ERR_IO, ERR_UNREACHABLE, ERR_VANISHED};
    (void)args;
    if (number == WIRE_VOLUME_CREATE)
        ret->code = ERR_NO_SPACE;
    if (number == WIRE_VOLUME_DELETE && undoing->deletes < 3)
        ret->code = codes[undoing->deletes++];
}

static void test_undoing_goes_on_until_it_can(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct undoing undoing = {0};
    fake_runners_answer(heals_later, &undoing);
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NO_SPACE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 4);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
}

static void test_a_failed_delete_leaves_the_volume(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_make_volume(bench, "p", "a");
    struct script script = {WIRE_VOLUME_DELETE, {.code = ERR_IO}, 1};
    fake_runners_answer(by_script, &script);
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_IO);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_NONE);
}

/* ---- forgotten ------------------------------------------------------------------------------ */

static struct pool_delete_params forget(const char *pool) {
    return (struct pool_delete_params){.target = pool, .forget = true};
}

static bool nothing_deleted(struct bench *bench) {
    (void)bench;
    return fake_runners_calls(WIRE_VOLUME_DELETE) == 0;
}

static void test_forget_ends_what_undoes_for_ever(void **state) {
    struct bench *bench = *state;
    struct script script;
    struct asked asked = create_held(bench, &script);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    script = (struct script){WIRE_VOLUME_DELETE, {.code = ERR_UNREACHABLE}, UINT32_MAX};
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE));
    bench_run_while(bench, nothing_deleted);
    struct pool_delete_params gone = forget("p");
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_absent(bench, CORE_POOL, "p");
}

/* Forgotten while operations are in every moment of their lives. */
#define CROWD 60
static void test_forget_at_any_moment(void **state) {
    struct bench *bench = *state;
    static struct asked asked[CROWD];
    static char names[CROWD][16];
    for (uint32_t turns = 0; turns < 12; turns++) {
        bench_make_pool(bench, "p");
        for (int i = 0; i < CROWD; i++) {
            snprintf(names[i], sizeof names[i], "v%d", i);
            struct volume_create_params volume = bench_volume("p", names[i]);
            bench_submit(bench, KIND_volume_create, &volume, NULL, 0, &asked[i]);
            if (i % 20 == 19)
                bench_turns(bench, turns);
        }
        for (int i = 0; i < CROWD; i += 3)
            if (asked[i].accepted)
                (void)bench_cancel(bench, &asked[i]);
        struct pool_delete_params gone = forget("p");
        assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
        for (int i = 0; i < CROWD; i++) {
            bench_run_until(bench, &asked[i].accepted);
            if (asked[i].answer.err.code == ERR_NONE)
                (void)bench_outcome(bench, &asked[i]);
        }
        bench_assert_absent(bench, CORE_POOL, "p");
        assert_int_equal(fake_runners_alive(), 0);
    }
}

/* A change of labels comes between the look and the commit: no label may outlive its volume. */
static void test_forget_meets_a_change(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        bench_make_volume(bench, "p", name);
    }
    struct pool_delete_params gone = forget("p");
    struct asked forgotten, changed[20];
    bench_submit(bench, KIND_pool_delete, &gone, NULL, 0, &forgotten);
    bench_run_until(bench, &forgotten.accepted);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 20; i++) {
            char target[16], value[16];
            snprintf(target, sizeof target, "p:v%d", i);
            snprintf(value, sizeof value, "%d", round);
            struct text_pair pair = {"round", value};
            struct labels_update_params labels = {
                .target = target, .name = "", .labels = {&pair, 1}};
            bench_submit(bench, KIND_volume_update, &labels, NULL, 0, &changed[i]);
        }
        for (int i = 0; i < 20; i++)
            bench_run_until(bench, &changed[i].accepted);
    }
    assert_int_equal(bench_outcome(bench, &forgotten).err.code, ERR_NONE);
    bench_assert_absent(bench, CORE_POOL, "p");
}

/* ---- figures -------------------------------------------------------------------------------- */

static void assert_figure(struct bench *bench, const char *line) {
    struct buf text;
    buf_init(&text, 1 << 20);
    core_metrics(bench->core, &text);
    if (strstr(buf_text(&text), line) == NULL)
        fail_msg("no %s in %s", line, buf_text(&text));
    buf_release(&text);
}

static void test_ends_are_counted(void **state) {
    struct bench *bench = *state;
    struct script script;
    struct asked asked = create_held(bench, &script);
    bench_make_host(bench, "h");
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE));
    (void)bench_outcome(bench, &asked);
    script = (struct script){WIRE_VOLUME_CREATE, {.code = ERR_QUOTA}, 1};
    struct volume_create_params volume = bench_volume("p", "b");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_QUOTA);
    assert_figure(bench, "sluice_operations_done_total 2\n");
    assert_figure(bench, "sluice_operations_failed_total 1\n");
    assert_figure(bench, "sluice_operations_cancelled_total 1\n");
    assert_figure(bench, "sluice_operations_running 0\n");
}

static void test_no_more_run_than_may(void **state) {
    struct bench *bench = *state;
    static struct asked asked[ENGINE_OPERATIONS_MAX + 20];
    struct script script;
    struct asked first = create_held(bench, &script);
    uint32_t accepted = 1;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%zu", i);
        struct volume_create_params volume = bench_volume("p", name);
        bench_submit(bench, KIND_volume_create, &volume, NULL, 0, &asked[i]);
    }
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        bench_run_until(bench, &asked[i].accepted);
        if (asked[i].answer.err.code == ERR_NONE)
            accepted++;
        else
            assert_int_equal(asked[i].answer.err.code, ERR_TOO_MANY);
    }
    assert_int_equal(accepted, ENGINE_OPERATIONS_MAX);
    assert_int_equal(first.answers, 1);
    fake_runners_answer(NULL, NULL);
    bench_stop(bench);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &first).err.code, ERR_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_a_cancel_during_the_last_call_is_kept),
        BENCH(test_a_cancel_is_the_cause_whatever_fails_then),
        BENCH(test_a_driver_does_not_say_when_a_cancel_counts),
        BENCH(test_what_cannot_be_taken_back_is_not_cancelled),
        BENCH(test_a_call_that_hangs_is_abandoned),
        BENCH(test_what_cannot_be_cancelled_can_be_abandoned),
        BENCH(test_an_undo_that_does_not_end_is_abandoned),
        BENCH(test_what_waits_for_the_gateway_is_not_abandoned),
        BENCH(test_undoing_goes_on_until_it_can),
        BENCH(test_a_failed_delete_leaves_the_volume),
        BENCH(test_forget_ends_what_undoes_for_ever),
        BENCH(test_forget_at_any_moment),
        BENCH(test_forget_meets_a_change),
        BENCH(test_ends_are_counted),
        BENCH(test_no_more_run_than_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

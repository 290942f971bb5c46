/* SPDX-License-Identifier: Apache-2.0
 *
 * The operation engine: accepted once, done once, or undone.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_a_volume_lives_and_goes(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    bench_assert_has(bench, CORE_POOL, "p", "\"state\":\"enabled\"");
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"size_bytes\":4096");
    struct snapshot_create_params snapshot = {.volume = "p:a", .name = "s"};
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &snapshot), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"snapshots\":1");
    struct target_params target = {.target = "p:a@s"};
    assert_int_equal(bench_do(bench, KIND_snapshot_delete, &target), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"snapshots\":0");
    target.target = "p:a";
    assert_int_equal(bench_do(bench, KIND_volume_delete, &target), ERR_NONE);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    struct pool_delete_params gone = {.target = "p"};
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    bench_assert_absent(bench, CORE_POOL, "p");
    assert_int_equal(fake_runners_calls(WIRE_POOL_RELEASE), 1);
}

static void fail_creates(void *arg, enum wire_number number, const void *args,
                         struct fake_answer *ret) {
    (void)args;
    if (number == WIRE_VOLUME_CREATE)
        ret->code = *(enum err_code *)arg;
}

static void test_what_fails_for_good_is_undone(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    enum err_code code = ERR_NO_SPACE;
    fake_runners_answer(fail_creates, &code);
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NO_SPACE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    /* The name is free again. */
    fake_runners_answer(NULL, NULL);
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
}

static void test_what_may_pass_is_tried_again(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    enum err_code code = ERR_UNREACHABLE;
    fake_runners_answer(fail_creates, &code);
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_UNREACHABLE);
    assert_true(fake_runners_calls(WIRE_VOLUME_CREATE) > 1);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
}

struct slices {
    uint32_t left;
};
static void in_slices(void *arg, enum wire_number number, const void *args,
                      struct fake_answer *ret) {
    struct slices *slices = arg;
    (void)args;
    if (number == WIRE_VOLUME_CREATE && slices->left > 0) {
        slices->left--;
        ret->pending = true;
        ret->done = 100 - slices->left;
        ret->total = 100;
    }
}

static void test_pending_is_asked_again(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct slices slices = {.left = 10};
    fake_runners_answer(in_slices, &slices);
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 11);
}

static void test_cancel_turns_it_round(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct slices slices = {.left = UINT32_MAX};
    fake_runners_answer(in_slices, &slices);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    char id[UUID_TEXT_SIZE];
    struct err err = ERR_INIT;
    assert_true(
        core_cancel(bench->core, uuid_format(&asked.answer.operation, id), &bench_admin, &err));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_has(bench, CORE_OPERATION, id, "\"state\":\"cancelled\"");
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
    assert_false(core_cancel(bench->core, id, &bench_admin, &err));
    assert_int_equal(err.code, ERR_STATE);
}

#define SAME 200
static void test_one_key_is_one_volume(void **state) {
    struct bench *bench = *state;
    static struct asked asked[SAME];
    bench_make_pool(bench, "p");
    struct volume_create_params volume = bench_volume("p", "a");
    for (size_t i = 0; i < SAME; i++)
        bench_submit(bench, KIND_volume_create, &volume, "key", 1, &asked[i]);
    for (size_t i = 0; i < SAME; i++)
        bench_run_until(bench, &asked[i].accepted);
    uint32_t replayed = 0;
    for (size_t i = 0; i < SAME; i++) {
        assert_int_equal(asked[i].answer.err.code, ERR_NONE);
        assert_true(uuid_equal(&asked[i].answer.operation, &asked[0].answer.operation));
        replayed += asked[i].answer.replayed;
    }
    assert_int_equal(replayed, SAME - 1);
    assert_int_equal(bench_outcome(bench, &asked[0]).err.code, ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    struct asked other;
    bench_submit(bench, KIND_volume_create, &volume, "key", 2, &other);
    bench_run_until(bench, &other.accepted);
    assert_int_equal(other.answer.err.code, ERR_KEY_REUSED);
}

static void test_one_name_is_one_volume(void **state) {
    struct bench *bench = *state;
    static struct asked asked[20];
    bench_make_pool(bench, "p");
    struct volume_create_params volume = bench_volume("p", "a");
    for (size_t i = 0; i < 20; i++)
        bench_submit(bench, KIND_volume_create, &volume, NULL, 0, &asked[i]);
    uint32_t made = 0;
    for (size_t i = 0; i < 20; i++) {
        bench_run_until(bench, &asked[i].accepted);
        if (asked[i].answer.err.code == ERR_NONE)
            made++;
        else
            assert_int_equal(asked[i].answer.err.code, ERR_EXISTS);
    }
    assert_int_equal(made, 1);
}

static void never_create(void *arg, enum wire_number number, const void *args,
                         struct fake_answer *ret) {
    (void)arg, (void)args;
    ret->never = number == WIRE_VOLUME_CREATE;
}

static void test_a_restart_goes_on(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    fake_runners_answer(never_create, NULL);
    struct volume_create_params volume = bench_volume("p", "a");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"creating\"");
    bench_stop(bench);
    fake_runners_answer(NULL, NULL);
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
}

static void test_busy_names_the_operation(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    struct volume_resize_params resize = {.target = "p:a", .size_bytes = 8192};
    struct asked first, second;
    bench_submit(bench, KIND_volume_resize, &resize, NULL, 0, &first);
    bench_submit(bench, KIND_volume_resize, &resize, NULL, 0, &second);
    bench_run_until(bench, &first.accepted);
    bench_run_until(bench, &second.accepted);
    assert_int_equal(first.answer.err.code, ERR_NONE);
    assert_int_equal(second.answer.err.code, ERR_BUSY);
    assert_non_null(strstr(second.answer.err.text, "volume.resize"));
    assert_int_equal(bench_outcome(bench, &first).err.code, ERR_NONE);
}

static void test_fields_are_named(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct volume_create_params volume = bench_volume("p", "a/b");
    struct asked asked = bench_ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_VALIDATION);
    assert_string_equal(asked.violation.field, "name");
    struct text_pair pair = {"nosuch", "1"};
    struct pool_create_params pool = bench_pool("q");
    pool.properties = (struct text_pairs){&pair, 1};
    asked = bench_ask(bench, KIND_pool_create, &pool);
    assert_int_equal(asked.answer.err.code, ERR_VALIDATION);
    assert_string_equal(asked.violation.field, "properties.nosuch");
}

static void test_secrets_are_not_shown(void **state) {
    struct bench *bench = *state;
    struct text_pair pair = {"password", "open sesame"};
    struct pool_create_params pool = bench_pool("p");
    pool.properties = (struct text_pairs){&pair, 1};
    struct asked asked = bench_ask(bench, KIND_pool_create, &pool);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    assert_false(bench_has(bench, CORE_POOL, "p", "sesame"));
    assert_false(bench_stored(bench, "sesame"));
    assert_true(bench_stored(bench, "pool.create")); /* the search finds what is there */
}

static void test_a_pool_that_does_not_open_is_not_there(void **state) {
    struct bench *bench = *state;
    fake_runners_state(RUNNER_DOWN, ERR_FOREIGN);
    struct pool_create_params pool = bench_pool("p");
    assert_int_equal(bench_do(bench, KIND_pool_create, &pool), ERR_FOREIGN);
    bench_assert_absent(bench, CORE_POOL, "p");
}

static void test_forget_ends_what_waits(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct volume_create_params volume = bench_volume("p", "a");
    assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    struct pool_delete_params gone = {.target = "p"};
    struct asked refused = bench_ask(bench, KIND_pool_delete, &gone);
    assert_int_equal(refused.answer.err.code, ERR_STATE);
    fake_runners_answer(never_create, NULL);
    volume.name = "b";
    struct asked waiting = bench_ask(bench, KIND_volume_create, &volume);
    gone.forget = true;
    assert_int_equal(bench_do(bench, KIND_pool_delete, &gone), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &waiting).err.code, ERR_CANCELLED);
    bench_assert_absent(bench, CORE_POOL, "p");
}

static void test_tokens_open_the_door(void **state) {
    struct bench *bench = *state;
    struct token_create_params params = {.name = "ci", .role = "tenant"};
    struct asked asked = bench_ask(bench, KIND_token_create, &params);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    assert_int_equal(strlen(asked.secret), strlen("sluice_") + 43);
    struct core_principal principal;
    assert_true(core_authenticate(bench->core, asked.secret, &principal));
    assert_int_equal(principal.role, ROLE_TENANT);
    assert_string_equal(principal.name, "token:ci");
    struct target_params target = {.target = "ci"};
    assert_int_equal(bench_ask(bench, KIND_token_delete, &target).answer.err.code, ERR_NONE);
    assert_false(core_authenticate(bench->core, asked.secret, &principal));
}

struct numbers {
    uint64_t last;
    uint32_t count;
};
static void on_event(void *arg, uint64_t number, const char *type, const char *json) {
    struct numbers *numbers = arg;
    assert_true(number > numbers->last);
    assert_non_null(strstr(json, type));
    numbers->last = number;
    numbers->count++;
}

static void test_events_go_on_where_they_were(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct numbers first = {0}, rest = {0};
    uint64_t last;
    struct err err = ERR_INIT;
    assert_true(core_events(bench->core, 0, 3, on_event, &first, &last, &err));
    assert_int_equal(first.count, 3);
    rest.last = first.last;
    assert_true(core_events(bench->core, first.last, 1000, on_event, &rest, &last, &err));
    assert_int_equal(first.count + rest.count, last);
}

static void test_pages_show_everything_once(void **state) {
    struct bench *bench = *state;
    bench_make_pool(bench, "p");
    struct text_pair pair = {"odd", "yes"};
    for (int i = 0; i < 25; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        struct volume_create_params volume = bench_volume("p", name);
        if (i % 2 == 1)
            volume.labels = (struct text_pairs){&pair, 1};
        assert_int_equal(bench_do(bench, KIND_volume_create, &volume), ERR_NONE);
    }
    char next[CORE_TOKEN_MAX], after[CORE_TOKEN_MAX] = "";
    uint32_t pages = 0, found = 0;
    do {
        struct buf json;
        struct err err = ERR_INIT;
        struct core_query query = {
            .pool = "p", .limit = 10, .after = after[0] != '\0' ? after : NULL};
        buf_init(&json, 1 << 20);
        assert_true(core_list(bench->core, CORE_VOLUME, &query, &json, next, &err));
        for (const char *at = buf_text(&json); (at = strstr(at, "\"id\":")) != NULL; at++)
            found++;
        buf_release(&json);
        memcpy(after, next, sizeof after);
        pages++;
    } while (next[0] != '\0');
    assert_int_equal(pages, 3);
    assert_int_equal(found, 25);
    struct text_pairs odd = {&pair, 1};
    struct core_query query = {.labels = &odd, .limit = 100};
    struct buf json;
    struct err err = ERR_INIT;
    buf_init(&json, 1 << 20);
    found = 0;
    assert_true(core_list(bench->core, CORE_VOLUME, &query, &json, next, &err));
    for (const char *at = buf_text(&json); (at = strstr(at, "\"id\":")) != NULL; at++)
        found++;
    buf_release(&json);
    assert_int_equal(found, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_a_volume_lives_and_goes),
        BENCH(test_what_fails_for_good_is_undone),
        BENCH(test_what_may_pass_is_tried_again),
        BENCH(test_pending_is_asked_again),
        BENCH(test_cancel_turns_it_round),
        BENCH(test_one_key_is_one_volume),
        BENCH(test_one_name_is_one_volume),
        BENCH(test_a_restart_goes_on),
        BENCH(test_busy_names_the_operation),
        BENCH(test_fields_are_named),
        BENCH(test_secrets_are_not_shown),
        BENCH(test_a_pool_that_does_not_open_is_not_there),
        BENCH(test_forget_ends_what_waits),
        BENCH(test_tokens_open_the_door),
        BENCH(test_events_go_on_where_they_were),
        BENCH(test_pages_show_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

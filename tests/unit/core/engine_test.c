/* SPDX-License-Identifier: Apache-2.0
 *
 * The operation engine over a real catalogue, with runners whose answers the test writes.
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "core/core.h"
#include "core/records.h"
#include "fake_runners.h"

#define WAIT_MS 20000

static const struct core_principal admin = {.name = "test", .role = ROLE_ADMIN};

struct bench {
    char root[64];
    char state[96], drivers[96];
    const char *driver_directories[1];
    uv_loop_t loop;
    uv_timer_t deadline;
    struct core *core;
    bool ready, closed, expired;
    enum err_code fatal;
};

/* ---- a driver archive that is never loaded -------------------------------------------------- */

static void write_file(const char *root, const char *path, const char *text) {
    char full[256];
    snprintf(full, sizeof full, "%s/%s", root, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make_directory(const char *root, const char *path) {
    char full[256];
    snprintf(full, sizeof full, "%s/%s", root, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static void make_archive(const char *drivers) {
    make_directory(drivers, "mem-1.0.0");
    make_directory(drivers, "mem-1.0.0/META-INF");
    make_directory(drivers, "mem-1.0.0/driver");
    write_file(drivers, "mem-1.0.0/driver/mem.so", "not loaded here");
    write_file(drivers, "mem-1.0.0/META-INF/driver.yaml",
               "schema: 1\nname: mem\nversion: 1.0.0\ncategory: storage\nabi: \"0.1\"\n"
               "vendor: Test\nlicense: Apache-2.0\nlibrary: mem.so\nlabel: l\ndescription: d\n"
               "formats: {reads: [1], writes: [1]}\n"
               "properties:\n"
               "  - {name: size, label: s, description: d, type: number}\n"
               "  - {name: password, label: p, description: d, type: string, secret: true}\n");
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void on_ready(void *owner) {
    ((struct bench *)owner)->ready = true;
}
static void on_fatal(void *owner, const struct err *err) {
    ((struct bench *)owner)->fatal = err->code;
    fprintf(stderr, "fatal: %s\n", err->text);
}
static void on_closed(void *owner) {
    ((struct bench *)owner)->closed = true;
}
static void on_deadline(uv_timer_t *timer) {
    ((struct bench *)timer->data)->expired = true;
}

static void run_until(struct bench *bench, const bool *condition) {
    bench->expired = false;
    uv_timer_start(&bench->deadline, on_deadline, WAIT_MS, 0);
    while (!*condition && !bench->expired && bench->fatal == ERR_NONE)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->deadline);
    assert_true(*condition);
}

static void start(struct bench *bench) {
    struct err err = ERR_INIT;
    const struct core_options options = {
        .state_directory = bench->state,
        .nbd_directory = bench->state,
        .driver_directories = bench->driver_directories,
        .driver_directory_count = 1,
        .super_fd = -1,
        .uid_low = 60000,
        .uid_high = 60010,
        .map_bytes = 64u << 20,
        .retry_limit_ms = 300,
    };
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->deadline);
    bench->deadline.data = bench;
    bench->ready = bench->closed = false;
    if (!core_open(&bench->loop, &options, on_ready, on_fatal, bench, &bench->core, &err))
        fail_msg("%s", err.text);
    run_until(bench, &bench->ready);
}

static void stop(struct bench *bench) {
    core_close(bench->core, on_closed, bench);
    run_until(bench, &bench->closed);
    uv_close((uv_handle_t *)&bench->deadline, NULL);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
}

static int setup(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    fake_runners_reset();
    snprintf(bench->root, sizeof bench->root, "core-test-XXXXXX");
    assert_non_null(mkdtemp(bench->root));
    snprintf(bench->state, sizeof bench->state, "%s/state", bench->root);
    snprintf(bench->drivers, sizeof bench->drivers, "%s/drivers", bench->root);
    make_directory(bench->root, "state");
    make_directory(bench->root, "drivers");
    bench->driver_directories[0] = bench->drivers;
    make_archive(bench->drivers);
    start(bench);
    *state = bench;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    struct bench *bench = *state;
    stop(bench);
    int status = nftw(bench->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(bench);
    return status;
}

/* Is the text anywhere in a file of the state directory? */
static const char *sought;
static int look_into(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    if (type != FTW_F)
        return 0;
    char *bytes = malloc((size_t)st->st_size + 1);
    FILE *file = fopen(path, "r");
    assert_non_null(bytes);
    assert_non_null(file);
    size_t length = fread(bytes, 1, (size_t)st->st_size, file);
    bool found = memmem(bytes, length, sought, strlen(sought)) != NULL;
    fclose(file);
    free(bytes);
    return found;
}

static bool stored(const struct bench *bench, const char *text) {
    sought = text;
    return nftw(bench->state, look_into, 16, FTW_PHYS) != 0;
}

/* ---- asking --------------------------------------------------------------------------------- */

struct asked {
    bool accepted, ended;
    struct core_accepted answer;
    struct core_violation violation;
    struct bench *bench;
    char secret[128];
};

static void on_ended(void *arg) {
    ((struct asked *)arg)->ended = true;
}

static void on_accepted(void *arg, const struct core_accepted *accepted) {
    struct asked *asked = arg;
    asked->answer = *accepted;
    if (accepted->violation_count > 0)
        asked->violation = accepted->violations[0];
    if (accepted->secret != NULL)
        snprintf(asked->secret, sizeof asked->secret, "%s", accepted->secret);
    asked->accepted = true;
}

static void submit(struct bench *bench, enum core_kind kind, const void *params, const char *key,
                   unsigned char hash, struct asked *asked) {
    struct core_submission submission = {
        .kind = kind, .params = params, .principal = &admin, .key = key};
    memset(submission.request_hash, hash, sizeof submission.request_hash);
    memset(asked, 0, sizeof *asked);
    asked->bench = bench;
    core_submit(bench->core, &submission, on_accepted, asked);
    assert_false(asked->accepted);
}

static struct asked ask(struct bench *bench, enum core_kind kind, const void *params) {
    struct asked asked;
    submit(bench, kind, params, NULL, 0, &asked);
    run_until(bench, &asked.accepted);
    return asked;
}

static struct core_outcome outcome_of(struct bench *bench, struct asked *asked) {
    struct core_outcome outcome;
    struct err err = ERR_INIT;
    assert_non_null(core_watch_operation(bench->core, &asked->answer.operation, on_ended, asked));
    run_until(bench, &asked->ended);
    assert_true(core_outcome(bench->core, &asked->answer.operation, &outcome, &err));
    assert_true(outcome.ended);
    return outcome;
}

static struct core_outcome done(struct bench *bench, enum core_kind kind, const void *params) {
    struct asked asked = ask(bench, kind, params);
    if (asked.answer.err.code != ERR_NONE)
        fail_msg("%s: %s", core_kind_name(kind), asked.answer.err.text);
    return outcome_of(bench, &asked);
}

static struct pool_create_params pool_params(const char *name) {
    return (struct pool_create_params){.name = name, .driver = "mem", .driver_version = ""};
}

static struct volume_create_params volume_params(const char *pool, const char *name) {
    return (struct volume_create_params){.pool = pool,
                                         .name = name,
                                         .size_bytes = 1000,
                                         .format = "",
                                         .source_snapshot = "",
                                         .source_volume = ""};
}

static void make_pool(struct bench *bench, const char *name) {
    struct pool_create_params params = pool_params(name);
    struct core_outcome outcome = done(bench, KIND_pool_create, &params);
    if (outcome.err.code != ERR_NONE)
        fail_msg("%s", outcome.err.text);
}

static void json_of(struct bench *bench, enum core_noun noun, const char *reference,
                    struct buf *json, struct err *err) {
    uint64_t etag;
    buf_init(json, 1 << 20);
    *err = ERR_INIT;
    (void)core_get(bench->core, noun, reference, json, &etag, err);
}

static void assert_has(struct bench *bench, enum core_noun noun, const char *reference,
                       const char *text) {
    struct buf json;
    struct err err;
    json_of(bench, noun, reference, &json, &err);
    if (err.code != ERR_NONE || strstr(buf_text(&json), text) == NULL)
        fail_msg("%s has no %s: %s %s", reference, text, buf_text(&json), err.text);
    buf_release(&json);
}

static void assert_absent(struct bench *bench, enum core_noun noun, const char *reference) {
    struct buf json;
    struct err err;
    json_of(bench, noun, reference, &json, &err);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    buf_release(&json);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_a_volume_lives_and_goes(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    assert_has(bench, CORE_POOL, "p", "\"state\":\"enabled\"");
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
    assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
    assert_has(bench, CORE_VOLUME, "p:a", "\"size_bytes\":4096");
    struct snapshot_create_params snapshot = {.volume = "p:a", .name = "s"};
    assert_int_equal(done(bench, KIND_snapshot_create, &snapshot).err.code, ERR_NONE);
    assert_has(bench, CORE_VOLUME, "p:a", "\"snapshots\":1");
    struct target_params target = {.target = "p:a@s"};
    assert_int_equal(done(bench, KIND_snapshot_delete, &target).err.code, ERR_NONE);
    assert_has(bench, CORE_VOLUME, "p:a", "\"snapshots\":0");
    target.target = "p:a";
    assert_int_equal(done(bench, KIND_volume_delete, &target).err.code, ERR_NONE);
    assert_absent(bench, CORE_VOLUME, "p:a");
    struct pool_delete_params gone = {.target = "p"};
    assert_int_equal(done(bench, KIND_pool_delete, &gone).err.code, ERR_NONE);
    assert_absent(bench, CORE_POOL, "p");
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
    make_pool(bench, "p");
    enum err_code code = ERR_NO_SPACE;
    fake_runners_answer(fail_creates, &code);
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NO_SPACE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
    assert_absent(bench, CORE_VOLUME, "p:a");
    /* The name is free again. */
    fake_runners_answer(NULL, NULL);
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
}

static void test_what_may_pass_is_tried_again(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    enum err_code code = ERR_UNREACHABLE;
    fake_runners_answer(fail_creates, &code);
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_UNREACHABLE);
    assert_true(fake_runners_calls(WIRE_VOLUME_CREATE) > 1);
    assert_absent(bench, CORE_VOLUME, "p:a");
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
    make_pool(bench, "p");
    struct slices slices = {.left = 10};
    fake_runners_answer(in_slices, &slices);
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 11);
}

static void test_cancel_turns_it_round(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    struct slices slices = {.left = UINT32_MAX};
    fake_runners_answer(in_slices, &slices);
    struct volume_create_params volume = volume_params("p", "a");
    struct asked asked = ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    char id[UUID_TEXT_SIZE];
    struct err err = ERR_INIT;
    assert_true(core_cancel(bench->core, uuid_format(&asked.answer.operation, id), &admin, &err));
    assert_int_equal(outcome_of(bench, &asked).err.code, ERR_CANCELLED);
    assert_has(bench, CORE_OPERATION, id, "\"state\":\"cancelled\"");
    assert_absent(bench, CORE_VOLUME, "p:a");
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_DELETE), 1);
    assert_false(core_cancel(bench->core, id, &admin, &err));
    assert_int_equal(err.code, ERR_STATE);
}

#define SAME 200
static void test_one_key_is_one_volume(void **state) {
    struct bench *bench = *state;
    static struct asked asked[SAME];
    make_pool(bench, "p");
    struct volume_create_params volume = volume_params("p", "a");
    for (size_t i = 0; i < SAME; i++)
        submit(bench, KIND_volume_create, &volume, "key", 1, &asked[i]);
    for (size_t i = 0; i < SAME; i++)
        run_until(bench, &asked[i].accepted);
    uint32_t replayed = 0;
    for (size_t i = 0; i < SAME; i++) {
        assert_int_equal(asked[i].answer.err.code, ERR_NONE);
        assert_true(uuid_equal(&asked[i].answer.operation, &asked[0].answer.operation));
        replayed += asked[i].answer.replayed;
    }
    assert_int_equal(replayed, SAME - 1);
    assert_int_equal(outcome_of(bench, &asked[0]).err.code, ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_CREATE), 1);
    struct asked other;
    submit(bench, KIND_volume_create, &volume, "key", 2, &other);
    run_until(bench, &other.accepted);
    assert_int_equal(other.answer.err.code, ERR_KEY_REUSED);
}

static void test_one_name_is_one_volume(void **state) {
    struct bench *bench = *state;
    static struct asked asked[20];
    make_pool(bench, "p");
    struct volume_create_params volume = volume_params("p", "a");
    for (size_t i = 0; i < 20; i++)
        submit(bench, KIND_volume_create, &volume, NULL, 0, &asked[i]);
    uint32_t made = 0;
    for (size_t i = 0; i < 20; i++) {
        run_until(bench, &asked[i].accepted);
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
    make_pool(bench, "p");
    fake_runners_answer(never_create, NULL);
    struct volume_create_params volume = volume_params("p", "a");
    struct asked asked = ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"creating\"");
    stop(bench);
    fake_runners_answer(NULL, NULL);
    start(bench);
    asked.bench = bench;
    assert_int_equal(outcome_of(bench, &asked).err.code, ERR_NONE);
    assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
}

static void test_busy_names_the_operation(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
    struct volume_resize_params resize = {.target = "p:a", .size_bytes = 8192};
    struct asked first, second;
    submit(bench, KIND_volume_resize, &resize, NULL, 0, &first);
    submit(bench, KIND_volume_resize, &resize, NULL, 0, &second);
    run_until(bench, &first.accepted);
    run_until(bench, &second.accepted);
    assert_int_equal(first.answer.err.code, ERR_NONE);
    assert_int_equal(second.answer.err.code, ERR_BUSY);
    assert_non_null(strstr(second.answer.err.text, "volume.resize"));
    assert_int_equal(outcome_of(bench, &first).err.code, ERR_NONE);
}

static void test_fields_are_named(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    struct volume_create_params volume = volume_params("p", "a/b");
    struct asked asked = ask(bench, KIND_volume_create, &volume);
    assert_int_equal(asked.answer.err.code, ERR_VALIDATION);
    assert_string_equal(asked.violation.field, "name");
    struct text_pair pair = {"nosuch", "1"};
    struct pool_create_params pool = pool_params("q");
    pool.properties = (struct text_pairs){&pair, 1};
    asked = ask(bench, KIND_pool_create, &pool);
    assert_int_equal(asked.answer.err.code, ERR_VALIDATION);
    assert_string_equal(asked.violation.field, "properties.nosuch");
}

static void test_secrets_are_not_shown(void **state) {
    struct bench *bench = *state;
    struct text_pair pair = {"password", "open sesame"};
    struct pool_create_params pool = pool_params("p");
    pool.properties = (struct text_pairs){&pair, 1};
    struct asked asked = ask(bench, KIND_pool_create, &pool);
    assert_int_equal(outcome_of(bench, &asked).err.code, ERR_NONE);
    struct buf json;
    struct err err;
    json_of(bench, CORE_POOL, "p", &json, &err);
    assert_null(strstr(buf_text(&json), "sesame"));
    buf_release(&json);
    assert_false(stored(bench, "sesame"));
    assert_true(stored(bench, "pool.create")); /* the search finds what is there */
}

static void test_a_pool_that_does_not_open_is_not_there(void **state) {
    struct bench *bench = *state;
    fake_runners_state(RUNNER_DOWN, ERR_FOREIGN);
    struct pool_create_params pool = pool_params("p");
    assert_int_equal(done(bench, KIND_pool_create, &pool).err.code, ERR_FOREIGN);
    assert_absent(bench, CORE_POOL, "p");
}

static void test_forget_ends_what_waits(void **state) {
    struct bench *bench = *state;
    make_pool(bench, "p");
    struct volume_create_params volume = volume_params("p", "a");
    assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
    struct pool_delete_params gone = {.target = "p"};
    struct asked refused = ask(bench, KIND_pool_delete, &gone);
    assert_int_equal(refused.answer.err.code, ERR_STATE);
    fake_runners_answer(never_create, NULL);
    volume.name = "b";
    struct asked waiting = ask(bench, KIND_volume_create, &volume);
    gone.forget = true;
    assert_int_equal(done(bench, KIND_pool_delete, &gone).err.code, ERR_NONE);
    assert_int_equal(outcome_of(bench, &waiting).err.code, ERR_CANCELLED);
    assert_absent(bench, CORE_POOL, "p");
}

static void test_tokens_open_the_door(void **state) {
    struct bench *bench = *state;
    struct token_create_params params = {.name = "ci", .role = "tenant"};
    struct asked asked = ask(bench, KIND_token_create, &params);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    assert_int_equal(strlen(asked.secret), strlen("sluice_") + 43);
    struct core_principal principal;
    assert_true(core_authenticate(bench->core, asked.secret, &principal));
    assert_int_equal(principal.role, ROLE_TENANT);
    assert_string_equal(principal.name, "token:ci");
    struct target_params target = {.target = "ci"};
    assert_int_equal(ask(bench, KIND_token_delete, &target).answer.err.code, ERR_NONE);
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
    make_pool(bench, "p");
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
    make_pool(bench, "p");
    struct text_pair pair = {"odd", "yes"};
    for (int i = 0; i < 25; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        struct volume_create_params volume = volume_params("p", name);
        if (i % 2 == 1)
            volume.labels = (struct text_pairs){&pair, 1};
        assert_int_equal(done(bench, KIND_volume_create, &volume).err.code, ERR_NONE);
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

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(test_a_volume_lives_and_goes),      WITH(test_what_fails_for_good_is_undone),
        WITH(test_what_may_pass_is_tried_again), WITH(test_pending_is_asked_again),
        WITH(test_cancel_turns_it_round),        WITH(test_one_key_is_one_volume),
        WITH(test_one_name_is_one_volume),       WITH(test_a_restart_goes_on),
        WITH(test_busy_names_the_operation),     WITH(test_fields_are_named),
        WITH(test_secrets_are_not_shown),        WITH(test_a_pool_that_does_not_open_is_not_there),
        WITH(test_forget_ends_what_waits),       WITH(test_tokens_open_the_door),
        WITH(test_events_go_on_where_they_were), WITH(test_pages_show_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

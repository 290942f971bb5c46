/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/uuid.h"
#include "walk.h"

const struct core_principal bench_admin = {.name = "test", .role = ROLE_ADMIN};

/* ---- driver archives that are never loaded -------------------------------------------------- */

static void make_directory(const char *root, const char *path) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static FILE *create(const char *root, const char *path) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    return file;
}

void bench_make_archive(struct bench *bench, const char *name, const char *version,
                        const char *category, const char *requires) {
    char root[256];
    snprintf(root, sizeof root, "%s/%s-%s", bench->drivers, name, version);
    assert_int_equal(mkdir(root, 0700), 0);
    make_directory(root, "META-INF");
    make_directory(root, "driver");
    FILE *library = create(root, "driver/a.so");
    fputs("not loaded here", library);
    fclose(library);
    FILE *file = create(root, "META-INF/driver.yaml");
    fprintf(file,
            "schema: 1\nname: %s\nversion: %s\ncategory: %s\nabi: \"0.1\"\n"
            "vendor: Test\nlicense: Apache-2.0\nlibrary: a.so\nlabel: l\ndescription: d\n"
            "formats: {reads: [1], writes: [1]}\n",
            name, version, category);
    if (*requires != '\0')
        fprintf(file, "requires: [%s]\n", requires);
    if (strcmp(category, "storage") == 0)
        fputs("properties:\n"
              "  - {name: size, label: s, description: d, type: number}\n"
              "  - {name: password, label: p, description: d, type: string, secret: true}\n",
              file);
    fclose(file);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void bench_remove_archive(struct bench *bench, const char *name, const char *version) {
    char root[256];
    snprintf(root, sizeof root, "%s/%s-%s", bench->drivers, name, version);
    assert_int_equal(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

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

bool bench_stored(const struct bench *bench, const char *text) {
    sought = text;
    return nftw(bench->state, look_into, 16, FTW_PHYS) != 0;
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
static void on_log(void *owner, uint32_t level, const char *source, const char *text) {
    (void)level, (void)source, (void)text;
    ((struct bench *)owner)->logged++;
}
static void on_deadline(uv_timer_t *timer) {
    ((struct bench *)timer->data)->expired = true;
}

static void deadline_start(struct bench *bench) {
    bench->expired = false;
    uv_update_time(&bench->loop);
    uv_timer_start(&bench->deadline, on_deadline, BENCH_WAIT_MS, 0);
}

void bench_run_until(struct bench *bench, const bool *condition) {
    deadline_start(bench);
    while (!*condition && !bench->expired && bench->fatal == ERR_NONE)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->deadline);
    assert_true(*condition);
}

void bench_run_while(struct bench *bench, bool (*condition)(struct bench *bench)) {
    deadline_start(bench);
    while (condition(bench) && !bench->expired && bench->fatal == ERR_NONE)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->deadline);
    assert_false(condition(bench));
}

void bench_turns(struct bench *bench, uint32_t turns) {
    for (uint32_t i = 0; i < turns; i++)
        uv_run(&bench->loop, UV_RUN_NOWAIT);
}

void bench_start(struct bench *bench) {
    struct err err = ERR_INIT;
    const struct core_options options = {
        .state_directory = bench->state,
        .nbd_directory = bench->nbd,
        .driver_directories = bench->driver_directories,
        .driver_directory_count = 1,
        .super_fd = -1,
        .uid_low = 60000,
        .uid_high = 60100,
        .map_bytes = 256u << 20,
        .retry_limit_ms = bench->retry_limit_ms,
        .keep_operations_s = bench->keep_operations_s,
        .on_log = on_log,
    };
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->deadline);
    bench->deadline.data = bench;
    bench->ready = bench->closed = false;
    if (!core_open(&bench->loop, &options, on_ready, on_fatal, bench, &bench->core, &err))
        fail_msg("%s", err.text);
    bench->running = true;
    bench_run_until(bench, &bench->ready);
}

void bench_stop(struct bench *bench) {
    core_close(bench->core, on_closed, bench);
    bench_run_until(bench, &bench->closed);
    bench->running = false;
    uv_close((uv_handle_t *)&bench->deadline, NULL);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    assert_int_equal(fake_runners_alive(), 0);
}

int bench_setup(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    fake_runners_reset();
    bench->retry_limit_ms = 300;
    snprintf(bench->root, sizeof bench->root, "core-test-XXXXXX");
    assert_non_null(mkdtemp(bench->root));
    snprintf(bench->state, sizeof bench->state, "%s/state", bench->root);
    snprintf(bench->drivers, sizeof bench->drivers, "%s/drivers", bench->root);
    snprintf(bench->nbd, sizeof bench->nbd, "%s/nbd", bench->root);
    make_directory(bench->root, "state");
    make_directory(bench->root, "drivers");
    bench->driver_directories[0] = bench->drivers;
    bench_make_archive(bench, "mem", "1.0.0", "storage", "");
    bench_start(bench);
    *state = bench;
    return 0;
}

int bench_teardown(void **state) {
    struct bench *bench = *state;
    if (bench->running)
        bench_stop(bench);
    walk_catalogue(bench->state);
    int status = nftw(bench->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(bench);
    return status;
}

/* ---- asking --------------------------------------------------------------------------------- */

static void on_ended(void *arg) {
    ((struct asked *)arg)->ended = true;
}

static void on_accepted(void *arg, const struct core_accepted *accepted) {
    struct asked *asked = arg;
    asked->answer = *accepted;
    asked->answers++;
    if (accepted->violation_count > 0)
        asked->violation = accepted->violations[0];
    if (accepted->secret != NULL)
        snprintf(asked->secret, sizeof asked->secret, "%s", accepted->secret);
    asked->accepted = true;
}

void bench_submit(struct bench *bench, enum core_kind kind, const void *params, const char *key,
                  unsigned char hash, struct asked *asked) {
    struct core_submission submission = {
        .kind = kind, .params = params, .principal = &bench_admin, .key = key};
    memset(submission.request_hash, hash, sizeof submission.request_hash);
    memset(asked, 0, sizeof *asked);
    core_submit(bench->core, &submission, on_accepted, asked);
    assert_false(asked->accepted);
}

struct asked bench_ask(struct bench *bench, enum core_kind kind, const void *params) {
    struct asked asked;
    bench_submit(bench, kind, params, NULL, 0, &asked);
    bench_run_until(bench, &asked.accepted);
    return asked;
}

struct core_outcome bench_outcome(struct bench *bench, struct asked *asked) {
    struct core_outcome outcome;
    struct err err = ERR_INIT;
    assert_int_equal(asked->answer.err.code, ERR_NONE);
    asked->ended = false;
    assert_non_null(core_watch_operation(bench->core, &asked->answer.operation, on_ended, asked));
    bench_run_until(bench, &asked->ended);
    assert_true(core_outcome(bench->core, &asked->answer.operation, &outcome, &err));
    assert_true(outcome.ended);
    return outcome;
}

enum err_code bench_do(struct bench *bench, enum core_kind kind, const void *params) {
    struct asked asked = bench_ask(bench, kind, params);
    if (asked.answer.err.code != ERR_NONE)
        return asked.answer.err.code;
    return bench_outcome(bench, &asked).err.code;
}

enum err_code bench_do_to(struct bench *bench, enum core_kind kind, const char *target) {
    struct target_params params = {.target = target};
    return bench_do(bench, kind, &params);
}

enum err_code bench_cancel(struct bench *bench, const struct asked *asked) {
    char id[UUID_TEXT_SIZE];
    struct err err = ERR_INIT;
    uuid_format(&asked->answer.operation, id);
    (void)core_cancel(bench->core, id, &bench_admin, &err);
    return err.code;
}

enum err_code bench_abandon(struct bench *bench, const struct asked *asked) {
    char id[UUID_TEXT_SIZE];
    struct err err = ERR_INIT;
    uuid_format(&asked->answer.operation, id);
    (void)core_abandon(bench->core, id, &bench_admin, &err);
    return err.code;
}

void bench_assert_state(struct bench *bench, const struct asked *asked, const char *state) {
    char id[UUID_TEXT_SIZE], text[64];
    snprintf(text, sizeof text, "\"state\":\"%s\"", state);
    bench_assert_has(bench, CORE_OPERATION, uuid_format(&asked->answer.operation, id), text);
}

struct pool_create_params bench_pool(const char *name) {
    return (struct pool_create_params){.name = name, .driver = "mem", .driver_version = ""};
}

struct volume_create_params bench_volume(const char *pool, const char *name) {
    return (struct volume_create_params){.pool = pool,
                                         .name = name,
                                         .size_bytes = 1000,
                                         .format = "",
                                         .source_snapshot = "",
                                         .source_volume = ""};
}

void bench_make_pool(struct bench *bench, const char *name) {
    struct pool_create_params params = bench_pool(name);
    assert_int_equal(bench_do(bench, KIND_pool_create, &params), ERR_NONE);
}

void bench_make_volume(struct bench *bench, const char *pool, const char *name) {
    struct volume_create_params params = bench_volume(pool, name);
    assert_int_equal(bench_do(bench, KIND_volume_create, &params), ERR_NONE);
}

void bench_make_host(struct bench *bench, const char *name) {
    struct host_create_params params = {.name = name};
    assert_int_equal(bench_do(bench, KIND_host_create, &params), ERR_NONE);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void json_of(struct bench *bench, enum core_noun noun, const char *reference,
                    struct buf *json, struct err *err) {
    uint64_t etag;
    buf_init(json, 1 << 20);
    *err = ERR_INIT;
    (void)core_get(bench->core, noun, reference, json, &etag, err);
}

bool bench_has(struct bench *bench, enum core_noun noun, const char *reference, const char *text) {
    struct buf json;
    struct err err;
    json_of(bench, noun, reference, &json, &err);
    bool has = err.code == ERR_NONE && strstr(buf_text(&json), text) != NULL;
    buf_release(&json);
    return has;
}

void bench_assert_has(struct bench *bench, enum core_noun noun, const char *reference,
                      const char *text) {
    struct buf json;
    struct err err;
    json_of(bench, noun, reference, &json, &err);
    if (err.code != ERR_NONE || strstr(buf_text(&json), text) == NULL)
        fail_msg("%s has no %s: %s %s", reference, text, buf_text(&json), err.text);
    buf_release(&json);
}

void bench_assert_absent(struct bench *bench, enum core_noun noun, const char *reference) {
    struct buf json;
    struct err err;
    json_of(bench, noun, reference, &json, &err);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    buf_release(&json);
}

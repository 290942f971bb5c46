/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may be attached beside whom, what may be done meanwhile, and how a migration ends.
 */
#include "core/attached.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include "bench.h"
#include "core/expiry.h"
#include "fake_data.h"
#include "wire/message.h"
#include <sluice/driver.h>

/* How the driver says that the host opens it. */
static const char *format;

static void answer(void *arg, enum wire_number number, const void *args, struct fake_answer *ret) {
    static struct wire_connection connection;
    static const struct wire_volume volume = {
        .size_bytes = 1 << 20, .used_bytes = 1, .name = "", .format = "raw"};
    (void)arg, (void)args;
    if (number == WIRE_ACCESS_GRANT) {
        connection = (struct wire_connection){
            .protocol = "local", .lines = format, .note = "Nothing keeps root out."};
        ret->result = &connection;
    } else if (number == WIRE_VOLUME_CREATE) {
        ret->result = &volume;
    }
}

static struct attachment_create_params by_mode(const char *host, const char *mode, bool nbd) {
    return (struct attachment_create_params){
        .volume = "p:a", .snapshot = "", .host = host, .mode = mode, .protocol = nbd ? "nbd" : ""};
}

static enum err_code attach(struct bench *bench, const char *host, const char *mode, bool nbd) {
    struct attachment_create_params params = by_mode(host, mode, nbd);
    return bench_do(bench, KIND_attachment_create, &params);
}

static void attached(struct bench *bench, const char *host, const char *mode, bool nbd,
                     char ret_id[UUID_TEXT_SIZE]) {
    struct attachment_create_params params = by_mode(host, mode, nbd);
    struct asked asked = bench_ask(bench, KIND_attachment_create, &params);
    struct core_outcome outcome = bench_outcome(bench, &asked);
    assert_int_equal(outcome.err.code, ERR_NONE);
    uuid_format(&outcome.object, ret_id);
}

static void make_host(struct bench *bench, const char *name, const char *group) {
    struct text_pair uid = {"uid", "7"};
    struct host_create_params params = {.name = name, .identities = {&uid, 1}, .group = group};
    assert_int_equal(bench_do(bench, KIND_host_create, &params), ERR_NONE);
}

static void prepare(struct bench *bench) {
    format = "format=raw\npath=/x";
    fake_runners_answer(answer, NULL);
    bench_make_pool(bench, "p");
    bench_make_volume(bench, "p", "a");
    make_host(bench, "h", "red");
    make_host(bench, "i", "red");
    make_host(bench, "j", "blue");
    make_host(bench, "k", "");
}

/* ---- each operation, in each state of attachment -------------------------------------------- */

static enum err_code take_snapshot(struct bench *bench) {
    static int count;
    char name[16];
    snprintf(name, sizeof name, "s%d", count++);
    struct snapshot_create_params params = {.volume = "p:a", .name = name};
    return bench_do(bench, KIND_snapshot_create, &params);
}

static enum err_code copy(struct bench *bench) {
    static int count;
    char name[16];
    snprintf(name, sizeof name, "c%d", count++);
    struct volume_create_params params = bench_volume("p", name);
    params.source_volume = "p:a";
    params.size_bytes = 0;
    return bench_do(bench, KIND_volume_create, &params);
}

static enum err_code resize(struct bench *bench, uint64_t size_bytes) {
    struct volume_resize_params params = {
        .target = "p:a", .size_bytes = size_bytes, .shrink = true};
    return bench_do(bench, KIND_volume_resize, &params);
}
static enum err_code grow(struct bench *bench) {
    return resize(bench, 1 << 30);
}
static enum err_code shrink(struct bench *bench) {
    return resize(bench, 4096);
}

static enum err_code revert(struct bench *bench) {
    struct volume_revert_params params = {.target = "p:a", .snapshot = "base"};
    return bench_do(bench, KIND_volume_revert, &params);
}
static enum err_code delete (struct bench *bench) {
    return bench_do_to(bench, KIND_volume_delete, "p:a");
}
static enum err_code unmanage(struct bench *bench) {
    return bench_do_to(bench, KIND_volume_unmanage, "p:a");
}

#define LIVE UINT64_MAX
#define DEAD (UINT64_MAX & ~SLUICE_CAP_MASK(SNAPSHOT_LIVE))

/* y: done, n: refused; read by nbd, written by nbd, read directly, written directly. */
static const struct cells {
    const char *name;
    enum err_code (*act)(struct bench *bench);
    uint64_t caps;
    const char *format;
    const char *expected;
} cells[] = {
    {"snapshot", take_snapshot, DEAD, "format=raw", "nnnn"},
    {"snapshot, live", take_snapshot, LIVE, "format=raw", "yyyy"},
    {"copy", copy, LIVE, "format=raw", "nnnn"},
    {"grow raw", grow, LIVE, "format=raw", "nnyy"},
    {"grow qcow2", grow, LIVE, "format=qcow2", "nnnn"},
    {"grow, the driver does not say", grow, LIVE, "path=/x", "nnyy"},
    {"shrink", shrink, LIVE, "format=raw", "nnnn"},
    {"revert", revert, LIVE, "format=raw", "nnnn"},
    {"delete", delete, LIVE, "format=raw", "nnnn"},
    {"unmanage", unmanage, LIVE, "format=raw", "nnnn"},
};

static void test_what_may_be_done_while_a_host_is_attached(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *mode;
        bool nbd;
    } ways[] = {
        {"read-only", true}, {"read-write", true}, {"read-only", false}, {"read-write", false}};
    prepare(bench);
    struct snapshot_create_params base = {.volume = "p:a", .name = "base"};
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &base), ERR_NONE);
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        for (size_t way = 0; way < 4; way++) {
            char id[UUID_TEXT_SIZE];
            format = cells[i].format;
            fake_runners_caps(cells[i].caps);
            attached(bench, "h", ways[way].mode, ways[way].nbd, id);
            enum err_code code = cells[i].act(bench);
            if (code != (cells[i].expected[way] == 'y' ? ERR_NONE : ERR_STATE))
                fail_msg("%s, attached %s%s: %s", cells[i].name, ways[way].mode,
                         ways[way].nbd ? " by nbd" : "", err_slug(code));
            assert_int_equal(bench_do_to(bench, KIND_attachment_delete, id), ERR_NONE);
        }
        fake_runners_caps(UINT64_MAX);
    }
    /* Detached, all of it goes on. */
    for (size_t i = 0; i < sizeof cells / sizeof cells[0] - 2; i++)
        assert_int_equal(cells[i].act(bench), ERR_NONE);
}

static void test_a_snapshot_that_is_attached_stays(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    struct snapshot_create_params base = {.volume = "p:a", .name = "base"};
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &base), ERR_NONE);
    for (int nbd = 0; nbd < 2; nbd++) {
        struct attachment_create_params params = by_mode("h", "", nbd);
        params.volume = "";
        params.snapshot = "p:a@base";
        struct asked asked = bench_ask(bench, KIND_attachment_create, &params);
        struct core_outcome outcome = bench_outcome(bench, &asked);
        char id[UUID_TEXT_SIZE];
        assert_int_equal(outcome.err.code, ERR_NONE);
        assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@base"), ERR_STATE);
        assert_int_equal(take_snapshot(bench), ERR_NONE); /* the volume is another matter */
        params.host = "i";
        params.mode = "rw-migrate";
        assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_VALIDATION);
        assert_int_equal(
            bench_do_to(bench, KIND_attachment_delete, uuid_format(&outcome.object, id)), ERR_NONE);
    }
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@base"), ERR_NONE);
}

/* ---- who beside whom ------------------------------------------------------------------------ */

static const char *const modes[] = {"read-only", "read-write", "rw-migrate", "rw-cluster"};

/* By the first's way and mode: which modes a second host of the group may have, by nbd and then
 * directly, in the order of modes. rw-migrate is never first. */
static const struct {
    bool nbd;
    const char *mode, *by_nbd, *direct;
} beside[] = {
    {true, "read-only", "ynnn", "ynnn"},   {true, "read-write", "nnyn", "nnnn"},
    {true, "rw-cluster", "nnny", "nnnn"},  {false, "read-only", "ynnn", "ynnn"},
    {false, "read-write", "nnnn", "nnyn"}, {false, "rw-cluster", "nnnn", "nnny"},
};

static void test_who_may_be_attached_beside_whom(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        char first[UUID_TEXT_SIZE], second[UUID_TEXT_SIZE];
        attached(bench, "h", beside[i].mode, beside[i].nbd, first);
        for (size_t j = 0; j < 8; j++) {
            bool nbd = j < 4;
            const char *mode = modes[j % 4];
            if ((nbd ? beside[i].by_nbd : beside[i].direct)[j % 4] == 'y') {
                attached(bench, "i", mode, nbd, second);
                assert_int_equal(bench_do_to(bench, KIND_attachment_delete, second), ERR_NONE);
            } else if (attach(bench, "i", mode, nbd) != ERR_STATE) {
                fail_msg("%s%s beside %s%s", mode, nbd ? " by nbd" : "", beside[i].mode,
                         beside[i].nbd ? " by nbd" : "");
            }
        }
        assert_int_equal(attach(bench, "h", "read-only", beside[i].nbd), ERR_EXISTS);
        assert_int_equal(bench_do_to(bench, KIND_attachment_delete, first), ERR_NONE);
    }
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"attachments\":0");
}

static void test_a_cluster_is_of_one_group(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char id[UUID_TEXT_SIZE];
    assert_int_equal(attach(bench, "k", "rw-cluster", false), ERR_VALIDATION);
    attached(bench, "h", "rw-cluster", false, id);
    assert_int_equal(attach(bench, "j", "rw-cluster", false), ERR_STATE);
    assert_int_equal(attach(bench, "i", "rw-cluster", false), ERR_NONE);
    bench_assert_has(bench, CORE_HOST, "h", "\"group\":\"red\"");
    struct host_update_params update = {.target = "h", .group = "blue"};
    assert_int_equal(bench_do(bench, KIND_host_update, &update), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, id), ERR_NONE);
    assert_int_equal(bench_do(bench, KIND_host_update, &update), ERR_NONE);
    bench_assert_has(bench, CORE_HOST, "h", "\"group\":\"blue\"");
    update.group = "";
    assert_int_equal(bench_do(bench, KIND_host_update, &update), ERR_NONE);
    bench_assert_has(bench, CORE_HOST, "h", "\"group\":\"blue\"");
    update.group = "-";
    assert_int_equal(bench_do(bench, KIND_host_update, &update), ERR_NONE);
    bench_assert_has(bench, CORE_HOST, "h", "\"group\":\"\"");
}

/* ---- migration ------------------------------------------------------------------------------ */

static void test_a_machine_that_moved_stays(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char from[UUID_TEXT_SIZE], to[UUID_TEXT_SIZE];
    assert_int_equal(attach(bench, "i", "rw-migrate", false), ERR_STATE); /* from where? */
    attached(bench, "h", "read-write", false, from);
    bench_assert_has(bench, CORE_ATTACHMENT, from, "\"expires_at\":null");
    attached(bench, "i", "rw-migrate", false, to);
    bench_assert_has(bench, CORE_ATTACHMENT, to, "\"mode\":\"rw-migrate\"");
    assert_false(bench_has(bench, CORE_ATTACHMENT, to, "\"expires_at\":null"));
    assert_int_equal(attach(bench, "k", "rw-migrate", false), ERR_STATE); /* two are enough */
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, from), ERR_NONE);
    bench_assert_has(bench, CORE_ATTACHMENT, to, "\"mode\":\"read-write\"");
    bench_assert_has(bench, CORE_ATTACHMENT, to, "\"expires_at\":null");
    /* And back. */
    attached(bench, "h", "rw-migrate", false, from);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, to), ERR_NONE);
    bench_assert_has(bench, CORE_ATTACHMENT, from, "\"mode\":\"read-write\"");
}

static char migrant[UUID_TEXT_SIZE];
static bool migrant_is_there(struct bench *bench) {
    return bench_has(bench, CORE_ATTACHMENT, migrant, "\"id\"");
}

static void test_a_migration_that_does_not_end_is_ended(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char from[UUID_TEXT_SIZE];
    attached(bench, "h", "read-write", false, from);
    struct attachment_create_params params = by_mode("i", "rw-migrate", false);
    params.expires_in_s = EXPIRY_MAX_S + 1;
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_VALIDATION);
    params.mode = "read-write";
    params.expires_in_s = 1;
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_VALIDATION);
    params.mode = "rw-migrate";
    for (int restarted = 0; restarted < 2; restarted++) {
        struct asked asked = bench_ask(bench, KIND_attachment_create, &params);
        struct core_outcome outcome = bench_outcome(bench, &asked);
        assert_int_equal(outcome.err.code, ERR_NONE);
        uuid_format(&outcome.object, migrant);
        if (restarted) { /* the next gateway knows of it */
            bench_stop(bench);
            bench_start(bench);
        }
        bench_run_while(bench, migrant_is_there);
        bench_assert_has(bench, CORE_VOLUME, "p:a", "\"attachments\":1");
    }
    bench_assert_has(bench, CORE_ATTACHMENT, from, "\"mode\":\"read-write\"");
}

/* ---- what is said --------------------------------------------------------------------------- */

struct events_seen {
    bool granted;
};
static void on_event(void *arg, uint64_t number, const char *type, const char *json) {
    struct events_seen *seen = arg;
    (void)number;
    if (strcmp(type, "attachment.granted") == 0)
        seen->granted = strstr(json, "Nothing keeps root out.") != NULL;
}

static void test_what_is_not_enforced_is_said(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char id[UUID_TEXT_SIZE];
    struct events_seen seen = {false};
    uint64_t last;
    attached(bench, "h", "read-write", false, id);
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"note\":\"Nothing keeps root out.\"");
    assert_true(core_events(bench->core, 0, 1000, on_event, &seen, &last, NULL));
    assert_true(seen.granted);
    struct volume_revert_params params = {.target = "p:a", .snapshot = "base"};
    struct snapshot_create_params base = {.volume = "p:a", .name = "base"};
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &base), ERR_NONE);
    struct asked asked = bench_ask(bench, KIND_volume_revert, &params);
    assert_int_equal(asked.answer.err.code, ERR_STATE);
    assert_non_null(strstr(asked.answer.err.text, id));
    assert_non_null(strstr(asked.answer.err.text, "host h"));
    assert_non_null(strstr(asked.answer.err.text, "delete that attachment"));
}

static int setup(void **state) {
    fake_data_reset(true, false); /* it does what it is told */
    return bench_setup(state);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, bench_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_what_may_be_done_while_a_host_is_attached),
        TEST(test_a_snapshot_that_is_attached_stays),
        TEST(test_who_may_be_attached_beside_whom),
        TEST(test_a_cluster_is_of_one_group),
        TEST(test_a_machine_that_moved_stays),
        TEST(test_a_migration_that_does_not_end_is_ended),
        TEST(test_what_is_not_enforced_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

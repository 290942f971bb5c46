/* SPDX-License-Identifier: Apache-2.0
 *
 * Volumes, snapshots, hosts and attachments: who may do what to which of them at the same time.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include "wire/message.h"

/* What one kind of call answers. */
static struct {
    enum wire_number number;
    struct fake_answer answer;
} scripted;

static void by_script(void *arg, enum wire_number number, const void *args,
                      struct fake_answer *ret) {
    (void)arg, (void)args;
    if (number == scripted.number)
        *ret = scripted.answer;
}

static void script(enum wire_number number, struct fake_answer answer) {
    scripted.number = number;
    scripted.answer = answer;
    fake_runners_answer(by_script, NULL);
}

static struct attachment_create_params attach(const char *volume, const char *host,
                                              const char *mode) {
    return (struct attachment_create_params){
        .volume = volume, .snapshot = "", .host = host, .mode = mode};
}

static struct attachment_create_params attach_snapshot(const char *snapshot, const char *host) {
    return (struct attachment_create_params){
        .volume = "", .snapshot = snapshot, .host = host, .mode = ""};
}

static enum err_code snapshot(struct bench *bench, const char *volume, const char *name) {
    struct snapshot_create_params params = {.volume = volume, .name = name};
    return bench_do(bench, KIND_snapshot_create, &params);
}

/* Attaches, and tells the attachment's id. */
static void attached(struct bench *bench, const struct attachment_create_params *params,
                     char ret_id[UUID_TEXT_SIZE]) {
    struct asked asked = bench_ask(bench, KIND_attachment_create, params);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    struct core_outcome outcome = bench_outcome(bench, &asked);
    assert_int_equal(outcome.err.code, ERR_NONE);
    uuid_format(&outcome.object, ret_id);
}

static void prepare(struct bench *bench) {
    bench_make_pool(bench, "p");
    bench_make_volume(bench, "p", "a");
    bench_make_host(bench, "h");
    bench_make_host(bench, "i");
}

/* ---- attachments ---------------------------------------------------------------------------- */

static void test_many_read_or_one_writes(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char first[UUID_TEXT_SIZE], second[UUID_TEXT_SIZE];
    struct attachment_create_params params = attach("p:a", "h", "");
    attached(bench, &params, first);
    bench_assert_has(bench, CORE_ATTACHMENT, first, "\"mode\":\"read-write\"");
    params = attach("p:a", "i", "read-only");
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_STATE);
    params = attach("p:a", "h", "read-only");
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_EXISTS);
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_host_delete, "h"), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, first), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"attachments\":0");
    params = attach("p:a", "h", "read-only");
    attached(bench, &params, first);
    params = attach("p:a", "i", "read-only");
    attached(bench, &params, second);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"attachments\":2");
    bench_assert_has(bench, CORE_HOST, "h", "\"attachments\":1");
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, first), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, second), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_host_delete, "h"), ERR_NONE);
}

static void test_a_host_has_a_snapshot_once(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    assert_int_equal(snapshot(bench, "p:a", "s"), ERR_NONE);
    struct attachment_create_params params = attach_snapshot("p:a@s", "h");
    struct attachment_create_params other = attach_snapshot("p:a@s", "i");
    struct asked asked[3];
    bench_submit(bench, KIND_attachment_create, &params, NULL, 0, &asked[0]);
    bench_submit(bench, KIND_attachment_create, &params, NULL, 0, &asked[1]);
    bench_submit(bench, KIND_attachment_create, &other, NULL, 0, &asked[2]);
    for (int i = 0; i < 3; i++)
        bench_run_until(bench, &asked[i].accepted);
    assert_int_equal(bench_outcome(bench, &asked[0]).err.code, ERR_NONE);
    assert_int_equal(asked[1].answer.err.code, ERR_BUSY);
    assert_int_equal(bench_outcome(bench, &asked[2]).err.code, ERR_NONE);
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_EXISTS);
    params.mode = "read-write";
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_VALIDATION);
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@s"), ERR_STATE);
    /* The volume itself is somebody else's matter. */
    struct attachment_create_params whole = attach("p:a", "h", "read-write");
    assert_int_equal(bench_do(bench, KIND_attachment_create, &whole), ERR_NONE);
}

#define CROWD 50
static void test_one_host_attaches_many_at_once(void **state) {
    struct bench *bench = *state;
    static struct asked asked[CROWD];
    prepare(bench);
    for (int i = 0; i < CROWD; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        bench_make_volume(bench, "p", name);
    }
    for (int i = 0; i < CROWD; i++) {
        char volume[16];
        snprintf(volume, sizeof volume, "p:v%d", i);
        struct attachment_create_params params = attach(volume, "h", "read-write");
        bench_submit(bench, KIND_attachment_create, &params, NULL, 0, &asked[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        bench_run_until(bench, &asked[i].accepted);
        assert_int_equal(asked[i].answer.err.code, ERR_NONE);
    }
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(bench_outcome(bench, &asked[i]).err.code, ERR_NONE);
    bench_assert_has(bench, CORE_HOST, "h", "\"attachments\":50");
    struct text_pair pair = {"uid", "7"};
    struct host_update_params update = {.target = "h", .identities = {&pair, 1}};
    assert_int_equal(bench_do(bench, KIND_host_update, &update), ERR_STATE);
}

static void test_a_revoke_waits_for_the_host_and_can_be_cancelled(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char id[UUID_TEXT_SIZE];
    struct attachment_create_params params = attach("p:a", "h", "read-write");
    attached(bench, &params, id);
    script(WIRE_ACCESS_REVOKE, (struct fake_answer){.pending = true, .retry_after_ms = 200});
    struct target_params target = {.target = id};
    struct asked asked = bench_ask(bench, KIND_attachment_delete, &target);
    bench_turns(bench, 10);
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"state\":\"revoking\"");
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_BUSY);
    bench_stop(bench);
    bench_start(bench);
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"state\":\"revoking\"");
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_BUSY);
    assert_int_equal(bench_cancel(bench, &asked), ERR_NONE);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_CANCELLED);
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"state\":\"attached\"");
    fake_runners_answer(NULL, NULL);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, id), ERR_NONE);
}

static void test_a_grant_that_fails_leaves_nothing(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    script(WIRE_ACCESS_GRANT, (struct fake_answer){.code = ERR_ACCESS});
    struct attachment_create_params params = attach("p:a", "h", "read-write");
    assert_int_equal(bench_do(bench, KIND_attachment_create, &params), ERR_ACCESS);
    assert_int_equal(fake_runners_calls(WIRE_ACCESS_REVOKE), 1);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"attachments\":0");
    bench_assert_has(bench, CORE_HOST, "h", "\"attachments\":0");
}

static void test_what_a_driver_says_of_a_connection(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    char id[UUID_TEXT_SIZE];
    const struct wire_connection connection = {
        .protocol = "local", .lines = "path=/x\nnothing\n=none\npath=/y\na=b=c", .note = "mind"};
    script(WIRE_ACCESS_GRANT, (struct fake_answer){.result = &connection});
    struct attachment_create_params params = attach("p:a", "h", "read-write");
    attached(bench, &params, id);
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"connection\":{\"a\":\"b=c\",\"path\":\"/x\"}");
    bench_assert_has(bench, CORE_ATTACHMENT, id, "\"note\":\"mind\"");
}

/* ---- volumes -------------------------------------------------------------------------------- */

static void test_sizes_go_up_and_only_on_request_down(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    struct volume_resize_params params = {.target = "p:a", .size_bytes = 5000};
    struct wire_volume volume = {
        .size_bytes = 8192, .used_bytes = UINT64_MAX, .name = "", .format = "raw"};
    script(WIRE_VOLUME_RESIZE, (struct fake_answer){.result = &volume});
    assert_int_equal(bench_do(bench, KIND_volume_resize, &params), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"size_bytes\":8192");
    params.size_bytes = 4096;
    assert_int_equal(bench_do(bench, KIND_volume_resize, &params), ERR_VALIDATION);
    char id[UUID_TEXT_SIZE];
    struct attachment_create_params attachment = attach("p:a", "h", "read-write");
    attached(bench, &attachment, id);
    params.shrink = true;
    assert_int_equal(bench_do(bench, KIND_volume_resize, &params), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_attachment_delete, id), ERR_NONE);
    volume.size_bytes = 4096;
    assert_int_equal(bench_do(bench, KIND_volume_resize, &params), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"size_bytes\":4096");
    script(WIRE_VOLUME_RESIZE, (struct fake_answer){.code = ERR_NO_SPACE});
    params.size_bytes = 1 << 20;
    assert_int_equal(bench_do(bench, KIND_volume_resize, &params), ERR_NO_SPACE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"size_bytes\":4096");
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
}

static void test_a_revert_is_to_a_snapshot_of_its_own(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    bench_make_volume(bench, "p", "b");
    assert_int_equal(snapshot(bench, "p:a", "s"), ERR_NONE);
    assert_int_equal(snapshot(bench, "p:b", "s"), ERR_NONE);
    struct volume_revert_params params = {.target = "p:a", .snapshot = "p:b@s"};
    assert_int_equal(bench_do(bench, KIND_volume_revert, &params), ERR_VALIDATION);
    params.snapshot = "s";
    script(WIRE_VOLUME_REVERT, (struct fake_answer){.never = true});
    struct asked asked = bench_ask(bench, KIND_volume_revert, &params);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"reverting\"");
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@s"), ERR_BUSY);
    bench_stop(bench);
    bench_start(bench); /* the locks are there again */
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@s"), ERR_BUSY);
    bench_turns(bench, 5);
    assert_true(fake_runners_end_call(WIRE_VOLUME_REVERT, ERR_NONE));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
}

static void test_a_source_is_left_alone_while_it_is_copied(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    assert_int_equal(snapshot(bench, "p:a", "s"), ERR_NONE);
    script(WIRE_VOLUME_CREATE, (struct fake_answer){.never = true});
    struct volume_create_params copy = bench_volume("", "copy"), clone = bench_volume("", "clone");
    copy.source_volume = "p:a";
    clone.source_snapshot = "p:a@s";
    clone.size_bytes = copy.size_bytes = 0;
    struct asked copying = bench_ask(bench, KIND_volume_create, &copy);
    struct asked cloning = bench_ask(bench, KIND_volume_create, &clone);
    assert_int_equal(copying.answer.err.code, ERR_NONE);
    assert_int_equal(cloning.answer.err.code, ERR_NONE);
    for (int i = 0; i < 2; i++) {
        struct attachment_create_params attachment = attach("p:a", "h", "read-write");
        assert_int_equal(bench_do(bench, KIND_attachment_create, &attachment), ERR_BUSY);
        assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_BUSY);
        assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:a@s"), ERR_BUSY);
        if (i == 0) {
            bench_stop(bench);
            bench_start(bench);
        }
    }
    bench_turns(bench, 5);
    while (fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE))
        bench_turns(bench, 1);
    assert_int_equal(bench_outcome(bench, &copying).err.code, ERR_NONE);
    assert_int_equal(bench_outcome(bench, &cloning).err.code, ERR_NONE);
    struct volume_create_params small = bench_volume("", "small");
    small.source_volume = "p:a";
    small.size_bytes = 1;
    assert_int_equal(bench_do(bench, KIND_volume_create, &small), ERR_VALIDATION);
}

static void test_snapshots_outlive_their_volume(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    struct snapshot_create_params params = {.volume = "p:a", .name = "s"};
    struct asked asked = bench_ask(bench, KIND_snapshot_create, &params);
    struct core_outcome outcome = bench_outcome(bench, &asked);
    char id[UUID_TEXT_SIZE];
    uuid_format(&outcome.object, id);
    assert_int_equal(snapshot(bench, "p:a", "s"), ERR_EXISTS);
    assert_int_equal(bench_do_to(bench, KIND_volume_unmanage, "p:a"), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:a"), ERR_NONE);
    bench_assert_has(bench, CORE_SNAPSHOT, id, "\"state\":\"available\"");
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, id), ERR_NONE);
}

static void test_a_name_moves_with_its_labels(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    bench_make_volume(bench, "p", "b");
    struct text_pair pair = {"tier", "gold"};
    struct labels_update_params params = {.target = "p:a", .name = "b", .labels = {&pair, 1}};
    assert_int_equal(bench_do(bench, KIND_volume_update, &params), ERR_EXISTS);
    params.name = "c";
    assert_int_equal(bench_do(bench, KIND_volume_update, &params), ERR_NONE);
    bench_assert_absent(bench, CORE_VOLUME, "p:a");
    bench_assert_has(bench, CORE_VOLUME, "p:c", "\"labels\":{\"tier\":\"gold\"}");
    params = (struct labels_update_params){.target = "p:c", .name = "", .labels = {&pair, 1}};
    pair.value = "";
    assert_int_equal(bench_do(bench, KIND_volume_update, &params), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:c", "\"labels\":{}");
}

/* ---- adopted, and let go -------------------------------------------------------------------- */

static void test_adopted_and_let_go(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    static char long_reference[1024];
    memset(long_reference, 'x', sizeof long_reference - 1);
    struct volume_adopt_params params = {.pool = "p", .name = "old", .reference = long_reference};
    const struct wire_volume volume = {
        .size_bytes = 12288, .used_bytes = 1, .name = "", .format = "raw"};
    script(WIRE_VOLUME_ADOPT, (struct fake_answer){.result = &volume});
    assert_int_equal(bench_do(bench, KIND_volume_adopt, &params), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:old", "\"size_bytes\":12288");
    /* A reference that is longer than an event's text is the driver's right. */
    const struct wire_reference reference = {.reference = long_reference};
    script(WIRE_VOLUME_UNMANAGE, (struct fake_answer){.result = &reference});
    assert_int_equal(bench_do_to(bench, KIND_volume_unmanage, "p:old"), ERR_NONE);
    bench_assert_absent(bench, CORE_VOLUME, "p:old");
    script(WIRE_VOLUME_ADOPT, (struct fake_answer){.code = ERR_NOT_FOUND});
    assert_int_equal(bench_do(bench, KIND_volume_adopt, &params), ERR_NOT_FOUND);
    bench_assert_absent(bench, CORE_VOLUME, "p:old");
    params.reference = "";
    assert_int_equal(bench_do(bench, KIND_volume_adopt, &params), ERR_VALIDATION);
}

/* ---- compared ------------------------------------------------------------------------------- */

struct compared {
    bool done;
    enum err_code code;
    char json[512];
};

static void on_compared(void *arg, struct buf *json, const struct err *err) {
    struct compared *compared = arg;
    compared->code = err->code;
    snprintf(compared->json, sizeof compared->json, "%s", buf_text(json));
    compared->done = true;
}

static void add_entry(struct buf *entries, unsigned char last) {
    struct wire_volume volume = {
        .volume = {{1, 2, [15] = last}}, .size_bytes = 1, .name = "n", .format = "raw"};
    struct buf bytes;
    buf_init(&bytes, 4096);
    shape_encode(&wire_volume_shape, &volume, &bytes);
    buf_put_blob(entries, bytes.at, bytes.length);
    buf_release(&bytes);
}

static void test_a_list_in_no_order_is_not_read_for_ever(void **state) {
    struct bench *bench = *state;
    prepare(bench);
    struct buf entries;
    buf_init(&entries, 4096);
    add_entry(&entries, 1);
    add_entry(&entries, 2);
    const struct wire_page page = {.count = 2, .entries = {entries.at, (uint32_t)entries.length}};
    script(WIRE_VOLUME_LIST, (struct fake_answer){.result = &page});
    struct compared compared = {0};
    core_compare(bench->core, "p", on_compared, &compared);
    bench_run_until(bench, &compared.done);
    assert_int_equal(compared.code, ERR_PROTOCOL);
    buf_release(&entries);
    script(WIRE_VOLUME_LIST, (struct fake_answer){.code = ERR_NONE});
    compared.done = false;
    core_compare(bench->core, "p", on_compared, &compared);
    bench_run_until(bench, &compared.done);
    assert_int_equal(compared.code, ERR_NONE);
    assert_non_null(strstr(compared.json, "\"missing_count\":1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH(test_many_read_or_one_writes),
        BENCH(test_a_host_has_a_snapshot_once),
        BENCH(test_one_host_attaches_many_at_once),
        BENCH(test_a_revoke_waits_for_the_host_and_can_be_cancelled),
        BENCH(test_a_grant_that_fails_leaves_nothing),
        BENCH(test_what_a_driver_says_of_a_connection),
        BENCH(test_sizes_go_up_and_only_on_request_down),
        BENCH(test_a_revert_is_to_a_snapshot_of_its_own),
        BENCH(test_a_source_is_left_alone_while_it_is_copied),
        BENCH(test_snapshots_outlive_their_volume),
        BENCH(test_a_name_moves_with_its_labels),
        BENCH(test_adopted_and_let_go),
        BENCH(test_a_list_in_no_order_is_not_read_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Both sides of a pool: a catalogue is made of a backend alone, what is missing is told and comes
 * back, and work that goes on meanwhile is neither taken for a difference nor undone.
 *
 * The backend is a table in this file, which answers the driver's lists and questions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "bench.h"
#include "core/missing.h"
#include "wire/message.h"

#define VOLUMES 10000
#define SNAPSHOTS 1000 /* a tenth of the volumes has one; and some are of no volume any more */
#define ORPHANS 50

struct thing {
    struct sluice_uuid id, volume;
    char name[64];
    bool there;
};

static struct {
    struct thing volumes[VOLUMES], snapshots[SNAPSHOTS];
    uint32_t volume_count, snapshot_count;
    /* Called before each answer. */
    void (*meanwhile)(enum wire_number number);
    enum wire_number hangs;
    enum wire_number fails;
    enum err_code code;
} backend;

static struct sluice_uuid id_of(char kind, uint32_t n) {
    return (struct sluice_uuid){
        {(uint8_t)kind, [12] = (uint8_t)(n >> 16), [13] = (uint8_t)(n >> 8), [14] = (uint8_t)n, 1}};
}

static struct thing *find(struct thing *things, uint32_t count, const struct sluice_uuid *id) {
    for (uint32_t i = 0; i < count; i++)
        if (uuid_equal(&things[i].id, id) && things[i].there)
            return &things[i];
    return NULL;
}

static struct wire_volume wire_volume(const struct thing *thing) {
    return (struct wire_volume){.volume = thing->id,
                                .size_bytes = 1 << 20,
                                .used_bytes = UINT64_MAX,
                                .name = thing->name,
                                .format = "qcow2"};
}
static struct wire_snapshot wire_snapshot(const struct thing *thing) {
    return (struct wire_snapshot){.snapshot = thing->id,
                                  .volume = thing->volume,
                                  .size_bytes = 1 << 20,
                                  .used_bytes = 7,
                                  .name = thing->name};
}

static const void *make_page(bool volumes, const struct wire_list *args) {
    static struct wire_page page;
    static struct buf entries;
    struct thing *things = volumes ? backend.volumes : backend.snapshots;
    uint32_t count = volumes ? backend.volume_count : backend.snapshot_count;
    buf_release(&entries);
    buf_init(&entries, 65536);
    page = (struct wire_page){0};
    for (uint32_t i = 0; i < count && page.count < args->capacity; i++) {
        const struct thing *thing = &things[i];
        struct wire_volume volume = wire_volume(thing);
        struct wire_snapshot snapshot = wire_snapshot(thing);
        struct buf bytes;
        if (!thing->there || uuid_compare(&thing->id, &args->after) <= 0 ||
            (!volumes && !uuid_is_zero(&args->volume) &&
             !uuid_equal(&args->volume, &thing->volume)))
            continue;
        buf_init(&bytes, 4096);
        if (volumes)
            shape_encode(&wire_volume_shape, &volume, &bytes);
        else
            shape_encode(&wire_snapshot_shape, &snapshot, &bytes);
        buf_put_blob(&entries, bytes.at, bytes.length);
        buf_release(&bytes);
        page.count++;
    }
    page.entries = (struct blob){entries.at, (uint32_t)entries.length};
    return &page;
}

static void get(struct thing *thing, bool volume, struct fake_answer *ret) {
    static struct wire_volume as_volume;
    static struct wire_snapshot as_snapshot;
    if (thing == NULL) {
        ret->code = ERR_NOT_FOUND;
        return;
    }
    as_volume = wire_volume(thing);
    as_snapshot = wire_snapshot(thing);
    ret->result = volume ? (const void *)&as_volume : &as_snapshot;
}

static void answer(void *arg, enum wire_number number, const void *args, struct fake_answer *ret) {
    const struct wire_volume_id *of_volume = args;
    const struct wire_snapshot_id *of_snapshot = args;
    (void)arg;
    if (backend.meanwhile != NULL)
        backend.meanwhile(number);
    if (number == backend.fails) {
        ret->code = backend.code;
        return;
    }
    ret->never = number == backend.hangs;
    if (number == WIRE_VOLUME_LIST || number == WIRE_SNAPSHOT_LIST)
        ret->result = make_page(number == WIRE_VOLUME_LIST, args);
    else if (number == WIRE_VOLUME_GET)
        get(find(backend.volumes, backend.volume_count, &of_volume->volume), true, ret);
    else if (number == WIRE_SNAPSHOT_GET)
        get(find(backend.snapshots, backend.snapshot_count, &of_snapshot->snapshot), false, ret);
}

static struct thing *add_volume(const char *name) {
    struct thing *thing = &backend.volumes[backend.volume_count];
    *thing = (struct thing){.id = id_of('V', backend.volume_count), .there = true};
    snprintf(thing->name, sizeof thing->name, "%s", name);
    backend.volume_count++;
    return thing;
}
static struct thing *add_snapshot(const struct sluice_uuid *volume, const char *name) {
    struct thing *thing = &backend.snapshots[backend.snapshot_count];
    *thing =
        (struct thing){.id = id_of('S', backend.snapshot_count), .volume = *volume, .there = true};
    snprintf(thing->name, sizeof thing->name, "%s", name);
    backend.snapshot_count++;
    return thing;
}

static int setup(void **state) {
    memset(&backend, 0, sizeof backend);
    int status = bench_setup(state);
    fake_runners_answer(answer, NULL);
    if (status == 0)
        bench_make_pool(*state, "p");
    return status;
}

static enum err_code rebuild(struct bench *bench, const struct sluice_uuid *volume) {
    char text[UUID_TEXT_SIZE] = "";
    struct pool_rebuild_params params = {.target = "p", .volume = text};
    if (volume != NULL)
        uuid_format(volume, text);
    return bench_do(bench, KIND_pool_rebuild, &params);
}

static const char *id_text(const struct thing *thing) {
    static char text[UUID_TEXT_SIZE];
    return uuid_format(&thing->id, text);
}

static void assert_volume(struct bench *bench, const struct thing *thing, const char *text) {
    bench_assert_has(bench, CORE_VOLUME, id_text(thing), text);
}

struct compared {
    bool done;
    char json[256];
};
static void on_compared(void *arg, struct buf *json, const struct err *err) {
    struct compared *compared = arg;
    assert_int_equal(err->code, ERR_NONE);
    snprintf(compared->json, sizeof compared->json, "%s", buf_text(json));
    compared->done = true;
}
static void assert_compares(struct bench *bench, const char *text) {
    struct compared compared = {0};
    core_compare(bench->core, "p", on_compared, &compared);
    bench_run_until(bench, &compared.done);
    if (strstr(compared.json, text) == NULL)
        fail_msg("%s is not in %s", text, compared.json);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void fill(void) {
    char name[64];
    for (uint32_t i = 0; i < VOLUMES; i++) {
        snprintf(name, sizeof name, "v%u", i);
        (void)add_volume(name);
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        struct sluice_uuid gone = id_of('G', i);
        snprintf(name, sizeof name, "s%u", i);
        (void)add_snapshot(i < ORPHANS ? &gone : &backend.volumes[i / 2].id, name);
    }
}

static void test_the_backend_alone_makes_the_catalogue(void **state) {
    struct bench *bench = *state;
    fill();
    assert_compares(bench,
                    "\"volumes\":0,\"snapshots\":0,\"unknown_count\":11000,\"missing_count\":0");
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    assert_compares(bench,
                    "\"volumes\":10000,\"snapshots\":1000,\"unknown_count\":0,\"missing_count\":0");
    assert_volume(bench, &backend.volumes[VOLUMES - 1], "\"name\":\"v9999\"");
    assert_volume(bench, &backend.volumes[30], "\"snapshots\":2");
    assert_volume(bench, &backend.volumes[30], "\"format\":\"qcow2\"");
    assert_volume(bench, &backend.volumes[30], "\"size_bytes\":1048576,\"used_bytes\":0");
    bench_assert_has(bench, CORE_SNAPSHOT, id_text(&backend.snapshots[3]), "\"name\":\"s3\"");
    /* Once more: nothing is left to be done, and nobody is asked for one by one. */
    uint32_t asked = fake_runners_calls(WIRE_VOLUME_GET);
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_GET), asked);
}

static uint32_t gets;
static void stop_after_some(enum wire_number number) {
    if (number == WIRE_VOLUME_GET && ++gets == 150)
        backend.hangs = WIRE_VOLUME_GET;
}
static bool is_stuck(struct bench *bench) {
    (void)bench;
    return backend.hangs != WIRE_VOLUME_GET;
}

static void test_a_restart_goes_on(void **state) {
    struct bench *bench = *state;
    char name[64];
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "v%u", i);
        (void)add_volume(name);
    }
    gets = 0;
    backend.meanwhile = stop_after_some;
    struct pool_rebuild_params params = {.target = "p", .volume = ""};
    struct asked asked = bench_ask(bench, KIND_pool_rebuild, &params);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    bench_run_while(bench, is_stuck);
    bench_stop(bench);
    backend.meanwhile = NULL;
    backend.hangs = 0;
    bench_start(bench);
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
    assert_compares(bench, "\"volumes\":300,\"snapshots\":0,\"unknown_count\":0");
}

static void test_one_volume_is_taken_in_alone(void **state) {
    struct bench *bench = *state;
    struct thing *a = add_volume("a"), *b = add_volume("b");
    (void)add_snapshot(&a->id, "of-a");
    (void)add_snapshot(&b->id, "of-b");
    struct sluice_uuid gone = id_of('G', 1), nowhere = id_of('N', 1);
    (void)add_snapshot(&gone, "of-gone");
    assert_int_equal(rebuild(bench, &a->id), ERR_NONE);
    assert_volume(bench, a, "\"snapshots\":1");
    bench_assert_absent(bench, CORE_VOLUME, id_text(b));
    assert_compares(bench, "\"volumes\":1,\"snapshots\":1,\"unknown_count\":3");
    assert_int_equal(rebuild(bench, &gone), ERR_NONE); /* what is left of one that is gone */
    assert_compares(bench, "\"volumes\":1,\"snapshots\":2,\"unknown_count\":2");
    assert_int_equal(rebuild(bench, &nowhere), ERR_NOT_FOUND);
    struct pool_rebuild_params params = {.target = "p", .volume = "b"};
    assert_int_equal(bench_do(bench, KIND_pool_rebuild, &params), ERR_VALIDATION);
}

static void test_names_that_are_taken_or_none(void **state) {
    struct bench *bench = *state;
    bench_make_volume(bench, "p", "taken");
    struct thing *taken = add_volume("taken"), *twin = add_volume("twin"),
                 *other = add_volume("twin"), *none = add_volume("a:b"), *empty = add_volume("");
    char text[128], id[UUID_TEXT_SIZE];
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    snprintf(text, sizeof text, "\"name\":\"taken-%s\"", uuid_format(&taken->id, id));
    assert_volume(bench, taken, text);
    assert_volume(bench, twin, "\"name\":\"twin\"");
    snprintf(text, sizeof text, "\"name\":\"twin-%s\"", uuid_format(&other->id, id));
    assert_volume(bench, other, text);
    snprintf(text, sizeof text, "\"name\":\"%s\"", uuid_format(&none->id, id));
    assert_volume(bench, none, text);
    snprintf(text, sizeof text, "\"name\":\"%s\"", uuid_format(&empty->id, id));
    assert_volume(bench, empty, text);
    /* The one that was made here is not on this backend. */
    bench_assert_has(bench, CORE_VOLUME, "p:taken", "\"state\":\"missing\"");
}

static void test_what_another_pool_has_is_left_there(void **state) {
    struct bench *bench = *state;
    struct thing *a = add_volume("a"), *b = add_volume("b");
    bench_make_pool(bench, "q");
    assert_int_equal(rebuild(bench, &a->id), ERR_NONE);
    struct pool_rebuild_params params = {.target = "q", .volume = ""};
    assert_int_equal(bench_do(bench, KIND_pool_rebuild, &params), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:a", "\"state\":\"available\"");
    bench_assert_absent(bench, CORE_VOLUME, "q:a");
    bench_assert_has(bench, CORE_VOLUME, "q:b", "\"state\":\"available\"");
    assert_true(b->there);
}

/* ---- what is missing ------------------------------------------------------------------------ */

static bool a_is_missing(struct bench *bench) {
    return bench_has(bench, CORE_VOLUME, "p:a", "\"state\":\"missing\"") ||
           bench_has(bench, CORE_SNAPSHOT, id_text(&backend.snapshots[0]), "\"state\":\"missing\"");
}

static void test_what_is_missing_is_told_and_comes_back(void **state) {
    struct bench *bench = *state;
    struct thing *a = add_volume("a");
    struct thing *s = add_snapshot(&a->id, "s");
    (void)add_volume("b");
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    a->there = s->there = false;
    assert_compares(bench, "\"unknown_count\":0,\"missing_count\":2");
    assert_volume(bench, a, "\"state\":\"available\""); /* looking changes nothing */
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    assert_volume(bench, a, "\"state\":\"missing\"");
    bench_assert_has(bench, CORE_SNAPSHOT, id_text(s), "\"state\":\"missing\"");
    assert_compares(bench, "\"unknown_count\":0,\"missing_count\":2");
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    struct snapshot_create_params snapshot = {.volume = "p:a", .name = "t"};
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &snapshot), ERR_STATE);
    assert_int_equal(bench_do_to(bench, KIND_volume_unmanage, "p:a"), ERR_STATE); /* its snapshot */
    missing_look(bench->core);
    bench_turns(bench, 20);
    assert_true(a_is_missing(bench));
    bench_stop(bench); /* the next gateway asks as well */
    bench_start(bench);
    a->there = s->there = true;
    bench_turns(bench, 5);
    missing_look(bench->core);
    bench_run_while(bench, a_is_missing);
    assert_compares(bench, "\"unknown_count\":0,\"missing_count\":0");
    assert_int_equal(bench_do(bench, KIND_snapshot_create, &snapshot), ERR_NONE);
}

static void test_what_is_missing_can_be_given_up(void **state) {
    struct bench *bench = *state;
    struct thing *a = add_volume("a"), *b = add_volume("b");
    struct thing *s = add_snapshot(&b->id, "s");
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    a->there = b->there = s->there = false;
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    /* Forgotten, without asking anybody: what comes back later is unknown. */
    assert_int_equal(bench_do_to(bench, KIND_volume_unmanage, "p:a"), ERR_NONE);
    assert_int_equal(fake_runners_calls(WIRE_VOLUME_UNMANAGE), 0);
    a->there = true;
    assert_compares(bench, "\"unknown_count\":1,\"missing_count\":2");
    /* A deletion that fails leaves it as missing as it was. */
    backend.fails = WIRE_SNAPSHOT_DELETE;
    backend.code = ERR_IO;
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:b@s"), ERR_IO);
    bench_assert_has(bench, CORE_SNAPSHOT, "p:b@s", "\"state\":\"missing\"");
    backend.fails = WIRE_VOLUME_DELETE;
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:b"), ERR_IO);
    assert_volume(bench, b, "\"state\":\"missing\"");
    backend.fails = 0;
    assert_int_equal(bench_do_to(bench, KIND_snapshot_delete, "p:b@s"), ERR_NONE);
    assert_int_equal(bench_do_to(bench, KIND_volume_delete, "p:b"), ERR_NONE);
    assert_compares(bench, "\"unknown_count\":1,\"missing_count\":0");
}

static void test_a_backend_that_is_away_makes_nothing_missing(void **state) {
    struct bench *bench = *state;
    struct thing *a = add_volume("a");
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    a->there = false;
    backend.fails = WIRE_VOLUME_GET;
    backend.code = ERR_VANISHED;
    assert_int_equal(rebuild(bench, NULL), ERR_VANISHED);
    assert_volume(bench, a, "\"state\":\"available\"");
}

/* ---- beside work that goes on --------------------------------------------------------------- */

/* Between the list and the question. */
static void change_sides(enum wire_number number) {
    if (number != WIRE_VOLUME_GET || backend.volumes[0].there)
        return;
    backend.volumes[0].there = true;  /* was made after the list */
    backend.volumes[1].there = false; /* was deleted after it */
}

static void test_a_difference_of_a_moment_is_none(void **state) {
    struct bench *bench = *state;
    struct thing *made = add_volume("made"), *deleted = add_volume("deleted");
    assert_int_equal(rebuild(bench, &made->id), ERR_NONE);
    made->there = false;
    backend.meanwhile = change_sides;
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    assert_volume(bench, made, "\"state\":\"available\"");
    bench_assert_absent(bench, CORE_VOLUME, id_text(deleted));
}

static void test_work_under_way_is_no_difference(void **state) {
    struct bench *bench = *state;
    backend.hangs = WIRE_VOLUME_CREATE;
    struct volume_create_params params = bench_volume("p", "new");
    struct asked asked = bench_ask(bench, KIND_volume_create, &params);
    assert_int_equal(asked.answer.err.code, ERR_NONE);
    assert_int_equal(rebuild(bench, NULL), ERR_NONE);
    bench_assert_has(bench, CORE_VOLUME, "p:new", "\"state\":\"creating\"");
    assert_true(fake_runners_end_call(WIRE_VOLUME_CREATE, ERR_NONE));
    assert_int_equal(bench_outcome(bench, &asked).err.code, ERR_NONE);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, bench_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_backend_alone_makes_the_catalogue),
        TEST(test_a_restart_goes_on),
        TEST(test_one_volume_is_taken_in_alone),
        TEST(test_names_that_are_taken_or_none),
        TEST(test_what_another_pool_has_is_left_there),
        TEST(test_what_is_missing_is_told_and_comes_back),
        TEST(test_what_is_missing_can_be_given_up),
        TEST(test_a_backend_that_is_away_makes_nothing_missing),
        TEST(test_a_difference_of_a_moment_is_none),
        TEST(test_work_under_way_is_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

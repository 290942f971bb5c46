/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls through the table to a driver that answers what the test tells it to: arguments arrive,
 * answers are checked, lies are named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/uuid.h"
#include "runner/calls.h"

#define SIZE_MAX_BYTES (1 << 30)

static struct services services;
static struct place place;
static struct call_memory memory;
static struct wire_reply reply;

/* What the driver answers, and what it was asked. */
static int32_t answer;
static const char *reason;
static struct sluice_volume volume_answer;
static struct sluice_snapshot snapshot_answers[4];
static uint32_t count_answer;
static struct sluice_pool pool_answer;
static struct sluice_health_report health_answer;
static struct sluice_connection connection_answer;
static struct sluice_volume_create asked;
static char asked_name[SLUICE_NAME_MAX];
static struct sluice_property asked_properties[8];
static uint64_t asked_count;
static unsigned closed;
static unsigned opened;

static struct sluice_uuid id_of(uint8_t byte) {
    return (struct sluice_uuid){.bytes = {byte, byte}};
}

static void on_log(void *owner, const struct wire_log *line) {
    (void)owner;
    (void)line;
}
static void on_event(void *owner, const struct wire_event *event) {
    (void)owner;
    (void)event;
}

static int32_t said(struct sluice_call *call) {
    if (reason != NULL)
        (services.table.fail)(&services.table, call, answer, reason); /* not cmocka's macro */
    services.table.progress(&services.table, call, 5, 9);
    return answer;
}

static int32_t pool_open(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool) {
    assert_ptr_equal(driver, &place);
    asked_count = args->properties->count;
    memcpy(asked_properties, args->properties->at, asked_count * sizeof asked_properties[0]);
    *ret = pool_answer;
    *ret_pool = &closed;
    opened++;
    return said(call);
}
static void pool_close(void *pool) {
    assert_ptr_equal(pool, &closed);
    closed++;
}
static int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret) {
    assert_ptr_equal(pool, &closed);
    ret->total = 100;
    ret->used = 40;
    return said(call);
}
static int32_t volume_create(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    (void)pool;
    asked = *args;
    strncpy(asked_name, args->name, sizeof asked_name - 1);
    assert_int_equal(ret->size, sizeof *ret);
    *ret = volume_answer;
    return said(call);
}
static int32_t snapshot_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    (void)pool;
    struct sluice_snapshot *entries = list->entries;
    for (uint32_t i = 0; i < count_answer && i < list->capacity && i < 4; i++) {
        assert_int_equal(entries[i].size, sizeof entries[i]);
        entries[i] = snapshot_answers[i];
    }
    list->count = count_answer;
    /* What it writes elsewhere is not believed. */
    list->capacity = UINT32_MAX;
    list->after = id_of(0);
    return said(call);
}
static int32_t access_grant(void *pool, struct sluice_call *call,
                            const struct sluice_access_grant *args, struct sluice_connection *ret) {
    (void)pool;
    assert_int_equal(args->identities->count, 1);
    *ret = connection_answer;
    return said(call);
}
static int32_t volume_unmanage(void *pool, struct sluice_call *call,
                               const struct sluice_uuid *volume, char *ret_reference) {
    (void)pool;
    (void)volume;
    memset(ret_reference, 'x', SLUICE_PATH_MAX);
    return said(call);
}
static int32_t health(void *driver, struct sluice_call *call, struct sluice_health_report *ret) {
    (void)driver;
    *ret = health_answer;
    return said(call);
}
static int32_t start(const struct sluice_services *given, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    assert_ptr_equal(given, &services.table);
    assert_int_equal(settings->count, 1);
    *ret_driver = &place;
    return said(call);
}

static int setup(void **state) {
    (void)state;
    services_init(&services, &(struct services_sink){.log = on_log, .event = on_event});
    calls_memory_init(&memory);
    place = (struct place){
        .driver =
            {
                .base = {.health = health, .start = start},
                .has_storage = true,
                .storage =
                    {
                        .pool_open = pool_open,
                        .pool_close = pool_close,
                        .pool_stat = pool_stat,
                        .volume_create = volume_create,
                        .volume_unmanage = volume_unmanage,
                        .snapshot_list = snapshot_list,
                        .access_grant = access_grant,
                    },
            },
        .services = &services,
        .instance = &place,
        .pool = &closed,
        .limits = {.volume_size_max = SIZE_MAX_BYTES},
    };
    answer = SLUICE_OK;
    reason = NULL;
    volume_answer = (struct sluice_volume){
        .volume = id_of(1), .size_bytes = 4096, .name = "v", .format = "raw"};
    pool_answer = (struct sluice_pool){
        .caps = SLUICE_CAP_MASK(GROW), .volume_size_max = SIZE_MAX_BYTES, .formats = "raw"};
    health_answer = (struct sluice_health_report){.health = SLUICE_HEALTH_DEGRADED, .text = "hm"};
    connection_answer = (struct sluice_connection){.protocol = "local", .lines = "path=/x"};
    for (uint8_t i = 0; i < 4; i++)
        snapshot_answers[i] = (struct sluice_snapshot){
            .snapshot = id_of((uint8_t)(i + 1)), .volume = id_of(9), .name = "s"};
    count_answer = 4;
    closed = 0;
    opened = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    calls_memory_release(&memory);
    services_release(&services);
    return 0;
}

/* Makes the call and decodes its result; the status. */
static uint32_t make(uint16_t number, const void *args, void *ret_result) {
    struct wire_packet packet = {
        .number = number, .row = wire_row(number), .call_id = 1, .body = args};
    calls_memory_reset(&memory);
    calls_make(&place, &packet, &memory, &reply);
    if (reply.status == SLUICE_OK && ret_result != NULL) {
        struct err err = ERR_INIT;
        if (!shape_decode(packet.row->result, reply.result.at, reply.result.length, &memory.arena,
                          ret_result, &err))
            fail_msg("%s", err.text);
    }
    return reply.status;
}

/* The answer is refused as a lie, in words that have `word`. */
static void is_lie(uint16_t number, const void *args, const char *word) {
    assert_int_equal(make(number, args, NULL), SLUICE_INTERNAL);
    if (strncmp(reply.text, "the driver ", 11) != 0 || strstr(reply.text, word) == NULL)
        fail_msg("\"%s\" does not say %s", reply.text, word);
    assert_int_equal(reply.result.length, 0);
}

static const struct wire_volume_create create = {
    .volume = {{1, 1}},
    .source_kind = SLUICE_SOURCE_SNAPSHOT,
    .source = {{2, 2}},
    .source_volume = {{3, 3}},
    .size_bytes = 4096,
    .name = "v",
    .format = "raw",
};
static const struct wire_nothing nothing = {0};

static void arguments_arrive_and_results_come_back(void **state) {
    (void)state;
    struct wire_volume got;
    volume_answer.used_bytes = UINT64_MAX;
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, &got), SLUICE_OK);
    assert_int_equal(asked.size, sizeof asked);
    assert_int_equal(asked.source.bytes[0], 2);
    assert_int_equal(asked.source_volume.bytes[0], 3);
    assert_int_equal(asked.size_bytes, 4096);
    assert_string_equal(asked_name, "v");
    assert_string_equal(got.format, "raw");
    assert_int_equal(got.used_bytes, UINT64_MAX);
    assert_string_equal(reply.text, "");

    struct wire_capacity capacity;
    assert_int_equal(make(WIRE_POOL_STAT, &nothing, &capacity), SLUICE_OK);
    assert_int_equal(capacity.used, 40);
    struct wire_health report;
    assert_int_equal(make(WIRE_HEALTH, &nothing, &report), SLUICE_OK);
    assert_int_equal(report.health, SLUICE_HEALTH_DEGRADED);
    place.driver.base.health = NULL;
    assert_int_equal(make(WIRE_HEALTH, &nothing, &report), SLUICE_OK);
    assert_int_equal(report.health, SLUICE_HEALTH_OK);
}

static void a_pool_is_opened_once(void **state) {
    (void)state;
    struct text_pair pairs[] = {{"b", "b:1"}, {"d", "d:1970-01-02"}, {"n", "n:-7"}, {"s", "s:x:y"}};
    struct wire_pool_open open = {
        .pool = id_of(7), .name = "p", .properties = {.at = pairs, .count = 4}};
    struct wire_pool got;
    pool_answer.caps |= UINT64_C(1) << 63; /* of a driver newer than we are */
    assert_int_equal(make(WIRE_POOL_OPEN, &open, &got), SLUICE_OK);
    assert_int_equal(asked_count, 4);
    assert_int_equal(asked_properties[0].kind, SLUICE_PROPERTY_BOOLEAN);
    assert_int_equal(asked_properties[0].integer, 1);
    assert_int_equal(asked_properties[1].integer, 86400);
    assert_int_equal(asked_properties[2].integer, -7);
    assert_int_equal(got.caps, SLUICE_CAP_MASK(GROW));
    assert_true(place.is_open);
    assert_true(place.opened_length > 0);
    /* Again: the same answer, without asking. Another one: refused. */
    assert_int_equal(make(WIRE_POOL_OPEN, &open, &got), SLUICE_OK);
    assert_int_equal(got.volume_size_max, SIZE_MAX_BYTES);
    assert_int_equal(opened, 1);
    open.pool = id_of(8);
    assert_int_equal(make(WIRE_POOL_OPEN, &open, NULL), SLUICE_INVALID);
    assert_int_equal(opened, 1);
}

static void a_pool_that_lies_is_closed_again(void **state) {
    (void)state;
    struct wire_pool_open open = {.pool = id_of(7), .name = "p"};
    memset(pool_answer.formats, 'x', sizeof pool_answer.formats);
    is_lie(WIRE_POOL_OPEN, &open, "formats");
    assert_int_equal(closed, 1);
    assert_false(place.is_open);
    pool_answer = (struct sluice_pool){.volume_size_min = 2, .volume_size_max = 1};
    is_lie(WIRE_POOL_OPEN, &open, "sizes");
    pool_answer = (struct sluice_pool){.name_max = 256};
    is_lie(WIRE_POOL_OPEN, &open, "names");
    assert_int_equal(closed, 3);
}

static void a_property_without_its_kind_is_invalid(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "x", "n:", "n:1x", "b:2", "d:yesterday", "q:1", "s"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct text_pair pair = {"p", wrong[i]};
        struct wire_pool_open open = {
            .pool = id_of(7), .name = "p", .properties = {.at = &pair, .count = 1}};
        assert_int_equal(make(WIRE_POOL_OPEN, &open, NULL), SLUICE_INVALID);
        assert_non_null(strstr(reply.text, "property p"));
    }
    assert_int_equal(opened, 0);
}

static void errors_come_with_the_reason(void **state) {
    (void)state;
    answer = SLUICE_NO_SPACE;
    reason = "only 3 bytes are left";
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, NULL), SLUICE_NO_SPACE);
    assert_string_equal(reply.text, "only 3 bytes are left");
    reason = NULL;
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, NULL), SLUICE_NO_SPACE);
    assert_string_equal(reply.text, "the backend is full");
}

static void pending_says_how_far_and_when(void **state) {
    (void)state;
    answer = SLUICE_PENDING;
    volume_answer.retry_after_ms = 70;
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, NULL), SLUICE_PENDING);
    assert_int_equal(reply.done, 5);
    assert_int_equal(reply.total, 9);
    assert_int_equal(reply.retry_after_ms, 70);
    volume_answer.retry_after_ms = UINT32_MAX;
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, NULL), SLUICE_PENDING);
    assert_int_equal(reply.retry_after_ms, CALLS_RETRY_MAX_MS);
    struct wire_volume_id id = {.volume = id_of(1)};
    assert_int_equal(make(WIRE_VOLUME_UNMANAGE, &id, NULL), SLUICE_PENDING);
    assert_int_equal(reply.retry_after_ms, CALLS_RETRY_MS);
    is_lie(WIRE_POOL_STAT, &nothing, "PENDING");
    is_lie(WIRE_HEALTH, &nothing, "PENDING");
}

static void what_the_driver_does_not_have_is_unsupported(void **state) {
    (void)state;
    struct wire_volume_resize resize = {.volume = id_of(1), .size_bytes = 1};
    assert_int_equal(make(WIRE_VOLUME_RESIZE, &resize, NULL), SLUICE_UNSUPPORTED);
    assert_string_equal(reply.text, "the driver has no volume_resize");
    struct wire_configure configure = {{NULL, 0}};
    assert_int_equal(make(WIRE_CONFIGURE, &configure, NULL), SLUICE_UNSUPPORTED);
    place.driver.has_storage = false;
    assert_int_equal(make(WIRE_POOL_STAT, &nothing, NULL), SLUICE_UNSUPPORTED);
    assert_int_equal(make(WIRE_NOTHING, &nothing, NULL), SLUICE_OK);
}

static void a_volume_that_cannot_be_is_a_lie(void **state) {
    (void)state;
    volume_answer.size_bytes = SIZE_MAX_BYTES + 1;
    is_lie(WIRE_VOLUME_CREATE, &create, "size");
    place.limits.volume_size_max = 0;
    assert_int_equal(make(WIRE_VOLUME_CREATE, &create, NULL), SLUICE_OK);
    volume_answer.size_bytes = UINT64_MAX;
    is_lie(WIRE_VOLUME_CREATE, &create, "size");
    volume_answer.size_bytes = 1;
    volume_answer.volume = id_of(4);
    is_lie(WIRE_VOLUME_CREATE, &create, "another volume");
    volume_answer.volume = id_of(1);
    memcpy(volume_answer.name, "\xff\xfe", 3);
    is_lie(WIRE_VOLUME_CREATE, &create, "UTF-8");
    memset(volume_answer.name, 'x', sizeof volume_answer.name);
    is_lie(WIRE_VOLUME_CREATE, &create, "does not end");
    volume_answer.name[250] = '\0';
    memset(volume_answer.format, 'x', sizeof volume_answer.format);
    is_lie(WIRE_VOLUME_CREATE, &create, "format");
}

static void a_status_that_is_none_is_a_lie(void **state) {
    (void)state;
    static const int32_t none[] = {22, -1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        answer = none[i];
        is_lie(WIRE_VOLUME_CREATE, &create, "status");
    }
}

static void other_texts_that_do_not_end_are_lies(void **state) {
    (void)state;
    struct wire_volume_id id = {.volume = id_of(1)};
    is_lie(WIRE_VOLUME_UNMANAGE, &id, "reference");
    struct text_pair identity = {"user", "s:me"};
    struct wire_access_grant grant = {
        .mode = SLUICE_ACCESS_READ_ONLY, .host = "h", .identities = {&identity, 1}};
    struct wire_connection connection;
    assert_int_equal(make(WIRE_ACCESS_GRANT, &grant, &connection), SLUICE_OK);
    assert_string_equal(connection.lines, "path=/x");
    memset(connection_answer.lines, 'x', sizeof connection_answer.lines);
    is_lie(WIRE_ACCESS_GRANT, &grant, "connection");
    health_answer.health = 4;
    is_lie(WIRE_HEALTH, &nothing, "health");
}

static void pages_ascend_and_fit(void **state) {
    (void)state;
    struct wire_list list = {.volume = id_of(9), .capacity = 4};
    struct wire_page page;
    assert_int_equal(make(WIRE_SNAPSHOT_LIST, &list, &page), SLUICE_OK);
    assert_int_equal(page.count, 4);
    struct reader reader;
    reader_init(&reader, page.entries.at, page.entries.length);
    for (uint8_t i = 1; i <= 4; i++) {
        size_t length;
        const uint8_t *entry = reader_blob(&reader, 4096, &length);
        struct wire_snapshot snapshot;
        struct err err = ERR_INIT;
        assert_true(
            shape_decode(&wire_snapshot_shape, entry, length, &memory.arena, &snapshot, &err));
        assert_int_equal(snapshot.snapshot.bytes[0], i);
    }
    assert_true(reader_done(&reader));

    list.after = id_of(1);
    is_lie(WIRE_SNAPSHOT_LIST, &list, "ascend");
    list.after = id_of(0);
    list.volume = id_of(8);
    is_lie(WIRE_SNAPSHOT_LIST, &list, "another");
    list.volume = id_of(9);
    list.capacity = 3;
    is_lie(WIRE_SNAPSHOT_LIST, &list, "listed 4");
    list.capacity = 4;
    snapshot_answers[2].snapshot = id_of(2);
    is_lie(WIRE_SNAPSHOT_LIST, &list, "ascend");
    count_answer = 0;
    list.capacity = 0;
    assert_int_equal(make(WIRE_SNAPSHOT_LIST, &list, &page), SLUICE_OK);
    assert_int_equal(page.count, 0);
}

static void a_call_names_its_volumes(void **state) {
    (void)state;
    struct job job;
    struct wire_packet packet = {
        .number = WIRE_VOLUME_CREATE, .row = wire_row(WIRE_VOLUME_CREATE), .body = &create};
    calls_volumes(&packet, &job);
    assert_int_equal(job.volume_count, 2);
    assert_int_equal(job.volumes[1].bytes[0], 3);
    struct wire_access_grant grant = {.attachment = id_of(1), .volume = id_of(2)};
    packet = (struct wire_packet){
        .number = WIRE_ACCESS_GRANT, .row = wire_row(WIRE_ACCESS_GRANT), .body = &grant};
    calls_volumes(&packet, &job);
    assert_int_equal(job.volume_count, 1);
    assert_int_equal(job.volumes[0].bytes[0], 2);
    struct wire_list list = {.volume = id_of(2)};
    packet = (struct wire_packet){
        .number = WIRE_SNAPSHOT_LIST, .row = wire_row(WIRE_SNAPSHOT_LIST), .body = &list};
    calls_volumes(&packet, &job);
    assert_int_equal(job.volume_count, 0);
}

static void start_answers_with_status_and_reason(void **state) {
    (void)state;
    struct text_pair setting = {"x", "s:y"};
    struct text_pairs settings = {&setting, 1};
    struct err err = ERR_INIT;
    assert_true(calls_start(&place, &settings, &memory, &err));
    answer = SLUICE_UNREACHABLE;
    reason = "nobody there";
    assert_false(calls_start(&place, &settings, &memory, &err));
    assert_int_equal(err.code, ERR_UNREACHABLE);
    assert_string_equal(err.text, "nobody there");
    err = ERR_INIT;
    answer = SLUICE_PENDING;
    assert_false(calls_start(&place, &settings, &memory, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(arguments_arrive_and_results_come_back),
        TEST(a_pool_is_opened_once),
        TEST(a_pool_that_lies_is_closed_again),
        TEST(a_property_without_its_kind_is_invalid),
        TEST(errors_come_with_the_reason),
        TEST(pending_says_how_far_and_when),
        TEST(what_the_driver_does_not_have_is_unsupported),
        TEST(a_volume_that_cannot_be_is_a_lie),
        TEST(a_status_that_is_none_is_a_lie),
        TEST(other_texts_that_do_not_end_are_lies),
        TEST(pages_ascend_and_fit),
        TEST(a_call_names_its_volumes),
        TEST(start_answers_with_status_and_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * What a driver says is bounded and cleaned before it goes anywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runner/services.h"

#undef fail /* cmocka's macro; here it is a service */

static unsigned logs;
static unsigned events;
static char last[SLUICE_TEXT_MAX];
static uint32_t last_level;
static struct wire_event last_event;

static void on_log(void *owner, const struct wire_log *line) {
    assert_ptr_equal(owner, &logs);
    logs++;
    last_level = line->level;
    strncpy(last, line->text, sizeof last - 1);
}

static void on_event(void *owner, const struct wire_event *event) {
    assert_ptr_equal(owner, &logs);
    events++;
    last_event = *event;
    strncpy(last, event->text, sizeof last - 1);
}

static struct services services;

static int setup(void **state) {
    (void)state;
    logs = 0;
    events = 0;
    services_init(&services,
                  &(struct services_sink){.log = on_log, .event = on_event, .owner = &logs});
    return 0;
}

static int teardown(void **state) {
    (void)state;
    services_release(&services);
    return 0;
}

static void text_is_cut_and_cleaned(void **state) {
    (void)state;
    char clean[SLUICE_TEXT_MAX];
    services_clean(clean, "two\nlines\tand \x1b[31mred\x7f");
    assert_string_equal(clean, "two lines and  [31mred ");
    services_clean(clean, "gr\xc3\xbc\xc3\x9f and \xff\xfe");
    assert_string_equal(clean, "gr\xc3\xbc\xc3\x9f and ??");
    services_clean(clean, "\xc2\x9b is a C1 control");
    assert_string_equal(clean, "  is a C1 control");
    services_clean(clean, NULL);
    assert_string_equal(clean, "");
    /* Not terminated, and its last character cut in two. */
    char endless[SLUICE_TEXT_MAX];
    memset(endless, 'x', sizeof endless);
    endless[SLUICE_TEXT_MAX - 2] = '\xc3';
    endless[SLUICE_TEXT_MAX - 1] = '\xbc';
    services_clean(clean, endless);
    assert_int_equal(strlen(clean), SLUICE_TEXT_MAX - 2);
}

static void log_and_event_reach_the_sink(void **state) {
    (void)state;
    const struct sluice_services *table = &services.table;
    assert_int_equal(table->size, sizeof *table);
    assert_int_equal(table->version, SLUICE_ABI);
    table->log(table, SLUICE_LOG_WARNING, "careful\n");
    assert_string_equal(last, "careful ");
    assert_int_equal(last_level, SLUICE_LOG_WARNING);
    table->log(table, 77, "odd");
    assert_int_equal(last_level, SLUICE_LOG_INFO);

    struct sluice_uuid volume = {{9}};
    table->event(table, SLUICE_EVENT_ACCESS_LOST, &volume, -5, "lost");
    assert_int_equal(events, 1);
    assert_int_equal(last_event.value, -5);
    assert_int_equal(last_event.volume.bytes[0], 9);
    table->event(table, SLUICE_EVENT_CAPACITY, NULL, 1, NULL);
    assert_int_equal(events, 2);
    assert_int_equal(last_event.volume.bytes[0], 0);
    table->event(table, 99, NULL, 1, "no such event");
    assert_int_equal(events, 2);
}

static void floods_are_dropped_and_counted(void **state) {
    (void)state;
    const struct sluice_services *table = &services.table;
    const unsigned many = 5000;
    uint64_t begin_ms = services.logs.at_ms;
    for (unsigned i = 0; i < many; i++)
        table->log(table, SLUICE_LOG_INFO, "flood");
    /* The burst and what the time that it took has earned. */
    uint64_t took_ms = services.logs.at_ms - begin_ms;
    assert_true(logs >= SERVICES_BURST);
    assert_true(logs <= SERVICES_BURST + took_ms * SERVICES_RATE_PER_S / 1000 + 1);
    assert_int_equal(services_dropped(&services), many - logs);
    /* Events have a limit of their own. */
    table->event(table, SLUICE_EVENT_HEALTH, NULL, SLUICE_HEALTH_DOWN, "down");
    assert_int_equal(events, 1);
}

static void the_first_reason_wins(void **state) {
    (void)state;
    const struct sluice_services *table = &services.table;
    struct sluice_call call;
    services_call_init(&call);
    assert_int_equal(table->fail(table, &call, SLUICE_NO_SPACE, "the disk is full"),
                     SLUICE_NO_SPACE);
    assert_int_equal(table->fail(table, &call, SLUICE_IO, "and so it failed"), SLUICE_IO);
    table->progress(table, &call, 3, 10);
    char text[SLUICE_TEXT_MAX];
    uint64_t done;
    uint64_t total;
    services_call_read(&services, &call, text, &done, &total);
    assert_string_equal(text, "the disk is full");
    assert_int_equal(done, 3);
    assert_int_equal(total, 10);
    /* A call that is none: the status comes back, nothing else happens. */
    assert_int_equal(table->fail(table, NULL, SLUICE_IO, "x"), SLUICE_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_is_cut_and_cleaned, setup, teardown),
        cmocka_unit_test_setup_teardown(log_and_event_reach_the_sink, setup, teardown),
        cmocka_unit_test_setup_teardown(floods_are_dropped_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_reason_wins, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver's state machine: no dead ends, one answer to each event, and the drawing in
 * docs/LIFECYCLE.md is this table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lifecycle/state.h"

/* Marks all states that can be reached from `from`. */
static void reach(enum driver_state from, bool ret_reached[DRIVER_STATE_COUNT]) {
    uint32_t count;
    const struct driver_move *moves = driver_moves(&count);
    memset(ret_reached, 0, DRIVER_STATE_COUNT * sizeof ret_reached[0]);
    ret_reached[from] = true;
    for (unsigned round = 0; round < DRIVER_STATE_COUNT; round++)
        for (uint32_t i = 0; i < count; i++)
            if (ret_reached[moves[i].from])
                ret_reached[moves[i].to] = true;
}

static void no_dead_ends(void **state) {
    (void)state;
    for (unsigned from = DRIVER_NOWHERE + 1; from < DRIVER_STATE_COUNT; from++) {
        bool reached[DRIVER_STATE_COUNT];
        reach((enum driver_state)from, reached);
        if (!reached[DRIVER_REMOVED])
            fail_msg("%s cannot be removed", driver_state_name(from));
        if (from != DRIVER_REMOVED && !reached[DRIVER_RUNNING])
            fail_msg("%s can never run", driver_state_name(from));
    }
    bool reached[DRIVER_STATE_COUNT];
    reach(DRIVER_DISCOVERED, reached);
    for (unsigned to = DRIVER_NOWHERE + 1; to < DRIVER_STATE_COUNT; to++)
        if (!reached[to])
            fail_msg("%s is never reached", driver_state_name(to));
}

static void removed_is_the_end(void **state) {
    (void)state;
    for (unsigned event = 0; event < DRIVER_EVENT_COUNT; event++) {
        enum driver_state next = DRIVER_NOWHERE;
        struct err err = ERR_INIT;
        assert_false(driver_next(DRIVER_REMOVED, (enum driver_event)event, &next, &err));
        assert_int_equal(next, DRIVER_NOWHERE);
        assert_int_equal(err.code, ERR_STATE);
    }
}

/* Whatever is under way can fail or be lost, and what is stopped or failed can be taken up again.
 */
static void every_event_has_one_answer(void **state) {
    (void)state;
    uint32_t count;
    const struct driver_move *moves = driver_moves(&count);
    uint32_t taken = 0;
    for (unsigned from = 0; from < DRIVER_STATE_COUNT; from++)
        for (unsigned event = 0; event < DRIVER_EVENT_COUNT; event++) {
            uint32_t rows = 0;
            enum driver_state to = DRIVER_NOWHERE;
            for (uint32_t i = 0; i < count; i++)
                if (moves[i].from == from && moves[i].event == event) {
                    rows++;
                    to = moves[i].to;
                }
            assert_true(rows <= 1);
            enum driver_state next = DRIVER_NOWHERE;
            bool moved =
                driver_next((enum driver_state)from, (enum driver_event)event, &next, NULL);
            assert_int_equal(moved, rows == 1);
            assert_int_equal(next, to);
            taken += rows;
        }
    assert_int_equal(taken, count);
    static const enum driver_state under_way[] = {DRIVER_STARTING, DRIVER_RUNNING, DRIVER_SUSPENDED,
                                                  DRIVER_STOPPING};
    for (size_t i = 0; i < sizeof under_way / sizeof under_way[0]; i++) {
        enum driver_state next;
        assert_true(driver_next(under_way[i], DRIVER_EVENT_FAIL, &next, NULL));
        assert_int_equal(next, DRIVER_FAILED);
        assert_true(driver_next(under_way[i], DRIVER_EVENT_LOST, &next, NULL));
    }
}

static void a_life(void **state) {
    (void)state;
    static const struct driver_move life[] = {
        {DRIVER_DISCOVERED, DRIVER_EVENT_VERIFY, DRIVER_VERIFIED},
        {DRIVER_VERIFIED, DRIVER_EVENT_INSTALL, DRIVER_INSTALLED},
        {DRIVER_INSTALLED, DRIVER_EVENT_RESOLVE, DRIVER_RESOLVED},
        {DRIVER_RESOLVED, DRIVER_EVENT_START, DRIVER_STARTING},
        {DRIVER_STARTING, DRIVER_EVENT_STARTED, DRIVER_RUNNING},
        {DRIVER_RUNNING, DRIVER_EVENT_SUSPEND, DRIVER_SUSPENDED},
        {DRIVER_SUSPENDED, DRIVER_EVENT_RESUME, DRIVER_RUNNING},
        {DRIVER_RUNNING, DRIVER_EVENT_LOST, DRIVER_RESOLVED},
        {DRIVER_RESOLVED, DRIVER_EVENT_START, DRIVER_STARTING},
        {DRIVER_STARTING, DRIVER_EVENT_FAIL, DRIVER_FAILED},
        {DRIVER_FAILED, DRIVER_EVENT_RETRY, DRIVER_DISCOVERED},
    };
    for (size_t i = 0; i < sizeof life / sizeof life[0]; i++) {
        enum driver_state next = DRIVER_NOWHERE;
        struct err err = ERR_INIT;
        if (!driver_next(life[i].from, life[i].event, &next, &err))
            fail_msg("%s", err.text);
        assert_int_equal(next, life[i].to);
    }
    enum driver_state next;
    struct err err = ERR_INIT;
    assert_false(driver_next(DRIVER_STOPPED, DRIVER_EVENT_SUSPEND, &next, &err));
    assert_string_equal(err.text, "a driver that is stopped does not take \"suspend\"; it takes "
                                  "resolve, retry, remove");
}

static void names(void **state) {
    (void)state;
    for (unsigned i = DRIVER_NOWHERE + 1; i < DRIVER_STATE_COUNT; i++) {
        enum driver_state parsed = DRIVER_NOWHERE;
        const char *name = driver_state_name((enum driver_state)i);
        assert_true(driver_state_parse(name, &parsed));
        assert_int_equal(parsed, i);
        assert_true(strlen(name) <= 15); /* what a record keeps */
        assert_true(strlen(driver_state_sentence((enum driver_state)i)) > 0);
    }
    enum driver_state parsed = DRIVER_FAILED;
    assert_false(driver_state_parse("nowhere", &parsed));
    assert_false(driver_state_parse("", &parsed));
    assert_false(driver_state_parse("Running", &parsed));
    assert_int_equal(parsed, DRIVER_FAILED);
    assert_string_equal(driver_state_name((enum driver_state)999), "nowhere");
    assert_string_equal(driver_event_name((enum driver_event)999), "none");
    assert_string_equal(driver_event_name(DRIVER_EVENT_HALTED), "halted");
}

static void read_document(char *ret, size_t size) {
    const char *tree = getenv("SLUICE_SOURCE");
    char path[4096];
    snprintf(path, sizeof path, "%s/docs/LIFECYCLE.md", tree != NULL ? tree : ".");
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be read", path);
    size_t length = fread(ret, 1, size - 1, file);
    fclose(file);
    assert_true(length < size - 1);
    ret[length] = '\0';
}

static void drawing_is_the_table(void **state) {
    (void)state;
    static char document[65536];
    read_document(document, sizeof document);
    uint32_t count;
    const struct driver_move *moves = driver_moves(&count);
    for (uint32_t i = 0; i < count; i++) {
        char line[128];
        snprintf(line, sizeof line, "\n    %s --> %s: %s\n", driver_state_name(moves[i].from),
                 driver_state_name(moves[i].to), driver_event_name(moves[i].event));
        if (strstr(document, line) == NULL)
            fail_msg("docs/LIFECYCLE.md does not have the line%s", line);
    }
    uint32_t arrows = 0;
    for (const char *at = document; (at = strstr(at, " --> ")) != NULL; at++)
        arrows++;
    assert_int_equal(arrows, count + 2); /* the beginning and the end */
    for (unsigned i = 1; i < DRIVER_STATE_COUNT; i++) {
        char row[256];
        snprintf(row, sizeof row, "\n| %s | %s |\n", driver_state_name((enum driver_state)i),
                 driver_state_sentence((enum driver_state)i));
        if (strstr(document, row) == NULL)
            fail_msg("docs/LIFECYCLE.md does not have the row%s", row);
    }
    static const struct {
        const char *name, *sentence;
    } events[] = {
#define DRIVER_EVENT(NAME, name, sentence) {name, sentence},
#include "lifecycle/state.def"
    };
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        char row[256];
        snprintf(row, sizeof row, "\n| %s | %s |\n", events[i].name, events[i].sentence);
        if (strstr(document, row) == NULL)
            fail_msg("docs/LIFECYCLE.md does not have the row%s", row);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_dead_ends),
        cmocka_unit_test(removed_is_the_end),
        cmocka_unit_test(every_event_has_one_answer),
        cmocka_unit_test(a_life),
        cmocka_unit_test(names),
        cmocka_unit_test(drawing_is_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

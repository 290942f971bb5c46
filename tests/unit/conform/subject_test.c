/* SPDX-License-Identifier: Apache-2.0
 *
 * subject_test.c: what was given on the command line, as a driver gets it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conform/subject.h"

static struct subject subject;

/* The words are cut where they lie, so each test has its own. */
static bool load(const char *path, char **given, uint32_t count, char *ret_why) {
    const struct subject_words words = {.path = path, .given = given, .given_count = count};
    memset(&subject, 0, sizeof subject);
    ret_why[0] = '\0';
    return subject_load(&subject, &words, ret_why);
}

static const struct sluice_property *find(const char *name) {
    for (uint64_t i = 0; i < subject.properties.bag.count; i++) {
        if (strcmp(subject.properties.bag.at[i].name, name) == 0) {
            return &subject.properties.bag.at[i];
        }
    }
    fail_msg("no property %s", name);
    return NULL;
}

static void a_library_alone_guesses(void **state) {
    (void)state;
    char why[SUBJECT_WHY_MAX];
    char words[][32] = {"path=/x=y", "count=-42", "on=true",
                        "off=false", "empty=",    "long=12345678901234567890"};
    char *given[] = {words[0], words[1], words[2], words[3], words[4], words[5]};
    assert_true(load("/proc/self/exe", given, 6, why));
    assert_null(subject.name);
    assert_int_equal(find("path")->kind, SLUICE_PROPERTY_STRING);
    assert_string_equal(find("path")->text, "/x=y");
    assert_int_equal(find("count")->kind, SLUICE_PROPERTY_NUMBER);
    assert_int_equal(find("count")->integer, -42);
    assert_int_equal(find("on")->kind, SLUICE_PROPERTY_BOOLEAN);
    assert_int_equal(find("on")->integer, 1);
    assert_int_equal(find("off")->integer, 0);
    assert_int_equal(find("empty")->kind, SLUICE_PROPERTY_STRING);
    assert_int_equal(find("long")->kind, SLUICE_PROPERTY_STRING);
}

static void says_what_is_no_property(void **state) {
    (void)state;
    char why[SUBJECT_WHY_MAX];
    char words[][16] = {"path", "=x"};
    char *given[] = {words[0]};
    char *nameless[] = {words[1]};
    assert_false(load("/proc/self/exe", given, 1, why));
    assert_non_null(strstr(why, "name=value"));
    assert_false(load("/proc/self/exe", nameless, 1, why));
    assert_false(load("/no/such/driver.so", NULL, 0, why));
    assert_non_null(strstr(why, "/no/such/driver.so"));
}

static void an_archive_judges_and_fills_in(void **state) {
    (void)state;
    char why[SUBJECT_WHY_MAX];
    char archive[1024];
    char words[][32] = {"backing=/srv/1", "capacity_bytes=many", "backin=/srv/1"};
    char *given[] = {words[0]};
    char *wrong[] = {words[1], words[2]};
    snprintf(archive, sizeof archive, "%s/drivers/ram-0.1.0", getenv("SLUICE_BUILD"));
    assert_true(load(archive, given, 1, why));
    assert_string_equal(subject.name, "ram");
    assert_string_equal(subject.version, "0.1.0");
    assert_non_null(strstr(subject.library, "ram-0.1.0/driver/ram.so"));
    assert_string_equal(find("backing")->text, "/srv/1");
    assert_int_equal(find("capacity_bytes")->kind, SLUICE_PROPERTY_NUMBER);
    assert_int_equal(find("capacity_bytes")->integer, 1073741824);
    /* All that is wrong at once. */
    assert_false(load(archive, wrong, 2, why));
    assert_non_null(strstr(why, "capacity_bytes"));
    assert_non_null(strstr(why, "backin:"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_alone_guesses),
        cmocka_unit_test(says_what_is_no_property),
        cmocka_unit_test(an_archive_judges_and_fills_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

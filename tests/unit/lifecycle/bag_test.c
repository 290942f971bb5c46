/* SPDX-License-Identifier: Apache-2.0
 *
 * Bags: what is refused and how it is said, what comes out, and what a form is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lifecycle/bag.h"

static const char *const modes[] = {"fast", "safe"};
static const struct descriptor rows[] = {
    {.name = "path",
     .label = "path.label",
     .description = "path.description",
     .kind = SLUICE_PROPERTY_STRING,
     .required = true,
     .max_length = 20},
    {.name = "level",
     .label = "",
     .description = "",
     .kind = SLUICE_PROPERTY_NUMBER,
     .has_minimum = true,
     .has_maximum = true,
     .minimum = 0,
     .maximum = 9,
     .default_text = "3"},
    {.name = "key",
     .label = "key.label",
     .description = "",
     .kind = SLUICE_PROPERTY_STRING,
     .secret = true,
     .max_length = 100},
    {.name = "careful", .label = "", .description = "", .kind = SLUICE_PROPERTY_BOOLEAN},
    {.name = "until", .label = "", .description = "", .kind = SLUICE_PROPERTY_DATE},
    {.name = "mode",
     .label = "",
     .description = "",
     .kind = SLUICE_PROPERTY_STRING,
     .max_length = 20,
     .default_text = "fast",
     .choices = modes,
     .choice_count = 2},
};
static const struct descriptors descriptors = {rows, sizeof rows / sizeof rows[0]};

static struct arena arena;
static struct bag bag;
static struct bag_violations violations;
static struct err err;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, 1 << 20);
    bag = (struct bag){0};
    err = ERR_INIT;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static bool validate(const struct bag_value *values, uint32_t count) {
    return bag_validate(&descriptors, values, count, &arena, &bag, &violations, &err);
}

static void pairs_are(const struct text_pairs *pairs, const char *expected) {
    char text[1024] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < pairs->count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%s", i > 0 ? " " : "",
                                 pairs->at[i].name, pairs->at[i].value);
    assert_string_equal(text, expected);
}

static void the_least(void **state) {
    (void)state;
    const struct bag_value values[] = {{"path", "/srv", BAG_TEXT}};
    assert_true(validate(values, 1));
    assert_int_equal(violations.count, 0);
    pairs_are(&bag.plain, "level=n:3 mode=s:fast path=s:/srv");
    pairs_are(&bag.secret, "");
}

static void everything_from_json(void **state) {
    (void)state;
    const struct bag_value values[] = {
        {"until", "2026-01-31", BAG_STRING}, {"careful", "true", BAG_BOOLEAN},
        {"path", "/srv", BAG_STRING},        {"key", "geheim", BAG_STRING},
        {"level", "9", BAG_NUMBER},          {"mode", "safe", BAG_STRING},
    };
    assert_true(validate(values, 6));
    pairs_are(&bag.plain, "careful=b:1 level=n:9 mode=s:safe path=s:/srv until=d:2026-01-31");
    pairs_are(&bag.secret, "key=s:geheim");
    struct text_pairs joined;
    assert_true(bag_join(&bag, &arena, &joined));
    pairs_are(&joined,
              "careful=b:1 key=s:geheim level=n:9 mode=s:safe path=s:/srv until=d:2026-01-31");
}

static void violated(const char *expected) {
    char text[4096] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < violations.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %s", i > 0 ? "; " : "",
                                 violations.at[i].field, violations.at[i].text);
    assert_string_equal(text, expected);
    assert_int_equal(err.code, ERR_VALIDATION);
    assert_null(bag.plain.at);
}

static void all_violations_at_once(void **state) {
    (void)state;
    const struct bag_value values[] = {
        {"pth", "/srv", BAG_TEXT},   {"level", "10", BAG_TEXT},  {"careful", "yes", BAG_TEXT},
        {"until", "soon", BAG_TEXT}, {"mode", "slow", BAG_TEXT}, {"mode", "fast", BAG_TEXT},
        {"zebra", "1", BAG_TEXT},
    };
    assert_false(validate(values, 7));
    violated("pth is not known to the driver; did you mean path?; "
             "level must be a whole number from 0 to 9; careful must be true or false; "
             "until must be a date such as 2026-01-31 or 2026-01-31T12:00:00Z; "
             "mode must be one of: fast, safe; mode is given twice; "
             "zebra is not known to the driver; path is required");
    assert_string_equal(err.text,
                        "pth is not known to the driver; did you mean path?, and 7 others");
}

static void kinds_of_json(void **state) {
    (void)state;
    const struct bag_value values[] = {
        {"path", "5", BAG_NUMBER},       {"level", "5", BAG_STRING},
        {"careful", "true", BAG_STRING}, {"until", "20260131", BAG_NUMBER},
        {"key", "true", BAG_BOOLEAN},
    };
    assert_false(validate(values, 5));
    violated("path must be a string; level must be a number; "
             "careful must be true or false, without quotes; until must be a date in a string; "
             "key must be a string");
}

static void empty_is_not_given(void **state) {
    (void)state;
    const struct bag_value values[] = {
        {"path", "", BAG_TEXT}, {"level", "", BAG_TEXT}, {"key", "", BAG_STRING}};
    assert_false(validate(values, 3));
    violated("path is required");
    assert_string_equal(err.text, "path is required");
}

/* A secret's value, right or wrong, is in no message. */
static void secrets_are_not_told(void **state) {
    (void)state;
    char value[200];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = '\0';
    const struct bag_value values[] = {{"path", "/srv", BAG_TEXT}, {"key", value, BAG_TEXT}};
    assert_false(validate(values, 2));
    violated("key must have at most 100 bytes");
    assert_null(strstr(err.text, "xxx"));
}

static void violations_are_bounded(void **state) {
    (void)state;
    struct bag_value values[BAG_VIOLATIONS_MAX + 5];
    char long_name[200];
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        values[i] = (struct bag_value){long_name, "1", BAG_TEXT};
    assert_false(validate(values, BAG_VIOLATIONS_MAX + 5));
    assert_int_equal(violations.count, BAG_VIOLATIONS_MAX);
    assert_true(violations.more);
    assert_int_equal(strlen(violations.at[0].field), DESCRIPTOR_NAME_MAX);
    assert_non_null(strstr(err.text, "others at least"));
    assert_false(validate(values, BAG_VIOLATIONS_MAX - 1));
    assert_int_equal(violations.count, BAG_VIOLATIONS_MAX); /* and the missing path */
    assert_false(violations.more);
}

static void pairs_as_given(void **state) {
    (void)state;
    struct text_pair given[] = {{"level", "7"}, {"path", "/srv"}};
    const struct text_pairs pairs = {given, 2};
    assert_true(bag_validate_pairs(&descriptors, &pairs, &arena, &bag, &violations, &err));
    pairs_are(&bag.plain, "level=n:7 mode=s:fast path=s:/srv");
}

static void updates(void **state) {
    (void)state;
    const struct bag_value values[] = {
        {"path", "/srv", BAG_TEXT},        {"key", "alt", BAG_TEXT},
        {"level", "7", BAG_TEXT},          {"mode", "safe", BAG_TEXT},
        {"until", "2026-01-31", BAG_TEXT}, {"careful", "true", BAG_TEXT},
    };
    assert_true(validate(values, 6));
    struct bag old = bag;
    struct text_pair change[] = {{"until", ""}, {"key", "neu"}, {"level", ""}};
    const struct text_pairs changes = {change, 3};
    assert_true(bag_update(&descriptors, &old, &changes, &arena, &bag, &violations, &err));
    pairs_are(&bag.plain, "careful=b:1 level=n:3 mode=s:safe path=s:/srv");
    pairs_are(&bag.secret, "key=s:neu");
    struct text_pair none[] = {{"path", ""}};
    const struct text_pairs removes = {none, 1};
    bag = (struct bag){0};
    assert_false(bag_update(&descriptors, &old, &removes, &arena, &bag, &violations, &err));
    violated("path is required");
}

/* The next version of a driver: what it does not know any more has to be removed first. */
static void other_descriptors(void **state) {
    (void)state;
    const struct bag_value values[] = {{"path", "/srv", BAG_TEXT}, {"key", "k", BAG_TEXT}};
    assert_true(validate(values, 2));
    struct bag old = bag;
    const struct descriptors next = {rows, 2};
    const struct text_pairs nothing = {0};
    bag = (struct bag){0};
    assert_false(bag_update(&next, &old, &nothing, &arena, &bag, &violations, &err));
    violated("mode is not known to the driver; key is not known to the driver");
    struct text_pair change[] = {{"key", ""}, {"mode", ""}};
    const struct text_pairs changes = {change, 2};
    assert_true(bag_update(&next, &old, &changes, &arena, &bag, &violations, &err));
    pairs_are(&bag.plain, "level=n:3 path=s:/srv");
    struct text_pair strange[] = {{"never", ""}};
    const struct text_pairs unknown = {strange, 1};
    err = ERR_INIT;
    bag = (struct bag){0};
    assert_false(bag_update(&descriptors, &old, &unknown, &arena, &bag, &violations, &err));
    violated("never is not known to the driver; did you mean level?");
}

static void no_memory(void **state) {
    (void)state;
    const struct bag_value values[] = {{"path", "/srv", BAG_TEXT}, {"key", "k", BAG_TEXT}};
    bool taken = false;
    for (size_t max = 0; max < 16384 && !taken; max += 16) {
        struct arena small;
        err = ERR_INIT;
        arena_init(&small, max);
        taken = bag_validate(&descriptors, values, 2, &small, &bag, &violations, &err);
        assert_int_equal(violations.count, 0);
        if (!taken)
            assert_int_equal(err.code, ERR_NO_MEMORY);
        arena_release(&small);
    }
    assert_true(taken);
}

static void rendered(void **state) {
    (void)state;
    struct text_pair texts[] = {{"key.label", "Schl\xc3\xbcssel"},
                                {"path.description", "Wo \"es\" liegt"}};
    const struct messages messages = {{texts, 2}};
    const struct descriptors some = {rows, 3};
    struct buf buf;
    buf_init(&buf, BAG_RENDER_MAX);
    bag_render_json(&some, &messages, &buf);
    assert_string_equal(
        buf_text(&buf),
        "[{\"name\":\"path\",\"type\":\"string\",\"required\":true,\"secret\":false,"
        "\"label\":\"path.label\",\"description\":\"Wo \\\"es\\\" liegt\",\"max_length\":20},"
        "{\"name\":\"level\",\"type\":\"number\",\"required\":false,\"secret\":false,"
        "\"default\":\"3\",\"label\":\"level\",\"description\":\"\",\"minimum\":0,\"maximum\":9},"
        "{\"name\":\"key\",\"type\":\"string\",\"required\":false,\"secret\":true,"
        "\"label\":\"Schl\xc3\xbcssel\",\"description\":\"\",\"max_length\":100}]");
    buf_clear(&buf);
    const struct descriptors last = {rows + 5, 1};
    bag_render_json(&last, NULL, &buf);
    assert_string_equal(buf_text(&buf),
                        "[{\"name\":\"mode\",\"type\":\"string\",\"required\":false,"
                        "\"secret\":false,\"default\":\"fast\",\"label\":\"mode\","
                        "\"description\":\"\",\"max_length\":20,\"one_of\":[\"fast\",\"safe\"]}]");
    buf_clear(&buf);
    const struct descriptors none = {0};
    bag_render_json(&none, NULL, &buf);
    assert_string_equal(buf_text(&buf), "[]");
    buf_release(&buf);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_least),
        TEST(everything_from_json),
        TEST(all_violations_at_once),
        TEST(kinds_of_json),
        TEST(empty_is_not_given),
        TEST(secrets_are_not_told),
        TEST(violations_are_bounded),
        TEST(pairs_as_given),
        TEST(updates),
        TEST(other_descriptors),
        TEST(no_memory),
        TEST(rendered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of start: what it is, that it does not depend on the order of input, and who is blocked
 * by whom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lifecycle/order.h"

#define TEXT_MAX 65536

/* A set of drivers, written down in lines: "category name version [name range; ...]". */
struct set {
    struct arena arena;
    struct manifest manifests[ORDER_DRIVERS_MAX];
    struct order_driver drivers[ORDER_DRIVERS_MAX];
    uint32_t count;
};

static struct set set;

static void set_clear(void) {
    arena_release(&set.arena);
    memset(&set, 0, sizeof set);
    arena_init(&set.arena, (size_t)8 << 20);
}

/* requires: "a >=1 <2; b *", or "". */
static struct order_driver *add(enum sluice_category category, const char *name,
                                const char *version, const char *requires) {
    assert_true(set.count < ORDER_DRIVERS_MAX);
    struct manifest *manifest = &set.manifests[set.count];
    struct order_driver *driver = &set.drivers[set.count++];
    manifest->name = arena_strdup(&set.arena, name);
    manifest->version_text = arena_strdup(&set.arena, version);
    manifest->category = category;
    assert_true(version_parse(version, &manifest->version, NULL));
    struct manifest_requirement *required =
        arena_array(&set.arena, MANIFEST_REQUIRES_MAX, sizeof *required);
    manifest->requires = required;
    while (*requires != '\0') {
        assert_true(manifest->require_count < MANIFEST_REQUIRES_MAX);
        struct manifest_requirement *one = &required[manifest->require_count++];
        size_t length = strcspn(requires, " ");
        one->name = arena_strndup(&set.arena, requires, length);
        requires += length + 1;
        length = strcspn(requires, ";");
        one->range_text = arena_strndup(&set.arena, requires, length);
        requires += length;
        requires += strspn(requires, "; ");
        assert_true(version_range_parse(one->range_text, &one->range, NULL));
    }
    driver->manifest = manifest;
    driver->directory = arena_printf(&set.arena, "/drivers/%s-%s", name, version);
    return driver;
}

static struct order_driver *storage(const char *name, const char *version, const char *requires) {
    return add(SLUICE_CATEGORY_STORAGE, name, version, requires);
}

/* "start a 1.0.0; keep b 1.0.0; blocked c 1.0.0: why" */
static const char *computed(const struct order_driver *drivers) {
    static char text[TEXT_MAX];
    struct arena arena;
    struct order order;
    struct err err = ERR_INIT;
    size_t used = 0;
    arena_init(&arena, ORDER_ARENA_MAX);
    if (!order_compute(drivers, set.count, &arena, &order, &err))
        fail_msg("%s", err.text);
    assert_int_equal(order.count, set.count);
    text[0] = '\0';
    for (uint32_t i = 0; i < order.count; i++) {
        const struct order_row *row = &order.rows[i];
        const struct manifest *manifest = drivers[row->driver].manifest;
        assert_int_equal(row->position, i + 1);
        bool starts = row->action == ORDER_START || row->action == ORDER_KEEP;
        assert_int_equal(starts, i < order.startable);
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s %s %s%s%s", i > 0 ? "; " : "",
                             order_action_name(row->action), manifest->name, manifest->version_text,
                             row->cause.code != ERR_NONE ? ": " : "", row->cause.text);
        assert_true(used < sizeof text);
    }
    arena_release(&arena);
    return text;
}

static const struct order_row *row_of(const struct order *order, const char *name) {
    for (uint32_t i = 0; i < order->count; i++)
        if (strcmp(set.drivers[order->rows[i].driver].manifest->name, name) == 0)
            return &order->rows[i];
    fail_msg("%s has no row", name);
    return NULL;
}

static void nothing(void **state) {
    (void)state;
    set_clear();
    assert_string_equal(computed(set.drivers), "");
}

static void categories_then_names_then_versions(void **state) {
    (void)state;
    set_clear();
    add(SLUICE_CATEGORY_HYPERVISOR, "a", "1.0.0", "");
    storage("b", "1.10.0", "");
    storage("b", "1.9.0", "");
    storage("a", "2.0.0", "");
    storage("b", "1.9.0-rc.1", "");
    add(SLUICE_CATEGORY_NETWORK, "z", "1.0.0", "");
    assert_string_equal(computed(set.drivers),
                        "start z 1.0.0; start a 2.0.0; start b 1.9.0-rc.1; start b 1.9.0; "
                        "start b 1.10.0; start a 1.0.0");
}

static void requirements_come_first(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "z *");
    storage("b", "1.0.0", "");
    storage("y", "1.0.0", "");
    storage("z", "1.0.0", "y >=1");
    assert_string_equal(computed(set.drivers),
                        "start b 1.0.0; start y 1.0.0; start z 1.0.0; start a 1.0.0");
}

static void highest_version_in_range(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "b >=1 <2");
    storage("b", "1.10.0", "");
    storage("b", "1.9.0", "");
    storage("b", "2.0.0", "");
    add(SLUICE_CATEGORY_NETWORK, "b", "1.11.0", "");
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    assert_true(order_compute(set.drivers, set.count, &arena, &order, NULL));
    const struct order_row *row = row_of(&order, "a");
    assert_int_equal(row->use_count, 1);
    assert_int_equal(row->uses[0], 1);
    arena_release(&arena);
}

static void missing_is_said_in_full(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "b >=2; c =1.0.0; d *");
    storage("b", "1.0.0", "");
    storage("b", "1.5.0", "");
    storage("d", "1.0.0", "");
    add(SLUICE_CATEGORY_NETWORK, "c", "1.0.0", "");
    storage("e", "1.0.0", "a *");
    storage("f", "1.0.0", "");
    assert_string_equal(
        computed(set.drivers),
        "start c 1.0.0; start b 1.0.0; start b 1.5.0; start d 1.0.0; start f 1.0.0; "
        "blocked a 1.0.0: a 1.0.0 requires what is not there: b >=2 (there is 1.0.0, 1.5.0); c "
        "=1.0.0; "
        "blocked e 1.0.0: e 1.0.0 requires a 1.0.0, which cannot start: a 1.0.0 requires what is "
        "not "
        "there: b >=2 (there is 1.0.0, 1.5.0); c =1.0.0");
}

static void circles_are_said_in_full(void **state) {
    (void)state;
    set_clear();
    storage("c", "1.0.0", "a *");
    storage("b", "1.0.0", "c *");
    storage("a", "1.0.0", "b *");
    storage("self", "1.0.0", "self *");
    storage("outside", "1.0.0", "b *");
    storage("well", "1.0.0", "");
    assert_string_equal(
        computed(set.drivers),
        "start well 1.0.0; "
        "blocked a 1.0.0: drivers require each other: a 1.0.0 -> b 1.0.0 -> c 1.0.0 -> a; "
        "blocked b 1.0.0: drivers require each other: a 1.0.0 -> b 1.0.0 -> c 1.0.0 -> a; "
        "blocked c 1.0.0: drivers require each other: a 1.0.0 -> b 1.0.0 -> c 1.0.0 -> a; "
        "blocked outside 1.0.0: outside 1.0.0 requires b 1.0.0, which cannot start: drivers "
        "require "
        "each other: a 1.0.0 -> b 1.0.0 -> c 1.0.0 -> a; "
        "blocked self 1.0.0: drivers require each other: self 1.0.0 -> self");
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    assert_true(order_compute(set.drivers, set.count, &arena, &order, NULL));
    assert_int_equal(row_of(&order, "b")->cause.code, ERR_CYCLE);
    assert_int_equal(row_of(&order, "outside")->cause.code, ERR_DEPENDENCY);
    arena_release(&arena);
}

/* A newer version may require an older one of the same name. */
static void versions_of_one_driver(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "");
    storage("a", "2.0.0", "a <2");
    storage("b", "1.0.0", "a *");
    assert_string_equal(computed(set.drivers), "start a 1.0.0; start a 2.0.0; start b 1.0.0");
}

static void ambiguity_names_both(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "");
    storage("a", "1.0.0", "")->directory = "/elsewhere/a";
    storage("b", "1.0.0", "a *");
    storage("c", "1.0.0", "");
    assert_string_equal(computed(set.drivers),
                        "start c 1.0.0; "
                        "blocked a 1.0.0: a 1.0.0 is ambiguous: it is in /drivers/a-1.0.0 and in "
                        "/elsewhere/a; remove "
                        "one of them; "
                        "blocked a 1.0.0: a 1.0.0 is ambiguous: it is in /elsewhere/a and in "
                        "/drivers/a-1.0.0; remove "
                        "one of them; "
                        "blocked b 1.0.0: b 1.0.0 requires a 1.0.0, which cannot start: a 1.0.0 is "
                        "ambiguous: it is in "
                        "/elsewhere/a and in /drivers/a-1.0.0; remove one of them");
}

/* Also between categories, since NAME@VERSION has to mean one driver. */
static void ambiguity_across_categories(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "");
    add(SLUICE_CATEGORY_NETWORK, "a", "1.0.0", "")->directory = "/n";
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    assert_true(order_compute(set.drivers, set.count, &arena, &order, NULL));
    assert_int_equal(order.startable, 0);
    arena_release(&arena);
}

static void a_running_one_keeps_its_name(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "")->directory = "/z";
    set.drivers[0].running = true;
    storage("a", "1.0.0", "")->directory = "/y";
    storage("a", "1.0.0", "")->directory = "/zz";
    storage("b", "1.0.0", "a *");
    const char *text = computed(set.drivers);
    assert_ptr_equal(strstr(text,
                            "keep a 1.0.0; start b 1.0.0; blocked a 1.0.0: a 1.0.0 is ambiguous: "
                            "it is in /y and in /z; remove one of them; blocked"),
                     text);
}

static void broken_ones_are_not_there(void **state) {
    (void)state;
    set_clear();
    struct err broken = ERR_INIT;
    err_set(&broken, ERR_ABI, "it is for another ABI");
    storage("a", "2.0.0", "")->broken = &broken;
    storage("a", "1.0.0", "");
    storage("b", "1.0.0", "a *");
    storage("c", "1.0.0", "a >=2");
    assert_string_equal(
        computed(set.drivers),
        "start a 1.0.0; start b 1.0.0; blocked a 2.0.0: it is for another ABI; "
        "blocked c 1.0.0: c 1.0.0 requires what is not there: a >=2 (there is 1.0.0)");
}

static void held_ones_block_who_needs_them(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "")->held = true;
    storage("b", "1.0.0", "a *");
    storage("c", "1.0.0", "b *")->running = true;
    assert_string_equal(
        computed(set.drivers),
        "keep c 1.0.0; held a 1.0.0; blocked b 1.0.0: b 1.0.0 requires a 1.0.0, which is "
        "wanted stopped; start that first");
}

static void held_ones_are_passed_over(void **state) {
    (void)state;
    set_clear();
    storage("a", "1.0.0", "");
    storage("a", "1.2.0", "")->held = true;
    storage("b", "1.0.0", "a *");
    assert_string_equal(computed(set.drivers), "start a 1.0.0; start b 1.0.0; held a 1.2.0");
}

/* What runs goes on, whatever happens to archives; its row keeps the warning. */
static void running_ones_are_kept(void **state) {
    (void)state;
    set_clear();
    struct err broken = ERR_INIT;
    err_set(&broken, ERR_MANIFEST, "it is damaged");
    storage("a", "1.0.0", "b *")->running = true;
    storage("b", "1.0.0", "a *")->running = true;
    storage("c", "1.0.0", "gone *")->running = true;
    storage("d", "1.0.0", "")->running = true;
    set.drivers[3].broken = &broken;
    storage("aa", "1.0.0", "b *; d *");
    assert_string_equal(computed(set.drivers),
                        "keep c 1.0.0: c 1.0.0 requires what is not there: gone *; "
                        "keep d 1.0.0: it is damaged; keep a 1.0.0; keep b 1.0.0; start aa 1.0.0");
}

static uint64_t random_next(uint64_t *seed) { /* xorshift */
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* A set with everything in it, from a seed. */
static void fill(uint64_t seed) {
    static const char *const versions[] = {"1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"};
    static const char *const ranges[] = {"*", ">=1 <2", ">=2", "=1.0.0", ">=2.0.0-rc.1"};
    set_clear();
    for (int i = 0; i < 60; i++) {
        char name[8], requires[128] = "";
        snprintf(name, sizeof name, "d%u", (unsigned)(random_next(&seed) % 24));
        size_t used = 0;
        for (uint64_t left = random_next(&seed) % 3; left > 0; left--)
            used += (size_t)snprintf(requires + used, sizeof requires - used, "%sd%u %s",
                                     used > 0 ? "; " : "", (unsigned)(random_next(&seed) % 24),
                                     ranges[random_next(&seed) % 5]);
        struct order_driver *driver = add((enum sluice_category)(random_next(&seed) % 3 + 1), name,
                                          versions[random_next(&seed) % 4], requires);
        driver->directory = arena_printf(&set.arena, "/drivers/%d", i);
        driver->running = random_next(&seed) % 8 == 0;
        driver->held = random_next(&seed) % 16 == 0;
    }
}

/* Two running ones of one name cannot be; the gateway never starts the second. */
static void one_runs_at_most(void) {
    for (uint32_t i = 0; i < set.count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(set.manifests[i].name, set.manifests[j].name) == 0 &&
                version_compare(&set.manifests[i].version, &set.manifests[j].version) == 0 &&
                set.drivers[j].running)
                set.drivers[i].running = false;
}

static void input_order_does_not_matter(void **state) {
    (void)state;
    static char expected[TEXT_MAX];
    for (uint64_t seed = 1; seed <= 50; seed++) {
        fill(seed * UINT64_C(0x9e3779b97f4a7c15));
        one_runs_at_most();
        snprintf(expected, sizeof expected, "%s", computed(set.drivers));
        uint64_t shuffle = seed;
        for (int round = 0; round < 10; round++) {
            struct order_driver shuffled[ORDER_DRIVERS_MAX];
            memcpy(shuffled, set.drivers, sizeof shuffled);
            for (uint32_t i = set.count - 1; i > 0; i--) {
                uint32_t other = (uint32_t)(random_next(&shuffle) % (i + 1));
                struct order_driver kept = shuffled[i];
                shuffled[i] = shuffled[other];
                shuffled[other] = kept;
            }
            const char *text = computed(shuffled);
            if (strcmp(text, expected) != 0)
                fail_msg("seed %u, round %d:\n%s\n%s", (unsigned)seed, round, expected, text);
        }
    }
}

/* In every such set: who starts has all that it requires before it, started or kept. */
static void nobody_starts_too_early(void **state) {
    (void)state;
    uint32_t started = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        fill(seed * UINT64_C(0xbf58476d1ce4e5b9));
        one_runs_at_most();
        struct arena arena;
        struct order order;
        uint32_t position[ORDER_DRIVERS_MAX];
        arena_init(&arena, ORDER_ARENA_MAX);
        assert_true(order_compute(set.drivers, set.count, &arena, &order, NULL));
        for (uint32_t i = 0; i < order.count; i++)
            position[order.rows[i].driver] = i;
        for (uint32_t i = 0; i < order.startable; i++) {
            const struct order_row *row = &order.rows[i];
            if (row->action != ORDER_START)
                continue;
            started++;
            assert_int_equal(row->use_count, set.drivers[row->driver].manifest->require_count);
            for (uint32_t use = 0; use < row->use_count; use++)
                assert_true(position[row->uses[use]] < i);
        }
        for (uint32_t i = 1; i < order.startable; i++)
            assert_true(set.drivers[order.rows[i - 1].driver].manifest->category <=
                        set.drivers[order.rows[i].driver].manifest->category);
        arena_release(&arena);
    }
    assert_true(started > 1000);
}

/* The largest sets: one circle of all, and one chain of all, the last one first. */
static void the_largest(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        set_clear();
        for (int i = 0; i < ORDER_DRIVERS_MAX; i++) {
            char name[8], requires[16] = "";
            snprintf(name, sizeof name, "d%03d", i);
            if (closed || i + 1 < ORDER_DRIVERS_MAX)
                snprintf(requires, sizeof requires, "d%03d *", (i + 1) % ORDER_DRIVERS_MAX);
            storage(name, "1.0.0", requires);
        }
        struct arena arena;
        struct order order;
        struct err err = ERR_INIT;
        arena_init(&arena, ORDER_ARENA_MAX);
        assert_true(order_compute(set.drivers, set.count, &arena, &order, &err));
        assert_int_equal(order.startable, closed ? 0 : ORDER_DRIVERS_MAX);
        for (uint32_t i = 0; i < order.startable; i++)
            assert_int_equal(order.rows[i].driver, ORDER_DRIVERS_MAX - 1 - i);
        if (closed) {
            const char *text = order.rows[7].cause.text;
            assert_non_null(strstr(text, "d000 1.0.0 -> d001 1.0.0 -> "));
            assert_non_null(strstr(text, " more) -> d000"));
        }
        arena_release(&arena);
        arena_init(&arena, 4096);
        assert_false(order_compute(set.drivers, set.count, &arena, &order, &err));
        assert_int_equal(err.code, ERR_NO_MEMORY);
        arena_release(&arena);
    }
    struct err err = ERR_INIT;
    struct order order;
    assert_false(order_compute(set.drivers, ORDER_DRIVERS_MAX + 1, &set.arena, &order, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

static int release(void **state) {
    (void)state;
    arena_release(&set.arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing),
        cmocka_unit_test(categories_then_names_then_versions),
        cmocka_unit_test(requirements_come_first),
        cmocka_unit_test(highest_version_in_range),
        cmocka_unit_test(missing_is_said_in_full),
        cmocka_unit_test(circles_are_said_in_full),
        cmocka_unit_test(versions_of_one_driver),
        cmocka_unit_test(ambiguity_names_both),
        cmocka_unit_test(ambiguity_across_categories),
        cmocka_unit_test(a_running_one_keeps_its_name),
        cmocka_unit_test(broken_ones_are_not_there),
        cmocka_unit_test(held_ones_block_who_needs_them),
        cmocka_unit_test(held_ones_are_passed_over),
        cmocka_unit_test(running_ones_are_kept),
        cmocka_unit_test(input_order_does_not_matter),
        cmocka_unit_test(nobody_starts_too_early),
        cmocka_unit_test(the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}

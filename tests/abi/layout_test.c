/* SPDX-License-Identifier: Apache-2.0
 *
 * layout_test.c: every public struct lies in memory as it was promised (layout.def).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sluice/driver.h>

struct row {
    const char *struct_name;
    const char *member; /* NULL: the struct itself */
    size_t promised;
    size_t actual;
};

static const struct row rows[] = {
#define LAYOUT_STRUCT(name, size) {#name, NULL, size, sizeof(struct name)},
#define LAYOUT_MEMBER(name, member, offset) {#name, #member, offset, offsetof(struct name, member)},
#include "layout.def"
#undef LAYOUT_STRUCT
#undef LAYOUT_MEMBER
};

static void lies_as_promised(void **state) {
    (void)state;
    uint32_t wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].promised != rows[i].actual) {
            print_error("%s.%s: promised %zu, is %zu\n", rows[i].struct_name,
                        rows[i].member != NULL ? rows[i].member : "(size)", rows[i].promised,
                        rows[i].actual);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* Every struct that a driver may find smaller or larger than it knows says so in its first member;
 * those are the ones that a call hands over. The others are parts of them and never change. */
static void what_is_handed_over_leads_with_its_size(void **state) {
    (void)state;
    static const size_t offsets[] = {
        offsetof(struct sluice_services, size),
        offsetof(struct sluice_health_report, size),
        offsetof(struct sluice_driver, size),
        offsetof(struct sluice_pool_open, size),
        offsetof(struct sluice_pool, size),
        offsetof(struct sluice_capacity, size),
        offsetof(struct sluice_volume_create, size),
        offsetof(struct sluice_volume, size),
        offsetof(struct sluice_snapshot, size),
        offsetof(struct sluice_list, size),
        offsetof(struct sluice_access_grant, size),
        offsetof(struct sluice_connection, size),
        offsetof(struct sluice_data_open, size),
        offsetof(struct sluice_data_opened, size),
        offsetof(struct sluice_io, size),
        offsetof(struct sluice_storage, size),
    };
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        assert_int_equal(offsets[i], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_as_promised),
        cmocka_unit_test(what_is_handed_over_leads_with_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

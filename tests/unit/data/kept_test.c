/* SPDX-License-Identifier: Apache-2.0
 *
 * What is kept, and for how long; and the token bucket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "data/kept.h"
#include "data/limit.h"

static void add(struct kept *kept, uint64_t token, uint64_t offset, uint32_t length, int fill) {
    uint8_t *payload = malloc(length);
    memset(payload, fill, length);
    struct kept_entry entry = {
        .token = token, .offset = offset, .length = length, .verb = RING_WRITE};
    assert_true(kept_add(kept, &entry, payload));
    free(payload);
}

static void test_order(void **state) {
    (void)state;
    struct kept kept;
    kept_init(&kept);
    add(&kept, 1, 0, 512, 'a');
    add(&kept, 1, 512, 512, 'b');
    add(&kept, 2, 0, 512, 'c');
    add(&kept, 1, 1024, 512, 'd');
    assert_int_equal(kept_first_other(&kept, 1), 3);
    assert_int_equal(kept_first_other(&kept, 2), 1);
    assert_true(kept_overlaps(&kept, 1535, 1) && !kept_overlaps(&kept, 1536, 10));
    kept_forget(&kept, 4, 2); /* another token: the first is in the way */
    assert_int_equal(kept_count(&kept), 4);
    kept_forget(&kept, 1, 1); /* not beyond the mark */
    assert_int_equal(kept_count(&kept), 3);
    kept_forget(&kept, 4, 1); /* up to the one under another token */
    assert_int_equal(kept_count(&kept), 2);
    assert_int_equal(*(const uint8_t *)kept_payload(&kept, kept_entry(&kept, 3)), 'c');
    kept_forget(&kept, 4, 2);
    kept_forget(&kept, 4, 1);
    assert_int_equal(kept_count(&kept), 0);
    assert_int_equal(kept.bytes, 0);
    kept_release(&kept);
}

/* A long life at the bound: payloads stay whole when the log goes round. */
static void test_circle(void **state) {
    (void)state;
    struct kept kept;
    kept_init(&kept);
    for (uint64_t i = 1; i < 600; i++) {
        uint32_t length = 700000 + (uint32_t)(i * 7919 % 300000);
        while (!kept_has_room(&kept, length, 0))
            kept_forget(&kept, kept.first, 1);
        add(&kept, 1, i, length, (int)i);
        for (uint64_t number = kept.first; number < kept.next; number++) {
            const struct kept_entry *entry = kept_entry(&kept, number);
            const uint8_t *payload = kept_payload(&kept, entry);
            assert_int_equal(payload[0], (uint8_t)entry->offset);
            assert_int_equal(payload[entry->length - 1], (uint8_t)entry->offset);
        }
    }
    assert_true(kept.bytes > KEPT_BYTES_MAX - 2 * RING_CALL_MAX);
    assert_true(kept_is_half_full(&kept));
    kept_release(&kept);
    for (uint32_t i = 0; i < KEPT_ENTRIES_MAX; i++) {
        assert_true(kept_has_room(&kept, 1, 0));
        add(&kept, 1, i, 1, 1);
    }
    assert_false(kept_has_room(&kept, 1, 0));
    kept_release(&kept);
}

static void test_limit(void **state) {
    (void)state;
    struct limit limit;
    uint64_t now_ns = UINT64_C(5000000000);
    limit_init(&limit, 1000, now_ns);
    uint32_t passed = 0;
    for (uint64_t end_ns = now_ns + UINT64_C(10000000000); now_ns < end_ns;) {
        uint64_t wait_ns = limit_wait_ns(&limit, now_ns);
        if (wait_ns > 0) {
            now_ns += wait_ns;
            continue;
        }
        limit_take(&limit, 1);
        passed++;
    }
    assert_in_range(passed, 10000, 10150); /* a tenth of a second's worth at once */
    limit_init(&limit, 1000, now_ns);
    limit_take(&limit, 50000); /* larger than the bucket: passes, and is paid for */
    uint64_t wait_ns = limit_wait_ns(&limit, now_ns);
    assert_in_range(wait_ns / 1000000, 49000, 50000);
    assert_int_equal(limit_wait_ns(&limit, now_ns + wait_ns), 0);
    limit_init(&limit, 0, now_ns);
    limit_take(&limit, UINT64_MAX);
    assert_int_equal(limit_wait_ns(&limit, now_ns), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_circle),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

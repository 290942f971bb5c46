/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDv7: layout, order inside a process over threads, text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"

#define THREADS 8
#define IDS_A_THREAD 20000 /* more than a millisecond's counter holds, so it runs over too */

static void layout(void **state) {
    (void)state;
    uint64_t before = clock_wall_ms();
    struct sluice_uuid id = uuid_new();
    uint64_t after = clock_wall_ms();
    uint64_t stamp = 0;
    for (int i = 0; i < 6; i++)
        stamp = stamp << 8 | id.bytes[i];
    assert_in_range(stamp, before, after);
    assert_int_equal(id.bytes[6] >> 4, 7);
    assert_int_equal(id.bytes[8] >> 6, 2);
    assert_false(uuid_is_zero(&id));
    struct sluice_uuid zero = {{0}};
    assert_true(uuid_is_zero(&zero));
    zero.bytes[15] = 1;
    assert_false(uuid_is_zero(&zero));
}

static void *make_ids(void *at) {
    struct sluice_uuid *ids = at;
    for (size_t i = 0; i < IDS_A_THREAD; i++)
        ids[i] = uuid_new();
    return NULL;
}

static int order(const void *a, const void *b) {
    return uuid_compare(a, b);
}

static void monotonic_over_threads(void **state) {
    (void)state;
    struct sluice_uuid *ids = calloc(THREADS * IDS_A_THREAD, sizeof *ids);
    assert_non_null(ids);
    struct sluice_uuid before = uuid_new();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids + i * IDS_A_THREAD), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    struct sluice_uuid after = uuid_new();
    for (size_t i = 0; i < THREADS; i++)
        for (size_t j = 1; j < IDS_A_THREAD; j++)
            assert_true(uuid_compare(&ids[i * IDS_A_THREAD + j - 1], &ids[i * IDS_A_THREAD + j]) <
                        0);
    qsort(ids, THREADS * IDS_A_THREAD, sizeof *ids, order);
    for (size_t i = 1; i < THREADS * IDS_A_THREAD; i++) {
        /* Time and counter alone are unique: what is random does not have to save us. */
        assert_true(memcmp(ids[i - 1].bytes, ids[i].bytes, 8) < 0);
    }
    assert_true(uuid_compare(&before, &ids[0]) < 0);
    assert_true(uuid_compare(&ids[THREADS * IDS_A_THREAD - 1], &after) < 0);
    free(ids);
}

static void text(void **state) {
    (void)state;
    struct sluice_uuid id;
    char shown[UUID_TEXT_SIZE];
    assert_true(uuid_parse("017f22e2-79b0-7cc3-98C4-dc0c0c07398F", &id));
    assert_int_equal(id.bytes[0], 0x01);
    assert_int_equal(id.bytes[15], 0x8f);
    assert_string_equal(uuid_format(&id, shown), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    for (int i = 0; i < 100; i++) {
        struct sluice_uuid made = uuid_new();
        assert_true(uuid_parse(uuid_format(&made, shown), &id));
        assert_true(uuid_equal(&made, &id));
    }
}

static void wrong_texts(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "-",
        "017f22e279b07cc398c4dc0c0c07398f",
        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ",
        " 017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
        "017f22e2-79b0-7cc398-c4-dc0c0c07398f",
        "017f22e2--9b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2_79b0_7cc3_98c4_dc0c0c07398f",
    };
    struct sluice_uuid id;
    memset(&id, 0x5a, sizeof id);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(uuid_parse(wrong[i], &id));
    /* Each cut, in memory that ends with it. */
    static const char whole[] = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    for (size_t cut = 0; cut < sizeof whole - 1; cut++) {
        char *copy = strndup(whole, cut);
        assert_non_null(copy);
        assert_false(uuid_parse(copy, &id));
        free(copy);
    }
    for (size_t i = 0; i < sizeof id.bytes; i++)
        assert_int_equal(id.bytes[i], 0x5a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout),
        cmocka_unit_test(monotonic_over_threads),
        cmocka_unit_test(text),
        cmocka_unit_test(wrong_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

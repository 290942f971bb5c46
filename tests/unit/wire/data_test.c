/* SPDX-License-Identifier: Apache-2.0
 *
 * data_test.c: the messages of sluice-data: there and back, breaches, any bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire/data.h"

static struct arena arena;
static struct buf buf;
static enum data_number number;
static const void *body;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, WIRE_ARENA_MAX);
    buf_init(&buf, WIRE_PACKET_MAX);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    buf_release(&buf);
    return 0;
}

static bool decode(uint32_t descriptors, enum data_sender from) {
    struct err err = ERR_INIT;
    bool good = data_decode(buf.at, buf.length, descriptors, from, &arena, &number, &body, &err);
    assert_int_equal(good ? ERR_NONE : ERR_PROTOCOL, err.code);
    return good;
}

static void encode(enum data_number which, const void *what) {
    buf_clear(&buf);
    data_encode(which, what, &buf);
    assert_false(buf.overflow);
}

static void an_export_comes_through(void **state) {
    const struct data_export export = {
        .attachment = {{1}},
        .volume = {{2}},
        .pool = {{3}},
        .name = "v\xc3\xb6",
        .size_bytes = UINT64_MAX,
        .io_align = 512,
        .io_max = 1 << 20,
        .read_only = true,
        .extents = true,
        .uid = 4242,
        .iops_max = 7,
    };
    (void)state;
    encode(DATA_EXPORT, &export);
    assert_true(decode(1, DATA_SENDER_GATEWAY));
    assert_int_equal(number, DATA_EXPORT);
    const struct data_export *got = body;
    assert_memory_equal(&got->volume, &export.volume, sizeof got->volume);
    assert_string_equal(got->name, export.name);
    assert_int_equal(got->size_bytes, export.size_bytes);
    assert_int_equal(got->io_align, 512);
    assert_true(got->read_only);
    assert_false(got->token_constant);
    assert_int_equal(got->uid, 4242);
    assert_int_equal(got->iops_max, 7);
}

static void descriptors_come_as_the_table_says(void **state) {
    const struct data_ring ring = {.generation = 9};
    (void)state;
    assert_int_equal(data_descriptors(DATA_RING_MADE), 3);
    assert_int_equal(data_descriptors(DATA_EXPORT), 1);
    assert_int_equal(data_descriptors(DATA_PING), 0);
    encode(DATA_RING_MADE, &ring);
    assert_true(decode(3, DATA_SENDER_DATA));
    assert_false(decode(2, DATA_SENDER_DATA));
    assert_false(decode(0, DATA_SENDER_DATA));
    encode(DATA_RING_LOST, &ring);
    assert_true(decode(0, DATA_SENDER_GATEWAY));
    assert_false(decode(3, DATA_SENDER_GATEWAY));
}

static void breaches_are_found(void **state) {
    const struct data_ping ping = {.number = 1};
    (void)state;
    encode(DATA_PING, &ping);
    assert_true(decode(0, DATA_SENDER_GATEWAY));
    assert_false(decode(0, DATA_SENDER_DATA)); /* of the other side */
    buf.length--;
    assert_false(decode(0, DATA_SENDER_GATEWAY));
    buf.length++;
    buf.at[8] = 1; /* a call id */
    assert_false(decode(0, DATA_SENDER_GATEWAY));
    buf.at[8] = 0;
    buf.at[2] = 31; /* no such number */
    assert_false(decode(0, DATA_SENDER_GATEWAY));
    buf.at[3] = 0xff;
    assert_false(decode(0, DATA_SENDER_GATEWAY));
    buf.at[0] ^= 1; /* no magic */
    assert_false(decode(0, DATA_SENDER_GATEWAY));
    buf.length = 3;
    assert_false(decode(0, DATA_SENDER_GATEWAY));
}

static void any_bytes_are_survived(void **state) {
    const struct data_hello hello = {.protocol = 1, .build = "0.1.0"};
    uint32_t good = 0;
    (void)state;
    srandom(3);
    for (int i = 0; i < 100000; i++) {
        struct err err = ERR_INIT;
        encode(DATA_HELLO, &hello);
        for (int k = 0; k < 3; k++)
            buf.at[(size_t)random() % buf.length] = (uint8_t)random();
        arena_reset(&arena);
        good += data_decode(buf.at, buf.length - (size_t)(random() % 2), 0, DATA_SENDER_DATA,
                            &arena, &number, &body, &err);
    }
    assert_in_range(good, 1, 99999);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_export_comes_through),
        TEST(descriptors_come_as_the_table_says),
        TEST(breaches_are_found),
        TEST(any_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

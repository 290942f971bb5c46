/* SPDX-License-Identifier: Apache-2.0
 *
 * The table and the codec of the runner protocol. Whatever is checked for "each message" goes
 * through the table, so a new row is covered by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/message.h"

#define CALL_ID ((UINT64_C(7) << 32) | 1)

static bool has_call_id(uint16_t number) {
    return wire_row(number)->result != NULL || number == WIRE_REPLY;
}

/* A packet of that number whose body is all zero. */
static void encode_empty(uint16_t number, struct buf *buf) {
    void *body = calloc(1, wire_row(number)->body->size);
    assert_non_null(body);
    buf_init(buf, WIRE_PACKET_MAX);
    wire_encode(number, has_call_id(number) ? CALL_ID : 0, body, buf);
    assert_false(buf->overflow);
    free(body);
}

static bool decodes(const void *packet, size_t length, enum wire_sender from, unsigned state,
                    struct err *ret_err) {
    struct arena arena;
    arena_init(&arena, WIRE_ARENA_MAX);
    struct wire_packet got;
    *ret_err = ERR_INIT;
    bool good = wire_decode(packet, length, from, state, &arena, &got, ret_err);
    arena_release(&arena);
    return good;
}

static void the_numbers_of_the_table_are_known(void **state) {
    (void)state;
    unsigned known = 0;
    for (unsigned number = 0; number <= UINT16_MAX; number++)
        known += wire_row((uint16_t)number) != NULL;
    unsigned listed = 0;
#define WIRE_MESSAGE(NAME, number, sender, states, shape, sentence) listed++;
#define WIRE_CALL(NAME, number, states, args, result, volume, sentence) listed++;
#include "wire/message.def"
#undef WIRE_MESSAGE
#undef WIRE_CALL
    assert_int_equal(known, listed);
    assert_string_equal(wire_row(WIRE_HELLO)->name, "HELLO");
    assert_int_equal(wire_row(WIRE_VOLUME_CREATE)->serial, WIRE_SERIAL_VOLUME);
    assert_int_equal(wire_row(WIRE_POOL_PROBE)->serial, WIRE_SERIAL_POOL);
    assert_null(wire_row(WIRE_PING)->result);
}

static void each_message_passes_where_it_is_permitted_and_only_there(void **state) {
    (void)state;
    for (uint16_t number = 0; number < WIRE_NUMBERS; number++) {
        const struct wire_row *row = wire_row(number);
        if (row == NULL)
            continue;
        struct buf buf;
        encode_empty(number, &buf);
        for (unsigned bit = 1; bit <= S_CLOSING; bit <<= 1) {
            struct err err;
            bool good = decodes(buf.at, buf.length, row->sender, bit, &err);
            assert_int_equal(good, (row->states & bit) != 0);
            assert_int_equal(err.code, good ? ERR_NONE : ERR_PROTOCOL);
            enum wire_sender other = row->sender == WIRE_GATEWAY ? WIRE_RUNNER : WIRE_GATEWAY;
            assert_false(decodes(buf.at, buf.length, other, bit, &err));
        }
        buf_release(&buf);
    }
}

static void each_message_is_refused_when_cut_longer_or_without_its_call_id(void **state) {
    (void)state;
    for (uint16_t number = 0; number < WIRE_NUMBERS; number++) {
        const struct wire_row *row = wire_row(number);
        if (row == NULL)
            continue;
        struct buf buf;
        struct err err;
        encode_empty(number, &buf);
        for (size_t length = 0; length < buf.length; length++) {
            /* A copy of exactly that size, so that a read beyond it is seen by a sanitizer. */
            uint8_t *cut = malloc(length > 0 ? length : 1);
            assert_non_null(cut);
            memcpy(cut, buf.at, length);
            assert_false(decodes(cut, length, row->sender, S_ANY, &err));
            free(cut);
        }
        buf_put_u8(&buf, 0);
        assert_false(decodes(buf.at, buf.length, row->sender, S_ANY, &err));
        buf.length--;
        assert_true(decodes(buf.at, buf.length, row->sender, S_ANY, &err));
        memset(buf.at + 8, has_call_id(number) ? 0 : 1, 8);
        assert_false(decodes(buf.at, buf.length, row->sender, S_ANY, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
        buf_release(&buf);
    }
}

static void a_header_that_lies_is_refused(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        uint8_t value;
    } lies[] = {{0, 0x54}, {1, 0}, {2, 99}, {3, 1}, {4, 0xff}, {7, 0xff}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct buf buf;
        struct err err;
        encode_empty(WIRE_PING, &buf);
        buf.at[lies[i].offset] = lies[i].value;
        assert_false(decodes(buf.at, buf.length, WIRE_GATEWAY, S_OPEN, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
        buf_release(&buf);
    }
}

static void values_come_through(void **state) {
    (void)state;
    struct text_pair pairs[] = {{"mode", "s:quiet"}, {"size", "n:42"}};
    const char *paths[] = {"ro:/etc", "rw:/srv/p"};
    struct wire_load load = {
        .directory = "/opt/d-1.0.0",
        .library = "d.so",
        .name = "d",
        .version = "1.0.0",
        .category = SLUICE_CATEGORY_STORAGE,
        .settings = {.at = pairs, .count = 2},
        .paths = {.at = paths, .count = 2},
        .memory_mib = 64,
        .open_files = 100,
        .network = true,
    };
    struct buf buf;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(WIRE_LOAD, 0, &load, &buf);
    struct arena arena;
    arena_init(&arena, WIRE_ARENA_MAX);
    struct wire_packet packet;
    struct err err = ERR_INIT;
    assert_true(wire_decode(buf.at, buf.length, WIRE_GATEWAY, S_READY, &arena, &packet, &err));
    assert_int_equal(packet.number, WIRE_LOAD);
    assert_ptr_equal(packet.row, wire_row(WIRE_LOAD));
    const struct wire_load *got = packet.body;
    assert_string_equal(got->directory, load.directory);
    assert_string_equal(pairs_get(&got->settings, "size"), "n:42");
    assert_int_equal(got->paths.count, 2);
    assert_string_equal(got->paths.at[1], "rw:/srv/p");
    assert_true(got->network);
    arena_release(&arena);
    buf_release(&buf);
}

static void the_largest_reply_fits_into_a_packet(void **state) {
    (void)state;
    static uint8_t bytes[61440];
    static char text[512];
    memset(text, 'x', 511);
    struct wire_reply reply = {
        .text = text,
        .result = {.at = bytes, .length = sizeof bytes},
    };
    struct buf buf;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(WIRE_REPLY, CALL_ID, &reply, &buf);
    assert_false(buf.overflow);
    struct err err;
    assert_true(decodes(buf.at, buf.length, WIRE_RUNNER, S_OPEN, &err));
    buf_release(&buf);
}

static void the_state_moves_by_the_table(void **state) {
    (void)state;
    unsigned at = S_NEW;
    at = wire_next_state(at, WIRE_HELLO, 0, 0);
    assert_int_equal(at, S_READY);
    at = wire_next_state(at, WIRE_LOAD, 0, 0);
    assert_int_equal(at, S_LOADING);
    assert_int_equal(wire_next_state(at, WIRE_REFUSED, 0, 0), S_CLOSING);
    at = wire_next_state(at, WIRE_LOADED, 0, 0);
    assert_int_equal(at, S_LOADED);
    assert_int_equal(wire_next_state(at, WIRE_REPLY, WIRE_POOL_OPEN, SLUICE_PENDING), S_LOADED);
    assert_int_equal(wire_next_state(at, WIRE_REPLY, WIRE_HEALTH, SLUICE_OK), S_LOADED);
    at = wire_next_state(at, WIRE_REPLY, WIRE_POOL_OPEN, SLUICE_OK);
    assert_int_equal(at, S_OPEN);
    assert_int_equal(wire_next_state(at, WIRE_PING, 0, 0), S_OPEN);
    at = wire_next_state(at, WIRE_STOP, 0, 0);
    assert_int_equal(at, S_CLOSING);
    /* An answer that was under way does not open it again. */
    assert_int_equal(wire_next_state(at, WIRE_REPLY, WIRE_POOL_OPEN, SLUICE_OK), S_CLOSING);
    assert_string_equal(wire_state_name(S_CLOSING), "closing");
    assert_string_equal(wire_state_name(3), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_of_the_table_are_known),
        cmocka_unit_test(each_message_passes_where_it_is_permitted_and_only_there),
        cmocka_unit_test(each_message_is_refused_when_cut_longer_or_without_its_call_id),
        cmocka_unit_test(a_header_that_lies_is_refused),
        cmocka_unit_test(values_come_through),
        cmocka_unit_test(the_largest_reply_fits_into_a_packet),
        cmocka_unit_test(the_state_moves_by_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_test.c: what is VHDX's own: damage that is refused with its reason or mended, who a parent
 * is, the log's beginning and end, disks that outgrow their BAT, faults of the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/crc32c.h"
#include "image/image.h"
#include "image/vhdx_layout.h"
#include "image_file/memory_file.h"

#define MIB UINT64_C(1048576)
#define LOG_AT MIB
#define METADATA_AT (2 * MIB)
#define ITEMS_AT (METADATA_AT + VHDX_METADATA_BYTES)
#define BAT_AT (3 * MIB)

static struct memory_file *make(uint64_t size, const struct image *parent) {
    struct memory_file *memory = memory_file_create();
    struct image_error error = {""};
    struct image_create args = {.format = IMAGE_FORMAT_VHDX,
                                .size_bytes = size,
                                .cluster_bytes = 1u << 20,
                                .parent_name = parent != NULL ? "../below/g1.vhdx" : NULL,
                                .parent_format = parent != NULL ? IMAGE_FORMAT_VHDX : 0,
                                .parent = parent};
    if (image_create(memory_file_open(memory), &args, &error) != SLUICE_OK)
        fail_msg("%s", error.text);
    return memory;
}

static struct image *open_it(struct memory_file *memory) {
    struct image_error error = {""};
    struct image *image;
    if (image_open(memory_file_open(memory), 0, 0, 0, &image, &error) != SLUICE_OK)
        fail_msg("%s", error.text);
    return image;
}

static void put(struct memory_file *memory, uint64_t at, const void *bytes, size_t length) {
    struct image_file *file = memory_file_open(memory);
    assert_int_equal(file->ops->write(file, at, bytes, length), SLUICE_OK);
}

static void seal(struct memory_file *memory, uint64_t at, size_t length) {
    uint8_t crc[4] = {0};
    put(memory, at + 4, crc, 4);
    vhdx_store32(crc, crc32c(0, memory_file_bytes(memory) + at, length));
    put(memory, at + 4, crc, 4);
}

static void checksum_is_castagnoli(void **state) {
    (void)state;
    static const uint8_t zeroes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(crc32c(0, zeroes, 32), 0x8a9136aa); /* RFC 3720, B.4 */
}

/* ---- damage ---------------------------------------------------------------------------------- */

enum where { PLAIN, HEADERS, REGIONS }; /* what is sealed again */

static const struct damage {
    uint64_t at;
    uint32_t width;
    uint64_t value;
    enum where where;
    int32_t status;
    const char *text;
} damages[] = {
    {0, 8, 0, PLAIN, SLUICE_CORRUPT, "no VHDX"},
    {VHDX_HEADER_SIGNATURE, 4, 0, HEADERS, SLUICE_CORRUPT, "both headers"},
    {VHDX_HEADER_VERSION, 2, 2, HEADERS, SLUICE_UNSUPPORTED, "version 2"},
    {VHDX_HEADER_LOG_LENGTH, 4, 0, HEADERS, SLUICE_CORRUPT, "log"},
    {VHDX_HEADER_LOG_LENGTH, 4, 1000, HEADERS, SLUICE_CORRUPT, "log"},
    {VHDX_HEADER_LOG_LENGTH, 4, 1 << 30, HEADERS, SLUICE_LIMIT, "log"},
    {VHDX_HEADER_LOG_OFFSET, 8, 0, HEADERS, SLUICE_CORRUPT, "log"},
    {VHDX_HEADER_LOG_OFFSET, 8, 2 << 20, HEADERS, SLUICE_CORRUPT, "something else"},
    {VHDX_HEADER_LOG_OFFSET, 8, 1 << 30, HEADERS, SLUICE_CORRUPT, "outside"},
    {VHDX_HEADER_LOG_GUID, 8, 77, HEADERS, SLUICE_CORRUPT, "its log is damaged"},
    {VHDX_REGIONS_SIGNATURE, 4, 0, REGIONS, SLUICE_CORRUPT, "both region tables"},
    {VHDX_REGIONS_COUNT, 4, 4000, REGIONS, SLUICE_CORRUPT, "4000 regions"},
    {VHDX_REGIONS_COUNT, 4, 1, REGIONS, SLUICE_CORRUPT, "no metadata"},
    {VHDX_REGIONS_ENTRIES, 8, 1, REGIONS, SLUICE_UNSUPPORTED, "required"},
    {VHDX_REGIONS_ENTRIES + VHDX_REGION_OFFSET, 8, 77, REGIONS, SLUICE_CORRUPT, "region"},
    {VHDX_REGIONS_ENTRIES + VHDX_REGION_OFFSET, 8, 1 << 20, REGIONS, SLUICE_CORRUPT, "is said"},
    {VHDX_REGIONS_ENTRIES + VHDX_REGION_LENGTH, 4, 0, REGIONS, SLUICE_CORRUPT, "region"},
    {METADATA_AT, 8, 0, PLAIN, SLUICE_CORRUPT, "metadata"},
    {METADATA_AT + VHDX_METADATA_COUNT, 2, 4, PLAIN, SLUICE_CORRUPT, "not complete"},
    {METADATA_AT + VHDX_METADATA_COUNT, 2, 5000, PLAIN, SLUICE_CORRUPT, "metadata"},
    {METADATA_AT + VHDX_METADATA_ENTRIES, 8, 1, PLAIN, SLUICE_UNSUPPORTED, "required"},
    {METADATA_AT + VHDX_METADATA_ENTRIES + VHDX_ITEM_OFFSET, 4, 5, PLAIN, SLUICE_CORRUPT,
     "outside"},
    {METADATA_AT + VHDX_METADATA_ENTRIES + VHDX_ITEM_LENGTH, 4, 9, PLAIN, SLUICE_CORRUPT, "twice"},
    {ITEMS_AT, 4, 3 << 20, PLAIN, SLUICE_CORRUPT, "blocks"},
    {ITEMS_AT, 4, 512 << 10, PLAIN, SLUICE_CORRUPT, "blocks"},
    {ITEMS_AT + 4, 4, VHDX_HAS_PARENT, PLAIN, SLUICE_CORRUPT, "does not say which"},
    {ITEMS_AT + 8, 8, 513, PLAIN, SLUICE_CORRUPT, "disk of 513"},
    {ITEMS_AT + 8, 8, UINT64_C(1) << 60, PLAIN, SLUICE_LIMIT, "at most"},
    {ITEMS_AT + 8, 8, UINT64_C(1) << 40, PLAIN, SLUICE_CORRUPT, "too short"},
    {ITEMS_AT + 32, 4, 1024, PLAIN, SLUICE_CORRUPT, "sectors of 1024"},
    {BAT_AT, 8, 4 << 20 | 5, PLAIN, SLUICE_CORRUPT, "state 5"},
    {BAT_AT, 8, 4 << 20 | VHDX_PARTIAL, PLAIN, SLUICE_CORRUPT, "state 7"},
    {BAT_AT, 8, VHDX_FULL, PLAIN, SLUICE_CORRUPT, "outside"},
    {BAT_AT, 8, 1 << 20 | VHDX_FULL, PLAIN, SLUICE_CORRUPT, "something else"},
    {BAT_AT, 8, 3 << 20 | VHDX_FULL, PLAIN, SLUICE_CORRUPT, "something else"},
    {BAT_AT, 8, 5 << 20 | VHDX_FULL, PLAIN, SLUICE_CORRUPT, "something else"},
    {BAT_AT, 8, UINT64_C(1) << 50 | VHDX_FULL, PLAIN, SLUICE_CORRUPT, "outside"},
    {BAT_AT + 8, 8, 4 << 20 | VHDX_FULL, PLAIN, SLUICE_CORRUPT, "something else"},
};

static void do_damage(struct memory_file *memory, const struct damage *damage) {
    uint8_t bytes[8];
    vhdx_store64(bytes, damage->value);
    if (damage->where == PLAIN) {
        put(memory, damage->at, bytes, damage->width);
        return;
    }
    uint64_t first = damage->where == HEADERS ? VHDX_AT_HEADER_FIRST : VHDX_AT_REGIONS_FIRST;
    size_t length = damage->where == HEADERS ? VHDX_HEADER_BYTES : VHDX_REGIONS_BYTES;
    for (uint64_t at = first; at <= first + VHDX_REGIONS_BYTES; at += VHDX_REGIONS_BYTES) {
        put(memory, at + damage->at, bytes, damage->width);
        seal(memory, at, length);
    }
}

static void damage_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct memory_file *memory = make(8 * MIB, NULL);
        struct image *image = open_it(memory);
        assert_int_equal(image_write(image, 0, "a", 1), SLUICE_OK);
        assert_int_equal(image_write(image, MIB, "b", 1), SLUICE_OK);
        assert_int_equal(image_flush(image), SLUICE_OK);
        image_close(image);
        do_damage(memory, &damages[i]);
        uint64_t changes = memory_file_changes(memory);
        struct image_error error = {""};
        int32_t status =
            image_open(memory_file_open(memory), IMAGE_FORMAT_VHDX, 0, 0, &image, &error);
        if (status != damages[i].status || strstr(error.text, damages[i].text) == NULL)
            fail_msg("row %zu answers %d: %s", i, status, error.text);
        assert_int_equal(memory_file_changes(memory), changes);
        memory_file_destroy(memory);
    }
}

/* One of two headers, one of two region tables: the other one does. */
static void one_copy_is_enough(void **state) {
    (void)state;
    static const uint64_t places[] = {VHDX_AT_HEADER_FIRST, VHDX_AT_HEADER_SECOND,
                                      VHDX_AT_REGIONS_FIRST, VHDX_AT_REGIONS_SECOND};
    for (size_t i = 0; i < 4; i++) {
        struct memory_file *memory = make(8 * MIB, NULL);
        put(memory, places[i] + 20, "damage", 6);
        struct image *image = open_it(memory);
        struct image_report report;
        struct image_error error = {""};
        assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
        assert_int_equal(report.broken_clusters, i < 2 ? 0 : 1);
        assert_int_equal(image_check(image, true, &report, &error), SLUICE_OK);
        assert_int_equal(report.repaired, i < 2 ? 0 : 1);
        image_close(image);
        /* Now the other copy of the same may go. */
        put(memory, places[i ^ 1] + 20, "damage", 6);
        image_close(open_it(memory));
        memory_file_destroy(memory);
    }
}

/* ---- the log --------------------------------------------------------------------------------- */

static bool log_is_named(const struct memory_file *memory) {
    static const uint8_t zero[VHDX_GUID_BYTES];
    const uint8_t *bytes = memory_file_bytes(memory);
    return memcmp(bytes + VHDX_AT_HEADER_FIRST + VHDX_HEADER_LOG_GUID, zero, sizeof zero) != 0 ||
           memcmp(bytes + VHDX_AT_HEADER_SECOND + VHDX_HEADER_LOG_GUID, zero, sizeof zero) != 0;
}

static void a_session_begins_and_ends(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, NULL);
    struct image *image = open_it(memory);
    uint64_t changes = memory_file_changes(memory);
    uint8_t byte = 1;
    struct image_run run;
    assert_int_equal(image_read(image, 5, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 0);
    assert_int_equal(memory_file_changes(memory), changes);
    assert_int_equal(image_write(image, 5, "x", 1), SLUICE_OK);
    assert_true(log_is_named(memory));
    assert_int_equal(image_freeze(image), SLUICE_OK);
    assert_false(log_is_named(memory));
    assert_int_equal(image_write(image, 5, "y", 1), SLUICE_READ_ONLY);
    image_map(image, 5, 1, true, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    image_close(image);
    /* Where blocks are in place, the first write still has to say that it comes. */
    image = open_it(memory);
    image_map(image, 5, 1, true, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    assert_int_equal(image_write(image, 5, "z", 1), SLUICE_OK);
    image_map(image, 5, 1, true, &run);
    assert_int_equal(run.kind, IMAGE_RUN_FILE);
    image_close(image);
    assert_false(log_is_named(memory));
    memory_file_destroy(memory);
}

/* More entries than the log holds, so that it goes round, and the crash is after each of the last.
 */
static void the_log_goes_round(void **state) {
    (void)state;
    struct memory_file *memory = make(16 * MIB, NULL);
    struct image *image = open_it(memory);
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t block = i * 7 % 16;
        assert_int_equal(image_write(image, block * MIB, &i, 1), SLUICE_OK);
        if (i % 3 == 0)
            assert_int_equal(image_trim(image, (block + 5) % 16 * MIB, MIB), SLUICE_OK);
        if (i == 190)
            memory_file_record(memory);
        assert_int_equal(image_commit(image), SLUICE_OK);
    }
    uint8_t before[16];
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(image_read(image, i * MIB, before + i, 1), SLUICE_OK);
    size_t events = memory_file_events(memory);
    struct memory_file *left = memory_file_cut(memory, events, 0);
    image_close(image);
    image = open_it(left);
    for (uint64_t i = 0; i < 16; i++) {
        uint8_t byte;
        assert_int_equal(image_read(image, i * MIB, &byte, 1), SLUICE_OK);
        assert_int_equal(byte, before[i]);
    }
    image_close(image);
    memory_file_destroy(left);
    for (size_t i = 0; i < events; i++) {
        left = memory_file_cut(memory, i, 1);
        image_close(open_it(left));
        memory_file_destroy(left);
    }
    memory_file_destroy(memory);
}

/* A file that is shorter than its log knows, and a log whose newest entries are damaged. */
static void a_log_that_cannot_be_replayed(void **state) {
    (void)state;
    struct memory_file *memory = make(8 * MIB, NULL);
    struct image *image = open_it(memory);
    memory_file_record(memory);
    assert_int_equal(image_write(image, 0, "a", 1), SLUICE_OK);
    assert_int_equal(image_commit(image), SLUICE_OK);
    struct memory_file *left = memory_file_cut(memory, memory_file_events(memory), 0);
    image_close(image);
    struct image_error error = {""};
    struct image_file *file = memory_file_open(left);
    uint64_t size = memory_file_size(left);
    assert_int_equal(file->ops->resize(file, size - MIB), SLUICE_OK);
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_CORRUPT);
    assert_non_null(strstr(error.text, "was cut"));
    assert_int_equal(file->ops->resize(file, size), SLUICE_OK);
    assert_int_equal(image_open(file, 0, IMAGE_OPEN_READ_ONLY, 0, &image, &error),
                     SLUICE_READ_ONLY);
    static uint8_t noise[65536];
    memset(noise, 0x5a, sizeof noise);
    put(left, LOG_AT, noise, sizeof noise);
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_CORRUPT);
    assert_non_null(strstr(error.text, "log is damaged"));
    memory_file_destroy(left);
    memory_file_destroy(memory);
}

/* ---- parents --------------------------------------------------------------------------------- */

static void parents_are_who_they_were(void **state) {
    (void)state;
    struct memory_file *below = make(8 * MIB, NULL);
    struct memory_file *other = make(8 * MIB, NULL);
    struct image *parent = open_it(below);
    assert_int_equal(image_write(parent, 700, "below", 5), SLUICE_OK);
    assert_int_equal(image_freeze(parent), SLUICE_OK);
    struct memory_file *above = make(8 * MIB, parent);
    struct image *image = open_it(above);
    struct image *stranger = open_it(other);
    struct image_error error = {""};
    uint32_t format;
    assert_string_equal(image_parent_name(image, &format), "../below/g1.vhdx");
    assert_int_equal(format, IMAGE_FORMAT_VHDX);
    assert_int_equal(image_attach_parent(image, stranger, &error), SLUICE_CORRUPT);
    assert_non_null(strstr(error.text, "swapped"));
    assert_int_equal(image_attach_parent(image, parent, &error), SLUICE_OK);
    char bytes[5];
    assert_int_equal(image_read(image, 700, bytes, 5), SLUICE_OK);
    assert_memory_equal(bytes, "below", 5);
    image_close(image);
    image_close(parent);
    /* Written after the overlay was made. */
    parent = open_it(below);
    assert_int_equal(image_write(parent, 700, "later", 5), SLUICE_OK);
    image = open_it(above);
    assert_int_equal(image_attach_parent(image, parent, &error), SLUICE_CORRUPT);
    image_close(image);
    image_close(parent);
    image_close(stranger);
    memory_file_destroy(above);
    memory_file_destroy(other);
    memory_file_destroy(below);
}

/* A pull and another parent change the file, and not who its overlays take it for. */
static void a_merge_keeps_the_overlays(void **state) {
    (void)state;
    struct memory_file *memory[3];
    struct image *image[3];
    struct image_error error = {""};
    for (uint32_t i = 0; i < 3; i++) {
        memory[i] = make(8 * MIB, i == 0 ? NULL : image[i - 1]);
        image[i] = open_it(memory[i]);
        if (i > 0)
            assert_int_equal(image_attach_parent(image[i], image[i - 1], &error), SLUICE_OK);
        assert_int_equal(image_write(image[i], i * 3000, &"xyz"[i], 1), SLUICE_OK);
        assert_int_equal(image_freeze(image[i]), SLUICE_OK);
    }
    image_close(image[2]);
    image_close(image[1]);
    image[1] = open_it(memory[1]);
    assert_int_equal(image_attach_parent(image[1], image[0], &error), SLUICE_OK);
    uint64_t next;
    assert_int_equal(image_pull(image[1], 1, 0, 8 * MIB, &next), SLUICE_OK);
    assert_int_equal(next, 8 * MIB);
    assert_int_equal(image_commit(image[1]), SLUICE_OK);
    assert_int_equal(image_set_parent(image[1], NULL, 0, NULL, &error), SLUICE_OK);
    image_close(image[1]);
    image[1] = open_it(memory[1]);
    assert_null(image_parent_name(image[1], NULL));
    image[2] = open_it(memory[2]);
    assert_int_equal(image_attach_parent(image[2], image[1], &error), SLUICE_OK);
    for (uint32_t i = 0; i < 3; i++) {
        char byte;
        assert_int_equal(image_read(image[2], i * 3000, &byte, 1), SLUICE_OK);
        assert_int_equal(byte, "xyz"[i]);
    }
    for (uint32_t i = 3; i-- > 0;) {
        image_close(image[i]);
        memory_file_destroy(memory[i]);
    }
}

static void names_that_are_no_windows_paths(void **state) {
    (void)state;
    static const char *const names[] = {"/g1.vhdx", "a\\b", "c:/b",
                                        "\xc0\x80", "\xff", "a\xed\xa0\x80"};
    struct memory_file *below = make(8 * MIB, NULL);
    struct image *parent = open_it(below);
    for (size_t i = 0; i <= sizeof names / sizeof names[0]; i++) {
        bool none = i == sizeof names / sizeof names[0];
        struct memory_file *memory = memory_file_create();
        struct image_error error = {""};
        struct image_create args = {.format = IMAGE_FORMAT_VHDX,
                                    .size_bytes = MIB,
                                    .parent_name = none ? "g1.vhdx" : names[i],
                                    .parent_format = IMAGE_FORMAT_VHDX,
                                    .parent = none ? NULL : parent};
        assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_INVALID);
        assert_true(error.text[0] != '\0');
        assert_int_equal(memory_file_changes(memory), 0);
        memory_file_destroy(memory);
    }
    static const char *const good[] = {"g1.vhdx", "../a b/\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < 2; i++) {
        struct memory_file *memory = memory_file_create();
        struct image_error error = {""};
        struct image_create args = {.format = IMAGE_FORMAT_VHDX,
                                    .size_bytes = MIB,
                                    .parent_name = good[i],
                                    .parent_format = IMAGE_FORMAT_VHDX,
                                    .parent = parent};
        assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_OK);
        struct image *image = open_it(memory);
        assert_string_equal(image_parent_name(image, NULL), good[i]);
        image_close(image);
        memory_file_destroy(memory);
    }
    image_close(parent);
    memory_file_destroy(below);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* 1 MiB of BAT is full at about 128 GiB of blocks of 1 MiB. Cut everywhere on the way. */
static void a_disk_outgrows_its_bat(void **state) {
    (void)state;
    uint64_t large = UINT64_C(300) << 30;
    struct memory_file *memory = make(8 * MIB, NULL);
    struct image *image = open_it(memory);
    struct image_error error = {""};
    assert_int_equal(image_write(image, 5 * MIB, "x", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    memory_file_record(memory);
    assert_int_equal(image_resize(image, large, &error), SLUICE_OK);
    assert_int_equal(image_write(image, large - 1, "y", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    size_t events = memory_file_events(memory);
    for (size_t i = 0; i <= events; i++) {
        struct memory_file *left = memory_file_cut(memory, i, i % 3);
        struct image *cut = open_it(left);
        struct image_report report;
        uint8_t byte;
        assert_true(image_size(cut) == 8 * MIB || image_size(cut) == large);
        assert_int_equal(image_read(cut, 5 * MIB, &byte, 1), SLUICE_OK);
        assert_int_equal(byte, 'x');
        assert_int_equal(image_check(cut, false, &report, &error), SLUICE_OK);
        assert_int_equal(report.broken_clusters, 0);
        image_close(cut);
        memory_file_destroy(left);
    }
    image_close(image);
    image = open_it(memory);
    uint8_t byte;
    assert_int_equal(image_size(image), large);
    assert_int_equal(image_read(image, large - 1, &byte, 1), SLUICE_OK);
    assert_int_equal(byte, 'y');
    assert_int_equal(image_resize(image, UINT64_C(40) << 40, &error), SLUICE_LIMIT);
    image_close(image);
    memory_file_destroy(memory);
}

static void the_largest_is_made(void **state) {
    (void)state;
    struct memory_file *memory = memory_file_create();
    struct image_error error = {""};
    struct image_create args = {.format = IMAGE_FORMAT_VHDX, .size_bytes = IMAGE_SIZE_MAX};
    assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_OK);
    struct image *image = open_it(memory);
    assert_int_equal(image_cluster_bytes(image), 32 * MIB);
    assert_int_equal(image_write(image, IMAGE_SIZE_MAX - 1, "z", 1), SLUICE_OK);
    image_close(image);
    memory_file_destroy(memory);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static uint8_t first_of(uint64_t i) {
    return (uint8_t)(i % 250 + 1);
}

/* Writes, commits, trims and a resize above a parent, of which the Nth call of the file fails once.
 * What was answered with success is there at the end, also for who opens it again. */
static bool fault_round(uint64_t number) {
    struct memory_file *below = make(8 * MIB, NULL);
    struct image *parent = open_it(below);
    assert_int_equal(image_freeze(parent), SLUICE_OK);
    struct memory_file *above = make(8 * MIB, parent);
    struct image *image = open_it(above);
    struct image_error error = {""};
    assert_int_equal(image_attach_parent(image, parent, &error), SLUICE_OK);
    memory_file_fail(above, number, SLUICE_IO, false);
    bool written[24] = {false};
    for (uint64_t i = 0; i < 24; i++) {
        uint8_t byte = first_of(i);
        written[i] = image_write(image, i % 8 * MIB + i * 1000, &byte, 1) == SLUICE_OK;
        if (i % 4 == 3)
            (void)image_commit(image);
        if (i == 15)
            (void)image_resize(image, 9 * MIB, &error);
    }
    bool failed = memory_file_has_failed(above);
    memory_file_fail(above, 0, SLUICE_OK, false);
    assert_int_equal(image_flush(image), SLUICE_OK);
    for (uint32_t again = 0; again < 2; again++) {
        for (uint64_t i = 0; i < 24; i++) {
            uint8_t byte;
            assert_int_equal(image_read(image, i % 8 * MIB + i * 1000, &byte, 1), SLUICE_OK);
            if (byte != first_of(i) && (written[i] || byte != 0))
                fail_msg("call %llu: write %llu reads %u", (unsigned long long)number,
                         (unsigned long long)i, byte);
        }
        image_close(image);
        image = open_it(above);
        assert_int_equal(image_attach_parent(image, parent, &error), SLUICE_OK);
    }
    image_close(image);
    image_close(parent);
    memory_file_destroy(above);
    memory_file_destroy(below);
    return failed;
}

static void each_call_fails_once(void **state) {
    (void)state;
    uint64_t number = 1;
    while (fault_round(number))
        number++;
    assert_true(number > 50);
    print_message("%llu calls\n", (unsigned long long)number);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_castagnoli),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(one_copy_is_enough),
        cmocka_unit_test(a_session_begins_and_ends),
        cmocka_unit_test(the_log_goes_round),
        cmocka_unit_test(a_log_that_cannot_be_replayed),
        cmocka_unit_test(parents_are_who_they_were),
        cmocka_unit_test(a_merge_keeps_the_overlays),
        cmocka_unit_test(names_that_are_no_windows_paths),
        cmocka_unit_test(a_disk_outgrows_its_bat),
        cmocka_unit_test(the_largest_is_made),
        cmocka_unit_test(each_call_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

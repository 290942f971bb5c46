/* SPDX-License-Identifier: Apache-2.0
 *
 * basic_test.c: each function of image.h once, for raw and qcow2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/image.h"
#include "image_file/memory_file.h"

#define MIB (UINT64_C(1) << 20)
#define CLUSTER (64u << 10)

struct world {
    struct memory_file *memory[3];
    struct image *image[3];
    uint32_t count;
};

static struct image *add(struct world *world, uint32_t format, uint64_t size, uint32_t cluster) {
    uint32_t at = world->count++;
    struct image_error error = {""};
    world->memory[at] = memory_file_create();
    struct image_file *file = memory_file_open(world->memory[at]);
    bool bottom = at == 0;
    struct image_create args = {.format = format,
                                .cluster_bytes = cluster,
                                .size_bytes = size,
                                .parent_name = bottom ? NULL : "below.img",
                                .parent_format = bottom ? 0 : image_format(world->image[at - 1])};
    assert_int_equal(image_create(file, &args, &error), SLUICE_OK);
    assert_int_equal(image_open(file, 0, 0, 0, &world->image[at], &error), SLUICE_OK);
    assert_int_equal(image_format(world->image[at]), format);
    assert_int_equal(image_size(world->image[at]), size);
    if (!bottom)
        assert_int_equal(image_attach_parent(world->image[at], world->image[at - 1], &error),
                         SLUICE_OK);
    return world->image[at];
}

static void reopen(struct world *world, uint32_t at) {
    struct image_error error = {""};
    image_close(world->image[at]);
    assert_int_equal(image_open(memory_file_open(world->memory[at]), 0, IMAGE_OPEN_CHECK, 0,
                                &world->image[at], &error),
                     SLUICE_OK);
    if (at > 0)
        assert_int_equal(image_attach_parent(world->image[at], world->image[at - 1], &error),
                         SLUICE_OK);
}

static void end(struct world *world) {
    for (uint32_t i = world->count; i-- > 0;) {
        image_close(world->image[i]);
        memory_file_destroy(world->memory[i]);
    }
}

static void assert_filled(struct image *image, uint64_t offset, size_t length, uint8_t with) {
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    assert_int_equal(image_read(image, offset, bytes, length), SLUICE_OK);
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != with)
            fail_msg("byte %zu is %u, not %u", i, bytes[i], with);
    free(bytes);
}

static void fill(struct image *image, uint64_t offset, size_t length, uint8_t with) {
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    memset(bytes, with, length);
    assert_int_equal(image_write(image, offset, bytes, length), SLUICE_OK);
    free(bytes);
}

static void assert_sound(struct image *image, uint64_t leaked) {
    struct image_report report;
    struct image_error error = {""};
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_string_equal(report.first, "");
    assert_int_equal(report.broken_clusters, 0);
    assert_int_equal(report.leaked_clusters, leaked);
}

static void reads_what_was_written(void **state) {
    (void)state;
    static const uint32_t formats[] = {IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2};
    for (size_t i = 0; i < 2; i++) {
        struct world world = {0};
        struct image *image = add(&world, formats[i], 8 * MIB, 0);
        assert_filled(image, 0, 8 * MIB, 0);
        fill(image, 1000, 3, 1);
        fill(image, 3 * CLUSTER - 7, 4 * CLUSTER + 100, 2);
        fill(image, 8 * MIB - 1, 1, 3);
        assert_int_equal(image_flush(image), SLUICE_OK);
        reopen(&world, 0);
        image = world.image[0];
        assert_filled(image, 0, 1000, 0);
        assert_filled(image, 1000, 3, 1);
        assert_filled(image, 1003, 3 * CLUSTER - 7 - 1003, 0);
        assert_filled(image, 3 * CLUSTER - 7, 4 * CLUSTER + 100, 2);
        assert_filled(image, 7 * CLUSTER + 93, CLUSTER - 93, 0);
        assert_filled(image, 8 * MIB - 1, 1, 3);
        assert_sound(image, 0);
        uint8_t byte;
        assert_int_equal(image_read(image, 8 * MIB, &byte, 1), SLUICE_INVALID);
        assert_int_equal(image_write(image, 8 * MIB - 1, "ab", 2), SLUICE_INVALID);
        end(&world);
    }
}

static void reads_through_a_chain(void **state) {
    (void)state;
    struct world world = {0};
    fill(add(&world, IMAGE_FORMAT_RAW, 2 * MIB, 0), 0, 2 * MIB, 1);
    struct image *middle = add(&world, IMAGE_FORMAT_QCOW2, 3 * MIB, 4096);
    struct image *top = add(&world, IMAGE_FORMAT_QCOW2, 4 * MIB, 0);
    fill(middle, 5000, 10, 2);
    fill(top, 5 * CLUSTER + 10, 10, 3);
    assert_filled(top, 0, 5000, 1);
    assert_filled(top, 5000, 10, 2);
    assert_filled(top, 5010, 5 * CLUSTER + 10 - 5010, 1);
    assert_filled(top, 5 * CLUSTER + 10, 10, 3);
    assert_filled(top, 5 * CLUSTER + 20, 2 * MIB - 5 * CLUSTER - 20, 1);
    assert_filled(top, 2 * MIB, 2 * MIB, 0);
    /* Zero above bytes, in part and whole. */
    assert_int_equal(image_write_zeroes(top, CLUSTER - 100, CLUSTER + 200), SLUICE_OK);
    assert_filled(top, CLUSTER - 100, CLUSTER + 200, 0);
    assert_filled(top, 2 * CLUSTER + 100, CLUSTER, 1);
    assert_int_equal(image_trim(top, 5 * CLUSTER - 1, CLUSTER + 2), SLUICE_OK);
    assert_filled(top, 5 * CLUSTER - 1, 1, 1);
    assert_filled(top, 5 * CLUSTER, CLUSTER, 0);
    assert_filled(top, 6 * CLUSTER, 1, 1);
    assert_int_equal(image_flush(top), SLUICE_OK);
    assert_int_equal(image_flush(middle), SLUICE_OK);
    assert_sound(top, 0);
    reopen(&world, 2);
    top = world.image[2];
    assert_filled(top, CLUSTER - 100, CLUSTER + 200, 0);
    uint32_t format;
    assert_string_equal(image_parent_name(top, &format), "below.img");
    assert_int_equal(format, IMAGE_FORMAT_QCOW2);
    end(&world);
}

static void maps_from_memory(void **state) {
    (void)state;
    struct world world = {0};
    fill(add(&world, IMAGE_FORMAT_RAW, 2 * MIB, 0), 0, 2 * MIB, 1);
    struct image *top = add(&world, IMAGE_FORMAT_QCOW2, 4 * MIB, 0);
    struct image_run run;
    /* No table was read yet, not even the top one. */
    image_map(top, 100, MIB, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    assert_filled(top, 0, 1, 1);
    image_map(top, 100, MIB, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_FILE);
    assert_int_equal(run.depth, 1);
    assert_int_equal(run.file_offset, 100);
    assert_int_equal(run.length, MIB);
    assert_ptr_equal(run.file, memory_file_open(world.memory[0]));
    image_map(top, 100, MIB, true, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    fill(top, 0, 2 * CLUSTER, 2);
    image_map(top, 100, MIB, true, &run);
    assert_int_equal(run.kind, IMAGE_RUN_FILE);
    assert_int_equal(run.depth, 0);
    assert_int_equal(run.length, 2 * CLUSTER - 100);
    assert_memory_equal(memory_file_bytes(world.memory[1]) + run.file_offset, "\2\2\2", 3);
    image_map(top, 2 * MIB, MIB, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_ZERO);
    assert_int_equal(image_extent(top, 0, 4 * MIB, 0, &run), SLUICE_OK);
    assert_int_equal(run.kind, IMAGE_RUN_FILE);
    assert_int_equal(run.length, 2 * CLUSTER);
    assert_int_equal(image_extent(top, 2 * CLUSTER, MIB, 0, &run), SLUICE_OK);
    assert_int_equal(run.kind, 0);
    assert_int_equal(run.length, MIB);
    assert_int_equal(image_flush(top), SLUICE_OK);
    reopen(&world, 1);
    image_map(world.image[1], 0, MIB, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_SLOW);
    assert_filled(world.image[1], 0, 1, 2);
    image_map(world.image[1], 0, MIB, false, &run);
    assert_int_equal(run.kind, IMAGE_RUN_FILE);
    end(&world);
}

/* Pieces of the top table are read by whom they concern: what others say in between, unread, is
 * neither lost by a commit nor taken for empty. */
static void keeps_what_it_has_not_read(void **state) {
    (void)state;
    const uint32_t cluster = 512;
    const uint64_t piece = UINT64_C(512) * cluster * (cluster / 8); /* 512 tables */
    const uint64_t size = 5 * piece - cluster * 3;
    struct world world = {0};
    struct image *image = add(&world, IMAGE_FORMAT_QCOW2, size, cluster);
    for (uint64_t at = 0; at < size; at += piece)
        fill(image, at + 3 * cluster, cluster, 7);
    assert_int_equal(image_flush(image), SLUICE_OK);
    image_close(image);
    struct image_error error = {""};
    assert_int_equal(
        image_open(memory_file_open(world.memory[0]), 0, 0, 0, &world.image[0], &error), SLUICE_OK);
    image = world.image[0];
    struct image_run run;
    assert_int_equal(image_extent(image, 4 * cluster, size - 4 * cluster, 0, &run), SLUICE_OK);
    assert_true(run.length <= piece - cluster);
    fill(image, piece / 2, cluster, 8);
    fill(image, 3 * piece + piece / 2, cluster, 9);
    assert_int_equal(image_commit(image), SLUICE_OK);
    for (uint32_t again = 0; again < 2; again++) {
        for (uint64_t at = 0; at < size; at += piece) {
            assert_filled(world.image[0], at, cluster, 0);
            assert_filled(world.image[0], at + 3 * cluster, cluster, 7);
        }
        assert_filled(world.image[0], piece / 2, cluster, 8);
        assert_filled(world.image[0], 3 * piece + piece / 2, cluster, 9);
        reopen(&world, 0);
    }
    assert_sound(world.image[0], 0);
    end(&world);
}

static void pulls_and_lets_go(void **state) {
    (void)state;
    struct world world = {0};
    struct image_error error = {""};
    fill(add(&world, IMAGE_FORMAT_QCOW2, 2 * MIB, 0), 0, MIB + 100, 1);
    struct image *middle = add(&world, IMAGE_FORMAT_QCOW2, 3 * MIB, 4096);
    struct image *top = add(&world, IMAGE_FORMAT_QCOW2, 4 * MIB, 0);
    fill(middle, 5000, 10, 2);
    assert_int_equal(image_write_zeroes(middle, 4 * CLUSTER, CLUSTER), SLUICE_OK);
    uint64_t next = 0;
    while (next < image_size(top))
        assert_int_equal(image_pull(top, 1, next, CLUSTER, &next), SLUICE_OK);
    assert_int_equal(image_set_parent(top, "other.img", IMAGE_FORMAT_QCOW2, NULL, &error),
                     SLUICE_OK);
    assert_null(image_parent(top));
    assert_int_equal(image_attach_parent(top, world.image[0], &error), SLUICE_OK);
    assert_filled(top, 0, 5000, 1);
    assert_filled(top, 5000, 10, 2);
    assert_filled(top, 4 * CLUSTER, CLUSTER, 0);
    assert_filled(top, 5 * CLUSTER, MIB + 100 - 5 * CLUSTER, 1);
    struct image_run run;
    assert_int_equal(image_extent(top, 6 * CLUSTER, CLUSTER, 0, &run), SLUICE_OK);
    assert_int_equal(run.kind, 0);
    next = 0;
    assert_int_equal(image_pull(top, IMAGE_CHAIN_MAX, 0, UINT64_MAX, &next), SLUICE_OK);
    assert_int_equal(next, image_size(top));
    assert_int_equal(image_set_parent(top, NULL, 0, NULL, &error), SLUICE_OK);
    image_close(top);
    assert_int_equal(
        image_open(memory_file_open(world.memory[2]), 0, 0, 0, &world.image[2], &error), SLUICE_OK);
    top = world.image[2];
    assert_null(image_parent_name(top, NULL));
    assert_filled(top, 5000, 10, 2);
    assert_filled(top, 4 * CLUSTER, CLUSTER, 0);
    assert_filled(top, MIB + 100, 3 * MIB - 100, 0);
    assert_sound(top, 0);
    end(&world);
}

static void resizes(void **state) {
    (void)state;
    struct world world = {0};
    struct image_error error = {""};
    fill(add(&world, IMAGE_FORMAT_QCOW2, 64 * MIB, 0), 0, 64 * MIB, 1);
    struct image *top = add(&world, IMAGE_FORMAT_QCOW2, MIB + 512, 4096);
    fill(top, MIB, 512, 2);
    assert_int_equal(image_resize(top, 80 * MIB, &error), SLUICE_OK);
    assert_filled(top, 0, MIB, 1);
    assert_filled(top, MIB, 512, 2);
    assert_filled(top, MIB + 512, 79 * MIB - 512, 0);
    fill(top, 79 * MIB, MIB, 3);
    assert_int_equal(image_resize(top, 2 * MIB, &error), SLUICE_OK);
    assert_int_equal(image_resize(top, 80 * MIB, &error), SLUICE_OK);
    assert_filled(top, 2 * MIB, 78 * MIB, 0);
    assert_int_equal(image_flush(top), SLUICE_OK);
    assert_sound(top, 0);
    assert_int_equal(image_resize(top, 100, &error), SLUICE_INVALID);
    reopen(&world, 1);
    assert_filled(world.image[1], MIB, 512, 2);
    assert_filled(world.image[1], MIB + 512, 79 * MIB - 512, 0);
    end(&world);
}

static void refuses_circles(void **state) {
    (void)state;
    struct world world = {0};
    struct image_error error = {""};
    struct image *bottom = add(&world, IMAGE_FORMAT_QCOW2, MIB, 0);
    struct image *top = add(&world, IMAGE_FORMAT_QCOW2, MIB, 0);
    assert_int_equal(image_attach_parent(top, top, &error), SLUICE_LIMIT);
    assert_int_equal(image_attach_parent(bottom, top, &error), SLUICE_INVALID);
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written), cmocka_unit_test(reads_through_a_chain),
        cmocka_unit_test(maps_from_memory),       cmocka_unit_test(keeps_what_it_has_not_read),
        cmocka_unit_test(pulls_and_lets_go),      cmocka_unit_test(resizes),
        cmocka_unit_test(refuses_circles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

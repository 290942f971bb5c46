/* SPDX-License-Identifier: Apache-2.0
 *
 * fault_test.c: the Nth call of the file fails, once or from then on, for every N.
 *
 * Once: the call of image.h that met it fails; what it should have changed reads as before or as
 * after; all that comes later works, and so does the image for who opens it again. From then on:
 * what is left in the file is an image in which nothing is broken.
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

#define DISK (200u << 10)
#define CLUSTER 4096u
#define OPERATIONS 60u

struct trial {
    struct memory_file *below;
    struct memory_file *above;
    struct image *parent;
    struct image *image;
    uint8_t before[2 * DISK]; /* each byte is as here ... */
    uint8_t after[2 * DISK];  /* ... or as here */
    uint64_t random;
};

static uint64_t dice(struct trial *trial, uint64_t below) {
    trial->random = trial->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (trial->random >> 33) % below;
}

static struct image *open_above(struct trial *trial) {
    struct image_error error = {""};
    struct image *image;
    assert_int_equal(
        image_open(memory_file_open(trial->above), IMAGE_FORMAT_QCOW2, 0, 1, &image, &error),
        SLUICE_OK);
    assert_int_equal(image_attach_parent(image, trial->parent, &error), SLUICE_OK);
    return image;
}

static void start(struct trial *trial) {
    memset(trial, 0, sizeof *trial);
    trial->random = 1;
    trial->below = memory_file_create();
    trial->above = memory_file_create();
    struct image_error error = {""};
    struct image_create args = {
        .format = IMAGE_FORMAT_QCOW2, .cluster_bytes = 512, .size_bytes = DISK};
    assert_int_equal(image_create(memory_file_open(trial->below), &args, &error), SLUICE_OK);
    args.cluster_bytes = CLUSTER;
    args.parent_name = "below";
    args.parent_format = IMAGE_FORMAT_QCOW2;
    assert_int_equal(image_create(memory_file_open(trial->above), &args, &error), SLUICE_OK);
    assert_int_equal(image_open(memory_file_open(trial->below), IMAGE_FORMAT_QCOW2, 0, 0,
                                &trial->parent, &error),
                     SLUICE_OK);
    memset(trial->before, 0xbb, DISK / 2);
    memset(trial->after, 0xbb, DISK / 2);
    assert_int_equal(image_write(trial->parent, 0, trial->after, DISK / 2), SLUICE_OK);
    assert_int_equal(image_flush(trial->parent), SLUICE_OK);
    trial->image = open_above(trial);
}

static void end(struct trial *trial) {
    image_close(trial->image);
    image_close(trial->parent);
    memory_file_destroy(trial->above);
    memory_file_destroy(trial->below);
}

static int32_t change(struct trial *trial, uint64_t kind) {
    struct image_error error = {""};
    uint64_t size = image_size(trial->image);
    uint64_t offset = dice(trial, size - 1);
    uint64_t length = 1 + dice(trial, dice(trial, 2) == 0 ? 3000 : 30000);
    if (length > size - offset)
        length = size - offset;
    if (kind >= 6) { /* a trim and zeroes of whole clusters are the same */
        uint64_t to = offset + length;
        offset = (offset + CLUSTER - 1) / CLUSTER * CLUSTER;
        if (to != size)
            to = to / CLUSTER * CLUSTER;
        length = to > offset ? to - offset : 0;
    }
    int32_t status;
    uint8_t bytes[30000];
    memset(bytes, kind < 5 ? (int)dice(trial, 250) : 0, sizeof bytes);
    if (kind == 4) {
        uint64_t next;
        return image_pull(trial->image, 1, offset, length, &next);
    }
    if (kind < 4)
        status = image_write(trial->image, offset, bytes, length);
    else if (kind == 5)
        status = image_write_zeroes(trial->image, offset, length);
    else if (kind == 6)
        status = image_trim(trial->image, offset, length);
    else {
        status = image_resize(trial->image, 2 * DISK, &error);
        length = 0;
    }
    memcpy(trial->after + offset, bytes, length);
    if (status == SLUICE_OK)
        memcpy(trial->before + offset, bytes, length);
    return status;
}

static void assert_as_known(struct trial *trial) {
    static uint8_t bytes[2 * DISK];
    uint64_t size = image_size(trial->image);
    assert_int_equal(image_read(trial->image, 0, bytes, size), SLUICE_OK);
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != trial->before[i] && bytes[i] != trial->after[i])
            fail_msg("byte %llu is %u, neither %u nor %u", (unsigned long long)i, bytes[i],
                     trial->before[i], trial->after[i]);
}

static void assert_nothing_broken(struct image *image) {
    struct image_error error = {""};
    struct image_report report;
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_string_equal(report.first, "");
    assert_int_equal(report.broken_clusters, 0);
}

/* true: the call of that number was met. */
static bool try_with(uint64_t number, int32_t fault, bool for_ever) {
    static struct trial trial;
    start(&trial);
    memory_file_fail(trial.above, number, fault, for_ever);
    uint32_t failures = 0;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        int32_t status = i % 6 == 5   ? image_flush(trial.image)
                         : i % 6 == 3 ? image_commit(trial.image)
                         : i == 13    ? change(&trial, 7)
                                      : change(&trial, dice(&trial, 7));
        if (status == SLUICE_OK)
            continue;
        assert_int_equal(status, fault);
        failures++;
        if (!for_ever)
            assert_as_known(&trial);
    }
    bool met = memory_file_has_failed(trial.above);
    memory_file_fail(trial.above, 0, 0, false);
    if (!for_ever) {
        assert_true(failures <= 1);
        assert_int_equal(image_flush(trial.image), SLUICE_OK);
        assert_nothing_broken(trial.image);
    }
    image_close(trial.image);
    trial.image = open_above(&trial);
    assert_nothing_broken(trial.image);
    if (!for_ever)
        assert_as_known(&trial);
    end(&trial);
    return met;
}

static void try_all(int32_t fault, bool for_ever) {
    uint64_t number = 1;
    while (try_with(number, fault, for_ever))
        number++;
    print_message("%llu calls\n", (unsigned long long)number);
    assert_true(number > 50);
}

static void no_space_once(void **state) {
    (void)state;
    try_all(SLUICE_NO_SPACE, false);
}

static void an_error_once(void **state) {
    (void)state;
    try_all(SLUICE_IO, false);
}

static void stale_for_ever(void **state) {
    (void)state;
    try_all(SLUICE_STALE, true);
}

/* A file system that is full, and then is not. */
static void a_full_file_system(void **state) {
    (void)state;
    static struct trial trial;
    start(&trial);
    memory_file_limit(trial.above, memory_file_size(trial.above) + (8u << 10));
    bool full = false;
    for (uint64_t offset = 0; offset < DISK; offset += 10000) {
        uint8_t bytes[10000];
        size_t length = DISK - offset < sizeof bytes ? DISK - offset : sizeof bytes;
        memset(bytes, 7, length);
        int32_t status = image_write(trial.image, offset, bytes, length);
        memcpy(trial.after + offset, bytes, length);
        if (status == SLUICE_OK)
            memcpy(trial.before + offset, bytes, length);
        else
            assert_int_equal(status, SLUICE_NO_SPACE);
        full = full || status != SLUICE_OK;
    }
    assert_true(full);
    assert_as_known(&trial);
    assert_int_equal(image_flush(trial.image), SLUICE_OK);
    assert_nothing_broken(trial.image);
    memory_file_limit(trial.above, UINT64_C(1) << 30);
    memset(trial.after, 9, DISK);
    memset(trial.before, 9, DISK);
    assert_int_equal(image_write(trial.image, 0, trial.after, DISK), SLUICE_OK);
    assert_int_equal(image_flush(trial.image), SLUICE_OK);
    assert_as_known(&trial);
    end(&trial);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_space_once),
        cmocka_unit_test(an_error_once),
        cmocka_unit_test(stale_for_ever),
        cmocka_unit_test(a_full_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

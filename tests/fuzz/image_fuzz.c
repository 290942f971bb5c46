/* SPDX-License-Identifier: Apache-2.0
 *
 * image_fuzz.c: any bytes as a disk image: opened, checked, read, mapped, written, repaired.
 * fuzz: image image_file
 *
 * The first byte says what is done. Every call may refuse; none may read or write what is not its
 * own, and all of them end. What is done is bounded, so that only the library's own loops can be
 * long. What was repaired without a word has nothing broken any more.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "image_file/memory_file.h"

#define FILE_MAX (UINT64_C(4) << 20) /* what is written beyond is NO_SPACE */
#define RUNS_MAX 200u
#define CHUNK 70000u /* more than a cluster of the usual size */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t chunk[CHUNK];

static struct image *attach_parent(struct image *image, struct memory_file *below) {
    struct image_error error;
    struct image *parent = NULL;
    if (image_parent_name(image, NULL) == NULL)
        return NULL;
    memset(chunk, 0x5a, sizeof chunk);
    memory_file_open(below)->ops->write(memory_file_open(below), 0, chunk, sizeof chunk);
    if (image_open(memory_file_open(below), IMAGE_FORMAT_RAW, 0, 0, &parent, &error) != SLUICE_OK ||
        image_attach_parent(image, parent, &error) != SLUICE_OK)
        abort();
    return parent;
}

static void read_all(struct image *image) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < RUNS_MAX && offset < image_size(image); i++) {
        struct image_run run;
        uint64_t rest = image_size(image) - offset;
        image_map(image, offset, rest, i % 2 == 1, &run);
        if (run.length == 0 || run.length > rest)
            abort();
        if (image_extent(image, offset, rest, i % 3 == 0 ? 0 : IMAGE_CHAIN_MAX, &run) !=
            SLUICE_OK) {
            offset += 1 + rest / 2;
            continue;
        }
        if (run.length == 0 || run.length > rest)
            abort();
        (void)image_read(image, offset, chunk, run.length < CHUNK ? run.length : CHUNK);
        offset += run.length;
    }
}

static void change_all(struct image *image, uint8_t how) {
    struct image_error error;
    uint64_t size = image_size(image);
    memset(chunk, how, sizeof chunk);
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t offset = size / 8 * i;
        uint64_t length = size - offset < CHUNK ? size - offset : CHUNK;
        if ((how >> i & 1) != 0)
            (void)image_write(image, offset, chunk, length);
        else if (i % 2 == 0)
            (void)image_write_zeroes(image, offset, length);
        else
            (void)image_trim(image, offset, length);
    }
    uint64_t next;
    (void)image_pull(image, 1, 0, CHUNK, &next);
    (void)image_commit(image);
    if ((how & 1) != 0)
        (void)image_resize(image, (size / 512 + how) / 2 * 512, &error);
    if ((how & 2) != 0)
        (void)image_set_parent(image, how % 4 == 2 ? "other" : NULL, IMAGE_FORMAT_RAW, NULL,
                               &error);
    (void)image_flush(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 2)
        return 0;
    struct memory_file *memory = memory_file_of(bytes + 2, size - 2);
    struct memory_file *below = memory_file_create();
    memory_file_limit(memory, FILE_MAX);
    memory_file_limit(below, FILE_MAX);
    uint32_t flags = (bytes[0] & 1) != 0 ? IMAGE_OPEN_READ_ONLY : 0;
    flags |= (bytes[0] & 2) != 0 ? IMAGE_OPEN_CHECK : 0;
    struct image_error error;
    struct image_report report;
    struct image *parent = NULL;
    struct image *image;
    if (image_open(memory_file_open(memory), IMAGE_FORMAT_QCOW2, flags, 1, &image, &error) ==
        SLUICE_OK) {
        parent = attach_parent(image, below);
        read_all(image);
        bool repaired = (bytes[0] & 4) != 0 &&
                        image_check(image, true, &report, &error) == SLUICE_OK &&
                        report.broken_clusters == 0;
        if (repaired && (image_check(image, false, &report, &error) != SLUICE_OK ||
                         report.broken_clusters != 0 || report.leaked_clusters != 0))
            abort();
        change_all(image, bytes[1]);
        read_all(image);
        (void)image_check(image, false, &report, &error);
        image_close(image);
        image_close(parent);
    }
    memory_file_destroy(memory);
    memory_file_destroy(below);
    return 0;
}

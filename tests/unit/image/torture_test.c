/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_test.c: what is left of an image when it ends after any write, in the middle of one, or
 * with the power.
 *
 * A walk is recorded. For each event of the file the image is opened as it stands then, by who
 * knows nothing of before: it has to open, nothing may be broken (space may be lost), and each byte
 * has to be one that it was at some time since the last commit (a process that dies) or the last
 * flush (the power). Parents are not changed by any step, so they are as they were.
 *
 * SLUICE_SEED begins elsewhere, SLUICE_FULL=1 goes on longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image_file/walk.h"

#define STEPS_MAX 64u
#define SECTOR_BYTES 512u
#define TORN_WHOLE_MAX 4u /* of a longer write only some cuts are made */

/* The disk after each step; the first is before all. */
struct history {
    struct walk *walk;
    uint8_t *bytes[STEPS_MAX + 1];
    uint64_t size[STEPS_MAX + 1];
    size_t events[STEPS_MAX + 1];
    uint32_t committed[STEPS_MAX + 1]; /* the last step whose end was a commit or flush */
    uint32_t flushed[STEPS_MAX + 1];
    char what[STEPS_MAX + 1][128];
    uint32_t count;
    uint64_t cuts;
};

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static void remember(struct history *history, bool committed, bool flushed) {
    uint32_t at = history->count++;
    struct walk *walk = history->walk;
    history->bytes[at] = malloc(walk->size_max);
    assert_non_null(history->bytes[at]);
    memcpy(history->bytes[at], walk->bytes, walk->size_max);
    history->size[at] = walk->size;
    history->events[at] = memory_file_events(walk->at[walk->count - 1].memory);
    history->committed[at] = committed || at == 0 ? at : history->committed[at - 1];
    history->flushed[at] = flushed || at == 0 ? at : history->flushed[at - 1];
    snprintf(history->what[at], sizeof history->what[at], "%s", walk->last);
}

static void forget(struct history *history) {
    for (uint32_t i = 0; i < history->count; i++)
        free(history->bytes[i]);
    history->count = 0;
}

/* Whether the byte was so at some time from step `from` to step `to`. */
static bool was(const struct history *history, uint64_t at, uint8_t byte, uint32_t from,
                uint32_t to) {
    for (uint32_t i = from; i <= to; i++)
        if (history->bytes[i][at] == byte)
            return true;
    return false;
}

/* The same for a sector, which is the usual case and quickly seen. */
static bool was_whole(const struct history *history, uint64_t at, const uint8_t *bytes,
                      uint32_t from, uint32_t to) {
    for (uint32_t i = to + 1; i-- > from;)
        if (memcmp(history->bytes[i] + at, bytes, SECTOR_BYTES) == 0)
            return true;
    return false;
}

static bool judge(struct history *history, struct memory_file *cut, uint32_t from, uint32_t to,
                  char *ret_wrong, size_t room) {
    struct walk *walk = history->walk;
    struct image *image;
    walk->wrong[0] = '\0';
    if (!walk_open_other(walk, memory_file_open(cut), &image)) {
        snprintf(ret_wrong, room, "%s", walk->wrong);
        return false;
    }
    uint64_t leaked;
    bool good = walk_check(walk, image, &leaked);
    if (!good)
        snprintf(ret_wrong, room, "%s", walk->wrong);
    uint64_t size = image_size(image);
    bool known = false;
    for (uint32_t i = from; i <= to; i++)
        known = known || history->size[i] == size;
    if (good && !known) {
        snprintf(ret_wrong, room, "the size is %llu", (unsigned long long)size);
        good = false;
    }
    if (good && image_read(image, 0, walk->scratch, size) != SLUICE_OK) {
        snprintf(ret_wrong, room, "it cannot be read");
        good = false;
    }
    for (uint64_t sector = 0; good && sector < size; sector += SECTOR_BYTES) {
        if (was_whole(history, sector, walk->scratch + sector, from, to))
            continue;
        for (uint64_t i = sector; i < sector + SECTOR_BYTES && good; i++)
            if (!was(history, i, walk->scratch[i], from, to)) {
                snprintf(ret_wrong, room, "byte %llu is %u", (unsigned long long)i,
                         walk->scratch[i]);
                good = false;
            }
    }
    image_close(image);
    history->cuts++;
    return good;
}

static void cut_at(struct history *history, size_t event, size_t sectors, uint32_t step,
                   uint64_t seed) {
    const struct walk_image *top = &history->walk->at[history->walk->count - 1];
    char wrong[600] = "";
    struct memory_file *cut = memory_file_cut(top->memory, event, sectors);
    bool good = judge(history, cut, history->committed[step - 1], step, wrong, sizeof wrong);
    memory_file_destroy(cut);
    if (!good)
        fail_msg("seed %llu, step %u (%s), %zu events and %zu sectors: %s",
                 (unsigned long long)seed, step, history->what[step], event, sectors, wrong);
    for (uint64_t coin = 0; sectors == 0 && coin < 2; coin++) {
        cut = memory_file_power_cut(top->memory, event, seed * 7 + event * 2 + coin);
        good = judge(history, cut, history->flushed[step - 1], step, wrong, sizeof wrong);
        memory_file_destroy(cut);
        if (!good)
            fail_msg("seed %llu, step %u (%s), power cut %llu after %zu events: %s",
                     (unsigned long long)seed, step, history->what[step], (unsigned long long)coin,
                     event, wrong);
    }
}

static void cut_everywhere(struct history *history, uint64_t seed) {
    const struct walk_image *top = &history->walk->at[history->walk->count - 1];
    uint32_t step = 1;
    for (size_t event = 0; event < memory_file_events(top->memory); event++) {
        while (step < history->count - 1 && history->events[step] <= event)
            step++;
        size_t sectors = memory_file_event_sectors(top->memory, event);
        cut_at(history, event, 0, step, seed);
        for (size_t torn = 1; torn < sectors; torn += sectors <= TORN_WHOLE_MAX ? 1 : sectors / 3)
            cut_at(history, event, torn, step, seed);
    }
    cut_at(history, memory_file_events(top->memory), 0, history->count - 1, seed);
}

/* Steps of one image above 0 to 2 others. `commit_each`: after each step, as who has a page cache.
 */
static uint64_t torture(uint64_t seed, uint32_t format, uint32_t cluster_bytes, uint64_t size_max,
                        uint32_t steps, bool commit_each) {
    struct walk walk = {.steps = WALK_ALL & ~(uint32_t)(WALK_SNAPSHOT | WALK_LET_GO | WALK_REOPEN),
                        .format = format,
                        .size_max = size_max,
                        .cluster_bytes = cluster_bytes,
                        .cache_bytes = 1};
    struct history history = {.walk = &walk};
    assert_true(walk_start(&walk, seed));
    uint64_t parents = walk_random(&walk, 3);
    for (uint64_t i = 0; i < parents || image_format(walk_top(&walk)) == IMAGE_FORMAT_RAW; i++) {
        for (uint32_t k = 0; k < 10; k++)
            if (!walk_next(&walk))
                fail_msg("seed %llu: %s", (unsigned long long)seed, walk.wrong);
        assert_true(walk_snapshot(&walk));
    }
    memory_file_record(walk.at[walk.count - 1].memory);
    remember(&history, true, true);
    for (uint32_t i = 0; i < steps; i++) {
        /* A flush as a step of its own is known as such; others flush when they have to. */
        enum walk_step step = WALK_FLUSH;
        bool flush = walk_random(&walk, 10) == 0;
        bool good = flush ? walk_take(&walk, step) : walk_next(&walk);
        if (good && commit_each && !flush)
            good = image_commit(walk_top(&walk)) == SLUICE_OK;
        if (!good)
            fail_msg("seed %llu: %s", (unsigned long long)seed, walk.wrong);
        bool is_flush = strcmp(walk.last, "flush") == 0 || strcmp(walk.last, "check") == 0 ||
                        strncmp(walk.last, "resize", 6) == 0;
        remember(&history, commit_each || is_flush || strcmp(walk.last, "commit") == 0, is_flush);
    }
    cut_everywhere(&history, seed);
    forget(&history);
    walk_end(&walk);
    return history.cuts;
}

static void torture_all(uint32_t format, uint32_t cluster_bytes, uint64_t size_max, uint32_t steps,
                        uint64_t rounds) {
    uint64_t cuts = 0;
    if (number("SLUICE_FULL", 0) == 1)
        rounds *= 20;
    for (uint64_t i = 0; i < rounds; i++)
        cuts += torture(number("SLUICE_SEED", 1) * 1000 + i, format, cluster_bytes, size_max, steps,
                        i % 2 == 0);
    print_message("%llu cuts\n", (unsigned long long)cuts);
}

static void clusters_of_512(void **state) {
    (void)state;
    torture_all(0, 512, 512u << 10, STEPS_MAX, 4);
}

static void clusters_of_4096(void **state) {
    (void)state;
    torture_all(0, 4096, 512u << 10, STEPS_MAX, 6);
}

static void clusters_of_65536(void **state) {
    (void)state;
    torture_all(0, 65536, UINT64_C(1) << 20, STEPS_MAX, 4);
}

/* The log is replayed after each cut, or was not needed. */
static void vhdx(void **state) {
    (void)state;
    torture_all(IMAGE_FORMAT_VHDX, 1u << 20, UINT64_C(3) << 20, 16, 4);
}

static uint64_t load64(const uint8_t *at) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

/* A file that outgrows its refcount table, which is made for the disk that there was at first. */
static void counts_that_grow(void **state) {
    (void)state;
    enum { REFTABLE_OFFSET = 48, BIG = 20 << 20, CHUNK = 512 << 10 };
    struct memory_file *memory = memory_file_create();
    struct image_file *file = memory_file_open(memory);
    struct image_error error = {""};
    struct image_report report;
    struct image *image;
    struct image_create args = {
        .format = IMAGE_FORMAT_QCOW2, .cluster_bytes = 512, .size_bytes = 1 << 20};
    assert_int_equal(image_create(file, &args, &error), SLUICE_OK);
    uint64_t table = load64(memory_file_bytes(memory) + REFTABLE_OFFSET);
    assert_int_equal(image_open(file, IMAGE_FORMAT_QCOW2, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_resize(image, BIG, &error), SLUICE_OK);
    memory_file_record(memory);
    uint8_t *bytes = malloc(CHUNK);
    assert_non_null(bytes);
    for (uint64_t offset = 0; offset < BIG; offset += CHUNK) {
        memset(bytes, (int)(offset / CHUNK) + 1, CHUNK);
        assert_int_equal(image_write(image, offset, bytes, CHUNK), SLUICE_OK);
        assert_int_equal(image_commit(image), SLUICE_OK);
    }
    assert_int_not_equal(load64(memory_file_bytes(memory) + REFTABLE_OFFSET), table);
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_string_equal(report.first, "");
    assert_int_equal(report.broken_clusters + report.leaked_clusters, 0);
    for (uint64_t offset = 0; offset < BIG; offset += CHUNK) {
        assert_int_equal(image_read(image, offset, bytes, CHUNK), SLUICE_OK);
        assert_int_equal(bytes[0], offset / CHUNK + 1);
        assert_memory_equal(bytes, bytes + 1, CHUNK - 1);
    }
    image_close(image);
    for (size_t event = 0; event <= memory_file_events(memory); event += 6) {
        struct memory_file *cut = event % 12 == 0 ? memory_file_cut(memory, event, 1)
                                                  : memory_file_power_cut(memory, event, event);
        assert_int_equal(image_open(memory_file_open(cut), IMAGE_FORMAT_QCOW2, IMAGE_OPEN_CHECK, 0,
                                    &image, &error),
                         SLUICE_OK);
        assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
        if (report.broken_clusters > 0)
            fail_msg("after %zu events: %s", event, report.first);
        image_close(image);
        memory_file_destroy(cut);
    }
    free(bytes);
    memory_file_destroy(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_of_512),
        cmocka_unit_test(clusters_of_4096),
        cmocka_unit_test(clusters_of_65536),
        cmocka_unit_test(counts_that_grow),
        cmocka_unit_test(vhdx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

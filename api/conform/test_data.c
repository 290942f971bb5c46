/* SPDX-License-Identifier: Apache-2.0
 *
 * test_data.c: data calls.
 */
#include <stdlib.h>
#include <string.h>

#include "conform/test.h"

#define MANY_MOST (HOST_IOS_MAX / 2)
#define MANY_DEFAULT 64 /* where the pool tells no limit */
#define EXTENTS 32
#define LARGEST_MOST (UINT64_C(64) << 20) /* of one call; a larger io_max is not tried whole */

static uint64_t align_of(const struct kit *kit) {
    return kit->pool.limits.io_align > 0 ? kit->pool.limits.io_align : 1;
}

static uint8_t *take_buffer(uint64_t length) {
    uint8_t *bytes = calloc(1, length);
    EXPECT(BYTES, bytes != NULL, "there is no memory for the kit itself");
    return bytes;
}

void test_data_patterns(struct kit *kit) {
    struct host_data data;
    struct rng rng = rng_of_seed(kit->subject->seed);
    uint64_t align = align_of(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    uint64_t units = kit->size / align;
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t first = rng_below(&rng, units);
        uint64_t most =
            units - first < 4 * kit->block / align ? units - first : 4 * kit->block / align;
        uint64_t count = 1 + rng_below(&rng, most);
        kit_write(&data, 100 + i, first * align, count * align, i % 8 == 0);
        kit_read(RULE_BYTES, &data, 100 + i, first * align, count * align,
                 "what was written a moment ago");
    }
    kit_write(&data, 1, 0, kit->size, true);
    kit_read(RULE_BYTES, &data, 1, 0, kit->size, "the whole volume");
    host_data_close(&data);
    kit_expect(kit, RULE_BYTES, &volume, NULL, 1, 0, kit->size, "the whole volume, opened again");
}

/* Offsets and lengths that no block of a driver begins or ends at. */
void test_data_neighbours(struct kit *kit) {
    static const enum host_verb verbs[] = {HOST_WRITE, HOST_ZEROES, HOST_TRIM};
    static const char *const before[] = {"before a write", "before zeroes", "before a trim"};
    static const char *const after[] = {"after a write", "after zeroes", "after a trim"};
    struct host_data data;
    uint64_t align = align_of(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    const uint64_t ranges[][2] = {
        {align, align},
        {kit->block - align, 2 * align},
        {kit->block + align, kit->block},
        {3 * kit->block - align, 5 * kit->block + 2 * align},
        {kit->size - 2 * align, align},
    };
    kit_data_open(kit, &data, &volume, NULL, false);
    for (size_t v = 0; v < sizeof verbs / sizeof verbs[0]; v++) {
        for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
            uint64_t offset = ranges[i][0];
            uint64_t end = offset + ranges[i][1];
            kit_write(&data, 1, 0, kit->size, false);
            if (verbs[v] == HOST_WRITE) {
                kit_write(&data, 2, offset, end - offset, false);
            } else if (verbs[v] == HOST_ZEROES) {
                WANT_IO(ZEROES, host_zero(&data, offset, end - offset, 0), SLUICE_OK, "zeroes");
            } else {
                WANT_IO(TRIM, host_trim(&data, offset, end - offset), SLUICE_OK, "a trim");
            }
            kit_read(RULE_BYTES, &data, 1, 0, offset, before[v]);
            kit_read(RULE_BYTES, &data, 1, end, kit->size - end, after[v]);
        }
    }
    host_data_close(&data);
}

void test_data_edges(struct kit *kit) {
    struct host_data data;
    uint64_t align = align_of(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    EXPECT(RESULT, data.opened.size_bytes == kit->size,
           "data_open tells %llu bytes, the volume has %llu",
           (unsigned long long)data.opened.size_bytes, (unsigned long long)kit->size);
    EXPECT(RESULT, data.opened.handle != NULL, "data_open answered OK and gave no handle");
    kit_write(&data, 1, 0, align, false);
    kit_write(&data, 2, kit->size - align, align, true);
    kit_read(RULE_BYTES, &data, 1, 0, align, "the first bytes");
    kit_read(RULE_BYTES, &data, 2, kit->size - align, align, "the last bytes");
    kit_read(RULE_BYTES, &data, 0, align, kit->size - 2 * align, "what lies between");
    host_data_close(&data);
}

void test_data_beyond(struct kit *kit) {
    struct host_data data;
    struct sluice_extent extents[EXTENTS];
    uint32_t count;
    uint64_t align = align_of(kit);
    const uint64_t ranges[][2] = {
        {kit->size, align},
        {kit->size - align, 2 * align},
        {kit->size + 1024 * align, align},
        {UINT64_MAX - align + 1, align},
        {UINT64_MAX - 2 * align + 1, 2 * align},
    };
    uint8_t *bytes = take_buffer(2 * align);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, false);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        uint64_t offset = ranges[i][0];
        uint64_t length = ranges[i][1];
        WANT_IO(RANGE, host_read(&data, offset, bytes, length), SLUICE_INVALID,
                "a read beyond the end");
        WANT_IO(RANGE, host_write(&data, offset, bytes, length, 0), SLUICE_INVALID,
                "a write beyond the end");
        WANT_IO(RANGE, host_zero(&data, offset, length, 0), SLUICE_INVALID,
                "zeroes beyond the end");
        WANT_IO(RANGE, host_trim(&data, offset, length), SLUICE_INVALID, "a trim beyond the end");
        if (kit_has(kit, SLUICE_CAP_EXTENTS)) {
            WANT_IO(RANGE, host_extents(&data, offset, length, extents, EXTENTS, &count),
                    SLUICE_INVALID, "extents beyond the end");
        }
    }
    kit_read(RULE_RANGE, &data, 1, 0, kit->size, "the volume, after calls beyond its end");
    host_data_close(&data);
    free(bytes);
}

void test_data_empty(struct kit *kit) {
    struct host_data data;
    uint8_t byte[1] = {0};
    const uint64_t offsets[] = {0, kit->block, kit->size};
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, false);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        WANT_IO(RANGE, host_read(&data, offsets[i], byte, 0), SLUICE_OK, "a read of 0 bytes");
        WANT_IO(RANGE, host_write(&data, offsets[i], byte, 0, 0), SLUICE_OK, "a write of 0 bytes");
        WANT_IO(RANGE, host_zero(&data, offsets[i], 0, 0), SLUICE_OK, "zeroes of 0 bytes");
        WANT_IO(RANGE, host_trim(&data, offsets[i], 0), SLUICE_OK, "a trim of 0 bytes");
    }
    WANT_IO(FLUSH, host_flush(&data), SLUICE_OK, "a flush");
    kit_read(RULE_RANGE, &data, 1, 0, kit->size, "the volume, after calls of 0 bytes");
    host_data_close(&data);
}

void test_data_largest(struct kit *kit) {
    struct host_data data;
    uint64_t most = kit->pool.limits.io_max > 0 ? kit->pool.limits.io_max : kit->size;
    uint64_t length = most < LARGEST_MOST ? most : LARGEST_MOST;
    length = length / align_of(kit) * align_of(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit_round(kit, length + kit->size));
    uint8_t *bytes = take_buffer(length);
    kit_data_open(kit, &data, &volume, NULL, false);
    pattern_fill(1, kit->block, bytes, length);
    WANT_IO(BYTES, host_write(&data, kit->block, bytes, length, 0), SLUICE_OK,
            "a write of io_max bytes");
    memset(bytes, 0, length);
    WANT_IO(BYTES, host_read(&data, kit->block, bytes, length), SLUICE_OK,
            "a read of io_max bytes");
    for (uint64_t i = 0; i < length; i++) {
        EXPECT(BYTES, bytes[i] == pattern_byte(1, kit->block + i),
               "one call of %llu bytes: at %llu another byte is read than was written",
               (unsigned long long)length, (unsigned long long)i);
    }
    host_data_close(&data);
    free(bytes);
}

void test_data_overwrites(struct kit *kit) {
    struct host_data data;
    uint64_t align = align_of(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    for (uint64_t i = 1; i <= 8; i++) {
        kit_write(&data, i, 0, kit->size - i * align, i % 2 == 0);
    }
    kit_read(RULE_BYTES, &data, 8, 0, kit->size - 8 * align, "where the last write was");
    for (uint64_t i = 1; i < 8; i++) {
        kit_read(RULE_BYTES, &data, i, kit->size - (i + 1) * align, align,
                 "what later writes left of an earlier one");
    }
    host_data_close(&data);
}

void test_data_read_only(struct kit *kit) {
    struct host_data data;
    uint64_t length = kit->block;
    uint8_t *bytes = take_buffer(length);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    kit_data_open(kit, &data, &volume, NULL, true);
    WANT_IO(READ_ONLY, host_write(&data, 0, bytes, length, 0), SLUICE_READ_ONLY,
            "a write on a read-only handle");
    WANT_IO(READ_ONLY, host_zero(&data, 0, length, 0), SLUICE_READ_ONLY,
            "zeroes on a read-only handle");
    WANT_IO(READ_ONLY, host_trim(&data, 0, length), SLUICE_READ_ONLY,
            "a trim on a read-only handle");
    WANT_IO(READ_ONLY, host_flush(&data), SLUICE_OK, "a flush on a read-only handle");
    kit_read(RULE_READ_ONLY, &data, 1, 0, kit->size, "the volume of a read-only handle");
    host_data_close(&data);
    free(bytes);
}

void test_data_snapshot_read_only(struct kit *kit) {
    struct host_data data;
    uint8_t *bytes = take_buffer(kit->block);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    const struct sluice_uuid snapshot = kit_snapshot(kit, &volume);
    int32_t status = host_data_open(&data, &kit->pool, &volume, &snapshot, kit_epoch(kit), false);
    EXPECT(READ_ONLY, status != SLUICE_OK, "a snapshot was opened to write");
    /* Its epoch does not matter. */
    status = host_data_open_patiently(&data, &kit->pool, &volume, &snapshot, 0, true);
    WANT(READ_ONLY, &kit->pool, status, SLUICE_OK);
    WANT_IO(READ_ONLY, host_write(&data, 0, bytes, kit->block, 0), SLUICE_READ_ONLY,
            "a write on a snapshot");
    kit_read(RULE_READ_ONLY, &data, 1, 0, kit->size, "a snapshot");
    host_data_close(&data);
    free(bytes);
}

void test_data_zeroes(struct kit *kit) {
    struct host_data data;
    static const uint32_t flags[] = {0, SLUICE_IO_FUA, SLUICE_IO_NO_HOLE, SLUICE_IO_FAST_ZERO,
                                     SLUICE_IO_NO_HOLE | SLUICE_IO_FUA};
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        kit_write(&data, 1, 0, kit->size, false);
        int32_t status = host_zero(&data, kit->block, kit->size / 2, flags[i]);
        if ((flags[i] & SLUICE_IO_FAST_ZERO) != 0 && status == SLUICE_UNSUPPORTED) {
            EXPECT(ZEROES, !kit_has(kit, SLUICE_CAP_ZERO_FAST),
                   "the pool states ZERO_FAST, and zeroes with FAST_ZERO are UNSUPPORTED");
            continue;
        }
        WANT_IO(ZEROES, status, SLUICE_OK, "zeroes");
        kit_read(RULE_ZEROES, &data, 0, kit->block, kit->size / 2, "zeroed bytes");
        if ((flags[i] & SLUICE_IO_NO_HOLE) == 0 || !kit_has(kit, SLUICE_CAP_EXTENTS)) {
            continue;
        }
        struct sluice_extent extents[EXTENTS];
        uint32_t count;
        WANT_IO(EXTENTS, host_extents(&data, kit->block, kit->size / 2, extents, EXTENTS, &count),
                SLUICE_OK, "extents");
        for (uint32_t k = 0; k < count; k++) {
            EXPECT(ZEROES, (extents[k].flags & SLUICE_EXTENT_HOLE) == 0,
                   "zeroes with NO_HOLE at %llu are a hole", (unsigned long long)extents[k].offset);
        }
    }
    host_data_close(&data);
}

void test_data_trims(struct kit *kit) {
    struct host_data data;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    uint8_t *bytes = take_buffer(kit->block);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    WANT_IO(TRIM, host_trim(&data, kit->block, 4 * kit->block), SLUICE_OK, "a trim");
    for (uint64_t at = kit->block; at < 5 * kit->block; at += kit->block) {
        WANT_IO(TRIM, host_read(&data, at, bytes, kit->block), SLUICE_OK, "a read");
        for (uint64_t i = 0; i < kit->block; i++) {
            EXPECT(TRIM, bytes[i] == 0 || bytes[i] == pattern_byte(1, at + i),
                   "trimmed bytes at %llu read as %02x", (unsigned long long)(at + i), bytes[i]);
        }
    }
    kit_read(RULE_TRIM, &data, 1, 0, kit->block, "what lies before trimmed bytes");
    kit_read(RULE_TRIM, &data, 1, 5 * kit->block, kit->size - 5 * kit->block,
             "what lies behind trimmed bytes");
    kit_write(&data, 2, 2 * kit->block, kit->block, true);
    kit_read(RULE_TRIM, &data, 2, 2 * kit->block, kit->block, "what was written after a trim");
    host_data_close(&data);
    free(bytes);
}

/* Asks for extents of at most `capacity` at a time, and looks at each. */
static void walk_extents(struct kit *kit, struct host_data *data, uint64_t from, uint64_t end,
                         uint32_t capacity) {
    struct sluice_extent extents[EXTENTS + 1];
    for (uint64_t at = from; at < end;) {
        uint32_t count;
        memset(extents, 0x5a, sizeof extents);
        WANT_IO(EXTENTS, host_extents(data, at, end - at, extents, capacity, &count), SLUICE_OK,
                "extents");
        EXPECT(EXTENTS, count > 0 && count <= capacity, "%u extents where %u have room", count,
               capacity);
        EXPECT(EXTENTS, extents[capacity].reserved == 0x5a5a5a5a,
               "an extent was written beyond the capacity of %u", capacity);
        for (uint32_t i = 0; i < count; i++) {
            EXPECT(EXTENTS,
                   extents[i].offset == at && extents[i].length > 0 &&
                       extents[i].length <= end - at,
                   "extent %u is %llu bytes at %llu; it should begin at %llu and end by %llu", i,
                   (unsigned long long)extents[i].length, (unsigned long long)extents[i].offset,
                   (unsigned long long)at, (unsigned long long)end);
            if ((extents[i].flags & (SLUICE_EXTENT_ZERO | SLUICE_EXTENT_HOLE)) != 0) {
                kit_read(RULE_EXTENTS, data, 0, at, extents[i].length,
                         "what extents call a hole or zero");
            }
            at += extents[i].length;
        }
    }
    (void)kit;
}

void test_data_extents(struct kit *kit) {
    struct host_data data;
    uint64_t size = kit_round(kit, 16 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, size);
    kit_data_open(kit, &data, &volume, NULL, false);
    walk_extents(kit, &data, 0, size, EXTENTS);
    for (uint64_t i = 0; i < 8; i++) {
        kit_write(&data, i + 1, 2 * i * kit->size + kit->block, kit->block, false);
    }
    WANT_IO(ZEROES, host_zero(&data, 0, kit->size, 0), SLUICE_OK, "zeroes");
    WANT_IO(TRIM, host_trim(&data, 2 * kit->size, kit->size), SLUICE_OK, "a trim");
    WANT_IO(FLUSH, host_flush(&data), SLUICE_OK, "a flush");
    walk_extents(kit, &data, 0, size, EXTENTS);
    walk_extents(kit, &data, 0, size, 1);
    walk_extents(kit, &data, kit->block, size - kit->block, 2);
    walk_extents(kit, &data, 2 * kit->size + kit->block, 2 * kit->size + 2 * kit->block, 2);
    host_data_close(&data);
}

/* ---- many at once ------------------------------------------------------------------------- */

static void submit_all(struct host_data *data, enum host_verb verb, uint8_t *bytes, uint64_t block,
                       uint32_t count) {
    struct host_io *ios[MANY_MOST];
    for (uint32_t i = 0; i < count; i++) {
        const struct sluice_io io = {
            .offset = i * block, .length = block, .buffer = bytes + i * block};
        ios[i] = host_submit(data, verb, &io);
    }
    for (uint32_t i = 0; i < count; i++) {
        WANT_IO(BYTES, host_wait(data, ios[i], NULL), SLUICE_OK, "one of many calls");
    }
}

/* Whether the runner would let data calls on one volume overlap. */
static bool may_overlap(const struct kit *kit) {
    return kit->shared->look.threads == SLUICE_THREADS_PARALLEL ||
           kit->shared->look.threads == SLUICE_THREADS_LOOP;
}

void test_data_many(struct kit *kit) {
    struct host_data data;
    uint32_t most =
        kit->pool.limits.in_flight_max > 0 ? kit->pool.limits.in_flight_max : MANY_DEFAULT;
    uint32_t count = most < MANY_MOST ? most : MANY_MOST;
    if (!may_overlap(kit)) {
        kit_skip(kit, "the thread model lets no data calls on one volume overlap");
    }
    uint64_t length = count * kit->block;
    uint8_t *bytes = take_buffer(length);
    uint8_t *wanted = take_buffer(length);
    const struct sluice_uuid volume = kit_volume(kit, kit_round(kit, length));
    kit_data_open(kit, &data, &volume, NULL, false);
    pattern_fill(1, 0, bytes, length);
    memcpy(wanted, bytes, length);
    submit_all(&data, HOST_WRITE, bytes, kit->block, count);
    memset(bytes, 0, length);
    submit_all(&data, HOST_READ, bytes, kit->block, count);
    EXPECT(BYTES, memcmp(bytes, wanted, length) == 0,
           "%u reads at once bring other bytes than %u writes at once wrote", count, count);
    host_data_close(&data);
    free(bytes);
    free(wanted);
}

void test_data_overlaps(struct kit *kit) {
    struct host_data data;
    uint64_t block = kit->block;
    if (!may_overlap(kit)) {
        kit_skip(kit, "the thread model lets no data calls on one volume overlap");
    }
    uint8_t *bytes = take_buffer(6 * block);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    for (uint64_t round = 1; round <= 16; round++) {
        const struct sluice_io first = {.offset = 0, .length = 2 * block, .buffer = bytes};
        const struct sluice_io second = {
            .offset = block, .length = 2 * block, .buffer = bytes + 2 * block};
        pattern_fill(round, 0, bytes, 2 * block);
        pattern_fill(round + 100, block, bytes + 2 * block, 2 * block);
        struct host_io *ios[2] = {host_submit(&data, HOST_WRITE, &first),
                                  host_submit(&data, HOST_WRITE, &second)};
        WANT_IO(BYTES, host_wait(&data, ios[0], NULL), SLUICE_OK, "a write");
        WANT_IO(BYTES, host_wait(&data, ios[1], NULL), SLUICE_OK, "a write");
        kit_read(RULE_BYTES, &data, round, 0, block, "where only the first of two writes was");
        kit_read(RULE_BYTES, &data, round + 100, 2 * block, block,
                 "where only the second of two writes was");
        WANT_IO(BYTES, host_read(&data, block, bytes + 4 * block, block), SLUICE_OK, "a read");
        for (uint64_t i = 0; i < block; i++) {
            uint8_t seen = bytes[4 * block + i];
            EXPECT(BYTES,
                   seen == pattern_byte(round, block + i) ||
                       seen == pattern_byte(round + 100, block + i),
                   "where two writes overlapped, at %llu stands %02x of neither",
                   (unsigned long long)(block + i), seen);
        }
    }
    host_data_close(&data);
    free(bytes);
}

void test_data_cancels(struct kit *kit) {
    struct host_data data;
    if (kit->pool.table->data_cancel == NULL) {
        kit_skip(kit, "the driver has no data_cancel");
    }
    uint8_t *bytes = take_buffer(kit->block);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_put(kit, &volume, 1, 0, kit->size);
    kit_data_open(kit, &data, &volume, NULL, true);
    for (uint64_t i = 0; i < 16; i++) {
        const struct sluice_io io = {
            .offset = i * kit->block, .length = kit->block, .buffer = bytes};
        struct host_io *submitted = host_submit(&data, HOST_READ, &io);
        host_cancel(&data, submitted);
        int32_t status = host_wait(&data, submitted, NULL);
        EXPECT(CANCELLED, status == SLUICE_OK || status == SLUICE_CANCELLED,
               "a read that was cancelled was completed with %s", status_name(status));
    }
    kit_read(RULE_CANCELLED, &data, 1, 0, kit->size, "the volume, after reads were cancelled");
    host_data_close(&data);
    free(bytes);
}

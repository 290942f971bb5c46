/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fence.c: epochs, and what survives the driver's death by the stability token.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "conform/test.h"

#define POOL_OWN 1
#define PHASE_OPEN 1   /* the predecessor has written */
#define PHASE_BUSY 2   /* the successor is kept out until the predecessor is gone */
#define PHASE_FENCED 3 /* the successor has written */
#define PHASE_TRIED 4  /* the predecessor has tried to write once more */

void test_fence_lower_is_stale(struct kit *kit) {
    struct host_data data;
    uint64_t lower = kit_epoch(kit);
    uint64_t higher = kit_epoch(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    WANT(EPOCH, &kit->pool, host_data_open(&data, &kit->pool, &volume, NULL, higher, false),
         SLUICE_OK);
    host_data_close(&data);
    for (int read_only = 0; read_only < 2; read_only++) {
        WANT(EPOCH, &kit->pool,
             host_data_open(&data, &kit->pool, &volume, NULL, lower, read_only != 0), SLUICE_STALE);
    }
    WANT(EPOCH, &kit->pool,
         host_data_open_patiently(&data, &kit->pool, &volume, NULL, higher, false), SLUICE_OK);
    host_data_close(&data);
}

/* The successor got in beside the open predecessor, so that one must be powerless. */
static void expect_fenced(struct kit *kit, struct host_data *old, struct host_data *new) {
    uint8_t *bytes = calloc(1, kit->block);
    EXPECT(EPOCH, bytes != NULL, "there is no memory for the kit itself");
    int32_t written = host_write(old, 0, bytes, kit->block, 0);
    int32_t zeroed = host_zero(old, 0, kit->block, 0);
    int32_t trimmed = host_trim(old, 0, kit->block);
    EXPECT(EPOCH, written != SLUICE_OK && zeroed != SLUICE_OK && trimmed != SLUICE_OK,
           "after a higher epoch a write, zeroes and a trim of the lower one: %s, %s, %s",
           status_name(written), status_name(zeroed), status_name(trimmed));
    kit_read(RULE_EPOCH, new, 1, 0, kit->block, "after a write of a lower epoch");
    kit_write(new, 2, 0, kit->block, true);
    kit_read(RULE_EPOCH, new, 2, 0, kit->block, "what the higher epoch wrote");
    free(bytes);
}

void test_fence_higher_fences(struct kit *kit) {
    struct host_data old;
    struct host_data new;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &old, &volume, NULL, false);
    kit_write(&old, 1, 0, kit->size, true);
    int32_t status = host_data_open(&new, &kit->pool, &volume, NULL, kit_epoch(kit), false);
    if (status == SLUICE_BUSY) {
        /* It is kept out; so the first is no predecessor yet, and goes on. */
        kit_write(&old, 3, kit->block, kit->block, true);
        host_data_close(&old);
        kit_data_open(kit, &new, &volume, NULL, false);
        kit_read(RULE_EPOCH, &new, 3, kit->block, kit->block, "what the predecessor wrote");
    } else {
        WANT(EPOCH, &kit->pool, status, SLUICE_OK);
        expect_fenced(kit, &old, &new);
        host_data_close(&old);
    }
    host_data_close(&new);
}

void test_fence_open_is_busy(struct kit *kit) {
    struct host_data data;
    struct sluice_volume told;
    const struct sluice_uuid operation = kit_id(kit);
    uint64_t size = kit_round(kit, 2 * kit->size);
    const struct sluice_uuid volume = kit_volume(kit, size);
    kit_put(kit, &volume, 1, 0, size);
    struct sluice_uuid snapshot = operation;
    if (kit_has(kit, SLUICE_CAP_SNAPSHOT)) {
        snapshot = kit_snapshot(kit, &volume);
    }
    kit_data_open(kit, &data, &volume, NULL, false);
    WANT(BUSY, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_BUSY);
    if (kit_has(kit, SLUICE_CAP_SHRINK)) {
        WANT(BUSY, &kit->pool, host_resize(&kit->pool, &volume, kit->size, &told), SLUICE_BUSY);
    }
    if (kit_has(kit, SLUICE_CAP_REVERT)) {
        WANT(BUSY, &kit->pool, host_revert(&kit->pool, &volume, &snapshot, &operation, &told),
             SLUICE_BUSY);
    }
    kit_read(RULE_BUSY, &data, 1, 0, size, "a volume that was busy");
    host_data_close(&data);
    WANT(DELETE, &kit->pool, host_delete(&kit->pool, &volume), SLUICE_OK);
}

/* ---- across processes --------------------------------------------------------------------- */

static void open_own(struct kit *kit) {
    kit_load(kit);
    WANT(CLAIM, &kit->pool, kit_try(kit, POOL_OWN, 0), SLUICE_OK);
}

static void make_and_open_high(struct kit *kit) {
    struct host_data data;
    kit_open(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_epoch(kit);
    kit_data_open(kit, &data, &volume, NULL, false);
    host_data_close(&data);
    kit_close(kit);
}

static void open_low(struct kit *kit) {
    struct host_data data;
    uint64_t highest = kit->shared->epoch;
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    WANT(EPOCH, &kit->pool, host_data_open(&data, &kit->pool, &volume, NULL, highest - 1, false),
         SLUICE_STALE);
    WANT(EPOCH, &kit->pool,
         host_data_open_patiently(&data, &kit->pool, &volume, NULL, highest, false), SLUICE_OK);
    host_data_close(&data);
    kit_close(kit);
}

void test_fence_remembers(struct kit *kit) {
    kit_run(kit, make_and_open_high);
    kit_run(kit, open_low);
}

/* It hangs with the volume open, and wakes up when its successor has written. */
static void predecessor(struct kit *kit) {
    struct host_data data;
    kit_open(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    kit_reach(kit, PHASE_OPEN);
    kit_await(kit, PHASE_FENCED);
    uint8_t *bytes = calloc(1, kit->block);
    EXPECT(EPOCH, bytes != NULL, "there is no memory for the kit itself");
    pattern_fill(2, 0, bytes, kit->block);
    /* Whatever is answered: it must not take effect. */
    host_write(&data, 0, bytes, kit->block, 0);
    host_zero(&data, kit->block, kit->block, SLUICE_IO_FUA);
    host_flush(&data);
    kit_reach(kit, PHASE_TRIED);
}

static void successor(struct kit *kit) {
    struct host_data data;
    kit_await(kit, PHASE_OPEN);
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    int32_t status = host_data_open(&data, &kit->pool, &volume, NULL, kit_epoch(kit), false);
    if (status == SLUICE_BUSY) {
        kit_reach(kit, PHASE_BUSY);
        kit_data_open(kit, &data, &volume, NULL, false);
        kit_read(RULE_EPOCH, &data, 1, 0, kit->size, "what the predecessor had made stable");
        kit_write(&data, 3, 0, kit->size, true);
    } else {
        WANT(EPOCH, &kit->pool, status, SLUICE_OK);
        kit_write(&data, 3, 0, kit->size, true);
        kit_reach(kit, PHASE_FENCED);
        kit_await(kit, PHASE_TRIED);
        kit_read(RULE_EPOCH, &data, 3, 0, kit->size, "after the predecessor woke up");
    }
    host_data_close(&data);
    kit_close(kit);
}

static void third(struct kit *kit) {
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    kit_expect(kit, RULE_EPOCH, &volume, NULL, 3, 0, kit->size,
               "in the next process, after the predecessor woke up");
    kit_close(kit);
}

void test_fence_processes(struct kit *kit) {
    int old = kit_spawn(kit, 1, predecessor);
    int new = kit_spawn(kit, 2, successor);
    kit_await(kit, PHASE_BUSY);
    if (kit->shared->phase == PHASE_BUSY) {
        kill(old, SIGKILL);
        kit_note(kit, "a successor is BUSY until its predecessor is gone");
    }
    kit_join(kit, old, SIGKILL);
    kit_join(kit, new, 0);
    kit_run(kit, third);
}

/* ---- tokens ------------------------------------------------------------------------------- */

void test_token_steady(struct kit *kit) {
    struct host_data data;
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    uint64_t first = data.opened.token;
    for (uint64_t i = 0; i < 4; i++) {
        kit_write(&data, i + 1, i * kit->block, kit->block, false);
        EXPECT(TOKEN, data.token == first, "a write's token is %llx, data_open told %llx",
               (unsigned long long)data.token, (unsigned long long)first);
        WANT_IO(ZEROES, host_zero(&data, 8 * kit->block, kit->block, 0), SLUICE_OK, "zeroes");
        EXPECT(TOKEN, data.token == first, "the token of zeroes is %llx, data_open told %llx",
               (unsigned long long)data.token, (unsigned long long)first);
        WANT_IO(FLUSH, host_flush(&data), SLUICE_OK, "a flush");
        EXPECT(TOKEN, data.token == first, "a flush's token is %llx, data_open told %llx",
               (unsigned long long)data.token, (unsigned long long)first);
    }
    host_data_close(&data);
    kit_data_open(kit, &data, &volume, NULL, false);
    EXPECT(TOKEN_CONSTANT, !kit_has(kit, SLUICE_CAP_TOKEN_CONSTANT) || data.opened.token == first,
           "the second data_open told %llx, the first %llx", (unsigned long long)data.opened.token,
           (unsigned long long)first);
    host_data_close(&data);
}

static void write_flush_die(struct kit *kit) {
    struct host_data data;
    kit_open(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    WANT_IO(ZEROES, host_zero(&data, kit->block, kit->block, 0), SLUICE_OK, "zeroes");
    WANT_IO(FLUSH, host_flush(&data), SLUICE_OK, "a flush");
    raise(SIGKILL);
}

static void find_flushed(struct kit *kit) {
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    kit_expect(kit, RULE_FLUSH, &volume, NULL, 1, 0, kit->block, "what was flushed before kill -9");
    kit_expect(kit, RULE_FLUSH, &volume, NULL, 0, kit->block, kit->block,
               "what was zeroed and flushed before kill -9");
    kit_expect(kit, RULE_FLUSH, &volume, NULL, 1, 2 * kit->block, kit->size - 2 * kit->block,
               "what was flushed before kill -9");
    kit_close(kit);
}

void test_token_flushed(struct kit *kit) {
    kit_join(kit, kit_spawn(kit, 0, write_flush_die), SIGKILL);
    kit_run(kit, find_flushed);
}

static void write_die(struct kit *kit) {
    struct host_data data;
    kit_open(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    kit_write(&data, 2, kit->block, kit->block, false);
    kit->shared->token = data.token;
    raise(SIGKILL);
}

static void find_acknowledged(struct kit *kit) {
    struct host_data data;
    uint8_t *bytes = calloc(1, kit->block);
    EXPECT(TOKEN, bytes != NULL, "there is no memory for the kit itself");
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    kit_data_open(kit, &data, &volume, NULL, true);
    uint64_t before = kit->shared->token;
    bool same = data.opened.token == before;
    EXPECT(TOKEN_CONSTANT, same || !kit_has(kit, SLUICE_CAP_TOKEN_CONSTANT),
           "the token is %llx and was %llx in the process that died",
           (unsigned long long)data.opened.token, (unsigned long long)before);
    kit_read(RULE_FLUSH, &data, 1, 0, kit->block, "what was flushed before kill -9");
    WANT_IO(BYTES, host_read(&data, kit->block, bytes, kit->block), SLUICE_OK, "a read");
    for (uint64_t i = 0; i < kit->block; i++) {
        uint64_t place = kit->block + i;
        if (bytes[i] == pattern_byte(2, place)) {
            continue;
        }
        EXPECT(TOKEN, !same,
               "a write that was acknowledged and not flushed is lost (at %llu stands %02x), and "
               "the token is still %llx",
               (unsigned long long)place, bytes[i], (unsigned long long)before);
        EXPECT(FLUSH, bytes[i] == pattern_byte(1, place),
               "at %llu stands %02x, which was never written there", (unsigned long long)place,
               bytes[i]);
    }
    host_data_close(&data);
    kit_close(kit);
    free(bytes);
}

void test_token_acknowledged(struct kit *kit) {
    kit_join(kit, kit_spawn(kit, 0, write_die), SIGKILL);
    kit_run(kit, find_acknowledged);
}

static void write_fua_die(struct kit *kit) {
    struct host_data data;
    uint8_t *bytes = calloc(1, kit->block);
    EXPECT(FUA, bytes != NULL, "there is no memory for the kit itself");
    kit_open(kit);
    const struct sluice_uuid volume = kit_volume(kit, kit->size);
    kit_data_open(kit, &data, &volume, NULL, false);
    kit_write(&data, 1, 0, kit->size, true);
    pattern_fill(2, kit->block, bytes, kit->block);
    WANT_IO(FUA, host_write(&data, kit->block, bytes, kit->block, SLUICE_IO_FUA), SLUICE_OK,
            "a write with FUA");
    WANT_IO(FUA, host_zero(&data, 2 * kit->block, kit->block, SLUICE_IO_FUA), SLUICE_OK,
            "zeroes with FUA");
    raise(SIGKILL);
}

static void find_fua(struct kit *kit) {
    open_own(kit);
    const struct sluice_uuid volume = kit_id(kit);
    kit_expect(kit, RULE_FUA, &volume, NULL, 2, kit->block, kit->block,
               "what was written with FUA before kill -9");
    kit_expect(kit, RULE_FUA, &volume, NULL, 0, 2 * kit->block, kit->block,
               "what was zeroed with FUA before kill -9");
    kit_close(kit);
}

void test_token_fua(struct kit *kit) {
    kit_join(kit, kit_spawn(kit, 0, write_fua_die), SIGKILL);
    kit_run(kit, find_fua);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * fault_test.c: each call of the share fails once, or is the last one; then everything is as it was
 * or as it is to be, asking again ends it, and nothing is left over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "memory_share/memory_share.h"
#include "share/disk.h"
#include "share/pool.h"

#define SIZE (UINT64_C(1) << 20)
#define CALLS_MAX 400 /* of one operation */

static struct memory_share share;
static struct share_pool *pool;
static struct sluice_call call;
static const struct sluice_uuid v = {{1}}, w = {{2}}, s = {{3}}, t = {{4}}, r = {{5}}, u = {{6}};

static uint32_t format_below = IMAGE_FORMAT_RAW;

static struct sluice_call *fresh(void) {
    call.text[0] = '\0';
    return &call;
}

static int32_t open_pool(void) {
    const struct share_settings settings = {.format = format_below,
                                            .size_max = UINT64_C(1) << 40,
                                            .chain_max = 8,
                                            .commit_always = true};
    const struct sluice_pool_open args = {
        .size = sizeof args, .flags = SLUICE_POOL_CLAIM, .pool = {{9}}, .name = "p"};
    return share_pool_open(&share.fs, fresh(), &args, &settings, &pool);
}

/* ---- the operations, each to be asked until it is done --------------------------------------- */

static int32_t create(const struct sluice_uuid *id, uint32_t kind,
                      const struct sluice_uuid *source) {
    const struct sluice_volume_create args = {.size = sizeof args,
                                              .source_kind = kind,
                                              .volume = *id,
                                              .source = source != NULL ? *source : *id,
                                              .source_volume = v,
                                              .size_bytes = SIZE,
                                              .name = "n"};
    struct sluice_volume told = {.size = sizeof told};
    return share_volume_create(pool, fresh(), &args, &told);
}

static int32_t snapshot(const struct sluice_uuid *id) {
    struct sluice_snapshot told = {.size = sizeof told};
    return share_snapshot_create(pool, fresh(), &v, id, "s", &told);
}

static int32_t do_create(void) {
    return create(&w, SLUICE_SOURCE_NONE, NULL);
}

static int32_t do_clone(void) {
    return create(&w, SLUICE_SOURCE_SNAPSHOT, &s);
}

static int32_t do_copy(void) {
    return create(&w, SLUICE_SOURCE_VOLUME, &v);
}

static int32_t do_snapshot(void) {
    return snapshot(&t);
}

static int32_t do_revert(void) {
    struct sluice_volume told = {.size = sizeof told};
    return share_volume_revert(pool, fresh(), &v, &s, &r, &told);
}

static int32_t do_grow(void) {
    struct sluice_volume told = {.size = sizeof told};
    return share_volume_resize(pool, fresh(), &v, 2 * SIZE, &told);
}

static int32_t do_delete(void) {
    return share_volume_delete(pool, fresh(), &v);
}

static int32_t do_snapshot_delete(void) {
    int32_t status;
    do {
        status = share_snapshot_delete(pool, fresh(), &v, &s);
    } while (status == SLUICE_PENDING);
    return status;
}

/* What lies below takes no more than what is above: it is pulled up. */
static int32_t do_pull(void) {
    return do_snapshot_delete();
}

/* The one that lies between is frozen: it is pushed down into the one below. */
static int32_t do_take_and_delete(void) {
    int32_t status = snapshot(&t);
    return status == SLUICE_OK ? do_snapshot_delete() : status;
}

static int32_t do_unmanage(void) {
    char reference[SLUICE_PATH_MAX];
    int32_t status;
    do {
        status = share_volume_unmanage(pool, fresh(), &v, reference);
    } while (status == SLUICE_PENDING);
    return status;
}

static int32_t do_adopt(void) {
    struct sluice_volume told = {.size = sizeof told};
    return share_volume_adopt(pool, fresh(), &u, "old.img", "n", &told);
}

/* ---- the world --------------------------------------------------------------------------------
 */

/* What a volume or snapshot holds at its beginning; '-': it is not there. */
struct world {
    char v, w, s, t, u;
};

static const struct world before = {.v = 'n', .w = '-', .s = 'o', .t = '-', .u = '-'};

static const struct {
    const char *name;
    int32_t (*ask)(void);
    struct world after;
} operations[] = {
    {"create", do_create, {'n', '\0', 'o', '-', '-'}},
    {"clone", do_clone, {'n', 'o', 'o', '-', '-'}},
    {"copy", do_copy, {'n', 'n', 'o', '-', '-'}},
    {"snapshot", do_snapshot, {'n', '-', 'o', 'n', '-'}},
    {"revert", do_revert, {'o', '-', 'o', '-', '-'}},
    {"grow", do_grow, {'n', '-', 'o', '-', '-'}},
    {"delete", do_delete, {'-', '-', 'o', '-', '-'}},
    {"snapshot delete", do_snapshot_delete, {'n', '-', '-', '-', '-'}},
    {"snapshot delete, small below", do_pull, {'n', '-', '-', '-', '-'}},
    {"snapshot delete, frozen above", do_take_and_delete, {'n', '-', '-', 'n', '-'}},
    {"unmanage", do_unmanage, {'-', '-', 'o', '-', '-'}},
    {"adopt", do_adopt, {'n', '-', 'o', '-', 'a'}},
};

static void write_sign(char sign, uint64_t epoch) {
    const struct sluice_data_open args = {.size = sizeof args, .volume = v, .epoch = epoch};
    struct share_disk *disk;
    char bytes[4096];
    memset(bytes, sign, sizeof bytes);
    assert_int_equal(share_disk_open(pool, fresh(), &args, &disk), SLUICE_OK);
    assert_int_equal(share_disk_write(disk, 0, bytes, sizeof bytes), SLUICE_OK);
    assert_int_equal(share_disk_write(disk, SIZE / 2, bytes, sizeof bytes), SLUICE_OK);
    assert_int_equal(share_disk_flush(disk), SLUICE_OK);
    share_disk_close(disk);
}

static void make_world(void) {
    struct image_file *file;
    char bytes[4096];
    memory_share_init(&share);
    assert_int_equal(open_pool(), SLUICE_OK);
    assert_int_equal(create(&v, SLUICE_SOURCE_NONE, NULL), SLUICE_OK);
    write_sign('o', 1);
    assert_int_equal(snapshot(&s), SLUICE_OK);
    write_sign('n', 2);
    memset(bytes, 'a', sizeof bytes);
    assert_int_equal(
        share.fs.ops->open(&share.fs, NULL, "old.img", SHARE_OPEN_WRITE | SHARE_OPEN_CREATE, &file),
        SLUICE_OK);
    assert_int_equal(file->ops->write(file, 0, bytes, sizeof bytes), SLUICE_OK);
    file->ops->close(file);
}

static void end_world(void) {
    share_pool_close(pool);
    pool = NULL;
    memory_share_release(&share);
}

static char look(const struct sluice_uuid *volume, const struct sluice_uuid *of_snapshot) {
    struct sluice_data_open args = {
        .size = sizeof args, .read_only = 1, .volume = *volume, .epoch = 3};
    struct share_disk *disk;
    char bytes[4096];
    if (of_snapshot != NULL) {
        args.snapshot = *of_snapshot;
    }
    int32_t status = share_disk_open(pool, fresh(), &args, &disk);
    if (status == SLUICE_NOT_FOUND) {
        return '-';
    }
    if (status != SLUICE_OK) {
        fail_msg("status %d: %s", status, call.text);
    }
    assert_int_equal(share_disk_read(disk, 0, bytes, sizeof bytes), SLUICE_OK);
    char sign = bytes[0];
    assert_int_equal(bytes[4095], sign);
    if (share_disk_size(disk) > SIZE / 2) {
        assert_int_equal(share_disk_read(disk, SIZE / 2, bytes, sizeof bytes), SLUICE_OK);
        assert_int_equal(bytes[77], sign);
    }
    share_disk_close(disk);
    return sign;
}

static struct world look_around(void) {
    return (struct world){look(&v, NULL), look(&w, NULL), look(&v, &s), look(&v, &t),
                          look(&u, NULL)};
}

static void assert_same(const struct world *seen, const struct world *wanted) {
    assert_int_equal(seen->v, wanted->v);
    assert_int_equal(seen->w, wanted->w);
    assert_int_equal(seen->s, wanted->s);
    assert_int_equal(seen->t, wanted->t);
    assert_int_equal(seen->u, wanted->u);
}

static void assert_between(const struct world *seen, const struct world *after) {
    assert_true(seen->v == before.v || seen->v == after->v);
    assert_true(seen->w == before.w || seen->w == after->w);
    assert_true(seen->s == before.s || seen->s == after->s);
    assert_true(seen->t == before.t || seen->t == after->t);
    assert_true(seen->u == before.u || seen->u == after->u);
}

static uint64_t provisioned(void) {
    struct sluice_capacity capacity = {.size = sizeof capacity};
    assert_int_equal(share_stat(pool, fresh(), &capacity), SLUICE_OK);
    return capacity.provisioned;
}

/* Maintenance may have something left to merge or remove. */
static void wait_for_names(const char *wanted) {
    static char names[MEMORY_LIST];
    const struct timespec pause = {.tv_nsec = 2000000};
    memory_share_list(&share, names);
    for (int i = 0; i < 2500 && strcmp(names, wanted) != 0; i++) {
        nanosleep(&pause, NULL);
        memory_share_list(&share, names);
    }
    assert_string_equal(names, wanted);
}

enum way { ONCE, ANSWER_LOST, CUT, CUT_ANSWER_LOST, WAYS };

/* false: the operation has no such call. */
static bool fail_at(size_t which, uint64_t nth, enum way way, uint64_t sizes, const char *names) {
    bool cut = way == CUT || way == CUT_ANSWER_LOST;
    make_world();
    memory_share_fault(&share, nth, cut ? SLUICE_UNREACHABLE : SLUICE_NO_SPACE, cut,
                       way == ANSWER_LOST || way == CUT_ANSWER_LOST);
    operations[which].ask();
    bool faulted = share.faulted;
    if (cut) {
        share_pool_close(pool);
    }
    memory_share_fault(&share, 0, SLUICE_OK, false, false);
    if (cut) {
        assert_int_equal(open_pool(), SLUICE_OK);
    }
    struct world seen = look_around();
    assert_between(&seen, &operations[which].after);
    int32_t status = operations[which].ask();
    if (status != SLUICE_OK) {
        fail_msg("%s, call %u, way %d: %d %s", operations[which].name, (unsigned)nth, way, status,
                 call.text);
    }
    seen = look_around();
    assert_same(&seen, &operations[which].after);
    wait_for_names(names);
    assert_int_equal(provisioned(), sizes);
    end_world();
    return faulted;
}

static void every_fault_ends_in_done_or_undone(void **state) {
    static char names[MEMORY_LIST];
    (void)state;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        uint64_t faults = 0;
        format_below = operations[i].ask == do_pull ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
        make_world();
        assert_int_equal(operations[i].ask(), SLUICE_OK);
        struct world seen = look_around();
        assert_same(&seen, &operations[i].after);
        memory_share_list(&share, names);
        uint64_t sizes = provisioned();
        end_world();
        for (int way = 0; way < WAYS; way++) {
            for (uint64_t nth = 1; nth < CALLS_MAX && fail_at(i, nth, (enum way)way, sizes, names);
                 nth++) {
                faults++;
            }
        }
        print_message("%s: %u faults\n", operations[i].name, (unsigned)faults);
        assert_true(faults > 20);
    }
}

/* What a call costs does not depend on how many volumes there are. */
static void calls_do_not_grow_with_the_pool(void **state) {
    uint64_t cost[2][4];
    (void)state;
    format_below = IMAGE_FORMAT_RAW;
    make_world();
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < (round == 0 ? 10 : 1000); i++) {
            const struct sluice_uuid id = {{7, (uint8_t)round, (uint8_t)(i >> 8), (uint8_t)i}};
            assert_int_equal(create(&id, SLUICE_SOURCE_NONE, NULL), SLUICE_OK);
        }
        const struct sluice_uuid clone = {{8, (uint8_t)round}};
        const struct sluice_uuid taken = {{8, 1, (uint8_t)round}};
        struct sluice_volume told = {.size = sizeof told};
        uint64_t at = memory_share_calls(&share);
        assert_int_equal(share_volume_get(pool, fresh(), &v, &told), SLUICE_OK);
        cost[round][0] = memory_share_calls(&share) - at;
        at = memory_share_calls(&share);
        assert_int_equal(snapshot(&taken), SLUICE_OK);
        cost[round][1] = memory_share_calls(&share) - at;
        at = memory_share_calls(&share);
        assert_int_equal(create(&clone, SLUICE_SOURCE_SNAPSHOT, &s), SLUICE_OK);
        cost[round][2] = memory_share_calls(&share) - at;
        at = memory_share_calls(&share);
        assert_int_equal(share_volume_delete(pool, fresh(), &clone), SLUICE_OK);
        cost[round][3] = memory_share_calls(&share) - at;
    }
    for (int i = 0; i < 4; i++) {
        print_message("%u calls with 10 volumes, %u with 1,000\n", (unsigned)cost[0][i],
                      (unsigned)cost[1][i]);
        assert_true(cost[1][i] <= cost[0][i] + 8); /* a chain that is one deeper */
    }
    end_world();
}

int main(void) {
    setenv("SLUICE_SHARE_SLICE_NS", "0", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_ends_in_done_or_undone),
        cmocka_unit_test(calls_do_not_grow_with_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

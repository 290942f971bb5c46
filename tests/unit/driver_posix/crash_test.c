/* SPDX-License-Identifier: Apache-2.0
 *
 * crash_test.c: kills the driver at every step (drivers/share/step.def) of every operation.
 *
 * Each operation is run in a process of its own that dies at the Nth passage of one step, for every
 * step and N until it lives to the end. Then a successor opens the pool and sees each thing as it
 * was before or as it is to be, never between; asked again, the operation ends as if nothing had
 * happened, down to the names of the files; or, cancelled by a delete, as if it had never begun.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "share/step.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (12 * MIB)
#define PASSAGES_MAX 64
#define EPOCH 9

enum { V = 10, S = 11, W = 20, T = 21, R = 30, A = 40 };

/* What a disk holds; NOTHING: it is not there. */
enum content { NOTHING, EMPTY, OLD, NEW, IMAGE };

struct world {
    enum content v, s, w, t;
    uint64_t v_size, w_size;
    bool image; /* old.img lies in the pool's directory */
};

static const struct world before = {.v = NEW, .s = OLD, .v_size = SIZE, .image = true};

static struct host host;
static char directory[TREE_PATH];
static char image[4096] = "an image that was there before";

static struct sluice_uuid v, s, w, t, r, a;

static int32_t open_pool(struct host_pool *pool, uint32_t flags) {
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    return host_open(pool, &host, &id, flags, bag);
}

/* Three places of the disk say what it holds. */
static const uint64_t places[] = {0, 5 * MIB + 512, 11 * MIB};

static void write_content(struct host_pool *pool, char sign) {
    struct host_data data;
    static char bytes[4096];
    memset(bytes, sign, sizeof bytes);
    assert_int_equal(host_data_open(&data, pool, &v, NULL, EPOCH - 2, false), SLUICE_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(host_write(&data, places[i], bytes, sizeof bytes, 0), SLUICE_OK);
    }
    host_data_close(&data);
}

/* What lies below takes more than what is written above it, so it is pushed into. */
static bool large_below;

static void write_filler(struct host_pool *pool) {
    struct host_data data;
    static char bytes[2 * MIB];
    memset(bytes, 'f', sizeof bytes);
    assert_int_equal(host_data_open(&data, pool, &v, NULL, EPOCH - 2, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 7 * MIB, bytes, sizeof bytes, 0), SLUICE_OK);
    host_data_close(&data);
}

static void make_world(void) {
    struct host_pool pool;
    struct sluice_volume told;
    struct sluice_snapshot taken;
    tree_make(directory);
    tree_write(directory, "old.img", image, sizeof image);
    assert_int_equal(open_pool(&pool, SLUICE_POOL_CLAIM), SLUICE_OK);
    assert_int_equal(host_create(&pool, &v, "v", SIZE, &told), SLUICE_OK);
    write_content(&pool, 'o');
    if (large_below) {
        write_filler(&pool);
    }
    assert_int_equal(host_snapshot(&pool, &v, &s, "s", &taken), SLUICE_OK);
    write_content(&pool, 'n');
    host_close(&pool);
}

/* ---- the operations, each to be asked until it is done ----------------------------------------
 */

static int32_t do_create(struct host_pool *pool) {
    struct sluice_volume told;
    return host_create(pool, &w, "w", MIB, &told);
}

static int32_t do_clone(struct host_pool *pool) {
    struct sluice_volume told;
    return host_clone(pool, &w, "w", SIZE + MIB, &v, &s, &told);
}

static int32_t do_copy(struct host_pool *pool) {
    struct sluice_volume told;
    return host_copy(pool, &w, "w", SIZE, &v, &told);
}

static int32_t do_snapshot(struct host_pool *pool) {
    struct sluice_snapshot taken;
    return host_snapshot(pool, &v, &t, "t", &taken);
}

static int32_t do_revert(struct host_pool *pool) {
    struct sluice_volume told;
    return host_revert(pool, &v, &s, &r, &told);
}

static int32_t do_grow(struct host_pool *pool) {
    struct sluice_volume told = {.size = sizeof told};
    return pool->table->volume_resize(pool->pool, HOST_CALL(pool), &v, 16 * MIB, &told);
}

static int32_t do_shrink(struct host_pool *pool) {
    struct sluice_volume told = {.size = sizeof told};
    return pool->table->volume_resize(pool->pool, HOST_CALL(pool), &v, 4 * MIB, &told);
}

static int32_t do_delete(struct host_pool *pool) {
    return pool->table->volume_delete(pool->pool, HOST_CALL(pool), &v);
}

static int32_t do_snapshot_delete(struct host_pool *pool) {
    int32_t status;
    HOST_ASK(pool, status, pool->table->snapshot_delete(pool->pool, &pool->call, &v, &s));
    return status;
}

/* The active image takes less than what lies below: it is pushed down. */
static int32_t do_push(struct host_pool *pool) {
    return do_snapshot_delete(pool);
}

/* A frozen image that another snapshot names is pushed down, below the active one. */
static int32_t do_take_and_delete(struct host_pool *pool) {
    int32_t status = do_snapshot(pool);
    if (status == SLUICE_OK) {
        struct sluice_volume told = {.size = sizeof told};
        status = pool->table->volume_resize(pool->pool, HOST_CALL(pool), &v, SIZE + MIB, &told);
    }
    return status == SLUICE_OK ? do_snapshot_delete(pool) : status;
}

static int32_t do_delete_both(struct host_pool *pool) {
    int32_t status = do_delete(pool);
    return status == SLUICE_OK ? do_snapshot_delete(pool) : status;
}

static int32_t do_adopt(struct host_pool *pool) {
    struct sluice_volume told = {.size = sizeof told};
    return pool->table->volume_adopt(pool->pool, HOST_CALL(pool), &w, "old.img", "w", &told);
}

static int32_t do_unmanage(struct host_pool *pool) {
    char reference[SLUICE_PATH_MAX];
    int32_t status;
    HOST_ASK(pool, status, pool->table->volume_unmanage(pool->pool, &pool->call, &v, reference));
    return status;
}

static int32_t do_grant(struct host_pool *pool) {
    const struct sluice_property uid = {
        .name = "uid", .integer = 4711, .kind = SLUICE_PROPERTY_NUMBER};
    const struct sluice_properties bag = {&uid, 1};
    const struct sluice_access_grant args = {.size = sizeof args,
                                             .mode = SLUICE_ACCESS_READ_WRITE,
                                             .attachment = a,
                                             .volume = v,
                                             .identities = &bag};
    struct sluice_connection connection = {.size = sizeof connection};
    return pool->table->access_grant(pool->pool, HOST_CALL(pool), &args, &connection);
}

static int32_t do_grant_and_revoke(struct host_pool *pool) {
    int32_t status = do_grant(pool);
    return status == SLUICE_OK ? pool->table->access_revoke(pool->pool, HOST_CALL(pool), &a, &v)
                               : status;
}

static int32_t do_data_open(struct host_pool *pool) {
    struct host_data data;
    int32_t status = host_data_open(&data, pool, &v, NULL, EPOCH, false);
    if (status == SLUICE_OK) {
        host_data_close(&data);
        struct host_data stale;
        assert_int_equal(host_data_open(&stale, pool, &v, NULL, EPOCH - 1, false), SLUICE_STALE);
    }
    return status;
}

static int32_t cancel_volume(struct host_pool *pool) {
    return pool->table->volume_delete(pool->pool, HOST_CALL(pool), &w);
}

static int32_t cancel_snapshot(struct host_pool *pool) {
    int32_t status;
    HOST_ASK(pool, status, pool->table->snapshot_delete(pool->pool, &pool->call, &v, &t));
    return status;
}

struct operation {
    const char *name;
    int32_t (*ask)(struct host_pool *pool);
    int32_t (*cancel)(struct host_pool *pool); /* NULL: there is no way back */
    struct world after;
};

#define KEEPS .v = NEW, .s = OLD, .v_size = SIZE
static const struct operation operations[] = {
    {"create", do_create, cancel_volume, {KEEPS, .image = true, .w = EMPTY, .w_size = MIB}},
    {"clone", do_clone, cancel_volume, {KEEPS, .image = true, .w = OLD, .w_size = SIZE + MIB}},
    {"copy", do_copy, cancel_volume, {KEEPS, .image = true, .w = NEW, .w_size = SIZE}},
    {"snapshot", do_snapshot, cancel_snapshot, {KEEPS, .image = true, .t = NEW}},
    {"revert", do_revert, NULL, {.v = OLD, .s = OLD, .v_size = SIZE, .image = true}},
    {"grow", do_grow, NULL, {.v = NEW, .s = OLD, .v_size = 16 * MIB, .image = true}},
    {"shrink", do_shrink, NULL, {.v = NEW, .s = OLD, .v_size = 4 * MIB, .image = true}},
    {"delete", do_delete, NULL, {.v = NOTHING, .s = OLD, .image = true}},
    {"snapshot delete", do_snapshot_delete, NULL, {.v = NEW, .v_size = SIZE, .image = true}},
    {"snapshot delete, small above", do_push, NULL, {.v = NEW, .v_size = SIZE, .image = true}},
    {"snapshot delete, frozen above",
     do_take_and_delete,
     NULL,
     {.v = NEW, .t = NEW, .v_size = SIZE + MIB, .image = true}},
    {"delete both", do_delete_both, NULL, {.image = true}},
    {"adopt", do_adopt, cancel_volume, {KEEPS, .w = IMAGE, .w_size = sizeof image}},
    {"unmanage", do_unmanage, NULL, {.s = OLD, .image = true}},
    {"grant", do_grant, NULL, {KEEPS, .image = true}},
    {"grant and revoke", do_grant_and_revoke, NULL, {KEEPS, .image = true}},
    {"data open", do_data_open, NULL, {KEEPS, .image = true}},
};

/* ---- looking at the world ----------------------------------------------------------------- */

static enum content look(struct host_pool *pool, const struct sluice_uuid *volume,
                         const struct sluice_uuid *snapshot, uint64_t *ret_size) {
    struct host_data data;
    char bytes[4096];
    int32_t status = host_data_open(&data, pool, volume, snapshot, EPOCH - 2, true);
    *ret_size = 0;
    if (status == SLUICE_STALE) { /* only "data open" raises the epoch */
        status = host_data_open(&data, pool, volume, snapshot, EPOCH, true);
    }
    if (status == SLUICE_NOT_FOUND) {
        return NOTHING;
    }
    assert_int_equal(status, SLUICE_OK);
    *ret_size = data.opened.size_bytes;
    char signs[3] = {0};
    for (int i = 0; i < 3 && places[i] + sizeof bytes <= data.opened.size_bytes; i++) {
        assert_int_equal(host_read(&data, places[i], bytes, sizeof bytes), SLUICE_OK);
        for (size_t at = 1; at < sizeof bytes && memcmp(bytes, image, sizeof image) != 0; at++) {
            assert_int_equal(bytes[at], bytes[0]);
        }
        signs[i] = bytes[0];
        assert_true(i == 0 || signs[i] == signs[0]);
    }
    host_data_close(&data);
    return signs[0] == 'o' ? OLD : signs[0] == 'n' ? NEW : signs[0] == 'a' ? IMAGE : EMPTY;
}

static struct world look_around(struct host_pool *pool) {
    struct world seen = {.image = tree_exists(directory, "old.img")};
    uint64_t size;
    seen.v = look(pool, &v, NULL, &seen.v_size);
    seen.s = look(pool, &v, &s, &size);
    seen.w = look(pool, &w, NULL, &seen.w_size);
    seen.t = look(pool, &v, &t, &size);
    return seen;
}

static void assert_same_world(const struct world *seen, const struct world *expected) {
    assert_int_equal(seen->v, expected->v);
    assert_int_equal(seen->s, expected->s);
    assert_int_equal(seen->w, expected->w);
    assert_int_equal(seen->t, expected->t);
    assert_int_equal(seen->v_size, expected->v_size);
    assert_int_equal(seen->w_size, expected->w_size);
    assert_int_equal(seen->image, expected->image);
}

/* Each thing is as it was or as it is to be. */
static void assert_between(const struct world *seen, const struct world *after) {
    assert_true(seen->v == before.v || seen->v == after->v);
    assert_true(seen->s == before.s || seen->s == after->s);
    assert_true(seen->w == before.w || seen->w == after->w);
    assert_true(seen->t == before.t || seen->t == after->t);
    assert_true(seen->v_size == before.v_size || seen->v_size == after->v_size);
    assert_true(seen->w_size == before.w_size || seen->w_size == after->w_size);
    assert_true(seen->image == before.image || seen->w == after->w);
}

static void assert_sums_are_true(struct host_pool *pool, const struct world *seen) {
    struct sluice_capacity capacity = {.size = sizeof capacity};
    assert_int_equal(pool->table->pool_stat(pool->pool, HOST_CALL(pool), &capacity), SLUICE_OK);
    assert_int_equal(capacity.provisioned, seen->v_size + seen->w_size +
                                               (seen->s != NOTHING ? SIZE : 0) +
                                               (seen->t != NOTHING ? SIZE : 0));
}

/* ---- killing ------------------------------------------------------------------------------ */

/* true: it died at the passage; false: it lived to the end. */
static bool run_and_kill(const struct operation *operation, const char *fault) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct host_pool pool;
        setenv("SLUICE_FAULTS", fault, 1);
        _exit(open_pool(&pool, 0) == SLUICE_OK && operation->ask(&pool) == SLUICE_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return true;
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

/* The names of what is there. Which generation an image is depends on what was begun before. */
static void list_names(char *ret_names) {
    tree_list(directory, ret_names);
    for (char *at = ret_names; (at = strstr(at, "/g0")) != NULL; at++) {
        memset(at + 2, '#', strspn(at + 2, "0123456789"));
    }
}

/* Maintenance may have something left to merge or remove. */
static void wait_for_names(const char *expected) {
    static char names[TREE_LIST];
    struct timespec pause = {.tv_nsec = 2000000};
    list_names(names);
    for (int i = 0; i < 2000 && strcmp(names, expected) != 0; i++) {
        nanosleep(&pause, NULL);
        list_names(names);
    }
    assert_string_equal(names, expected);
}

static void ask_again(const struct operation *operation, const char *expected_names) {
    struct host_pool pool;
    assert_int_equal(open_pool(&pool, 0), SLUICE_OK);
    struct world seen = look_around(&pool);
    assert_between(&seen, &operation->after);
    assert_sums_are_true(&pool, &seen);
    assert_int_equal(operation->ask(&pool), SLUICE_OK);
    assert_int_equal(operation->ask(&pool), SLUICE_OK);
    seen = look_around(&pool);
    assert_same_world(&seen, &operation->after);
    assert_sums_are_true(&pool, &seen);
    wait_for_names(expected_names);
    host_close(&pool);
}

static void cancel(const struct operation *operation, const char *names_before) {
    struct host_pool pool;
    assert_int_equal(open_pool(&pool, 0), SLUICE_OK);
    struct world seen = look_around(&pool);
    bool adopted = operation->ask == do_adopt && seen.w == IMAGE; /* whole: then it is deleted */
    assert_int_equal(operation->cancel(&pool), SLUICE_OK);
    assert_int_equal(operation->cancel(&pool), SLUICE_OK);
    seen = look_around(&pool);
    assert_sums_are_true(&pool, &seen);
    if (!adopted) {
        assert_same_world(&seen, &before);
        wait_for_names(names_before);
    }
    host_close(&pool);
}

static uint32_t kill_everywhere(const struct operation *operation) {
    static const char *const steps[] = {
#define SHARE_STEP(name) #name,
#include "share/step.def"
#undef SHARE_STEP
    };
    char names_before[TREE_LIST];
    char names_after[TREE_LIST];
    uint32_t points = 0;
    large_below = operation->ask == do_push || operation->ask == do_take_and_delete;
    make_world();
    list_names(names_before);
    assert_false(run_and_kill(operation, "none=kill"));
    list_names(names_after);
    tree_remove(directory);
    for (int step = 0; step < STEP_COUNT; step++) {
        bool died = true;
        for (int passage = 1; died && passage < PASSAGES_MAX; passage++) {
            for (int way = 0; died && way < (operation->cancel != NULL ? 2 : 1); way++) {
                char fault[96];
                snprintf(fault, sizeof fault, "share.%s=kill@%d", steps[step], passage);
                make_world();
                died = run_and_kill(operation, fault);
                if (died && way == 0) {
                    points++;
                    ask_again(operation, names_after);
                } else if (died) {
                    cancel(operation, names_before);
                }
                tree_remove(directory);
            }
        }
    }
    return points;
}

static void every_kill_ends_in_done_or_undone(void **state) {
    (void)state;
    uint32_t total = 0;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        uint32_t points = kill_everywhere(&operations[i]);
        print_message("%s: %u kill points\n", operations[i].name, points);
        assert_true(points > 0);
        total += points;
    }
    print_message("kill points: %u\n", total);
}

int main(void) {
    v = host_id(V), s = host_id(S), w = host_id(W), t = host_id(T), r = host_id(R), a = host_id(A);
    setenv("SLUICE_SHARE_SLICE_NS", "0", 1);
    host_start(&host, DRIVER);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kill_ends_in_done_or_undone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

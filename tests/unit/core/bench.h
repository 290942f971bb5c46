/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.h: a core on its own loop, over a real catalogue, with runners whose answers the test
 * writes.
 *
 * bench_setup makes a directory with the archive of a driver "mem" 1.0.0 and starts the core;
 * bench_stop and bench_start in between are a restart. Waiting ends at a deadline, which fails the
 * test. Everything asserts.
 */
#ifndef SLUICE_TESTS_BENCH_H
#define SLUICE_TESTS_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <cmocka.h>

#include "core/core.h"
#include "core/records.h"
#include "fake_runners.h"

#define BENCH_WAIT_MS 20000

struct bench {
    char root[64];
    char state[96], drivers[96], nbd[96];
    const char *driver_directories[1];
    uv_loop_t loop;
    uv_timer_t deadline;
    struct core *core;
    bool running, ready, closed, expired;
    enum err_code fatal;
    uint32_t logged; /* lines */
    uint32_t retry_limit_ms, keep_operations_s;
};

int bench_setup(void **state);    /* struct bench */
int bench_teardown(void **state); /* walks the catalogue, too: walk.h */
void bench_start(struct bench *bench);
void bench_stop(struct bench *bench);
void bench_run_until(struct bench *bench, const bool *condition);
void bench_run_while(struct bench *bench, bool (*condition)(struct bench *bench));
/* Until all that is due is done; what the test holds back does not count. */
void bench_turns(struct bench *bench, uint32_t turns);

/* requires: "" or the text of the list. */
void bench_make_archive(struct bench *bench, const char *name, const char *version,
                        const char *category, const char *requires);
void bench_remove_archive(struct bench *bench, const char *name, const char *version);
/* Is the text anywhere in a file of the state directory? */
bool bench_stored(const struct bench *bench, const char *text);

/* ---- asking --------------------------------------------------------------------------------- */

extern const struct core_principal bench_admin;

struct asked {
    bool accepted, ended;
    uint32_t answers;
    struct core_accepted answer; /* pointers in it are not valid any more */
    struct core_violation violation;
    char secret[128];
};

/* hash: tells one request from another under the same key. */
void bench_submit(struct bench *bench, enum core_kind kind, const void *params, const char *key,
                  unsigned char hash, struct asked *asked);
struct asked bench_ask(struct bench *bench, enum core_kind kind, const void *params);
/* Accepted; waits for the end. */
struct core_outcome bench_outcome(struct bench *bench, struct asked *asked);
/* The code it ended with, or that it was refused with. */
enum err_code bench_do(struct bench *bench, enum core_kind kind, const void *params);
enum err_code bench_do_to(struct bench *bench, enum core_kind kind, const char *target);
enum err_code bench_cancel(struct bench *bench, const struct asked *asked);
enum err_code bench_abandon(struct bench *bench, const struct asked *asked);
/* The state of the operation's record. */
void bench_assert_state(struct bench *bench, const struct asked *asked, const char *state);

struct pool_create_params bench_pool(const char *name);
struct volume_create_params bench_volume(const char *pool, const char *name);
void bench_make_pool(struct bench *bench, const char *name);
void bench_make_volume(struct bench *bench, const char *pool, const char *name);
void bench_make_host(struct bench *bench, const char *name);

/* Its JSON holds that text. */
bool bench_has(struct bench *bench, enum core_noun noun, const char *reference, const char *text);
void bench_assert_has(struct bench *bench, enum core_noun noun, const char *reference,
                      const char *text);
void bench_assert_absent(struct bench *bench, enum core_noun noun, const char *reference);

#define BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

#endif

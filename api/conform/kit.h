/* SPDX-License-Identifier: Apache-2.0
 *
 * kit.h: what a test of the kit has in its hands.
 *
 * A test is a function of a row of test.def. It runs in a process of its own (stage.h), with the
 * pool open unless the row says ALONE; it returns when all is as the contract demands, and does not
 * return otherwise (expect.h). What it made need not be deleted: that is done after it, by what
 * watch.h kept.
 *
 * Invariants: the driver is loaded in no process that forks afterwards, as its threads would not be
 * in the child; so a test of several processes is ALONE, and each of them opens the pool for
 * itself. Threads: a test's own; see host.h. Limits: WATCH_LANES threads and processes at once.
 */
#ifndef SLUICE_CONFORM_KIT_H
#define SLUICE_CONFORM_KIT_H

#include "conform/model.h"
#include "conform/subject.h"

#define KIT_TEXT_MAX 256
#define KIT_IDS 100000 /* ids a test may use: those of other tests are never used again */

/* Beside capabilities, what a test needs or wants. */
enum test_need {
    NEED_ALONE = 1,  /* opens the pool itself, or not at all */
    NEED_KEEPS = 2,  /* a pool that outlives the process */
    NEED_SECOND = 4, /* --second */
};

enum test_verdict { VERDICT_NONE, VERDICT_OK, VERDICT_FAILED, VERDICT_SKIPPED };

/* What the kit found out about the driver before the first test. */
struct look {
    struct sluice_pool limits;
    uint32_t threads;
    bool keeps; /* what is made outlives the process */
    char name[64];
    char version[64];
};

/* In memory that all processes of the kit share; what belongs to one test is cleared before it. */
struct shared {
    struct look look;
    _Atomic uint64_t epoch; /* the last that was used */
    struct watch watch;
    _Atomic uint32_t claimed; /* the first who fails writes the verdict */
    _Atomic uint32_t verdict;
    uint32_t rule;
    char text[EXPECT_SEEN_MAX]; /* what was seen, or why it was skipped */
    char note[KIT_TEXT_MAX];    /* worth telling although it passed */
    _Atomic uint32_t phase;     /* kit_reach */
    _Atomic uint64_t token;     /* of the process that died */
    struct model model;
};

struct kit {
    const struct subject *subject;
    struct shared *shared;
    struct host host;
    struct host_pool pool;
    bool open;
    uint64_t block; /* bytes: a multiple of what sizes and data calls are aligned to */
    uint64_t size;  /* bytes of a volume that is large enough for every test: 16 blocks at least */
    uint32_t next_id;
    uint32_t patterns;
};

/* Loads the driver and opens the pool as `id`; expects both. kit_open: as the kit's own, claiming.
 */
void kit_load(struct kit *kit);
int32_t kit_try(struct kit *kit, uint32_t id, uint32_t flags);
void kit_open(struct kit *kit);
/* The second pool of --second, as the kit's own number 2. */
int32_t kit_try_second(struct kit *kit, uint32_t flags);
void kit_close(struct kit *kit);
void kit_unload(struct kit *kit);

bool kit_has(const struct kit *kit, enum sluice_cap cap);
struct sluice_uuid kit_id(struct kit *kit);
uint64_t kit_epoch(struct kit *kit);
/* `bytes` rounded up to a size that the pool makes. */
uint64_t kit_round(const struct kit *kit, uint64_t bytes);
_Noreturn void kit_skip(struct kit *kit, const char *why);
void kit_note(struct kit *kit, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Other processes, each with a copy of the kit. kit_run: waits for its end. kit_spawn: on `lane`
 * (not 0); kit_join waits for it, and for a signal where one is expected. */
typedef void kit_fn(struct kit *kit);
void kit_run(struct kit *kit, kit_fn *what);
int kit_spawn(struct kit *kit, uint32_t lane, kit_fn *what);
void kit_join(struct kit *kit, int process, int signal);
/* Tells the other processes how far this one is; waits until another one is there. */
void kit_reach(struct kit *kit, uint32_t phase);
void kit_await(struct kit *kit, uint32_t phase);

/* ---- short words for tests --------------------------------------------------------------------
 */

#define WANT(rule, pool, status, wanted) kit_want(RULE_##rule, (pool), (status), (wanted))
void kit_want(enum rule rule, const struct host_pool *pool, int32_t status, int32_t wanted);
#define WANT_IO(rule, status, wanted, what) kit_want_io(RULE_##rule, (status), (wanted), (what))
void kit_want_io(enum rule rule, int32_t status, int32_t wanted, const char *what);

struct sluice_uuid kit_volume(struct kit *kit, uint64_t size);
struct sluice_uuid kit_snapshot(struct kit *kit, const struct sluice_uuid *volume);
/* Opens with a new epoch, patiently, and expects success. */
void kit_data_open(struct kit *kit, struct host_data *data, const struct sluice_uuid *volume,
                   const struct sluice_uuid *snapshot, bool read_only);
/* Writes `pattern` (0: zeroes) and, where `flush`, makes it stable. */
void kit_write(struct host_data *data, uint64_t pattern, uint64_t offset, uint64_t length,
               bool flush);
/* Expects `pattern` (0: zeroes) to be read. */
void kit_read(enum rule rule, struct host_data *data, uint64_t pattern, uint64_t offset,
              uint64_t length, const char *what);
/* The same with a handle of its own. */
void kit_put(struct kit *kit, const struct sluice_uuid *volume, uint64_t pattern, uint64_t offset,
             uint64_t length);
void kit_expect(struct kit *kit, enum rule rule, const struct sluice_uuid *volume,
                const struct sluice_uuid *snapshot, uint64_t pattern, uint64_t offset,
                uint64_t length, const char *what);
/* Whether the id is in the list, page by page. */
bool kit_is_listed(struct kit *kit, const struct sluice_uuid *volume);

#endif

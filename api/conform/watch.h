/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.h: what a process that calls a driver does just now, in memory that its parent sees too.
 *
 * The driver may crash, hang or scribble; then the parent reads here which call was the last, since
 * when it runs, and what was made on the backend and has to be deleted.
 *
 * Life cycle: lies in a shared mapping of zeroes; watch_made_* only add. Threads: each thread that
 * makes calls has a lane of its own (watch_lane); the rest is atomic. Limits: WATCH_MADE_MAX
 * objects a test are kept; what is beyond is found by the driver's own lists.
 */
#ifndef SLUICE_CONFORM_WATCH_H
#define SLUICE_CONFORM_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include <sluice/types.h>

#define WATCH_LANES 16      /* the threads of a test and of the processes beside it */
#define WATCH_NAME_MAX 32   /* bytes of a member's name, NUL included */
#define WATCH_MADE_MAX 4096 /* far more than one test leaves at once */

enum watch_kind { WATCH_VOLUME = 1, WATCH_SNAPSHOT, WATCH_GRANT };

struct watch_made {
    uint32_t kind;
    struct sluice_uuid volume;
    struct sluice_uuid id; /* of the snapshot or the attachment */
};

struct watch {
    struct {
        _Atomic uint64_t begun_ms; /* 0: no call is under way */
        char call[WATCH_NAME_MAX]; /* the last one */
    } lanes[WATCH_LANES];
    _Atomic uint32_t made_count;
    struct watch_made made[WATCH_MADE_MAX];
};

/* The calling thread's lane from now on, below WATCH_LANES; 0 where it never said. */
void watch_lane(uint32_t lane);

/* Around each call into the driver; watch may be NULL. */
void watch_begin(struct watch *watch, const char *call);
void watch_end(struct watch *watch);

/* The process whose calls were under way is dead. */
void watch_forget(struct watch *watch);

/* Before the driver is asked to make it. */
void watch_add(struct watch *watch, enum watch_kind kind, const struct sluice_uuid *volume,
               const struct sluice_uuid *id);

/* The call that runs longest, or the last one; *ret_ms: for how long, 0 when none is under way. */
const char *watch_last(const struct watch *watch, uint64_t *ret_ms);

uint64_t watch_now_ms(void);

#endif

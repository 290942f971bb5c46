/* SPDX-License-Identifier: Apache-2.0
 *
 * limit.c: see limit.h.
 */
#include "data/limit.h"

#define SCALE 1000000        /* levels count millionths, so that every microsecond adds rate */
#define BURST_US 100000      /* a tenth of a second */
#define ELAPSED_MAX 64000000 /* the largest rate times this still fits */

static int64_t burst(const struct limit *limit) {
    uint64_t units = limit->rate * BURST_US;
    return units < SCALE ? SCALE : (int64_t)units; /* one unit at least */
}

void limit_init(struct limit *limit, uint64_t rate, uint64_t now_ns) {
    limit->rate = rate > LIMIT_RATE_MAX ? 0 : rate;
    limit->at_us = now_ns / 1000;
    limit->level = burst(limit);
}

uint64_t limit_wait_ns(struct limit *limit, uint64_t now_ns) {
    if (limit->rate == 0)
        return 0;
    uint64_t elapsed_us = now_ns / 1000 - limit->at_us;
    limit->at_us += elapsed_us;
    if (elapsed_us > ELAPSED_MAX)
        elapsed_us = ELAPSED_MAX;
    limit->level += (int64_t)(limit->rate * elapsed_us);
    if (limit->level > burst(limit))
        limit->level = burst(limit);
    if (limit->level > 0)
        return 0;
    return ((uint64_t)-limit->level / limit->rate + 1) * 1000;
}

void limit_take(struct limit *limit, uint64_t units) {
    if (limit->rate != 0)
        limit->level -= (int64_t)(units * SCALE);
}

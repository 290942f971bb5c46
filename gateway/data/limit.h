/* SPDX-License-Identifier: Apache-2.0
 *
 * limit.h: a token bucket: so many units a second, a tenth of a second's worth at once.
 *
 * Something larger than the bucket may pass when the bucket is not in debt, and then the debt has
 * to be paid before the next: so a limit of bytes below the size of one request still lets it
 * through.
 */
#ifndef SLUICE_DATA_LIMIT_H
#define SLUICE_DATA_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_RATE_MAX (UINT64_C(1) << 36) /* more is none, and products stay in 64 bits */

struct limit {
    uint64_t rate; /* units a second; 0: no limit */
    int64_t level; /* units * 1e6 */
    uint64_t at_us;
};

void limit_init(struct limit *limit, uint64_t rate, uint64_t now_ns);
/* 0: it may pass now; else how many nanoseconds to wait. Takes nothing. */
uint64_t limit_wait_ns(struct limit *limit, uint64_t now_ns);
void limit_take(struct limit *limit, uint64_t units);

#endif

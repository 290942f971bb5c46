/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.c: see rng.h.
 */
#include "conform/rng.h"

struct rng rng_of_seed(uint64_t seed) {
    return (struct rng){.state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1};
}

uint64_t rng_next(struct rng *rng) {
    rng->state ^= rng->state >> 12;
    rng->state ^= rng->state << 25;
    rng->state ^= rng->state >> 27;
    return rng->state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t rng_below(struct rng *rng, uint64_t limit) {
    return rng_next(rng) % limit;
}

/* splitmix64's finish: neighbouring places get bytes that have nothing to do with each other. */
uint8_t pattern_byte(uint64_t number, uint64_t offset) {
    uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15) + offset;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint8_t)((mixed >> 33) % 255 + 1);
}

void pattern_fill(uint64_t number, uint64_t offset, void *ret_bytes, size_t length) {
    uint8_t *to = ret_bytes;
    for (size_t i = 0; i < length; i++) {
        to[i] = pattern_byte(number, offset + i);
    }
}

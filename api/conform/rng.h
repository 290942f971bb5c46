/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.h: random numbers that a seed repeats, and patterns of bytes that can be told from each
 * other.
 *
 * Keeps nothing but what the caller holds; any thread.
 */
#ifndef SLUICE_CONFORM_RNG_H
#define SLUICE_CONFORM_RNG_H

#include <stddef.h>
#include <stdint.h>

/* xorshift64*: the same seed gives the same run. */
struct rng {
    uint64_t state;
};
struct rng rng_of_seed(uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* The bytes of pattern `number` at `offset` of a volume. Each depends on its place, so that bytes
 * which come from elsewhere are seen, and none is zero, so that a hole is. */
void pattern_fill(uint64_t number, uint64_t offset, void *ret_bytes, size_t length);
uint8_t pattern_byte(uint64_t number, uint64_t offset);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h: the two clocks. Deadlines use the monotonic one; records and people the other.
 */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_TEXT_SIZE 32

uint64_t clock_mono_ns(void);
uint64_t clock_mono_ms(void);
uint64_t clock_wall_ms(void); /* since 1970, UTC */
/* RFC 3339 with milliseconds and Z. Returns ret. */
const char *clock_format(uint64_t wall_ms, char ret[CLOCK_TEXT_SIZE]);
/* RFC 3339 date-time, or a date alone (midnight UTC); ret_seconds since 1970. */
bool clock_parse(const char *text, int64_t *ret_seconds);

#endif

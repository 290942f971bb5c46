/* SPDX-License-Identifier: Apache-2.0
 *
 * uuid.h: UUIDv7 (RFC 9562 section 5.7): ids that sort by the time they were made.
 *
 * uuid_new is monotonic inside a process (a 12-bit counter in rand_a for the same millisecond) and
 * may be called from any thread.
 */
#ifndef SLUICE_BASE_UUID_H
#define SLUICE_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/types.h>

#define UUID_TEXT_SIZE 37 /* with its NUL */

struct sluice_uuid uuid_new(void);
bool uuid_is_zero(const struct sluice_uuid *id);
bool uuid_equal(const struct sluice_uuid *a, const struct sluice_uuid *b);
int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b);
/* Lower case with hyphens. Returns ret. */
const char *uuid_format(const struct sluice_uuid *id, char ret[UUID_TEXT_SIZE]);
/* Accepts exactly the 36-character form, either case. */
bool uuid_parse(const char *text, struct sluice_uuid *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c.h: the checksum of VHDX: CRC-32C (Castagnoli; RFC 3720, 12.1), reflected, all ones at both
 * ends. Pure; any thread.
 */
#ifndef IMAGE_CRC32C_H
#define IMAGE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* `before` is 0, or what the bytes before these gave. */
uint32_t crc32c(uint32_t before, const void *bytes, size_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h: the record that the benchmarks of the catalogue and of its bare store write: of a
 * volume's size, under an id that is larger than all before.
 */
#ifndef SLUICE_BENCH_RECORD_H
#define SLUICE_BENCH_RECORD_H

#include <stdint.h>
#include <string.h>

#include "base/uuid.h"

#define RECORD_KEY_SIZE 18
#define RECORD_VALUE_SIZE 300

static inline void record_make(uint8_t ret_key[RECORD_KEY_SIZE],
                               uint8_t ret_value[RECORD_VALUE_SIZE]) {
    struct sluice_uuid id = uuid_new();
    memcpy(ret_key, "v/", 2);
    memcpy(ret_key + 2, id.bytes, sizeof id.bytes);
    memset(ret_value, id.bytes[15], RECORD_VALUE_SIZE);
}

#endif

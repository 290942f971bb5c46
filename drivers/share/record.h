/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h: a small file of text that is there whole or not at all.
 *
 * The first line is "<kind> <format>", then "key=value" lines, then "end=<crc>" with the CRC-32 of
 * all lines before. In values '%', '\n', other control bytes stand as %XX. The file system's store
 * publishes it; a damaged one is CORRUPT, never half used.
 *
 * Life cycle: record_begin, record_put..., record_store; or record_load, record_get...; after
 * either, record_release. Errors: an enum sluice_status; NOT_FOUND: no such record, CORRUPT:
 * damaged or of another kind, UNSUPPORTED: of another format. Limit: RECORD_MAX bytes.
 */
#ifndef SHARE_RECORD_H
#define SHARE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "share/fs.h"

#define RECORD_MAX 262144 /* SHARE_SNAPSHOTS_MAX snapshots with the longest names, all escaped */
#define RECORD_FORMAT 2

struct record {
    char *text;
    size_t length;
    size_t room;
    int32_t status; /* of the first put that failed: LIMIT, NO_MEMORY */
};

void record_begin(struct record *record, const char *kind);
void record_put(struct record *record, const char *key, const char *value);
void record_put_number(struct record *record, const char *key, uint64_t value);
void record_put_uuid(struct record *record, const char *key, const struct sluice_uuid *value);
int32_t record_store(struct record *record, struct share_fs *fs, struct sluice_call *call,
                     const char *path, bool replace);

int32_t record_load(struct record *record, struct share_fs *fs, struct sluice_call *call,
                    const char *path, const char *kind);
/* The value of the first line `key` at or after *cursor (start at 0), which moves behind it. */
bool record_next(const struct record *record, size_t *cursor, const char *key, char *ret_value,
                 size_t room);
bool record_get(const struct record *record, const char *key, char *ret_value, size_t room);
bool record_get_number(const struct record *record, const char *key, uint64_t *ret_value);
bool record_get_uuid(const struct record *record, const char *key, struct sluice_uuid *ret_value);

void record_release(struct record *record);

#endif

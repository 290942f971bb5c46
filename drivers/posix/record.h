/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h: a small file of text that is there whole or not at all.
 *
 * The first line is "<kind> 1" (kind and format), then "key=value" lines, then "end=<crc>" with the
 * CRC-32 of all lines before. In values '%', '\n', other control bytes stand as %XX. A record is
 * written under "<name>.new", synced, and published by rename; a damaged one is EBADMSG, never half
 * used.
 *
 * Life cycle: record_begin, record_put..., record_store; or record_load, record_get.... A record is
 * plain memory, nothing is released. Limit: RECORD_MAX bytes, enough for GRANTS_MAX grants.
 */
#ifndef POSIX_RECORD_H
#define POSIX_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/types.h>

#define RECORD_MAX 16384

struct record {
    char text[RECORD_MAX];
    size_t length;
    bool overflow;
};

void record_begin(struct record *record, const char *kind);
void record_put(struct record *record, const char *key, const char *value);
void record_put_number(struct record *record, const char *key, uint64_t value);
void record_put_uuid(struct record *record, const char *key, const struct sluice_uuid *value);

/* 0, or -1 with errno (E2BIG: beyond RECORD_MAX; EEXIST: there already and not to be replaced). */
int record_store(struct record *record, int directory, const char *name, bool replace);

/* 0, or -1 with errno (ENOENT: no such record; EBADMSG: damaged, of another kind or newer). */
int record_load(struct record *record, int directory, const char *name, const char *kind);

/* The value of the first line `key` at or after *cursor (start at 0), which moves behind it. */
bool record_next(const struct record *record, size_t *cursor, const char *key, char *ret_value,
                 size_t room);
bool record_get(const struct record *record, const char *key, char *ret_value, size_t room);
bool record_get_number(const struct record *record, const char *key, uint64_t *ret_value);
bool record_get_uuid(const struct record *record, const char *key, struct sluice_uuid *ret_value);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * kept.h: acknowledged writes of one volume that may still be lost, in order of acknowledgement.
 *
 * An entry leaves when a flush that was sent after its acknowledgement completes with the token it
 * was acknowledged under, and everything before it has left. Numbers count up for ever from 1; the
 * payloads lie one after another in a private log.
 *
 * Life cycle: kept_init costs nothing, the first kept_add maps the log. Not for two threads.
 */
#ifndef SLUICE_DATA_KEPT_H
#define SLUICE_DATA_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "ring/ring.h"

#define KEPT_BYTES_MAX (64u * 1024 * 1024)
#define KEPT_ENTRIES_MAX 4096u

struct kept_entry {
    uint64_t token;
    uint64_t offset;
    uint64_t length;
    uint16_t verb;
    uint16_t flags;
    uint32_t at; /* of the payload in the log */
};

struct kept {
    uint64_t first; /* number of the oldest entry */
    uint64_t next;  /* number that the next one gets */
    uint32_t bytes; /* of payload */
    uint32_t tail;  /* where the next payload goes */
    struct kept_entry *entries;
    uint8_t *log;
};

void kept_init(struct kept *kept);
void kept_release(struct kept *kept);

static inline uint32_t kept_count(const struct kept *kept) {
    return (uint32_t)(kept->next - kept->first);
}
struct kept_entry *kept_entry(const struct kept *kept, uint64_t number);
const void *kept_payload(const struct kept *kept, const struct kept_entry *entry);

/* Is there room, besides `bytes` and `entries` that are promised already? */
bool kept_has_room(const struct kept *kept, uint64_t bytes, uint32_t entries);
/* The bound is half used: time to flush. */
bool kept_is_half_full(const struct kept *kept);
/* Copies the payload (NULL: none). There must be room. false: no memory for the log. */
bool kept_add(struct kept *kept, const struct kept_entry *entry, const void *payload);
/* Forgets from the front what has a number up to `mark` and this token. */
void kept_forget(struct kept *kept, uint64_t mark, uint64_t token);
/* The oldest entry under another token; 0: there is none. */
uint64_t kept_first_other(const struct kept *kept, uint64_t token);
bool kept_overlaps(const struct kept *kept, uint64_t offset, uint64_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * kept.c: see kept.h.
 *
 * The log is a circle in which no payload is broken: what does not fit before the end begins at the
 * start. Up to one call's bytes are lost there, so the circle is that much larger than the bound.
 */
#include "data/kept.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

#define LOG_SIZE (KEPT_BYTES_MAX + 2 * RING_CALL_MAX)
#define ENTRIES_SIZE (KEPT_ENTRIES_MAX * sizeof(struct kept_entry))

void kept_init(struct kept *kept) {
    *kept = (struct kept){.first = 1, .next = 1};
}

void kept_release(struct kept *kept) {
    if (kept->log != NULL)
        munmap(kept->log, LOG_SIZE);
    if (kept->entries != NULL)
        munmap(kept->entries, ENTRIES_SIZE);
    kept_init(kept);
}

static void *map(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

struct kept_entry *kept_entry(const struct kept *kept, uint64_t number) {
    CHECK(number >= kept->first && number < kept->next);
    return &kept->entries[number % KEPT_ENTRIES_MAX];
}

const void *kept_payload(const struct kept *kept, const struct kept_entry *entry) {
    return kept->log + entry->at;
}

bool kept_has_room(const struct kept *kept, uint64_t bytes, uint32_t entries) {
    return kept_count(kept) + entries < KEPT_ENTRIES_MAX && kept->bytes + bytes <= KEPT_BYTES_MAX;
}

bool kept_is_half_full(const struct kept *kept) {
    return kept_count(kept) >= KEPT_ENTRIES_MAX / 2 || kept->bytes >= KEPT_BYTES_MAX / 2;
}

static uint32_t payload_bytes(const struct kept_entry *entry) {
    return entry->verb == RING_WRITE ? (uint32_t)entry->length : 0;
}

bool kept_add(struct kept *kept, const struct kept_entry *entry, const void *payload) {
    if (kept->log == NULL)
        kept->log = map(LOG_SIZE);
    if (kept->entries == NULL)
        kept->entries = map(ENTRIES_SIZE);
    if (kept->log == NULL || kept->entries == NULL)
        return false;
    uint32_t bytes = payload_bytes(entry);
    CHECK(kept_has_room(kept, bytes, 0));
    if (kept_count(kept) == 0 || kept->tail + bytes > LOG_SIZE)
        kept->tail = 0; /* an empty log begins where its memory is warm */
    struct kept_entry *place = &kept->entries[kept->next % KEPT_ENTRIES_MAX];
    *place = *entry;
    place->at = kept->tail;
    if (bytes > 0)
        memcpy(kept->log + kept->tail, payload, bytes);
    kept->tail += bytes;
    kept->bytes += bytes;
    kept->next++;
    return true;
}

void kept_forget(struct kept *kept, uint64_t mark, uint64_t token) {
    while (kept->first < kept->next && kept->first <= mark) {
        const struct kept_entry *entry = kept_entry(kept, kept->first);
        if (entry->token != token)
            break;
        kept->bytes -= payload_bytes(entry);
        kept->first++;
    }
}

uint64_t kept_first_other(const struct kept *kept, uint64_t token) {
    for (uint64_t number = kept->first; number < kept->next; number++)
        if (kept_entry(kept, number)->token != token)
            return number;
    return 0;
}

bool kept_overlaps(const struct kept *kept, uint64_t offset, uint64_t length) {
    for (uint64_t number = kept->first; number < kept->next; number++) {
        const struct kept_entry *entry = kept_entry(kept, number);
        if (entry->offset < offset + length && offset < entry->offset + entry->length)
            return true;
    }
    return false;
}

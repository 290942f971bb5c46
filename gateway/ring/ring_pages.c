/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_pages.c: the map of payload pages. First fit, from where the last search ended: calls end
 * about in the order in which they began, so what lies ahead is most likely free.
 */
#include <string.h>

#include "base/check.h"
#include "ring/ring.h"

#define WORD_BITS 64

static bool is_used(const struct ring_pages *pages, uint32_t page) {
    return (pages->used[page / WORD_BITS] >> (page % WORD_BITS) & 1) != 0;
}

/* The first page from `from` on that is used (or that is not), or `end`. */
static uint32_t find(const struct ring_pages *pages, bool used, uint32_t from, uint32_t end) {
    for (uint32_t page = from; page < end;) {
        uint64_t word = pages->used[page / WORD_BITS];
        uint64_t wanted = (used ? word : ~word) >> (page % WORD_BITS);
        if (wanted != 0) {
            page += (uint32_t)__builtin_ctzll(wanted);
            return page < end ? page : end;
        }
        page += WORD_BITS - page % WORD_BITS;
    }
    return end;
}

/* A run of `count` free pages that begins in [from, until). */
static bool search(const struct ring_pages *pages, uint32_t count, uint32_t from, uint32_t until,
                   uint32_t *ret_page) {
    for (uint32_t page = find(pages, false, from, until); page < until;) {
        if (RING_PAGES - page < count)
            return false;
        uint32_t end = find(pages, true, page, page + count);
        if (end == page + count) {
            *ret_page = page;
            return true;
        }
        page = find(pages, false, end, until > end ? until : end);
    }
    return false;
}

static void mark(struct ring_pages *pages, uint32_t page, uint32_t count, bool used) {
    for (uint32_t i = page; i < page + count; i++) {
        CHECK(is_used(pages, i) != used);
        pages->used[i / WORD_BITS] ^= UINT64_C(1) << (i % WORD_BITS);
    }
}

static uint32_t pages_of(uint64_t length) {
    CHECK(length > 0 && length <= RING_CALL_MAX);
    return (uint32_t)((length + RING_PAGE - 1) / RING_PAGE);
}

void ring_pages_init(struct ring_pages *pages) {
    memset(pages, 0, sizeof *pages);
    pages->free = RING_PAGES;
}

bool ring_pages_take(struct ring_pages *pages, uint64_t length, uint32_t *ret_page) {
    uint32_t count = pages_of(length);
    uint32_t page;
    if (pages->free < count || (!search(pages, count, pages->next, RING_PAGES, &page) &&
                                !search(pages, count, 0, pages->next, &page)))
        return false;
    mark(pages, page, count, true);
    pages->free -= count;
    pages->next = (page + count) % RING_PAGES;
    *ret_page = page;
    return true;
}

void ring_pages_give(struct ring_pages *pages, uint32_t page, uint64_t length) {
    uint32_t count = pages_of(length);
    CHECK(page < RING_PAGES && count <= RING_PAGES - page);
    mark(pages, page, count, false);
    pages->free += count;
}

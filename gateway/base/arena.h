/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.h: memory that is given back all at once.
 *
 * One arena a request, a message or a record. arena_init costs nothing; chunks are taken as needed
 * up to `max` bytes in all, so that no input decides how much memory is used. Not for two threads.
 *
 * Life cycle: arena_init, any number of allocations, arena_release (or arena_reset to use it
 * again).
 */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *newest;
    size_t used; /* bytes given out */
    size_t held; /* bytes taken from malloc */
    size_t max;
};

void arena_init(struct arena *arena, size_t max);
void arena_release(struct arena *arena);
/* Keeps the newest chunk and forgets what was in it. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned to 16. NULL: beyond max, or no memory. */
void *arena_alloc(struct arena *arena, size_t size);
/* NULL on overflow too. */
void *arena_array(struct arena *arena, size_t count, size_t size);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_strndup(struct arena *arena, const char *text, size_t length);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.c: chunks in a list, newest first; allocation moves a mark forward in the newest.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define ARENA_ALIGN 16
#define CHUNK_MIN                                                                      \
    992 /* most requests need no second chunk of that size; with its head it is one of \
           those that malloc keeps ready (up to 1,032 bytes) */
#define CHUNK_MAX                                                                   \
    65536 /* chunks double up to here; a bigger one is made only for one big object \
           */

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of bytes */
    size_t used;
    alignas(ARENA_ALIGN) unsigned char bytes[];
};

void arena_init(struct arena *arena, size_t max) {
    *arena = (struct arena){.max = max};
}

static void chunks_free(struct arena_chunk *chunk) {
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
}

void arena_release(struct arena *arena) {
    if (arena == NULL)
        return;
    chunks_free(arena->newest);
    arena_init(arena, arena->max);
}

void arena_reset(struct arena *arena) {
    struct arena_chunk *kept = arena->newest;
    arena->used = 0;
    arena->held = 0;
    if (kept == NULL)
        return;
    chunks_free(kept->older);
    kept->older = NULL;
    kept->used = 0;
    arena->held = sizeof *kept + kept->size;
}

static struct arena_chunk *chunk_add(struct arena *arena, size_t size) {
    size_t left = arena->max > arena->held ? arena->max - arena->held : 0;
    if (left < sizeof(struct arena_chunk) || left - sizeof(struct arena_chunk) < size)
        return NULL;
    size_t want = arena->newest == NULL ? CHUNK_MIN : arena->newest->size * 2;
    if (want > CHUNK_MAX)
        want = CHUNK_MAX;
    if (want > left - sizeof(struct arena_chunk))
        want = left - sizeof(struct arena_chunk);
    if (want < size)
        want = size;
    struct arena_chunk *chunk = malloc(sizeof *chunk + want);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct arena_chunk){.older = arena->newest, .size = want};
    arena->newest = chunk;
    arena->held += sizeof *chunk + want;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGN; /* two objects of no size still have two addresses */
    struct arena_chunk *chunk = arena->newest;
    if (chunk == NULL || chunk->size - chunk->used < rounded)
        chunk = chunk_add(arena, rounded);
    if (chunk == NULL)
        return NULL;
    void *given = chunk->bytes + chunk->used;
    chunk->used += rounded;
    arena->used += rounded;
    return memset(given, 0, rounded);
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length) {
    CHECK(text != NULL || length == 0);
    if (length == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(arena, length + 1);
    if (copy != NULL && length > 0)
        memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text) {
    CHECK(text != NULL);
    return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : arena_alloc(arena, (size_t)length + 1);
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

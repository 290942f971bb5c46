/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_file.c: one growing array and a list of events.
 */
#include "image_file/memory_file.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_BYTES 512u
#define MEMORY_FILE_MAX (UINT64_C(1) << 31) /* a test that wants more has lost its way */

enum event_kind { EVENT_WRITE, EVENT_RESIZE, EVENT_PUNCH, EVENT_FLUSH };

struct event {
    enum event_kind kind;
    uint64_t offset;
    uint64_t length;
    uint8_t *bytes;
};

struct memory_file {
    struct image_file file;
    pthread_mutex_t lock;
    uint8_t *bytes;
    size_t size;
    size_t room;
    uint8_t *base; /* as it was when recording began */
    size_t base_size;
    bool recording;
    struct event *events;
    size_t count;
    size_t events_room;
    /* Where the last cuts were, so that the next ones need not begin from the start: of cuts, and
     * of power cuts. */
    struct replayed {
        struct memory_file *file;
        size_t events;
    } replayed[2];
    uint64_t limit;
    uint64_t fail_number;
    int32_t fail_status;
    bool fail_for_ever;
    bool has_failed;
    uint64_t reads;
    uint64_t changes;
    uint64_t flushes;
};

static void *must_have(void *memory) {
    if (memory == NULL)
        abort();
    return memory;
}

static struct memory_file *memory_of(struct image_file *file) {
    return (struct memory_file *)file;
}

static int32_t grow(struct memory_file *memory, uint64_t size) {
    if (size > memory->limit)
        return SLUICE_NO_SPACE;
    if (size > memory->room) {
        size_t room = memory->room * 2 > size ? memory->room * 2 : (size_t)size;
        memory->bytes = must_have(realloc(memory->bytes, room));
        memset(memory->bytes + memory->room, 0, room - memory->room);
        memory->room = room;
    }
    if (size > memory->size)
        memory->size = (size_t)size;
    return SLUICE_OK;
}

static int32_t apply(struct memory_file *memory, const struct event *event) {
    uint64_t end = event->offset + event->length;
    int32_t status = SLUICE_OK;
    switch (event->kind) {
    case EVENT_WRITE:
        status = grow(memory, end);
        if (status == SLUICE_OK && event->length > 0)
            memcpy(memory->bytes + event->offset, event->bytes, (size_t)event->length);
        break;
    case EVENT_RESIZE:
        status = grow(memory, event->length);
        if (status == SLUICE_OK && event->length < memory->size) {
            memset(memory->bytes + event->length, 0, memory->size - (size_t)event->length);
            memory->size = (size_t)event->length;
        }
        break;
    case EVENT_PUNCH:
        if (end > memory->size)
            end = memory->size;
        if (event->offset < end)
            memset(memory->bytes + event->offset, 0, (size_t)(end - event->offset));
        break;
    case EVENT_FLUSH:
        break;
    }
    return status;
}

/* Whether this call is the one that fails. */
static bool fails(struct memory_file *memory) {
    if (memory->fail_number == 0)
        return false;
    if (memory->fail_number > 1) {
        memory->fail_number--;
        return false;
    }
    memory->has_failed = true;
    if (!memory->fail_for_ever)
        memory->fail_number = 0;
    return true;
}

static int32_t change(struct image_file *file, enum event_kind kind, uint64_t offset,
                      const void *bytes, uint64_t length) {
    struct memory_file *memory = memory_of(file);
    pthread_mutex_lock(&memory->lock);
    bool failing = fails(memory);
    int32_t status = failing ? memory->fail_status : SLUICE_OK;
    memory->changes++;
    if (kind == EVENT_FLUSH)
        memory->flushes++;
    /* Of a write that fails some bytes may have got there. */
    if (failing)
        length = length / 2 / SECTOR_BYTES * SECTOR_BYTES;
    struct event event = {.kind = kind, .offset = offset, .length = length};
    if (!failing || (kind == EVENT_WRITE && length > 0)) {
        if (kind == EVENT_WRITE) {
            event.bytes = must_have(malloc((size_t)length + 1));
            memcpy(event.bytes, bytes, (size_t)length);
        }
        int32_t applied = apply(memory, &event);
        if (status == SLUICE_OK)
            status = applied;
        if (memory->recording && applied == SLUICE_OK) {
            if (memory->count == memory->events_room) {
                memory->events_room = memory->events_room * 2 + 64;
                memory->events = must_have(
                    realloc(memory->events, memory->events_room * sizeof *memory->events));
            }
            memory->events[memory->count++] = event;
        } else {
            free(event.bytes);
        }
    }
    pthread_mutex_unlock(&memory->lock);
    return status;
}

static int32_t memory_read(struct image_file *file, uint64_t offset, void *ret_bytes,
                           size_t length) {
    struct memory_file *memory = memory_of(file);
    pthread_mutex_lock(&memory->lock);
    memory->reads++;
    int32_t status = fails(memory) ? memory->fail_status : SLUICE_OK;
    if (status == SLUICE_OK) {
        size_t there = offset < memory->size ? memory->size - (size_t)offset : 0;
        if (there > length)
            there = length;
        if (there > 0)
            memcpy(ret_bytes, memory->bytes + offset, there);
        memset((uint8_t *)ret_bytes + there, 0, length - there);
    }
    pthread_mutex_unlock(&memory->lock);
    return status;
}

static int32_t memory_write(struct image_file *file, uint64_t offset, const void *bytes,
                            size_t length) {
    return change(file, EVENT_WRITE, offset, bytes, length);
}

static int32_t memory_flush(struct image_file *file) {
    return change(file, EVENT_FLUSH, 0, NULL, 0);
}

static int32_t memory_get_size(struct image_file *file, uint64_t *ret_bytes) {
    *ret_bytes = memory_of(file)->size;
    return SLUICE_OK;
}

static int32_t memory_resize(struct image_file *file, uint64_t bytes) {
    return change(file, EVENT_RESIZE, 0, NULL, bytes);
}

static int32_t memory_punch(struct image_file *file, uint64_t offset, uint64_t length) {
    return change(file, EVENT_PUNCH, offset, NULL, length);
}

static void memory_close(struct image_file *file) {
    (void)file;
}

static const struct image_file_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .size = memory_get_size,
    .resize = memory_resize,
    .punch = memory_punch,
    .close = memory_close,
};

struct memory_file *memory_file_create(void) {
    struct memory_file *memory = must_have(calloc(1, sizeof *memory));
    memory->file.ops = &memory_ops;
    memory->limit = MEMORY_FILE_MAX;
    pthread_mutex_init(&memory->lock, NULL);
    return memory;
}

struct memory_file *memory_file_of(const void *bytes, size_t length) {
    struct memory_file *memory = memory_file_create();
    if (grow(memory, length) != SLUICE_OK)
        abort();
    if (length > 0)
        memcpy(memory->bytes, bytes, length);
    return memory;
}

void memory_file_destroy(struct memory_file *memory) {
    if (memory == NULL)
        return;
    for (size_t i = 0; i < memory->count; i++)
        free(memory->events[i].bytes);
    memory_file_destroy(memory->replayed[0].file);
    memory_file_destroy(memory->replayed[1].file);
    free(memory->events);
    free(memory->base);
    free(memory->bytes);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
}

struct image_file *memory_file_open(struct memory_file *memory) {
    return &memory->file;
}

size_t memory_file_size(const struct memory_file *memory) {
    return memory->size;
}

const uint8_t *memory_file_bytes(const struct memory_file *memory) {
    return memory->bytes;
}

void memory_file_record(struct memory_file *memory) {
    for (size_t i = 0; i < memory->count; i++)
        free(memory->events[i].bytes);
    memory->count = 0;
    for (unsigned i = 0; i < 2; i++) {
        memory_file_destroy(memory->replayed[i].file);
        memory->replayed[i].file = NULL;
    }
    free(memory->base);
    memory->base = must_have(malloc(memory->size + 1));
    if (memory->size > 0)
        memcpy(memory->base, memory->bytes, memory->size);
    memory->base_size = memory->size;
    memory->recording = true;
}

size_t memory_file_events(const struct memory_file *memory) {
    return memory->count;
}

size_t memory_file_event_sectors(const struct memory_file *memory, size_t event) {
    const struct event *at = &memory->events[event];
    if (at->kind != EVENT_WRITE || at->length == 0)
        return 0;
    uint64_t first = at->offset / SECTOR_BYTES;
    uint64_t last = (at->offset + at->length - 1) / SECTOR_BYTES;
    return (size_t)(last - first + 1);
}

/* The part of a write that lies in its sectors from..to. */
static struct event part_of(const struct event *event, size_t from, size_t to) {
    uint64_t first = event->offset / SECTOR_BYTES;
    uint64_t begin = (first + from) * SECTOR_BYTES;
    uint64_t end = (first + to) * SECTOR_BYTES;
    if (begin < event->offset)
        begin = event->offset;
    if (end > event->offset + event->length)
        end = event->offset + event->length;
    return (struct event){.kind = EVENT_WRITE,
                          .offset = begin,
                          .length = end > begin ? end - begin : 0,
                          .bytes = event->bytes + (begin - event->offset)};
}

/* A copy after so many events, by way of the one that was made last. */
static struct memory_file *replay(struct memory_file *memory, size_t events, unsigned slot) {
    struct replayed *last = &memory->replayed[slot];
    if (last->file == NULL || last->events > events) {
        memory_file_destroy(last->file);
        last->file = memory_file_of(memory->base, memory->base_size);
        last->events = 0;
    }
    for (; last->events < events; last->events++)
        if (apply(last->file, &memory->events[last->events]) != SLUICE_OK)
            abort();
    return memory_file_of(last->file->bytes, last->file->size);
}

struct memory_file *memory_file_cut(struct memory_file *memory, size_t events, size_t sectors) {
    struct memory_file *cut = replay(memory, events, 0);
    if (events < memory->count && sectors > 0 && memory->events[events].kind == EVENT_WRITE) {
        struct event part = part_of(&memory->events[events], 0, sectors);
        if (apply(cut, &part) != SLUICE_OK)
            abort();
    }
    return cut;
}

static uint64_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct memory_file *memory_file_power_cut(struct memory_file *memory, size_t events,
                                          uint64_t seed) {
    size_t stable = events;
    while (stable > 0 && memory->events[stable - 1].kind != EVENT_FLUSH)
        stable--;
    struct memory_file *cut = replay(memory, stable, 1);
    /* In a third of the cases nearly all, in a third nearly nothing of it got there. */
    uint64_t mode = next_random(&seed) % 3;
    for (size_t i = stable; i < events; i++) {
        const struct event *event = &memory->events[i];
        size_t sectors = memory_file_event_sectors(memory, i);
        for (size_t k = 0; k < (sectors > 0 ? sectors : 1); k++) {
            uint64_t coin = next_random(&seed) % 16;
            if (coin >= (mode == 0 ? 8 : mode == 1 ? 15 : 1))
                continue;
            struct event part = sectors > 0 ? part_of(event, k, k + 1) : *event;
            if (apply(cut, &part) != SLUICE_OK)
                abort();
        }
    }
    return cut;
}

void memory_file_fail(struct memory_file *memory, uint64_t number, int32_t status, bool for_ever) {
    memory->fail_number = number;
    memory->fail_status = status;
    memory->fail_for_ever = for_ever;
    memory->has_failed = false;
}

bool memory_file_has_failed(const struct memory_file *memory) {
    return memory->has_failed;
}

void memory_file_limit(struct memory_file *memory, uint64_t bytes) {
    memory->limit = bytes;
}

uint64_t memory_file_reads(const struct memory_file *memory) {
    return memory->reads;
}

uint64_t memory_file_changes(const struct memory_file *memory) {
    return memory->changes;
}

uint64_t memory_file_flushes(const struct memory_file *memory) {
    return memory->flushes;
}

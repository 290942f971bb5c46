/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_file.h: an image's file in memory, which can be cut, torn and made to fail.
 *
 * Everything that changes the file is kept as an event, from memory_file_record on. memory_file_cut
 * makes the file as somebody finds it who comes after a crash: the first events whole, part of the
 * next one. memory_file_power_cut makes the file after a power failure: what was not flushed may be
 * there or not, in any order.
 *
 * Threads: calls may overlap (one lock). Out of memory ends the program: these are tests.
 */
#ifndef IMAGE_FILE_MEMORY_FILE_H
#define IMAGE_FILE_MEMORY_FILE_H

#include <stdbool.h>

#include "image/file.h"

struct memory_file;

struct memory_file *memory_file_create(void);
/* A file with these bytes. */
struct memory_file *memory_file_of(const void *bytes, size_t length);
void memory_file_destroy(struct memory_file *memory);

/* The file, whose close does nothing. */
struct image_file *memory_file_open(struct memory_file *memory);

size_t memory_file_size(const struct memory_file *memory);
const uint8_t *memory_file_bytes(const struct memory_file *memory);

/* From now on events are kept; what was there before is where cuts begin. */
void memory_file_record(struct memory_file *memory);
size_t memory_file_events(const struct memory_file *memory);
/* Whether the event is a flush; of a write, how many sectors it touches. */
size_t memory_file_event_sectors(const struct memory_file *memory, size_t event);
/* A copy of the file after `events` events and `sectors` of the one behind them. */
struct memory_file *memory_file_cut(struct memory_file *memory, size_t events, size_t sectors);
/* A copy after `events` events, of which those behind the last flush are there by a coin's fall:
 * each sector of them for itself. */
struct memory_file *memory_file_power_cut(struct memory_file *memory, size_t events, uint64_t seed);

/* The call of the given number from now on (reads too; 1: the next) fails, and so do all after it
 * if `for_ever`; a write that fails has written its first half. 0: nothing fails any more. */
void memory_file_fail(struct memory_file *memory, uint64_t number, int32_t status, bool for_ever);
/* Whether that call came. */
bool memory_file_has_failed(const struct memory_file *memory);
/* What would make the file longer than this is NO_SPACE from now on; as made: 2 GiB. */
void memory_file_limit(struct memory_file *memory, uint64_t bytes);
/* Calls since the beginning: reads and changes. */
uint64_t memory_file_reads(const struct memory_file *memory);
uint64_t memory_file_changes(const struct memory_file *memory);
uint64_t memory_file_flushes(const struct memory_file *memory);

#endif

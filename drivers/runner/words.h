/* SPDX-License-Identifier: Apache-2.0
 *
 * words.h: last words. When a fatal signal ends the process, one line on stderr says which signal,
 * at which address, and in which call; sluice-super keeps it.
 *
 * What a thread is doing is thread-local, against the rule of no ambient context: a signal handler
 * has nobody to hand it over.
 */
#ifndef SLUICE_RUNNER_WORDS_H
#define SLUICE_RUNNER_WORDS_H

#include <stdint.h>

/* Once, by the program. In a sanitizer's build the sanitizer's own report is better: does nothing.
 */
void words_start(void);
/* For each thread that calls the driver: a stack of its own for the handler, so that a thread that
 * has used up its stack can still speak. Its end frees it. */
void words_enter_thread(void);
void words_leave_thread(void);

/* `name` lives for ever (a row of the table). NULL: the thread is in no call. */
void words_set_call(const char *name, uint64_t call_id);

/* For an end that the runner decides on: one line on stderr. Any thread, not a signal handler. */
void words_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

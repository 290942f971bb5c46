/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c: the last words of a process with a bug. Nothing here allocates: the heap may be what
 * broke.
 */
#include "base/check.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 32  /* deeper frames do not tell more about where a CHECK failed */
#define WORDS_MAX 1024 /* the supervisor keeps a few KiB of last words */

/* backtrace loads libgcc at its first call, which allocates; so the first call is made at the
 * start, while the heap is still sound. */
__attribute__((constructor)) static void load_unwinder(void) {
    void *frame[1];
    (void)backtrace(frame, 1);
}

static void say(const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);
        if (written <= 0)
            return;
        text += written;
        length -= (size_t)written;
    }
}

_Noreturn void check_failed(const char *condition, const char *file, int line,
                            const char *function) {
    char words[WORDS_MAX];
    int length = snprintf(words, sizeof words, "CHECK failed: %s at %s:%d in %s\n", condition, file,
                          line, function);
    if (length > 0)
        say(words, (size_t)length < sizeof words ? (size_t)length : sizeof words - 1);
    void *frames[FRAMES_MAX];
    int depth = backtrace(frames, FRAMES_MAX);
    backtrace_symbols_fd(frames, depth, STDERR_FILENO);
    abort();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h: the first of three kinds of wrong, our own bug.
 *
 * CHECK stays in every build. It prints the condition, the place and a backtrace to stderr and
 * aborts; the supervisor keeps those last words. Never CHECK what a peer, a driver, a file or a
 * user can cause: those are errors (err.h) or are refused at the rim.
 */
#ifndef SLUICE_BASE_CHECK_H
#define SLUICE_BASE_CHECK_H

#define CHECK(condition)                                            \
    do {                                                            \
        if (__builtin_expect(!(condition), 0))                      \
            check_failed(#condition, __FILE__, __LINE__, __func__); \
    } while (0)

/* A magic in a struct that crosses a void pointer: first member `uint32_t magic`. */
#define CHECK_MAGIC(object, value) CHECK((object) != NULL && (object)->magic == (value))

_Noreturn void check_failed(const char *condition, const char *file, int line,
                            const char *function);

#endif

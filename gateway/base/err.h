/* SPDX-License-Identifier: Apache-2.0
 *
 * err.h: the second of three kinds of wrong, trouble in operation.
 *
 * A function that can fail returns bool (true: it worked) or an enum err_code and takes
 * `struct err *err` as its last parameter but the ret_ ones. An err starts as ERR_INIT; the first
 * cause wins: once a code is set, later calls only add context in front ("opening pool p: ...").
 * An err is a value: no allocation, no ownership, copied freely, any thread.
 */
#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#define ERR_TEXT_MAX 512

enum err_code {
    ERR_NONE = 0,
#define ERR(name, number, http, advice, slug, title) ERR_##name = number,
#include "base/err.def"
#undef ERR
};

enum err_advice { ERR_ADVICE_RETRY, ERR_ADVICE_FIX, ERR_ADVICE_GIVE_UP };

struct err {
    enum err_code code;
    char text[ERR_TEXT_MAX]; /* UTF-8, cut at a character, never a secret */
};

#define ERR_INIT ((struct err){.code = ERR_NONE})

/* Sets code and text unless a cause is set already. Always returns false, so that a failing
 * function says `return err_set(err, ERR_NO_SPACE, "...")`. err may be NULL. */
bool err_set(struct err *err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool err_vset(struct err *err, enum err_code code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
/* Sets code and "text: strerror(number)". */
bool err_errno(struct err *err, enum err_code code, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts "context: " in front of the text of an err that is set. */
void err_context(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The row of a code. Unknown numbers give the row of INTERNAL. */
const char *err_slug(enum err_code code);
const char *err_title(enum err_code code);
int err_http(enum err_code code);
enum err_advice err_advice(enum err_code code);
const char *err_advice_name(enum err_advice advice); /* retry, fix, give-up */
/* The code of a driver's status: the same number, or INTERNAL when there is no such row. */
enum err_code err_from_status(int status);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * err.c: errors as values, and the rows of err.def.
 */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include <sluice/types.h>

/* A driver's status is taken over by number, so each one that is an error must have its row here
 * under the same number. These two are no errors; an answer that asks again never becomes one. */
enum { ERR_OK = 0, ERR_PENDING = 1 };
#define SLUICE_STATUS(name, number, advice, sentence) \
    _Static_assert((int)ERR_##name == (number), "err.def and status.def disagree about " #name);
#include <sluice/status.def>
#undef SLUICE_STATUS

struct row {
    enum err_code code;
    int http;
    enum err_advice advice;
    const char *slug;
    const char *title;
};

static const struct row rows[] = {
#define ERR(name, number, http, advice, slug, title) \
    {ERR_##name, http, ERR_ADVICE_##advice, slug, title},
#include "base/err.def"
#undef ERR
};

static const struct row no_error = {ERR_NONE, 200, ERR_ADVICE_FIX, "none", "No error"};

static const struct row *row_find(int code) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((int)rows[i].code == code)
            return &rows[i];
    return NULL;
}

static const struct row *row_get(enum err_code code) {
    if (code == ERR_NONE)
        return &no_error;
    const struct row *row = row_find((int)code);
    return row != NULL ? row : row_find(ERR_INTERNAL);
}

/* Text longer than an err holds is formatted into room for twice as much, so that cutting at a
 * character is decided on whole characters. What does not even fit there is cut by vsnprintf, and
 * the rest of a broken character goes with the second cut. */
__attribute__((format(printf, 2, 0))) static void text_format(char ret[ERR_TEXT_MAX],
                                                              const char *format, va_list args) {
    char room[2 * ERR_TEXT_MAX];
    if (vsnprintf(room, sizeof room, format, args) < 0)
        room[0] = '\0';
    text_copy(ret, ERR_TEXT_MAX, room);
}

bool err_vset(struct err *err, enum err_code code, const char *format, va_list args) {
    if (err == NULL || err->code != ERR_NONE)
        return false;
    err->code = code;
    text_format(err->text, format, args);
    return false;
}

bool err_set(struct err *err, enum err_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_vset(err, code, format, args);
    va_end(args);
    return false;
}

bool err_errno(struct err *err, enum err_code code, int number, const char *format, ...) {
    if (err == NULL || err->code != ERR_NONE)
        return false;
    char what[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    text_format(what, format, args);
    va_end(args);
    char reason[128];
    return err_set(err, code, "%s: %s", what, strerror_r(number, reason, sizeof reason));
}

void err_context(struct err *err, const char *format, ...) {
    if (err == NULL || err->code == ERR_NONE)
        return;
    char context[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    text_format(context, format, args);
    va_end(args);
    char whole[2 * ERR_TEXT_MAX + sizeof ": "];
    snprintf(whole, sizeof whole, "%s: %s", context, err->text);
    text_copy(err->text, sizeof err->text, whole);
}

const char *err_slug(enum err_code code) {
    return row_get(code)->slug;
}

const char *err_title(enum err_code code) {
    return row_get(code)->title;
}

int err_http(enum err_code code) {
    return row_get(code)->http;
}

enum err_advice err_advice(enum err_code code) {
    return row_get(code)->advice;
}

const char *err_advice_name(enum err_advice advice) {
    switch (advice) {
    case ERR_ADVICE_RETRY:
        return "retry";
    case ERR_ADVICE_FIX:
        return "fix";
    case ERR_ADVICE_GIVE_UP:
        return "give-up";
    }
    return "give-up";
}

/* Only a driver's own rows: it must not be able to answer in the gateway's name. */
enum err_code err_from_status(int status) {
    switch (status) {
#define SLUICE_STATUS(name, number, advice, sentence) case number:
#include <sluice/status.def>
#undef SLUICE_STATUS
        return status == SLUICE_PENDING ? ERR_INTERNAL : (enum err_code)status;
    default:
        return ERR_INTERNAL;
    }
}

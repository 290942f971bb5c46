/* SPDX-License-Identifier: Apache-2.0
 *
 * target.c: one pass over the raw target, decoded into the text of the struct.
 */
#include "http/target.h"

#include <string.h>
#include <strings.h>

#include "base/num.h"

struct cursor {
    const char *in;
    char *out;
    bool plus; /* in the query, where '+' is a space */
};

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes until one of `ends` or the end; gives the decoded text, NUL-terminated. */
static bool take(struct cursor *cursor, const char *ends, const char **ret, struct err *err) {
    char *begin = cursor->out;
    for (; *cursor->in != '\0' && strchr(ends, *cursor->in) == NULL; cursor->in++) {
        unsigned char c = (unsigned char)*cursor->in;
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return err_set(err, ERR_BAD_REQUEST,
                           "the request target has a character that must be encoded");
        if (c == '+' && cursor->plus)
            c = ' ';
        if (c == '%') {
            int high = hex_digit(cursor->in[1]);
            int low = high < 0 ? -1 : hex_digit(cursor->in[2]);
            if (low < 0)
                return err_set(err, ERR_BAD_REQUEST,
                               "the request target has a '%%' without two hex digits");
            c = (unsigned char)(high << 4 | low);
            cursor->in += 2;
            if (c < 0x20 || c == 0x7f)
                return err_set(err, ERR_BAD_REQUEST, "the request target has a control character");
        }
        *cursor->out++ = (char)c;
    }
    if (!text_is_utf8(begin, (size_t)(cursor->out - begin)))
        return err_set(err, ERR_BAD_REQUEST, "the request target is not UTF-8");
    *cursor->out++ = '\0';
    *ret = begin;
    return true;
}

/* http://AUTHORITY before the path: servers have to take that too. */
static bool take_authority(struct cursor *cursor, struct target *target, struct err *err) {
    if (strncasecmp(cursor->in, "http://", 7) != 0)
        return true;
    cursor->in += 7;
    return take(cursor, "/?", &target->authority, err);
}

static bool take_path(struct cursor *cursor, struct target *target, struct err *err) {
    if (*cursor->in != '/')
        return err_set(err, ERR_BAD_REQUEST, "the request target is not a path");
    while (*cursor->in == '/') {
        cursor->in++;
        if (target->segment_count == TARGET_SEGMENTS_MAX)
            return err_set(err, ERR_NO_ROUTE, "the path has more than %d segments",
                           TARGET_SEGMENTS_MAX);
        if (!take(cursor, "/?", &target->segments[target->segment_count], err))
            return false;
        target->segment_count++;
    }
    return true;
}

static bool take_query(struct cursor *cursor, struct target *target, struct err *err) {
    cursor->plus = true;
    while (*cursor->in == '?' || *cursor->in == '&') {
        cursor->in++;
        if (*cursor->in == '&' || *cursor->in == '\0')
            continue;
        if (target->query_count == TARGET_QUERY_MAX)
            return err_set(err, ERR_BAD_REQUEST, "the query has more than %d parameters",
                           TARGET_QUERY_MAX);
        struct text_pair *pair = &target->query[target->query_count];
        if (!take(cursor, "=&", &pair->name, err))
            return false;
        if (*cursor->in == '=')
            cursor->in++;
        if (!take(cursor, "&", &pair->value, err))
            return false;
        target->query_count++;
    }
    return true;
}

bool target_parse(const char *raw, struct target *ret, struct err *err) {
    ret->authority = NULL;
    ret->segment_count = 0;
    ret->query_count = 0;
    if (strnlen(raw, TARGET_MAX) == TARGET_MAX)
        return err_set(err, ERR_HEADERS_TOO_LARGE, "the request target has %d bytes or more",
                       TARGET_MAX);
    struct cursor cursor = {.in = raw, .out = ret->text};
    if (take_authority(&cursor, ret, err) && take_path(&cursor, ret, err) &&
        take_query(&cursor, ret, err))
        return true;
    ret->segment_count = 0;
    ret->query_count = 0;
    return false;
}

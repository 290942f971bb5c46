/* SPDX-License-Identifier: Apache-2.0
 *
 * target.h: a request target (RFC 9112 section 3.2) taken apart.
 *
 * Segments and query are percent-decoded once, here, and are UTF-8 without control characters
 * afterwards. '+' in the query is a space. The texts point into the struct itself: do not copy it.
 */
#ifndef SLUICE_HTTP_TARGET_H
#define SLUICE_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/shape.h"

#define TARGET_MAX 4096       /* bytes: a list filtered by a dozen labels */
#define TARGET_SEGMENTS_MAX 8 /* the longest route has 4 */
#define TARGET_QUERY_MAX 48   /* 32 labels and all other parameters */

struct target {
    const char *authority; /* of the absolute form, else NULL */
    const char *segments[TARGET_SEGMENTS_MAX];
    size_t segment_count;
    struct text_pair query[TARGET_QUERY_MAX];
    size_t query_count;
    char text[TARGET_MAX + TARGET_QUERY_MAX]; /* an '=' that was left out needs a NUL of its own */
};

/* BAD_REQUEST, HEADERS_TOO_LARGE; NO_ROUTE for more segments than any route has. The counts are
 * then 0. */
bool target_parse(const char *raw, struct target *ret, struct err *err);

#endif

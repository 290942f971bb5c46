/* SPDX-License-Identifier: Apache-2.0
 *
 * read.h: one object, or a page of them. The core gives JSON; it is not parsed again here.
 */
#ifndef SLUICE_HTTP_READ_H
#define SLUICE_HTTP_READ_H

#include "http/request.h"

/* An operation that still runs is waited for when Prefer says so. */
void read_get(struct request *request);
void read_list(struct request *request);
/* The decoded query, or the answer is set and this is false. */
bool read_query(struct request *request, struct value values[DECODE_FIELDS_MAX]);
/* The number of a parameter, `otherwise` when it was not given. */
uint64_t read_number(const struct request *request, const struct value *values, const char *name,
                     uint64_t otherwise);

#endif

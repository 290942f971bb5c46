/* SPDX-License-Identifier: Apache-2.0
 *
 * other.h: the routes that are neither a list nor a read nor a submission, by their operationId.
 */
#ifndef SLUICE_HTTP_OTHER_H
#define SLUICE_HTTP_OTHER_H

#include "http/router.h"

/* The function of any route; NULL when there is none. */
endpoint_fn *other_find(const struct route *route);

#endif

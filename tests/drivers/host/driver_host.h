/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_host.h: the conformance kit's host (conform/host.h), as unit tests use it.
 *
 * Whatever breaks the contract whatever the question was (a driver that does not load, a call that
 * never ends) aborts the test program with the text of conform/expect.h.
 */
#ifndef TESTS_DRIVER_HOST_H
#define TESTS_DRIVER_HOST_H

#include "conform/host.h"

#define HOST_PROPERTIES_MAX 8

void host_start(struct host *host, const char *library);
void host_stop(struct host *host);

/* Opens a pool with a bag of text and number properties, ended by a NULL name. */
struct host_property {
    const char *name;
    const char *text; /* NULL: a number */
    int64_t number;
};
int32_t host_open(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                  uint32_t flags, const struct host_property *bag);

#endif

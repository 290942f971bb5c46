/* SPDX-License-Identifier: Apache-2.0
 *
 * progress.h: waits for operations and shows on a terminal how they go.
 *
 * Waiting is asking: one GET after the other, each of which the gateway holds until the operation
 * has ended or a second is over. So a gateway that is restarted meanwhile costs nothing but a
 * retry.
 */
#ifndef SLUICE_CLI_PROGRESS_H
#define SLUICE_CLI_PROGRESS_H

#include <stdio.h>

#include <jansson.h>

#include "base/buf.h"
#include "cli/client.h"
#include "cli/problem.h"

struct progress_options {
    const char *operation; /* id */
    uint64_t wait_s;       /* WAIT_FOR_EVER: until it has ended */
    FILE *out;             /* for messages, and for the bar when `draw` */
    bool draw;
};

/* CLI_OK: it has ended in whatever way, and *ret is the operation, to be released. Else a message
 * was printed: it did not end in time, we were interrupted, or the gateway is lost. */
enum cli_exit progress_wait(struct client *client, const struct progress_options *options,
                            json_t **ret);

bool progress_has_ended(const json_t *operation);
/* One line of at most `columns` columns. */
void progress_line(struct buf *line, const json_t *operation, size_t columns);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * events.h: events as pages, and as server-sent events (WHATWG HTML, section 9.2).
 *
 * A stream keeps no events: it remembers the number of the last one that it sent and reads on from
 * the catalogue when its client has taken what was written, so a slow reader costs one buffer. One
 * that takes nothing for HTTP_ANSWER_DEADLINE_MS is closed; it resumes by Last-Event-ID. Without
 * that and without `after` a stream begins with what happens next.
 */
#ifndef SLUICE_HTTP_EVENTS_H
#define SLUICE_HTTP_EVENTS_H

#include "http/request.h"

#define EVENTS_PAGE_DEFAULT 100
#define EVENTS_PAGE_MAX 500
#define EVENTS_BATCH 16 /* events written at once into a stream's buffer */
#define EVENTS_BUFFER_MAX \
    131072 /* 16 events of at most 8 KiB: a record's texts, each byte escaped */

void events_read(struct request *request);
/* Heartbeats, and the end of those who read nothing. Once a second. */
void events_sweep(struct http *http);
/* Ends all streams. */
void events_end(struct http *http);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * change.h: requests that change something, and their operations.
 *
 * The request waits until the core has made the change durable. When the operation has ended by
 * then, or ends within Prefer: wait=N, the answer is its result: 201 with the new object, 200 with
 * the changed one, 204 when it is gone, or the problem that it failed with. Else 202 and the
 * operation. A request whose client is gone changes nothing about the operation.
 */
#ifndef SLUICE_HTTP_CHANGE_H
#define SLUICE_HTTP_CHANGE_H

#include "http/request.h"

#define CHANGE_KEY_MAX 255 /* of an Idempotency-Key, visible ASCII */

void change_submit(struct request *request);
/* Reports it by on_change when the request is one that changes something. */
void change_report(const struct request *request, const char *kind);

/* Seconds in a Prefer header, cut to HTTP_WAIT_MAX_S; 0 when there are none. */
uint32_t change_wait_s(const char *prefer);
/* "7" in quotes gives 7, "*" 0, nothing 0. PRECONDITION for what no object of ours can have. */
bool change_if_match(const char *header, uint64_t *ret, struct err *err);
/* SHA-256 over method, path, query and the body in canonical form. */
void change_hash(const char *method, const struct target *target, json_t *body,
                 unsigned char ret[32]);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * events.h: what happened, in order, numbered by the catalogue.
 *
 * An event is written in the transaction that made it happen. Subscribers are woken once a loop
 * turn in which events became durable and then read from where they are.
 */
#ifndef SLUICE_CORE_EVENTS_H
#define SLUICE_CORE_EVENTS_H

#include "catalog/catalog.h"
#include "core/core.h"
#include "core/records.h"

#define EVENTS_SUBSCRIBERS_MAX 256

struct events;

bool events_open(struct core *core, struct events **ret, struct err *err);
void events_close(struct events *events);
void events_append(struct catalog_txn *txn, const struct event_record *event);
/* An event that no other change goes with: a pool's runner died, a driver spoke. */
void events_tell(struct core *core, const struct event_record *event);

#endif

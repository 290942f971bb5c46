/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: the states of a driver, the events that move it, and the one function that does.
 *
 * The table is state.def. A driver begins as DISCOVERED and ends as REMOVED; whoever comes back
 * after that begins anew. From every other state there is a way to RUNNING and one to REMOVED.
 *
 * Pure functions, any thread.
 */
#ifndef SLUICE_LIFECYCLE_STATE_H
#define SLUICE_LIFECYCLE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum driver_state {
    DRIVER_NOWHERE = 0, /* no state: zeroed memory is not a driver's */
#define DRIVER_STATE(NAME, name, sentence) DRIVER_##NAME,
#include "lifecycle/state.def"
    DRIVER_STATE_COUNT,
};

enum driver_event {
    DRIVER_EVENT_NONE = 0,
#define DRIVER_EVENT(NAME, name, sentence) DRIVER_EVENT_##NAME,
#include "lifecycle/state.def"
    DRIVER_EVENT_COUNT,
};

struct driver_move {
    enum driver_state from;
    enum driver_event event;
    enum driver_state to;
};

/* STATE when the event is not permitted there; the text names those that are. */
bool driver_next(enum driver_state state, enum driver_event event, enum driver_state *ret,
                 struct err *err);
/* The rows of the table, for documents and tests. */
const struct driver_move *driver_moves(uint32_t *ret_count);

/* Names for records, traces and the API; "nowhere" and "none" for what is none. */
const char *driver_state_name(enum driver_state state);
const char *driver_state_sentence(enum driver_state state);
const char *driver_event_name(enum driver_event event);
/* false: no such name. */
bool driver_state_parse(const char *name, enum driver_state *ret);

#endif

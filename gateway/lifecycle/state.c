/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c: state.def expanded.
 */
#include "lifecycle/state.h"

#include <stdio.h>
#include <string.h>

static const char *const state_names[DRIVER_STATE_COUNT] = {
    [DRIVER_NOWHERE] = "nowhere",
#define DRIVER_STATE(NAME, name, sentence) [DRIVER_##NAME] = name,
#include "lifecycle/state.def"
};

static const char *const state_sentences[DRIVER_STATE_COUNT] = {
    [DRIVER_NOWHERE] = "there is no such driver",
#define DRIVER_STATE(NAME, name, sentence) [DRIVER_##NAME] = sentence,
#include "lifecycle/state.def"
};

static const char *const event_names[DRIVER_EVENT_COUNT] = {
    [DRIVER_EVENT_NONE] = "none",
#define DRIVER_EVENT(NAME, name, sentence) [DRIVER_EVENT_##NAME] = name,
#include "lifecycle/state.def"
};

static const struct driver_move moves[] = {
#define DRIVER_MOVE(from, event, to) {DRIVER_##from, DRIVER_EVENT_##event, DRIVER_##to},
#include "lifecycle/state.def"
};

#define MOVES (sizeof moves / sizeof moves[0])

const struct driver_move *driver_moves(uint32_t *ret_count) {
    *ret_count = MOVES;
    return moves;
}

const char *driver_state_name(enum driver_state state) {
    return state_names[(unsigned)state < DRIVER_STATE_COUNT ? state : DRIVER_NOWHERE];
}

const char *driver_state_sentence(enum driver_state state) {
    return state_sentences[(unsigned)state < DRIVER_STATE_COUNT ? state : DRIVER_NOWHERE];
}

const char *driver_event_name(enum driver_event event) {
    return event_names[(unsigned)event < DRIVER_EVENT_COUNT ? event : DRIVER_EVENT_NONE];
}

bool driver_state_parse(const char *name, enum driver_state *ret) {
    for (unsigned state = DRIVER_NOWHERE + 1; state < DRIVER_STATE_COUNT; state++)
        if (strcmp(name, state_names[state]) == 0) {
            *ret = (enum driver_state)state;
            return true;
        }
    return false;
}

static bool refuse(enum driver_state state, enum driver_event event, struct err *err) {
    char possible[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < MOVES; i++)
        if (moves[i].from == state && used < sizeof possible) {
            int length = snprintf(possible + used, sizeof possible - used, "%s%s",
                                  used > 0 ? ", " : "", driver_event_name(moves[i].event));
            used += length > 0 ? (size_t)length : 0;
        }
    return err_set(err, ERR_STATE, "a driver that is %s does not take \"%s\"; it takes %s",
                   driver_state_name(state), driver_event_name(event),
                   used > 0 ? possible : "nothing more");
}

bool driver_next(enum driver_state state, enum driver_event event, enum driver_state *ret,
                 struct err *err) {
    for (size_t i = 0; i < MOVES; i++)
        if (moves[i].from == state && moves[i].event == event) {
            *ret = moves[i].to;
            return true;
        }
    return refuse(state, event, err);
}

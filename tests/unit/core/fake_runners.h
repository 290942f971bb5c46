/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_runners.h: runners/runners.h without processes: a test says what each call answers.
 *
 * The functions of runners.h are defined in fake_runners.c, which a test of the core links instead
 * of the library. Calls are answered in a later turn of the loop, as the real ones are. What the
 * core may not do with a runner is CHECKed: restart one that stops, close with one that lives.
 */
#ifndef SLUICE_TESTS_FAKE_RUNNERS_H
#define SLUICE_TESTS_FAKE_RUNNERS_H

#include "runners/runners.h"

struct fake_answer {
    enum err_code code; /* NONE: OK */
    bool pending;
    uint32_t retry_after_ms;
    uint64_t done, total;
    const void *result; /* of the call's shape; NULL: zeroes */
    bool never;         /* the call stays open until fake_runners_end_call, or the runner stops */
};

/* Decides what a call answers; by default everything is OK. */
typedef void fake_answer_fn(void *arg, enum wire_number number, const void *args,
                            struct fake_answer *ret);
void fake_runners_answer(fake_answer_fn *answer, void *arg);
/* Answers the oldest call of that number that stays open. false: there is none. */
bool fake_runners_end_call(enum wire_number number, enum err_code code);

/* What a runner that was started comes to: SERVING by default; STARTING stays so. */
struct fake_fate {
    enum runner_state state;
    enum err_code cause;
};
typedef void fake_fate_fn(void *arg, const struct runner_spec *spec, struct fake_fate *ret);
void fake_runners_fate(fake_fate_fn *fate, void *arg);
/* The same fate for all. */
void fake_runners_state(enum runner_state state, enum err_code cause);
/* All that live decide anew what they come to. */
void fake_runners_again(void);

uint32_t fake_runners_calls(enum wire_number number); /* made since fake_runners_reset */
uint32_t fake_runners_doubted_ms(void);               /* what runner_doubt said last; 0: nothing */
uint32_t fake_runners_restarts(void);
uint32_t fake_runners_alive(void);
/* Of the place with that label, as it was started or changed last; -1: there is none alive. */
int64_t fake_runners_open_flags(const char *label);
const char *fake_runners_version(const char *label); /* of its driver; "" */
/* "+label" and "-label" of all that started and stopped, in order, separated by spaces. */
const char *fake_runners_story(void);
/* The driver tells something. */
void fake_runners_tell(const char *label, uint32_t event, const char *text);
/* What every pool can do from here on, SLUICE_CAP_MASK(..); all of it by default. */
void fake_runners_caps(uint64_t caps);
void fake_runners_reset(void);
struct uv_loop_s *fake_runners_loop(struct runners *runners);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_runners.h: runners/runners.h without processes: a test says what each call answers.
 *
 * The functions of runners.h are defined in fake_runners.c, which a test of the core links instead
 * of the library. Calls are answered in a later turn of the loop, as the real ones are.
 */
#ifndef SLUICE_TESTS_FAKE_RUNNERS_H
#define SLUICE_TESTS_FAKE_RUNNERS_H

#include "runners/runners.h"

struct fake_answer {
    enum err_code code; /* NONE: OK */
    bool pending;
    uint64_t done, total;
    const void *result; /* of the call's shape; NULL: zeroes */
    bool never;         /* the call stays open until the runner is stopped */
};

/* Decides what a call answers; by default everything is OK. */
typedef void fake_answer_fn(void *arg, enum wire_number number, const void *args,
                            struct fake_answer *ret);
void fake_runners_answer(fake_answer_fn *answer, void *arg);
/* The state that every runner shows when it has been started; SERVING by default. */
void fake_runners_state(enum runner_state state, enum err_code cause);
uint32_t fake_runners_calls(enum wire_number number); /* made since fake_runners_reset */
uint32_t fake_runners_restarts(void);
void fake_runners_reset(void);
struct uv_loop_s *fake_runners_loop(struct runners *runners);

#endif

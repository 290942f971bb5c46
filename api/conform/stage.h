/* SPDX-License-Identifier: Apache-2.0
 *
 * stage.h: runs a test in a process of its own, and ends it.
 *
 * The process leads a group, so that whatever it started ends with it. It is ended when one call
 * into the driver takes longer than the subject's deadline allows, or the whole test longer than
 * STAGE_TEST_S. A crash is an outcome like others, with the signal and the last call.
 *
 * Threads: the kit's main thread. Errors: what the kit itself cannot do (fork, mmap) ends it with
 * status 2.
 */
#ifndef SLUICE_CONFORM_STAGE_H
#define SLUICE_CONFORM_STAGE_H

#include "conform/kit.h"

#define STAGE_TEST_S 600 /* the model's walk on a slow backend is minutes */

struct outcome {
    enum test_verdict verdict;
    uint32_t rule;              /* of VERDICT_FAILED */
    char text[EXPECT_SEEN_MAX]; /* what was seen, or why it was skipped */
    char call[WATCH_NAME_MAX];  /* the last call */
    char note[KIT_TEXT_MAX];
    double seconds;
};

/* Shared memory for a kit of zeroes, until the program's end. false: errno says why. */
bool stage_open(struct kit *kit, const struct subject *subject);
/* Runs `what` with ids from `first_id` on; needs (enum test_need) says whether the pool is open. */
void stage_run(struct kit *kit, kit_fn *what, uint32_t needs, uint32_t first_id,
               struct outcome *ret);
/* Deletes what the last run made; the outcome's text says what could not be. */
void stage_clean(struct kit *kit, struct outcome *ret);

#endif

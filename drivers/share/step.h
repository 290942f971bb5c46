/* SPDX-License-Identifier: Apache-2.0
 *
 * step.h: the places where tests kill the driver (step.def).
 *
 * STEP(name) is compiled out unless the build has fault points. With them, the environment variable
 * SLUICE_FAULTS holds "share.name=kill[@N]" entries separated by commas, as everywhere in Sluice;
 * the Nth passage (default 1) of that step ends the process by SIGKILL, "killed at share.name"
 * being its last words. A driver links nothing of the gateway, so it reads them by itself.
 */
#ifndef SHARE_STEP_H
#define SHARE_STEP_H

#include <stdint.h>

enum step {
#define SHARE_STEP(name) STEP_##name,
#include "step.def"
#undef SHARE_STEP
    STEP_COUNT
};

/* How long a slice of a long piece of work may take. A build with fault points takes it from the
 * environment variable SLUICE_SHARE_SLICE_NS where that is set, so that small ones too take many.
 */
#define STEP_SLICE_NS UINT64_C(50000000)

#ifdef SLUICE_WITH_FAULTS
#define STEP(name) step_pass(STEP_##name, "share." #name)
void step_pass(enum step step, const char *name);
uint64_t step_slice_ns(void);
#else
#define STEP(name) ((void)0)
#define step_slice_ns() STEP_SLICE_NS
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * step.h: the places where tests kill the driver (step.def).
 *
 * STEP(name) is compiled out unless the build has fault points. With them, the environment variable
 * SLUICE_FAULTS holds "posix.name=kill[@N]" entries separated by commas, as everywhere in Sluice;
 * the Nth passage (default 1) of that step ends the process by SIGKILL, "killed at posix.name"
 * being its last words. A driver links nothing of the gateway, so it reads them by itself.
 */
#ifndef POSIX_STEP_H
#define POSIX_STEP_H

#include <stdint.h>

enum step {
#define POSIX_STEP(name) STEP_##name,
#include "step.def"
#undef POSIX_STEP
    STEP_COUNT
};

/* How long a slice of a copy may take. A build with fault points takes it from the environment
 * variable SLUICE_POSIX_SLICE_NS where that is set, so that small copies too take many slices. */
#define STEP_SLICE_NS UINT64_C(50000000)

#ifdef SLUICE_WITH_FAULTS
#define STEP(name) step_pass(STEP_##name, "posix." #name)
void step_pass(enum step step, const char *name);
uint64_t step_slice_ns(void);
#else
#define STEP(name) ((void)0)
#define step_slice_ns() STEP_SLICE_NS
#endif

#endif

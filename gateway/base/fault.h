/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.h: places where tests make things go wrong.
 *
 * FAULT("core.volume_create.driver.before") does nothing but compare when SLUICE_FAULTS is not set
 * in the environment, and is compiled out of the release build. SLUICE_FAULTS holds one or more
 * "name=action[@N]" separated by commas; the Nth passage (default 1) of that name acts:
 *   kill   the process kills itself with SIGKILL
 *   stop   it stops itself with SIGSTOP
 *   fail   fault_point returns true, and the caller behaves as if the thing there had failed
 * A name may end in '*'.
 */
#ifndef SLUICE_BASE_FAULT_H
#define SLUICE_BASE_FAULT_H

#include <stdbool.h>

#ifdef SLUICE_WITH_FAULTS
#define FAULT(name) fault_point(name)
bool fault_point(const char *name);
#else
#define FAULT(name) ((void)(name), false)
#endif

#endif

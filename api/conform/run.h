/* SPDX-License-Identifier: Apache-2.0
 *
 * run.h: a run of the kit from the command line to the report.
 */
#ifndef SLUICE_CONFORM_RUN_H
#define SLUICE_CONFORM_RUN_H

#include "conform/options.h"

/* The exit status: 0 nothing failed, 1 something did, 2 the kit could not begin. */
int run_tests(const struct options *options);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * report.h: what came out, as TAP (version 13) on stdout and as JUnit XML in a file.
 *
 * A failure is told with the rule that was broken, where it stands, what was seen, and the last
 * call into the driver. Texts come from drivers: what would break the format is replaced.
 *
 * Life cycle: report_begin, report_test for each, report_end. One thread.
 */
#ifndef SLUICE_CONFORM_REPORT_H
#define SLUICE_CONFORM_REPORT_H

#include <stdio.h>

#include "conform/stage.h"
#include "conform/test.h"

struct report {
    FILE *junit; /* NULL: not wanted */
    uint32_t count;
    uint32_t passed;
    uint32_t failed;
    uint32_t skipped;
};

/* look NULL: nothing is known of the driver. false: the file cannot be written, errno says why. */
bool report_begin(struct report *report, const char *junit, uint32_t planned,
                  const struct look *look, uint64_t seed);
void report_test(struct report *report, const struct test *test, const struct outcome *outcome);
/* The run is given up: the rest was not tested. */
void report_bail(struct report *report, const char *why);
/* false: the file could not be written. */
bool report_end(struct report *report);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * version.h: versions of drivers, and ranges of them.
 *
 * A version is major.minor.patch[-pre] and is ordered as semver.org 2.0.0 section 11 says; build
 * metadata ("+...") is refused, since two archives must not differ in it alone.
 *
 * A range is "*" or comparators separated by spaces, all of which must hold: ">=1.0 <2". Operators
 * are >=, >, <=, <, =; a version alone means "=". After >= and < the version may be cut to "1.0" or
 * "2" (what is missing is 0); after the others it would be unclear what that means, so it must be
 * whole. A pre-release is in a range only when one of its comparators names a pre-release of the
 * same major.minor.patch: "<2" does not take 2.0.0-rc.1, nor does "*".
 *
 * Values: no allocation, any thread. Outputs are untouched on failure.
 */
#ifndef SLUICE_LIFECYCLE_VERSION_H
#define SLUICE_LIFECYCLE_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define VERSION_TEXT_MAX 63        /* bytes; what the catalogue keeps for a version */
#define VERSION_PRE_MAX 31         /* bytes behind the '-'; three u32 and this fit the text */
#define VERSION_RANGE_TEXT_MAX 127 /* bytes; what the API takes */
#define VERSION_COMPARATORS_MAX 8  /* more than two are a mistake, more than eight an attack */

struct version {
    uint32_t major, minor, patch;
    char pre[VERSION_PRE_MAX + 1]; /* "": a release */
};

enum version_operator { VERSION_GE, VERSION_GT, VERSION_LE, VERSION_LT, VERSION_EQ };

struct version_comparator {
    enum version_operator comparison;
    struct version version;
};

struct version_range {
    uint32_t count; /* 0: "*" */
    struct version_comparator at[VERSION_COMPARATORS_MAX];
};

/* INVALID, with the character (from 1) where the text goes wrong. */
bool version_parse(const char *text, struct version *ret, struct err *err);
bool version_range_parse(const char *text, struct version_range *ret, struct err *err);

/* Below 0, 0 or above 0, like strcmp. */
int version_compare(const struct version *a, const struct version *b);
bool version_in_range(const struct version *version, const struct version_range *range);
/* As it was parsed. Returns ret. */
const char *version_format(const struct version *version, char ret[VERSION_TEXT_MAX + 1]);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * nearest.h: the known name that somebody probably meant.
 *
 * Start with a word, offer every known name, ask for the best. The first of equally near ones wins.
 * Pure; no allocation.
 */
#ifndef SLUICE_LIFECYCLE_NEAREST_H
#define SLUICE_LIFECYCLE_NEAREST_H

#include <stddef.h>

#define NEAREST_WORD_MAX 63 /* bytes that are compared; the cost grows with the square */

struct nearest {
    const char *word;
    const char *best; /* NULL: none that is near enough */
    size_t distance;
};

void nearest_start(struct nearest *nearest, const char *word);
void nearest_offer(struct nearest *nearest, const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * patience.c: see patience.h.
 */
#include "ring/patience.h"

bool patience_lasts(struct patience *patience, uint32_t calls) {
    if (calls > PATIENCE_CALLS)
        return false;
    if (patience->skip == 0)
        return true;
    patience->skip--;
    return false;
}

void patience_paid(struct patience *patience) {
    patience->misses = 0;
}

void patience_in_vain(struct patience *patience) {
    if (patience->misses < PATIENCE_MISSES)
        patience->misses++;
    patience->skip = (1u << patience->misses) - 1;
}

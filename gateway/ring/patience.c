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

void patience_note(struct patience *patience, bool came, uint64_t took_ns) {
    if (took_ns >= PATIENCE_CROWDED_NS) {
        patience->misses = PATIENCE_MISSES;
    } else if (came) {
        patience->misses = 0;
        return;
    } else if (patience->misses < PATIENCE_MISSES) {
        patience->misses++;
    }
    patience->skip = (1u << patience->misses) - 1;
}

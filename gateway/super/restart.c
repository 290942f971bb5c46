/* SPDX-License-Identifier: Apache-2.0
 *
 * restart.c: the arithmetic of restart.h.
 */
#include "super/restart.h"

bool super_restart_next(struct super_restart *restart, uint64_t lived_ms, uint32_t *ret_delay_ms) {
    restart->short_lives = lived_ms < SUPER_RESTART_SHORT_MS ? restart->short_lives + 1 : 0;
    if (restart->short_lives >= SUPER_RESTART_SHORT_MAX)
        return false;
    if (lived_ms >= SUPER_RESTART_PROVEN_MS || restart->delay_ms == 0)
        restart->delay_ms = SUPER_RESTART_FIRST_MS;
    else if (restart->delay_ms <= SUPER_RESTART_LAST_MS / 2)
        restart->delay_ms *= 2;
    else
        restart->delay_ms = SUPER_RESTART_LAST_MS;
    restart->count++;
    *ret_delay_ms = restart->delay_ms;
    return true;
}

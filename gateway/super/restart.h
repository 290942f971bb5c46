/* SPDX-License-Identifier: Apache-2.0
 *
 * restart.h: when sluiced is started again after a death that it did not ask for.
 *
 * The delay doubles from death to death; a long life is success and forgets it. Many short lives in
 * a row mean that starting it again is of no use. Pure: no clock, no process.
 */
#ifndef SLUICE_SUPER_RESTART_H
#define SLUICE_SUPER_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define SUPER_RESTART_FIRST_MS 50
#define SUPER_RESTART_LAST_MS 5000
#define SUPER_RESTART_PROVEN_MS 60000 /* a life that forgets the delay */
#define SUPER_RESTART_SHORT_MS 10000  /* a life that did not get anywhere */
#define SUPER_RESTART_SHORT_MAX 20    /* of them in a row: given up */

struct super_restart { /* zeroed at first */
    uint32_t delay_ms;
    uint32_t short_lives;
    uint32_t count;
};

/* false: given up. */
bool super_restart_next(struct super_restart *restart, uint64_t lived_ms, uint32_t *ret_delay_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * hostile_loop.c: the hostile driver with the thread model LOOP: what it does, it does to the
 * runner's loop.
 */
#define HOSTILE_NAME "hostile-loop"
#define HOSTILE_THREADS SLUICE_THREADS_LOOP
#include "../hostile/hostile.c"

/* SPDX-License-Identifier: Apache-2.0
 *
 * spawn.h: how processes begin, and how what a runner leaves behind ends.
 *
 * A runner begins with: its end of a socket as descriptor SUPER_RUNNER_FD, a pipe for its last
 * words as stdout and stderr, /dev/null as stdin; a session of its own, "/" as folder, an empty
 * environment, umask 077, no core files, no new privileges, death when sluice-super dies, and,
 * where sluice-super is root, an account of its own without other groups. A runner that cannot be
 * given all of that says why in its last words and ends with SPAWN_FAILED_STATUS.
 *
 * sluiced begins with its end of a socket as descriptor SUPER_FD, in a process group of its own (an
 * interrupt from a terminal reaches sluice-super alone, which passes it on), stdio and
 * environment as sluice-super has them.
 *
 * Nothing here allocates.
 */
#ifndef SLUICE_SUPER_SPAWN_H
#define SLUICE_SUPER_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "super/children.h"

#define SPAWN_FAILED_STATUS 125
#define SPAWN_NAME_MAX 15          /* the kernel shows no more of it */
#define SPAWN_SOCKET_BYTES 1048576 /* of packets under way each way: 16 of the largest */
#define SPAWN_SWEEP_MS 1000        /* a sweep takes microseconds; bounds a broken one */

/* sluice-data begins as a runner does. `name` becomes its argv[0]; uid, gid and tag of *child say
 * what it shall be. Sets pid and descriptors, and the state to LIVE.
 * Returns 0, or an errno with *child unchanged. */
int super_spawn_runner(const char *path, const char *name, bool change_uid,
                       struct super_child *child);

/* Returns 0 or an errno. */
int super_spawn_sluiced(char *const arguments[], pid_t *ret_pid, int *ret_fd);

/* Kills every process of an account; for root. */
void super_sweep_uid(uint32_t uid);

#ifdef SLUICE_WITH_FAULTS
/* Fault points of one life: SLUICE_FAULTS is for sluiced until it died once, SLUICE_RUNNER_FAULTS
 * of our environment is SLUICE_FAULTS of runners until one of them has "killed at " among its last
 * words. Otherwise a fault that kills would kill each successor. */
void super_faults_sluiced_died(void);
void super_faults_runner_died(const struct super_child *child);
#endif

#endif

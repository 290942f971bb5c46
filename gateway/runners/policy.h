/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.h: what the supervisor does about runners, as numbers.
 */
#ifndef SLUICE_RUNNERS_POLICY_H
#define SLUICE_RUNNERS_POLICY_H

/* Spawn to HELLO, and LOAD to LOADED. A client library that reads a CA bundle takes under a second. */
#define RUNNER_HELLO_MS 5000
#define RUNNER_LOAD_MS 15000
/* Heartbeat: a PING each period while somebody may be waiting; none answered for the limit: killed. */
#define RUNNER_PING_MS 1000
#define RUNNER_SILENT_MS 5000
/* A call inside the driver for longer than this, with a live heartbeat, is shown as stalled. */
#define RUNNER_STALLED_MS 10000
/* STOP to exit, then SIGKILL. */
#define RUNNER_STOP_MS 10000
/* Back-off after a death doubles from the first to the last; any answered call resets it. The first
 * restart after a call was answered is immediate. */
#define RUNNER_BACKOFF_FIRST_MS 50
#define RUNNER_BACKOFF_LAST_MS 15000
/* Deaths in a row without one answered call until the place is quarantined. */
#define RUNNER_DEATHS_MAX 8
/* Successive deaths with the same call inside the driver until the call is poison. */
#define RUNNER_POISON_DEATHS 3
/* A pool that does not open is tried again after this, doubling. */
#define RUNNER_REOPEN_FIRST_MS 500
#define RUNNER_REOPEN_LAST_MS 15000
/* Calls waiting for one place; more is answered TOO_MANY. The engine runs at most 256 operations a pool. */
#define RUNNER_QUEUE_MAX 1024

#endif

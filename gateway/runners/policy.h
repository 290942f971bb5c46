/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.h: what the supervisor does about runners, as numbers.
 *
 * The macros are what it does; struct runner_policy is for tests, which have less time: a member
 * that is 0 stands for its macro.
 */
#ifndef SLUICE_RUNNERS_POLICY_H
#define SLUICE_RUNNERS_POLICY_H

#include <stdint.h>

/* Spawn to HELLO, or RESUME to RESUMED; and LOAD to LOADED. A client library that reads a CA bundle
 * takes under a second. */
#define RUNNER_HELLO_MS 5000
#define RUNNER_LOAD_MS 15000
/* Heartbeat: a PING each period while somebody may be waiting, and seldom while nobody does, so
 * that idle runners cost next to nothing; one that is not answered for the limit: killed. */
#define RUNNER_PING_MS 1000
#define RUNNER_IDLE_PING_MS 5000
#define RUNNER_SILENT_MS 5000
/* A PING goes at once when the runner's ring stands still with calls in it, and the answer has this
 * long: clients wait for it. A busy machine may keep a thread from its turn for a good part of a
 * second. A process that a signal has stopped is not waited for. */
#define RUNNER_DOUBTED_MS 2000
/* Said to stand still so long ago, it is no longer taken to: it is said again each second. */
#define RUNNER_STILL_MS 2500
/* A call inside the driver for longer than this, with a live heartbeat, is shown as stalled. */
#define RUNNER_STALLED_MS 10000
/* STOP to exit, then SIGKILL. */
#define RUNNER_STOP_MS 10000
/* SIGKILL to exit, then it is said that the process does not end (it waits inside the kernel). No
 * successor is started before it has ended. */
#define RUNNER_DYING_MS 5000
/* Back-off after a death doubles from the first to the last; any answered call resets it. The first
 * restart after a call was answered is immediate. */
#define RUNNER_BACKOFF_FIRST_MS 50
#define RUNNER_BACKOFF_LAST_MS 15000
/* Having served that long counts as an answered call: idle pools may die now and then too. */
#define RUNNER_PROVEN_MS 60000
/* Deaths in a row without one answered call until the place is quarantined. */
#define RUNNER_DEATHS_MAX 8
/* Successive deaths with the same call inside the driver until the call is poison. Before the last
 * of them the call is sent alone, so that no other is taken for the one that kills. */
#define RUNNER_POISON_DEATHS 3
/* A pool that does not open is tried again after this, doubling. */
#define RUNNER_REOPEN_FIRST_MS 500
#define RUNNER_REOPEN_LAST_MS 15000
/* Calls waiting for one place; more is answered TOO_MANY. The engine runs at most 256 operations a
 * pool. */
#define RUNNER_QUEUE_MAX 1024
/* Log lines and events that a runner may send in a second: thrice what its own limits let pass.
 * More is a breach, since it would keep the loop from everybody else. */
#define RUNNER_UNASKED_MAX 2000

#define RUNNER_POLICY(P)                         \
    P(hello_ms, RUNNER_HELLO_MS)                 \
    P(load_ms, RUNNER_LOAD_MS)                   \
    P(ping_ms, RUNNER_PING_MS)                   \
    P(idle_ping_ms, RUNNER_IDLE_PING_MS)         \
    P(silent_ms, RUNNER_SILENT_MS)               \
    P(doubted_ms, RUNNER_DOUBTED_MS)             \
    P(still_ms, RUNNER_STILL_MS)                 \
    P(stalled_ms, RUNNER_STALLED_MS)             \
    P(stop_ms, RUNNER_STOP_MS)                   \
    P(dying_ms, RUNNER_DYING_MS)                 \
    P(backoff_first_ms, RUNNER_BACKOFF_FIRST_MS) \
    P(backoff_last_ms, RUNNER_BACKOFF_LAST_MS)   \
    P(proven_ms, RUNNER_PROVEN_MS)               \
    P(deaths_max, RUNNER_DEATHS_MAX)             \
    P(poison_deaths, RUNNER_POISON_DEATHS)       \
    P(reopen_first_ms, RUNNER_REOPEN_FIRST_MS)   \
    P(reopen_last_ms, RUNNER_REOPEN_LAST_MS)     \
    P(queue_max, RUNNER_QUEUE_MAX)               \
    P(unasked_max, RUNNER_UNASKED_MAX)

struct runner_policy {
#define RUNNER_POLICY_MEMBER(name, number) uint32_t name;
    RUNNER_POLICY(RUNNER_POLICY_MEMBER)
#undef RUNNER_POLICY_MEMBER
};

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h: the runner's side of the runner protocol: one socket, one loop, one driver.
 *
 * session_run says HELLO and serves the gateway until the session ends: LOAD enters the sandbox,
 * loads the driver, starts it and closes the door; calls go through dispatch.h; STOP lets what runs
 * end, closes the pool, stops the driver and says BYE.
 *
 * What the loop's thread does itself never waits for the driver (but with the thread model LOOP,
 * where the driver has promised to return at once): so a PING is answered however many calls hang.
 *
 * The session ends with SESSION_DONE after BYE or REFUSED, with everything given back; with
 * another status calls may still run, and the process must end with _exit. The gateway's breaches
 * end it too: who talks to a runner and does not keep to the table is not the gateway.
 */
#ifndef SLUICE_RUNNER_SESSION_H
#define SLUICE_RUNNER_SESSION_H

#include <stdbool.h>

#include <sluice/driver.h>

/* Exit statuses of sluice-runner; but for the first the last words say more. */
enum session_end {
    SESSION_DONE = 0,
    SESSION_REFUSED = 64,   /* REFUSED was said */
    SESSION_ABANDONED = 65, /* the socket's other end is gone */
    SESSION_BREACH = 66,    /* the other end broke the protocol */
    SESSION_SYSTEM = 67,    /* no loop, no thread, no memory */
    SESSION_PATHS = 68,     /* a path is another file system now; see sandbox.h */
};

struct session_options {
    int socket;   /* SOCK_SEQPACKET, connected; owned from here on */
    bool sandbox; /* false in tests that go on afterwards */
    /* Tests: this table instead of the library that LOAD names. */
    const struct sluice_driver *driver;
};

enum session_end session_run(const struct session_options *options);

#endif

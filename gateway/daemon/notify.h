/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.h: tells systemd how the service is (sd_notify(3)), by the socket that $NOTIFY_SOCKET
 * names.
 */
#ifndef SLUICE_DAEMON_NOTIFY_H
#define SLUICE_DAEMON_NOTIFY_H

/* "READY=1", "STOPPING=1". Without such a socket nothing happens; nobody depends on it. */
void notify_send(const char *state);

#endif

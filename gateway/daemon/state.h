/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: the state directory and the small files in it that are not the core's.
 */
#ifndef SLUICE_DAEMON_STATE_H
#define SLUICE_DAEMON_STATE_H

#include <stdbool.h>

#include "base/err.h"

/* Makes it, mode 0700, when it is not there; CONFIG when it is another account's or others may
 * enter. ret_fd is the open directory. */
bool state_open(const char *path, int *ret_fd, struct err *err);
bool state_has(int directory, const char *name);
/* Whole or not at all, durable, mode 0600: NAME.new is written, synced and renamed. */
bool state_write(int directory, const char *name, const char *text, struct err *err);
/* Makes NAME.new, empty and durable: a sign that a write was begun. */
bool state_announce(int directory, const char *name, struct err *err);
bool state_announced(int directory, const char *name);
void state_remove(int directory, const char *name);

#endif

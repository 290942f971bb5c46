/* SPDX-License-Identifier: Apache-2.0
 *
 * listener.h: the one TCP socket, for all exports that are reached over TLS.
 *
 * The gateway makes the socket and reads the files of certificate and key; they come with LISTEN.
 * Another LISTEN takes the place of the one before, for clients that come from then on. After SYNC
 * the socket is handed back, so that the next gateway process has the same one and no client finds
 * nobody there meanwhile.
 */
#ifndef SLUICE_DATA_LISTENER_H
#define SLUICE_DATA_LISTENER_H

#include "data/loop.h"

/* Owns the descriptors: the socket, certificate and key. */
bool listener_take(struct loop *loop, const struct data_listen *wanted, const int descriptors[3],
                   struct err *err);
void listener_end(struct loop *loop); /* who is there stays */
void listener_on_event(struct loop *loop);
/* Ends strangers too. */
void listener_release(struct loop *loop);

#endif

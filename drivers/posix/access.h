/* SPDX-License-Identifier: Apache-2.0
 *
 * access.h: giving a local user the right to open one volume or snapshot, and taking it away.
 *
 * A grant is a line in the volume's access.meta and, made from all its lines, the access lists of
 * the disk file and of the directories down to it. Lists are always written whole, so doing it
 * again changes nothing. The two directories above ("volumes" and the pool's own) let everybody
 * search but not list: a list of a user per grant there would run into the file system's limit.
 */
#ifndef POSIX_ACCESS_H
#define POSIX_ACCESS_H

#include "pool.h"

/* Gives the open disk file of the volume in `directory` the access list that the grants ask for. */
int32_t access_apply_disk(struct pool *pool, struct sluice_call *call, int directory, int disk);

int32_t access_grant(void *pool, struct sluice_call *call, const struct sluice_access_grant *args,
                     struct sluice_connection *ret);
int32_t access_revoke(void *pool, struct sluice_call *call, const struct sluice_uuid *attachment,
                      const struct sluice_uuid *volume);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * access.h: giving a local user the right to open one volume or snapshot.
 *
 * drivers/share keeps the grants and says who may open what; this driver says who it is (the host's
 * identity uid) and where the file is. Taking it away is share_access_revoke.
 */
#ifndef POSIX_ACCESS_H
#define POSIX_ACCESS_H

#include <sluice/driver.h>

int32_t access_grant(void *pool, struct sluice_call *call, const struct sluice_access_grant *args,
                     struct sluice_connection *ret);

#endif

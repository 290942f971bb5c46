/* SPDX-License-Identifier: Apache-2.0
 *
 * attached.h: what may be done with a volume or snapshot while hosts are attached to it.
 *
 * The answer is attached.def's, for each attachment that the catalogue has, whatever its state: one
 * that is being taken back may still be held open. Who asks holds the lock of the volume (of a
 * snapshot: of the pair), so that nobody attaches meanwhile. A refusal is STATE and names the host,
 * the attachment and the way out.
 *
 * Modes of attachments:
 *   read-only   any number of hosts
 *   read-write  one host
 *   rw-migrate  a second host beside one that has read-write, for a bounded time: a running machine
 *               moves there. It ends by itself at its deadline (expiry.h); when the first is
 *               deleted before, it becomes read-write and stays.
 *   rw-cluster  hosts of one group, whose file system or application knows that they are many
 *
 * Loop thread only. At most ATTACHED_MAX attachments of one volume with its snapshots.
 */
#ifndef SLUICE_CORE_ATTACHED_H
#define SLUICE_CORE_ATTACHED_H

#include "core/engine.h"
#include "core/records.h"

/* A cluster's hosts, or readers of one golden image's snapshot; all are looked at by one request.
 */
#define ATTACHED_MAX 4096

#define MODE_READ_ONLY "read-only"
#define MODE_READ_WRITE "read-write"
#define MODE_MIGRATE "rw-migrate"
#define MODE_CLUSTER "rw-cluster"

enum attached_act {
#define ATTACHED(ID, operation, nbd_read, nbd_write, direct_read, direct_write, what) ATTACHED_##ID,
#include "core/attached.def"
#undef ATTACHED
};

/* Is it one of the modes? */
bool attached_mode_known(const char *mode);
bool attached_writes(const struct attachment_record *attachment);

/* false: some attachment of the volume forbids the act. */
bool attached_permit(struct op *op, const struct volume_record *volume, enum attached_act act,
                     struct err *err);
/* The same of a snapshot's own attachments. */
bool attached_permit_snapshot(struct op *op, const struct snapshot_record *snapshot,
                              enum attached_act act, struct err *err);
/* May `host` be attached as well? EXISTS: it is attached already, and taking one of two back would
 * take its access. `name` is for people. */
bool attached_permit_host(struct op *op, const struct attachment_record *wanted,
                          const struct host_record *host, const char *name, struct err *err);
/* Puts into *ret the attachment of the volume in mode rw-migrate. false: there is none. */
bool attached_migrating(struct op *op, const struct sluice_uuid *volume,
                        struct attachment_record *ret, uint64_t *ret_revision, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * attachments.h: attachments that the gateway serves itself, at its start and by operations.
 */
#ifndef SLUICE_CORE_ATTACHMENTS_H
#define SLUICE_CORE_ATTACHMENTS_H

#include "core/core.h"
#include "core/engine.h"
#include "core/records.h"

#define ATTACHMENT_NBD "nbd"

/* Tells the exports what the catalogue has; before pools are started. */
bool attachments_export(struct core *core, struct err *err);
/* Serves it as it was, or says in the log why not. */
void attachment_export_again(struct core *core, const struct attachment_record *record,
                             struct arena *arena);
/* The host's uid; false: it has none, and err says so. */
bool attachment_peer(const struct host_record *host, uint32_t *ret, struct err *err);
/* false: the volume is served over NBD, so it is no time to do `what`. */
bool attachments_permit(const struct core *core, const struct volume_record *volume,
                        const char *what, struct err *err);
/* A step: has the exports serve it, fills op's connection. `host` and `record` may be temporary. */
void attachment_export_run(struct op *op, const struct attachment_record *record,
                           const struct host_record *host);
/* A step: until nothing of it is left. */
void attachment_unexport_run(struct op *op, const struct sluice_uuid *attachment);

#endif

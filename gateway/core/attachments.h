/* SPDX-License-Identifier: Apache-2.0
 *
 * attachments.h: attachments that the gateway serves itself, at its start and by operations.
 */
#ifndef SLUICE_CORE_ATTACHMENTS_H
#define SLUICE_CORE_ATTACHMENTS_H

#include "core/core.h"
#include "core/engine.h"
#include "core/records.h"
#include "wire/data.h"

#define ATTACHMENT_NBD "nbd"

/* Tells the exports what the catalogue has; before pools are started. */
bool attachments_export(struct core *core, struct err *err);
/* Serves it as it was, or says in the log why not. */
void attachment_export_again(struct core *core, const struct attachment_record *record,
                             struct arena *arena);
/* How a host reaches what the gateway serves, by its identities: `uid` by a Unix socket, for that
 * account; `certificate` over TLS where that is configured, for who has one of them. */
struct attachment_ways {
    bool local;
    uint32_t uid;
    uint32_t digest_count; /* 0: not over TLS */
    uint8_t digests[DATA_DIGESTS_MAX][DATA_DIGEST_SIZE];
};
/* false: there is none, and err says what to set. */
bool attachment_ways(const struct core *core, const struct host_record *host,
                     struct attachment_ways *ret, struct err *err);
/* A step: has the exports serve it, fills op's connection. `host` and `record` may be temporary. */
void attachment_export_run(struct op *op, const struct attachment_record *record,
                           const struct host_record *host);
/* A step: until nothing of it is left. */
void attachment_unexport_run(struct op *op, const struct sluice_uuid *attachment);

#endif
